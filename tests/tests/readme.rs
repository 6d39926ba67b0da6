//! What README.md and docs/ show is what happens: each command of their `console` blocks is run as
//! it stands there, for real, and has to answer what is shown below it.
//!
//! The commands run in network, mount and host name namespaces of their own, as on a machine with
//! nothing on port 50051, with cgroup v2 at its usual place and an empty /var/lib. What stands
//! before `$` names a machine: each has a folder of its own, and all are this one. A block of TOML
//! whose first line is a file's name is that file.
//!
//! Four programs are stand-ins: `sudo` runs its arguments (this is root), `scp` copies between
//! those folders, `cargo` does nothing, since the tests have been built, and `prn` adds to `server
//! start` what lets it run beside the servers of other tests.
//!
//! What docs/operate/access.md shows is run in the guest too, of the installed service and in
//! /etc/prn. There `prn server start` is that of the unit, and nothing else is a stand-in.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_tests::server::{cgroup_mount, has_controllers};
use prn_tests::{binary, procfs, wait_for};
use tempfile::TempDir;

const DOCUMENTS: &[&str] = &[
    include_str!("../../README.md"),
    include_str!("../../docs/install.md"),
    include_str!("../../docs/operate/access.md"),
    include_str!("../../docs/operate/audit.md"),
    include_str!("../../docs/operate/container.md"),
    include_str!("../../docs/operate/keys.md"),
    include_str!("../../docs/operate/logs.md"),
    include_str!("../../docs/operate/metrics.md"),
    include_str!("../../docs/operate/README.md"),
    include_str!("../../docs/operate/sizing.md"),
    include_str!("../../docs/operate/troubleshooting.md"),
    include_str!("../../docs/operate/upgrade.md"),
    include_str!("../../docs/performance.md"),
    include_str!("../../docs/receipts.md"),
    include_str!("../../docs/tutorial.md"),
    include_str!("../../docs/usage.md"),
];

/// Blocks that no test runs, by their first line, and why.
const NOT_RUN: &[(&str, &str)] = &[
    (
        "/var/log/prn/audit.jsonl {",
        "a file of another program's: audit.rs renames as that does",
    ),
    (
        "journalctl -o cat -t prn-audit",
        "a journal of no machine: packaging.rs does the same in the guest",
    ),
    ("make demo", "they run the tests, and these are the tests"),
    (
        "sudo apt install ./prn_*.deb",
        "changes the machine: packages.rs does the same in the guest, from the packages alone",
    ),
    (
        "make build && sudo make install",
        "changes the machine: packages.rs compares it with the packages, which the guest installs",
    ),
    ("sudo make bench", "takes ten minutes"),
    (
        "prn run --bind",
        "its directories are of no machine: paths.rs does the like",
    ),
    ("[paths]", "the same"),
    (
        "key-command = ",
        "its store of secrets is of no machine: keys.rs has the like",
    ),
    (
        "systemd-creds encrypt",
        "changes the unit: packaging.rs does the same in the guest",
    ),
    ("[Service]", "the same"),
    (
        "softhsm2-util --init-token",
        "its token is of no machine: keys.rs makes the like",
    ),
    (
        "FROM localhost/prn",
        "its programs are of a registry that is none",
    ),
    (
        "podman load --input",
        "an image: image.sh starts one so, on the host's network",
    ),
    ("prn: WARNING: processes have only", "a line of a log"),
    (
        "prn-frontend: connection refused",
        "lines of a log: server_log.rs has the like",
    ),
    (
        "journalctl -u prn -n 20",
        "a journal of no machine: packaging.rs runs each in the guest",
    ),
    ("{\"at\":", "a line of a log: server_log.rs reads the like"),
    (
        "# /etc/systemd/system/prn.service.d/log.conf",
        "changes the unit: packaging.rs does the same in the guest",
    ),
    ("journalctl -u prn -o cat | jq", "as those above"),
    ("prn metrics ", "another server: metrics.rs runs them"),
    ("[[role]]", "its certificate: metrics.rs checks it"),
    (
        "scrape_configs:",
        "another program's: metrics.rs has that check it",
    ),
    (
        "grpcurl -cacert",
        "another program: health.rs runs it as it is shown",
    ),
    (
        "readlink /proc/",
        "the unit's: packaging.rs runs each in the guest",
    ),
    (
        "prn list",
        "restarts the unit: packaging.rs does the same in the guest",
    ),
    (
        "client-ca = ",
        "its authority is of no machine: certificates.rs makes the like",
    ),
    (
        "prn receipt web",
        "its key is of no server: receipts.rs does the like",
    ),
    (
        "tar c src | prn run",
        "its folder is of no machine: command_line_habits.rs feeds the like",
    ),
    (
        "prn workspace create build",
        "what it builds is of no machine: workspaces.rs does the like",
    ),
    (
        "prn cp src w:",
        "its files are of no machine: copy.rs copies the like",
    ),
    (
        "prn run -w build --sync",
        "its project is of no machine: README's is run, and sync.rs does the like",
    ),
    (
        "prn start --name web --label",
        "its program is of no machine: everyday_commands.rs does the like",
    ),
    (
        "prn list -q --failed",
        "its processes are of no machine: formats.rs lists the like",
    ),
    (
        "current = \"web1\"",
        "a file of no machine: contexts.rs reads the like",
    ),
    (
        "prn keygen --name client --out-dir",
        "its servers are of no machine: contexts.rs does the like",
    ),
    (
        "prn list --context 'web*'",
        "its servers are of no machine: contexts.rs asks the like",
    ),
    ("prn top  far", "a screen: top.rs looks at the like"),
    ("prn top  vm", "the same"),
    (" prn server start", "a drawing"),
    ("    proto/", "a map of folders"),
];

/// A block between fences.
struct Block {
    section: &'static str,
    language: &'static str,
    lines: Vec<&'static str>,
}

impl Block {
    /// The file that it is: its first line is a comment with that name.
    fn file(&self) -> Option<&'static str> {
        let name = self.lines.first()?.strip_prefix("# ")?;
        (self.language == "toml" && name.ends_with(".toml")).then_some(name)
    }
}

fn blocks() -> Vec<Block> {
    let mut found = Vec::new();
    let mut section = "";
    let mut open: Option<Block> = None;
    for line in DOCUMENTS.iter().flat_map(|text| text.lines()) {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => {
                open = Some(Block {
                    section,
                    language,
                    lines: Vec::new(),
                });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(block), None) => block.lines.push(line),
            (None, None) => section = line.strip_prefix("## ").unwrap_or(section),
        }
    }
    assert!(open.is_none(), "a block without an end");
    found
}

/// A command that is shown, and what is shown of its answer.
#[derive(Debug)]
struct Step {
    machine: &'static str,
    command: &'static str,
    answer: Vec<&'static str>,
    ending: Ending,
}

/// How what was started ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// With exit code 0.
    OfItself,
    /// By Ctrl-C, when the answer has come.
    CtrlC,
    /// It goes on: a server.
    None,
}

/// All commands of a section.
fn steps(section: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let blocks = blocks();
    let lines = blocks
        .iter()
        .filter(|block| block.section == section && block.language == "console")
        .flat_map(|block| &block.lines);
    for line in lines {
        let prompt = line
            .split_once("$ ")
            .filter(|(machine, _)| machine.bytes().all(|byte| byte.is_ascii_lowercase()));
        if let Some((machine, command)) = prompt {
            steps.push(Step {
                machine,
                command,
                answer: Vec::new(),
                ending: if command.contains("prn server start") {
                    Ending::None
                } else {
                    Ending::OfItself
                },
            });
        } else {
            let step = steps.last_mut().expect("a command before its answer");
            if *line == "^C" {
                step.ending = Ending::CtrlC;
            } else {
                step.answer.push(line);
            }
        }
    }
    let has_file = |block: &Block| block.section == section && block.file().is_some();
    assert!(
        !steps.is_empty() || blocks.iter().any(has_file),
        "{section} shows no command"
    );
    steps
}

/// A shell for each machine.
struct Session {
    folder: TempDir,
    /// Holds the namespaces that they are in; none where the service is an installed one.
    holder: Option<Child>,
    shells: HashMap<&'static str, (Child, ChildStdin)>,
    /// Servers that were started and go on.
    servers: Vec<i32>,
    /// README's ids, and those that were printed instead.
    ids: HashMap<&'static str, String>,
}

/// $1: the folder; $2: where this host has cgroup v2. That is moved, not mounted again, because a
/// new mount sets the options of all of them (cgroup_get_tree in the kernel).
const SETUP: &str = r#"set -eu
ip link set lo up
ip address add 10.99.0.1/32 dev lo
echo server > /proc/sys/kernel/hostname
mount --bind "$1/hosts" /etc/hosts
mount -t tmpfs -o mode=0755 tmpfs /var/lib
if [ "$2" != /sys/fs/cgroup ]; then
    mount --bind "$2" "$1/cgroup"
    umount --recursive --lazy /sys/fs/cgroup
    mount --move "$1/cgroup" /sys/fs/cgroup
fi
touch "$1/ready"
exec sleep infinity
"#;

const SCP: &str = r#"#!/bin/sh -eu
place() { case $1 in *:*) echo "${0%/bin/scp}/machines/${1%%:*}/${1#*:}" ;; *) echo "$1" ;; esac; }
exec cp "$(place "$1")" "$(place "$2")"
"#;

/// The folder of the installed service's configuration.
const SERVICE: &str = "/etc/prn";

/// The unit starts it, and it goes on when this is ended.
const OF_SERVICE: &str = r#"#!/bin/sh -eu
case "${1-} ${2-}" in 'server start')
    systemctl start prn.service
    echo Listening on 127.0.0.1:50051
    exec sleep infinity ;;
esac
exec /usr/bin/prn "$@"
"#;

/// Puts programs into the folder that is looked into first, and `sudo`.
fn stand_in(folder: &Path, programs: &[(&str, &str)]) {
    let sudo = ("sudo", "#!/bin/sh\nexec \"$@\"\n");
    for (name, script) in programs.iter().chain([&sudo]) {
        let program = folder.join("bin").join(name);
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

impl Session {
    /// With user ids for processes that no other test uses.
    fn start(first_uid: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        for below in ["bin", "cgroup", "machines"] {
            fs::create_dir(path.join(below)).unwrap();
        }
        let mut own = format!("--instance prn-readme-{first_uid} --first-uid {first_uid}");
        if !has_controllers() {
            own.push_str(" --allow-missing-limits");
        }
        let prn = format!(
            "#!/bin/sh\ncase \"${{1-}} ${{2-}}\" in 'server start'|'server reload') set -- \"$@\" {own} ;; esac\nexec {} \"$@\"\n",
            binary("prn").display()
        );
        let programs = [
            ("cargo", "#!/bin/sh\n"),
            ("scp", SCP),
            ("prn", prn.as_str()),
        ];
        stand_in(path, &programs);
        fs::write(
            path.join("hosts"),
            "127.0.0.1 localhost\n10.99.0.1 server\n",
        )
        .unwrap();
        let holder = Command::new("unshare")
            .args(["--net", "--mount", "--uts", "--propagation", "private"])
            .args(["sh", "-c", SETUP, "sh"])
            .args([path, &cgroup_mount()])
            .spawn()
            .unwrap();
        let mut session = Self {
            folder,
            holder: Some(holder),
            shells: HashMap::new(),
            servers: Vec::new(),
            ids: HashMap::new(),
        };
        let ready = session.folder.path().join("ready");
        wait_for("the namespaces", || {
            let ended = session.holder.as_mut().unwrap().try_wait().unwrap();
            assert_eq!(ended, None, "they were not made");
            ready.exists()
        });
        session
    }

    /// Of the installed service, in the folder of its configuration.
    fn of_service() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("bin")).unwrap();
        stand_in(folder.path(), &[("prn", OF_SERVICE)]);
        Self {
            folder,
            holder: None,
            shells: HashMap::new(),
            servers: Vec::new(),
            ids: HashMap::new(),
        }
    }

    /// A machine's folder.
    fn place(&self, machine: &str) -> PathBuf {
        if self.holder.is_none() {
            return SERVICE.into();
        }
        let name = if machine.is_empty() { "here" } else { machine };
        let place = self.folder.path().join("machines").join(name);
        fs::create_dir_all(&place).unwrap();
        place
    }

    /// Types something into a machine's shell.
    fn shell(&mut self, machine: &'static str, text: &str) {
        let place = self.place(machine);
        let holder = self.holder.as_ref().map(Child::id);
        let home = self.folder.path().join("home");
        let path = format!(
            "{}:{}",
            self.folder.path().join("bin").display(),
            std::env::var("PATH").unwrap()
        );
        let (_, input) = self.shells.entry(machine).or_insert_with(|| {
            let mut command = match holder {
                Some(holder) => {
                    let mut command = Command::new("nsenter");
                    command
                        .args(["--net", "--mount", "--uts", "--target"])
                        .arg(holder.to_string())
                        .arg(format!("--wd={}", place.display()))
                        .arg("bash")
                        .env("XDG_CONFIG_HOME", place.join(".config"));
                    command
                }
                None => {
                    let mut command = Command::new("bash");
                    command.current_dir(&place).env("XDG_CONFIG_HOME", home);
                    command
                }
            };
            let mut shell = command
                .env_remove("PRN_TLS_KEY")
                .env("PATH", path)
                .stdin(Stdio::piped())
                // What it says of its jobs; each command's own goes to a file.
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut input = shell.stdin.take().unwrap();
            // Job control: else bash has what runs in the background ignore SIGINT.
            input.write_all(b"set -m\n").unwrap();
            (shell, input)
        });
        input.write_all(text.as_bytes()).unwrap();
    }

    /// Writes the files that a section shows, then runs its commands, one after the other.
    fn run(&mut self, section: &str) {
        for block in blocks().iter().filter(|block| block.section == section) {
            if let Some(name) = block.file() {
                let path = self.place("").join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, block.lines.join("\n") + "\n").unwrap();
            }
        }
        for (number, step) in steps(section).into_iter().enumerate() {
            let name = format!("{section} {number}").replace(' ', "-");
            let base = self.folder.path().join(name);
            let mut command = step.command.to_owned();
            for (shown, id) in &self.ids {
                command = command.replace(shown, id);
            }
            println!("{}$ {command}", step.machine);
            self.shell(step.machine, &typed(&step, &command, &base));
            let answer = Answer { base };
            if step.ending != Ending::OfItself {
                wait_for("the answer that is shown", || {
                    answer.lines().len() >= step.answer.len() && answer.number("pid").is_some()
                });
            }
            match (step.ending, answer.number("pid")) {
                (Ending::None, pid) => self.servers.extend(pid),
                (Ending::CtrlC, Some(pid)) => kill(Pid::from_raw(pid), Signal::SIGINT).unwrap(),
                _ => {}
            }
            if step.ending != Ending::None {
                wait_for("its end", || answer.code().is_some());
            }
            if step.ending == Ending::OfItself {
                assert_eq!(
                    answer.code(),
                    Some(0),
                    "{command}: {:?}",
                    answer.text("err")
                );
            }
            self.compare(&step, &answer);
        }
    }

    /// What is shown is what an answer begins with, whatever its ids and times of day are.
    fn compare(&mut self, step: &Step, answer: &Answer) {
        let lines = answer.lines();
        for (number, shown) in step.answer.iter().enumerate() {
            let line = lines.get(number).map_or("", String::as_str);
            let same = match varies(shown) {
                Some(what) => varies(line) == Some(what),
                None => *shown == line,
            };
            if varies(shown) == Some("id") {
                self.ids.insert(shown, line.to_owned());
            }
            assert!(
                same,
                "{}\nREADME shows {shown:?}, it says {line:?}; {:?}",
                step.command,
                answer.text("err")
            );
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for server in &self.servers {
            let _ = kill(Pid::from_raw(*server), Signal::SIGTERM);
        }
        // Without a panic, which would be a second one where a command has failed.
        for _ in 0..400 {
            if !self.servers.iter().any(|server| procfs::alive(*server)) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
        for (_, (mut shell, input)) in self.shells.drain() {
            drop(input);
            let _ = shell.wait();
        }
        if let Some(holder) = &mut self.holder {
            let _ = holder.kill();
            let _ = holder.wait();
        }
        // Left by the library's example only if that failed; it is of no namespace.
        let _ = fs::remove_dir(cgroup_mount().join("prn-example"));
    }
}

/// What a shell reads to run a step. The answer goes to files beside `base`; process number and
/// exit code are there whole or not at all.
fn typed(step: &Step, command: &str, base: &Path) -> String {
    let base = base.display();
    let streams = format!("</dev/null >{base}.out 2>{base}.err");
    let note = |what, file| format!("echo {what} >{base}.new; mv {base}.new {base}.{file}\n");
    // What is shown may end in a comment.
    let beside = format!("(\nexec {command}\n) {streams} &\n{}", note("$!", "pid"));
    match step.ending {
        Ending::OfItself => format!("{{ {command}\n}} {streams}\n{}", note("$?", "code")),
        Ending::CtrlC => format!("{beside}wait $!\n{}", note("$?", "code")),
        Ending::None => beside,
    }
}

/// The files of an answer.
struct Answer {
    base: PathBuf,
}

impl Answer {
    fn text(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.base.with_extension(file)).ok()
    }

    /// The lines of standard output so far.
    fn lines(&self) -> Vec<String> {
        let text = self.text("out").unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    fn number(&self, file: &str) -> Option<i32> {
        self.text(file).map(|text| text.trim().parse().unwrap())
    }

    fn code(&self) -> Option<i32> {
        self.number("code")
    }
}

/// Whether this stands for an id or a time of day, which differ each time.
fn varies(line: &str) -> Option<&'static str> {
    let digits = |byte: &u8| byte.is_ascii_digit();
    if line.len() == 32 && line.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Some("id")
    } else if line.len() == 8
        && line
            .as_bytes()
            .split(|byte| *byte == b':')
            .all(|part| part.len() == 2 && part.iter().all(digits))
    {
        Some("time of day")
    } else {
        None
    }
}

#[test]
fn a_first_session_goes_as_it_is_shown() {
    let mut session = Session::start(2_000_010_000);
    session.run("What it looks like");
    session.run("Build there, have it here");
}

#[test]
fn another_machine_is_reached_as_it_is_shown() {
    Session::start(2_000_020_000).run("From another machine");
}

/// The sections of docs/tutorial.md, in their order.
const TUTORIAL: &[&str] = &[
    "A server to try it with",
    "Start, leave, come back",
    "Know how it ended",
    "Signal, hold, stop",
    "Files, and a place to keep them",
    "Tidy up",
];

#[test]
fn the_tutorial_goes_as_it_is_shown() {
    let mut session = Session::start(2_000_040_000);
    for section in TUTORIAL {
        session.run(section);
    }
}

/// The sections of docs/operate/access.md, in their order.
const ACCESS: &[&str] = &[
    "Give a client a role",
    "Write a role",
    "Know a client by its key, or by an authority",
    "Check it",
    "Ask before somebody tries",
    "Let it work",
    "Let it run as a user of the machine",
    "Change it while it runs",
    "Replace a key",
];

/// What only a machine with systemd has.
const UNDER_SYSTEMD: &str = "Under systemd";

#[test]
fn clients_get_their_roles_as_it_is_shown() {
    let mut session = Session::start(2_000_050_000);
    for section in ACCESS {
        session.run(section);
    }
}

/// The folder of the service's configuration as it was, when dropped.
struct SetAside(PathBuf);

impl SetAside {
    fn new() -> Self {
        let aside = Path::new(SERVICE).with_extension("aside");
        fs::rename(SERVICE, &aside).unwrap();
        fs::create_dir(SERVICE).unwrap();
        Self(aside)
    }
}

impl Drop for SetAside {
    fn drop(&mut self) {
        let ended = "systemctl disable --now prn-reload.path; systemctl stop prn.service; systemctl reset-failed prn.service";
        let _ = Command::new("sh").args(["-c", ended]).status();
        let _ = fs::remove_dir_all(SERVICE);
        let _ = fs::rename(&self.0, SERVICE);
    }
}

#[test]
#[ignore = "guest: needs systemd and an installed prn"]
fn guest_clients_get_their_roles_and_keys_are_replaced_in_the_service_as_it_is_shown() {
    let _aside = SetAside::new();
    let mut session = Session::of_service();
    for section in ACCESS.iter().chain([&UNDER_SYSTEMD]) {
        session.run(section);
    }
    // What was removed last was reloaded without a word.
    wait_for("the reload of what has changed", || {
        let mut log = Command::new("journalctl");
        let log = log.args(["-u", "prn.service", "-o", "cat", "--no-pager"]);
        let log = log.output().unwrap();
        String::from_utf8_lossy(&log.stdout).contains("clients removed: ben")
    });
}

#[test]
fn keys_in_a_keyring_are_used_as_it_is_shown() {
    Session::start(2_000_080_000).run("A keyring");
}

/// The sections of docs/operate/audit.md, in their order.
const AUDIT: &[&str] = &["Write it down", "Check it and read it"];

#[test]
fn what_was_decided_is_written_down_and_checked_as_it_is_shown() {
    let mut session = Session::start(2_000_060_000);
    for section in AUDIT {
        session.run(section);
    }
}

#[test]
fn a_process_runs_as_a_user_as_it_is_shown() {
    Session::start(2_000_070_000).run("As which user");
}

#[test]
fn the_library_is_used_as_it_is_shown() {
    let mut session = Session::start(2_000_030_000);
    let built = binary("prn").parent().unwrap().to_owned();
    let example = built.join("examples/run");
    assert!(
        example.exists(),
        "{} is not there: build the examples",
        example.display()
    );
    let target = session.place("").join("target");
    fs::create_dir(&target).unwrap();
    symlink(built, target.join("release")).unwrap();
    session.run("As a library");
}

#[test]
fn each_block_is_run_by_a_test_or_has_a_reason_why_not() {
    let run = [
        "What it looks like",
        "Build there, have it here",
        "From another machine",
        "As a library",
        "As which user",
        "A keyring",
    ];
    let mut reasons: Vec<_> = NOT_RUN.iter().map(|(line, _)| *line).collect();
    for block in blocks() {
        let first = block.lines.first().copied().unwrap_or_default();
        if block.language == "console" || block.file().is_some() {
            assert!(
                run.contains(&block.section)
                    || block.section == UNDER_SYSTEMD
                    || [TUTORIAL, ACCESS, AUDIT].concat().contains(&block.section),
                "{} is run by no test",
                block.section
            );
            continue;
        }
        let known = reasons.iter().position(|line| first.starts_with(line));
        let known = known.unwrap_or_else(|| panic!("neither run nor explained: {first}"));
        reasons.remove(known);
    }
    assert_eq!(reasons, [""; 0], "there are no such blocks");
}
