//! `prn run --sync --out`: what has changed goes to a workspace before a command runs there, and
//! results come back after it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_tests::proxy::{Cut, Proxy};
use prn_tests::random::Random;
use prn_tests::server::Server;
use prn_tests::{procfs, wait_for};
use tempfile::TempDir;

/// A server with a workspace, and a local directory.
struct Project {
    server: Server,
    folder: TempDir,
}

impl Project {
    fn new() -> Self {
        let server = Server::start();
        server.ok(&["workspace", "create", "w"]);
        let folder = tempfile::tempdir().unwrap();
        Self { server, folder }
    }

    /// A path in the local directory.
    fn here(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// A path in the workspace.
    fn there(&self, path: &str) -> PathBuf {
        self.server.state_dir().join("workspace-w").join(path)
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.here(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// `prn run` in the workspace with the directory sent.
    fn command(&self, flags: &[&str], argv: &[&str]) -> Command {
        let here = self.folder.path().to_str().unwrap();
        let fixed = ["run", "--workspace", "w", "--sync", here];
        self.server.prn(&[&fixed, flags, &["--"], argv].concat())
    }

    fn run(&self, flags: &[&str], argv: &[&str]) -> Output {
        self.command(flags, argv).output().unwrap()
    }

    /// The same of a command that succeeds.
    fn sync(&self) {
        let output = self.run(&[], &["true"]);
        assert_eq!(code(&output), 0, "{output:?}");
    }

    /// What tells each file in the workspace from any other, but for the list of what was brought.
    fn files(&self) -> BTreeMap<PathBuf, (u64, i64, i64)> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.there("")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let found = fs::symlink_metadata(&path).unwrap();
                if found.is_dir() {
                    folders.push(path);
                } else {
                    let known = (found.ino(), found.ctime(), found.ctime_nsec());
                    files.insert(path, known);
                }
            }
        }
        files
    }

    /// A process in the workspace.
    fn process(&self, name: &str) -> Option<Pid> {
        let uid = fs::metadata(self.there("")).unwrap().uid();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let own = processes.filter(|entry| entry.metadata().is_ok_and(|known| known.uid() == uid));
        let mut numbers = own.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let found = numbers.find(|number| procfs::comm(*number) == name);
        found.map(Pid::from_raw)
    }

    /// Holds up what unpacks what is sent, so that it is under way until that goes on (SIGCONT).
    fn held_up(&self) -> Pid {
        let mut tar = None;
        wait_for("the copy", || {
            // What watches it comes last.
            let is_watched = self.process("sleep").is_some();
            tar = self.process("tar").filter(|_| is_watched);
            tar.is_some()
        });
        procfs::hold(tar.unwrap().as_raw());
        tar.unwrap()
    }

    /// The names in a directory of the workspace.
    fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.there(path)).unwrap();
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<_> = entries.map(|entry| name(entry.unwrap())).collect();
        names.retain(|name| name != ".prn-sync");
        names.sort();
        names
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn set_time(path: &Path, time: SystemTime) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

#[test]
fn what_is_the_same_is_not_sent_again() {
    let project = Project::new();
    project.put("a", "one");
    project.put("sub/b", "two");
    fs::create_dir(project.here("empty")).unwrap();
    symlink("a", project.here("link")).unwrap();
    let odd = OsStr::from_bytes(b"-odd \n\xff");
    fs::write(project.folder.path().join(odd), "three").unwrap();
    let program = project.here("program");
    fs::write(&program, "#!/bin/sh\necho ran $PWD\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let output = project.run(&[], &["./program"]);
    let directory = project.there("");
    let expected = format!(
        "ran {}\n",
        directory.to_str().unwrap().trim_end_matches('/')
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        expected,
        "{output:?}"
    );
    assert_eq!(fs::read(project.there("").join(odd)).unwrap(), b"three");
    assert_eq!(
        fs::read_link(project.there("link")).unwrap(),
        Path::new("a")
    );
    assert!(project.there("empty").is_dir());
    let first = project.files();
    project.sync();
    assert_eq!(project.files(), first);
}

#[test]
fn a_file_of_another_time_is_sent_if_its_content_differs() {
    let project = Project::new();
    project.put("same", "one");
    project.put("other", "one");
    project.put("larger", "one");
    project.sync();
    let first = project.files();
    let later = SystemTime::now() + Duration::from_secs(100);
    project.put("other", "two");
    set_time(&project.here("same"), later);
    set_time(&project.here("other"), later);
    let time = fs::metadata(project.here("larger"))
        .unwrap()
        .modified()
        .unwrap();
    project.put("larger", "four");
    set_time(&project.here("larger"), time);
    project.sync();
    let second = project.files();
    let is_same = |path: &str| first.get(&project.there(path)) == second.get(&project.there(path));
    assert!(is_same("same") && !is_same("other") && !is_same("larger"));
    assert_eq!(fs::read(project.there("other")).unwrap(), b"two");
    assert_eq!(fs::read(project.there("larger")).unwrap(), b"four");
}

#[test]
fn what_is_ignored_stays_here_and_what_the_workspace_made_stays_there() {
    let project = Project::new();
    project.put(".gitignore", "*.o\n");
    project.put(".prnignore", "secret\n!wanted.o\n");
    for path in ["a.o", "wanted.o", "secret", ".git/config", "old/x", "old/y"] {
        project.put(path, "");
    }
    project.sync();
    let ignored = [".gitignore", ".prnignore", "old", "wanted.o"];
    assert_eq!(project.names(""), ignored);
    project.run(
        &[],
        &["sh", "-c", "mkdir build; touch build/made old/made a.o"],
    );
    fs::remove_dir_all(project.here("old")).unwrap();
    fs::remove_file(project.here("wanted.o")).unwrap();
    project.sync();
    assert_eq!(
        project.names(""),
        [".gitignore", ".prnignore", "a.o", "build", "old"]
    );
    assert_eq!(project.names("old"), ["made"]);
    // What is behind it goes with it once that is empty.
    project.run(&[], &["rm", "old/made"]);
    project.sync();
    assert!(!project.names("").contains(&"old".to_owned()));
}

#[test]
fn a_directory_and_a_file_take_each_others_place() {
    let project = Project::new();
    project.put("a/x", "below a");
    project.put("b", "b");
    project.sync();
    fs::remove_dir_all(project.here("a")).unwrap();
    fs::remove_file(project.here("b")).unwrap();
    project.put("a", "a");
    project.put("b/x", "below b");
    project.sync();
    assert_eq!(fs::read(project.there("a")).unwrap(), b"a");
    assert_eq!(fs::read(project.there("b/x")).unwrap(), b"below b");
    // What somebody else has made there is not removed for it.
    project.run(&[], &["touch", "b/own"]);
    fs::remove_dir_all(project.here("b")).unwrap();
    project.put("b", "b");
    let output = project.run(&[], &["echo", "ran"]);
    assert_eq!((code(&output), &output.stdout[..]), (125, &b""[..]));
    assert!(said(&output).contains("rmdir"), "{}", said(&output));
    assert_eq!(project.names("b"), ["own"]);
}

#[test]
fn a_directory_can_go_below_the_workspaces_own() {
    let project = Project::new();
    project.put("a", "one");
    let script = "cat a; pwd; echo out >result";
    let flags = ["--sync-to", "src/deep", "--out", "result"];
    let output = project.run(&flags, &["sh", "-c", script]);
    assert_eq!(code(&output), 0, "{output:?}");
    assert_eq!(project.names(""), ["src"]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.ends_with("workspace-w/src/deep\n"), "{shown}");
    assert_eq!(fs::read(project.here("result")).unwrap(), b"out\n");
}

#[test]
fn results_come_back_however_the_command_ends() {
    let project = Project::new();
    project.put("a", "");
    let script = "mkdir -p build/deep; echo $0 >build/deep/report; exit $0";
    for status in ["0", "3"] {
        let flags = ["--out", "build/", "--out", "build/deep/report"];
        let output = project.run(&flags, &["sh", "-c", script, status]);
        assert_eq!(code(&output).to_string(), status, "{output:?}");
        let report = fs::read_to_string(project.here("build/deep/report")).unwrap();
        assert_eq!(report.trim(), status);
    }
    // What is not there is an error of a command that has succeeded.
    for (script, expected) in [("true", 125), ("exit 4", 4)] {
        let flags = ["--out", "missing", "--out", "a"];
        let output = project.run(&flags, &["sh", "-c", script]);
        assert_eq!(code(&output), expected, "{output:?}");
        assert!(said(&output).contains("missing"), "{}", said(&output));
    }
    // Without a directory that is sent, they come to where `prn` is.
    let mut run = project.server.prn(&[
        "run",
        "-w",
        "w",
        "--out",
        "a",
        "--",
        "sh",
        "-c",
        "echo new >a",
    ]);
    let elsewhere = tempfile::tempdir().unwrap();
    let output = run.current_dir(elsewhere.path()).output().unwrap();
    assert_eq!(code(&output), 0, "{output:?}");
    assert_eq!(fs::read(elsewhere.path().join("a")).unwrap(), b"new\n");
}

#[test]
fn whatever_a_workspace_says_nothing_outside_is_read_or_written() {
    let project = Project::new();
    project.put("a", "one");
    project.put("sub/x", "two");
    project.sync();
    let outside = project.folder.path().with_extension("outside");
    fs::write(&outside, "outside").unwrap();
    let name = outside.file_name().unwrap().to_str().unwrap();
    // A list that leads out on either side, and links where directories were.
    let script = r#"
        printf '%s\0' "./../$0" "../$0" "/tmp/$0" ./sub/../../x -rf '' . .. ./a/ ./own ./missing >.prn-sync
        touch own
        mkdir elsewhere; echo kept >elsewhere/x
        rm -r sub; ln -s elsewhere sub
        ln -s ../.. up
    "#;
    let output = project.run(&[], &["sh", "-c", script, name]);
    assert_eq!(code(&output), 0, "{output:?}");
    project.sync();
    assert_eq!(fs::read(project.there("elsewhere/x")).unwrap(), b"kept\n");
    assert_eq!(fs::read(project.there("sub/x")).unwrap(), b"two");
    assert!(
        !fs::symlink_metadata(project.there("sub"))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(fs::read(&outside).unwrap(), b"outside");
    // A result that is a link comes as a link, and nothing goes through it.
    let script = format!(
        "rm -rf build; ln -s {} build",
        project.server.folder().display()
    );
    let output = project.run(&["--out", "build"], &["sh", "-c", &script]);
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(
        fs::symlink_metadata(project.here("build"))
            .unwrap()
            .is_symlink()
    );
    let script = "rm -f build; mkdir build; echo evil >build/evil";
    for out in ["build", "build/evil"] {
        let output = project.run(&["--out", out], &["sh", "-c", script]);
        assert_eq!(code(&output), 125, "{output:?}");
        assert!(!project.server.folder().join("evil").exists());
    }
    fs::remove_file(outside).unwrap();
}

#[test]
fn a_signal_stops_the_command_and_nothing_is_brought() {
    let project = Project::new();
    project.put("a", "one");
    let script = "echo half >result; echo ready; sleep 1000";
    let mut command = project.command(&["--out", "result"], &["sh", "-c", script]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the command", || project.there("result").exists());
    kill(
        Pid::from_raw(child.id().try_into().unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(143));
    assert!(!project.here("result").exists());
}

#[test]
fn a_signal_while_it_is_sent_starts_nothing_and_leaves_no_part_of_it() {
    let project = Project::new();
    let bytes = vec![b'x'; 64 << 20];
    fs::write(project.here("large"), bytes).unwrap();
    let mut command = project.command(&[], &["touch", "ran"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let tar = project.held_up();
    let own = Pid::from_raw(child.id().try_into().unwrap());
    kill(own, Signal::SIGINT).unwrap();
    // The server may have killed it by now.
    let _ = kill(tar, Signal::SIGCONT);
    assert_eq!(child.wait().unwrap().code(), Some(125));
    assert!(project.names("").is_empty(), "{:?}", project.names(""));
    // The next one completes it.
    project.sync();
    assert_eq!(project.names(""), ["large"]);
}

#[test]
fn nothing_is_lost_with_a_connection() {
    const CUTS: u64 = 3;
    let project = Project::new();
    let bytes = Random::from_environment("PRN_SYNC_SEED").bytes(4 << 20);
    fs::write(project.here("large"), &bytes).unwrap();
    for number in 0..200 {
        project.put(&format!("sub/{number}"), &number.to_string());
    }
    let mut made = 0;
    let proxy = Proxy::start(&project.server.address, move || {
        made += 1;
        (made <= CUTS).then_some(Cut {
            after: 600_000 * made,
            reset: made % 2 == 0,
        })
    });
    let mut command = project.command(&["--out", "copy"], &["cp", "large", "copy"]);
    let output = command.env("PRN_ADDRESS", &proxy.address).output().unwrap();
    assert_eq!(code(&output), 0, "{output:?}");
    assert_eq!(proxy.cuts(), CUTS);
    assert!(fs::read(project.here("copy")).unwrap() == bytes);
    assert_eq!(project.names("sub").len(), 200);
}

#[test]
fn what_is_sent_goes_on_on_a_new_connection() {
    let project = Project::new();
    let bytes = Random::from_environment("PRN_SYNC_SEED").bytes(32 << 20);
    fs::write(project.here("large"), &bytes).unwrap();
    let proxy = Proxy::start(&project.server.address, || None);
    let mut command = project.command(&[], &["true"]);
    command.env("PRN_ADDRESS", &proxy.address);
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    let tar = project.held_up();
    proxy.interrupt();
    proxy.resume();
    kill(tar, Signal::SIGCONT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(fs::read(project.there("large")).unwrap() == bytes);
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_sent() {
    let project = Project::new();
    for (flags, expected) in [
        (&["--out", "../x"][..], "--out"),
        (&["--sync-to", "/tmp"], "--sync-to"),
    ] {
        let output = project.run(flags, &["true"]);
        assert_eq!(code(&output), 125, "{output:?}");
        assert!(said(&output).contains(expected), "{}", said(&output));
    }
    let output = project.server.run(&["run", "--sync", ".", "--", "true"]);
    assert!(said(&output).contains("--workspace"), "{}", said(&output));
    let output = project
        .server
        .run(&["run", "-w", "w", "--sync", "/nowhere", "--", "true"]);
    assert!(said(&output).contains("/nowhere"), "{}", said(&output));
    assert!(project.names("").is_empty());
}

#[test]
fn a_result_that_would_say_what_is_sent_next_is_told_and_not_read() {
    let project = Project::new();
    project.put("a", "one");
    let out = ["--out", "out"];
    for make in [
        "ln -s /dev/zero out/.gitignore",
        "truncate -s 1T out/.gitignore",
        "ln -s /etc/passwd out/.prnignore",
    ] {
        let make = format!("rm -rf out && mkdir out && {make}");
        let output = project.run(&out, &["sh", "-c", &make]);
        assert_eq!(code(&output), 0, "{output:?}");
        let output = project.run(&[], &["true"]);
        assert_eq!(code(&output), 125, "{make}: {output:?}");
        assert!(said(&output).contains("cannot read patterns"), "{output:?}");
        fs::remove_dir_all(project.here("out")).unwrap();
    }
    project.sync();
}

#[test]
fn a_list_that_a_process_has_made_long_removes_nothing() {
    let project = Project::new();
    project.put("a", "one");
    project.sync();
    fs::remove_file(project.here("a")).unwrap();
    project.put("b", "two");
    let grow = "yes ./a | head -n 9000000 | tr '\\n' '\\0' >.prn-sync";
    let mut command = project
        .server
        .prn(&["run", "-w", "w", "--", "sh", "-c", grow]);
    assert!(command.status().unwrap().success());
    let output = project.run(&[], &["true"]);
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(said(&output).contains("is too long"), "{output:?}");
    assert_eq!(project.names(""), ["a", "b"]);
    // The next list is a sync's own again.
    fs::remove_file(project.here("b")).unwrap();
    project.put("c", "three");
    project.sync();
    assert_eq!(project.names(""), ["a", "c"]);
}
