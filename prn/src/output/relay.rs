//! Passes a process's output on: its standard output to ours, its standard error to ours, as they come.
//!
//! A thread writes, so that a reader who does not read (a pager, a stopped terminal) keeps nobody from Ctrl-C, and so that
//! the next piece is decrypted while this one is written. A few pieces are on the way at most.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use bytes::Bytes;
use prn::client::Source;
use tokio::sync::mpsc::{self, Permit};
use tokio::sync::oneshot;

use super::notice_line;

/// Pieces on the way to the thread. Each is 64 KiB at most.
const QUEUE: usize = 8;

/// Something to write.
#[derive(Debug)]
pub enum Chunk {
    /// Bytes of the process.
    Data(Source, Bytes),
    /// A line of prn's own, in its place among them.
    Notice(String),
}

/// The way to the writing thread.
#[derive(Debug)]
pub struct Relay {
    queue: Option<mpsc::Sender<Chunk>>,
    done: oneshot::Receiver<io::Result<()>>,
}

impl Relay {
    /// Starts the thread.
    ///
    /// # Errors
    /// If a standard stream is closed, or there can be no thread.
    pub fn start() -> io::Result<Self> {
        // Descriptors of our own: what the standard library keeps would buffer by lines.
        let mut stdout = duplicate(io::stdout().as_fd())?;
        let mut stderr = duplicate(io::stderr().as_fd())?;
        let (queue, mut chunks) = mpsc::channel::<Chunk>(QUEUE);
        let (report, done) = oneshot::channel();
        std::thread::Builder::new().name("prn-relay".to_owned()).spawn(move || {
            let mut relay = || {
                while let Some(chunk) = chunks.blocking_recv() {
                    match chunk {
                        Chunk::Data(Source::Stdout, data) => stdout.write_all(&data)?,
                        Chunk::Data(Source::Stderr, data) => stderr.write_all(&data)?,
                        Chunk::Notice(line) => stderr.write_all(format!("{}\n", notice_line(&line)).as_bytes())?,
                    }
                }
                Ok(())
            };
            // Nobody waits for the report if prn leaves at once.
            let _unheard = report.send(relay());
        })?;
        Ok(Self { queue: Some(queue), done })
    }

    /// Waits for room for one chunk. Cancel safe. `None` if the thread has ended: [`Relay::finish`] tells why.
    pub async fn room(&self) -> Option<Permit<'_, Chunk>> {
        self.queue.as_ref()?.reserve().await.ok()
    }

    /// Waits until all is written. Cancel safe.
    ///
    /// # Errors
    /// `BrokenPipe` if the reader has gone; others as write(2).
    pub async fn finish(&mut self) -> io::Result<()> {
        self.queue = None;
        (&mut self.done).await.unwrap_or_else(|_| Err(io::Error::other("the writing thread died")))
    }
}

fn duplicate(fd: BorrowedFd<'_>) -> io::Result<File> {
    fd.try_clone_to_owned().map(File::from)
}
