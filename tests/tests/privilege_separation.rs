//! Who runs as whom, and with what.

use prn_tests::procfs::{children, comm, descriptors, status};
use prn_tests::server::Server;
use prn_tests::wait_for;

const NONE: &str = "0000000000000000";
/// CAP_NET_RAW (13), so that ping can be executed at all; no_new_privs keeps everybody from having it.
const BOUNDING: &str = "0000000000002000";

#[test]
fn s1_the_supervisor_is_one_thread_with_four_capabilities() {
    let server = Server::start();
    let status = status(server.supervisor());
    // CHOWN 0, KILL 5, SETGID 6, SETUID 7.
    let kept = "00000000000000e1";
    assert_eq!((&*status["CapEff"], &*status["CapPrm"]), (kept, kept));
    assert_eq!((&*status["CapInh"], &*status["CapAmb"], &*status["CapBnd"]), (NONE, NONE, BOUNDING));
    assert_eq!((&*status["NoNewPrivs"], &*status["Threads"]), ("1", "1"));
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
    // Seen from outside: its root is the empty folder, and its network has but a loopback device that is down.
    assert_eq!(std::fs::read_dir(format!("/proc/{pid}/root/")).unwrap().count(), 0);
    let devices = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap();
    assert_eq!(devices.lines().count(), 3, "{devices}");
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let thread: i32 = thread.unwrap().file_name().to_str().unwrap().parse().unwrap();
        assert_eq!(status(thread)["Seccomp"], "2");
    }
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    for limit in ["Max core file size", "Max processes"] {
        let line = limits.lines().find(|line| line.starts_with(limit)).unwrap();
        assert_eq!(line[limit.len()..].split_whitespace().take(2).collect::<Vec<_>>(), ["0", "0"], "{line}");
    }
    // T17: not dumpable, so that /proc/pid belongs to root.
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(format!("/proc/{pid}/mem")).unwrap().uid(), 0);
    assert_eq!(std::fs::metadata(format!("/proc/{}/mem", server.supervisor())).unwrap().uid(), 0);
}

#[test]
fn the_frontend_holds_only_what_it_was_handed() {
    let server = Server::start();
    let found = descriptors(server.frontend());
    for (number, target) in &found {
        let target = target.to_string_lossy();
        let expected = match number {
            0 | 1 => target == "/dev/null",
            2 => target.ends_with("server.log"),
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
fn j1_j2_j4_a_process_has_three_descriptors_default_signals_a_user_of_its_own_and_no_capability() {
    let server = Server::start();
    let id = server.start_process(&[], &["sleep", "1000"]);
    let other = server.start_process(&[], &["sleep", "1000"]);
    let mut uids = Vec::new();
    for id in [&id, &other] {
        let group = server.cgroup().join("processes").join(id).join("cgroup.procs");
        let pid: i32 = std::fs::read_to_string(group).unwrap().trim().parse().unwrap();
        wait_for("the program", || comm(pid) == "sleep");
        let found = descriptors(pid);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found[0].1.to_str(), Some("/dev/null"));
        assert!(found[1..].iter().all(|(_, target)| target.to_string_lossy().starts_with("pipe:")));
        let status = status(pid);
        for set in ["CapEff", "CapPrm", "CapInh", "CapAmb", "SigBlk", "SigIgn", "SigCgt"] {
            assert_eq!(status[set], NONE, "{set}");
        }
        assert_eq!(status["CapBnd"], BOUNDING);
        assert_eq!((&*status["NoNewPrivs"], &*status["Groups"], &*status["Umask"]), ("1", "", "0022"));
        let uid: u32 = status["Uid"].split('\t').next().unwrap().parse().unwrap();
        assert_eq!(status["Uid"], [&*uid.to_string(); 4].join("\t"));
        assert_eq!(status["Gid"], status["Uid"]);
        assert!(uid >= server.first_uid());
        uids.push(uid);
        let workdir = std::fs::metadata(server.state_dir().join(id)).unwrap();
        use std::os::unix::fs::MetadataExt;
        assert_eq!((workdir.uid(), workdir.gid(), workdir.mode() & 0o7777), (uid, uid, 0o700));
        // A session of its own.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        assert_eq!((fields[2], fields[3]), (&*pid.to_string(), &*pid.to_string()));
    }
    assert_ne!(uids[0], uids[1]);
}

#[test]
fn j3_a_processs_environment_is_the_documented_set_and_what_was_asked_for() {
    let server = Server::start();
    let id = server.start_process(&["--env", "GREETING=hello = world"], &["env"]);
    let mut lines: Vec<String> = server.ok(&["logs", &id]).lines().map(str::to_owned).collect();
    lines.sort();
    let home = format!("HOME={}", server.state_dir().join(&id).display());
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(lines, ["GREETING=hello = world", &home, "LANG=C.UTF-8", path]);
}

#[test]
fn j6_a_process_cannot_signal_or_look_into_either_half_or_another_process() {
    let server = Server::start();
    let other = server.start_process(&[], &["sleep", "1000"]);
    let group = server.cgroup().join("processes").join(&other).join("cgroup.procs");
    let other: i32 = std::fs::read_to_string(group).unwrap().trim().parse().unwrap();
    for pid in [server.supervisor(), server.frontend(), other] {
        let script = format!(
            "kill -0 {pid} 2>/dev/null && echo signalled; cat /proc/{pid}/environ /proc/{pid}/maps 2>/dev/null; ls /proc/{pid}/fd/ 2>/dev/null; echo end"
        );
        let id = server.start_process(&[], &["sh", "-c", &script]);
        assert_eq!(server.ok(&["logs", &id]), "end\n");
    }
}

#[test]
fn j7_a_process_cannot_enter_another_ones_directory_nor_write_to_cgroups() {
    let server = Server::start();
    let other = server.start_process(&[], &["sleep", "1000"]);
    let script = format!(
        "ls {0}/{other} 2>/dev/null && echo entered; ls {0} 2>/dev/null && echo listed; touch {0}/x 2>/dev/null && echo wrote; \
         echo $$ 2>/dev/null > {1}/cgroup.procs && echo moved; echo end",
        server.state_dir().display(),
        server.cgroup().display()
    );
    let id = server.start_process(&[], &["sh", "-c", &script]);
    assert_eq!(server.run(&["logs", &id]).stdout, b"end\n");
}

#[test]
fn the_supervisor_has_one_child_that_is_no_process_and_holds_no_end_of_the_frontends() {
    let server = Server::start();
    assert_eq!(children(server.supervisor()), [server.frontend()]);
}
