//! Resource limits, enforced by the kernel: measured where the controllers are, refused where they
//! are not.

use prn_tests::server::{Options, Server, has_controllers};
use prn_tests::wait_for;

fn ended(server: &Server, id: &str) -> serde_json::Value {
    wait_for("its end", || server.status(id)["tree_empty"] == true);
    server.status(id)
}

#[test]
fn c1_a_host_without_controllers_is_refused_with_the_one_flag_that_lifts_it() {
    if has_controllers() {
        // Then there is nothing to refuse; the guest_ tests below show the limits themselves.
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = prn_tests::pki::Identity::keygen(folder.path(), "server", &[]);
    let output = std::process::Command::new(prn_tests::binary("prn"))
        .args([
            "server",
            "start",
            "--address",
            "127.0.0.1:0",
            "--instance",
            "prn-test-refused",
        ])
        .arg("--state-dir")
        .arg(folder.path().join("state"))
        .arg("--server-cert")
        .arg(&server.certificate)
        .arg("--client-cert")
        .arg(&server.certificate)
        .env("PRN_TLS_KEY", server.key_pem())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error.lines().count(), 1, "{error}");
    for word in ["cpu", "io", "memory", "pids", "--allow-missing-limits"] {
        assert!(error.contains(word), "{word} is missing in: {error}");
    }
}

#[test]
fn a_limit_that_is_not_enforced_is_named_in_the_answer_and_at_the_servers_start() {
    if has_controllers() {
        return;
    }
    let server = Server::start();
    assert!(server.log().contains("NOT enforced"), "{}", server.log());
    let output = server.run(&["start", "--memory", "64M", "--cpu", "0.5", "--", "true"]);
    assert!(output.status.success());
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(
        warning.contains("memory") && warning.contains("cpu"),
        "{warning}"
    );
    let id = String::from_utf8(output.stdout).unwrap();
    let status = server.status(id.trim());
    assert_eq!(
        status["limits_not_enforced"],
        serde_json::json!(["cpu_millis", "memory_bytes"])
    );
}

#[test]
fn a_limit_above_the_ceiling_is_refused_and_named() {
    let server = Server::with_arguments(&["--max-memory", "1G", "--max-pids", "100"]);
    for (flag, value, said) in [
        (
            "--memory",
            "2G",
            "--memory: must not exceed the server's ceiling of 1073741824 bytes (1 GiB)",
        ),
        (
            "--pids",
            "101",
            "--pids: must not exceed the server's ceiling of 100",
        ),
    ] {
        let output = server.run(&["start", flag, value, "--", "true"]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(said), "{error}");
    }
}

#[test]
fn x10_pipes_that_processes_make_large_are_at_nobody_elses_cost() {
    let server = Server::start();
    // F_SETPIPE_SZ, F_GETPIPE_SZ. Two of 1 MiB each, of 34 processes, are more than the kernel lets
    // one user have (pipe-user-pages-soft).
    let grow = "$| = 1; fcntl(STDERR, 1031, 1 << 20); print fcntl(STDOUT, 1031, 1 << 20) . \"\\n\"; sleep 1000";
    let large: Vec<_> = (0..34)
        .map(|_| server.start_process(&[], &["perl", "-e", grow]))
        .collect();
    for id in &large {
        wait_for("a large pipe", || {
            server.ok(&["logs", "--no-follow", id]) == "1048576\n"
        });
    }
    let look = "print fcntl($_, 1032, 0) . \"\\n\" for STDOUT, STDERR";
    let others = server.ok(&["run", "--", "perl", "-e", look]);
    assert_eq!(others, "65536\n65536\n");
    // Of root, whose the supervisor's are, and by whom nothing else was made.
    let (from, _to) = nix::unistd::pipe().unwrap();
    let own = nix::fcntl::fcntl(&from, nix::fcntl::FcntlArg::F_GETPIPE_SZ);
    assert_eq!(own, Ok(65536));
}

#[test]
#[ignore = "guest: needs the memory controller"]
fn guest_c4_a_process_over_its_memory_is_killed_and_the_cause_says_so_and_its_siblings_live() {
    let server = Server::start();
    let sibling = server.start_process(&["--memory", "64M"], &["sleep", "1000"]);
    // A child does the eating: the whole tree goes with it.
    let id = server.start_process(
        &["--memory", "32M"],
        &[
            "sh",
            "-c",
            "head -c 128000000 /dev/zero | tail -c 127000000 | wc -c & wait; sleep 1000",
        ],
    );
    let status = ended(&server, &id);
    assert_eq!(status["exit"]["cause"], "oom-killed", "{status}");
    assert_eq!(
        (&status["exit"]["signal"], &status["exit"]["status"]),
        (&9.into(), &137.into())
    );
    assert_eq!(status["limits"]["memory_bytes"], 32 << 20);
    let peak = status["usage"]["memory_peak_bytes"].as_u64();
    assert!(peak.is_none_or(|peak| peak <= 33 << 20), "{status}");
    assert_eq!(server.status(&sibling)["state"], "running");
}

#[test]
#[ignore = "guest: needs the memory controller"]
fn guest_c5_sigkill_by_a_user_is_not_put_down_to_memory() {
    let server = Server::start();
    let id = server.start_process(&["--memory", "64M"], &["sh", "-c", "kill -9 $$"]);
    assert_eq!(ended(&server, &id)["exit"]["cause"], "signalled");
}

#[test]
#[ignore = "guest: needs the cpu controller"]
fn guest_c7_a_process_gets_the_cpu_time_of_its_limit() {
    let server = Server::start();
    let id = server.start_process(
        &["--cpu", "0.3", "--timeout", "10s", "--grace", "0s"],
        &["sh", "-c", "while :; do :; done"],
    );
    let status = ended(&server, &id);
    let usage = &status["usage"];
    let used =
        usage["cpu_user_usec"].as_u64().unwrap() + usage["cpu_system_usec"].as_u64().unwrap();
    let at = |key: &str| {
        let text = status[key].as_str().unwrap().to_owned();
        let output = std::process::Command::new("date")
            .args(["-d", &text, "+%s.%N"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout)
            .unwrap()
            .trim()
            .parse::<f64>()
            .unwrap()
    };
    let share = used as f64 / 1e6 / (at("ended_at") - at("started_at"));
    assert!(
        (0.27..=0.33).contains(&share),
        "{share} of a CPU instead of 0.3: {status}"
    );
    assert!(usage["cpu_throttled_usec"].as_u64().unwrap() > 0);
    assert_eq!(status["limits"]["cpu_millis"], 300);
}

#[test]
#[ignore = "guest: needs the pids controller"]
fn guest_c6_a_fork_bomb_meets_its_limit_and_other_calls_go_on() {
    let server = Server::start();
    let id = server.start_process(
        &["--pids", "32"],
        &["bash", "-c", ":(){ :|:& };:; sleep 1000"],
    );
    wait_for("the bomb to meet its limit", || {
        let events = server
            .cgroup()
            .join("processes")
            .join(&id)
            .join("pids.events");
        std::fs::read_to_string(events).unwrap_or_default().trim() != "max 0"
    });
    assert_eq!(
        server.ok(&["run", "--", "echo", "still here"]),
        "still here\n"
    );
    let stopped: serde_json::Value =
        serde_json::from_str(&server.ok(&["stop", &id, "--signal", "kill", "-o", "json"])).unwrap();
    assert_eq!(stopped["state"], "stopped");
    assert_eq!(stopped["limits"]["pids"], 32);
    assert!(
        stopped["usage"]["pids_peak"]
            .as_u64()
            .is_none_or(|peak| peak <= 32)
    );
}

#[test]
#[ignore = "guest: needs the io controller and a disk"]
fn guest_c8_a_process_writes_to_the_disk_at_the_rate_of_its_limit() {
    // The guest has a disk at the packaged state folder.
    let state = std::path::Path::new("/var/lib/prn").join(format!("test-{}", std::process::id()));
    std::fs::create_dir_all(&state).unwrap();
    let server = Server::with(Options {
        state_dir: Some(state.clone()),
        ..Options::default()
    });
    let write = "dd if=/dev/zero of=file bs=64K count=128 oflag=direct";
    let id = server.start_process(&["--io-write", "1M"], &["sh", "-c", write]);
    let status = ended(&server, &id);
    let text = server.run(&["logs", &id]).stderr;
    let text = String::from_utf8(text).unwrap();
    // "8388608 bytes (8.4 MB, 8.0 MiB) copied, 8.01 s, 1.0 MB/s"
    let seconds: f64 = text
        .split("copied, ")
        .nth(1)
        .and_then(|t| t.split(' ').next())
        .and_then(|t| t.parse().ok())
        .unwrap();
    let rate = 8.0 * 1024.0 * 1024.0 / seconds;
    assert!(
        (0.8..=1.2).contains(&(rate / 1_048_576.0)),
        "{rate} bytes a second: {text}"
    );
    assert_eq!(
        status["limits"]["io_write_bytes_per_second"],
        1 << 20,
        "{status}"
    );
    assert!(status["usage"]["io_write_bytes"].as_u64().unwrap() >= 8 << 20);
    drop(server);
    std::fs::remove_dir_all(state).unwrap();
}

#[test]
#[ignore = "guest: needs controllers"]
fn guest_c3_limits_are_in_force_from_the_first_instruction_and_nothing_else_is_written() {
    let server = Server::with_arguments(&["--default-pids", "50", "--max-memory", "512M"]);
    let id = server.start_process(&["--cpu", "1.5"], &["cat", "/proc/self/cgroup"]);
    let own = server.ok(&["logs", &id]);
    assert!(own.trim().ends_with(&format!("/processes/{id}")), "{own}");
    let limits = &server.status(&id)["limits"];
    assert_eq!(limits["cpu_millis"], 1500);
    assert_eq!(limits["pids"], 50, "the default");
    assert_eq!(limits["memory_bytes"], 512 << 20, "the ceiling");
    assert!(limits["io_read_bytes_per_second"].is_null());
}

#[test]
#[ignore = "guest: the disk holds no file system that has no device"]
fn guest_c8_an_io_limit_without_a_disk_is_refused_and_not_ignored() {
    // The root of the guest is in memory, and so is this state folder: no disk stands behind
    // either.
    let server = Server::start();
    let output = server.run(&["start", "--io-write", "1M", "--", "true"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && error.contains("--io-write"),
        "{error}"
    );
    let output = server.run(&[
        "start",
        "--io-write",
        "1M",
        "--best-effort-limits",
        "--",
        "true",
    ]);
    assert!(output.status.success());
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("io-write")
    );
}

/// A file system of its own, in a file.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    fn new(make: &[&str], mount: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(
            folder.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o711),
        )
        .unwrap();
        let (image, path) = (folder.path().join("image"), folder.path().join("mounted"));
        std::fs::create_dir(&path).unwrap();
        std::fs::File::create(&image)
            .unwrap()
            .set_len(64 << 20)
            .unwrap();
        let run =
            |command: &mut std::process::Command| assert!(command.status().unwrap().success());
        run(std::process::Command::new("mkfs.ext4")
            .arg("-q")
            .args(make)
            .arg(&image));
        run(std::process::Command::new("mount")
            .args(["-o", mount])
            .arg(&image)
            .arg(&path));
        Self { folder }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("mounted")
    }

    /// What `prn server check` says of workspaces there.
    fn check(&self) -> serde_json::Value {
        let output = std::process::Command::new(prn_tests::binary("prn"))
            .args(["server", "check", "-o", "json", "--state-dir"])
            .arg(self.path().join("state"))
            .output()
            .unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = report.as_array().or(report["findings"].as_array()).unwrap();
        let mut findings = findings.iter();
        findings
            .find(|one| one["name"] == "workspaces")
            .unwrap()
            .clone()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("--lazy")
            .arg(self.path())
            .status();
    }
}

#[test]
#[ignore = "guest: needs a kernel with quotas"]
fn guest_quotas_are_found_where_the_file_system_enforces_them_and_not_where_it_counts() {
    for (make, mount, verdict) in [
        (["-O", "quota"], "loop,usrquota", "ok"),
        // That counts what users have, and refuses nothing.
        (["-O", "quota"], "loop", "limited"),
        (["-O", "^quota"], "loop", "limited"),
    ] {
        let finding = Disk::new(&make, mount).check();
        assert_eq!(finding["verdict"], verdict, "{make:?} {mount}: {finding}");
    }
}

#[test]
#[ignore = "guest: needs a kernel with quotas"]
fn guest_quotas_hold_a_workspace_to_its_bound_and_end_with_it() {
    let disk = Disk::new(&["-O", "quota"], "loop,usrquota");
    let options = |first_uid| Options {
        state_dir: Some(disk.path().join("state")),
        first_uid,
        ..Options::default()
    };
    let write =
        "id -u; dd if=/dev/zero of=file bs=64K count=128 || true; stat --format='size %s' file";
    let run = |server: &Server, options: &[&str]| {
        let id = server.start_process(options, &["sh", "-c", write]);
        assert_eq!(ended(server, &id)["exit"]["cause"], "exited");
        let output = server.run(&["logs", &id]);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let user = text.lines().next().unwrap().to_owned();
        (user, text)
    };
    let mut server = Server::with(options(None));
    server.ok(&["workspace", "create", "w", "--disk", "2M"]);
    let (user, text) = run(&server, &["--workspace", "w"]);
    assert!(text.contains("quota exceeded"), "{text}");
    let size: u64 = (text.lines().find_map(|line| line.strip_prefix("size ")))
        .map(|size| size.parse().unwrap())
        .unwrap();
    assert!(size <= 2 << 20, "{text}");
    // Who is not in it is not bound, and neither is who comes after it with its user id.
    let (other, text) = run(&server, &[]);
    assert!(other != user && !text.contains("quota"), "{text}");
    server.signal(nix::sys::signal::Signal::SIGKILL);
    server.wait();
    let next = Server::with(options(Some(server.first_uid())));
    let (again, text) = run(&next, &[]);
    assert_eq!(again, user);
    assert!(!text.contains("quota"), "{text}");
}
