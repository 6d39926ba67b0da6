//! `prn-audit`: writes the audit into its file, as a user of its own.
//!
//! Whole lines come through a pipe whose other end is the supervisor's, who waits for nobody: what
//! this program does not take is counted there as lost. What it has not written yet stays in the
//! pipe, so that its own death loses nothing. It never reads the file, and can reach no other
//! folder than the one that it was handed, but for what its user may.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, SpliceFFlags, openat, splice, tee};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{fdatasync, pipe2};
use prn_ipc_protocol::fds::{self, tools};

/// Most bytes that are written at a time.
const BATCH: usize = 64 * 1024;

/// How a line begins, and none goes on.
const BEGINNING: &[u8] = b"{\"seq\":";

/// What was written is on the disk after this long at most, if the disk takes it; and after this
/// long what it did not take is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Ends when the pipe's other end is closed and all of it was written, or if it cannot begin.
pub fn main() -> ExitCode {
    match Auditor::begin() {
        Some(mut auditor) => {
            while auditor.turn() {}
            ExitCode::SUCCESS
        }
        None => ExitCode::FAILURE,
    }
}

struct Auditor {
    pipe: OwnedFd,
    folder: OwnedFd,
    name: std::ffi::OsString,
    /// What is looked at before it is written: a copy of what is in the pipe.
    look: (File, OwnedFd),
    file: Option<File>,
    /// When something was written that may not be on the disk yet.
    unsynced: Option<Instant>,
}

impl Auditor {
    fn begin() -> Option<Self> {
        prctl::set_dumpable(false).ok()?;
        // Not when a service manager ends all of the server: the supervisor has lines to tell
        // still. With that one it ends (PR_SET_PDEATHSIG): one that waits for a full disk would be
        // in the way of the next server.
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None).ok()?;
        let (from, to) = pipe2(OFlag::O_CLOEXEC).ok()?;
        Some(Self {
            pipe: fds::inherited(tools::AUDIT).ok()?,
            folder: fds::inherited(tools::AUDIT_FOLDER).ok()?,
            name: std::env::args_os().nth(1)?,
            look: (from.into(), to),
            file: None,
            unsynced: None,
        })
    }

    /// Waits for lines, and writes them. False: there will be none.
    fn turn(&mut self) -> bool {
        let wait = match self.unsynced {
            Some(_) => PollTimeout::from(1000_u16),
            None => PollTimeout::NONE,
        };
        let mut ready = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)];
        let is_ready = poll(&mut ready, wait).unwrap_or(0) > 0;
        let has_lines = ready
            .first()
            .and_then(PollFd::revents)
            .is_some_and(|events| events.contains(PollFlags::POLLIN));
        if is_ready && !has_lines {
            self.sync();
            return false;
        }
        if has_lines && self.write_batch().is_err() {
            // The disk is full, or the file cannot be opened. The pipe keeps what it holds.
            self.file = None;
            std::thread::sleep(PAUSE);
        }
        let is_old = |since: Instant| since.elapsed() >= PAUSE;
        if !has_lines || self.unsynced.is_some_and(is_old) {
            self.sync();
        }
        true
    }

    fn sync(&mut self) {
        if let (Some(_), Some(file)) = (self.unsynced.take(), &self.file) {
            let _unused = fdatasync(file);
        }
    }

    /// Writes the whole lines that there are, some of them, into the file of that name.
    fn write_batch(&mut self) -> nix::Result<()> {
        let copied = tee(&self.pipe, &self.look.1, BATCH, SpliceFFlags::empty())?;
        let mut bytes = vec![0; copied];
        self.look.0.read_exact(&mut bytes).map_err(errno)?;
        let end = bytes.iter().rposition(|byte| *byte == b'\n');
        let mut left = end.map_or(copied, |end| end + 1);
        let is_beginning = bytes.starts_with(BEGINNING);
        let mut file = self.current()?;
        let length = file.seek(SeekFrom::End(0)).map_err(errno)?;
        if is_beginning && length > 0 {
            let mut last = [0];
            file.read_exact_at(&mut last, length - 1).map_err(errno)?;
            if last != *b"\n" {
                // What came before was cut off with the machine, or with a full disk.
                file.write_all(b"\n").map_err(errno)?;
            }
        }
        self.unsynced.get_or_insert_with(Instant::now);
        while left > 0 {
            left -= splice(&self.pipe, None, &file, None, left, SpliceFFlags::empty())?;
        }
        self.file = Some(file);
        Ok(())
    }

    /// The file that has the name now: the one that is open may have been renamed or removed. It is
    /// kept if all goes well with it.
    fn current(&mut self) -> nix::Result<File> {
        let name = self.name.clone();
        let name = name.as_bytes();
        let there = fstatat(&self.folder, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok();
        let is_it = |file: &File| {
            let open = file.metadata().ok().map(|open| (open.dev(), open.ino()));
            there.is_some_and(|there| open == Some((there.st_dev, there.st_ino)))
        };
        let is_known = self.file.as_ref().is_some_and(is_it);
        if let Some(file) = self.file.take_if(|_| is_known) {
            return Ok(file);
        }
        self.sync();
        let flags = OFlag::O_RDWR
            | OFlag::O_CREAT
            | OFlag::O_NOFOLLOW
            | OFlag::O_NONBLOCK
            | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR | Mode::S_IRGRP;
        let opened: File = openat(&self.folder, name, flags, mode)?.into();
        if !opened.metadata().map_err(errno)?.is_file() {
            return Err(Errno::EINVAL);
        }
        Ok(opened)
    }
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}
