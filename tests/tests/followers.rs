//! Output that a process waits for its follower with: nothing is lost while it is there, or may
//! come back, and nobody else holds the process up.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_tests::client::{collect, connect, output_request};
use prn_tests::proxy::Proxy;
use prn_tests::server::Server;
use prn_tests::wait_for;

/// More than is kept of it, many times over, and than all pipes and sockets on the way hold.
const BYTES: usize = 96 << 20;
const FLAGS: [&str; 2] = ["--output-max", "1M"];

fn writer() -> String {
    format!("head -c {BYTES} /dev/zero; echo end >&2; exit 5")
}

fn run(server: &Server, flags: &[&str], script: &str) -> Child {
    let words = [&["run"][..], &FLAGS, flags, &["--", "sh", "-c", script]].concat();
    server
        .prn(&words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

/// The only process of the server, once there is one.
fn only(server: &Server) -> String {
    let mut id = String::new();
    wait_for("the process", || {
        let list: serde_json::Value =
            serde_json::from_str(&server.ok(&["list", "-o", "json"])).unwrap();
        let first = list["processes"]
            .as_array()
            .and_then(|all| all.first())
            .cloned();
        id = first.map_or_else(String::new, |first| {
            first["id"].as_str().unwrap().to_owned()
        });
        !id.is_empty()
    });
    id
}

fn waits(server: &Server, id: &str) -> bool {
    server.status(id)["output"]["waits_for_reader"] == true
}

/// How much it prints, and how it ends.
fn finish(mut child: Child) -> (usize, Option<i32>, String) {
    let mut stderr = child.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    });
    let mut stdout = child.stdout.take().unwrap();
    let copied = std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
    let code = child.wait().unwrap().code();
    (copied.try_into().unwrap(), code, errors.join().unwrap())
}

#[test]
fn an_attached_run_loses_nothing_to_a_reader_that_is_slow() {
    let server = Server::start();
    let child = run(&server, &[], &writer());
    let id = only(&server);
    wait_for("a process that waits", || waits(&server, &id));
    let (bytes, code, errors) = finish(child);
    assert_eq!((bytes, code), (BYTES, Some(5)), "{errors}");
    assert_eq!(errors, "end\n");
}

#[test]
fn an_attached_run_that_is_stopped_holds_its_process_and_another_reader_does_not() {
    let server = Server::start();
    let child = run(&server, &["--reconnect", "1s"], &writer());
    let id = only(&server);
    let mut other = server
        .prn(&["logs", &id])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    other
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut [0; 1])
        .unwrap();
    signal(&other, Signal::SIGSTOP);
    signal(&child, Signal::SIGSTOP);
    wait_for("a process that waits", || waits(&server, &id));
    // For longer than it would wait for one that is gone: this one is there.
    std::thread::sleep(Duration::from_secs(2));
    assert!(waits(&server, &id));
    signal(&child, Signal::SIGCONT);
    let (bytes, code, errors) = finish(child);
    assert_eq!((bytes, code), (BYTES, Some(5)), "{errors}");
    // What the other one missed it is told of.
    signal(&other, Signal::SIGCONT);
    std::io::copy(other.stdout.as_mut().unwrap(), &mut std::io::sink()).unwrap();
    assert_eq!(other.wait().unwrap().code(), Some(6));
}

#[test]
fn a_process_whose_run_was_killed_waits_for_its_time_and_then_ends_by_itself() {
    let server = Server::start();
    let mut child = run(&server, &["--reconnect", "2s"], &writer());
    let id = only(&server);
    wait_for("a process that waits", || waits(&server, &id));
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("its end", || server.status(&id)["state"] == "stopped");
    assert_eq!(server.status(&id)["exit"]["code"], 5);
    // What was dropped is told.
    let output = server.run(&["logs", &id]);
    assert_eq!(output.status.code(), Some(6));
}

#[test]
fn a_connection_that_is_cut_for_a_while_costs_an_attached_run_nothing() {
    let server = Server::start();
    let proxy = Proxy::start(&server.address, || None);
    let words = [&["run", "--reconnect", "60s"][..], &FLAGS].concat();
    let script = writer();
    let mut child = server
        .prn(&[&words[..], &["--", "sh", "-c", &script]].concat())
        .env("PRN_ADDRESS", &proxy.address)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = only(&server);
    // It follows: a start whose answer was cut off would be another matter.
    let mut first = [0; 1];
    let stdout = child.stdout.as_mut().unwrap();
    stdout.read_exact(&mut first).unwrap();
    let reader = std::thread::spawn(move || finish(child));
    proxy.interrupt();
    wait_for("a process that waits", || waits(&server, &id));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(server.status(&id)["state"], "running");
    proxy.resume();
    let (rest, code, errors) = reader.join().unwrap();
    assert_eq!((first.len() + rest, code), (BYTES, Some(5)), "{errors}");
}

#[test]
fn a_frontend_that_is_replaced_costs_an_attached_run_nothing() {
    let server = Server::start();
    let child = run(&server, &[], &writer());
    let id = only(&server);
    wait_for("a process that waits", || waits(&server, &id));
    for _ in 0..3 {
        let frontend = server.frontend();
        kill(Pid::from_raw(frontend), Signal::SIGKILL).unwrap();
        wait_for("the next one", || {
            server.frontend() != frontend && server.run(&["list"]).status.success()
        });
    }
    assert_eq!(server.status(&id)["state"], "running");
    let (bytes, code, errors) = finish(child);
    assert_eq!((bytes, code), (BYTES, Some(5)), "{errors}");
}

#[test]
fn a_budget_that_is_used_up_makes_followed_processes_wait_and_lose_nothing() {
    let server = Server::with_arguments(&["--output-budget", "4M", "--output-ceiling", "4M"]);
    let flags = ["--output-max", "4M"];
    let script = writer();
    let children: Vec<Child> = (0..6)
        .map(|_| {
            let words = [&["run"][..], &flags, &["--", "sh", "-c", &script]].concat();
            let mut command: Command = server.prn(&words);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    let readers: Vec<_> = children
        .into_iter()
        .map(|child| std::thread::spawn(move || finish(child)))
        .collect();
    for reader in readers {
        let (bytes, code, errors) = reader.join().unwrap();
        assert_eq!((bytes, code), (BYTES, Some(5)), "{errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_does_not_ask_for_it_is_waited_for() {
    let server = Server::start();
    let flags = [
        "--output-policy",
        "follow",
        "--output-max",
        "1M",
        "--reconnect",
        "1s",
    ];
    let script = writer();
    let id = server.start_process(&flags, &["sh", "-c", &script]);
    // It waits for a follower that may come, then for nobody.
    wait_for("a process that waits", || waits(&server, &id));
    let reader = connect(&server).await.unwrap();
    let mut other = reader
        .clone()
        .get_output(output_request(&id))
        .await
        .unwrap()
        .into_inner();
    assert!(other.message().await.unwrap().is_some());
    wait_for("its end", || server.status(&id)["state"] == "stopped");
    let client = connect(&server).await.unwrap();
    let all = collect(client, output_request(&id)).await.unwrap();
    assert!(all.stdout.len() < BYTES && !all.gaps.is_empty());
    assert_eq!(server.status(&id)["exit"]["code"], 5);
}

#[test]
fn a_gap_is_never_success() {
    let server = Server::start();
    // Without a policy that waits, and a reader that is too slow.
    let script = format!("head -c {BYTES} /dev/zero");
    let child = run(&server, &["--output-policy", "drop-oldest"], &script);
    let id = only(&server);
    wait_for("its end", || server.status(&id)["state"] == "stopped");
    let (bytes, code, errors) = finish(child);
    assert!(bytes < BYTES, "{errors}");
    assert_eq!(code, Some(6), "{errors}");
    assert!(errors.contains("were dropped"), "{errors}");
}

#[test]
fn what_is_kept_for_a_follower_is_kept_whatever_else_ends_meanwhile() {
    let server = Server::with_arguments(&["--max-finished", "64"]);
    let script = "head -c 40000000 /dev/zero";
    let words = ["run", "--", "sh", "-c", script];
    let mut child = server.prn(&words).stdout(Stdio::piped()).spawn().unwrap();
    let id = only(&server);
    wait_for("its end", || server.status(&id)["state"] == "stopped");
    for _ in 0..100 {
        server.start_process(&[], &["true"]);
    }
    wait_for("the others' end", || {
        !server.ok(&["list"]).contains("Running")
    });
    let mut stdout = child.stdout.take().unwrap();
    let copied = std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
    assert_eq!(
        (copied, child.wait().unwrap().code()),
        (40_000_000, Some(0))
    );
}
