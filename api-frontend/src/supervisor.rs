//! The supervisor as the frontend has it: [`Supervisor::ask`] for what is answered, and for each
//! request that is not a function of the name that it has in the privilege contract.
//!
//! What is asked for or told here is queued for the task that owns the channel
//! ([`crate::link::Link`]), which the answers come from.

use std::fmt;
use std::os::fd::OwnedFd;

use prn_ipc_protocol::message::{Ask, For, Reply, Request};
use prn_ipc_protocol::types::{AccessName, ProcessId};
use tokio::sync::{mpsc, oneshot};

use crate::clients::Client;
use crate::failure::Failure;
use crate::mirror::Mirror;
use crate::permits::Permit;

/// An answer as it comes from the channel.
#[derive(Debug)]
pub struct Answered<'a> {
    /// What the supervisor said: not that it refuses.
    pub reply: Reply,
    /// What came with it.
    pub descriptors: Vec<OwnedFd>,
    /// It has learnt of a process or a workspace before who asked does, so that the next call of that client finds
    /// it.
    pub mirror: &'a Mirror,
}

impl Answered<'_> {
    /// What is made of the answer to a request that is done, and brings nothing.
    pub fn done(self) -> Result<Result<(), Failure>, Unexpected> {
        match self.reply {
            Reply::Done => Ok(Ok(())),
            Reply::Existing
            | Reply::Subscribed
            | Reply::Input { .. }
            | Reply::InputOver { .. }
            | Reply::Usage(_)
            | Reply::Receipt(_)
            | Reply::Startable(_)
            | Reply::Refused(_) => Err(Unexpected),
        }
    }
}

/// A reply of another kind than its request.
#[derive(Debug)]
pub struct Unexpected;

/// Takes the answer to one request, in the task that owns the channel.
pub type Waiting = Box<dyn FnOnce(Result<Answered<'_>, Failure>) -> Result<(), Unexpected> + Send>;

// The queue has no bound of its own: each command but those without an answer holds a permit. Of
// those, the newest of its kind for a process takes the place of older ones that were not sent yet,
// and of InputTaken there is one: its descriptor came with an answer, and the next one is asked for
// after it.
/// What is queued for the channel.
pub enum Command {
    /// Something that is answered.
    Ask(AccessName, Ask, Waiting),
    /// Something that is not.
    Tell(Request),
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ask(who, ask, _) => f
                .debug_tuple("Ask")
                .field(who)
                .field(ask)
                .finish_non_exhaustive(),
            Self::Tell(request) => f.debug_tuple("Tell").field(request).finish(),
        }
    }
}

/// A handle for making requests.
#[derive(Debug, Clone)]
pub struct Supervisor {
    commands: mpsc::UnboundedSender<Command>,
}

impl Supervisor {
    /// With the queue's other end.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Command>) {
        let (commands, queue) = mpsc::unbounded_channel();
        (Self { commands }, queue)
    }

    /// Asks for something, for this client, and waits for what `read` makes of the answer.
    ///
    /// # Errors
    /// The request failed, or `read` did.
    pub async fn ask<R: Send + 'static>(
        &self,
        client: &Client,
        permit: Permit,
        ask: Ask,
        read: impl FnOnce(Answered<'_>) -> Result<Result<R, Failure>, Unexpected> + Send + 'static,
    ) -> Result<R, Failure> {
        let (to, answer) = oneshot::channel();
        self.send(
            client,
            ask,
            Box::new(move |answered| {
                let answer = match answered {
                    Ok(answered) => read(answered)?,
                    Err(failure) => Err(failure),
                };
                drop(permit);
                // Who asked may have hung up.
                drop(to.send(answer));
                Ok(())
            }),
        )?;
        answer.await.unwrap_or(Err(Failure::Closed))
    }

    /// Asks for something, for this client, whose answer goes to `waiting`.
    ///
    /// # Errors
    /// [`Failure::Closed`].
    pub fn send(&self, client: &Client, ask: Ask, waiting: Waiting) -> Result<(), Failure> {
        self.commands
            .send(Command::Ask(
                client.access.principal().clone(),
                ask,
                waiting,
            ))
            .map_err(|_| Failure::Closed)
    }

    /// Asks for word once a process's output goes beyond `seen`.
    pub fn watch(&self, id: ProcessId, seen: u64) {
        self.tell(Request::Watch { id, seen });
    }

    /// All who read a process's output have it up to `offset`.
    pub fn taken(&self, id: ProcessId, offset: u64) {
        self.tell(Request::Taken { id, offset });
    }

    /// Somebody reads a process's output to whom it means that.
    pub fn follow(&self, id: ProcessId, meaning: For) {
        self.tell(Request::Follow(id, meaning));
    }

    /// Nobody does any more.
    pub fn unfollow(&self, id: ProcessId, meaning: For) {
        self.tell(Request::Unfollow(id, meaning));
    }

    /// The descriptor that came for a process's input is closed, after `taken` bytes in all.
    pub fn input_taken(&self, id: ProcessId, taken: u64) {
        self.tell(Request::InputTaken { id, taken });
    }

    /// Returns when the channel is closed.
    pub async fn closed(&self) {
        self.commands.closed().await;
    }

    fn tell(&self, request: Request) {
        // A closed channel ends the process anyway.
        drop(self.commands.send(Command::Tell(request)));
    }
}
