//! The daemon's event loop: one thread that waits in one place, for the frontend, for signals and
//! for processes.
//!
//! Runs in the supervisor. Nothing here waits for the frontend.

use std::error::Error;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::SIGSYS;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};
use nix::sys::stat::{Mode, fchmod, fstat};
use prn_ipc_protocol::message::{ExitStatus, StopHow};

use crate::cgroup::{self, Group};
use crate::events::Interest;
use crate::frontend::{Attached, Frontend, Kit, Phase, Verdict};
use crate::log::{self, Next};
use crate::runner::Runner;
use crate::sys::{pidfd, spawn};

/// This many frontends that died before the first one served: the fault is not a passing one.
const EARLY_DEATHS: u32 = 5;

/// Wait before a new frontend: this, doubled with each one that lived for less than [`SETTLED`], up
/// to 6.4 s.
const BACK_OFF: Duration = Duration::from_millis(50);

/// A frontend that lives for this long was worth its start; one that does not serve by then never
/// will.
const SETTLED: Duration = Duration::from_secs(30);

/// How long the frontend has, at shutdown, to send what its clients have not read yet.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

/// The group that a frontend is in, in one that has its limits.
const FRONTEND_GROUP: &str = "frontend/run";

/// What connects the daemon to its surroundings.
pub struct Links {
    /// The address of the listener, for the line that says so.
    pub address: String,
    /// A socket to the service manager (sd_notify(3)).
    pub notify: Option<OwnedFd>,
    /// The group that this server's groups are in.
    pub cgroup: OwnedFd,
    /// If it is to be removed at the end: `cgroup.procs` of the group that this process came from,
    /// and its own name.
    pub origin: Option<(OwnedFd, String)>,
}

/// What the loop works on.
pub struct Daemon {
    runner: Runner,
    kit: Kit,
    links: Links,
    signals: SignalFd,
    frontend: Option<Frontend>,
    /// Until when nothing is read of what it says: it has said too much.
    log_paused_until: Option<Instant>,
    /// When the next frontend is started, while there is none.
    respawn_at: Instant,
    deaths: u32,
    announced: bool,
    stopping: bool,
    /// Nothing of any process is left: how long the frontend has to end by itself, once it was sent
    /// everything.
    flush_until: Option<Instant>,
}

impl Daemon {
    /// Over an open runner. All signals must be blocked.
    ///
    /// # Errors
    /// Those of signalfd(2) and epoll_ctl(2).
    pub fn new(mut runner: Runner, kit: Kit, links: Links) -> nix::Result<Self> {
        // SIGHUP stays blocked: there is nothing to read anew, the configuration is part of this
        // process's start.
        let signals = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT]
            .into_iter()
            .collect::<SigSet>();
        let signals =
            SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        runner.attach(
            signals.as_fd(),
            Interest::Readable,
            Attached::Signals.token(),
        )?;
        runner.wake_at(Instant::now());
        Ok(Self {
            runner,
            kit,
            links,
            signals,
            frontend: None,
            log_paused_until: None,
            respawn_at: Instant::now(),
            deaths: 0,
            announced: false,
            stopping: false,
            flush_until: None,
        })
    }

    /// Serves until it is told to stop and everything is gone.
    ///
    /// # Errors
    /// After everything is gone all the same, as far as that went.
    pub fn run(mut self) -> Result<(), Box<dyn Error>> {
        while self
            .flush_until
            .is_none_or(|until| self.frontend.is_some() && Instant::now() < until)
        {
            self.turn()?;
        }
        // What it may have forked dies with it, and the listener is nobody's any more.
        if let Some(frontend) = self.frontend.take() {
            frontend.group.end(&frontend.process);
            frontend.log.finish();
        }
        if let Err(error) = self.remove_cgroups() {
            log::line(&format!("cannot remove the cgroup tree: {error}"));
        }
        if self.gives_up() {
            Err("no frontend got as far as serving".into())
        } else {
            Ok(())
        }
    }

    /// Goes back to where this process came from, and removes what was made for it. A service
    /// manager removes a delegated group with all that is below it, when this process has ended.
    fn remove_cgroups(&self) -> nix::Result<()> {
        let Some((origin, name)) = &self.links.origin else {
            return Ok(());
        };
        nix::unistd::write(origin, b"0")?;
        let base = self.links.cgroup.as_fd();
        ["processes", FRONTEND_GROUP, "frontend", "supervisor"]
            .into_iter()
            .try_for_each(|name| cgroup::remove(base, name))?;
        // The top folder of a cgroup2 mount has mode 0555, which stops a root without
        // CAP_DAC_OVERRIDE; as its owner it may let itself in for the moment.
        let parent = cgroup::open_directory(base, "..")?;
        let mode = Mode::from_bits_truncate(fstat(&parent)?.st_mode);
        fchmod(&parent, mode | Mode::S_IWUSR)?;
        let removed = cgroup::remove(parent.as_fd(), name);
        fchmod(&parent, mode)?;
        removed
    }

    /// One wait, and what follows from it: the frontend's requests first, then signals, then
    /// processes.
    fn turn(&mut self) -> nix::Result<()> {
        self.runner.wait(None)?;
        let frontend_ended = self.runner.is_ready(Attached::Frontend.token());
        if self.runner.is_ready(Attached::Channel.token()) {
            self.frontend_turn(Frontend::receive);
        }
        if self.runner.is_ready(Attached::Signals.token()) {
            self.signalled();
        }
        self.log_turn();
        self.runner.dispatch();
        while let Some(notice) = self.runner.take_notice() {
            if let Some(frontend) = &mut self.frontend {
                frontend.notice(notice);
            }
        }
        self.frontend_turn(Frontend::send);
        if frontend_ended {
            self.frontend_ended();
        }
        self.announce();
        self.spawn_if_due();
        self.stop_on();
        Ok(())
    }

    fn frontend_turn(&mut self, act: fn(&mut Frontend, &mut Runner) -> Verdict) {
        let Some(frontend) = self.frontend.as_mut().filter(|frontend| !frontend.dying) else {
            return;
        };
        if let Err(error) = act(frontend, &mut self.runner) {
            // Its end is seen through its pidfd; until then its channel must not wake the loop
            // again.
            self.runner.detach(frontend.channel.as_fd());
            frontend.dying = true;
            // At the end of a shutdown it goes by itself, and takes the time that it needs.
            if self.flush_until.is_none() {
                self.kill_frontend(&chain(&*error));
            }
        }
    }

    fn kill_frontend(&mut self, why: &str) {
        let Some(frontend) = &mut self.frontend else {
            return;
        };
        frontend.dying = true;
        log::line(&format!("audit: the frontend is killed: {why}"));
        // The whole group: it may have forked. A group that is there can be killed.
        let _unused = frontend.group.kill();
    }

    fn signalled(&mut self) {
        while let Ok(Some(_)) = self.signals.read_signal() {
            // The second one does not wait for grace times.
            self.shut_down(if self.stopping {
                StopHow::Kill
            } else {
                StopHow::Graceful(None)
            });
        }
    }

    fn shut_down(&mut self, how: StopHow) {
        if !std::mem::replace(&mut self.stopping, true) {
            log::line("stopping all processes");
            self.notify("STOPPING=1");
        }
        self.runner.drain(how);
    }

    /// Once nothing is left of any process but what cannot be killed, the frontend's turn comes.
    fn stop_on(&mut self) {
        if self.stopping && self.flush_until.is_none() && self.runner.is_empty() {
            let until = Instant::now() + FLUSH_WAIT;
            self.runner.wake_at(until);
            self.flush_until = Some(until);
        }
        if let Some(frontend) = self
            .frontend
            .as_ref()
            .filter(|frontend| frontend.outbox.is_empty())
            && self.flush_until.is_some()
        {
            // The end of the stream: it sends what its clients have not read, and exits.
            let _unused = shutdown(frontend.channel.as_fd().as_raw_fd(), Shutdown::Write);
        }
    }

    /// Hands on what the frontend says of itself, no faster than it may.
    fn log_turn(&mut self) {
        let now = Instant::now();
        let Some(frontend) = &mut self.frontend else {
            return;
        };
        let resumes = self.log_paused_until.take_if(|until| *until <= now);
        if resumes.is_none() && !self.runner.is_ready(Attached::Log.token()) {
            return;
        }
        match frontend.log.turn(now) {
            // Should that fail, its last words are read all the same.
            Next::Wait if resumes.is_some() => {
                let log = frontend.log.as_fd();
                let _unused = self
                    .runner
                    .attach(log, Interest::Readable, Attached::Log.token());
            }
            Next::Wait => {}
            Next::Pause(until) => {
                self.runner.detach(&frontend.log);
                self.runner.wake_at(until);
                self.log_paused_until = Some(until);
            }
            Next::Closed => self.runner.detach(&frontend.log),
        }
    }

    fn frontend_ended(&mut self) {
        let Some(frontend) = &self.frontend else {
            return;
        };
        let status = match pidfd::reap(&frontend.process) {
            // It is a zombie that something of its own traces (ptrace(2)): without that one it can
            // be reaped.
            Ok(None) => return self.kill_frontend("it has ended, but is kept from being reaped"),
            Ok(Some(status)) => Some(status),
            // Cannot be: it is our child, and nobody else reaps it.
            Err(_) => None,
        };
        let Some(frontend) = self.frontend.take() else {
            return;
        };
        self.runner.detach(&frontend.process);
        self.runner.detach(frontend.channel.as_fd());
        self.runner.detach(&frontend.log);
        self.log_paused_until = None;
        // Those who followed through it may come back through the next one.
        self.runner.unfollow_all();
        // What it forked has the listener and the key.
        let _unused = frontend.group.kill();
        frontend.log.finish();
        if self.stopping && status == Some(ExitStatus::Exited(0)) {
            return;
        }
        log::line(&format!("audit: the frontend {}", ended_how(status)));
        if self.stopping {
            return;
        }
        if let Ok(Some((step, errno))) = spawn::failure(&frontend.report) {
            let error = Errno::from_raw(errno);
            log::line(&format!(
                "the frontend's program could not run: {step:?}: {error}"
            ));
        }
        self.deaths = if frontend.since.elapsed() >= SETTLED {
            0
        } else {
            self.deaths + 1
        };
        if self.gives_up() {
            log::line("the frontend does not get as far as serving: giving up");
            return self.shut_down(StopHow::Graceful(None));
        }
        log::line("the frontend has ended: starting another one");
        self.respawn_in(BACK_OFF * (1 << self.deaths.min(7)));
    }

    fn gives_up(&self) -> bool {
        self.deaths >= EARLY_DEATHS && !self.announced
    }

    fn respawn_in(&mut self, wait: Duration) {
        self.respawn_at = Instant::now() + wait;
        self.runner.wake_at(self.respawn_at);
    }

    fn spawn_if_due(&mut self) {
        if let Some(frontend) = &self.frontend {
            if frontend.phase != Phase::Ready
                && !frontend.dying
                && frontend.since.elapsed() >= SETTLED
            {
                self.kill_frontend("it does not serve");
            }
        } else if !self.stopping && self.respawn_at <= Instant::now() {
            match self.spawn() {
                Ok(frontend) => self.frontend = Some(frontend),
                Err(error) => {
                    log::line(&format!("cannot start the frontend: {error}"));
                    self.respawn_in(Duration::from_secs(1));
                }
            }
        }
    }

    /// Starts a frontend, in a new group: see `Runner::helper` for why.
    fn spawn(&mut self) -> nix::Result<Frontend> {
        cgroup::remove(self.links.cgroup.as_fd(), FRONTEND_GROUP)?;
        let group = Group::create(self.links.cgroup.as_fd(), FRONTEND_GROUP)?;
        let frontend = Frontend::spawn(&self.kit, group)?;
        self.runner.attach(
            frontend.channel.as_fd(),
            Interest::Readable,
            Attached::Channel.token(),
        )?;
        // For changes alone: a zombie that is traced stays readable.
        self.runner.attach(
            frontend.process.as_fd(),
            Interest::Changed,
            Attached::Frontend.token(),
        )?;
        self.runner.attach(
            frontend.log.as_fd(),
            Interest::Readable,
            Attached::Log.token(),
        )?;
        self.runner.wake_at(frontend.since + SETTLED);
        Ok(frontend)
    }

    /// Says once that clients can connect.
    fn announce(&mut self) {
        let Some(frontend) = self
            .frontend
            .as_ref()
            .filter(|frontend| frontend.phase == Phase::Ready)
        else {
            return;
        };
        // It serves, so nobody need look whether it does.
        self.runner.cancel_wake(frontend.since + SETTLED);
        if !std::mem::replace(&mut self.announced, true) {
            log::announce(&format!("Listening on {}", self.links.address));
            self.notify("READY=1");
        }
    }

    /// Tells the service manager (sd_notify(3)).
    fn notify(&self, state: &str) {
        if let Some(socket) = &self.links.notify {
            let _unused = send(
                socket.as_raw_fd(),
                state.as_bytes(),
                MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
            );
        }
    }
}

/// How a frontend ended, for the log.
fn ended_how(status: Option<ExitStatus>) -> String {
    match status {
        Some(ExitStatus::Exited(code)) => format!("exited with code {code}"),
        Some(ExitStatus::Signalled { signal, .. }) if i32::from(signal) == SIGSYS => {
            "was killed by SIGSYS: it made a system call that its filter refuses".to_owned()
        }
        Some(ExitStatus::Signalled { signal, .. }) => match Signal::try_from(i32::from(signal)) {
            Ok(signal) => format!("was killed by {}", signal.as_str()),
            Err(_) => format!("was killed by signal {signal}"),
        },
        None => "ended, and its status is lost".to_owned(),
    }
}

/// An error and its causes, on one line.
pub fn chain(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
