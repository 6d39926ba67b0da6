//! `prn rotate`: another key and certificate of the server, and of a client, while processes run
//! and streams are read; killed at any place, repeated, and in the wrong order.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use prn_proto::v1;
use prn_tests::authority::{Authorities, Leaf};
use prn_tests::binary;
use prn_tests::pki::Identity;
use prn_tests::server::{Options, Server};
use prn_tests::taken_over::{Answer, TakenOver};
use sha2::{Digest, Sha256};

const NOT_AUTHORISED: i32 = 4;

/// More system calls than any step makes of one kind.
const CALLS_MAX: u32 = 40;

/// A server, the folder of its configuration, and anna's home, who has a context of it.
struct Walk {
    operator: tempfile::TempDir,
    home: tempfile::TempDir,
    server: Server,
}

/// What its first lines are once it runs, in front of the clients.
fn completed(server: &Server, clients: &str) -> String {
    format!(
        "server-cert = '{}'\ntls-key = '{}'\nstate-dir = '{}'\naddress = '{}'\n{clients}",
        server.identity.certificate.display(),
        server.identity.key.display(),
        server.state_dir().display(),
        server.address
    )
}

impl Walk {
    fn start() -> Self {
        Self::with("", &[])
    }

    /// With further lines of the configuration, and flags of `prn keygen`.
    fn with(more: &str, keygen: &[&str]) -> Self {
        let operator = tempfile::tempdir().unwrap();
        let home = tempfile::tempdir().unwrap();
        let own = home.path().join(".config/prn");
        fs::create_dir_all(&own).unwrap();
        let anna = Identity::keygen(&own, "client", keygen);
        let clients = operator.path().join("clients.d");
        fs::create_dir(&clients).unwrap();
        fs::copy(&anna.certificate, clients.join("anna-1.pem")).unwrap();
        let table = "[[client]]\nname = 'anna'\ncert = 'anna-1.pem'\nrole = 'admin'\n";
        fs::write(clients.join("anna.toml"), table).unwrap();
        let config = operator.path().join("prn.toml");
        fs::write(&config, more).unwrap();
        let server = Server::with(Options {
            arguments: vec!["--config".to_owned(), config.display().to_string()],
            lists_clients: true,
            identity: Some(Identity::keygen(operator.path(), "server", keygen)),
            ..Options::default()
        });
        fs::write(&config, completed(&server, more)).unwrap();
        let walk = Self {
            operator,
            home,
            server,
        };
        let line = walk.invitation();
        assert!(line.starts_with("prn1:"), "{line}");
        ok(&walk.anna(&["context", "add", "web1", &line]));
        ok(&walk.anna(&["list"]));
        walk
    }

    fn config(&self) -> PathBuf {
        self.operator.path().join("prn.toml")
    }

    /// A command of the operator's.
    fn operator(&self, words: &[&str]) -> Command {
        let mut command = Command::new(binary("prn"));
        command.args(words).arg("--config").arg(self.config());
        command.env_clear().current_dir(self.operator.path());
        command
    }

    /// A command of anna's.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(binary("prn"));
        command.args(words).env_clear();
        command.env("HOME", self.home.path());
        command
    }

    fn anna(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn rotate_server(&self, words: &[&str]) -> Output {
        let words = [&["rotate", "server"], words].concat();
        self.operator(&words).output().unwrap()
    }

    fn rotate_client(&self, words: &[&str]) -> Output {
        self.anna(&[&["rotate", "client"], words].concat())
    }

    fn invitation(&self) -> String {
        let line = ok(&self.operator(&["server", "invite"]).output().unwrap());
        line.trim().to_owned()
    }

    fn reload(&self) {
        ok(&self.operator(&["server", "reload"]).output().unwrap());
    }

    /// The operator types what a client was told.
    fn typed(&self, line: &str) {
        let words: Vec<_> = line.trim().split(' ').collect();
        assert_eq!(words[0], "prn", "{line}");
        ok(&self.operator(&words[1..]).output().unwrap());
        self.reload();
    }

    /// A process whose output is read while something happens.
    fn stream(&self) -> Child {
        let script = "for i in $(seq 1 60); do echo $i; sleep 0.05; done";
        let mut command = self.command(&["run", "--", "sh", "-c", script]);
        command.stdout(Stdio::piped()).spawn().unwrap()
    }
}

fn read_whole(stream: Child) {
    let output = stream.wait_with_output().unwrap();
    let expected: String = (1..=60).map(|number| format!("{number}\n")).collect();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn ok(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn refused(output: &Output, code: i32, parts: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part}: {said}");
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The same command, killed at its call of this number; `None`: it makes fewer, and was not.
fn killed_at(command: &Command, call: &str, number: u32) -> Option<()> {
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-o", "/dev/null", "-e"]);
    traced.arg(format!("trace={call}")).arg("-e").arg(format!(
        "inject={call}:error=EIO:signal=SIGKILL:when={number}"
    ));
    traced.arg(command.get_program()).args(command.get_args());
    traced.env_clear();
    for (name, value) in command.get_envs() {
        traced.env(name, value.unwrap());
    }
    let output = traced.output().unwrap();
    if output.status.success() {
        return None;
    }
    // strace ends as what it traces does.
    assert_eq!(output.status.signal(), Some(9), "{}", said(&output));
    Some(())
}

#[test]
fn the_servers_key_is_replaced_under_a_stream_and_who_knows_both_notices_nothing() {
    let walk = Walk::start();
    let next = |what: &str| {
        let mut path = walk.server.identity.key.clone().into_os_string();
        path.push(what);
        PathBuf::from(path)
    };
    let (first, key) = (walk.invitation(), walk.server.identity.key_pem());
    let begun = walk.rotate_server(&[]);
    let line = ok(&begun);
    let line = line.trim();
    assert!(line.starts_with("prn2:"), "{line}");
    for part in ["context add --force", "--finish", "server.pem.next"] {
        assert!(said(&begun).contains(part), "{part}: {}", said(&begun));
    }
    assert_eq!(mode(&next(".next")), 0o600);
    // Again, it is the same; and so says an invitation.
    assert_eq!(ok(&walk.rotate_server(&[])).trim(), line);
    assert_eq!(walk.invitation(), line);

    // A context of a name of its own goes on with the files that it had.
    let own = walk.home.path().join(".config/prn");
    let (certificate, key_file) = (own.join("client.pem"), own.join("client.key"));
    let files = [certificate.to_str().unwrap(), key_file.to_str().unwrap()];
    let named = ["--client-cert", files[0], "--tls-key", files[1]];
    ok(&walk.anna(&[&["context", "add", "late", &first][..], &named].concat()));
    ok(&walk.anna(&["context", "add", "web1", line, "--force"]));
    assert_eq!(
        ok(&walk.anna(&["context", "show", "--line", "web1"])).trim(),
        line
    );
    ok(&walk.anna(&["list"]));

    let stream = walk.stream();
    let finished = walk.rotate_server(&["--finish"]);
    assert!(ok(&finished).contains("has its next key"));
    ok(&walk.anna(&["list"]));
    read_whole(stream);
    let late = walk.anna(&["list", "--context", "late"]);
    refused(&late, NOT_AUTHORISED, &["is not the pinned server"]);
    let last = walk.invitation();
    assert!(last.starts_with("prn1:") && last != first, "{last}");
    ok(&walk.anna(&["context", "add", "late", &last, "--force"]));
    let late = ok(&walk.anna(&["context", "show", "late"]));
    assert!(late.contains(files[1]), "{late}");
    ok(&walk.anna(&["list", "--context", "late"]));

    assert_eq!(fs::read_to_string(next(".old")).unwrap(), key);
    assert_eq!((mode(&next(".old")), mode(&next(""))), (0o600, 0o600));
    assert!(!next(".next").exists());
    // Once more does no harm, and there is nothing to go back to.
    ok(&walk.rotate_server(&["--finish"]));
    assert!(ok(&walk.rotate_server(&["--abort"])).contains("nothing was to come"));
    ok(&walk.anna(&["list"]));
}

#[test]
fn a_rotation_of_the_server_that_is_killed_anywhere_is_finished_by_the_same_command() {
    let walk = Walk::start();
    for call in ["rename", "fsync", "memfd_create"] {
        for number in 1..CALLS_MAX {
            let begin = walk.operator(&["rotate", "server"]);
            let began = killed_at(&begin, call, number);
            let line = ok(&walk.rotate_server(&[]));
            ok(&walk.anna(&["context", "add", "web1", line.trim(), "--force"]));
            ok(&walk.anna(&["list"]));
            let finish = walk.operator(&["rotate", "server", "--finish"]);
            let finished = killed_at(&finish, call, number);
            // Whichever the server has by now.
            ok(&walk.anna(&["list"]));
            ok(&walk.rotate_server(&["--finish"]));
            ok(&walk.anna(&["list"]));
            assert!(walk.invitation().starts_with("prn1:"));
            if began.or(finished).is_none() {
                break;
            }
            assert!(number + 1 < CALLS_MAX, "{call}");
        }
    }
    // What is left is a pair, with which a server starts.
    walk.reload();
    let names = fs::read_dir(walk.operator.path()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<_> = names.filter(|name| name.ends_with(".part")).collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn a_rotation_is_given_up_at_any_place_and_leaves_what_there_was() {
    let walk = Walk::start();
    let files = [
        walk.server.identity.key.clone(),
        walk.server.identity.certificate.clone(),
    ];
    let contents = || files.clone().map(|file| fs::read_to_string(file).unwrap());
    let before = contents();
    for number in 1..CALLS_MAX {
        ok(&walk.rotate_server(&[]));
        let finish = walk.operator(&["rotate", "server", "--finish", "--no-reload"]);
        if killed_at(&finish, "rename", number).is_none() {
            break;
        }
        let abort = walk.operator(&["rotate", "server", "--abort"]);
        let _not_always = killed_at(&abort, "unlink", number);
        ok(&walk.rotate_server(&["--abort"]));
        assert_eq!(contents(), before, "{number}");
        assert!(walk.invitation().starts_with("prn1:"));
        let nothing = walk.rotate_server(&["--abort"]);
        assert!(ok(&nothing).contains("nothing was to come"));
    }
    ok(&walk.anna(&["list"]));
}

#[test]
fn a_clients_key_is_replaced_under_a_stream_once_every_server_lets_it_in() {
    let walk = Walk::start();
    let other = Walk::start();
    // One key for two servers, of which one has another name for her.
    let anna = walk.home.path().join(".config/prn/client.pem");
    let as_ben = [
        "pin",
        "add",
        "ben",
        anna.to_str().unwrap(),
        "--role",
        "viewer",
    ];
    ok(&other.operator(&as_ben).output().unwrap());
    other.reload();
    ok(&walk.anna(&["context", "add", "web2", &other.invitation()]));

    let begun = walk.rotate_client(&[]);
    let lines = ok(&begun);
    let lines: Vec<_> = lines.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].starts_with("prn pin add anna SHA256:"),
        "{lines:?}"
    );
    assert!(lines[1].starts_with("prn pin add ben SHA256:"), "{lines:?}");
    assert_eq!(
        ok(&walk.rotate_client(&[])).lines().collect::<Vec<_>>(),
        lines
    );

    let key = fs::read_to_string(anna.with_extension("key")).unwrap();
    let unchanged = |output: &Output, place: &str| {
        refused(output, NOT_AUTHORISED, &[place, "nothing has changed"]);
        let now = fs::read_to_string(anna.with_extension("key")).unwrap();
        assert_eq!(now, key);
        ok(&walk.anna(&["list"]));
    };
    unchanged(&walk.rotate_client(&["--finish"]), "web1");
    walk.typed(lines[0]);
    unchanged(&walk.rotate_client(&["--finish"]), "web2");
    other.typed(lines[1]);

    let stream = walk.stream();
    let finished = walk.rotate_client(&["--finish"]);
    let removing = ok(&finished);
    let removing: Vec<_> = removing.lines().collect();
    read_whole(stream);
    assert_eq!(removing.len(), 2, "{removing:?}");
    assert_eq!(
        ok(&walk.rotate_client(&["--finish"]))
            .lines()
            .collect::<Vec<_>>(),
        removing
    );
    assert_eq!(mode(&anna.with_extension("key")), 0o600);
    let old = ["client.pem.old", "client.key.old"].map(|name| {
        let path = anna.with_file_name(name);
        path.to_str().unwrap().to_owned()
    });
    let as_before = ["list", "--client-cert", &old[0], "--tls-key", &old[1]];
    ok(&walk.anna(&as_before));
    walk.typed(removing[0]);
    other.typed(removing[1]);
    refused(&walk.anna(&as_before), NOT_AUTHORISED, &[]);
    ok(&walk.anna(&["list"]));
    ok(&walk.anna(&["list", "--context", "web2"]));
    let copies = fs::read_dir(walk.operator.path().join("clients.d")).unwrap();
    assert_eq!(
        copies.count(),
        1 + 1,
        "her file, and a certificate of hers that is no copy"
    );
}

/// What is read while keys change: lines of ten bytes, together a GiB or a little less.
const GIBIBYTE_OF_LINES: [&str; 3] = ["seq", "100000000", "207374181"];

/// Says that nothing is to happen any more, when the test fails too.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads all of it, as fast as a slow network until nothing is to happen any more. Its SHA-256.
fn read_slowly_until(stream: Child, is_over: &AtomicBool) -> String {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    let mut stream = stream;
    let mut output = stream.stdout.take().unwrap();
    loop {
        let read = output.read(&mut chunk).unwrap();
        if read == 0 {
            break;
        }
        hash.update(&chunk[..read]);
        if !is_over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    assert!(stream.wait().unwrap().success());
    let digest = hash.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes up to twelve connections a second, a call on each, until nothing is to happen any more: what those said
/// that failed.
fn call_until(command: &mut Command, calls: &AtomicU32, is_over: &AtomicBool) -> Vec<String> {
    let mut failed = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let since = Instant::now();
        let output = command.output().unwrap();
        calls.fetch_add(1, Ordering::Relaxed);
        if !output.status.success() {
            failed.push(said(&output));
        }
        std::thread::sleep(Duration::from_millis(80).saturating_sub(since.elapsed()));
    }
    failed
}

#[test]
fn both_sides_change_their_keys_under_a_gibibyte_fifty_processes_and_new_connections() {
    let walk = Walk::start();
    let ben = Identity::keygen(walk.operator.path(), "ben", &[]);
    let certificate = ben.certificate.to_str().unwrap();
    let add = ["pin", "add", "ben", certificate, "--role", "admin"];
    ok(&walk.operator(&add).output().unwrap());
    walk.reload();
    let processes: Vec<_> = (0..50)
        .map(|_| ok(&walk.anna(&["start", "--", "sleep", "1000"])))
        .collect();
    let start = ["start", "--output-max", "1100M", "--"];
    let big = ok(&walk.anna(&[&start[..], &GIBIBYTE_OF_LINES].concat()));
    let big = big.trim();

    // From here on whoever is told both keys of the server knows both.
    let line = ok(&walk.rotate_server(&[]));
    ok(&walk.anna(&["context", "add", "web1", line.trim(), "--force"]));
    let mut stream = walk.command(&["logs", "-f", big]);
    let stream = stream.stdout(Stdio::piped()).spawn().unwrap();
    let certificate = &walk.server.identity.certificate;
    let mut next = certificate.clone().into_os_string();
    next.push(".next");
    let mut bens = walk
        .server
        .prn_as(&ben, &["logs", "-f", processes[0].trim()]);
    bens.arg("--server-cert").arg(certificate);
    bens.arg("--server-cert").arg(&next);
    let mut bens = bens.stderr(Stdio::null()).spawn().unwrap();
    let (is_over, calls) = (AtomicBool::new(false), AtomicU32::new(0));
    let (hash, failed, since) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_slowly_until(stream, &is_over));
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let mut list = walk.command(&["status", processes[1].trim()]);
                let (calls, is_over) = (&calls, &is_over);
                scope.spawn(move || call_until(&mut list, calls, is_over))
            })
            .collect();
        let over = Over(&is_over);
        let since = Instant::now();
        std::thread::sleep(Duration::from_secs(1));
        ok(&walk.rotate_server(&["--finish"]));
        let asked = ok(&walk.rotate_client(&[]));
        walk.typed(&asked);
        let old_one = ok(&walk.rotate_client(&["--finish"]));
        assert!(bens.try_wait().unwrap().is_none());
        let removal = Instant::now();
        ok(&walk.operator(&["pin", "remove", "ben"]).output().unwrap());
        walk.reload();
        assert!(!bens.wait().unwrap().success());
        eprintln!("removed, and its stream ended, in {:?}", removal.elapsed());
        std::thread::sleep(Duration::from_secs(1));
        let since = since.elapsed();
        assert!(!reader.is_finished());
        drop(over);
        let hash = reader.join().unwrap();
        walk.typed(&old_one);
        let failed = callers.into_iter().map(|caller| caller.join().unwrap());
        (hash, failed.flatten().collect::<Vec<_>>(), since)
    });
    eprintln!("{} calls in {since:?}", calls.load(Ordering::Relaxed));
    assert_eq!(failed, Vec::<String>::new());
    let summed = format!("{} | sha256sum", GIBIBYTE_OF_LINES.join(" "));
    let summed = Command::new("sh").args(["-c", &summed]).output().unwrap();
    assert_eq!(Some(hash.as_str()), ok(&summed).split(' ').next());
    for id in &processes {
        assert!(ok(&walk.anna(&["status", id.trim()])).contains("Running"));
    }
    refused(
        &walk.server.prn_as(&ben, &["list"]).output().unwrap(),
        NOT_AUTHORISED,
        &[],
    );
}

#[test]
fn a_rotation_of_a_client_that_is_killed_anywhere_is_finished_by_the_same_command() {
    let walk = Walk::start();
    for call in ["rename", "fsync"] {
        for number in 1..CALLS_MAX {
            let began = killed_at(&walk.command(&["rotate", "client"]), call, number);
            walk.typed(&ok(&walk.rotate_client(&[])));
            ok(&walk.anna(&["list"]));
            let finish = walk.command(&["rotate", "client", "--finish"]);
            let finished = killed_at(&finish, call, number);
            // Between the two renames as well.
            ok(&walk.anna(&["list"]));
            walk.typed(&ok(&walk.rotate_client(&["--finish"])));
            ok(&walk.anna(&["list"]));
            if began.or(finished).is_none() {
                break;
            }
            assert!(number + 1 < CALLS_MAX, "{call}");
        }
    }
}

#[test]
fn the_next_key_is_of_the_same_kind_and_its_certificate_has_the_same_names() {
    let walk = Walk::with("allow-p256 = true\n", &["--p256"]);
    let line = ok(&walk.rotate_server(&["--days", "2"]));
    ok(&walk.anna(&["context", "add", "web1", line.trim(), "--force"]));
    ok(&walk.rotate_server(&["--finish"]));
    ok(&walk.anna(&["list"]));
    walk.typed(&ok(&walk.rotate_client(&[])));
    walk.typed(&ok(&walk.rotate_client(&["--finish"])));
    ok(&walk.anna(&["list"]));
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-noout", "-text", "-in"]);
    let text = ok(&openssl
        .arg(&walk.server.identity.certificate)
        .output()
        .unwrap());
    for part in [
        "prime256v1",
        "CN = server",
        "DNS:server, DNS:localhost, IP Address:127.0.0.1",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn what_cannot_be_is_said_with_what_to_do() {
    let walk = Walk::start();
    refused(
        &walk.rotate_server(&["--finish"]),
        1,
        &["server.pem.next", "without --finish"],
    );
    refused(
        &walk.rotate_client(&["--finish"]),
        1,
        &["client.pem.next", "without --finish"],
    );
    assert!(ok(&walk.rotate_client(&["--abort"])).contains("nothing was to come"));
    // More than the certificate is new.
    let text = fs::read_to_string(walk.config()).unwrap();
    ok(&walk.rotate_server(&[]));
    fs::write(walk.config(), format!("max-finished = 100\n{text}")).unwrap();
    let key = walk.server.identity.key_pem();
    refused(
        &walk.rotate_server(&["--finish"]),
        2,
        &["other limits", "--no-reload"],
    );
    assert_eq!(walk.server.identity.key_pem(), key);
    // What is to come is not of one pair.
    fs::write(walk.config(), &text).unwrap();
    let stray = Identity::keygen(walk.operator.path(), "stray", &[]);
    let next = walk.operator.path().join("server.key.next");
    fs::copy(&stray.key, &next).unwrap();
    for step in [&[][..], &["--finish"]] {
        refused(
            &walk.rotate_server(step),
            1,
            &["does not belong to", "--abort"],
        );
    }
    ok(&walk.rotate_server(&["--abort"]));
    assert!(!next.exists());

    // A key that is in no file.
    let mut command = walk.command(&["rotate", "client", "--client-cert"]);
    let own = walk.home.path().join(".config/prn");
    let pem = fs::read_to_string(own.join("client.key")).unwrap();
    command.arg(own.join("client.pem")).env("PRN_TLS_KEY", pem);
    command.env("HOME", walk.operator.path());
    let server = walk.server.identity.certificate.to_str().unwrap();
    command.args(["--server-cert", server, "--address", &walk.server.address]);
    refused(&command.output().unwrap(), 2, &["PRN_TLS_KEY", "--tls-key"]);

    // One that somebody has signed.
    let made = Authorities::ed25519();
    made.authority("root", None, "CA:TRUE");
    let leaf = Leaf {
        name: "leaf",
        issuer: "root",
        names: "DNS:web1.example",
        usage: "clientAuth",
        period: None,
    };
    let leaf = made.leaf(leaf, &[]);
    let named = ["--client-cert", leaf.certificate.to_str().unwrap()];
    let named = [&named[..], &["--tls-key", leaf.key.to_str().unwrap()]].concat();
    refused(
        &walk.rotate_client(&named),
        1,
        &["is signed by", "have another one signed"],
    );
}

#[test]
fn who_cannot_write_there_is_told_and_nothing_is_left() {
    let walk = Walk::start();
    // In a folder that everybody may enter, as that of the tests need not be.
    let everybody = || PermissionsExt::from_mode(0o755);
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), everybody()).unwrap();
    let copied = folder.path().join("prn");
    fs::copy(binary("prn"), &copied).unwrap();
    let own = folder.path().join("own");
    fs::create_dir(&own).unwrap();
    let me = Identity::keygen(&own, "me", &[]);
    let nobody = |words: &[&str]| {
        let mut command = Command::new(&copied);
        command.args(words).env_clear().uid(65534).output().unwrap()
    };
    let config = walk.config();
    let server = ["rotate", "server", "--config", config.to_str().unwrap()];
    refused(&nobody(&server), 1, &["must run as root: use sudo"]);
    let client = [
        "rotate",
        "client",
        "--client-cert",
        me.certificate.to_str().unwrap(),
        "--tls-key",
        me.key.to_str().unwrap(),
    ];
    refused(
        &nobody(&client),
        2,
        &["belongs to user 0", "its owner runs"],
    );
    std::os::unix::fs::chown(&me.key, Some(65534), None).unwrap();
    refused(&nobody(&client), 1, &["cannot write", "Permission denied"]);
    let names = fs::read_dir(&own).unwrap();
    assert_eq!(names.count(), 2, "what was there");
}

/// What the running server still has is in the files with .old, and nothing is written over it.
#[test]
fn what_the_server_has_not_taken_yet_is_no_place_for_the_next_ones() {
    let walk = Walk::start();
    let own = walk.server.identity.key_pem();
    ok(&walk.rotate_server(&[]));
    ok(&walk.rotate_server(&["--finish", "--no-reload"]));
    let old = walk.operator.path().join("server.key.old");
    for _ in 0..2 {
        refused(&walk.rotate_server(&[]), 2, &["has not taken", "--finish"]);
        ok(&walk.rotate_server(&["--finish", "--no-reload"]));
        assert_eq!(fs::read_to_string(&old).unwrap(), own);
    }
    ok(&walk.rotate_server(&["--finish"]));
    ok(&walk.rotate_server(&[]));
}

/// A name of a principal that a server which was taken over has made up stands in no line that an
/// operator is told to type.
#[test]
fn what_a_server_says_is_no_command_to_type() {
    for evil in [
        "anna; touch /tmp/x #",
        "$(id)",
        "-h",
        "",
        "a\nprn",
        "a\u{1b}[2J",
    ] {
        let server = TakenOver::start(move |_, _| {
            Answer::one(&v1::CheckAccessResponse {
                allowed: true,
                principal: evil.to_owned(),
                ..v1::CheckAccessResponse::default()
            })
        });
        let prn = |words: &[&str]| {
            let words = [words, &["--tls-key", "client.key"]].concat();
            server
                .shell("unset PRN_TLS_KEY; exec \"$@\"", &words)
                .output()
                .unwrap()
        };
        let begun = prn(&["rotate", "client"]);
        assert!(begun.status.success(), "{begun:?}");
        let typed = String::from_utf8(begun.stdout).unwrap();
        assert!(typed.starts_with("prn pin add NAME "), "{evil:?}: {typed}");
        let finished = prn(&["rotate", "client", "--finish"]);
        assert!(!finished.status.success(), "{evil:?}: {finished:?}");
        assert!(finished.stdout.is_empty(), "{evil:?}: {finished:?}");
        let said = String::from_utf8(finished.stderr).unwrap();
        assert!(said.contains("no client's name"), "{evil:?}: {said}");
    }
}
