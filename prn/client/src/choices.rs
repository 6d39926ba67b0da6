//! What can be chosen of a process, each choice with its number on the wire.
//!
//! With the features `clap` and `serde` these are also values of flags and in JSON, under the same
//! names.

use prn_proto::v1;

/// How a process tree is confined, beside its own user id and its limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "kebab-case")
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Profile {
    /// It reads the system, writes to its own directory, and has /tmp, /dev/shm and the like, and
    /// what it sees of processes, to itself; system calls are filtered
    #[default]
    Default,
    /// Beside that: no network, no sockets but local ones, nothing in /run
    Strict,
    /// None of it; the server must have been started with --allow-profile-none
    None,
}

/// Something that confines a process, beside its user id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "kebab-case")
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Layer {
    /// Namespaces of its own
    Namespaces,
    /// Landlock
    Landlock,
    /// A filter of system calls
    SystemCallFilter,
}

/// What happens when a process writes more output than is to be kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "kebab-case")
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OutputPolicy {
    /// The oldest is dropped, which readers are told
    #[default]
    DropOldest,
    /// The process waits, as with a full pipe, for those who read its output; while nobody does, it
    /// waits
    StopReading,
    /// The process is killed
    Kill,
    /// The process waits for those that follow it
    /// ([`OutputRequest::follower`](crate::OutputRequest::follower)), and for a while for one to
    /// come; then the oldest is dropped.
    #[cfg_attr(
        feature = "clap",
        value(
            help = "The process waits for `prn run` that follows it (`prn logs` is not waited \
                      for), also for a while when the connection is lost; then the oldest is dropped"
        )
    )]
    Follow,
}

/// Where a process's output is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "kebab-case")
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OutputStore {
    /// In its memory
    #[default]
    Memory,
    /// In a file on its disk, if it was started with --output-disk
    Disk,
}

/// What becomes of a process that would take more of the disk than its workspace may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "kebab-case")
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum DiskEnforcement {
    /// The file system refuses it (EDQUOT, "Disk quota exceeded").
    Quota,
    /// The workspace is looked at every second, less often where a look takes long, and its processes
    /// are killed.
    Watched,
}

/// How to stop a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum StopSignal {
    /// SIGTERM, and SIGKILL after the grace time
    #[cfg_attr(feature = "clap", value(aliases = ["sigterm", "15"]))]
    Term,
    /// SIGKILL at once
    #[cfg_attr(feature = "clap", value(aliases = ["sigkill", "9"]))]
    Kill,
}

/// A choice whose names are those of the message's.
macro_rules! as_on_the_wire {
    ($name:ident: $($choice:ident),+) => {
        impl From<$name> for v1::$name {
            fn from(choice: $name) -> Self {
                match choice {
                    $($name::$choice => Self::$choice),+
                }
            }
        }

        impl $name {
            /// `None` for a server that tells of none, or of one that this client does not know.
            pub(crate) fn from_wire(raw: i32) -> Option<Self> {
                match v1::$name::try_from(raw) {
                    $(Ok(v1::$name::$choice) => Some(Self::$choice),)+
                    Ok(v1::$name::Unspecified) | Err(_) => None,
                }
            }
        }
    };
}

as_on_the_wire!(Profile: Default, Strict, None);
as_on_the_wire!(Layer: Namespaces, Landlock, SystemCallFilter);
as_on_the_wire!(OutputPolicy: DropOldest, StopReading, Kill, Follow);
as_on_the_wire!(OutputStore: Memory, Disk);
as_on_the_wire!(DiskEnforcement: Quota, Watched);

impl From<StopSignal> for v1::Signal {
    fn from(signal: StopSignal) -> Self {
        match signal {
            StopSignal::Term => Self::Sigterm,
            StopSignal::Kill => Self::Sigkill,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_comes_back_from_the_wire_and_a_strange_one_is_none() {
        for policy in [
            OutputPolicy::DropOldest,
            OutputPolicy::StopReading,
            OutputPolicy::Kill,
            OutputPolicy::Follow,
        ] {
            let raw = v1::OutputPolicy::from(policy).into();
            assert_eq!(OutputPolicy::from_wire(raw), Some(policy));
        }
        for profile in [Profile::Default, Profile::Strict, Profile::None] {
            let raw = v1::Profile::from(profile).into();
            assert_eq!(Profile::from_wire(raw), Some(profile));
        }
        for store in [OutputStore::Memory, OutputStore::Disk] {
            let raw = v1::OutputStore::from(store).into();
            assert_eq!(OutputStore::from_wire(raw), Some(store));
        }
        for enforcement in [DiskEnforcement::Quota, DiskEnforcement::Watched] {
            let raw = v1::DiskEnforcement::from(enforcement).into();
            assert_eq!(DiskEnforcement::from_wire(raw), Some(enforcement));
        }
        assert_eq!(DiskEnforcement::from_wire(0), None);
        assert_eq!(OutputPolicy::from_wire(0), None);
        assert_eq!(Profile::from_wire(99), None);
    }
}
