//! Output for subscribers: replay and live are the same read at a cursor.
//!
//! A process's [`Hub`] opens its output once, when the first subscriber comes, and closes it when the last one goes. A
//! [`Subscription`] is a cursor and no buffer: its client's HTTP/2 window pulls the next chunk, so a stalled client
//! costs nothing and delays nobody. Nothing polls: while somebody waits at the end, one Watch is armed at the
//! supervisor, whose event wakes those who wait.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use prn_ipc_protocol::message::{End, ProcessInfo};
use prn_ipc_protocol::output::{Cursor, Piece, Reader};
use prn_ipc_protocol::types::ProcessId;
use prn_proto::v1;
use tokio::sync::watch;
use tonic::Status;

use crate::mirror::Process;
use crate::supervisor::{Failure, Supervisor};
use crate::{convert, errors, log};

/// Most bytes in one frame.
pub const CHUNK: usize = 64 * 1024;

thread_local! {
    /// What a chunk is read into before its size is known. One a worker thread, not one a subscriber.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// What the subscribers of one process share.
pub struct Hub {
    id: ProcessId,
    /// Open while anybody subscribes.
    reader: tokio::sync::Mutex<Weak<Reader>>,
    /// The `seen` of the Watch whose event has not come yet.
    armed: Mutex<Option<u64>>,
    /// What the last event told.
    newest: watch::Sender<Newest>,
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
        }
    }

    /// The supervisor's event: the end lies at `end` now.
    pub fn advance(&self, end: u64) {
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.newest.send_replace(Newest::End(end));
    }

    /// The supervisor's event: the process has ended and is forgotten.
    pub fn forget(&self) {
        self.newest.send_replace(Newest::Forgotten);
    }

    /// The descriptors: who comes first opens them, and others wait for that.
    async fn reader(&self, supervisor: &Supervisor) -> Result<Arc<Reader>, Failure> {
        let mut slot = self.reader.lock().await;
        if let Some(reader) = slot.upgrade() {
            return Ok(reader);
        }
        let reader = Arc::new(supervisor.subscribe(self.id).await?);
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

/// What a client asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// Offset of the first byte.
    pub from: u64,
    /// Gap and end frames, offset and time of data.
    pub control_frames: bool,
    /// End at what is there already.
    pub no_follow: bool,
}

/// One client's place in one output.
pub struct Subscription {
    process: Arc<Process>,
    reader: Arc<Reader>,
    supervisor: Supervisor,
    info: watch::Receiver<Arc<ProcessInfo>>,
    newest: watch::Receiver<Newest>,
    cursor: Cursor,
    /// Where to end, if not at the end of the process.
    until: Option<u64>,
    control_frames: bool,
    /// Bytes left out without saying so yet.
    lost: u64,
    epoch: Arc<str>,
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
        wanted: Wanted,
        epoch: Arc<str>,
    ) -> Result<Self, Status> {
        let id = process.hub.id;
        let reader = process.hub.reader(&supervisor).await.map_err(|failure| errors::failed(failure, id, None))?;
        // The process's state before the marks: what has ended by then has published all of its output.
        let info = process.changes();
        let ended = info.borrow().end;
        let high = reader.marks().map_err(|error| unreadable(id, &error))?.high;
        if ended.is_some() && wanted.from > high {
            return Err(errors::offset_beyond_end(high));
        }
        Ok(Self {
            info,
            newest: process.hub.newest.subscribe(),
            process,
            reader,
            supervisor,
            cursor: Cursor::at(wanted.from),
            until: wanted.no_follow.then_some(high),
            control_frames: wanted.control_frames,
            lost: 0,
            epoch,
            done: false,
        })
    }

    /// The next frame, or the error that ends the stream, or `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Frame, Status>> {
        while !self.done {
            // Reading never waits, so a fast client could keep this thread for itself.
            tokio::task::coop::consume_budget().await;
            // First the process's state, then its output: if it has ended by now, the end that is read is the last.
            let ended = self.info.borrow_and_update().end;
            let forgotten = *self.newest.borrow_and_update() == Newest::Forgotten;
            match self.read() {
                Ok(Step::Frame(frame)) => return Some(Ok(frame)),
                Ok(Step::Skipped) => {}
                Ok(Step::Reached) => {
                    let ended = self.info.borrow().end;
                    return self.finish(ended);
                }
                Ok(Step::End { high }) if ended.is_some() => {
                    if self.cursor.offset > high {
                        self.done = true;
                        return Some(Err(errors::offset_beyond_end(high)));
                    }
                    return self.finish(ended);
                }
                // The supervisor tells of the last state alone, and that may be that there is none any more.
                Ok(Step::End { .. }) if forgotten => {
                    self.done = true;
                    return Some(Err(errors::process_not_found(self.process.hub.id)));
                }
                Ok(Step::End { high }) => {
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
            () = self.supervisor.closed() => Err(errors::restarting()),
        }
    }

    fn read(&mut self) -> std::io::Result<Step> {
        let room = match self.until {
            Some(until) if self.cursor.offset >= until => return Ok(Step::Reached),
            Some(until) => usize::try_from(until - self.cursor.offset).unwrap_or(CHUNK).min(CHUNK),
            None => CHUNK,
        };
        let (piece, data) = SCRATCH.with_borrow_mut(|scratch| {
            let buffer = scratch.get_mut(..room).unwrap_or_default();
            let piece = self.reader.read(&mut self.cursor, buffer)?;
            let data = match piece {
                Piece::Data { length, .. } => Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default()),
                Piece::Gap { .. } | Piece::End { .. } => Bytes::new(),
            };
            Ok::<_, std::io::Error>((piece, data))
        })?;
        Ok(match piece {
            Piece::Data { offset, stream, time, .. } => {
                let mut frame = Frame { data, ..Frame::default() };
                frame.set_type(convert::stream_type(stream));
                if self.control_frames {
                    frame.offset = offset;
                    frame.time = Some(convert::timestamp(time));
                }
                Step::Frame(frame)
            }
            Piece::Gap { from, to } => {
                // What lies beyond the end that was asked for is no loss.
                let to = self.until.map_or(to, |until| to.min(until));
                if self.control_frames {
                    Step::Frame(Frame { gap: Some(v1::OutputGap { from, to }), ..Frame::default() })
                } else {
                    self.lost += to.saturating_sub(from);
                    Step::Skipped
                }
            }
            Piece::End { high } => Step::End { high },
        })
    }

    /// The last frame, if there is one.
    fn finish(&mut self, ended: Option<End>) -> Option<Result<Frame, Status>> {
        self.done = true;
        if !self.control_frames {
            return (self.lost > 0).then(|| Err(errors::output_lost(self.lost)));
        }
        let end = ended?;
        // With no_follow, the end that was asked for need not be that of the output.
        if self.cursor.offset < end.output.end {
            return None;
        }
        let main_exit = self.info.borrow().main_exit;
        let end = convert::output_end(main_exit, &end, &self.epoch);
        Some(Ok(Frame { end: Some(end), ..Frame::default() }))
    }
}

enum Step {
    Frame(Frame),
    /// Bytes were left out.
    Skipped,
    /// All that was asked for was sent.
    Reached,
    /// Nothing is beyond the cursor yet.
    End {
        high: u64,
    },
}

fn unreadable(id: ProcessId, error: &std::io::Error) -> Status {
    log::line(format_args!("the output of process {id} cannot be read: {error}"));
    errors::internal()
}
