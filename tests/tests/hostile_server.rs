//! A server that is the pinned one, and lies: whatever it answers, the client neither falls over, nor
//! takes more memory than it should, nor passes on what a terminal would act on, nor says that all is
//! well where it is not.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::iter;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Output};

use nix::pty::{Winsize, openpty};
use prn_proto::v1::{self, get_output_response::Type};
use prn_tests::taken_over::{Answer, End, TakenOver};
use prost::Message;
use tonic::Code;

/// A process that it says it has.
const ID: &str = "fcd2310e7b9a462a5d88c3a0ff4e2d9b";

/// Most address space of a client, in KiB: a good deal above what an honest server's longest answers take.
const ADDRESS_SPACE: u32 = 2 << 20;

/// The client's commands, one with each answer that there is.
const COMMANDS: &[&[&str]] = &[
    &["start", "--", "true"],
    &["run", "-n", "true"],
    &["exec", "-n", "w", "true"],
    &["attach", "-n", ID],
    &["logs", ID],
    &["logs", "--no-follow", "--tail", "3", ID],
    &["status", ID],
    &["status", "-o", "wide", ID],
    &["status", ID, "web"],
    &["inspect", ID],
    &["list"],
    &["list", "-o", "wide"],
    &["list", "-o", "json"],
    &["stats", "--no-stream"],
    &["events", "--no-follow"],
    &["events", "--no-follow", "-o", "json"],
    &["wait", ID],
    &["stop", ID],
    &["stop", "-l", "a=b"],
    &["kill", ID],
    &["pause", ID],
    &["resume", ID],
    &["update", "--label", "a=b", ID],
    &["renew", ID],
    &["rm", ID],
    &["prune", "--yes"],
    &["health"],
    &["version"],
    &["workspace", "create", "w"],
    &["workspace", "list"],
    &["workspace", "remove", "w"],
];

/// What it says.
#[derive(Clone)]
struct Said {
    /// In the place of each text that is not an id.
    text: String,
    /// In the place of each id.
    id: Option<String>,
    time: prost_types::Timestamp,
    span: prost_types::Duration,
    number: u64,
    real: f64,
    /// In the place of each choice.
    choice: i32,
    state: i32,
    exit: Option<v1::ExitCause>,
    /// How many of each list.
    many: usize,
    /// Parts that need not be there are.
    is_whole: bool,
    /// Of output, as frames.
    output: Vec<v1::GetOutputResponse>,
}

impl Default for Said {
    fn default() -> Self {
        let seconds = 1_700_000_000;
        Self {
            text: "web".to_owned(),
            id: None,
            time: prost_types::Timestamp { seconds, nanos: 0 },
            span: prost_types::Duration {
                seconds: 60,
                nanos: 0,
            },
            number: 7,
            real: 0.5,
            choice: 1,
            state: v1::ProcessState::Stopped.into(),
            exit: Some(exit(v1::exit_cause::Kind::Exited.into(), 0, 0)),
            many: 1,
            is_whole: true,
            output: vec![data(0, b"hello\n"), end(6)],
        }
    }
}

fn exit(kind: i32, exit_code: i32, signal: i32) -> v1::ExitCause {
    v1::ExitCause {
        kind,
        exit_code,
        signal,
        ..v1::ExitCause::default()
    }
}

fn data(offset: u64, bytes: &'static [u8]) -> v1::GetOutputResponse {
    v1::GetOutputResponse {
        r#type: Type::Stdout.into(),
        data: bytes.into(),
        offset,
        ..v1::GetOutputResponse::default()
    }
}

fn end(end_offset: u64) -> v1::GetOutputResponse {
    v1::GetOutputResponse {
        end: Some(v1::OutputEnd {
            exit_cause: Some(exit(v1::exit_cause::Kind::Exited.into(), 0, 0)),
            stdout_bytes: end_offset,
            end_offset,
            ..v1::OutputEnd::default()
        }),
        ..v1::GetOutputResponse::default()
    }
}

impl Said {
    fn answer(&self, method: &str, request: &[u8]) -> Answer {
        match method {
            "Start" => Answer::one(&self.started(request)),
            "Status" => Answer::one(&v1::StatusResponse {
                process_status: self.whole(self.status()),
                boot_epoch: self.text.clone(),
            }),
            "Stop" => Answer::one(&v1::StopResponse {
                process_status: self.whole(self.status()),
                boot_epoch: self.text.clone(),
            }),
            "UpdateProcess" => Answer::one(&v1::UpdateProcessResponse {
                process_status: self.whole(self.status()),
                boot_epoch: self.text.clone(),
            }),
            "List" => Answer::one(&v1::ListResponse {
                processes: vec![self.process(); self.many],
                boot_epoch: self.text.clone(),
                ..v1::ListResponse::default()
            }),
            "Wait" => Answer::one(&v1::WaitResponse {
                processes: vec![self.process(); self.many],
                removed: Vec::new(),
                boot_epoch: self.text.clone(),
            }),
            "RemoveProcess" => Answer::one(&v1::RemoveProcessResponse {
                removed: vec![self.identifier(); self.many],
                output_bytes: self.number,
                boot_epoch: self.text.clone(),
            }),
            "GetUsage" => Answer::one(&v1::GetUsageResponse {
                usages: vec![self.usage(); self.many],
                sampled_at: self.whole(self.time),
                boot_epoch: self.text.clone(),
            }),
            "GetServer" => Answer::one(&self.server()),
            "Watch" => Answer::many(self.changes()),
            "GetOutput" => Answer::many(self.output(request)),
            "CreateWorkspace" => Answer::one(&v1::CreateWorkspaceResponse {
                workspace: self.whole(self.workspace()),
                boot_epoch: self.text.clone(),
            }),
            "ListWorkspaces" => Answer::one(&v1::ListWorkspacesResponse {
                workspaces: vec![self.workspace(); self.many],
                boot_epoch: self.text.clone(),
            }),
            // The rest say nothing but that it was done.
            _ => Answer::many([Vec::new()]),
        }
    }

    fn whole<T>(&self, part: T) -> Option<T> {
        self.is_whole.then_some(part)
    }

    fn identifier(&self) -> v1::ProcessIdentifier {
        let id = self.id.clone().unwrap_or_else(|| ID.to_owned());
        v1::ProcessIdentifier { id }
    }

    fn process(&self) -> v1::Process {
        v1::Process {
            id: Some(self.identifier()),
            status: self.whole(self.status()),
        }
    }

    fn started(&self, request: &[u8]) -> v1::StartResponse {
        let asked = v1::StartRequest::decode(request).unwrap().id;
        let id = self.id.clone().unwrap_or(asked);
        v1::StartResponse {
            response: Some(v1::Process {
                id: Some(v1::ProcessIdentifier { id }),
                ..self.process()
            }),
            boot_epoch: self.text.clone(),
            already_running: false,
        }
    }

    fn task(&self) -> v1::StuckTask {
        v1::StuckTask {
            name: self.text.clone(),
            state: self.text.clone(),
        }
    }

    fn limits(&self) -> v1::Limits {
        v1::Limits {
            cpu_millis: Some(self.number),
            memory_bytes: Some(self.number),
            io_read_bytes_per_second: Some(self.number),
            io_write_bytes_per_second: Some(self.number),
            pids: Some(self.number),
        }
    }

    fn usage_of_all(&self) -> v1::Usage {
        v1::Usage {
            cpu_user_usec: self.number,
            cpu_system_usec: self.number,
            cpu_throttled_usec: self.number,
            memory_peak_bytes: Some(self.number),
            io_read_bytes: Some(self.number),
            io_write_bytes: Some(self.number),
            pids_peak: Some(self.number),
        }
    }

    fn small(&self) -> u32 {
        u32::try_from(self.number).unwrap_or(u32::MAX)
    }

    fn status(&self) -> v1::ProcessStatus {
        let text = || self.text.clone();
        v1::ProcessStatus {
            command: text(),
            state: self.state,
            exit_cause: self.exit.clone(),
            main_exited: true,
            tree_empty: true,
            started_at: self.whole(self.time),
            main_exited_at: self.whole(self.time),
            ended_at: self.whole(self.time),
            argv: vec![text()],
            limits: self.whole(v1::AppliedLimits {
                values: Some(self.limits()),
                not_enforced: vec![text()],
            }),
            usage: self.whole(self.usage_of_all()),
            output: self.whole(v1::OutputStatus {
                max_bytes: self.number,
                first_offset: Some(self.number),
                end_offset: Some(self.number),
                stdout_bytes: Some(self.number),
                stderr_bytes: Some(self.number),
                policy: self.choice,
                waits_for_reader: true,
                store: self.choice,
            }),
            working_directory: text(),
            stuck_tasks: vec![self.task()],
            uid: self.small(),
            profile: self.choice,
            left_behind: self.whole(v1::LeftBehind {
                processes: self.small(),
                stopped_for: self.choice,
            }),
            layers: vec![self.choice],
            paths: vec![v1::PathRule {
                kind: self.choice,
                path: text(),
                source: text(),
            }],
            stdin: self.choice,
            workspace: text(),
            name: text(),
            labels: BTreeMap::from([(text(), text())]),
            lease: self.whole(v1::Lease {
                duration: Some(self.span),
                expires_at: Some(self.time),
            }),
            deadline: self.whole(self.time),
            stop: self.whole(v1::StopStatus {
                cause: self.choice,
                asked_at: Some(self.time),
                killed_at: Some(self.time),
                outlived: vec![self.task()],
                stopped_by: text(),
            }),
            retention: self.whole(v1::Retention {
                keep: false,
                max_age: Some(self.span),
                until_read: true,
            }),
            timeout: self.whole(self.span),
            stop_grace: self.whole(self.span),
            started_by: text(),
            signed: self.whole(v1::SignedStart {
                key: text(),
                via: text(),
            }),
            ..v1::ProcessStatus::default()
        }
    }

    fn usage(&self) -> v1::ProcessUsage {
        let pressure = v1::Pressure {
            some_avg10: self.real,
            some_avg60: self.real,
            some_total_usec: self.number,
            full_avg10: self.real,
            full_avg60: self.real,
            full_total_usec: self.number,
        };
        v1::ProcessUsage {
            id: Some(self.identifier()),
            usage: self.whole(self.usage_of_all()),
            memory_bytes: Some(self.number),
            pids: Some(self.number),
            processes: self.small(),
            oom_kills: Some(self.number),
            memory_limit_hits: Some(self.number),
            cpu_throttled_periods: Some(self.number),
            cpu_periods: Some(self.number),
            cpu_pressure: Some(pressure),
            memory_pressure: Some(pressure),
            io_pressure: Some(pressure),
            tasks: vec![self.task()],
        }
    }

    fn server(&self) -> v1::GetServerResponse {
        v1::GetServerResponse {
            version: self.text.clone(),
            api_revision: self.small(),
            started_at: self.whole(self.time),
            now: self.whole(self.time),
            draining: false,
            processes_running: self.small(),
            processes_finished: self.small(),
            processes_max: self.small(),
            workspaces: self.small(),
            certificate_not_after: self.whole(self.time),
            client_certificate_not_after: self.whole(self.time),
            default_limits: self.whole(self.limits()),
            kernel: self.text.clone(),
            hostname: self.text.clone(),
            boot_epoch: self.text.clone(),
            principal: self.text.clone(),
            role: self.text.clone(),
            receipt_key: self.text.clone(),
            signed_starts: self.whole(v1::SignedStarts {
                required: true,
                run_audience: self.text.clone(),
                fleets: vec![self.text.clone()],
                window_max: Some(self.span),
            }),
        }
    }

    fn workspace(&self) -> v1::Workspace {
        v1::Workspace {
            name: self.text.clone(),
            directory: self.text.clone(),
            created_at: self.whole(self.time),
            uid: self.small(),
            disk_max_bytes: Some(self.number),
            disk_enforcement: self.choice,
            processes: self.small(),
            leaving: false,
            created_by: self.text.clone(),
        }
    }

    fn changes(&self) -> Vec<Vec<u8>> {
        let process = v1::WatchResponse {
            process: Some(self.process()),
            cursor: self.text.clone(),
            ..v1::WatchResponse::default()
        };
        let removed = v1::WatchResponse {
            removed: Some(self.identifier()),
            ..v1::WatchResponse::default()
        };
        let synchronized = v1::WatchResponse {
            synchronized: true,
            ..v1::WatchResponse::default()
        };
        let mut all = vec![process.encode_to_vec(); self.many];
        all.extend([removed.encode_to_vec(), synchronized.encode_to_vec()]);
        all
    }

    fn output(&self, request: &[u8]) -> Vec<Vec<u8>> {
        let asked = v1::GetOutputRequest::decode(request).unwrap();
        let begins = asked.tail_lines.is_some().then(|| v1::GetOutputResponse {
            begin: Some(v1::OutputBegin {
                offset: 0,
                until: None,
            }),
            ..v1::GetOutputResponse::default()
        });
        let frames = begins.iter().chain(&self.output);
        frames.map(Message::encode_to_vec).collect()
    }
}

/// A server that says this, whatever it is asked.
fn saying(said: &Said) -> TakenOver {
    let said = said.clone();
    TakenOver::start(move |method, request| said.answer(method, request))
}

/// A shell's line: with as much memory as a client may take, and an end in any case.
fn bounded(seconds: u32) -> String {
    format!("ulimit -v {ADDRESS_SPACE}; exec timeout -k 5 {seconds} \"$@\"")
}

/// Runs a command against it: what it said to standard error, and its exit code.
fn run(server: &TakenOver, words: &[&str]) -> (String, i32) {
    let Output { status, stderr, .. } = server.shell(&bounded(120), words).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    let code = code(status, words, &said);
    (said, code)
}

/// The exit code of what did not fall over.
fn code(status: ExitStatus, words: &[&str], said: &str) -> i32 {
    let code = status.code();
    assert_eq!(status.signal(), None, "{words:?}: {said}");
    for fall in ["panicked", "memory allocation", "stack overflow"] {
        assert!(!said.contains(fall), "{words:?}: {said}");
    }
    // timeout(1) exits 124, or 137 where SIGTERM was not enough; 101 is a panic's.
    assert!(!matches!(code, Some(101 | 124 | 137)), "{words:?}: {said}");
    code.unwrap()
}

/// Commands that are told an id.
const OF_IDS: &[&str] = &[
    "start -- true",
    "run -n true",
    "exec -n w true",
    "status -o wide ID",
    "status ID web",
    "inspect ID",
    "list",
    "list -o wide",
    "list -o json",
    "stats --no-stream",
    "events --no-follow",
    "events --no-follow -o json",
    "wait ID",
    "stop -l a=b",
    "rm ID",
    "prune --yes",
];

/// Commands that are told what is known of a process.
const OF_STATES: &[&str] = &[
    "start -- true",
    "run -n true",
    "exec -n w true",
    "attach -n ID",
    "status ID",
    "status -o wide ID",
    "status ID web",
    "inspect ID",
    "list",
    "list -o wide",
    "list -o json",
    "stats --no-stream",
    "events --no-follow",
    "events --no-follow -o json",
    "wait ID",
    "stop ID",
    "stop -l a=b",
    "pause ID",
    "resume ID",
    "update --label a=b ID",
    "renew ID",
    "prune --yes",
];

/// Each command against a server that says this: it fails if it is one of these, and else it does not.
fn fail_with(what: &str, said: &Said, failing: &[&str]) {
    let server = saying(said);
    for words in COMMANDS {
        let (said, code) = run(&server, words);
        let name = words.join(" ").replace(ID, "ID");
        let fails = failing.contains(&name.as_str());
        assert_eq!(code != 0, fails, "{what}, {name}: {code} {said}");
    }
}

fn lie(change: impl FnOnce(&mut Said)) -> Said {
    let mut said = Said::default();
    change(&mut said);
    said
}

#[test]
fn an_honest_answer_is_taken() {
    fail_with("honest", &Said::default(), &[]);
}

#[test]
fn what_is_no_process_is_an_error() {
    let malformed = lie(|said| said.id = Some("x\u{1b}[2J".to_owned()));
    fail_with("no id", &malformed, OF_IDS);
    let unknown = lie(|said| said.state = 9999);
    fail_with("an unknown state", &unknown, OF_STATES);
    let of_parts = [OF_STATES, &["workspace create w"]].concat();
    fail_with("no parts", &lie(|said| said.is_whole = false), &of_parts);
    // One that was not asked for.
    let other = lie(|said| said.id = Some("0".repeat(32)));
    let asked = [
        "start -- true",
        "run -n true",
        "exec -n w true",
        "wait ID",
        "rm ID",
    ];
    fail_with("another id", &other, &asked);
    let none = lie(|said| said.many = 0);
    fail_with("no entries", &none, &["status ID web", "wait ID", "rm ID"]);
}

/// An older one looks at no user.
#[test]
fn a_start_as_somebody_else_is_told_with_how_to_stop_it() {
    let server = saying(&Said::default());
    for (words, exit) in [(&["start"][..], 1), (&["run", "-n"], 125)] {
        let words = [words, &["--user", "deploy", "--", "true"]].concat();
        let (said, code) = run(&server, &words);
        assert_eq!(code, exit, "{said}");
        let why = "was started, but with user id 7 and not as deploy";
        assert!(said.contains(why), "{said}");
        let (_, id) = said.split_once("process ").unwrap();
        let stop = format!("`prn stop {}`", &id[..32]);
        assert!(said.contains(&stop), "{said}");
    }
}

#[test]
fn an_end_that_cannot_be_is_no_success() {
    for ended in [
        None,
        Some(exit(1, 256, 0)),
        Some(exit(1, -1, 0)),
        Some(exit(2, 0, -128)),
        Some(exit(2, 0, i32::MAX)),
        Some(exit(77, 0, 0)),
        Some(exit(-1, 0, 0)),
    ] {
        let mut last = end(6);
        last.end.as_mut().unwrap().exit_cause = ended.clone();
        let server = saying(&lie(|said| {
            said.exit = ended.clone();
            said.output = vec![data(0, b"hello\n"), last];
        }));
        for words in [
            &["run", "-n", "true"][..],
            &["exec", "-n", "w", "true"],
            &["attach", "-n", ID],
            &["wait", ID],
        ] {
            let (said, code) = run(&server, words);
            // 124 is what timeout(1) has, which is told from it above.
            assert_eq!(code, 125, "{ended:?}, {words:?}: {said}");
        }
        for words in COMMANDS {
            run(&server, words);
        }
    }
}

#[test]
fn no_time_number_or_choice_ends_the_client() {
    for (seconds, nanos) in [
        (i64::MAX, 0),
        (i64::MIN, i32::MIN),
        (i64::MIN, i32::MAX),
        (253_402_300_800, 0),
        (-62_135_596_801, 0),
        (-1, 0),
        (0, i32::MAX),
    ] {
        let said = lie(|said| {
            said.time = prost_types::Timestamp { seconds, nanos };
            said.span = prost_types::Duration { seconds, nanos };
            said.output[0].time = Some(said.time);
        });
        fail_with(&format!("{seconds} s, {nanos} ns"), &said, &[]);
        let (said, code) = run(&saying(&said), &["logs", "-t", ID]);
        assert_eq!(code, 0, "{said}");
    }
    for number in [u64::MAX, 1 << 63] {
        fail_with("a number", &lie(|said| said.number = number), &[]);
    }
    for real in [f64::NAN, f64::INFINITY, -1e300] {
        fail_with("a part", &lie(|said| said.real = real), &[]);
    }
    for choice in [9999, -1, i32::MIN] {
        fail_with("a choice", &lie(|said| said.choice = choice), &[]);
    }
}

#[test]
fn a_list_without_end_is_refused_before_it_takes_the_memory() {
    let one = lie(|said| {
        said.is_whole = false;
        said.text = String::new();
    });
    // The entries of one answer after the other are those of one answer.
    let server = TakenOver::start(move |method, request| {
        let answer = one.answer(method, request);
        let is_list = [
            "List",
            "Wait",
            "RemoveProcess",
            "GetUsage",
            "ListWorkspaces",
        ];
        if !is_list.contains(&method) {
            return answer;
        }
        Answer::many(answer.messages.map(|message| message.repeat(1_000_000)))
    });
    for words in [
        &["list"][..],
        &["list", "-o", "json"],
        &["status", "web"],
        &["stats", "--no-stream"],
        &["wait", ID],
        &["rm", ID],
        &["prune", "--yes"],
        &["workspace", "list"],
    ] {
        let (said, code) = run(&server, words);
        let expected = if words[0] == "wait" { 125 } else { 1 };
        assert_eq!(code, expected, "{words:?}: {said}");
    }
}

/// Processes of which each is another one, without end.
fn processes() -> impl Iterator<Item = v1::Process> + Send {
    (0u128..).map(|number| v1::Process {
        id: Some(v1::ProcessIdentifier {
            id: format!("{number:032x}"),
        }),
        status: Some(v1::ProcessStatus {
            state: v1::ProcessState::Running.into(),
            ..v1::ProcessStatus::default()
        }),
    })
}

#[test]
fn pages_and_changes_without_end_have_one() {
    let server = TakenOver::start(|method, request| match method {
        "List" => Answer::one(&v1::ListResponse {
            processes: processes().take(100_000).collect(),
            next_page_token: "x".repeat(1 << 20),
            ..v1::ListResponse::default()
        }),
        "Watch" => Answer {
            messages: Box::new(processes().map(|process| {
                let change = v1::WatchResponse {
                    process: Some(process),
                    ..v1::WatchResponse::default()
                };
                change.encode_to_vec().into()
            })),
            end: End::Never,
        },
        _ => Said::default().answer(method, request),
    });
    for words in [
        &["status", "web"][..],
        &["list", "-o", "name"],
        &["events", "-o", "name"],
    ] {
        let (said, code) = run(&server, words);
        assert_eq!(code, 1, "{words:?}: {said}");
        assert!(said.contains("end") || said.contains("more"), "{said}");
    }
}

#[test]
fn output_that_contradicts_itself_is_no_success() {
    let hello = || data(0, b"hello\n");
    let unknown = v1::GetOutputResponse {
        r#type: 77,
        ..hello()
    };
    let gap = v1::GetOutputResponse {
        gap: Some(v1::OutputGap { from: 9, to: 3 }),
        ..v1::GetOutputResponse::default()
    };
    let run_words: &[&str] = &["run", "-n", "--reconnect", "1s", "true"];
    for (what, output) in [
        ("it goes back", vec![hello(), data(3, b"lo\n"), end(6)]),
        ("it ends before", vec![hello(), end(3)]),
        ("it does not end", vec![hello()]),
        ("nothing at all", vec![]),
        ("an unknown stream", vec![unknown, end(6)]),
        ("a gap to before", vec![hello(), gap, end(6)]),
        ("the last offset", vec![data(u64::MAX, b"x"), end(u64::MAX)]),
    ] {
        let server = saying(&lie(|said| said.output = output));
        for words in [run_words, &["logs", ID], &["attach", "-n", ID]] {
            let (said, code) = run(&server, words);
            assert_ne!(code, 0, "{what}, {words:?}: {said}");
        }
    }
    // More than was asked for, and what comes behind the end.
    let server = saying(&Said::default());
    let (said, code) = run(&server, &["logs", "--max-bytes", "3", ID]);
    assert_ne!(code, 0, "{said}");
    let again = vec![hello(), end(6), end(6), data(6, b"again\n")];
    let server = saying(&lie(|said| said.output = again));
    let output = server.shell(&bounded(60), &["logs", ID]).output().unwrap();
    assert_eq!(output.stdout, b"hello\n");
}

#[test]
fn an_answer_that_breaks_off_is_no_success() {
    for end in ["missing", "refused"] {
        let server = TakenOver::start(move |method, request| {
            let answer = Said::default().answer(method, request);
            if end == "missing" {
                answer.ending(End::Missing)
            } else {
                Answer::refusal(Code::Internal, "", "no")
            }
        });
        for words in COMMANDS {
            if ["start", "run", "exec", "events"].contains(&words[0]) {
                // They try again for a while, which other tests look at.
                continue;
            }
            // A stream that has brought its last frame is whole, whatever follows.
            let is_stream = end == "missing" && ["logs", "attach"].contains(&words[0]);
            let (said, code) = run(&server, words);
            assert!(code != 0 || is_stream, "{end}, {words:?}: {said}");
        }
    }
}

#[test]
fn a_stream_of_nothing_is_left_by_a_signal() {
    let server = TakenOver::start(|method, request| match method {
        "GetOutput" => Answer {
            messages: Box::new(iter::repeat_with(hyper::body::Bytes::new)),
            end: End::Never,
        },
        _ => Said::default().answer(method, request),
    });
    for words in [&["logs", ID][..], &["logs", "--no-follow", ID]] {
        let output = server.shell(&bounded(2), words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        // timeout(1) has sent SIGTERM, and SIGKILL was not needed.
        assert_eq!(output.status.code(), Some(124), "{words:?}: {said}");
    }
}

/// What a command shows on a terminal, all of it.
fn shown(server: &TakenOver, words: &[&str]) -> String {
    let size = Winsize {
        ws_row: 24,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let terminal = openpty(Some(&size), None).unwrap();
    let mut command = server.shell(&bounded(60), words);
    command.env("TERM", "xterm").env("NO_COLOR", "1");
    let slave = terminal.slave.try_clone().unwrap();
    command.stdout(terminal.slave).stderr(slave);
    let mut child = command.spawn().unwrap();
    // This end of it: without it, the read below ends with EIO when the command does.
    drop(command);
    let mut all = Vec::new();
    let mut master = File::from(terminal.master);
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = master.read(&mut buffer) {
        all.extend_from_slice(&buffer[..length]);
    }
    let all = String::from_utf8(all).unwrap();
    code(child.wait().unwrap(), words, &all);
    all
}

#[test]
fn nothing_that_a_server_says_moves_a_terminal() {
    let evil = "\u{1b}]0;x\u{7}\u{1b}[2J\u{9b}31m\u{202e}\u{8}\r\nprn: all is well\n";
    let said = lie(|said| said.text = evil.to_owned());
    let saying = saying(&said);
    let refusals = [
        (Code::NotFound, "PROCESS_NOT_FOUND"),
        (Code::NotFound, "WORKSPACE_NOT_FOUND"),
        (Code::InvalidArgument, evil),
        (Code::FailedPrecondition, "COMMAND_FAILED"),
        (Code::ResourceExhausted, "TOO_MANY_PROCESSES"),
    ];
    let refusing = refusals
        .map(|(code, reason)| TakenOver::start(move |_, _| Answer::refusal(code, reason, evil)));
    for server in iter::once(&saying).chain(&refusing) {
        for words in COMMANDS {
            let shown = shown(server, words);
            let is_moved = |c: char| {
                let is_line = matches!(c, '\n' | '\r' | '\t');
                (c.is_control() && !is_line) || c == '\u{202e}'
            };
            assert!(!shown.contains(is_moved), "{words:?}: {shown:?}");
            let is_line = shown.lines().any(|line| line == "prn: all is well");
            assert!(!is_line, "{words:?}: {shown:?}");
        }
    }
}
