//! What the server needs of its host, and what each missing thing costs. The same list serves
//! `check` and `start`.

use std::fs::File;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, SpliceFFlags, fallocate, open, splice};
use nix::sys::stat::Mode;
use nix::unistd::{pipe2, write};
use prn_ipc_protocol::config::processes_for;
use prn_ipc_protocol::fds::quota;
use prn_proto::units::show_size;
use serde::Serialize;

use crate::confinement::Offer;
use crate::host::{self, Host, missing_controllers};
use crate::options::Options;
use crate::plan::FINISHED;
use crate::warning::{SHARED, TRACED};

/// How good a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All that prn can use.
    Ok,
    /// The server works, with less.
    Limited,
    /// It is not there.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// What.
    pub name: &'static str,
    /// How good it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What that costs, and what helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
    /// The server does not start because of it.
    pub blocks: bool,
}

impl Finding {
    fn new(name: &'static str, verdict: Verdict, found: impl Into<String>) -> Self {
        Self {
            name,
            verdict,
            found: found.into(),
            cost: None,
            blocks: verdict == Verdict::Missing,
        }
    }

    fn costs(self, cost: impl Into<String>) -> Self {
        Self {
            cost: Some(cost.into()),
            ..self
        }
    }

    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self::new(name, Verdict::Ok, found)
    }

    fn limited(name: &'static str, found: impl Into<String>, cost: impl Into<String>) -> Self {
        Self::new(name, Verdict::Limited, found).costs(cost)
    }

    fn blocking(name: &'static str, found: impl Into<String>, cost: impl Into<String>) -> Self {
        Self::new(name, Verdict::Missing, found).costs(cost)
    }
}

/// What keeps the server from starting, on one line; `None` if nothing does.
pub fn blockers(findings: &[Finding]) -> Option<String> {
    let blocking = || findings.iter().filter(|finding| finding.blocks);
    let controllers: Vec<_> = blocking()
        .filter_map(|finding| finding.name.strip_prefix(CONTROLLER))
        .collect();
    let limits = (!controllers.is_empty()).then(|| {
        format!(
            "the cgroup controllers {} are missing, so limits cannot be enforced; --allow-missing-limits starts without",
            controllers.join(", ")
        )
    });
    let others = blocking()
        .filter(|finding| !finding.name.starts_with(CONTROLLER))
        .map(|finding| {
            let cost = finding.cost.as_deref().unwrap_or_default();
            format!("{}: {}; {cost}", finding.name, finding.found)
        });
    let all: Vec<_> = others.chain(limits).collect();
    if all.is_empty() {
        None
    } else {
        Some(all.join("; "))
    }
}

/// How the names of findings about controllers begin.
const CONTROLLER: &str = "controller ";

/// What the supervisor cannot do without, now or at its start (capabilities(7)): bit and name.
const CAPABILITIES: [(u32, &str); 5] = [
    (0, "CHOWN"),
    (5, "KILL"),
    (6, "SETGID"),
    (7, "SETUID"),
    (8, "SETPCAP"),
];

/// Looks at everything.
pub fn findings(host: &Host, options: &Options) -> Vec<Finding> {
    let mut findings = vec![
        kernel(host),
        privilege(host),
        capabilities(host),
        cgroup(host, options),
    ];
    if host.cgroup2.is_some() {
        findings.push(if host.cgroup_kill {
            Finding::ok("cgroup.kill", "present")
        } else {
            Finding::blocking(
                "cgroup.kill",
                "absent",
                "a process tree could not be stopped for sure (Linux 5.14 has it)",
            )
        });
        findings.extend(controllers(host, options));
        findings.push(since(
            host,
            "memory.peak",
            (5, 19),
            "the largest memory use of a process is not reported",
        ));
        findings.push(since(
            host,
            "pids.peak",
            (6, 1),
            "the largest number of tasks of a process is not reported",
        ));
    }
    findings.push(disks(host, options));
    findings.push(seccomp(host));
    findings.push(landlock(host));
    let namespaces = namespaces(host, options);
    let has_namespaces = namespaces.verdict == Verdict::Ok;
    findings.push(namespaces);
    findings.push(match host.no_user_namespaces {
        None => Finding::ok("user namespaces", "allowed for ordinary users"),
        Some(why) => Finding::limited(
            "user namespaces",
            why,
            "the frontend's root is not empty, and it has no namespaces at all where processes have none",
        ),
    });
    findings.push(uids(host, options));
    findings.push(state_dir(options.state_dir()));
    if options.has_output_disk() {
        findings.push(output_disk(options.state_dir()));
    }
    let folder = existing(options.state_dir());
    let has_quota = File::open(&folder).is_ok_and(quota::works);
    findings.push(if host.traces_former_root {
        Finding::limited("workspaces", "none", TRACED)
    } else {
        workspaces(&folder, has_quota, has_namespaces)
    });
    findings.push(ping(host, options));
    findings.push(open_files(host, options));
    findings.push(Finding::ok("memory", show_size(host.memory)));
    findings
}

fn kernel(host: &Host) -> Finding {
    if host.kernel_since(5, 14) {
        Finding::ok("kernel", &host.kernel.1)
    } else {
        Finding::limited(
            "kernel",
            &host.kernel.1,
            "prn is made for Linux 5.14 and later",
        )
    }
}

/// Whether this is root: the first thing to ask, because an ordinary user is stopped by every file.
pub fn privilege(host: &Host) -> Finding {
    if host.uid == 0 {
        Finding::ok("user", "root")
    } else {
        let cost = "the server must be started by root: processes get user ids of their own (use sudo, or the service)";
        Finding::blocking("user", format!("user id {}", host.uid), cost)
    }
}

fn capabilities(host: &Host) -> Finding {
    let missing: Vec<_> = CAPABILITIES
        .iter()
        .filter(|(bit, _)| host.capabilities.checked_shr(*bit).unwrap_or(0) & 1 == 0)
        .map(|(_, name)| format!("CAP_{name}"))
        .collect();
    if missing.is_empty() {
        return Finding::ok("capabilities", "CHOWN, KILL, SETGID, SETUID, SETPCAP");
    }
    let cost = "the supervisor cannot give processes their user ids, stop them, or drop its own privileges";
    Finding {
        blocks: host.uid == 0,
        ..Finding::blocking(
            "capabilities",
            format!("without {}", missing.join(", ")),
            cost,
        )
    }
}

fn cgroup(host: &Host, options: &Options) -> Finding {
    let name = "cgroup v2";
    let Some(mount) = &host.cgroup2 else {
        let cost = "process trees could be neither limited nor stopped for sure: boot with systemd.unified_cgroup_hierarchy=1";
        return Finding::blocking(name, "not mounted", cost);
    };
    let path = mount.path.display();
    if mount.read_only {
        return Finding::blocking(
            name,
            format!("{path} is read-only"),
            "no group can be made: mount it read-write",
        );
    }
    if !options.delegated_cgroup {
        return Finding::ok(name, format!("mounted at {path}"));
    }
    match &host.own_cgroup {
        Some(own) if own != &mount.path => {
            Finding::ok(name, format!("own group {}", own.display()))
        }
        Some(_) | None => {
            let cost = "--delegated-cgroup is for a service manager that sets Delegate=yes: leave it out elsewhere";
            Finding::blocking(
                name,
                format!("mounted at {path}, but this process has no group of its own there"),
                cost,
            )
        }
    }
}

fn controllers(host: &Host, options: &Options) -> Vec<Finding> {
    let offered = if options.delegated_cgroup {
        &host.own_controllers
    } else {
        &host.mount_controllers
    };
    let missing = missing_controllers(offered);
    let blocks = !options.allow_missing_limits;
    host::CONTROLLERS
        .into_iter()
        .map(|controller| {
            let (name, lost) = match controller {
                "cpu" => ("controller cpu", "CPU limits"),
                "io" => ("controller io", "disk limits"),
                "memory" => ("controller memory", "memory limits"),
                _ => ("controller pids", "limits of tasks"),
            };
            if !missing.contains(&controller) {
                return Finding::ok(name, "available");
            }
            let rest = if blocks {
                "cannot be enforced: --allow-missing-limits starts without"
            } else {
                "are NOT enforced"
            };
            Finding {
                blocks,
                ..Finding::blocking(name, "missing", format!("{lost} {rest}"))
            }
        })
        .collect()
}

fn since(host: &Host, name: &'static str, release: (u32, u32), cost: &str) -> Finding {
    if host.kernel_since(release.0, release.1) {
        Finding::ok(name, "present")
    } else {
        Finding::limited(
            name,
            format!("since Linux {}.{}", release.0, release.1),
            cost,
        )
    }
}

fn disks(host: &Host, options: &Options) -> Finding {
    let disks = host::limited_disks(host, options.state_dir());
    if disks.is_empty() {
        return Finding::limited(
            "disks",
            "none below / and the state folder",
            "disk limits have nothing to apply to",
        );
    }
    let names: Vec<_> = disks
        .iter()
        .map(|disk| format!("{}:{}", disk.major, disk.minor))
        .collect();
    Finding::ok("disks", format!("limits apply to {}", names.join(" and ")))
}

fn seccomp(host: &Host) -> Finding {
    if host.seccomp {
        Finding::ok("seccomp", "available")
    } else {
        let cost = "system calls of the server's halves and of processes are not filtered, and profile strict is refused";
        Finding::limited("seccomp", "absent", cost)
    }
}

fn landlock(host: &Host) -> Finding {
    // ABI versions by the release that brought them (landlock(7)); distributions may have more.
    const ABIS: [((u32, u32), u32); 7] = [
        ((6, 15), 7),
        ((6, 12), 6),
        ((6, 10), 5),
        ((6, 7), 4),
        ((6, 2), 3),
        ((5, 19), 2),
        ((5, 13), 1),
    ];
    let abi = ABIS
        .iter()
        .find(|(release, _)| host.kernel.0 >= *release)
        .map(|(_, abi)| *abi);
    let cost = "processes can write wherever their user ids let them, profile strict is refused, and the frontend is confined without it";
    match (host.landlock, abi) {
        (Some(true), Some(abi)) => {
            Finding::ok("Landlock", format!("active, ABI {abi} by its release"))
        }
        (None, Some(abi)) => Finding::ok(
            "Landlock",
            format!("unknown, ABI {abi} by the kernel's release"),
        ),
        (Some(true) | None, None) => Finding::limited("Landlock", "since Linux 5.13", cost),
        (Some(false), _) => Finding::limited(
            "Landlock",
            "not active (lsm= on the kernel's command line)",
            cost,
        ),
    }
}

/// Tries them, as the server's start does once more when it has claimed its folders.
fn namespaces(host: &Host, options: &Options) -> Finding {
    // What is wrong with paths is said by the server's start, which has the file that they are in.
    let paths = options.paths.resolve(options.state_dir());
    let hidden = paths.unwrap_or_default().hidden;
    match Offer::survey(host, options.state_dir(), hidden).namespaces {
        Ok(_) => Finding::ok("namespaces", "of each process's own"),
        Err(why) => Finding::limited("namespaces", why.to_string(), SHARED),
    }
}

fn uids(host: &Host, options: &Options) -> Finding {
    let (first, count) = (options.first_uid(), options.uids());
    let shown = format!(
        "{first} to {}",
        first.saturating_add(count.saturating_sub(1))
    );
    match host::named_id_in(&host.named_ids, first, count) {
        None => Finding::ok("user ids of processes", shown),
        Some(id) => Finding::blocking(
            "user ids of processes",
            format!("{shown}, but {id} is in /etc/passwd or /etc/group"),
            "processes would be that user: choose others with --first-uid and --uids",
        ),
    }
}

fn state_dir(path: &Path) -> Finding {
    let shown = path.display();
    match host::closed_ancestor(path) {
        None => Finding::ok("state folder", shown.to_string()),
        Some(closed) => Finding::blocking(
            "state folder",
            format!(
                "{shown} is below {}, which others cannot pass",
                closed.display()
            ),
            "processes could not enter their directories: choose another --state-dir",
        ),
    }
}

/// The folder, or what it will be made in when the server starts.
fn existing(folder: &Path) -> PathBuf {
    let folder = std::path::absolute(folder).unwrap_or_default();
    let mut ancestors = folder.ancestors();
    let existing = ancestors.find(|folder| folder.exists());
    existing.unwrap_or(Path::new("/")).to_owned()
}

/// What becomes of a workspace that would take more of the disk than it may.
fn workspaces(folder: &Path, has_quota: bool, has_namespaces: bool) -> Finding {
    let name = "workspaces";
    let unbounded = "without --max-workspace-disk one that asks for no bound of the disk has none";
    if has_quota && has_namespaces {
        let found = format!("the file system holds each to its bound (quota); {unbounded}");
        return Finding::ok(name, found);
    }
    let (what, how) = if has_quota {
        ("quotas take what namespaces take", "see namespaces")
    } else {
        (
            "the file system enforces no quotas of users",
            "ext4: tune2fs -O quota while it is not mounted, then the mount option usrquota; XFS: the mount option uquota",
        )
    };
    Finding::limited(
        name,
        format!("{what} ({}), so bounds are watched", folder.display()),
        format!(
            "all processes of a workspace that is above its bound of the disk are killed, a moment later ({how}); {unbounded}"
        ),
    )
}

/// Does there what the supervisor does with output: a file without a name, bytes from a pipe, a
/// hole in their place.
fn output_disk(state_dir: &Path) -> Finding {
    let name = "output on disk";
    let folder = &existing(state_dir);
    let works = || {
        let flags = OFlag::O_TMPFILE | OFlag::O_EXCL | OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let file =
            open(folder, flags, Mode::S_IRUSR).map_err(|errno| ("files without a name", errno))?;
        let (from, to) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| ("pipes", errno))?;
        let moved = write(&to, b"x")
            .and_then(|_| splice(from, None, &file, Some(&mut 0), 1, SpliceFFlags::empty()));
        moved.map_err(|errno| ("splice", errno))?;
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(&file, hole, 0, 4096).map_err(|errno| ("holes in files", errno))
    };
    match works() {
        Ok(()) => Finding::ok(name, format!("can be kept in {}", folder.display())),
        Err((_, Errno::ENOSPC | Errno::EDQUOT)) => Finding::limited(
            name,
            format!("{} is full", folder.display()),
            "output on disk is lost until it is not",
        ),
        Err((what, errno)) => Finding::blocking(
            name,
            format!("no {what} in {}: {}", folder.display(), errno.desc()),
            "leave out --output-disk, or choose a --state-dir on another file system: ext4, XFS, Btrfs and tmpfs will do",
        ),
    }
}

fn ping(host: &Host, options: &Options) -> Finding {
    let name = "ping_group_range";
    let (first, count) = (options.first_uid(), options.uids());
    let last = first.saturating_add(count.saturating_sub(1));
    match host.ping_group_range {
        Some((from, to)) if from <= first && last <= to => {
            Finding::ok(name, format!("{from} to {to}"))
        }
        other => {
            let found = match other {
                Some((from, to)) if from <= to => format!("{from} to {to}"),
                _ => "nobody".to_owned(),
            };
            let cost =
                format!("processes cannot ping: sysctl net.ipv4.ping_group_range='{first} {last}'");
            Finding::limited(name, found, cost)
        }
    }
}

fn open_files(host: &Host, options: &Options) -> Finding {
    let hard = host.open_files.1;
    let finished = options.max_finished.unwrap_or(FINISHED);
    let processes = processes_for(hard, finished).min(options.uids());
    let found = format!("{hard}, enough for {processes} processes at one time");
    if processes == options.uids() {
        Finding::ok("open files", found)
    } else {
        let cost = format!(
            "fewer than --uids ({}): raise the hard limit (LimitNOFILE=, ulimit -Hn), or lower --max-finished",
            options.uids()
        );
        Finding::limited("open files", found, cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::CgroupMount;
    use crate::options::{FIRST_UID, UIDS};

    fn good() -> Host {
        Host {
            kernel: ((6, 1), "6.1.0".into()),
            capabilities: u64::MAX,
            cgroup2: Some(CgroupMount {
                path: "/sys/fs/cgroup".into(),
                root: "/".into(),
                read_only: false,
            }),
            own_cgroup: Some("/sys/fs/cgroup/system.slice/prn.service".into()),
            mount_controllers: host::CONTROLLERS.map(str::to_owned).into(),
            own_controllers: host::CONTROLLERS.map(str::to_owned).into(),
            cgroup_kill: true,
            ..Host::default()
        }
    }

    fn blocking(host: &Host, options: &Options) -> Vec<&'static str> {
        findings(host, options)
            .iter()
            .filter(|finding| finding.blocks)
            .map(|finding| finding.name)
            .collect()
    }

    #[test]
    fn a_good_host_blocks_nothing() {
        assert!(blocking(&good(), &Options::default()).is_empty());
        assert_eq!(blockers(&findings(&good(), &Options::default())), None);
        assert!(
            blocking(
                &good(),
                &Options {
                    delegated_cgroup: true,
                    ..Options::default()
                }
            )
            .is_empty()
        );
    }

    #[test]
    fn c1_each_missing_controller_is_listed_with_the_one_flag() {
        let host = Host {
            mount_controllers: vec!["cpu".into(), "pids".into()],
            ..good()
        };
        assert_eq!(
            blocking(&host, &Options::default()),
            ["controller io", "controller memory"]
        );
        let line = blockers(&findings(&host, &Options::default())).unwrap();
        assert!(
            line.contains("io, memory") && line.contains("--allow-missing-limits"),
            "{line}"
        );
        assert!(
            blocking(
                &host,
                &Options {
                    allow_missing_limits: true,
                    ..Options::default()
                }
            )
            .is_empty()
        );
    }

    #[test]
    fn what_no_flag_can_lift_blocks() {
        let allowed = Options {
            allow_missing_limits: true,
            ..Options::default()
        };
        assert_eq!(
            blocking(
                &Host {
                    cgroup2: None,
                    ..good()
                },
                &allowed
            ),
            ["cgroup v2"]
        );
        assert_eq!(
            blocking(
                &Host {
                    cgroup_kill: false,
                    ..good()
                },
                &allowed
            ),
            ["cgroup.kill"]
        );
        assert_eq!(
            blocking(
                &Host {
                    uid: 1000,
                    ..good()
                },
                &allowed
            ),
            ["user"]
        );
        assert_eq!(
            blocking(
                &Host {
                    capabilities: 0xff,
                    ..good()
                },
                &allowed
            ),
            ["capabilities"]
        );
        let named = Host {
            named_ids: [FIRST_UID + 7].into(),
            ..good()
        };
        assert_eq!(blocking(&named, &allowed), ["user ids of processes"]);
        let outside = Host {
            own_cgroup: None,
            ..good()
        };
        assert_eq!(
            blocking(
                &outside,
                &Options {
                    delegated_cgroup: true,
                    ..Options::default()
                }
            ),
            ["cgroup v2"]
        );
    }

    #[test]
    fn o7_output_on_disk_needs_files_without_names_and_holes_in_them() {
        let finding = |folder: &Path| output_disk(&folder.join("not/there/yet"));
        assert_eq!(finding(&std::env::temp_dir()).verdict, Verdict::Ok);
        let refused = finding(Path::new("/proc"));
        assert!(
            refused.blocks && refused.found.contains("/proc"),
            "{refused:?}"
        );
        assert!(refused.cost.unwrap().contains("--output-disk"));
    }

    #[test]
    fn what_bounds_a_workspaces_disk_and_how_to_change_it_is_said() {
        let finding = |quota, namespaces| workspaces(Path::new("/state"), quota, namespaces);
        let enforced = finding(true, true);
        assert!(enforced.verdict == Verdict::Ok && enforced.found.contains("quota"));
        let watched = [
            finding(false, true),
            finding(true, false),
            finding(false, false),
        ];
        let helps = ["tune2fs -O quota", "namespaces", "uquota"];
        for (watched, help) in watched.into_iter().zip(helps) {
            assert_eq!(watched.verdict, Verdict::Limited);
            assert!(!watched.blocks && watched.found.contains("/state"));
            let cost = watched.cost.unwrap();
            assert!(
                cost.contains(help) && cost.contains("--max-workspace-disk"),
                "{cost}"
            );
        }
    }

    #[test]
    fn ping_needs_all_group_ids_of_processes_in_the_range() {
        let verdict = |range| {
            ping(
                &Host {
                    ping_group_range: range,
                    ..good()
                },
                &Options::default(),
            )
            .verdict
        };
        assert_eq!(verdict(Some((0, 2_147_483_647))), Verdict::Ok);
        assert_eq!(
            verdict(Some((FIRST_UID, FIRST_UID + UIDS - 1))),
            Verdict::Ok
        );
        assert_eq!(
            verdict(Some((FIRST_UID, FIRST_UID + UIDS - 2))),
            Verdict::Limited
        );
        assert_eq!(verdict(Some((1, 0))), Verdict::Limited);
        assert_eq!(verdict(None), Verdict::Limited);
    }
}
