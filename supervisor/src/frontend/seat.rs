//! The frontend's seat: one frontend after the other, each from its start to its end. Runs in the
//! supervisor.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::SIGSYS;
use nix::sys::signal::Signal;
use prn_ipc_protocol::control::{COME_WITHIN, LEAVE_WITHIN};
use prn_ipc_protocol::message::ExitStatus;
use prn_ipc_protocol::status;
use prn_ipc_protocol::types::UnixMicros;

use super::fault::PeerFault;
use super::instance::{Files, Frontend, Setup};
use super::session::Session;
use super::succession::{Next, SETTLED, Succession};
use crate::audit::Audit;
use crate::log;
use crate::runner::{Notice, Runner};
use crate::stage::{self, Stage};
use crate::sys::pidfd;
use crate::sys::spawn::{self, Failed, Told};
use crate::tree::Tree;

/// When a start that failed here, and not in the child, is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How far the replacement of a frontend by one with other files has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replacement {
    /// There is none.
    None,
    /// The old one has until then to leave.
    Leaves { until: Instant },
    /// The new one has until then to serve.
    Comes { until: Instant },
    /// It is over.
    Over(Outcome),
}

/// What came of a replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The new one serves.
    Serves,
    /// It does not, and will not.
    Failed,
}

/// The seat.
#[derive(Debug)]
pub(crate) struct Seat {
    setup: Setup,
    replacement: Replacement,
    frontend: Option<Frontend>,
    /// When the next one is started, while there is none.
    respawn_at: Instant,
    succession: Succession,
    /// Those that have ended unasked.
    ended: status::Frontends,
}

impl Seat {
    /// An empty one, for a frontend that is started at once.
    pub fn new(setup: Setup, runner: &mut Runner) -> Self {
        let now = Instant::now();
        runner.wake_at(now);
        Self {
            setup,
            replacement: Replacement::None,
            frontend: None,
            respawn_at: now,
            succession: Succession::default(),
            ended: status::Frontends::default(),
        }
    }

    /// Whether somebody is in it.
    pub fn frontend(&self) -> stage::Frontend {
        match self.frontend {
            Some(_) => stage::Frontend::Lives,
            None => stage::Frontend::Gone,
        }
    }

    /// What root is told.
    pub fn status(&self) -> status::Frontends {
        let frontend = self.frontend.as_ref();
        status::Frontends {
            serves: frontend.is_some_and(|frontend| frontend.session.has_served()),
            ..self.ended.clone()
        }
    }

    /// Whether it stays empty: no frontend got as far as serving.
    pub fn has_given_up(&self) -> bool {
        self.succession.has_given_up()
    }

    /// Starts a frontend if it is time for one, and kills one that has had its time to start.
    pub fn fill(&mut self, runner: &mut Runner, tree: &Tree, stage: Stage) {
        let now = Instant::now();
        if let Some(frontend) = &mut self.frontend {
            let has_time = match self.replacement {
                Replacement::Comes { until } => now < until,
                Replacement::None | Replacement::Leaves { .. } | Replacement::Over(_) => {
                    frontend.since + SETTLED > now
                }
            };
            if !has_time && !frontend.session.has_served() && !frontend.is_condemned {
                frontend.kill(&PeerFault::NeverReady, &mut runner.audit);
            }
            if matches!(self.replacement, Replacement::Leaves { until } if until <= now) {
                frontend.dismiss();
            }
        } else if stage == Stage::Serving && self.respawn_at <= now {
            match self.start(runner, tree) {
                Ok(frontend) => self.frontend = Some(frontend),
                Err(error) => {
                    log::error("cannot start the frontend", &[("error", error.desc())]);
                    self.respawn_in(RETRY, runner);
                    self.comes_to_nothing();
                }
            }
        }
    }

    fn start(&self, runner: &mut Runner, tree: &Tree) -> nix::Result<Frontend> {
        let frontend = Frontend::spawn(&self.setup, tree.frontend_group()?)?;
        frontend.attach(runner).inspect_err(|_| {
            let _unused = frontend.group.end(&frontend.process);
        })?;
        runner.wake_at(frontend.since + SETTLED);
        Ok(frontend)
    }

    fn respawn_in(&mut self, wait: Duration, runner: &mut Runner) {
        self.respawn_at = Instant::now() + wait;
        runner.wake_at(self.respawn_at);
    }

    /// What the next frontend is configured with.
    pub fn frontend_config(&self) -> &OwnedFd {
        &self.setup.config
    }

    /// Has the frontend, whatever becomes of it, replaced by one with these files. Returns those
    /// before. [`Seat::take_outcome`] tells how that went.
    pub fn replace(&mut self, files: Files, runner: &mut Runner) -> Files {
        let until = Instant::now() + LEAVE_WITHIN;
        self.replacement = Replacement::Leaves { until };
        match &mut self.frontend {
            Some(frontend) => {
                runner.wake_at(until);
                if !frontend.session.replace() {
                    frontend.dismiss();
                }
            }
            None => self.come(runner),
        }
        self.setup.exchange(files)
    }

    /// What came of a replacement, once.
    pub fn take_outcome(&mut self) -> Option<Outcome> {
        let Replacement::Over(outcome) = self.replacement else {
            return None;
        };
        self.replacement = Replacement::None;
        Some(outcome)
    }

    /// Has the next frontend start with these files.
    pub fn put_back(&mut self, files: Files) {
        self.setup.exchange(files);
    }

    /// The old one is gone: the new one comes.
    fn come(&mut self, runner: &mut Runner) {
        let until = Instant::now() + COME_WITHIN;
        self.replacement = Replacement::Comes { until };
        runner.wake_at(until);
        self.respawn_in(Duration::ZERO, runner);
    }

    /// The new one, if there is one to come, does not serve.
    fn comes_to_nothing(&mut self) {
        if let Replacement::Comes { .. } = self.replacement {
            self.replacement = Replacement::Over(Outcome::Failed);
        }
    }

    /// Handles requests.
    pub fn receive(&mut self, runner: &mut Runner, stage: Stage) {
        self.converse(Session::receive, runner, stage);
        if let Some(frontend) = self.occupant()
            && frontend.session.takes_leave(runner)
        {
            frontend.is_condemned = true;
        }
    }

    /// Asks whether the frontend is stuck.
    pub fn probe(&mut self, runner: &mut Runner, stage: Stage) {
        self.converse(Session::probe, runner, stage);
    }

    /// Sends what there is to be sent.
    pub fn send(&mut self, runner: &mut Runner, stage: Stage) {
        self.converse(Session::send, runner, stage);
    }

    fn converse(
        &mut self,
        act: fn(&mut Session, &mut Runner) -> Result<(), PeerFault>,
        runner: &mut Runner,
        stage: Stage,
    ) {
        let Some(frontend) = self.occupant() else {
            return;
        };
        if let Err(fault) = act(&mut frontend.session, runner) {
            // Its end is seen through its pidfd; until then its channel must not wake the loop
            // again.
            frontend.session.detach(runner);
            frontend.is_condemned = true;
            match stage {
                Stage::Serving | Stage::Stopping => frontend.kill(&fault, &mut runner.audit),
                // It goes by itself, and takes the time that it needs.
                Stage::Flushing { .. } => {}
            }
        }
    }

    /// The one that is in the seat and not about to die.
    fn occupant(&mut self) -> Option<&mut Frontend> {
        self.frontend
            .as_mut()
            .filter(|frontend| !frontend.is_condemned)
    }

    /// Takes note of something that happened.
    pub fn notice(&mut self, notice: Notice) {
        if let Some(frontend) = &mut self.frontend {
            frontend.session.notice(notice);
        }
    }

    /// Hands on what the frontend says of itself, no faster than it may.
    pub fn read_log(&mut self, runner: &mut Runner) {
        if let Some(frontend) = &mut self.frontend {
            frontend.read_log(runner);
        }
    }

    /// Whether clients can connect for the first time.
    pub fn begins_to_serve(&mut self, runner: &mut Runner) -> bool {
        let frontend = self.frontend.as_ref();
        let Some(frontend) = frontend.filter(|frontend| frontend.session.has_served()) else {
            return false;
        };
        // It serves, so nobody need look whether it does.
        runner.cancel_wake(frontend.since + SETTLED);
        if let Replacement::Comes { until } = self.replacement {
            runner.cancel_wake(until);
            self.replacement = Replacement::Over(Outcome::Serves);
        }
        self.succession.serves()
    }

    /// Tells the frontend, once it was sent everything, that nothing more will come.
    pub fn close_when_sent(&self) {
        if let Some(frontend) = &self.frontend {
            frontend.session.close_when_sent();
        }
    }

    /// The frontend's end may have come: reaps it, and plans for the next one.
    pub fn reap(&mut self, runner: &mut Runner, stage: Stage) {
        let Some(frontend) = &mut self.frontend else {
            return;
        };
        let status = match pidfd::reap(&frontend.process) {
            Ok(None) => {
                frontend.kill(&PeerFault::KeptFromBeingReaped, &mut runner.audit);
                return;
            }
            Ok(Some(status)) => Some(status),
            // Cannot be: it is our child, and nobody else reaps it.
            Err(_) => None,
        };
        let Some(mut frontend) = self.frontend.take() else {
            return;
        };
        let why = match frontend.fault.take() {
            Some(fault) => format!("{}: {fault}", ended_how(status)),
            None => ended_how(status),
        };
        let (report, lived) = frontend.end(runner);
        // Those who followed through it may come back through the next one.
        runner.unfollow_all();
        runner.suspend_leases();
        match stage {
            Stage::Stopping | Stage::Flushing { .. } if status == Some(ExitStatus::Exited(0)) => {}
            Stage::Stopping | Stage::Flushing { .. } => audit_end(status, &mut runner.audit),
            Stage::Serving => self.follow(status, why, &report, lived, runner),
        }
    }

    /// Plans for the next one.
    fn follow(
        &mut self,
        status: Option<ExitStatus>,
        why: String,
        report: &OwnedFd,
        lived: Duration,
        runner: &mut Runner,
    ) {
        let is_replaced = matches!(self.replacement, Replacement::Leaves { .. });
        if !is_replaced || status != Some(ExitStatus::Exited(0)) {
            audit_end(status, &mut runner.audit);
            log_failed_start(report);
            self.ended.ended = self.ended.ended.saturating_add(1);
            self.ended.last = Some((UnixMicros::now(), why));
        }
        match self.replacement {
            Replacement::Leaves { until } => {
                runner.cancel_wake(until);
                self.come(runner);
            }
            Replacement::Comes { .. } => {
                self.comes_to_nothing();
                self.respawn_in(Duration::ZERO, runner);
            }
            Replacement::None | Replacement::Over(_) => self.succeed(lived, runner),
        }
    }

    fn succeed(&mut self, lived: Duration, runner: &mut Runner) {
        match self.succession.died(lived) {
            Next::GiveUp => {
                log::error(
                    "the frontend does not get as far as serving: giving up",
                    &[],
                );
            }
            Next::Respawn(wait) => {
                log::warning("the frontend has ended: starting another one", &[]);
                self.respawn_in(wait, runner);
            }
        }
    }

    /// Ends the frontend, if there is one, with all that it may have forked: the listener is
    /// nobody's any more.
    pub fn clear(&mut self) {
        if let Some(frontend) = self.frontend.take() {
            let _unused = frontend.group.end(&frontend.process);
            frontend.log.finish();
        }
    }
}

fn audit_end(status: Option<ExitStatus>, audit: &mut Audit) {
    log::warning(&format!("audit: the frontend {}", ended_how(status)), &[]);
    audit.frontend_ended(status);
}

fn log_failed_start(report: &OwnedFd) {
    if let Ok(Told::Failed(Failed { step, errno })) = spawn::told(report) {
        let error = Errno::from_raw(errno);
        let message = format!("the frontend's program could not run: {step:?}: {error}");
        log::error(&message, &[]);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_how_a_frontend_ended() {
        let signalled = |signal| ExitStatus::Signalled {
            signal,
            core_dumped: false,
        };
        for (status, expected) in [
            (Some(ExitStatus::Exited(3)), "exited with code 3"),
            (
                Some(signalled(31)),
                "was killed by SIGSYS: it made a system call that its filter refuses",
            ),
            (Some(signalled(9)), "was killed by SIGKILL"),
            (Some(signalled(40)), "was killed by signal 40"),
            (None, "ended, and its status is lost"),
        ] {
            assert_eq!(ended_how(status), expected);
        }
    }
}
