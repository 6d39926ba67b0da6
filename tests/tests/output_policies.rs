//! What happens when a process writes more output than is to be kept, and where that is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use prn_tests::server::{Options, Server};
use prn_tests::{procfs, sha256, wait_for};

/// A program that writes so many lines of ten bytes, which are counted.
fn lines(count: u32) -> [String; 3] {
    ["perl".to_owned(), "-e".to_owned(), format!("printf '%09d'.\"\\n\", $_ for 1..{count}")]
}

fn written(count: u32) -> String {
    (1..=count).map(|number| format!("{number:09}\n")).collect()
}

fn start(server: &Server, options: &[&str], argv: &[String]) -> String {
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    server.start_process(options, &argv)
}

fn waits(server: &Server, id: &str) -> bool {
    server.status(id)["output"]["waits_for_reader"] == true
}

#[test]
fn a_process_that_is_not_read_from_waits_and_loses_nothing() {
    let server = Server::start();
    let options = ["--output-policy", "stop-reading", "--output-max", "64K"];
    let id = start(&server, &options, &lines(400_000));
    wait_for("the process to wait", || waits(&server, &id));
    // It goes on only when somebody reads.
    std::thread::sleep(Duration::from_millis(300));
    let status = server.status(&id);
    assert_eq!((&status["main_exited"], &status["output"]["waits_for_reader"]), (&false.into(), &true.into()));
    assert_eq!(status["output"]["policy"], "stop-reading");
    let table = server.ok(&["status", &id, "-o", "wide"]);
    assert!(table.contains("for a reader of its output"), "{table}");
    // One that begins in the middle is one to wait for, too, and not for what it does not want.
    let output = server.run(&["logs", &id]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 4_000_000));
    assert!(output.stdout == written(400_000).as_bytes());
    let status = server.status(&id);
    assert_eq!((&status["exit"]["code"], &status["output"]["waits_for_reader"]), (&0.into(), &false.into()));
}

#[test]
fn a_waiting_process_goes_at_the_pace_of_the_slowest_reader_and_on_when_that_one_leaves() {
    let server = Server::start();
    let options = ["--output-policy", "stop-reading", "--output-max", "64K"];
    let id = start(&server, &options, &lines(2_000_000));
    // Its output goes into a pipe that nobody reads.
    let mut slow = server.prn(&["logs", &id]).stdout(Stdio::piped()).spawn().unwrap();
    let fast = server.prn(&["logs", &id]).stdout(Stdio::piped()).spawn().unwrap();
    let fast = std::thread::spawn(move || fast.wait_with_output().unwrap());
    wait_for("the process to wait", || waits(&server, &id));
    assert_eq!(server.status(&id)["main_exited"], false);
    slow.kill().unwrap();
    slow.wait().unwrap();
    let output = fast.join().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 20_000_000));
    assert!(output.stdout == written(2_000_000).as_bytes());
}

#[test]
fn a_waiting_process_can_be_stopped_and_what_it_wrote_is_there() {
    let server = Server::start();
    let options = ["--output-policy", "stop-reading", "--output-max", "64K"];
    let id = start(&server, &options, &lines(400_000));
    wait_for("the process to wait", || waits(&server, &id));
    server.ok(&["stop", &id]);
    let output = server.run(&["logs", &id]);
    // What was in the pipe when it died is part of it.
    assert!(output.stdout.len() > 65_536 && written(400_000).as_bytes().starts_with(&output.stdout));
    assert_eq!(server.status(&id)["exit"]["cause"], "stopped-on-request");
}

#[test]
fn a_process_that_writes_too_much_is_killed_with_all_that_it_wrote_kept() {
    let server = Server::start();
    let options = ["--output-policy", "kill", "--output-max", "1M"];
    let id = start(&server, &options, &lines(10_000_000));
    wait_for("its end", || server.status(&id)["tree_empty"] == true);
    let status = server.status(&id);
    assert_eq!((&status["exit"]["cause"], &status["exit"]["signal"]), (&"output-limit".into(), &9.into()));
    assert_eq!((&status["output"]["first_offset"], &status["output"]["policy"]), (&0.into(), &"kill".into()));
    let output = server.run(&["logs", &id]);
    assert!(output.stdout.len() >= 1 << 20 && written(10_000_000).as_bytes().starts_with(&output.stdout));
    // One that stays below ends by itself.
    let id = start(&server, &options, &lines(50_000));
    assert_eq!(server.ok(&["logs", &id]), written(50_000));
    assert_eq!(server.status(&id)["exit"]["cause"], "exited");
}

#[test]
fn output_of_which_nothing_may_be_dropped_is_set_aside_in_the_budget() {
    let server = Server::with_arguments(&["--output-budget", "4M"]);
    let options = ["--output-policy", "kill", "--output-max", "3M"];
    let sleeper = ["sleep".to_owned(), "600".to_owned()];
    let first = start(&server, &options, &sleeper);
    let start_second = [&["start"], &options[..], &["--", "sleep", "600"]].concat();
    let refused = server.run(&start_second);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("1048576 bytes of the server's budget are left"), "{text}");
    server.ok(&["stop", &first]);
    let second = server.ok(&start_second);
    // Another process's output makes room for it, in turn, as soon as it has ended.
    server.ok(&["stop", second.trim()]);
    let old = start(&server, &["--output-max", "3M"], &lines(250_000));
    wait_for("its end", || server.status(&old)["tree_empty"] == true);
    server.ok(&start_second);
    assert_eq!(server.run(&["logs", &old]).status.code(), Some(6));
}

#[test]
fn output_on_disk_is_whole_and_not_in_memory() {
    let server = Server::with_arguments(&["--output-disk", "1G", "--output-budget", "1M"]);
    let before = procfs::memory(server.supervisor(), "RssShmem");
    let id = start(&server, &["--output-store", "disk"], &["head", "-c", "200M", "/dev/urandom"].map(str::to_owned));
    let early = server.run(&["logs", &id]).stdout;
    assert_eq!(early.len(), 200 << 20);
    assert_eq!(sha256(&early), sha256(&server.run(&["logs", &id]).stdout));
    let status = server.status(&id);
    assert_eq!((&status["output"]["store"], &status["output"]["first_offset"]), (&"disk".into(), &0.into()));
    let grown = procfs::memory(server.supervisor(), "RssShmem").saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes of memory");
    // No name, nor anybody's to open.
    let names: Vec<_> = fs::read_dir(server.state_dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| name == ".empty" || name.to_string_lossy().starts_with(&id)), "{names:?}");
}

#[test]
fn a_server_without_a_disk_for_output_says_so() {
    let server = Server::start();
    let refused = server.run(&["start", "--output-store", "disk", "--", "true"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("--output-disk"), "{text}");
}

#[test]
fn o7_a_full_disk_blocks_nobody_and_what_is_lost_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    // A disk of the server's own: 8 MiB, mounted where nobody else sees it.
    let script = format!("mount -t tmpfs -o size=8m,mode=755 none {} && exec \"$@\"", state.display());
    let server = Server::with(Options {
        wrapper: ["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec(),
        state_dir: Some(state.clone()),
        arguments: ["--output-disk", "64M"].map(str::to_owned).to_vec(),
        ..Options::default()
    });
    let disk = format!("/proc/{}/root{}", server.supervisor(), state.display());
    let filler = format!("{disk}/filler");
    fs::write(&filler, vec![1; 6 << 20]).unwrap();
    let script = "sub out { printf '%09d'.\"\\n\", $_ for $_[0] .. $_[1] } $| = 1; out(1, 1_000_000);
        open F, '>', 'written'; close F; until (-e 'room') { select undef, undef, undef, 0.01 } out(1_000_001, 1_200_000)";
    let id = server.start_process(&["--output-store", "disk"], &["perl", "-e", script]);
    // Ten megabytes do not fit, and do not hold it up.
    wait_for("it to go on", || fs::exists(format!("{disk}/{id}/written")).unwrap());
    let first = server.run(&["logs", "--no-follow", &id]);
    assert_eq!(first.status.code(), Some(6), "{}", String::from_utf8_lossy(&first.stderr));
    let expected = written(1_200_000);
    assert!(first.stdout.len() < 2 << 20);
    assert!(expected.as_bytes()[..10_000_000].ends_with(&first.stdout));
    fs::remove_file(&filler).unwrap();
    fs::write(format!("{disk}/{id}/room"), "").unwrap();
    wait_for("its end", || server.status(&id)["tree_empty"] == true);
    let output = server.run(&["logs", &id]);
    assert_eq!(output.status.code(), Some(6));
    assert!(output.stdout.len() >= 2_000_000, "{} bytes: what came once there was room is whole", output.stdout.len());
    assert!(expected.as_bytes().ends_with(&output.stdout));
    assert_eq!(server.status(&id)["exit"]["code"], 0);
}
