//! Starts, ends and stops: what is left afterwards is nothing, and what is told of it is true.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use prn_tests::server::Server;
use prn_tests::{client, procfs, wait_for};

/// Processes in a cgroup.
fn members(group: &Path) -> Vec<i32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn group(server: &Server, id: &str) -> std::path::PathBuf {
    server.cgroup().join("processes").join(id)
}

/// Stops a process with a short grace time, and checks that nothing of it is left and that a second
/// stop says the same.
fn stop_leaves_nothing(server: &Server, id: &str) {
    let pids = members(&group(server, id));
    assert!(!pids.is_empty(), "nothing to stop");
    let first = server.ok(&["stop", id, "--grace", "1s", "-o", "json"]);
    let first: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!(first["state"], "stopped", "{first}");
    assert!(!group(server, id).exists(), "its group is left");
    assert!(
        !server.state_dir().join(id).exists(),
        "its directory is left"
    );
    for pid in pids {
        assert!(!procfs::alive(pid), "process {pid} lives on");
    }
    let second = server.ok(&["stop", id, "-o", "json"]);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&second).unwrap(),
        first
    );
}

#[test]
fn a_graceful_stop_reaches_each_of_a_thousand_processes() {
    // Their numbers are longer than a page: what is read in one go misses some, and cuts a number
    // in two.
    let server = Server::start();
    let script = r"$SIG{TERM} = sub { syswrite STDOUT, 'x'; exit };
        for (1 .. 1000) { if (!fork) { syswrite STDERR, 'r'; sleep 600; exit } }
        $SIG{TERM} = 'IGNORE'; 1 while wait != -1; syswrite STDOUT, '.'";
    let id = server.start_process(&["--grace", "5m"], &["perl", "-e", script]);
    wait_for("a thousand processes", || {
        server.run(&["logs", "--no-follow", &id]).stderr.len() == 1000
    });
    server.ok(&["stop", &id]);
    assert_eq!(
        server.ok(&["logs", "--stdout", &id]),
        format!("{}.", "x".repeat(1000))
    );
}

#[test]
fn c9_a_process_that_ignores_sigterm_is_gone_after_the_grace_time() {
    let server = Server::start();
    let id = server.start_process(
        &[],
        &[
            "sh",
            "-c",
            "trap '' TERM; echo ready; while :; do sleep 1; done",
        ],
    );
    wait_for("ready", || {
        server.ok(&["logs", &id, "--no-follow"]).contains("ready")
    });
    stop_leaves_nothing(&server, &id);
    let status = server.status(&id);
    assert_eq!(status["exit"]["cause"], "stopped-on-request", "{status}");
    assert_eq!(status["exit"]["status"], 137);
}

#[test]
fn c9_a_process_that_acts_on_sigterm_has_its_grace_time_and_its_last_output_is_kept() {
    let server = Server::start();
    let script = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.1; done";
    let id = server.start_process(&[], &["sh", "-c", script]);
    wait_for("ready", || {
        server.ok(&["logs", &id, "--no-follow"]).contains("ready")
    });
    server.ok(&["stop", &id]);
    assert_eq!(server.ok(&["logs", &id]), "ready\nbye\n");
    let status = server.status(&id);
    assert_eq!(status["exit"]["status"], 3, "{status}");
    assert_eq!(status["exit"]["cause"], "stopped-on-request");
}

#[test]
fn c9_a_process_stopped_by_sigstop_is_gone_after_the_grace_time() {
    let server = Server::start();
    let id = server.start_process(
        &[],
        &[
            "sh",
            "-c",
            "trap '' TERM; kill -STOP $$; while :; do kill -STOP $$; done",
        ],
    );
    wait_for("the process to be stopped", || {
        members(&group(&server, &id)).iter().any(|pid| {
            procfs::status(*pid)
                .get("State")
                .is_some_and(|s| s.starts_with('T'))
        })
    });
    stop_leaves_nothing(&server, &id);
}

#[test]
fn c9_a_double_forked_grandchild_in_a_session_of_its_own_is_gone_too() {
    let server = Server::start();
    let script =
        "(setsid sh -c 'trap \"\" TERM HUP; echo ready; while :; do sleep 1; done' &) ; sleep 1000";
    let id = server.start_process(&[], &["sh", "-c", script]);
    wait_for("ready", || {
        server.ok(&["logs", &id, "--no-follow"]).contains("ready")
    });
    assert!(members(&group(&server, &id)).len() >= 2);
    stop_leaves_nothing(&server, &id);
}

#[test]
fn c9_a_fork_storm_is_gone_after_the_grace_time() {
    let server = Server::start();
    // 40 loops that fork without end, each beside the others.
    let script = "trap '' TERM; for i in $(seq 40); do (while :; do /bin/true; done) & done; echo ready; wait";
    let id = server.start_process(&[], &["sh", "-c", script]);
    wait_for("ready", || {
        server.ok(&["logs", &id, "--no-follow"]).contains("ready")
    });
    stop_leaves_nothing(&server, &id);
}

#[test]
fn sigkill_does_not_wait_for_the_grace_time() {
    let server = Server::start();
    let id = server.start_process(
        &["--grace", "1h"],
        &[
            "sh",
            "-c",
            "trap '' TERM; echo ready; while :; do sleep 1; done",
        ],
    );
    wait_for("ready", || {
        server.ok(&["logs", &id, "--no-follow"]).contains("ready")
    });
    let stopped = server.ok(&["stop", &id, "--signal", "kill", "-o", "json"]);
    assert!(stopped.contains("\"stopped\""), "{stopped}");
}

#[test]
fn the_end_of_the_main_process_is_told_at_once_and_what_it_left_behind_is_killed() {
    let server = Server::start();
    let id = server.start_process(&[], &["sh", "-c", "sleep 60 & echo hi"]);
    let began = Instant::now();
    assert_eq!(server.ok(&["logs", &id]), "hi\n");
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "it waited for the one in the background"
    );
    let status = server.status(&id);
    assert_eq!(
        (&status["main_exited"], &status["tree_empty"]),
        (&true.into(), &true.into()),
        "{status}"
    );
    assert_eq!(
        (&status["exit"]["status"], &status["exit"]["cause"]),
        (&0.into(), &"exited".into())
    );
}

#[test]
fn main_exit_and_an_empty_tree_are_two_facts_when_something_lingers() {
    let server = Server::start();
    let id = server.start_process(
        &["--linger"],
        &["sh", "-c", "(sleep 1000; echo late) & echo hi; exit 4"],
    );
    wait_for("the main process's end", || {
        server.status(&id)["main_exited"] == true
    });
    let status = server.status(&id);
    assert_eq!(
        (
            &status["tree_empty"],
            &status["state"],
            &status["exit"]["status"]
        ),
        (&false.into(), &"running".into(), &4.into())
    );
    stop_leaves_nothing(&server, &id);
    let status = server.status(&id);
    // It ended by itself before anybody stopped the rest.
    assert_eq!(
        (&status["exit"]["status"], &status["exit"]["cause"]),
        (&4.into(), &"exited".into())
    );
}

#[test]
fn l9_every_kind_of_end_is_told_apart() {
    let server = Server::start();
    for code in [0, 1, 7, 125, 126, 127, 128, 137, 255] {
        let id = server.start_process(&[], &["sh", "-c", &format!("exit {code}")]);
        server.run(&["logs", &id]);
        let status = server.status(&id);
        assert_eq!(
            (&status["exit"]["status"], &status["exit"]["cause"]),
            (&code.into(), &"exited".into()),
            "{status}"
        );
    }
    for signal in [1, 2, 6, 9, 15, 31, 34, 64] {
        let id = server.start_process(&[], &["sh", "-c", &format!("kill -{signal} $$; sleep 100")]);
        server.run(&["logs", &id]);
        let status = server.status(&id);
        assert_eq!(status["exit"]["status"], 128 + signal, "{status}");
        assert_eq!(status["exit"]["cause"], "signalled", "{status}");
        assert_eq!(status["exit"]["signal"], signal, "{status}");
    }
}

#[test]
fn a_process_that_runs_too_long_is_stopped_and_says_so() {
    let server = Server::start();
    let id = server.start_process(
        &["--timeout", "300ms", "--grace", "300ms"],
        &["sleep", "1000"],
    );
    server.run(&["logs", &id]);
    assert_eq!(server.status(&id)["exit"]["cause"], "timed-out");
}

#[test]
fn j8_a_program_that_cannot_run_is_an_error_that_names_the_reason_and_leaves_nothing() {
    let server = Server::start();
    let folder = server.folder().join("programs");
    fs::create_dir(&folder).unwrap();
    let program = |name: &str, text: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let cases = [
        ("no-such-program".to_owned(), "not found"),
        ("/no/such/program".to_owned(), "no such file"),
        (program("closed", "#!/bin/sh\n", 0o644), "denied"),
        ("/etc".to_owned(), "denied"),
        (
            program("no-interpreter", "#!/no/such/interpreter\n", 0o755),
            "interpreter",
        ),
        (program("no-format", "just text\n", 0o755), ""),
    ];
    for (program, reason) in cases {
        let output = server.run(&["start", "--", &program]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && output.stdout.is_empty(),
            "{program}: {error}"
        );
        assert!(error.contains(reason), "{program}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let output = server.run(&["start", "--cwd", "/no/such/folder", "--", "true"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("--cwd"));
    assert_eq!(
        server.ok(&["list"]).lines().count(),
        4,
        "the table is not empty"
    );
    assert_eq!(
        fs::read_dir(server.cgroup().join("processes"))
            .unwrap()
            .filter(|e| e.as_ref().unwrap().path().is_dir())
            .count(),
        0
    );
    assert_eq!(left_in_state(&server), 0);
    assert_eq!(
        procfs::children(server.supervisor()).len(),
        1,
        "only the frontend is left, and no zombie"
    );
}

fn left_in_state(server: &Server) -> usize {
    let names = fs::read_dir(server.state_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| !name.to_string_lossy().starts_with('.'))
        .count()
}

#[test]
fn s9_what_a_process_wrote_is_deleted_as_its_user_and_links_lead_nowhere() {
    let server = Server::start();
    let outside = server.folder().join("outside");
    fs::write(&outside, "stays").unwrap();
    let script = format!(
        "mkdir -p a/b/c && touch a/b/c/file && ln -s {0} link && ln -s / root && chmod 0 a/b && chmod 0 . && echo done",
        outside.display()
    );
    let id = server.start_process(&[], &["sh", "-c", &script]);
    assert_eq!(server.ok(&["logs", &id]), "done\n");
    server.ok(&["stop", &id]);
    wait_for("its directory to go", || {
        !server.state_dir().join(&id).exists()
    });
    assert_eq!(fs::read_to_string(outside).unwrap(), "stays");
}

#[test]
fn s9_what_a_killed_process_wrote_is_deleted_too() {
    // Nothing can be started in a group that was killed (Linux 6.18), so its cleaner needs another
    // one.
    let server = Server::start();
    let id = server.start_process(
        &[],
        &["sh", "-c", "mkdir a; touch a/file; echo ready; sleep 1000"],
    );
    wait_for("ready", || {
        server.ok(&["logs", &id, "--no-follow"]).contains("ready")
    });
    server.ok(&["stop", &id, "--signal", "kill"]);
    assert!(!server.state_dir().join(&id).exists(), "{}", server.log());
    assert!(!group(&server, &id).exists());
}

#[test]
#[cfg(target_arch = "x86_64")]
fn l8_a_main_process_that_is_kept_a_zombie_by_its_own_tracer_ends_and_costs_no_busy_loop() {
    let server = Server::start();
    // The child traces its parent (ptrace(2), PTRACE_SEIZE), and never waits for it.
    let script = "$| = 1; if (!fork) { syscall(101, 0x4206, getppid(), 0, 0) == 0 or die; print 'traced'; sleep 1000 } \
                  sleep 1; exit 3";
    let id = server.start_process(&[], &["perl", "-e", script]);
    wait_for("its end", || server.status(&id)["tree_empty"] == true);
    assert_eq!(server.ok(&["logs", &id]), "traced");
    assert_eq!(server.status(&id)["exit"]["status"], 3);
}

#[test]
fn l1_frontends_can_be_killed_again_and_again() {
    let server = Server::start();
    for _ in 0..4 {
        let first = server.frontend();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(first), Signal::SIGKILL).unwrap();
        wait_for("another frontend", || {
            procfs::children(server.supervisor())
                .iter()
                .any(|pid| *pid != first)
        });
        server.ok(&["list"]);
    }
}

#[test]
fn a_repeated_start_returns_the_same_process_and_another_one_under_its_id_is_refused() {
    let server = Server::start();
    let id = "0123456789abcdef0123456789abcdef";
    let start = |command: &str| server.run(&["start", "--id", id, "--", "sleep", command]);
    assert_eq!(String::from_utf8(start("1000").stdout).unwrap().trim(), id);
    let pids = members(&group(&server, id));
    assert_eq!(String::from_utf8(start("1000").stdout).unwrap().trim(), id);
    assert_eq!(
        members(&group(&server, id)),
        pids,
        "a second process was started"
    );
    let refused = start("1001");
    assert!(!refused.status.success());
    assert!(
        String::from_utf8(refused.stderr)
            .unwrap()
            .contains("another specification")
    );
}

#[test]
fn l3_sigterm_stops_all_processes_and_leaves_nothing_behind() {
    let mut server = Server::start();
    let ids: Vec<String> = (0..5)
        .map(|_| server.start_process(&[], &["sh", "-c", "sleep 1000 & sleep 1000"]))
        .collect();
    let pids: Vec<i32> = ids
        .iter()
        .flat_map(|id| members(&group(&server, id)))
        .collect();
    assert!(pids.len() >= 5);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
    assert!(!server.cgroup().exists(), "its cgroup is left");
    assert_eq!(left_in_state(&server), 0);
    assert!(pids.iter().all(|pid| !procfs::alive(*pid)));
}

#[test]
fn l3_a_second_sigterm_does_not_wait_for_grace_times() {
    let mut server = Server::with_arguments(&["--stop-grace", "1h"]);
    let id = server.start_process(
        &[],
        &[
            "sh",
            "-c",
            "trap '' TERM; echo ready; while :; do sleep 1; done",
        ],
    );
    wait_for("ready", || {
        server.ok(&["logs", &id, "--no-follow"]).contains("ready")
    });
    server.signal(Signal::SIGTERM);
    wait_for("the shutdown to begin", || {
        server.log().contains("stopping all processes")
    });
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn l1_a_killed_frontend_is_replaced_and_processes_and_their_output_do_not_notice() {
    let server = Server::start();
    let id = server.start_process(
        &[],
        &[
            "sh",
            "-c",
            "echo before; while [ ! -e go ]; do sleep 0.05; done; echo after",
        ],
    );
    wait_for("the first line", || {
        server.ok(&["logs", &id, "--no-follow"]).contains("before")
    });
    let first = server.frontend();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first), Signal::SIGKILL).unwrap();
    wait_for("another frontend", || server.frontend() != first);
    fs::write(server.state_dir().join(&id).join("go"), "").unwrap();
    assert_eq!(server.ok(&["logs", &id]), "before\nafter\n");
    assert_eq!(server.status(&id)["exit"]["status"], 0);
}

#[test]
fn l2_when_the_supervisor_is_killed_everything_dies_and_the_next_one_sweeps() {
    let mut server = Server::start();
    let id = server.start_process(
        &[],
        &["sh", "-c", "echo x > file; setsid sleep 1000 & sleep 1000"],
    );
    wait_for("both to run", || members(&group(&server, &id)).len() >= 2);
    let pids = members(&group(&server, &id));
    let frontend = server.frontend();
    server.signal(Signal::SIGKILL);
    server.wait();
    wait_for("the frontend's end", || !procfs::alive(frontend));
    // The main process dies with the supervisor; what it started dies when the next server begins.
    wait_for("the main process's end", || {
        pids.iter().any(|pid| !procfs::alive(*pid))
    });
    let mut again = std::process::Command::new(prn_tests::binary("prn"))
        .args([
            "server",
            "start",
            "--address",
            "127.0.0.1:0",
            "--instance",
            &server.instance,
        ])
        .args(if prn_tests::server::has_controllers() {
            &[][..]
        } else {
            &["--allow-missing-limits"][..]
        })
        .args([
            "--first-uid",
            &server.first_uid().to_string(),
            "--uids",
            "256",
        ])
        .arg("--state-dir")
        .arg(server.state_dir())
        .arg("--server-cert")
        .arg(&server.identity.certificate)
        .arg("--client-cert")
        .arg(&server.client.certificate)
        .env("PRN_TLS_KEY", server.identity.key_pem())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(again.stdout.take().unwrap()),
        &mut line,
    )
    .unwrap();
    assert!(line.starts_with("Listening on "), "{line}");
    assert!(
        pids.iter().all(|pid| !procfs::alive(*pid)),
        "something of the earlier run lives on"
    );
    assert!(
        !server.state_dir().join(&id).exists(),
        "a directory of the earlier run is left"
    );
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(again.id().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    assert!(again.wait().unwrap().success());
    assert!(!server.cgroup().exists());
}

#[test]
fn a_second_server_of_the_same_name_or_state_folder_is_refused_and_harms_nothing() {
    let server = Server::start();
    let id = server.start_process(&[], &["sleep", "1000"]);
    let other = tempfile::tempdir().unwrap();
    for (state, instance) in [
        (server.state_dir(), "another"),
        (other.path().join("state"), &*server.instance),
    ] {
        let output = std::process::Command::new(prn_tests::binary("prn"))
            .args([
                "server",
                "start",
                "--address",
                "127.0.0.1:0",
                "--allow-missing-limits",
                "--instance",
                instance,
            ])
            .arg("--state-dir")
            .arg(state)
            .arg("--server-cert")
            .arg(&server.identity.certificate)
            .arg("--client-cert")
            .arg(&server.client.certificate)
            .env("PRN_TLS_KEY", server.identity.key_pem())
            .output()
            .unwrap();
        assert!(!output.status.success());
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("another"), "{error}");
    }
    assert_eq!(server.status(&id)["state"], "running");
    let _ = fs::remove_dir(prn_tests::server::cgroup_mount().join("another"));
}

#[test]
fn c13_a_thousand_starts_leave_descriptors_and_groups_as_they_were() {
    let server = Server::with_arguments(&["--max-finished", "64"]);
    let run = |count: usize| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let mut client = client::connect(&server).await.unwrap();
            for _ in 0..count {
                // It writes something, so that each that is kept has output, which is in two
                // descriptors.
                let request = prn_proto::v1::StartRequest {
                    command: "echo".into(),
                    ..Default::default()
                };
                let id = client
                    .start(request)
                    .await
                    .unwrap()
                    .into_inner()
                    .response
                    .unwrap()
                    .id
                    .unwrap()
                    .id;
                let all = client::collect(client.clone(), client::output_request(&id))
                    .await
                    .unwrap();
                assert!(all.end.is_some());
            }
        });
    };
    run(80);
    let settled = |server: &Server| {
        wait_for("all groups to go", || {
            fs::read_dir(server.cgroup().join("processes"))
                .unwrap()
                .filter(|e| e.as_ref().unwrap().path().is_dir())
                .count()
                == 0
        });
        (
            procfs::descriptors(server.supervisor()).len(),
            procfs::descriptors(server.frontend()).len(),
        )
    };
    let before = settled(&server);
    run(920);
    let after = settled(&server);
    assert!(
        after.0 <= before.0 + 2 && after.1 <= before.1 + 2,
        "descriptors before {before:?}, after {after:?}"
    );
    assert_eq!(
        server.ok(&["list", "-o", "json"]).matches("\"id\"").count(),
        64
    );
}
