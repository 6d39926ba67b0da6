//! Each step fails once: what is not confined does not run, what did not start has left nothing,
//! and what a process made to be hard to delete is deleted, or reported.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use nix::libc;
use nix::sys::signal::Signal;
use prn_tests::server::{Options, Refused, Server, cgroup_mount};
use prn_tests::trace::Trace;
use prn_tests::{deadline, procfs, wait_for, wait_within};

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| word.to_string()).collect()
}

/// Starts a server in which a system call fails: its n-th of the supervisor, and that of each
/// frontend.
fn with_failing(call: &str, how: &str, n: usize) -> Result<Server, Refused> {
    let inject = format!("inject={call}:{how}:when={n}");
    let wrapper = words(&[
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        &format!("trace={call}"),
        "-e",
        &inject,
    ]);
    Server::try_with(Options {
        wrapper,
        ..Options::default()
    })
}

/// No group, directory, zombie or process but the frontend.
fn nothing_left(server: &Server) -> bool {
    let groups = fs::read_dir(server.cgroup().join("processes"))
        .unwrap()
        .map(|entry| entry.unwrap());
    let names = fs::read_dir(server.state_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    !groups.into_iter().any(|entry| entry.path().is_dir())
        && !names
            .into_iter()
            .any(|name| !name.to_string_lossy().starts_with('.'))
        && procfs::children(server.supervisor()) == [server.frontend()]
}

#[test]
fn s5_a_half_that_cannot_be_confined_ends_before_it_serves_anybody() {
    // What a half gives up, by the calls that do it; more of each than either makes.
    let calls = [
        ("seccomp", 3),
        ("capset", 4),
        ("setresuid", 1),
        ("setresgid", 1),
        ("setgroups", 1),
        // The trial, the supervisor's child, the frontend itself.
        ("unshare", 3),
        ("mount", 8),
        ("chroot", 1),
        ("landlock_restrict_self", 1),
        ("prctl", 5),
    ];
    let mut refused = Vec::new();
    for (call, times) in calls {
        for n in 1..=times {
            match with_failing(call, "error=EPERM", n) {
                Err(ended) => {
                    assert!(
                        !ended.status.success() && ended.output.is_empty(),
                        "{call} {n}: {ended:?}"
                    );
                    assert!(!ended.log.contains("panicked"), "{call} {n}: {}", ended.log);
                    refused.push((call, n));
                }
                // It makes this call less often than that, or can do without it: all is in place
                // nonetheless.
                Ok(server) => {
                    // Without namespaces it has no use for CAP_SYS_ADMIN.
                    let supervisor = if server.log().contains("no namespaces: ") {
                        "00000000000000e1"
                    } else {
                        "00000000002000e1"
                    };
                    for (pid, kept) in [
                        (server.supervisor(), supervisor),
                        (server.frontend(), "0000000000000000"),
                    ] {
                        let status = procfs::status(pid);
                        assert_eq!(
                            (&*status["CapEff"], &*status["CapPrm"]),
                            (kept, kept),
                            "{call} {n}"
                        );
                        assert_eq!(
                            (&*status["NoNewPrivs"], &*status["Seccomp"]),
                            ("1", "2"),
                            "{call} {n}"
                        );
                    }
                    // Many hosts refuse user namespaces to who is not root: that one layer is done
                    // without, and said.
                    let root = fs::read_dir(format!("/proc/{}/root/", server.frontend())).unwrap();
                    let layers = root.count() == 0
                        || server
                            .log()
                            .contains("WARNING: this host forbids user namespaces");
                    assert!(layers, "{call} {n}: {}", server.log());
                }
            }
        }
    }
    // One of the supervisor, two of the frontend; the second and third of prctl are the
    // supervisor's last ones that matter.
    for certain in [
        ("seccomp", 1),
        ("seccomp", 2),
        ("capset", 1),
        ("capset", 2),
        ("capset", 3),
        ("prctl", 2),
        ("prctl", 3),
    ] {
        assert!(
            refused.contains(&certain),
            "{certain:?} failed and something served: {refused:?}"
        );
    }
    for call in [
        "setresuid",
        "setresgid",
        "setgroups",
        "chroot",
        "landlock_restrict_self",
    ] {
        assert!(
            refused.contains(&(call, 1)),
            "{call} failed and something served: {refused:?}"
        );
    }
}

#[test]
fn s10_who_can_become_root_again_does_not_run() {
    // The second setresuid is the attempt to be root again: it succeeds, or so the kernel says.
    let refused =
        with_failing("setresuid", "retval=0", 2).expect_err("a frontend that may be root");
    assert!(
        !refused.status.success() && refused.output.is_empty(),
        "{refused:?}"
    );

    let server = Server::with_arguments(&["--allow-profile-none"]);
    for profile in ["default", "strict", "none"] {
        let trace = Trace::of(
            &server,
            &[
                "-e",
                "trace=setresuid",
                "-e",
                "inject=setresuid:retval=0:when=2",
            ],
        );
        let output = server.run(&["run", "--profile", profile, "--", "echo", "ran"]);
        drop(trace);
        assert!(
            !output.status.success() && output.stdout.is_empty(),
            "{profile}: {output:?}"
        );
        wait_for("nothing to be left", || nothing_left(&server));
    }
}

#[test]
fn s5_a_program_whose_confinement_fails_does_not_run() {
    let server = Server::with(Options {
        uids: Some(4),
        below: Some("/tmp".into()),
        ..Options::default()
    });
    // Mounts: that / is a slave, where accounts are made, two files of them, message queues, three
    // for temporary files and shared memory, /proc, the state folder below /tmp; /run for strict.
    let calls = [
        ("landlock_create_ruleset", 1),
        ("landlock_add_rule", 12),
        ("landlock_restrict_self", 1),
        ("seccomp", 1),
        ("unshare", 1),
        ("mount", 11),
        ("mkdir", 2),
    ];
    for (call, times) in calls {
        for n in 1..=times {
            for profile in ["default", "strict"] {
                if profile == "default" && (call, n) == ("mount", 11) {
                    continue;
                }
                let inject = format!("inject={call}:error=EPERM:when={n}");
                let trace = Trace::of(&server, &["-e", &format!("trace={call}"), "-e", &inject]);
                let output = server.run(&["run", "--profile", profile, "--", "echo", "ran"]);
                let text = trace.end();
                assert!(
                    text.contains("(INJECTED)"),
                    "{profile}: {call} is not made {n} times"
                );
                let error = String::from_utf8_lossy(&output.stderr);
                assert!(
                    !output.status.success() && output.stdout.is_empty(),
                    "{profile}: {call} {n}: {error}"
                );
                assert_eq!(error.lines().count(), 1, "{profile}: {call} {n}: {error}");
                wait_for("nothing to be left", || nothing_left(&server));
            }
        }
    }
}

/// The system calls of one start: those of the supervisor, then those of its child alone. Not
/// close(2), which gives a descriptor up whatever it returns, and not those of the link to the
/// frontend, whose failure is a frontend's.
const START: &[(&str, usize)] = &[
    ("mkdirat", 3),
    ("fchownat", 2),
    ("openat", 20),
    ("pipe2", 3),
    ("fchown", 2),
    ("fcntl", 2),
    ("sendmsg", 1),
    ("clone3", 1),
    ("epoll_ctl", 6),
    ("pread64", 1),
    ("read", 1),
    ("close_range", 3),
    ("write", 2),
    ("setsid", 1),
    ("prlimit64", 1),
    ("setgroups", 1),
    ("setresgid", 1),
    ("setresuid", 1),
    ("prctl", 2),
    ("chdir", 2),
    ("rt_sigprocmask", 1),
    ("landlock_add_rule", 3),
    ("unshare", 1),
    ("mount", 9),
    ("seccomp", 1),
    ("execveat", 1),
];

/// Lets each call of a start fail with one of four errors; a leak of one user id in a pool of four
/// would show.
fn every_call_fails_once(profile: &str) {
    let server = Server::with(Options {
        uids: Some(4),
        arguments: words(&["--allow-profile-none"]),
        ..Options::default()
    });
    let (supervisor, frontend) = (server.supervisor(), server.frontend());
    server.ok(&["run", "--profile", profile, "--", "true"]);
    wait_for("nothing to be left", || nothing_left(&server));
    let descriptors = || procfs::descriptors(supervisor).len();
    // The frontend takes over what finished processes have written: theirs stay open, of those that
    // ran.
    let mut open = descriptors();
    let errors = ["ENOMEM", "EMFILE", "EAGAIN", "EIO"];
    for (place, (call, n)) in START
        .iter()
        .flat_map(|(call, times)| (1..=*times).map(move |n| (call, n)))
        .enumerate()
    {
        let error = errors[place % errors.len()];
        let what = format!("{profile}: {call} {n}: {error}");
        let inject = format!("inject={call}:error={error}:when={n}");
        let trace = Trace::of(&server, &["-e", &format!("trace={call}"), "-e", &inject]);
        let output = server.run(&["start", "--profile", profile, "--", "sleep", "1000"]);
        drop(trace);
        let (id, problem) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        if output.status.success() {
            let id = id.trim();
            // The program makes such calls as well: one that it cannot do without may have ended
            // it.
            let status = server.status(id);
            assert!(
                status["state"] == "running" || status["exit"]["status"] != 0,
                "{what}: {status}"
            );
            server.ok(&["stop", id, "--grace", "0s"]);
            open += 1;
        } else {
            assert_eq!(
                (&*id, problem.lines().count()),
                ("", 1),
                "{what}: {problem}"
            );
        }
        wait_for(&what, || nothing_left(&server));
        assert_eq!(
            (server.supervisor(), server.frontend()),
            (supervisor, frontend),
            "{what}"
        );
        assert!(
            descriptors() <= open,
            "{what}: {} descriptors of {open}",
            descriptors()
        );
    }
    for _ in 0..4 {
        server.start_process(&["--profile", profile], &["sleep", "1000"]);
    }
}

#[test]
fn l5_a_start_in_which_a_call_fails_runs_or_leaves_nothing_default() {
    every_call_fails_once("default");
}

#[test]
fn l5_a_start_in_which_a_call_fails_runs_or_leaves_nothing_strict() {
    every_call_fails_once("strict");
}

#[test]
fn l7_signals_go_to_processes_by_descriptor_and_never_by_number() {
    let server = Server::start();
    let trace = Trace::of(
        &server,
        &[
            "-e",
            "trace=kill,tkill,tgkill,rt_sigqueueinfo,rt_tgsigqueueinfo,pidfd_send_signal",
        ],
    );
    for grace in ["0s", "200ms"] {
        let id = server.start_process(&[], &["sh", "-c", "trap '' TERM; sleep 1000 & sleep 1000"]);
        server.ok(&["stop", &id, "--grace", grace]);
    }
    let supervisor = server.supervisor().to_string();
    let text = trace.end();
    let own: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with(&supervisor) && line.contains('('))
        .collect();
    assert!(
        own.iter().any(|line| line.contains("pidfd_send_signal(")),
        "{text}"
    );
    assert!(
        own.iter()
            .all(|line| line.contains("pidfd_send_signal(") || line.contains("--- SIG")),
        "{own:?}"
    );
}

#[test]
fn l12_a_host_that_lacks_what_it_takes_is_refused_clearly_and_left_as_it_was() {
    let folder = tempfile::Builder::new()
        .prefix("prn-test-")
        .tempdir()
        .unwrap();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o711)).unwrap();
    let (path, cgroup) = (folder.path().to_str().unwrap(), cgroup_mount());
    let read_only = |path: &str| {
        format!("mount --bind {path} {path} && mount -o remount,ro,bind {path} {path}")
    };
    let cases = [
        (read_only(path), "Read-only file system"),
        (read_only(cgroup.to_str().unwrap()), "Read-only file system"),
        ("mount -t tmpfs none /sys/fs/cgroup".to_owned(), "cgroup"),
        ("mount -t tmpfs none /dev".to_owned(), "/dev/null"),
    ];
    for (change, reason) in cases {
        let script = format!("{change} && exec \"$0\" \"$@\"");
        let wrapper = words(&["unshare", "--mount", "sh", "-c", &script]);
        let state_dir = Some(folder.path().join("state"));
        let refused = Server::try_with(Options {
            wrapper,
            state_dir,
            ..Options::default()
        })
        .expect_err(&change);
        let errors: Vec<_> = refused
            .log
            .lines()
            .filter(|line| !line.contains("WARNING"))
            .collect();
        assert!(
            !refused.status.success() && refused.output.is_empty(),
            "{change}: {refused:?}"
        );
        assert!(
            errors.len() == 1 && errors[0].contains(reason),
            "{change}: {errors:?}"
        );
    }
    // Who may not see others' processes in /proc needs them neither. A new instance: the options of
    // one are the same in all mount namespaces.
    let script = "mount -t proc -o hidepid=2 none /proc && exec \"$0\" \"$@\"";
    let wrapper = words(&["unshare", "--mount", "sh", "-c", script]);
    let server = Server::with(Options {
        wrapper,
        ..Options::default()
    });
    assert_eq!(
        server.ok(&["run", "--", "sh", "-c", "echo $(ls -d /proc/self)"]),
        "/proc/self\n"
    );
}

#[test]
fn l13_signals_that_the_caller_ignores_and_floods_of_them_change_nothing() {
    let script = "$SIG{$_} = 'IGNORE' for qw(CHLD PIPE HUP INT); exec @ARGV or die";
    let server = Server::with(Options {
        wrapper: words(&["perl", "-e", script]),
        ..Options::default()
    });
    let pids = [server.supervisor(), server.frontend()];
    let id = server.start_process(&[], &["sleep", "1000"]);
    for _ in 0..1000 {
        for signal in [Signal::SIGPIPE, Signal::SIGCHLD] {
            server.signal(signal);
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pids[1]), signal).unwrap();
        }
    }
    // Its end is not lost, as with an ignored SIGCHLD, and neither is its status.
    let output = server.run(&["run", "--", "sh", "-c", "exit 7"]);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!([server.supervisor(), server.frontend()], pids);
    assert_eq!(server.status(&id)["state"], "running");
}

#[test]
fn o4_a_process_cannot_open_what_another_one_has_written() {
    let server = Server::with_arguments(&["--allow-profile-none"]);
    let id = server.start_process(
        &[],
        &["sh", "-c", "echo secret; echo secret >&2; sleep 1000"],
    );
    wait_for("its output", || {
        server.ok(&["logs", &id, "--no-follow"]).contains("secret")
    });
    for pid in [server.supervisor(), server.frontend()] {
        let stores: Vec<_> = procfs::descriptors(pid)
            .into_iter()
            .filter(|(_, target)| target.to_string_lossy().starts_with("/memfd:"))
            .collect();
        assert!(
            !stores.is_empty() || pid != server.supervisor(),
            "no file without a name"
        );
        for (number, target) in stores {
            let mode = fs::metadata(format!("/proc/{pid}/fd/{number}"))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o077, 0, "{target:?}");
            for profile in ["default", "strict", "none"] {
                let script = format!("cat /proc/{pid}/fd/{number} || echo refused");
                let output = server.run(&["run", "--profile", profile, "--", "sh", "-c", &script]);
                assert_eq!(output.stdout, b"refused\n", "{profile}: {target:?}");
            }
        }
    }
}

#[test]
fn s8_links_that_are_swapped_in_during_the_cleaning_lead_nowhere() {
    let server = Server::start();
    let outside = tempfile::Builder::new()
        .prefix("prn-test-")
        .tempdir_in("/var/lib")
        .unwrap();
    // Anybody may delete what is in there: only that no link is followed keeps it.
    for (path, mode) in [("", 0o777), ("below", 0o777)] {
        let path = outside.path().join(path);
        let _ = fs::create_dir(&path);
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        fs::write(path.join("keep"), "stays").unwrap();
    }
    // Many folders, each with a twin that is a link; then they are swapped until the folder is
    // gone.
    let make = format!(
        "for my $top ($ENV{{HOME}}, $ENV{{TMPDIR}}) {{ for my $n (1 .. 300) {{ mkdir \"$top/$n\"; mkdir \"$top/$n/below\"; \
         for my $f (1 .. 20) {{ open my $x, '>', \"$top/$n/below/$f\" }} symlink '{}', \"$top/$n.link\" }} }} \
         $| = 1; print \"made\\n\"; sleep 1000",
        outside.path().display()
    );
    // renameat2(2) with RENAME_EXCHANGE, as the process's user: nobody like that is left when prn
    // cleans.
    let swap = format!(
        "my ($top, $n) = (shift, 0); while (-d $top && $n < 3_000_000) {{ my $i = 1 + $n++ % 300; \
         syscall({}, -100, \"$top/$i\", -100, \"$top/$i.link\", 2) }}",
        libc::SYS_renameat2
    );
    for _ in 0..3 {
        let id = server.start_process(&[], &["perl", "-e", &make]);
        // 12,000 of them: seconds, or minutes of a disk that others use.
        wait_within(4 * deadline(), "its files", || {
            server.ok(&["logs", &id, "--no-follow"]).contains("made")
        });
        let uid = server.status(&id)["uid"].to_string();
        let own = server.state_dir().join(&id);
        let mut swappers: Vec<_> = [own.clone(), own.with_extension("tmp")]
            .iter()
            .map(|top| {
                let ids = [
                    "--clear-groups",
                    "--reuid",
                    &uid,
                    "--regid",
                    &uid,
                    "perl",
                    "-e",
                    &swap,
                ];
                Command::new("setpriv").args(ids).arg(top).spawn().unwrap()
            })
            .collect();
        server.ok(&["stop", &id, "--grace", "0s"]);
        // A cleaner that was led astray says so and leaves the folder, whose user id is not used
        // again.
        wait_for("the end of the cleaning", || {
            !own.exists()
                || server
                    .log()
                    .contains(&format!("process {id}: its directories"))
        });
        for swapper in &mut swappers {
            let _ = swapper.kill();
            swapper.wait().unwrap();
        }
        for path in ["keep", "below/keep"] {
            assert_eq!(
                fs::read_to_string(outside.path().join(path)).unwrap(),
                "stays",
                "{path}"
            );
        }
        assert_eq!(server.ok(&["run", "--", "echo", "served"]), "served\n");
    }
}

#[test]
fn s9_many_files_and_deep_folders_are_deleted_while_the_server_serves() {
    let server = Server::start();
    // 50 000 names and 4096 folders, each in the one before, in both directories.
    let make = "for my $top ($ENV{HOME}, $ENV{TMPDIR}) { chdir $top; open my $x, '>', 'f' or die; \
                for (1 .. 50_000) { link 'f', $_ or die } \
                for (1 .. 4096) { mkdir 'd' or die; chdir 'd' or die } chmod 0, '.' } $| = 1; print \"made\\n\"; sleep 1000";
    let id = server.start_process(&[], &["perl", "-e", make]);
    wait_for("its files", || {
        server.ok(&["logs", &id, "--no-follow"]).contains("made")
    });
    let own = server.state_dir().join(&id);
    let mut stop = server
        .prn(&["stop", &id, "--grace", "0s"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let given_up = format!(" process=\"{id}\"");
    let mut served = 0;
    wait_for("the files to go", || {
        assert_eq!(server.ok(&["run", "--", "echo", "served"]), "served\n");
        let left = own.exists() || own.with_extension("tmp").exists();
        served += u32::from(left);
        // The cleaner has ten seconds of a machine that others may use: then the rest is the next
        // server's.
        !left || server.log().contains(&given_up)
    });
    assert!(stop.wait().unwrap().success());
    assert!(
        served > 0,
        "the deletion was over before anything else could be asked for"
    );
    // Neither the files nor who made them is in the way of anything.
    wait_for("groups to go", || {
        server.ok(&["list", "-o", "json"]).contains(&id)
            && !server.cgroup().join("processes").join(&id).exists()
    });
}
