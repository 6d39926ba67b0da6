//! A process's cgroup v2 group (cgroup-v2.rst), by its name in the directory that it is in.
//!
//! Runs in the supervisor, which is the single writer of that directory: a name there is the same
//! group for as long as this program does not remove it. A group keeps one descriptor, for each
//! process has one; all else of it is opened when it is needed.

mod files;
mod spare;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use prn_ipc_protocol::config::Disk;
use prn_ipc_protocol::message::FileText;
use prn_ipc_protocol::types::{LimitName, Limits};

use crate::sys::{errno, pidfd};
use files::{Absent, keyed};
use spare::SpareDescriptors;

pub(crate) use spare::spare_descriptors;

/// Most bytes of an interface file that are handed on: what tells of a process must fit in a
/// message. Only io files, of a host with many disks, are longer.
const TEXT_MAX: u64 = 4096;

/// How often the events of a group are read again that could not be read.
const EVENTS_TRIES: u32 = 3;

/// How often a stop looks for processes that were forked while it sent its signals.
const SIGNAL_ROUNDS: u32 = 4;

/// One group.
#[derive(Debug)]
pub struct Group {
    /// The directory that it is in.
    parent: Rc<OwnedFd>,
    /// Its name there.
    name: String,
    /// Its `cgroup.events`: POLLPRI when it has changed since it was last read.
    pub events: File,
}

impl Group {
    /// Makes an empty group.
    pub fn create(parent: &Rc<OwnedFd>, name: &str) -> nix::Result<Self> {
        mkdirat(parent, name, Mode::from_bits_truncate(0o755))?;
        let events = open_file(parent, name, "cgroup.events", OFlag::O_RDONLY);
        Ok(Self {
            parent: Rc::clone(parent),
            name: name.to_owned(),
            events: events.inspect_err(|_| {
                let _unused = remove(parent.as_fd(), name);
            })?,
        })
    }

    /// Its directory, for clone3(2).
    ///
    /// # Errors
    /// As openat(2).
    pub fn directory(&self) -> nix::Result<OwnedFd> {
        open_directory(self.parent.as_fd(), &self.name)
    }

    /// Writes the limits. Returns those that this host does not enforce, for want of a controller
    /// or a disk.
    ///
    /// # Errors
    /// The limit whose value the kernel did not take.
    pub fn limit(&self, limits: &Limits, disks: &[Disk]) -> Result<Vec<LimitName>, LimitName> {
        let mut not_enforced = Vec::new();
        for (name, value) in limits.iter() {
            match self.write_limit(name, value, disks) {
                Ok(()) => {}
                Err(Errno::ENOENT | Errno::ENODEV) => not_enforced.push(name),
                Err(_) => return Err(name),
            }
        }
        Ok(not_enforced)
    }

    fn write_limit(&self, name: LimitName, value: u64, disks: &[Disk]) -> nix::Result<()> {
        let settings = files::settings(name, value, disks);
        if settings.is_empty() {
            return Err(Errno::ENODEV);
        }
        for setting in settings {
            match (self.write(setting.file, &setting.text), setting.absent) {
                (Err(Errno::ENOENT), Absent::Needless) => {}
                (written, _) => written?,
            }
        }
        Ok(())
    }

    /// Interface files of the group, those that are there.
    pub fn texts(&self, files: &[&str]) -> Vec<FileText> {
        let text = |file: &&str| {
            Some(FileText {
                name: (*file).to_owned(),
                text: self.read(file).ok()?,
            })
        };
        files.iter().filter_map(text).collect()
    }

    /// Whether a process of the group, or of one below it, is alive. Rearms [`Group::events`].
    pub fn populated(&self) -> bool {
        let mut bytes = [0; 256];
        let mut read = self.events.read_at(&mut bytes, 0);
        // Nothing tells of it again: what the kernel had no memory for is read once more.
        for _ in 0..EVENTS_TRIES {
            if !matches!(&read, Err(error) if error.raw_os_error() != Some(nix::libc::ENODEV)) {
                break;
            }
            read = self.events.read_at(&mut bytes, 0);
        }
        match read {
            Ok(length) => {
                keyed(
                    &String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()),
                    "populated",
                ) != Some(0)
            }
            // Somebody has removed it, which takes an empty group.
            Err(error) => error.raw_os_error() != Some(nix::libc::ENODEV),
        }
    }

    /// Kills every process of the group and of those below it; none can escape by forking
    /// (cgroup.kill, Linux 5.14).
    pub fn kill(&self) -> nix::Result<()> {
        let _spare = SpareDescriptors::lend();
        self.write("cgroup.kill", "1")
    }

    /// Kills all and reaps the one that is a child of this process. Waits for what cannot do
    /// anything but die, for two seconds at most. Returns whether that one is dead.
    pub fn end(&self, child: &OwnedFd) -> bool {
        let _unused = self.kill();
        let _unused = poll(
            &mut [PollFd::new(child.as_fd(), PollFlags::POLLIN)],
            PollTimeout::from(1000u16),
        );
        let is_dead = matches!(pidfd::reap(child), Ok(Some(_)));
        let deadline = Instant::now() + Duration::from_secs(1);
        while self.populated() && Instant::now() < deadline {
            let _unused = self.kill();
            let _unused = poll(
                &mut [PollFd::new(self.events.as_fd(), PollFlags::POLLPRI)],
                PollTimeout::from(100u8),
            );
        }
        is_dead
    }

    /// Sends signals to every process that is in the group now, however few descriptors are left:
    /// to as many at a time as there are descriptors for, and again to those that were forked
    /// meanwhile.
    pub fn signal(&self, signals: &[i32]) {
        let _spare = SpareDescriptors::lend();
        let Ok(list) = self.open("cgroup.procs", OFlag::O_RDONLY) else {
            return;
        };
        let mut signalled = HashSet::new();
        for _ in 0..SIGNAL_ROUNDS {
            // The oldest first, which the kernel lists first: a shell must not go on to its next
            // step because the one before was ended.
            let mut waiting = members(&list);
            waiting.retain(|pid| signalled.insert(*pid));
            if waiting.is_empty() {
                return;
            }
            waiting.reverse();
            while !waiting.is_empty() {
                signal_some(&list, &mut waiting, signals);
            }
        }
    }

    fn members(&self) -> Vec<i32> {
        let _spare = SpareDescriptors::lend();
        self.open("cgroup.procs", OFlag::O_RDONLY)
            .map(|list| members(&list))
            .unwrap_or_default()
    }

    /// Some of its processes, all but of very many: however many a process has started, looking at
    /// them takes one short read(2).
    pub fn first_members(&self) -> Vec<i32> {
        let _spare = SpareDescriptors::lend();
        let mut bytes = [0; 4096];
        let list = self.open("cgroup.procs", OFlag::O_RDONLY).ok();
        let length = list.and_then(|list| list.read_at(&mut bytes, 0).ok());
        let text = bytes.get(..length.unwrap_or(0)).unwrap_or_default();
        // What is cut off is another process's number.
        let whole = text.iter().rposition(|byte| *byte == b'\n');
        files::members(text.get(..whole.unwrap_or(0)).unwrap_or_default())
    }

    /// How many processes are in the group now.
    pub fn count(&self) -> u32 {
        u32::try_from(self.members().len()).unwrap_or(u32::MAX)
    }

    /// How often the kernel killed a process of this tree for memory.
    pub fn oom_kills(&self) -> u64 {
        self.read("memory.events")
            .ok()
            .and_then(|text| keyed(&text, "oom_kill"))
            .unwrap_or(0)
    }

    /// Bytes of memory that the group has. `None`: the kernel does not count it.
    pub fn memory(&self) -> Option<u64> {
        self.read("memory.current").ok()?.trim().parse().ok()
    }

    /// The limits as the kernel has them.
    pub fn limits(&self) -> Vec<FileText> {
        self.texts(&["cpu.max", "memory.max", "io.max", "pids.max"])
    }

    /// Lets no process of the group run, nor of those below it, or lets all go on (cgroup-v2.rst,
    /// cgroup.freeze). What is killed dies all the same.
    pub fn freeze(&self, frozen: bool) -> nix::Result<()> {
        self.write("cgroup.freeze", if frozen { "1" } else { "0" })
    }

    /// The tasks that are there, some of them if they are many: each one's /proc/pid/stat.
    pub fn some_tasks(&self) -> Vec<Vec<u8>> {
        let members = self.first_members();
        let _spare = SpareDescriptors::lend();
        members
            .into_iter()
            .filter_map(|pid| fs::read(format!("/proc/{pid}/stat")).ok())
            .take(16)
            .collect()
    }

    fn write(&self, file: &str, value: &str) -> nix::Result<()> {
        let file = self.open(file, OFlag::O_WRONLY)?;
        // One write: the kernel takes a value whole.
        nix::unistd::write(&file, value.as_bytes()).map(drop)
    }

    /// The text of an interface file, up to [`TEXT_MAX`].
    fn read(&self, file: &str) -> nix::Result<String> {
        let file = self.open(file, OFlag::O_RDONLY)?;
        // One read(2) for what is no longer, and one for the end.
        let mut text = String::with_capacity(4096);
        let read = file.take(TEXT_MAX).read_to_string(&mut text);
        // It is kept for as long as its process is known.
        text.shrink_to_fit();
        read.map(|_| text).map_err(errno)
    }

    fn open(&self, file: &str, access: OFlag) -> nix::Result<File> {
        open_file(&self.parent, &self.name, file, access)
    }
}

/// Opens a directory below another one.
///
/// # Errors
/// As openat(2).
pub fn open_directory(parent: BorrowedFd<'_>, name: &str) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

fn open_file(parent: &OwnedFd, group: &str, file: &str, access: OFlag) -> nix::Result<File> {
    let path = format!("{group}/{file}");
    openat(parent, &*path, access | OFlag::O_CLOEXEC, Mode::empty()).map(File::from)
}

/// Sends signals to as many processes, from the end of those that wait, as there are descriptors
/// for.
fn signal_some(list: &File, waiting: &mut Vec<i32>, signals: &[i32]) {
    // A number is not a process: it may be another one's by the time it is used. A descriptor whose
    // process was still in the group after it was made refers to a process that was in the group.
    let mut candidates = Vec::new();
    while let Some(pid) = waiting.pop() {
        match pidfd::open(pid) {
            Ok(process) => candidates.push((pid, process)),
            Err(Errno::EMFILE | Errno::ENFILE) if !candidates.is_empty() => {
                waiting.push(pid);
                break;
            }
            // It has ended meanwhile, which is what signals are sent for.
            Err(_) => {}
        }
    }
    let still: HashSet<i32> = members(list).into_iter().collect();
    for (_, process) in candidates.iter().filter(|(pid, _)| still.contains(pid)) {
        for signal in signals {
            let _unused = pidfd::signal(process, *signal);
        }
    }
}

/// The processes in a `cgroup.procs`.
fn members(list: &File) -> Vec<i32> {
    let (mut text, mut at) = (Vec::new(), 0);
    let mut bytes = [0; 65_536];
    // Whole, however long: a number that was cut is another process's.
    while let Ok(length @ 1..) = list.read_at(&mut bytes, at) {
        text.extend_from_slice(bytes.get(..length).unwrap_or_default());
        at += u64::try_from(length).unwrap_or(0);
    }
    files::members(&text)
}

/// Removes a group. EBUSY while the kernel still counts something in it.
pub fn remove(parent: BorrowedFd<'_>, name: &str) -> nix::Result<()> {
    let removed = unlinkat(parent, name, UnlinkatFlags::RemoveDir);
    match removed {
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s6_a_value_that_the_kernel_does_not_take_is_no_missing_limit_that_best_effort_excuses() {
        // Not a cgroup: a file that refuses each write, as cpu.max does a quota that is too small.
        let name = format!("prn-limit-{}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink("/dev/full", folder.join("cpu.max")).unwrap();
        let group = Group {
            parent: Rc::new(File::open(std::env::temp_dir()).unwrap().into()),
            name,
            events: File::open("/dev/null").unwrap(),
        };
        let limit = |name, value| group.limit(&[(name, value)].into_iter().collect(), &[]);
        let results = [
            limit(LimitName::Cpu, 1),
            limit(LimitName::Pids, 1),
            limit(LimitName::IoRead, 1024),
        ];
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(
            results,
            [
                Err(LimitName::Cpu),
                Ok(vec![LimitName::Pids]),
                Ok(vec![LimitName::IoRead])
            ],
            "refused, no such controller, no disk"
        );
    }
}
