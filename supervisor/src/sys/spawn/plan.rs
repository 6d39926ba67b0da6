//! The plan of a process: what it is to be, for who asks for one, and why it did not become that.
//! Runs in the supervisor.

use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

use prn_ipc_protocol::config::{Bindable, Layers, OpenFiles};
use prn_ipc_protocol::message::{ChildStep, TerminalSize};
use prn_ipc_protocol::types::PathRule;

use crate::sys::account::Ids;

/// What the child executes.
#[derive(Debug, Clone, Copy)]
pub enum Program<'a> {
    /// The first of these paths that exists and may be executed, as a shell looks along PATH.
    Paths(&'a [CString]),
    /// An open file, so that no folder above it need be accessible to the child's user.
    File(BorrowedFd<'a>),
    /// None: it removes these empty directories of a folder, as this program's own user, and ends.
    Unlink(BorrowedFd<'a>, &'a [CString]),
}

/// What a child does with a terminal that it was passed, and with nothing else, before it ends.
#[derive(Debug, Clone, Copy)]
pub enum Errand {
    /// It sets the size.
    Resize(TerminalSize),
    /// It closes it.
    Close,
}

/// A process's own places.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// Path of the folder that its directories are in.
    pub state: &'a CStr,
    /// Name in it of the one where it starts.
    pub own: &'a CStr,
    /// Name in it of the one for temporary files.
    pub temporary: &'a CStr,
    /// Its user's line of /etc/passwd (passwd(5)).
    pub passwd: &'a [u8],
    /// Its group's line of /etc/group (group(5)).
    pub group: &'a [u8],
    /// Both directories are file systems in memory, with these options (tmpfs(5)), which nobody else
    /// reaches, and which are gone with its last process.
    pub in_memory: Option<&'a CStr>,
}

/// How a process sees directories that its client has said something about.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// What was asked for.
    pub rules: &'a [PathRule],
    /// What may be bound.
    pub bindable: &'a [Bindable],
    /// Landlock rights below what is bound and writable.
    pub rights: u64,
}

/// Why a child's program could not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// What failed.
    pub step: ChildStep,
    /// With which errno(3).
    pub errno: i32,
}

/// Most bytes of a report: a step and an errno, as the codec has them.
pub(super) const REPORT: usize = 8;

/// A process to create.
#[derive(Debug, Clone, Copy)]
pub struct Child<'a> {
    /// Directory of the cgroup that it is born in.
    pub group: BorrowedFd<'a>,
    /// What it executes.
    pub program: Program<'a>,
    /// Its argument vector.
    pub argv: &'a [CString],
    /// Its environment, each `NAME=value`.
    pub environment: &'a [CString],
    /// Its standard input, output and error.
    pub streams: [BorrowedFd<'a>; 3],
    /// They are a terminal, which its session is to have.
    pub has_terminal: bool,
    /// Its further descriptors, one after the other. All others end where its program
    /// begins (close-on-exec).
    pub descriptors: &'a [BorrowedFd<'a>],
    /// Who it is.
    pub ids: Ids<'a>,
    /// Where it starts, entered as that user.
    pub directory: &'a CStr,
    /// How many files it may open.
    pub open_files: OpenFiles,
    /// What confines it; `None`: its user id alone.
    pub layers: Option<&'a Layers>,
    /// Its own places, which mounts and Landlock rules are about; `None`: it has none.
    pub places: Option<Places<'a>>,
    /// What its client has said of directories.
    pub view: View<'a>,
}

impl<'a> Child<'a> {
    /// One with nothing of its own: no arguments, no files, nothing to read or to write to but
    /// `null`, not confined.
    pub fn new(
        group: BorrowedFd<'a>,
        program: Program<'a>,
        ids: Ids<'a>,
        null: BorrowedFd<'a>,
    ) -> Self {
        Self {
            group,
            program,
            argv: &[],
            environment: &[],
            streams: [null; 3],
            has_terminal: false,
            descriptors: &[],
            ids,
            directory: c"/",
            open_files: OpenFiles {
                soft: 1024,
                hard: 1024,
            },
            layers: None,
            places: None,
            view: View {
                rules: &[],
                bindable: &[],
                rights: 0,
            },
        }
    }
}
