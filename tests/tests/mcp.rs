//! `prn mcp`, as agents use it: through the MCP library of Python, which is installed into the target
//! folder.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_tests::schemas::assert_as;
use prn_tests::server::Server;
use prn_tests::{binary, libraries, procfs, wait_for, wait_within};
use serde_json::{Value, json};

fn python() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mcp");
    libraries::plain_python(&folder, &root().join("examples/mcp"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// With what names the server, and its client.
fn as_client(command: &mut Command, server: &Server) {
    command
        .env("PRN_ADDRESS", &server.address)
        .env("PRN_CLIENT_CERT", &server.client.certificate)
        .env("PRN_SERVER_CERT", &server.identity.certificate)
        .env("PRN_TLS_KEY", server.client.key_pem());
}

/// An agent.
struct Agent {
    child: Child,
    calls: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    about: Value,
}

impl Agent {
    fn new(server: &Server, flags: &[&str]) -> Self {
        let mut command = Command::new(python());
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp/driver.py"));
        command.arg(binary("prn")).arg("mcp").args(flags);
        as_client(&mut command, server);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut agent = Self {
            calls: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
            about: Value::Null,
        };
        agent.about = agent.answer();
        agent
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let line = json!({"tool": tool, "arguments": arguments}).to_string();
        writeln!(self.calls.as_mut().unwrap(), "{line}").unwrap();
        self.answer()
    }

    /// The value that a tool answers with.
    fn ok(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = self.call(tool, arguments);
        assert_eq!(answer["is_error"], false, "{tool}: {answer}");
        let tools = self.about["tools"].as_array().unwrap().iter();
        let mut schemas = tools.filter(|about| about["name"] == tool);
        let schema = &schemas.next().unwrap()["outputSchema"];
        assert_as(tool, schema, &answer["value"]);
        answer["value"].clone()
    }

    /// The error that a tool answers with.
    fn error(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = self.call(tool, arguments);
        assert_eq!(answer["is_error"], true, "{tool}: {answer}");
        answer["value"].clone()
    }

    fn tools(&self) -> Vec<&str> {
        let tools = self.about["tools"].as_array().unwrap();
        tools
            .iter()
            .map(|tool| tool["name"].as_str().unwrap())
            .collect()
    }

    fn end(mut self) {
        self.calls = None;
        assert!(self.child.wait().unwrap().success());
    }

    fn prn(&self) -> Pid {
        let python = i32::try_from(self.child.id()).unwrap();
        let prn = procfs::children(python);
        let prn = prn.into_iter().find(|pid| procfs::comm(*pid) == "prn");
        Pid::from_raw(prn.expect("prn mcp"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn text(value: &Value) -> String {
    let pieces = value["output"].as_array().unwrap();
    pieces
        .iter()
        .map(|piece| piece["text"].as_str().unwrap())
        .collect()
}

#[test]
fn an_agent_runs_commands_and_reads_what_they_print_in_parts() {
    let server = Server::start();
    let mut agent = Agent::new(&server, &[]);
    assert_eq!(agent.about["name"], "prn");
    assert!(agent.tools().contains(&"run") && agent.tools().contains(&"write_file"));
    let ran = agent.ok("run", json!({"script": "echo out; echo err >&2; exit 3"}));
    assert_eq!(
        (&ran["running"], &ran["exit"]["code"]),
        (&json!(false), &json!(3))
    );
    let mut streams: Vec<_> = ran["output"]["output"].as_array().unwrap().clone();
    streams.sort_by_key(|piece| piece["stream"].to_string());
    assert_eq!(streams[0]["text"], "err\n");
    assert_eq!(streams[1]["text"], "out\n");
    let ran = agent.ok(
        "run",
        json!({"argv": ["wc", "-c"], "input": "x".repeat(300_000)}),
    );
    assert_eq!(text(&ran["output"]).trim(), "300000");
    // More than there is room for.
    let ran = agent.ok("run", json!({"argv": ["seq", "5000"], "max_bytes": 1000}));
    let mut output = ran["output"].clone();
    let mut whole = text(&output);
    assert_eq!((whole.len(), &output["truncated"]), (1000, &json!(true)));
    while output["complete"] == false {
        let from = output["next_offset"].clone();
        output = agent.ok(
            "output",
            json!({"process": ran["id"], "from": from, "max_bytes": 7777}),
        );
        whole += &text(&output);
    }
    let expected: String = (1..=5000).map(|number| format!("{number}\n")).collect();
    assert!(whole == expected);
    let tail = agent.ok("output", json!({"process": ran["id"], "tail_lines": 2}));
    assert_eq!(text(&tail), "4999\n5000\n");
    agent.end();
}

#[test]
fn an_agent_starts_waits_signals_and_stops() {
    let server = Server::start();
    let mut agent = Agent::new(&server, &[]);
    let script = "trap 'echo hup' HUP; echo ready; while :; do sleep 0.1; done";
    let started = agent.ok(
        "start",
        json!({"script": script, "name": "web", "labels": {"app": "w"}}),
    );
    let output = agent.ok("output", json!({"process": "web", "wait": "20s"}));
    assert_eq!(
        (text(&output), &output["complete"]),
        ("ready\n".into(), &json!(false))
    );
    agent.ok("signal", json!({"process": "web", "signal": "HUP"}));
    let more = json!({"process": "web", "from": output["next_offset"], "wait": "20s"});
    assert_eq!(text(&agent.ok("output", more)), "hup\n");
    let waited = agent.ok("wait", json!({"processes": ["web"], "timeout": "200ms"}));
    assert_eq!(waited["timed_out"], true);
    // Who waits for longer is told that it is so.
    let waited = agent.call("wait", json!({"processes": ["web"], "timeout": "3500ms"}));
    let told = waited["progress"].as_array().unwrap().iter();
    let told: Vec<_> = told.map(|seconds| seconds.as_f64().unwrap()).collect();
    assert!(!told.is_empty() && told.is_sorted(), "{told:?}");
    let listed = agent.ok("list", json!({"selector": "app=w"}));
    assert_eq!(listed["processes"][0]["id"], started["id"]);
    assert_eq!(listed["processes"][0]["labels"]["started-by"], "prn-mcp");
    let stopped = agent.ok("stop", json!({"process": "web", "grace": 0}));
    assert_eq!(
        (&stopped["state"], &stopped["exit"]["signal"]),
        (&json!("stopped"), &json!(9))
    );
    // A run that takes longer than it is waited for goes on.
    let ran = agent.ok(
        "run",
        json!({"script": "echo a; sleep 60", "wait": "300ms"}),
    );
    assert_eq!(
        (&ran["running"], text(&ran["output"])),
        (&json!(true), "a\n".into())
    );
    agent.ok("stop", json!({"process": ran["id"]}));
    agent.end();
}

#[test]
fn what_goes_wrong_is_an_error_of_the_tool_that_says_what_to_do_next() {
    let server = Server::start();
    let mut agent = Agent::new(&server, &[]);
    let unknown = agent.error("status", json!({"process": "nothing"}));
    assert_eq!(unknown["reason"], "PROCESS_NOT_FOUND");
    assert!(unknown["next"].as_str().unwrap().contains("list"));
    let missing = agent.error("run", json!({"argv": ["no-such-program"]}));
    assert_eq!(missing["reason"], "COMMAND_NOT_FOUND");
    let field = agent.error("run", json!({"argv": ["true"], "memory": "1G"}));
    assert!(
        field["message"].as_str().unwrap().contains("memory"),
        "{field}"
    );
    let limit = agent.error(
        "start",
        json!({"argv": ["true"], "limits": {"memory_bytes": 1}}),
    );
    assert!(
        limit["message"].as_str().unwrap().contains("memory_bytes"),
        "{limit}"
    );
    let tool = agent.call("format_disk", json!({}));
    assert!(
        tool["protocol_error"]
            .as_str()
            .unwrap()
            .contains("format_disk"),
        "{tool}"
    );
    agent.end();
}

#[test]
fn files_come_and_go_within_one_workspace() {
    let server = Server::with_arguments(&["--output-default", "64K"]);
    server.ok(&["workspace", "create", "job"]);
    server.ok(&["workspace", "create", "other"]);
    let outside = server.start_process(&[], &["sleep", "60"]);
    let mut agent = Agent::new(&server, &["--workspace", "job"]);
    let script = "#!/bin/sh\necho \u{e4}\n";
    agent.ok(
        "write_file",
        json!({"path": "bin/a b", "text": script, "executable": true}),
    );
    agent.ok("write_file", json!({"path": "data", "base64": "/wD+"}));
    let ran = agent.ok("run", json!({"argv": ["./bin/a b"]}));
    assert_eq!(text(&ran["output"]), "\u{e4}\n");
    assert_eq!(ran["process"]["workspace"], "job");
    let read = agent.ok("read_file", json!({"path": "bin/a b", "max_bytes": 10}));
    assert_eq!(
        (&read["text"], &read["truncated"]),
        (&json!("#!/bin/sh\n"), &json!(true))
    );
    let rest = agent.ok(
        "read_file",
        json!({"path": "bin/a b", "offset": read["next_offset"]}),
    );
    assert_eq!(
        (&rest["text"], &rest["truncated"]),
        (&json!("echo \u{e4}\n"), &json!(false))
    );
    assert_eq!(
        agent.ok("read_file", json!({"path": "data"}))["base64"],
        "/wD+"
    );
    let listed = agent.ok("list_files", json!({"depth": 2}));
    let names = listed["files"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(names, ["bin", "bin/a b", "data"]);
    // More than a server keeps of an output that nobody waits for.
    let numbers: String = (0..700_000)
        .map(|number| format!("{number:09}\n"))
        .collect();
    agent.ok("write_file", json!({"path": "numbers", "text": numbers}));
    let read = agent.ok(
        "read_file",
        json!({"path": "numbers", "max_bytes": 8 << 20}),
    );
    assert_eq!(read["truncated"], false);
    assert!(read["text"] == numbers.as_str(), "all of it, in order");
    // Nothing is left of what did that, and a file is replaced, whatever its mode was.
    agent.ok(
        "write_file",
        json!({"path": "bin/a b", "text": "#!/bin/sh\necho 2\n"}),
    );
    assert_eq!(
        text(&agent.ok("run", json!({"argv": ["./bin/a b"]}))["output"]),
        "2\n"
    );
    let processes = agent.ok("list", json!({}))["processes"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(processes, 2, "the two runs");
    for (tool, arguments) in [
        ("read_file", json!({"path": "../other/x"})),
        ("write_file", json!({"path": "/tmp/x", "text": ""})),
        ("list_files", json!({"path": "..", "workspace": "job"})),
        ("list_files", json!({"workspace": "other"})),
        ("run", json!({"argv": ["true"], "workspace": "other"})),
        ("status", json!({"process": outside})),
        ("stop", json!({"process": outside})),
        ("output", json!({"process": outside})),
        ("wait", json!({"processes": [outside]})),
        ("signal", json!({"process": outside, "signal": 9})),
        ("read_file", json!({"path": "missing"})),
    ] {
        let error = agent.error(tool, arguments.clone());
        assert!(error["message"].is_string(), "{tool} {arguments}");
    }
    assert_eq!(server.status(&outside)["state"], "running");
    let output = server.run(&["mcp", "--workspace", "nowhere"]);
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("prn workspace create nowhere"), "{said}");
    agent.end();
}

#[test]
fn read_only_tools_change_nothing() {
    let server = Server::start();
    let id = server.start_process(&["--name", "web"], &["sh", "-c", "echo x; exec sleep 60"]);
    let mut agent = Agent::new(&server, &["--read-only"]);
    let tools = agent.tools();
    assert_eq!(
        tools,
        [
            "status",
            "list",
            "output",
            "wait",
            "read_file",
            "list_files"
        ]
    );
    for tool in agent.about["tools"].as_array().unwrap() {
        assert_eq!(tool["annotations"]["readOnlyHint"], true, "{tool}");
    }
    assert_eq!(
        agent.ok("status", json!({"process": "web"}))["id"],
        id.as_str()
    );
    assert_eq!(
        text(&agent.ok("output", json!({"process": "web", "wait": 20}))),
        "x\n"
    );
    for tool in ["run", "start", "stop", "signal", "write_file"] {
        let answer = agent.call(tool, json!({"process": "web", "argv": ["true"]}));
        assert!(answer["protocol_error"].is_string(), "{tool}: {answer}");
    }
    assert_eq!(server.status(&id)["state"], "running");
    agent.end();
}

#[test]
fn what_an_agent_started_ends_with_it_however_it_ends() {
    let server = Server::start();
    let running = |id: &Value| server.status(id.as_str().unwrap())["state"] == "running";
    let sleep = || json!({"argv": ["sleep", "600"]});
    let mut agent = Agent::new(&server, &[]);
    let id = agent.ok("start", sleep())["id"].clone();
    agent.end();
    wait_for("its end", || !running(&id));
    // Killed, it says nothing to anybody: the lease ends, which was renewed until then.
    let mut agent = Agent::new(&server, &["--lease", "3s"]);
    let id = agent.ok("start", sleep())["id"].clone();
    std::thread::sleep(Duration::from_secs(5));
    assert!(running(&id), "it is renewed");
    kill(agent.prn(), Signal::SIGKILL).unwrap();
    wait_within(Duration::from_secs(20), "the end of the lease", || {
        !running(&id)
    });
    assert_eq!(
        server.status(id.as_str().unwrap())["exit"]["cause"],
        "lease-expired"
    );
    drop(agent);
    let mut agent = Agent::new(&server, &["--keep-processes"]);
    let id = agent.ok("start", sleep())["id"].clone();
    agent.end();
    assert!(running(&id));
}

#[test]
fn it_ends_with_its_client_and_refuses_what_is_no_protocol() {
    let server = Server::start();
    for (input, code) in [("", 1), ("hello\n", 1)] {
        let mut child = server
            .prn(&["mcp"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{input:?}: {said}");
        assert!(
            said.contains("docs/agents.md") && said.lines().count() == 1,
            "{said}"
        );
    }
}

#[test]
fn the_example_does_what_it_says() {
    let server = Server::start();
    server.ok(&["workspace", "create", "agent"]);
    let mut command = Command::new(python());
    command.arg(root().join("examples/mcp/agent.py"));
    let folder = binary("prn").parent().unwrap().display().to_string();
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{folder}:{path}"));
    as_client(&mut command, &server);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed, "hello from the agent\nexit code 0\n");
}
