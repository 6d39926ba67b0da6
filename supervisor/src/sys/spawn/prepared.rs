//! What a child needs, made before it exists: between clone3(2) and its program it cannot allocate.
//! Runs in the supervisor.

use std::cell::{Cell, RefCell};
use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::libc::c_char;
use nix::unistd::Pid;
use prn_ipc_protocol::config::{Landlock, Namespaces};

use super::confine::Ruleset;
use super::passing::Inbox;
use super::paths::Sources;
use super::plan::{Child, Program};

/// Says in a report that the child has taken what was passed to it, and shares nothing any more. No
/// step is encoded so.
pub(super) const TAKEN: u8 = u8::MAX;

/// What a child is passed, in order, and which numbers that gives it: it finds them from 0 on.
#[derive(Debug)]
pub(super) struct Passed {
    /// This program's numbers.
    pub descriptors: Vec<RawFd>,
    numbers: Numbers,
}

/// Numbers in the child.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers {
    /// Where it writes why its program does not run.
    pub report: RawFd,
    /// The first that is not the program's.
    pub kept: RawFd,
    /// The program, if it is an open file, or the folder to remove something from.
    pub file: Option<RawFd>,
}

impl Passed {
    /// What `child` needs, with this end of its report.
    ///
    /// # Errors
    /// E2BIG: it is more than there are numbers.
    pub fn new(child: &Child<'_>, report: BorrowedFd<'_>) -> nix::Result<Self> {
        let mut passed = Self {
            descriptors: Vec::new(),
            numbers: Numbers::default(),
        };
        for stream in child.streams {
            passed.push(stream)?;
        }
        for descriptor in child.descriptors {
            passed.push(*descriptor)?;
        }
        passed.numbers.kept = passed.next()?;
        passed.numbers.report = passed.push(report)?;
        if let Program::File(file) | Program::Unlink(file, _) = child.program {
            passed.numbers.file = Some(passed.push(file)?);
        }
        Ok(passed)
    }

    fn next(&self) -> nix::Result<RawFd> {
        RawFd::try_from(self.descriptors.len()).map_err(|_| Errno::E2BIG)
    }

    fn push(&mut self, fd: BorrowedFd<'_>) -> nix::Result<RawFd> {
        let number = self.next()?;
        self.descriptors.push(fd.as_raw_fd());
        Ok(number)
    }
}

/// What the child needs beside its description, allocated before it exists.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    /// What it is to be.
    pub child: &'a Child<'a>,
    /// The process that makes it.
    pub parent: Pid,
    /// How it gets its descriptors.
    pub inbox: Inbox,
    /// Which numbers they then have.
    pub numbers: Numbers,
    /// For execve(2), as the next one.
    pub argv: Vec<*const c_char>,
    /// Its environment.
    pub environment: Vec<*const c_char>,
    /// What the child has made of its Landlock ruleset.
    pub ruleset: Cell<Option<Ruleset>>,
    /// Which rule for a path it has in hand.
    pub rule: Cell<u8>,
    /// What it has found to bind.
    pub sources: RefCell<Sources>,
}

impl<'a> Prepared<'a> {
    /// Of what it is passed, in a passage that it finds there.
    pub fn new(child: &'a Child<'a>, passed: Passed, inbox: Inbox) -> Self {
        Self {
            child,
            parent: Pid::this(),
            inbox,
            numbers: passed.numbers,
            argv: pointers(child.argv),
            environment: pointers(child.environment),
            ruleset: Cell::new(None),
            rule: Cell::new(0),
            sources: RefCell::new(Sources::default()),
        }
    }
}

impl Prepared<'_> {
    /// Namespaces of its own, if it has them.
    pub fn namespaces(&self) -> Option<&Namespaces> {
        self.child.layers?.namespaces.as_ref()
    }

    /// What the child may do with files, if that is limited.
    pub fn landlock(&self) -> Option<&Landlock> {
        self.child.layers?.landlock.as_ref()
    }
}

/// A null-terminated array, as execve(2) takes it. Valid while `strings` are.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}
