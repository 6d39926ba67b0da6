//! What a server that was killed leaves behind, and what others do meanwhile, without a service
//! manager that would clean up: nothing of it keeps the next server from starting, and nothing of
//! it outlives that start.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_tests::server::{Options, Server, has_controllers};
use prn_tests::{binary, procfs, wait_for};

/// Another user of the machine.
const SOMEBODY: u32 = 1_999_888_777;

/// Starts a server of the same name as one that was there, with this state folder. What it says
/// goes to its standard error's file.
fn start_again(before: &Server, first_uid: u32, state_dir: &Path, log: &Path) -> Child {
    let mut command = Command::new(binary("prn"));
    command.args(["server", "start", "--address", "127.0.0.1:0"]);
    if !has_controllers() {
        command.arg("--allow-missing-limits");
    }
    command
        .args(["--instance", &before.instance, "--uids", "256"])
        .args(["--first-uid", &first_uid.to_string()])
        .arg("--state-dir")
        .arg(state_dir)
        .arg("--server-cert")
        .arg(&before.identity.certificate)
        .arg("--client-cert")
        .arg(&before.client.certificate)
        .env("PRN_TLS_KEY", before.identity.key_pem())
        .stdout(Stdio::piped())
        .stderr(File::create(log).unwrap());
    command.spawn().unwrap()
}

/// The next server of the same name starts, and ends in order.
fn the_next_one_starts(before: &Server, meanwhile: impl FnOnce()) {
    let log = before.folder().join("again.log");
    let mut again = start_again(before, before.first_uid(), &before.state_dir(), &log);
    let mut line = String::new();
    let mut lines = BufReader::new(again.stdout.take().unwrap());
    lines.read_line(&mut line).unwrap();
    let said = fs::read_to_string(&log).unwrap();
    assert!(line.starts_with("Listening on "), "{line}{said}");
    meanwhile();
    kill(
        Pid::from_raw(again.id().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    assert!(again.wait().unwrap().success());
    assert!(!before.cgroup().exists());
}

fn members(group: &Path) -> Vec<i32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

/// A program of somebody's, which ends with the test.
struct Somebody(Child);

impl Somebody {
    /// Runs a script of perl's as this user, until it has written a line.
    fn runs(user: u32, script: &str, argument: &Path) -> (Self, String) {
        let mut child = Command::new("perl")
            .args(["-e", script])
            .arg(argument)
            .uid(user)
            .gid(user)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut line).unwrap();
        (Self(child), line.trim().to_owned())
    }
}

impl Drop for Somebody {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Locks a folder (LOCK_EX), says so, and stays. It waits for the lock, as the kernel may close a
/// killed process's files after its parent has heard of its end.
const LOCKS: &str = r#"$| = 1; alarm 60; sysopen(my $folder, $ARGV[0], 0) or print("closed\n"), exit;
    flock($folder, 2) and print("locked\n"); alarm 0; sleep 1000"#;

#[test]
fn x5_what_escapes_the_signal_at_the_supervisors_death_dies_when_the_next_server_starts() {
    let mut server = Server::start();
    // A process that takes the signal off itself, with a child that waits for the group's lock.
    let script = format!(
        r#"syscall({}, 1, 0, 0, 0, 0) == 0 or die;
        fork or do {{ sysopen(my $group, "{}", 0); flock($group, 2); sleep 1000 }};
        sleep 1000"#,
        libc::SYS_prctl,
        server.cgroup().display()
    );
    let id = server.start_process(&[], &["perl", "-e", &script]);
    let group = server.cgroup().join("processes").join(&id);
    wait_for("both to sleep", || {
        let waits = |pid: &i32| {
            let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
            [libc::SYS_clock_nanosleep, libc::SYS_flock]
                .iter()
                .any(|waits| call.starts_with(&format!("{waits} ")))
        };
        let pids = members(&group);
        pids.len() == 2 && pids.iter().all(waits)
    });
    let (pids, frontend) = (members(&group), server.frontend());
    server.signal(Signal::SIGKILL);
    server.wait();
    // What ends with the supervisor, and what does not before the next one.
    wait_for("the frontend's end", || !procfs::alive(frontend));
    assert_eq!(members(&group), pids);
    the_next_one_starts(&server, || {
        assert!(pids.iter().all(|pid| !procfs::alive(*pid)));
        assert!(!group.exists() && !server.state_dir().join(&id).exists());
    });
}

#[test]
fn x5_a_main_process_that_changes_nothing_dies_with_the_supervisor() {
    let mut server = Server::start();
    let id = server.start_process(&[], &["sleep", "1000"]);
    let pids = members(&server.cgroup().join("processes").join(&id));
    assert_eq!(pids.len(), 1);
    server.signal(Signal::SIGKILL);
    server.wait();
    wait_for("its end", || !procfs::alive(pids[0]));
}

#[test]
fn x5_nobody_but_root_can_list_or_lock_what_a_server_has_to_itself() {
    let state = tempfile::tempdir().unwrap();
    fs::set_permissions(state.path(), PermissionsExt::from_mode(0o755)).unwrap();
    // Made by an operator, with the mode that folders have.
    let made = state.path().join("state");
    fs::create_dir(&made).unwrap();
    fs::set_permissions(&made, PermissionsExt::from_mode(0o755)).unwrap();
    let server = Server::with(Options {
        state_dir: Some(made.clone()),
        ..Options::default()
    });
    let groups = server.cgroup();
    for folder in [&groups, &groups.join("processes"), &made] {
        let mode = fs::metadata(folder).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o711, "{}", folder.display());
        let (_somebody, said) = Somebody::runs(SOMEBODY, LOCKS, folder);
        assert_eq!(said, "closed", "{}", folder.display());
    }
    // Who knows a group's name may read its files, as programs do with their own.
    let id = server.start_process(&[], &["sleep", "1000"]);
    let read = r#"$| = 1; open(my $file, '<', "$ARGV[0]/cgroup.events"); print scalar(<$file>) // "closed\n"; sleep 9"#;
    let group = groups.join("processes").join(&id);
    let (_somebody, said) = Somebody::runs(SOMEBODY, read, &group);
    assert_eq!(said, "populated 1");
}

#[test]
fn x5_a_lock_of_the_group_that_no_server_holds_keeps_none_from_starting() {
    let mut server = Server::start();
    let group = server.cgroup();
    server.signal(Signal::SIGKILL);
    server.wait();
    // A group that others may open, as any that a program makes.
    fs::set_permissions(&group, PermissionsExt::from_mode(0o755)).unwrap();
    let (_somebody, said) = Somebody::runs(SOMEBODY, LOCKS, &group);
    assert_eq!(said, "locked");
    the_next_one_starts(&server, || {
        // A third one is refused all the same, though the lock is not the second one's.
        let other = tempfile::tempdir().unwrap();
        let log = other.path().join("log");
        let uids = server.first_uid() - 256;
        let mut third = start_again(&server, uids, &other.path().join("state"), &log);
        assert!(!third.wait().unwrap().success());
        let said = fs::read_to_string(&log).unwrap();
        assert!(said.contains("another server uses the cgroup"), "{said}");
        assert!(said.contains("give this one another --instance"), "{said}");
    });
}

#[test]
fn x5_groups_of_no_server_are_swept_whatever_their_names() {
    let mut server = Server::start();
    let group = server.cgroup();
    server.signal(Signal::SIGKILL);
    server.wait();
    let (stranger, below) = (group.join("stranger"), group.join("stranger/below"));
    fs::create_dir_all(&below).unwrap();
    let (mut somebody, _) = Somebody::runs(SOMEBODY, "$| = 1; print qq(x\n); sleep 1000", &below);
    fs::write(below.join("cgroup.procs"), somebody.0.id().to_string()).unwrap();
    the_next_one_starts(&server, || {
        assert!(!stranger.exists());
        assert!(!somebody.0.wait().unwrap().success());
    });
}

#[test]
fn x5_workspaces_of_a_killed_server_are_emptied_as_their_users_and_removed() {
    let mut server = Server::start();
    server.signal(Signal::SIGKILL);
    server.wait();
    let state = server.state_dir();
    let outside = state.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::set_permissions(&outside, PermissionsExt::from_mode(0o777)).unwrap();
    let (mine, not_mine) = (outside.join("mine"), outside.join("not-mine"));
    fs::write(&not_mine, "stays").unwrap();
    let user = server.first_uid() + 3;
    // What a workspace has, and what its processes may have made of it.
    let fill = r#"$| = 1; chdir($ARGV[0]) or die; umask 0; my $outside = "../outside";
        open(my $file, '>', "$outside/mine"); close $file;
        for (1 .. 50) { mkdir "d"; open(my $file, '>', "file-$_"); symlink("../$outside", "link-$_"); chdir "d" or die }
        chdir($ARGV[0]); symlink($outside, "link"); mkdir "closed"; mkdir "closed/below"; chmod 0, "closed"; print "filled\n""#;
    let folders = [
        "workspace-build_1",
        "workspace-build_1.tmp",
        "workspace-empty",
    ];
    for folder in folders.map(|name| state.join(name)) {
        fs::create_dir(&folder).unwrap();
        chown(&folder, Some(user), Some(user)).unwrap();
        fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
        if !folder.ends_with("workspace-empty") {
            assert_eq!(Somebody::runs(user, fill, &folder).1, "filled");
        }
    }
    // Made, and not yet given away.
    fs::create_dir(state.join("workspace-new")).unwrap();
    // No name of a workspace.
    fs::create_dir(state.join("workspace-Other")).unwrap();
    the_next_one_starts(&server, || {
        for folder in folders.into_iter().chain(["workspace-new"]) {
            assert!(!state.join(folder).exists(), "{folder}");
        }
        assert!(mine.exists() && state.join("workspace-Other").exists());
        assert_eq!(fs::read_to_string(&not_mine).unwrap(), "stays");
        let log = fs::read_to_string(server.folder().join("again.log")).unwrap();
        assert!(!log.contains("workspace-"), "{log}");
    });
}

#[test]
fn x5_a_workspace_that_its_user_cannot_empty_becomes_roots_and_is_named() {
    let mut server = Server::start();
    server.signal(Signal::SIGKILL);
    server.wait();
    let folder = server.state_dir().join("workspace-full");
    fs::create_dir_all(folder.join("roots/below")).unwrap();
    let user = server.first_uid() + 3;
    chown(&folder, Some(user), Some(user)).unwrap();
    the_next_one_starts(&server, || {
        assert_eq!(fs::metadata(&folder).unwrap().uid(), 0);
        let log = fs::read_to_string(server.folder().join("again.log")).unwrap();
        assert!(log.contains("workspace-full"), "{log}");
    });
}

#[test]
fn x5_a_server_is_refused_user_ids_that_another_one_has() {
    let mut first = Server::start();
    let with = |first_uid| {
        Server::try_with(Options {
            first_uid: Some(first_uid),
            ..Options::default()
        })
    };
    // Another state folder, another cgroup; the last of its user ids is the first one's first.
    let meets = first.first_uid() - 255;
    let refused = with(meets).expect_err("it started");
    assert!(
        refused.log.contains(&format!("user ids of {meets} to"))
            && refused.log.contains("--first-uid"),
        "{}",
        refused.log
    );
    // Those of one that has ended, however it did.
    first.signal(Signal::SIGKILL);
    first.wait();
    with(meets).expect("they are free");
}

#[test]
fn x5_a_server_is_refused_user_ids_that_a_process_of_a_killed_one_has() {
    let arguments = ["--allow-profile-none".to_owned()].to_vec();
    let mut first = Server::with(Options {
        arguments,
        ..Options::default()
    });
    let script = "setsid sleep 1000 & sleep 1000";
    let id = first.start_process(&["--profile", "none", "--linger"], &["sh", "-c", script]);
    wait_for("both processes", || {
        let group = first.cgroup().join("processes").join(&id);
        let text = fs::read_to_string(group.join("cgroup.procs")).unwrap();
        text.lines().count() == 3
    });
    first.signal(Signal::SIGKILL);
    first.wait();
    let with_its_uids = || {
        Server::try_with(Options {
            first_uid: Some(first.first_uid()),
            ..Options::default()
        })
    };
    let refused = with_its_uids().expect_err("it started");
    assert!(refused.log.contains("runs as user"), "{}", refused.log);
    fs::write(first.cgroup().join("processes/cgroup.kill"), "1").unwrap();
    with_its_uids().expect("they are free");
}
