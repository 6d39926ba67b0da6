//! Workspaces as the supervisor has them, against a frontend that was taken over.

use std::fs;
use std::os::unix::fs::MetadataExt;

use prn_ipc_protocol::message::{
    Ask, Event, ExitCause, ExitStatus, FromSupervisor, Input, PROTOCOL, Profile, Refusal, Reply,
    Request, StopHow, WorkspaceInfo, WorkspaceSpec,
};
use prn_ipc_protocol::types::{ProcessId, WorkspaceName};
use prn_tests::hostile_frontend::{HostileFrontend, Mode, encoded};
use prn_tests::server::Options;
use prn_tests::wait_for;

const OK: ExitStatus = ExitStatus::Exited(0);

fn name(text: &str) -> WorkspaceName {
    text.to_owned().try_into().unwrap()
}

/// A server with so many user ids for processes and workspaces.
fn with_uids(uids: u32) -> HostileFrontend {
    HostileFrontend::with(Options {
        uids: Some(uids),
        ..Options::default()
    })
}

fn spec(text: &str) -> WorkspaceSpec {
    WorkspaceSpec {
        name: name(text),
        disk_max: None,
    }
}

/// Makes one, and returns what is told of it before the answer.
fn create(hostile: &mut HostileFrontend, text: &str) -> WorkspaceInfo {
    hostile.events.clear();
    let asked = Ask::CreateWorkspace(spec(text));
    assert_eq!(hostile.ask(asked).0, Reply::Done);
    // Others may be among them, of what was started before.
    let is_made = |event: &Event| matches!(event, Event::Workspace(_));
    let place = hostile.events.iter().position(is_made);
    match place.and_then(|place| hostile.events.remove(place)) {
        Some(Event::Workspace(info)) => *info,
        _ => panic!("{:?}", hostile.events),
    }
}

fn refused(hostile: &mut HostileFrontend, ask: Ask) -> Refusal {
    match hostile.ask(ask).0 {
        Reply::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

/// Removes one in which nothing lives, or with what does.
fn remove(hostile: &mut HostileFrontend, text: &str, how: Option<StopHow>) {
    hostile.events.clear();
    let asked = Ask::RemoveWorkspace(name(text), how);
    assert_eq!(hostile.ask(asked).0, Reply::Done);
    let gone = Event::WorkspaceGone(name(text));
    assert!(hostile.events.contains(&gone), "{:?}", hostile.events);
}

/// A shell script in a workspace.
fn in_workspace(hostile: &mut HostileFrontend, text: &str, script: &str) -> Ask {
    let mut spec = hostile.spec(&["sh", "-c", script]);
    spec.process.workspace = Some(name(text));
    Ask::Start(Box::new(spec))
}

fn start(hostile: &mut HostileFrontend, text: &str, script: &str) -> ProcessId {
    let ask = in_workspace(hostile, text, script);
    let Ask::Start(spec) = &ask else {
        unreachable!()
    };
    let id = spec.id;
    assert_eq!(hostile.ask(ask).0, Reply::Done);
    id
}

fn exit(hostile: &mut HostileFrontend, id: ProcessId) -> ExitStatus {
    hostile.end_of(id).main_exit.expect("its end").status
}

/// Runs a script in a workspace.
fn run(hostile: &mut HostileFrontend, text: &str, script: &str) -> ExitStatus {
    let id = start(hostile, text, script);
    exit(hostile, id)
}

#[test]
fn processes_of_a_workspace_share_two_directories_and_a_user_and_nobody_else_has_them() {
    let mut hostile = HostileFrontend::start();
    let (one, other) = (create(&mut hostile, "one"), create(&mut hostile, "other"));
    assert_ne!(one.uid, other.uid);
    let directory = one.directory.to_str().unwrap().to_owned();
    assert_eq!(
        directory,
        format!("{}/workspace-one", hostile.server.state_dir().display())
    );
    for directory in [directory.clone(), format!("{directory}.tmp")] {
        let metadata = fs::metadata(&directory).unwrap();
        assert_eq!((metadata.uid(), metadata.mode() & 0o777), (one.uid, 0o700));
    }
    let script = format!(
        "test \"$HOME\" = {directory} && test \"$PWD\" = {directory} && test \"$(id -u)\" = {} \
         && test \"$TMPDIR\" = {directory}.tmp && echo a >file && echo b >/tmp/file",
        one.uid
    );
    assert_eq!(run(&mut hostile, "one", &script), OK);
    let seen = "test \"$(cat file /var/tmp/file)\" = \"$(printf 'a\\nb')\"";
    assert_eq!(run(&mut hostile, "one", seen), OK, "what another one left");
    for stranger in [format!("ls {directory}"), format!("cat {directory}/file")] {
        assert_ne!(run(&mut hostile, "other", &stranger), OK);
        let id = hostile.start_process(&["sh", "-c", &stranger]);
        assert_ne!(exit(&mut hostile, id), OK);
    }
    assert_eq!(run(&mut hostile, "other", "test ! -e /tmp/file"), OK);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let mut hostile = with_uids(4);
    let unknown = in_workspace(&mut hostile, "w", "true");
    assert_eq!(refused(&mut hostile, unknown), Refusal::UnknownWorkspace);
    let unknown = Ask::RemoveWorkspace(name("w"), None);
    assert_eq!(refused(&mut hostile, unknown), Refusal::UnknownWorkspace);
    create(&mut hostile, "w");
    let twice = Ask::CreateWorkspace(spec("w"));
    assert_eq!(refused(&mut hostile, twice), Refusal::WorkspaceExists);
    let first = start(&mut hostile, "w", "sleep 600");
    let second = start(&mut hostile, "w", "sleep 600");
    let in_use = Ask::RemoveWorkspace(name("w"), None);
    assert_eq!(refused(&mut hostile, in_use), Refusal::WorkspaceInUse(2));
    create(&mut hostile, "x");
    let full = Ask::CreateWorkspace(spec("y"));
    let refusal = refused(&mut hostile, full);
    assert!(matches!(refusal, Refusal::TooManyProcesses { max: 4, .. }));
    let full = in_workspace(&mut hostile, "w", "true");
    let refusal = refused(&mut hostile, full);
    assert!(
        matches!(refusal, Refusal::TooManyProcesses { max: 4, .. }),
        "each process takes an id, whoever it runs as"
    );
    remove(&mut hostile, "w", Some(StopHow::Kill));
    for id in [first, second] {
        let info = hostile.events.iter().find_map(|event| match event {
            Event::Process(info) if info.id == id && info.end.is_some() => Some(info),
            _ => None,
        });
        assert!(info.is_some(), "it had ended when the workspace was gone");
    }
    let gone = in_workspace(&mut hostile, "w", "true");
    assert_eq!(refused(&mut hostile, gone), Refusal::UnknownWorkspace);
}

#[test]
fn a_name_and_a_user_id_come_round_with_nothing_of_who_had_them() {
    let mut hostile = with_uids(2);
    let mut uids = Vec::new();
    for _ in 0..5 {
        uids.push(create(&mut hostile, "w").uid);
        let fresh = "test -z \"$(ls -A)\" && test -z \"$(ls -A /tmp)\" && mkdir -m 0 a && echo s >.s && echo s >/tmp/s";
        assert_eq!(run(&mut hostile, "w", fresh), OK);
        remove(&mut hostile, "w", None);
        let state = hostile.server.state_dir();
        assert!(!state.join("workspace-w").exists() && !state.join("workspace-w.tmp").exists());
        assert!(
            !hostile
                .server
                .cgroup()
                .join("processes/workspace-w")
                .exists()
        );
    }
    uids.sort_unstable();
    uids.dedup();
    assert!(uids.len() < 5, "ids came round");
}

#[test]
fn nothing_starts_in_a_workspace_that_is_being_removed() {
    let mut hostile = HostileFrontend::start();
    create(&mut hostile, "w");
    let slow = "trap 'while test ! -e /tmp/go; do sleep 0.05; done; exit 0' TERM; echo >up; while :; do sleep 0.05; done";
    let id = start(&mut hostile, "w", slow);
    let state = hostile.server.state_dir();
    wait_for("the trap", || state.join("workspace-w/up").exists());
    let removal = hostile.request(Ask::RemoveWorkspace(
        name("w"),
        Some(StopHow::Graceful(None)),
    ));
    let leaving = hostile.event(|event| match event {
        Event::Workspace(info) => Some(info.is_leaving),
        _ => None,
    });
    assert!(leaving);
    let start = in_workspace(&mut hostile, "w", "true");
    assert_eq!(refused(&mut hostile, start), Refusal::WorkspaceLeaving);
    let create = Ask::CreateWorkspace(spec("w"));
    assert_eq!(refused(&mut hostile, create), Refusal::WorkspaceExists);
    fs::write(state.join("workspace-w.tmp/go"), "").unwrap();
    let (mut is_gone, mut is_answered) = (false, false);
    while !is_answered {
        match hostile.receive().0 {
            FromSupervisor::Event(Event::WorkspaceGone(_)) => {
                is_gone = true;
            }
            FromSupervisor::Event(event) => {
                hostile.events.push_back(event);
            }
            FromSupervisor::Reply(of, reply) => {
                assert_eq!((of, reply), (removal, Reply::Done));
                is_answered = true;
            }
        }
    }
    assert!(is_gone, "told before the answer");
    assert_eq!(exit(&mut hostile, id), OK);
}

#[test]
fn a_new_frontend_hears_of_workspaces_before_the_processes_in_them() {
    let mut hostile = HostileFrontend::start();
    create(&mut hostile, "w");
    start(&mut hostile, "w", "sleep 600");
    hostile.live_again(Mode::Silent);
    hostile.send(&encoded(&Request::Hello(PROTOCOL.to_owned())));
    let mut snapshot = Vec::new();
    hostile.event(|event| {
        snapshot.push(event.clone());
        matches!(event, Event::SnapshotEnd { .. }).then_some(())
    });
    let shape: Vec<_> = snapshot
        .iter()
        .map(|event| match event {
            Event::Workspace(info) => info.name.to_string(),
            Event::Process(info) => format!("in {}", info.spec.workspace.as_ref().unwrap()),
            _ => "end".to_owned(),
        })
        .collect();
    assert_eq!(shape, ["w", "in w", "end"]);
}

/// Pipes count for a user id of each process's own, since the kernel would let who has the
/// workspace's signal this program while they are made (kill(2)).
#[test]
fn s10_processes_of_a_workspace_cannot_signal_the_supervisor_while_it_starts_others() {
    let mut hostile = HostileFrontend::with(Options {
        arguments: vec!["--allow-profile-none".to_owned()],
        ..Options::default()
    });
    create(&mut hostile, "w");
    let victim = hostile.server.supervisor();
    let attack = format!(
        "exec 2>/dev/null; echo >up; i=0; while test $i -lt 4000000; do kill -KILL {victim} && echo >hit; i=$((i+1)); done"
    );
    let attackers = [0, 1].map(|_| {
        let mut spec = hostile.spec(&["sh", "-c", &attack]);
        spec.process.workspace = Some(name("w"));
        // Nor does Landlock keep its signals from others (landlock(7), scopes).
        spec.process.profile = Profile::None;
        let id = spec.id;
        assert_eq!(hostile.ask(Ask::Start(Box::new(spec))).0, Reply::Done);
        id
    });
    let up = hostile.server.state_dir().join("workspace-w/up");
    wait_for("an attacker", || up.exists());
    for input in [Input::Pipe, Input::Nothing] {
        for _ in 0..100 {
            let mut ask = in_workspace(&mut hostile, "w", "exit 0");
            if let Ask::Start(spec) = &mut ask {
                spec.process.input = input;
            }
            assert_eq!(hostile.ask(ask).0, Reply::Done);
        }
    }
    for id in attackers {
        assert_eq!(hostile.ask(Ask::Stop(id, StopHow::Kill)).0, Reply::Done);
    }
    assert_eq!(run(&mut hostile, "w", "test ! -e hit"), OK);
}

#[test]
fn a_server_that_ends_removes_its_workspaces_with_what_is_in_them() {
    let mut hostile = HostileFrontend::start();
    for (text, script) in [
        ("idle", "echo a >a; mkdir -p b/c; echo >/tmp/x"),
        ("busy", "mkdir d; exec sleep 600"),
    ] {
        create(&mut hostile, text);
        start(&mut hostile, text, script);
    }
    create(&mut hostile, "empty");
    let state = hostile.server.state_dir();
    wait_for("a directory", || state.join("workspace-busy/d").exists());
    hostile.next_life(Mode::Ready);
    let status = hostile.server.stop();
    let log = hostile.server.log();
    assert_eq!(status, Some(0), "{log}");
    let left: Vec<_> = fs::read_dir(&state)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name != ".empty" && name != ".control")
        .collect();
    assert_eq!(left, Vec::<std::ffi::OsString>::new(), "{log}");
}

/// What is stopped before it has taken its descriptors dies without a report: whoever sees its end
/// first has to take note of that.
#[test]
fn c9_a_start_that_is_stopped_again_and_again_from_its_first_moment_is_answered() {
    let mut hostile = HostileFrontend::start();
    let groups = hostile.server.cgroup().join("processes");
    let freeze = |how| fs::write(groups.join("cgroup.freeze"), how).unwrap();
    // Who sees it first is a matter of chance.
    for stops in [1, 2, 12].repeat(20) {
        // Born frozen, it takes nothing, and can be killed.
        freeze("1");
        let spec = hostile.spec(&["sleep", "600"]);
        let id = spec.id;
        hostile.request(Ask::Start(Box::new(spec)));
        for _ in 0..stops {
            hostile.request(Ask::Stop(id, StopHow::Kill));
        }
        let mut waiting = stops + 1;
        while waiting > 0 {
            if let FromSupervisor::Reply(..) = hostile.receive().0 {
                waiting -= 1;
            }
        }
        freeze("0");
    }
    assert_eq!(hostile.server.stop(), Some(0));
}

#[test]
fn j6_a_process_sets_limits_of_its_own_and_of_no_neighbour() {
    let mut hostile = HostileFrontend::start();
    create(&mut hostile, "w");
    let victim = start(
        &mut hostile,
        "w",
        "echo $$ >pid.new; mv pid.new pid; exec sleep 600",
    );
    let pid = hostile.server.state_dir().join("workspace-w/pid");
    wait_for("its number", || pid.exists());
    let pid = fs::read_to_string(pid).unwrap();
    let attack = format!("prlimit --pid {} --nofile=1:1", pid.trim());
    assert_ne!(run(&mut hostile, "w", &attack), OK);
    assert_eq!(run(&mut hostile, "w", "prlimit --nofile=99:99 true"), OK);
    assert_eq!(hostile.ask(Ask::Stop(victim, StopHow::Kill)).0, Reply::Done);
}

#[test]
fn a_bound_holds_over_processes_that_are_shorter_than_a_look() {
    let mut hostile = HostileFrontend::start();
    let asked = Ask::CreateWorkspace(WorkspaceSpec {
        name: name("w"),
        disk_max: Some(8 << 20),
    });
    assert_eq!(hostile.ask(asked).0, Reply::Done);
    let mut causes = Vec::new();
    // The last one is there for long enough to be found.
    for (place, rest) in [(1, "true"), (2, "true"), (3, "true"), (4, "sleep 600")] {
        let script = format!("head -c 4000000 /dev/zero >{place} && {rest}");
        let id = start(&mut hostile, "w", &script);
        causes.push(hostile.end_of(id).main_exit.unwrap().cause);
    }
    assert!(causes.contains(&ExitCause::DiskLimit), "{causes:?}");
    assert_eq!(causes.last(), Some(&ExitCause::DiskLimit), "{causes:?}");
    // Who makes room is left alone, for several looks.
    // One that was killed before it began has made nothing.
    let less = "rm 1 && sleep 4 && rm -f 2 3 4";
    assert_eq!(run(&mut hostile, "w", less), OK);
}
