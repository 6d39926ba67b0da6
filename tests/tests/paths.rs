//! How a process sees directories: what its client asks for with `--bind`, `--hide` and
//! `--read-only`, and what the operator allows and hides in `[paths]` of the configuration.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use prn_tests::server::{Options, Refused, Server};
use prn_tests::trace::Trace;
use prn_tests::wait_for;
use tempfile::TempDir;

/// An id for a process, so that its directory is known before it starts.
fn id(number: u32) -> String {
    format!("{number:032x}")
}

/// Directories of the server's machine, and its configuration, where processes see them too.
#[derive(Debug)]
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        Self::below("/var/lib")
    }

    fn below(folder: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("prn-test-")
            .tempdir_in(folder)
            .unwrap();
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The path as text.
    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A directory with a file in it that says its name.
    fn directory(&self, name: &str, mode: u32) -> &Self {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("file"), name).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        self
    }

    /// Options of a server with this table, in which `@` is this machine's folder.
    fn options(&self, paths: &str) -> Options {
        let file = self.path("prn.toml");
        let folder = self.0.path().to_str().unwrap();
        fs::write(&file, paths.replace('@', folder)).unwrap();
        Options {
            arguments: vec!["--config".to_owned(), file.to_str().unwrap().to_owned()],
            ..Options::default()
        }
    }

    fn server(&self, paths: &str) -> Server {
        Server::with(self.options(paths))
    }

    fn refused(&self, paths: &str) -> String {
        match Server::try_with(self.options(paths)) {
            Err(Refused { log, .. }) => log,
            Ok(_) => panic!("it has started: {paths}"),
        }
    }
}

fn run(server: &Server, flags: &[&str], script: &str) -> Output {
    let command = ["--", "bash", "-uc", script];
    server.run(&[&["run"], flags, &command].concat())
}

/// What a script prints, both streams, however it ends.
fn shell(server: &Server, flags: &[&str], script: &str) -> String {
    let output = run(server, flags, &format!("{{ {script}; }} 2>&1"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.is_empty(), "{flags:?} {script}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// What `prn run` says of a start that is refused.
fn refusal(server: &Server, flags: &[&str]) -> String {
    let output = run(server, flags, "echo it runs");
    assert!(!output.status.success() && output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[test]
fn in_what_is_read_only_nothing_can_be_changed_not_even_in_ones_own_directory() {
    let server = Server::start();
    for (number, profile) in (0..).zip(["default", "strict"]) {
        let id = id(number);
        let own = server.state_dir().join(&id);
        let own = own.to_str().unwrap();
        let flags = ["--profile", profile, "--id", &id, "--read-only", own];
        let script = "pwd; touch file; touch $TMPDIR/other && echo made";
        let said = shell(&server, &flags, script);
        assert_has(&said, &[own, "touch", "Read-only file system", "made"]);
        let flags = ["--profile", profile, "--read-only", "/tmp"];
        let said = shell(&server, &flags, "touch /tmp/file; touch file && echo made");
        assert_has(&said, &["Read-only file system", "made"]);
    }
}

#[test]
fn the_whole_machine_can_be_read_only_but_for_what_is_mounted_in_it() {
    let server = Server::start();
    for profile in ["default", "strict"] {
        let flags = ["--profile", profile, "--read-only", "/"];
        let said = shell(&server, &flags, "touch /file; touch /tmp/file && echo made");
        assert_has(&said, &["'/file': Read-only file system", "made"]);
    }
    let root = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let root = root
        .lines()
        .find(|line| line.split(' ').nth(4) == Some("/"));
    assert!(root.unwrap().split(' ').nth(5).unwrap().starts_with("rw"));
}

/// A directory above one that is read-only has that below it, and its copy too.
#[test]
fn however_read_only_directories_lie_in_each_other_there_are_not_many_mounts() {
    let server = Server::start();
    let count = |flags: &[&str]| -> usize {
        let said = shell(&server, flags, "wc -l < /proc/self/mountinfo");
        said.trim().parse().unwrap()
    };
    let before = count(&[]);
    let roots = ["--read-only", "/"].repeat(4);
    assert_eq!(count(&roots), before);
    let nested = ["/usr/share/doc", "/usr/share", "/usr", "/usr/.."];
    let nested = nested.map(|path| ["--read-only", path]).concat();
    assert!(count(&nested) <= before + 8);
}

#[test]
fn what_is_hidden_is_empty_and_takes_nothing() {
    let server = Server::start();
    for profile in ["default", "strict"] {
        let flags = ["--profile", profile, "--hide", "/usr/share"];
        let script = "ls -A /usr/share; touch /usr/share/file; ls /usr | grep -c lib";
        let said = shell(&server, &flags, script);
        assert_has(&said, &["Permission denied"]);
        assert!(said.starts_with("touch"), "{said}");
    }
}

#[test]
fn what_is_bound_is_seen_and_written_to_where_the_operator_and_its_mode_let_it_be() {
    let machine = Machine::new();
    machine.directory("open", 0o1777);
    machine.directory("roots", 0o755);
    machine.directory("shown", 0o1777);
    let server = machine.server(
        "[paths]\nhidden = []\nbind = ['@/open', '@/roots']\nbind-read-only = ['@/shown']\n",
    );
    for profile in ["default", "strict"] {
        let bind = |name: &str| format!("{}:/tmp/{name}", machine.text(name));
        let (open, roots, shown) = (bind("open"), bind("roots"), bind("shown"));
        let flags = [
            "--profile",
            profile,
            "--bind",
            &open,
            "--bind",
            &roots,
            "--bind",
            &shown,
        ];
        let script = "cat /tmp/{open,roots,shown}/file; echo; for in in open roots shown; do touch /tmp/$in/new; done; \
                      echo $UID > /tmp/open/uid";
        let said = shell(&server, &flags, script);
        assert_has(
            &said,
            &[
                "openrootsshown\n",
                "'/tmp/roots/new': Permission denied",
                "'/tmp/shown/new': Read-only file system",
            ],
        );
        assert!(!said.contains("/tmp/open/"), "{said}");
        let new = machine.path("open/new");
        let uid = fs::read_to_string(machine.path("open/uid")).unwrap();
        assert_eq!(new.metadata().unwrap().uid().to_string(), uid.trim());
        fs::remove_file(new).unwrap();
        fs::remove_file(machine.path("open/uid")).unwrap();
        // Also where nothing above it is the process's own.
        let away = format!("{}:/mnt", machine.text("open"));
        let said = shell(
            &server,
            &["--profile", profile, "--bind", &away],
            "touch /mnt/away && ls /mnt; rm /mnt/away; touch /usr/new",
        );
        assert_has(&said, &["away\n", "'/usr/new': Permission denied"]);
        let said = shell(
            &server,
            &["--profile", profile],
            &format!("ls -A /tmp; touch {}/new", machine.text("open")),
        );
        assert!(said.starts_with("touch: "), "{said}");
        assert_has(&said, &["Permission denied"]);
    }
    assert!(!machine.path("roots/new").exists() && !machine.path("shown/new").exists());
}

#[test]
fn what_is_bound_can_be_hidden_and_made_read_only_in_the_same_start() {
    let machine = Machine::new();
    machine
        .directory("open", 0o1777)
        .directory("open/in", 0o1777);
    let server = machine.server("[paths]\nhidden = []\nbind = ['@/open']\n");
    let bind = format!("{}:/tmp/data", machine.text("open"));
    let hide = ["--hide", "/tmp/data/in", "--bind", &bind];
    let said = shell(&server, &hide, "ls /tmp/data/in; cat /tmp/data/file");
    assert_eq!(said, "open");
    let protect = ["--read-only", "/tmp/data", "--bind", &bind];
    let said = shell(&server, &protect, "touch /tmp/data/new");
    assert_has(&said, &["Read-only file system"]);
}

#[test]
fn what_is_covered_by_the_processs_own_places_can_be_bound() {
    let machine = Machine::below("/tmp");
    machine.directory("open", 0o1777).directory("shown", 0o755);
    machine.directory("shown/in", 0o1777);
    let server = machine.server(
        "[paths]\nhidden = []\nbind = ['@/open', '@/shown/in']\nbind-read-only = ['@/shown']\n",
    );
    let [open, shown, inner] = ["open", "shown", "shown/in"]
        .map(|name| format!("{}:/tmp/{}", machine.text(name), name.replace('/', "-")));
    let flags = ["--bind", &shown, "--bind", &inner, "--bind", &open];
    let script = "cat /tmp/{open,shown,shown-in}/file; touch /tmp/{open,shown-in,shown/in}/new";
    let said = shell(&server, &flags, script);
    assert!(said.starts_with("openshownshown/in"), "{said}");
    assert_has(&said, &["'/tmp/shown/in/new': Read-only file system"]);
    assert_eq!(said.matches("cannot touch").count(), 1, "{said}");
}

#[test]
fn a_directory_that_the_operator_does_not_name_is_not_bound() {
    let machine = Machine::new();
    machine
        .directory("open", 0o1777)
        .directory("open/in", 0o777);
    machine.directory("other", 0o777);
    let server = machine.server("[paths]\nbind = ['@/open']\n");
    for name in ["other", "open/in", "open/../other"] {
        let bind = format!("{}:/tmp/data", machine.text(name));
        let said = refusal(&server, &["--bind", &bind]);
        assert_has(
            &said,
            &["operator", &machine.text(name), "bind-read-only", "[paths]"],
        );
    }
    // As it is named, but for a slash at its end.
    let bind = format!("{}/:/tmp/data/", machine.text("open"));
    assert_eq!(
        shell(&server, &["--bind", &bind], "cat /tmp/data/file"),
        "open"
    );
}

#[test]
fn a_link_that_a_process_leaves_in_what_is_bound_leads_the_next_nowhere() {
    let machine = Machine::new();
    machine.directory("open", 0o777).directory("open/in", 0o777);
    machine
        .directory("secret", 0o700)
        .directory("secret/in", 0o755);
    let server = machine.server("[paths]\nhidden = []\nbind = ['@/open', '@/open/in']\n");
    let (open, inner) = (machine.text("open"), machine.text("open/in"));
    let bind = format!("{open}:/tmp/data");
    let secret = machine.text("secret/in");
    let script = format!(
        "cd /tmp/data && ln -s {secret} link && mv in old && ln -s {secret} in && echo done"
    );
    assert_eq!(shell(&server, &["--bind", &bind], &script), "done\n");
    assert_eq!(fs::read_link(&inner).unwrap(), Path::new(&secret));

    let below_link = refusal(&server, &["--bind", &bind, "--hide", "/tmp/data/link"]);
    assert_has(&below_link, &["cannot hide", "may not look there"]);
    let over_link = format!("{open}:/tmp/data/link");
    let over_link = refusal(&server, &["--bind", &bind, "--bind", &over_link]);
    assert_has(&over_link, &["may not look there"]);
    let from_link = refusal(&server, &["--bind", &format!("{inner}:/tmp/seen")]);
    assert_has(
        &from_link,
        &["not the directory that was there when the server started"],
    );
}

#[test]
fn a_file_is_not_hidden_and_its_directory_is_named() {
    let server = Server::start();
    let said = refusal(&server, &["--hide", "/etc/hostname"]);
    assert_has(
        &said,
        &[r#"cannot hide "/etc/hostname": it is a file: hide its directory "/etc" instead"#],
    );
    let said = refusal(&server, &["--read-only", "/etc/hostname"]);
    assert_has(&said, &[r#"name its directory "/etc" instead"#]);
}

#[test]
fn what_makes_no_sense_is_refused_and_says_what_to_do() {
    let machine = Machine::new();
    machine.directory("open", 0o777).directory("closed", 0o700);
    let server = machine.server("[paths]\nhidden = []\nbind = ['@/open', '@/closed']\n");
    let said = refusal(&server, &["--hide", "/nonexistent"]);
    assert_has(
        &said,
        &[r#"cannot hide "/nonexistent": there is no such directory"#],
    );
    let open = machine.text("open");
    for flags in [
        ["--hide", "/"],
        ["--hide", "/etc/.."],
        ["--hide", "/proc/self/root"],
        ["--bind", &(open.clone() + ":/")],
        ["--bind", &(open + ":/usr/..")],
    ] {
        let said = refusal(&server, &flags);
        assert_has(&said, &["the root directory"]);
    }
    let state = server.state_dir();
    let said = refusal(&server, &["--hide", state.to_str().unwrap()]);
    assert_has(&said, &["cannot enter its own directory"]);
    let said = refusal(&server, &["--hide", "etc"]);
    assert_has(&said, &["--hide", "not an absolute path"]);
    let said = refusal(&server, &["--bind", &machine.text("open")]);
    assert_has(&said, &["--bind", "write SRC:DST"]);
    let said = refusal(&server, &["--bind", "open:/tmp/data"]);
    assert_has(&said, &["--bind", "write SRC:DST"]);
    let many = ["--hide", "/usr/share"].repeat(17);
    let said = refusal(&server, &many);
    assert_has(
        &said,
        &["--bind, --hide and --read-only: must be 16 rules at most"],
    );
    let many = ["--read-only", "/usr/share"].repeat(5);
    let said = refusal(&server, &many);
    assert_has(&said, &["must be 4 read-only ones at most"]);
    let most = ["--hide", "/usr/share"].repeat(16);
    assert_eq!(shell(&server, &most, "ls /usr/share"), "");
    let bind = format!("{}:/tmp/data", machine.text("closed"));
    let said = refusal(&server, &["--bind", &bind]);
    assert_has(&said, &["may not enter what is bound"]);
    let bind = format!("{}:/etc/hostname", machine.text("open"));
    let said = refusal(&server, &["--bind", &bind]);
    assert_has(&said, &["the latter is a file"]);
}

#[test]
fn a_missing_target_is_made_in_what_is_the_processs_own_and_nowhere_else() {
    let machine = Machine::new();
    machine
        .directory("open", 0o1777)
        .directory("everybodys", 0o1777);
    let server = machine.server("[paths]\nhidden = []\nbind = ['@/open']\n");
    let open = machine.text("open");
    for (number, suffix) in (0..).zip(["", ".tmp"]) {
        let id = id(number);
        let place = server.state_dir().join(id.clone() + suffix).join("data");
        let place = place.to_str().unwrap();
        let bind = format!("{open}:{place}");
        let script = format!("cat {place}/file");
        let said = shell(&server, &["--id", &id, "--bind", &bind], &script);
        assert_eq!(said, "open", "{place}");
    }
    for place in ["/tmp/data", "/var/tmp/data", "/dev/shm/data"] {
        let bind = format!("{open}:{place}");
        let said = shell(&server, &["--bind", &bind], &format!("cat {place}/file"));
        assert_eq!(said, "open", "{place}");
    }
    let elsewhere = machine.text("everybodys/new");
    for place in [elsewhere.as_str(), "/nonexistent", "/tmp/a/b"] {
        let said = refusal(&server, &["--bind", &format!("{open}:{place}")]);
        assert_has(&said, &["a new one right in the process's own directory"]);
    }
    assert!(!Path::new(&elsewhere).exists());
}

#[test]
fn what_the_operator_hides_no_process_sees_and_what_is_not_there_keeps_nobody_from_starting() {
    let machine = Machine::new();
    machine
        .directory("home", 0o755)
        .directory("home/data", 0o777);
    machine.directory("gone", 0o755);
    let server = machine
        .server("[paths]\nhidden = ['@/home', '@/gone', '@/none']\nbind = ['@/home/data']\n");
    fs::remove_dir_all(machine.path("gone")).unwrap();
    let home = machine.text("home");
    for profile in ["default", "strict"] {
        let flags = ["--profile", profile];
        let said = shell(&server, &flags, &format!("ls -A {home}; touch {home}/new"));
        assert!(said.starts_with("touch"), "{said}");
        // But for what may be bound, which shows itself alone.
        let bind = format!("{home}/data:/tmp/data");
        let said = shell(
            &server,
            &["--profile", profile, "--bind", &bind],
            &format!("cat /tmp/data/file; ls -A {home}; touch /tmp/data/{profile}"),
        );
        assert_eq!(said, "home/data");
        assert!(machine.path("home/data").join(profile).exists());
    }
}

#[test]
fn what_is_hidden_and_may_be_bound_is_seen_by_those_that_ask() {
    let machine = Machine::new();
    machine.directory("data", 0o755);
    let server = machine.server("[paths]\nhidden = ['@/data']\nbind-read-only = ['@/data']\n");
    let data = machine.text("data");
    let bind = format!("{data}:/tmp/data");
    let script = format!("cat /tmp/data/file; ls -A {data}");
    assert_eq!(shell(&server, &["--bind", &bind], &script), "data");
    let back = format!("{data}:{data}");
    let script = format!("cat {data}/file; touch {data}/new");
    let said = shell(&server, &["--bind", &back], &script);
    assert!(said.starts_with("data"), "{said}");
    assert_has(&said, &["Read-only file system"]);
}

/// A file system of the test's own, which anybody may write to.
struct Disk(String);

impl Disk {
    fn mount(path: String) -> Self {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "mode=0777", "tmpfs", &path]);
        assert!(command.status().unwrap().success());
        Self(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount")
            .args(["-l", &self.0])
            .status()
            .unwrap();
    }
}

/// Where it is seen the process may write, were it not for the mount.
#[test]
fn no_disk_in_what_is_bound_read_only_can_be_written_to_whenever_it_is_mounted() {
    let machine = Machine::new();
    machine
        .directory("data", 0o755)
        .directory("data/disk", 0o777);
    machine.directory("open", 0o777);
    let server =
        machine.server("[paths]\nhidden = []\nbind = ['@/open']\nbind-read-only = ['@/data']\n");
    let [data, open] = ["data", "open"].map(|name| format!("{}:/tmp/{name}", machine.text(name)));
    let flags = ["--bind", &data, "--bind", &open];
    let script = "until [ -e /tmp/open/go ]; do sleep 0.01; done; ls /tmp/data/disk; touch /tmp/data/disk/new 2>&1";
    let early = server.start_process(&flags, &["bash", "-c", script]);
    let _disk = Disk::mount(machine.text("data/disk"));
    fs::write(machine.path("open/go"), "").unwrap();
    let late = server.start_process(&flags, &["bash", "-c", script]);
    for id in [early, late] {
        let said = server.ok(&["logs", &id]);
        assert!(said.starts_with("file\n"), "{said}");
        assert_has(&said, &["Read-only file system"]);
    }
}

#[test]
fn homes_and_the_folder_of_the_configuration_are_hidden_also_where_the_state_folder_is_in_it() {
    let machine = Machine::new();
    machine.directory("data", 0o755);
    let server = Server::with(Options {
        state_dir: Some(machine.path("state")),
        ..machine.options("")
    });
    let folder = machine.0.path().to_str().unwrap();
    for profile in ["default", "strict"] {
        let script = format!("ls -A /root /home; ls -A {folder}; pwd; echo hello > file; cat file");
        let said = shell(&server, &["--profile", profile], &script);
        let lines: Vec<_> = said.lines().collect();
        let [home, empty, root, state, own, hello] = lines.as_slice() else {
            panic!("{said}");
        };
        assert_eq!([*home, *empty, *root], ["/home:", "", "/root:"]);
        assert_eq!([*state, *hello], ["state", "hello"]);
        assert!(own.starts_with(&format!("{folder}/state/")), "{own}");
    }
}

#[test]
fn paths_take_namespaces() {
    let server = Server::with_arguments(&["--allow-profile-none"]);
    for flags in [["--hide", "/usr/share"], ["--read-only", "/usr/share"]] {
        let said = refusal(&server, &[&["--profile", "none"], &flags[..]].concat());
        assert_has(
            &said,
            &[
                "--bind, --hide and --read-only",
                "namespaces",
                "profile none",
            ],
        );
    }
}

#[test]
fn a_status_says_how_directories_are_seen() {
    let machine = Machine::new();
    machine.directory("open", 0o777);
    let server = machine.server("[paths]\nhidden = []\nbind = ['@/open']\n");
    let bind = format!("{}:/tmp/data", machine.text("open"));
    let flags = ["--read-only", "/usr", "--hide", "/srv", "--bind", &bind];
    let id = server.start_process(&flags, &["sleep", "600"]);
    let expected = serde_json::json!([
        { "kind": "bound", "path": "/tmp/data", "source": machine.text("open") },
        { "kind": "hidden", "path": "/srv" },
        { "kind": "read-only", "path": "/usr" },
    ]);
    assert_eq!(server.status(&id)["paths"], expected);
    let wide = server.ok(&["status", &id, "-o", "wide"]);
    let bound = format!("/tmp/data is {}", machine.text("open"));
    assert_has(&wide, &[&bound, "/srv is hidden", "/usr is read-only"]);
}

#[test]
fn nothing_of_it_is_mounted_on_the_host_while_a_process_lives_and_after() {
    let machine = Machine::new();
    machine.directory("open", 0o777).directory("hidden", 0o755);
    let mut server = machine.server("[paths]\nhidden = ['@/hidden']\nbind = ['@/open']\n");
    let mounted = || {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let of_ours = |line: &&str| line.contains(machine.0.path().to_str().unwrap());
        mounts
            .lines()
            .filter(of_ours)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let open = machine.text("open");
    let bind = format!("{open}:/tmp/data");
    let flags = ["--bind", &bind, "--hide", &open, "--read-only", "/tmp/data"];
    let id = server.start_process(&flags, &["sleep", "600"]);
    assert_eq!(mounted(), Vec::<String>::new());
    server.ok(&["stop", &id]);
    assert_eq!(mounted(), Vec::<String>::new());
    assert_eq!(server.stop(), Some(0));
    let left = fs::read_dir(server.state_dir()).unwrap();
    let names: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    let of_ours = |name: &&std::ffi::OsString| name.to_str().unwrap().contains(&id);
    assert_eq!(names.iter().find(of_ours), None);
}

#[test]
fn a_server_does_not_start_with_paths_that_are_not_there_or_are_files() {
    let machine = Machine::new();
    machine.directory("data", 0o755).directory("closed", 0o755);
    fs::create_dir(machine.path("closed/in")).unwrap();
    fs::set_permissions(machine.path("closed"), PermissionsExt::from_mode(0o600)).unwrap();
    fs::create_dir(machine.path("data/in")).unwrap();
    symlink(machine.path("data"), machine.path("link")).unwrap();
    for (table, parts) in [
        ("bind = ['@/none']", ["bind: cannot look at", "/none"]),
        (
            "bind-read-only = ['@/data/file']",
            ["bind-read-only", "/data/file is a file: name its directory"],
        ),
        (
            "hidden = ['@/data/file']",
            ["hidden", "/data/file is a file: name its directory"],
        ),
        ("bind = ['data']", ["bind", "data must be an absolute path"]),
        (
            "bind = ['@/closed/in']",
            ["/closed/in is below", "chmod o+x"],
        ),
        (
            "hidden = ['@/data/in']\nbind = ['@/link']",
            ["/link holds", "/data/in, which processes do not see"],
        ),
        ("hidden = ['/dev']", ["/dev cannot be hidden", "/dev/"]),
        ("show = []", ["line 2", "show"]),
    ] {
        let log = machine.refused(&format!("[paths]\n{table}\n"));
        assert_has(&log, &parts);
    }
}

/// Each of the calls that rules take, and all mounts before, as the last thing that the child does.
#[test]
fn a_rule_that_is_not_followed_keeps_the_program_from_running_and_leaves_nothing() {
    let machine = Machine::new();
    machine.directory("open", 0o1777).directory("shown", 0o755);
    let server = machine
        .server("[paths]\nhidden = ['/home']\nbind = ['@/open']\nbind-read-only = ['@/shown']\n");
    let [open, shown] = ["open", "shown"].map(|name| format!("{}:/tmp/{name}", machine.text(name)));
    let mut words = vec!["start", "--bind", &open, "--bind", &shown];
    words.extend(["--hide", "/usr/share", "--read-only", "/usr"]);
    words.extend(["--", "sh", "-c", ": > /tmp/open/ran; exec sleep 1000"]);
    let ran = machine.path("open/ran");
    let directories = || fs::read_dir(server.state_dir()).unwrap();
    let is_own = |entry: fs::DirEntry| !entry.file_name().to_string_lossy().starts_with('.');
    for (call, least) in [
        ("mount", 15),
        ("fchdir", 5),
        ("fstatfs", 2),
        ("setgroups", 2),
    ] {
        let mut failures = 0;
        loop {
            let inject = format!("inject={call}:error=EIO:when={}", failures + 1);
            let trace = Trace::of(&server, &["-e", &format!("trace={call}"), "-e", &inject]);
            let output = server.run(&words);
            if output.status.success() {
                // strace cannot let go of a shell while that waits for a child to execute (vfork(2)).
                wait_for("the program", || ran.exists());
            }
            drop(trace);
            if output.status.success() {
                server.ok(&["stop", String::from_utf8(output.stdout).unwrap().trim()]);
                break;
            }
            failures += 1;
            assert!(!ran.exists(), "{call} {failures}");
            wait_for("its directories to go", || {
                !directories().any(|entry| is_own(entry.unwrap()))
            });
        }
        assert!(failures >= least, "{call} {failures}");
        fs::remove_file(&ran).unwrap();
    }
}
