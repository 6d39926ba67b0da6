//! Processes that run as a user of the machine's: who may start them, what they are, and what they
//! are not.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use prn_ipc_protocol::message::{Ask, Denial, Refusal, Reply, WorkspaceSpec};
use prn_tests::hostile_frontend::{HostileFrontend, spec};
use prn_tests::own_etc::own_etc;
use prn_tests::pki::Identity;
use prn_tests::server::{Options, Server};
use prn_tests::wait_for;
use serde_json::Value;

/// A user of these tests, with a group of its own and one more.
#[derive(Debug, Clone, Copy)]
struct User {
    name: &'static str,
    uid: u32,
    gid: u32,
    /// A group that it is in beside that.
    other: u32,
}

const NAME: &str = "prn-test-user";
const OTHER_GROUP: &str = "prn-test-group";

fn number(database: &str, name: &str, field: usize) -> Option<u32> {
    let output = Command::new("getent")
        .args([database, name])
        .output()
        .unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    line.trim().split(':').nth(field)?.parse().ok()
}

fn run(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {output:?}");
}

thread_local! {
    /// Of one test, which has a thread to itself, and the server that it starts.
    static USER: User = made_in_own_etc();
}

fn user() -> User {
    USER.with(|user| *user)
}

/// In a copy of /etc, which this thread and what it starts see from now on: the machine's users stay
/// as they are, also for other tests.
fn made_in_own_etc() -> User {
    let own_etc = own_etc();
    assert!(own_etc.is_ok(), "a copy of /etc: {own_etc:?}");
    if number("group", OTHER_GROUP, 2).is_none() {
        run("groupadd", &["--system", OTHER_GROUP]);
    }
    if number("passwd", NAME, 2).is_none() {
        let words = [
            "--system",
            "--user-group",
            "--no-create-home",
            "-G",
            OTHER_GROUP,
            NAME,
        ];
        run("useradd", &words);
    }
    User {
        name: NAME,
        uid: number("passwd", NAME, 2).unwrap(),
        gid: number("passwd", NAME, 3).unwrap(),
        other: number("group", OTHER_GROUP, 2).unwrap(),
    }
}

const CLIENTS: [(&str, &str); 4] = [
    ("anna", "admin"),
    ("ben", "runner"),
    ("cleo", "deployer"),
    ("dora", "nobodys"),
];

/// Clients' certificates, and the configuration that lists them.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let user = user();
        let folder = Self(tempfile::tempdir().unwrap());
        let clients = CLIENTS.map(|(name, role)| {
            Identity::keygen(folder.0.path(), name, &[]);
            format!("[[client]]\nname = '{name}'\ncert = '{name}.pem'\nrole = '{role}'\n")
        });
        let roles = format!(
            "[[role]]\nname = 'deployer'\nmay = ['start', 'stop', 'list', 'output', 'workspace']\nusers = ['{}']\n\
             [[role]]\nname = 'nobodys'\nmay = ['start', 'stop', 'list', 'output']\nusers = ['nobody']\n",
            user.name
        );
        let users = format!("users = ['{}', 'nobody']\n", user.name);
        fs::write(folder.config(), users + &clients.concat() + &roles).unwrap();
        folder
    }

    fn config(&self) -> PathBuf {
        self.0.path().join("prn.toml")
    }

    fn change(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config()).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(self.config(), text.replace(from, to)).unwrap();
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

/// A server that may use the user, and nobody.
struct Listed {
    folder: Folder,
    server: Server,
}

impl Listed {
    fn start() -> Self {
        Self::with(&[])
    }

    fn with(arguments: &[&str]) -> Self {
        let folder = Folder::new();
        let mut options = folder.options();
        options
            .arguments
            .extend(arguments.iter().map(|word| (*word).to_owned()));
        let server = Server::with(options);
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

    fn refused(&self, name: &str, words: &[&str]) -> String {
        let output = self.run(name, words);
        assert!(!output.status.success(), "{name} {words:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// What a script says that runs as the user, for who may.
    fn sh(&self, flags: &[&str], script: &str) -> String {
        let words = [&["run", "--user", NAME], flags, &["--", "sh", "-c", script]].concat();
        self.ok("cleo", &words)
    }

    fn own_folder(&self, id: &str) -> PathBuf {
        self.server.state_dir().join(id)
    }
}

/// A folder that every process sees, and anybody may pass.
fn common() -> tempfile::TempDir {
    let folder = tempfile::tempdir_in("/var/lib").unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
    folder
}

fn owned(path: &Path, uid: u32, gid: u32, mode: u32) {
    chown(path, Some(uid), Some(gid)).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_process_is_the_user_with_its_groups_in_each_profile() {
    let listed = Listed::start();
    let user = user();
    let mut groups = [user.gid, user.other];
    groups.sort();
    for profile in ["default", "strict"] {
        let said = listed.sh(
            &["--profile", profile],
            "whoami; id -u; id -g; id -G | tr ' ' '\\n' | sort -n | tr '\\n' ' '; echo; \
             echo $USER $LOGNAME; test $HOME = $PWD && echo home; echo x >$HOME/f && stat -c '%u %g' $HOME/f; \
             stat -c '%u %g %a' $HOME $TMPDIR; grep NoNewPrivs /proc/self/status | cut -f2; \
             grep CapEff /proc/self/status | cut -f2",
        );
        let lines: Vec<_> = said.lines().map(str::trim).collect();
        let own = format!("{} {}", user.uid, user.gid);
        let folder = format!("{own} 700");
        let all = groups.map(|group| group.to_string()).join(" ");
        let expected = [
            user.name,
            &user.uid.to_string(),
            &user.gid.to_string(),
            &all,
            &format!("{0} {0}", user.name),
            "home",
            &own,
            &folder,
            &folder,
            "1",
            "0000000000000000",
        ];
        assert_eq!(lines, expected, "{profile}");
    }
}

#[test]
fn it_reads_what_its_groups_alone_may_and_nothing_more() {
    let listed = Listed::start();
    let user = user();
    let common = common();
    for (name, uid, gid, mode) in [
        ("own", user.uid, 0, 0o600),
        ("group", 0, user.other, 0o640),
        ("roots", 0, 0, 0o640),
        ("others", 65_534, user.uid, 0o640),
    ] {
        let path = common.path().join(name);
        fs::write(&path, format!("of {name}\n")).unwrap();
        // The number of the user is not that of one of its groups, whatever group has it.
        let gid = if name == "others" { 1 } else { gid };
        owned(&path, uid, gid, mode);
    }
    let folder = common.path().display();
    let script = format!(
        "cd {folder}; for f in own group roots others; do cat $f 2>/dev/null || echo no; done"
    );
    assert_eq!(listed.sh(&[], &script), "of own\nof group\nno\nno");
    // The same by a rule of a path, which is followed with the user's groups.
    let closed = common.path().join("closed");
    fs::create_dir_all(closed.join("inner")).unwrap();
    fs::write(closed.join("inner/secret"), "x").unwrap();
    owned(&closed, 0, user.other, 0o750);
    let inner = closed.join("inner").display().to_string();
    let seen = listed.sh(&["--hide", &inner], &format!("ls {inner} | wc -l"));
    assert_eq!(seen, "0");
}

#[test]
fn streams_and_terminals_are_the_users() {
    let listed = Listed::start();
    let user = user();
    let said = listed.sh(
        &[],
        "echo out >/dev/stdout; echo err >/dev/stderr; stat -L -c %u /dev/stdout",
    );
    assert_eq!(said, format!("out\n{}", user.uid));
    let script = "stat -c %u $(tty); cat </dev/null >$(tty)";
    let words = ["start", "--user", NAME, "-t", "--", "sh", "-c", script];
    let id = listed.ok("cleo", &words);
    let said = listed.ok("cleo", &["logs", id.lines().last().unwrap()]);
    assert_eq!(said.trim(), user.uid.to_string());
}

#[test]
fn only_a_role_that_names_a_user_may_use_it_and_each_no_says_why() {
    let listed = Listed::start();
    for (client, user, may) in [
        ("anna", NAME, true),
        ("anna", "nobody", true),
        ("anna", "daemon", false),
        ("anna", "root", false),
        ("ben", NAME, false),
        ("ben", "nobody", false),
        ("cleo", NAME, true),
        ("cleo", "nobody", false),
        ("dora", NAME, false),
        ("dora", "nobody", true),
    ] {
        let words = ["run", "--user", user, "--", "id", "-un"];
        if may {
            assert_eq!(listed.ok(client, &words), user, "{client}");
        } else {
            let why = listed.refused(client, &words);
            assert!(
                why.contains("--user: this client's role does not allow this user"),
                "{why}"
            );
        }
        let dry = listed.run(client, &["can-i", "start", "--user", user, "--", "id"]);
        assert_eq!(dry.status.success(), may, "{client} {user}: {dry:?}");
    }
    for user in ["0", "1001", "a b"] {
        let why = listed.refused("anna", &["run", "--user", user, "--", "id"]);
        assert!(why.contains("not a name of a user"), "{why}");
    }
    listed.ok("cleo", &["workspace", "create", "w"]);
    let why = listed.refused("cleo", &["run", "--user", NAME, "-w", "w", "--", "id"]);
    assert!(why.contains("cannot be used with"), "{why}");
}

#[test]
fn the_user_stands_in_status_lists_dry_runs_receipts_and_the_audit() {
    let log = tempfile::tempdir_in("/var/lib").unwrap();
    let file = log.path().join("log/audit.jsonl");
    let target = format!("file:{}", file.display());
    let listed = Listed::with(&["--audit", &target]);
    let user = user();
    let words = [
        "start", "--user", NAME, "--keep", "--", "sh", "-c", "echo hi",
    ];
    let id = listed.ok("cleo", &words);
    let id = id.lines().last().unwrap();
    listed.ok("cleo", &["wait", id]);
    let json =
        |words: &[&str]| -> Value { serde_json::from_str(&listed.ok("cleo", words)).unwrap() };
    let status = json(&["status", id, "-o", "json"]);
    assert_eq!(
        (&status["user"], &status["uid"]),
        (&NAME.into(), &user.uid.into())
    );
    assert!(
        listed
            .ok("cleo", &["status", id, "-o", "wide"])
            .contains(NAME)
    );
    assert!(
        listed
            .ok("cleo", &["list", "-a", "-o", "wide"])
            .contains(NAME)
    );
    let dry = json(&[
        "start",
        "--keep",
        "--dry-run",
        "-o",
        "json",
        "--user",
        NAME,
        "--",
        "sh",
        "-c",
        "echo hi",
    ]);
    assert_eq!(
        (&dry["start"]["user"], &dry["start"]["uid"]),
        (&NAME.into(), &user.uid.into())
    );
    let own = json(&[
        "start",
        "--dry-run",
        "-o",
        "json",
        "--",
        "sh",
        "-c",
        "echo hi",
    ]);
    assert_ne!(own["start"]["digest"], dry["start"]["digest"]);
    let receipt = listed.ok("cleo", &["receipt", id]);
    assert!(receipt.starts_with("prn-receipt-2\n"), "{receipt}");
    let named = format!(
        "\nuid {}:{}\nuser {}:{NAME}\n",
        user.uid.to_string().len(),
        user.uid,
        NAME.len()
    );
    assert!(receipt.contains(&named), "{receipt}");
    let mut line = Value::Null;
    wait_for("the start's line", || {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let mut all = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let found = all.find(|line| line["event"] == "start" && line["id"] == *id);
        found.map(|found| line = found).is_some()
    });
    let verified = &line["verified"];
    assert_eq!(
        (&verified["user"], &verified["uid"]),
        (&NAME.into(), &user.uid.into())
    );
    assert_eq!(verified["digest"], dry["start"]["digest"]);
}

#[test]
fn its_directories_are_in_memory_and_nobody_else_of_the_user_reaches_them() {
    let listed = Listed::start();
    let user = user();
    let script = "echo x >$HOME/f; echo y >$TMPDIR/f; echo y2 >/tmp/g; test -f $TMPDIR/g && test -f /var/tmp/f && echo up; exec sleep 1000";
    let words = ["start", "--user", NAME, "--", "sh", "-c", script];
    let id = listed.ok("cleo", &words);
    let id = id.lines().last().unwrap();
    let said = |id: &str| listed.ok("cleo", &["logs", "--no-follow", id]);
    wait_for("its files", || said(id) == "up");
    let folders = [
        listed.own_folder(id),
        listed.own_folder(&format!("{id}.tmp")),
    ];
    for own in &folders {
        let found = fs::metadata(own).unwrap();
        assert_ne!(found.uid(), user.uid);
        assert_eq!(found.mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(own).unwrap().count(), 0);
        // As somebody else who logs in as that user would.
        for words in [&["chmod", "0"][..], &["ls"], &["rmdir"]] {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", NAME, "--regid", &user.gid.to_string()]);
            command.args(["--clear-groups", "--"]).args(words).arg(own);
            assert!(!command.output().unwrap().status.success(), "{words:?}");
        }
    }
    listed.ok("cleo", &["stop", id]);
    wait_for("the directories' end", || {
        folders.iter().all(|own| !own.exists())
    });
    let log = listed.server.log();
    assert!(!log.contains("user id"), "nothing was left: {log}");
}

/// Rules of paths make what they show something in, where it is missing, in the process's own
/// directories: not in the user's.
#[test]
fn no_rule_of_paths_makes_a_directory_among_the_users() {
    let listed = Listed::start();
    let user = user();
    let folder = common();
    owned(folder.path(), user.uid, user.gid, 0o755);
    let made = folder.path().join("made");
    let hide = format!("--hide={}", made.display());
    let words = ["run", "--user", NAME, &hide, "--", "true"];
    listed.run("cleo", &words);
    assert!(!made.exists());
}

#[test]
fn there_is_no_user_without_namespaces() {
    let listed = Listed::with(&["--allow-profile-none"]);
    let words = ["run", "--user", NAME, "--profile", "none", "--", "id"];
    let why = listed.refused("anna", &words);
    assert!(why.contains("profile none has no namespaces"), "{why}");
}

#[test]
fn what_a_killed_server_left_of_a_user_is_removed_by_the_next() {
    let mut listed = Listed::start();
    let words = ["start", "--user", NAME, "--", "sleep", "1000"];
    let id = listed.ok("cleo", &words);
    let own = listed.own_folder(id.lines().last().unwrap());
    assert!(own.exists());
    listed.server.kill_and_start_again();
    assert!(!own.exists());
}

#[test]
fn who_is_the_user_can_signal_its_processes_and_these_no_others() {
    let listed = Listed::start();
    let user = user();
    let start = |flags: &[&str]| {
        let words = [&["start"], flags, &["--", "sleep", "1000"]].concat();
        let id = listed.ok("cleo", &words);
        id.lines().last().unwrap().to_owned()
    };
    let theirs = start(&["--user", NAME]);
    let pool = start(&[]);
    let main = |id: &str| {
        let processes = listed.server.cgroup().join("processes");
        let procs = processes.join(id).join("cgroup.procs");
        fs::read_to_string(procs).unwrap().trim().to_owned()
    };
    let (their_pid, pool_pid) = (main(&theirs), main(&pool));
    let supervisor = listed.server.supervisor();
    let frontend = listed.server.frontend();
    let kill = |pids: &str| {
        format!("for p in {pids}; do kill -9 $p 2>/dev/null && echo killed; done; true")
    };
    let script = kill(&format!("{pool_pid} {supervisor} {frontend}"));
    assert_eq!(listed.sh(&[], &script), "");
    // Nor does one with a user id of its own signal the user's.
    let words = ["run", "--", "sh", "-c", &kill(&their_pid)];
    assert_eq!(listed.ok("cleo", &words), "");
    let state = listed.ok("cleo", &["status", &pool, "-o", "template={{ state }}"]);
    assert_eq!(state, "running");
    // As somebody else who logs in as that user would.
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NAME, "--regid", &user.gid.to_string()]);
    command.args(["--clear-groups", "--", "kill", "-TERM", &their_pid]);
    assert!(command.status().unwrap().success());
    let ended = listed.run("cleo", &["wait", &theirs, "--timeout", "10s"]);
    assert_eq!(ended.status.code(), Some(143), "{ended:?}");
}

#[test]
fn it_can_trace_nothing_else_of_the_user_where_it_is_confined() {
    let listed = Listed::start();
    let user = user();
    // Something else that the user runs, outside of prn.
    let uid = user.uid.to_string();
    let words = [
        "--reuid",
        &uid,
        "--regid",
        &user.gid.to_string(),
        "--clear-groups",
        "sleep",
        "1000",
    ];
    let mut other = Command::new("setpriv").args(words).spawn().unwrap();
    let pid = other.id();
    wait_for("its user", || {
        fs::metadata(format!("/proc/{pid}")).is_ok_and(|found| found.uid() == user.uid)
    });
    let script = format!(
        "cat /proc/{pid}/environ >/dev/null 2>&1 && echo read; ls /proc/{pid}/fd 2>/dev/null; true"
    );
    assert_eq!(listed.sh(&[], &script), "");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn setuid_programs_give_it_nothing() {
    let listed = Listed::start();
    let common = common();
    let program = common.path().join("id");
    fs::copy("/usr/bin/id", &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o6755)).unwrap();
    let said = listed.sh(
        &[],
        &format!("{} -u; {} -g", program.display(), program.display()),
    );
    assert_eq!(said, format!("{}\n{}", user().uid, user().gid));
}

#[test]
fn a_frontend_that_was_taken_over_gets_no_user_that_no_role_has() {
    let folder = Folder::new();
    let mut hostile = HostileFrontend::with(folder.options());
    let mut ask = |who: &str, user: &str| {
        hostile.principal = who.to_owned().try_into().unwrap();
        let mut start = spec(&["/bin/true"]);
        start.process.user = Some(user.to_owned().try_into().unwrap());
        let (reply, _) = hostile.ask(Ask::Start(Box::new(start)));
        reply
    };
    for (who, user) in [
        ("anna", "root"),
        ("anna", "daemon"),
        ("ben", NAME),
        ("cleo", "nobody"),
        ("dora", NAME),
    ] {
        let reply = ask(who, user);
        let no = Reply::Refused(Refusal::Denied(Denial::User));
        assert_eq!(reply, no, "{who} as {user}");
    }
    hostile.principal = "anna".to_owned().try_into().unwrap();
    let workspace = WorkspaceSpec {
        name: "w".to_owned().try_into().unwrap(),
        disk_max: None,
    };
    let (made, _) = hostile.ask(Ask::CreateWorkspace(workspace));
    assert_eq!(made, Reply::Done);
    let mut start = spec(&["/bin/true"]);
    start.process.user = Some(NAME.to_owned().try_into().unwrap());
    start.process.workspace = Some("w".to_owned().try_into().unwrap());
    let (reply, _) = hostile.ask(Ask::Start(Box::new(start)));
    assert_eq!(reply, Reply::Refused(Refusal::UserInWorkspace));
}

#[test]
fn what_is_wrong_with_users_is_said_with_its_line_at_start_and_at_reload() {
    let listed = Listed::start();
    let list = format!("users = ['{NAME}', 'nobody']\n");
    let reload = || {
        let output = listed.server.reload().output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let uid = listed.server.first_uid();
    for (users, line, part) in [
        (
            format!("users = [\n'{NAME}', 'nobody', 'no-such-user']\n"),
            2,
            "there is no user no-such-user",
        ),
        (
            format!("users = ['{NAME}', 'nobody', 'root']\n"),
            1,
            "user id 0, root's",
        ),
        (
            format!("users = ['{NAME}']\n"),
            0,
            "may not use user nobody",
        ),
    ] {
        listed.folder.change(&list, &users);
        let (is_taken, said) = reload();
        assert!(!is_taken && said.contains(part), "{users}: {said}");
        assert!(
            line == 0 || said.contains(&format!("prn.toml:{line}: ")),
            "{said}"
        );
        listed.folder.change(&users, &list);
    }
    // A user whose id is one of the server's.
    let name = "prn-test-in-range";
    let words = [
        "--uid",
        &(uid + 3).to_string(),
        "--no-create-home",
        "--no-user-group",
        "-g",
        "nogroup",
        name,
    ];
    run("useradd", &words);
    let users = format!("users = ['{NAME}', 'nobody', '{name}']\n");
    listed.folder.change(&list, &users);
    let (is_taken, said) = reload();
    run("userdel", &[name]);
    assert!(
        !is_taken && said.contains("one of those for processes"),
        "{said}"
    );
    listed.folder.change(&users, &list);
    // And what is right is in force at once, for who has it.
    listed
        .folder
        .change(&list, &format!("users = ['{NAME}', 'nobody', 'daemon']\n"));
    let (is_taken, said) = reload();
    assert!(
        is_taken && said.contains("other users that processes may run as"),
        "{said}"
    );
    assert_eq!(
        listed.ok("anna", &["run", "--user", "daemon", "--", "id", "-un"]),
        "daemon"
    );
}

#[test]
fn what_a_policy_says_of_users_is_shown_and_explained() {
    let folder = Folder::new();
    let config = folder.config().display().to_string();
    let prn = |words: &[&str]| {
        let output = Command::new(prn_tests::binary("prn"))
            .args(words)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let (is_good, shown) = prn(&["policy", "check", &config, "-o", "json"]);
    assert!(is_good, "{shown}");
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let of = |client: &str| {
        let mut all = shown["clients"].as_array().unwrap().iter();
        all.find(|one| one["client"] == client).unwrap()["users"].clone()
    };
    assert_eq!(of("anna"), serde_json::json!(["nobody", NAME]));
    assert_eq!(of("ben"), serde_json::json!([]));
    assert_eq!(of("cleo"), serde_json::json!([NAME]));
    let explain = |client: &str, user: &str| {
        prn(&[
            "policy", "explain", &config, client, "start", "--user", user, "--", "id",
        ])
    };
    let (may, said) = explain("cleo", NAME);
    assert!(
        may && said.starts_with(&format!("yes: cleo may start id as {NAME}\n")),
        "{said}"
    );
    let (may, said) = explain("cleo", "nobody");
    assert!(
        !may && said.contains("the role does not allow the user"),
        "{said}"
    );
    assert!(
        said.contains("prn.toml:") && said.contains("add the user to users"),
        "{said}"
    );
    let (may, said) = explain("ben", NAME);
    assert!(!may && said.contains("an admin may start as"), "{said}");
}
