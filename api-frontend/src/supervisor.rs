//! The supervisor as the frontend has it: [`Supervisor::ask`] for what is answered, and for each
//! request that is not a function of the name that it has in the privilege contract.
//!
//! What is asked for or told here is queued for the task that owns the channel
//! ([`crate::link::Link`]), which the answers come from.

use std::fmt;
use std::os::fd::OwnedFd;

use prn_ipc_protocol::message::{Ask, For, Reply, Request};
use prn_ipc_protocol::types::{AccessName, ProcessId};
use tokio::sync::{mpsc, oneshot, watch};

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
    replaced: watch::Receiver<bool>,
    loans: watch::Sender<usize>,
}

/// What the task that owns the channel has of it.
#[derive(Debug)]
pub struct Served {
    /// What is queued.
    pub commands: mpsc::UnboundedReceiver<Command>,
    /// To be set when another frontend is to take this one's place.
    pub replaced: watch::Sender<bool>,
}

/// A process's input that is lent to this frontend.
#[derive(Debug)]
pub struct Loan {
    id: ProcessId,
    supervisor: Supervisor,
}

impl Loan {
    /// Gives it back, whose descriptor is closed, after so many bytes in all.
    pub fn end(&self, taken: u64) {
        let id = self.id;
        self.supervisor.tell(Request::InputTaken { id, taken });
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.supervisor.loans.send_modify(|loans| *loans -= 1);
    }
}

impl Supervisor {
    /// With the queue's other end.
    pub fn new() -> (Self, Served) {
        let (commands, queue) = mpsc::unbounded_channel();
        let (replaces, replaced) = watch::channel(false);
        let supervisor = Self {
            commands,
            replaced,
            loans: watch::Sender::new(0),
        };
        let served = Served {
            commands: queue,
            replaced: replaces,
        };
        (supervisor, served)
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

    /// Notes that a process's input is lent to this frontend, until that is dropped.
    pub fn loan(&self, id: ProcessId) -> Loan {
        self.loans.send_modify(|loans| *loans += 1);
        Loan {
            id,
            supervisor: self.clone(),
        }
    }

    /// Returns when streams are to end: the channel is closed, or another frontend is to take this
    /// one's place.
    pub async fn closed(&self) {
        tokio::select! {
            () = self.commands.closed() => {}
            () = self.is_replaced() => {}
        }
    }

    /// Whether another frontend is to take this one's place.
    pub fn has_been_replaced(&self) -> bool {
        // The only change there is. It takes no lock while the channel is there.
        let has_changed = self.replaced.has_changed();
        has_changed.unwrap_or_else(|_| *self.replaced.borrow())
    }

    /// Returns when another frontend is to take this one's place.
    pub async fn is_replaced(&self) {
        let mut replaced = self.replaced.clone();
        if replaced.wait_for(|replaced| *replaced).await.is_err() {
            // The channel has ended before.
            std::future::pending().await
        }
    }

    /// Says that this was all, once no input is lent any more.
    pub async fn leave(&self) {
        let mut loans = self.loans.subscribe();
        // The sender is this one's own.
        let _given_back = loans.wait_for(|loans| *loans == 0).await;
        self.tell(Request::Left);
    }

    /// Tells of something that is not answered.
    pub fn tell(&self, request: Request) {
        // A closed channel ends the process anyway.
        drop(self.commands.send(Command::Tell(request)));
    }
}
