//! Output for subscribers: replay and live are the same read at a cursor.
//!
//! A process's [`Hub`] opens its output once, when the first subscriber comes, and closes it when
//! the last one goes. A [`Subscription`] is a cursor and no buffer: its client's HTTP/2 window
//! pulls the next chunk, so a stalled client costs nothing and delays nobody. Nothing polls: while
//! somebody waits at the end, one Watch is armed at the supervisor, whose event wakes those who
//! wait.

pub mod body;
pub mod chunks;
pub mod seek;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use prn_ipc_protocol::message::{OutputTotals, Overflow, ProcessInfo};
use prn_ipc_protocol::output::{Cursor, Marks, Piece, Reader, Stream};
use prn_ipc_protocol::types::{ProcessId, UnixMicros};
use prn_proto::v1;
use tokio::sync::watch;
use tonic::Status;

use crate::clients::Client;
use crate::mirror::Process;
use crate::output::chunks::{CHUNK, Chunks, LEAD, NEAR, TOGETHER};
use crate::output::seek::{Part, Place};
use crate::supervisor::{Failure, Supervisor};
use crate::{convert, errors, log};

/// A frame says so, at the latest, when so many bytes were skipped: a client that goes on elsewhere
/// then need not begin far back.
const SKIPPED_MAX: u64 = 1 << 20;

/// Between the supervisor's look at the clock and the publication of the bytes that it read then,
/// both halves of the server may have to wait for a CPU. What was read before a time counts as
/// complete this much after it.
const SETTLE: Duration = Duration::from_secs(1);

/// About what it takes to wake a follower and send it a line.
const SERVING: Duration = Duration::from_micros(10);

/// Nobody waits for longer than this for a line, however many follow, and nobody for less than a
/// timer can tell.
const PAUSE_MAX: Duration = Duration::from_millis(50);
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// Followers of a process that were told of fewer bytes than this, less than that ago, wait as long
/// as a timer can tell: short lines are then sent many at a time, and a line that comes alone at
/// once. (The supervisor's reads do the same.)
const BUSY_BYTES: u64 = 1024 * 1024;
const BUSY: Duration = Duration::from_micros(if cfg!(feature = "unmoderated") {
    0
} else {
    200
});

/// What the subscribers of one process share.
pub struct Hub {
    id: ProcessId,
    /// Open while anybody subscribes.
    reader: tokio::sync::Mutex<Weak<Reader>>,
    /// The `seen` of the Watch whose event has not come yet.
    armed: Mutex<Option<u64>>,
    /// What the last event told.
    newest: watch::Sender<Newest>,
    /// When that was told to followers, and how much more it was than before.
    told: Mutex<Option<(Instant, u64)>>,
    readers: Mutex<Readers>,
}

/// Up to where each subscriber has been sent the output, lately, and all of them.
#[derive(Default)]
struct Readers {
    places: BTreeMap<u64, Whereabouts>,
    last: u64,
    taken: u64,
}

/// Where a subscriber is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Whereabouts {
    offset: u64,
    /// The process waits for it.
    is_awaited: bool,
}

impl Readers {
    /// Where all that are awaited have arrived, if that is `step` further than what was told last.
    fn advance(&mut self, step: u64) -> Option<u64> {
        let awaited = self.places.values().filter(|place| place.is_awaited);
        let all = awaited.map(|place| place.offset).min()?;
        if all <= self.taken || all - self.taken < step {
            return None;
        }
        self.taken = all;
        Some(all)
    }

    fn are_any_awaited(&self) -> bool {
        self.places.values().any(|place| place.is_awaited)
    }

    /// Whether there are a few, and one of them is not at `offset` yet, but near it.
    fn are_some_behind(&self, offset: u64) -> bool {
        let is_behind =
            |place: &Whereabouts| (1..=NEAR).contains(&offset.saturating_sub(place.offset));
        self.places.len() <= TOGETHER && self.places.values().any(is_behind)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Newest {
    /// The output goes on, and ends there.
    End(u64),
    /// The process has ended and is forgotten.
    Forgotten,
}

#[derive(Debug, PartialEq, Eq)]
enum Armed {
    /// An event will come if the output goes on.
    Waits,
    /// Somebody has seen a later end already.
    Stale,
}

impl Hub {
    /// Without subscribers.
    pub fn new(id: ProcessId) -> Self {
        Self {
            id,
            reader: tokio::sync::Mutex::default(),
            armed: Mutex::default(),
            newest: watch::Sender::new(Newest::End(0)),
            told: Mutex::default(),
            readers: Mutex::default(),
        }
    }

    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The supervisor's event: the end lies at `end` now.
    pub fn advance(&self, end: u64) {
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // What was held back must not undo that the process is forgotten.
        self.newest.send_if_modified(|newest| {
            let Newest::End(before) = newest else {
                return false;
            };
            let told = Some((Instant::now(), end.saturating_sub(*before)));
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
            *before = end;
            true
        });
    }

    /// How long to hold such an event back, so that followers are not woken for each of many lines,
    /// nor more often than so many can be served. Each line would be a frame of its own for each of
    /// them, and clients end a connection on which too many small frames wait for them.
    pub fn pause(&self) -> Duration {
        let followers = u32::try_from(self.newest.receiver_count()).unwrap_or(u32::MAX);
        let pause = SERVING.saturating_mul(followers).min(PAUSE_MAX);
        let told = *self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((told, bytes)) = told.map(|(told, bytes)| (told.elapsed(), bytes)) else {
            return Duration::ZERO;
        };
        if pause >= PAUSE_MIN {
            pause.saturating_sub(told)
        } else if told < BUSY && bytes < BUSY_BYTES {
            PAUSE_MIN
        } else {
            Duration::ZERO
        }
    }

    /// The supervisor's event: the process has ended and is forgotten.
    pub fn forget(&self) {
        self.newest.send_replace(Newest::Forgotten);
    }

    /// The descriptors: who comes first opens them, and others wait for that.
    async fn reader(
        &self,
        supervisor: &Supervisor,
        client: &Client,
    ) -> Result<Arc<Reader>, Failure> {
        if let Ok(slot) = self.reader.try_lock()
            && let Some(reader) = slot.upgrade()
        {
            return Ok(reader);
        }
        // Before the lock: who has it waits for the supervisor, and never for other calls of its
        // own client.
        let turn = supervisor.subscription(client).await?;
        let mut slot = self.reader.lock().await;
        if let Some(reader) = slot.upgrade() {
            return Ok(reader);
        }
        let reader = Arc::new(supervisor.subscribe(turn, self.id).await?);
        *slot = Arc::downgrade(&reader);
        Ok(reader)
    }

    /// Sees to it that an event comes when the end goes beyond `seen`.
    fn arm(&self, seen: u64, supervisor: &Supervisor) -> Armed {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        match *armed {
            Some(other) if other > seen => Armed::Stale,
            // Its event is due, or due as soon as ours would be.
            Some(_) => Armed::Waits,
            None => {
                *armed = Some(seen);
                supervisor.watch(self.id, seen);
                Armed::Waits
            }
        }
    }
}

/// A subscriber among others.
struct Seat {
    process: Arc<Process>,
    supervisor: Supervisor,
    number: u64,
    /// Whom the process waits for.
    awaits: Awaits,
    /// The process waits for this one.
    is_awaited: bool,
    /// If it waits: the supervisor is told when all whom it waits for have gone on by this much, or
    /// wait themselves.
    step: u64,
}

/// What a subscriber does that has come so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// There is more.
    ReadsOn,
    /// There may be more later.
    Waits,
    /// It has all that it wants.
    Leaves,
}

/// Whom a process waits for that writes more than is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaits {
    Nobody,
    All,
    Followers,
}

impl Seat {
    fn take(process: &Arc<Process>, supervisor: &Supervisor, from: u64, is_follower: bool) -> Self {
        let output = process.info().spec.output;
        let awaits = match output.overflow {
            Overflow::DropOldest | Overflow::Kill => Awaits::Nobody,
            Overflow::Wait => Awaits::All,
            Overflow::Follow(_) => Awaits::Followers,
        };
        let is_awaited = match awaits {
            Awaits::Nobody => false,
            Awaits::All => true,
            Awaits::Followers => is_follower,
        };
        let mut readers = process.hub.readers();
        readers.last += 1;
        let number = readers.last;
        let is_first = awaits == Awaits::Followers && is_awaited && !readers.are_any_awaited();
        let whereabouts = Whereabouts {
            offset: from,
            is_awaited,
        };
        readers.places.insert(number, whereabouts);
        if is_first {
            // Before the lock is given back: what is told of others comes in its order.
            supervisor.follow(process.hub.id);
        }
        drop(readers);
        Self {
            process: Arc::clone(process),
            supervisor: supervisor.clone(),
            number,
            awaits,
            is_awaited,
            step: output.max / 4,
        }
    }

    /// All before `offset` is on its way to the client.
    fn arrive(&self, offset: u64, then: Then) {
        let mut readers = self.process.hub.readers();
        let whereabouts = Whereabouts {
            offset,
            is_awaited: self.is_awaited,
        };
        readers.places.insert(self.number, whereabouts);
        if self.is_awaited {
            let step = match then {
                Then::ReadsOn => self.step,
                // Not for each line: the process has room for many more.
                Then::Waits if !self.process.info().waits => self.step / 4,
                Then::Waits | Then::Leaves => 0,
            };
            self.tell(readers.advance(step));
        }
    }

    /// Whether one of a few others had not come so far, when it said so.
    fn is_ahead(&self, offset: u64) -> bool {
        self.process.hub.readers().are_some_behind(offset)
    }

    fn tell(&self, taken: Option<u64>) {
        if let Some(taken) = taken {
            self.supervisor.taken(self.process.hub.id, taken);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut readers = self.process.hub.readers();
        readers.places.remove(&self.number);
        if !self.is_awaited {
            return;
        }
        if self.awaits == Awaits::Followers && !readers.are_any_awaited() {
            self.supervisor.unfollow(self.process.hub.id);
        }
        // It may have been the one that the others were ahead of.
        self.tell(readers.advance(0));
    }
}

/// What a client asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// Which part of the output.
    pub part: Part,
    /// Gap, begin and end frames, offset and time of data, and what was skipped.
    pub control_frames: bool,
    /// End at what is there already.
    pub no_follow: bool,
    /// The process waits for this client, if it waits for any.
    pub is_follower: bool,
}

/// A time to end at.
#[derive(Debug, Clone, Copy)]
struct Until {
    time: UnixMicros,
    /// Output before this offset was searched for it when the stream was opened.
    searched: u64,
}

/// One client's place in one output.
pub struct Subscription {
    process: Arc<Process>,
    /// `None` of a process that ended without a byte.
    reader: Option<Arc<Reader>>,
    supervisor: Supervisor,
    chunks: Arc<Chunks>,
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
    control_frames: bool,
    /// Bytes that were not asked for, and that no frame has told of yet.
    skipped: u64,
    /// Bytes left out without saying so yet.
    lost: u64,
    epoch: Arc<str>,
    seat: Seat,
    number: u64,
    /// Up to where its client was sent what there was.
    sent: u64,
    /// Up to where it may go ahead of others.
    lead: u64,
    done: bool,
}

type Frame = v1::GetOutputResponse;

impl Subscription {
    /// Opens a process's output.
    ///
    /// # Errors
    /// As GetOutput's, before the first frame.
    pub async fn open(
        process: Arc<Process>,
        supervisor: Supervisor,
        client: &Client,
        chunks: Arc<Chunks>,
        wanted: Wanted,
        epoch: Arc<str>,
    ) -> Result<Self, Status> {
        let id = process.hub.id;
        // A process that ended without a byte has nothing to be opened.
        let is_silent = process
            .info()
            .end
            .as_ref()
            .is_some_and(|end| end.output.end == 0);
        let reader = if is_silent {
            None
        } else {
            Some(process.hub.reader(&supervisor, client).await)
        };
        let reader = reader
            .transpose()
            .map_err(|failure| errors::failed(failure, id, None))?;
        let unreadable = |error| unreadable(id, &error);
        // The process's state before the marks: what has ended by then has published all of its
        // output. The clock before them as well: what was read before a time that has passed is
        // published.
        let info = process.changes();
        let ended = info.borrow().end.is_some();
        let part = wanted.part;
        let is_past = part.until.is_some_and(has_passed);
        let marks = reader
            .as_ref()
            .map_or_else(|| Ok(Marks::default()), |reader| reader.marks())
            .map_err(unreadable)?;
        if ended && part.from > marks.high {
            return Err(errors::offset_beyond_end(marks.high));
        }
        let asks_where = part.since.is_some() || part.until.is_some() || part.tail.is_some();
        let place = match &reader {
            Some(reader) if asks_where => seek::find(&**reader, &marks, &part)
                .await
                .map_err(unreadable)?,
            Some(_) | None => Place {
                from: part.from,
                end: None,
            },
        };
        // What has come since is beyond a time that had passed by then.
        let last = (wanted.no_follow || is_past).then_some(marks.high);
        let end = place.end.into_iter().chain(last).min();
        let (seat, number) = (
            Seat::take(
                &process,
                &supervisor,
                place.from.min(marks.high),
                wanted.is_follower,
            ),
            process.info().number,
        );
        let begin = v1::OutputBegin {
            offset: place.from,
            until: part.until.map(convert::timestamp),
        };
        Ok(Self {
            info,
            newest: process.hub.newest.subscribe(),
            process,
            reader,
            supervisor,
            chunks,
            cursor: Cursor::at(place.from),
            begin: (wanted.control_frames && asks_where).then_some(begin),
            end,
            until: part.until.map(|time| Until {
                time,
                searched: marks.high,
            }),
            only: part.only,
            control_frames: wanted.control_frames,
            skipped: 0,
            lost: 0,
            epoch,
            seat,
            number,
            sent: place.from.min(marks.high),
            lead: 0,
            done: false,
        })
    }

    /// The next frame, or the error that ends the stream, or `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Frame, Status>> {
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
            // First the process's state and the clock, then its output: if it has ended by now, or
            // the time to end has passed, the end that is read is the last.
            let ended = self
                .info
                .borrow_and_update()
                .end
                .as_ref()
                .map(|end| end.output);
            let forgotten = *self.newest.borrow_and_update() == Newest::Forgotten;
            let is_past = self.until.is_some_and(|until| has_passed(until.time));
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
                Ok(Step::End { high }) if ended.is_some() => {
                    if self.cursor.offset > high {
                        self.done = true;
                        return Some(Err(errors::offset_beyond_end(high)));
                    }
                    return self.finish(ended);
                }
                Ok(Step::End { .. }) if is_past => return self.finish(None),
                // The supervisor tells of the last state alone, and that may be that there is none
                // any more.
                Ok(Step::End { .. }) if forgotten => {
                    self.done = true;
                    return Some(Err(errors::process_not_found(self.process.hub.id)));
                }
                Ok(Step::End { high }) => {
                    // One may wait for an offset that is still to come.
                    self.sent = self.cursor.offset.min(high);
                    self.seat.arrive(self.sent, Then::Waits);
                    if self.process.hub.arm(high, &self.supervisor) == Armed::Waits
                        && let Err(status) = self.wait().await
                    {
                        self.done = true;
                        return Some(Err(status));
                    }
                }
                Err(error) => {
                    self.done = true;
                    return Some(Err(unreadable(self.process.hub.id, &error)));
                }
            }
        }
        None
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
            () = self.supervisor.closed() => Err(errors::restarting()),
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
        self.seat.is_ahead(self.sent) && !self.chunks.has(self.number, offset)
    }

    /// Whether anybody else reads this output.
    fn is_shared(&self) -> bool {
        self.reader
            .as_ref()
            .is_some_and(|reader| Arc::strong_count(reader) > 1)
    }

    fn read(&mut self) -> std::io::Result<Step> {
        if self.end.is_some_and(|end| self.cursor.offset >= end) {
            return Ok(Step::Reached);
        }
        let Some(reader) = &self.reader else {
            return Ok(Step::End { high: 0 });
        };
        if let Some(only) = self.only {
            let from = self.cursor.offset;
            reader.skip(&mut self.cursor, only)?;
            if self.cursor.offset > from {
                return Ok(self.skip_from(from));
            }
        }
        let is_shared = self.is_shared();
        let room = self.end.map_or(CHUNK, |end| {
            usize::try_from(end - self.cursor.offset)
                .unwrap_or(CHUNK)
                .min(CHUNK)
        });
        // Its number is never another process's, as an id may be once it is forgotten.
        let output = (self.number, &**reader);
        let (piece, data) = self
            .chunks
            .read(output, &mut self.cursor, room, is_shared)?;
        Ok(match piece {
            Piece::Data { offset, time, .. }
                if self
                    .until
                    .is_some_and(|until| offset >= until.searched && time >= until.time) =>
            {
                (self.cursor.offset, self.end) = (offset, Some(offset));
                Step::Reached
            }
            // It came after the look at what to skip.
            Piece::Data { offset, stream, .. } if self.only.is_some_and(|only| only != stream) => {
                self.skip_from(offset)
            }
            Piece::Data {
                offset,
                stream,
                time,
                ..
            } => {
                let mut frame = Frame {
                    data,
                    ..Frame::default()
                };
                frame.set_type(convert::stream_type(stream));
                if self.control_frames {
                    frame.offset = offset;
                    frame.time = Some(convert::timestamp(time));
                }
                Step::Frame(self.tell_skipped(frame))
            }
            Piece::Gap { from, to } => {
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
            Piece::End { high } => Step::End { high },
        })
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

    /// The last frame, if there is one.
    fn finish(&mut self, ended: Option<OutputTotals>) -> Option<Result<Frame, Status>> {
        self.done = true;
        // It needs none of it any more.
        self.seat.arrive(self.cursor.offset, Then::Leaves);
        if !self.control_frames {
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
        let end = convert::output_end(&self.info.borrow(), &end, &self.epoch);
        Some(Ok(self.tell_skipped(Frame {
            end: Some(end),
            ..Frame::default()
        })))
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
    /// Nothing is beyond the cursor yet.
    End {
        high: u64,
    },
}

fn unreadable(id: ProcessId, error: &std::io::Error) -> Status {
    log::line(format_args!(
        "the output of process {id} cannot be read: {error}"
    ));
    errors::internal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_followers_are_told_no_more_often_than_they_can_be_served() {
        let hub = Hub::new(ProcessId::from_bytes([0; 16]));
        let mut followers: Vec<_> = (0..10).map(|_| hub.newest.subscribe()).collect();
        assert_eq!(hub.pause(), Duration::ZERO);
        hub.advance(BUSY_BYTES);
        assert_eq!(
            hub.pause(),
            Duration::ZERO,
            "a few are told of much at once"
        );
        followers.extend((0..10_000).map(|_| hub.newest.subscribe()));
        // This thread may have to wait for longer than that in between.
        let mut pauses = std::iter::repeat_with(|| {
            hub.advance(BUSY_BYTES + 1);
            hub.pause()
        });
        let pause = pauses
            .by_ref()
            .take(100)
            .find(|pause| !pause.is_zero())
            .expect("many are not told at once");
        assert!(pause <= PAUSE_MAX, "{pause:?}");
        std::thread::sleep(PAUSE_MAX);
        assert_eq!(hub.pause(), Duration::ZERO);
    }

    fn at(offset: u64) -> Whereabouts {
        Whereabouts {
            offset,
            is_awaited: true,
        }
    }

    #[test]
    fn only_those_that_are_awaited_say_up_to_where_the_output_was_taken() {
        let other = Whereabouts {
            is_awaited: false,
            ..at(0)
        };
        let mut readers = Readers {
            places: BTreeMap::from([(1, at(500)), (2, other)]),
            ..Readers::default()
        };
        assert_eq!(readers.advance(400), Some(500));
        assert_eq!(readers.advance(0), None, "that was told");
        assert!(readers.are_any_awaited());
        readers.places.remove(&1);
        assert!(!readers.are_any_awaited());
        assert_eq!(readers.advance(0), None, "nobody is awaited");
    }

    #[test]
    fn a_reader_gives_way_to_a_few_who_are_behind() {
        let mut readers = Readers {
            places: BTreeMap::from([(1, at(500)), (2, at(700))]),
            ..Readers::default()
        };
        assert!(readers.are_some_behind(501));
        assert!(!readers.are_some_behind(500), "the last of them goes on");
        assert!(
            !readers.are_some_behind(701 + NEAR),
            "nobody waits for one who has stopped"
        );
        readers.places.extend((3..).zip(vec![at(0); TOGETHER]));
        assert!(
            !readers.are_some_behind(700),
            "so many share nothing by waiting"
        );
    }

    #[test]
    fn a_follower_is_told_of_a_line_at_once_and_of_many_together() {
        let hub = Hub::new(ProcessId::from_bytes([0; 16]));
        let _follower = hub.newest.subscribe();
        assert_eq!(hub.pause(), Duration::ZERO, "nothing was told yet");
        let mut lines = 0;
        // This thread may have to wait for longer than that in between.
        let mut pauses = std::iter::repeat_with(|| {
            lines += 100;
            hub.advance(lines);
            hub.pause()
        });
        assert!(pauses.by_ref().take(100).any(|pause| pause == PAUSE_MIN));
        std::thread::sleep(BUSY);
        assert_eq!(hub.pause(), Duration::ZERO, "a line that comes alone");
    }
}
