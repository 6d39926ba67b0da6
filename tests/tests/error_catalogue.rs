//! What goes wrong, and what prn says then: each line is typed into a shell as docs/errors.md shows it, and
//! has to be answered as it is shown there. `PRN_WRITE_TABLES=1 cargo test -p prn-tests --test
//! error_catalogue` writes that document; whoever reads the difference asks of each answer: what do I do
//! next?

use std::fmt::Write;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use prn_tests::pki::{Identity, ed25519};
use prn_tests::server::{Options, Server};
use prn_tests::{binary, wait_for};
use tempfile::TempDir;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");

/// Lines to type, by what they are about.
const GROUPS: &[(&str, &[&str])] = &[
    ("Commands", COMMANDS),
    ("Values of flags", VALUES),
    ("Flags that do not go together", TOGETHER),
    ("Certificates and keys", CREDENTIALS),
    ("Reaching the server", REACHING),
    ("Starting", STARTING),
    ("Signed starts, users and hours", LISTED),
    ("Processes", PROCESSES),
    ("Workspaces and copies", WORKSPACES),
    ("Fleets", FLEETS),
    ("The server", SERVER),
];

const COMMANDS: &[&str] = &[
    "prn strat ls",
    "prn delete $ID",
    "prn describe $ID",
    "prn restart $ID",
    "prn cancel $ID",
    "prn tail $ID",
    "prn enqueue ls",
    "prn job list",
    "prn get processes",
    "prn build .",
    "prn login",
    "prn scp a w:",
    "prn rsync . w:",
    "prn config view",
    "prn list --runing",
    "prn status $ID --outptu json",
    "prn logs $ID --colour",
    "prn run -x ls",
    "prn workspace delete build",
    "prn workspace make build",
    "prn server run",
    "prn stop -15 $ID",
    "prn status",
    "prn stop",
    "prn kill",
    "prn wait",
    "prn rm",
    "prn exec build",
    "prn workspace create",
    "prn completion tcsh",
];

const FLEETS: &[&str] = &[
    "prn submit",
    "prn submit -- ls",
    "prn submit --on zone -- ls",
    "prn submit --retries 99 -- ls",
    "prn submit --start-by soon -- ls",
    "prn submit --stdin -- cat",
    "prn run --retries 1 -- ls",
    "prn status --fleet $ID",
    "prn status --fleet=prod $ID",
    "prn status --fleet --address localhost:1 $ID",
    "prn list --fleet=No!",
    "prn fleet hosts --fleet prod",
    "prn fleet drain",
    "prn fleet remove web1",
    "prn fleet init Prod --member m1=etcd1",
    "prn fleet init prod --member etcd1",
    "prn fleet init prod --member m1=etcd1 --member m2=etcd2",
    "prn fleet init prod --member m1=etcd1 --place here",
    "prn fleet enable",
    "prn fleet invite web1 --dir none",
    "prn fleet join none.invite",
    "prn fleet join notes.txt",
];

const VALUES: &[&str] = &[
    "prn status 4/2",
    "prn start --name 'my web' -- ls",
    "prn start --label tier -- ls",
    "prn start --deadline tomorrow -- ls",
    "prn start --lease soon -- ls",
    "prn start --keep --rm -- ls",
    "prn kill -s NOPE $ID",
    "prn update $ID --label tier",
    "prn stop -l 'a b'",
    "prn start --expect 12ab -- ls",
    "prn start --user 1001 -- ls",
    "prn start --user nobody -- ls",
    "prn start --memory lots -- ls",
    "prn start --memory 0 -- ls",
    "prn start --memory -1 -- ls",
    "prn start --cpu many -- ls",
    "prn start --cpu 0 -- ls",
    "prn start --pids 0 -- ls",
    "prn start --timeout soon -- ls",
    "prn start --grace -1s -- ls",
    "prn start --output-policy keep -- ls",
    "prn start --output-store tape -- ls",
    "prn start --profile open -- ls",
    "prn start --env =x -- ls",
    "prn start --cwd here -- ls",
    "prn start --bind /srv -- ls",
    "prn start --bind srv:/tmp/x -- ls",
    "prn start --hide here -- ls",
    "prn start -w 'My Build' -- ls",
    "prn start --id 1 -- ls",
    "prn stop --grace soon $ID",
    "prn list --since yesterday",
    "prn list --since 1700000000",
    "prn list -n 0",
    "prn list -o xml",
    "prn logs --tail few $ID",
    "prn logs --offset -1 $ID",
    "prn attach --detach-keys ctrl $ID",
    "prn list --address localhost",
    "prn list --address localhost:http",
    "prn list --call-timeout 0",
    "prn workspace create Build",
    "prn workspace create big --disk 1",
];

const TOGETHER: &[&str] = &[
    "prn start ''",
    "prn start \"echo 'a\"",
    "prn start ls -l /",
    "prn start ls -- -l",
    "prn start --reconnect 5s -- ls",
    "prn run -n -t -- top",
    "prn run -t -- top </dev/null",
    "prn run --sync . -- make",
    "prn run --out build -- make",
    "prn list --running --finished",
    "prn logs --tail 5 --tail-bytes 5 $ID",
    "prn logs --stdout --stderr $ID",
    "prn logs --offset 5 $ID $RUNNING",
    "prn workspace list -q -o json",
    "prn workspace remove build --kill --grace 5s",
    "echo data | prn start -- cat",
    "prn attach $ID --tty </dev/null",
];

const CREDENTIALS: &[&str] = &[
    "env -u PRN_CLIENT_CERT prn list",
    "env -u PRN_TLS_KEY prn list",
    "prn list --client-cert none.pem",
    "prn list --client-cert notes.txt",
    "prn list --client-cert client.key",
    "prn list --server-cert notes.txt",
    "prn list --tls-key none.key",
    "prn list --tls-key notes.txt",
    "prn list --tls-key ec.key",
    "env -u PRN_SERVER_CERT prn list --server-ca none.pem",
    "prn list --tls-key open.key",
    "prn list --tls-key credential:",
    "env -u CREDENTIALS_DIRECTORY prn list --tls-key credential:tls-key",
    "prn list --tls-key keyring:prn-no-such-key",
    "prn list --tls-key 'pkcs11:token=prn;object=me'",
    "prn list --tls-key 'pkcs11:token=prn;object=me?module-path=/nowhere/module.so'",
    "prn list --tls-key other.key",
    "prn list --client-cert expired.pem --tls-key expired.key",
    "prn list --client-cert other.pem --tls-key other.key",
    "prn list --server-cert other.pem",
    "prn list --server-fingerprint x",
    "prn list --server-name web1",
    "prn list --server-ca client.pem",
    "prn keygen --show none.pem",
    "prn keygen --show client.pem --name x",
    "prn pin add ben client.pem --config none.toml",
    "prn pin add ben SHA256:x --role viewer --config none.toml",
    "prn pin add 'a b' client.pem",
    "prn pin add ben none.pem --role viewer --config wrong-value.toml",
    "prn pin remove ben --config none.toml",
    "prn pin list --config none.toml",
    "prn server invite --config none.toml",
    "prn rotate server --config none.toml",
    "prn rotate server --config rotated.toml --finish",
    "prn rotate client --finish",
    "prn rotate client --client-cert client.pem --tls-key client.key --finish",
    "prn rotate client --client-cert client.pem --tls-key other.key --finish",
    "prn rotate client --finish --abort",
    "prn keygen --name x --key client.key --cert client.pem",
    "prn keygen --name x --key none/x.key --cert x.pem",
];

const REACHING: &[&str] = &[
    "prn list --address $CLOSED",
    "prn list --address no-such-host.invalid:50051",
    "prn list --address $CLEARTEXT",
    "prn list --address $SILENT",
    "prn run --address $CLOSED -- ls",
    "prn list --tls-key /dev/null",
];

const STARTING: &[&str] = &[
    "prn run -- no-such-program",
    "prn run -- /no/such/program",
    "prn run -- /etc/passwd",
    "prn run -- /tmp",
    "prn run -- cd /tmp",
    "prn run --cwd /no/such/folder -- ls",
    "prn run --cwd /etc/passwd -- ls",
    "prn run --profile none -- ls",
    "prn run --bind /srv:/tmp/srv -- ls",
    "prn run --hide /no/such/folder -- ls",
    "prn run --output-store disk -- ls",
    "prn run --pids 5000 -- ls",
    "prn run -w none -- ls",
    "prn start --id $ID -- something-else",
    "prn start --expect 0000000000000000000000000000000000000000000000000000000000000000 -- ls",
];

/// To a server that asks anna for signatures, and has a user for her and none for ben, and hours for cleo.
const LISTED: &[&str] = &[
    "prn run --address $LISTED --client-cert anna.pem --tls-key anna.key -- ls",
    "echo data | prn run --sign -i --address $LISTED --client-cert anna.pem --tls-key anna.key -- cat",
    "prn run --sign -w build --sync . --address $LISTED --client-cert anna.pem --tls-key anna.key -- ls",
    "echo data | prn attach $BEFORE --address $LISTED --client-cert anna.pem --tls-key anna.key",
    "prn run --address $LISTED --client-cert ben.pem --tls-key ben.key --user daemon -- ls",
    "prn can-i start --user daemon --address $LISTED --client-cert ben.pem --tls-key ben.key -- ls",
    "prn run --address $LISTED --client-cert cleo.pem --tls-key cleo.key -- ls",
    "prn run --user daemon -w build -- ls",
    "prn policy check wrong-user.toml",
    "prn policy check wrong-role.toml",
    "prn policy check wrong-hours.toml",
    "prn policy check no-hours.toml",
    "prn server start --fleet 'My Fleet'",
    "prn server start --tls-key server.key --client-cert client.pem --allow-missing-limits --signed-start-window 25h",
];

const PROCESSES: &[&str] = &[
    "prn status $UNKNOWN",
    "prn logs $UNKNOWN",
    "prn stop $UNKNOWN",
    "prn attach $UNKNOWN",
    "prn status nobody",
    "prn status aaaa",
    "prn logs $ID $UNKNOWN",
    "prn kill -s HUP $ID",
    "prn kill $UNKNOWN",
    "prn pause $ID",
    "prn resume $ID",
    "prn wait $UNKNOWN",
    "prn rm $RUNNING",
    "prn receipt $RUNNING",
    "prn receipt $UNKNOWN",
    "prn verify /no/such/file",
    "prn verify /dev/null",
    "prn verify /dev/null --key abc",
    "prn rm $UNKNOWN",
    "prn renew $RUNNING",
    "prn update $ID --memory 1G",
    "prn start --name web -- ls",
    "prn start --deadline 2020-01-01T00:00:00Z -- ls",
    "prn exec none ls",
    "prn logs --offset 1000 $ID",
    "echo data | prn attach $FED",
];

const WORKSPACES: &[&str] = &[
    "prn workspace create build",
    "prn workspace create build --exist-ok --disk 1G",
    "prn workspace remove none",
    "prn workspace remove busy",
    "prn cp notes.txt",
    "prn cp notes.txt copy.txt",
    "prn cp build:a build:b",
    "prn cp notes.txt none:",
    "prn cp none.txt build:",
    "prn cp build:none.txt .",
    "prn cp build:../x .",
    "prn cp notes.txt build:none/deeper/",
    "prn run -w build --sync none -- ls",
    "prn run -w build --sync notes.txt -- ls",
    "prn run -w build --out none.txt -- true",
    "prn run -w build --out ../x -- true",
];

const SERVER: &[&str] = &[
    "prn server reload --config none.toml",
    "prn server reload --config wrong-key.toml",
    "env -u PRN_SERVER_CERT prn server reload",
    "prn server reload --client-cert client.pem --state-dir none",
    "prn server status --state-dir none",
    "prn server status --config none.toml",
    "prn server status --config notes.txt --state-dir none",
    "prn server check --config none.toml",
    "prn audit verify",
    "prn audit verify /no/such/file",
    "prn audit show /proc/version",
    "prn audit show --since noon /dev/null",
    "prn server start --audit /var/log/prn",
    "prn server start --config none.toml",
    "prn server start --config notes.txt",
    "prn server start --config wrong-key.toml",
    "prn server start --config wrong-value.toml",
    "env -u PRN_SERVER_CERT prn server start",
    "prn server start",
    "prn server start --client-cert none.pem",
    "prn server start --config names.toml --client-ca none.pem",
    "prn server start --config names.toml --client-ca ca.pem --client-crl none.crl",
    "env -u PRN_TLS_KEY prn server start --client-cert client.pem",
    "prn server start --tls-key server.key --client-cert client.pem --allow-missing-limits --max-finished 1",
    "prn server start --tls-key server.key --client-cert client.pem --allow-missing-limits --instance 'My Server'",
    "prn server start --tls-key server.key --client-cert client.pem --allow-missing-limits --peer-timeout 1s",
];

/// A server, and a folder in which lines are typed.
struct Scene {
    server: Server,
    _listed: Server,
    folder: TempDir,
    /// Variables of the shell, which stand in answers by their names.
    variables: Vec<(&'static str, String)>,
    _strangers: [TcpListener; 2],
    _feeder: Feeder,
}

/// `prn attach` that feeds a process, until it is dropped.
struct Feeder(std::process::Child);

impl Drop for Feeder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Scene {
    fn set() -> Self {
        let server = Server::with(Options {
            arguments: ["--max-pids", "4096"].map(str::to_owned).into(),
            ..Options::default()
        });
        let folder = tempfile::tempdir().unwrap();
        write_files(folder.path(), &server);
        server.ok(&["workspace", "create", "build"]);
        server.ok(&["workspace", "create", "busy"]);
        server.start_process(&["-w", "busy"], &["sleep", "1000"]);
        let ended = server.start_process(&[], &["true"]);
        wait_for("its end", || server.status(&ended)["state"] == "stopped");
        let running = server.start_process(&[], &["sleep", "1000"]);
        server.start_process(&["--name", "web"], &["sleep", "1000"]);
        for next in ["1", "2"] {
            let id = format!("aaaa{next:0<28}");
            server.start_process(&["--id", &id], &["true"]);
        }
        let fed = server.start_process(&["--stdin"], &["sleep", "1000"]);
        let feeder = feed(&server, &fed);
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = closed.local_addr().unwrap().to_string();
        let strangers = [0; 2].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
        let [cleartext, silent] = strangers
            .each_ref()
            .map(|stranger| stranger.local_addr().unwrap().to_string());
        greet(&strangers[0], b"SSH-2.0-OpenSSH_9.2\r\n");
        greet(&strangers[1], b"");
        let hours = hours_of_another_day();
        let (listed, before) = listed(folder.path(), &server, &hours);
        let unknown = "00112233445566778899aabbccddeeff";
        let variables = vec![
            ("HOURS", hours),
            ("LISTED", listed.address.clone()),
            ("BEFORE", before),
            ("ID", ended),
            ("RUNNING", running),
            ("FED", fed),
            ("UNKNOWN", unknown.to_owned()),
            ("CLOSED", closed),
            ("CLEARTEXT", cleartext),
            ("SILENT", silent),
        ];
        Self {
            server,
            _listed: listed,
            folder,
            variables,
            _strangers: strangers,
            _feeder: feeder,
        }
    }

    /// Types a line; the exit code, and all that is said.
    fn type_in(&self, line: &str) -> (i32, String) {
        let programs = binary("prn").parent().unwrap().to_owned();
        let mut shell = Command::new("timeout");
        shell
            .args(["30", "sh", "-c", line])
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
            .stdin(Stdio::null());
        for (name, value) in self.server.prn(&[]).get_envs() {
            shell.env(name, value.unwrap());
        }
        shell.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if line.contains("prn server") {
            // It would be warned of there.
            shell.env_remove("PRN_ADDRESS");
        }
        let output = shell.output().unwrap();
        let code = output.status.code().unwrap();
        (
            code,
            self.stable(&String::from_utf8(output.stderr).unwrap()),
        )
    }

    /// Without what is another each time.
    fn stable(&self, said: &str) -> String {
        let mut said = said.replace(&self.server.address, "127.0.0.1:50051");
        for (name, value) in &self.variables {
            said = said.replace(value, &format!("${name}"));
        }
        let folder = format!("{}/", self.folder.path().display());
        said = said.replace(&folder, "");
        words_replaced(&said)
    }
}

/// An hour that is not now, and will not be before the test has ended.
fn hours_of_another_day() -> String {
    let day = time::OffsetDateTime::now_utc().weekday().nth_next(3);
    format!("{} 08:00-09:00", &day.to_string()[..3])
}

/// The server of [`LISTED`], which shows the same certificate as another, and a process that began before
/// anna had to sign.
fn listed(folder: &Path, server: &Server, hours: &str) -> (Server, String) {
    let config = folder.join("listed.toml");
    let people = ["anna", "ben", "cleo"].map(|name| Identity::keygen(folder, name, &[]));
    let write = |of_anna: &str| {
        let text = format!(
            "users = ['daemon']\n[[client]]\nname = 'anna'\ncert = 'anna.pem'\nrole = 'admin'\n{of_anna}\
             [[client]]\nname = 'ben'\ncert = 'ben.pem'\nrole = 'runner'\n\
             [[client]]\nname = 'cleo'\ncert = 'cleo.pem'\nrole = 'daily'\n\
             [[role]]\nname = 'daily'\nmay = ['start', 'list']\nhours = '{hours}'\n"
        );
        fs::write(&config, text).unwrap();
    };
    write("");
    let listed = Server::with(Options {
        arguments: vec!["--config".to_owned(), config.display().to_string()],
        lists_clients: true,
        identity: Some(server.identity.clone()),
        ..Options::default()
    });
    let anna = |words: &[&str]| {
        let output = listed.prn_as(&people[0], words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let before = anna(&["start", "--stdin", "--", "sleep", "1000"]);
    anna(&["workspace", "create", "build"]);
    write("require-signed-starts = true\n");
    let reloaded = listed.reload().output().unwrap();
    assert!(reloaded.status.success(), "{reloaded:?}");
    (listed, before)
}

/// With ids, fingerprints and times by what they are.
fn words_replaced(said: &str) -> String {
    let mut stable = String::new();
    for piece in said.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let word = piece.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_hex = word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let name = match word.len() {
            32 if is_hex && !word.starts_with("aaaa") => "ID",
            64 if is_hex => "FINGERPRINT",
            _ => word,
        };
        stable.push_str(&piece.replacen(word, name, 1));
    }
    // What a clock says, up to its offset.
    while let Some((before, after)) = stable.split_once(" says ") {
        let Some((_, after)) = after.split_once(" +00:00") else {
            break;
        };
        stable = format!("{before} SAYS TIME{after}");
    }
    stable.replace(" SAYS ", " says ")
}

/// The first words of a server that does not speak TLS, and then the end. None, and it has heard
/// the client out: no error of the connection hides that it has ended.
fn greet(listener: &TcpListener, words: &'static [u8]) {
    let listener = listener.try_clone().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = std::io::Write::write_all(&mut stream, words);
            if words.is_empty() {
                let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    });
}

fn feed(server: &Server, id: &str) -> Feeder {
    let attach = |flags: &[&str]| {
        let mut attach = server.prn(&[&["attach"], flags, &[id]].concat());
        let attach = attach.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut attach = attach.unwrap();
        let input = attach.stdin.as_mut().unwrap();
        std::io::Write::write_all(input, b"line\n").unwrap();
        attach
    };
    let mut feeder = Feeder(attach(&[]));
    wait_for("the feeder", || {
        // The other one may have come first.
        if feeder.0.try_wait().unwrap().is_some() {
            feeder = Feeder(attach(&[]));
        }
        let other = attach(&["--keep-open"]).wait_with_output().unwrap();
        String::from_utf8_lossy(&other.stderr).contains("another")
    });
    feeder
}

fn write_files(folder: &Path, server: &Server) {
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    let mode = |name: &str, mode| {
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    write("notes.txt", "Remember the milk.\n");
    let sec1 = "-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n";
    write("ec.key", sec1);
    mode("ec.key", 0o600);
    let names = "[[client]]\nname = 'ci'\nsan = 'dns:ci'\nrole = 'viewer'\n";
    write("names.toml", names);
    let mut authority = rcgen::CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    write("ca.pem", &authority.self_signed(&key).unwrap().pem());
    mode("notes.txt", 0o600);
    write("server.key", &server.identity.key_pem());
    mode("server.key", 0o600);
    write("client.pem", &server.client.certificate_pem());
    write("client.key", &server.client.key_pem());
    mode("client.key", 0o600);
    write("open.key", &server.client.key_pem());
    mode("open.key", 0o644);
    write(
        "wrong-key.toml",
        "address = \"127.0.0.1:0\"\nadress = \"x\"\n",
    );
    write("wrong-value.toml", "max-memory = \"lots\"\n");
    write("wrong-user.toml", "users = ['daemon', 'no-such-user']\n");
    let role = "users = ['daemon']\n[[role]]\nname = 'daily'\nmay = ['start', 'list']\n";
    write("wrong-role.toml", &format!("{role}users = ['games']\n"));
    write("wrong-hours.toml", &format!("{role}hours = '8-18'\n"));
    write("no-hours.toml", &format!("{role}hours = []\n"));
    write("server.pem", &server.identity.certificate_pem());
    let rotated =
        "server-cert = 'server.pem'\ntls-key = 'server.key'\nclient-cert = ['client.pem']\n";
    write("rotated.toml", rotated);
    Identity::keygen(folder, "other", &[]);
    let mut params = rcgen::CertificateParams::new(vec!["expired".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    Identity::custom(folder, "expired", params, &ed25519());
}

/// One line for the document: without usage and where to look for more, which stand below each answer about a
/// command line.
fn shown(said: &str) -> String {
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let said = lines.take_while(|line| !line.starts_with("Usage: "));
    let said = said.filter(|line| !line.starts_with("For more information"));
    // Of the host that the test runs on.
    let said = said.filter(|line| !line.contains("the server's host does NOT enforce"));
    said.collect::<Vec<_>>().join("; ")
}

/// A cell of a table.
fn cell(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('|', "\\|")
        .replace('<', "\\<")
}

/// In which words an answer can say what to do next, or name what is not there.
const NEXT: &[&str] = &[
    "`",
    "--",
    "tip:",
    "see ",
    "name the file",
    "write ",
    "must ",
    "has to name",
    "make it first",
    "give ",
    "stop it",
    "take it away",
    "pass it with ",
    "$HOURS UTC next",
    "there is no ",
    "No such file or directory",
    "not in the workspace",
];

#[test]
fn each_wrong_line_is_answered_with_what_to_do() {
    let scene = Scene::set();
    let mut document = fs::read_to_string(DOCUMENT).unwrap_or_default();
    let head = document.find("## ").unwrap_or(document.len());
    document.truncate(head);
    let (mut faults, mut count) = (Vec::new(), 0);
    for (title, lines) in GROUPS {
        write!(
            document,
            "## {title}\n\n| line | answer | exit |\n|---|---|---|\n"
        )
        .unwrap();
        for line in *lines {
            let (code, said) = scene.type_in(line);
            let answer = shown(&said);
            let is_plain = !["os error", " { ", "Some(", "panicked"]
                .iter()
                .any(|raw| said.contains(raw));
            // Usage says what may stand where something else stood.
            let has_usage = said.contains("Usage: ") && !said.contains("unrecognized");
            let says_next =
                has_usage || answer.ends_with(')') || NEXT.iter().any(|word| answer.contains(word));
            if code == 0 || code == 101 || !is_plain || !says_next {
                faults.push(format!("{line}: {code}: {answer}"));
            }
            let (line, answer) = (line.replace('|', "\\|"), cell(&answer));
            writeln!(document, "| `{line}` | {answer} | {code} |").unwrap();
            count += 1;
        }
        document.push('\n');
    }
    let document = format!("{}\n", document.trim_end());
    if std::env::var_os("PRN_WRITE_TABLES").is_some() {
        fs::write(DOCUMENT, &document).unwrap();
    }
    assert!(
        faults.is_empty(),
        "{} do not say what to do:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert!(count >= 60, "{count}");
    let found = fs::read_to_string(DOCUMENT).unwrap();
    for (found, made) in found.lines().zip(document.lines()) {
        assert_eq!(found, made, "PRN_WRITE_TABLES=1 writes docs/errors.md");
    }
    assert_eq!(found.lines().count(), document.lines().count());
}
