//! Who runs as whom, and with what.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_tests::procfs::{self, children, comm, descriptors, status};
use prn_tests::server::{Options, Server};
use prn_tests::wait_for;

const NONE: &str = "0000000000000000";
/// CAP_NET_RAW (13), so that ping can be executed at all; no_new_privs keeps everybody from having
/// it.
const BOUNDING: &str = "0000000000002000";

#[test]
fn s1_the_supervisor_is_one_thread_with_five_capabilities() {
    let server = Server::start();
    let status = status(server.supervisor());
    // CHOWN 0, KILL 5, SETGID 6, SETUID 7, SYS_ADMIN 21.
    let kept = "00000000002000e1";
    assert_eq!((&*status["CapEff"], &*status["CapPrm"]), (kept, kept));
    assert_eq!(
        (&*status["CapInh"], &*status["CapAmb"], &*status["CapBnd"]),
        (NONE, NONE, BOUNDING)
    );
    assert_eq!(
        (
            &*status["NoNewPrivs"],
            &*status["Threads"],
            &*status["Seccomp"]
        ),
        ("1", "1", "2")
    );
    assert_eq!(status["Uid"], "0\t0\t0\t0");
    assert_eq!(comm(server.supervisor()), "prn-supervisor");
}

#[test]
fn s2_the_frontend_has_a_user_of_its_own_and_no_capability_in_any_set() {
    let server = Server::start();
    let pid = server.frontend();
    let status = status(pid);
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd"] {
        assert_eq!(status[set], NONE, "{set}");
    }
    let uid = status["Uid"].split('\t').next().unwrap().to_owned();
    assert_ne!(uid, "0");
    assert_eq!(status["Uid"], [&*uid; 4].join("\t"));
    assert_eq!(status["Gid"], [&*uid; 4].join("\t"));
    assert_eq!((&*status["Groups"], &*status["NoNewPrivs"]), ("", "1"));
}

#[test]
fn s2_the_frontend_has_no_network_no_file_and_a_filter_on_every_thread() {
    let server = Server::start();
    let pid = server.frontend();
    for namespace in ["net", "mnt", "ipc", "uts", "user"] {
        let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
        assert_ne!(of(&pid.to_string()), of("self"), "{namespace}");
    }
    // Seen from outside: its root is the empty folder, and its network has but a loopback device
    // that is down.
    assert_eq!(
        std::fs::read_dir(format!("/proc/{pid}/root/"))
            .unwrap()
            .count(),
        0
    );
    let devices = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap();
    assert_eq!(devices.lines().count(), 3, "{devices}");
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let thread: i32 = thread
            .unwrap()
            .file_name()
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(status(thread)["Seccomp"], "2");
        // The supervisor's, what is refused, and what is allowed.
        assert_eq!(status(thread)["Seccomp_filters"], "3");
    }
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    for limit in ["Max core file size", "Max processes"] {
        let line = limits.lines().find(|line| line.starts_with(limit)).unwrap();
        assert_eq!(
            line[limit.len()..]
                .split_whitespace()
                .take(2)
                .collect::<Vec<_>>(),
            ["0", "0"],
            "{line}"
        );
    }
}

#[test]
fn t17_neither_half_can_be_looked_into_or_leaves_a_core_image() {
    let folder = tempfile::tempdir().unwrap();
    // What a host that keeps core images would give them.
    let wrapper = [
        "sh",
        "-c",
        "ulimit -c unlimited && cd \"$0\" && exec \"$@\"",
        folder.path().to_str().unwrap(),
    ];
    let wrapper: Vec<String> = wrapper.map(str::to_owned).to_vec();
    // All that the supervisor has, and no CAP_SYS_PTRACE.
    let supervisors = [
        "setpriv",
        "--bounding-set",
        "-all,+chown,+kill,+setgid,+setuid,+sys_admin",
    ];
    let mut control = Control(
        Command::new("sh")
            .args(&wrapper[1..])
            .args(supervisors)
            .args(["sleep", "1000"])
            .spawn()
            .unwrap(),
    );
    let mut server = Server::with(Options {
        wrapper,
        ..Options::default()
    });
    let (supervisor, frontend) = (server.supervisor(), server.frontend());
    let process = i32::try_from(control.0.id()).unwrap();
    wait_for("the control", || comm(process) == "sleep");

    // The same user with the same capabilities may look into a process if it is dumpable
    // (ptrace(2)), and the files in /proc of one that is not belong to root (proc(5)). Its link and not
    // its memory: that CAP_SYS_ADMIN, which stands for CAP_PERFMON, may read of anybody.
    let may_look = |pid: i32| {
        let path = format!("/proc/{pid}/exe");
        let looked = Command::new(supervisors[0])
            .args(&supervisors[1..])
            .args(["readlink", &path])
            .output()
            .unwrap();
        looked.status.success()
    };
    assert!(may_look(process), "the control can be looked into");
    assert!(!may_look(supervisor));
    let owner = |pid: i32| {
        std::fs::metadata(format!("/proc/{pid}/environ"))
            .unwrap()
            .uid()
    };
    assert_ne!(status(frontend)["Uid"].split('\t').next(), Some("0"));
    assert_eq!(owner(frontend), 0);
    let limits = |pid: i32, kind: usize| {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"))
            .unwrap()
            .to_owned();
        line["Max core file size".len()..]
            .split_whitespace()
            .nth(kind)
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        (limits(process, 0).as_str(), limits(supervisor, 0).as_str()),
        ("unlimited", "0")
    );
    assert_eq!(
        (limits(frontend, 0).as_str(), limits(frontend, 1).as_str()),
        ("0", "0")
    );

    // A fault's signal ends the frontend. Rust's handler takes the first one for a stack that
    // overflows, and lets go.
    wait_for("the frontend's end", || {
        let _ = kill(Pid::from_raw(frontend), Signal::SIGSEGV);
        !procfs::alive(frontend)
    });
    // All signals are blocked in the supervisor, which no fault of its own can be: where it will
    // wake up, it meets an instruction that is none.
    let mut counter = 0;
    wait_for("the supervisor to sleep", || {
        // While it runs, that is all that the file says (proc_pid_syscall(5)).
        let calling = std::fs::read_to_string(format!("/proc/{supervisor}/syscall")).unwrap();
        let place = calling
            .trim()
            .rsplit(" 0x")
            .next()
            .and_then(|hex| u64::from_str_radix(hex, 16).ok());
        counter = place.unwrap_or(0);
        place.is_some()
    });
    let memory = std::fs::File::options()
        .write(true)
        .open(format!("/proc/{supervisor}/mem"))
        .unwrap();
    const UNDEFINED: [u8; 4] = if cfg!(target_arch = "x86_64") {
        [0x0f, 0x0b, 0x0f, 0x0b]
    } else {
        [0; 4]
    };
    memory.write_all_at(&UNDEFINED, counter).unwrap();
    let _ = kill(Pid::from_raw(supervisor), Signal::SIGUSR1);
    let ended = server.wait_status();
    assert_eq!(
        (ended.signal(), ended.core_dumped()),
        (Some(Signal::SIGILL as i32), false)
    );

    kill(Pid::from_raw(process), Signal::SIGSEGV).unwrap();
    let ended = control.0.wait().unwrap();
    let cores: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    if pattern.trim() == "core" {
        assert!(ended.core_dumped(), "the control leaves one");
        assert_eq!(cores.len(), 1, "and nobody else: {cores:?}");
    } else {
        // They go elsewhere on this host.
        assert!(cores.is_empty(), "{cores:?}");
    }
}

#[test]
fn the_frontend_holds_only_what_it_was_handed() {
    let server = Server::start();
    let found = descriptors(server.frontend());
    for (number, target) in &found {
        let target = target.to_string_lossy();
        let expected = match number {
            0 | 1 => target == "/dev/null",
            // The supervisor reads it: the log itself is not the frontend's.
            2 => target.starts_with("pipe:"),
            _ => {
                target.starts_with("socket:")
                    || target.starts_with("anon_inode:")
                    || target.contains("memfd:")
                    || target.ends_with("/.empty")
            }
        };
        assert!(expected, "descriptor {number} leads to {target}: {found:?}");
    }
}

#[test]
fn the_supervisor_has_one_child_that_is_no_process_and_holds_no_end_of_the_frontends() {
    let server = Server::start();
    assert_eq!(children(server.supervisor()), [server.frontend()]);
}

/// A process of the test's own, which ends with it.
struct Control(std::process::Child);

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
