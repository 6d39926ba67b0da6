//! Who may do what, with real clients and with a frontend that was taken over.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use prn_ipc_protocol::message::{
    Ask, Denial, NewLabels, NewLease, Refusal, Reply, StopHow, TerminalSize, Update, Verb, Whom,
    WorkspaceSpec,
};
use prn_ipc_protocol::types::{AccessName, Labels, LimitName, ProcessId};
use prn_tests::hostile_frontend::HostileFrontend;
use prn_tests::pki::Identity;
use prn_tests::random::Random;
use prn_tests::server::{Options, Server};

const CLIENTS: [(&str, &str, &str); 6] = [
    ("anna", "admin", "ops"),
    ("ben", "runner", "ci"),
    ("cleo", "runner", "ci"),
    ("dora", "viewer", "ops"),
    ("eve", "echoer", "ci"),
    ("fay", "starter", "ci"),
];

const ROLES: &str = r#"
[[role]]
name = "echoer"
may = ["start", "list", "output"]
whose = "own"
programs = [["/bin/echo", "hello"], ["/bin/sleep", "..."]]
profile = "strict"
max-memory = "64M"
max-processes = 1

[[role]]
name = "starter"
may = ["start", "list"]
whose = "group"
"#;

/// The clients' certificates, and the configuration that lists them.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let clients = CLIENTS.map(|(name, role, group)| {
            Identity::keygen(folder.0.path(), name, &[]);
            format!("[[client]]\nname = '{name}'\ncert = '{name}.pem'\nrole = '{role}'\ngroup = '{group}'\n")
        });
        let text = clients.concat() + ROLES;
        std::fs::write(folder.config(), text).unwrap();
        folder
    }

    fn config(&self) -> PathBuf {
        self.0.path().join("prn.toml")
    }

    fn options(&self) -> Options {
        Options {
            arguments: vec!["--config".to_owned(), self.config().display().to_string()],
            lists_clients: true,
            ..Options::default()
        }
    }

    fn client(&self, name: &str) -> Identity {
        Identity {
            key: self.0.path().join(format!("{name}.key")),
            certificate: self.0.path().join(format!("{name}.pem")),
        }
    }
}

/// A server whose clients are listed.
struct Listed {
    folder: Folder,
    server: Server,
}

impl Listed {
    fn start() -> Self {
        let folder = Folder::new();
        let server = Server::with(folder.options());
        Self { folder, server }
    }

    fn run(&self, name: &str, words: &[&str]) -> Output {
        let client = self.folder.client(name);
        self.server.prn_as(&client, words).output().unwrap()
    }

    fn ok(&self, name: &str, words: &[&str]) -> String {
        let output = self.run(name, words);
        assert!(output.status.success(), "{name} {words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The exit code and what is said on standard error.
    fn refused(&self, name: &str, words: &[&str]) -> (i32, String) {
        let output = self.run(name, words);
        let code = output.status.code().unwrap();
        assert_ne!(code, 0, "{name} {words:?}: {output:?}");
        (code, String::from_utf8(output.stderr).unwrap())
    }

    fn started(&self, name: &str, words: &[&str]) -> String {
        let output = self.ok(name, &[&["start"], words].concat());
        output.lines().last().unwrap().to_owned()
    }
}

#[test]
fn who_has_started_and_stopped_a_process_stands_in_its_status() {
    let listed = Listed::start();
    let id = listed.started("ben", &["--", "sleep", "1000"]);
    let field = |name: &str| {
        let template = format!("template={{{{ {name} }}}}");
        listed.ok("anna", &["status", &id, "-o", &template])
    };
    assert_eq!(field("started_by"), "ben");
    let status = listed.ok("anna", &["status", &id, "-o", "wide"]);
    assert!(status.contains("ben"), "{status}");
    let names = listed.ok("anna", &["list", "--started-by", "ben", "-o", "name"]);
    assert_eq!(names, id);
    assert_eq!(
        listed.ok("anna", &["list", "--started-by", "cleo", "-o", "name"]),
        ""
    );
    listed.ok("anna", &["stop", &id]);
    assert_eq!(field("stop.stopped_by"), "anna");
    let short = listed.started("ben", &["--timeout", "100ms", "--", "sleep", "1000"]);
    listed.run("ben", &["wait", &short]);
    let by = listed.ok(
        "ben",
        &["status", &short, "-o", "template={{ stop.stopped_by }}"],
    );
    assert!(["", "none"].contains(&&*by), "nobody has: {by}");
}

#[test]
fn what_is_anothers_is_not_there_for_a_runner_and_is_only_seen_by_a_viewer() {
    let listed = Listed::start();
    let id = listed.started(
        "ben",
        &[
            "--name",
            "bens",
            "--",
            "sh",
            "-c",
            "echo out; exec sleep 1000",
        ],
    );
    let acts: [&[&str]; 8] = [
        &["status", &id],
        &["logs", &id],
        &["stop", &id],
        &["kill", &id],
        &["pause", &id],
        &["update", &id, "--label", "a=b"],
        &["wait", &id],
        &["attach", &id],
    ];
    for words in acts {
        let (_, said) = listed.refused("cleo", words);
        assert!(said.contains("no process"), "{words:?}: {said}");
    }
    assert_eq!(listed.ok("cleo", &["list", "-o", "name"]), "");
    assert_eq!(listed.ok("dora", &["list", "-o", "name"]), id);
    assert_eq!(listed.ok("dora", &["logs", "--no-follow", "bens"]), "out");
    for words in acts.get(2..6).unwrap() {
        let (_, said) = listed.refused("dora", words);
        assert!(said.contains("role does not allow it"), "{words:?}: {said}");
    }
    let (_, said) = listed.refused("dora", &["start", "--", "true"]);
    assert!(
        said.contains("start: this client's role does not allow it"),
        "{said}"
    );
    assert_eq!(listed.ok("ben", &["list", "-o", "name"]), id);
    listed.ok("ben", &["stop", "bens"]);
}

#[test]
fn who_may_only_read_keeps_no_lease_of_others() {
    let listed = Listed::start();
    let start = ["--lease", "1s", "--", "sleep", "30"];
    let id = listed.started("ben", &start);
    listed.run("dora", &["logs", &id]);
    let status = listed.ok("dora", &["status", &id]);
    assert!(status.contains("lease expired"), "{status}");
}

#[test]
fn a_client_can_ask_what_it_may_do_before_it_tries() {
    let listed = Listed::start();
    let id = listed.started("ben", &["--", "sleep", "1000"]);
    listed.ok("ben", &["can-i", "stop", &id]);
    listed.ok("dora", &["can-i", "list"]);
    assert_eq!(listed.refused("dora", &["can-i", "stop", &id]).0, 1);
    let all = listed.ok("dora", &["can-i"]);
    assert!(all.contains("list") && all.contains("output"), "{all}");
    let dry = listed.ok("eve", &["start", "--dry-run", "--", "echo", "hello"]);
    assert!(dry.contains("/bin/echo") && dry.contains("echoer"), "{dry}");
    let (_, said) = listed.refused("eve", &["start", "--dry-run", "--", "echo", "bye"]);
    assert!(said.contains("no rule of this client's role"), "{said}");
    assert_eq!(
        listed.ok("eve", &["list", "-a", "-o", "name"]),
        "",
        "nothing was started"
    );
    let version = listed.ok("eve", &["version"]);
    assert!(
        version.contains("eve") && version.contains("echoer"),
        "{version}"
    );
}

#[test]
fn what_a_role_says_beside_its_verbs_is_told_to_its_client() {
    let listed = with_hours(&format!("'{}'", hours_of(2)));
    let all = listed.ok("fay", &["can-i"]);
    assert!(
        all.contains("so not now: only list, output and stop"),
        "{all}"
    );
    assert!(
        !all.contains("program ") && !all.contains("signed "),
        "{all}"
    );
    let all = listed.ok("eve", &["can-i"]);
    assert!(
        all.contains("program            /bin/echo hello\n"),
        "{all}"
    );
    assert!(all.contains("program            /bin/sleep ..."), "{all}");
    assert!(!all.contains("hours "), "{all}");
    let json = listed.ok("eve", &["can-i", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["programs"][0], "/bin/echo hello", "{json}");
    assert_eq!(json["outside_hours"], false, "{json}");
}

#[test]
fn that_starts_have_to_be_signed_is_said_before_somebody_tries() {
    let folder = Folder::new();
    let text = std::fs::read_to_string(folder.config()).unwrap();
    let signs = "role = 'echoer'\nrequire-signed-starts = true";
    let text = text.replacen("role = 'echoer'", signs, 1);
    std::fs::write(folder.config(), text).unwrap();
    let server = Server::with(folder.options());
    let listed = Listed { folder, server };
    let config = listed.folder.config().display().to_string();
    let table = listed.ok("anna", &["policy", "check", &config]);
    assert!(table.contains("SIGNED"), "{table}");
    let json = listed.ok("anna", &["policy", "check", &config, "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let clients = json["clients"].as_array().unwrap();
    for client in clients {
        assert_eq!(client["must_sign"], client["client"] == "eve", "{client}");
    }
    let explain = |client| {
        let words = [
            "policy",
            "explain",
            &config,
            client,
            "start",
            "--",
            "/bin/echo",
            "hello",
        ];
        listed.ok("anna", &words)
    };
    assert!(
        explain("eve").contains("signed   each start"),
        "{}",
        explain("eve")
    );
    assert!(!explain("ben").contains("signed"), "{}", explain("ben"));
    let words = [
        "policy", "explain", &config, "ben", "start", "--user", "root", "--", "id",
    ];
    let output = listed.run("ben", &words);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("no process is root's"), "{said}");
    assert!(
        !said.contains("add the user"),
        "it could not be followed: {said}"
    );
    let all = listed.ok("eve", &["can-i"]);
    assert!(all.contains("signed             starts must be"), "{all}");
    // Said once, and in front of no flag that nobody has typed.
    let (_, said) = listed.refused("eve", &["start", "--", "/bin/echo", "hello"]);
    assert_eq!(said.matches("--sign").count(), 1, "{said}");
    assert!(
        said.starts_with("prn: the server takes only signed starts"),
        "{said}"
    );
}

#[test]
fn input_that_would_be_refused_starts_nothing() {
    let listed = Listed::start();
    let run = |words: &[&str], input: &str| {
        let client = listed.folder.client("eve");
        let mut child = listed
            .server
            .prn_as(&client, words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may have left without a look at it.
        let _unread = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    };
    let refused = run(&["run", "--", "/bin/echo", "hello"], "data");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(125), "{said}");
    assert!(
        said.contains("nothing was started") && said.contains("-n runs it"),
        "{said}"
    );
    assert_eq!(
        listed.ok("eve", &["list", "-a", "-o", "name"]),
        "",
        "nothing was"
    );
    let without = run(&["run", "-n", "--", "/bin/echo", "hello"], "data");
    assert_eq!(String::from_utf8(without.stdout).unwrap(), "hello\n");
}

#[test]
fn s6_what_is_started_is_held_to_its_role() {
    let listed = Listed::start();
    assert_eq!(listed.ok("eve", &["run", "--", "echo", "hello"]), "hello");
    for words in [
        &["run", "--", "echo", "bye"][..],
        &["run", "--", "/bin/sh", "-c", "echo hello"],
        &["run", "--env", "PATH=/tmp", "--", "echo", "hello"],
        &[
            "run",
            "--env",
            "LD_PRELOAD=/tmp/x.so",
            "--",
            "echo",
            "hello",
        ],
        &["run", "--cwd", "/tmp", "--", "echo", "hello"],
        &["run", "--profile", "default", "--", "echo", "hello"],
    ] {
        let (_, said) = listed.refused("eve", words);
        assert!(said.contains("role"), "{words:?}: {said}");
    }
    let (_, said) = listed.refused("eve", &["start", "--memory", "65M", "--", "sleep", "1"]);
    assert!(said.contains("ceiling"), "{said}");
    listed.started("eve", &["--", "sleep", "1000"]);
    let (_, said) = listed.refused("eve", &["start", "--", "sleep", "1000"]);
    assert!(said.contains("has 1 process"), "{said}");
}

fn name(text: &str) -> AccessName {
    text.to_owned().try_into().unwrap()
}

/// A frontend that was taken over, between a supervisor and clients that are listed.
fn taken_over() -> (Folder, HostileFrontend) {
    let folder = Folder::new();
    let hostile = HostileFrontend::with(folder.options());
    (folder, hostile)
}

/// Something about this process, or of this name: each kind of request that there is.
fn is_listed(ask: &Ask) -> bool {
    match ask {
        Ask::Start(_)
        | Ask::TryStart(_)
        | Ask::Stop(..)
        | Ask::Remove(_)
        | Ask::Forget(_)
        | Ask::Signal(..)
        | Ask::Update(..)
        | Ask::Subscribe(_)
        | Ask::LendInput(_)
        | Ask::EndInput(_)
        | Ask::ResizeTerminal(..)
        | Ask::Usage { .. }
        | Ask::Receipt(_)
        | Ask::CreateWorkspace(_)
        | Ask::RemoveWorkspace(..) => true,
    }
}

/// Something about this process, or of this name: each kind of request that there is
/// ([`is_listed`] does not compile with a new one).
fn requests(hostile: &HostileFrontend, id: ProcessId, number: u64) -> Vec<(Verb, Ask)> {
    let labels = || Update {
        labels: Some(NewLabels::All(Labels::default())),
        ..Update::default()
    };
    let limits = || Update {
        limits: [(LimitName::Pids, 5)].into_iter().collect(),
        ..Update::default()
    };
    let paused = || Update {
        paused: Some(true),
        ..Update::default()
    };
    let lease = || Update {
        lease: Some(NewLease::Ended),
        ..Update::default()
    };
    let workspace = || format!("w{number}").try_into().unwrap();
    vec![
        (
            Verb::Start,
            Ask::Start(Box::new(hostile.spec(&["sleep", "1000"]))),
        ),
        (
            Verb::Start,
            Ask::TryStart(Box::new(hostile.spec(&["true"]))),
        ),
        (Verb::Stop, Ask::Stop(id, StopHow::Kill)),
        (Verb::Stop, Ask::Remove(id)),
        (Verb::Stop, Ask::Forget(id)),
        (
            Verb::Signal,
            Ask::Signal(id, 9.try_into().unwrap(), Whom::Tree),
        ),
        (Verb::Start, Ask::Update(id, Box::new(labels()))),
        (Verb::Start, Ask::Update(id, Box::new(lease()))),
        (Verb::Signal, Ask::Update(id, Box::new(paused()))),
        (Verb::Output, Ask::Subscribe(id)),
        (Verb::Input, Ask::LendInput(id)),
        (Verb::Input, Ask::EndInput(id)),
        (
            Verb::Input,
            Ask::ResizeTerminal(
                id,
                TerminalSize {
                    rows: 1,
                    columns: 1,
                },
            ),
        ),
        (Verb::Start, Ask::Update(id, Box::new(limits()))),
        (Verb::List, Ask::Receipt(id)),
        (
            Verb::List,
            Ask::Usage {
                id,
                with_tasks: true,
            },
        ),
        (
            Verb::Workspace,
            Ask::CreateWorkspace(WorkspaceSpec {
                name: workspace(),
                disk_max: None,
            }),
        ),
        (
            Verb::Workspace,
            Ask::RemoveWorkspace(workspace(), Some(StopHow::Kill)),
        ),
    ]
}

/// A server where fay has a role with these hours.
fn with_hours(hours: &str) -> Listed {
    let folder = Folder::new();
    let text = std::fs::read_to_string(folder.config()).unwrap();
    let verbs = "['start', 'stop', 'signal', 'input', 'workspace', 'list', 'output']";
    let role = format!("[[role]]\nname = 'shift'\nmay = {verbs}\nwhose = 'all'\nhours = {hours}\n");
    let text = text.replace("role = 'starter'", "role = 'shift'");
    std::fs::write(folder.config(), text + &role).unwrap();
    let server = Server::with(folder.options());
    Listed { folder, server }
}

/// From an hour to another one of the same day, so many days from now.
fn hours_of(days_from_now: i64) -> String {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let today = i64::try_from(since / 86_400).unwrap() + 3;
    let day = usize::try_from((today + days_from_now).rem_euclid(7)).unwrap();
    format!("{} 00:00-24:00", DAYS[day])
}

#[test]
fn s6_outside_its_hours_a_client_lists_reads_and_stops_and_changes_nothing_else() {
    // Of two days, in case that one ends meanwhile.
    let open = format!("['{}', '{}']", hours_of(0), hours_of(1));
    let listed = with_hours(&open);
    let id = listed.started("fay", &["--", "sleep", "1000"]);
    let next = hours_of(3);
    let text = std::fs::read_to_string(listed.folder.config()).unwrap();
    let text = text.replace(&open, &format!("'{next}'"));
    std::fs::write(listed.folder.config(), text).unwrap();
    let reloaded = listed.server.reload().output().unwrap();
    assert!(reloaded.status.success(), "{reloaded:?}");
    for words in [
        &["start", "--", "true"][..],
        &["kill", &id],
        &["pause", &id],
        &["update", &id, "--label", "a=b"],
        &["workspace", "create", "w"],
    ] {
        let (code, why) = listed.refused("fay", words);
        assert_eq!(code, 4, "{words:?}: {why}");
        let said = format!("outside the hours of this client's role: {next} UTC next");
        assert!(why.contains(&said), "{words:?}: {why}");
    }
    assert!(listed.ok("fay", &["list", "-q"]).contains(&id));
    listed.ok("fay", &["status", &id]);
    listed.ok("fay", &["logs", "--no-follow", &id]);
    assert!(
        listed
            .refused("fay", &["can-i", "signal", &id])
            .1
            .contains(&next)
    );
    let config = listed.folder.config().display().to_string();
    let explained = listed.run("fay", &["policy", "explain", &config, "fay", "signal"]);
    let said = String::from_utf8(explained.stdout).unwrap();
    assert!(
        said.contains(&format!("the role's hours are {next} UTC next")),
        "{said}"
    );
    // What runs goes on until somebody stops it.
    listed.ok("fay", &["can-i", "stop", &id]);
    listed.ok("fay", &["stop", &id]);
    listed.ok("fay", &["rm", &id]);
}

#[test]
fn s6_a_forged_frontend_starts_and_changes_nothing_outside_the_hours_of_whom_it_claims_to_be() {
    let folder = Folder::new();
    let text = std::fs::read_to_string(folder.config()).unwrap();
    let role = format!(
        "[[role]]\nname = 'shift'\nmay = ['start', 'stop', 'signal', 'list', 'output', 'input', 'workspace']\n\
         whose = 'all'\nhours = '{}'\n",
        hours_of(3)
    );
    let text = text.replace("role = 'starter'", "role = 'shift'") + &role;
    std::fs::write(folder.config(), text).unwrap();
    let mut hostile = HostileFrontend::with(folder.options());
    hostile.principal = name("anna");
    let id = hostile.start_process(&["sleep", "1000"]);
    hostile.principal = name("fay");
    let mut refused = 0;
    for (verb, ask) in requests(&hostile, id, 1) {
        let reply = hostile.ask(ask.clone()).0;
        let goes_on = [Verb::List, Verb::Output, Verb::Stop].contains(&verb);
        let is_denied = matches!(reply, Reply::Refused(Refusal::Denied(Denial::Hours(_))));
        assert_ne!(is_denied, goes_on, "{ask:?}: {reply:?}");
        refused += u32::from(is_denied);
    }
    assert!(refused >= 6, "{refused}");
}

#[test]
fn s6_a_forged_frontend_gets_no_more_than_the_policy_as_anybody() {
    let (_folder, mut hostile) = taken_over();
    hostile.principal = name("anna");
    let id = hostile.start_process(&["sleep", "1000"]);
    let mut random = Random::from_environment("PRN_ACCESS_SEED");
    let mut refused = 0;
    for number in 0..10_000 {
        let nobody = format!("{:x}", random.number());
        let (who, is_known) = match random.below(4) {
            0 => (nobody.as_str(), false),
            1 => ("cleo", true),
            2 => ("dora", true),
            _ => ("eve", true),
        };
        let mut all = requests(&hostile, id, number);
        let place = usize::try_from(random.below(all.len().try_into().unwrap())).unwrap();
        assert!(all.iter().all(|(_, ask)| is_listed(ask)));
        let (verb, ask) = all.swap_remove(place);
        let about_another = !matches!(
            ask,
            Ask::Start(_) | Ask::TryStart(_) | Ask::CreateWorkspace(_) | Ask::RemoveWorkspace(..)
        );
        let is_start = matches!(ask, Ask::Start(_) | Ask::TryStart(_));
        let allowed: &[Verb] = match who {
            "dora" => &[Verb::List, Verb::Output],
            "eve" => &[Verb::Start, Verb::List, Verb::Output],
            _ => &[
                Verb::Start,
                Verb::Stop,
                Verb::Signal,
                Verb::Output,
                Verb::Input,
                Verb::List,
                Verb::Workspace,
            ],
        };
        // What is left is allowed: see the test of what may be done.
        let expected = if !is_known {
            Denial::Unknown
        } else if !allowed.contains(&verb) {
            Denial::Verb(verb)
        } else if about_another && who != "dora" {
            Denial::Reach(verb)
        } else if who == "eve" && is_start {
            // The harness sets PATH, which could lead to another program of that name.
            Denial::Variable(0)
        } else {
            continue;
        };
        hostile.principal = name(who);
        let (reply, descriptors) = hostile.ask(ask.clone());
        let expected = Reply::Refused(Refusal::Denied(expected));
        assert_eq!(
            (reply, descriptors),
            (expected, Vec::new()),
            "{who}: {ask:?}"
        );
        refused += 1;
    }
    assert!(refused > 5_000, "{refused}");
    let running = std::fs::read_dir(hostile.server.cgroup().join("processes")).unwrap();
    let running = running.flatten().filter(|entry| entry.path().is_dir());
    assert_eq!(running.count(), 1, "nothing was started, stopped or made");
}

#[test]
fn s6_a_forged_frontend_may_as_somebody_what_that_one_may() {
    let (_folder, mut hostile) = taken_over();
    hostile.principal = name("ben");
    let id = hostile.start_process(&["sleep", "1000"]);
    hostile.principal = name("dora");
    let usage = hostile
        .ask(Ask::Usage {
            id,
            with_tasks: false,
        })
        .0;
    assert!(matches!(usage, Reply::Usage(_)), "{usage:?}");
    assert_eq!(hostile.ask(Ask::Subscribe(id)).0, Reply::Subscribed);
    // The same start by somebody else is another one.
    hostile.principal = name("ben");
    let spec = hostile.spec(&["sleep", "1000"]);
    assert_eq!(
        hostile.ask(Ask::Start(Box::new(spec.clone()))).0,
        Reply::Done
    );
    assert_eq!(
        hostile.ask(Ask::Start(Box::new(spec.clone()))).0,
        Reply::Existing
    );
    hostile.principal = name("cleo");
    let again = hostile.ask(Ask::Start(Box::new(spec))).0;
    assert_eq!(again, Reply::Refused(Refusal::AlreadyExists));
    hostile.principal = name("ben");
    assert_eq!(hostile.ask(Ask::Stop(id, StopHow::Kill)).0, Reply::Done);
    assert_eq!(hostile.end_of(id).stop.unwrap().by, Some(name("ben")));
}

#[test]
fn s6_what_ends_anothers_process_takes_the_verb_to_stop_it() {
    let (_folder, mut hostile) = taken_over();
    let shared = "shared".to_owned().try_into().unwrap();
    let create = |name| {
        Ask::CreateWorkspace(WorkspaceSpec {
            name,
            disk_max: None,
        })
    };
    let denied = |denial| Reply::Refused(Refusal::Denied(denial));
    hostile.principal = name("ben");
    assert_eq!(hostile.ask(create(shared)).0, Reply::Done);
    let mut spec = hostile.spec(&["sleep", "1000"]);
    spec.process.workspace = Some("shared".to_owned().try_into().unwrap());
    let id = spec.id;
    // Somebody who reaches all works in it as well.
    hostile.principal = name("anna");
    assert_eq!(hostile.ask(Ask::Start(Box::new(spec))).0, Reply::Done);
    hostile.principal = name("ben");
    let remove = || {
        let name = "shared".to_owned().try_into().unwrap();
        Ask::RemoveWorkspace(name, Some(StopHow::Kill))
    };
    assert_eq!(hostile.ask(remove()).0, denied(Denial::Reach(Verb::Stop)));
    assert_eq!(
        hostile.ask(Ask::Stop(id, StopHow::Kill)).0,
        denied(Denial::Reach(Verb::Stop))
    );
    // Who may start for a group, and stop nothing, neither limits nor leases another's.
    hostile.principal = name("fay");
    let label = Update {
        labels: Some(NewLabels::All(Labels::default())),
        ..Update::default()
    };
    let lease = Update {
        lease: Some(NewLease::Of(1.try_into().unwrap())),
        ..Update::default()
    };
    hostile.principal = name("ben");
    let bens = hostile.start_process(&["sleep", "1000"]);
    hostile.principal = name("fay");
    let update = |id, update: &Update| Ask::Update(id, Box::new(update.clone()));
    assert_eq!(hostile.ask(update(bens, &label)).0, Reply::Done);
    assert_eq!(
        hostile.ask(update(bens, &lease)).0,
        denied(Denial::Verb(Verb::Stop))
    );
    let fays = hostile.start_process(&["sleep", "1000"]);
    assert_eq!(hostile.ask(update(fays, &lease)).0, Reply::Done);
    // Nor does reading make anything forgotten that was not to be.
    hostile.principal = name("dora");
    assert_eq!(
        hostile.ask(Ask::Remove(bens)).0,
        denied(Denial::Verb(Verb::Stop))
    );
    assert_eq!(
        hostile.ask(Ask::Forget(bens)).0,
        denied(Denial::Verb(Verb::Stop))
    );
}
