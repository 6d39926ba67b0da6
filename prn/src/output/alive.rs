//! Who of a process is alive, by name and state, for people. Pure.

use prn_client::{ProcessStatus, StuckTask};

use super::shown::{escaped, some_of};

/// What a state letter of a task stands for (proc_pid_stat(5)).
pub fn meaning(state: &str) -> Option<&'static str> {
    Some(match state {
        "R" => "running",
        "S" => "sleeping",
        "D" => "in uninterruptible sleep",
        "T" | "t" => "stopped",
        "Z" => "zombie",
        "I" => "idle",
        "X" => "dead",
        _ => return None,
    })
}

/// A task by name and state, for people: `sleep (D, in uninterruptible sleep)`.
pub fn named_task(task: &StuckTask) -> String {
    let state = match meaning(&task.state) {
        Some(means) => format!("{}, {means}", task.state),
        None => task.state.clone(),
    };
    escaped(&format!("{} ({state})", task.name))
}

/// The first few tasks, so.
pub fn named_tasks(tasks: &[StuckTask]) -> String {
    some_of(&tasks.iter().map(named_task).collect::<Vec<_>>())
}

/// That a process is still alive after its stop, and who of it.
pub fn still_alive(name: &str, status: &ProcessStatus) -> String {
    let who = match status.stuck_tasks.as_slice() {
        [] => String::new(),
        tasks => format!(": {}", named_tasks(tasks)),
    };
    format!("{name} could not be stopped yet{who}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use prn_client::Process;
    use prn_proto::v1;

    #[test]
    fn who_is_still_alive_is_said_by_name_and_state() {
        let said = |tasks: &[(&str, &str)]| {
            let tasks = tasks.iter().map(|(name, state)| v1::StuckTask {
                name: (*name).to_owned(),
                state: (*state).to_owned(),
            });
            let process = Process::try_from(v1::Process {
                id: Some(v1::ProcessIdentifier {
                    id: "fcd2310e7b9a462a5d88c3a0ff4e2d9b".to_owned(),
                }),
                status: Some(v1::ProcessStatus {
                    state: v1::ProcessState::Running.into(),
                    stuck_tasks: tasks.collect(),
                    ..v1::ProcessStatus::default()
                }),
            });
            still_alive("web", &process.unwrap().status)
        };
        assert_eq!(said(&[]), "web could not be stopped yet");
        assert_eq!(
            said(&[("sleep", "D"), ("a\u{7}", "?")]),
            "web could not be stopped yet: sleep (D, in uninterruptible sleep), a\\u{7} (?)"
        );
    }
}
