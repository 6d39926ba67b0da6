//! SendInput and ResizeTerminal, against a supervisor that lends pipes.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use futures_util::stream::unfold;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{pipe2, read};
use prn_ipc_protocol::channel::{self, SupervisorEnd};
use prn_ipc_protocol::message::{
    Ask, Event, FromSupervisor, Input, OutputTotals, ProcessInfo, Refusal, Reply, Request,
    RequestId, TerminalSize,
};
use prn_ipc_protocol::types::ProcessId;
use prn_proto::v1;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{A, B, Client, DEADLINE, Frontend, ended, live, named, principal, reason};

const X: &str = "00000000000000000000000000000001";
const Y: &str = "00000000000000000000000000000002";

fn fed(id: ProcessId, number: u64) -> ProcessInfo {
    let mut info = live(id, number);
    info.spec.input = Input::Pipe;
    info
}

/// The first message of a stream.
fn first(id: ProcessId, writer: &str, offset: Option<u64>, data: &[u8]) -> v1::SendInputRequest {
    v1::SendInputRequest {
        process_identifier: named(id),
        writer: writer.to_owned(),
        offset,
        data: data.to_vec().into(),
        ..Default::default()
    }
}

fn more(data: &[u8]) -> v1::SendInputRequest {
    v1::SendInputRequest {
        data: data.to_vec().into(),
        ..Default::default()
    }
}

fn the_end() -> v1::SendInputRequest {
    v1::SendInputRequest {
        end: true,
        ..Default::default()
    }
}

/// A stream of input, open until it is told to end.
struct Feed {
    pieces: mpsc::UnboundedSender<v1::SendInputRequest>,
    answer: JoinHandle<Result<v1::SendInputResponse, Status>>,
}

impl Feed {
    fn open(client: &Client, messages: impl IntoIterator<Item = v1::SendInputRequest>) -> Self {
        let (pieces, queue) = mpsc::unbounded_channel();
        messages
            .into_iter()
            .for_each(|message| pieces.send(message).unwrap());
        let stream = unfold(queue, |mut queue| async {
            queue.recv().await.map(|message| (message, queue))
        });
        let mut client = client.clone();
        let answer = tokio::spawn(async move {
            let answer = client.send_input(stream).await;
            answer.map(tonic::Response::into_inner)
        });
        Self { pieces, answer }
    }

    fn send(&self, message: v1::SendInputRequest) {
        self.pieces.send(message).unwrap();
    }

    async fn answer(self) -> Result<v1::SendInputResponse, Status> {
        let answer = tokio::time::timeout(DEADLINE, self.answer).await;
        answer.unwrap().unwrap()
    }

    async fn end(self) -> Result<v1::SendInputResponse, Status> {
        drop(self.pieces);
        tokio::time::timeout(DEADLINE, self.answer)
            .await
            .unwrap()
            .unwrap()
    }

    /// Leaves without a word: the stream is reset.
    async fn cancel(self) {
        self.answer.abort();
        drop(self.answer.await);
    }
}

fn said(answer: &v1::SendInputResponse) -> (Option<u64>, bool, bool) {
    (answer.taken, answer.ended, answer.closed)
}

fn code(answer: Result<v1::SendInputResponse, Status>) -> (Code, String) {
    let status = answer.unwrap_err();
    (status.code(), reason(&status))
}

impl Frontend {
    fn input_asked(&mut self) -> RequestId {
        let asked = self.receive();
        let Request::Ask(request, _, Ask::LendInput(_)) = asked else {
            panic!("{asked:?}")
        };
        request
    }

    /// Lends the end of a pipe. What comes out of it.
    fn lend(&mut self, taken: Option<u64>) -> Pipe {
        let request = self.input_asked();
        self.lend_for(request, taken)
    }

    fn lend_for(&self, request: RequestId, taken: Option<u64>) -> Pipe {
        let (theirs, ours) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).unwrap();
        let reply = FromSupervisor::Reply(request, Reply::Input { taken });
        self.send(reply, &[ours.as_fd()]);
        Pipe(theirs)
    }

    #[track_caller]
    fn is_told(&mut self, id: ProcessId, taken: u64) {
        assert_eq!(self.receive(), Request::InputTaken { id, taken });
    }
}

struct Pipe(OwnedFd);

impl Pipe {
    fn is_ended(&self) -> bool {
        read(&self.0, &mut [0]) == Ok(0)
    }

    /// Reads so many bytes, or to the end.
    #[track_caller]
    fn read(&self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut buffer = vec![0; count];
        while bytes.len() < count {
            let mut set = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(DEADLINE).unwrap();
            assert!(poll(&mut set, timeout).unwrap() > 0, "nothing comes");
            let room = buffer.get_mut(bytes.len()..).unwrap();
            let length = read(&self.0, room).unwrap();
            if length == 0 {
                break;
            }
            bytes.extend(room.iter().take(length));
        }
        bytes
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_sizes_and_the_end_come_in_their_order() {
    let mut frontend = Frontend::with(&[fed(A, 1)]);
    let client = frontend.connect().await;
    let feed = Feed::open(&client, [first(A, "", None, b"ab")]);
    let pipe = frontend.lend(Some(40));
    assert_eq!(pipe.read(2), b"ab");
    feed.send(v1::SendInputRequest {
        terminal_size: Some(v1::TerminalSize {
            rows: 5,
            columns: 6,
        }),
        ..more(b"cd")
    });
    let asked = frontend.receive();
    let size = TerminalSize {
        rows: 5,
        columns: 6,
    };
    assert_eq!(
        asked,
        Request::Ask(RequestId(2), principal(), Ask::ResizeTerminal(A, size))
    );
    frontend.reply(RequestId(2), Reply::Done);
    assert_eq!(pipe.read(2), b"cd");
    feed.send(the_end());
    let answer = tokio::spawn(feed.end());
    assert_eq!(
        frontend.receive(),
        Request::Ask(RequestId(3), principal(), Ask::EndInput(A))
    );
    assert!(
        !pipe.is_ended(),
        "the supervisor's end would be the last one"
    );
    // Meanwhile it is still this writer's.
    let other = Feed::open(&client, [first(A, Y, None, b"")]);
    let in_use = (Code::FailedPrecondition, "INPUT_IN_USE".to_owned());
    assert_eq!(code(other.answer().await), in_use);
    frontend.reply(RequestId(3), Reply::Done);
    frontend.is_told(A, 44);
    assert_eq!(pipe.read(1), b"", "the descriptor was closed before");
    let answer = answer.await.unwrap().unwrap();
    assert_eq!(said(&answer), (Some(44), true, false));
    assert_eq!(answer.boot_epoch, super::EPOCH.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_on_where_the_input_is_or_is_told_where_that_is() {
    let mut frontend = Frontend::with(&[fed(A, 1)]);
    let client = frontend.connect().await;
    let feed = Feed::open(&client, [first(A, X, Some(3), b"x"), more(b"xNEW")]);
    let pipe = frontend.lend(Some(5));
    assert_eq!(pipe.read(3), b"NEW");
    let answer = tokio::spawn(feed.end());
    frontend.is_told(A, 8);
    assert_eq!(
        said(&answer.await.unwrap().unwrap()),
        (Some(8), false, false)
    );

    let beyond = Feed::open(&client, [first(A, X, Some(9), b"x")]);
    let _pipe = frontend.lend(Some(8));
    frontend.is_told(A, 8);
    let status = beyond.answer().await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::OutOfRange, "INPUT_OFFSET")
    );
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.metadata["taken"], "8");

    let lost = Feed::open(&client, [first(A, X, Some(8), b"x")]);
    let _pipe = frontend.lend(None);
    frontend.is_told(A, 0);
    assert_eq!(
        code(lost.answer().await),
        (Code::DataLoss, "INPUT_LOST".to_owned())
    );
    let on = Feed::open(&client, [first(A, X, None, b"xy")]);
    let pipe = frontend.lend(None);
    assert_eq!(pipe.read(2), b"xy");
    let answer = tokio::spawn(on.end());
    frontend.is_told(A, 2);
    let answer = answer.await.unwrap().unwrap();
    assert_eq!(said(&answer), (None, false, false), "nobody knows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_writer_sent_meanwhile_is_not_taken_for_ones_own() {
    let mut frontend = Frontend::with(&[fed(A, 1)]);
    let client = frontend.connect().await;
    let lost = Feed::open(&client, [first(A, X, Some(0), b"abc")]);
    assert_eq!(frontend.lend(Some(0)).read(3), b"abc");
    lost.cancel().await;
    frontend.is_told(A, 3);
    // It may have sent all of it, and go on so, as long as nobody else writes.
    let other = Feed::open(&client, [first(A, Y, None, b"")]);
    let pipe = frontend.lend(Some(3));
    let answer = tokio::spawn(other.end());
    frontend.is_told(A, 3);
    assert!(answer.await.unwrap().is_ok());
    drop(pipe);
    let back = Feed::open(&client, [first(A, X, Some(1), b"bcd")]);
    assert_eq!(frontend.lend(Some(3)).read(1), b"d");
    back.cancel().await;
    frontend.is_told(A, 4);
    let other = Feed::open(&client, [first(A, Y, None, b"other")]);
    let pipe = frontend.lend(Some(4));
    assert_eq!(pipe.read(5), b"other");
    other.cancel().await;
    frontend.is_told(A, 9);
    // That one can send again what is its own.
    let other = Feed::open(&client, [first(A, Y, Some(4), b"other!")]);
    let pipe = frontend.lend(Some(9));
    assert_eq!(pipe.read(1), b"!");
    other.cancel().await;
    frontend.is_told(A, 10);
    for (writer, offset) in [(X, 1), (X, 4), (X, 9), ("", 9), (Y, 3)] {
        let back = Feed::open(&client, [first(A, writer, Some(offset), b"efghijklmnop")]);
        let pipe = frontend.lend(Some(10));
        frontend.is_told(A, 10);
        let status = back.answer().await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::OutOfRange, "INPUT_OFFSET"),
            "{writer} {offset}"
        );
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.metadata["taken"], "10");
        assert_eq!(pipe.read(1), b"");
    }
    let back = Feed::open(&client, [first(A, X, Some(10), b"e")]);
    assert_eq!(frontend.lend(Some(10)).read(1), b"e");
    drop(back);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_writer_at_a_time_and_its_newest_stream() {
    let mut frontend = Frontend::with(&[fed(A, 1)]);
    let client = frontend.connect().await;
    // Held up by a process that reads nothing.
    let old = Feed::open(
        &client,
        [first(A, X, None, &[7; 65_536]), more(&[7; 65_536])],
    );
    let pipe = frontend.lend(Some(0));
    let lent = pipe.read(1);
    for other in [Y, ""] {
        let other = Feed::open(&client, [first(A, other, None, b"")]);
        let in_use = (Code::FailedPrecondition, "INPUT_IN_USE".to_owned());
        assert_eq!(code(other.answer().await), in_use);
    }
    let elsewhere = frontend.connect().await;
    let new = Feed::open(&elsewhere, [first(A, X, Some(0), &[7; 10])]);
    let told = frontend.receive();
    let Request::InputTaken { id: A, taken } = told else {
        panic!("{told:?}")
    };
    let found = pipe.read(usize::try_from(taken).unwrap() - 1);
    assert_eq!(u64::try_from(lent.len() + found.len()).unwrap(), taken);
    assert_eq!(pipe.read(1), b"");
    assert_eq!(
        code(old.answer().await),
        (Code::Aborted, "INPUT_TAKEN_OVER".to_owned())
    );
    let pipe = frontend.lend(Some(taken));
    new.send(more(&vec![7; usize::try_from(taken).unwrap() - 10][..]));
    new.send(more(b"!"));
    assert_eq!(pipe.read(1), b"!");
    let answer = tokio::spawn(new.end());
    frontend.is_told(A, taken + 1);
    assert!(answer.await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_feeds_is_told_when_nobody_reads() {
    let mut frontend = Frontend::with(&[fed(A, 1)]);
    let client = frontend.connect().await;
    // Idle.
    let idle = Feed::open(&client, [first(A, X, None, b"abc")]);
    let pipe = frontend.lend(Some(0));
    assert_eq!(pipe.read(3), b"abc");
    drop(pipe);
    assert_eq!(said(&idle.answer().await.unwrap()), (Some(3), false, true));
    frontend.is_told(A, 3);
    // Held up.
    let pieces = [first(A, X, None, &[7; 65_536]), more(&[7; 65_536])];
    let busy = Feed::open(&client, pieces);
    let pipe = frontend.lend(Some(3));
    pipe.read(10);
    drop(pipe);
    let answer = busy.answer().await.unwrap();
    let taken = answer.taken.unwrap();
    assert!(answer.closed && !answer.ended && taken >= 13);
    frontend.is_told(A, taken);
    // From the start.
    let late = Feed::open(&client, [first(A, X, None, b"abc"), the_end()]);
    let request = frontend.input_asked();
    let (theirs, ours) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).unwrap();
    drop(theirs);
    let reply = Reply::Input { taken: Some(20) };
    frontend.send(FromSupervisor::Reply(request, reply), &[ours.as_fd()]);
    assert_eq!(said(&late.answer().await.unwrap()), (Some(20), false, true));
    frontend.is_told(A, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_has_ended_takes_nothing_though_others_have_its_pipe() {
    let mut frontend = Frontend::with(&[fed(A, 1), fed(B, 2)]);
    let client = frontend.connect().await;
    let idle = Feed::open(&client, [first(A, X, None, b"abc")]);
    let pipe = frontend.lend(Some(0));
    assert_eq!(pipe.read(3), b"abc");
    let data = std::iter::repeat_with(|| more(&[7; 65_536])).take(4);
    let held_up = Feed::open(&client, std::iter::once(first(B, X, None, b"")).chain(data));
    let full = frontend.lend(Some(0));
    full.read(1);
    for (id, number) in [(A, 1), (B, 2)] {
        let mut info = ended(id, number, OutputTotals::default());
        info.spec.input = Input::Pipe;
        frontend.event(Event::Process(Box::new(info)));
    }
    assert_eq!(said(&idle.answer().await.unwrap()), (Some(3), false, true));
    let answer = held_up.answer().await.unwrap();
    assert!(answer.closed && !answer.ended);
    for _ in [A, B] {
        let told = frontend.receive();
        assert!(matches!(told, Request::InputTaken { .. }), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_says_nothing_ends() {
    let frontend = Frontend::with(&[fed(A, 1)]);
    let client = frontend.connect().await;
    let silent = Feed::open(&client, []);
    let answer = tokio::time::timeout(2 * DEADLINE, silent.answer).await;
    let status = answer.unwrap().unwrap().unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::DeadlineExceeded, "DEADLINE")
    );
    drop(silent.pieces);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_client_was_lent_is_given_back() {
    let mut frontend = Frontend::with(&[fed(A, 1)]);
    let client = frontend.connect().await;
    let feed = Feed::open(&client, [first(A, X, None, b"abc")]);
    let pipe = frontend.lend(Some(0));
    assert_eq!(pipe.read(3), b"abc");
    feed.cancel().await;
    frontend.is_told(A, 3);
    assert_eq!(pipe.read(1), b"");
    // While the supervisor is asked: the answer comes for nobody, before another one may ask.
    let feed = Feed::open(&client, [first(A, X, None, b"abc")]);
    let request = frontend.input_asked();
    feed.cancel().await;
    let next = Feed::open(&client, [first(A, X, None, b"def")]);
    assert!(!frontend.readable(Duration::from_millis(100)));
    let pipe = frontend.lend_for(request, Some(3));
    frontend.is_told(A, 3);
    assert_eq!(pipe.read(1), b"");
    assert_eq!(frontend.lend(Some(3)).read(3), b"def");
    drop(next);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_that_is_over_takes_what_it_has_and_no_more() {
    let mut ended_input = fed(A, 1);
    ended_input.input_ended = true;
    let mut frontend = Frontend::with(&[ended_input]);
    let client = frontend.connect().await;
    let over = |frontend: &mut Frontend, taken| {
        let request = frontend.input_asked();
        frontend.reply(request, Reply::InputOver { taken });
    };
    // A client that does not know whether its end has come.
    let again = Feed::open(&client, [first(A, X, Some(0), b"abc"), the_end()]);
    over(&mut frontend, Some(3));
    assert_eq!(said(&again.end().await.unwrap()), (Some(3), true, false));
    for offset in [Some(1), None] {
        let more = Feed::open(&client, [first(A, X, offset, b"abc")]);
        over(&mut frontend, Some(3));
        assert_eq!(
            code(more.answer().await),
            (Code::FailedPrecondition, "INPUT_ENDED".to_owned())
        );
    }
    // Of a process that has ended.
    let mut info = ended(A, 1, OutputTotals::default());
    info.spec.input = Input::Pipe;
    frontend.event(Event::Process(Box::new(info)));
    let late = Feed::open(&client, [first(A, X, None, b"abc")]);
    over(&mut frontend, Some(3));
    assert_eq!(said(&late.answer().await.unwrap()), (Some(3), false, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_streams_are_refused_by_field() {
    let mut frontend = Frontend::with(&[fed(A, 1)]);
    let client = frontend.connect().await;
    let field = |answer: Result<v1::SendInputResponse, Status>| {
        let status = answer.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        let faults = status.get_details_bad_request().unwrap().field_violations;
        faults[0].field.clone()
    };
    let empty = Feed::open(&client, []);
    assert_eq!(field(empty.end().await), "process_identifier.id");
    let large = Feed::open(&client, [first(A, "", None, &[7; 65_537])]);
    assert_eq!(field(large.answer().await), "data");
    for (second, named) in [
        (first(A, "", None, b""), "process_identifier"),
        (
            v1::SendInputRequest {
                offset: Some(1),
                ..more(b"")
            },
            "offset",
        ),
    ] {
        let feed = Feed::open(&client, [first(A, "", None, b"ab"), second]);
        let pipe = frontend.lend(Some(0));
        assert_eq!(field(feed.answer().await), named);
        frontend.is_told(A, 2);
        assert_eq!(pipe.read(3), b"ab");
    }
    let after = Feed::open(&client, [first(A, "", None, b""), the_end(), more(b"x")]);
    let _pipe = frontend.lend(Some(0));
    assert_eq!(field(after.answer().await), "end");
    frontend.is_told(A, 0);
    let unknown = Feed::open(&client, [first(super::B, "", None, b"")]);
    let status = unknown.answer().await.unwrap_err();
    assert_eq!(reason(&status), "PROCESS_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_supervisor_refuses_has_a_reason() {
    let mut frontend = Frontend::with(&[live(A, 1)]);
    let mut client = frontend.connect().await;
    let feed = Feed::open(&client, [first(A, "", None, b"")]);
    let request = frontend.input_asked();
    frontend.reply(request, Reply::Refused(Refusal::NoInput));
    assert_eq!(
        code(feed.answer().await),
        (Code::FailedPrecondition, "NO_INPUT".to_owned())
    );
    let request = v1::ResizeTerminalRequest {
        process_identifier: named(A),
        terminal_size: Some(v1::TerminalSize {
            rows: 1,
            columns: 2,
        }),
    };
    for is_terminal in [false, true] {
        let (mut resizer, request) = (client.clone(), request.clone());
        let answer = tokio::spawn(async move { resizer.resize_terminal(request).await });
        let Request::Ask(asked, _, Ask::ResizeTerminal(A, size)) = frontend.receive() else {
            panic!()
        };
        assert_eq!((size.rows, size.columns), (1, 2));
        if is_terminal {
            frontend.reply(asked, Reply::Done);
            assert!(answer.await.unwrap().is_ok());
        } else {
            frontend.reply(asked, Reply::Refused(Refusal::NoTerminal));
            let status = answer.await.unwrap().unwrap_err();
            assert_eq!(reason(&status), "NO_TERMINAL");
        }
    }
    let nothing = v1::ResizeTerminalRequest::default();
    let status = client.resize_terminal(nothing).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inputs_that_nobody_reads_keep_no_other_call_out() {
    let ids: Vec<_> = (0..65)
        .map(|byte| ProcessId::from_bytes([byte; 16]))
        .collect();
    let processes: Vec<_> = ids
        .iter()
        .zip(1..)
        .map(|(id, number)| fed(*id, number))
        .collect();
    let mut frontend = Frontend::with(&processes);
    let mut client = frontend.connect().await;
    let (last, most) = ids.split_last().unwrap();
    let mut pipes = Vec::new();
    let mut feeds = Vec::new();
    for id in most {
        // More than a stream's window, and than its pipe takes.
        let data = std::iter::repeat_with(|| more(&[7; 65_536])).take(16);
        let messages = std::iter::once(first(*id, X, None, b"x")).chain(data);
        feeds.push(Feed::open(&client, messages));
        pipes.push(frontend.lend(Some(0)));
    }
    let excess = Feed::open(&client, [first(*last, X, None, b"x")]);
    assert_eq!(
        code(excess.answer().await),
        (Code::ResourceExhausted, "TOO_MANY_INPUTS".to_owned())
    );
    // Until all windows are full.
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(1) {
        let asked = client.status(v1::StatusRequest {
            process_identifier: named(*last),
        });
        let answer = tokio::time::timeout(DEADLINE, asked).await;
        assert!(answer.expect("a call is kept out").is_ok());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // One that is read goes on, and all of it comes.
    let (feed, pipe) = (feeds.remove(0), pipes.remove(0));
    assert_eq!(pipe.read(16 * 65_536 + 1).len(), 16 * 65_536 + 1);
    let answer = tokio::spawn(feed.end());
    frontend.is_told(ids[0], 16 * 65_536 + 1);
    assert!(answer.await.unwrap().is_ok());
    let feed = Feed::open(&client, [first(*last, X, None, b"x")]);
    assert_eq!(frontend.lend(Some(0)).read(1), b"x");
    drop(feed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_waits_ends_when_its_connection_brings_much_else() {
    let mut frontend = Frontend::with(&[fed(A, 1), fed(B, 2)]);
    let client = frontend.connect().await;
    let data = std::iter::repeat_with(|| more(&[7; 65_536])).take(16);
    let messages = std::iter::once(first(A, X, None, b"x")).chain(data);
    let waits = Feed::open(&client, messages);
    let unread = frontend.lend(Some(0));
    let goes_on = Feed::open(&client, [first(B, X, None, b"")]);
    let pipe = frontend.lend(Some(0));
    let reader = std::thread::spawn(move || (pipe.read(64 << 20).len(), pipe));
    for _ in 0..1024 {
        goes_on.send(more(&[8; 65_536]));
    }
    let stalled = (Code::Unavailable, "INPUT_STALLED".to_owned());
    assert_eq!(code(waits.answer().await), stalled);
    let told = frontend.receive();
    let Request::InputTaken { id: A, taken } = told else {
        panic!("{told:?}")
    };
    let found = unread.read(1 << 20).len();
    assert_eq!(u64::try_from(found).unwrap(), taken);
    let (length, _pipe) = reader.join().unwrap();
    assert_eq!(length, 64 << 20);
    let answer = tokio::spawn(goes_on.end());
    frontend.is_told(B, 64 << 20);
    assert_eq!(
        said(&answer.await.unwrap().unwrap()),
        (Some(64 << 20), false, false)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_feeds_when_the_server_goes_is_told_so() {
    for is_draining in [false, true] {
        let mut frontend = Frontend::with(&[fed(A, 1)]);
        let client = frontend.connect().await;
        let feed = Feed::open(&client, [first(A, X, None, b"abc")]);
        let pipe = frontend.lend(Some(0));
        assert_eq!(pipe.read(3), b"abc");
        if is_draining {
            frontend.event(Event::Draining);
        }
        let (ours, _) = channel::pair().unwrap();
        let theirs = SupervisorEnd::new(ours);
        drop(std::mem::replace(&mut frontend.supervisor, theirs));
        let (reason, status) = if is_draining {
            ("DRAINING", 0)
        } else {
            ("RESTARTING", 1)
        };
        let answer = code(feed.answer().await);
        assert_eq!(answer, (Code::Unavailable, reason.to_owned()));
        assert_eq!(frontend.ended().code(), Some(status));
    }
}
