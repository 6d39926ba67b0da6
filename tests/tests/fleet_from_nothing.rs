//! A fleet from nothing to a job that ran, by the commands that docs/fleet.md has: a real etcd of three
//! members from the files that `prn fleet init` has written, a real server, and an agent from the
//! agent.toml that `prn fleet join` has written.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use prn_tests::pki::Identity;
use prn_tests::screen::Screen;
use prn_tests::server::{Options, Server, has_controllers};
use prn_tests::{binary, wait_within};
use tempfile::TempDir;

const TIME: Duration = Duration::from_secs(60);

/// Processes of the test, killed when it ends.
struct Running(Vec<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Somebody with a configuration of their own.
struct Person {
    folder: TempDir,
}

impl Person {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, words: &[&str]) -> Output {
        Command::new(binary("prn"))
            .args(words)
            .current_dir(self.folder.path())
            .env("PRN_CONFIG", self.at("config.toml"))
            .env_remove("PRN_FLEET")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What it says on standard output and on standard error.
    fn ok(&self, words: &[&str]) -> (String, String) {
        let output = self.run(words);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{words:?}: {said}");
        (String::from_utf8(output.stdout).unwrap(), said)
    }

    /// What it says on standard error, when it fails with this code.
    fn refused(&self, code: i32, words: &[&str]) -> String {
        let output = self.run(words);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        said
    }
}

/// A port whose next one is free, too.
fn two_ports() -> u16 {
    let pair = (0..100).find_map(|_| {
        let first = TcpListener::bind("127.0.0.1:0").ok()?;
        let port = first.local_addr().ok()?.port();
        TcpListener::bind(("127.0.0.1", port.checked_add(1)?)).ok()?;
        Some(port)
    });
    pair.expect("two ports")
}

fn etcd(folder: &Path, log: &Path) -> Child {
    let log = fs::File::create(log).unwrap();
    let mut command = Command::new("etcd");
    let command = command
        .arg("--config-file")
        .arg(folder.join("etcd.conf.yml"));
    let command = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    command.spawn().expect("etcd, which this test needs")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// A server as an operator has one: all that is said of it is in its configuration.
fn server(folder: &Path) -> Server {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o711)).unwrap();
    let identity = Identity::keygen(folder, "server", &[]);
    Identity::keygen(folder, "admin", &[]);
    let (config, state) = (folder.join("prn.toml"), folder.join("state"));
    let address = format!("127.0.0.1:{}", two_ports());
    let lines = [
        "server-cert = \"server.pem\"".to_owned(),
        "tls-key = \"server.key\"".to_owned(),
        format!("address = \"{address}\""),
        format!("state-dir = \"{}\"", state.display()),
        format!("allow-missing-limits = {}", !has_controllers()),
        "[[client]]\nname = \"admin\"\ncert = \"admin.pem\"\nrole = \"admin\"".to_owned(),
    ];
    fs::write(&config, lines.join("\n")).unwrap();
    Server::with(Options {
        arguments: vec!["--config".to_owned(), config.display().to_string()],
        lists_clients: true,
        identity: Some(identity),
        state_dir: Some(state),
        address: Some(address),
        ..Options::default()
    })
}

/// Whether a member's port takes a connection with this certificate.
fn connects(port: u16, authority: &Path, certificate: &Path) -> bool {
    let output = Command::new("curl")
        // Members speak no HTTP/2 with each other.
        .args(["--silent", "--http1.1", "--max-time", "10", "--cacert"])
        .arg(authority)
        .arg("--cert")
        .arg(certificate)
        .arg("--key")
        .arg(certificate.with_extension("key"))
        .arg(format!("https://127.0.0.1:{port}/version"))
        .output()
        .unwrap();
    output.status.success()
}

/// `prn fleet init`, with all its members running.
fn begin(operator: &Person, ports: &[u16]) -> Running {
    let members = ports.iter().enumerate();
    let members: Vec<_> = members
        .map(|(number, port)| format!("--member=m{number}=127.0.0.1:{port}"))
        .collect();
    let (place, data) = (operator.at("fleets/prod/members"), operator.at("data"));
    let (place, data) = (place.to_str().unwrap(), data.to_str().unwrap());
    let mut words = vec!["fleet", "init", "prod", "--place", place, "--data", data];
    words.extend(members.iter().map(String::as_str));
    let (_, said) = operator.ok(&words);
    assert!(said.contains("prn fleet enable"), "{said}");
    let again = operator.refused(2, &words);
    assert!(again.contains("already"), "{again}");
    let run = |number: usize| {
        let log = operator.at(&format!("m{number}.log"));
        etcd(
            &operator.at(&format!("fleets/prod/members/m{number}")),
            &log,
        )
    };
    Running((0..ports.len()).map(run).collect())
}

#[test]
fn from_nothing_to_a_job_that_ran() {
    let operator = Person::new();
    let ports: Vec<_> = (0..3).map(|_| two_ports()).collect();
    let mut running = begin(&operator, &ports);
    let folder = operator.at("fleets/prod");
    let early = operator.refused(2, &["fleet", "invite", "web1"]);
    assert!(early.contains("`prn fleet enable` first"), "{early}");
    operator.ok(&["fleet", "enable", "--keep", "10", "--keep-for", "24h"]);
    // What is not given stays as it is.
    operator.ok(&["fleet", "enable", "--keep", "100"]);
    let (said, _) = operator.ok(&["fleet", "enable"]);
    assert!(said.contains("100 jobs") && said.contains("24 h"), "{said}");
    operator.ok(&["fleet", "invite", "web1"]);
    let there = operator.refused(1, &["fleet", "invite", "web1"]);
    assert!(there.contains("web1.invite is there"), "{there}");

    let host = tempfile::Builder::new().tempdir_in("/var/lib").unwrap();
    let server = server(host.path());
    let (config, invite) = (host.path().join("prn.toml"), operator.at("web1.invite"));
    let join = ["fleet", "join", invite.to_str().unwrap(), "--config"];
    let join = [&join[..], &[config.to_str().unwrap(), "--label", "zone=a"]].concat();
    let (_, said) = operator.ok(&join);
    assert!(said.contains("prn-agent --config"), "{said}");
    let log = || server.log();
    assert!(!said.contains("does not know it yet"), "{said}\n{}", log());
    operator.refused(2, &join);
    // Another certificate and key: nobody else is let in once more.
    let words = ["fleet", "invite", "web1", "--days", "400"];
    operator.ok(&[&words[..], &["--out", "again.invite"]].concat());
    let again = operator.at("again.invite");
    let again = ["fleet", "join", again.to_str().unwrap(), join[3], join[4]];
    let (_, said) = operator.ok(&again);
    assert!(said.contains("systemctl restart prn-agent"), "{said}");
    assert!(!said.contains("submits jobs"), "{said}");
    let earlier = operator.refused(1, &[&join[..3], &again[3..]].concat());
    assert!(earlier.contains("earlier than the one that"), "{earlier}");

    let log = fs::File::create(host.path().join("agent.log")).unwrap();
    let mut agent = Command::new(binary("prn-agent"));
    agent.arg("--config").arg(host.path().join("agent.toml"));
    agent.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    running.0.push(agent.spawn().unwrap());

    let agent_log = || fs::read_to_string(host.path().join("agent.log")).unwrap();
    let ready = || operator.ok(&["fleet", "hosts"]).0.contains("ready");
    wait_within(TIME, &format!("the host: {}", agent_log()), ready);
    let line = ["--on", "zone=a", "--", "sh", "-c", "echo here; exit 7"];
    let (id, _) = operator.ok(&[&["submit"][..], &line].concat());
    operator.refused(7, &["wait", "--fleet", id.trim()]);
    // From the host itself, whose server knows the operator by the key that the invitation has named.
    let (shown, _) = operator.ok(&["logs", "--fleet", id.trim()]);
    assert_eq!(shown, "here\n");
    signs(&operator, host.path());
    let (hosts, _) = operator.ok(&["fleet", "hosts"]);
    assert!(hosts.contains("web1"), "{hosts}");
    assert!(
        fs::read_to_string(&config)
            .unwrap()
            .contains("fleet = [\"prod\"]")
    );

    // No key can be read by others.
    let mut all = files(&folder);
    all.extend(
        files(host.path())
            .into_iter()
            .filter(|path| !path.starts_with(host.path().join("state"))),
    );
    let keys = all
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "key"));
    let keys: Vec<_> = keys.collect();
    assert!(keys.len() >= 13, "{keys:?}");
    for path in keys.into_iter().chain([&invite]) {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
    assert_eq!(mode(&folder), 0o700);
    // Members let no agent in among themselves: it could write anything.
    let peers = folder.join("members/m0/peers.pem");
    assert!(connects(
        ports[0] + 1,
        &peers,
        &folder.join("members/m1/peer.pem")
    ));
    assert!(!connects(
        ports[0] + 1,
        &peers,
        &host.path().join("agent.pem")
    ));
    assert!(!connects(ports[0] + 1, &peers, &folder.join("root.pem")));
}

/// A job that is signed is its signer's, and the agent sees how it ends all the same.
fn signs(operator: &Person, host: &Path) {
    let (config, file) = (host.join("prn.toml"), host.join("clients.d/operator.toml"));
    let mut text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("role = \"operator\""), "{text}");
    text = text.replace("role = \"operator\"", "role = \"signer\"");
    text.push_str("[[role]]\nname = \"signer\"\nmay = [\"start\", \"list\"]\n");
    fs::write(&file, text).unwrap();
    operator.ok(&["server", "reload", "--config", config.to_str().unwrap()]);
    let words = ["submit", "--sign", "--", "sh", "-c", "exit 9"];
    let (id, _) = operator.ok(&words);
    let said = operator.refused(9, &["wait", "--fleet", id.trim()]);
    assert!(!said.contains("NOT_SEEN"), "{said}");
}

#[test]
fn somebody_is_let_in_and_dismissed() {
    let (operator, anna) = (Person::new(), Person::new());
    let ports = [two_ports()];
    let _running = begin(&operator, &ports);
    operator.ok(&["fleet", "enable"]);
    let (_, said) = operator.ok(&["fleet", "invite", "--client", "anna"]);
    assert!(said.contains("prn pin add anna SHA256:"), "{said}");
    let invite = operator.at("anna.invite");
    let words = ["fleet", "join", invite.to_str().unwrap()];
    anna.ok(&words);
    assert_eq!(mode(&anna.at("fleets/prod/client.key")), 0o600);
    anna.ok(&words);
    anna.ok(&["fleet", "drain", "web1"]);
    assert!(anna.ok(&["fleet", "hosts"]).0.contains("web1"));
    // What is root's is not anna's.
    anna.refused(2, &["fleet", "invite", "web2"]);
    let own = operator.at("fleets/prod/clients/operator.pem");
    let before = fs::read(&own).unwrap();
    let there = operator.refused(1, &["fleet", "invite", "--client", "operator"]);
    assert!(there.contains("is there"), "{there}");
    assert_eq!(fs::read(&own).unwrap(), before);
    let (_, said) = operator.ok(&["fleet", "dismiss", "--client", "anna"]);
    assert!(said.contains("`prn pin remove anna`"), "{said}");
    assert!(said.contains("until its connection ends"), "{said}");
    assert!(!operator.at("fleets/prod/clients/anna.pem").exists());
    let denied = anna.refused(4, &["fleet", "hosts"]);
    assert!(denied.contains("does not allow it"), "{denied}");
}

#[test]
fn what_is_no_fleet_is_refused_and_nothing_is_written() {
    let person = Person::new();
    for (code, words, what) in [
        (
            2,
            &["fleet", "init", "Prod", "--member=m1=a"][..],
            "is no name",
        ),
        (2, &["fleet", "init", "prod", "--member=m1"], "NAME=HOST"),
        (
            2,
            &["fleet", "init", "prod", "--member=m1=a", "--member=m2=b"],
            "1, 3 or 5",
        ),
        (
            2,
            &[
                "fleet",
                "init",
                "prod",
                "--member=m1=a",
                "--member=m2=a",
                "--member=m3=b",
            ],
            "one address",
        ),
        (
            2,
            &["fleet", "init", "prod", "--member=m1=a", "--place=x"],
            "absolute",
        ),
        (
            2,
            &["fleet", "enable", "--fleet", "prod"],
            "no folder of a fleet",
        ),
        (2, &["fleet", "invite", "web1"], "prn fleet init"),
        (
            1,
            &["fleet", "join", "none.invite"],
            "cannot read none.invite",
        ),
    ] {
        let said = person.refused(code, words);
        assert!(said.contains(what), "{words:?}: {said}");
    }
    fs::write(
        person.at("bad.invite"),
        "fleet = \"prod\"\nkey = \"secret\"\nx = 1\n",
    )
    .unwrap();
    let said = person.refused(1, &["fleet", "join", "bad.invite"]);
    assert!(
        said.contains("not an invitation") && !said.contains("secret"),
        "{said}"
    );
    assert_eq!(files(person.folder.path()), [person.at("bad.invite")]);
}

#[test]
fn a_fleet_is_set_up_on_a_terminal() {
    let person = Person::new();
    let (folder, port) = (person.folder.path().display(), two_ports());
    let (server, config) = (Server::start(), person.at("config.toml"));
    let variables = [("PRN_CONFIG", config.to_str().unwrap())];
    let screen = Screen::with(&server, &variables);
    screen.line(&format!(
        "cd {folder}; clear; $PRN fleet init prod --member m0=127.0.0.1:{port} --place {folder}/fleets/prod/members --data {folder}/data; echo init=$?"
    ));
    screen.shows("init=0");
    let log = person.at("m0.log");
    let _running = Running(vec![etcd(&person.at("fleets/prod/members/m0"), &log)]);
    screen.line("clear; $PRN fleet enable; echo enable=$?");
    screen.shows("enable=0");
    screen.line("clear; $PRN fleet invite --client anna; echo invite=$?");
    screen.shows("invite=0");
    screen.line("clear; PRN_CONFIG=anna/config.toml; export PRN_CONFIG; $PRN fleet join anna.invite; echo join=$?");
    screen.shows("join=0");
    screen.line("clear; $PRN fleet hosts; echo hosts=$?");
    screen.shows("hosts=0");
    screen.line("clear; PRN_CONFIG=config.toml; $PRN fleet dismiss --client anna; echo dismiss=$?");
    screen.shows("dismiss=0");
}
