//! The end of a process's input that is written to.
//!
//! One stream has it, and it alone: there is no other descriptor of it in this program. It is
//! write-only, so nothing of what was written can be read back.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use prn_ipc_protocol::types::ProcessId;
use tokio::io::Interest;
use tokio::net::unix::pipe::Sender;
use tokio::task::coop;

use crate::input::writer::Writer;
use crate::supervisor::Supervisor;

/// An end that the supervisor has lent. Given back when it is dropped.
#[derive(Debug)]
pub struct Pipe {
    // The order in which they are dropped: the supervisor is told of a descriptor that is closed.
    end: Sender,
    loan: Loan,
}

/// What is told when the end is closed.
#[derive(Debug)]
struct Loan {
    id: ProcessId,
    taken: u64,
    supervisor: Supervisor,
    /// Dropped last: who comes next asks for the end after this was told.
    writer: Arc<Writer>,
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.supervisor.input_taken(self.id, self.taken);
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
            taken,
            supervisor,
            writer,
        };
        // Unchecked: what it would check takes fcntl(2), which the filter does not allow.
        let end = Sender::from_owned_fd_unchecked(end)?;
        Ok(Self { end, loan })
    }

    /// How many bytes of the input were ever taken.
    pub fn taken(&self) -> u64 {
        self.loan.taken
    }

    /// Writes as fast as the pipe takes it. Cancel safe: what was taken is counted at once.
    ///
    /// # Errors
    /// Those of write(2), but for EPIPE.
    pub async fn write(&mut self, mut data: &[u8]) -> io::Result<Written> {
        while !data.is_empty() {
            // A pipe that is read as fast as this writes must not keep the thread.
            coop::consume_budget().await;
            self.end.writable().await?;
            match self.end.try_write(data) {
                Ok(taken) => {
                    self.loan.writer.wrote_after(self.loan.taken);
                    self.loan.taken += u64::try_from(taken).unwrap_or(0);
                    data = data.get(taken..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ok(Written::Closed);
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Written::All)
    }

    /// Returns when nobody reads the pipe any more, which poll(2) tells of an end that is written
    /// to as an error. Cancel safe.
    pub async fn closed(&self) {
        loop {
            match self.end.ready(Interest::ERROR).await {
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
        let all = vec![7; 1 << 20];
        let some_time = Duration::from_millis(50);
        let dropped = tokio::time::timeout(some_time, lent.pipe.write(&all)).await;
        assert!(dropped.is_err());
        let taken = usize::try_from(lent.pipe.taken() - 5).unwrap();
        assert!(taken > 0 && taken < all.len(), "{taken}");
        let mut found = 0;
        let mut buffer = [0; 65_536];
        while let Ok(length) = read(&lent.theirs, &mut buffer) {
            found += length;
        }
        assert_eq!(found, taken);
        assert_eq!(soon(lent.pipe.write(b"more")).await.unwrap(), Written::All);
        assert_eq!(read(&lent.theirs, &mut buffer).unwrap(), 4);
    }

    #[tokio::test]
    async fn that_nobody_reads_is_told_to_who_writes_and_to_who_waits() {
        let mut lent = lent(0).await;
        assert_eq!(lent.pipe.closed().now_or_never(), None);
        assert_eq!(soon(lent.pipe.write(b"abc")).await.unwrap(), Written::All);
        assert!(
            tokio::time::timeout(Duration::from_millis(50), lent.pipe.closed())
                .await
                .is_err()
        );
        drop(lent.theirs);
        soon(lent.pipe.closed()).await;
        assert_eq!(soon(lent.pipe.write(b"d")).await.unwrap(), Written::Closed);
        assert_eq!(lent.pipe.taken(), 3);
    }

    #[tokio::test]
    async fn the_end_is_closed_then_told_then_the_next_one_begins() {
        let mut lent = lent(40).await;
        soon(lent.pipe.write(b"ab")).await.unwrap();
        let (next, _) = Entry::take(&lent.process.writers, by()).unwrap();
        let mut next = Box::pin(next.turn());
        drop(lent.writer);
        assert!(next.as_mut().now_or_never().is_none());
        assert!(lent.commands.try_recv().is_err());
        drop(lent.pipe);
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
        assert!(lent.commands.try_recv().is_ok());
        let other = By { name: None, ..by() };
        assert!(Entry::take(&lent.process.writers, other).is_err());
        drop(lent.writer);
        assert!(Entry::take(&lent.process.writers, other).is_ok());
    }
}
