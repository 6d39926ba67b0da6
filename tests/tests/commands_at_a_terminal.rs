//! Each command as a person has it: typed at a terminal of 80 by 24 columns and rows, where what it
//! shows has room, says what happened, and leaves the terminal as it was.

use std::cell::Cell;
use std::os::unix::fs::PermissionsExt;

use prn_tests::pki::Identity;
use prn_tests::screen::Screen;
use prn_tests::server::Server;
use prn_tests::wait_for;

/// Columns of the terminal.
const COLUMNS: usize = 80;

/// A shell at a terminal, which reaches a server.
struct Shell {
    screen: Screen,
    modes: String,
    /// Lines that were typed.
    lines: Cell<u32>,
}

impl Shell {
    fn open(server: &Server) -> Self {
        Self::with(server, &[])
    }

    fn with(server: &Server, variables: &[(&str, &str)]) -> Self {
        let screen = Screen::with(server, variables);
        let modes = screen.modes();
        let lines = Cell::new(0);
        Self {
            screen,
            modes,
            lines,
        }
    }

    /// What is shown once a line has ended, and its exit code. No table is wider than the terminal.
    fn run(&self, line: &str) -> (String, i32) {
        let number = self.lines.get() + 1;
        self.lines.set(number);
        let mark = format!("code{number}=");
        self.screen.line(&format!("clear; {line}; echo {mark}$?"));
        let mut ended = None;
        wait_for(line, || {
            let pane = self.screen.pane();
            let code = pane.lines().find_map(|line| line.strip_prefix(&mark));
            ended = code.and_then(|code| Some((pane.clone(), code.trim().parse().ok()?)));
            ended.is_some()
        });
        self.screen.comes_back(&self.modes);
        // Lines that the terminal has broken are one again.
        let joined = self.screen.ok(&["capture-pane", "-p", "-J"]);
        let rows = joined.lines().filter(|row| row.starts_with(['+', '|']));
        for row in rows {
            assert!(row.trim_end().chars().count() <= COLUMNS, "{line}: {row}");
        }
        ended.unwrap()
    }

    /// The same of one that succeeds.
    fn ok(&self, line: &str) -> String {
        let (pane, code) = self.run(line);
        assert_eq!(code, 0, "{line}: {pane}");
        pane
    }

    /// That it shows each of these.
    fn shows(&self, line: &str, parts: &[&str]) {
        let pane = self.ok(line);
        // What did not fit into a line goes on in the next one.
        let joined = pane.replace('\n', "");
        for part in parts {
            assert!(joined.contains(part), "{line}: {part} is not in\n{pane}");
        }
    }
}

fn sleeping(server: &Server, flags: &[&str]) -> String {
    server.start_process(flags, &["sleep", "600"])
}

#[test]
fn what_is_started_is_seen_in_all_of_its_ways() {
    let server = Server::start();
    let shell = Shell::open(&server);
    let shown = shell.ok("$PRN start --name web -- sh -c 'echo hello; exec sleep 600'");
    let id = shown.lines().find(|line| line.len() == 32).expect(&shown);
    shell.shows("$PRN list", &[id, "Running", "sh -c"]);
    shell.shows("$PRN status web", &[id, "Running"]);
    shell.shows("$PRN status -o wide web", &[id, "default"]);
    shell.shows("$PRN logs --no-follow web", &["hello"]);
    shell.shows("$PRN inspect web | head -5", &[id]);
    shell.shows("$PRN inspect web >/dev/null", &[]);
    shell.shows("$PRN stats --no-stream", &[&id[..12], "CPU"]);
    shell.shows("$PRN events --no-follow", &["web", "running"]);
    shell.shows("$PRN run -- echo it runs", &["it runs"]);
    let (_, code) = shell.run("$PRN run -- sh -c 'exit 3'");
    assert_eq!(code, 3);
    shell.shows(
        "$PRN wait --timeout 100ms web || true",
        &["not ended within"],
    );
    server.ok(&["kill", "-s", "TERM", "web"]);
    let (shown, code) = shell.run("$PRN wait web");
    assert_eq!(code, 143);
    assert!(shown.lines().any(|line| line == "143"), "{shown}");
}

#[test]
fn what_became_of_a_process_is_signed_and_checked() {
    let server = Server::start();
    let id = server.start_process(&[], &["true"]);
    server.ok(&["wait", &id]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("receipt");
    let shell = Shell::open(&server);
    shell.shows(&format!("$PRN receipt {id} | head -1"), &["prn-receipt-2"]);
    shell.shows(&format!("$PRN receipt {id} >{}", file.display()), &[]);
    shell.shows(&format!("$PRN verify {}", file.display()), &["exited"]);
}

#[test]
fn what_was_decided_is_shown_and_checked() {
    let folder = tempfile::tempdir_in("/var/lib").unwrap();
    let file = folder.path().join("log/audit.jsonl");
    let target = format!("file:{}", file.display());
    let server = Server::with_arguments(&["--audit", &target]);
    server.start_process(&[], &["sleep", "1000"]);
    prn_tests::wait_for("a line", || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text.contains("\"argv\":[\"sleep\"")
    });
    let shell = Shell::open(&server);
    let file = file.display();
    shell.shows(
        &format!("$PRN audit show --who client {file}"),
        &["start", "client"],
    );
    shell.shows(
        &format!("$PRN audit verify {file}"),
        &["as they were written"],
    );
}

#[test]
fn what_clients_may_do_is_said() {
    let server = Server::start();
    let shell = Shell::open(&server);
    shell.shows("$PRN can-i", &["client", "admin", "start"]);
    shell.shows("$PRN can-i stop", &["yes"]);
    let folder = tempfile::tempdir().unwrap();
    Identity::keygen(folder.path(), "anna", &[]);
    let config = folder.path().join("prn.toml");
    let text = "[[client]]\nname = 'anna'\ncert = 'anna.pem'\nrole = 'viewer'\n";
    std::fs::write(&config, text).unwrap();
    let config = config.display();
    shell.shows(
        &format!("$PRN policy check {config}"),
        &["anna", "viewer", "list"],
    );
    let (shown, code) = shell.run(&format!("$PRN policy explain {config} anna stop"));
    assert_eq!(code, 1);
    assert!(shown.contains("no: anna may not stop"), "{shown}");
}

#[test]
fn what_clients_are_known_by_is_changed() {
    let server = Server::start();
    let shell = Shell::open(&server);
    let folder = tempfile::tempdir().unwrap();
    let anna = Identity::keygen(folder.path(), "anna", &[]);
    let ben = Identity::keygen(folder.path(), "ben", &[]);
    let config = folder.path().join("prn.toml");
    let text = format!(
        "server-cert = '{}'\naddress = 'web1.example:50051'\n[[client]]\nname = 'anna'\ncert = 'anna.pem'\nrole = 'admin'\n",
        anna.certificate.display()
    );
    std::fs::write(&config, text).unwrap();
    let (config, ben) = (config.display(), ben.certificate.display());
    shell.shows(
        &format!("$PRN server invite --config {config}"),
        &["prn1:", "prn context add"],
    );
    shell.shows(
        &format!("$PRN pin add ben {ben} --role viewer --config {config}"),
        &["ben.toml", "prn server reload"],
    );
    shell.shows(
        &format!("$PRN pin list --config {config}"),
        &["ben viewer cert sha256:"],
    );
    let (_, code) = shell.run(&format!("$PRN pin remove ben --config {config}"));
    assert_eq!(code, 0);
    let (shown, code) = shell.run(&format!("$PRN pin remove ben --config {config}"));
    assert_eq!(code, 2);
    assert!(shown.contains("there is no client ben"), "{shown}");
}

#[test]
fn keys_are_replaced() {
    let server = Server::start();
    let shell = Shell::open(&server);
    let folder = tempfile::tempdir().unwrap();
    let own = Identity::keygen(folder.path(), "server", &[]);
    let config = folder.path().join("prn.toml");
    let text = format!(
        "server-cert = '{}'\naddress = 'web1.example:50051'\nclient-cert = ['server.pem']\nstate-dir = '{}'\n",
        own.certificate.display(),
        folder.path().display()
    );
    std::fs::write(&config, text).unwrap();
    let config = config.display();
    shell.shows(
        &format!("$PRN rotate server --config {config} >/dev/null"),
        &["prn context add --force", "--finish"],
    );
    shell.shows(
        &format!("$PRN rotate server --config {config} --finish"),
        &["no server runs with this configuration", ".old"],
    );
    let (certificate, key) = (&server.client.certificate, &server.client.key);
    let named = format!(
        "--client-cert {} --tls-key {}",
        certificate.display(),
        key.display()
    );
    shell.shows(
        &format!("$PRN rotate client {named}"),
        &["prn pin add client SHA256:", "--finish"],
    );
    let (shown, code) = shell.run(&format!("$PRN rotate client {named} --finish"));
    assert_eq!(code, 4);
    let joined = shown.replace('\n', "");
    assert!(joined.contains("nothing has changed"), "{shown}");
    shell.shows(
        &format!("$PRN rotate client {named} --abort"),
        &["are removed", "prn pin remove NAME"],
    );
}

#[test]
fn what_is_drawn_until_somebody_leaves_ends_with_control_c() {
    let server = Server::start();
    let id = sleeping(&server, &["--name", "web"]);
    let shell = Shell::open(&server);
    for (line, shown) in [
        ("$PRN stats", &id[..12]),
        ("$PRN stats web", &id[..12]),
        ("$PRN list --watch", &id),
        ("$PRN events --existing", "web"),
    ] {
        shell.screen.line(&format!("clear; {line}"));
        shell.screen.shows(shown);
        shell.screen.keys(&["C-c"]);
        shell.screen.comes_back(&shell.modes);
        shell.screen.line("clear; echo back");
        shell.screen.shows("back");
    }
}

#[test]
fn what_changes_processes_says_which() {
    let server = Server::start();
    let id = sleeping(&server, &["--name", "web", "--lease", "1h"]);
    sleeping(&server, &["--name", "db"]);
    let shell = Shell::open(&server);
    for line in [
        "$PRN pause web",
        "$PRN resume web",
        "$PRN update --label tier=a web",
        "$PRN renew web",
        "$PRN kill -s CONT web",
    ] {
        let shown = shell.ok(line);
        assert!(shown.lines().any(|line| line == "web"), "{line}: {shown}");
    }
    shell.shows("$PRN stop web", &[&id, "Stopped"]);
    shell.shows("$PRN rm web", &["web"]);
    let (shown, code) = shell.run("$PRN rm db");
    assert_eq!(code, 1, "{shown}");
    assert!(shown.replace('\n', "").contains("rm --force"), "{shown}");
    let (shown, code) = shell.run("$PRN status web");
    assert_eq!(code, 3, "{shown}");
    server.ok(&["stop", "db"]);
    shell.shows("$PRN prune --yes", &["removed 1 process"]);
    shell.shows("$PRN list", &["ID"]);
}

#[test]
fn a_workspace_is_made_filled_worked_in_and_removed() {
    let server = Server::start();
    let shell = Shell::open(&server);
    let file = server.folder().join("notes");
    std::fs::write(&file, "written here\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let file = file.display();
    shell.shows("$PRN workspace create w", &["w"]);
    shell.ok(&format!("$PRN cp {file} w:notes"));
    shell.shows("$PRN exec w -- cat notes", &["written here"]);
    shell.shows("$PRN workspace list", &["w", "NAME"]);
    let line = "clear; $PRN exec -it w -- sh -c 'echo re\"\"ady; exec sh'";
    shell.screen.line(line);
    shell.screen.shows("ready");
    shell.screen.line("tty; exit 7");
    shell.screen.shows("/dev/pts/");
    shell.screen.comes_back(&shell.modes);
    shell.ok("$PRN workspace remove w");
    let (shown, code) = shell.run("$PRN exec w -- true");
    assert_eq!(code, 125, "{shown}");
    let shown = shown.replace('\n', "");
    assert!(shown.contains("prn workspace create w"), "{shown}");
}

#[test]
fn a_server_is_named_looked_at_and_forgotten() {
    let server = Server::start();
    let config = server.folder().join("config.toml");
    let shell = Shell::with(&server, &[("PRN_CONFIG", config.to_str().unwrap())]);
    let address = &server.address;
    shell.ok(&format!(
        "$PRN context add east --address {address} --server-cert $PRN_SERVER_CERT"
    ));
    shell.ok(&format!(
        "$PRN context add west --address {address} --server-cert $PRN_SERVER_CERT"
    ));
    shell.ok("$PRN context use west");
    shell.shows("$PRN context list", &["east", "west", address]);
    shell.shows("$PRN context show", &[address]);
    shell.shows("$PRN context check '*'", &["east", "west"]);
    shell.shows("$PRN health --context east", &["serving"]);
    shell.shows("$PRN health", &["serving"]);
    shell.shows("$PRN version", &[env!("CARGO_PKG_VERSION")]);
    shell.shows(
        "$PRN metrics | head -n 12",
        &["# TYPE prn_", "prn_build_info"],
    );
    let (shown, code) = shell.run("$PRN exporter --context east --listen 0.0.0.0:0");
    assert_eq!(code, 1, "{shown}");
    assert!(
        shown.replace('\n', "").contains("--allow-remote"),
        "{shown}"
    );
    shell.ok("$PRN context remove west");
    let shown = shell.ok("$PRN context list");
    assert!(
        !shown.lines().any(|line| line.contains("| west")),
        "{shown}"
    );
}

#[test]
fn keys_are_made_and_hosts_looked_at_and_what_is_missing_is_said() {
    let server = Server::start();
    let shell = Shell::open(&server);
    let folder = server.folder().display();
    shell.shows(
        &format!("$PRN keygen --name laptop --key {folder}/k --cert {folder}/c"),
        &["sha256:"],
    );
    let (shown, code) = shell.run(&format!(
        "$PRN keygen --name laptop --key {folder}/k --cert {folder}/c"
    ));
    assert_eq!(code, 1, "{shown}");
    let (shown, _) = shell.run("$PRN server check --state-dir /var/lib | head -20");
    assert!(shown.contains("kernel"), "{shown}");
    shell.shows(
        &format!("$PRN server status --state-dir {folder}/state"),
        &["in force since", "has said that it serves (process "],
    );
    let (shown, code) = shell.run("env -u PRN_TLS_KEY $PRN server start");
    assert_ne!(code, 0, "{shown}");
    assert!(shown.contains("--client-cert"), "{shown}");
    let (shown, code) = shell.run("$PRN server reload --config /none");
    assert_eq!(code, 1, "{shown}");
    assert!(shown.contains("cannot read the configuration"), "{shown}");
    shell.shows("$PRN completion bash | head -3", &["prn"]);
    let line = r#"echo '{"id":1,"call":"list"}' | $PRN batch"#;
    shell.shows(line, &[r#""id":1"#, "processes"]);
    // An agent's program says who it is, and closes the pipe.
    let hello = concat!(
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","#,
        r#""capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#
    );
    std::fs::write(server.folder().join("hello"), format!("{hello}\n")).unwrap();
    let (shown, _) = shell.run(&format!("$PRN mcp < {folder}/hello"));
    assert!(shown.replace('\n', "").contains("serverInfo"), "{shown}");
}
