//! What can be chosen of a process, each choice with its number on the wire.

use prn_proto::v1;

/// How a process tree is confined, beside its own user id and its limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// A system call filter, and no writing but to its own two directories.
    #[default]
    Default,
    /// Beside that, no network, and temporary files and shared memory of its own.
    Strict,
    /// Neither. Only where the server allows it.
    None,
}

impl Profile {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Strict => "strict",
            Self::None => "none",
        }
    }

    /// `None` for a server that tells of none, or of one that this client does not know.
    pub(crate) fn from_wire(raw: i32) -> Option<Self> {
        match v1::Profile::try_from(raw) {
            Ok(v1::Profile::Default) => Some(Self::Default),
            Ok(v1::Profile::Strict) => Some(Self::Strict),
            Ok(v1::Profile::None) => Some(Self::None),
            Ok(v1::Profile::Unspecified) | Err(_) => None,
        }
    }
}

impl From<Profile> for v1::Profile {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::Default => Self::Default,
            Profile::Strict => Self::Strict,
            Profile::None => Self::None,
        }
    }
}

/// What happens when a process writes more output than is to be kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OutputPolicy {
    /// The oldest is dropped, which readers are told.
    #[default]
    DropOldest,
    /// The process waits until all who read at that time have been sent the oldest; while nobody
    /// reads, it waits.
    StopReading,
    /// The process is killed.
    Kill,
    /// The process waits for those that follow it ([`OutputRequest::follower`](crate::OutputRequest::follower)), and for a
    /// while for one to come; then the oldest is dropped.
    Follow,
}

impl OutputPolicy {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DropOldest => "drop-oldest",
            Self::StopReading => "stop-reading",
            Self::Kill => "kill",
            Self::Follow => "follow",
        }
    }

    pub(crate) fn from_wire(raw: i32) -> Option<Self> {
        match v1::OutputPolicy::try_from(raw) {
            Ok(v1::OutputPolicy::DropOldest) => Some(Self::DropOldest),
            Ok(v1::OutputPolicy::StopReading) => Some(Self::StopReading),
            Ok(v1::OutputPolicy::Kill) => Some(Self::Kill),
            Ok(v1::OutputPolicy::Follow) => Some(Self::Follow),
            Ok(v1::OutputPolicy::Unspecified) | Err(_) => None,
        }
    }
}

impl From<OutputPolicy> for v1::OutputPolicy {
    fn from(policy: OutputPolicy) -> Self {
        match policy {
            OutputPolicy::DropOldest => Self::DropOldest,
            OutputPolicy::StopReading => Self::StopReading,
            OutputPolicy::Kill => Self::Kill,
            OutputPolicy::Follow => Self::Follow,
        }
    }
}

/// Where a process's output is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OutputStore {
    /// In the server's memory.
    #[default]
    Memory,
    /// On the disk of its state, if it keeps any there.
    Disk,
}

impl OutputStore {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
        }
    }

    pub(crate) fn from_wire(raw: i32) -> Option<Self> {
        match v1::OutputStore::try_from(raw) {
            Ok(v1::OutputStore::Memory) => Some(Self::Memory),
            Ok(v1::OutputStore::Disk) => Some(Self::Disk),
            Ok(v1::OutputStore::Unspecified) | Err(_) => None,
        }
    }
}

impl From<OutputStore> for v1::OutputStore {
    fn from(store: OutputStore) -> Self {
        match store {
            OutputStore::Memory => Self::Memory,
            OutputStore::Disk => Self::Disk,
        }
    }
}

/// How to stop a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGTERM to every process of the tree, then, after the grace time, SIGKILL to what is left.
    Term,
    /// SIGKILL to the whole tree at once.
    Kill,
}

impl From<StopSignal> for v1::Signal {
    fn from(signal: StopSignal) -> Self {
        match signal {
            StopSignal::Term => Self::Sigterm,
            StopSignal::Kill => Self::Sigkill,
        }
    }
}
