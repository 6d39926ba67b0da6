//! The program that writes the audit into a file: `prn-tools` under a user id of its own. Runs in
//! the supervisor, which never waits for it.
//!
//! A regular file can block whoever writes it for as long as its disk likes. So this program writes
//! to a pipe that does not block, and holds both its ends: what is in it is not lost with a writer,
//! and the next one goes on.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::libc::SIGKILL;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::pipe2;
use prn_ipc_protocol::config::Layers;
use prn_ipc_protocol::fds::tools;
use prn_ipc_protocol::message::ExitStatus;

use crate::log;
use crate::sys::pidfd;
use crate::sys::spawn::{self, Child, Ids, Program};

/// What the pipe holds while the writer or its disk is slow.
const PIPE_BYTES: i32 = 1 << 20;

/// From a writer's death to the next one: this, doubled each time, up to 64 times as long.
const BACK_OFF: Duration = Duration::from_millis(100);

/// How long the last writer has to write what is left, at the server's end.
const FINISH: u16 = 2000;

/// What each writer is started with.
#[derive(Debug)]
pub struct Post {
    /// The folder that the file is in, which the server has locked.
    pub folder: OwnedFd,
    /// The file's name there.
    pub name: CString,
    /// Who the writer is.
    pub ids: Ids<'static>,
    /// The binary `prn-tools`.
    pub tools: OwnedFd,
    /// The group that it is in.
    pub group: OwnedFd,
    /// What confines it.
    pub layers: Layers,
}

/// The writer, or that there is to be one.
#[derive(Debug)]
pub struct Writer {
    post: Post,
    null: OwnedFd,
    from: OwnedFd,
    child: Option<OwnedFd>,
    deaths: u32,
    due: Instant,
}

impl Writer {
    /// None yet. With the end of the pipe to write to, which does not block.
    ///
    /// # Errors
    /// Those of pipe2(2) and open(2).
    pub fn new(post: Post) -> nix::Result<(Self, OwnedFd)> {
        let (from, to) = pipe2(OFlag::O_CLOEXEC)?;
        // Of this end alone: the writer waits at its own.
        fcntl(&to, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        // A smaller one does too: lines that do not fit are counted.
        let _unused = fcntl(&to, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
        let writer = Self {
            post,
            null,
            from,
            child: None,
            deaths: 0,
            due: Instant::now(),
        };
        Ok((writer, to))
    }

    /// When one is to be started.
    pub fn due(&self) -> Option<Instant> {
        self.child.is_none().then_some(self.due)
    }

    /// Starts one. What refers to it, to be watched.
    ///
    /// # Errors
    /// Those of clone3(2): it is due again later then.
    pub fn start(&mut self) -> nix::Result<&OwnedFd> {
        let post = &self.post;
        let spawned = spawn::spawn_apart(&Child {
            argv: &[tools::AUDITOR.into(), post.name.clone()],
            // In the order of `fds::tools`.
            descriptors: &[self.from.as_fd(), post.folder.as_fd()],
            layers: Some(&post.layers),
            ..Child::new(
                post.group.as_fd(),
                Program::File(post.tools.as_fd()),
                post.ids,
                self.null.as_fd(),
            )
        });
        match spawned {
            Ok(spawned) => Ok(self.child.insert(spawned.pidfd)),
            Err(error) => {
                self.put_off();
                Err(error)
            }
        }
    }

    /// What refers to the writer, if it has ended: another one is due.
    pub fn reap(&mut self) -> Option<OwnedFd> {
        let child = self.child.take()?;
        match pidfd::reap(&child) {
            Ok(None) => {
                self.child = Some(child);
                return None;
            }
            Ok(Some(ExitStatus::Exited(number @ 1..))) => {
                let why = Errno::from_raw(number.into()).desc();
                log::error(
                    &format!("the audit is not written: {why}; trying again"),
                    &[],
                );
            }
            Ok(Some(_)) | Err(_) => {
                log::warning("the audit's writer has ended: starting another one", &[]);
            }
        }
        self.put_off();
        Some(child)
    }

    fn put_off(&mut self) {
        self.due = Instant::now() + BACK_OFF * (1 << self.deaths.min(6));
        self.deaths = self.deaths.saturating_add(1);
    }

    /// The pipe's other end is closed: waits until the writer has written what is left, for a
    /// while, and ends it. Nothing else is left to be done by this program then. How many lines it has
    /// not written.
    pub fn finish(mut self) -> usize {
        if self.child.is_none() {
            let _unused = self.start();
        }
        if let Some(child) = self.child {
            let mut ended = [PollFd::new(child.as_fd(), PollFlags::POLLIN)];
            while poll(&mut ended, PollTimeout::from(FINISH)) == Err(Errno::EINTR) {}
            let _unused = pidfd::signal(&child, SIGKILL);
            let _unused = poll(&mut ended, PollTimeout::from(FINISH));
            let _unused = pidfd::reap(&child);
        }
        let mut left = Vec::new();
        // Nobody has the other end: it ends.
        let _unused = File::from(self.from).read_to_end(&mut left);
        left.iter().filter(|byte| **byte == b'\n').count()
    }
}
