//! What a child needs, made before it exists: between clone3(2) and its program it cannot allocate.
//! Runs in the supervisor.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::c_char;
use nix::unistd::Pid;

use super::plan::{Child, Program, Report};

/// Most bytes of a report: a step and an errno, as the codec has them.
pub(super) const REPORT: usize = 8;

/// Lowest number for descriptors that are out of the way: well above any that a child is given.
const ABOVE: RawFd = 64;

/// Copies of the descriptors that the child needs, out of the way of the numbers that it gives
/// them: those go from 3 on, where something that is still needed may be.
#[derive(Debug)]
pub(super) struct Held {
    report: OwnedFd,
    descriptors: Vec<OwnedFd>,
    /// The program, if it is an open file.
    file: Option<OwnedFd>,
}

impl Held {
    /// Copies them.
    ///
    /// # Errors
    /// As fcntl(2).
    pub fn new(child: &Child<'_>, report: BorrowedFd<'_>) -> nix::Result<Self> {
        let report = above(report)?;
        let own = match child.report {
            Report::Exec => None,
            Report::Program => Some(report.as_fd()),
        };
        let passed = own.into_iter().chain(child.descriptors.iter().copied());
        let descriptors = passed.map(above).collect::<nix::Result<_>>()?;
        let file = match child.program {
            Program::File(file) => Some(above(file)?),
            Program::Paths(_) | Program::Unlink(..) => None,
        };
        Ok(Self {
            report,
            descriptors,
            file,
        })
    }
}

fn above(fd: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    let number = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(ABOVE))?;
    // SAFETY: fcntl has just made this descriptor, for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// What the child needs beside its description, allocated before it exists.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    /// What it is to be.
    pub child: &'a Child<'a>,
    /// The process that makes it.
    pub parent: Pid,
    /// Where it writes why its program does not run.
    pub report: RawFd,
    /// What comes after its streams.
    pub descriptors: Vec<RawFd>,
    /// For execve(2), as the next one.
    pub argv: Vec<*const c_char>,
    /// Its environment.
    pub environment: Vec<*const c_char>,
    /// The program, if it is an open file.
    pub file: Option<RawFd>,
}

impl<'a> Prepared<'a> {
    /// Of copies that live until it exists.
    pub fn new(child: &'a Child<'a>, held: &Held) -> Self {
        Self {
            child,
            parent: Pid::this(),
            report: held.report.as_raw_fd(),
            descriptors: held.descriptors.iter().map(AsRawFd::as_raw_fd).collect(),
            argv: pointers(child.argv),
            environment: pointers(child.environment),
            file: held.file.as_ref().map(AsRawFd::as_raw_fd),
        }
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
