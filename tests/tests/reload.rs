//! Another configuration for a running server: what changes, what does not notice, and what happens
//! when it cannot be.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::unistd::Pid;
use prn_ipc_protocol::channel::{Received, Sent};
use prn_ipc_protocol::control::{Answer, Key, OperatorEnd, Order, Refused};
use prn_ipc_protocol::{codec, config};
use prn_tests::pki::Identity;
use prn_tests::server::{Options, Server};
use prn_tests::{binary, procfs, sha256, wait_for};

/// A server with a configuration in a folder of its own, and a client for each name.
struct Reloadable {
    folder: tempfile::TempDir,
    server: Server,
    /// As the configuration has them: name and role.
    clients: Vec<(String, String)>,
    /// Further lines of it.
    more: String,
}

impl Reloadable {
    fn start(clients: &[(&str, &str)]) -> Self {
        Self::with(clients, "")
    }

    fn with(clients: &[(&str, &str)], more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, _) in clients {
            Identity::keygen(folder.path(), name, &[]);
        }
        let clients = clients
            .iter()
            .map(|(name, role)| (name.to_string(), role.to_string()))
            .collect::<Vec<_>>();
        fs::write(folder.path().join("prn.toml"), text(&clients, more)).unwrap();
        let config = folder.path().join("prn.toml");
        let server = Server::with(Options {
            arguments: vec!["--config".to_owned(), config.display().to_string()],
            lists_clients: true,
            ..Options::default()
        });
        Self {
            folder,
            server,
            clients,
            more: more.to_owned(),
        }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("prn.toml")
    }

    fn write(&self) {
        fs::write(self.config(), text(&self.clients, &self.more)).unwrap();
    }

    fn add(&mut self, name: &str, role: &str) {
        Identity::keygen(self.folder.path(), name, &[]);
        self.clients.push((name.to_owned(), role.to_owned()));
        self.write();
    }

    fn remove(&mut self, name: &str) {
        self.clients.retain(|(other, _)| other != name);
        self.write();
    }

    fn client(&self, name: &str) -> Identity {
        Identity {
            key: self.folder.path().join(format!("{name}.key")),
            certificate: self.folder.path().join(format!("{name}.pem")),
        }
    }

    fn prn(&self, name: &str, arguments: &[&str]) -> Command {
        self.server.prn_as(&self.client(name), arguments)
    }

    fn run(&self, name: &str, arguments: &[&str]) -> Output {
        self.prn(name, arguments).output().unwrap()
    }

    fn ok(&self, name: &str, arguments: &[&str]) -> String {
        let output = self.run(name, arguments);
        assert!(
            output.status.success(),
            "prn {arguments:?}: {}\nlog: {}",
            said(&output),
            self.server.log()
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Reloads, which must succeed. What it says.
    fn reloaded(&self) -> String {
        let output = self.server.reload().output().unwrap();
        assert!(
            output.status.success(),
            "{}\nlog: {}",
            said(&output),
            self.server.log()
        );
        said(&output)
    }

    /// Reloads, which must not succeed, nor change anything. What it says.
    fn refused(&self) -> String {
        let before = self.server.frontend();
        let output = self.server.reload().output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert_eq!(self.server.frontend(), before, "another frontend");
        said(&output)
    }

    /// The run of the server, as each frontend has it.
    fn boot_epoch(&self) -> String {
        let log = self.server.log();
        let epochs = log
            .lines()
            .filter_map(|line| line.split("boot epoch ").nth(1));
        let epochs: std::collections::BTreeSet<_> =
            epochs.map(|rest| rest.split(',').next().unwrap()).collect();
        assert_eq!(epochs.len(), 1, "{log}");
        epochs.first().unwrap().to_string()
    }

    fn start_process(&self, name: &str, argv: &[&str]) -> String {
        let arguments: Vec<_> = ["start", "--"].iter().chain(argv).copied().collect();
        self.ok(name, &arguments).trim().to_owned()
    }
}

fn text(clients: &[(String, String)], more: &str) -> String {
    let clients = clients.iter().map(|(name, role)| {
        format!("[[client]]\nname = '{name}'\ncert = '{name}.pem'\nrole = '{role}'\n")
    });
    format!("{more}\n{}", clients.collect::<String>())
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A command that runs while the test goes on, whose output is read to its end.
struct Running {
    child: Child,
    output: std::thread::JoinHandle<Vec<u8>>,
    errors: std::thread::JoinHandle<String>,
}

impl Running {
    fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        Self {
            child,
            output: std::thread::spawn(move || {
                let mut bytes = Vec::new();
                out.read_to_end(&mut bytes).unwrap();
                bytes
            }),
            errors: std::thread::spawn(move || {
                let mut text = String::new();
                err.read_to_string(&mut text).unwrap();
                text
            }),
        }
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Its code, its output and what it said.
    fn end(mut self) -> (Option<i32>, Vec<u8>, String) {
        wait_for("the command's end", || self.has_ended());
        let code = self.child.wait().unwrap().code();
        (
            code,
            self.output.join().unwrap(),
            self.errors.join().unwrap(),
        )
    }
}

#[test]
fn a_client_that_is_added_is_let_in_and_nothing_else_notices() {
    let mut listed = Reloadable::start(&[("anna", "admin")]);
    let id = listed.start_process("anna", &["sleep", "1000"]);
    let frontend = listed.server.frontend();
    let before = sleeping(&listed);
    let epoch = listed.boot_epoch();
    listed.add("ben", "viewer");
    assert_ne!(listed.run("ben", &["list"]).status.code(), Some(0));
    let said = listed.reloaded();
    assert!(
        said.contains("configuration 2 is in force: clients added: ben"),
        "{said}"
    );
    assert!(listed.ok("ben", &["list"]).contains(&id));
    let denied = listed.run("ben", &["stop", &id]);
    assert!(!denied.status.success(), "a viewer stops nothing");
    assert_eq!(listed.boot_epoch(), epoch);
    assert_eq!(sleeping(&listed), before);
    assert_ne!(listed.server.frontend(), frontend);
    assert!(listed.ok("anna", &["status", &id]).contains("Running"));
    assert!(
        listed
            .server
            .log()
            .contains("configuration 2 is in force: clients added: ben")
    );
    assert!(
        !listed.server.log().contains("audit"),
        "{}",
        listed.server.log()
    );
    assert!(listed.reloaded().contains("nothing is new"));
}

#[test]
fn a_client_that_is_removed_loses_its_streams_within_a_second_and_its_processes_live_on() {
    let mut listed = Reloadable::start(&[("anna", "admin"), ("ben", "runner")]);
    let id = listed.start_process("ben", &["sh", "-c", "while :; do echo x; sleep 0.05; done"]);
    let mut follow = Running::spawn(&mut listed.prn("ben", &["logs", "-f", &id]));
    let mut stays = Running::spawn(&mut listed.prn("anna", &["logs", "-f", &id]));
    wait_for("both to follow", || {
        let status = listed.ok("anna", &["status", &id, "-o", "json"]);
        status.contains("\"running\"") || status.contains("Running")
    });
    listed.remove("ben");
    let said = listed.reloaded();
    let since = Instant::now();
    assert!(said.contains("clients removed: ben"), "{said}");
    wait_for("the end of its stream", || follow.has_ended());
    eprintln!("its stream ended {:?} after the reload", since.elapsed());
    let (code, _, errors) = follow.end();
    assert_ne!(code, Some(0));
    assert!(
        errors.contains("does not accept") || errors.contains("not"),
        "{errors}"
    );
    assert_ne!(listed.run("ben", &["list"]).status.code(), Some(0));
    assert!(listed.ok("anna", &["status", &id]).contains("Running"));
    assert!(!stays.has_ended());
    listed.ok("anna", &["stop", &id]);
    stays.end();
}

#[test]
fn a_role_is_widened_and_narrowed_in_place() {
    const ECHOER: &str = "[[role]]\nname = 'echoer'\nmay = ['start', 'list', 'output']\nprograms = [['/bin/echo', 'a']]\n";
    let write = |listed: &Reloadable, more: &str| {
        fs::write(
            listed.config(),
            format!("{}{more}", text(&listed.clients, "")),
        )
        .unwrap();
    };
    let mut listed = Reloadable::start(&[("anna", "runner"), ("root", "admin")]);
    listed.ok("anna", &["run", "--", "/bin/echo", "b"]);
    listed.clients[0].1 = "echoer".to_owned();
    write(&listed, ECHOER);
    let said = listed.reloaded();
    assert!(
        said.contains("clients changed: anna") && said.contains("roles added: echoer"),
        "{said}"
    );
    assert!(
        !listed
            .run("anna", &["run", "--", "/bin/echo", "b"])
            .status
            .success()
    );
    listed.ok("anna", &["run", "--", "/bin/echo", "a"]);
    write(
        &listed,
        &ECHOER.replace("['/bin/echo', 'a']", "['/bin/echo', '...']"),
    );
    assert!(listed.reloaded().contains("roles changed: echoer"));
    listed.ok("anna", &["run", "--", "/bin/echo", "b"]);
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_changes_nothing() {
    let listed = Reloadable::start(&[("anna", "admin")]);
    let good = fs::read_to_string(listed.config()).unwrap();
    for (bad, parts) in [
        (format!("{good}\nadress = 'x'\n"), ["prn.toml", "line 7"]),
        (good.replace("'admin'", "'boss'"), ["prn.toml:5", "boss"]),
        (format!("max-memory = 'lots'\n{good}"), ["line 1", "lots"]),
        (
            format!("max-finished = 63\n{good}"),
            ["--max-finished", "64"],
        ),
        (
            good.replace("anna.pem", "gone.pem"),
            ["prn.toml:", "gone.pem"],
        ),
    ] {
        fs::write(listed.config(), &bad).unwrap();
        let said = listed.refused();
        for part in parts {
            assert!(said.contains(part), "{bad}: {said}");
        }
    }
    fs::write(listed.config(), &good).unwrap();
    assert!(listed.reloaded().contains("nothing is new"));
    listed.ok("anna", &["list"]);
}

#[test]
fn a_key_that_does_not_fit_and_a_certificate_that_has_ended_are_refused() {
    let listed = Reloadable::start(&[("anna", "admin")]);
    let identity = &listed.server.identity;
    let (certificate, key) = (identity.certificate_pem(), identity.key_pem());
    let other = Identity::keygen(listed.folder.path(), "other", &[]);
    fs::write(&identity.certificate, other.certificate_pem()).unwrap();
    let said = listed.refused();
    assert!(
        said.contains("does not belong to the certificate"),
        "{said}"
    );
    let mut params = rcgen::CertificateParams::new(vec!["server".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let ended = Identity::custom(
        listed.folder.path(),
        "ended",
        params,
        &prn_tests::pki::ed25519(),
    );
    fs::write(&identity.certificate, ended.certificate_pem()).unwrap();
    fs::write(&identity.key, ended.key_pem()).unwrap();
    let said = listed.refused();
    assert!(said.contains("2021"), "{said}");
    fs::write(&identity.certificate, certificate).unwrap();
    fs::write(&identity.key, key).unwrap();
    listed.ok("anna", &["list"]);
}

#[test]
fn what_needs_a_restart_is_named_and_all_else_changes() {
    let listed = Reloadable::start(&[("anna", "admin")]);
    let good = fs::read_to_string(listed.config()).unwrap();
    fs::write(
        listed.config(),
        format!("output-budget = '64M'\nmax-finished = 70\nmax-pids = 7\n{good}"),
    )
    .unwrap();
    let mut reload = listed.server.reload();
    let said = said(&reload.args(["--allow-profile-none"]).output().unwrap());
    for part in [
        "output-budget needs a restart of the server; still its default",
        "allow-profile-none needs a restart of the server; still its default",
        "configuration 2 is in force: other limits",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let more = listed.run("anna", &["run", "--max-pids", "8", "--", "true"]);
    assert!(!more.status.success(), "the new ceiling is in force");
}

#[test]
fn a_check_says_what_would_change_and_changes_nothing() {
    let mut listed = Reloadable::start(&[("anna", "admin")]);
    listed.add("ben", "viewer");
    let before = listed.server.frontend();
    let output = listed.server.reload().arg("--check").output().unwrap();
    assert!(
        said(&output).contains("can be reloaded: clients added: ben"),
        "{}",
        said(&output)
    );
    assert_eq!(listed.server.frontend(), before);
    assert!(!listed.run("ben", &["list"]).status.success());
}

#[test]
fn without_a_server_it_says_so() {
    let nothing = Command::new(binary("prn"))
        .args(["server", "reload"])
        .output()
        .unwrap();
    assert!(
        said(&nothing).contains("--server-cert is missing"),
        "{}",
        said(&nothing)
    );
    let mut listed = Reloadable::start(&[("anna", "admin")]);
    listed.server.stop();
    let output = listed.server.reload().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("no server runs with the state folder"),
        "{}",
        said(&output)
    );
}

#[test]
fn the_socket_is_roots_alone() {
    let listed = Reloadable::start(&[("anna", "admin")]);
    let path = listed.server.state_dir().join(".control");
    let script = format!(
        "import socket,sys\ns=socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n\
         try: s.connect('{}')\nexcept PermissionError: print('denied')\nelse: print('connected')",
        path.display()
    );
    let mut other = Command::new("python3");
    let other = other
        .arg("-c")
        .arg(&script)
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    assert_eq!(said(&other), "denied\n");
    let process = listed.run("anna", &["run", "--", "python3", "-c", &script]);
    assert!(said(&process).contains("denied"), "{}", said(&process));
    let root = Command::new("python3")
        .arg("-c")
        .arg(&script)
        .output()
        .unwrap();
    assert_eq!(said(&root), "connected\n", "the test tries it as it should");
    let mut reload = listed.server.reload();
    let not_root = reload.uid(65534).gid(65534).output().unwrap();
    assert_eq!(not_root.status.code(), Some(1));
}

#[test]
fn rubbish_on_the_socket_leaves_the_server_serving_and_the_next_operator_served() {
    let mut listed = Reloadable::start(&[("anna", "admin")]);
    let path = listed.server.state_dir().join(".control");
    let script = r#"
import os, socket, sys, array, fcntl
path = sys.argv[1]
def connect():
    while True:
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            s.connect(path)
            return s
        except BlockingIOError:
            pass
def memfd(data, seals):
    fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    if seals: fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd
def send(s, data, fds):
    try:
        s.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
    except OSError as error:
        return repr(error)
    s.settimeout(5)
    try:
        return s.recv(100)
    except OSError as error:
        return repr(error)
ALL = 15
reload_kept = b"\x01\x00\x01x"
reload_sent = b"\x01\x01\x01x"
big = memfd(b"x" * (5 << 20), ALL)
for data, fds in [
    (b"", []), (b"\xff", []), (b"\x00" * 2, []), (b"x" * 200000, []), (b"\x01\x00\xff\xff\xff\xff\x0fx", []),
    (reload_kept, []), (reload_kept, [0]), (reload_sent, [memfd(b"x", ALL)] * 2), (b"\x00", [0, 0]),
    (reload_kept, [0] * 200),
    (reload_kept, [memfd(b"x", 0)] * 2), (reload_kept, [memfd(b"x", 7)] * 2), (reload_kept, [memfd(b"x", 14)] * 2),
    (reload_kept, [memfd(b"x", ALL)] * 2), (reload_kept, [memfd(b"", ALL)] * 2), (reload_kept, [big] * 2),
    (reload_sent, [memfd(b"x", ALL)] * 3), (reload_kept, [os.open("/dev/zero", os.O_RDONLY)] * 2),
    (reload_kept, [os.open("/etc/passwd", os.O_RDONLY)] * 2), (reload_kept, [s0.fileno() for s0 in socket.socketpair()]),
]:
    answer = send(connect(), data, fds)
    print(len(data), len(fds), answer)
    # Nothing of it is in force.
    assert answer in (b"", b"\x02\x01") or "Error" in str(answer), answer
silent = [connect() for _ in range(1000)]
print("silent")
sys.stdout.flush()
sys.stdin.read()
"#;
    let supervisor = listed.server.supervisor();
    let before = procfs_descriptors(supervisor);
    let frontend = listed.server.frontend();
    let mut rubbish = Command::new("python3")
        .args(["-c", script])
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = std::io::BufReader::new(rubbish.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("silent") {
        let read = std::io::BufRead::read_line(&mut out, &mut text).unwrap();
        assert!(read > 0, "{text}");
    }
    assert_eq!(listed.server.frontend(), frontend, "{text}");
    listed.add("ben", "viewer");
    assert!(listed.reloaded().contains("configuration 2"));
    listed.ok("ben", &["list"]);
    drop(rubbish.stdin.take());
    rubbish.wait().unwrap();
    wait_for("no descriptor more", || {
        procfs_descriptors(supervisor) <= before
    });
}

/// Process numbers of the programs `sleep` that the server runs.
fn sleeping(listed: &Reloadable) -> Vec<i32> {
    let children = procfs::children(listed.server.supervisor()).into_iter();
    children
        .filter(|pid| procfs::comm(*pid) == "sleep")
        .collect()
}

fn procfs_descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

fn resident(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn two_hundred_reloads_cost_no_descriptor_and_no_memory() {
    let mut listed = Reloadable::start(&[("anna", "admin")]);
    let supervisor = listed.server.supervisor();
    let mut after = Vec::new();
    for round in 0..200 {
        listed.more = format!("max-finished = {}", 100 + round);
        listed.write();
        listed.reloaded();
        if round % 50 == 49 {
            wait_for("a frontend", || listed.server.frontend() > 0);
            after.push((procfs_descriptors(supervisor), resident(supervisor)));
        }
    }
    let (first, last) = (after[0], after[after.len() - 1]);
    assert!(last.0 <= first.0, "{after:?}");
    assert!(last.1 < first.1 + 2048, "{after:?}");
}

#[test]
fn input_and_output_go_on_byte_for_byte_across_reloads() {
    let mut listed = Reloadable::start(&[("anna", "admin")]);
    let mut random = prn_tests::random::Random::new(7);
    let input = random.bytes(24 << 20);
    let mut command = listed.prn("anna", &["run", "--", "cat"]);
    let mut through = Running::spawn(command.stdin(Stdio::piped()));
    let mut stdin = through.child.stdin.take().unwrap();
    let copy = input.clone();
    let writer = std::thread::spawn(move || {
        for piece in copy.chunks(64 * 1024) {
            stdin.write_all(piece).unwrap();
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    for round in 0..20 {
        listed.more = format!("max-finished = {}", 100 + round);
        listed.write();
        listed.reloaded();
    }
    writer.join().unwrap();
    let (code, output, errors) = through.end();
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(
        sha256(&output),
        sha256(&input),
        "{} of {}: {errors}",
        output.len(),
        input.len()
    );
}

#[test]
fn a_terminal_session_goes_on_across_reloads() {
    let mut listed = Reloadable::start(&[("anna", "admin")]);
    let mut prn = listed.prn("anna", &[]);
    let run =
        "run -t --name shell -- sh -c 'for i in 1 2 3; do echo ready$i; read x; echo got $x; done'";
    let line = format!("{} {run}", binary("prn").display());
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &line, "/dev/null"]);
    for (name, value) in prn.stdin(Stdio::null()).get_envs() {
        terminal.env(name, value.unwrap());
    }
    let mut session = Running::spawn(terminal.stdin(Stdio::piped()));
    let mut keys = session.child.stdin.take().unwrap();
    for round in 1..4 {
        let ready = format!("ready{round}");
        wait_for("it to wait for input", || {
            let output = listed.run("anna", &["logs", "--no-follow", "shell"]);
            String::from_utf8_lossy(&output.stdout).contains(&ready)
        });
        listed.more = format!("max-finished = {}", 100 + round);
        listed.write();
        listed.reloaded();
        keys.write_all(format!("word{round}\n").as_bytes()).unwrap();
    }
    let (code, output, errors) = session.end();
    let output = String::from_utf8_lossy(&output);
    assert_eq!(code, Some(0), "{output} {errors}");
    for word in ["got word1", "got word2", "got word3"] {
        assert!(output.contains(word), "{output} {errors}");
    }
    assert!(!output.contains("lost"), "{output}");
}

#[test]
fn a_frontend_that_is_killed_in_the_middle_of_a_reload_is_followed_by_one_that_serves() {
    let mut listed = Reloadable::start(&[("anna", "admin")]);
    let id = listed.start_process("anna", &["sleep", "1000"]);
    for round in 0..10 {
        listed.more = format!("max-finished = {}", 100 + round);
        listed.write();
        let mut reload = Running::spawn(&mut listed.server.reload());
        while !reload.has_ended() {
            let children = procfs::children(listed.server.supervisor());
            for pid in children
                .into_iter()
                .filter(|pid| procfs::comm(*pid) == "prn-frontend")
            {
                let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(7));
        }
        let (code, output, errors) = reload.end();
        assert!(matches!(code, Some(0 | 1)), "{code:?} {output:?} {errors}");
        wait_for("a server that serves", || {
            listed.run("anna", &["status", &id]).status.success()
        });
    }
    listed.reloaded();
    assert!(listed.ok("anna", &["status", &id]).contains("Running"));
}

#[test]
fn two_reloads_at_once_come_one_after_the_other() {
    let mut listed = Reloadable::start(&[("anna", "admin")]);
    for round in 0..5 {
        listed.more = format!("max-finished = {}", 100 + round);
        listed.write();
        let all: Vec<_> = (0..4)
            .map(|_| Running::spawn(&mut listed.server.reload()))
            .collect();
        for reload in all {
            let (code, output, errors) = reload.end();
            assert_eq!(
                code,
                Some(0),
                "{} {errors}",
                String::from_utf8_lossy(&output)
            );
        }
        listed.ok("anna", &["list"]);
    }
}

#[test]
fn a_client_that_takes_nothing_delays_the_others_for_no_longer_than_a_second() {
    let mut listed = Reloadable::start(&[("anna", "admin")]);
    let id = listed.start_process("anna", &["sh", "-c", "yes | head -c 30000000; sleep 1000"]);
    let written = || listed.ok("anna", &["logs", "--no-follow", &id]).len();
    wait_for("all output", || written() == 30_000_000);
    let follow = Running::spawn(&mut listed.prn("anna", &["logs", "-f", &id]));
    wait_for("it to follow", || {
        let io = fs::read_to_string(format!("/proc/{}/io", follow.child.id())).unwrap();
        let written = io.lines().find_map(|line| line.strip_prefix("wchar: "));
        written.unwrap().parse::<u64>().unwrap() > 1 << 20
    });
    let pid = Pid::from_raw(i32::try_from(follow.child.id()).unwrap());
    procfs::hold(pid.as_raw());
    listed.add("ben", "viewer");
    let since = Instant::now();
    listed.reloaded();
    eprintln!("with a client that takes nothing: {:?}", since.elapsed());
    listed.ok("ben", &["list"]);
    kill(pid, Signal::SIGCONT).unwrap();
    listed.ok("anna", &["stop", &id]);
    let (_, output, errors) = follow.end();
    assert_eq!(output.len(), 30_000_000, "{errors}");
}

#[test]
fn calls_of_new_connections_do_not_fail_while_certificates_are_rotated() {
    let listed = Reloadable::start(&[("anna", "admin")]);
    let ids: Vec<_> = (0..50)
        .map(|_| listed.start_process("anna", &["sleep", "1000"]))
        .collect();
    let before = sleeping(&listed);
    assert_eq!(before.len(), 50);
    let big = listed.start_process(
        "anna",
        &[
            "sh",
            "-c",
            "head -c 268435456 /dev/zero | tr '\\0' x; sleep 1000",
        ],
    );
    let stream = Running::spawn(&mut listed.prn("anna", &["logs", "-f", &big]));
    let until = Instant::now() + Duration::from_secs(6);
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let client = listed.client("anna");
            let mut list = listed.server.prn_as(&client, &["status", &ids[0]]);
            std::thread::spawn(move || {
                let mut longest = Duration::ZERO;
                let (mut calls, mut failed) = (0, Vec::new());
                while Instant::now() < until {
                    let since = Instant::now();
                    let output = list.output().unwrap();
                    longest = longest.max(since.elapsed());
                    calls += 1;
                    if !output.status.success() {
                        failed.push(said(&output));
                    }
                    std::thread::sleep(Duration::from_millis(40).saturating_sub(since.elapsed()));
                }
                (calls, failed, longest)
            })
        })
        .collect();
    let mut reloads = 0;
    while Instant::now() < until {
        // The certificate of one that is in use, of which the old and the new one are let in.
        let next = Identity::keygen(listed.folder.path(), &format!("anna-{reloads}"), &[]);
        let toml = text(&listed.clients, "").replace(
            "cert = 'anna.pem'",
            &format!("cert = ['anna.pem', 'anna-{reloads}.pem']"),
        );
        fs::write(listed.config(), toml).unwrap();
        listed.reloaded();
        reloads += 1;
        let new = listed.server.prn_as(&next, &["list"]).output().unwrap();
        assert!(new.status.success(), "{}", said(&new));
        std::thread::sleep(Duration::from_millis(300));
    }
    for caller in callers {
        let (calls, failed, longest) = caller.join().unwrap();
        eprintln!("{calls} calls, the longest {longest:?}, {reloads} reloads");
        assert_eq!(failed, Vec::<String>::new());
        assert!(calls > 20);
    }
    for id in &ids {
        assert!(listed.ok("anna", &["status", id]).contains("Running"));
    }
    assert_eq!(sleeping(&listed), before);
    listed.ok("anna", &["stop", &big]);
    let (code, output, errors) = stream.end();
    assert!(code.is_some(), "{errors}");
    assert!(output.iter().all(|byte| *byte == b'x'));
}

#[test]
fn the_servers_certificate_is_rotated_under_a_stream_and_new_connections_of_who_pins_both() {
    let listed = Reloadable::start(&[("anna", "admin")]);
    let script = "for i in $(seq 1 4096); do head -c 65536 /dev/zero | tr '\\0' x; done";
    let start = ["start", "--output-max", "300M", "--", "sh", "-c", script];
    let big = listed.ok("anna", &start).trim().to_owned();
    let identity = &listed.server.identity;
    let pair = |name: &str| Identity::keygen(listed.folder.path(), name, &[]);
    let (old, new) = (pair("old").certificate, pair("new").certificate);
    let command = |words: &[&str]| {
        let mut command = listed.prn("anna", words);
        command.arg("--server-cert").arg(&old);
        command.arg("--server-cert").arg(&new);
        command
    };
    fs::copy(&identity.certificate, &old).unwrap();
    for round in 0..3 {
        let next = pair(&format!("server-{round}"));
        fs::copy(&next.certificate, &new).unwrap();
        let stream = Running::spawn(&mut command(&["logs", &big]));
        fs::write(&identity.certificate, next.certificate_pem()).unwrap();
        fs::write(&identity.key, next.key_pem()).unwrap();
        let mut reload = Running::spawn(&mut listed.server.reload());
        while !reload.has_ended() {
            let listed = command(&["list"]).output().unwrap();
            assert!(listed.status.success(), "{}", said(&listed));
        }
        let (code, _, errors) = reload.end();
        assert_eq!(code, Some(0), "{errors}");
        let (code, output, errors) = stream.end();
        assert_eq!(code, Some(0), "{errors}");
        assert_eq!(output.len(), 4096 * 65536);
        fs::copy(&next.certificate, &old).unwrap();
    }
}

#[test]
fn the_servers_own_certificate_and_key_change_under_running_processes() {
    let listed = Reloadable::start(&[("anna", "admin")]);
    let id = listed.start_process("anna", &["sleep", "1000"]);
    let epoch = listed.boot_epoch();
    let other = Identity::keygen(listed.folder.path(), "other", &[]);
    let old = listed.server.identity.certificate_pem();
    fs::write(&listed.server.identity.certificate, other.certificate_pem()).unwrap();
    fs::write(&listed.server.identity.key, other.key_pem()).unwrap();
    assert!(
        listed
            .reloaded()
            .contains("another certificate and key of the server")
    );
    // The client's pin is the same file.
    assert!(listed.ok("anna", &["status", &id]).contains("Running"));
    assert_eq!(listed.boot_epoch(), epoch);
    fs::write(&listed.server.identity.certificate, old).unwrap();
    let wrong = said(&listed.run("anna", &["list"]));
    assert!(wrong.contains("is not the pinned server"), "{wrong}");
}

/// What the server has, with this done to what its frontend has, ordered as `prn server reload`
/// does.
fn order(
    listed: &Reloadable,
    change: impl FnOnce(&mut config::Supervisor, &mut config::Frontend),
) -> Answer {
    order_with(listed, 15, change)
}

/// The same, with these seals.
fn order_with(
    listed: &Reloadable,
    seals: i32,
    change: impl FnOnce(&mut config::Supervisor, &mut config::Frontend),
) -> Answer {
    let flags = SockFlag::SOCK_CLOEXEC;
    let connected = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
    let path = listed.server.state_dir().join(".control");
    connect(connected.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
    let mut server = OperatorEnd::new(connected);
    let mut ask = |order: &Order, files: &[BorrowedFd<'_>]| {
        assert_eq!(server.send(order, files), Ok(Sent::Whole));
        let mut answer = None;
        wait_for("an answer", || {
            match server.receive(Answer::descriptors).unwrap() {
                Received::Message(said, files) => answer = Some((said, files)),
                Received::Nothing => {}
                Received::Closed => panic!("closed"),
            }
            answer.is_some()
        });
        answer.unwrap()
    };
    let (shown, files) = ask(&Order::Show, &[]);
    assert_eq!(shown, Answer::Shown);
    let mut supervisor: config::Supervisor = config::read(files[0].as_fd()).unwrap();
    let mut frontend: config::Frontend = config::read(files[1].as_fd()).unwrap();
    change(&mut supervisor, &mut frontend);
    let files = [codec::encode(&supervisor), codec::encode(&frontend)];
    let files = files.map(|bytes| sealed(&bytes.unwrap(), seals));
    let (key, changes) = (Key::Kept, "a test\nof lines".to_owned());
    let order = Order::Reload { key, changes };
    ask(&order, &[files[0].as_fd(), files[1].as_fd()]).0
}

fn sealed(bytes: &[u8], seals: i32) -> OwnedFd {
    let flags = MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC;
    let mut file = fs::File::from(memfd_create(c"prn-test", flags).unwrap());
    file.write_all(bytes).unwrap();
    let seals = SealFlag::from_bits_retain(seals);
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).unwrap();
    file.into()
}

#[test]
fn what_no_frontend_serves_with_gives_way_to_what_was_before() {
    let mut listed = Reloadable::start(&[("anna", "admin")]);
    let id = listed.start_process("anna", &["sleep", "1000"]);
    let answer = order(&listed, |supervisor, frontend| {
        supervisor.policy.principals.clear();
        frontend.certificate = b"rubbish".to_vec();
    });
    assert_eq!(answer, Answer::Refused(Refused::NotServed));
    wait_for("what was before", || {
        listed.run("anna", &["status", &id]).status.success()
    });
    listed.ok("anna", &["stop", &id]);
    let log = listed.server.log();
    assert!(log.contains("the reload has failed"), "{log}");
    listed.add("ben", "viewer");
    assert!(listed.reloaded().contains("configuration 2"));
    listed.ok("ben", &["list"]);
}

#[test]
fn root_changes_what_a_reload_may_and_nothing_else_of_the_supervisors() {
    let listed = Reloadable::start(&[("anna", "admin")]);
    let answer = order(&listed, |supervisor, _| {
        supervisor.first_uid = 0;
        supervisor.uid_count = 1;
        supervisor.confinement = config::Confinement::default();
        supervisor.confinement.allow_none = true;
        supervisor.output.clear();
    });
    assert_eq!(answer, Answer::InForce(2));
    let log = listed.server.log();
    assert!(
        log.contains("configuration 2 is in force: a test\\nof lines"),
        "{log}"
    );
    let uid = listed.ok("anna", &["run", "--", "id", "-u"]);
    assert!(uid.trim().parse::<u32>().unwrap() >= listed.server.first_uid());
    let none = listed.run("anna", &["run", "--profile", "none", "--", "true"]);
    assert!(!none.status.success());
}

#[test]
fn what_could_still_be_changed_is_refused_whichever_seal_is_missing() {
    let listed = Reloadable::start(&[("anna", "admin")]);
    let frontend = listed.server.frontend();
    for missing in [1, 2, 4, 8, 15] {
        let answer = order_with(&listed, 15 & !missing, |supervisor, _| {
            supervisor.policy.principals.clear();
        });
        assert_eq!(answer, Answer::Refused(Refused::Unfit), "without {missing}");
    }
    assert_eq!(listed.server.frontend(), frontend);
    listed.ok("anna", &["list"]);
}

#[test]
fn who_is_not_root_is_shown_nothing_even_where_the_sockets_mode_lets_anybody_in() {
    let listed = Reloadable::start(&[("anna", "admin")]);
    let path = listed.server.state_dir().join(".control");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    fs::set_permissions(&path, mode).unwrap();
    let script = format!(
        "import socket\ns=socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\ns.connect('{}')\n\
         s.settimeout(20)\ntry:\n s.send(b'\\0')\n print(len(s.recv(9)))\n\
         except (BrokenPipeError, ConnectionResetError): print(0)",
        path.display()
    );
    let shown = |uid| {
        let mut command = Command::new("python3");
        let command = command.arg("-c").arg(&script).uid(uid).gid(uid);
        said(&command.output().unwrap())
    };
    assert_eq!(shown(65534), "0\n");
    assert_eq!(shown(0), "1\n", "the test tries it as it should");
    assert!(listed.server.log().contains("not root"));
}

#[test]
fn a_reload_that_is_not_roots_says_so() {
    // In a folder that everybody may enter, as that of the tests need not be.
    let folder = tempfile::tempdir().unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder.path(), everybody).unwrap();
    let copied = folder.path().join("prn");
    fs::copy(binary("prn"), &copied).unwrap();
    let mut command = Command::new(copied);
    command.args(["server", "reload", "--config", "/etc/prn/prn.toml"]);
    let output = std::os::unix::process::CommandExt::uid(&mut command, 65534)
        .env_clear()
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("prn server reload must run as root"),
        "{said}"
    );
}
