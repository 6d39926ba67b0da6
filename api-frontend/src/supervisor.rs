//! The stub of the supervisor: each operation has the name that it has in the privilege contract.
//!
//! One task owns the channel ([`Link`]): it numbers requests, matches replies to them and feeds the
//! [`Mirror`], all in the order in which messages arrive. Everything else holds a [`Supervisor`],
//! which queues requests for that task. The supervisor is trusted, but a message that it should
//! never have sent ends this process: a fresh one starts.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::errno::Errno;
use prn_ipc_protocol::channel::{Fault, FrontendEnd, Received, Sent};
use prn_ipc_protocol::message::{
    Ask, Event, FromSupervisor, PROTOCOL, ProcessInfo, REQUESTS_WAITING_MAX, Refusal, Reply,
    Request, RequestId, StartSpec, StopHow,
};
use prn_ipc_protocol::output::Reader;
use prn_ipc_protocol::types::ProcessId;
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::clients::{Client, Clients};
use crate::mirror::Mirror;
use crate::quota::{Full, Limit, Place, Quota};
use crate::stops::{Opened, StopAnswer, Stops};

/// Most starts under way. Each kind has a share of its own, so that none can keep the others out.
const STARTS_MAX: u32 = 512;
/// Most stops with a grace time under way: one can last for that.
const GRACEFUL_STOPS_MAX: u32 = 384;
/// Most other stops under way. They are answered within seconds, so one that finds no room waits
/// for its turn.
const KILLS_MAX: usize = 64;
/// Most subscriptions under way. Their replies bring descriptors, of which a user can have only so
/// many in flight (ETOOMANYREFS, unix(7)). They are answered at once, so one that finds no room
/// waits for its turn.
const SUBSCRIPTIONS_MAX: usize = 16;
#[expect(clippy::as_conversions, reason = "no other conversion is const")]
const _: () = assert!(
    (STARTS_MAX + GRACEFUL_STOPS_MAX) as usize + KILLS_MAX + SUBSCRIPTIONS_MAX
        <= REQUESTS_WAITING_MAX,
    "the supervisor's limit"
);

/// Messages handled before other tasks get their turn.
const MESSAGES_A_TURN: usize = 256;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The supervisor's answer is no.
    #[error("refused")]
    Refused(#[source] Refusal),
    /// Too many of this kind are under way.
    #[error("{max} {kind} requests are under way")]
    TooMany {
        /// Name of the operation.
        kind: &'static str,
        /// How many may be.
        max: u32,
        /// How many of them are kept for other clients.
        kept: u32,
    },
    /// The request does not fit in a message.
    #[error("the request is too long for the channel")]
    TooLong,
    /// The channel is closed.
    #[error("the supervisor is gone")]
    Closed,
    /// The output's descriptors can't be read.
    #[error("the output cannot be read")]
    Output(#[source] io::Error),
}

/// Why the channel is of no further use.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The supervisor has closed it.
    #[error("the supervisor has closed the channel")]
    Closed,
    /// Receiving failed.
    #[error("receiving from the supervisor failed")]
    Receive(#[from] Fault),
    /// Sending failed.
    #[error("sending to the supervisor failed")]
    Send(#[source] Errno),
    /// Waiting for the channel failed.
    #[error("waiting for the channel failed")]
    Wait(#[from] io::Error),
    /// A reply to no request, or of another kind than its request.
    #[error("the supervisor sent a reply that answers no request")]
    Reply,
    /// A message that does not belong to this phase.
    #[error("the supervisor sent a message out of order")]
    Phase,
}

/// A handle for making requests.
#[derive(Clone)]
pub struct Supervisor {
    commands: mpsc::UnboundedSender<Command>,
    starts: Arc<Quota<()>>,
    graceful_stops: Arc<Quota<()>>,
    kills: Arc<Semaphore>,
    stops: Arc<Stops>,
    subscriptions: Arc<Semaphore>,
}

// The queue has no bound of its own: each command but those without an answer holds a permit. Of
// those, the newest of its kind for a process takes the place of older ones that were not sent yet.
enum Command {
    Start(Box<StartSpec>, Answer<Started>),
    Stop(ProcessId, StopHow, StopAnswer),
    Subscribe(ProcessId, Answer<Reader>),
    Watch(ProcessId, u64),
    Taken(ProcessId, u64),
    Follow(ProcessId),
    Unfollow(ProcessId),
}

/// The answer to Start.
pub struct Started {
    /// The process.
    pub info: Arc<ProcessInfo>,
    /// Nothing new was started.
    pub existing: bool,
}

/// Where an answer goes. The permit counts the request until then, whether or not anybody still
/// waits.
struct Answer<T> {
    to: oneshot::Sender<Result<T, Failure>>,
    _permit: Permit,
}

/// What counts a request until it is answered.
#[expect(dead_code, reason = "held for its drop")]
pub enum Permit {
    /// Of those that are refused when there are too many.
    Place(Place<()>),
    /// Of those that wait for their turn.
    Turn {
        of_client: OwnedSemaphorePermit,
        of_all: OwnedSemaphorePermit,
    },
}

impl<T> Answer<T> {
    fn give(self, answer: Result<T, Failure>) {
        // Who asked may have hung up.
        drop(self.to.send(answer));
    }
}

impl Supervisor {
    fn new(commands: mpsc::UnboundedSender<Command>, clients: &Clients) -> Self {
        let quota = |max| {
            let limit = Limit::shared(max, clients.count());
            Quota::new(limit, limit)
        };
        Self {
            commands,
            starts: quota(STARTS_MAX),
            graceful_stops: quota(GRACEFUL_STOPS_MAX),
            kills: Arc::new(Semaphore::new(KILLS_MAX)),
            stops: Arc::default(),
            subscriptions: Arc::new(Semaphore::new(SUBSCRIPTIONS_MAX)),
        }
    }

    /// Starts a process.
    pub async fn start(&self, client: &Client, spec: Box<StartSpec>) -> Result<Started, Failure> {
        let permit = place(&self.starts, client, "start")?;
        self.ask(permit, |answer| Command::Start(spec, answer))
            .await
    }

    /// Stops a process. The supervisor is asked only if no stop under way does it as soon.
    pub async fn stop(
        &self,
        client: &Client,
        id: ProcessId,
        how: StopHow,
    ) -> Result<Arc<ProcessInfo>, Failure> {
        let how = match how {
            StopHow::Graceful(Some(grace)) if grace.duration().is_zero() => StopHow::Kill,
            StopHow::Graceful(_) | StopHow::Kill => how,
        };
        if let Some(wait) = self.stops.join(id, how) {
            return wait.answer().await;
        }
        let permit = match how {
            StopHow::Graceful(_) => place(&self.graceful_stops, client, "stop")?,
            StopHow::Kill => turn(&self.kills, &client.kills).await?,
        };
        let wait = match self.stops.open(id, how, permit)? {
            Opened::New(answer, wait) => {
                self.commands
                    .send(Command::Stop(id, how, answer))
                    .map_err(|_| Failure::Closed)?;
                wait
            }
            Opened::Joined(wait) => wait,
        };
        wait.answer().await
    }

    /// A turn to open an output.
    pub async fn subscription(&self, client: &Client) -> Result<Permit, Failure> {
        turn(&self.subscriptions, &client.subscriptions).await
    }

    /// Opens a process's output.
    pub async fn subscribe(&self, turn: Permit, id: ProcessId) -> Result<Reader, Failure> {
        self.ask(turn, |answer| Command::Subscribe(id, answer))
            .await
    }

    /// Asks for word once a process's output goes beyond `seen`.
    pub fn watch(&self, id: ProcessId, seen: u64) {
        // A closed channel ends the process anyway.
        drop(self.commands.send(Command::Watch(id, seen)));
    }

    /// All who read a process's output have it up to `offset`.
    pub fn taken(&self, id: ProcessId, offset: u64) {
        drop(self.commands.send(Command::Taken(id, offset)));
    }

    /// Somebody whom a process waits for reads its output.
    pub fn follow(&self, id: ProcessId) {
        drop(self.commands.send(Command::Follow(id)));
    }

    /// Nobody does any more.
    pub fn unfollow(&self, id: ProcessId) {
        drop(self.commands.send(Command::Unfollow(id)));
    }

    /// Returns when the channel is closed.
    pub async fn closed(&self) {
        self.commands.closed().await;
    }

    async fn ask<T>(
        &self,
        permit: Permit,
        command: impl FnOnce(Answer<T>) -> Command,
    ) -> Result<T, Failure> {
        let (to, answer) = oneshot::channel();
        self.commands
            .send(command(Answer {
                to,
                _permit: permit,
            }))
            .map_err(|_| Failure::Closed)?;
        answer.await.unwrap_or(Err(Failure::Closed))
    }
}

fn place(quota: &Arc<Quota<()>>, client: &Client, kind: &'static str) -> Result<Permit, Failure> {
    let place = quota.enter((), client.fingerprint);
    place
        .map(Permit::Place)
        .map_err(|Full { max, kept, .. }| Failure::TooMany { kind, max, kept })
}

/// First among the client's own, then among all that wait.
async fn turn(all: &Arc<Semaphore>, of_client: &Arc<Semaphore>) -> Result<Permit, Failure> {
    let acquire = async |semaphore: &Arc<Semaphore>| {
        let permit = Arc::clone(semaphore).acquire_owned().await;
        permit.map_err(|_| Failure::Closed)
    };
    let of_client = acquire(of_client).await?;
    Ok(Permit::Turn {
        of_all: acquire(all).await?,
        of_client,
    })
}

/// The channel, and what is under way on it.
pub struct Link {
    channel: AsyncFd<FrontendEnd>,
    commands: mpsc::UnboundedReceiver<Command>,
    state: State,
}

struct State {
    mirror: Arc<Mirror>,
    outbox: VecDeque<Request>,
    waiting: HashMap<RequestId, Waiting>,
    last: u64,
    /// The channel has been found closed once.
    closed: bool,
}

enum Waiting {
    Start(ProcessId, Answer<Started>),
    Stop(ProcessId, StopAnswer),
    Subscribe(Answer<Reader>),
}

impl Link {
    /// Says hello and takes the snapshot. Nothing may be sent to the supervisor before.
    ///
    /// # Errors
    /// The channel failed, or the supervisor sent something else.
    pub async fn hello(
        channel: OwnedFd,
        clients: &Clients,
    ) -> Result<(Self, Supervisor, Arc<Mirror>), LinkError> {
        let mut channel = watched(channel)?;
        match channel
            .get_ref()
            .send(&Request::Hello(PROTOCOL.to_owned()), &[])
        {
            Ok(Sent::Whole) => {}
            // The first message of all always finds room.
            Ok(Sent::Full | Sent::Closed) => return Err(LinkError::Closed),
            Err(error) => return Err(LinkError::Send(error)),
        }
        let mirror = Arc::new(Mirror::default());
        loop {
            match next(&mut channel).await? {
                FromSupervisor::Event(Event::SnapshotEnd) => break,
                FromSupervisor::Reply(..) => return Err(LinkError::Phase),
                FromSupervisor::Event(event) => happened(&mirror, event)?,
            }
        }
        let (sender, commands) = mpsc::unbounded_channel();
        let supervisor = Supervisor::new(sender, clients);
        let state = State {
            mirror: Arc::clone(&mirror),
            outbox: VecDeque::new(),
            waiting: HashMap::new(),
            last: 0,
            closed: false,
        };
        Ok((
            Self {
                channel,
                commands,
                state,
            },
            supervisor,
            mirror,
        ))
    }

    /// Tells the supervisor that this half serves, then carries messages until the channel ends.
    /// Says why it did.
    pub async fn run(mut self) -> LinkError {
        self.state.outbox.push_back(Request::Ready);
        loop {
            if let Err(error) = self.turn().await {
                return error;
            }
        }
    }

    async fn turn(&mut self) -> Result<(), LinkError> {
        let Self {
            channel,
            commands,
            state,
        } = self;
        let interest = if state.outbox.is_empty() {
            Interest::READABLE
        } else {
            Interest::READABLE | Interest::WRITABLE
        };
        tokio::select! {
            guard = channel.ready_mut(interest) => {
                let mut guard = guard?;
                let ready = guard.ready();
                if ready.is_writable() && state.flush(guard.get_inner())? == Flushed::Full {
                    guard.clear_ready_matching(Ready::WRITABLE);
                }
                if ready.is_readable() {
                    for _ in 0..MESSAGES_A_TURN {
                        match guard.get_inner_mut().receive(FromSupervisor::descriptors)? {
                            Received::Message(message, fds) => state.received(message, fds)?,
                            Received::Nothing => {
                                guard.clear_ready_matching(Ready::READABLE);
                                break;
                            }
                            // A peer that closes with messages unread makes one receive fail with
                            // ECONNRESET, before what it sent itself is read (net/unix/af_unix.c,
                            // unix_release_sock).
                            Received::Closed if !std::mem::replace(&mut state.closed, true) => {}
                            Received::Closed => return Err(LinkError::Closed),
                        }
                    }
                }
            }
            Some(command) = commands.recv() => {
                state.queue(command);
                // If there is no room, the next turn waits for some.
                state.flush(channel.get_ref())?;
            }
        }
        Ok(())
    }
}

#[derive(PartialEq, Eq)]
enum Flushed {
    All,
    Full,
}

impl State {
    fn queue(&mut self, command: Command) {
        let request = RequestId(self.last + 1);
        let (ask, waiting) = match command {
            Command::Start(spec, answer) => {
                let id = spec.id;
                (Ask::Start(spec), Waiting::Start(id, answer))
            }
            Command::Stop(id, how, answer) => (Ask::Stop(id, how), Waiting::Stop(id, answer)),
            Command::Subscribe(id, answer) => (Ask::Subscribe(id), Waiting::Subscribe(answer)),
            Command::Taken(id, offset) => return self.tell(Request::Taken { id, offset }),
            Command::Watch(id, seen) => return self.tell(Request::Watch { id, seen }),
            Command::Follow(id) => return self.tell(Request::Follow(id)),
            Command::Unfollow(id) => return self.tell(Request::Unfollow(id)),
        };
        self.last = request.0;
        self.waiting.insert(request, waiting);
        self.outbox.push_back(Request::Ask(request, ask));
    }

    /// Queues something that is not answered, in place of what it makes out of date.
    fn tell(&mut self, request: Request) {
        let is_out_of_date = |older: &Request| match (&request, older) {
            (Request::Taken { id, .. }, Request::Taken { id: other, .. })
            | (Request::Watch { id, .. }, Request::Watch { id: other, .. })
            | (
                Request::Follow(id) | Request::Unfollow(id),
                Request::Follow(other) | Request::Unfollow(other),
            ) => id == other,
            _ => false,
        };
        self.outbox.retain(|older| !is_out_of_date(older));
        self.outbox.push_back(request);
    }

    fn flush(&mut self, channel: &FrontendEnd) -> Result<Flushed, LinkError> {
        while let Some(message) = self.outbox.front() {
            match channel.send(message, &[]) {
                Ok(Sent::Whole) => {}
                Ok(Sent::Full) => return Ok(Flushed::Full),
                // What it sent before it closed is still to be read, and then says so.
                Ok(Sent::Closed) => {
                    self.outbox.clear();
                    break;
                }
                // The limits on requests rule it out; were they wrong, one client must not end the
                // whole frontend.
                Err(Errno::EMSGSIZE) => {
                    if let Request::Ask(request, _) = message
                        && let Some(waiting) = self.waiting.remove(request)
                    {
                        waiting.fail(Failure::TooLong);
                    }
                }
                Err(error) => return Err(LinkError::Send(error)),
            }
            self.outbox.pop_front();
        }
        Ok(Flushed::All)
    }

    fn received(&mut self, message: FromSupervisor, fds: Vec<OwnedFd>) -> Result<(), LinkError> {
        match message {
            FromSupervisor::Event(event) => happened(&self.mirror, event),
            FromSupervisor::Reply(request, reply) => {
                let waiting = self.waiting.remove(&request).ok_or(LinkError::Reply)?;
                self.replied(waiting, reply, fds)
            }
        }
    }

    /// The mirror has learnt of a process before who asked does, so that the next call of that
    /// client finds it.
    fn replied(&self, waiting: Waiting, reply: Reply, fds: Vec<OwnedFd>) -> Result<(), LinkError> {
        match (waiting, reply) {
            (waiting, Reply::Refused(refusal)) => waiting.fail(Failure::Refused(refusal)),
            (Waiting::Start(id, answer), reply @ (Reply::Done | Reply::Existing)) => {
                let info = self.mirror.process(id).ok_or(LinkError::Reply)?.info();
                answer.give(Ok(Started {
                    info,
                    existing: reply == Reply::Existing,
                }));
            }
            (Waiting::Stop(id, answer), Reply::Done) => {
                answer.give(Ok(self.mirror.process(id).ok_or(LinkError::Reply)?.info()));
            }
            (Waiting::Subscribe(answer), Reply::Subscribed) => {
                let [data, page]: [OwnedFd; 2] = fds.try_into().map_err(|_| LinkError::Reply)?;
                answer
                    .give(Reader::new(File::from(data), File::from(page)).map_err(Failure::Output));
            }
            _ => return Err(LinkError::Reply),
        }
        Ok(())
    }
}

impl Waiting {
    fn fail(self, failure: Failure) {
        match self {
            Self::Start(_, answer) => answer.give(Err(failure)),
            Self::Stop(_, answer) => match failure {
                Failure::Refused(refusal) => answer.give(Err(refusal)),
                // Who waits is told the first of these by the drop; the others are not of a stop.
                Failure::Closed
                | Failure::TooMany { .. }
                | Failure::TooLong
                | Failure::Output(_) => drop(answer),
            },
            Self::Subscribe(answer) => answer.give(Err(failure)),
        }
    }
}

fn happened(mirror: &Mirror, event: Event) -> Result<(), LinkError> {
    match event {
        Event::Process(info) => mirror.update(*info),
        Event::Forgotten(id) => mirror.forget(id),
        Event::Advanced { id, end } => mirror.advance(id, end),
        Event::Draining => mirror.drain(),
        Event::SnapshotEnd => return Err(LinkError::Phase),
    }
    Ok(())
}

#[expect(
    deprecated,
    reason = "its successor is unsafe, for types whose descriptor can change; a Channel owns one for life"
)]
fn watched(channel: OwnedFd) -> io::Result<AsyncFd<FrontendEnd>> {
    AsyncFd::new(FrontendEnd::new(channel))
}

/// The next message, before there is anything else to do.
async fn next(channel: &mut AsyncFd<FrontendEnd>) -> Result<FromSupervisor, LinkError> {
    loop {
        let mut guard = channel.readable_mut().await?;
        match guard.get_inner_mut().receive(FromSupervisor::descriptors)? {
            Received::Message(message, _) => return Ok(message),
            Received::Nothing => guard.clear_ready(),
            Received::Closed => return Err(LinkError::Closed),
        }
    }
}
