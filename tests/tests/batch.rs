//! `prn batch`: a request a line, an answer a line, and whatever comes, an answer for each. And no
//! command asks anything where no terminal is.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use prn_tests::proxy::{Cut, Proxy};
use prn_tests::schemas::assert_valid;
use prn_tests::server::Server;
use prn_tests::{binary, wait_for};
use serde_json::{Value, json};

/// What it answers, by id, and its exit code.
fn batch(server: &Server, flags: &[&str], lines: &str) -> (HashMap<String, Value>, i32) {
    let mut command = server.prn(&[&["batch"], flags].concat());
    let (answers, code) = fed(&mut command, lines);
    let by_id = answers
        .into_iter()
        .map(|answer| (answer["id"].to_string(), answer));
    (by_id.collect(), code)
}

fn fed(command: &mut Command, lines: &str) -> (Vec<Value>, i32) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines = lines.to_owned();
    let feeding = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let answers = text.lines().map(|line| {
        let answer = serde_json::from_str(line).expect(line);
        assert_valid("batch-answer", &answer);
        answer
    });
    (answers.collect(), output.status.code().unwrap())
}

fn requests(all: &[Value]) -> String {
    let line = |request| {
        assert_valid("batch-request", request);
        format!("{request}\n")
    };
    all.iter().map(line).collect()
}

#[test]
fn each_call_does_what_its_command_does() {
    let server = Server::start();
    let web = "trap 'echo usr; exit 4' USR1; echo up; while :; do sleep 0.05; done";
    let (answers, code) = batch(
        &server,
        &["--jobs", "1"],
        &requests(&[
            json!({"id": 1, "call": "start", "spec": {"script": web, "name": "web", "labels": {"app": "a"}}}),
            json!({"id": 2, "call": "run", "spec": {"argv": ["cat"]}, "input": "x\n"}),
            json!({"id": 3, "call": "output", "process": "web", "wait": "20s"}),
            json!({"id": 4, "call": "signal", "process": "web", "signal": "USR1"}),
            json!({"id": 5, "call": "wait", "processes": ["web"], "timeout": "20s"}),
            json!({"id": 6, "call": "status", "process": "web"}),
            json!({"id": 7, "call": "list", "selector": "app=a"}),
            json!({"id": 8, "call": "remove", "processes": ["web"]}),
            json!({"id": "nine", "call": "run", "spec": {"argv": ["sleep", "60"], "name": "nap"}, "wait": "100ms"}),
            json!({"id": 11, "call": "update", "process": "nap", "labels": {"a": "1", "b": "2"}, "lease": "1h"}),
            json!({"id": 12, "call": "update", "process": "nap", "labels": {"a": null, "c": "3"}, "paused": true}),
            json!({"id": 10, "call": "stop", "process": "nap", "grace": "1s"}),
        ]),
    );
    assert_eq!(code, 0, "{answers:?}");
    let result = |id: &str| &answers[id]["result"];
    assert_eq!(result("1")["already_running"], false);
    assert_eq!(result("2")["output"]["output"][0]["text"], "x\n");
    assert_eq!(result("2")["exit"]["code"], 0);
    assert_eq!(result("3")["output"][0]["text"], "up\n");
    assert_eq!(result("4")["signal"], 10);
    assert_eq!(result("5")["processes"][0]["exit"]["code"], 4);
    assert_eq!(result("6")["name"], "web");
    assert_eq!(result("7")["processes"].as_array().unwrap().len(), 1);
    assert_eq!(result("8")["removed"][0], result("6")["id"]);
    assert_eq!(result("\"nine\"")["running"], true);
    assert_eq!(result("11")["lease"]["duration"], "3600s");
    assert_eq!(result("12")["labels"], json!({"b": "2", "c": "3"}));
    assert_eq!(result("12")["paused"], true);
    assert_eq!(result("10")["state"], "stopped");
}

#[test]
fn whoever_ends_it_is_told_which_processes_go_on() {
    let server = Server::start();
    let mut child = server
        .prn(&["batch"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let request = json!({"id": 1, "call": "run", "spec": {"argv": ["sleep", "60"]}, "wait": "60s"});
    let stdin = child.stdin.as_mut().unwrap();
    stdin.write_all(requests(&[request]).as_bytes()).unwrap();
    let mut id = String::new();
    wait_for("the run", || {
        id = server.ok(&["list", "-q", "--running"]).trim().to_owned();
        !id.is_empty()
    });
    // The answer to the start is on its way.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    // Its standard input stays open.
    let stdin = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains(&format!("process {id} was started")),
        "{error}"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_is_outside_of_the_workspace_is_as_what_is_not_there() {
    let server = Server::start();
    server.ok(&["workspace", "create", "w1"]);
    let outside = server.start_process(&["--name", "web"], &["sleep", "60"]);
    let absent = "fcd2310e7b9a462a5d88c3a0ff4e2d9b";
    let status = |which: &str| json!({"id": which, "call": "status", "process": which});
    let lines = requests(&[
        status(&outside),
        status(absent),
        status("web"),
        status(&outside[..6]),
        json!({"id": "name", "call": "start", "spec": {"argv": ["true"], "name": "web"}}),
        json!({"id": "id", "call": "start", "spec": {"argv": ["true"], "id": outside}}),
        json!({"id": "own", "call": "run", "spec": {"argv": ["true"], "name": "own"}}),
    ]);
    let (answers, _) = batch(&server, &["-w", "w1", "--jobs", "1"], &lines);
    let error = |id: &str| answers[&json!(id).to_string()]["error"].clone();
    let unknown = |which: &str| error(which)["message"].to_string().replace(which, "X");
    for which in [&outside, "web", &outside[..6]] {
        assert_eq!(unknown(which), unknown(absent));
        assert_eq!(error(which)["reason"], "PROCESS_NOT_FOUND");
    }
    for taken in ["name", "id"] {
        let said = error(taken).to_string();
        assert!(
            said.contains("is taken") && !said.contains(&outside),
            "{said}"
        );
    }
    assert_eq!(answers["\"own\""]["result"]["exit"]["status"], 0);
}

#[test]
fn what_is_malformed_is_answered_with_its_line_and_the_rest_goes_on() {
    let server = Server::start();
    let lines = "\n{\"id\": 1, \"call\": \"list\"}\nno json\n{\"id\": 2, \"call\": \"lst\"}\n[]\n\
        {\"id\": 3, \"call\": \"status\", \"process\": \"nobody\"}\n\
        {\"id\": 4, \"call\": \"start\", \"spec\": {\"argv\": [\"true\"], \"cpu\": 1}}\n\
        {\"id\": 5, \"call\": \"run\", \"spec\": {\"argv\": [\"false\"]}}";
    let mut command = server.prn(&["batch"]);
    let (answers, code) = fed(&mut command, lines);
    assert_eq!((answers.len(), code), (7, 1));
    let error = |line: u64| {
        let found = answers.iter().find(|answer| answer["line"] == line);
        found.unwrap_or_else(|| panic!("{line}: {answers:?}"))
    };
    assert_eq!(
        (&error(3)["id"], &error(5)["id"]),
        (&Value::Null, &Value::Null)
    );
    assert!(
        error(4)["error"]["message"]
            .as_str()
            .unwrap()
            .contains("list")
    );
    assert_eq!(error(6)["error"]["reason"], "PROCESS_NOT_FOUND");
    assert!(
        error(7)["error"]["message"]
            .as_str()
            .unwrap()
            .contains("cpu")
    );
    let ran = answers.iter().find(|answer| answer["id"] == 5).unwrap();
    assert_eq!(ran["result"]["exit"]["code"], 1, "no failure of the call");
    let (_, code) = batch(
        &server,
        &[],
        "{\"id\": 1, \"call\": \"run\", \"spec\": {\"argv\": [\"false\"]}}",
    );
    assert_eq!(code, 0);
}

#[test]
fn calls_are_made_side_by_side_and_answered_as_they_are_done() {
    let server = Server::start();
    let sleep = |id: u32, seconds: &str| json!({"id": id, "call": "run", "spec": {"argv": ["sleep", seconds]}});
    let mut command = server.prn(&["batch", "--jobs", "3"]);
    let lines = requests(&[
        sleep(1, "3"),
        sleep(2, "0.1"),
        sleep(3, "0.1"),
        sleep(4, "0.1"),
    ]);
    let (answers, code) = fed(&mut command, &lines);
    assert_eq!((answers.len(), code), (4, 0));
    assert_eq!(answers[3]["id"], 1, "the slow one is last");
    // One is answered while standard input is still open.
    let mut child = server
        .prn(&["batch"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{}", json!({"id": 1, "call": "list"})).unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"id\":1,\"result\":"), "{line}");
    // Nobody reads any more.
    drop(stdout);
    wait_for("its end", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(141));
    drop(stdin);
}

#[test]
fn a_lost_connection_is_made_again_and_nothing_starts_twice() {
    let server = Server::start();
    // Of a server that has run for longer than a start is tried, it is certain that it is the same.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let mut made = 0;
    let proxy = Proxy::start(&server.address, move || {
        made += 1;
        (made <= 2).then_some(Cut {
            after: 5_000,
            reset: made == 2,
        })
    });
    let mut command = server.prn(&["batch", "--jobs", "4"]);
    command.env("PRN_ADDRESS", &proxy.address);
    let each = (0..40).map(|id| {
        json!({"id": id, "call": "start", "spec": {"argv": ["true"], "labels": {"n": id.to_string()}}})
    });
    let (answers, _) = fed(&mut command, &requests(&each.collect::<Vec<_>>()));
    let ids: std::collections::HashSet<_> = answers
        .iter()
        .map(|answer| {
            answer["result"]["id"]
                .as_str()
                .unwrap_or_else(|| panic!("{answer}"))
        })
        .collect();
    assert_eq!(ids.len(), 40);
    assert!(proxy.cuts() > 0);
    let all: Value = serde_json::from_str(&server.ok(&["list", "-o", "json"])).unwrap();
    assert_eq!(all["processes"].as_array().unwrap().len(), 40);
}

#[test]
fn the_examples_of_the_document_work() {
    let server = Server::start();
    let folder = binary("prn").parent().unwrap().display().to_string();
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap());
    let document = include_str!("../../docs/agents.md");
    let blocks: Vec<_> = document.split("```sh\n").skip(1).collect();
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        let script = block.split("```").next().unwrap();
        let temporary = tempfile::tempdir().unwrap();
        let mut prn = server.prn(&[]);
        let mut sh = Command::new("sh");
        let settings = prn
            .env("TMPDIR", temporary.path())
            .env("PATH", &path)
            .get_envs();
        sh.envs(settings.filter_map(|(name, value)| Some((name, value?))));
        let output = sh.args(["-eu", "-c", script]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{said}");
        if let Ok(whole) = std::fs::read_to_string(temporary.path().join("whole")) {
            let lines = (1..=1000).map(|number| format!("{number}\n"));
            assert_eq!(whole, lines.collect::<String>());
        }
    }
}

#[test]
fn no_command_asks_anything_where_no_terminal_is() {
    let server = Server::start();
    let help = server.ok(&["--help"]);
    let commands = help
        .split("Commands:")
        .nth(1)
        .unwrap()
        .split("Options:")
        .next()
        .unwrap();
    let names: Vec<_> = commands
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .filter(|name| name.chars().all(|c| c.is_ascii_lowercase()) && *name != "help")
        .collect();
    assert!(names.len() > 15 && names.contains(&"batch"), "{names:?}");
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        let id = server.start_process(&["--label", "ask=me"], &["sleep", "600"]);
        let words: &[&str] = match name {
            "stop" => &["--all"],
            "prune" | "list" | "ls" | "ps" | "health" | "version" | "batch" => &[],
            "start" | "run" => &["-n", "--", "true"],
            "exec" => &["no-such-workspace", "--", "true"],
            "kill" => &["-s", "KILL", "-l", "ask=me"],
            "rm" => &["--force", "-l", "ask=me"],
            "update" => &[&id, "--label", "a=b"],
            "renew" | "status" | "inspect" | "pause" | "resume" => &[&id],
            "logs" => &[&id, "--no-follow"],
            "attach" => &["no-such-process"],
            // It would serve until it is ended.
            "exporter" => &["--listen", "nowhere"],
            "wait" => &[&id, "--timeout", "1s"],
            "cp" => &["no-such-file", "w:"],
            "workspace" => &["list"],
            "stats" => &["--no-stream"],
            "events" => &["--no-follow"],
            "keygen" => &[],
            "server" => &["check"],
            // Whatever else there is: without arguments.
            _ => &[],
        };
        for closed in [false, true] {
            let mut command = server.prn(&[&[name], words].concat());
            command.current_dir(folder.path());
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            if closed {
                let mut sh = Command::new("sh");
                sh.arg("-c").arg("exec \"$@\" <&-").arg("sh");
                sh.arg(command.get_program()).args(command.get_args());
                let settings = command.get_envs();
                sh.envs(settings.filter_map(|(name, value)| Some((name, value?))));
                sh.current_dir(folder.path());
                command = sh;
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
            } else {
                // A pipe that stays open, and in which nothing comes.
                command.stdin(Stdio::piped());
            }
            let mut child = command.spawn().unwrap();
            let stdin = child.stdin.take();
            // It ends by itself, or waits for requests as it should.
            if ["batch", "mcp"].contains(&name) {
                drop(stdin);
                wait_for(name, || child.try_wait().unwrap().is_some());
            } else {
                wait_for(name, || child.try_wait().unwrap().is_some());
                drop(stdin);
            }
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!said.contains("[y/N]"), "{name}: {said}");
        }
    }
}
