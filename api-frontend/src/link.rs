//! The channel to the supervisor, and what is under way on it.
//!
//! One task owns the channel: it numbers requests, matches replies to them and feeds the
//! [`Mirror`], all in the order in which messages arrive. Everything else holds a [`Supervisor`],
//! which queues requests for that task. The supervisor is trusted, but a message that it should
//! never have sent ends this process: a fresh one starts.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::errno::Errno;
use prn_ipc_protocol::channel::{Fault, FrontendEnd, Received, Sent};
use prn_ipc_protocol::message::{Event, FromSupervisor, PROTOCOL, Reply, Request, RequestId};
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};
use tokio::sync::{mpsc, watch};

use crate::failure::Failure;
use crate::mirror::Mirror;
use crate::supervisor::{Answered, Command, Supervisor, Unexpected, Waiting};

/// Messages handled before other tasks run.
const MESSAGES_A_TURN: usize = 256;

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

impl From<Unexpected> for LinkError {
    fn from(_: Unexpected) -> Self {
        Self::Reply
    }
}

/// The channel, and what is under way on it.
#[derive(Debug)]
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
    replaced: watch::Sender<bool>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

impl Link {
    /// Says hello and takes the snapshot. Nothing may be sent to the supervisor before.
    ///
    /// # Errors
    /// The channel failed, or the supervisor sent something else.
    pub async fn hello(channel: OwnedFd) -> Result<(Self, Supervisor, Arc<Mirror>), LinkError> {
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
                FromSupervisor::Event(Event::SnapshotEnd {
                    change,
                    receipt_key,
                }) => {
                    mirror.receipts_signed_with(receipt_key);
                    mirror.known_at(change);
                    break;
                }
                FromSupervisor::Reply(..) => return Err(LinkError::Phase),
                FromSupervisor::Event(event) => happened(&mirror, event)?,
            }
        }
        let (supervisor, served) = Supervisor::new();
        let state = State {
            mirror: Arc::clone(&mirror),
            outbox: VecDeque::new(),
            waiting: HashMap::new(),
            last: 0,
            closed: false,
            replaced: served.replaced,
        };
        Ok((
            Self {
                channel,
                commands: served.commands,
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
                if ready.is_readable() && state.drain(guard.get_inner_mut())? == Drained::All {
                    guard.clear_ready_matching(Ready::READABLE);
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

#[derive(Debug, PartialEq, Eq)]
enum Flushed {
    All,
    Full,
}

#[derive(Debug, PartialEq, Eq)]
enum Drained {
    All,
    /// There may be more.
    Some,
}

impl State {
    fn queue(&mut self, command: Command) {
        match command {
            Command::Ask(who, ask, waiting) => {
                self.last += 1;
                let request = RequestId(self.last);
                self.waiting.insert(request, waiting);
                self.outbox.push_back(Request::Ask(request, who, ask));
            }
            Command::Tell(request) => self.tell(request),
        }
    }

    /// Queues something that is not answered, in place of what it makes out of date, or together with
    /// what it adds to.
    fn tell(&mut self, request: Request) {
        if let Request::Denied { who, verb, count } = &request {
            let known = self.outbox.iter_mut().find_map(|older| {
                if let Request::Denied {
                    who: other,
                    verb: its,
                    count,
                } = older
                    && (&*other, &*its) == (who, verb)
                {
                    Some(count)
                } else {
                    None
                }
            });
            if let Some(known) = known {
                *known = known.saturating_add(*count);
                return;
            }
        }
        let is_out_of_date = |older: &Request| match (&request, older) {
            (Request::Taken { id, .. }, Request::Taken { id: other, .. })
            | (Request::Watch { id, .. }, Request::Watch { id: other, .. }) => id == other,
            (
                Request::Follow(id, meaning) | Request::Unfollow(id, meaning),
                Request::Follow(other, its) | Request::Unfollow(other, its),
            ) => id == other && meaning == its,
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
                    if let Request::Ask(request, ..) = message
                        && let Some(waiting) = self.waiting.remove(request)
                    {
                        waiting(Err(Failure::TooLong))?;
                    }
                }
                Err(error) => return Err(LinkError::Send(error)),
            }
            self.outbox.pop_front();
        }
        Ok(Flushed::All)
    }

    /// Receives a few messages.
    fn drain(&mut self, channel: &mut FrontendEnd) -> Result<Drained, LinkError> {
        for _ in 0..MESSAGES_A_TURN {
            match channel.receive(FromSupervisor::descriptors)? {
                Received::Message(message, descriptors) => self.received(message, descriptors)?,
                Received::Nothing => return Ok(Drained::All),
                // A peer that closes with messages unread makes one receive fail with ECONNRESET,
                // before what it sent itself is read (net/unix/af_unix.c, unix_release_sock).
                Received::Closed if !std::mem::replace(&mut self.closed, true) => {}
                Received::Closed => return Err(LinkError::Closed),
            }
        }
        Ok(Drained::Some)
    }

    fn received(
        &mut self,
        message: FromSupervisor,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), LinkError> {
        match message {
            FromSupervisor::Event(Event::Probe) => {
                self.tell(Request::Alive);
                Ok(())
            }
            FromSupervisor::Event(Event::Replaced) => {
                self.replaced.send_replace(true);
                Ok(())
            }
            FromSupervisor::Event(event) => happened(&self.mirror, event),
            FromSupervisor::Reply(request, reply) => {
                let waiting = self.waiting.remove(&request).ok_or(LinkError::Reply)?;
                let answered = match reply {
                    Reply::Refused(refusal) => Err(Failure::Refused(refusal)),
                    reply @ (Reply::Done
                    | Reply::Existing
                    | Reply::Subscribed
                    | Reply::Input { .. }
                    | Reply::InputOver { .. }
                    | Reply::Usage(_)
                    | Reply::Receipt(_)
                    | Reply::Startable(_)) => Ok(Answered {
                        reply,
                        descriptors,
                        mirror: &self.mirror,
                    }),
                };
                Ok(waiting(answered)?)
            }
        }
    }
}

fn happened(mirror: &Mirror, event: Event) -> Result<(), LinkError> {
    match event {
        Event::Process(info) => mirror.update(*info),
        Event::Forgotten { id, change } => mirror.forget(id, change),
        Event::Advanced { id, end } => mirror.advance(id, end),
        Event::Draining => mirror.drain(),
        Event::Workspace(info) => mirror.update_workspace(*info),
        Event::WorkspaceGone(name) => mirror.forget_workspace(&name),
        Event::SnapshotEnd { .. } | Event::Probe | Event::Replaced => {
            return Err(LinkError::Phase);
        }
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
