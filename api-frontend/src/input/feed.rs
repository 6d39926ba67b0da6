//! One stream of input: its pieces, in their order, to the pipe.

use std::sync::Arc;

use prn_ipc_protocol::message::{Input, Refusal, TerminalSize};
use prn_ipc_protocol::types::ProcessId;
use prn_proto::v1;
use tonic::{Status, Streaming};

use crate::calls::resize::resize;
use crate::calls::server::Server;
use crate::clients::Client;
use crate::convert::input::{Piece, after_the_end, piece};
use crate::errors;
use crate::failure::Failure;
use crate::input::pipe::{Pipe, Written};
use crate::input::place::Place;
use crate::mirror::Process;

/// A stream whose first message was read.
#[derive(Debug)]
pub struct Feed<'a> {
    /// What it asks of the supervisor goes by way of it.
    pub server: &'a Server,
    /// Whose it is.
    pub client: &'a Client,
    /// Whose input it is.
    pub process: Arc<Process>,
    /// Its further messages.
    pub messages: Streaming<v1::SendInputRequest>,
}

/// How a stream to a pipe has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fed {
    /// All is taken, and more may follow in another stream.
    Paused,
    /// All is taken, and nothing follows.
    Ended,
    /// Nobody reads the pipe any more.
    Closed,
}

/// What follows a piece.
#[derive(Debug)]
enum Next {
    Piece(Piece),
    /// The client has ended the stream.
    Nothing,
    /// Nobody reads the pipe any more.
    Closed,
}

impl Feed<'_> {
    /// Whose input it is.
    pub fn id(&self) -> ProcessId {
        self.process.hub.id()
    }

    /// Writes what is new of the stream, from its first piece on. Where this is dropped, `pipe` has
    /// counted what was taken.
    ///
    /// # Errors
    /// As SendInput's.
    pub async fn write(
        &mut self,
        pipe: &mut Pipe,
        mut place: Place,
        first: Piece,
    ) -> Result<Fed, Status> {
        let mut piece = first;
        loop {
            // It stands between what is typed before and after.
            if piece.size.is_some() && self.all(pipe).await? == Written::Closed {
                return Ok(Fed::Closed);
            }
            self.resize(piece.size).await?;
            let data = piece.data;
            let written = pipe.write(data.slice_ref(place.new_of(&data))).await;
            match written.map_err(|error| errors::unwritable(self.id(), &error))? {
                Written::GoesOn => {}
                Written::Closed => return Ok(Fed::Closed),
            }
            let is_last = piece.is_end;
            let fed = match self.next(is_last, pipe.closed()).await {
                Ok(Next::Piece(next)) => {
                    piece = next;
                    continue;
                }
                Ok(Next::Nothing) if is_last => Ok(Fed::Ended),
                Ok(Next::Nothing) => Ok(Fed::Paused),
                Ok(Next::Closed) => Ok(Fed::Closed),
                Err(error) => Err(error),
            };
            // Whatever follows, what has come is written.
            return match self.all(pipe).await? {
                Written::GoesOn => fed,
                Written::Closed => fed.map(|_| Fed::Closed),
            };
        }
    }

    /// Waits until all that has come is written.
    async fn all(&self, pipe: &mut Pipe) -> Result<Written, Status> {
        let written = pipe.written().await;
        written.map_err(|error| errors::unwritable(self.id(), &error))
    }

    /// Reads the stream of an input that was ended: it may bring what was taken before, and its end.
    ///
    /// # Errors
    /// As SendInput's: it brings more.
    pub async fn compare(&mut self, mut place: Place, first: Piece) -> Result<(), Status> {
        let mut piece = first;
        loop {
            self.resize(piece.size).await?;
            if !place.new_of(&piece.data).is_empty() {
                return Err(errors::input_ended(self.id()));
            }
            piece = match self.next(piece.is_end, std::future::pending()).await? {
                Next::Piece(piece) => piece,
                Next::Nothing | Next::Closed => return Ok(()),
            };
        }
    }

    /// What follows a piece, which was to be the last one or not.
    async fn next(
        &mut self,
        is_last: bool,
        closed: impl Future<Output = ()>,
    ) -> Result<Next, Status> {
        let message = tokio::select! {
            biased;
            message = self.messages.message() => message?,
            () = closed => return Ok(Next::Closed),
        };
        match message {
            None => Ok(Next::Nothing),
            Some(_) if is_last => Err(after_the_end().into()),
            Some(message) => Ok(Next::Piece(piece(message)?)),
        }
    }

    async fn resize(&self, size: Option<TerminalSize>) -> Result<(), Status> {
        let Some(size) = size else {
            return Ok(());
        };
        let had_terminal = matches!(self.process.info().spec.input, Input::Terminal(_));
        match resize(self.server, self.client, self.id(), size).await {
            // The process has ended, which is told in another way.
            Err(Failure::Refused(Refusal::NoTerminal)) if had_terminal => Ok(()),
            other => other.map_err(|failure| errors::failed(&failure, self.id(), None)),
        }
    }
}
