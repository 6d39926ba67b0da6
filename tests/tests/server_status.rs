//! What root is told of a running server, and what is told of the host it runs on.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_tests::pki::Identity;
use prn_tests::server::{Options, Server};
use prn_tests::{binary, procfs, wait_for};
use serde_json::Value;

fn prn(arguments: &[&str]) -> Output {
    Command::new(binary("prn"))
        .args(arguments)
        .output()
        .expect("prn")
}

fn said(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(all).expect("text")
}

fn status(server: &Server) -> Value {
    let folder = server.state_dir();
    let output = prn(&[
        "server",
        "status",
        "--state-dir",
        folder.to_str().expect("UTF-8"),
        "-o",
        "json",
    ]);
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn root_is_told_what_a_server_is_and_what_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("prn.toml");
    fs::write(&config, "max-finished = 500\noutput-budget = '64M'\n").unwrap();
    let server = Server::with_arguments(&["--config", config.to_str().unwrap()]);
    server.ok(&["run", "--", "echo", "hello"]);
    server.start_process(&[], &["sleep", "600"]);
    server.ok(&["workspace", "create", "build"]);
    let told = status(&server);
    let of = |name: &str| (told[name]["used"].as_u64(), told[name]["max"].as_u64());
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"), "{told}");
    assert_eq!(told["installed_version"], told["version"]);
    assert_eq!(told["pid"], server.supervisor());
    assert_eq!(told["frontend"]["pid"], server.frontend());
    assert_eq!(told["frontend"]["serves"], true);
    assert_eq!(told["frontend"]["ended"], 0);
    assert_eq!(told["address"], server.address.as_str());
    assert!(told["uptime_seconds"].as_u64().unwrap() < 600, "{told}");
    assert!(
        server.log().contains(told["epoch"].as_str().unwrap()),
        "{told}"
    );
    assert_eq!(of("processes"), (Some(1), Some(256)));
    assert_eq!(of("finished"), (Some(1), Some(500)));
    assert_eq!(of("workspaces"), (Some(1), Some(64)));
    let (used, budget) = of("output_memory");
    assert!(used.unwrap() >= 6 && budget == Some(64 << 20), "{told}");
    assert_eq!(of("output_disk"), (Some(0), Some(0)));
    assert_eq!(told["configuration"]["number"], 1);
    assert_eq!(told["restart_pending"], Value::Null);

    let since = told["configuration"]["since"].clone();
    fs::write(&config, "max-finished = 400\noutput-budget = '64M'\n").unwrap();
    let reloaded = server.reload().output().unwrap();
    assert!(reloaded.status.success(), "{}", said(&reloaded));
    let told = status(&server);
    assert_eq!(told["configuration"]["number"], 2);
    assert_eq!(told["finished"]["max"], 400);
    assert_ne!(told["configuration"]["since"], since, "{told}");
    let asked = told["frontend"]["ended"].clone();
    assert_eq!(asked, 0, "a reload replaces it: nothing has ended unasked");

    let folder = server.state_dir();
    let text = prn(&["server", "status", "--state-dir", folder.to_str().unwrap()]);
    let text = said(&text);
    for line in [
        "configuration      2, in force since ",
        "alive              1 of 256",
        "frontend           has said that it serves (process ",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn it_is_told_while_the_frontend_hangs_and_why_the_last_one_was_replaced() {
    let server = Server::start();
    let first = Pid::from_raw(server.frontend());
    procfs::hold(first.as_raw());
    let told = status(&server);
    assert_eq!(told["frontend"]["pid"], first.as_raw(), "{told}");
    kill(first, Signal::SIGKILL).unwrap();
    let mut told = Value::Null;
    wait_for("another frontend that serves", || {
        told = status(&server);
        told["frontend"]["ended"] == 1 && told["frontend"]["serves"] == true
    });
    let why = told["frontend"]["last_ended_why"].as_str().unwrap();
    assert!(why.starts_with("was killed by SIGKILL"), "{told}");
    assert!(told["frontend"]["last_ended_at"].is_string(), "{told}");
    let folder = server.state_dir();
    let text = said(&prn(&[
        "server",
        "status",
        "--state-dir",
        folder.to_str().unwrap(),
    ]));
    assert!(text.contains("1 ended unasked, the last one "), "{text}");
    assert!(text.contains("was killed by SIGKILL"), "{text}");
}

#[test]
fn whoever_is_not_root_is_told_so_and_so_is_who_names_no_server() {
    let server = Server::start();
    let folder = server.state_dir();
    let output = Command::new(binary("prn"))
        .args(["server", "status", "--state-dir"])
        .arg(&folder)
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("must run as root"),
        "{}",
        said(&output)
    );
    let empty = tempfile::tempdir().unwrap();
    let output = prn(&[
        "server",
        "status",
        "--state-dir",
        empty.path().to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "no server runs with the state folder {}: start one, or name its --state-dir",
        empty.path().display()
    );
    assert!(said(&output).contains(&expected), "{}", said(&output));
}

/// The programs, in a folder of their own.
fn installed(folder: &Path) {
    for name in ["prn", "prn-supervisor", "prn-frontend", "prn-tools"] {
        fs::copy(binary(name), folder.join(name)).unwrap();
    }
}

#[test]
fn a_restart_is_pending_once_other_programs_are_installed() {
    let programs = tempfile::tempdir_in("/var/lib").unwrap();
    installed(programs.path());
    let server = Server::with(Options {
        programs: Some(programs.path().to_owned()),
        ..Options::default()
    });
    assert_eq!(status(&server)["restart_pending"], Value::Null);
    // As a package does: another file takes the name.
    let name = programs.path().join("prn-supervisor");
    let new = programs.path().join("new");
    fs::copy(&name, &new).unwrap();
    fs::rename(&new, &name).unwrap();
    let why = status(&server)["restart_pending"].clone();
    let why = why.as_str().expect("a reason");
    assert!(why.starts_with("the supervisor runs an older"), "{why}");
    assert!(
        why.contains("prn-supervisor") && why.contains("systemctl restart prn"),
        "{why}"
    );
}

/// What `prn server check` has found, by name.
fn checked(arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
    let words = [&["server", "check", "-o", "json"], arguments].concat();
    let output = prn(&words);
    let all: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
    let found = all["findings"].as_array().unwrap().clone();
    (output.status.code(), found)
}

fn found<'a>(all: &'a [Value], name: &str) -> &'a Value {
    let mut all = all.iter();
    all.find(|one| one["name"] == name).unwrap_or(&Value::Null)
}

/// A configuration beside a server's and a client's key and certificate.
struct Configured {
    folder: tempfile::TempDir,
}

impl Configured {
    fn new(client_days: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Identity::keygen(folder.path(), "server", &[]);
        Identity::keygen(folder.path(), "anna", &["--days", client_days]);
        let text = format!(
            "server-cert = 'server.pem'\n{more}\n[[client]]\nname = 'anna'\ncert = 'anna.pem'\nrole = 'admin'\n"
        );
        fs::write(folder.path().join("prn.toml"), text).unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("prn.toml")
    }
}

#[test]
fn a_check_finds_what_will_stop_the_server_some_day_and_says_what_to_do() {
    let soon = Configured::new("10", "address = '127.0.0.1:0'\nmax-cpu = 1.0");
    let (_, all) = checked(&["--config", soon.path().to_str().unwrap()]);
    let client = found(&all, "clients' certificates");
    assert_eq!(client["verdict"], "limited", "{client}");
    assert!(
        client["found"]
            .as_str()
            .unwrap()
            .starts_with("anna ends at "),
        "{client}"
    );
    assert!(
        client["cost"]
            .as_str()
            .unwrap()
            .contains("prn rotate client"),
        "{client}"
    );
    for name in ["server's certificate", "key file", "port"] {
        assert_eq!(found(&all, name)["verdict"], "ok", "{}", found(&all, name));
    }
    let limits = found(&all, "limits");
    assert_eq!(limits["found"], "cpu 1.000, memory none, pids none");
    assert!(
        limits["cost"].as_str().unwrap().contains("max-memory"),
        "{limits}"
    );
    for name in ["clock", "memory budget", "disk"] {
        assert!(found(&all, name)["found"].is_string(), "{name}: {all:?}");
    }
    for one in &all {
        let is_ok = one["verdict"] == "ok";
        assert_eq!(is_ok, one["cost"].is_null(), "it says what to do: {one}");
    }

    let later = Configured::new("300", "");
    fs::set_permissions(
        later.folder.path().join("server.key"),
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )
    .unwrap();
    let (_, all) = checked(&["--config", later.path().to_str().unwrap()]);
    assert_eq!(found(&all, "clients' certificates")["verdict"], "ok");
    let key = found(&all, "key file");
    assert!(key["cost"].as_str().unwrap().contains("chmod 600"), "{key}");
    fs::write(later.folder.path().join("anna.pem"), "nothing").unwrap();
    let (code, all) = checked(&["--config", later.path().to_str().unwrap()]);
    let client = found(&all, "clients' certificates");
    assert_eq!(
        (code, &client["blocks"]),
        (Some(1), &Value::Bool(true)),
        "{client}"
    );
}

/// What keeps a server with these lines in its configuration from starting, but for the host.
fn refusals(configured: &Configured, lines: &str) -> Vec<(String, String)> {
    let path = configured.folder.path().join("case.toml");
    let state = configured.folder.path().join("state");
    let text = format!(
        "server-cert = 'server.pem'\nclient-cert = ['anna.pem']\nallow-missing-limits = true\nstate-dir = '{}'\n{lines}\n",
        state.display()
    );
    fs::write(&path, text).unwrap();
    let (code, all) = checked(&["--config", path.to_str().unwrap()]);
    let blocks: Vec<_> = all.iter().filter(|one| one["blocks"] == true).collect();
    assert_eq!(code == Some(0), blocks.is_empty(), "{lines}: {all:?}");
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let names = [
        "key",
        "key file",
        "port",
        "configuration",
        "state folder's lock",
    ];
    let blocks = blocks
        .into_iter()
        .filter(|one| names.iter().any(|name| one["name"] == *name));
    blocks
        .map(|one| (text(one, "name"), text(one, "found")))
        .collect()
}

#[test]
fn a_check_blocks_what_a_start_refuses() {
    use std::os::unix::fs::PermissionsExt;
    let files = Configured::new("300", "");
    let folder = files.folder.path();
    fs::copy(folder.join("server.key"), folder.join("open.key")).unwrap();
    fs::set_permissions(folder.join("open.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let key = "tls-key = 'server.key'\naddress = '127.0.0.1:0'";
    assert_eq!(refusals(&files, key), [], "all of it is right");
    let beside = "address = '127.0.0.1:0'";
    assert_eq!(refusals(&files, beside), [], "the unit passes it");
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!(
        "tls-key = 'server.key'\naddress = '{}'",
        other.local_addr().unwrap()
    );
    let value = |line: &str| format!("{key}\n{line}");
    for (lines, name, words) in [
        ("tls-key = 'anna.key'", "key file", "does not belong"),
        ("tls-key = 'none.key'", "key file", "cannot read"),
        (
            "tls-key = 'open.key'",
            "key file",
            "open to others (mode 0644)",
        ),
        ("tls-key = '/tmp'", "key file", "no regular file"),
        ("key-command = ['false']", "key", "is not to be had"),
        ("tls-key = 'keyring:prn-test-none'", "key", "keyctl padd"),
        (
            "tls-key = 'pkcs11:token=a;object=b?module-path=/nowhere.so'",
            "key",
            "cannot load the module",
        ),
        (&taken, "port", "in use"),
        (
            "tls-key = 'server.key'\naddress = '192.0.2.1:1'",
            "port",
            "assign",
        ),
        (
            &value("frontend-uid = 2000000001"),
            "configuration",
            "--frontend-uid",
        ),
        (
            &value("output-budget = '900TiB'"),
            "configuration",
            "--output-budget",
        ),
    ] {
        let lines = if lines.contains("address") {
            lines.to_owned()
        } else {
            format!("{lines}\naddress = '127.0.0.1:0'")
        };
        let found = refusals(&files, &lines);
        assert!(
            matches!(found.as_slice(), [(one, said)] if one == name && said.contains(words)),
            "{lines}: {found:?}"
        );
    }
    fs::create_dir(folder.join("state")).unwrap();
    let lock = fs::File::open(folder.join("state")).unwrap();
    lock.try_lock().unwrap();
    assert_eq!(refusals(&files, key)[0].0, "state folder's lock");
    drop(lock);
    fs::remove_file(folder.join("server.key")).unwrap();
    assert_eq!(refusals(&files, beside)[0].0, "key");
    let shown = prn(&[
        "server",
        "check",
        "--config",
        folder.join("case.toml").to_str().unwrap(),
    ]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("\nBLOCKS   key "), "{shown}");
    let last = shown.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("The server cannot start here: ") && last.contains("key"),
        "{last}"
    );
}

#[test]
fn a_check_counts_the_descriptors_of_the_server_that_runs() {
    let server = Server::start();
    let folder = server.state_dir();
    let (_, all) = checked(&["--state-dir", folder.to_str().unwrap()]);
    let running = found(&all, "running server");
    let pid = format!("process {}, ", server.supervisor());
    assert!(
        running["found"].as_str().unwrap().starts_with(&pid),
        "{running}"
    );
}
