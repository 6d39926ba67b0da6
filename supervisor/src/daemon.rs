//! The daemon's event loop: one thread that waits in one place, for the frontend, for signals and
//! for processes.
//!
//! Runs in the supervisor. Nothing here waits for the frontend.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{MsgFlags, send};
use prn_ipc_protocol::message::StopHow;

use crate::audit::{Event, Facts};
use crate::control::Control;
use crate::events::Interest;
use crate::frontend::{Seat, Setup, attached};
use crate::log;
use crate::receipts::Key;
use crate::runner::Runner;
use crate::stage::{Processes, Stage};
use crate::tree::Tree;

/// What ends the daemon: an invariant of its own is gone.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The event loop cannot wait.
    #[error(transparent)]
    Wait(#[from] Errno),
    /// Frontends died one after the other, and none served.
    #[error("no frontend got as far as serving")]
    NoFrontend,
}

/// What connects the daemon to its surroundings.
#[derive(Debug)]
pub struct Links {
    /// The address of the listener, for the line that says so.
    pub address: String,
    /// A socket to the service manager (sd_notify(3)).
    pub notify: Option<OwnedFd>,
    /// How often it wants to hear that this program is not stuck.
    pub watchdog: Option<Duration>,
    /// Where the audit goes, if there is one: see `prn_ipc_protocol::config::AuditTarget`.
    pub audit: Option<OwnedFd>,
    /// The group that this server's groups are in.
    pub tree: Tree,
}

/// What root orders a reload with.
#[derive(Debug)]
pub struct Orders {
    /// The socket that listens for them.
    pub socket: OwnedFd,
    /// The supervisor's configuration, a sealed memfd.
    pub config: OwnedFd,
}

/// What the loop works on.
#[derive(Debug)]
pub struct Daemon {
    runner: Runner,
    links: Links,
    signals: SignalFd,
    seat: Seat,
    control: Control,
    stage: Stage,
    watchdog: Option<Watchdog>,
}

/// That somebody wants to hear from this program.
#[derive(Debug)]
struct Watchdog {
    /// How often.
    every: Duration,
    /// When next.
    due: Instant,
}

impl Daemon {
    /// Over an open runner. All signals must be blocked.
    ///
    /// # Errors
    /// Those of signalfd(2) and epoll_ctl(2).
    pub fn new(
        mut runner: Runner,
        setup: Setup,
        mut links: Links,
        orders: Orders,
        key: Key,
    ) -> nix::Result<Self> {
        // SIGHUP stays blocked: it could not tell whoever sends it what came of it, and nothing
        // here reads files. A reload is ordered on a socket.
        let signals = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT]
            .into_iter()
            .collect::<SigSet>();
        let signals =
            SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        runner.attach(signals.as_fd(), Interest::Readable, attached::SIGNALS)?;
        let control = Control::new(orders.socket, orders.config, &runner)?;
        runner.key = Some(key);
        if let Some(to) = links.audit.take() {
            runner.open_audit(to, links.tree.own()?)?;
        }
        let seat = Seat::new(setup, &mut runner);
        let watchdog = links.watchdog.map(|every| Watchdog {
            every,
            due: Instant::now(),
        });
        if watchdog.is_some() {
            runner.wake_at(Instant::now());
        }
        Ok(Self {
            runner,
            links,
            signals,
            seat,
            control,
            stage: Stage::Serving,
            watchdog,
        })
    }

    /// Serves until it is told to stop and everything is gone.
    ///
    /// # Errors
    /// After everything is gone all the same, as far as that went.
    pub fn run(mut self) -> Result<(), Fatal> {
        while !self.stage.is_over(self.seat.frontend(), Instant::now()) {
            self.turn()?;
        }
        self.seat.clear();
        let mut audit = std::mem::take(&mut self.runner.audit);
        audit.tell_denials(Instant::now() + Duration::from_secs(1));
        audit.note(Event::Over, Facts::default());
        audit.finish();
        if let Err(error) = self.links.tree.remove() {
            log::error("cannot remove the cgroup tree", &[("error", error.desc())]);
        }
        if self.seat.has_given_up() {
            Err(Fatal::NoFrontend)
        } else {
            Ok(())
        }
    }

    /// One wait, and what follows from it: what the frontend asks for, signals, what root orders,
    /// what the frontend says of itself, processes, what it is told. Then what its end or its
    /// beginning leads to, and how far a stop of the server has come.
    fn turn(&mut self) -> nix::Result<()> {
        self.runner.wait(None)?;
        let frontend_ended = self.runner.is_ready(attached::FRONTEND);
        if self.runner.is_ready(attached::CHANNEL) {
            self.seat.receive(&mut self.runner, self.stage);
        }
        if self.runner.is_ready(attached::SIGNALS) {
            self.read_signals();
        }
        if self.runner.is_ready(attached::AUDIT)
            && let Some(ended) = self.runner.audit.reap_writer()
        {
            self.runner.detach(&ended);
        }
        self.look_after();
        self.control
            .hear(&mut self.runner, &mut self.seat, self.stage);
        self.seat.read_log(&mut self.runner);
        self.runner.dispatch();
        while let Some(notice) = self.runner.take_notice() {
            self.seat.notice(notice);
        }
        self.seat.send(&mut self.runner, self.stage);
        if frontend_ended {
            self.seat.reap(&mut self.runner, self.stage);
        }
        if self.seat.has_given_up() && self.stage == Stage::Serving {
            self.stop(StopHow::Graceful(None));
        }
        if self.seat.begins_to_serve(&mut self.runner) {
            self.announce();
        }
        self.control.conclude(&mut self.runner, &mut self.seat);
        self.seat
            .fill(&mut self.runner, &self.links.tree, self.stage);
        self.go_on_stopping();
        self.tend_audit();
        Ok(())
    }

    /// Sees to it that somebody writes the audit, and that it tells what was only counted.
    fn tend_audit(&mut self) {
        if let Some(due) = self.runner.audit.tell_denials(Instant::now()) {
            self.runner.wake_at(due);
        }
        let Some(due) = self.runner.audit.writer_due() else {
            return;
        };
        if due > Instant::now() {
            return self.runner.wake_at(due);
        }
        let mut audit = std::mem::take(&mut self.runner.audit);
        let started = audit.start_writer().map(|started| {
            let child = started?.as_fd();
            self.runner
                .attach(child, Interest::Changed, attached::AUDIT)
        });
        if let Some(Err(error)) = started {
            log::error(
                "cannot start the audit's writer",
                &[("error", error.desc())],
            );
        }
        self.runner.audit = audit;
    }

    /// Says that this program is not stuck, and asks the frontend whether it is, when it is time.
    fn look_after(&mut self) {
        let now = Instant::now();
        let Some(watchdog) = self.watchdog.as_mut().filter(|dog| dog.due <= now) else {
            return;
        };
        watchdog.due = now + watchdog.every;
        self.runner.wake_at(watchdog.due);
        self.notify("WATCHDOG=1");
        self.seat.probe(&mut self.runner, self.stage);
    }

    fn read_signals(&mut self) {
        while let Ok(Some(_)) = self.signals.read_signal() {
            self.stop(self.stage.how_to_stop());
        }
    }

    fn stop(&mut self, how: StopHow) {
        if self.stage == Stage::Serving {
            log::info("stopping all processes", &[]);
            self.runner.audit.note(Event::Stopping, Facts::default());
            self.notify("STOPPING=1");
        }
        self.stage = self.stage.stopped();
        self.runner.drain(how);
    }

    fn go_on_stopping(&mut self) {
        if self.stage == Stage::Stopping {
            let processes = if self.runner.is_empty() {
                Processes::Gone
            } else {
                Processes::Left
            };
            self.stage = self.stage.after(processes, Instant::now());
            if let Stage::Flushing { until } = self.stage {
                self.runner.wake_at(until);
            }
        }
        match self.stage {
            Stage::Serving | Stage::Stopping => {}
            Stage::Flushing { .. } => self.seat.close_when_sent(),
        }
    }

    /// Says that clients can connect.
    fn announce(&self) {
        log::announce(&format!("Listening on {}", self.links.address));
        self.notify("READY=1");
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
