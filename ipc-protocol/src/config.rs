//! What `prn server start` hands to each half: values that it has parsed and checked, in a sealed
//! memfd.
//!
//! The halves read them once, at their start, with [`read`]. The root process parses no text but
//! the kernel's.

mod filter;
mod frontend;
mod layers;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::lines::Style;
use crate::message::{OutputStore, Scarce};
use crate::policy::Policy;
use crate::types::{Id, Limits, Millis, UserName};

pub use filter::Filter;
pub use frontend::{Frontend, Pin};
pub use layers::{
    Accounts, Confinement, Landlock, Layers, Mount, Namespaces, Rule, Source, Uncovered,
};

/// The supervisor's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supervisor {
    /// This run of the server.
    pub epoch: Id,
    /// Address of the listener, for the line that says so.
    pub address: String,
    /// Path of the folder of the working directories: `<id>` below it is a process's own,
    /// `<id>.tmp` its temporary one.
    pub state_dir: CString,
    /// Start although a controller is missing.
    pub allow_missing_limits: bool,
    /// Whole-disk devices that io limits apply to.
    pub disks: Vec<Disk>,
    /// User id of the frontend.
    pub frontend_uid: u32,
    /// Group id of the frontend.
    pub frontend_gid: u32,
    /// First user (and group) id of processes.
    pub first_uid: u32,
    /// Number of user ids, and so the most processes at one time.
    pub uid_count: u32,
    /// What there would have to be more of for more processes.
    pub scarce: Scarce,
    /// Most finished processes that are remembered.
    pub finished_max: u32,
    /// For how long they are remembered. `None`: for as long as there is room.
    pub finished_age: Option<Millis>,
    /// Most that a process can ask for. Applies where it asks for nothing.
    pub limit_ceilings: Limits,
    /// How much output is kept, in each store that there is.
    pub output: BTreeMap<OutputStore, StoreLimits>,
    /// How many files a process may open. This program's own soft limit is the hard one already.
    pub open_files: OpenFiles,
    /// [`crate::fds::supervisor::NOTIFY`] is open.
    pub notify: bool,
    /// The service manager wants to hear this often that this program is not stuck
    /// (sd_watchdog_enabled(3)), and so does this program of the frontend. `None`: nobody does.
    pub watchdog: Option<Millis>,
    /// Name of the cgroup at [`crate::fds::supervisor::CGROUP`] if it is to be removed at the end;
    /// `ORIGIN` is open then.
    pub own_cgroup: Option<String>,
    /// Directories that a process may be given to see in another place.
    pub bindable: Vec<Bindable>,
    /// Users of the machine's that a process may run as, as far as a role lets it.
    pub users: BTreeMap<UserName, User>,
    /// How many workspaces there may be, and how large.
    pub workspaces: Workspaces,
    /// How this program and processes are confined.
    pub confinement: Confinement,
    /// Who may do what.
    pub policy: Policy,
    /// What a reload cannot change, by the names of the flags, as it was said at the start. Never
    /// read here: who orders a reload compares it.
    pub fixed: BTreeMap<String, String>,
    /// Where what was decided is written to. `None`: nowhere.
    pub audit: Option<AuditTarget>,
    /// How lines of the log are written.
    pub log: Style,
}

impl Supervisor {
    /// This configuration with all of another one that a reload may change.
    #[must_use]
    pub fn reloaded(&self, new: Self) -> Self {
        Self {
            finished_max: new.finished_max,
            finished_age: new.finished_age,
            limit_ceilings: new.limit_ceilings,
            bindable: new.bindable,
            users: new.users,
            workspaces: Workspaces {
                has_quota: self.workspaces.has_quota,
                ..new.workspaces
            },
            policy: new.policy,
            ..self.clone()
        }
    }
}

/// Who takes the audit's lines: what is open at [`crate::fds::supervisor::AUDIT`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuditTarget {
    /// Whoever reads that pipe or socket.
    Descriptor,
    /// A program that writes a file in that folder.
    File {
        /// The file's name.
        name: CString,
        /// The program's user id, the folder's owner.
        uid: u32,
        /// Its group id.
        gid: u32,
    },
}

/// A user of the machine's, as its accounts were when the configuration was read. Nothing of it is
/// root's, this server's or another process's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its user id.
    pub uid: u32,
    /// The id of its own group.
    pub gid: u32,
    /// Those of all its groups, that one too (getgrouplist(3)).
    pub groups: Vec<u32>,
}

/// Bounds of workspaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workspaces {
    /// Most at one time.
    pub max: u32,
    /// Most bytes of disk that one can ask for, which applies where it asks for nothing. `None`: no
    /// bound.
    pub disk_max: Option<u64>,
    /// The file system of the state folder enforces quotas of users (quotactl(2)).
    pub has_quota: bool,
}

/// A directory that may be bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bindable {
    /// Its path.
    pub path: CString,
    /// The device and the number of what is found there (stat(2)): who can rename directories on
    /// the way must not choose another one.
    pub device: u64,
    /// See `device`.
    pub inode: u64,
    /// It can be written to there, as far as the process's user may.
    pub is_writable: bool,
}

/// A block device, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Disk {
    /// Its driver.
    pub major: u32,
    /// Which of the driver's.
    pub minor: u32,
}

/// How much output is kept in one store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreLimits {
    /// Most bytes that a process can ask for.
    pub ceiling: u64,
    /// Most bytes of all processes together.
    pub budget: u64,
}

/// Most open files (RLIMIT_NOFILE, getrlimit(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFiles {
    /// As many may be open.
    pub soft: u64,
    /// As many may be asked for.
    pub hard: u64,
}

/// How many processes a supervisor has descriptors for, below this hard limit of open files: one
/// that lacked some later would lose its output. [`Supervisor::finished_max`] finished ones are
/// remembered.
pub fn processes_for(open_files: u64, finished_max: u32) -> u32 {
    // The supervisor's own, a start and answers to the frontend under way, and those that are kept
    // free for stops.
    const OTHER: u64 = 192;
    // Data and page of its output.
    const FINISHED: u64 = 2;
    // Pidfd, two pipes, the events of its group, data and page of its output. Before there is any
    // output, whether its program runs. An input is one more; a terminal is there twice instead of
    // two pipes, and has two ends of an input.
    const LIVE: u64 = 8;
    let finished = FINISHED * u64::from(finished_max);
    let processes = open_files.saturating_sub(OTHER + finished) / LIVE;
    u32::try_from(processes).unwrap_or(u32::MAX)
}

/// Reads a value from the start of a memfd, whatever its file offset is.
///
/// # Errors
/// Those of pread(2); `InvalidData` if the bytes are not exactly one valid value.
pub fn read<T: DeserializeOwned + Serialize>(memfd: BorrowedFd<'_>) -> io::Result<T> {
    let bytes = read_bytes(memfd)?;
    codec::decode(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Reads all bytes of a memfd, whatever its file offset is: another reader shares it.
///
/// # Errors
/// Those of fstat(2) and pread(2).
pub fn read_bytes(memfd: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let file = File::from(memfd.try_clone_to_owned()?);
    let length =
        usize::try_from(file.metadata()?.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
