//! What confines a process, layer by layer, as `prn server start` has compiled it for this host.
//! The root process holds neither the tables nor a compiler for them.

use std::ffi::CString;

use serde::{Deserialize, Serialize};

use super::filter::Filter;
use crate::message::{Layer, Profile};

/// What confines the supervisor and all that it starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Filters that the supervisor applies to itself, in this order. Everything that it starts
    /// inherits them.
    pub own: Vec<Filter>,
    /// Of the frontend, which confines itself further.
    pub frontend: Layers,
    /// Of [`crate::message::Profile::Default`].
    pub default: Layers,
    /// Of [`crate::message::Profile::Strict`]; `None`: this host cannot enforce it.
    pub strict: Option<Layers>,
    /// [`crate::message::Profile::None`] may be asked for.
    pub allow_none: bool,
}

impl Confinement {
    /// What confines a process of this profile; `None`: nothing, or it cannot be asked for.
    pub fn of(&self, profile: Profile) -> Option<&Layers> {
        match profile {
            Profile::Default => Some(&self.default),
            Profile::Strict => self.strict.as_ref(),
            Profile::None => None,
        }
    }

    /// Something that the supervisor starts has namespaces of its own: that takes CAP_SYS_ADMIN.
    pub fn has_namespaces(&self) -> bool {
        let all = [
            Some(&self.frontend),
            Some(&self.default),
            self.strict.as_ref(),
        ];
        let mut all = all.into_iter().flatten();
        all.any(|layers| layers.namespaces.is_some())
    }
}

impl Layers {
    /// Those that are in force.
    pub fn names(&self) -> Vec<Layer> {
        let layers = [
            (self.namespaces.is_some(), Layer::Namespaces),
            (self.landlock.is_some(), Layer::Landlock),
            (!self.filters.is_empty(), Layer::SystemCallFilter),
        ];
        let layers = layers.into_iter().filter(|(there, _)| *there);
        layers.map(|(_, layer)| layer).collect()
    }
}

/// What a child takes on before its program, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layers {
    /// Namespaces of its own; `None`: it shares the supervisor's.
    pub namespaces: Option<Namespaces>,
    /// What it may do with files; `None`: what its user may.
    pub landlock: Option<Landlock>,
    /// Filters of system calls.
    pub filters: Vec<Filter>,
}

/// Namespaces of a child's own (namespaces(7)), and what is to be seen there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// Which, for unshare(2): CLONE_NEW…
    pub flags: i32,
    /// The host's accounts, which that of the child's user is added to. `None`: it sees the host's
    /// files.
    pub accounts: Option<Accounts>,
    /// One after the other. All targets were there when the server started.
    pub mounts: Vec<Mount>,
    /// Where a mount covers the state folder: how it is found again.
    pub uncovered: Option<Uncovered>,
}

/// The text of the host's files of accounts, whole lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounts {
    /// /etc/passwd (passwd(5)).
    pub passwd: Vec<u8>,
    /// /etc/group (group(5)).
    pub group: Vec<u8>,
}

/// A mount in a child's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What is mounted.
    pub source: Source,
    /// Where.
    pub target: CString,
    /// Landlock rights below it, which no rule for what it covers gives. 0: none of its own.
    pub rights: u64,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// The process's temporary directory.
    Temporary,
    /// An empty directory of root's, if there is still something to cover.
    Empty,
    /// What is at a path, where the mounts before have left it.
    At {
        /// The path.
        path: CString,
        /// With all that is mounted below it.
        is_recursive: bool,
    },
    /// A new file system (mount(2)).
    New {
        /// Its kind.
        kind: CString,
        /// MS_…
        flags: u64,
        /// Options of its kind.
        options: CString,
    },
}

/// The way to a folder that a mount covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uncovered {
    /// Folders to make, the outermost first. The last one is where it is mounted.
    pub folders: Vec<CString>,
    /// They are made in the process's temporary directory, and so by its user.
    pub is_in_temporary: bool,
}

/// A ruleset for Landlock (landlock(7)). Access rights are the kernel's bits (linux/landlock.h).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landlock {
    /// `struct landlock_ruleset_attr`: handled_access_fs, handled_access_net, scoped. What this
    /// kernel knows of them.
    pub attributes: Vec<u64>,
    /// What is allowed below which path. One that is gone since is left out.
    pub rules: Vec<Rule>,
    /// Rights below what is the process's own: its two directories, and what is mounted or bound for
    /// it to write to.
    pub own: u64,
}

/// What is allowed below a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The path.
    pub path: CString,
    /// Access rights.
    pub rights: u64,
}
