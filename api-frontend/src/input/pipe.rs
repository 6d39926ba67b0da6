//! The end of a process's input that is written to.
//!
//! One stream has it, and it alone: there is no other descriptor of it in this program. It is
//! write-only, so nothing of what was written can be read back.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, Bytes};
use prn_ipc_protocol::types::ProcessId;
use tokio::io::Interest;
use tokio::net::unix::pipe::Sender;
use tokio::runtime::Handle;
use tokio::task::coop;

use crate::input::writer::Writer;
use crate::supervisor::Supervisor;

/// An end that the supervisor has lent. Given back when it is dropped, soon after.
#[derive(Debug)]
pub struct Pipe {
    /// `None`: it is being given back.
    lent: Option<Arc<Lent>>,
    /// Those for what a process can make wait ([`super::threads`]): only there `lent` is written to
    /// and, since the last who has it has it there, closed.
    threads: Handle,
}

#[derive(Debug)]
struct Lent {
    // The order in which they are dropped: the supervisor is told of a descriptor that is closed.
    end: Sender,
    loan: Loan,
}

/// What is told when the end is closed.
#[derive(Debug)]
struct Loan {
    id: ProcessId,
    taken: AtomicU64,
    supervisor: Supervisor,
    /// Dropped last: who comes next asks for the end after this was told.
    writer: Arc<Writer>,
}

impl Drop for Loan {
    fn drop(&mut self) {
        let taken = *self.taken.get_mut();
        self.supervisor.input_taken(self.id, taken);
    }
}

impl Lent {
    /// Writes what there is room for.
    fn write(&self, data: &[u8]) -> io::Result<usize> {
        let written = self.end.try_write(data)?;
        let length = u64::try_from(written).unwrap_or(0);
        // Nobody else writes meanwhile.
        let before = self.loan.taken.fetch_add(length, Ordering::Relaxed);
        self.loan.writer.wrote_after(before);
        Ok(written)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if let Some(lent) = self.lent.take() {
            self.threads.spawn_blocking(move || drop(lent));
        }
    }
}

/// What became of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The pipe has taken all of it.
    All,
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
        let loan = Loan {
            id,
            taken: AtomicU64::new(taken),
            supervisor,
            writer,
        };
        // Unchecked: what it would check takes fcntl(2), which the filter does not allow.
        let end = Sender::from_owned_fd_unchecked(end)?;
        Ok(Self {
            lent: Some(Arc::new(Lent { end, loan })),
            threads: Handle::current(),
        })
    }

    /// How many bytes of the input were ever taken.
    pub fn taken(&self) -> u64 {
        let taken = self.lent.as_ref().map(|lent| &lent.loan.taken);
        taken.map_or(0, |taken| taken.load(Ordering::Relaxed))
    }

    /// Writes as fast as the pipe takes it. Cancel safe: what was taken, or still is when this is
    /// dropped, is counted at once.
    ///
    /// # Errors
    /// Those of write(2), but for EPIPE.
    pub async fn write(&mut self, mut data: Bytes) -> io::Result<Written> {
        while let Some(lent) = &self.lent
            && !data.is_empty()
        {
            lent.end.writable().await?;
            let (lent, piece) = (Arc::clone(lent), data.clone());
            let written = self.threads.spawn_blocking(move || lent.write(&piece));
            match written.await? {
                Ok(taken) => data.advance(taken),
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ok(Written::Closed);
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Written::All)
    }

    /// Gives the end back: the supervisor was told, and who comes next may ask, when this returns.
    pub async fn close(mut self) {
        if let Some(lent) = self.lent.take() {
            let closed = self.threads.spawn_blocking(move || drop(lent));
            // If not: the runtime ends.
            drop(closed.await);
        }
    }

    /// Returns when nobody reads the pipe any more, which poll(2) tells of an end that is written
    /// to as an error. Cancel safe.
    pub async fn closed(&self) {
        let Some(lent) = &self.lent else {
            return std::future::pending().await;
        };
        loop {
            match lent.end.ready(Interest::ERROR).await {
                Ok(ready) if ready.is_error() => return,
                Ok(_) => coop::consume_budget().await,
                // The runtime ends.
                Err(_) => std::future::pending().await,
            }
        }
    }
}

/// Whether to try again.
fn is_passing(error: &io::Error) -> bool {
    [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted].contains(&error.kind())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::process::tests::info;
    use crate::input::writer::{By, Entry};
    use crate::mirror::{Mirror, Process};
    use crate::supervisor::Command;
    use futures_util::FutureExt;
    use nix::fcntl::OFlag;
    use nix::unistd::{pipe2, read};
    use prn_ipc_protocol::message::Request;
    use prn_proto::tls::Fingerprint;
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
            client: Fingerprint::of(b"client"),
            name: Some(info(ID, 1).id),
        }
    }

    async fn lent(taken: u64) -> Lent {
        let mirror = Mirror::default();
        mirror.update(info(ID, 1));
        let process = mirror.process(info(ID, 1).id).unwrap();
        let (supervisor, commands) = Supervisor::new();
        let (entry, _) = Entry::take(&process.writers, by()).unwrap();
        let writer = Arc::new(entry.turn().await);
        let (theirs, ours) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).unwrap();
        let pipe = Pipe::new(ours, info(ID, 1).id, taken, supervisor, Arc::clone(&writer)).unwrap();
        Lent {
            process,
            commands,
            theirs,
            writer,
            pipe,
        }
    }

    async fn soon<T>(what: impl Future<Output = T>) -> T {
        let within = Duration::from_secs(30);
        tokio::time::timeout(within, what).await.unwrap()
    }

    #[tokio::test]
    async fn a_full_pipe_holds_the_writer_up_and_what_it_took_is_counted() {
        let mut lent = lent(5).await;
        let all = Bytes::from(vec![7; 1 << 20]);
        let some_time = Duration::from_millis(50);
        let dropped = tokio::time::timeout(some_time, lent.pipe.write(all.clone())).await;
        assert!(dropped.is_err());
        // What was under way when it was dropped may be taken still.
        tokio::time::sleep(some_time).await;
        let taken = usize::try_from(lent.pipe.taken() - 5).unwrap();
        assert!(taken > 0 && taken < all.len(), "{taken}");
        let mut found = 0;
        let mut buffer = [0; 65_536];
        while let Ok(length) = read(&lent.theirs, &mut buffer) {
            found += length;
        }
        assert_eq!(found, taken);
        assert_eq!(
            soon(lent.pipe.write(Bytes::from_static(b"more")))
                .await
                .unwrap(),
            Written::All
        );
        assert_eq!(read(&lent.theirs, &mut buffer).unwrap(), 4);
    }

    #[tokio::test]
    async fn that_nobody_reads_is_told_to_who_writes_and_to_who_waits() {
        let mut lent = lent(0).await;
        assert_eq!(lent.pipe.closed().now_or_never(), None);
        assert_eq!(
            soon(lent.pipe.write(Bytes::from_static(b"abc")))
                .await
                .unwrap(),
            Written::All
        );
        assert!(
            tokio::time::timeout(Duration::from_millis(50), lent.pipe.closed())
                .await
                .is_err()
        );
        drop(lent.theirs);
        soon(lent.pipe.closed()).await;
        assert_eq!(
            soon(lent.pipe.write(Bytes::from_static(b"d")))
                .await
                .unwrap(),
            Written::Closed
        );
        assert_eq!(lent.pipe.taken(), 3);
    }

    #[tokio::test]
    async fn the_end_is_closed_then_told_then_the_next_one_begins() {
        let mut lent = lent(40).await;
        soon(lent.pipe.write(Bytes::from_static(b"ab")))
            .await
            .unwrap();
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
        assert!(Entry::take(&lent.process.writers, other).is_ok());
    }
}
