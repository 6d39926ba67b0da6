//! Namespaces of processes: which, and what is mounted there. A table with reasons, compiled for
//! this host, and tried here first: that a capability is there is no proof that all of it works.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc::{self, c_int};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::chdir;
use prn_ipc_protocol::config::{Accounts, Landlock, Mount, Namespaces, Source, Uncovered};

use crate::host::Host;

/// Of a process of profile default (linux/sched.h).
pub const DEFAULT: c_int = libc::CLONE_NEWNS | libc::CLONE_NEWIPC;
/// Of a process of profile strict, and of the frontend.
pub const STRICT: c_int = DEFAULT | libc::CLONE_NEWNET | libc::CLONE_NEWUTS;

/// Flags of mounts (linux/mount.h).
const OPEN: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);
const CLOSED: MsFlags = OPEN.union(MsFlags::MS_NOEXEC);

/// Longest text of accounts that each process is given a copy of, at its own cost.
const ACCOUNTS_MAX: u64 = 128 * 1024;

/// Processes, and where they are shown before what the host has mounted below is put there, too.
const PROC: &str = "/proc";
const STAGE: &str = "/tmp";

/// What is mounted for a process.
#[derive(Debug)]
pub struct Row {
    /// Why.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for the tables of docs/security/")
    )]
    pub reason: &'static str,
    /// Where: the first of these that there is. None: left out.
    pub targets: &'static [&'static str],
    /// What.
    pub what: What,
    /// Whether for profile strict alone.
    pub is_strict: bool,
}

/// What is mounted.
#[derive(Debug, Clone, Copy)]
pub enum What {
    /// The process's temporary directory.
    Temporary,
    /// Nothing, if there is still something to cover.
    Empty,
    /// A new file system, by its kind, flags, and options.
    New(&'static str, MsFlags, &'static str, Rights),
}

/// What Landlock allows below a new file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// What it allows above it.
    Around,
    /// What it allows below the path that is covered.
    Covered,
    /// All, as in the process's own directories.
    Own,
}

/// In this order, after what covers hidden directories.
pub const MOUNTS: &[Row] = &[
    Row {
        reason: "only its own processes are to be seen; what the host has mounted below its own /proc is put there as well",
        targets: &[PROC],
        what: What::New("proc", CLOSED, "hidepid=invisible", Rights::Covered),
        is_strict: false,
    },
    // Landlock looks for a rule for the root of the namespace's queues, which takes a mount of them.
    Row {
        reason: "POSIX message queues of its own; a host that shows none gets them below what comes next, unseen",
        targets: &["/dev/mqueue", "/tmp"],
        what: What::New("mqueue", CLOSED, "", Rights::Own),
        is_strict: false,
    },
    Row {
        reason: "temporary files: its own temporary directory, $TMPDIR",
        targets: &["/tmp"],
        what: What::Temporary,
        is_strict: false,
    },
    Row {
        reason: "the same",
        targets: &["/var/tmp"],
        what: What::Temporary,
        is_strict: false,
    },
    Row {
        reason: "shared memory of its own, charged to its group, at most half of the machine's",
        targets: &["/dev/shm"],
        what: What::New("tmpfs", OPEN, "mode=1777,size=50%", Rights::Own),
        is_strict: false,
    },
    Row {
        reason: "no socket of a service of the host's",
        targets: &["/run"],
        what: What::New("tmpfs", CLOSED, "mode=0755,size=4k", Rights::Around),
        is_strict: true,
    },
];

/// Where something is mounted, if it is there. No directory that holds one of them may be hidden.
pub fn mount_points() -> impl Iterator<Item = &'static str> {
    MOUNTS.iter().flat_map(|row| row.targets).copied()
}

/// What of this host namespaces are compiled for.
#[derive(Debug)]
pub struct Places {
    state_dir: PathBuf,
    hidden: Vec<PathBuf>,
    accounts: Option<Accounts>,
    /// What is mounted below /proc, in the order in which that was done.
    below_proc: Vec<PathBuf>,
}

impl Places {
    /// Of this host, with this state folder, and directories that no process is to see.
    pub fn survey(host: &Host, state_dir: &Path, hidden: Vec<PathBuf>) -> Self {
        // They are made in /tmp.
        let accounts = Path::new(STAGE).is_dir().then(|| {
            Some(Accounts {
                passwd: accounts("/etc/passwd")?,
                group: accounts("/etc/group")?,
            })
        });
        // Not what mounts itself when somebody looks (autofs(5)): there is nothing yet, and what would
        // be there may fail.
        let mounts = host.mounts.iter().filter(|mount| mount.kind != "autofs");
        let mounts = mounts.map(|mount| mount.path.clone());
        Self {
            state_dir: canonical(state_dir),
            hidden,
            accounts: accounts.flatten(),
            below_proc: mounts.filter(|path| is_below_proc(path)).collect(),
        }
    }

    /// Those of the frontend, which sees nothing but what it is handed.
    pub fn frontend() -> Namespaces {
        Namespaces {
            flags: STRICT,
            accounts: None,
            mounts: Vec::new(),
            uncovered: None,
        }
    }

    /// Those of a process, whose Landlock rules are these.
    pub fn process(&self, is_strict: bool, landlock: Option<&Landlock>) -> Namespaces {
        let rows = MOUNTS.iter().filter(|row| is_strict || !row.is_strict);
        let there = rows.filter_map(|row| {
            let mut targets = row.targets.iter().map(Path::new);
            Some((targets.find(|path| path.is_dir())?, row.what))
        });
        let hidden = self.hidden.iter().map(|path| (path.as_path(), What::Empty));
        let there: Vec<_> = hidden.chain(there).collect();
        let mounts = there.iter().filter_map(|(target, what)| {
            Some(Mount {
                source: source(*what)?,
                target: c_path(target)?,
                rights: landlock.map_or(0, |landlock| rights(*what, target, landlock)),
            })
        });
        Namespaces {
            flags: if is_strict { STRICT } else { DEFAULT },
            accounts: self.accounts.clone(),
            mounts: mounts
                .flat_map(|mount| self.with_what_is_below(mount))
                .collect(),
            uncovered: self.uncovered(&there),
        }
    }

    /// A new /proc keeps what the host has mounted below its own: what a service manager or a container
    /// has made read-only there, or has covered, stays so. It is put together elsewhere first, while
    /// the host's is still to be seen.
    fn with_what_is_below(&self, mount: Mount) -> Vec<Mount> {
        if mount.target.to_bytes() != PROC.as_bytes() || self.below_proc.is_empty() {
            return vec![mount];
        }
        let at = |path: &Path, target: &Path, is_recursive, rights| {
            Some(Mount {
                source: Source::At {
                    path: c_path(path)?,
                    is_recursive,
                },
                target: c_path(target)?,
                rights,
            })
        };
        let staged = Mount {
            target: c_path(Path::new(STAGE)).unwrap_or_default(),
            ..mount.clone()
        };
        let below = self.below_proc.iter().filter_map(|path| {
            let target = Path::new(STAGE).join(path.strip_prefix(PROC).ok()?);
            at(path, &target, false, 0)
        });
        let whole = at(Path::new(STAGE), Path::new(PROC), true, mount.rights);
        std::iter::once(staged).chain(below).chain(whole).collect()
    }

    /// The way to the state folder, if one of these covers it: of several the outermost, below
    /// which nothing is there any more for the others, and of those the last.
    fn uncovered(&self, mounts: &[(&Path, What)]) -> Option<Uncovered> {
        let covering = mounts.iter().filter_map(|(target, what)| {
            let target = canonical(target);
            let below = self.state_dir.strip_prefix(&target).ok()?.to_owned();
            Some((target, below, what))
        });
        let (target, below, what) =
            covering.max_by_key(|(_, below, _)| below.components().count())?;
        let folders = below.components().scan(target, |folder, name| {
            folder.push(name);
            Some(folder.clone())
        });
        let folders =
            folders.map(|folder| CString::new(folder.into_os_string().into_encoded_bytes()));
        Some(Uncovered {
            folders: folders.collect::<Result<_, _>>().ok()?,
            is_in_temporary: matches!(what, What::Temporary),
        })
    }
}

fn c_path(path: &Path) -> Option<CString> {
    CString::new(path.as_os_str().as_bytes()).ok()
}

/// Whether it is there for all processes: what is mounted on a process's own file is not.
fn is_below_proc(path: &Path) -> bool {
    let below = path.strip_prefix(PROC).ok();
    let first = below.and_then(|below| below.components().next());
    first.is_some_and(|first| !first.as_os_str().as_bytes().iter().all(u8::is_ascii_digit))
}

/// Lines of a file of accounts, if everybody may read it and it is not too long.
fn accounts(path: &str) -> Option<Vec<u8>> {
    let metadata = fs::metadata(path).ok()?;
    if metadata.mode() & 0o004 == 0 || metadata.len() > ACCOUNTS_MAX {
        return None;
    }
    let mut text = fs::read(path).ok()?;
    if text.last().is_some_and(|last| *last != b'\n') {
        text.push(b'\n');
    }
    Some(text)
}

/// Without links, as far as it is there.
fn canonical(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn source(what: What) -> Option<Source> {
    Some(match what {
        What::Temporary => Source::Temporary,
        What::Empty => Source::Empty,
        What::New(kind, flags, options, _) => Source::New {
            kind: CString::new(kind).ok()?,
            flags: flags.bits(),
            options: CString::new(options).ok()?,
        },
    })
}

fn rights(what: What, target: &Path, landlock: &Landlock) -> u64 {
    match what {
        What::Temporary | What::Empty | What::New(_, _, _, Rights::Around) => 0,
        What::New(_, _, _, Rights::Own) => landlock.own,
        What::New(_, _, _, Rights::Covered) => landlock
            .rules
            .iter()
            .find(|rule| rule.path.to_bytes() == target.as_os_str().as_bytes())
            .map_or(0, |rule| rule.rights),
    }
}

/// Why there are no namespaces.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Without it there is nothing to try.
    #[error(
        "CAP_SYS_ADMIN is missing (systemd: CapabilityBoundingSet=; containers: --cap-add SYS_ADMIN)"
    )]
    Capability,
    /// As many as there may be.
    #[error(
        "the kernel makes no more of them (sysctl user.max_mnt_namespaces, user.max_ipc_namespaces, user.max_net_namespaces, user.max_uts_namespaces)"
    )]
    Count,
    /// They are forbidden.
    #[error("making them fails: {} (systemd: RestrictNamespaces= or SystemCallFilter=; containers: their seccomp profile)", .0.desc())]
    Unshare(Errno),
    /// The root folder is no mount that could be told apart from the host's.
    #[error("the mounts of / cannot be made this server's own: {} (a chroot whose / is no mount)", .0.desc())]
    Root(Errno),
    /// A mount is forbidden.
    #[error("mounting {target} fails: {} (systemd: SystemCallFilter= without @mount; an AppArmor profile; mounts that a container has locked)", .errno.desc())]
    Mount {
        /// Where.
        target: String,
        /// Why.
        errno: Errno,
    },
}

impl Refused {
    fn unshare(errno: Errno) -> Self {
        if errno == Errno::ENOSPC {
            Self::Count
        } else {
            Self::Unshare(errno)
        }
    }
}

/// Makes them for a thread that ends with them. `has_sys_admin` is whether this program has the
/// capability.
///
/// # Errors
/// What does not work.
pub fn attempt(
    namespaces: &Namespaces,
    state_dir: &Path,
    has_sys_admin: bool,
) -> Result<(), Refused> {
    if !has_sys_admin {
        return Err(Refused::Capability);
    }
    // In place of directories that there are none of yet. It may be made only when the server starts.
    let mut folders = state_dir.ancestors();
    let folder = folders.find(|folder| folder.is_dir());
    let folder = folder.unwrap_or(Path::new("/"));
    let tried = std::thread::scope(|scope| scope.spawn(|| enter(namespaces, folder)).join());
    tried.unwrap_or(Err(Refused::Unshare(Errno::EIO)))
}

/// As a process's child does (`supervisor/src/sys/spawn/namespaces.rs`), with this folder in place
/// of directories. Not tried: files of accounts, the way back to the state folder, rules of paths.
fn enter(namespaces: &Namespaces, folder: &Path) -> Result<(), Refused> {
    const NOTHING: Option<&str> = None;
    unshare(CloneFlags::from_bits_retain(namespaces.flags)).map_err(Refused::unshare)?;
    let slave = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(NOTHING, "/", NOTHING, slave, NOTHING).map_err(Refused::Root)?;
    // This thread's own (unshare(2), CLONE_NEWNS): no mount covers the way to it.
    chdir(folder).map_err(Refused::Root)?;
    for Mount { source, target, .. } in &namespaces.mounts {
        let target = target.as_c_str();
        match source {
            Source::Temporary => mount(Some("."), target, NOTHING, MsFlags::MS_BIND, NOTHING),
            Source::At { path, is_recursive } => {
                let all = if *is_recursive {
                    MsFlags::MS_REC
                } else {
                    MsFlags::empty()
                };
                let path = Some(path.as_c_str());
                mount(path, target, NOTHING, MsFlags::MS_BIND | all, NOTHING)
            }
            Source::Empty => mount(
                Some("tmpfs"),
                target,
                Some("tmpfs"),
                CLOSED,
                Some("size=4k"),
            ),
            Source::New {
                kind,
                flags,
                options,
            } => {
                let (kind, options) = (Some(kind.as_c_str()), Some(options.as_c_str()));
                mount(
                    kind,
                    target,
                    kind,
                    MsFlags::from_bits_retain(*flags),
                    options,
                )
            }
        }
        .map_err(|errno| Refused::Mount {
            target: target.to_string_lossy().into_owned(),
            errno,
        })?;
    }
    Ok(())
}

/// Whether CAP_SYS_ADMIN, 21 of linux/capability.h, is among these effective ones.
pub fn has_sys_admin(capabilities: u64) -> bool {
    capabilities >> 21 & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uncovered(state_dir: &str, is_strict: bool) -> Option<(Vec<String>, bool)> {
        uncovered_beside(&[], state_dir, is_strict)
    }

    fn uncovered_beside(
        hidden: &[&str],
        state_dir: &str,
        is_strict: bool,
    ) -> Option<(Vec<String>, bool)> {
        let places = Places {
            state_dir: state_dir.into(),
            hidden: hidden.iter().map(PathBuf::from).collect(),
            accounts: None,
            below_proc: Vec::new(),
        };
        let found = places.process(is_strict, None).uncovered?;
        let folders = found.folders.iter();
        let folders = folders.map(|folder| folder.to_str().unwrap().to_owned());
        Some((folders.collect(), found.is_in_temporary))
    }

    #[test]
    fn a_state_folder_is_found_again_below_what_covers_it_and_left_alone_elsewhere() {
        assert_eq!(uncovered("/var/lib/prn", true), None);
        assert_eq!(
            uncovered("/tmp/a/b", false),
            Some((vec!["/tmp/a".to_owned(), "/tmp/a/b".to_owned()], true))
        );
        assert_eq!(uncovered("/tmpx/a", false), None);
        let run = canonical(Path::new("/run")).join("prn");
        let run = run.to_str().unwrap();
        assert_eq!(uncovered(run, false), None);
        assert_eq!(uncovered(run, true), Some((vec![run.to_owned()], false)));
    }

    #[test]
    fn a_state_folder_is_found_again_below_what_is_hidden() {
        let below = |folders: [&str; 2]| Some((folders.map(str::to_owned).to_vec(), false));
        assert_eq!(
            uncovered_beside(&["/home"], "/home/a/b", false),
            below(["/home/a", "/home/a/b"])
        );
        assert_eq!(
            uncovered_beside(&["/tmp/a"], "/tmp/a/b", false),
            Some((vec!["/tmp/a".to_owned(), "/tmp/a/b".to_owned()], true)),
            "what is hidden there is covered in turn"
        );
        assert_eq!(uncovered_beside(&["/home"], "/homes/a", false), None);
    }

    #[test]
    fn what_is_hidden_comes_first_in_each_profile() {
        let places = Places::survey(
            &Host::survey(),
            Path::new("/var/lib/prn"),
            vec!["/srv/a".into()],
        );
        for is_strict in [false, true] {
            let mounts = places.process(is_strict, None).mounts;
            let first = Mount {
                source: Source::Empty,
                target: c"/srv/a".into(),
                rights: 0,
            };
            assert_eq!(mounts.first(), Some(&first));
        }
    }

    #[test]
    fn default_has_no_network_of_its_own_and_strict_all_that_default_has() {
        let places = Places::survey(&Host::survey(), Path::new("/var/lib/prn"), Vec::new());
        let [default, strict] = [false, true].map(|is_strict| places.process(is_strict, None));
        assert_eq!(default.flags & libc::CLONE_NEWNET, 0);
        assert_eq!(strict.flags & default.flags, default.flags);
        assert!(
            default
                .mounts
                .iter()
                .all(|mount| strict.mounts.contains(mount))
        );
        assert_eq!(Places::frontend().flags, strict.flags);
    }

    #[test]
    fn landlock_allows_below_a_mount_what_its_row_says() {
        let landlock = Landlock {
            attributes: Vec::new(),
            rules: vec![prn_ipc_protocol::config::Rule {
                path: c"/proc".into(),
                rights: 2,
            }],
            own: 7,
        };
        let below = |what, target: &str| rights(what, Path::new(target), &landlock);
        let new = |rights| What::New("tmpfs", OPEN, "", rights);
        assert_eq!(below(new(Rights::Own), "/dev/shm"), 7);
        assert_eq!(below(new(Rights::Covered), "/proc"), 2);
        assert_eq!(below(new(Rights::Covered), "/run"), 0);
        assert_eq!(below(new(Rights::Around), "/proc"), 0);
        assert_eq!(below(What::Temporary, "/tmp"), 0);
    }

    #[test]
    fn without_the_capability_nothing_is_tried() {
        assert_eq!(
            attempt(&Places::frontend(), Path::new("/"), false),
            Err(Refused::Capability)
        );
    }

    #[test]
    fn a_new_proc_keeps_what_is_mounted_below_the_hosts() {
        let itself = crate::host::Mount {
            path: "/proc/sys/fs/binfmt_misc".into(),
            kind: "autofs".to_owned(),
            ..crate::host::Mount::default()
        };
        let mount = |path: &str| crate::host::Mount {
            path: path.into(),
            ..crate::host::Mount::default()
        };
        let paths = [
            "/proc",
            "/proc/sys",
            "/proc/sys/fs/binfmt_misc",
            "/proc/7/x",
            "/procedure",
        ];
        let host = Host {
            mounts: std::iter::once(itself).chain(paths.map(mount)).collect(),
            ..Host::default()
        };
        let places = Places::survey(&host, Path::new("/var/lib/prn"), Vec::new());
        let shown = |mount: &Mount| {
            let target = mount.target.to_str().unwrap();
            match &mount.source {
                Source::At { path, is_recursive } => {
                    format!("{} {target} {is_recursive}", path.to_str().unwrap())
                }
                Source::New { kind, .. } => format!("{} {target}", kind.to_str().unwrap()),
                Source::Temporary | Source::Empty => target.to_owned(),
            }
        };
        let mounts: Vec<_> = places
            .process(false, None)
            .mounts
            .iter()
            .map(shown)
            .collect();
        assert_eq!(
            mounts[..4],
            [
                "proc /tmp",
                "/proc/sys /tmp/sys false",
                "/proc/sys/fs/binfmt_misc /tmp/sys/fs/binfmt_misc false",
                "/tmp /proc true"
            ]
        );
        let places = Places::survey(&Host::default(), Path::new("/var/lib/prn"), Vec::new());
        let first = &places.process(false, None).mounts[0];
        assert_eq!(shown(first), "proc /proc");
    }
}
