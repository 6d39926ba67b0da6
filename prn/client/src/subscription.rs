//! A process's output as a sequence of events.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use prn_proto::Tail;
use prn_proto::id::ProcessId;
use prn_proto::units::When;
use prn_proto::v1::{self, get_output_response::Type};

use crate::error::ClientError;
use crate::frames::Frames;
use crate::process::{Exit, LeftBehind};
use crate::transport::Health;
use crate::wire::{from_wire_time, to_wire_when};

/// What part of the output is wanted. By default all of it, and all that is still to come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutputRequest {
    /// Offset of the first byte. Not together with `since` or `tail`.
    pub from: u64,
    /// End at the last byte captured so far instead of following.
    pub no_follow: bool,
    /// Begin with what the server read then or later.
    pub since: Option<When>,
    /// End before what the server read then or later.
    pub until: Option<When>,
    /// Begin with the end of what the other fields select.
    pub tail: Option<Tail>,
    /// This stream alone.
    pub only: Option<Source>,
    /// A process started with [`crate::OutputPolicy::Follow`] waits for this reader rather than
    /// lose what it was not sent yet.
    pub follower: bool,
    /// End after so many bytes of data: [`OutputStream::truncated`] then says where to go on. With 0 it
    /// says nothing else.
    pub max_bytes: Option<u64>,
}

impl OutputRequest {
    pub(crate) fn message(&self, id: ProcessId) -> Result<v1::GetOutputRequest, ClientError> {
        let only = match self.only {
            None => Type::Unspecified,
            Some(Source::Stdout) => Type::Stdout,
            Some(Source::Stderr) => Type::Stderr,
        };
        let mut message = v1::GetOutputRequest {
            process_identifier: Some(id.into()),
            control_frames: true,
            from_offset: self.from,
            no_follow: self.no_follow,
            since: self.since.map(to_wire_when).transpose()?,
            until: self.until.map(to_wire_when).transpose()?,
            only: only.into(),
            follower: self.follower,
            max_bytes: self.max_bytes,
            ..v1::GetOutputRequest::default()
        };
        if let Some(tail) = self.tail {
            tail.put(&mut message);
        }
        Ok(message)
    }

    /// The server says first where such a stream begins.
    fn asks_where(&self) -> bool {
        self.since.is_some() || self.until.is_some() || self.tail.is_some()
    }
}

/// The stream that a process wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of output, or what is known about it. Both streams share one space of offsets, in the
/// order of capture.
#[derive(Debug, Clone)]
pub enum Event {
    /// Bytes as the process wrote them, cut anywhere.
    Data {
        /// Which stream they were written to.
        source: Source,
        /// Offset of the first one.
        offset: u64,
        /// When the server read them, by its clock.
        time: Option<SystemTime>,
        /// The bytes.
        data: Bytes,
    },
    /// These bytes were dropped before they could be sent.
    Gap {
        /// Offset of the first missing byte.
        from: u64,
        /// Offset just after the last one.
        to: u64,
    },
    /// Nothing follows.
    End(OutputEnd),
}

/// The end of the output: the process tree has ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OutputEnd {
    /// How the main process ended.
    pub exit: Option<Exit>,
    /// Bytes ever written to standard output.
    pub stdout_bytes: u64,
    /// Bytes ever written to standard error.
    pub stderr_bytes: u64,
    /// Offset just after the last byte.
    pub end_offset: u64,
    /// What was still alive after the main process, and was ended.
    pub left_behind: Option<LeftBehind>,
}

/// Output that has ended before its end, for as much was sent as the request allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Truncated {
    /// Offset to go on from.
    pub next_offset: u64,
    /// There is more already. Else it may be written yet.
    pub more: bool,
}

/// A process's output under way.
///
/// Complete or loudly not: bytes that were asked for and are missing come as [`Event::Gap`], even
/// where the server did not announce them, and a stream that stops early is an error.
#[derive(Debug)]
pub struct OutputStream {
    frames: Frames,
    sequence: Sequence,
    epoch: Option<String>,
    health: Arc<Health>,
}

impl OutputStream {
    pub(crate) fn new(
        frames: Frames,
        request: OutputRequest,
        epoch: Option<String>,
        health: Arc<Health>,
    ) -> Self {
        Self {
            frames,
            sequence: Sequence::new(request),
            epoch,
            health,
        }
    }

    /// Random id of the server run that answered: under another one the process no longer exists.
    pub fn boot_epoch(&self) -> Option<&str> {
        self.epoch.as_deref()
    }

    /// What to ask for to go on after a failure: all that was asked for and has not been handed
    /// out.
    pub fn resume(&self) -> OutputRequest {
        self.sequence.resume()
    }

    /// Whether the stream has ended because of [`OutputRequest::max_bytes`], and where to go on then.
    pub fn truncated(&self) -> Option<Truncated> {
        self.sequence.truncated
    }

    /// Offset just after what was handed out.
    pub fn offset(&self) -> u64 {
        self.sequence.next
    }

    /// The next event. `None` after [`Event::End`], or, without following, with a time to end at or
    /// with a most of bytes, after the last byte asked for.
    ///
    /// Cancel safe: an event is either returned or still to come.
    ///
    /// # Errors
    /// [`ClientError::CutOff`] if the stream ends before that; its source tells why.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            if let Some(event) = self.sequence.take() {
                return Ok(Some(event));
            }
            if self.sequence.ended {
                return Ok(None);
            }
            match self.frames.next().await {
                Ok(Some(frame)) => self.sequence.accept(frame)?,
                Ok(None) if !self.sequence.may_end_early() => return Err(self.cut_off(None)),
                Ok(None) => return Ok(None),
                Err(status) => {
                    let error = self.health.explain(status);
                    return Err(self.cut_off(Some(error)));
                }
            }
        }
    }

    fn cut_off(&self, source: Option<ClientError>) -> ClientError {
        ClientError::CutOff {
            offset: self.sequence.next,
            source: source.map(Box::new),
        }
    }
}

/// Puts frames in order and finds what is missing between them.
#[derive(Debug)]
struct Sequence {
    request: OutputRequest,
    /// Where the stream begins. `None`: the server is still to say so.
    first: Option<u64>,
    next: u64,
    /// Events to hand out, the last one first. Never more than two: a gap and what follows it.
    ready: Vec<Event>,
    ended: bool,
    truncated: Option<Truncated>,
}

impl Sequence {
    fn new(request: OutputRequest) -> Self {
        let first = (!request.asks_where()).then_some(request.from);
        Self {
            request,
            first,
            next: request.from,
            ready: Vec::with_capacity(2),
            ended: false,
            truncated: None,
        }
    }

    fn resume(&self) -> OutputRequest {
        match self.first {
            None => self.request,
            // Applied again, they would leave out what has come meanwhile.
            Some(_) => OutputRequest {
                from: self.next,
                since: None,
                tail: None,
                ..self.request
            },
        }
    }

    fn may_end_early(&self) -> bool {
        self.first.is_some() && (self.request.no_follow || self.request.until.is_some())
    }

    fn take(&mut self) -> Option<Event> {
        let event = self.ready.pop()?;
        if let (Event::Data { data, .. }, Some(room)) = (&event, &mut self.request.max_bytes) {
            *room = room.saturating_sub(length(data));
        }
        self.next = match &event {
            Event::Data { offset, data, .. } => offset.saturating_add(length(data)),
            Event::Gap { to, .. } => *to,
            Event::End(end) => end.end_offset.max(self.next),
        };
        Some(event)
    }

    fn accept(&mut self, frame: v1::GetOutputResponse) -> Result<(), ClientError> {
        if let Some(begin) = frame.begin {
            return self.begin(begin);
        }
        let Some(first) = self.first else {
            return Err(ClientError::Protocol(
                "the server does not know --since, --until and tails: it is too old",
            ));
        };
        if frame.skipped > 0 {
            self.skip(frame.skipped, frame.end.is_some())?;
        }
        if let Some(truncated) = frame.truncated {
            self.truncate(truncated)
        } else if let Some(gap) = frame.gap {
            self.gap(gap)
        } else if let Some(end) = frame.end {
            self.end(end, first)
        } else if frame.data.is_empty() {
            Ok(())
        } else {
            self.data(frame)
        }
    }

    /// Output that was not asked for.
    fn skip(&mut self, bytes: u64, is_end: bool) -> Result<(), ClientError> {
        let may_skip = self.request.only.is_some() || (self.request.until.is_some() && is_end);
        if !may_skip {
            return Err(ClientError::Protocol(
                "the server left out output that was asked for",
            ));
        }
        self.next = self.next.saturating_add(bytes);
        Ok(())
    }

    fn truncate(&mut self, truncated: v1::OutputTruncated) -> Result<(), ClientError> {
        if self.request.max_bytes != Some(0) || truncated.next_offset != self.next {
            return Err(ClientError::Protocol(
                "the server ended the output in the wrong place",
            ));
        }
        self.ended = true;
        self.truncated = Some(Truncated {
            next_offset: truncated.next_offset,
            more: truncated.more,
        });
        Ok(())
    }

    fn gap(&mut self, gap: v1::OutputGap) -> Result<(), ClientError> {
        if gap.from != self.next || gap.to <= gap.from {
            return Err(ClientError::Protocol(
                "the server announced a gap in the wrong place",
            ));
        }
        self.ready.push(Event::Gap {
            from: gap.from,
            to: gap.to,
        });
        Ok(())
    }

    fn end(&mut self, end: v1::OutputEnd, first: u64) -> Result<(), ClientError> {
        self.ended = true;
        self.ready.push(Event::End(OutputEnd {
            exit: end.exit_cause.map(Exit::from),
            stdout_bytes: end.stdout_bytes,
            stderr_bytes: end.stderr_bytes,
            end_offset: end.end_offset,
            left_behind: end.left_behind.map(LeftBehind::from),
        }));
        // Someone who asked for more than there ever was has missed nothing.
        if self.next == first {
            self.fill(end.end_offset.max(first))
        } else {
            self.fill(end.end_offset)
        }
    }

    fn data(&mut self, frame: v1::GetOutputResponse) -> Result<(), ClientError> {
        let source = match Type::try_from(frame.r#type) {
            Ok(Type::Stdout) => Source::Stdout,
            Ok(Type::Stderr) => Source::Stderr,
            Ok(Type::Unspecified) | Err(_) => {
                return Err(ClientError::Protocol(
                    "the server sent output of an unknown stream",
                ));
            }
        };
        if self.request.only.is_some_and(|only| only != source) {
            return Err(ClientError::Protocol(
                "the server sent a stream that was not asked for: it is too old",
            ));
        }
        let (offset, data) = (frame.offset, frame.data);
        let room = self.request.max_bytes;
        if room.is_some_and(|room| length(&data) > room) {
            return Err(ClientError::Protocol(
                "the server sent more output than was asked for: it is too old",
            ));
        }
        self.ready.push(Event::Data {
            source,
            offset,
            time: frame.time.and_then(from_wire_time),
            data,
        });
        self.fill(offset)
    }

    fn begin(&mut self, begin: v1::OutputBegin) -> Result<(), ClientError> {
        let is_chosen = self.request.since.is_some() || self.request.tail.is_some();
        if self.first.is_some() || (!is_chosen && begin.offset != self.request.from) {
            return Err(ClientError::Protocol(
                "the server began a stream in the wrong place",
            ));
        }
        (self.first, self.next) = (Some(begin.offset), begin.offset);
        // A span before now would end later, asked for again.
        if self.request.until.is_some() {
            let until = begin.until.and_then(from_wire_time);
            let until = until.ok_or(ClientError::Protocol(
                "the server does not say when the output is to end",
            ))?;
            self.request.until = Some(When::At(until));
        }
        Ok(())
    }

    /// Puts a gap before what is ready and begins at `offset`, if there is one.
    fn fill(&mut self, offset: u64) -> Result<(), ClientError> {
        if offset < self.next {
            return Err(ClientError::Protocol(
                "the server sent output that it had sent already",
            ));
        }
        if offset > self.next {
            self.ready.push(Event::Gap {
                from: self.next,
                to: offset,
            });
        }
        Ok(())
    }
}

fn length(data: &Bytes) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prn_proto::v1::output_time::At;

    use super::*;

    fn data(offset: u64, bytes: &'static str) -> v1::GetOutputResponse {
        v1::GetOutputResponse {
            r#type: Type::Stdout.into(),
            data: bytes.into(),
            offset,
            ..Default::default()
        }
    }

    fn gap(from: u64, to: u64) -> v1::GetOutputResponse {
        v1::GetOutputResponse {
            gap: Some(v1::OutputGap { from, to }),
            ..Default::default()
        }
    }

    fn end(end_offset: u64) -> v1::GetOutputResponse {
        let end = v1::OutputEnd {
            end_offset,
            ..Default::default()
        };
        v1::GetOutputResponse {
            end: Some(end),
            ..Default::default()
        }
    }

    fn events(from: u64, frames: Vec<v1::GetOutputResponse>) -> Result<Vec<String>, ClientError> {
        let mut sequence = Sequence::new(OutputRequest {
            from,
            ..OutputRequest::default()
        });
        events_of(&mut sequence, frames)
    }

    fn events_of(
        sequence: &mut Sequence,
        frames: Vec<v1::GetOutputResponse>,
    ) -> Result<Vec<String>, ClientError> {
        let mut seen = Vec::new();
        for frame in frames {
            sequence.accept(frame)?;
            while let Some(event) = sequence.take() {
                seen.push(match event {
                    Event::Data { offset, data, .. } => format!("{offset}+{}", data.len()),
                    Event::Gap { from, to } => format!("gap {from}..{to}"),
                    Event::End(end) => format!("end {}", end.end_offset),
                });
            }
        }
        Ok(seen)
    }

    fn begin(offset: u64, until: Option<i64>) -> v1::GetOutputResponse {
        let until = until.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 });
        v1::GetOutputResponse {
            begin: Some(v1::OutputBegin { offset, until }),
            ..Default::default()
        }
    }

    fn after(skipped: u64, frame: v1::GetOutputResponse) -> v1::GetOutputResponse {
        v1::GetOutputResponse { skipped, ..frame }
    }

    #[test]
    fn spans_are_sent_as_spans_and_not_as_this_clock_would_have_them() {
        let since = Some(When::Ago(Duration::from_secs(600)));
        let until = Some(When::At(
            SystemTime::UNIX_EPOCH + Duration::from_millis(1500),
        ));
        let request = OutputRequest {
            since,
            until,
            tail: Some(Tail::Lines(0)),
            ..OutputRequest::default()
        };
        let id = "00d2310e7b9a462a5d88c3a0ff4e2d9b".parse().unwrap();
        let message = request.message(id).unwrap();
        let ago = At::Ago(prost_types::Duration {
            seconds: 600,
            nanos: 0,
        });
        assert_eq!(message.since, Some(v1::OutputTime { at: Some(ago) }));
        let time = At::Time(prost_types::Timestamp {
            seconds: 1,
            nanos: 500_000_000,
        });
        assert_eq!(message.until, Some(v1::OutputTime { at: Some(time) }));
        assert_eq!((message.tail_lines, message.tail_bytes), (Some(0), None));
        let default = OutputRequest::default().message(id).unwrap();
        let seed = v1::GetOutputRequest {
            process_identifier: Some(id.into()),
            control_frames: true,
            ..v1::GetOutputRequest::default()
        };
        assert_eq!(default, seed);
    }

    #[test]
    fn a_tail_begins_where_the_server_says_and_goes_on_without_being_a_tail() {
        let request = OutputRequest {
            tail: Some(Tail::Lines(1)),
            until: Some(When::Ago(Duration::ZERO)),
            only: Some(Source::Stdout),
            ..OutputRequest::default()
        };
        let mut sequence = Sequence::new(request);
        assert_eq!(sequence.resume(), request, "nothing has begun yet");
        assert!(!sequence.may_end_early());
        assert_eq!(
            events_of(&mut sequence, vec![begin(100, Some(7))]).unwrap(),
            [""; 0]
        );
        let until = Some(When::At(SystemTime::UNIX_EPOCH + Duration::from_secs(7)));
        let resumed = |from| OutputRequest {
            from,
            tail: None,
            until,
            ..request
        };
        assert_eq!(sequence.resume(), resumed(100));
        let frames = vec![
            data(100, "ab"),
            after(8, data(110, "c")),
            after(5, gap(116, 120)),
            after(2, data(122, "d")),
        ];
        assert_eq!(
            events_of(&mut sequence, frames).unwrap(),
            ["100+2", "110+1", "gap 116..120", "122+1"]
        );
        assert_eq!(sequence.resume(), resumed(123));
        assert!(sequence.may_end_early());
        assert_eq!(
            events_of(&mut sequence, vec![after(7, end(130))]).unwrap(),
            ["end 130"]
        );
    }

    #[test]
    fn a_server_that_leaves_out_what_was_asked_for_is_found_out() {
        assert!(events(0, vec![after(1, data(1, "a"))]).is_err());
        assert!(events(0, vec![begin(0, None)]).is_err());
        let until = OutputRequest {
            until: Some(When::Ago(Duration::ZERO)),
            from: 3,
            ..OutputRequest::default()
        };
        assert!(events_of(&mut Sequence::new(until), vec![begin(4, Some(0))]).is_err());
        assert!(events_of(&mut Sequence::new(until), vec![begin(3, None)]).is_err());
        assert!(
            events_of(
                &mut Sequence::new(until),
                vec![begin(3, Some(0)), after(1, data(4, "a"))]
            )
            .is_err()
        );
        let tail = OutputRequest {
            tail: Some(Tail::Bytes(1)),
            ..OutputRequest::default()
        };
        assert!(
            events_of(&mut Sequence::new(tail), vec![data(0, "abc")]).is_err(),
            "it knows no tails"
        );
        let only = OutputRequest {
            only: Some(Source::Stderr),
            ..OutputRequest::default()
        };
        assert!(
            events_of(&mut Sequence::new(only), vec![data(0, "abc")]).is_err(),
            "it knows no choice of streams"
        );
        assert_eq!(
            events_of(&mut Sequence::new(only), vec![after(2, end(5))]).unwrap(),
            ["gap 2..5", "end 5"]
        );
    }

    #[test]
    fn output_without_loss_has_no_gap() {
        assert_eq!(
            events(0, vec![data(0, "ab"), data(2, "c"), end(3)]).unwrap(),
            ["0+2", "2+1", "end 3"]
        );
        assert_eq!(
            events(5, vec![data(5, "ab"), end(7)]).unwrap(),
            ["5+2", "end 7"]
        );
        assert_eq!(events(0, vec![end(0)]).unwrap(), ["end 0"]);
        assert_eq!(events(9, vec![end(7)]).unwrap(), ["end 7"]);
    }

    #[test]
    fn missing_bytes_are_a_gap_whether_announced_or_not() {
        assert_eq!(
            events(0, vec![gap(0, 4), data(4, "ab"), end(6)]).unwrap(),
            ["gap 0..4", "4+2", "end 6"]
        );
        assert_eq!(
            events(0, vec![data(4, "ab"), end(9)]).unwrap(),
            ["gap 0..4", "4+2", "gap 6..9", "end 9"]
        );
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        assert!(events(0, vec![data(0, "abc"), data(2, "c")]).is_err());
        assert!(events(0, vec![data(0, "abc"), end(2)]).is_err());
        assert!(events(0, vec![gap(1, 4)]).is_err());
        assert!(events(0, vec![gap(0, 0)]).is_err());
        let unknown = v1::GetOutputResponse {
            data: "x".into(),
            ..Default::default()
        };
        assert!(events(0, vec![unknown]).is_err());
    }

    #[test]
    fn what_is_left_of_a_most_of_bytes_is_what_is_asked_for_again() {
        let truncated = |next_offset| v1::GetOutputResponse {
            truncated: Some(v1::OutputTruncated {
                next_offset,
                more: true,
            }),
            ..Default::default()
        };
        let bounded = || {
            Sequence::new(OutputRequest {
                max_bytes: Some(5),
                ..OutputRequest::default()
            })
        };
        let mut sequence = bounded();
        events_of(&mut sequence, vec![data(0, "abc")]).unwrap();
        assert_eq!(sequence.resume().max_bytes, Some(2));
        assert!(!sequence.may_end_early(), "it was cut off");
        events_of(&mut sequence, vec![data(3, "de"), truncated(5)]).unwrap();
        let end = sequence.truncated.unwrap();
        assert!(sequence.ended && end.next_offset == 5 && end.more);
        for bad in [
            vec![data(0, "abc"), truncated(3)],
            vec![data(0, "abcde"), truncated(4)],
            vec![data(0, "abc"), data(3, "def")],
        ] {
            assert!(events_of(&mut bounded(), bad).is_err());
        }
    }
}
