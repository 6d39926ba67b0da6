//! A reload: another configuration for a running server, ordered on a socket that root alone can
//! reach. How the server is, is asked there too. Runs in the supervisor.
//!
//! What comes was parsed, checked and sealed by `prn server reload`, in a process of its own, as
//! the first one was by `prn server start`. Nothing here parses text, waits for who orders, or
//! keeps anything of one that says nothing: the newest one counts.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::sys::stat::fstat;
use prn_ipc_protocol::channel::Received;
use prn_ipc_protocol::config;
use prn_ipc_protocol::control::{Answer, BYTES_MAX, Order, Refused, SupervisorEnd};

use crate::audit::{Event, Facts};
use crate::events::Interest;
use crate::frontend::{Files, Outcome, Seat, attached, is_socket};
use crate::log;
use crate::runner::Runner;
use crate::stage::Stage;
use crate::sys::reopen;

/// Most connections taken at a time: more than wait at the socket.
const TAKEN_AT_ONCE: usize = 64;

/// The socket, and what is in force.
#[derive(Debug)]
pub(crate) struct Control {
    listener: UnixListener,
    /// Who came last.
    peer: Option<SupervisorEnd>,
    /// The supervisor's configuration as it was handed over.
    config: OwnedFd,
    /// The number of that.
    generation: u32,
    /// What was in force before one that no frontend serves with yet.
    former: Option<Former>,
}

/// What comes back if no frontend serves with what has taken its place.
#[derive(Debug)]
struct Former {
    handed: OwnedFd,
    config: config::Supervisor,
    files: Files,
    /// What is new, for the log.
    changes: String,
}

impl Control {
    /// Over the socket, which listens and does not block, and the configuration of the start.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn new(listener: OwnedFd, config: OwnedFd, runner: &Runner) -> nix::Result<Self> {
        runner.attach(listener.as_fd(), Interest::Changed, attached::CONTROL)?;
        Ok(Self {
            listener: listener.into(),
            peer: None,
            config,
            generation: 1,
            former: None,
        })
    }

    /// Takes an order, if there is one, and begins with it. While one is under way the others wait.
    pub fn hear(&mut self, runner: &mut Runner, seat: &mut Seat, stage: Stage) {
        if self.former.is_none() && runner.is_ready(attached::OPERATOR) {
            self.receive(runner, seat, stage);
        }
        if runner.is_ready(attached::CONTROL) {
            self.accept(runner);
        }
    }

    /// Ends a reload that is under way, once a frontend serves with it, or has failed to.
    pub fn conclude(&mut self, runner: &mut Runner, seat: &mut Seat) {
        let Some(outcome) = seat.take_outcome() else {
            return;
        };
        let Some(former) = self.former.take() else {
            return;
        };
        match outcome {
            Outcome::Serves => {
                self.generation += 1;
                let (generation, changes) = (self.generation, former.changes);
                let message = format!("configuration {generation} is in force: {changes}");
                log::info(&message, &[]);
                let facts = Facts::default().number("configuration", generation.into());
                let facts = facts.text("changes", &changes);
                runner.audit.note(Event::Reload, facts);
                self.answer(Answer::InForce(generation), Vec::new());
            }
            Outcome::Failed => {
                let message = "the reload has failed, no frontend serves with it: what was before is in force";
                log::error(message, &[]);
                let facts = Facts::default().text("changes", &former.changes);
                runner.audit.note(Event::ReloadFailed, facts);
                self.config = former.handed;
                runner.reconfigure(former.config);
                seat.put_back(former.files);
                self.answer(Answer::Refused(Refused::NotServed), Vec::new());
            }
        }
        self.part(runner);
        self.accept(runner);
    }

    /// Takes those who wait, while no reload is under way. Each takes the place of the one before,
    /// who is told by the end of the connection, and tries again: one that says nothing keeps
    /// nobody out.
    fn accept(&mut self, runner: &mut Runner) {
        for _ in 0..TAKEN_AT_ONCE {
            if self.former.is_some() {
                return;
            }
            let Ok((socket, _)) = self.listener.accept() else {
                return;
            };
            // Its mode keeps others out already.
            if !getsockopt(&socket, PeerCredentials).is_ok_and(|peer| peer.uid() == 0) {
                log::warning(
                    "audit: somebody who is not root came to the control socket",
                    &[],
                );
                runner.audit.note(Event::ControlRefused, Facts::default());
                continue;
            }
            self.part(runner);
            self.peer = Some(SupervisorEnd::new(socket.into()));
            self.listen(runner);
        }
    }

    /// Waits for the next order of who came last. Without one that cannot be watched.
    fn listen(&mut self, runner: &Runner) {
        let interest = Interest::ReadableOnce;
        self.peer = self.peer.take_if(|peer| {
            let watched = runner.attach(peer.as_fd(), interest, attached::OPERATOR);
            watched.is_ok()
        });
    }

    fn part(&mut self, runner: &Runner) {
        if let Some(peer) = self.peer.take() {
            runner.detach(&peer);
        }
    }

    fn answer(&self, answer: Answer, files: Vec<OwnedFd>) {
        let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        // There is room for one answer, or nobody who takes it.
        let _unused = self.peer.as_ref().map(|peer| peer.send(&answer, &files));
    }

    fn receive(&mut self, runner: &mut Runner, seat: &mut Seat, stage: Stage) {
        let Some(peer) = &mut self.peer else {
            return;
        };
        let done = match peer.receive(Order::descriptors) {
            Ok(Received::Message(Order::Show, _)) => self.show(seat),
            Ok(Received::Message(Order::Status, _)) => {
                let status = runner.status(seat.status(), self.generation);
                self.answer(Answer::Status(status.into()), Vec::new());
                Ok(())
            }
            Ok(Received::Message(Order::Reload { changes, .. }, files)) => {
                self.begin(changes, files, runner, seat, stage)
            }
            Ok(Received::Nothing) => Ok(()),
            Ok(Received::Closed) => return self.part(runner),
            Err(fault) => {
                log::warning(&format!("audit: control socket: {fault}"), &[]);
                let facts = Facts::default().text("why", &fault.to_string());
                runner.audit.note(Event::ControlFault, facts);
                return self.part(runner);
            }
        };
        if let Err(refused) = done {
            self.answer(Answer::Refused(refused), Vec::new());
        }
        self.listen(runner);
    }

    fn show(&self, seat: &Seat) -> Result<(), Refused> {
        let shown = [&self.config, seat.frontend_config()].map(reopen);
        let shown: nix::Result<Vec<_>> = shown.into_iter().collect();
        self.answer(Answer::Shown, shown.map_err(|_| Refused::Resources)?);
        Ok(())
    }

    /// Puts a configuration in the place of the one in force, and has a frontend come that serves
    /// with it.
    fn begin(
        &mut self,
        changes: String,
        files: Vec<OwnedFd>,
        runner: &mut Runner,
        seat: &mut Seat,
        stage: Stage,
    ) -> Result<(), Refused> {
        if stage != Stage::Serving {
            return Err(Refused::Stopping);
        }
        let mut files = files.into_iter();
        let (Some(own), Some(config), key) = (files.next(), files.next(), files.next()) else {
            return Err(Refused::Unfit);
        };
        let is_key = |key: &OwnedFd| is_fit(key) || is_socket(key);
        if !is_fit(&own) || !is_fit(&config) || !key.as_ref().is_none_or(is_key) {
            return Err(Refused::Unfit);
        }
        let new = config::read(own.as_fd()).map_err(|_| Refused::Unfit)?;
        self.former = Some(Former {
            handed: std::mem::replace(&mut self.config, own),
            config: runner.reconfigure(new),
            files: seat.replace(Files { config, key }, runner),
            changes,
        });
        Ok(())
    }
}

/// Whether this is memory that nobody can change any more, and not too much of it. What has these
/// seals is no file of a disk, which could make its reader wait.
fn is_fit(file: &OwnedFd) -> bool {
    let all = SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_SEAL;
    let seals = fcntl(file, FcntlArg::F_GET_SEALS).map(SealFlag::from_bits_retain);
    let length = fstat(file).map(|file| u64::try_from(file.st_size).unwrap_or(u64::MAX));
    seals.is_ok_and(|seals| seals.contains(all)) && length.is_ok_and(|length| length <= BYTES_MAX)
}
