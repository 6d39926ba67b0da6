//! What one process sees of another, and what is left of it on the host: nothing, by whatever end
//! it or its server comes to.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_tests::server::{Options, Server};
use prn_tests::{procfs, wait_for};
use serde_json::{Value, json};

const PROFILES: [&str; 2] = ["default", "strict"];

const PLACES: &str = include_str!("private_places/places.py");

/// `prn` with these words, for a process that runs private_places/places.py.
fn places(server: &Server, words: &[&str], actions: &[&str], name: &str, id: &str) -> Command {
    let backwards: String = id.chars().rev().collect();
    let python = ["--", "/usr/bin/python3", "-c", PLACES];
    server.prn(&[words, &python, actions, &[name, &backwards]].concat())
}

/// What a command has written, which must succeed.
fn written(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{error}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn found_by(command: &mut Command) -> Value {
    serde_json::from_str(&written(command)).unwrap()
}

/// Starts a process that leaves something of this name everywhere, and stays.
fn maker(server: &Server, profile: &str, name: &str) -> String {
    let secret = format!("SECRET={name}-environment");
    let words = ["start", "--profile", profile, "--env", &secret];
    let id = written(&mut places(server, &words, &["make", "stay"], name, ""));
    let id = id.trim().to_owned();
    wait_for("what it makes", || {
        let output = server.run(&["logs", "--no-follow", &id]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!error.contains("Error"), "{profile}: {error}");
        output.stdout == b"made\n"
    });
    id
}

/// The process numbers of a process's tree.
fn members(server: &Server, id: &str) -> Vec<i32> {
    let group = server.cgroup().join("processes").join(id);
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

/// The namespaces of a process that are its own alone, held open: the number of one that is gone is
/// soon another's.
fn namespaces(pid: i32) -> [File; 2] {
    ["mnt", "ipc"].map(|kind| File::open(format!("/proc/{pid}/ns/{kind}")).unwrap())
}

/// A name that no other test makes anything of.
fn unique(server: &Server, word: &str) -> String {
    format!("{}-{word}", server.instance)
}

/// What can be seen of a server's processes from the host.
struct Host {
    mounts: BTreeSet<String>,
    namespaces: Vec<File>,
}

impl Host {
    /// Before there are any.
    fn before() -> Self {
        Self {
            mounts: mounts(),
            namespaces: Vec::new(),
        }
    }

    /// While these live.
    fn with(mut self, server: &Server, ids: &[&String]) -> Self {
        let pids = ids.iter().flat_map(|id| members(server, id));
        self.namespaces = pids.flat_map(namespaces).collect();
        assert!(self.users().len() >= ids.len(), "the control");
        assert_eq!(self.added_mounts(), [""; 0]);
        self
    }

    fn added_mounts(&self) -> Vec<String> {
        mounts().difference(&self.mounts).cloned().collect()
    }

    /// The processes that are in one of the namespaces, or have one open.
    fn users(&self) -> Vec<String> {
        let sought: BTreeSet<u64> = self
            .namespaces
            .iter()
            .map(|file| file.metadata().unwrap().ino())
            .collect();
        let is_one = |path: &Path| fs::metadata(path).is_ok_and(|of| sought.contains(&of.ino()));
        let numbered = |entry: &fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
        fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter(|entry| numbered(entry).is_some_and(|pid| pid != std::process::id()))
            .flat_map(|entry| {
                let open = fs::read_dir(entry.path().join("fd")).into_iter().flatten();
                let open = open.flatten().map(|file| file.path()).filter(|path| {
                    fs::read_link(path).is_ok_and(|link| link.to_string_lossy().contains(":["))
                });
                let own = ["mnt", "ipc"].map(|kind| entry.path().join("ns").join(kind));
                open.chain(own).collect::<Vec<_>>()
            })
            .filter(|path| is_one(path))
            .map(|path| path.display().to_string())
            .collect()
    }

    /// Nothing is left of them, nor of what they made with these names.
    fn has_nothing_left(&self, server: &Server, names: &[&String]) {
        assert_eq!(self.added_mounts(), [""; 0]);
        // Not at once: a child of another test has all that is open here until it executes.
        wait_for("namespaces that nobody has", || self.users().is_empty());
        for name in names {
            for folder in ["/tmp", "/var/tmp", "/dev/shm"] {
                assert!(!fs::exists(format!("{folder}/{name}")).unwrap());
            }
            // The host's own look, from outside of all namespaces.
            let found = found_by(
                Command::new("/usr/bin/python3")
                    .args(["-c", PLACES, "look", name, ""])
                    .env("HOME", server.folder())
                    .env("TMPDIR", server.folder()),
            );
            for kind in ["POSIX queue", "shared memory", "semaphores", "queue"] {
                assert_eq!(found[kind], "ENOENT", "{kind}");
            }
        }
        let left = folders(server);
        assert!(left.is_empty(), "{left:?}");
    }
}

fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    text.lines().map(str::to_owned).collect()
}

/// What processes have in the state folder; the server itself has an empty folder there, for its
/// frontend.
fn folders(server: &Server) -> Vec<String> {
    let all = fs::read_dir(server.state_dir()).unwrap();
    all.map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".empty" && name != ".control")
        .collect()
}

/// One process of each profile, and what they have made.
fn one_of_each(server: &Server) -> (Vec<String>, Vec<String>) {
    let make = |profile| {
        let name = unique(server, profile);
        (maker(server, profile, &name), name)
    };
    PROFILES.into_iter().map(make).unzip()
}

/// Where a server that has just been started listens.
fn listens_on(server: &mut Child) -> String {
    let mut line = String::new();
    let mut lines = BufReader::new(server.stdout.take().unwrap());
    lines.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("Listening on ");
    address.unwrap_or_else(|| panic!("{line}")).to_owned()
}

/// Stops a server.
fn ends_in_order(mut server: Child) {
    let pid = Pid::from_raw(server.id().try_into().unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    assert!(server.wait().unwrap().success());
}

#[test]
fn a_process_finds_in_each_place_what_it_has_put_there() {
    // The control of all others: what they do not find, they would.
    let server = Server::start();
    for profile in PROFILES {
        let name = unique(&server, profile);
        let id = format!("{:032x}", profile.len());
        let words = ["run", "--profile", profile, "--id", &id];
        let found = found_by(&mut places(
            &server,
            &words,
            &["make", "search"],
            &name,
            &id,
        ));
        assert_eq!(found["files"], json!(["/dev/shm", "/tmp", "/var/tmp"]));
        for kind in ["POSIX queue", "shared memory", "semaphores", "queue"] {
            assert_eq!(found[kind], "", "{profile}: {kind}");
        }
        assert_eq!(found["any System V"], 3, "{profile}");
        let told_by = found["told by"].as_array().unwrap();
        for file in ["cgroup", "mountinfo", "environ", "net/unix"] {
            let file = json!(format!("/proc/self/{file}"));
            assert!(told_by.contains(&file), "{profile}: {file}: {told_by:?}");
        }
    }
}

#[test]
fn a_process_sees_nothing_of_another_but_the_paths_of_sockets() {
    let server = Server::start();
    for first in PROFILES {
        let name = unique(&server, first);
        let id = maker(&server, first, &name);
        for second in PROFILES {
            let words = ["run", "--profile", second];
            let found = found_by(&mut places(&server, &words, &["search"], &name, &id));
            let who = format!("{second}, of {first}: {found:#}");
            assert_eq!(found["files"], json!([]), "{who}");
            assert_eq!(found["any files"], 0, "{who}");
            for kind in ["POSIX queue", "shared memory", "semaphores", "queue"] {
                assert_eq!(found[kind], "ENOENT", "{who}");
            }
            assert_eq!(found["any System V"], 0, "{who}");
            assert_eq!(found["others"], json!([]), "{who}");
            // The list of sockets is the network namespace's, which profile default has with all.
            let told_by: &[&str] = if [first, second] == ["default"; 2] {
                &["/proc/self/net/unix"]
            } else {
                &[]
            };
            assert_eq!(found["told by"], json!(told_by), "{who}");
        }
    }
}

#[test]
fn a_process_learns_nothing_of_one_whose_number_and_id_it_knows() {
    let server = Server::start();
    for first in PROFILES {
        let id = maker(&server, first, &unique(&server, first));
        let pid = members(&server, &id)[0].to_string();
        let own = server.state_dir().join(&id);
        let own = own.to_str().unwrap();
        let script = r#"pid=${1:-$$} own=${2:-$HOME} failed=0
            tries() { if "$@" > /dev/null 2>&1; then :; else failed=$((failed + 1)); fi; }
            for file in '' cmdline environ status stat cgroup mountinfo maps cwd root fd ns/mnt net/unix task; do
                tries ls -d "/proc/$pid/$file"
            done
            tries cat "/proc/$pid/cmdline"; tries cat "/proc/$pid/environ"
            tries kill -0 "$pid"; tries ps -p "$pid"
            for folder in "$own" "$own.tmp"; do tries ls "$folder/"; tries touch "$folder/file"; done
            tries ls "${own%/*}"; tries touch "${own%/*}/file"
            echo "$failed of 24 failed""#;
        for second in PROFILES {
            let arguments = [
                "run",
                "--profile",
                second,
                "--",
                "bash",
                "-c",
                script,
                "bash",
            ];
            let said = server.ok(&[&arguments[..], &[&pid, own]].concat());
            assert_eq!(said, "24 of 24 failed\n", "{second}, of {first}");
            // The control: of itself it can all of it but the last two, which are the server's.
            let said = server.ok(&arguments);
            assert_eq!(said, "2 of 24 failed\n", "{second}, of itself");
        }
    }
}

#[test]
fn nothing_is_left_on_the_host_after_a_process_has_ended_or_been_stopped() {
    let mut server = Server::start();
    let host = Host::before();
    let (ids, names) = one_of_each(&server);
    let host = host.with(&server, &ids.iter().collect::<Vec<_>>());
    for id in &ids {
        server.ok(&["stop", id, "--grace", "0s"]);
    }
    // By itself.
    let ends = unique(&server, "ends");
    for profile in PROFILES {
        let words = ["run", "--profile", profile];
        written(&mut places(&server, &words, &["make"], &ends, ""));
    }
    wait_for("its folders' removal", || folders(&server).is_empty());
    host.has_nothing_left(&server, &[&names[0], &names[1], &ends]);
    assert_eq!(server.stop(), Some(0));
    host.has_nothing_left(&server, &[&names[0], &names[1], &ends]);
}

#[test]
fn nothing_is_left_on_the_host_after_a_frontend_was_killed() {
    let mut server = Server::start();
    let host = Host::before();
    let (ids, names) = one_of_each(&server);
    let host = host.with(&server, &ids.iter().collect::<Vec<_>>());
    let killed = server.frontend();
    kill(Pid::from_raw(killed), Signal::SIGKILL).unwrap();
    wait_for("the next frontend", || server.frontend() != killed);
    for id in &ids {
        assert_eq!(server.status(id)["state"], "running", "that goes on");
    }
    assert_eq!(server.stop(), Some(0));
    host.has_nothing_left(&server, &[&names[0], &names[1]]);
}

#[test]
fn nothing_is_left_on_the_host_after_a_frontend_was_killed_as_a_process_starts() {
    let mut server = Server::start();
    let name = unique(&server, "born");
    let host = Host::before();
    for profile in PROFILES {
        let words = ["start", "--profile", profile];
        let mut start = places(&server, &words, &["make", "stay"], &name, "");
        let mut start = start.stdout(Stdio::null()).spawn().unwrap();
        wait_for("a newborn process", || {
            let mut groups = fs::read_dir(server.cgroup().join("processes"))
                .into_iter()
                .flatten()
                .flatten();
            groups.any(|group| {
                let text = fs::read_to_string(group.path().join("cgroup.procs"));
                text.is_ok_and(|text| !text.is_empty())
            }) || start.try_wait().unwrap().is_some()
        });
        let _ = kill(Pid::from_raw(server.frontend()), Signal::SIGKILL);
        start.wait().unwrap();
    }
    assert_eq!(server.stop(), Some(0));
    host.has_nothing_left(&server, &[&name]);
}

#[test]
fn nothing_is_left_on_the_host_once_the_next_server_has_swept() {
    let mut server = Server::start();
    let host = Host::before();
    let (ids, names) = one_of_each(&server);
    // One that takes the signal off itself that it would get at the supervisor's death, and so
    // keeps its namespaces alive.
    let script = format!(
        "syscall({}, 1, 0, 0, 0, 0) == 0 or die; $| = 1; print qq(made\n); sleep 1000",
        libc::SYS_prctl
    );
    let stays = server.start_process(&[], &["perl", "-e", &script]);
    wait_for("it", || {
        server.ok(&["logs", "--no-follow", &stays]).contains("made")
    });
    let all: Vec<&String> = ids.iter().chain([&stays]).collect();
    let host = host.with(&server, &all);
    let stays = members(&server, &stays)[0];
    server.signal(Signal::SIGKILL);
    server.wait();
    assert!(procfs::alive(stays));
    assert!(!folders(&server).is_empty());
    let mut next = server.again().stdout(Stdio::piped()).spawn().unwrap();
    listens_on(&mut next);
    assert!(!procfs::alive(stays));
    ends_in_order(next);
    host.has_nothing_left(&server, &[&names[0], &names[1]]);
}

#[test]
fn a_process_with_a_user_id_that_another_has_had_finds_nothing_of_that() {
    let server = Server::with(Options {
        uids: Some(1),
        ..Options::default()
    });
    for first in PROFILES {
        for second in PROFILES {
            let name = unique(&server, first);
            let starts = || server.run(&["start", "--", "true"]).status.success();
            let id = maker(&server, first, &name);
            let pid = members(&server, &id)[0];
            let uid = procfs::status(pid)["Uid"]
                .split('\t')
                .next()
                .unwrap()
                .to_owned();
            assert!(!starts(), "there is but one");
            server.ok(&["stop", &id, "--grace", "0s"]);
            let words = ["run", "--profile", second];
            let mut look = places(&server, &words, &["search"], &name, &id);
            let mut found = Value::Null;
            wait_for("the user id", || {
                let output = look.output().unwrap();
                found = serde_json::from_slice(&output.stdout).unwrap_or_default();
                output.status.success()
            });
            let who = format!("{second}, after {first}: {found:#}");
            assert_eq!(found["uid"].to_string(), uid, "{who}");
            assert_eq!(found["any files"], 0, "{who}");
            assert_eq!(found["POSIX queue"], "ENOENT", "{who}");
            assert_eq!(found["any System V"], 0, "{who}");
            assert_eq!(found["others"], json!([]), "{who}");
            assert_eq!(found["told by"], json!([]), "{who}");
            wait_for("the user id", starts);
            wait_for("its end", || folders(&server).is_empty());
        }
    }
}

/// A copy of /etc over /etc, in a mount namespace of the server's own.
const OWN_ETC: &str = r#"set -e; copy=$(mktemp -d); mount -t tmpfs etc "$copy"; cp -a /etc/. "$copy"
    mount --move "$copy" /etc; rmdir "$copy"; exec "$@""#;

#[test]
fn an_account_that_the_host_adds_takes_that_of_living_processes_and_of_no_new_one() {
    let mut server = Server::with(Options {
        wrapper: ["unshare", "--mount", "sh", "-c", OWN_ETC, "sh"]
            .map(str::to_owned)
            .to_vec(),
        ..Options::default()
    });
    let mounts = File::open(format!("/proc/{}/ns/mnt", server.supervisor())).unwrap();
    let on_its_host = |program: &OsStr| {
        let (own, number) = (std::process::id(), mounts.as_raw_fd());
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--mount=/proc/{own}/fd/{number}"))
            .arg(program);
        command
    };
    let has_account = |server: &Server, profile, name| {
        let script =
            "test \"$(getent passwd \"$(id -u)\")\" = \"$(tail -n 1 /etc/passwd)\" || exit 3
            getent passwd \"$1\" > /dev/null";
        let arguments = [
            "run",
            "--profile",
            profile,
            "--",
            "sh",
            "-c",
            script,
            "sh",
            name,
        ];
        match server.run(&arguments).status.code() {
            Some(0) => true,
            Some(2) => false,
            other => panic!("{profile}: {other:?}"),
        }
    };
    // It tells who it is before, and again once /etc/passwd is another file.
    let script = "whoami; before=$(stat -c %i /etc/passwd); tries=0
        until test \"$(stat -c %i /etc/passwd)\" != \"$before\" -o $tries = 1000; do
            tries=$((tries + 1)); sleep 0.02
        done
        whoami 2> /dev/null || echo no name; getent passwd added | cut -d: -f1";
    let living = PROFILES.map(|profile| {
        let id = server.start_process(&["--profile", profile], &["sh", "-c", script]);
        let mut name = String::new();
        wait_for("its name", || {
            name = server.ok(&["logs", "--no-follow", &id]);
            !name.is_empty()
        });
        (id, name)
    });
    let useradd = on_its_host("useradd".as_ref())
        .args(["--no-create-home", "added"])
        .status();
    assert!(useradd.unwrap().success());
    for (id, name) in living {
        let said = server.ok(&["logs", &id]);
        assert_eq!(said, format!("{name}no name\nadded\n"));
    }
    for profile in PROFILES {
        assert!(has_account(&server, profile, "root"));
        assert!(!has_account(&server, profile, "added"), "not read again");
    }
    assert_eq!(server.stop(), Some(0));
    let next = server.again();
    let mut again = on_its_host(next.get_program())
        .args(next.get_args())
        .env("PRN_TLS_KEY", server.identity.key_pem())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    server.address = listens_on(&mut again);
    for profile in PROFILES {
        assert!(has_account(&server, profile, "added"));
    }
    ends_in_order(again);
    // Of all this the machine's own files know nothing.
    let accounts = fs::read_to_string("/etc/passwd").unwrap();
    assert!(!accounts.contains("\nadded:"));
}
