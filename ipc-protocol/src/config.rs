//! What `prn server start` hands to each half: values that it has parsed and checked, in a sealed memfd.
//!
//! The halves read them once, at their start, with [`read`]. Nothing in the root process parses text.

mod frontend;

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::types::{AbsolutePath, Limits, Millis, OutputMax};

pub use frontend::Frontend;

/// The supervisor's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supervisor {
    /// Name of this server on its machine: `[a-z0-9-]`, 1 to 32 bytes. Names its cgroup.
    pub instance: String,
    /// Address of the listener, for the line that says so.
    pub address: String,
    /// Folder of the working directories.
    pub state_dir: AbsolutePath,
    /// Where its cgroups go.
    pub cgroup: Cgroup,
    /// Start although a controller is missing.
    pub allow_missing_limits: bool,
    /// Whole-disk devices that io limits apply to: major and minor number.
    pub disks: Vec<(u32, u32)>,
    /// User id of the frontend.
    pub frontend_uid: u32,
    /// Group id of the frontend.
    pub frontend_gid: u32,
    /// First user (and group) id of processes.
    pub first_uid: u32,
    /// Number of user ids, and so the most processes at one time.
    pub uid_count: u32,
    /// Most finished processes that are remembered.
    pub finished_max: u32,
    /// Limits of a process that asks for none.
    pub default_limits: Limits,
    /// Most that a process can ask for. Applies where the default has no value.
    pub limit_ceilings: Limits,
    /// Output bytes kept for a process that asks for nothing else.
    pub output_default: OutputMax,
    /// Most output bytes that a process can ask for.
    pub output_ceiling: OutputMax,
    /// Most output bytes of all processes together.
    pub output_budget: u64,
    /// From SIGTERM to SIGKILL, by default and at shutdown.
    pub stop_grace: Millis,
    /// memory.max of the frontend's group, in bytes.
    pub frontend_memory: u64,
    /// [`crate::fds::supervisor::NOTIFY`] is open.
    pub notify: bool,
}

impl Supervisor {
    /// User (and group) ids of processes.
    pub fn uids(&self) -> std::ops::Range<u32> {
        self.first_uid..self.first_uid.saturating_add(self.uid_count)
    }
}

/// Where the supervisor makes its cgroups. Each path is a directory of a cgroup2 file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cgroup {
    /// The supervisor's own group, which the service manager has delegated to it (Delegate=, systemd.resource-control(5)).
    Delegated(AbsolutePath),
    /// A group to make, below one that nobody else manages, and to remove at the end.
    Own(AbsolutePath),
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
    let length = usize::try_from(file.metadata()?.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
