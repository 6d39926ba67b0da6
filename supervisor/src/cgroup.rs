//! The cgroup v2 tree: `supervisor/`, `frontend/` and `processes/<id>/` below one base group (cgroup-v2.rst).
//!
//! Runs in the supervisor, which is the single writer of this tree. Of a delegated base group itself it writes only
//! `cgroup.subtree_control`; the service manager owns the rest.

mod files;

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use prn_ipc_protocol::config;
use prn_ipc_protocol::message::{StuckTask, Usage};
use prn_ipc_protocol::types::{LimitName, Limits, ProcessId};

use crate::sys::pidfd;

/// Controllers that limits need.
const CONTROLLERS: [&str; 4] = ["cpu", "io", "memory", "pids"];

/// How long the sweep at start waits for one group to die.
const SWEEP_WAIT: Duration = Duration::from_secs(5);

/// Why the tree could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A file or folder of the tree refused.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Somebody else holds the tree.
    #[error("another server uses the cgroup {}: give this one another --instance", .0.display())]
    InUse(PathBuf),
    /// Controllers are missing.
    #[error("this host does not offer the cgroup controllers {}: limits cannot be enforced; --allow-missing-limits starts without them", .0.join(", "))]
    Missing(Vec<&'static str>),
    /// A group of an earlier run could not be emptied.
    #[error("processes of an earlier run in {} cannot be killed", .0.display())]
    Leftover(PathBuf),
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CgroupError {
    let path = path.to_owned();
    move |source| CgroupError::File { path, source }
}

/// The whole tree of one server.
#[derive(Debug)]
pub struct Tree {
    base: PathBuf,
    processes: PathBuf,
    /// The frontend's group.
    pub frontend: Group,
    frontend_memory: u64,
    controllers: Vec<&'static str>,
    /// Where this process came from; `None` when the base is delegated and stays.
    origin: Option<PathBuf>,
    _lock: Flock<File>,
}

impl Tree {
    /// Makes the tree, moves this process into it, and kills what an earlier run may have left there.
    pub fn open(place: &config::Cgroup, allow_missing: bool, frontend_memory: u64) -> Result<Self, CgroupError> {
        let (config::Cgroup::Delegated(path) | config::Cgroup::Own(path)) = place;
        let base = PathBuf::from(path.as_str());
        let own = matches!(place, config::Cgroup::Own(_));
        if own {
            make(&base)?;
        }
        let lock = File::open(&base).map_err(at(&base))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|_| CgroupError::InUse(base.clone()))?;
        let origin = if own { Some(own_group(&base)?) } else { None };
        let processes = base.join("processes");
        sweep(&base.join("frontend"))?;
        sweep(&processes)?;
        make(&processes)?;
        let supervisor = base.join("supervisor");
        make(&supervisor)?;
        write(&supervisor.join("cgroup.procs"), "0")?;

        if origin.is_some()
            && let Some(parent) = base.parent()
        {
            // Only what is missing there: under a service manager that group is not ours.
            let enabled = read(&parent.join("cgroup.subtree_control"))?;
            enable(parent, CONTROLLERS.into_iter().filter(|name| !enabled.split_whitespace().any(|on| on == *name)))?;
        }
        let offered = read(&base.join("cgroup.controllers"))?;
        let (controllers, missing): (Vec<_>, Vec<_>) =
            CONTROLLERS.into_iter().partition(|name| offered.split_whitespace().any(|offer| offer == *name));
        if !missing.is_empty() && !allow_missing {
            return Err(CgroupError::Missing(missing));
        }
        for group in [&base, &processes] {
            enable(group, controllers.iter().copied())?;
        }

        let frontend = frontend_group(&base, &controllers, frontend_memory)?;
        Ok(Self { base, processes, frontend, frontend_memory, controllers, origin, _lock: lock })
    }

    /// Makes the frontend's group anew, which nobody may be in.
    ///
    /// Linux 6.18 kills what clone3(2) creates in a group that cgroup.kill was ever written to (measured: it compares the
    /// group's count of kills with that of the parent's group), so a group is not used again once it was killed.
    pub fn renew_frontend(&mut self) -> Result<(), CgroupError> {
        self.frontend = frontend_group(&self.base, &self.controllers, self.frontend_memory)?;
        Ok(())
    }

    /// Controllers that are missing here: limits of theirs are not enforced.
    pub fn missing(&self) -> Vec<&'static str> {
        CONTROLLERS.into_iter().filter(|name| !self.controllers.contains(name)).collect()
    }

    /// Makes an empty group for a process.
    pub fn create(&self, id: ProcessId) -> Result<Group, CgroupError> {
        let path = self.processes.join(id.to_string());
        fs::create_dir(&path).map_err(at(&path))?;
        let group = Group::at(path);
        if group.is_err() {
            let _unused = fs::remove_dir(self.processes.join(id.to_string()));
        }
        group
    }

    /// Parts the limits that this host can enforce from those that it cannot.
    pub fn enforceable(&self, wanted: &Limits, disks: &[(u32, u32)]) -> (Limits, Vec<LimitName>) {
        fn keep<T>(limit: Option<T>, can: bool, name: LimitName, missing: &mut Vec<LimitName>) -> Option<T> {
            missing.extend((limit.is_some() && !can).then_some(name));
            limit.filter(|_| can)
        }
        let has = |name: &str| self.controllers.contains(&name);
        let io = has("io") && !disks.is_empty();
        let mut missing = Vec::new();
        let limits = Limits {
            cpu: keep(wanted.cpu, has("cpu"), LimitName::Cpu, &mut missing),
            memory: keep(wanted.memory, has("memory"), LimitName::Memory, &mut missing),
            io_read: keep(wanted.io_read, io, LimitName::IoRead, &mut missing),
            io_write: keep(wanted.io_write, io, LimitName::IoWrite, &mut missing),
            pids: keep(wanted.pids, has("pids"), LimitName::Pids, &mut missing),
        };
        (limits, missing)
    }

    /// Removes the tree. All process groups are gone already, and the frontend has ended.
    pub fn close(self) -> Result<(), CgroupError> {
        let Some(origin) = &self.origin else {
            // The service manager removes a delegated group with all that is below it, when this process has ended.
            return Ok(());
        };
        write(&origin.join("cgroup.procs"), "0")?;
        for path in
            [self.processes.clone(), self.base.join("frontend"), self.base.join("supervisor"), self.base.clone()]
        {
            remove(&path)?;
        }
        Ok(())
    }
}

/// One group.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
    directory: OwnedFd,
    events: File,
}

impl Group {
    fn at(path: PathBuf) -> Result<Self, CgroupError> {
        let directory = File::open(&path).map_err(at(&path))?.into();
        let events = path.join("cgroup.events");
        let events = File::open(&events).map_err(at(&events))?;
        Ok(Self { path, directory, events })
    }

    /// Its directory, for clone3(2).
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Its `cgroup.events`: POLLPRI when it has changed since it was last read.
    pub fn events(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// Writes the limits, then reads back what the kernel made of them. None of them may be unenforceable.
    pub fn limit(&self, wanted: &Limits, disks: &[(u32, u32)]) -> Result<Limits, (LimitName, CgroupError)> {
        let write = |name, file: &str, value: &str| write(&self.path.join(file), value).map_err(|error| (name, error));
        if let Some(cpu) = wanted.cpu {
            write(LimitName::Cpu, "cpu.max", &files::cpu_max(cpu))?;
        }
        if let Some(memory) = wanted.memory {
            write(LimitName::Memory, "memory.max", &memory.value().to_string())?;
            // Absent where the kernel has no swap accounting, and then there is no swap to limit.
            if self.path.join("memory.swap.max").exists() {
                write(LimitName::Memory, "memory.swap.max", "0")?;
            }
            // All or nothing: a tree that lost some process to the OOM killer is in no state that anybody planned for.
            write(LimitName::Memory, "memory.oom.group", "1")?;
        }
        let io = if wanted.io_read.is_some() { LimitName::IoRead } else { LimitName::IoWrite };
        if wanted.io_read.is_some() || wanted.io_write.is_some() {
            for disk in disks {
                write(io, "io.max", &files::io_max(*disk, wanted.io_read, wanted.io_write))?;
            }
        }
        if let Some(pids) = wanted.pids {
            write(LimitName::Pids, "pids.max", &pids.value().to_string())?;
        }
        Ok(self.limits(wanted))
    }

    /// The limits in force, of those in `wanted`.
    fn limits(&self, wanted: &Limits) -> Limits {
        let io = self.read("io.max").unwrap_or_default();
        Limits {
            cpu: wanted.cpu.and_then(|_| files::parse_cpu_max(&self.read("cpu.max").ok()?)),
            memory: wanted.memory.and_then(|_| files::number(&self.read("memory.max").ok()?)?.try_into().ok()),
            io_read: wanted.io_read.and_then(|_| files::parse_io_max(&io, "rbps")?.try_into().ok()),
            io_write: wanted.io_write.and_then(|_| files::parse_io_max(&io, "wbps")?.try_into().ok()),
            pids: wanted.pids.and_then(|_| files::number(&self.read("pids.max").ok()?)?.try_into().ok()),
        }
    }

    /// Whether a process of the group, or of one below it, is alive. Rearms [`Group::events`].
    pub fn populated(&self) -> bool {
        let mut bytes = [0; 256];
        match self.events.read_at(&mut bytes, 0) {
            Ok(length) => {
                let text = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default());
                files::keyed(&text, "populated") != Some(0)
            }
            // Somebody has removed it, which takes an empty group.
            Err(error) => error.raw_os_error() != Some(nix::libc::ENODEV),
        }
    }

    /// Kills every process of the group, and reaps the one that is a child of this process. Waits for a second at most,
    /// for what cannot do anything but die.
    pub fn kill_and_wait(&self, child: &OwnedFd) {
        let _unused = self.kill();
        let _unused = poll(&mut [PollFd::new(child.as_fd(), PollFlags::POLLIN)], PollTimeout::from(1000u16));
        let _unused = pidfd::reap(child);
    }

    /// Kills every process of the group and of those below it; none can escape by forking (cgroup.kill, Linux 5.14).
    pub fn kill(&self) -> io::Result<()> {
        fs::write(self.path.join("cgroup.kill"), "1")
    }

    /// Kills until nothing is left, for a second at most. Wait for children first.
    pub fn wait_empty(&self) {
        let deadline = Instant::now() + Duration::from_secs(1);
        while self.populated() && Instant::now() < deadline {
            let _unused = self.kill();
            let _unused = poll(&mut [PollFd::new(self.events(), PollFlags::POLLPRI)], PollTimeout::from(100u8));
        }
    }

    /// Sends signals to every process that is in the group now.
    pub fn signal(&self, signals: &[Signal]) -> io::Result<()> {
        // A number is not a process: it may be another one's by the time it is used. A descriptor whose process was still
        // in the group after it was made refers to a process that was in the group.
        let candidates: Vec<_> =
            self.members()?.into_iter().filter_map(|pid| Some((pid, pidfd::open(pid).ok()?))).collect();
        let still: std::collections::HashSet<i32> = self.members()?.into_iter().collect();
        for (_, process) in candidates.iter().filter(|(pid, _)| still.contains(pid)) {
            for signal in signals {
                // ESRCH: it has ended meanwhile, which is what signals are sent for.
                let _unused = pidfd::signal(process, *signal);
            }
        }
        Ok(())
    }

    fn members(&self) -> io::Result<Vec<i32>> {
        Ok(self.read("cgroup.procs")?.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect())
    }

    /// How often the kernel killed a process of this tree for memory.
    pub fn oom_kills(&self) -> u64 {
        self.read("memory.events").ok().and_then(|text| files::keyed(&text, "oom_kill")).unwrap_or(0)
    }

    /// What the tree has consumed so far.
    pub fn usage(&self) -> Usage {
        let cpu = self.read("cpu.stat").unwrap_or_default();
        let io = self.read("io.stat").ok();
        let peak = |file| self.read(file).ok().and_then(|text| files::number(&text));
        Usage {
            cpu_user: files::keyed(&cpu, "user_usec").unwrap_or(0),
            cpu_system: files::keyed(&cpu, "system_usec").unwrap_or(0),
            cpu_throttled: files::keyed(&cpu, "throttled_usec").unwrap_or(0),
            memory_peak: peak("memory.peak"),
            io_read: io.as_deref().map(|text| files::io_stat(text, "rbytes")),
            io_write: io.as_deref().map(|text| files::io_stat(text, "wbytes")),
            pids_peak: peak("pids.peak"),
        }
    }

    /// The tasks that are still there, by name and state.
    pub fn stuck(&self) -> Vec<StuckTask> {
        let members = self.members().unwrap_or_default();
        let stat = |pid: &i32| fs::read(format!("/proc/{pid}/stat")).ok();
        members.iter().filter_map(|pid| files::stuck_task(&stat(pid)?)).take(16).collect()
    }

    /// Removes the group. EBUSY while the kernel still counts something in it.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn read(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(self.path.join(file))
    }
}

fn frontend_group(base: &Path, controllers: &[&str], memory: u64) -> Result<Group, CgroupError> {
    let path = base.join("frontend");
    if path.exists() {
        remove(&path)?;
    }
    make(&path)?;
    let group = Group::at(path)?;
    for (controller, file, value) in [("memory", "memory.max", memory), ("pids", "pids.max", 64)] {
        if controllers.contains(&controller) {
            write(&group.path.join(file), &value.to_string())?;
        }
    }
    Ok(group)
}

/// The group that this process is in, on the mount that `base` belongs to.
fn own_group(base: &Path) -> Result<PathBuf, CgroupError> {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    let mount = base.ancestors().take_while(|path| device(path) == device(base)).last().unwrap_or(base);
    let path = Path::new("/proc/self/cgroup");
    let text = fs::read_to_string(path).map_err(at(path))?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    Ok(mount.join(own))
}

fn make(path: &Path) -> Result<(), CgroupError> {
    match in_parent(path, |path| fs::create_dir(path)) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(at(path)),
    }
}

fn remove(path: &Path) -> Result<(), CgroupError> {
    in_parent(path, |path| fs::remove_dir(path)).map_err(at(path))
}

/// Makes or removes a folder. The top folder of a cgroup2 mount has mode 0555, which stops a root without
/// CAP_DAC_OVERRIDE; as its owner it may let itself in for the moment.
fn in_parent(path: &Path, act: fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let parent = path.parent().unwrap_or(path);
    match act(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let before = fs::metadata(parent)?.permissions();
            fs::set_permissions(parent, fs::Permissions::from_mode(before.mode() | 0o200))?;
            let done = act(path);
            fs::set_permissions(parent, before)?;
            done
        }
        other => other,
    }
}

fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    fs::write(path, value).map_err(at(path))
}

fn read(path: &Path) -> Result<String, CgroupError> {
    fs::read_to_string(path).map_err(at(path))
}

fn enable(group: &Path, controllers: impl Iterator<Item = &'static str>) -> Result<(), CgroupError> {
    let offered = read(&group.join("cgroup.controllers"))?;
    for name in controllers.filter(|name| offered.split_whitespace().any(|offer| offer == *name)) {
        write(&group.join("cgroup.subtree_control"), &format!("+{name}"))?;
    }
    Ok(())
}

/// Kills and removes a group of an earlier run, with all below it. Waits for it, but not without end.
fn sweep(path: &Path) -> Result<(), CgroupError> {
    if !path.exists() {
        return Ok(());
    }
    let group = Group::at(path.to_owned())?;
    group.kill().map_err(at(path))?;
    let deadline = Instant::now() + SWEEP_WAIT;
    while group.populated() {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let mut set = [PollFd::new(group.events(), PollFlags::POLLPRI)];
        if left.is_zero() || poll(&mut set, timeout) == Ok(0) {
            return Err(CgroupError::Leftover(path.to_owned()));
        }
    }
    let entries = fs::read_dir(path).map_err(at(path))?;
    for entry in entries.filter_map(Result::ok).filter(|entry| entry.path().is_dir()) {
        sweep(&entry.path())?;
    }
    fs::remove_dir(path).map_err(at(path))
}
