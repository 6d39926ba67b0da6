//! `prn-audit`: writes the audit into its file, as a user of its own.
//!
//! Whole lines come through a pipe whose other end is the supervisor's, who waits for nobody: what
//! this program does not take is counted there as lost. What it has not written yet stays in the
//! pipe, so that its own death loses nothing: where the disk does not take it, this program ends with
//! the number of the error, and the supervisor starts another one. Of the file it reads no more than
//! whether its last line is whole, and it can reach no other folder than the one that it was handed,
//! but for what its user may.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
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

/// Most bytes of a line with its end.
const LINE_MAX: u64 = 4096;

/// What was written is on the disk after this long at most, if the disk takes it.
const PAUSE: Duration = Duration::from_secs(1);

/// Ends when the pipe's other end is closed and all of it was written; with the number of an error
/// if the disk is full or the file cannot be opened; with 255, which none has, if it cannot begin.
pub fn main() -> ExitCode {
    let Some(mut auditor) = Auditor::begin() else {
        return ExitCode::from(u8::MAX);
    };
    loop {
        match auditor.turn() {
            Ok(true) => {}
            Ok(false) => return ExitCode::SUCCESS,
            Err(error) => {
                auditor.sync();
                let number = std::io::Error::from(error).raw_os_error();
                let number = number.and_then(|number| u8::try_from(number).ok());
                return ExitCode::from(number.unwrap_or(u8::MAX));
            }
        }
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
    fn turn(&mut self) -> nix::Result<bool> {
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
            return Ok(false);
        }
        if has_lines {
            self.write_batch()?;
        }
        let is_old = |since: Instant| since.elapsed() >= PAUSE;
        if !has_lines || self.unsynced.is_some_and(is_old) {
            self.sync();
        }
        Ok(true)
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
        if is_beginning {
            drop_half_line(&file).map_err(errno)?;
        }
        file.seek(SeekFrom::End(0)).map_err(errno)?;
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

/// Takes away a last line that has no end, if there is one: it was cut off by a full disk or with
/// the machine, and the rest of it is nowhere.
fn drop_half_line(mut file: &File) -> std::io::Result<()> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(LINE_MAX);
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.take(LINE_MAX).read_to_end(&mut tail)?;
    let end = tail.iter().rposition(|byte| *byte == b'\n');
    let whole = end.map_or(0, |end| end + 1);
    if whole == tail.len() {
        return Ok(());
    }
    let whole = u64::try_from(whole).unwrap_or(u64::MAX);
    if (end.is_some() || from == 0) && file.set_len(from + whole).is_ok() {
        return Ok(());
    }
    // A file that is only ever longer (chattr +a), or none of an audit: `prn audit verify` tells.
    file.seek(SeekFrom::End(0))?;
    file.write_all(b"\n")
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}
