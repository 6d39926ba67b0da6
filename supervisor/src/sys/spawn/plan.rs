//! The plan of a process: what it is to be, for who asks for one, and why it did not become that.
//! Runs in the supervisor.

use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

use prn_ipc_protocol::config::{Filter, OpenFiles};
use prn_ipc_protocol::message::ChildStep;

use super::confine::Landlock;

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

/// User and group id, of all kinds; no supplementary groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Ids {
    /// Of a process, whose group is its own as its user is.
    pub fn of_user(uid: u32) -> Self {
        Self { uid, gid: uid }
    }

    /// This program's own.
    pub const ROOT: Self = Self { uid: 0, gid: 0 };
}

/// Who learns whether the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// The parent, by execve(2), which closes the report.
    Exec,
    /// The parent, by the program, which says itself what comes of it: its descriptor 3 is the
    /// report.
    Program,
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
    /// Who says what comes of it.
    pub report: Report,
    /// Its further descriptors, one after the other. All others end where its program
    /// begins (close-on-exec).
    pub descriptors: &'a [BorrowedFd<'a>],
    /// Who it is.
    pub ids: Ids,
    /// Where it starts, entered as that user.
    pub directory: &'a CStr,
    /// How many files it may open.
    pub open_files: OpenFiles,
    /// What it may do with files; `None`: what its user may.
    pub landlock: Option<Landlock<'a>>,
    /// Its seccomp programs, in the order in which they are applied.
    pub filters: &'a [Filter],
}

impl<'a> Child<'a> {
    /// One with nothing of its own: no arguments, no files, nothing to read or to write to but
    /// `null`, not confined.
    pub fn new(
        group: BorrowedFd<'a>,
        program: Program<'a>,
        ids: Ids,
        null: BorrowedFd<'a>,
    ) -> Self {
        Self {
            group,
            program,
            argv: &[],
            environment: &[],
            streams: [null; 3],
            report: Report::Exec,
            descriptors: &[],
            ids,
            directory: c"/",
            open_files: OpenFiles {
                soft: 1024,
                hard: 1024,
            },
            landlock: None,
            filters: &[],
        }
    }
}
