//! What happens when a process writes more output than is to be kept, and where that is.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::statvfs::fstatvfs;
use nix::unistd::Pid;
use prn_tests::server::{Options, Server};
use prn_tests::{binary, procfs, sha256, skipped, wait_for};
use tempfile::TempDir;

/// A program that writes so many lines of ten bytes, which are counted.
fn lines(count: u32) -> [String; 3] {
    [
        "perl".to_owned(),
        "-e".to_owned(),
        format!("printf '%09d'.\"\\n\", $_ for 1..{count}"),
    ]
}

fn written(count: u32) -> String {
    (1..=count).map(|number| format!("{number:09}\n")).collect()
}

fn start(server: &Server, options: &[&str], argv: &[String]) -> String {
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    server.start_process(options, &argv)
}

fn waits(server: &Server, id: &str) -> bool {
    server.status(id)["output"]["waits_for_reader"] == true
}

#[test]
fn a_process_that_is_not_read_from_waits_and_loses_nothing() {
    let server = Server::start();
    let options = ["--output-policy", "stop-reading", "--output-max", "64K"];
    let id = start(&server, &options, &lines(400_000));
    wait_for("the process to wait", || waits(&server, &id));
    // It goes on only when somebody reads.
    std::thread::sleep(Duration::from_millis(300));
    let status = server.status(&id);
    assert_eq!(
        (
            &status["main_exited"],
            &status["output"]["waits_for_reader"]
        ),
        (&false.into(), &true.into())
    );
    assert_eq!(status["output"]["policy"], "stop-reading");
    let table = server.ok(&["status", &id, "-o", "wide"]);
    assert!(table.contains("for a reader of its output"), "{table}");
    // One that begins in the middle is one to wait for, too, and not for what it does not want.
    let output = server.run(&["logs", &id]);
    assert_eq!(
        (output.status.code(), output.stdout.len()),
        (Some(0), 4_000_000)
    );
    assert!(output.stdout == written(400_000).as_bytes());
    let status = server.status(&id);
    assert_eq!(
        (
            &status["exit"]["code"],
            &status["output"]["waits_for_reader"]
        ),
        (&0.into(), &false.into())
    );
}

#[test]
fn a_waiting_process_goes_at_the_pace_of_the_slowest_reader_and_on_when_that_one_leaves() {
    let server = Server::start();
    let options = ["--output-policy", "stop-reading", "--output-max", "64K"];
    let id = start(&server, &options, &lines(2_000_000));
    // Its output goes into a pipe that nobody reads.
    let mut slow = server
        .prn(&["logs", &id])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let fast = server
        .prn(&["logs", &id])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let fast = std::thread::spawn(move || fast.wait_with_output().unwrap());
    wait_for("the process to wait", || waits(&server, &id));
    assert_eq!(server.status(&id)["main_exited"], false);
    slow.kill().unwrap();
    slow.wait().unwrap();
    let output = fast.join().unwrap();
    assert_eq!(
        (output.status.code(), output.stdout.len()),
        (Some(0), 20_000_000)
    );
    assert!(output.stdout == written(2_000_000).as_bytes());
}

#[test]
fn a_waiting_process_can_be_stopped_and_what_it_wrote_is_there() {
    let server = Server::start();
    let options = ["--output-policy", "stop-reading", "--output-max", "64K"];
    let id = start(&server, &options, &lines(400_000));
    wait_for("the process to wait", || waits(&server, &id));
    server.ok(&["stop", &id]);
    let output = server.run(&["logs", &id]);
    // What was in the pipe when it died is part of it.
    assert!(
        output.stdout.len() > 65_536 && written(400_000).as_bytes().starts_with(&output.stdout)
    );
    assert_eq!(server.status(&id)["exit"]["cause"], "stopped-on-request");
}

#[test]
fn a_process_that_writes_too_much_is_killed_with_all_that_it_wrote_kept() {
    let server = Server::start();
    let options = ["--output-policy", "kill", "--output-max", "1M"];
    let id = start(&server, &options, &lines(10_000_000));
    wait_for("its end", || server.status(&id)["tree_empty"] == true);
    let status = server.status(&id);
    assert_eq!(
        (&status["exit"]["cause"], &status["exit"]["signal"]),
        (&"output-limit".into(), &9.into())
    );
    assert_eq!(
        (
            &status["output"]["first_offset"],
            &status["output"]["policy"]
        ),
        (&0.into(), &"kill".into())
    );
    let output = server.run(&["logs", &id]);
    assert!(
        output.stdout.len() >= 1 << 20
            && written(10_000_000).as_bytes().starts_with(&output.stdout)
    );
    // One that stays below ends by itself.
    let id = start(&server, &options, &lines(50_000));
    assert_eq!(server.ok(&["logs", &id]), written(50_000));
    assert_eq!(server.status(&id)["exit"]["cause"], "exited");
}

#[test]
fn output_of_which_nothing_may_be_dropped_is_set_aside_in_the_budget() {
    let server = Server::with_arguments(&["--output-budget", "16M"]);
    let options = ["--output-policy", "kill", "--output-max", "3M"];
    let sleeper = ["sleep".to_owned(), "600".to_owned()];
    let first = start(&server, &options, &sleeper);
    let start_second = [&["start"], &options[..], &["--", "sleep", "600"]].concat();
    let refused = server.run(&start_second);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && text.contains("bytes are left"),
        "{text}"
    );
    server.ok(&["stop", &first]);
    let second = server.ok(&start_second);
    // The other half of the budget is for others.
    let other = start(&server, &["--output-max", "3M"], &lines(250_000));
    assert_eq!(server.ok(&["logs", &other]), written(250_000));
    server.ok(&["stop", second.trim()]);
}

#[test]
fn nothing_is_dropped_either_when_it_comes_in_more_runs_than_can_be_told_apart() {
    let server = Server::start();
    // Each byte is of another stream than the one before it: the index is full long before the ring
    // is.
    let script = "for (1 .. 50_000) { syswrite STDOUT, 'o'; syswrite STDERR, 'e' }";
    let options = ["--output-policy", "kill", "--output-max", "64K"];
    let id = server.start_process(&options, &["perl", "-e", script]);
    wait_for("its end", || server.status(&id)["tree_empty"] == true);
    let output = &server.status(&id)["output"];
    assert_eq!(output["first_offset"], 0, "{output}");
    let options = ["--output-policy", "stop-reading", "--output-max", "64K"];
    let id = server.start_process(&options, &["perl", "-e", script]);
    let output = server.run(&["logs", &id]);
    assert_eq!(
        (
            output.status.code(),
            output.stdout.len(),
            output.stderr.len()
        ),
        (Some(0), 50_000, 50_000)
    );
}

#[test]
fn who_asks_for_output_that_is_still_to_come_holds_nobody_up_and_lets_go_of_it_only_while_there() {
    let server = Server::start();
    let options = ["--output-policy", "stop-reading", "--output-max", "64K"];
    let id = start(&server, &options, &lines(100_000_000));
    wait_for("the process to wait", || waits(&server, &id));
    // Nothing that there will ever be is before that.
    let mut far = server
        .prn(&["logs", &id, "--offset", "1152921504606846976"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the process to go on", || !waits(&server, &id));
    far.kill().unwrap();
    far.wait().unwrap();
    wait_for("the process to wait again", || waits(&server, &id));
    let mut next = server
        .prn(&["logs", &id])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the process to go on again", || !waits(&server, &id));
    next.kill().unwrap();
    next.wait().unwrap();
    server.ok(&["stop", "--signal", "kill", &id]);
}

/// A server whose state folder is a file system of its own, which it alone has mounted.
struct OwnDisk {
    server: Server,
    /// Where others find that, while the server runs.
    path: String,
    _folder: TempDir,
}

impl OwnDisk {
    /// `mount` is a command to which the state folder's path is added.
    fn options(folder: &TempDir, mount: &str, arguments: &[&str]) -> Options {
        let state = folder.path().join("state");
        fs::create_dir(&state).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let state_text = state.display();
        let script =
            format!("{mount} {state_text} && rm -rf {state_text}/lost+found && exec \"$@\"");
        Options {
            wrapper: ["unshare", "--mount", "sh", "-ec", &script, "sh"]
                .map(str::to_owned)
                .to_vec(),
            state_dir: Some(state),
            arguments: arguments
                .iter()
                .map(|argument| argument.to_string())
                .collect(),
            ..Options::default()
        }
    }

    fn start(mount: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::with(Self::options(&folder, mount, arguments));
        let path = format!(
            "/proc/{}/root{}/state",
            server.supervisor(),
            folder.path().display()
        );
        Self {
            server,
            path,
            _folder: folder,
        }
    }

    /// Another program takes all the room that there is.
    fn fill(&self) -> String {
        let filler = format!("{}/filler", self.path);
        let mut file = File::create(&filler).unwrap();
        let full = std::io::copy(&mut std::io::repeat(1), &mut file).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        filler
    }
}

/// 8 MiB.
const TMPFS: &str = "mount -t tmpfs -o size=8m,mode=755 none";

const NOT_KEPT: &str = "its output cannot all be kept";

fn a_process_that_fills_the_disk_goes_on(mount: &str) {
    let disk = OwnDisk::start(mount, &["--output-disk", "128M"]);
    let server = &disk.server;
    // 64 MiB, of which a quarter would be kept if there were room.
    const LINES: u32 = 6_710_886;
    let expected = written(LINES);
    let options = ["--output-store", "disk", "--output-max", "16M"];
    let id = start(server, &options, &lines(LINES));
    let early = server
        .prn(&["logs", &id])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("its end", || server.status(&id)["tree_empty"] == true);
    let status = server.status(&id);
    assert_eq!(
        (&status["exit"]["cause"], &status["exit"]["code"]),
        (&"exited".into(), &0.into())
    );
    assert_eq!(
        (&status["output"]["store"], &status["output"]["end_offset"]),
        (&"disk".into(), &expected.len().into())
    );
    let first = usize::try_from(status["output"]["first_offset"].as_u64().unwrap()).unwrap();
    assert!(
        (expected.len() - 12_000_000..expected.len() - 500_000).contains(&first),
        "{status}"
    );
    // The gap is told, and what follows it is exact.
    let late = server.run(&["logs", &id]);
    let told = String::from_utf8_lossy(&late.stderr).into_owned();
    assert!(
        late.status.code() == Some(6) && told.contains(&first.to_string()),
        "{told}"
    );
    assert!(late.stdout == expected.as_bytes()[first..]);
    let early = early.wait_with_output().unwrap();
    assert!(
        expected
            .as_bytes()
            .ends_with(&early.stdout[early.stdout.len() - 400_000..])
    );
    assert_eq!(
        server.log().matches(NOT_KEPT).count(),
        1,
        "{}",
        server.log()
    );
}

#[test]
fn o7_a_process_that_fills_the_disk_is_not_blocked_and_what_is_lost_is_told() {
    a_process_that_fills_the_disk_goes_on(TMPFS);
}

#[test]
fn o7_a_process_that_fills_an_ext4_is_not_blocked_and_what_is_lost_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    File::create(&image).unwrap().set_len(12 << 20).unwrap();
    assert!(
        Command::new("mkfs.ext4")
            .arg("-q")
            .arg(&image)
            .status()
            .unwrap()
            .success()
    );
    let mount = format!("mount -o loop {}", image.display());
    if !Command::new("unshare")
        .args(["--mount", "sh", "-c", &format!("{mount} /mnt")])
        .status()
        .unwrap()
        .success()
    {
        return skipped("no loop devices here");
    }
    a_process_that_fills_the_disk_goes_on(&mount);
}

#[test]
fn o7_when_there_is_room_again_output_is_kept_again() {
    let disk = OwnDisk::start(TMPFS, &["--output-disk", "64M"]);
    let (server, filler) = (&disk.server, disk.fill());
    let script = "sub out { printf '%09d'.\"\\n\", $_ for $_[0] .. $_[1] } $| = 1; out(1, 1_000_000);
        open F, '>', 'written'; close F; until (-e 'room') { select undef, undef, undef, 0.01 } out(1_000_001, 1_200_000)";
    let id = server.start_process(&["--output-store", "disk"], &["perl", "-e", script]);
    // Ten megabytes for which there is no room do not hold it up.
    wait_for("it to go on", || {
        fs::exists(format!("{}/{id}/written", disk.path)).unwrap()
    });
    let first = server.run(&["logs", "--no-follow", &id]);
    assert_eq!(
        first.status.code(),
        Some(6),
        "{}",
        String::from_utf8_lossy(&first.stderr)
    );
    let expected = written(1_200_000);
    assert!(first.stdout.len() < 1 << 20);
    fs::remove_file(&filler).unwrap();
    fs::write(format!("{}/{id}/room", disk.path), "").unwrap();
    wait_for("its end", || server.status(&id)["tree_empty"] == true);
    let output = server.run(&["logs", &id]);
    assert_eq!(output.status.code(), Some(6));
    assert!(
        output.stdout.len() >= 2_000_000,
        "{} bytes: what came once there was room is whole",
        output.stdout.len()
    );
    assert!(expected.as_bytes().ends_with(&output.stdout));
    assert_eq!(server.status(&id)["exit"]["code"], 0);
    assert_eq!(
        server.log().matches(NOT_KEPT).count(),
        1,
        "{}",
        server.log()
    );
}

#[test]
fn o7_a_policy_that_drops_nothing_ends_the_process_when_the_disk_is_full() {
    for policy in ["kill", "stop-reading"] {
        let disk = OwnDisk::start(TMPFS, &["--output-disk", "128M"]);
        let server = &disk.server;
        let options = [
            "--output-store",
            "disk",
            "--output-max",
            "32M",
            "--output-policy",
            policy,
        ];
        let id = start(server, &options, &lines(6_710_886));
        wait_for("its end", || server.status(&id)["tree_empty"] == true);
        let status = server.status(&id);
        assert_eq!(
            (&status["exit"]["cause"], &status["output"]["first_offset"]),
            (&"output-limit".into(), &0.into())
        );
        let output = server.run(&["logs", &id]);
        assert!(
            output.stdout.len() > 4 << 20
                && written(6_710_886).as_bytes().starts_with(&output.stdout)
        );
        assert!(
            server.log().matches(NOT_KEPT).count() == 1,
            "{}",
            server.log()
        );
        // One that only closes its output, with the disk as full as it is, has lost nothing.
        let quiet =
            server.start_process(&options, &["sh", "-c", "exec >&- 2>&-; sleep 0.2; exit 7"]);
        wait_for("its end", || server.status(&quiet)["tree_empty"] == true);
        assert_eq!(server.status(&quiet)["exit"]["code"], 7);
        // One that has ended by itself before its output was found to have no place is not told as
        // complete either.
        let argv = ["head", "-c", "60000", "/dev/zero"];
        let id = server.start_process(&options, &argv);
        wait_for("its end", || server.status(&id)["tree_empty"] == true);
        assert_eq!(server.status(&id)["exit"]["cause"], "output-limit");
        let run: Vec<&str> = ["run"]
            .into_iter()
            .chain(options)
            .chain(["--"])
            .chain(argv)
            .collect();
        let run = server.run(&run);
        assert!(
            !run.status.success() && run.stdout.is_empty() && !run.stderr.is_empty(),
            "{run:?}"
        );
    }
}

#[test]
fn o7_output_larger_than_the_budget_of_memory_is_whole_on_disk_for_early_and_late_readers() {
    let server = Server::with_arguments(&["--output-disk", "1G", "--output-budget", "1M"]);
    let supervisor = server.supervisor();
    let before = procfs::memory(supervisor, "RssShmem");
    let script =
        "mkfifo copy; sha256sum <copy >&2 & head -c 150000000 /dev/urandom | tee copy; wait";
    let id = server.start_process(
        &["--output-store", "disk", "--output-max", "512M"],
        &["sh", "-c", script],
    );
    let early = server.run(&["logs", &id]);
    let hash = String::from_utf8_lossy(&early.stderr)
        .split(' ')
        .next()
        .unwrap()
        .to_owned();
    assert_eq!(
        (early.stdout.len(), early.status.code()),
        (150_000_000, Some(0))
    );
    assert_eq!(sha256(&early.stdout), hash);
    let read = || sha256(&server.run(&["logs", "--stdout", &id]).stdout);
    assert_eq!(read(), hash);
    // The next frontend has it, too.
    let frontend = server.frontend();
    kill(Pid::from_raw(frontend), Signal::SIGKILL).unwrap();
    wait_for("another frontend", || {
        server.frontend() != frontend && server.run(&["list"]).status.success()
    });
    assert_eq!(read(), hash);
    let status = server.status(&id);
    assert_eq!(
        (
            &status["output"]["store"],
            &status["output"]["first_offset"]
        ),
        (&"disk".into(), &0.into())
    );
    assert!(
        server
            .ok(&["status", &id, "-o", "wide"])
            .contains(" on disk")
    );
    let grown = procfs::memory(supervisor, "RssShmem").saturating_sub(before);
    assert!(grown < 1 << 20, "{grown} bytes of memory");
}

#[test]
fn o7_output_on_disk_has_no_name_and_the_frontend_can_only_read_it() {
    let server = Server::with_arguments(&["--output-disk", "1G"]);
    let id = server.start_process(
        &["--output-store", "disk"],
        &["sh", "-c", "echo secret; exec sleep 1000"],
    );
    let mut reader = server
        .prn(&["logs", &id])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    for (process, flags) in [
        (server.supervisor(), nix::libc::O_RDWR),
        (server.frontend(), nix::libc::O_RDONLY),
    ] {
        let mut found = None;
        wait_for("an open output", || {
            let is_output = |path: &Path| {
                path.to_string_lossy().contains("/#")
                    && path.to_string_lossy().ends_with(" (deleted)")
            };
            found = procfs::descriptors(process)
                .into_iter()
                .find(|(_, path)| is_output(path));
            found.is_some()
        });
        let number = found.unwrap().0;
        let path = format!("/proc/{process}/fd/{number}");
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(
            (metadata.mode() & 0o7777, metadata.uid(), metadata.nlink()),
            (0o400, 0, 0)
        );
        let info = fs::read_to_string(format!("/proc/{process}/fdinfo/{number}")).unwrap();
        let has = info
            .lines()
            .find_map(|line| line.strip_prefix("flags:"))
            .unwrap()
            .trim();
        assert_eq!(
            i32::from_str_radix(has, 8).unwrap() & nix::libc::O_ACCMODE,
            flags
        );
        // Another user, and the frontend's own.
        for uid in ["65534", "1999999999"] {
            let cat = [
                "--reuid",
                uid,
                "--regid",
                uid,
                "--clear-groups",
                "cat",
                &path,
            ];
            let output = Command::new("setpriv").args(cat).output().unwrap();
            assert!(
                !output.status.success() && output.stdout.is_empty(),
                "{output:?}"
            );
        }
    }
    reader.kill().unwrap();
    reader.wait().unwrap();
    let names: Vec<_> = fs::read_dir(server.state_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        names.iter().all(|name| name == ".empty"
            || name == ".control"
            || name.to_string_lossy().starts_with(&id)),
        "{names:?}"
    );
}

#[test]
fn o7_all_output_on_disk_has_one_budget_that_finished_processes_leave_first() {
    let server = Server::with_arguments(&["--output-disk", "8M", "--output-budget", "64M"]);
    let options = ["--output-store", "disk", "--output-max", "4M"];
    let run = |options: &[&str]| {
        let id = start(&server, options, &lines(300_000));
        wait_for("its end", || server.status(&id)["tree_empty"] == true);
        id
    };
    let in_memory = run(&["--output-max", "4M"]);
    let [oldest, older, newest] = [(); 3].map(|()| run(&options));
    let gone = server.run(&["logs", &oldest]);
    assert_eq!((gone.status.code(), gone.stdout.len()), (Some(6), 0));
    for id in [&older, &newest, &in_memory] {
        assert_eq!(server.ok(&["logs", id]), written(300_000));
    }
    // A live one drops its own oldest once there is nothing else.
    let large = start(
        &server,
        &["--output-store", "disk", "--output-max", "8M"],
        &lines(2_000_000),
    );
    wait_for("its end", || server.status(&large)["tree_empty"] == true);
    let output = server.run(&["logs", &large]);
    assert!(
        output.stdout.len() <= 8 << 20 && output.stdout.len() > 5 << 20,
        "{}",
        output.stdout.len()
    );
    assert!(written(2_000_000).as_bytes().ends_with(&output.stdout));
    assert_eq!(server.ok(&["logs", &in_memory]), written(300_000));
    // What is set aside is set aside there.
    let aside = [
        "start",
        "--output-store",
        "disk",
        "--output-policy",
        "kill",
        "--output-max",
        "4M",
        "--",
        "true",
    ];
    let refused = String::from_utf8_lossy(&server.run(&aside).stderr).into_owned();
    assert!(refused.contains("4194304 bytes are left"), "{refused}");
    let above = [
        "start",
        "--output-store",
        "disk",
        "--output-max",
        "9M",
        "--",
        "true",
    ];
    let refused = String::from_utf8_lossy(&server.run(&above).stderr).into_owned();
    assert!(
        refused.contains("must not exceed the server's ceiling of 8388608"),
        "{refused}"
    );
}

#[test]
fn o7_a_server_keeps_output_on_disk_only_when_it_was_told_to_and_can() {
    let server = Server::start();
    let refused = server.run(&["start", "--output-store", "disk", "--", "true"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && text.contains("--output-disk"),
        "{text}"
    );
    assert_eq!(
        server.status(&server.start_process(&[], &["true"]))["output"]["store"],
        "memory"
    );
    // ramfs has no holes.
    let folder = tempfile::tempdir().unwrap();
    let ramfs = "mount -t ramfs -o mode=755 none";
    let refused =
        Server::try_with(OwnDisk::options(&folder, ramfs, &["--output-disk", "8M"])).unwrap_err();
    assert!(
        refused.log.contains("no holes in files in") && refused.log.contains("--state-dir"),
        "{}",
        refused.log
    );
    let check = Command::new(binary("prn"))
        .args([
            "server",
            "check",
            "--output-disk",
            "8M",
            "--state-dir",
            "/proc",
            "-o",
            "json",
        ])
        .output()
        .unwrap();
    assert!(
        !check.status.success()
            && String::from_utf8_lossy(&check.stdout).contains("no files without a name")
    );
}

#[test]
fn o7_output_on_disk_is_gone_with_the_server() {
    let mut disk = OwnDisk::start(TMPFS, &["--output-disk", "8M"]);
    // Keeps the file system there when the server has gone.
    let mounted = File::open(&disk.path).unwrap();
    let free = || fstatvfs(&mounted).unwrap().blocks_free();
    let before = free();
    let id = start(
        &disk.server,
        &["--output-store", "disk", "--output-max", "4M"],
        &lines(300_000),
    );
    assert_eq!(disk.server.ok(&["logs", &id]), written(300_000));
    assert!(before - free() >= 3_000_000 / 4096);
    assert_eq!(disk.server.stop(), Some(0));
    assert_eq!(free(), before);
}
