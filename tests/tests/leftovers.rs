//! What a process leaves on disk, however much it is: removed without the supervisor's only thread
//! waiting for it, and never given up.

use std::fs;
use std::path::{Path, PathBuf};

use prn_tests::server::{Options, Server};
use prn_tests::trace::Trace;
use prn_tests::wait_for;

fn directories(server: &Server, id: &str) -> [PathBuf; 2] {
    let own = server.state_dir().join(id);
    [own.with_extension("tmp"), own]
}

fn is_gone(paths: &[PathBuf]) -> bool {
    !paths.iter().any(|path| path.exists())
}

#[test]
fn x8_a_directory_that_has_grown_large_is_removed_by_a_child_and_not_by_the_supervisor() {
    let server = Server::start();
    let trace = Trace::of(&server, &["-e", "trace=unlinkat"]);
    let supervisor = server.supervisor().to_string();
    // Long names, so that the directory has some 6 MB of blocks, which ext4 keeps when it is empty.
    let large = "my $n = 'x' x 190; for (1..25000) { open(my $f, '>', \"$n$_\") or die $!; }";
    let emptied = format!("{large} unlink glob '*'; rmdir $_ for glob '*'; print -s '.';");
    let mut ids = Vec::new();
    for script in [large, &emptied] {
        let id = server.start_process(&[], &["perl", "-e", script]);
        server.ok(&["logs", &id]);
        wait_for("its removal", || is_gone(&directories(&server, &id)));
        ids.push(id);
    }
    let size = server.ok(&["logs", &ids[1]]);
    let small = server.start_process(&[], &["true"]);
    wait_for("its removal", || is_gone(&directories(&server, &small)));
    let calls = trace.end();
    // Of its two directories the second; the first has the name of its cgroup as well.
    let by_supervisor = |id: &str| {
        let name = format!("{id}.tmp\"");
        let of_it = calls.lines().filter(|line| line.contains(&name));
        of_it.filter(|line| line.starts_with(&supervisor)).count()
    };
    assert_eq!(by_supervisor(&small), 1, "the control");
    if size.parse::<u64>().unwrap() < 1 << 20 {
        return prn_tests::skipped("this file system has small directories");
    }
    for id in &ids {
        assert_eq!(by_supervisor(id), 0);
    }
}

#[test]
fn x9_what_a_cleaner_cannot_delete_in_its_time_is_deleted_later_and_its_user_id_is_free_then() {
    let server = Server::with(Options {
        uids: Some(2),
        ..Options::default()
    });
    let other = server.start_process(&[], &["sleep", "1000"]);
    // Each name takes longer than a cleaner has for all.
    let trace = Trace::of(&server, &["-e", "inject=unlinkat:delay_exit=400000"]);
    let id = server.start_process(&[], &["sh", "-c", "touch $(seq 80)"]);
    let left = directories(&server, &id);
    server.ok(&["logs", &id]);
    wait_for("the first try's end", || {
        server.log().contains("are left for now")
    });
    assert!(!is_gone(&left));
    assert_eq!(
        server.status(&id)["state"],
        "stopped",
        "that is no reason to wait"
    );
    // Of two user ids one is a running process's: the refusal does not say that two run.
    let refused = server.run(&["start", "--", "true"]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("1 of the server's 2"), "{why}");
    drop(trace);
    wait_for("the next try", || is_gone(&left));
    wait_for("its user id", || {
        server.run(&["start", "--", "true"]).status.success()
    });
    assert!(
        server.log().contains("nothing is left of it now"),
        "{}",
        server.log()
    );
    server.ok(&["stop", &other, "--grace", "0s"]);
}

#[test]
fn x9_a_server_that_is_stopped_does_not_wait_for_what_cannot_be_deleted() {
    let mut server = Server::start();
    // What a process may not delete, nobody deletes in its name: a directory of another user's, as
    // root may put there.
    let id = server.start_process(&[], &["sleep", "1000"]);
    let foreign = server.state_dir().join(&id).join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("file"), "x").unwrap();
    server.ok(&["stop", &id, "--grace", "0s"]);
    wait_for("the first try's end", || {
        server.log().contains("are left for now")
    });
    assert_eq!(server.stop(), Some(0));
    assert!(Path::new(&foreign).exists());
}
