//! The commands of every day: by id, by its beginning, by name and by label; of one and of several;
//! through a pipe and at a terminal; and the exit code of each.

use std::io::Read;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use prn_tests::proxy::Proxy;
use prn_tests::screen::Screen;
use prn_tests::server::{Server, has_controllers};
use prn_tests::{procfs, skipped, wait_for};

/// No process has it.
const NO_SUCH: &str = "ffffffffffffffffffffffffffffffff";

/// Standard output, standard error and exit code.
fn said(output: &Output) -> (String, String, Option<i32>) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        text(&output.stdout),
        text(&output.stderr),
        output.status.code(),
    )
}

fn prn(server: &Server, words: &[&str]) -> (String, String, Option<i32>) {
    said(&server.run(words))
}

/// A shell's line, run there in the background.
fn start(server: &Server, flags: &[&str], line: &str) -> String {
    server.start_process(flags, &["sh", "-c", line])
}

fn state(server: &Server, id: &str) -> String {
    server.status(id)["state"].as_str().unwrap().to_owned()
}

fn ended(server: &Server, id: &str) {
    wait_for("its end", || state(server, id) == "stopped");
}

#[test]
fn a_process_is_found_by_its_name_and_by_the_beginning_of_its_id() {
    let server = Server::start();
    let web = start(&server, &["--name", "web"], "exec sleep 600");
    let other = start(&server, &[], "exec sleep 600");
    let begin = (4..32)
        .map(|length| &web[..length])
        .find(|begin| !other.starts_with(begin));
    for word in [&web, "web", begin.unwrap()] {
        let shown = server.ok(&["status", word, "-o", "json"]);
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["id"], *web, "{word}");
    }
    // The living one of a name, and then the newest.
    server.ok(&["stop", "web"]);
    let newer = start(&server, &["--name", "web"], "exec sleep 600");
    assert_eq!(server.ok(&["kill", "web"]), "web\n");
    ended(&server, &newer);
    assert_eq!(state(&server, &other), "running");
    assert_eq!(server.ok(&["rm", "web"]), "web\n");
    assert_eq!(server.run(&["status", &newer]).status.code(), Some(3));
    assert_eq!(server.ok(&["rm", "web"]), "web\n", "the older one");
    let (_, error, code) = prn(&server, &["status", "web"]);
    assert_eq!(code, Some(3));
    assert!(
        error.contains("no process is called web") && error.contains("`prn list` shows"),
        "{error}"
    );
}

#[test]
fn a_beginning_that_several_ids_have_is_refused_and_says_which() {
    let server = Server::start();
    // Ids of our own making.
    for (number, name) in ["ab1", "ab2", "ab3"].iter().enumerate() {
        let id = format!("ab{number}{}", "0".repeat(29));
        start(&server, &["--id", &id, "--name", name], "exec sleep 600");
    }
    let (out, error, code) = prn(&server, &["stop", "ab"]);
    assert_eq!((out.as_str(), code), ("", Some(2)), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    for part in [
        "3 processes",
        "ab2",
        "Running: sh -c",
        "write more of the id",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(prn(&server, &["wait", "ab"]).2, Some(125));
    // A name is whole, whatever ids begin like it.
    assert_eq!(server.ok(&["kill", "ab1"]), "ab1\n");
}

#[test]
fn waiting_exits_as_the_process_and_names_each_of_several() {
    let server = Server::start();
    let three = start(&server, &[], "sleep 0.3; exit 3");
    assert_eq!(
        prn(&server, &["wait", &three]),
        ("3\n".to_owned(), String::new(), Some(3))
    );
    let zero = start(&server, &["--name", "zero"], "exit 0");
    let last = start(&server, &["--label", "job=a"], "sleep 1; kill -SEGV $$");
    let (out, _, code) = prn(&server, &["wait", &three, "zero", &last]);
    let mut lines: Vec<_> = out.lines().collect();
    assert_eq!(
        lines.pop(),
        Some(format!("{last} 139").as_str()),
        "as each ends"
    );
    lines.sort_unstable();
    let mut expected = [format!("{three} 3"), "zero 0".to_owned()];
    expected.sort();
    assert_eq!(
        (lines, code),
        (expected.iter().map(String::as_str).collect(), Some(3))
    );
    // By label, those too that have ended.
    let (out, _, code) = prn(&server, &["wait", "-l", "job=a"]);
    assert_eq!((out, code), (format!("{last} 139\n"), Some(139)));
    assert_eq!(prn(&server, &["wait", "-l", "job=none"]).2, Some(125));
    // Whichever is first.
    let slow = start(&server, &[], "exec sleep 600");
    let (out, _, code) = prn(&server, &["wait", "--any", &slow, &zero]);
    assert_eq!((out, code), (format!("{zero} 0\n"), Some(0)));
    let (out, error, code) = prn(&server, &["wait", "--timeout", "300ms", &slow, &zero]);
    assert_eq!((out, code), (format!("{zero} 0\n"), Some(124)));
    assert!(error.contains(&slow), "{error}");
    // One that is not there does not keep the others from being waited for.
    let (out, error, code) = prn(&server, &["wait", NO_SUCH, &zero]);
    assert_eq!(code, Some(125), "{out}{error}");
}

#[test]
fn waiting_for_the_main_process_alone_does_not_wait_for_what_it_left() {
    let server = Server::start();
    let id = start(&server, &["--linger"], "sleep 600 & exit 7");
    assert_eq!(prn(&server, &["wait", "--main", &id]).2, Some(7));
    assert_eq!(state(&server, &id), "running");
    assert_eq!(
        prn(&server, &["wait", "--timeout", "200ms", &id]).2,
        Some(124)
    );
}

#[test]
fn a_signal_reaches_the_main_process_or_the_tree() {
    let server = Server::start();
    let script = "trap 'echo main' USR1; sh -c 'trap \"echo child\" USR1; echo up; while :; do sleep 0.1; done' & \
                  while :; do sleep 0.1; done";
    let id = start(&server, &["--name", "two"], script);
    let output = || server.ok(&["logs", "--no-follow", &id]);
    wait_for("both", || output().contains("up"));
    for (words, count) in [
        (&["kill", "-s", "USR1", "two"][..], ("main", 1)),
        (&["kill", "-USR1", "--tree", "two"], ("child", 1)),
        (&["kill", "-s", "sigusr1", "two"], ("main", 3)),
        (&["kill", "-10", "two"], ("main", 4)),
    ] {
        assert_eq!(server.ok(words), "two\n");
        wait_for("the signal", || {
            output().matches(count.0).count() == count.1
        });
    }
    // SIGKILL where none is named.
    server.ok(&["kill", "two"]);
    assert_eq!(prn(&server, &["wait", "two"]).2, Some(137));
    let (_, error, code) = prn(&server, &["kill", "two"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("has ended"), "{error}");
    assert_eq!(prn(&server, &["kill", "-s", "NOPE", "two"]).2, Some(2));
    assert!(server.ok(&["kill", "--list"]).contains("15 TERM"));
}

#[test]
fn of_several_that_are_stopped_one_that_is_not_there_keeps_none_from_it() {
    let server = Server::start();
    let a = start(&server, &["--label", "app=a"], "exec sleep 600");
    let b = start(&server, &["--label", "app=b"], "exec sleep 600");
    let (out, error, code) = prn(&server, &["stop", &a, "nobody", &a]);
    assert_eq!(code, Some(3));
    assert_eq!(out.matches(&a).count(), 1, "{out}");
    assert!(error.contains("nobody"), "{error}");
    assert_eq!(
        (state(&server, &a), state(&server, &b)),
        ("stopped".into(), "running".into())
    );
    let (out, error, code) = prn(&server, &["stop", "-l", "app=a"]);
    assert_eq!((out.as_str(), code), ("", Some(0)), "none runs: {error}");
    assert!(server.ok(&["stop", "-l", "app", "-t", "5s"]).contains(&b));
    ended(&server, &b);
    let c = start(&server, &[], "exec sleep 600");
    let json = server.ok(&["stop", "--all", "-o", "json", "--yes"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["processes"][0]["id"], *c);
    assert_eq!(prn(&server, &["stop", "--all", &c]).2, Some(2));
    for words in [&["stop", "--all"][..], &["prune"], &["prune", "--failed"]] {
        let (out, error, code) = prn(&server, words);
        assert_eq!((out.as_str(), code), ("", Some(2)), "{words:?}");
        assert!(error.contains("--yes"), "{words:?}: {error}");
    }
}

#[test]
fn what_is_finished_is_removed_by_name_and_by_age() {
    let server = Server::start();
    let long = start(&server, &["--name", "long"], "exec sleep 600");
    let (_, error, code) = prn(&server, &["rm", "long"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("--force"), "{error}");
    assert_eq!(server.ok(&["rm", "-f", "long"]), "long\n");
    assert_eq!(server.run(&["status", &long]).status.code(), Some(3));
    let good = start(&server, &["--label", "k=v"], "echo 12345");
    let bad = start(&server, &[], "exit 1");
    let kept = start(&server, &["--keep"], "exit 0");
    for id in [&good, &bad, &kept] {
        ended(&server, id);
    }
    assert!(
        server
            .ok(&["prune", "--older-than", "1h", "--yes"])
            .starts_with("removed 0 processes")
    );
    assert!(
        server
            .ok(&["prune", "--failed", "--yes"])
            .starts_with("removed 1 process,")
    );
    assert_eq!(server.run(&["status", &bad]).status.code(), Some(3));
    let json = server.ok(&["prune", "-l", "k", "-o", "json", "--yes"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["removed"][0], &json["output_bytes"]),
        (&good.as_str().into(), &6.into())
    );
    assert!(
        server.ok(&["prune", "--yes"]).starts_with("removed 0"),
        "it is kept"
    );
    assert!(
        server
            .ok(&["prune", "--kept", "--yes"])
            .starts_with("removed 1")
    );
    assert!(server.ok(&["rm", "-l", "k"]).is_empty());
}

#[test]
fn a_paused_process_does_nothing_until_it_is_resumed() {
    let server = Server::start();
    let id = start(
        &server,
        &["--name", "p"],
        "while :; do echo x; sleep 0.05; done",
    );
    let written = || server.ok(&["logs", "--no-follow", "p"]).len();
    wait_for("output", || written() > 2);
    assert_eq!(server.ok(&["freeze", "p"]), "p\n");
    assert_eq!(server.status(&id)["paused"], true);
    assert!(
        server
            .ok(&["status", "p", "-o", "wide"])
            .contains("prn resume")
    );
    let before = written();
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(written(), before);
    assert_eq!(server.ok(&["unpause", "p"]), "p\n");
    wait_for("more output", || written() > before);
    server.ok(&["pause", "p"]);
    server.ok(&["stop", "p"]);
}

#[test]
fn labels_and_leases_are_changed_while_a_process_runs() {
    let server = Server::start();
    let id = start(
        &server,
        &["--name", "u", "--label", "a=1"],
        "exec sleep 600",
    );
    let (_, error, code) = prn(&server, &["renew", "u"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("--lease"), "{error}");
    assert_eq!(
        server.ok(&[
            "update", "u", "--label", "b=2", "--label", "a-", "--lease", "10m"
        ]),
        "u\n"
    );
    let status = server.status(&id);
    assert_eq!(status["labels"], serde_json::json!({"b": "2"}));
    assert_eq!(status["lease"]["duration"], "600s");
    assert!(server.ok(&["status", "u", "-o", "wide"]).contains("b=2"));
    server.ok(&["renew", "u", "--lease", "20m"]);
    assert_eq!(server.status(&id)["lease"]["duration"], "1200s");
    server.ok(&["update", "u", "--lease", "none"]);
    assert_eq!(server.status(&id)["lease"], serde_json::Value::Null);
    assert_eq!(prn(&server, &["update", "u"]).2, Some(2));
    // A lease that nobody renews.
    server.ok(&["update", "u", "--lease", "300ms"]);
    let (_, _, code) = prn(&server, &["wait", "u"]);
    assert_eq!(code, Some(143));
    assert_eq!(server.status(&id)["exit"]["cause"], "lease-expired");
}

#[test]
fn limits_are_changed_while_a_process_runs() {
    if !has_controllers() {
        return skipped("there are no controllers");
    }
    let server = Server::start();
    let id = start(&server, &["--name", "u"], "exec sleep 600");
    server.ok(&["update", "u", "--pids", "17", "--memory", "64M"]);
    let limits = server.status(&id)["limits"].clone();
    assert_eq!(
        (&limits["pids"], &limits["memory_bytes"]),
        (&17.into(), &(64u64 << 20).into())
    );
    let shown = server.ok(&["status", "u", "-o", "wide"]);
    assert!(shown.contains("tasks now          1 of 17"), "{shown}");
}

#[test]
fn a_run_that_is_gone_ends_its_process_where_it_was_to() {
    let server = Server::start();
    let followed = |words: &[&str], name: &str| -> Child {
        let words = [&["run", "--name", name], words, &["--", "sleep", "600"]].concat();
        let child = server.prn(&words).stdout(Stdio::null()).spawn().unwrap();
        wait_for("its process", || {
            server.run(&["status", name]).status.success()
        });
        child
    };
    let mut stop = followed(&["--on-disconnect", "stop", "--lease", "1s"], "stop");
    let mut keep = followed(&[], "keep");
    // For as long as it is followed, it lives.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(
        server
            .ok(&["list", "-o", "json"])
            .matches("\"running\"")
            .count(),
        2
    );
    for child in [&mut stop, &mut keep] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(prn(&server, &["wait", "stop"]).2, Some(143));
    let shown = server.ok(&["status", "stop"]);
    assert!(shown.contains("lease expired"), "{shown}");
    assert!(server.ok(&["status", "keep"]).contains("Running"));
    // By itself it has a lease of 30 s.
    let mut by_default = followed(&["--on-disconnect=stop"], "default");
    let status = server.ok(&["status", "default", "-o", "json"]);
    assert!(status.contains("\"30s\""), "{status}");
    by_default.kill().unwrap();
    by_default.wait().unwrap();
}

#[test]
fn what_was_run_with_rm_is_forgotten_when_run_returns() {
    let server = Server::start();
    let output = server.run(&["run", "--rm", "--name", "once", "--", "echo", "hi"]);
    assert_eq!(said(&output), ("hi\n".to_owned(), String::new(), Some(0)));
    assert_eq!(server.run(&["status", "once"]).status.code(), Some(3));
}

#[test]
fn a_workspace_is_worked_in_as_in_a_container() {
    let server = Server::start();
    server.ok(&["workspace", "create", "w"]);
    let words = [
        "exec",
        "w",
        "sh",
        "-c",
        "echo $1 > f; ls -1 -- f",
        "-",
        "-x",
    ];
    assert_eq!(server.ok(&words), "f\n");
    assert_eq!(server.ok(&["exec", "w", "cat", "f"]), "-x\n");
    let mut cat = server
        .prn(&["exec", "-i", "w", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut cat.stdin.take().unwrap(), b"in").unwrap();
    assert_eq!(cat.wait_with_output().unwrap().stdout, b"in");
    assert_eq!(prn(&server, &["exec", "none", "true"]).2, Some(125));
    assert_eq!(prn(&server, &["exec", "w", "no-such-program"]).2, Some(127));
    assert_eq!(prn(&server, &["exec", "w"]).2, Some(125));
}

#[test]
fn versions_health_and_all_there_is_are_told() {
    let server = Server::start();
    let version = env!("CARGO_PKG_VERSION");
    let shown = server.ok(&["version"]);
    assert_eq!(shown.matches(version).count(), 2, "{shown}");
    let json: serde_json::Value =
        serde_json::from_str(&server.ok(&["version", "-o", "json"])).unwrap();
    assert_eq!(json["client"]["version"], json["server"]["version"]);
    let id = start(&server, &["--name", "a"], "exec sleep 600");
    let health = server.ok(&["health"]);
    assert!(
        health.contains("serving") && health.contains("1 running"),
        "{health}"
    );
    assert!(health.contains("days from now"), "{health}");
    let json: serde_json::Value =
        serde_json::from_str(&server.ok(&["health", "-o", "json"])).unwrap();
    assert_eq!(json["serving"], true);
    assert_eq!(json["server"]["processes_running"], 1);
    let json: serde_json::Value = serde_json::from_str(&server.ok(&["inspect", "a"])).unwrap();
    assert_eq!(
        (&json[0]["id"], &json[0]["argv"][0]),
        (&id.as_str().into(), &"sh".into())
    );
    assert_eq!(json[0]["live_usage"]["processes"], 1);
    assert_eq!(json.as_array().unwrap().len(), 1);
    let (out, _, code) = prn(&server, &["inspect", "a", "nobody"]);
    assert_eq!(code, Some(3));
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&out).unwrap(),
        json
    );
}

#[test]
fn a_server_that_is_not_there_is_unhealthy() {
    let mut server = Server::start();
    server.stop();
    assert_eq!(prn(&server, &["health"]).2, Some(5));
    let (out, error, code) = prn(&server, &["version"]);
    assert!(out.starts_with("client"), "{out}");
    assert_eq!(code, Some(5), "{error}");
    assert_eq!(prn(&server, &["version", "--client"]).2, Some(0));
}

/// `prn` by way of a proxy.
fn through(proxy: &Proxy, server: &Server, words: &[&str]) -> Child {
    let mut command = server.prn(words);
    command.env("PRN_ADDRESS", &proxy.address);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn a_wait_goes_on_when_its_connection_is_lost() {
    let server = Server::start();
    let id = start(&server, &[], "sleep 3; exit 9");
    let proxy = Proxy::start(&server.address, || None);
    let wait = through(&proxy, &server, &["wait", &id]);
    wait_for("the call", || proxy.sent() > 0);
    std::thread::sleep(Duration::from_millis(500));
    proxy.interrupt();
    std::thread::sleep(Duration::from_millis(300));
    proxy.resume();
    let (out, error, code) = said(&wait.wait_with_output().unwrap());
    assert_eq!((out.as_str(), code), ("9\n", Some(9)), "{error}");
    assert!(error.contains("the connection is lost"), "{error}");
}

#[test]
fn a_process_that_was_lost_with_its_server_is_told_from_others() {
    let mut server = Server::start();
    let id = start(&server, &["--name", "x"], "echo ready; exec sleep 600");
    let spawn = |words: &[&str]| {
        let mut command = server.prn(words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let mut logs = spawn(&["logs", &id]);
    let mut ready = [0; 6];
    logs.stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut ready)
        .unwrap();
    let all = [
        spawn(&["wait", &id]),
        spawn(&["wait", "x"]),
        spawn(&["attach", "-n", &id]),
        logs,
    ];
    // Each has been answered once.
    std::thread::sleep(Duration::from_secs(1));
    server.kill_and_start_again();
    for child in all {
        let (_, error, code) = said(&child.wait_with_output().unwrap());
        assert_eq!(code, Some(123), "{error}");
        assert!(
            error.contains("server") && error.contains("restarted"),
            "{error}"
        );
    }
}

/// What each command exits with: where all is well, for something that is not there, for a wrong
/// command line, and without a server.
#[test]
fn each_commands_exit_codes_are_those_of_the_one_rule() {
    let mut server = Server::start();
    server.ok(&["workspace", "create", "w"]);
    let id = start(&server, &["--name", "a", "--lease", "1h"], "exec sleep 600");
    let done = start(&server, &["--name", "done"], "exit 0");
    ended(&server, &done);
    // The command; codes for an unknown id, for no words or a flag that is not one, without a server.
    let of_one: &[(&[&str], [i32; 3])] = &[
        (&["status"], [3, 2, 5]),
        (&["inspect"], [3, 2, 5]),
        (&["logs", "--no-follow"], [3, 2, 5]),
        (&["pause"], [3, 2, 5]),
        (&["resume"], [3, 2, 5]),
        (&["update", "--label", "x=y"], [3, 2, 5]),
        (&["renew"], [3, 2, 5]),
        (&["kill", "-s", "CONT"], [3, 2, 5]),
        (&["stop"], [3, 2, 5]),
        (&["rm"], [3, 2, 5]),
        (&["wait"], [125, 125, 125]),
        (&["attach", "-n"], [125, 125, 125]),
    ];
    let without_ids: &[(&[&str], [i32; 2])] = &[
        (&["list"], [2, 5]),
        (&["ps"], [2, 5]),
        (&["health"], [2, 5]),
        (&["version"], [2, 5]),
        (&["prune", "--older-than", "1h", "--yes"], [2, 5]),
        (&["workspace", "list"], [2, 5]),
        (&["start", "-n", "true"], [2, 5]),
        (&["run", "-n", "true"], [125, 125]),
        (&["exec", "-n", "w", "true"], [125, 125]),
    ];
    let code = |server: &Server, words: &[&str]| server.run(words).status.code();
    for (words, [no_such, usage, _]) in of_one {
        let with = |more: &'static str| [words, &[more][..]].concat();
        assert_eq!(code(&server, &with("nobody")), Some(*no_such), "{words:?}");
        assert_eq!(
            code(&server, &[words, &[NO_SUCH][..]].concat()),
            Some(*no_such),
            "{words:?}"
        );
        assert_eq!(code(&server, words), Some(*usage), "{words:?}");
        assert_eq!(code(&server, &with("a/b")), Some(*usage), "{words:?}");
        let first = &words[..1];
        assert_eq!(
            code(&server, &[first, &["--no-such-flag", "a"]].concat()),
            Some(*usage)
        );
    }
    for (words, name, expected) in [
        (&["status"][..], "a", 0),
        (&["inspect"], "a", 0),
        (&["logs", "--no-follow"], "a", 0),
        (&["pause"], "a", 0),
        (&["resume"], "a", 0),
        (&["update", "--label", "x=y"], "a", 0),
        (&["renew"], "a", 0),
        (&["kill", "-s", "CONT"], "a", 0),
        (&["wait"], "done", 0),
        (&["attach", "-n"], "done", 0),
        (&["stop"], "a", 0),
        (&["wait"], &id, 143),
        (&["rm"], "a", 0),
    ] {
        assert_eq!(
            code(&server, &[words, &[name]].concat()),
            Some(expected),
            "{words:?}"
        );
    }
    for (words, [usage, _]) in without_ids {
        assert_eq!(code(&server, words), Some(0), "{words:?}");
        let first = &words[..1];
        let wrong = [first, &["--no-such-flag"]].concat();
        assert_eq!(code(&server, &wrong), Some(*usage), "{words:?}");
    }
    server.stop();
    for (words, [.., unavailable]) in of_one {
        let words = [words, &[NO_SUCH][..]].concat();
        assert_eq!(code(&server, &words), Some(*unavailable), "{words:?}");
    }
    for (words, [_, unavailable]) in without_ids {
        assert_eq!(code(&server, words), Some(*unavailable), "{words:?}");
    }
}

#[test]
fn a_result_that_cannot_be_written_is_an_error_of_its_own() {
    let server = Server::start();
    start(&server, &["--name", "a"], "echo said");
    ended(&server, "a");
    server.ok(&["workspace", "create", "w"]);
    for words in [
        &["status", "a"][..],
        &["inspect", "a"],
        &["wait", "a"],
        &["run", "--", "echo", "said"],
        &["logs", "a"],
        &["list"],
        &["list", "-o", "json"],
        &["stats", "--no-stream"],
        &["events", "--no-follow"],
        &["health"],
        &["version"],
        &["kill", "--list"],
        &["workspace", "list"],
        &["context", "list"],
        &["context", "show"],
        &["server", "check"],
        &["completion", "bash"],
        &["prune", "--older-than", "1h", "--yes"],
    ] {
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let output = server.prn(words).stdout(full).output().unwrap();
        let (_, error, code) = said(&output);
        let is_as_a_process = ["wait", "run"].contains(&words[0]);
        let expected = if is_as_a_process { 125 } else { 1 };
        assert_eq!(code, Some(expected), "{words:?}: {error}");
        // What is passed on is no result of the command's own.
        let is_passed_on = ["run", "logs"].contains(&words[0]);
        let named = if is_passed_on {
            "No space left on device"
        } else {
            "standard output"
        };
        assert!(error.contains(named), "{words:?}: {error}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = server.prn(words).stdout(writer).output().unwrap();
        assert_eq!(
            said(&output),
            (String::new(), String::new(), Some(141)),
            "{words:?}"
        );
    }
}

#[test]
fn at_a_terminal_it_is_asked_before_all_is_stopped_and_said_what_still_lives() {
    let server = Server::start();
    let id = start(&server, &[], "trap '' TERM; while :; do sleep 0.5; done");
    let screen = Screen::open(&server);
    screen.line("$PRN stop --all; echo code=$?");
    screen.shows("Stop 1 process? [y/N]");
    screen.line("n");
    screen.shows("nothing was stopped");
    screen.shows("code=1");
    assert_eq!(state(&server, &id), "running");
    screen.line("clear; $PRN stop --all --grace 4s");
    screen.shows("[y/N]");
    let asked = Instant::now();
    screen.line("y");
    screen.shows("still alive");
    assert!(
        asked.elapsed() < Duration::from_secs(4),
        "before they are killed"
    );
    let shown = screen.pane().replace('\n', "");
    assert!(
        shown.contains("sh (S, sleeping)") && shown.contains("sleep (S, sleeping)"),
        "{shown}"
    );
    screen.shows("Stopped");
    ended(&server, &id);
    screen.line("clear; $PRN prune");
    screen.shows("Forget 1 process, with their output? [y/N]");
    screen.line("yes");
    screen.shows("removed 1 process");
    assert!(
        !procfs::children(server.supervisor()).is_empty(),
        "the server is there"
    );
}

#[test]
fn what_is_named_wrongly_is_told_from_what_is_meant() {
    let server = Server::start();
    let comma = start(
        &server,
        &["--name", "web", "--label", "tier=a,b"],
        "exec sleep 600",
    );
    for words in [&["exec", "web", "ls"][..], &["cp", "/etc/passwd", "web:"]] {
        let (out, error, code) = prn(&server, words);
        let expected = if words[0] == "exec" { 125 } else { 3 };
        assert_eq!((out.as_str(), code), ("", Some(expected)), "{words:?}");
        assert!(error.contains("web is a process"), "{words:?}: {error}");
    }
    let (_, error, code) = prn(&server, &["exec", "nobody", "ls"]);
    assert_eq!(code, Some(125));
    assert!(error.contains("prn workspace create nobody"), "{error}");
    let selected = server.ok(&["list", "-q", "-l", "tier=a\\,b"]);
    assert_eq!(selected.trim(), comma);
    let added = ["context", "add", "east", "--address", "east:1"];
    for words in [&["list"][..], &added] {
        let missing = [words, &["--server-cert", "/nowhere/server.pem"]].concat();
        let (_, error, code) = prn(&server, &missing);
        assert_eq!(code, Some(1), "{words:?}");
        assert!(error.contains("copy that file from there"), "{error}");
    }
}

#[test]
fn the_status_of_several_is_a_list_and_that_of_one_an_object() {
    let server = Server::start();
    let ids = ["a", "b"].map(|name| start(&server, &["--name", name], "exec sleep 600"));
    let json =
        |words: &[&str]| -> serde_json::Value { serde_json::from_str(&server.ok(words)).unwrap() };
    assert_eq!(json(&["status", "a", "-o", "json"])["id"], *ids[0]);
    let both = json(&["status", "a", "b", "-o", "json"]);
    assert_eq!(both["processes"][0]["id"], *ids[0]);
    assert_eq!(both["processes"][1]["id"], *ids[1]);
    let wide = server.ok(&["status", "b", "a", "-o", "wide"]);
    assert!(wide.find(&ids[1]).unwrap() < wide.find(&ids[0]).unwrap());
    let (out, error, code) = prn(&server, &["status", "a", "nobody", "b"]);
    assert_eq!(code, Some(3));
    assert!(out.contains(&ids[0]) && out.contains(&ids[1]), "{out}");
    assert!(error.contains("nobody"), "{error}");
}
