//! What is known of a server that runs: what its supervisor says to root on its control socket,
//! and what the kernel knows of it (since when it runs, of which file), which is read in /proc. A
//! frontend is not asked.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use prn_ipc_protocol::config::{self, Supervisor};
use prn_ipc_protocol::control::{Answer, Order};
use prn_ipc_protocol::message::OutputStore;
use prn_ipc_protocol::status::Status;
use prn_launch::{ControlError, Conversation};

use crate::output::{Budget, ServerStatus, StatusConfiguration, StatusFrontend};

/// A reload, or another one who asks, may end the conversation: it is begun again.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);

/// Why nothing is known of the server.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// Nobody else may ask.
    #[error(
        "`prn server status` must run as root, who alone may ask the supervisor: use sudo; `prn health` asks as a client"
    )]
    NotRoot,
    /// It ends each conversation.
    #[error(
        "the server of the state folder {} does not answer this order: it is stopping, or another build than this prn, and is to be restarted", .0.display()
    )]
    OtherBuild(PathBuf),
    /// It says nothing.
    #[error("the server of the state folder {} runs and does not answer: its log may say why", .0.display())]
    Silent(PathBuf),
    /// It is not there, or cannot be reached.
    #[error(transparent)]
    Control(ControlError),
}

/// Asks the server of a state folder.
///
/// # Errors
/// Why it has not answered.
pub fn ask(folder: &Path) -> Result<ServerStatus, StatusError> {
    for _ in 1..TRIES {
        match ask_once(folder) {
            Err(ControlError::Over) => std::thread::sleep(PAUSE),
            done => return done.map_err(|error| failure(error, folder)),
        }
    }
    ask_once(folder).map_err(|error| failure(error, folder))
}

fn failure(error: ControlError, folder: &Path) -> StatusError {
    match error {
        ControlError::Over | ControlError::Talk(_) => StatusError::OtherBuild(folder.to_owned()),
        ControlError::Silent => StatusError::Silent(folder.to_owned()),
        error @ (ControlError::NoServer(_)
        | ControlError::Connect { .. }
        | ControlError::Stranger(_)
        | ControlError::Refused(_)
        | ControlError::OtherBuild(_)) => StatusError::Control(error),
    }
}

fn ask_once(folder: &Path) -> Result<ServerStatus, ControlError> {
    let mut server = Conversation::begin(folder)?;
    let (Answer::Status(status), _) = server.order(&Order::Status, &[])? else {
        return Err(ControlError::Over);
    };
    let (Answer::Shown, files) = server.order(&Order::Show, &[])? else {
        return Err(ControlError::Over);
    };
    let file = files.first();
    // What another build has written cannot be read, and is not needed.
    let config = file.and_then(|file| config::read::<Supervisor>(file.as_fd()).ok());
    let since = file.and_then(|file| {
        let file = fs::File::from(file.try_clone().ok()?);
        file.metadata().ok()?.modified().ok()
    });
    Ok(told(folder, *status, config.as_ref(), since, server.pid()))
}

/// What is told of a server, with what the kernel knows of it.
fn told(
    folder: &Path,
    status: Status,
    config: Option<&Supervisor>,
    since: Option<SystemTime>,
    pid: Option<i32>,
) -> ServerStatus {
    let uptime = pid.and_then(uptime);
    let frontend = pid.and_then(frontend_of);
    let running = [(pid, "supervisor"), (frontend, "frontend")];
    let replaced = running
        .into_iter()
        .filter_map(|(pid, half)| replaced(pid?, half));
    let (last_ended_at, last_ended_why) = status.frontends.last.unzip();
    let at = |micros: u64| SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(micros));
    let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let output = |store, used| Budget {
        used,
        max: config.map(|config| config.output.get(&store).map_or(0, |of| of.budget)),
    };
    let used = |used, max: fn(&Supervisor) -> u32| Budget {
        used: number(used),
        max: config.map(|config| max(config).into()),
    };
    ServerStatus {
        version: status.version,
        installed_version: env!("CARGO_PKG_VERSION"),
        pid,
        started_at: uptime.and_then(|uptime| SystemTime::now().checked_sub(uptime)),
        uptime_seconds: uptime.map(|uptime| uptime.as_secs()),
        epoch: status.epoch.to_string(),
        state_dir: std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()),
        address: config.map(|config| config.address.clone()),
        configuration: StatusConfiguration {
            number: status.configuration,
            since,
        },
        frontend: StatusFrontend {
            serves: status.frontends.serves,
            pid: frontend,
            ended: status.frontends.ended,
            last_ended_at: last_ended_at.and_then(|micros| at(micros.0)),
            last_ended_why,
        },
        processes: used(status.live, |config| config.uid_count),
        finished: used(status.finished, |config| config.finished_max),
        workspaces: used(status.workspaces, |config| config.workspaces.max),
        output_memory: output(OutputStore::Memory, status.memory),
        output_disk: output(OutputStore::Disk, status.disk),
        restart_pending: replaced.reduce(|one, other| format!("{one}; {other}")).map(
            |what| format!("{what}. A restart ends all processes: `systemctl restart prn` when they may end"),
        ),
    }
}

/// How long a process has run: field 22 of its `stat`, in 1/100 s since the machine's start
/// (proc_pid_stat(5); USER_HZ is 100 on all that prn is built for), and proc_uptime(5).
fn uptime(pid: i32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let up = fs::read_to_string("/proc/uptime").ok()?;
    let since: u64 = after_name(&stat)?.split(' ').nth(19)?.parse().ok()?;
    let up: f64 = up.split(' ').next()?.parse().ok()?;
    let up = Duration::try_from_secs_f64(up).ok()?;
    Some(up.saturating_sub(Duration::from_millis(since.saturating_mul(10))))
}

/// The fields after a process's name, which may have spaces and parentheses itself.
fn after_name(stat: &str) -> Option<&str> {
    stat.rsplit_once(") ").map(|(_, rest)| rest)
}

/// The child of the supervisor that talks to clients.
fn frontend_of(supervisor: i32) -> Option<i32> {
    let path = format!("/proc/{supervisor}/task/{supervisor}/children");
    let children = fs::read_to_string(path).ok()?;
    let mut children = children.split(' ').filter_map(|pid| pid.parse().ok());
    children.find(|pid: &i32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name.trim_end() == "prn-frontend")
    })
}

/// Whether another file has the name of the program that a process runs: a new version was
/// installed. `None` too where that cannot be seen.
fn replaced(pid: i32, half: &str) -> Option<String> {
    let link = format!("/proc/{pid}/exe");
    let running = fs::metadata(&link).ok()?;
    let path = fs::read_link(&link).ok()?;
    let path = path.to_str()?;
    // What the kernel puts behind the name of a file that has none any more (proc_pid_exe(5)).
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    match fs::metadata(path) {
        Ok(installed) if (installed.dev(), installed.ino()) == (running.dev(), running.ino()) => {
            None
        }
        Ok(_) => Some(format!("the {half} runs an older {path} than is installed")),
        Err(_) => Some(format!(
            "the {half} runs {path}, which is not there any more"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_hides_no_field() {
        assert_eq!(after_name("7 (a) b) S 1 2"), Some("S 1 2"));
        assert!(
            uptime(std::process::id().try_into().unwrap()).unwrap() < Duration::from_secs(3600)
        );
    }

    #[test]
    fn a_program_that_was_replaced_or_removed_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("sleep");
        fs::copy("/bin/sleep", &program).unwrap();
        let mut child = std::process::Command::new(&program)
            .arg("60")
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let before = replaced(pid, "half");
        fs::rename(&program, folder.path().join("old")).unwrap();
        fs::remove_file(folder.path().join("old")).unwrap();
        let gone = replaced(pid, "half");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(before, None);
        assert!(gone.unwrap().contains("not there any more"));
    }
}
