//! The frontend as the supervisor sees it: a program that is started without privilege, spoken to
//! over the channel, and not trusted in anything. Runs in the supervisor.
//!
//! What may be asked when is a table (`allowed`). Anything else, and anything that does not decode,
//! is a fault: the frontend dies, processes and their output do not, and a fresh frontend takes its
//! place. The supervisor never waits for it: what it does not take stays in an outbox that is
//! bounded by the number of requests and of processes.

use std::collections::VecDeque;
use std::error::Error;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use nix::fcntl::{OFlag, open};
use nix::sys::socket::sockopt::AcceptConn;
use nix::sys::socket::{Backlog, getsockopt, listen};
use nix::sys::stat::Mode;
use prn_ipc_protocol::channel::{self, Received, Sent, SupervisorEnd};
use prn_ipc_protocol::message::{
    Ask, Event, FromSupervisor, PROTOCOL, REQUESTS_WAITING_MAX, Refusal, Reply, Request, RequestId,
};
use prn_ipc_protocol::types::ProcessId;

use crate::cgroup::Group;
use crate::events::{Interest, Token};
use crate::log::{self, FrontendLog};
use crate::runner::{Notice, Runner};
use crate::sys::spawn::{self, Child, Program};

/// Most requests handled in one turn, so that output and deadlines have theirs.
const TURN: usize = 64;

/// What the daemon watches in the event loop beside processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attached {
    /// The signals that tell it to stop.
    Signals,
    /// The channel to the frontend.
    Channel,
    /// The frontend's end.
    Frontend,
    /// What the frontend says of itself.
    Log,
}

impl Attached {
    /// Its name in the event loop.
    pub fn token(self) -> Token {
        Token(match self {
            Self::Signals => 0,
            Self::Channel => 1,
            Self::Frontend => 2,
            Self::Log => 3,
        })
    }
}

/// Why a frontend has to die, if it has to.
pub type Verdict = Result<(), Box<dyn Error>>;

/// What every frontend is started with. Kept for the next one.
pub struct Kit {
    /// Its binary.
    pub binary: OwnedFd,
    /// Its configuration, a sealed memfd.
    pub config: OwnedFd,
    /// The TLS key, a sealed memfd.
    pub key: OwnedFd,
    /// The listening socket.
    pub listener: OwnedFd,
    /// Its root.
    pub empty_folder: OwnedFd,
    /// Its user and group id.
    pub ids: (u32, u32),
    /// Soft and hard limit of its open files.
    pub open_files: (u64, u64),
}

/// What a frontend is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It has said nothing.
    Silent,
    /// It has said Hello.
    Greeted,
    /// It has dropped its privileges, and serves.
    Ready,
}

/// What may be asked in which phase.
pub fn allowed(phase: Phase, request: &Request) -> bool {
    match request {
        Request::Hello(_) => phase == Phase::Silent,
        Request::Ready => phase == Phase::Greeted,
        Request::Ask(..)
        | Request::Watch { .. }
        | Request::Taken { .. }
        | Request::Follow(_)
        | Request::Unfollow(_) => phase == Phase::Ready,
    }
}

/// A running frontend.
pub struct Frontend {
    /// Readable when it has ended.
    pub process: OwnedFd,
    /// Its cgroup.
    pub group: Group,
    /// Why its program could not run, once it has ended.
    pub report: OwnedFd,
    /// This half's end of the channel to it.
    pub channel: SupervisorEnd,
    /// What it says of itself.
    pub log: FrontendLog,
    /// What it is in the middle of.
    pub phase: Phase,
    /// When it was started.
    pub since: Instant,
    /// It is being killed: nothing that it says or does not take is of interest.
    pub dying: bool,
    /// The id of its last request.
    last: RequestId,
    /// Starts and stops that wait for a notice of this process.
    pending: Vec<(RequestId, ProcessId, Operation)>,
    /// Requests that were not answered yet.
    waiting: usize,
    /// What is still to be sent, in order.
    pub outbox: VecDeque<Outgoing>,
    /// The socket was full. It is not listened to until it is not, so that the outbox stays
    /// bounded.
    blocked: bool,
}

/// What a pending request asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Start,
    Stop,
}

/// Something to be sent.
pub enum Outgoing {
    /// A message with its descriptors.
    Message(FromSupervisor, Vec<File>),
    /// A process's state, as it is when there is room for it.
    State(ProcessId),
}

impl Frontend {
    /// Starts one, in this cgroup.
    ///
    /// # Errors
    /// Those of socketpair(2), open(2) and clone3(2). What fails in the child shows as its end.
    pub fn spawn(kit: &Kit, group: Group) -> nix::Result<Self> {
        listen_again(&kit.listener)?;
        let (ours, theirs) = channel::pair()?;
        // Before there is anybody who could send a descriptor: this process would have to close one
        // that is queued.
        let channel = SupervisorEnd::without_descriptors(ours);
        let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
        // Read-only, and an open file description of its own for each frontend (see
        // `config::read`).
        let reopen = |fd: &OwnedFd| {
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
            open(path.as_str(), flags, Mode::empty())
        };
        let (config, key) = (reopen(&kit.config)?, reopen(&kit.key)?);
        let (log, stderr) = FrontendLog::new()?;
        let spawned = spawn::spawn(&Child {
            argv: &[c"prn-frontend".into()],
            streams: [null.as_fd(), null.as_fd(), stderr.as_fd()],
            // In the order of `fds::frontend`.
            descriptors: &[
                theirs.as_fd(),
                config.as_fd(),
                key.as_fd(),
                kit.listener.as_fd(),
                kit.empty_folder.as_fd(),
            ],
            open_files: kit.open_files,
            ..Child::new(
                group.directory.as_fd(),
                Program::File(kit.binary.as_fd()),
                kit.ids,
                null.as_fd(),
            )
        })?;
        Ok(Self {
            process: spawned.pidfd,
            group,
            report: spawned.report,
            channel,
            log,
            phase: Phase::Silent,
            since: Instant::now(),
            dying: false,
            last: RequestId(0),
            pending: Vec::new(),
            waiting: 0,
            outbox: VecDeque::new(),
            blocked: false,
        })
    }

    /// Handles requests, a bounded number of them.
    ///
    /// # Errors
    /// Why it has to die.
    pub fn receive(&mut self, runner: &mut Runner) -> Verdict {
        for _ in 0..if self.blocked { 0 } else { TURN } {
            match self.channel.receive(|_| 0)? {
                Received::Message(request, _) => self.handle(request, runner)?,
                Received::Nothing => return Ok(()),
                Received::Closed => return Err("it closed the channel".into()),
            }
        }
        Ok(())
    }

    fn handle(&mut self, request: Request, runner: &mut Runner) -> Verdict {
        if !allowed(self.phase, &request) {
            return Err(format!(
                "fault: a request that is not allowed in phase {:?}",
                self.phase
            )
            .into());
        }
        match request {
            Request::Hello(protocol) if protocol != PROTOCOL => {
                return Err(
                    "it is another build than the supervisor: install both halves together".into(),
                );
            }
            Request::Hello(_) => {
                self.phase = Phase::Greeted;
                self.outbox.extend(runner.ids().map(Outgoing::State));
                self.event(Event::SnapshotEnd);
            }
            Request::Ready => self.phase = Phase::Ready,
            Request::Ask(request, _) if request <= self.last => {
                return Err("fault: a request id was repeated".into());
            }
            Request::Ask(..) if self.waiting >= REQUESTS_WAITING_MAX => {
                return Err("fault: too many requests wait for an answer".into());
            }
            Request::Ask(request, ask) => {
                self.last = request;
                self.waiting += 1;
                if let Err(refusal) = self.ask(request, ask, runner) {
                    self.answer(request, Reply::Refused(refusal), Vec::new());
                }
            }
            Request::Watch { id, seen } => runner.watch(id, seen),
            Request::Taken { id, offset } => runner.taken(id, offset),
            Request::Follow(id) => runner.follow(id),
            Request::Unfollow(id) => runner.unfollow(id),
        }
        Ok(())
    }

    fn ask(&mut self, request: RequestId, ask: Ask, runner: &mut Runner) -> Result<(), Refusal> {
        match ask {
            Ask::Start(spec) => {
                let id = spec.id;
                if runner.start(*spec)? {
                    self.outbox.push_back(Outgoing::State(id));
                    self.answer(request, Reply::Existing, Vec::new());
                } else {
                    self.pending.push((request, id, Operation::Start));
                }
            }
            Ask::Stop(id, how) => {
                runner.stop(id, how)?;
                self.pending.push((request, id, Operation::Stop));
            }
            Ask::Subscribe(id) => {
                self.answer(request, Reply::Subscribed, runner.subscribe(id)?.into())
            }
        }
        Ok(())
    }

    fn answer(&mut self, request: RequestId, reply: Reply, files: Vec<File>) {
        self.outbox.push_back(Outgoing::Message(
            FromSupervisor::Reply(request, reply),
            files,
        ));
    }

    fn event(&mut self, event: Event) {
        self.outbox
            .push_back(Outgoing::Message(FromSupervisor::Event(event), Vec::new()));
    }

    /// Takes note of something that happened.
    pub fn notice(&mut self, notice: Notice) {
        if self.phase == Phase::Silent {
            // Its snapshot will have it.
            return;
        }
        match notice {
            Notice::Started(id) => self.settle(id, &[(Operation::Start, Reply::Done)]),
            Notice::StartFailed(id, refusal) => {
                let unknown = Reply::Refused(Refusal::UnknownProcess);
                self.settle(
                    id,
                    &[
                        (Operation::Start, Reply::Refused(refusal)),
                        (Operation::Stop, unknown),
                    ],
                );
            }
            Notice::Changed(id) => self.outbox.push_back(Outgoing::State(id)),
            Notice::Stopped(id) => self.settle(id, &[(Operation::Stop, Reply::Done)]),
            Notice::Advanced(id, end) => self.event(Event::Advanced { id, end }),
            Notice::Forgotten(id) => self.event(Event::Forgotten(id)),
            Notice::Draining => self.event(Event::Draining),
        }
    }

    /// Answers what waits for these operations on a process.
    fn settle(&mut self, id: ProcessId, replies: &[(Operation, Reply)]) {
        for (operation, reply) in replies {
            let settled = self
                .pending
                .extract_if(.., |(_, of, what)| *of == id && what == operation);
            for (request, ..) in settled.collect::<Vec<_>>() {
                self.answer(request, reply.clone(), Vec::new());
            }
        }
    }

    /// Sends what the socket takes.
    ///
    /// # Errors
    /// Why it has to die.
    pub fn send(&mut self, runner: &mut Runner) -> Verdict {
        let mut full = false;
        while let Some(outgoing) = self.outbox.front() {
            let state;
            let (message, files) = match outgoing {
                Outgoing::Message(message, files) => (Some(message), files.as_slice()),
                Outgoing::State(id) => {
                    let info = runner.info(*id).cloned();
                    state = info.map(|info| FromSupervisor::Event(Event::Process(Box::new(info))));
                    (state.as_ref(), [].as_slice())
                }
            };
            let fds: Vec<_> = files.iter().map(AsFd::as_fd).collect();
            // None: it was forgotten since.
            let sent =
                message.map_or(Ok(Sent::Whole), |message| self.channel.send(message, &fds))?;
            match sent {
                Sent::Whole => {}
                Sent::Closed => return Err("it closed the channel".into()),
                Sent::Full => {
                    full = true;
                    break;
                }
            }
            // It has waited until now: a frontend that asks and does not read is out of requests
            // soon.
            let replied = matches!(outgoing, Outgoing::Message(FromSupervisor::Reply(..), _));
            self.waiting -= usize::from(replied);
            self.outbox.pop_front();
        }
        if full != self.blocked {
            self.blocked = full;
            let interest = if full {
                Interest::Writable
            } else {
                Interest::Readable
            };
            runner.attach(self.channel.as_fd(), interest, Attached::Channel.token())?;
        }
        Ok(())
    }
}

/// Makes the listener listen, also if it does already. An earlier frontend may have shut it down,
/// which all who hold the socket suffer from (shutdown(2)). Its filter forbids that, so it is worth
/// a line.
fn listen_again(listener: &OwnedFd) -> nix::Result<()> {
    if !getsockopt(listener, AcceptConn)? {
        log::line("audit: the listener did not listen any more: it is made to again");
    }
    listen(listener, Backlog::MAXCONN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i3_each_phase_allows_exactly_its_own_requests() {
        let id = ProcessId::from_bytes([0; 16]);
        let asks = [
            Request::Ask(
                RequestId(1),
                Ask::Stop(id, prn_ipc_protocol::message::StopHow::Kill),
            ),
            Request::Ask(RequestId(1), Ask::Subscribe(id)),
            Request::Watch { id, seen: 0 },
            Request::Taken { id, offset: 0 },
            Request::Follow(id),
            Request::Unfollow(id),
        ];
        for phase in [Phase::Silent, Phase::Greeted, Phase::Ready] {
            assert_eq!(
                allowed(phase, &Request::Hello(String::new())),
                phase == Phase::Silent
            );
            assert_eq!(allowed(phase, &Request::Ready), phase == Phase::Greeted);
            assert!(
                asks.iter()
                    .all(|ask| allowed(phase, ask) == (phase == Phase::Ready))
            );
        }
    }
}
