//! Input that goes on where it was when a connection is lost.
//!
//! The server says how much of a stream it has taken when that ends well, and not before. So what
//! may still be under way is kept here, and sent again on the next connection with the offset of
//! its first byte: the server skips what it has. No byte is lost or comes twice without an error.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::stream;
use prn_proto::id::ProcessId;
use prn_proto::reason;
use tokio::sync::mpsc;

use crate::client::Client;
use crate::error::ClientError;
use crate::input::{INPUT_PIECE_MAX, InputAnswer, InputOpening, InputPiece, TerminalSize};
use crate::mint::mint_writer;

/// Most bytes that are kept to be sent again: more than can be under way. That is the server's
/// window of a stream (256 KiB) and what it has read and not written (as much again); and what has left here without
/// having a window yet: h2 keeps 1 MiB of a stream at most, and hyper and tonic a chunk each (a
/// piece, and 32 KiB of smaller ones before it). The rest is for servers with a larger window.
/// Should one have a much larger one, it misses bytes before the offset, and says so.
pub const INPUT_KEPT: usize = 4 * 1024 * 1024;

/// How often a stream is opened on one connection where others come in between.
const TRIES: u32 = 8;

/// Feeds the standard input of one process, over as many connections as it takes.
///
/// The process's output must be read meanwhile, if it waits for its readers (the policies follow
/// and stop-reading): one that cannot print soon reads no more, and then [`InputWriter::feed`] does
/// not return.
///
/// ```no_run
/// # use prn_client::{Client, ClientError, InputPiece, InputWriter, ProcessId};
/// # async fn connect() -> Result<Client, ClientError> { unimplemented!() }
/// # async fn example(id: ProcessId) -> Result<(), Box<dyn std::error::Error>> {
/// # let pause = std::time::Duration::from_secs(1);
/// let (sender, source) = tokio::sync::mpsc::channel(8);
/// let mut writer = InputWriter::new(id, Some(0), source)?;
/// tokio::spawn(async move {
///     let _unread = sender.send(InputPiece::Data("hello\n".into())).await;
///     let _unread = sender.send(InputPiece::End).await;
/// });
/// let answer = loop {
///     match writer.feed(&connect().await?).await {
///         Err(error) if error.is_transient() => tokio::time::sleep(pause).await,
///         other => break other?,
///     }
/// };
/// if answer.closed {
///     println!("the process has not read all of it");
/// }
/// # Ok(())
/// # }
/// ```
///
/// What is no success, and not transient:
/// - [`ClientError::InputCutOff`]: nobody knows what the process has of what was sent last, or
///   another writer has come in between. A program gives up, since its input would have a hole or a
///   part twice; a person can go on after [`InputWriter::forget`].
/// - [`ClientError::Refused`] with [`reason::INPUT_IN_USE`]: another writer feeds the process. It
///   can be tried again when that has gone: nothing is forgotten.
/// - [`InputAnswer::closed`] is an answer, since a process need not read all that there is for it:
///   what it has not read is dropped, and its exit tells whether that was well.
#[derive(Debug)]
pub struct InputWriter {
    id: ProcessId,
    /// The name that a new stream takes the place of the old one by.
    writer: String,
    input: Arc<Mutex<Input>>,
}

impl InputWriter {
    /// Of what comes from `source`, where an [`InputPiece::End`] ends the process's input, and
    /// closing the channel leaves it open. `offset` is where its first byte belongs in all of the
    /// process's input: 0 for a process that is new. `None`: just after what the server has taken,
    /// which is asked for first.
    ///
    /// # Errors
    /// If the kernel has no random bytes.
    pub fn new(
        id: ProcessId,
        offset: Option<u64>,
        source: mpsc::Receiver<InputPiece>,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            id,
            writer: mint_writer()?,
            input: Arc::new(Mutex::new(Input::new(offset, source))),
        })
    }

    /// The same under a name of its own (32 lower-case hexadecimal digits), for a program that may be
    /// run again with the same input, from the same offset: the second one takes the place of the
    /// first, and what that has sent is skipped. The process's id is such a name. Two that run at once
    /// take each other's place again and again.
    pub fn named(self, writer: String) -> Self {
        Self { writer, ..self }
    }

    /// Feeds it on this connection, from where it was. Answers when all is taken, or nobody reads
    /// it any more.
    ///
    /// After an error that is transient ([`ClientError::is_transient`]) this is to be called again,
    /// on a new connection. Cancel safe: when it is dropped, its stream ends, and the next call sends
    /// again what may not have been taken. What that is, nobody is told.
    ///
    /// # Errors
    /// As [`Client::send_input`]; [`ClientError::InputCutOff`] where it cannot go on.
    pub async fn feed(&mut self, client: &Client) -> Result<InputAnswer, ClientError> {
        let mut tries = 1;
        let mut retry = Retry::There;
        loop {
            let known = self.locked().place;
            let offset = match (known, retry) {
                (Place::At(offset), _) => Some(offset),
                (Place::Unknown, Retry::Anywhere) => None,
                // Any offset, which the server refuses: it knows what became of the stream before
                // as little as this one.
                (Place::Unknown, Retry::There | Retry::Asking) => Some(0),
                (Place::Unasked, _) => match self.asked(client).await? {
                    Asked::Closed(answer) => return Ok(answer),
                    Asked::At(offset) => offset,
                },
            };
            let error = match self.stream(client, &self.opening(offset)).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            retry = match again(&error, known) {
                Some(retry) if tries < TRIES => retry,
                Some(_) | None => return Err(cut_off(error)),
            };
            tries += 1;
            match retry {
                Retry::There => {}
                Retry::Asking => self.locked().place = Place::Unasked,
                Retry::Anywhere => self.locked().place = Place::Unknown,
            }
        }
    }

    /// Asks where the input is. An end of it is not the answer: only the stream that is then opened
    /// shows whether there is more.
    async fn asked(&self, client: &Client) -> Result<Asked, ClientError> {
        let answer = client
            .send_input(self.id, &self.opening(None), stream::empty())
            .await?;
        if answer.closed {
            return Ok(Asked::Closed(answer));
        }
        self.locked().place = answer.taken.map_or(Place::Unknown, Place::At);
        Ok(Asked::At(answer.taken))
    }

    /// Sends all there is.
    async fn stream(
        &self,
        client: &Client,
        opening: &InputOpening,
    ) -> Result<InputAnswer, ClientError> {
        let turn = Turn::begin(&self.input);
        let answer = client.send_input(self.id, opening, turn.pieces()).await?;
        drop(turn);
        self.locked().check(answer)?;
        Ok(answer)
    }

    /// Forgets what was sent before the stream that was refused with [`ClientError::InputCutOff`]:
    /// the next one goes on with what has come since, wherever the process's input has got to. What
    /// was under way is lost or not, which nobody knows: for a person at a terminal, who sees it.
    pub fn forget(&mut self) {
        self.locked().forget_sent();
    }

    fn opening(&self, offset: Option<u64>) -> InputOpening {
        InputOpening {
            writer: self.writer.clone(),
            offset,
        }
    }

    fn locked(&self) -> MutexGuard<'_, Input> {
        lock(&self.input)
    }
}

/// No guard outlives its statement, and none is held while a waker is called, which may poll what
/// locks it again.
fn lock(input: &Mutex<Input>) -> MutexGuard<'_, Input> {
    input.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the server says of where the input is.
#[derive(Debug)]
enum Asked {
    /// Nowhere: nobody reads it.
    Closed(InputAnswer),
    /// There, if anybody knows.
    At(Option<u64>),
}

/// How a stream is opened again that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retry {
    /// Where it was.
    There,
    /// Where the input is by then.
    Asking,
    /// Wherever the input is: nobody knows.
    Anywhere,
}

/// Whether a stream is to be opened again on the same connection. `known` is what was known of the
/// place before.
fn again(error: &ClientError, known: Place) -> Option<Retry> {
    match (error.refusal()?.reason.as_str(), known) {
        // Nobody else has this writer's name now: it is a stream of before that came late.
        (reason::INPUT_TAKEN_OVER, _) => Some(Retry::There),
        // Another writer has come, or a part of the server has died, between the answer and the
        // stream. Nothing was taken of a stream that was refused for its place.
        (reason::INPUT_OFFSET, Place::Unasked) => Some(Retry::Asking),
        (reason::INPUT_LOST, Place::Unasked) => Some(Retry::Anywhere),
        (_, Place::Unasked | Place::At(_) | Place::Unknown) => None,
    }
}

/// What the server says of a place in the input that it cannot go on at.
fn cut_off(error: ClientError) -> ClientError {
    let cannot_go_on = [reason::INPUT_LOST, reason::INPUT_OFFSET];
    if let ClientError::Refused(refusal) = error {
        if cannot_go_on.contains(&refusal.reason.as_str()) {
            return ClientError::InputCutOff(refusal);
        }
        return ClientError::Refused(refusal);
    }
    error
}

/// The one stream that takes from the input. The connection owns the stream, maybe for longer than
/// it is of use: when this is dropped, it ends there.
struct Turn<'a> {
    input: &'a Arc<Mutex<Input>>,
    number: u64,
}

impl<'a> Turn<'a> {
    fn begin(input: &'a Arc<Mutex<Input>>) -> Self {
        let number = lock(input).begin_turn();
        Self { input, number }
    }

    fn pieces(&self) -> impl stream::Stream<Item = InputPiece> + Send + 'static {
        let input = Arc::clone(self.input);
        let mut cursor = lock(&input).cursor(self.number);
        stream::poll_fn(move |context| lock(&input).next(&mut cursor, context))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let waker = lock(self.input).end_turn();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// What is to be sent, and what was.
#[derive(Debug)]
struct Input {
    source: mpsc::Receiver<InputPiece>,
    /// What the source has come to.
    state: SourceState,
    /// Bytes that the server may not have taken, in their order.
    kept: VecDeque<Bytes>,
    kept_bytes: usize,
    /// Where the first of them belongs in the process's input.
    place: Place,
    /// How many pieces were there before the first of `kept`.
    number_of_first: u64,
    /// The number of the first piece that no stream before this one has had.
    number_of_new: u64,
    /// The last size that was sent.
    size: Option<TerminalSize>,
    /// The number of the stream that may take from here.
    turn: u64,
    /// Of that stream.
    waker: Option<Waker>,
}

/// A place in the process's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is still to be asked.
    Unasked,
    /// So many bytes come before.
    At(u64),
    /// Nobody knows how many.
    Unknown,
}

impl Place {
    /// So many bytes behind it.
    fn behind(self, bytes: usize) -> Self {
        match self {
            Self::At(offset) => Self::At(offset.saturating_add(length(bytes))),
            Self::Unasked | Self::Unknown => self,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SourceState {
    /// More may come.
    Open,
    /// Nothing follows from here; the process's input stays open.
    Closed,
    /// Nothing follows, ever.
    Ended,
}

/// How far a stream has got.
#[derive(Debug)]
struct Cursor {
    turn: u64,
    /// Number of the piece that it sends next.
    next: u64,
    /// To be sent before anything else.
    size: Option<TerminalSize>,
    /// The end was sent.
    has_ended: bool,
}

impl Input {
    fn new(offset: Option<u64>, source: mpsc::Receiver<InputPiece>) -> Self {
        Self {
            source,
            state: SourceState::Open,
            kept: VecDeque::new(),
            kept_bytes: 0,
            place: offset.map_or(Place::Unasked, Place::At),
            number_of_first: 0,
            number_of_new: 0,
            size: None,
            turn: 0,
            waker: None,
        }
    }

    /// The number of the stream that may take from here now.
    fn begin_turn(&mut self) -> u64 {
        self.number_of_new = self.number_of_next();
        self.turn
    }

    /// That stream takes no more. Whoever waits for its next piece is to be woken.
    fn end_turn(&mut self) -> Option<Waker> {
        self.turn += 1;
        self.waker.take()
    }

    /// Of a stream that sends all that is kept again, under the size that the terminal has by now.
    fn cursor(&self, turn: u64) -> Cursor {
        Cursor {
            turn,
            next: self.number_of_first,
            size: self.size,
            has_ended: false,
        }
    }

    fn number_of_next(&self) -> u64 {
        self.number_of_first
            .saturating_add(u64::try_from(self.kept.len()).unwrap_or(u64::MAX))
    }

    fn next(&mut self, cursor: &mut Cursor, context: &mut Context<'_>) -> Poll<Option<InputPiece>> {
        if cursor.turn != self.turn || cursor.has_ended {
            return Poll::Ready(None);
        }
        if let Some(size) = cursor.size.take() {
            return Poll::Ready(Some(InputPiece::Size(size)));
        }
        loop {
            let index = cursor.next.saturating_sub(self.number_of_first);
            let kept = usize::try_from(index).ok();
            if let Some(data) = kept.and_then(|index| self.kept.get(index)) {
                cursor.next += 1;
                return Poll::Ready(Some(InputPiece::Data(data.clone())));
            }
            match self.state {
                SourceState::Closed => return Poll::Ready(None),
                SourceState::Ended => {
                    cursor.has_ended = true;
                    return Poll::Ready(Some(InputPiece::End));
                }
                SourceState::Open => {}
            }
            match self.source.poll_recv(context) {
                Poll::Ready(Some(InputPiece::Data(data))) => self.keep(data),
                Poll::Ready(Some(InputPiece::Size(size))) => {
                    self.size = Some(size);
                    return Poll::Ready(Some(InputPiece::Size(size)));
                }
                Poll::Ready(Some(InputPiece::End)) => self.state = SourceState::Ended,
                Poll::Ready(None) => self.state = SourceState::Closed,
                Poll::Pending => {
                    self.waker = Some(context.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }

    /// Keeps what is to be sent now, and no longer what was taken for certain.
    fn keep(&mut self, mut data: Bytes) {
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(INPUT_PIECE_MAX));
            self.kept_bytes += piece.len();
            self.kept.push_back(piece);
        }
        while let Some(oldest) = self.kept.front().map(Bytes::len)
            && self.kept_bytes - oldest >= INPUT_KEPT
            && let Some(oldest) = self.forget_oldest()
        {
            self.place = self.place.behind(oldest.len());
        }
    }

    /// Forgets what a stream before the last one has had.
    fn forget_sent(&mut self) {
        self.place = Place::Unasked;
        while self.number_of_first < self.number_of_new && self.forget_oldest().is_some() {}
    }

    fn forget_oldest(&mut self) -> Option<Bytes> {
        let oldest = self.kept.pop_front()?;
        self.kept_bytes -= oldest.len();
        self.number_of_first += 1;
        Some(oldest)
    }

    /// Holds a server to what it says when a stream has ended well: it has taken all of it, and
    /// the end too.
    fn check(&self, answer: InputAnswer) -> Result<(), ClientError> {
        let is_whole = match (self.place.behind(self.kept_bytes), answer.taken) {
            (Place::At(sent), Some(taken)) => taken >= sent,
            (Place::At(_), None) => false,
            // There is nothing to compare with.
            (Place::Unknown | Place::Unasked, _) => true,
        };
        let is_over = match self.state {
            SourceState::Open => false,
            SourceState::Closed => true,
            SourceState::Ended => answer.ended,
        };
        if answer.closed || (is_over && is_whole) {
            return Ok(());
        }
        Err(ClientError::Protocol(
            "the server has ended the input before it had taken all of it",
        ))
    }
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::identity::Signing;
    use crate::mint::mint_id;
    use crate::transport::Health;
    use InputPiece::{Data, End, Size};
    use futures_util::StreamExt;
    use hyper_util::rt::TokioIo;
    use prn_proto::v1;
    use prn_proto::v1::process_runner_service_server::{
        ProcessRunnerService, ProcessRunnerServiceServer,
    };
    use tokio::io::{AsyncReadExt, DuplexStream, copy, duplex, split};
    use tonic::transport::{Endpoint, Server};
    use tonic::{Code, Request, Response, Status, Streaming};
    use tonic_types::{ErrorDetails, StatusExt};

    fn data(text: &str) -> InputPiece {
        Data(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn input(offset: Option<u64>) -> (mpsc::Sender<InputPiece>, Arc<Mutex<Input>>) {
        let (sender, source) = mpsc::channel(1024);
        (sender, Arc::new(Mutex::new(Input::new(offset, source))))
    }

    fn answer(taken: u64, ended: bool, closed: bool) -> InputAnswer {
        InputAnswer {
            taken: Some(taken),
            ended,
            closed,
        }
    }

    #[tokio::test]
    async fn the_next_stream_sends_again_what_may_be_lost_and_the_old_one_takes_nothing() {
        let (sender, input) = input(Some(0));
        let size = |rows| Size(TerminalSize { rows, columns: 80 });
        for piece in [data("a"), size(1), data("b"), size(2)] {
            sender.send(piece).await.unwrap();
        }
        let turn = Turn::begin(&input);
        let mut old = Box::pin(turn.pieces());
        for piece in [data("a"), size(1), data("b"), size(2)] {
            assert_eq!(old.next().await, Some(piece));
        }
        let waiting = tokio::spawn(async move { old.next().await });
        tokio::task::yield_now().await;
        drop(turn);
        assert_eq!(waiting.await.unwrap(), None, "it is woken");
        sender.send(data("c")).await.unwrap();
        sender.send(End).await.unwrap();
        for _ in 0..2 {
            let turn = Turn::begin(&input);
            let new: Vec<_> = turn.pieces().collect().await;
            assert_eq!(new, [size(2), data("a"), data("b"), data("c"), End]);
        }
        assert!(lock(&input).check(answer(3, true, false)).is_ok());
        assert!(lock(&input).check(answer(2, true, false)).is_err());
        assert!(lock(&input).check(answer(3, false, false)).is_err());
        assert!(lock(&input).check(answer(2, false, true)).is_ok());
    }

    #[tokio::test]
    async fn an_input_that_is_left_open_is_not_ended() {
        let (sender, input) = input(Some(7));
        sender.send(data("a")).await.unwrap();
        assert!(lock(&input).check(answer(7, false, false)).is_err());
        drop(sender);
        let turn = Turn::begin(&input);
        let pieces: Vec<_> = turn.pieces().collect().await;
        assert_eq!(pieces, [data("a")]);
        assert!(lock(&input).check(answer(8, false, false)).is_ok());
    }

    #[tokio::test]
    async fn no_more_is_kept_than_can_be_under_way_and_no_less() {
        let (sender, input) = input(Some(5));
        let pieces = INPUT_KEPT / INPUT_PIECE_MAX + 10;
        let turn = Turn::begin(&input);
        let mut stream = Box::pin(turn.pieces());
        for _ in 0..pieces {
            let piece = Data(vec![0; INPUT_PIECE_MAX].into());
            sender.send(piece).await.unwrap();
            stream.next().await.unwrap();
        }
        let held = lock(&input);
        assert_eq!(held.kept_bytes, INPUT_KEPT);
        let sent = length(pieces * INPUT_PIECE_MAX);
        assert_eq!(held.place, Place::At(5 + sent - length(INPUT_KEPT)));
        assert_eq!(held.number_of_next(), u64::try_from(pieces).unwrap());
    }

    #[tokio::test]
    async fn a_large_piece_is_cut_and_an_empty_one_is_nothing() {
        let (sender, input) = input(Some(0));
        sender.send(data("")).await.unwrap();
        let large = Data(vec![0; INPUT_PIECE_MAX + 1].into());
        sender.send(large).await.unwrap();
        drop(sender);
        let turn = Turn::begin(&input);
        let pieces: Vec<_> = turn.pieces().collect().await;
        let lengths = pieces.iter().map(|piece| match piece {
            Data(data) => data.len(),
            Size(_) | End => 0,
        });
        assert_eq!(lengths.collect::<Vec<_>>(), [INPUT_PIECE_MAX, 1]);
    }

    /// A server with one process, whose input is kept.
    #[derive(Clone, Default)]
    struct Host {
        taken: Arc<Mutex<Vec<u8>>>,
        /// It has forgotten how much that is.
        is_lost: Arc<Mutex<bool>>,
        /// The process closes its input when it has so much.
        closes_at: Option<usize>,
        /// It takes nothing more.
        is_ended: Arc<Mutex<bool>>,
        /// What others write, each when it was asked next where the input is.
        others: Arc<Mutex<VecDeque<&'static [u8]>>>,
        /// Where what others wrote last ends.
        others_end: Arc<Mutex<u64>>,
        /// So many streams are taken over when they have sent a piece.
        takeovers: Arc<Mutex<u32>>,
    }

    fn refused<T>(code: Code, reason: &str) -> Result<T, Status> {
        let details = ErrorDetails::with_error_info(reason, reason::DOMAIN, HashMap::new());
        Err(Status::with_error_details(code, reason, details))
    }

    impl Host {
        fn taken(&self) -> Vec<u8> {
            self.taken.lock().unwrap().clone()
        }

        fn is_lost(&self) -> bool {
            *self.is_lost.lock().unwrap()
        }

        /// How much of the stream is to be skipped.
        fn begin(&self, offset: Option<u64>) -> Result<usize, Status> {
            let taken = length(self.taken().len());
            match offset {
                Some(_) if self.is_lost() => refused(Code::DataLoss, reason::INPUT_LOST),
                Some(offset) if offset > taken || offset < *self.others_end.lock().unwrap() => {
                    refused(Code::OutOfRange, reason::INPUT_OFFSET)
                }
                Some(offset) => Ok(usize::try_from(taken - offset).unwrap()),
                None => Ok(0),
            }
        }

        fn take(&self, data: &[u8]) -> Result<(), Status> {
            if *self.is_ended.lock().unwrap() && !data.is_empty() {
                return refused(Code::FailedPrecondition, reason::INPUT_ENDED);
            }
            self.taken.lock().unwrap().extend_from_slice(data);
            Ok(())
        }

        /// Another writer comes and goes.
        fn be_disturbed(&self) {
            if let Some(data) = self.others.lock().unwrap().pop_front() {
                self.take(data).unwrap();
                *self.others_end.lock().unwrap() = length(self.taken().len());
            }
        }

        fn is_taken_over(&self) -> bool {
            let mut left = self.takeovers.lock().unwrap();
            let is_one = *left > 0;
            *left = left.saturating_sub(1);
            is_one
        }

        /// A connection to it that breaks when so many bytes have gone there.
        async fn connect(&self, breaks_after: u64) -> Client {
            let (near, proxied) = duplex(64 * 1024);
            let (far, server) = duplex(64 * 1024);
            tokio::spawn(async move {
                let ((mut from, mut back), (mut replies, mut to)) = (split(proxied), split(far));
                let mut up = (&mut from).take(breaks_after);
                tokio::select! {
                    _ = copy(&mut up, &mut to) => {}
                    _ = copy(&mut replies, &mut back) => {}
                }
            });
            let service = ProcessRunnerServiceServer::new(self.clone());
            let incoming = stream::iter([Ok::<DuplexStream, std::io::Error>(server)]);
            let incoming = incoming.chain(stream::pending());
            tokio::spawn(Server::builder().serve_with_incoming(service, incoming));
            let mut near = Some(near);
            let connector = tower::service_fn(move |_| {
                let near = near.take().map(TokioIo::new);
                std::future::ready(near.ok_or_else(|| std::io::Error::other("broken")))
            });
            let endpoint = Endpoint::from_static("http://prn");
            let channel = endpoint.connect_with_connector(connector).await.unwrap();
            Client::on(channel, Arc::new(Health::default()), Signing::of_nobody())
        }
    }

    #[tonic::async_trait]
    impl ProcessRunnerService for Host {
        type GetOutputStream = stream::Pending<Result<v1::GetOutputResponse, Status>>;

        async fn send_input(
            &self,
            request: Request<Streaming<v1::SendInputRequest>>,
        ) -> Result<Response<v1::SendInputResponse>, Status> {
            let mut messages = request.into_inner();
            let first = messages.message().await?.unwrap();
            assert_eq!((first.writer.len(), first.data.len()), (32, 0));
            let mut skipped = self.begin(first.offset)?;
            let mut is_closed = false;
            while let Some(message) = messages.message().await? {
                let rest = message.data.get(skipped..).unwrap_or_default();
                skipped = skipped.saturating_sub(message.data.len());
                self.take(rest)?;
                *self.is_ended.lock().unwrap() |= message.end;
                is_closed = self.closes_at.is_some_and(|at| self.taken().len() >= at);
                if is_closed {
                    break;
                }
                if self.is_taken_over() {
                    return refused(Code::Aborted, reason::INPUT_TAKEN_OVER);
                }
            }
            let taken = (!self.is_lost()).then(|| length(self.taken().len()));
            if first.offset.is_none() {
                self.be_disturbed();
            }
            Ok(Response::new(v1::SendInputResponse {
                taken,
                ended: *self.is_ended.lock().unwrap(),
                closed: is_closed,
                ..v1::SendInputResponse::default()
            }))
        }

        async fn start(
            &self,
            _: Request<v1::StartRequest>,
        ) -> Result<Response<v1::StartResponse>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn status(
            &self,
            _: Request<v1::StatusRequest>,
        ) -> Result<Response<v1::StatusResponse>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn stop(
            &self,
            _: Request<v1::StopRequest>,
        ) -> Result<Response<v1::StopResponse>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn list(
            &self,
            _: Request<v1::ListRequest>,
        ) -> Result<Response<v1::ListResponse>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn get_output(
            &self,
            _: Request<v1::GetOutputRequest>,
        ) -> Result<Response<Self::GetOutputStream>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn wait(
            &self,
            _: Request<v1::WaitRequest>,
        ) -> Result<Response<v1::WaitResponse>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn signal_process(
            &self,
            _: Request<v1::SignalProcessRequest>,
        ) -> Result<Response<v1::SignalProcessResponse>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn update_process(
            &self,
            _: Request<v1::UpdateProcessRequest>,
        ) -> Result<Response<v1::UpdateProcessResponse>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn remove_process(
            &self,
            _: Request<v1::RemoveProcessRequest>,
        ) -> Result<Response<v1::RemoveProcessResponse>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn get_usage(
            &self,
            _: Request<v1::GetUsageRequest>,
        ) -> Result<Response<v1::GetUsageResponse>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn get_server(
            &self,
            _: Request<v1::GetServerRequest>,
        ) -> Result<Response<v1::GetServerResponse>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn get_metrics(
            &self,
            _: Request<v1::GetMetricsRequest>,
        ) -> Result<Response<v1::GetMetricsResponse>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn get_receipt(
            &self,
            _: Request<v1::GetReceiptRequest>,
        ) -> Result<Response<v1::GetReceiptResponse>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn check_access(
            &self,
            _: Request<v1::CheckAccessRequest>,
        ) -> Result<Response<v1::CheckAccessResponse>, Status> {
            Err(Status::unimplemented(""))
        }

        type WatchStream = stream::Pending<Result<v1::WatchResponse, Status>>;

        async fn watch(
            &self,
            _: Request<v1::WatchRequest>,
        ) -> Result<Response<Self::WatchStream>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn resize_terminal(
            &self,
            _: Request<v1::ResizeTerminalRequest>,
        ) -> Result<Response<v1::ResizeTerminalResponse>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn create_workspace(
            &self,
            _: Request<v1::CreateWorkspaceRequest>,
        ) -> Result<Response<v1::CreateWorkspaceResponse>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn list_workspaces(
            &self,
            _: Request<v1::ListWorkspacesRequest>,
        ) -> Result<Response<v1::ListWorkspacesResponse>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn remove_workspace(
            &self,
            _: Request<v1::RemoveWorkspaceRequest>,
        ) -> Result<Response<v1::RemoveWorkspaceResponse>, Status> {
            Err(Status::unimplemented(""))
        }
    }

    /// Numbers, so that a byte that is lost or comes twice is found.
    fn numbers(bytes: usize) -> Vec<u8> {
        let numbers = 0..u32::try_from(bytes / 4).unwrap();
        numbers.flat_map(u32::to_be_bytes).collect()
    }

    /// Sends it in pieces of all lengths, and then ends it.
    fn source(bytes: Vec<u8>) -> mpsc::Receiver<InputPiece> {
        let (sender, source) = mpsc::channel(4);
        tokio::spawn(async move {
            let mut rest = Bytes::from(bytes);
            let mut length = 1;
            while !rest.is_empty() {
                let piece = rest.split_to(rest.len().min(length));
                length = length * 7 % INPUT_PIECE_MAX + 1;
                if sender.send(Data(piece)).await.is_err() {
                    return;
                }
            }
            let _closed = sender.send(End).await;
        });
        source
    }

    #[tokio::test]
    async fn over_connections_that_break_each_byte_arrives_once() {
        for (before, offset) in [(0, Some(0)), (12, None)] {
            let host = Host::default();
            host.taken.lock().unwrap().extend(vec![7; before]);
            let bytes = numbers(20 * 1024 * 1024);
            let mut writer =
                InputWriter::new(mint_id().unwrap(), offset, source(bytes.clone())).unwrap();
            for breaks_after in [300, 5_000, 1_000_000, 3_000_000, 9_000_000] {
                let client = host.connect(breaks_after).await;
                let error = writer.feed(&client).await.unwrap_err();
                assert!(error.is_transient(), "{error:?}");
            }
            let answer = writer.feed(&host.connect(u64::MAX).await).await.unwrap();
            assert!(answer.ended && !answer.closed);
            let taken = host.taken();
            assert!(taken.get(before..) == Some(&bytes), "{}", taken.len());
        }
    }

    #[tokio::test]
    async fn a_server_that_has_forgotten_how_much_it_has_is_an_error_of_its_own() {
        let host = Host::default();
        let id = mint_id().unwrap();
        let (sender, source) = mpsc::channel(4);
        let mut writer = InputWriter::new(id, Some(0), source).unwrap();
        sender.send(data("lost")).await.unwrap();
        let broken = host.connect(250).await;
        assert!(writer.feed(&broken).await.unwrap_err().is_transient());
        *host.is_lost.lock().unwrap() = true;
        sender.send(data("meanwhile ")).await.unwrap();
        let client = host.connect(u64::MAX).await;
        let error = writer.feed(&client).await.unwrap_err();
        assert!(matches!(error, ClientError::InputCutOff(_)), "{error:?}");
        assert_eq!(error.refusal().unwrap().reason, reason::INPUT_LOST);
        // A person goes on, knowing that.
        let taken = host.taken();
        writer.forget();
        sender.send(data("new")).await.unwrap();
        drop(sender);
        let answer = writer.feed(&client).await.unwrap();
        assert_eq!(host.taken(), [taken, b"meanwhile new".to_vec()].concat());
        assert!(!answer.ended && !answer.closed);
    }

    #[tokio::test]
    async fn what_is_there_beyond_an_end_that_was_there_before_is_an_error_and_nothing_is_not() {
        let host = Host::default();
        *host.is_ended.lock().unwrap() = true;
        let id = mint_id().unwrap();
        let client = host.connect(u64::MAX).await;
        let mut writer = InputWriter::new(id, None, source(numbers(400))).unwrap();
        let error = writer.feed(&client).await.unwrap_err();
        assert_eq!(error.refusal().unwrap().reason, reason::INPUT_ENDED);
        let mut nothing = InputWriter::new(id, None, source(Vec::new())).unwrap();
        assert!(nothing.feed(&client).await.unwrap().ended);
        assert!(host.taken().is_empty());
    }

    #[tokio::test]
    async fn whoever_writes_between_the_question_and_the_stream_costs_nobody_a_byte() {
        let host = Host::default();
        host.others.lock().unwrap().extend([&b"one "[..], b"two "]);
        let id = mint_id().unwrap();
        let bytes = numbers(2 * 1024 * 1024);
        let mut writer = InputWriter::new(id, None, source(bytes.clone())).unwrap();
        let error = writer.feed(&host.connect(1_000_000).await).await;
        assert!(error.unwrap_err().is_transient());
        let answer = writer.feed(&host.connect(u64::MAX).await).await.unwrap();
        let whole = [b"one two ".to_vec(), bytes].concat();
        assert_eq!(answer.taken, Some(length(whole.len())));
        assert!(host.taken() == whole);
    }

    #[tokio::test]
    async fn others_that_come_in_between_without_end_are_an_error() {
        let host = Host::default();
        host.others.lock().unwrap().extend([&b"other"[..]; 20]);
        let mut writer = InputWriter::new(mint_id().unwrap(), None, source(numbers(4))).unwrap();
        let client = host.connect(u64::MAX).await;
        let error = writer.feed(&client).await.unwrap_err();
        assert_eq!(error.refusal().unwrap().reason, reason::INPUT_OFFSET);
    }

    #[tokio::test]
    async fn a_stream_of_before_that_comes_late_and_takes_over_is_taken_over() {
        let host = Host::default();
        *host.takeovers.lock().unwrap() = 3;
        let bytes = numbers(1024 * 1024);
        let id = mint_id().unwrap();
        let mut writer = InputWriter::new(id, Some(0), source(bytes.clone())).unwrap();
        let client = host.connect(u64::MAX).await;
        assert!(writer.feed(&client).await.unwrap().ended);
        assert!(host.taken() == bytes);
    }

    #[tokio::test]
    async fn who_reads_no_more_ends_the_feeding_at_once() {
        let host = Host {
            closes_at: Some(100_000),
            ..Host::default()
        };
        let id = mint_id().unwrap();
        let mut writer = InputWriter::new(id, Some(0), source(numbers(32 * 1024 * 1024))).unwrap();
        let client = host.connect(u64::MAX).await;
        assert!(writer.feed(&client).await.unwrap().closed);
    }
}
