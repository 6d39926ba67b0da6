//! Claiming what a server has to itself on this machine: its state folder and its cgroup tree, both
//! locked, and free of what an earlier run left behind.
//!
//! Whoever can open a folder can lock it (flock(2)), so neither folder can be opened by others:
//! they may pass, at most (mode 0711). A lock on the group that somebody got hold of all the same,
//! a process of an earlier run for one, keeps nobody from starting: a server is where its
//! supervisor is, in the group that nobody but root can put a process in.
//!
//! Runs as root, in the process that becomes the supervisor, before anybody can connect. What it
//! opens here is all that the supervisor knows of the two: it looks up nothing by path.
//!
//! ```text
//! <group>/supervisor/      the supervisor, and nothing else
//! <group>/frontend/        limits of the frontend, which is in a group below
//! <group>/processes/<id>/  one for each process
//! ```

pub mod settling;
pub mod uids;

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use prn_ipc_protocol::fds::quota;
use prn_ipc_protocol::fds::tools::CLEANER;
use prn_ipc_protocol::types::WorkspaceName;
use prn_proto::id::ProcessId;

use crate::host::{CONTROLLERS, Host, cgroup_path, parse_own_cgroup};
use crate::warning::Warning;
use settling::{PAUSE, SETTLING, is_free};
use uids::UidsInUse;

/// How long processes of an earlier run have to die.
const DEATH: Duration = Duration::from_secs(5);

/// Mode of the groups that others would find processes in: who knows a name may pass.
const PASSABLE: u32 = 0o711;

/// How long the cleaner of one directory has.
const CLEANING: Duration = Duration::from_secs(10);

/// Bytes of the supervisor's memory that the kernel does not take back from it (memory.min,
/// cgroup-v2.rst).
const SUPERVISOR_MEMORY: &str = "67108864";

/// Tasks of the frontend: its threads.
const FRONTEND_TASKS: &str = "64";

/// Most groups of processes: more than there can be processes (cgroup.max.descendants,
/// cgroup-v2.rst).
const GROUPS: &str = "100000";

/// Why they could not be claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// A file or folder refused.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Another server has the state folder.
    #[error("another server uses the state folder {}: give this one another --state-dir and --instance", .0.display())]
    StateInUse(PathBuf),
    /// Another server has the cgroup.
    #[error("another server uses the cgroup {}: give this one another --instance", .0.display())]
    CgroupInUse(PathBuf),
    /// Another server has some of the user ids.
    #[error(transparent)]
    Uids(#[from] UidsInUse),
    /// A group of an earlier run could not be emptied.
    #[error("processes of an earlier run in {} cannot be killed", .0.display())]
    Leftover(PathBuf),
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ClaimError {
    let path = path.to_owned();
    move |source| ClaimError::File { path, source }
}

/// Where cgroups go. Each path is a directory of a cgroup2 file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cgroup {
    /// This process's own group, which the service manager has delegated to it (Delegate=,
    /// systemd.resource-control(5)).
    Delegated(PathBuf),
    /// A group to make, below one that nobody else manages, and to remove at the end.
    Own(PathBuf),
}

/// What the server has to itself.
#[derive(Debug)]
pub struct Claim {
    /// The state folder, locked.
    pub state: OwnedFd,
    /// What the user ids are locked with; `None`: they are not.
    pub uids: Option<OwnedFd>,
    /// The group, locked.
    pub cgroup: OwnedFd,
    /// If the group is to be removed at the end: where this process came from.
    pub origin: Option<Origin>,
    /// Controllers that limits need and that are missing.
    pub missing: Vec<&'static str>,
}

/// Where the supervisor goes back to, so that the group of its own can be removed.
#[derive(Debug)]
pub struct Origin {
    /// `cgroup.procs` of the group that this process came from.
    pub procs: OwnedFd,
    /// Name of the group to remove.
    pub own: String,
}

/// What is to be claimed, and with what.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// The state folder.
    pub state_dir: &'a Path,
    /// User ids of processes.
    pub uids: uids::Uids,
    /// Where cgroups go.
    pub cgroup: &'a Cgroup,
    /// Most bytes of memory of the frontend.
    pub frontend_memory: u64,
    /// The program `prn-tools`, which deletes what processes of an earlier run left.
    pub tools: BorrowedFd<'a>,
}

/// The groups of a server.
#[derive(Debug)]
struct Groups<'a> {
    base: &'a Path,
    supervisor: PathBuf,
    frontend: PathBuf,
    processes: PathBuf,
}

impl Claim {
    /// Claims all of it.
    pub fn take(
        wanted: &Wanted<'_>,
        host: &Host,
        warn: &dyn Fn(Warning),
    ) -> Result<Self, ClaimError> {
        let state = locked_state(wanted.state_dir)?;
        let uids = uids::lock(wanted.uids, warn)?;
        let (Cgroup::Delegated(base) | Cgroup::Own(base)) = wanted.cgroup;
        let origin = match wanted.cgroup {
            Cgroup::Delegated(_) => None,
            Cgroup::Own(_) => Some(origin(base, host)?),
        };
        close_to_others(base, wanted.cgroup)?;
        let groups = Groups {
            base,
            supervisor: base.join("supervisor"),
            frontend: base.join("frontend"),
            processes: base.join("processes"),
        };
        let cgroup = locked_group(base, &groups.supervisor, warn)?;
        sweep_all(base, wanted.cgroup)?;
        groups.settle(wanted.cgroup)?;
        let offered = read(&groups.processes.join("cgroup.controllers"))?;
        let has = |name: &str| offered.split_whitespace().any(|offer| offer == name);
        groups.limit(wanted, &has)?;
        uids::check_processes(wanted.uids)?;
        clean_state(wanted, state.as_fd(), warn)?;
        Ok(Self {
            state,
            uids,
            cgroup,
            origin,
            missing: CONTROLLERS.into_iter().filter(|name| !has(name)).collect(),
        })
    }
}

impl Groups<'_> {
    /// Makes them, moves this process into the supervisor's, and switches controllers on.
    fn settle(&self, cgroup: &Cgroup) -> Result<(), ClaimError> {
        for group in [&self.supervisor, &self.frontend, &self.processes] {
            make(group)?;
        }
        passable(&self.processes).map_err(at(&self.processes))?;
        // No process may be in a group whose controllers are on for those below it (cgroup-v2.rst,
        // "no internal processes").
        write(&self.supervisor.join("cgroup.procs"), "0")?;
        // What signs is there already, in the group that this process came from. Nothing else is
        // moved. It may have ended; if it is still there, what follows fails.
        for process in read(&self.base.join("cgroup.procs"))?.split_whitespace() {
            let name = fs::read_to_string(format!("/proc/{process}/comm"));
            if name.is_ok_and(|name| name == "prn-signer\n") {
                drop(write(&self.supervisor.join("cgroup.procs"), process));
            }
        }
        if let (Cgroup::Own(_), Some(parent)) = (cgroup, self.base.parent()) {
            enable(parent)?;
        }
        enable(self.base)?;
        enable(&self.processes)
    }

    /// Limits of the server's own parts, as far as there are controllers for them.
    fn limit(&self, wanted: &Wanted<'_>, has: &dyn Fn(&str) -> bool) -> Result<(), ClaimError> {
        write(&self.processes.join("cgroup.max.descendants"), GROUPS)?;
        if has("pids") {
            write(&self.frontend.join("pids.max"), FRONTEND_TASKS)?;
        }
        if has("memory") {
            let memory = wanted.frontend_memory.to_string();
            write(&self.frontend.join("memory.max"), &memory)?;
            write(&self.supervisor.join("memory.min"), SUPERVISOR_MEMORY)?;
            // The protection reaches no further than that of the groups above: those of a service
            // are the unit's matter.
            if matches!(wanted.cgroup, Cgroup::Own(_)) {
                write(&self.base.join("memory.min"), SUPERVISOR_MEMORY)?;
            }
        }
        Ok(())
    }
}

/// Puts this process, and what it starts, into the group of the process of this number, in which
/// the service manager leaves it alone.
pub fn join(process: i32, host: &Host) -> Result<(), ClaimError> {
    let text = read(Path::new(&format!("/proc/{process}/cgroup")))?;
    let mount = host.cgroup2.as_ref().zip(parse_own_cgroup(&text));
    let Some(group) = mount.and_then(|(mount, group)| cgroup_path(mount, group)) else {
        return Ok(());
    };
    write(&group.join("cgroup.procs"), "0")
}

/// Makes the group of the server's own.
fn origin(base: &Path, host: &Host) -> Result<Origin, ClaimError> {
    make(base)?;
    let mount = host.cgroup2.as_ref().map(|mount| mount.path.clone());
    let from = host.own_cgroup.clone().or(mount).unwrap_or_default();
    let from = from.join("cgroup.procs");
    let procs = OpenOptions::new().write(true).open(&from);
    let name = base.file_name().unwrap_or_default();
    Ok(Origin {
        procs: procs.map_err(at(&from))?.into(),
        own: name.to_string_lossy().into_owned(),
    })
}

/// The state folder, for this server alone. The lock (flock(2)) belongs to the open file, and so
/// goes to the supervisor with it. Nobody else can lock the folder: they cannot open it. What a
/// supervisor that was killed has cloned a moment before holds its files for a moment more.
fn locked_state(path: &Path) -> Result<OwnedFd, ClaimError> {
    let folder = File::open(path).map_err(at(path))?;
    if is_free(|| try_lock(&folder, path))? {
        Ok(folder.into())
    } else {
        Err(ClaimError::StateInUse(path.to_owned()))
    }
}

fn try_lock(folder: &File, path: &Path) -> Result<bool, ClaimError> {
    match folder.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(at(path)(error)),
    }
}

/// The group, which no other server is in. Locked, unless what holds the lock is no server: then
/// the group is as good as this server's, which has the lock of its state folder.
fn locked_group(
    base: &Path,
    supervisor: &Path,
    warn: &dyn Fn(Warning),
) -> Result<OwnedFd, ClaimError> {
    let folder = File::open(base).map_err(at(base))?;
    let deadline = Instant::now() + SETTLING;
    loop {
        let locked = try_lock(&folder, base)?;
        let lives = populated(supervisor)?;
        if locked && !lives {
            return Ok(folder.into());
        }
        if Instant::now() < deadline {
            std::thread::sleep(PAUSE);
        } else if lives {
            return Err(ClaimError::CgroupInUse(base.to_owned()));
        } else {
            warn(Warning::LockedByStranger(base.to_owned()));
            return Ok(folder.into());
        }
    }
}

/// Whether there is a process in a group or below it; there is none where there is no group.
fn populated(group: &Path) -> Result<bool, ClaimError> {
    let events = group.join("cgroup.events");
    match fs::read_to_string(&events) {
        Ok(text) => Ok(text.lines().any(|line| line == "populated 1")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(at(&events)(error)),
    }
}

/// Lets others pass the group, but neither list nor lock it. Of a group of a service manager's the
/// mode is no attribute that is delegated, but its owner's, which may be read-only.
fn close_to_others(base: &Path, cgroup: &Cgroup) -> Result<(), ClaimError> {
    match (passable(base), cgroup) {
        (Err(error), Cgroup::Own(_)) => Err(at(base)(error)),
        (Ok(()) | Err(_), Cgroup::Own(_) | Cgroup::Delegated(_)) => Ok(()),
    }
}

fn passable(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(PASSABLE))
}

/// Sweeps all groups of an earlier run: of a group of this server's own whatever is in it, of a
/// delegated one what a server makes.
fn sweep_all(base: &Path, cgroup: &Cgroup) -> Result<(), ClaimError> {
    let groups = match cgroup {
        Cgroup::Delegated(_) => vec![base.join("frontend"), base.join("processes")],
        Cgroup::Own(_) => groups_in(base)?,
    };
    groups
        .iter()
        .filter(|group| **group != base.join("supervisor"))
        .try_for_each(|group| sweep(group))
}

fn groups_in(path: &Path) -> Result<Vec<PathBuf>, ClaimError> {
    let entries = fs::read_dir(path).map_err(at(path))?;
    Ok(entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir())
        .collect())
}

fn make(path: &Path) -> Result<(), ClaimError> {
    match in_parent(path, |path| DirBuilder::new().mode(PASSABLE).create(path)) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(at(path)),
    }
}

/// Makes a group. The top folder of a cgroup2 mount has mode 0555, which stops a root without
/// CAP_DAC_OVERRIDE; as its owner it may let itself in for the moment.
fn in_parent(path: &Path, act: fn(&Path) -> io::Result<()>) -> io::Result<()> {
    match act(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let parent = path.parent().unwrap_or(path);
            let before = fs::metadata(parent)?.permissions();
            fs::set_permissions(parent, Permissions::from_mode(before.mode() | 0o200))?;
            let done = act(path);
            fs::set_permissions(parent, before)?;
            done
        }
        other => other,
    }
}

fn write(path: &Path, value: &str) -> Result<(), ClaimError> {
    fs::write(path, value).map_err(at(path))
}

fn read(path: &Path) -> Result<String, ClaimError> {
    fs::read_to_string(path).map_err(at(path))
}

/// Switches controllers on for the groups below one. Only what is missing there: of a delegated
/// group itself nothing else is written, and one that a service manager looks after may be
/// read-only.
fn enable(group: &Path) -> Result<(), ClaimError> {
    let (offered, enabled) = (
        read(&group.join("cgroup.controllers"))?,
        read(&group.join("cgroup.subtree_control"))?,
    );
    let is_in = |text: &str, name: &str| text.split_whitespace().any(|word| word == name);
    for name in CONTROLLERS
        .into_iter()
        .filter(|name| is_in(&offered, name) && !is_in(&enabled, name))
    {
        write(&group.join("cgroup.subtree_control"), &format!("+{name}"))?;
    }
    Ok(())
}

/// Kills and removes a group of an earlier run, with all below it. Waits for it, but not without
/// end.
fn sweep(path: &Path) -> Result<(), ClaimError> {
    if !path.exists() {
        return Ok(());
    }
    let events = path.join("cgroup.events");
    let events_file = File::open(&events).map_err(at(&events))?;
    write(&path.join("cgroup.kill"), "1")?;
    let deadline = Instant::now() + DEATH;
    while populated(path)? {
        let left = deadline
            .saturating_duration_since(Instant::now())
            .min(Duration::from_millis(100));
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        if left.is_zero() {
            return Err(ClaimError::Leftover(path.to_owned()));
        }
        // It may have changed between the reading and the waiting: the wait is short.
        let _unused = poll(
            &mut [PollFd::new(events_file.as_fd(), PollFlags::POLLPRI)],
            timeout,
        );
    }
    for group in groups_in(path)? {
        sweep(&group)?;
    }
    in_parent(path, |path| fs::remove_dir(path)).map_err(at(path))
}

/// Whose a directory in the state folder is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// A process's.
    Process,
    /// A workspace's.
    Workspace,
}

/// Of each the directory and the temporary one. `None`: nothing that a server makes for a process.
fn left(name: &str) -> Option<Left> {
    let name = name.strip_suffix(".tmp").unwrap_or(name);
    if name.parse::<ProcessId>().is_ok() {
        return Some(Left::Process);
    }
    let name = name.strip_prefix("workspace-")?.to_owned();
    WorkspaceName::try_from(name).ok().map(|_| Left::Workspace)
}

/// Removes working directories of an earlier run, and what bounded the disk space of workspaces. One
/// that cannot be removed becomes root's, so that a process that gets its user id finds nothing that
/// it can use.
fn clean_state(
    wanted: &Wanted<'_>,
    state: BorrowedFd<'_>,
    warn: &dyn Fn(Warning),
) -> Result<(), ClaimError> {
    let Wanted {
        state_dir, tools, ..
    } = *wanted;
    let entries = fs::read_dir(state_dir).map_err(at(state_dir))?;
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let Some(left) = left(&name.to_string_lossy()) else {
            continue;
        };
        let path = entry.path();
        let owner = fs::symlink_metadata(&path).map_err(at(&path))?.uid();
        if owner != 0 && left == Left::Workspace {
            // Where there are no quotas there is none of it.
            let _unused = quota::set(state, owner, None);
        }
        remove_left(&path, owner, tools, warn)?;
    }
    Ok(())
}

fn remove_left(
    path: &Path,
    owner: u32,
    tools: BorrowedFd<'_>,
    warn: &dyn Fn(Warning),
) -> Result<(), ClaimError> {
    if fs::remove_dir(path).is_ok() {
        return Ok(());
    }
    if owner != 0 {
        clean(path, owner, tools);
    }
    if fs::remove_dir(path).is_err() {
        warn(Warning::NotRemoved(path.to_owned()));
        chown(path, Some(0), Some(0)).map_err(at(path))?;
    }
    Ok(())
}

/// Empties a directory as its owner: what is in it may be made to lead root astray.
fn clean(path: &Path, owner: u32, tools: BorrowedFd<'_>) {
    // Whatever folder it is in, and who may pass that: this is the open file (proc_pid_fd(5)).
    let mut command = Command::new(format!("/proc/self/fd/{}", tools.as_raw_fd()));
    command
        .arg0(OsStr::from_bytes(CLEANER.to_bytes()))
        .arg(path)
        .uid(owner)
        .gid(owner)
        .current_dir("/")
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let Ok(mut cleaner) = command.spawn() else {
        return;
    };
    let deadline = Instant::now() + CLEANING;
    while matches!(cleaner.try_wait(), Ok(None)) {
        if Instant::now() >= deadline {
            let _unused = cleaner.kill();
            let _unused = cleaner.wait();
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_makes_for_a_process_is_known_by_its_name() {
        let id = "0198c8d47f7b7c5e8a3b2d1c0b9a8f7e";
        assert!(id.parse::<ProcessId>().is_ok());
        for (name, whose) in [
            (id, Some(Left::Process)),
            ("workspace-a", Some(Left::Workspace)),
            ("workspace-0-b_c", Some(Left::Workspace)),
            ("workspace-", None),
            ("workspace-A", None),
            ("workspace--a", None),
            ("workspace-a.b", None),
            ("workspaces", None),
            (".empty", None),
            ("lost+found", None),
            (".tmp", None),
        ] {
            assert_eq!(left(name), whose, "{name}");
            assert_eq!(left(&format!("{name}.tmp")), whose, "{name}.tmp");
        }
        assert_eq!(left("workspace-a.tmp.tmp"), None);
    }
}
