//! The daemon's event loop: one thread that waits in one place, for the frontend, for signals and for processes.
//!
//! Runs in the supervisor. Nothing here waits for the frontend.

use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};
use prn_ipc_protocol::message::StopHow;

use crate::frontend::{Frontend, FrontendError, Kit};
use crate::log;
use crate::runner::Runner;

/// This many frontends that died before the first one served: the fault is not a passing one.
const EARLY_DEATHS: u32 = 5;

/// Wait before a new frontend: this, doubled with each one that lived for less than [`SETTLED`], up to 6.4 s.
const BACK_OFF: Duration = Duration::from_millis(50);

/// A frontend that lives for this long was worth its start; one that does not serve by then never will.
const SETTLED: Duration = Duration::from_secs(30);

/// How long the frontend has, at shutdown, to send what its clients have not read yet.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

/// Why the daemon ended early.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The event loop failed.
    #[error("the event loop failed")]
    Loop(#[from] Errno),
    /// No frontend gets as far as serving.
    #[error("the frontend died {EARLY_DEATHS} times before it served")]
    Frontend,
}

/// What the loop works on.
#[derive(Debug)]
pub struct Daemon {
    runner: Runner,
    kit: Kit,
    epoll: Epoll,
    signals: SignalFd,
    notify: Option<OwnedFd>,
    address: String,
    frontend: Option<Frontend>,
    /// When the frontend was started.
    spawned_at: Instant,
    /// It is being killed: nothing that it says or does not take is of interest.
    dying: bool,
    /// When the next frontend is started, while there is none.
    respawn_at: Option<Instant>,
    deaths: u32,
    announced: bool,
    stopping: Option<Stop>,
    failed: bool,
}

/// How far a shutdown has come.
#[derive(Debug, Clone, Copy)]
enum Stop {
    /// Processes are being stopped.
    Processes,
    /// The frontend has until then to end by itself, once it was sent everything.
    Frontend { until: Instant, told: bool },
}

const RUNNER: u64 = 0;
const SIGNALS: u64 = 1;
const CHANNEL: u64 = 2;
const FRONTEND: u64 = 3;

impl Daemon {
    /// Over an open runner. Signals must be blocked.
    pub fn new(runner: Runner, kit: Kit, notify: Option<OwnedFd>, address: String) -> Result<Self, DaemonError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut wanted = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            wanted.add(signal);
        }
        let signals = SignalFd::with_flags(&wanted, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        epoll.add(&runner, EpollEvent::new(EpollFlags::EPOLLIN, RUNNER))?;
        epoll.add(&signals, EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS))?;
        Ok(Self {
            runner,
            kit,
            epoll,
            signals,
            notify,
            address,
            frontend: None,
            respawn_at: Some(Instant::now()),
            deaths: 0,
            spawned_at: Instant::now(),
            dying: false,
            announced: false,
            stopping: None,
            failed: false,
        })
    }

    /// Serves until it is told to stop and everything is gone.
    ///
    /// # Errors
    /// After everything is gone all the same, as far as that went.
    pub fn run(mut self) -> Result<(), DaemonError> {
        let result = loop {
            if let Err(error) = self.turn() {
                break Err(error);
            }
            if self.done() {
                break if self.failed { Err(DaemonError::Frontend) } else { Ok(()) };
            }
        };
        // What it may have forked dies with it, and the listener is nobody's any more.
        if let Some(frontend) = self.frontend.take() {
            self.runner.frontend_group().kill_and_wait(frontend.process());
        }
        self.runner.frontend_group().wait_empty();
        if self.runner.is_empty()
            && let Err(error) = self.runner.close()
        {
            log(&format!("cannot remove the cgroup tree: {}", chain(&error)));
        }
        result
    }

    /// One wait, and what follows from it: the frontend's requests first, then signals, then processes.
    fn turn(&mut self) -> Result<(), DaemonError> {
        let mut ready = [EpollEvent::empty(); 8];
        let count = match self.epoll.wait(&mut ready, self.timeout()) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let is_ready = |token| ready.iter().take(count).any(|event| event.data() == token);
        if is_ready(CHANNEL) && !self.frontend.as_ref().is_some_and(Frontend::blocked) {
            self.frontend_turn(Frontend::receive);
        }
        if is_ready(SIGNALS) {
            self.signalled();
        }
        self.runner.dispatch()?;
        while let Some(notice) = self.runner.take_notice() {
            if let Some(frontend) = &mut self.frontend {
                frontend.notice(&notice, &self.runner);
            }
        }
        self.frontend_turn(|frontend, runner| frontend.send(runner));
        if is_ready(FRONTEND) {
            self.frontend_ended();
        }
        self.announce();
        self.spawn_if_due();
        self.stop_on();
        self.register_interest()
    }

    fn timeout(&self) -> EpollTimeout {
        let due = match self.stopping {
            Some(Stop::Frontend { until, .. }) => Some(until),
            Some(Stop::Processes) => None,
            None if self.frontend.is_none() => self.respawn_at,
            None => self.ready_by(),
        };
        // Rounded up: a wait that ends early would spin.
        let left = due.map(|at| at.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        left.map_or(EpollTimeout::NONE, |left| EpollTimeout::try_from(left).unwrap_or(EpollTimeout::ZERO))
    }

    /// When the frontend must serve at the latest, while it does not.
    fn ready_by(&self) -> Option<Instant> {
        let slow = self.frontend.as_ref().is_some_and(|frontend| !frontend.ready()) && !self.dying;
        slow.then(|| self.spawned_at + SETTLED)
    }

    fn frontend_turn(&mut self, act: impl FnOnce(&mut Frontend, &mut Runner) -> Result<(), FrontendError>) {
        let Some(frontend) = self.frontend.as_mut().filter(|_| !self.dying) else { return };
        if let Err(error) = act(frontend, &mut self.runner) {
            // Its end is seen through its pidfd; until then its channel must not wake the loop again.
            let _unused = self.epoll.delete(frontend.socket());
            self.dying = true;
            // At the end of a shutdown it goes by itself, and takes the time that it needs.
            if !matches!(self.stopping, Some(Stop::Frontend { .. })) {
                self.kill_frontend(&chain(&error));
            }
        }
    }

    fn kill_frontend(&mut self, why: &str) {
        self.dying = true;
        log(&format!("audit: the frontend is killed: {why}"));
        // The whole group: it may have forked.
        if let Err(error) = self.runner.frontend_group().kill() {
            log(&format!("cannot kill the frontend: {error}"));
        }
    }

    /// Keeps the loop's interest in the channel's writability true.
    fn register_interest(&mut self) -> Result<(), DaemonError> {
        let Some(frontend) = &self.frontend else { return Ok(()) };
        let flags = if frontend.blocked() { EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
        match self.epoll.modify(frontend.socket(), &mut EpollEvent::new(flags, CHANNEL)) {
            // It was taken out: the frontend is dying.
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn signalled(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            if i32::try_from(signal.ssi_signo) == Ok(nix::libc::SIGHUP) {
                // Nothing to read anew: the configuration is part of this process's start.
                continue;
            }
            // The second one does not wait for grace times.
            let how = if self.stopping.is_none() { StopHow::Graceful(None) } else { StopHow::Kill };
            self.shut_down(how);
        }
    }

    fn shut_down(&mut self, how: StopHow) {
        if self.stopping.is_none() {
            log("stopping all processes");
            self.notify("STOPPING=1");
            self.stopping = Some(Stop::Processes);
            if let Some(frontend) = &mut self.frontend {
                frontend.drain();
            }
        }
        self.runner.drain(how);
    }

    /// Once nothing is left of any process but what cannot be killed, the frontend's turn comes.
    fn stop_on(&mut self) {
        if matches!(self.stopping, Some(Stop::Processes)) && (self.runner.is_empty() || self.runner.only_stuck()) {
            self.stopping = Some(Stop::Frontend { until: Instant::now() + FLUSH_WAIT, told: false });
        }
        if let (Some(Stop::Frontend { told, .. }), Some(frontend)) = (&mut self.stopping, &self.frontend)
            && !*told
            && frontend.flushed()
        {
            *told = true;
            // The end of the stream: it sends what its clients have not read, and exits.
            let _unused = shutdown(frontend.socket().as_raw_fd(), Shutdown::Write);
        }
    }

    fn done(&self) -> bool {
        match self.stopping {
            Some(Stop::Frontend { until, .. }) => self.frontend.is_none() || Instant::now() >= until,
            Some(Stop::Processes) | None => false,
        }
    }

    fn frontend_ended(&mut self) {
        let Some(frontend) = self.frontend.take_if(|frontend| frontend.reap()) else {
            // It is a zombie that something of its own traces (ptrace(2)): without that one it can be reaped.
            return self.kill_frontend("it has ended, but is kept from being reaped");
        };
        let _unused = self.epoll.delete(frontend.process());
        let _unused = self.epoll.delete(frontend.socket());
        if self.stopping.is_some() {
            return;
        }
        if let Some((step, errno)) = frontend.failure() {
            log(&format!("the frontend's program could not run: {step:?}: {}", Errno::from_raw(errno)));
        }
        self.deaths = if self.spawned_at.elapsed() >= SETTLED { 0 } else { self.deaths + 1 };
        if self.deaths >= EARLY_DEATHS && !self.announced {
            log("the frontend does not get as far as serving: giving up");
            self.failed = true;
            return self.shut_down(StopHow::Graceful(None));
        }
        log("the frontend has ended: starting another one");
        self.respawn_at = Some(Instant::now() + BACK_OFF * (1 << self.deaths.min(7)));
    }

    fn spawn_if_due(&mut self) {
        if self.ready_by().is_some_and(|at| at <= Instant::now()) {
            self.kill_frontend("it does not serve");
        }
        if self.frontend.is_some() || self.stopping.is_some() || self.respawn_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        if self.runner.renew_frontend_group().is_err() {
            // What the last one forked has the listener and the key.
            let _unused = self.runner.frontend_group().kill();
            self.respawn_at = Some(Instant::now() + BACK_OFF);
            return;
        }
        let spawned = Frontend::spawn(&self.kit, self.runner.frontend_group().directory());
        match spawned.and_then(|frontend| self.watch(&frontend).map(|()| frontend).map_err(Into::into)) {
            Ok(frontend) => {
                (self.dying, self.spawned_at) = (false, Instant::now());
                self.frontend = Some(frontend);
            }
            Err(error) => {
                log(&format!("cannot start the frontend: {error}"));
                self.respawn_at = Some(Instant::now() + Duration::from_secs(1));
            }
        }
    }

    fn watch(&self, frontend: &Frontend) -> nix::Result<()> {
        self.epoll.add(frontend.socket(), EpollEvent::new(EpollFlags::EPOLLIN, CHANNEL))?;
        // For changes alone: a zombie that is traced stays readable.
        self.epoll.add(frontend.process(), EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, FRONTEND))
    }

    /// Says once that clients can connect.
    fn announce(&mut self) {
        if !self.announced && self.frontend.as_ref().is_some_and(Frontend::ready) {
            self.announced = true;
            // Whoever started this may not listen any more.
            let _unused = writeln!(std::io::stdout(), "Listening on {}", self.address);
            self.notify("READY=1");
        }
    }

    /// Tells the service manager (sd_notify(3)).
    fn notify(&self, state: &str) {
        if let Some(socket) = &self.notify {
            let _unused = send(socket.as_raw_fd(), state.as_bytes(), MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT);
        }
    }
}

/// An error and its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
