//! The commands of a fleet, as a user has them who has a configuration and nothing else: real servers
//! with agents, and a real etcd.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_tests::agents::{Hosts, Plan};
use prn_tests::fleet_user::User;
use prn_tests::screen::Screen;
use prn_tests::{wait_for, wait_within};
use serde_json::Value;

#[test]
fn a_job_is_submitted_seen_read_and_waited_for() {
    let hosts = Hosts::start(1, 2, &["--label", "zone=a"]);
    let user = User::of(&hosts, "");
    let line = "echo out; echo err >&2; exit 3";
    let id = user.ok(&[
        "submit", "--on", "zone=a", "--host", "web2", "--", "sh", "-c", line,
    ]);
    let (code, out, err) = user.told(&["wait", "--fleet", &id]);
    assert_eq!((code, out.as_str(), err.as_str()), (3, "3\n", ""));
    let (code, out, err) = user.told(&["logs", "--fleet", &id]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "out\n", "err\n"));
    let job = user.json(&["status", "--fleet=prod", &id[..12]]);
    assert_eq!(
        (&job["id"], &job["state"]),
        (&id.as_str().into(), &"ended".into())
    );
    assert_eq!(
        (&job["host"], &job["exit"]["code"]),
        (&"web2".into(), &3.into())
    );
    assert_eq!(job["process"]["id"], id.as_str(), "its host is asked, too");
    assert_eq!(hosts.hosts[1].server.status(&id)["exit"]["code"], 3);

    for words in [&["list", "--fleet", "-q"][..], &["fleet", "jobs", "-q"]] {
        assert_eq!(user.ok(words), id);
        assert_eq!(user.ok(&[words, &["--failed"]].concat()), id);
        assert_eq!(user.ok(&[words, &["--running"]].concat()), "");
    }
    let told = user.ok(&["events", "--fleet", "--no-follow", "-o", "jsonl"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (&told["name"], &told["state"]),
        (&id.as_str().into(), &"ended".into())
    );
    assert_eq!(user.ok(&["fleet", "prune", "--keep", "0"]), "1");
    let (code, _, err) = user.told(&["status", "--fleet", &id]);
    assert_eq!(code, 3, "{err}");
}

#[test]
fn the_same_job_under_the_same_id_is_the_same_and_another_is_refused() {
    let hosts = Hosts::start(1, 1, &[]);
    let user = User::of(&hosts, "");
    let id = "00000000000000000000000000000abc";
    for _ in 0..2 {
        assert_eq!(user.ok(&["submit", "--id", id, "--", "true"]), id);
    }
    assert_eq!(user.ok(&["wait", "--fleet", id]), "0");
    let (code, out, err) = user.told(&["submit", "--id", id, "--", "false"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("asks for something else"), "{err}");
    let all = hosts.hosts[0].server.ok(&["list", "-q"]);
    assert_eq!(all.lines().count(), 1, "{all}");
}

#[test]
fn what_no_job_can_have_is_refused_before_anything_is_submitted() {
    let hosts = Hosts::start(1, 1, &[]);
    let user = User::of(&hosts, "");
    let mut fed = user.prn(&["submit", "--", "cat"]);
    let file = user.folder.path().join("input");
    fs::write(&file, "bytes").unwrap();
    let output = fed.stdin(fs::File::open(&file).unwrap()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("no job of a fleet gets"), "{said}");
    for (words, what) in [
        (&["submit", "--rm", "--", "true"][..], "--rm"),
        (&["run", "--fleet", "-i", "--", "cat"], "--interactive"),
        (&["run", "--retries", "1", "--", "true"], "with --fleet"),
        (&["logs", "--fleet", "a", "b"], "one job"),
        (&["list", "--fleet", "--watch"], "prn events --fleet"),
        (&["status", "--fleet=none", "abc"], "no fleet none"),
        (&["status", "--fleet", "--address", "a:1", "x"], "--address"),
    ] {
        let (code, _, err) = user.told(words);
        let expected = if words[0] == "run" { 125 } else { 2 };
        assert_eq!(code, expected, "{words:?}: {err}");
        assert!(err.contains(what), "{words:?}: {err}");
    }
    assert_eq!(user.ok(&["fleet", "jobs", "-q"]), "");
}

#[test]
fn a_job_that_waits_is_withdrawn_and_one_that_runs_is_stopped() {
    let hosts = Hosts::start(1, 1, &["--label", "zone=a"]);
    let user = User::of(&hosts, "");
    let waits = user.ok(&["submit", "--on", "zone=b", "--", "true"]);
    let job = user.json(&["status", "--fleet", &waits]);
    assert_eq!(
        (&job["state"], &job["reason"]),
        (&"waiting".into(), &"NO_HOST_FITS".into())
    );
    let (code, _, err) = user.told(&["logs", "--fleet", "--no-follow", &waits]);
    assert!(
        code == 1 && err.contains("waits for a host"),
        "{code}: {err}"
    );
    assert_eq!(
        user.json(&["stop", "--fleet", &waits])["state"],
        "withdrawn"
    );
    let (code, _, err) = user.told(&["wait", "--fleet", &waits]);
    assert!(
        code == 125 && err.contains("withdrawn by "),
        "{code}: {err}"
    );

    let runs = user.ok(&["submit", "--retries", "2", "--", "sleep", "600"]);
    user.until(&runs, "running");
    let stopped = user.json(&["stop", "--fleet", &runs]);
    assert_eq!(stopped["exit"]["cause"], "stopped-on-request", "{stopped}");
    assert_eq!(user.state(&runs), "ended", "it is not tried again");
    assert_eq!(hosts.hosts[0].server.ok(&["list", "--running", "-q"]), "");
}

#[test]
fn a_job_that_is_run_exits_as_its_last_attempt_does() {
    let hosts = Hosts::start(1, 1, &[]);
    let user = User::of(&hosts, "");
    let (code, out, err) = user.told(&["run", "--fleet", "--", "sh", "-c", "echo x; exit 4"]);
    assert_eq!((code, out.as_str(), err.as_str()), (4, "x\n", ""));
    let (code, _, err) = user.told(&["run", "--fleet", "--", "/no/such/program"]);
    assert!(code == 127 && err.contains("is refused"), "{code}: {err}");
    let flags = ["run", "--fleet", "--retries", "1", "-w", "w", "--"];
    let line = "test -e done && exit 0; touch done; echo first; exit 5";
    hosts.hosts[0].server.ok(&["workspace", "create", "w"]);
    let (code, out, err) = user.told(&[&flags[..], &["sh", "-c", line]].concat());
    assert_eq!((code, out.as_str()), (0, "first\n"), "{err}");
    assert!(err.contains("attempt 1 on web1 ended with 5"), "{err}");
    // A job's files are those of its workspace.
    let id = user.ok(&["fleet", "jobs", "-q", "-n", "1"]);
    let back = user.folder.path().join("back");
    user.ok(&[
        "cp",
        "-q",
        "--fleet",
        &format!("{id}:done"),
        back.to_str().unwrap(),
    ]);
    assert_eq!(fs::read(&back).unwrap(), b"");
}

#[test]
fn an_interrupt_takes_a_job_back_that_waits_and_stops_one_that_runs() {
    let hosts = Hosts::start(1, 1, &[]);
    let user = User::of(&hosts, "");
    for (flags, state, code) in [
        (&["--host", "web9"][..], "waiting", 125),
        (&[], "running", 143),
    ] {
        let words = [&["run", "--fleet"][..], flags, &["--", "sleep", "600"]].concat();
        let mut command = user.prn(&words);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_for(state, || {
            let jobs = user.json(&["fleet", "jobs", "-n", "1"]);
            jobs["jobs"][0]["state"] == state
        });
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        kill(pid, Signal::SIGINT).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{state}: {said}");
    }
    let jobs = user.json(&["fleet", "jobs"]);
    let states: Vec<_> = jobs["jobs"].as_array().unwrap().iter().collect();
    assert_eq!(
        (&states[0]["state"], states.len()),
        (&"withdrawn".into(), 2),
        "{jobs}"
    );
    assert_eq!(hosts.hosts[0].server.ok(&["list", "--running", "-q"]), "");
}

#[test]
fn output_is_followed_byte_for_byte_while_agent_and_frontend_are_killed() {
    let mut hosts = Hosts::start(1, 1, &[]);
    let user = User::of(&hosts, "");
    let line = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); [ $((i%30)) = 0 ] && sleep 0.1; done";
    let id = user.ok(&["submit", "--", "sh", "-c", line]);
    let file = user.folder.path().join("output");
    let mut following = user.prn(&["logs", "--fleet", "-f", &id]);
    let mut following = following
        .stdout(fs::File::create(&file).unwrap())
        .spawn()
        .unwrap();
    let read = || fs::read_to_string(&file).unwrap().lines().count();
    for lines in [100, 1000, 2000] {
        wait_within(Duration::from_secs(60), "more lines", || read() >= lines);
        let frontend = hosts.hosts[0].server.frontend();
        kill(Pid::from_raw(frontend), Signal::SIGKILL).unwrap();
        hosts.hosts[0].end_agent(Signal::SIGKILL);
        hosts.hosts[0].run_agent();
    }
    assert_eq!(following.wait().unwrap().code(), Some(0));
    let expected: String = (0..3000).map(|number| format!("line {number}\n")).collect();
    assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    assert_eq!(user.ok(&["wait", "--fleet", &id]), "0");
}

#[test]
fn a_job_is_followed_from_before_it_is_started_through_all_of_its_attempts() {
    let hosts = Hosts::start(1, 2, &[]);
    let user = User::of(&hosts, "");
    user.ok(&["fleet", "drain", "web1", "web2"]);
    let is_drained = || user.ok(&["fleet", "hosts"]).matches("draining").count() == 2;
    wait_for("they drain", is_drained);
    let id = user.ok(&[
        "submit",
        "--retries",
        "2",
        "--",
        "sh",
        "-c",
        "echo line; exit 9",
    ]);
    let mut following = user.prn(&["logs", "--fleet", "-f", &id]);
    let following = following
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let timed_out = user.told(&["wait", "--fleet", "--timeout", "1s", &id]);
    assert_eq!(timed_out.0, 124, "{timed_out:?}");
    user.ok(&["fleet", "undrain", "web1", "web2"]);
    let output = following.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "line\nline\nline\n",
        "{said}"
    );
    let (code, out, _) = user.told(&["wait", "--fleet", &id]);
    assert_eq!((code, out.as_str()), (9, "9\n"));
}

#[test]
fn a_host_that_is_not_heard_of_is_told_and_its_job_is_known_when_it_is_back() {
    let mut hosts = Hosts::start(1, 1, &[]);
    let user = User::of(&hosts, "");
    let file = user.folder.path().join("go");
    let line = "while ! test -e go; do sleep 0.1; done; exit 8";
    hosts.hosts[0].server.ok(&["workspace", "create", "w"]);
    let id = user.ok(&["submit", "-w", "w", "--", "sh", "-c", line]);
    user.until(&id, "running");
    hosts.hosts[0].end_agent(Signal::SIGKILL);
    user.until(&id, "unknown");
    let (code, _, err) = user.told(&["wait", "--fleet", "--timeout", "1s", &id]);
    assert_eq!(code, 124, "{err}");
    assert!(err.contains("host web1 is not there any more"), "{err}");
    let (code, _, err) = user.told(&["stop", "--fleet", &id]);
    assert!(
        code == 5 && err.contains("unknown until the host is back"),
        "{code}: {err}"
    );
    // What the process waits for comes by way of the host, when that is there again.
    hosts.hosts[0].run_agent();
    user.until(&id, "running");
    fs::write(&file, "").unwrap();
    user.ok(&[
        "cp",
        "-q",
        "--fleet",
        file.to_str().unwrap(),
        &format!("{id}:"),
    ]);
    let (code, out, err) = user.told(&["wait", "--fleet", &id]);
    assert_eq!((code, out.as_str()), (8, "8\n"), "{err}");
}

#[test]
fn hosts_are_listed_drained_and_taken_back() {
    let hosts = Hosts::start(1, 2, &["--label", "zone=a"]);
    let user = User::of(&hosts, "");
    let host = |name: &str| {
        let all = user.json(&["fleet", "hosts"]);
        let all = all["hosts"].as_array().unwrap().clone();
        all.into_iter().find(|host| host["name"] == name).unwrap()
    };
    assert_eq!(
        (&host("web1")["state"], &host("web1")["labels"]["zone"]),
        (&"ready".into(), &"a".into())
    );
    assert_eq!(
        user.ok(&["fleet", "drain", "web1", "--why", "disk"]),
        "web1"
    );
    wait_for("it drains", || host("web1")["state"] == "draining");
    assert_eq!(host("web1")["drain"]["why"], "disk");
    let id = user.ok(&["submit", "--host", "web1", "--", "true"]);
    let table = user.ok(&["fleet", "top"]);
    for part in ["1 waiting", "web2", "draining", &id] {
        assert!(table.contains(part), "{part}: {table}");
    }
    assert_eq!(user.ok(&["fleet", "undrain", "web1"]), "web1");
    assert_eq!(user.ok(&["wait", "--fleet", &id]), "0");
}

#[test]
fn an_etcd_that_is_away_is_told_with_the_id_that_nobody_knows_of() {
    let mut hosts = Hosts::start(1, 1, &[]);
    let user = User::of(&hosts, "");
    hosts.cluster.kill(0);
    let id = "00000000000000000000000000000def";
    let (code, out, err) = user.told(&["submit", "--id", id, "--", "true"]);
    assert_eq!((code, out.as_str()), (5, ""), "{err}");
    assert!(
        err.contains("unknown whether") && err.contains(&format!("--id {id}")),
        "{err}"
    );
    let (code, _, err) = user.told(&["fleet", "jobs"]);
    assert!(
        code == 5 && err.contains("is etcd running there?"),
        "{code}: {err}"
    );
    let first = err.lines().next().unwrap();
    let member = &hosts.cluster.endpoints()[0];
    assert_eq!(
        first,
        format!("prn: etcd does not answer yet: trying {member}")
    );
    assert_eq!(err.matches("answer yet").count(), 1, "{err}");
    hosts.cluster.run(0);
    hosts.cluster.serves();
    assert_eq!(user.ok(&["submit", "--id", id, "--", "true"]), id);
    assert_eq!(user.ok(&["wait", "--fleet", id]), "0");
}

#[test]
fn a_fleet_is_used_on_a_terminal() {
    let hosts = Hosts::start(1, 1, &[]);
    let user = User::of(&hosts, "");
    let config = user.config();
    let variables = [("PRN_CONFIG", config.to_str().unwrap())];
    let screen = Screen::with(&hosts.hosts[0].server, &variables);
    screen.line("$PRN fleet hosts");
    screen.shows("web1");
    screen.line("clear; $PRN submit --name sleeper -- sleep 600");
    wait_for("a job", || {
        user.ok(&["fleet", "jobs", "-q", "--running"]).len() == 32
    });
    screen.line("clear; $PRN fleet jobs");
    screen.shows("sleep 600");
    screen.line("clear; $PRN fleet top");
    screen.shows("fleet prod: ");
    screen.keys(&["C-c"]);
    screen.line("clear; $PRN fleet drain web1");
    wait_for("it drains", || {
        user.ok(&["fleet", "hosts"]).contains("draining")
    });
    screen.line("clear; $PRN fleet undrain web1");
    wait_for("it takes jobs", || {
        user.ok(&["fleet", "hosts"]).contains("ready")
    });
    screen.line("clear; $PRN fleet prune; echo pruned=$?");
    screen.shows("pruned=0");
    user.ok(&["stop", "--fleet", "sleeper"]);
}

#[test]
fn a_name_is_that_of_the_live_job_and_who_is_not_let_in_is_told() {
    let hosts = Hosts::start(1, 1, &[]);
    let user = User::of(&hosts, "");
    let submit = |words: &[&str]| user.ok(&[&["submit", "--name", "job", "--"], words].concat());
    let live = submit(&["sleep", "600"]);
    user.until(&live, "running");
    let (stop, running) = (["stop", "--fleet", "job"], ["fleet", "jobs", "--running"]);
    let waits = user.ok(&["submit", "--name", "job", "--host", "web9", "--", "true"]);
    let (code, _, err) = user.told(&stop);
    assert!(code == 2 && err.contains(&live), "{code}: {err}");
    assert_eq!(user.ok(&[&running[..], &["-q"]].concat()), live);
    assert_eq!(user.json(&running)["jobs"][0]["name"], "job");
    user.ok(&["stop", "--fleet", &waits]);
    assert_eq!(user.json(&stop)["id"], live.as_str(), "it is the older one");
    let (_, _, err) = user.told(&["status", "--fleet", "prod"]);
    assert!(err.contains("write --fleet=prod"), "{err}");

    let eve = prn_tests::etcd::client(&hosts.cluster.authorities, "eve");
    let path = |path: &PathBuf| path.display().to_string();
    let (cert, key) = (path(&eve.certificate), path(&eve.key));
    let own = ["--client-cert", &cert, "--tls-key", &key];
    let words = [&["run", "--fleet"][..], &own, &["--", "sleep", "600"]].concat();
    let (code, _, err) = user.told(&words);
    let is_told = err.contains("on host web1") && err.contains("prn pin add");
    assert!(code != 0 && is_told, "{code}: {err}");
    assert_ne!(user.ok(&[&running[..], &["-q"]].concat()), "", "it goes on");
}

#[test]
fn whoever_submits_is_told_that_no_host_would_ever_take_it() {
    let mut hosts = Hosts::with(Plan {
        arguments: &["--label", "zone=a"],
        // It is announced, however busy the machine is.
        lease: "60s",
        ..Plan::default()
    });
    let user = User::of(&hosts, "");
    let submit = |more: &[&str]| {
        let words = [&["submit"], more, &["--", "sleep", "600"]].concat();
        let (code, id, err) = user.told(&words);
        assert_eq!(code, 0, "{err}");
        (id.trim().to_owned(), err)
    };
    let none = "waiting: no host has its name and labels";
    let small = "waiting: no host that fits is that large: it needs 1024 TiB of memory";
    for (placed, expected) in [
        (&["--on", "zone=b"][..], Some(none)),
        (&["--host", "web2"], Some(none)),
        (&["--memory", "1024T"], Some(small)),
        (&["--on", "zone=a", "--host", "web1"], None),
    ] {
        let (id, err) = submit(placed);
        match expected {
            Some(expected) => assert!(err.contains(expected), "{placed:?}: {err}"),
            None => assert!(!err.contains("waiting"), "{placed:?}: {err}"),
        }
        user.ok(&["stop", "--fleet", &id]);
        let (same, err) = submit(&[&["--id", &id], placed].concat());
        assert_eq!(same, id);
        assert!(!err.contains("waiting"), "it waits no more: {err}");
    }
    // That will pass.
    user.ok(&["fleet", "drain", "web1"]);
    let (_, err) = submit(&[]);
    assert!(!err.contains("waiting"), "{err}");
    hosts.hosts[0].end_agent(Signal::SIGKILL);
    hosts.cluster.ctl(&["del", "--prefix", "/prn/prod/hosts/"]);
    let (_, err) = submit(&[]);
    assert!(err.contains("waiting: no host is announced"), "{err}");
}

#[test]
fn whoever_waits_is_told_what_for() {
    let hosts = Hosts::start(1, 1, &[]);
    let user = User::of(&hosts, "");
    let large = user.ok(&["submit", "--memory", "1024T", "--", "true"]);
    let file = user.folder.path().join("said");
    let mut waiting = user.prn(&["wait", "--fleet", &large]);
    let said = fs::File::create(&file).unwrap();
    let mut waiting = waiting.stderr(said).spawn().unwrap();
    let told = "waiting: no host that fits is that large: it needs 1";
    let is_told = || fs::read_to_string(&file).unwrap().contains(told);
    wait_within(Duration::from_secs(60), "a line", is_told);
    user.ok(&["stop", "--fleet", &large]);
    assert_eq!(waiting.wait().unwrap().code(), Some(125));
    user.ok(&["fleet", "drain", "web1", "--why", "disk"]);
    let id = user.ok(&["submit", "--", "true"]);
    let job = user.json(&["status", "--fleet", &id]);
    assert_eq!(job["why"], "web1 fits, but is drained: disk", "{job}");
    let (code, _, err) = user.told(&["fleet", "drain", "web9"]);
    assert!(code == 0 && err.contains("no host web9 is"), "{err}");
    user.ok(&["fleet", "undrain", "web1", "web9"]);
    let (code, _, err) = user.told(&["fleet", "undrain", "web9"]);
    assert!(code == 0 && err.contains("was not drained"), "{err}");
}
