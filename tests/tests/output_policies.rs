//! What happens when a process writes more output than is to be kept.

use std::process::Stdio;
use std::time::Duration;

use prn_tests::server::Server;
use prn_tests::wait_for;

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
    let server = Server::with_arguments(&["--output-budget", "16M"]);
    let options = ["--output-policy", "kill", "--output-max", "3M"];
    let sleeper = ["sleep".to_owned(), "600".to_owned()];
    let first = start(&server, &options, &sleeper);
    let start_second = [&["start"], &options[..], &["--", "sleep", "600"]].concat();
    let refused = server.run(&start_second);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("bytes are left"), "{text}");
    server.ok(&["stop", &first]);
    let second = server.ok(&start_second);
    // The other half of the budget is for others.
    let other = start(&server, &["--output-max", "3M"], &lines(250_000));
    assert_eq!(server.ok(&["logs", &other]), written(250_000));
    server.ok(&["stop", second.trim()]);
}

#[test]
fn nothing_is_dropped_either_when_it_comes_in_more_runs_than_can_be_told_apart() {
    let server = Server::start();
    // Each byte is of another stream than the one before it: the index is full long before the ring is.
    let script = "for (1 .. 50_000) { syswrite STDOUT, 'o'; syswrite STDERR, 'e' }";
    let options = ["--output-policy", "kill", "--output-max", "64K"];
    let id = server.start_process(&options, &["perl", "-e", script]);
    wait_for("its end", || server.status(&id)["tree_empty"] == true);
    let output = &server.status(&id)["output"];
    assert_eq!(output["first_offset"], 0, "{output}");
    let options = ["--output-policy", "stop-reading", "--output-max", "64K"];
    let id = server.start_process(&options, &["perl", "-e", script]);
    let output = server.run(&["logs", &id]);
    assert_eq!((output.status.code(), output.stdout.len(), output.stderr.len()), (Some(0), 50_000, 50_000));
}

#[test]
fn who_asks_for_output_that_is_still_to_come_holds_nobody_up_and_lets_go_of_it_only_while_there() {
    let server = Server::start();
    let options = ["--output-policy", "stop-reading", "--output-max", "64K"];
    let id = start(&server, &options, &lines(100_000_000));
    wait_for("the process to wait", || waits(&server, &id));
    // Nothing that there will ever be is before that.
    let mut far = server.prn(&["logs", &id, "--offset", "1152921504606846976"]).stdout(Stdio::null()).spawn().unwrap();
    wait_for("the process to go on", || !waits(&server, &id));
    far.kill().unwrap();
    far.wait().unwrap();
    wait_for("the process to wait again", || waits(&server, &id));
    let mut next = server.prn(&["logs", &id]).stdout(Stdio::null()).spawn().unwrap();
    wait_for("the process to go on again", || !waits(&server, &id));
    next.kill().unwrap();
    next.wait().unwrap();
    server.ok(&["stop", "--signal", "kill", &id]);
}
