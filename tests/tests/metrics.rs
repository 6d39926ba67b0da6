//! What a server counts, as `prn metrics` prints it and as `prn exporter` serves it: to Debian's
//! Prometheus, which scrapes it and answers queries, and to promtool, which has nothing to say of
//! it. docs/operate/metrics.md, the alerts and the dashboard name what is served and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_tests::server::{Options, Server};
use prn_tests::{procfs, wait_for};
use serde_json::Value;
use tempfile::TempDir;

/// A program that is ended with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// `prn exporter`, and where it listens.
struct Exporter {
    program: Program,
    address: String,
    /// What it says after that.
    said: BufReader<std::process::ChildStderr>,
}

impl Exporter {
    fn start(server: &Server, flags: &[&str]) -> Self {
        let words = [&["exporter", "--listen", "127.0.0.1:0"], flags].concat();
        let mut child = server.prn(&words).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let address = line
            .trim()
            .strip_prefix("prn-exporter: Listening on ")
            .unwrap_or_else(|| panic!("{line}"));
        Self {
            address: address.to_owned(),
            program: Program(child),
            said,
        }
    }

    /// As Prometheus' older form has it.
    fn metrics(&self) -> String {
        get(&self.address, "/metrics", "text/plain")
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line
    }
}

/// Head and body of an answer.
fn exchange(address: &str, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

fn get(address: &str, path: &str, accept: &str) -> String {
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: {accept}\r\n\r\n");
    let (head, body) = exchange(address, &request);
    assert!(head.contains(" 200 "), "{head}: {body}");
    body
}

/// The value of a sample, by all of its name and labels.
fn value(text: &str, sample: &str) -> Option<f64> {
    let mut lines = text.lines();
    let of = |line: &str| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok();
    lines.find_map(of)
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Rows of the table: a family's kind and labels.
fn table() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let document = fs::read_to_string(root().join("docs/operate/metrics.md")).unwrap();
    let rows = document.lines().filter(|line| line.starts_with("| `prn_"));
    let ticked = |text: &str| {
        text.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, _says] = cells[..] else {
            panic!("not four cells: {row}");
        };
        let name = name.trim_matches('`').to_owned();
        (name, (kind.to_owned(), ticked(labels)))
    })
    .collect()
}

/// What OpenMetrics text has of each family: its kind and its labels.
fn families(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut families = BTreeMap::new();
    let mut last = String::new();
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            last = name.to_owned();
            families.insert(last.clone(), (kind.to_owned(), BTreeSet::new()));
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let of = name.strip_suffix("_total").unwrap_or(name);
            assert_eq!(of, last, "{line}");
            let labels = line.split_once('{').map_or("", |(_, labels)| labels);
            let names = labels
                .split("=\"")
                .map(|part| part.rsplit([',', '"', '{']).next().unwrap());
            let names = names.filter(|name| !name.is_empty() && !name.starts_with('}'));
            families
                .get_mut(&last)
                .unwrap()
                .1
                .extend(names.map(str::to_owned));
        }
    }
    families
}

/// A server that has done something of each kind.
fn busy() -> (Server, String) {
    let server = Server::start();
    assert_eq!(server.ok(&["run", "--", "echo", "hello"]), "hello\n");
    assert!(!server.run(&["run", "--", "false"]).status.success());
    assert!(!server.run(&["status", &"0".repeat(32)]).status.success());
    let id = server.ok(&[
        "start",
        "--name",
        "worker",
        "--label",
        "app.tier=web",
        "--",
        "sleep",
        "1000",
    ]);
    (server, id.trim().to_owned())
}

#[test]
fn a_server_tells_what_it_does_and_has_done() {
    let (server, _) = busy();
    let text = server.ok(&["metrics"]);
    for (sample, expected) in [
        ("prn_processes{state=\"running\"}", 1.0),
        ("prn_processes{state=\"finished\"}", 2.0),
        ("prn_process_starts_total", 3.0),
        ("prn_process_ends_total{cause=\"exited\"}", 2.0),
        ("prn_process_output_bytes_total", 6.0),
        ("prn_output_sent_bytes_total", 6.0),
        ("prn_calls_total{call=\"Start\",code=\"OK\"}", 3.0),
        ("prn_server_draining", 0.0),
        ("prn_open{kind=\"connections\"}", 1.0),
    ] {
        assert_eq!(value(&text, sample), Some(expected), "{sample} in {text}");
    }
    assert!(
        text.contains("prn_refusals_total{reason=\"PROCESS_NOT_FOUND\"}"),
        "{text}"
    );
    assert!(text.ends_with("# EOF\n"), "{text}");
    let stranger = prn_tests::pki::Identity::keygen(server.folder(), "stranger", &[]);
    let output = server.prn_as(&stranger, &["list"]).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    let text = server.ok(&["metrics"]);
    let refused = "prn_connections_rejected_total{reason=\"not_known\"}";
    assert_eq!(value(&text, refused), Some(1.0), "{text}");
    let data: Value = serde_json::from_str(&server.ok(&["metrics", "-o", "json"])).unwrap();
    let all = data["families"].as_array().unwrap();
    assert!(
        all.iter()
            .any(|family| family["name"] == "prn_processes_limit"),
        "{data}"
    );
    prn_tests::schemas::assert_valid("metrics", &data);
}

#[test]
fn a_replaced_frontend_begins_anew_and_says_since_when() {
    let (server, _) = busy();
    let since = "prn_frontend_start_time_seconds";
    let first = value(&server.ok(&["metrics"]), since).unwrap();
    kill(Pid::from_raw(server.frontend()), Signal::SIGKILL).unwrap();
    let mut text = String::new();
    wait_for("another frontend", || {
        let output = server.run(&["metrics"]);
        text = String::from_utf8(output.stdout).unwrap();
        output.status.success()
    });
    assert!(value(&text, since).unwrap() > first, "{text}");
    // What it was told at its beginning has not happened since.
    assert_eq!(
        value(&text, "prn_process_starts_total"),
        Some(0.0),
        "{text}"
    );
    assert_eq!(
        value(&text, "prn_processes{state=\"finished\"}"),
        Some(2.0),
        "{text}"
    );
}

#[test]
fn the_table_alerts_and_dashboard_have_what_is_served() {
    let (server, _) = busy();
    let exporter = Exporter::start(&server, &[]);
    let text = get(
        &exporter.address,
        "/metrics",
        "application/openmetrics-text",
    );
    assert!(text.ends_with("# EOF\n"), "{text}");
    let (served, table) = (families(&text), table());
    for (name, (kind, labels)) in &served {
        let (told, known) = table
            .get(name)
            .unwrap_or_else(|| panic!("{name} has no row"));
        assert_eq!(kind, told, "{name}");
        assert!(
            labels.is_subset(known),
            "{name}: {labels:?}, and not {known:?}"
        );
    }
    // What this machine's kernel does not count is not served here.
    let sources = [
        "api-frontend/src/calls/metrics.rs",
        "prn/exporter/src/processes.rs",
        "prn/exporter/src/scrape.rs",
    ];
    let sources = sources
        .map(|path| fs::read_to_string(root().join(path)).unwrap())
        .concat();
    for name in table.keys() {
        assert!(
            sources.contains(&format!("\"{name}\"")),
            "{name} is served by nobody"
        );
    }
    let quoted: BTreeSet<_> = sources
        .split('"')
        .filter(|text| text.starts_with("prn_") && !text.contains(['{', ' ']))
        .collect();
    let rows: BTreeSet<_> = table.keys().map(String::as_str).collect();
    assert_eq!(quoted, rows);

    let samples: BTreeSet<_> = table
        .iter()
        .map(|(name, (kind, _))| match kind.as_str() {
            "counter" => format!("{name}_total"),
            _ => name.clone(),
        })
        .collect();
    let dashboard = fs::read_to_string(root().join("packaging/grafana/prn.json")).unwrap();
    let parsed: Value = serde_json::from_str(&dashboard).unwrap();
    assert!(parsed["panels"].as_array().unwrap().len() > 10);
    let alerts = fs::read_to_string(root().join("packaging/prometheus/alerts.yml")).unwrap();
    for text in [dashboard, alerts] {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let words = text.split(|c| !is_word(c));
        let named: BTreeSet<_> = words.filter(|word| word.starts_with("prn_")).collect();
        assert!(named.len() > 8, "{named:?}");
        for name in named {
            assert!(samples.contains(name), "{name} is served by nobody");
        }
    }
}

/// What the manual shows in this language, block by block.
fn shown(language: &str) -> Vec<&'static str> {
    let blocks = include_str!("../../docs/operate/metrics.md").split("```");
    let blocks = blocks.skip(1).step_by(2);
    let of = |block: &'static str| block.strip_prefix(language)?.strip_prefix('\n');
    blocks.filter_map(of).collect()
}

#[test]
fn what_the_manual_shows_is_taken() {
    let (server, _) = busy();
    let commands: Vec<Vec<_>> = shown("sh")[0]
        .lines()
        .map(|line| line.split('#').next().unwrap().split_whitespace().collect())
        .collect();
    let [text, data, exporter] = commands.try_into().unwrap();
    assert!(server.ok(&text[1..]).ends_with("# EOF\n"));
    let data: Value = serde_json::from_str(&server.ok(&data[1..])).unwrap();
    assert!(data["families"].is_array(), "{data}");
    // The tests have no context and no port.
    assert_eq!(exporter, ["prn", "exporter", "--context", "web1"]);
    let folder = TempDir::new().unwrap();
    let place = |name: &str| folder.path().join(name);
    fs::copy(&server.client.certificate, place("exporter.pem")).unwrap();
    fs::write(place("roles.toml"), shown("toml")[0]).unwrap();
    let roles = place("roles.toml").display().to_string();
    let checked = server.ok(&["policy", "check", &roles]);
    assert!(checked.contains("exporter"), "{checked}");
    fs::write(place("prometheus.yml"), shown("yaml")[0]).unwrap();
    let output = Command::new("promtool")
        .args(["check", "config"])
        .arg(place("prometheus.yml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Flags that this help has, and their defaults.
fn flags(words: &[&str]) -> BTreeMap<String, Option<String>> {
    let output = Command::new(prn_tests::binary(words[0]))
        .args(&words[1..])
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let mut texts: Vec<(String, String)> = Vec::new();
    for line in help.lines().map(str::trim) {
        let flag = line.split_once("--").filter(|_| line.starts_with('-'));
        if let Some((_, flag)) = flag {
            let name = flag.split([' ', '=']).next().unwrap();
            texts.push((name.to_owned(), String::new()));
        }
        // What is wrapped goes on in the next line.
        if let Some((_, text)) = texts.last_mut() {
            text.push_str(line);
            text.push(' ');
        }
    }
    let default = |text: &str| {
        let (_, text) = text.split_once("[default: ")?;
        Some(text.split_once(']')?.0.to_owned())
    };
    let flags = texts.into_iter();
    flags.map(|(name, text)| (name, default(&text))).collect()
}

#[test]
fn the_command_has_flags_and_defaults_of_the_program_that_it_becomes() {
    let (command, program) = (flags(&["prn", "exporter"]), flags(&["prn-exporter"]));
    // What each command has says how the server is found.
    let of_all = flags(&["prn", "metrics"]);
    let own = command
        .iter()
        .filter(|(name, _)| !of_all.contains_key(*name));
    let own: Vec<_> = own.collect();
    assert!(own.len() >= 7, "{own:?}");
    for (name, default) in own {
        assert_eq!(program.get(name), Some(default), "--{name}");
    }
    assert_eq!(program["listen"].as_deref(), Some("127.0.0.1:9464"));
}

#[test]
fn promtool_has_nothing_to_say_of_metrics_and_alerts() {
    let (server, _) = busy();
    let exporter = Exporter::start(&server, &["--label-key", "app.tier"]);
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = exporter.metrics();
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.trim().is_empty(),
        "{said}\n{text}"
    );
    let output = Command::new("promtool")
        .args(["check", "rules"])
        .arg(root().join("packaging/prometheus/alerts.yml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn prometheus_scrapes_it_and_answers_for_a_process() {
    let (server, id) = busy();
    let exporter = Exporter::start(&server, &["--label-key", "app.tier"]);
    let folder = TempDir::new().unwrap();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let config = format!(
        "global: {{scrape_interval: 1s}}\nrule_files: [{}]\nscrape_configs:\n  - job_name: prn\n    static_configs: [{{targets: ['{}']}}]\n",
        root()
            .join("packaging/prometheus/alerts.yml")
            .canonicalize()
            .unwrap()
            .display(),
        exporter.address,
    );
    fs::write(folder.path().join("prometheus.yml"), config).unwrap();
    let prometheus = Command::new("prometheus")
        .arg(format!(
            "--config.file={}",
            folder.path().join("prometheus.yml").display()
        ))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.path().join("data").display()
        ))
        .arg(format!("--web.listen-address={port}"))
        .stderr(fs::File::create(folder.path().join("log")).unwrap())
        .spawn()
        .unwrap();
    let _prometheus = Program(prometheus);
    let port = port.to_string();
    let ready = "GET /-/ready HTTP/1.0\r\n\r\n";
    wait_for("prometheus", || {
        TcpStream::connect(&port).is_ok() && exchange(&port, ready).0.contains(" 200 ")
    });
    let query = |query: &str| {
        let path = format!("/api/v1/query?query={query}");
        let answer = get(&port, &path, "application/json");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["data"]["result"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    let started = format!("prn_process_start_time_seconds%7Bid=%22{id}%22%7D");
    let mut found = Vec::new();
    wait_for("a process's metric", || {
        found = query(&started);
        !found.is_empty()
    });
    let labels = &found[0]["metric"];
    assert_eq!(
        (&labels["name"], &labels["label_app_tier"]),
        (&"worker".into(), &"web".into())
    );
    let up = query("prn_up");
    assert_eq!(up[0]["value"][1], "1", "{up:?}");
    let ends = query("sum(prn_process_ends_total)");
    assert_eq!(ends[0]["value"][1], "2", "{ends:?}");
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    let is_fault = |line: &&str| line.contains("level=error") || line.contains("level=warn");
    let faults: Vec<_> = log.lines().filter(is_fault).collect();
    assert!(faults.is_empty(), "{faults:?}");
}

#[test]
fn while_the_server_is_away_the_exporter_says_so_and_finds_it_again() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut server = Server::with(Options {
        address: Some(free.to_string()),
        ..Options::default()
    });
    let mut exporter = Exporter::start(&server, &["--scrape-timeout", "3s"]);
    assert_eq!(value(&exporter.metrics(), "prn_up"), Some(1.0));
    let epoch = |text: &str| {
        let mut lines = text.lines();
        let line = lines.find(|line| line.starts_with("prn_server_info{"));
        line.map(str::to_owned)
    };
    let first = epoch(&exporter.metrics());
    // Found while it is: afterwards it could be a zombie of its parent's.
    let halves = [server.frontend(), server.supervisor()];
    for half in halves {
        procfs::hold(half);
    }
    // The last look is good for a second.
    std::thread::sleep(Duration::from_millis(1200));
    let began = Instant::now();
    let text = exporter.metrics();
    assert!(
        began.elapsed() < Duration::from_secs(6),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(value(&text, "prn_up"), Some(0.0), "{text}");
    assert!(!text.contains("prn_processes"), "{text}");
    assert!(exporter.line().contains("the server does not answer: "));
    for half in halves {
        kill(Pid::from_raw(half), Signal::SIGCONT).unwrap();
    }
    server.kill_and_start_again();
    std::thread::sleep(Duration::from_millis(1200));
    let text = exporter.metrics();
    assert_eq!(value(&text, "prn_up"), Some(1.0), "{text}");
    assert!(exporter.line().contains("the server answers again"));
    assert!(epoch(&text).is_some() && epoch(&text) != first, "{text}");
}

#[test]
fn whoever_asks_the_exporter_is_bounded() {
    let (server, _) = busy();
    let exporter = Exporter::start(&server, &["--processes-max", "0"]);
    // Far more than it serves say nothing, and one more comes.
    let silent: Vec<_> = (0..300)
        .map(|_| TcpStream::connect(&exporter.address).unwrap())
        .collect();
    let began = Instant::now();
    let text = exporter.metrics();
    assert!(began.elapsed() < Duration::from_secs(3), "{began:?}");
    assert_eq!(value(&text, "prn_up"), Some(1.0));
    assert_eq!(
        value(&text, "prn_exporter_processes_left_out"),
        Some(1.0),
        "{text}"
    );
    assert!(!text.contains("prn_process_start_time_seconds"), "{text}");
    drop(silent);
    for (request, code) in [
        ("POST /metrics HTTP/1.0\r\n\r\n", "405"),
        ("GET /other HTTP/1.0\r\n\r\n", "404"),
        ("nonsense\r\n\r\n", "400"),
    ] {
        let (head, _) = exchange(&exporter.address, request);
        assert!(head.contains(code), "{request:?}: {head}");
    }
    let status = fs::read_to_string(format!("/proc/{}/status", exporter.program.0.id())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib < 64 * 1024, "{line}");
    let refused = server.run(&["exporter", "--listen", "0.0.0.0:0"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("--allow-remote"), "{said}");
    let refused = server.run(&["exporter", "--listen", &exporter.address]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("cannot listen on") && said.contains("--listen"),
        "{said}"
    );
}

#[test]
fn a_socket_serves_its_user_and_group_and_no_command_line_has_a_contexts_words() {
    let (server, _) = busy();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("http.sock");
    let listen = format!("unix:{}", path.display());
    let mut child = server
        .prn(&["exporter", "--listen", &listen])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let program = Program(child);
    assert!(line.contains(&listen), "{line}");
    let mode = fs::metadata(&path).unwrap().permissions();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
        0o660
    );
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("prn_up 1"), "{answer}");
    let words = fs::read_to_string(format!("/proc/{}/cmdline", program.0.id())).unwrap();
    assert!(words.contains("--settings-fd="), "{words}");
    assert!(!words.contains("--client-cert"), "{words}");
    // No descriptor of it is left, which another program could inherit.
    let open = fs::read_dir(format!("/proc/{}/fd", program.0.id())).unwrap();
    let is_memory = |path: &std::path::PathBuf| path.to_string_lossy().contains("memfd:settings");
    let mut targets = open.filter_map(|one| fs::read_link(one.unwrap().path()).ok());
    assert!(!targets.any(|path| is_memory(&path)));
}

#[test]
fn an_exporter_that_nobody_asks_does_nothing() {
    let (server, _) = busy();
    let exporter = Exporter::start(&server, &[]);
    exporter.metrics();
    let pid = exporter.program.0.id();
    let switches = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let mut lines = status.lines();
        let line = lines.find(|line| line.starts_with("voluntary_ctxt_switches"));
        line.unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    // What the last connection has left ends.
    let mut last = switches();
    wait_for("quiet", || {
        std::thread::sleep(Duration::from_secs(1));
        std::mem::replace(&mut last, switches()) == last
    });
    let before = switches();
    std::thread::sleep(Duration::from_secs(5));
    // A timer of its own would be many more.
    let more = switches() - before;
    assert!(more <= 3, "{more}");
}
