//! One frontend, from its start to its end. Runs in the supervisor.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, open};
use nix::sys::socket::sockopt::AcceptConn;
use nix::sys::socket::{Backlog, getsockopt, listen};
use nix::sys::stat::{Mode, SFlag, fstat};
use prn_ipc_protocol::config::{Layers, OpenFiles};
use prn_ipc_protocol::{channel, signer};

use super::attached;
use super::fault::PeerFault;
use super::session::Session;
use crate::audit::{Audit, Event, Facts};
use crate::cgroup::Group;
use crate::events::Interest;
use crate::log::{self, FrontendLog};
use crate::runner::Runner;
use crate::sys::reopen;
use crate::sys::spawn::{self, Child, Ids, Program};

/// What every frontend is started with. Kept for the next one.
#[derive(Debug)]
pub struct Setup {
    /// Its binary.
    pub binary: OwnedFd,
    /// Its configuration, a sealed memfd.
    pub config: OwnedFd,
    /// The TLS key, a sealed memfd, or the control socket of what signs with it.
    pub key: OwnedFd,
    /// The listening socket.
    pub listener: OwnedFd,
    /// Its root.
    pub empty_folder: OwnedFd,
    /// Who it is.
    pub ids: Ids<'static>,
    /// How many files it may open.
    pub open_files: OpenFiles,
    /// What confines it before it confines itself.
    pub layers: Layers,
}

/// What a reload changes of that.
#[derive(Debug)]
pub struct Files {
    /// [`Setup::config`].
    pub config: OwnedFd,
    /// The key that a setup holds. `None`: it stays.
    pub key: Option<OwnedFd>,
}

impl Setup {
    /// What a frontend gets of the key: its own, as every one does.
    fn key(&self) -> nix::Result<OwnedFd> {
        if is_socket(&self.key) {
            signer::open(&self.key)
        } else {
            reopen(&self.key)
        }
    }

    /// Puts other files in place of these, which are returned.
    pub(super) fn exchange(&mut self, files: Files) -> Files {
        Files {
            config: std::mem::replace(&mut self.config, files.config),
            key: files.key.map(|key| std::mem::replace(&mut self.key, key)),
        }
    }
}

/// Whether this is no memory but a socket.
pub(crate) fn is_socket(file: &OwnedFd) -> bool {
    fstat(file).is_ok_and(|file| {
        SFlag::from_bits_truncate(file.st_mode) & SFlag::S_IFMT == SFlag::S_IFSOCK
    })
}

/// A frontend that was started, until it is reaped.
#[derive(Debug)]
pub(super) struct Frontend {
    /// Readable when it has ended.
    pub process: OwnedFd,
    /// Its cgroup.
    pub group: Group,
    /// Why its program could not run, once it has ended.
    report: OwnedFd,
    /// The conversation with it.
    pub session: Session,
    /// What it says of itself.
    pub log: FrontendLog,
    /// Until when nothing is read of that: it has said too much.
    log_paused_until: Option<Instant>,
    /// When it was started.
    pub since: Instant,
    /// Its end is certain: nothing that it says or does not take is of interest.
    pub is_condemned: bool,
    /// What it is killed for.
    pub fault: Option<String>,
}

impl Frontend {
    /// Starts one, in this cgroup.
    ///
    /// # Errors
    /// Those of socketpair(2), open(2) and clone3(2). What fails in the child shows as its end.
    pub fn spawn(setup: &Setup, group: Group) -> nix::Result<Self> {
        listen_again(&setup.listener)?;
        let (ours, theirs) = channel::pair()?;
        let session = Session::new(ours);
        let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
        // With open file descriptions of its own (see `config::read`).
        let (config, key) = (reopen(&setup.config)?, setup.key()?);
        let (log, stderr) = FrontendLog::new()?;
        let spawned = spawn::spawn_apart(&Child {
            argv: &[c"prn-frontend".into()],
            streams: [null.as_fd(), null.as_fd(), stderr.as_fd()],
            // In the order of `fds::frontend`.
            descriptors: &[
                theirs.as_fd(),
                config.as_fd(),
                key.as_fd(),
                setup.listener.as_fd(),
                setup.empty_folder.as_fd(),
            ],
            open_files: setup.open_files,
            layers: Some(&setup.layers),
            ..Child::new(
                group.directory()?.as_fd(),
                Program::File(setup.binary.as_fd()),
                setup.ids,
                null.as_fd(),
            )
        })?;
        Ok(Self {
            process: spawned.pidfd,
            group,
            report: spawned.report,
            session,
            log,
            log_paused_until: None,
            since: Instant::now(),
            is_condemned: false,
            fault: None,
        })
    }

    /// Watches all that tells something of it.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn attach(&self, runner: &Runner) -> nix::Result<()> {
        self.session.attach(runner)?;
        // For changes alone: a zombie that is traced stays readable.
        runner.attach(self.process.as_fd(), Interest::Changed, attached::FRONTEND)?;
        runner.attach(self.log.as_fd(), Interest::Readable, attached::LOG)
    }

    /// Kills it, for what it did.
    pub fn kill(&mut self, why: &PeerFault, audit: &mut Audit) {
        let why = log::chain(why);
        audit.note(Event::FrontendKilled, Facts::default().text("why", &why));
        log::warning(&format!("audit: the frontend is killed: {why}"), &[]);
        self.fault.get_or_insert(why);
        self.dismiss();
    }

    /// Ends it: nothing more is asked of it.
    pub fn dismiss(&mut self) {
        self.is_condemned = true;
        // The whole group: it may have forked. A group that is there can be killed.
        let _unused = self.group.kill();
    }

    /// Hands on what it says of itself, no faster than it may.
    pub fn read_log(&mut self, runner: &mut Runner) {
        let now = Instant::now();
        let resumes = self.log_paused_until.take_if(|until| *until <= now);
        if resumes.is_none() && !runner.is_ready(attached::LOG) {
            return;
        }
        match self.log.turn(now) {
            // Should that fail, its last words are read all the same.
            log::Next::Wait if resumes.is_some() => {
                let _unused = runner.attach(self.log.as_fd(), Interest::Readable, attached::LOG);
            }
            log::Next::Wait => {}
            log::Next::Pause(until) => {
                runner.detach(&self.log);
                runner.wake_at(until);
                self.log_paused_until = Some(until);
            }
            log::Next::Closed => runner.detach(&self.log),
        }
    }

    /// Takes leave of one that was reaped. Returns its report, and how long it lived.
    pub fn end(self, runner: &Runner) -> (OwnedFd, Duration) {
        runner.detach(&self.process);
        self.session.detach(runner);
        runner.detach(&self.log);
        // What it forked has the listener and the key.
        let _unused = self.group.kill();
        self.log.finish();
        (self.report, self.since.elapsed())
    }
}

/// Makes the listener listen, also if it does already. An earlier frontend may have shut it down,
/// which all who hold the socket suffer from (shutdown(2)). Its filter forbids that, so it is worth
/// a line.
fn listen_again(listener: &OwnedFd) -> nix::Result<()> {
    if !getsockopt(listener, AcceptConn)? {
        let message = "audit: the listener did not listen any more: it is made to again";
        log::warning(message, &[]);
    }
    listen(listener, Backlog::MAXCONN)
}
