//! One client's stream of frames, each made when the client has room for it.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prn_api_frontend::log;
use prn_ipc_protocol::message::{OutputTotals, ProcessInfo};
use prn_ipc_protocol::output::{Cursor, Marks, Piece, Reader, Stream};
use prn_ipc_protocol::types::{ProcessId, UnixMicros};
use prn_proto::v1;
use tokio::sync::watch;
use tonic::Status;

use crate::convert::subscribe::{Part, Wanted};
use crate::convert::time::timestamp;
use crate::mirror::Process;
use crate::subscribe::chunks::{CHUNK, Chunks, LEAD};
use crate::subscribe::hub::{Armed, Newest};
use crate::subscribe::seat::{Seat, Standing, Then};
use crate::subscribe::seek::{self, Extent};
use crate::supervisor::Supervisor;
use crate::{convert, errors};

/// A frame says so, at the latest, when so many bytes were skipped: a client that goes on elsewhere
/// then need not begin far back.
const SKIPPED_MAX: u64 = 1 << 20;

/// Between the supervisor's look at the clock and the publication of the bytes that it read then,
/// both halves of the server may have to wait for a CPU. What was read before a time counts as
/// complete this much after it.
const SETTLE: Duration = Duration::from_secs(1);

/// A time to end at.
#[derive(Debug, Clone, Copy)]
struct Until {
    time: UnixMicros,
    /// Output before this offset was searched for it when the stream was opened.
    searched: u64,
}

/// What a stream is made from.
#[derive(Debug)]
pub struct Source {
    /// Whose output.
    pub process: Arc<Process>,
    /// `None` of a process that ended without a byte.
    pub reader: Option<Arc<Reader>>,
    /// For word of more.
    pub supervisor: Supervisor,
    /// What was read for others.
    pub chunks: Arc<Chunks>,
    /// Of this run of the server.
    pub epoch: Arc<str>,
    /// What its client is to the process.
    pub standing: Standing,
}

/// One client's stream of one output.
#[derive(Debug)]
pub struct Subscription {
    source: Source,
    info: watch::Receiver<Arc<ProcessInfo>>,
    newest: watch::Receiver<Newest>,
    cursor: Cursor,
    /// The first frame, if it is to be sent yet.
    begin: Option<v1::OutputBegin>,
    /// Where to end, if not at the end of the process.
    end: Option<u64>,
    /// When to end.
    until: Option<Until>,
    only: Option<Stream>,
    /// Bytes of data that may still be sent.
    room: Option<u64>,
    control_frames: bool,
    /// Bytes that were not asked for, and that no frame has told of yet.
    skipped: u64,
    /// Bytes left out without saying so yet.
    lost: u64,
    seat: Seat,
    number: u64,
    /// Up to where its client was sent what there was.
    sent: u64,
    /// Up to where it may go ahead of others.
    lead: u64,
    done: bool,
    /// It began with the oldest byte kept, and leaves none of them out.
    is_whole: bool,
    /// Its client was sent all of the output, to its end.
    has_all: bool,
}

type Frame = v1::GetOutputResponse;

/// The next frame, or the error that ends the stream, or `None` at the end.
type Next = Option<Result<Frame, Status>>;

/// What a process is known to be, before a look at its output.
#[derive(Debug)]
struct Before {
    ended: Option<OutputTotals>,
    is_forgotten: bool,
    /// The time to end has passed.
    is_past: bool,
}

impl Subscription {
    /// Opens a stream of that part of a process's output.
    ///
    /// # Errors
    /// As GetOutput's, before the first frame.
    pub async fn open(source: Source, wanted: Wanted) -> Result<Self, Status> {
        let part = wanted.part;
        // The process's state before the marks: what has ended by then has published all of its
        // output. The clock before them as well: what was read before a time that has passed is
        // published.
        let info = source.process.changes();
        let ended = info.borrow().end.is_some();
        let number = info.borrow().number;
        let is_past = part.until.is_some_and(has_passed);
        let marks = source
            .marks()
            .map_err(|error| unreadable(source.id(), &error))?;
        if ended && part.from > marks.high {
            return Err(errors::offset_beyond_end(marks.high));
        }
        let Extent { from, end } = source.find(&marks, &part).await?;
        // What has come since is beyond a time that had passed by then.
        let last = (wanted.no_follow || is_past).then_some(marks.high);
        let sent = from.min(marks.high);
        let seat = Seat::take(&source.process, &source.supervisor, sent, source.standing);
        let begin = v1::OutputBegin {
            offset: from,
            until: part.until.map(timestamp),
        };
        Ok(Self {
            newest: source.process.hub.newest(),
            number,
            info,
            cursor: Cursor::at(from),
            begin: (wanted.control_frames && part.is_sought()).then_some(begin),
            end: end.into_iter().chain(last).min(),
            until: part.until.map(|time| Until {
                time,
                searched: marks.high,
            }),
            only: part.only,
            room: wanted.max_bytes,
            control_frames: wanted.control_frames,
            skipped: 0,
            lost: 0,
            seat,
            source,
            sent,
            lead: 0,
            done: false,
            is_whole: part.only.is_none() && from <= marks.low,
            has_all: false,
        })
    }

    /// The next frame, or the error that ends the stream, or `None` at the end.
    pub async fn next(&mut self) -> Next {
        if let Some(begin) = self.begin.take() {
            return Some(Ok(Frame {
                begin: Some(begin),
                ..Frame::default()
            }));
        }
        if self.seat.is_awaited {
            self.seat.arrive(self.sent, Then::ReadsOn);
        }
        while !self.done {
            // Reading never waits, so a fast client could keep this thread for itself.
            tokio::task::coop::consume_budget().await;
            if self.is_to_give_way() {
                tokio::task::yield_now().await;
            }
            if self.source.supervisor.has_been_replaced() {
                return self.fail(errors::restarting());
            }
            // First the process's state and the clock, then its output: if it has ended by now, or
            // the time to end has passed, the end that is read is the last.
            let before = self.look();
            match self.read() {
                Ok(Step::Frame(frame)) => {
                    self.sent = self.cursor.offset;
                    return Some(Ok(frame));
                }
                Ok(Step::Skipped) => {}
                Ok(Step::Reached) => {
                    let ended = self.info.borrow().end.as_ref().map(|end| end.output);
                    return self.finish(ended);
                }
                Ok(Step::Full { high }) => return self.truncate(high),
                Ok(Step::End { .. }) if self.is_full() && before.ended.is_none() => {
                    return self.truncate(self.cursor.offset);
                }
                Ok(Step::End { high }) => {
                    if let ControlFlow::Break(last) = self.at_end(high, &before).await {
                        return last;
                    }
                }
                Err(error) => return self.fail(unreadable(self.source.id(), &error)),
            }
        }
        None
    }

    /// Whether the stream had all that was kept of a process's output, from its beginning, and has
    /// ended with its end: with the end frame, or without control frames and without a loss.
    pub fn has_all(&self) -> bool {
        self.has_all
    }

    fn look(&mut self) -> Before {
        let info = self.info.borrow_and_update();
        let ended = info.end.as_ref().map(|end| end.output);
        drop(info);
        Before {
            ended,
            is_forgotten: *self.newest.borrow_and_update() == Newest::Forgotten,
            is_past: self.until.is_some_and(|until| has_passed(until.time)),
        }
    }

    /// Nothing is beyond the cursor, and the output ends at `high`: waits for more, if there may be
    /// more.
    async fn at_end(&mut self, high: u64, before: &Before) -> ControlFlow<Next> {
        if before.ended.is_some() {
            return ControlFlow::Break(if self.cursor.offset > high {
                self.fail(errors::offset_beyond_end(high))
            } else {
                self.finish(before.ended)
            });
        }
        if before.is_past {
            return ControlFlow::Break(self.finish(None));
        }
        let id = self.source.id();
        // The supervisor tells of the last state alone, and that may be that there is none any
        // more.
        if before.is_forgotten {
            return ControlFlow::Break(self.fail(errors::process_not_found(id)));
        }
        // One may wait for an offset that is still to come.
        self.sent = self.cursor.offset.min(high);
        self.seat.arrive(self.sent, Then::Waits);
        let supervisor = &self.source.supervisor;
        let armed = self
            .source
            .process
            .hub
            .arm(high, || supervisor.watch(id, high));
        if armed == Armed::Waits
            && let Err(status) = self.wait().await
        {
            return ControlFlow::Break(self.fail(status));
        }
        ControlFlow::Continue(())
    }

    fn fail(&mut self, status: Status) -> Next {
        self.done = true;
        Some(Err(status))
    }

    /// Until there may be more.
    async fn wait(&mut self) -> Result<(), Status> {
        // Neither sender can be gone: both belong to the process, which this holds.
        tokio::select! {
            // What the supervisor told before it went comes before its being gone.
            biased;
            _ = self.newest.changed() => Ok(()),
            _ = self.info.changed() => Ok(()),
            () = passed(self.until) => Ok(()),
            () = self.source.supervisor.closed() => Err(errors::restarting()),
        }
    }

    /// Whether others go first, once in a while. Those who are behind then come to where what they
    /// want was read already, and a few readers who began at about the same time share what each of
    /// them would have to read, left to itself.
    fn is_to_give_way(&mut self) -> bool {
        let offset = self.cursor.offset;
        if offset < self.lead || !self.is_shared() {
            return false;
        }
        self.lead = offset.saturating_add(u64::try_from(LEAD).unwrap_or(u64::MAX));
        self.seat.arrive(self.sent, Then::ReadsOn);
        self.seat.is_ahead(self.sent) && !self.source.chunks.has(self.number, offset)
    }

    /// Whether anybody else reads this output.
    fn is_shared(&self) -> bool {
        self.source
            .reader
            .as_ref()
            .is_some_and(|reader| Arc::strong_count(reader) > 1)
    }

    fn read(&mut self) -> io::Result<Step> {
        if self.end.is_some_and(|end| self.cursor.offset >= end) {
            return Ok(Step::Reached);
        }
        let Some(reader) = &self.source.reader else {
            return Ok(Step::End { high: 0 });
        };
        if let Some(only) = self.only {
            let from = self.cursor.offset;
            reader.skip(&mut self.cursor, only)?;
            if self.cursor.offset > from {
                return Ok(self.skip_from(from));
            }
        }
        if self.is_full() {
            let high = reader.marks()?.high;
            return Ok(if self.cursor.offset < high {
                Step::Full { high }
            } else {
                Step::End { high }
            });
        }
        let is_shared = self.is_shared();
        let wanted = self.end.map(|end| end - self.cursor.offset);
        let room = wanted.into_iter().chain(self.room).min();
        let room = room.map_or(CHUNK, |room| {
            usize::try_from(room).unwrap_or(CHUNK).min(CHUNK)
        });
        // Its number is never another process's, as an id may be once it is forgotten.
        let output = (self.number, &**reader);
        let (piece, data) = self
            .source
            .chunks
            .read(output, &mut self.cursor, room, is_shared)?;
        Ok(match piece {
            Piece::Data {
                offset,
                stream,
                time,
                ..
            } => self.data(data, offset, stream, time),
            Piece::Gap { from, to } => self.gap(from, to),
            Piece::End { high } => Step::End { high },
        })
    }

    fn data(&mut self, data: Bytes, offset: u64, stream: Stream, time: UnixMicros) -> Step {
        if self
            .until
            .is_some_and(|until| offset >= until.searched && time >= until.time)
        {
            (self.cursor.offset, self.end) = (offset, Some(offset));
            return Step::Reached;
        }
        // It came after the look at what to skip.
        if self.only.is_some_and(|only| only != stream) {
            return self.skip_from(offset);
        }
        let sent = u64::try_from(data.len()).unwrap_or(u64::MAX);
        self.room = self.room.map(|room| room.saturating_sub(sent));
        let mut frame = Frame {
            data,
            ..Frame::default()
        };
        frame.set_type(convert::enums::shown_stream(stream));
        if self.control_frames {
            frame.offset = offset;
            frame.time = Some(timestamp(time));
        }
        Step::Frame(self.tell_skipped(frame))
    }

    fn gap(&mut self, from: u64, to: u64) -> Step {
        // What lies beyond the end that was asked for is no loss.
        let to = self.end.map_or(to, |end| to.min(end));
        self.cursor.offset = to;
        if self.control_frames {
            let gap = v1::OutputGap { from, to };
            Step::Frame(self.tell_skipped(Frame {
                gap: Some(gap),
                ..Frame::default()
            }))
        } else {
            self.lost += to.saturating_sub(from);
            Step::Skipped
        }
    }

    /// The cursor has moved from `from` past bytes that were not asked for, or past the end.
    fn skip_from(&mut self, from: u64) -> Step {
        self.cursor.offset = self
            .end
            .map_or(self.cursor.offset, |end| self.cursor.offset.min(end));
        if self.control_frames {
            self.skipped += self.cursor.offset.saturating_sub(from);
            if self.skipped >= SKIPPED_MAX {
                return Step::Frame(self.tell_skipped(Frame::default()));
            }
        }
        Step::Skipped
    }

    fn tell_skipped(&mut self, frame: Frame) -> Frame {
        Frame {
            skipped: std::mem::take(&mut self.skipped),
            ..frame
        }
    }

    fn is_full(&self) -> bool {
        self.room == Some(0)
    }

    /// The last frame of a stream that has sent as much as it may, of an output that goes on to `high`
    /// or further.
    fn truncate(&mut self, high: u64) -> Next {
        self.done = true;
        self.seat.arrive(self.cursor.offset, Then::Leaves);
        if !self.control_frames {
            return (self.lost > 0).then(|| Err(errors::output_lost(self.lost)));
        }
        let next_offset = self.cursor.offset;
        let high = self.end.map_or(high, |end| high.min(end));
        let truncated = v1::OutputTruncated {
            next_offset,
            more: next_offset < high,
        };
        Some(Ok(self.tell_skipped(Frame {
            truncated: Some(truncated),
            ..Frame::default()
        })))
    }

    /// The last frame, if there is one.
    fn finish(&mut self, ended: Option<OutputTotals>) -> Option<Result<Frame, Status>> {
        self.done = true;
        // It needs none of it any more.
        self.seat.arrive(self.cursor.offset, Then::Leaves);
        if !self.control_frames {
            let is_end = ended.is_some_and(|ended| self.cursor.offset >= ended.end);
            self.has_all = self.is_whole && is_end && self.lost == 0;
            return (self.lost > 0).then(|| Err(errors::output_lost(self.lost)));
        }
        let end = ended?;
        let rest = end.end.saturating_sub(self.cursor.offset);
        if self.until.is_some() {
            self.skipped += rest;
        } else if rest > 0 {
            // With no_follow, the end that was asked for need not be that of the output.
            return None;
        }
        self.has_all = self.is_whole && rest == 0;
        let end = convert::process::output_end(&self.info.borrow(), &end, &self.source.epoch);
        Some(Ok(self.tell_skipped(Frame {
            end: Some(end),
            ..Frame::default()
        })))
    }
}

impl Source {
    fn id(&self) -> ProcessId {
        self.process.hub.id()
    }

    fn marks(&self) -> io::Result<Marks> {
        match &self.reader {
            Some(reader) => reader.marks(),
            None => Ok(Marks::default()),
        }
    }

    /// Where a part lies, of what there was when the marks were taken.
    async fn find(&self, marks: &Marks, part: &Part) -> Result<Extent, Status> {
        match &self.reader {
            Some(reader) if part.is_sought() => seek::find(&**reader, marks, part)
                .await
                .map_err(|error| unreadable(self.id(), &error)),
            Some(_) | None => Ok(Extent {
                from: part.from,
                end: None,
            }),
        }
    }
}

/// Whether all that was read before `time` is published.
fn has_passed(time: UnixMicros) -> bool {
    wait_for(time).is_zero()
}

fn wait_for(time: UnixMicros) -> Duration {
    Duration::from_micros(time.0)
        .saturating_add(SETTLE)
        .saturating_sub(Duration::from_micros(UnixMicros::now().0))
}

/// Waits until that time has passed; without one, for ever. Of a clock that is set meanwhile, the
/// caller learns when it looks again: early, it waits once more.
async fn passed(until: Option<Until>) {
    match until {
        Some(until) => tokio::time::sleep(wait_for(until.time)).await,
        None => std::future::pending().await,
    }
}

/// What a look at the output comes to.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart at once, and a box would cost each frame an allocation"
)]
enum Step {
    Frame(Frame),
    /// The cursor moved, and nothing is to be said of it yet.
    Skipped,
    /// All that was asked for was sent.
    Reached,
    /// As much was sent as may be, and there is more, up to there.
    Full {
        high: u64,
    },
    /// Nothing is beyond the cursor yet.
    End {
        high: u64,
    },
}

/// The error for a client; the fault itself is for the log.
pub fn unreadable(id: ProcessId, error: &io::Error) -> Status {
    let fields = [("process", &*id.to_string()), ("error", &error.to_string())];
    log::error("its output cannot be read", &fields);
    errors::internal()
}
