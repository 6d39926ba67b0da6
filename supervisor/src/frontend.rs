//! The frontend as the supervisor sees it: a program that is started without privilege, spoken to over the channel, and
//! not trusted in anything. Runs in the supervisor.
//!
//! What may be asked when is a table (`allowed`). Anything else, and anything that does not decode, is a fault: the
//! frontend dies, processes and their output do not, and a fresh frontend takes its place. The supervisor never waits
//! for it: what it does not take stays in an outbox that is bounded by the number of requests and of processes.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag};
use nix::sys::stat::Mode;
use prn_ipc_protocol::channel::{self, Fault, ReceiveError, Received, Sent, SupervisorEnd};
use prn_ipc_protocol::message::{
    ChildStep, Event, FromSupervisor, PROTOCOL, REQUESTS_WAITING_MAX, Refusal, Reply, Request, RequestId,
};
use prn_ipc_protocol::types::{BootEpoch, ProcessId};

use crate::runner::{Notice, Runner, Start};
use crate::sys::pidfd;
use crate::sys::spawn::{self, Child, Program};

/// Most requests handled in one turn, so that output and deadlines have theirs.
const TURN: usize = 64;

/// What every frontend is started with. Kept for the next one.
#[derive(Debug)]
pub struct Kit {
    /// Its binary.
    pub binary: Program,
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
    /// This run of the supervisor.
    pub epoch: BootEpoch,
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

/// Why a frontend has to die.
#[derive(Debug, thiserror::Error)]
pub enum FrontendError {
    /// It broke the protocol.
    #[error("fault")]
    Fault(#[from] Fault),
    /// It asked for something in the wrong phase.
    #[error("fault: a request that is not allowed in phase {0:?}")]
    OutOfPhase(Phase),
    /// It is another build.
    #[error("it is another build than the supervisor: install both halves together")]
    OtherBuild,
    /// A request's id was not greater than the one before.
    #[error("fault: a request id was repeated")]
    RepeatedRequest,
    /// More requests wait than are allowed.
    #[error("fault: too many requests wait for an answer")]
    TooMany,
    /// The channel failed.
    #[error("the channel failed")]
    Channel(#[source] Errno),
    /// It closed the channel.
    #[error("it closed the channel")]
    Closed,
}

/// What may be asked in which phase.
fn allowed(phase: Phase, request: &Request) -> bool {
    match request {
        Request::Hello { .. } => phase == Phase::Silent,
        Request::Ready => phase == Phase::Greeted,
        Request::Start { .. } | Request::Stop { .. } | Request::Subscribe { .. } | Request::Watch { .. } => {
            phase == Phase::Ready
        }
    }
}

/// A running frontend.
#[derive(Debug)]
pub struct Frontend {
    process: OwnedFd,
    report: OwnedFd,
    channel: SupervisorEnd,
    epoch: BootEpoch,
    phase: Phase,
    last_request: RequestId,
    starts: HashMap<ProcessId, Vec<RequestId>>,
    stops: HashMap<ProcessId, Vec<RequestId>>,
    waiting: usize,
    outbox: Outbox,
}

/// What is still to be sent. State is not queued but looked up when there is room for it, so it is never out of date.
#[derive(Debug, Default)]
struct Outbox {
    /// Answers and single events, in order: bounded by the number of requests.
    answers: VecDeque<(FromSupervisor, Vec<File>)>,
    /// Processes whose state is to be sent, each once.
    changed: VecDeque<ProcessId>,
    queued: HashSet<ProcessId>,
    /// The snapshot is over when this many processes of `changed` are sent.
    snapshot: Option<usize>,
    /// The socket was full.
    blocked: bool,
}

impl Outbox {
    fn change(&mut self, id: ProcessId) {
        if self.queued.insert(id) {
            self.changed.push_back(id);
        }
    }
}

impl Frontend {
    /// Starts one, in its cgroup.
    ///
    /// # Errors
    /// Those of socketpair(2), open(2) and clone3(2). What fails in the child shows as its end.
    pub fn spawn(kit: &Kit, group: BorrowedFd<'_>) -> io::Result<Self> {
        let (ours, theirs) = channel::pair()?;
        let null = File::open("/dev/null")?;
        // Read-only, and an open file description of its own for each frontend (see `config::read`).
        let reopen = |fd: &OwnedFd| {
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            nix::fcntl::open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        };
        let (config, key) = (reopen(&kit.config)?, reopen(&kit.key)?);
        // Both append, to write on where the other one ended.
        let flags = OFlag::from_bits_retain(nix::fcntl::fcntl(io::stderr(), FcntlArg::F_GETFL)?);
        nix::fcntl::fcntl(io::stderr(), FcntlArg::F_SETFL(flags | OFlag::O_APPEND))?;
        // Not this process's own open file description, where that can be had: it could be made non-blocking.
        let stderr = match File::options().append(true).open("/proc/self/fd/2") {
            Ok(file) => file.into(),
            Err(_) => io::stderr().as_fd().try_clone_to_owned()?,
        };
        let spawned = spawn::spawn(&Child {
            group,
            program: &kit.binary,
            argv: &[CString::from(c"prn-frontend")],
            environment: &[],
            streams: [null.as_fd(), null.as_fd(), stderr.as_fd()],
            // In the order of `fds::frontend`.
            descriptors: &[theirs.as_fd(), config.as_fd(), key.as_fd(), kit.listener.as_fd(), kit.empty_folder.as_fd()],
            uid: kit.ids.0,
            gid: kit.ids.1,
            directory: c"/",
            open_files: kit.open_files,
        })?;
        Ok(Self {
            process: spawned.pidfd,
            report: spawned.report,
            channel: SupervisorEnd::without_descriptors(ours),
            epoch: kit.epoch,
            phase: Phase::Silent,
            last_request: RequestId(0),
            starts: HashMap::new(),
            stops: HashMap::new(),
            waiting: 0,
            outbox: Outbox::default(),
        })
    }

    /// Its process, readable when it has ended.
    pub fn process(&self) -> &OwnedFd {
        &self.process
    }

    /// The channel's socket.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// Whether it does not take what is sent to it. It is not listened to until it does, so that the outbox stays bounded.
    pub fn blocked(&self) -> bool {
        self.outbox.blocked
    }

    /// Whether all was sent.
    pub fn flushed(&self) -> bool {
        self.outbox.answers.is_empty() && self.outbox.changed.is_empty()
    }

    /// Whether it serves.
    pub fn ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// What kept its program from running, if anything did. Known once it has ended.
    pub fn failure(&self) -> Option<(ChildStep, i32)> {
        let mut report = [0; spawn::REPORT];
        let length = nix::unistd::read(&self.report, &mut report).ok()?;
        spawn::failure(report.get(..length)?)
    }

    /// Reaps it, if it has ended. Returns whether it has.
    pub fn reap(&self) -> bool {
        !matches!(pidfd::reap(&self.process), Ok(None))
    }

    /// Handles requests, a bounded number of them.
    ///
    /// # Errors
    /// Why it has to die.
    pub fn receive(&mut self, runner: &mut Runner) -> Result<(), FrontendError> {
        for _ in 0..TURN {
            match self.channel.receive(|_| 0) {
                Ok(Received::Message(request, _)) => self.handle(request, runner)?,
                Ok(Received::Nothing) => return Ok(()),
                Ok(Received::Closed) => return Err(FrontendError::Closed),
                Err(ReceiveError::Fault(fault)) => return Err(fault.into()),
                Err(ReceiveError::Socket(error)) => return Err(FrontendError::Channel(error)),
            }
        }
        Ok(())
    }

    fn handle(&mut self, request: Request, runner: &mut Runner) -> Result<(), FrontendError> {
        if !allowed(self.phase, &request) {
            return Err(FrontendError::OutOfPhase(self.phase));
        }
        match request {
            Request::Hello { protocol } => {
                if protocol != PROTOCOL {
                    return Err(FrontendError::OtherBuild);
                }
                self.phase = Phase::Greeted;
                self.event(Event::Welcome { epoch: self.epoch });
                runner.ids().for_each(|id| self.outbox.change(id));
                self.outbox.snapshot = Some(self.outbox.changed.len());
            }
            Request::Ready => self.phase = Phase::Ready,
            Request::Start { request, spec } => {
                self.open_request(request)?;
                let id = spec.id;
                match runner.start(*spec) {
                    Ok(Start::New | Start::Pending) => self.starts.entry(id).or_default().push(request),
                    Ok(Start::Existing) => self.answer(request, started(runner, id, true)),
                    Err(refusal) => self.answer(request, Reply::Refused(refusal)),
                }
            }
            Request::Stop { request, id, how } => {
                self.open_request(request)?;
                match runner.stop(id, how) {
                    Ok(()) => self.stops.entry(id).or_default().push(request),
                    Err(refusal) => self.answer(request, Reply::Refused(refusal)),
                }
            }
            Request::Subscribe { request, id } => {
                self.open_request(request)?;
                match runner.output(id) {
                    Ok(files) => {
                        self.outbox.answers.push_back((FromSupervisor::Reply(request, Reply::Output), files.into()));
                    }
                    Err(refusal) => self.answer(request, Reply::Refused(refusal)),
                }
            }
            Request::Watch { id, seen } => runner.watch(id, seen),
        }
        Ok(())
    }

    fn open_request(&mut self, request: RequestId) -> Result<(), FrontendError> {
        if request <= self.last_request {
            return Err(FrontendError::RepeatedRequest);
        }
        self.last_request = request;
        if self.waiting >= REQUESTS_WAITING_MAX {
            return Err(FrontendError::TooMany);
        }
        self.waiting += 1;
        Ok(())
    }

    fn answer(&mut self, request: RequestId, reply: Reply) {
        self.outbox.answers.push_back((FromSupervisor::Reply(request, reply), Vec::new()));
    }

    fn event(&mut self, event: Event) {
        self.outbox.answers.push_back((FromSupervisor::Event(event), Vec::new()));
    }

    /// Takes note of something that happened.
    pub fn notice(&mut self, notice: &Notice, runner: &Runner) {
        if self.phase == Phase::Silent {
            // Its snapshot will have it.
            return;
        }
        match notice {
            Notice::Started(id) => {
                for request in self.starts.remove(id).unwrap_or_default() {
                    self.answer(request, started(runner, *id, false));
                }
            }
            Notice::StartFailed(id, refusal) => {
                for request in self.starts.remove(id).unwrap_or_default() {
                    self.answer(request, Reply::Refused(refusal.clone()));
                }
                self.stopped(*id, runner);
            }
            Notice::Changed(id) => self.outbox.change(*id),
            Notice::Stopped(id) => self.stopped(*id, runner),
            Notice::Advanced(id, end) => self.event(Event::Advanced { id: *id, end: *end }),
            Notice::Forgotten(id) => self.event(Event::Forgotten(*id)),
        }
    }

    fn stopped(&mut self, id: ProcessId, runner: &Runner) {
        for request in self.stops.remove(&id).unwrap_or_default() {
            let reply = match runner.info(id) {
                Some(info) => Reply::Stopped(Box::new(info.clone())),
                None => Reply::Refused(Refusal::UnknownProcess),
            };
            self.answer(request, reply);
        }
    }

    /// Tells it that the server is shutting down.
    pub fn drain(&mut self) {
        if self.phase != Phase::Silent {
            self.event(Event::Draining);
        }
    }

    /// Sends what the socket takes.
    ///
    /// # Errors
    /// Why it has to die.
    pub fn send(&mut self, runner: &Runner) -> Result<(), FrontendError> {
        self.outbox.blocked = false;
        while let Some((message, files)) = self.outbox.answers.front() {
            let fds: Vec<_> = files.iter().map(AsFd::as_fd).collect();
            if !sent(&self.channel, message, &fds, &mut self.outbox.blocked)? {
                return Ok(());
            }
            // It has waited until now: a frontend that asks and does not read is out of requests soon.
            self.waiting -= usize::from(matches!(message, FromSupervisor::Reply(..)));
            self.outbox.answers.pop_front();
        }
        loop {
            if self.outbox.snapshot == Some(0) {
                let message = FromSupervisor::Event(Event::SnapshotEnd);
                if !sent(&self.channel, &message, &[], &mut self.outbox.blocked)? {
                    return Ok(());
                }
                self.outbox.snapshot = None;
            }
            let Some(id) = self.outbox.changed.front() else { return Ok(()) };
            // A process may have been forgotten since.
            if let Some(info) = runner.info(*id) {
                let message = FromSupervisor::Event(Event::Process(Box::new(info.clone())));
                if !sent(&self.channel, &message, &[], &mut self.outbox.blocked)? {
                    return Ok(());
                }
            }
            if let Some(id) = self.outbox.changed.pop_front() {
                self.outbox.queued.remove(&id);
            }
            self.outbox.snapshot = self.outbox.snapshot.map(|left| left.saturating_sub(1));
        }
    }
}

fn sent(
    channel: &SupervisorEnd,
    message: &FromSupervisor,
    fds: &[BorrowedFd<'_>],
    blocked: &mut bool,
) -> Result<bool, FrontendError> {
    match channel.send(message, fds).map_err(FrontendError::Channel)? {
        Sent::Whole => Ok(true),
        Sent::Full => {
            *blocked = true;
            Ok(false)
        }
        Sent::Closed => Err(FrontendError::Closed),
    }
}

fn started(runner: &Runner, id: ProcessId, existing: bool) -> Reply {
    match runner.info(id) {
        Some(info) => Reply::Started { process: Box::new(info.clone()), existing },
        None => Reply::Refused(Refusal::UnknownProcess),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i3_each_phase_allows_exactly_its_own_requests() {
        let (request, id) = (RequestId(1), ProcessId::from_bytes([0; 16]));
        let stop = Request::Stop { request, id, how: prn_ipc_protocol::message::StopHow::Kill };
        let hello = Request::Hello { protocol: String::new() };
        let asks = [stop, Request::Subscribe { request, id }, Request::Watch { id, seen: 0 }];
        for phase in [Phase::Silent, Phase::Greeted, Phase::Ready] {
            assert_eq!(allowed(phase, &hello), phase == Phase::Silent);
            assert_eq!(allowed(phase, &Request::Ready), phase == Phase::Greeted);
            assert!(asks.iter().all(|ask| allowed(phase, ask) == (phase == Phase::Ready)));
        }
    }
}
