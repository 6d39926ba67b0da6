//! The end of a process's input that is written to.
//!
//! One stream has it, and it alone: there is no other descriptor of it in this program. It is
//! write-only, so nothing of what was written can be read back.
//!
//! What is to be written waits in a queue of two pieces, from which a thread takes it
//! ([`super::threads`]): one is written while the next one is received, and neither side waits for the
//! other in between. The thread stays for as long as there is something, and room for it soon.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use prn_ipc_protocol::types::ProcessId;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::task::coop;

use crate::input::queue::{Most, Progress, Queue, State, Thread};
use crate::input::threads;
use crate::input::writer::Writer;
use crate::supervisor::{self, Supervisor};

/// So much may wait when the next piece comes: what one message brings. Small ones count as well, for
/// each can hold a whole message.
const AHEAD: Most = Most {
    bytes: 64 * 1024,
    pieces: 1,
};

/// So much a thread writes before it is another pipe's turn.
const TURN: usize = 1024 * 1024;

/// For how long a thread waits for room, in ms, before the event loop does.
const ROOM_WITHIN: u8 = 1;

/// How many threads do so at most: the others are for those who need not wait.
const WAITING_MAX: usize = threads::COUNT / 2;

/// How many do so.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// An end that the supervisor has lent. Given back when it is dropped, soon after.
#[derive(Debug)]
pub struct Pipe {
    /// What the event loop is to tell of it. One at a time: epoll(7) knows a descriptor once.
    watch: Option<Watch>,
    /// `None`: it is being given back.
    lent: Option<Arc<Lent>>,
    /// Those for what a process can make wait ([`super::threads`]): only there `lent` is written to
    /// and, since the last who has it has it there, closed.
    threads: Handle,
    /// Closed when it was given back.
    given_back: oneshot::Receiver<()>,
}

#[derive(Debug)]
struct Lent {
    // The order in which they are dropped: the supervisor is told of a descriptor that is closed.
    end: File,
    queue: Mutex<Queue>,
    /// For the one who waits for it: the queue has become what he asked for, or has stopped.
    progress: Notify,
    loan: Loan,
}

#[derive(Debug)]
struct Watch {
    end: AsyncFd<Watched>,
    interest: Interest,
}

#[derive(Debug)]
struct Watched(Arc<Lent>);

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.0.end.as_raw_fd()
    }
}

/// What is told when the end is closed.
#[derive(Debug)]
struct Loan {
    taken: AtomicU64,
    /// Dropped after the supervisor was told.
    lent: supervisor::Loan,
    /// Dropped last but one: who comes next asks for the end after this was told.
    writer: Arc<Writer>,
    /// Tells who waits for all that.
    _given_back: oneshot::Sender<()>,
}

impl Drop for Loan {
    fn drop(&mut self) {
        let taken = *self.taken.get_mut();
        self.lent.end(taken);
    }
}

impl Lent {
    fn locked(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a thread write what there is.
    fn begin(self: &Arc<Self>, threads: &Handle) {
        let (lent, again) = (Arc::clone(self), threads.clone());
        threads.spawn_blocking(move || {
            if let Turn::Over = lent.write_some() {
                lent.begin(&again);
            }
        });
    }

    /// Writes until there is nothing, or no room for it.
    fn write_some(&self) -> Turn {
        let mut written = 0;
        while written < TURN {
            let Some(piece) = self.locked().piece() else {
                return Turn::Stopped;
            };
            let stopped = match self.write(&piece) {
                Ok(taken) => {
                    written += taken;
                    self.took(taken);
                    None
                }
                Err(error) => self.stopped_by(error),
            };
            if let Some(state) = stopped {
                self.locked().halt(state);
                self.progress.notify_one();
                // Another thread may begin from here on.
                return Turn::Stopped;
            }
        }
        Turn::Over
    }

    fn took(&self, bytes: usize) {
        let progress = self.locked().took(bytes);
        match progress {
            Progress::Told => self.progress.notify_one(),
            Progress::Silent => {}
        }
    }

    /// How writing is after such an error. `None`: it goes on.
    fn stopped_by(&self, error: io::Error) -> Option<State> {
        let is = |kind| error.kind() == kind;
        if is(io::ErrorKind::Interrupted) {
            None
        } else if is(io::ErrorKind::WouldBlock) {
            (!is_room_soon(&self.end)).then_some(State::Full)
        } else if is(io::ErrorKind::BrokenPipe) {
            Some(State::Closed)
        } else {
            Some(State::Failed(error))
        }
    }

    /// Writes what there is room for.
    fn write(&self, data: &[u8]) -> io::Result<usize> {
        let written = (&self.end).write(data)?;
        let length = u64::try_from(written).unwrap_or(0);
        // Nobody else writes meanwhile.
        let before = self.loan.taken.fetch_add(length, Ordering::Relaxed);
        self.loan.writer.wrote_after(before);
        Ok(written)
    }
}

/// Why a thread has stopped writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// There is nothing to write, or no room.
    Stopped,
    /// There is, and others come first.
    Over,
}

/// Waits for room in a pipe that had none, unless many do. A process that reads gets what follows
/// sooner so than by way of the event loop.
fn is_room_soon(end: &File) -> bool {
    let may_wait = WAITING.fetch_add(1, Ordering::Relaxed) < WAITING_MAX;
    let mut ends = [PollFd::new(end.as_fd(), PollFlags::POLLOUT)];
    let is_soon =
        may_wait && poll(&mut ends, PollTimeout::from(ROOM_WITHIN)).is_ok_and(|ready| ready > 0);
    WAITING.fetch_sub(1, Ordering::Relaxed);
    is_soon
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// What became of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// As much of it as was waited for is in the pipe.
    GoesOn,
    /// Nobody reads the pipe any more.
    Closed,
}

impl Pipe {
    /// With a descriptor as it came from the supervisor, which does not block, after so many bytes
    /// in all. Must be called in the runtime.
    ///
    /// # Errors
    /// It can't be watched. It is given back then.
    pub fn new(
        end: OwnedFd,
        id: ProcessId,
        taken: u64,
        supervisor: Supervisor,
        writer: Arc<Writer>,
    ) -> io::Result<Self> {
        let (told, given_back) = oneshot::channel();
        let loan = Loan {
            taken: AtomicU64::new(taken),
            lent: supervisor.loan(id),
            writer,
            _given_back: told,
        };
        let lent = Lent {
            end: end.into(),
            queue: Mutex::default(),
            progress: Notify::new(),
            loan,
        };
        let mut pipe = Self {
            watch: None,
            lent: Some(Arc::new(lent)),
            threads: Handle::current(),
            given_back,
        };
        pipe.watch(Interest::ERROR)?;
        Ok(pipe)
    }

    /// How many bytes of the input were ever taken.
    pub fn taken(&self) -> u64 {
        let taken = self.lent.as_ref().map(|lent| &lent.loan.taken);
        taken.map_or(0, |taken| taken.load(Ordering::Relaxed))
    }

    /// Has all of it written as fast as the pipe takes it, and returns when the next may come: little
    /// enough waits then ([`AHEAD`]). What
    /// was taken is counted at once; what waits when this is dropped goes on to be written with the
    /// next call, and what waits when the pipe is given back is not written.
    ///
    /// # Errors
    /// Those of write(2), but for EPIPE, also of what was to be written before.
    pub async fn write(&mut self, data: Bytes) -> io::Result<Written> {
        if let Some(lent) = &self.lent
            && lent.locked().push(data) == Thread::Begins
        {
            lent.begin(&self.threads);
        }
        self.until(AHEAD).await
    }

    /// Returns when all is written. Cancel safe.
    ///
    /// # Errors
    /// As [`Pipe::write`].
    pub async fn written(&mut self) -> io::Result<Written> {
        self.until(Most::NOTHING).await
    }

    /// Returns when no more than this waits.
    async fn until(&mut self, most: Most) -> io::Result<Written> {
        while let Some(lent) = self.lent.clone() {
            let is_full = {
                let mut queue = lent.locked();
                if let Some(end) = queue.end() {
                    return end.map(|()| Written::Closed);
                }
                if queue.is_within(most) {
                    return Ok(Written::GoesOn);
                }
                queue.is_full()
            };
            if is_full {
                self.room().await?;
            } else {
                lent.progress.notified().await;
            }
        }
        Err(io::ErrorKind::NotConnected.into())
    }

    /// Waits until a full pipe has room, and has a thread go on.
    async fn room(&mut self) -> io::Result<()> {
        let mut ready = self.watch(Interest::WRITABLE)?.writable().await?;
        ready.clear_ready();
        drop(ready);
        if let Some(lent) = &self.lent
            && lent.locked().go_on() == Thread::Begins
        {
            lent.begin(&self.threads);
        }
        Ok(())
    }

    /// Gives the end back: the supervisor was told, and who comes next may ask, when this returns.
    pub async fn close(mut self) {
        self.give_back();
        // Nothing is ever sent.
        let _closed = (&mut self.given_back).await;
    }

    fn give_back(&mut self) {
        self.watch = None;
        if let Some(lent) = self.lent.take() {
            lent.locked().clear();
            self.threads.spawn_blocking(move || drop(lent));
        }
    }

    /// Returns when nobody reads the pipe any more, which poll(2) tells of an end that is written
    /// to as an error, or nothing more can be written; what waits is written meanwhile. Cancel safe.
    pub async fn closed(&mut self) {
        while let Some(lent) = self.lent.clone() {
            let (has_ended, is_full) = {
                let queue = lent.locked();
                (queue.has_ended(), queue.is_full())
            };
            if has_ended {
                return;
            }
            if is_full {
                if self.room().await.is_err() {
                    return;
                }
                continue;
            }
            let Ok(end) = self.watch(Interest::ERROR) else {
                return;
            };
            tokio::select! {
                ready = end.ready(Interest::ERROR) => match ready {
                    Ok(ready) if ready.ready().is_error() => return,
                    Ok(_) => coop::consume_budget().await,
                    // The runtime ends.
                    Err(_) => std::future::pending().await,
                },
                () = lent.progress.notified() => {}
            }
        }
        std::future::pending().await
    }

    /// What the event loop tells of. A process that reads as fast as it is written to would wake it
    /// with each read for nothing, if that were room too.
    fn watch(&mut self, interest: Interest) -> io::Result<&AsyncFd<Watched>> {
        let is_other = |watch: &Watch| watch.interest != interest;
        if self.watch.as_ref().is_none_or(is_other) {
            self.watch = None;
        }
        let watch = match (self.watch.take(), &self.lent) {
            (Some(watch), _) => watch,
            (None, Some(lent)) => Watch {
                end: watched(Arc::clone(lent), interest)?,
                interest,
            },
            (None, None) => return Err(io::ErrorKind::NotConnected.into()),
        };
        Ok(&self.watch.insert(watch).end)
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe, for types whose descriptor can change; a Lent owns one for life"
)]
fn watched(lent: Arc<Lent>, interest: Interest) -> io::Result<AsyncFd<Watched>> {
    AsyncFd::with_interest(Watched(lent), interest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::process::tests::info;
    use crate::input::writer::{By, Entry};
    use crate::mirror::{Mirror, Process};
    use crate::quota::ClientNumber;
    use crate::supervisor::Command;
    use futures_util::FutureExt;
    use nix::fcntl::OFlag;
    use nix::unistd::{pipe2, read};
    use prn_ipc_protocol::message::Request;
    use std::os::fd::AsFd;
    use std::time::Duration;
    use tokio::sync::mpsc::UnboundedReceiver;

    const ID: &str = "00ff10a9e28b7c4d5566778899aabbcc";

    struct Lent {
        process: Arc<Process>,
        commands: UnboundedReceiver<Command>,
        /// The end that the process has.
        theirs: OwnedFd,
        writer: Arc<Writer>,
        pipe: Pipe,
    }

    fn by() -> By {
        By {
            client: ClientNumber(1),
            name: Some(info(ID, 1).id),
        }
    }

    async fn lent(taken: u64) -> Lent {
        let mirror = Mirror::default();
        mirror.update(info(ID, 1));
        let process = mirror.process(info(ID, 1).id).unwrap();
        let (supervisor, served) = Supervisor::new();
        let (entry, _) = Entry::take(&process.writers, by()).unwrap();
        let writer = Arc::new(entry.turn().await);
        let (theirs, ours) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).unwrap();
        let pipe = Pipe::new(ours, info(ID, 1).id, taken, supervisor, Arc::clone(&writer)).unwrap();
        Lent {
            process,
            commands: served.commands,
            theirs,
            writer,
            pipe,
        }
    }

    /// Returns when the pipe has taken some, after so much.
    async fn taken_after(before: u64, pipe: &Pipe) -> u64 {
        while pipe.taken() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        pipe.taken() - before
    }

    async fn soon<T>(what: impl Future<Output = T>) -> T {
        let within = Duration::from_secs(30);
        tokio::time::timeout(within, what).await.unwrap()
    }

    #[tokio::test]
    async fn a_full_pipe_holds_the_writer_up_and_what_waits_is_written_when_there_is_room() {
        let mut lent = lent(5).await;
        let all = 1 << 20;
        let some_time = Duration::from_millis(50);
        let write = lent.pipe.write(Bytes::from(vec![7; all]));
        assert!(tokio::time::timeout(some_time, write).await.is_err());
        let taken = soon(taken_after(5, &lent.pipe)).await;
        let taken = usize::try_from(taken).unwrap();
        assert!(taken > 0 && taken < all, "{taken}");
        let theirs = lent.theirs;
        let reading = tokio::task::spawn_blocking(move || {
            let mut found = 0;
            let mut buffer = [0; 65_536];
            while found < all + 4 {
                match read(&theirs, &mut buffer) {
                    Ok(length) => found += length,
                    Err(_) => std::thread::sleep(Duration::from_millis(3)),
                }
            }
            (found, theirs)
        });
        // Who only waits for the end goes on with it as well.
        assert!(
            tokio::time::timeout(some_time, lent.pipe.closed())
                .await
                .is_err()
        );
        let more = Bytes::from_static(b"more");
        assert_eq!(soon(lent.pipe.write(more)).await.unwrap(), Written::GoesOn);
        assert_eq!(soon(lent.pipe.written()).await.unwrap(), Written::GoesOn);
        assert_eq!(soon(reading).await.unwrap().0, all + 4);
        assert_eq!(lent.pipe.taken(), u64::try_from(all).unwrap() + 4 + 5);
    }

    #[tokio::test]
    async fn what_waits_when_the_pipe_is_given_back_is_not_written_and_the_rest_is_counted() {
        let mut lent = lent(5).await;
        let some_time = Duration::from_millis(50);
        let write = lent.pipe.write(Bytes::from(vec![7; 1 << 20]));
        assert!(tokio::time::timeout(some_time, write).await.is_err());
        drop(lent.pipe);
        let told = soon(lent.commands.recv()).await;
        let Some(Command::Tell(Request::InputTaken { taken, .. })) = told else {
            panic!("{told:?}")
        };
        let mut found = 0;
        let mut buffer = [0; 65_536];
        while let Ok(length @ 1..) = read(&lent.theirs, &mut buffer) {
            found += length;
        }
        assert_eq!(u64::try_from(found).unwrap(), taken - 5);
        assert_eq!(read(&lent.theirs, &mut buffer), Ok(0));
    }

    #[tokio::test]
    async fn as_many_pipes_that_nobody_reads_as_there_are_threads_hold_up_no_other() {
        let mut stuck = Vec::new();
        for _ in 0..threads::COUNT * 2 {
            let mut lent = lent(0).await;
            let write = lent.pipe.write(Bytes::from(vec![7; 1 << 20]));
            let within = Duration::from_millis(20);
            assert!(tokio::time::timeout(within, write).await.is_err());
            stuck.push(lent);
        }
        let mut other = lent(0).await;
        let data = Bytes::from_static(b"abc");
        assert_eq!(soon(other.pipe.write(data)).await.unwrap(), Written::GoesOn);
        assert_eq!(soon(other.pipe.written()).await.unwrap(), Written::GoesOn);
        assert_eq!(other.pipe.taken(), 3);
    }

    #[tokio::test]
    async fn that_nobody_reads_is_told_to_who_writes_and_to_who_waits() {
        let mut lent = lent(0).await;
        assert_eq!(lent.pipe.closed().now_or_never(), None);
        assert_eq!(
            soon(lent.pipe.write(Bytes::from_static(b"abc")))
                .await
                .unwrap(),
            Written::GoesOn
        );
        assert_eq!(soon(lent.pipe.written()).await.unwrap(), Written::GoesOn);
        assert!(
            tokio::time::timeout(Duration::from_millis(50), lent.pipe.closed())
                .await
                .is_err()
        );
        drop(lent.theirs);
        soon(lent.pipe.closed()).await;
        soon(lent.pipe.write(Bytes::from_static(b"d")))
            .await
            .unwrap();
        assert_eq!(soon(lent.pipe.written()).await.unwrap(), Written::Closed);
        assert_eq!(lent.pipe.taken(), 3);
    }

    #[tokio::test]
    async fn the_end_is_closed_then_told_then_the_next_one_begins() {
        let mut lent = lent(40).await;
        soon(lent.pipe.write(Bytes::from_static(b"ab")))
            .await
            .unwrap();
        soon(lent.pipe.written()).await.unwrap();
        let (next, _) = Entry::take(&lent.process.writers, by()).unwrap();
        let mut next = Box::pin(next.turn());
        drop(lent.writer);
        assert!(next.as_mut().now_or_never().is_none());
        assert!(lent.commands.try_recv().is_err());
        soon(lent.pipe.close()).await;
        // Nobody else has the end: what is read comes to its own.
        let mut buffer = [0; 8];
        assert_eq!(read(lent.theirs.as_fd(), &mut buffer), Ok(2));
        assert_eq!(read(lent.theirs.as_fd(), &mut buffer), Ok(0));
        let told = lent.commands.try_recv();
        let Ok(Command::Tell(Request::InputTaken { id, taken })) = told else {
            panic!("{told:?}")
        };
        assert_eq!((id, taken), (info(ID, 1).id, 42));
        assert!(next.now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_ends_the_input_keeps_its_place_meanwhile() {
        let mut lent = lent(0).await;
        drop(lent.pipe);
        assert!(soon(lent.commands.recv()).await.is_some());
        let other = By { name: None, ..by() };
        assert!(Entry::take(&lent.process.writers, other).is_err());
        drop(lent.writer);
        // The thread that closed it lets go of the place after it has said so.
        let free = async {
            while Entry::take(&lent.process.writers, other).is_err() {
                tokio::task::yield_now().await;
            }
        };
        soon(free).await;
    }
}
