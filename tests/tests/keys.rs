//! Where a TLS key may be (docs/operate/keys.md): on both sides, with real keyrings, a real token
//! and real commands; and where no byte of it is then.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_client::credentials::KeySource;
use prn_proto::credentials::program::{self, Ids, Program};
use prn_proto::signer::{START_HEADER, SignerError};
use prn_proto::tls::{Certificate, Key, TlsError, check_key};
use prn_proto::v1::GetMetricsRequest;
use prn_tests::client::Client;
use prn_tests::pki::Identity;
use prn_tests::server::{Options, Server, cgroup_mount, remove_cgroup};
use prn_tests::{binary, client, procfs, wait_for};
use sha2::{Digest, Sha512};

/// Debian's softhsm2.
const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// Who signs where there is no user prn-signer.
const SIGNER: u32 = 1_999_999_997;

const PIN: &str = "471147114711";

/// A token of a test's own.
struct Token {
    folder: tempfile::TempDir,
}

impl Token {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/var/lib").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let token = Self { folder };
        fs::create_dir(token.path("tokens")).unwrap();
        let config = format!(
            "directories.tokendir = {}\n",
            token.path("tokens").display()
        );
        fs::write(token.path("softhsm2.conf"), config).unwrap();
        fs::write(token.path("pin"), format!("{PIN}\n")).unwrap();
        fs::set_permissions(token.path("pin"), fs::Permissions::from_mode(0o600)).unwrap();
        token.util(&[
            "--init-token",
            "--free",
            "--label",
            "prn",
            "--pin",
            PIN,
            "--so-pin",
            "12345678",
        ]);
        token
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn util(&self, arguments: &[&str]) {
        let mut command = Command::new("softhsm2-util");
        let output = command
            .args(arguments)
            .env("SOFTHSM2_CONF", self.path("softhsm2.conf"))
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// Puts a key into it, for this user to sign with.
    fn import(&self, key: &Path, label: &str, id: &str, user: u32) {
        let key = key.to_str().unwrap();
        self.util(&[
            "--import", key, "--token", "prn", "--label", label, "--id", id, "--pin", PIN,
        ]);
        self.give(&self.path("tokens"), user);
    }

    fn give(&self, path: &Path, user: u32) {
        chown(path, Some(user), Some(user)).unwrap();
        if path.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                self.give(&entry.unwrap().path(), user);
            }
        }
    }

    fn uri(&self, label: &str) -> String {
        let pin = self.path("pin");
        format!(
            "pkcs11:token=prn;object={label}?module-path={MODULE}&pin-source=file:{}",
            pin.display()
        )
    }

    /// What the server is started under: its own environment has no key.
    fn wrapper(&self) -> Vec<String> {
        let config = format!("SOFTHSM2_CONF={}", self.path("softhsm2.conf").display());
        ["env", "-u", "PRN_TLS_KEY", &config]
            .map(str::to_owned)
            .to_vec()
    }
}

/// A server whose key is in a token.
struct Signed {
    server: Server,
    token: Token,
}

impl Signed {
    fn with(keygen: &[&str], flags: &[&str]) -> Self {
        let token = Token::new();
        let identity = Identity::keygen(token.folder.path(), "server", keygen);
        token.import(&identity.key, "server", "01", SIGNER);
        let flags = flags.iter().map(|flag| (*flag).to_owned());
        let server = Server::with(Options {
            identity: Some(identity),
            arguments: flags
                .chain(["--tls-key".to_owned(), token.uri("server")])
                .collect(),
            wrapper: token.wrapper(),
            ..Options::default()
        });
        Self { server, token }
    }

    fn start() -> Self {
        Self::with(&[], &[])
    }

    /// The process that signs.
    fn signer(&self) -> i32 {
        let mut all = signers(&self.token);
        assert_eq!(all.len(), 1, "{all:?}");
        all.pop().unwrap()
    }

    fn reload(&self) -> Output {
        let mut command = self.server.reload();
        command.env_remove("PRN_TLS_KEY");
        command
            .env("SOFTHSM2_CONF", self.token.path("softhsm2.conf"))
            .output()
            .unwrap()
    }
}

/// All that have this token's configuration.
fn signers(token: &Token) -> Vec<i32> {
    let config = token.path("softhsm2.conf");
    let config = config.to_str().unwrap().as_bytes();
    let has = |pid: &i32| {
        procfs::comm(*pid) == "prn-signer"
            && fs::read(format!("/proc/{pid}/environ")).is_ok_and(|all| contains(&all, config))
    };
    processes().into_iter().filter(has).collect()
}

fn processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

/// What of a key is looked for: 16 secret bytes, those that it signs with (RFC 8032, 5.1.5), and a
/// piece of its PEM text.
type Secrets = Vec<Vec<u8>>;

fn secrets(key: &Path) -> Secrets {
    let pem = fs::read_to_string(key).unwrap();
    let parsed = Key::from_pem(pem.as_bytes()).unwrap();
    let seed = &parsed.pkcs8_der().unwrap()[16..48];
    let body = pem.lines().nth(1).unwrap();
    vec![
        seed[..16].to_vec(),
        Sha512::digest(seed)[32..48].to_vec(),
        body.as_bytes()[24..48].to_vec(),
    ]
}

/// Where any of them is, among the environments and command lines of all processes, the files
/// below these folders, and the memory of these processes, which is what their cores would be.
fn found(secrets: &Secrets, folders: &[&Path], memories: &[i32]) -> Vec<String> {
    let has = |bytes: &[u8]| secrets.iter().any(|secret| contains(bytes, secret));
    let mut found = Vec::new();
    for pid in processes() {
        for name in ["environ", "cmdline"] {
            let path = format!("/proc/{pid}/{name}");
            // It may have ended.
            if fs::read(&path).is_ok_and(|bytes| has(&bytes)) {
                found.push(path);
            }
        }
    }
    for folder in folders {
        let mut command = Command::new("find");
        let output = command
            .arg(folder)
            .args(["-type", "f", "-print0"])
            .output()
            .unwrap();
        for path in output
            .stdout
            .split(|byte| *byte == 0)
            .filter(|path| !path.is_empty())
        {
            let path = String::from_utf8(path.to_vec()).unwrap();
            if fs::read(&path).is_ok_and(|bytes| has(&bytes)) {
                found.push(path);
            }
        }
    }
    let memories = memories.iter().filter(|pid| has(&memory(**pid)));
    found.extend(memories.map(|pid| format!("memory of {} {pid}", procfs::comm(*pid))));
    found
}

/// All that a process has in memory.
fn memory(pid: i32) -> Vec<u8> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let file = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut all = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, rest) = line.split_once('-').unwrap();
        let (until, _) = rest.split_once(' ').unwrap();
        let [from, until] = [from, until].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut page = vec![0; 1 << 16];
        let mut at = from;
        while at < until {
            let most = page.len().min(usize::try_from(until - at).unwrap());
            let Ok(read @ 1..) = file.read_at(&mut page[..most], at) else {
                break;
            };
            all.extend_from_slice(&page[..read]);
            at += u64::try_from(read).unwrap();
        }
    }
    assert!(!all.is_empty(), "nothing was read of process {pid}");
    all
}

fn no_key() -> Vec<String> {
    ["env", "-u", "PRN_TLS_KEY"].map(str::to_owned).to_vec()
}

/// The client's command, whose environment has no key.
fn client(server: &Server, arguments: &[&str]) -> Command {
    let mut command = server.prn(arguments);
    command.env_remove("PRN_TLS_KEY");
    command
}

fn text(output: &Output) -> String {
    let [out, error] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{}: {out}{error}", output.status)
}

#[track_caller]
fn ok(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// A key of the kernel's keyrings, while the test runs.
struct InKeyring(String);

impl InKeyring {
    fn add(name: &str, key: &Path) -> Self {
        let name = format!("prn-test-{}-{name}", std::process::id());
        let mut command = Command::new("keyctl");
        command
            .args(["padd", "user", &name, "@u"])
            .stdin(fs::File::open(key).unwrap());
        ok(command);
        Self(name)
    }
}

impl Drop for InKeyring {
    fn drop(&mut self) {
        let mut command = Command::new("keyctl");
        let _ = command
            .args(["purge", "user", &self.0])
            .stdout(Stdio::null())
            .status();
    }
}

/// Both sides have their keys from what `place` makes of a key's file; then no byte of the server's
/// is in an environment, a command line, the state folder, the log or the supervisor's memory, and
/// none of the client's anywhere, once it has ended.
fn both_sides(place: impl Fn(&Path) -> (Vec<String>, Vec<(&'static str, PathBuf)>)) {
    let folder = tempfile::tempdir_in("/var/lib").unwrap();
    let identity = Identity::keygen(folder.path(), "server", &[]);
    let (arguments, variables) = place(&identity.key);
    let mut wrapper = no_key();
    wrapper.extend(
        variables
            .iter()
            .map(|(name, value)| format!("{name}={}", value.display())),
    );
    let server = Server::with(Options {
        identity: Some(identity.clone()),
        arguments,
        wrapper,
        ..Options::default()
    });
    let (arguments, variables) = place(&server.client.key);
    let mut command = client(&server, &["run"]);
    command.args(&arguments).args(["--", "echo", "hello"]);
    command.envs(variables);
    assert_eq!(ok(command), "hello\n");
    let secrets = [secrets(&identity.key), secrets(&server.client.key)];
    let [own, clients] = &secrets;
    let state = server.state_dir();
    let none: Vec<String> = Vec::new();
    assert_eq!(found(own, &[&state], &[server.supervisor()]), none);
    assert_eq!(
        found(
            clients,
            &[&state],
            &[server.supervisor(), server.frontend()]
        ),
        none
    );
    for secret in secrets.iter().flatten() {
        assert!(!contains(server.log().as_bytes(), secret));
    }
    // The search finds a key where it is: the frontend signs with it.
    let there = found(own, &[folder.path()], &[server.frontend()]);
    assert_eq!(there.len(), 2, "{there:?}");
}

#[test]
fn t16_a_key_that_the_service_manager_passes_is_taken_by_its_name() {
    both_sides(|key| {
        let folder = key.parent().unwrap().to_owned();
        let name = key.file_name().unwrap().to_str().unwrap();
        let flags = ["--tls-key".to_owned(), format!("credential:{name}")];
        (flags.to_vec(), vec![("CREDENTIALS_DIRECTORY", folder)])
    });
}

#[test]
fn t16_a_key_in_the_kernels_keyring_is_taken_by_its_name() {
    let added = std::cell::RefCell::new(Vec::new());
    both_sides(|key| {
        let name = key.file_stem().unwrap().to_str().unwrap();
        let key = InKeyring::add(name, key);
        let flags = ["--tls-key".to_owned(), format!("keyring:{}", key.0)];
        added.borrow_mut().push(key);
        (flags.to_vec(), Vec::new())
    });
}

#[test]
fn t16_a_key_that_a_command_prints_is_taken_by_server_and_client() {
    let folder = tempfile::tempdir_in("/var/lib").unwrap();
    let identity = Identity::keygen(folder.path(), "server", &[]);
    let config = folder.path().join("prn.toml");
    let command = format!("key-command = ['cat', '{}']\n", identity.key.display());
    fs::write(&config, command).unwrap();
    let server = Server::with(Options {
        identity: Some(identity.clone()),
        arguments: vec!["--config".to_owned(), config.display().to_string()],
        wrapper: no_key(),
        ..Options::default()
    });
    let home = tempfile::tempdir().unwrap();
    let own = home.path().join("config.toml");
    let prn = |arguments: &[&str]| {
        let mut command = Command::new(binary("prn"));
        command
            .args(arguments)
            .env("PRN_CONFIG", &own)
            .stdin(Stdio::null());
        for name in [
            "PRN_TLS_KEY",
            "PRN_TLS_KEY_FILE",
            "PRN_ADDRESS",
            "PRN_SERVER_CERT",
        ] {
            command.env_remove(name);
        }
        command
    };
    let [certificate, pinned, key] = [
        &server.client.certificate,
        &identity.certificate,
        &server.client.key,
    ]
    .map(|path| path.to_str().unwrap());
    ok(prn(&[
        "context",
        "add",
        "c",
        "--address",
        &server.address,
        "--server-cert",
        pinned,
        "--client-cert",
        certificate,
        "--key-command",
        "cat",
        key,
    ]));
    assert_eq!(ok(prn(&["run", "--", "echo", "hello"])), "hello\n");
    let shown = ok(prn(&["context", "show"]));
    assert!(shown.contains("the output of cat (key-command)"), "{shown}");
    let none: Vec<String> = Vec::new();
    let state = server.state_dir();
    assert_eq!(
        found(&secrets(&identity.key), &[&state], &[server.supervisor()]),
        none
    );

    // What it says of a failure is said, and its arguments are not.
    let written = fs::read_to_string(&own).unwrap();
    let failing = "['sh', '-c', 'echo sealed, ask the operators >&2; exit 2']";
    let line = written
        .lines()
        .find(|line| line.starts_with("key-command"))
        .unwrap();
    fs::write(
        &own,
        written.replace(line, &format!("key-command = {failing}")),
    )
    .unwrap();
    let output = prn(&["list"]).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("exit status: 2: sealed, ask the operators"),
        "{said}"
    );
    assert!(
        !said.contains("echo") && said.lines().count() <= 2,
        "{said}"
    );
}

#[test]
fn t16_a_key_in_a_token_is_in_no_process_but_the_one_that_signs() {
    let signed = Signed::start();
    let (server, signer) = (&signed.server, signed.signer());
    assert_eq!(server.ok(&["run", "--", "echo", "hello"]), "hello\n");
    // The key's file was the way into the token.
    let key = &server.identity.key;
    let own = secrets(key);
    fs::remove_file(key).unwrap();
    let state = server.state_dir();
    let halves = [server.supervisor(), server.frontend()];
    let none: Vec<String> = Vec::new();
    assert_eq!(
        found(&own, &[&state, signed.token.folder.path()], &halves),
        none
    );
    let pin = vec![PIN.as_bytes().to_vec()];
    fs::remove_file(signed.token.path("pin")).unwrap();
    assert_eq!(found(&pin, &[&state], &halves), none);
    assert!(!contains(server.log().as_bytes(), PIN.as_bytes()));
    // Foreign code is in one process alone, which is nobody.
    for half in halves {
        let maps = fs::read_to_string(format!("/proc/{half}/maps")).unwrap();
        assert!(!maps.contains("softhsm"), "{}", procfs::comm(half));
    }
    assert!(
        fs::read_to_string(format!("/proc/{signer}/maps"))
            .unwrap()
            .contains("softhsm")
    );
    let status = procfs::status(signer);
    let id = SIGNER.to_string();
    assert_eq!(status["Uid"], [id.as_str(); 4].join("\t"));
    assert_eq!(status["Gid"], [id.as_str(); 4].join("\t"));
    assert_eq!(status["Groups"].trim(), "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
    assert_eq!(status["NoNewPrivs"], "1");
    let limits = fs::read_to_string(format!("/proc/{signer}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    // The soft one, which may have been nought before, and the hard one.
    let both: Vec<_> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(both, ["0", "0"], "{core}");
    // It has nothing of the server's open but sockets.
    for (number, target) in procfs::descriptors(signer) {
        let target = target.to_string_lossy().into_owned();
        let is_own = ["socket:", "/dev/null"]
            .iter()
            .any(|own| target.starts_with(own))
            || target.contains(signed.token.folder.path().to_str().unwrap())
            || number <= 2;
        assert!(is_own, "{number}: {target}");
    }
}

#[test]
fn a_p256_key_in_a_token_signs_as_well() {
    let signed = Signed::with(&["--p256"], &["--allow-p256"]);
    assert_eq!(signed.server.ok(&["run", "--", "echo", "hello"]), "hello\n");
}

#[test]
fn a_signer_that_dies_is_named_its_connections_go_on_and_a_reload_starts_another() {
    let signed = Signed::start();
    let server = &signed.server;
    let id = server.start_process(&[], &["sh", "-c", "while sleep 0.1; do echo tick; done"]);
    let mut follower = server
        .prn(&["logs", "-f", &id])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stream = follower.stdout.take().unwrap();
    let mut ticks = [0; 10];
    stream.read_exact(&mut ticks).unwrap();
    let first = signed.signer();
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    wait_for("its end", || signers(&signed.token).is_empty());
    assert!(!server.run(&["list"]).status.success());
    wait_for("a line that names it", || {
        server
            .log()
            .contains("prn-signer has ended (a server starts another one with `prn server reload`)")
    });
    // Who is there stays.
    stream.read_exact(&mut ticks).unwrap();
    // A frontend that is replaced has no key either.
    kill(Pid::from_raw(server.frontend()), Signal::SIGKILL).unwrap();
    let reloaded = signed.reload();
    assert!(reloaded.status.success(), "{}", text(&reloaded));
    assert!(
        text(&reloaded).contains("another signer"),
        "{}",
        text(&reloaded)
    );
    assert_ne!(signed.signer(), first);
    assert!(server.ok(&["list"]).contains(&id[..8]));
    stream.read_exact(&mut ticks).unwrap();
    follower.kill().unwrap();
    follower.wait().unwrap();
}

/// A value of GetMetrics, for who is connected.
async fn metric(client: &mut Client, name: &str) -> Option<f64> {
    let request = GetMetricsRequest::default();
    let answer = client.get_metrics(request).await.unwrap().into_inner();
    let mut families = answer.families.into_iter();
    let family = families.find(|family| family.name == name)?;
    Some(family.samples.first()?.value)
}

#[tokio::test]
async fn who_is_connected_is_told_that_nothing_signs_and_the_log_says_when_that_begins_and_ends() {
    let (up, failures) = ("prn_signer_up", "prn_signer_failures");
    let (begins, ends) = ("prn-signer does not sign: nobody", "prn-signer signs again");
    let times = |server: &Server, line: &str| server.log().matches(line).count();
    let signed = Signed::start();
    let server = &signed.server;
    let mut client = client::connect(server).await.unwrap();
    assert_eq!(metric(&mut client, up).await, Some(1.0));
    assert_eq!(metric(&mut client, failures).await, Some(0.0));
    // One that is stuck is found by who wants a signature.
    let first = Pid::from_raw(signed.signer());
    procfs::hold(first.as_raw());
    assert!(!server.run(&["list"]).status.success());
    assert_eq!(metric(&mut client, up).await, Some(0.0));
    assert!(metric(&mut client, failures).await > Some(0.0));
    wait_for("a line", || times(server, begins) == 1);
    assert_eq!(times(server, ends), 0);
    kill(first, Signal::SIGCONT).unwrap();
    wait_for("its answers", || server.run(&["list"]).status.success());
    assert_eq!(metric(&mut client, up).await, Some(1.0));
    wait_for("a line", || times(server, ends) == 1);
    // One that has ended is found without.
    let failed = metric(&mut client, failures).await;
    kill(first, Signal::SIGKILL).unwrap();
    wait_for("its end", || signers(&signed.token).is_empty());
    // Its memory is gone before its sockets are.
    let since = Instant::now();
    while metric(&mut client, up).await != Some(0.0) {
        assert!(since.elapsed() < prn_tests::deadline(), "it is up");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(metric(&mut client, failures).await, failed);
    wait_for("a line", || times(server, begins) == 2);
    let health = server.run(&["health"]);
    assert!(!health.status.success(), "nobody new gets in");
    // The next frontend has another one, and nothing to say of it.
    assert!(signed.reload().status.success());
    let mut client = client::connect(server).await.unwrap();
    assert_eq!(metric(&mut client, up).await, Some(1.0));
    assert_eq!((times(server, begins), times(server, ends)), (2, 1));
    // A server that has its key tells nothing of a signer.
    let plain = Server::start();
    let mut client = client::connect(&plain).await.unwrap();
    assert_eq!(metric(&mut client, "prn_server_draining").await, Some(0.0));
    assert_eq!(metric(&mut client, up).await, None);
}

/// A group that a service manager has made for a server, removed with what is in it.
struct Group(PathBuf);

impl Drop for Group {
    fn drop(&mut self) {
        remove_cgroup(&self.0);
    }
}

#[test]
fn a_reload_starts_a_signer_in_the_servers_group_also_where_the_environment_names_the_key() {
    let group = Group(cgroup_mount().join(format!("prn-test-keys-{}", std::process::id())));
    fs::create_dir(&group.0).unwrap();
    let token = Token::new();
    let identity = Identity::keygen(token.folder.path(), "server", &[]);
    token.import(&identity.key, "server", "01", SIGNER);
    let named = format!("PRN_TLS_KEY_FILE={}", token.uri("server"));
    let enter = format!("echo 0 > {}/cgroup.procs; exec \"$@\"", group.0.display());
    let enter = ["sh", "-c", &enter, "sh"].map(str::to_owned);
    let server = Server::with(Options {
        identity: Some(identity),
        arguments: vec!["--delegated-cgroup".to_owned()],
        wrapper: [&enter[..], &token.wrapper(), &[named]].concat(),
        ..Options::default()
    });
    let signed = Signed { server, token };
    let first = signed.signer();
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    wait_for("its end", || signers(&signed.token).is_empty());
    let mut reload = signed.server.reload();
    let reloaded = reload
        .env_remove("PRN_TLS_KEY")
        .env("PRN_TLS_KEY_FILE", signed.token.uri("server"))
        .env("SOFTHSM2_CONF", signed.token.path("softhsm2.conf"))
        .output()
        .unwrap();
    assert!(reloaded.status.success(), "{}", text(&reloaded));
    let group_of = |pid: i32| {
        let all = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let line = all.lines().find(|line| line.starts_with("0::"));
        line.map(str::to_owned)
    };
    let signer = signed.signer();
    assert_ne!(signer, first);
    assert_eq!(group_of(signer), group_of(signed.server.supervisor()));
    assert_ne!(
        group_of(signer),
        group_of(i32::try_from(std::process::id()).unwrap())
    );
}

#[test]
fn a_signer_that_does_not_answer_delays_nobody_who_is_there() {
    let signed = Signed::start();
    let server = &signed.server;
    let id = server.start_process(&[], &["sh", "-c", "while sleep 0.1; do echo tick; done"]);
    let mut follower = server
        .prn(&["logs", "-f", &id])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stream = follower.stdout.take().unwrap();
    let mut ticks = [0; 10];
    stream.read_exact(&mut ticks).unwrap();
    let signer = Pid::from_raw(signed.signer());
    procfs::hold(signer.as_raw());
    let refused = || {
        let begun = Instant::now();
        assert!(!server.run(&["list"]).status.success());
        begun.elapsed()
    };
    let waited = refused();
    // Nobody waits for it any more.
    let least = (0..3).map(|_| refused()).min().unwrap();
    // Who is there has what has come meanwhile, and goes on.
    stream.read_exact(&mut ticks).unwrap();
    kill(signer, Signal::SIGCONT).unwrap();
    assert!(least < waited, "{least:?}, {waited:?}");
    follower.kill().unwrap();
    follower.wait().unwrap();
    assert!(
        server.log().contains("prn-signer has not answered in 2s"),
        "{}",
        server.log()
    );
    wait_for("its answers", || server.run(&["list"]).status.success());
}

/// A frontend makes a handshake that waits for its signature, in poll(2) (number 7 on x86-64) or
/// ppoll(2) (73 on aarch64).
fn waits_for_a_signature(frontend: i32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{frontend}/task"));
    let mut tasks = tasks.into_iter().flatten().filter_map(Result::ok);
    tasks.any(|task| {
        let read = |name| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let call = read("syscall");
        let is_poll = ["7", "73"].contains(&call.split(' ').next().unwrap_or_default());
        read("comm").trim_end() == "prn-handshakes" && is_poll
    })
}

#[test]
fn strangers_who_wait_for_a_signature_stall_no_stream() {
    let signed = Signed::start();
    let server = &signed.server;
    let id = server.start_process(&[], &["sh", "-c", "while sleep 0.1; do echo tick; done"]);
    let mut follower = server
        .prn(&["logs", "-f", &id])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stream = follower.stdout.take().unwrap();
    let ticks = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ticks);
    let reader = thread::spawn(move || {
        let mut tick = [0; 5];
        while stream.read_exact(&mut tick).is_ok() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let ticks = || ticks.load(Ordering::SeqCst);
    wait_for("a tick", || ticks() > 0);
    let signer = Pid::from_raw(signed.signer());
    procfs::hold(signer.as_raw());
    // More than there are threads that serve.
    let strangers: Vec<_> = (0..8)
        .map(|_| {
            let mut command = server.prn(&["list"]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        })
        .collect();
    let frontend = server.frontend();
    wait_for("who waits", || waits_for_a_signature(frontend));
    // From there to when it is given up: one tick may have been on its way.
    let (before, mut while_waiting) = (ticks(), 0);
    wait_for("the end of waiting", || {
        let so_far = ticks() - before;
        let is_over = server.log().contains("prn-signer has not answered in 2s");
        if !is_over {
            while_waiting = so_far;
        }
        is_over
    });
    kill(signer, Signal::SIGCONT).unwrap();
    for mut stranger in strangers {
        stranger.wait().unwrap();
    }
    follower.kill().unwrap();
    follower.wait().unwrap();
    reader.join().unwrap();
    assert!(while_waiting > 1, "{while_waiting} ticks");
}

#[test]
fn a_signer_has_nothing_of_who_reloads() {
    let signed = Signed::start();
    let first = signed.signer();
    let lock = signed.token.path("lock");
    let mut command = Command::new("flock");
    let reload = signed.server.reload();
    command
        .arg(&lock)
        .arg(reload.get_program())
        .args(reload.get_args());
    for (name, value) in reload.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
        .env_remove("PRN_TLS_KEY")
        .env("SOFTHSM2_CONF", signed.token.path("softhsm2.conf"))
        .env("A_SECRET_OF_ROOTS", "secret-4711");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    wait_for("the first one's end", || !procfs::alive(first));
    let signer = signed.signer();
    let open = procfs::descriptors(signer);
    assert!(open.iter().all(|(_, target)| *target != lock), "{open:?}");
    let mut free = Command::new("flock");
    free.args(["-n"]).arg(&lock).arg("true");
    assert!(free.status().unwrap().success(), "the lock is still held");
    let environment = fs::read(format!("/proc/{signer}/environ")).unwrap();
    assert!(!contains(&environment, b"secret-4711"));
    assert!(contains(&environment, b"SOFTHSM2_CONF="));
}

/// A module that is stuck as soon as it is loaded.
const STUCK: &str = "#include <unistd.h>\n\
    __attribute__((constructor)) static void stuck(void) { for (;;) pause(); }\n";

#[test]
fn a_signer_whose_module_is_stuck_ends_with_who_started_it() {
    let folder = tempfile::tempdir().unwrap();
    let [source, module] = ["stuck.c", "stuck.so"].map(|name| folder.path().join(name));
    fs::write(&source, STUCK).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"])
        .arg(&module)
        .arg(&source);
    ok(cc);
    let server = Server::start();
    let uri = format!("pkcs11:token=a;object=b?module-path={}", module.display());
    let mut prn = client(&server, &["list", "--tls-key", &uri])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let has_it = |pid: &i32| {
        procfs::comm(*pid) == "prn-signer"
            && fs::read_to_string(format!("/proc/{pid}/maps"))
                .is_ok_and(|maps| maps.contains(module.to_str().unwrap()))
    };
    let stuck = || processes().into_iter().find(has_it);
    wait_for("a module that is stuck", || stuck().is_some());
    let signer = stuck().unwrap();
    prn.kill().unwrap();
    prn.wait().unwrap();
    let begun = Instant::now();
    wait_for("its end", || !procfs::alive(signer));
    assert!(begun.elapsed() > Duration::from_secs(3), "it was not stuck");
}

#[test]
fn the_signer_ends_with_its_server() {
    let mut signed = Signed::start();
    let signer = signed.signer();
    assert_eq!(signed.server.stop(), Some(0));
    wait_for("its end", || !procfs::alive(signer));
    let signed = Signed::start();
    let signer = signed.signer();
    signed.server.signal(Signal::SIGKILL);
    wait_for("its end", || !procfs::alive(signer));
}

#[test]
fn a_signer_signs_nothing_but_its_own_sides_handshakes() {
    let token = Token::new();
    let identity = Identity::keygen(token.folder.path(), "server", &[]);
    token.import(&identity.key, "server", "01", SIGNER);
    let KeySource::Token(uri) = KeySource::try_from(token.uri("server")).unwrap() else {
        panic!("no token");
    };
    let ids = Ids {
        uid: SIGNER,
        gid: SIGNER,
        groups: Vec::new(),
    };
    // Its configuration is in the environment, which no test changes: through the shell.
    let script = token.path("signer.sh");
    let line = format!(
        "#!/bin/sh\nexport SOFTHSM2_CONF={}\nexec {} \"$@\"\n",
        token.path("softhsm2.conf").display(),
        binary("prn-signer").display()
    );
    fs::write(&script, line).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let program = Program {
        path: script,
        ids: Some(ids),
    };
    let start = |pin: &str| {
        let pin = zeroize::Zeroizing::new(pin.as_bytes().to_vec());
        program::start(&program, &uri, &pin)
    };
    let key = start(PIN).unwrap();
    let certificate = Certificate::from_pem(identity.certificate_pem().as_bytes()).unwrap();
    check_key(&certificate, &key).unwrap();
    let remote = key.remote().unwrap();
    let handshake = |context: &str, hash: usize| {
        [&[b' '; 64][..], context.as_bytes(), &[0], &vec![7; hash]].concat()
    };
    let own = "TLS 1.3, server CertificateVerify";
    assert_eq!(remote.sign(&handshake(own, 32)).unwrap().len(), 64);
    assert_eq!(remote.sign(&handshake(own, 48)).unwrap().len(), 64);
    let client = handshake("TLS 1.3, client CertificateVerify", 32);
    let start_of = [START_HEADER, b"digest 64:0"].concat();
    let longer = [&handshake(own, 32)[..], b"x"].concat();
    for other in [
        &client[..],
        &start_of,
        &longer,
        &handshake(own, 0),
        b"",
        b"text",
    ] {
        let refused = remote.sign(other).unwrap_err().to_string();
        assert!(refused.contains("no handshake of this side's"), "{refused}");
    }
    // Neither a wrong PIN nor another's certificate is taken.
    let refused = start("0000").unwrap_err();
    assert!(
        matches!(&refused, SignerError::Refused(why) if why.contains("PIN")),
        "{refused}"
    );
    let other = Identity::keygen(token.folder.path(), "other", &[]);
    let other = Certificate::from_pem(other.certificate_pem().as_bytes()).unwrap();
    assert!(matches!(
        check_key(&other, &key),
        Err(TlsError::KeyMismatch(_))
    ));
}

#[test]
fn a_client_signs_handshakes_and_starts_with_a_key_in_a_token() {
    let server = Server::start();
    let token = Token::new();
    token.import(&server.client.key, "anna", "02", 0);
    let uri = token.uri("anna");
    let prn = |arguments: &[&str]| {
        let mut command = client(&server, arguments);
        command.env("SOFTHSM2_CONF", token.path("softhsm2.conf"));
        command.env("PRN_TLS_KEY_FILE", &uri);
        command
    };
    assert_eq!(ok(prn(&["run", "--", "echo", "hello"])), "hello\n");
    assert_eq!(
        ok(prn(&["run", "--sign", "--", "echo", "signed"])),
        "signed\n"
    );
    wait_for("the end of what signed", || signers(&token).is_empty());
    let output = prn(&["list", "--tls-key", &token.uri("nobody")])
        .output()
        .unwrap();
    let said = text(&output);
    assert!(
        said.contains("no private key is called \"nobody\" in token \"prn\""),
        "{said}"
    );
    let output = prn(&["list", "--tls-key", "pkcs11:token=prn"])
        .output()
        .unwrap();
    assert!(text(&output).contains("names no key"), "{}", text(&output));
}

#[test]
fn a_certificate_in_a_pipe_that_nobody_writes_to_is_refused_at_once() {
    let server = Server::start();
    let folder = server.folder();
    let fifo = folder.join("fifo.pem").display().to_string();
    let made = Command::new("mkfifo").args(["-m", "600", &fifo]).status();
    assert!(made.unwrap().success());
    let own = server.client.certificate.display().to_string();
    let servers = server.identity.certificate.display().to_string();
    let key = server.client.key.display().to_string();
    let start = ["server", "start", "--state-dir", "/nowhere"];
    let both = |own, servers| ["--client-cert", own, "--server-cert", servers];
    let tls_key = ["--tls-key", key.as_str()];
    for (program, words) in [
        (
            "prn",
            [&["list"][..], &both(&fifo, &servers), &tls_key].concat(),
        ),
        (
            "prn",
            [&["list"][..], &both(&own, &fifo), &tls_key].concat(),
        ),
        (
            "prn-exporter",
            [&both(&fifo, &servers)[..], &tls_key].concat(),
        ),
        ("prn-exporter", [&both(&own, &fifo)[..], &tls_key].concat()),
        ("prn", [&start[..], &both(&own, &fifo), &tls_key].concat()),
        (
            "prn",
            [&start[..], &both(&fifo, &servers), &tls_key].concat(),
        ),
    ] {
        let mut command = Command::new("timeout");
        command.arg("60").arg(binary(program)).args(&words);
        let output = command.env_remove("PRN_TLS_KEY").output().unwrap();
        let said = text(&output);
        assert!(
            said.contains(&format!("{fifo} is no regular file")),
            "{program} {words:?}: {said}"
        );
    }
    // What a shell hands on is one that somebody writes to.
    let script = format!("exec \"$@\" --client-cert <(cat {own})");
    let mut command = Command::new("bash");
    command.args(["-c", &script, "bash"]).arg(binary("prn"));
    command.args(["list", "--address", &server.address]);
    command.args(["--server-cert", &servers, "--tls-key", &key]);
    command.env_remove("PRN_TLS_KEY");
    ok(command);
}

#[test]
fn a_key_that_is_not_to_be_had_is_said_with_what_to_do() {
    let server = Server::start();
    let folder = server.folder();
    let fifo = folder.join("fifo.key").display().to_string();
    let made = Command::new("mkfifo").args(["-m", "600", &fifo]).status();
    assert!(made.unwrap().success());
    let readable = folder.join("notes.txt").display().to_string();
    std::fs::write(&readable, "notes").unwrap();
    for (place, words) in [
        ("credential:k", "LoadCredential="),
        ("credential:../k", "is not a name"),
        ("keyring:prn-test-none", "keyctl padd user prn-test-none @u"),
        ("/tmp", "/tmp is no regular file"),
        ("/dev/null", "/dev/null is no regular file"),
        (&fifo, "is no regular file"),
        (&readable, "no PRIVATE KEY in it"),
        (
            "pkcs11:token=a;object=b?module-path=/l.so&pin-source=file:/no/pin",
            "the file of pin-source",
        ),
        (
            "pkcs11:token=a;object=b?module-path=/nowhere.so",
            "cannot load the module /nowhere.so",
        ),
        (
            "pkcs11:token=a;object=b?module-path=/l.so&pin-value=1",
            "write it to a file",
        ),
    ] {
        let output = client(&server, &["list", "--tls-key", place])
            .output()
            .unwrap();
        let said = text(&output);
        assert!(
            !output.status.success() && said.contains(words),
            "{place}: {said}"
        );
        assert!(!said.contains("keygen"), "{place}: {said}");
        let is_open = place == readable;
        assert!(!is_open || !said.contains("chmod"), "{place}: {said}");
    }
}
