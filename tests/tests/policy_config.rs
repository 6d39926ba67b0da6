//! Clients and roles of a server's configuration, by `prn policy` and `prn server start`: what is wrong
//! is said with its line, what each may do is said as the server decides it, and a server that
//! lists clients lets nobody do more.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Output};

use prn_tests::binary;
use prn_tests::pki::Identity;
use prn_tests::server::{Options, Server};
use serde_json::Value;

const ROLES: &str = r#"
[[role]]
name = "echoer"
may = ["start", "stop", "list", "output"]
whose = "group"
programs = [
  ["/bin/echo", "hello"],
  ["/bin/sleep", "..."],
]
variables = ["LANG"]
max-memory = "64M"
max-processes = 1
"#;

/// A configuration, and certificates beside it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn identity(&self, name: &str) -> Identity {
        Identity::keygen(self.0.path(), name, &[])
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// `prn` in the folder.
    fn prn(&self, words: &[&str]) -> Output {
        let mut command = Command::new(binary("prn"));
        command.args(words).current_dir(self.0.path());
        command.env_clear().output().unwrap()
    }

    /// What `prn policy` with these words says on standard error, having failed.
    fn refused(&self, words: &[&str]) -> String {
        let output = self.prn(&[&["policy"], words].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// What `prn policy explain` says, and whether it is a yes.
    fn explained(&self, words: &[&str]) -> (bool, String) {
        let output = self.prn(&[&["policy", "explain", "prn.toml"], words].concat());
        let said = String::from_utf8(output.stdout).unwrap();
        let is_yes = output.status.success();
        assert!(
            is_yes || output.status.code() == Some(1),
            "{words:?}: {said}"
        );
        let begin = if is_yes { "yes: " } else { "no: " };
        assert!(said.starts_with(begin), "{words:?}: {said}");
        (is_yes, said)
    }

    /// Anna, an administrator, and two of one group who have a role.
    fn listed() -> Self {
        let folder = Self::new();
        for name in ["anna", "deploy", "nightly", "watcher"] {
            folder.identity(name);
        }
        folder.write(
            "prn.toml",
            &[
                "[[client]]\nname = 'anna'\ncert = 'anna.pem'\nrole = 'admin'\n",
                "[[client]]\nname = 'deploy'\ncert = ['deploy.pem']\nrole = 'echoer'\ngroup = 'ci'\n",
                "[[client]]\nname = 'nightly'\ncert = 'nightly.pem'\nrole = 'echoer'\ngroup = 'ci'\n",
                "[[client]]\nname = 'watcher'\ncert = 'watcher.pem'\nrole = 'viewer'\n",
                ROLES,
            ]
            .concat(),
        );
        folder
    }
}

#[test]
fn a_check_shows_what_each_client_may_do() {
    let folder = Folder::listed();
    let output = folder.prn(&["policy", "check", "prn.toml", "-o", "json"]);
    assert!(output.status.success(), "{output:?}");
    let checked: Value = serde_json::from_slice(&output.stdout).unwrap();
    let clients = checked["clients"].as_array().unwrap();
    let names: Vec<_> = clients
        .iter()
        .map(|one| one["client"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["anna", "deploy", "nightly", "watcher"]);
    let deploy = &clients[1];
    assert_eq!(deploy["role"], "echoer");
    assert_eq!(deploy["group"], "ci");
    assert_eq!(deploy["whose"], "group");
    assert_eq!(
        deploy["verbs"],
        serde_json::json!(["start", "stop", "output", "list"])
    );
    assert_eq!(
        deploy["programs"],
        serde_json::json!(["/bin/echo hello", "/bin/sleep ..."])
    );
    assert_eq!(deploy["limits"]["max-memory"], 64 << 20);
    let table = folder.prn(&["policy", "check", "prn.toml"]);
    let table = String::from_utf8(table.stdout).unwrap();
    let row = table.lines().find(|line| line.contains("deploy")).unwrap();
    for part in [
        "echoer",
        "group ci",
        "start,stop,output,list",
        "/bin/echo hello",
        "64 MiB",
    ] {
        assert!(row.contains(part), "{part}: {row}");
    }
}

#[test]
fn all_that_is_wrong_is_said_a_line_each_with_file_and_line() {
    let folder = Folder::listed();
    folder.write(
        "bad.toml",
        "[[client]]\nname = 'one'\ncert = 'anna.pem'\nrole = 'admn'\n\
         [[client]]\nname = 'two'\ncert = 'anna.pem'\nrole = 'viewer'\n\
         [[client]]\nname = 'three'\ncert = ['deploy.pem', 'anna.pem', 'none.pem']\nrole = 'viewer'\n\
         [[client]]\nname = 'two'\ncert = 'nightly.pem'\nrole = 'viewer'\n\
         [[role]]\nname = 'admin'\nmay = ['list']\n",
    );
    let said = folder.refused(&["check", "bad.toml"]);
    let lines: Vec<_> = said.lines().collect();
    let expected = [
        "prn: bad.toml:18: admin is a role that need not be written down",
        "prn: bad.toml:4: there is no role admn: there are admin, operator, runner, viewer",
        "prn: bad.toml:11: anna.pem is the certificate of client two as well",
        "prn: bad.toml:11: cannot read none.pem: No such file or directory",
        "prn: bad.toml:14: there is a client two already, at bad.toml:5",
    ];
    assert_eq!(lines.len(), expected.len(), "{said}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line} is not {expected}");
    }
    // A word that is wrong by itself is one as in the rest of the file.
    folder.write("worse.toml", "[[client]]\nname = 'a'\nrolle = 'viewer'\n");
    let said = folder.refused(&["check", "worse.toml"]);
    assert!(said.contains("line 3: unknown field `rolle`"), "{said}");
}

#[test]
fn nobody_at_all_is_an_error_and_so_is_a_certificate_beside_listed_clients() {
    let folder = Folder::listed();
    folder.write("none.toml", ROLES);
    let none = folder.prn(&["policy", "check", "none.toml"]);
    assert_eq!(none.status.code(), Some(2));
    let said = String::from_utf8(none.stderr).unwrap();
    assert!(
        said.contains("[[client]]") && said.contains("--client-cert"),
        "{said}"
    );
    let both = format!(
        "client-cert = ['anna.pem']\n{}",
        fs::read_to_string(folder.path("prn.toml")).unwrap()
    );
    folder.write("both.toml", &both);
    let said = folder.refused(&["check", "both.toml"]);
    assert!(
        said.contains("both.toml:2: ") && said.contains("role = \"admin\""),
        "{said}"
    );
    // Without listed clients each certificate is an administrator, as it was.
    let admin = format!("client-cert = ['{}']\n", folder.path("anna.pem").display());
    folder.write("admin.toml", &admin);
    let said = folder.prn(&["policy", "check", "admin.toml"]);
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("anna") && said.contains("admin"), "{said}");
}

#[test]
fn a_folder_of_clients_is_read_by_names_and_only_what_root_alone_can_write() {
    let folder = Folder::listed();
    folder.identity("clients.d-cert");
    fs::create_dir(folder.path("clients.d")).unwrap();
    Identity::keygen(&folder.path("clients.d"), "more", &[]);
    folder.write(
        "clients.d/20-more.toml",
        "[[client]]\nname = 'more'\ncert = 'more.pem'\nrole = 'lister'\n",
    );
    folder.write(
        "clients.d/10-role.toml",
        "[[role]]\nname = 'lister'\nmay = ['list']\n",
    );
    folder.write("clients.d/README", "no TOML at all");
    let names = folder.prn(&["policy", "check", "prn.toml", "-o", "name"]);
    let names = String::from_utf8(names.stdout).unwrap();
    assert_eq!(names, "anna\ndeploy\nmore\nnightly\nwatcher\n");
    // Which file comes first is the order of the names.
    folder.write(
        "clients.d/30-again.toml",
        "\n[[client]]\nname = 'more'\ncert = 'more.pem'\nrole = 'lister'\n",
    );
    let said = folder.refused(&["check", "prn.toml"]);
    let duplicate =
        "clients.d/30-again.toml:3: there is a client more already, at clients.d/20-more.toml:1";
    assert!(said.contains(duplicate), "{said}");
    fs::remove_file(folder.path("clients.d/30-again.toml")).unwrap();
    // The folder that is named is read instead.
    let elsewhere = format!(
        "clients-dir = 'other.d'\n{}",
        fs::read_to_string(folder.path("prn.toml")).unwrap()
    );
    folder.write("elsewhere.toml", &elsewhere);
    let said = folder.refused(&["check", "elsewhere.toml"]);
    assert!(said.contains("other.d: cannot read the folder"), "{said}");

    let open = folder.path("clients.d/20-more.toml");
    let mode = |mode| fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
    for bad in [0o620, 0o602] {
        mode(bad);
        let said = folder.refused(&["check", "prn.toml"]);
        assert!(
            said.contains("20-more.toml: others can write it") && said.contains("chmod go-w"),
            "{said}"
        );
    }
    mode(0o600);
    chown(&open, Some(65534), None).unwrap();
    let said = folder.refused(&["check", "prn.toml"]);
    assert!(
        said.contains("20-more.toml: it is owned by user 65534"),
        "{said}"
    );
    chown(&open, Some(0), None).unwrap();
    chown(folder.path("clients.d"), Some(65534), None).unwrap();
    let said = folder.refused(&["check", "prn.toml"]);
    assert!(
        said.contains("clients.d: it is owned by user 65534"),
        "{said}"
    );
}

#[test]
fn a_folder_of_clients_that_is_a_link_is_refused_and_so_is_a_file_in_it_that_is_not_regular() {
    let folder = Folder::listed();
    folder.identity("more");
    folder.write(
        "real.d/more.toml",
        "[[client]]\nname = 'more'\ncert = '../more.pem'\nrole = 'viewer'\n",
    );
    let elsewhere = |named: &str| {
        let tables = fs::read_to_string(folder.path("prn.toml")).unwrap();
        let name = format!("{}.toml", named.replace('/', "-"));
        folder.write(&name, &format!("clients-dir = '{named}'\n{tables}"));
        name
    };
    let link = folder.path("clients.d");
    for target in ["real.d", "nowhere"] {
        symlink(target, &link).unwrap();
        for file in [
            "prn.toml",
            &elsewhere("clients.d"),
            &elsewhere("clients.d/"),
        ] {
            let said = folder.refused(&["check", file]);
            assert!(
                said.contains("clients.d: it is a link") && said.contains("clients-dir"),
                "{target} {file}: {said}"
            );
        }
        fs::remove_file(&link).unwrap();
    }
    // What the link led to is taken by its own name.
    let names = folder.prn(&["policy", "check", &elsewhere("real.d"), "-o", "name"]);
    let names = String::from_utf8(names.stdout).unwrap();
    assert_eq!(names, "anna\ndeploy\nmore\nnightly\nwatcher\n");

    fs::rename(folder.path("real.d"), &link).unwrap();
    symlink("more.toml", link.join("1-link.toml")).unwrap();
    symlink("nowhere", link.join("2-dangling.toml")).unwrap();
    fs::create_dir(link.join("3-folder.toml")).unwrap();
    let mut mkfifo = Command::new("mkfifo");
    assert!(
        mkfifo
            .arg(link.join("4-fifo.toml"))
            .status()
            .unwrap()
            .success()
    );
    let _socket = UnixListener::bind(link.join("5-socket.toml")).unwrap();
    symlink("/dev/zero", link.join("not-read")).unwrap();
    let said = folder.refused(&["check", "prn.toml"]);
    let lines: Vec<_> = said.lines().collect();
    let expected = [
        "prn: clients.d/1-link.toml: it is a link, or else no regular file",
        "prn: clients.d/2-dangling.toml: it is a link, or else no regular file",
        "prn: clients.d/3-folder.toml: it is a link, or else no regular file",
        "prn: clients.d/4-fifo.toml: it is a link, or else no regular file",
        "prn: clients.d/5-socket.toml: it is a link, or else no regular file",
    ];
    assert_eq!(lines.len(), expected.len(), "{said}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line} is not {expected}");
    }
}

#[test]
fn a_file_that_lets_somebody_in_and_that_others_can_write_is_a_warning_with_its_name() {
    let folder = Folder::listed();
    let admin = format!("client-cert = ['{}']\n", folder.path("anna.pem").display());
    folder.write("admin.toml", &admin);
    symlink("anna.pem", folder.path("link.pem")).unwrap();
    folder.write(
        "linked.toml",
        "[[client]]\nname = 'anna'\ncert = 'link.pem'\nrole = 'admin'\n",
    );
    let warnings = |file: &str| {
        let output = folder.prn(&["policy", "check", file]);
        assert!(output.status.success(), "{file}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    for (written, file, named) in [
        ("anna.pem", "prn.toml", "anna.pem"),
        ("anna.pem", "admin.toml", "anna.pem"),
        // The file that is read is what counts; the name that leads to it is said.
        ("anna.pem", "linked.toml", "link.pem"),
        ("prn.toml", "prn.toml", "prn.toml"),
        ("admin.toml", "admin.toml", "admin.toml"),
    ] {
        assert_eq!(warnings(file), "", "{file}");
        let path = folder.path(written);
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let check = |why: &str, remedy: &str| {
            let said = warnings(file);
            let is_one = said.lines().count() == 1 && said.contains("warning: ");
            assert!(
                is_one && said.contains(&format!("{named}: {why}")) && said.contains(remedy),
                "{written} {file}: {said}"
            );
        };
        for bad in [0o664, 0o646] {
            mode(bad);
            check(
                &format!("others can write it (mode {bad:04o})"),
                "chmod go-w",
            );
        }
        mode(0o644);
        chown(&path, Some(65534), None).unwrap();
        check("it is owned by user 65534", "chown root");
        chown(&path, Some(0), None).unwrap();
    }
}

#[test]
fn a_server_says_at_its_start_which_file_others_can_write_and_starts_all_the_same() {
    let folder = Folder::listed();
    for (name, mode) in [("prn.toml", 0o666), ("anna.pem", 0o664)] {
        fs::set_permissions(folder.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let config = folder.path("prn.toml").display().to_string();
    let server = Server::with(Options {
        arguments: vec!["--config".to_owned(), config],
        lists_clients: true,
        ..Options::default()
    });
    let log = server.log();
    for (name, mode) in [("prn.toml", "0666"), ("anna.pem", "0664")] {
        let path = folder.path(name);
        let warning = format!(
            "warning: {}: others can write it (mode {mode})",
            path.display()
        );
        assert!(log.contains(&warning), "{warning}: {log}");
    }
}

#[test]
fn a_line_to_change_is_found_behind_a_list_that_is_not_indented_and_in_no_other_table() {
    let folder = Folder::new();
    folder.identity("one");
    folder.identity("two");
    folder.write(
        "prn.toml",
        r#"[[client]]
name = "one"
cert = "one.pem"
role = "first"
[[client]]
name = "two"
cert = "two.pem"
role = "second"
[[role]]
name = "first"
programs = [
["/bin/sh", "-c", """
may = 1
"""],
["/bin/echo"],
]
may = ["start", "list"]
[[role]]
name = "second"
"may" = ["list"]
whose = "own"
"#,
    );
    for (words, change) in [
        (&["one", "stop"][..], "prn.toml:17: "),
        (&["one", "start", "--", "/bin/true"], "prn.toml:11: "),
        // The first role says nothing of whose; the second one's is not its own.
        (&["one", "list", "--owner", "two"], "prn.toml:9: "),
        (&["two", "stop"], "prn.toml:20: "),
        (&["two", "list", "--owner", "one"], "prn.toml:21: "),
    ] {
        let (is_yes, said) = folder.explained(words);
        assert!(
            !is_yes && said.contains(&format!("change   {change}")),
            "{words:?}: {said}"
        );
    }
}

#[test]
fn an_explanation_names_the_role_the_rule_and_the_line_to_change() {
    let folder = Folder::listed();
    let yes: &[(&[&str], &[&str])] = &[
        (&["anna", "admin"], &["role     admin"]),
        (
            &["deploy", "stop", "--owner", "nightly"],
            &["echoer", "prn.toml:20"],
        ),
        (
            &["deploy", "start", "--", "echo", "hello"],
            &[
                "program  /bin/echo hello (prn.toml:24)",
                "max-memory 64 MiB",
            ],
        ),
        (
            &["deploy", "start", "--", "/bin/sleep", "5"],
            &["program  /bin/sleep ... (prn.toml:24)"],
        ),
        (&["watcher", "output", "--owner", "anna"], &["viewer"]),
    ];
    for (words, parts) in yes {
        let (is_yes, said) = folder.explained(words);
        assert!(
            is_yes && parts.iter().all(|part| said.contains(part)),
            "{words:?}: {said}"
        );
    }
    let no: &[(&[&str], &[&str])] = &[
        (
            &["deploy", "start", "--", "echo", "bye"],
            &["why ", "change   prn.toml:24: "],
        ),
        (
            &["deploy", "start", "--", "/usr/local/bin/echo", "hello"],
            &["prn.toml:24: "],
        ),
        (
            &["deploy", "stop", "--owner", "anna"],
            &["another's", "change   prn.toml:23: "],
        ),
        (
            &["deploy", "signal"],
            &[
                "does not allow signal",
                "change   prn.toml:22: add \"signal\"",
            ],
        ),
        (
            &["watcher", "stop", "--owner", "anna"],
            &["change   prn.toml:18: "],
        ),
        (
            &["nobody", "list"],
            &["no such principal", "name = \"nobody\""],
        ),
    ];
    for (words, parts) in no {
        let (is_yes, said) = folder.explained(words);
        assert!(
            !is_yes && parts.iter().all(|part| said.contains(part)),
            "{words:?}: {said}"
        );
    }
    for words in [
        &["deploy", "fly"][..],
        &["de/ploy", "stop"],
        &["deploy", "stop", "--", "echo"],
    ] {
        let output = folder.prn(&[&["policy", "explain", "prn.toml"], words].concat());
        assert_eq!(output.status.code(), Some(2), "{words:?}: {output:?}");
    }
}

#[test]
fn a_client_whose_time_is_over_may_do_nothing_and_that_is_said_beforehand() {
    let folder = Folder::new();
    folder.identity("old");
    folder.write(
        "prn.toml",
        "[[client]]\nname = 'old'\ncert = 'old.pem'\nrole = 'admin'\nnot-after = '2020-01-01T00:00:00Z'\n",
    );
    let checked = folder.prn(&["policy", "check", "prn.toml"]);
    let said = String::from_utf8(checked.stderr).unwrap();
    assert!(
        checked.status.success() && said.contains("warning: prn.toml:5: this time has passed"),
        "{said}"
    );
    let (is_yes, said) = folder.explained(&["old", "list"]);
    assert!(
        !is_yes && said.contains("change   prn.toml:5: a later not-after"),
        "{said}"
    );
}

#[test]
fn a_server_with_listed_clients_starts_lets_each_do_what_its_role_says_and_refuses_others() {
    let folder = Folder::listed();
    let config = folder.path("prn.toml").display().to_string();
    let server = Server::with(Options {
        arguments: vec!["--config".to_owned(), config],
        lists_clients: true,
        ..Options::default()
    });
    let as_client = |name: &str, words: &[&str]| {
        let client = Identity {
            key: folder.path(&format!("{name}.key")),
            certificate: folder.path(&format!("{name}.pem")),
        };
        server.prn_as(&client, words).output().unwrap()
    };
    let ok = |name: &str, words: &[&str]| {
        let output = as_client(name, words);
        assert!(output.status.success(), "{name} {words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let refused = |name: &str, words: &[&str]| {
        let output = as_client(name, words);
        assert!(!output.status.success(), "{name} {words:?}: {output:?}");
    };
    let id = ok("deploy", &["start", "--", "sleep", "1000"]);
    let id = id.lines().last().unwrap();
    refused("deploy", &["start", "--", "echo", "bye"]);
    refused("deploy", &["start", "--", "sleep", "1"]);
    refused("watcher", &["start", "--", "sleep", "1000"]);
    refused("watcher", &["stop", id]);
    refused("nightly", &["kill", id]);
    ok("nightly", &["stop", id]);
    ok("anna", &["run", "--", "echo", "anything"]);
    // Not even the harness's own client, whom no list has.
    assert!(!server.run(&["list"]).status.success());
}

#[test]
fn a_server_refuses_a_bad_list_and_says_where_all_of_it_is_said() {
    let folder = Folder::listed();
    folder.write(
        "bad.toml",
        "[[client]]\nname = 'a'\ncert = 'none.pem'\nrole = 'boss'\n",
    );
    let config = folder.path("bad.toml").display().to_string();
    let refused = Server::try_with(Options {
        arguments: vec!["--config".to_owned(), config],
        lists_clients: true,
        ..Options::default()
    })
    .unwrap_err();
    assert_eq!(refused.status.code(), Some(1));
    let said = refused.log;
    assert!(
        said.contains("bad.toml:4: there is no role boss")
            && said.contains("and 1 more: `prn policy check"),
        "{said}"
    );
}

#[test]
fn what_the_packaged_configuration_shows_in_comments_is_a_good_configuration() {
    let folder = Folder::new();
    for name in ["anna", "deploy-1", "deploy-2"] {
        folder.identity(name);
    }
    let packaged = include_str!("../../packaging/prn.toml");
    let is_key = |line: &str| {
        let key = line.split_once(" = ").map(|(key, _)| key);
        line.starts_with('[')
            || key.is_some_and(|key| {
                key.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            })
    };
    let uncommented: Vec<_> = packaged
        .lines()
        .filter(|line| !line.starts_with("client-cert"))
        .map(|line| match line.strip_prefix("# ") {
            Some(key) if is_key(key) => key,
            _ => line,
        })
        .collect();
    let shown = uncommented.join("\n");
    folder.write("prn.toml", &shown);
    let names = folder.prn(&["policy", "check", "prn.toml", "-o", "name"]);
    assert!(names.status.success(), "{names:?}");
    assert_eq!(String::from_utf8(names.stdout).unwrap(), "anna\ndeploy\n");
    // The role has hours, and this test has none.
    let hours = "hours = \"Mon-Fri 08:00-18:00\"\n";
    assert!(shown.contains(hours), "{shown}");
    folder.write("prn.toml", &shown.replace(hours, ""));
    let (is_yes, said) =
        folder.explained(&["deploy", "start", "--", "/usr/local/bin/build", "-j4"]);
    assert!(is_yes, "{said}");
}
