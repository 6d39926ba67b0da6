//! Passes a process's output on: its standard output to ours, its standard error to ours, as they
//! come.
//!
//! A thread writes, so that a reader who does not read (a pager, a stopped terminal) keeps nobody
//! from Ctrl-C, and so that the next piece is decrypted while this one is written. A few pieces are
//! on the way at most. A second thread notices a reader who has left while there is nothing to
//! write.

use std::io;
use std::os::fd::AsFd;

use bytes::Bytes;
use prn_client::Source;
use tokio::sync::mpsc::{self, Permit};
use tokio::sync::oneshot;

use super::descriptor::{duplicate, write_all};
use super::notices::notice_line;
use super::reader::Reader;

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
    /// Whoever reads the stream that matters.
    reader: Reader,
}

impl Relay {
    /// Starts the threads. `watched` is the stream whose reader is missed when it leaves.
    ///
    /// # Errors
    /// If a standard stream is closed, or there can be no thread.
    pub fn start(watched: Source) -> io::Result<Self> {
        // Descriptors of our own: what the standard library keeps would buffer by lines.
        let mut stdout = duplicate(io::stdout().as_fd())?;
        let mut stderr = duplicate(io::stderr().as_fd())?;
        let (queue, mut chunks) = mpsc::channel::<Chunk>(QUEUE);
        let (report, done) = oneshot::channel();
        std::thread::Builder::new()
            .name("prn-relay".to_owned())
            .spawn(move || {
                let mut relay = || {
                    while let Some(chunk) = chunks.blocking_recv() {
                        match chunk {
                            Chunk::Data(Source::Stdout, data) => write_all(&mut stdout, &data)?,
                            Chunk::Data(Source::Stderr, data) => write_all(&mut stderr, &data)?,
                            Chunk::Notice(line) => {
                                write_all(&mut stderr, notice_line(&line).as_bytes())?;
                            }
                        }
                    }
                    Ok(())
                };
                // Nobody waits for the report if prn leaves at once.
                let _unheard = report.send(relay());
            })?;
        let reader = Reader::of(match watched {
            Source::Stdout => duplicate(io::stdout().as_fd())?,
            Source::Stderr => duplicate(io::stderr().as_fd())?,
        })?;
        Ok(Self {
            queue: Some(queue),
            done,
            reader,
        })
    }

    /// Waits for room for one chunk. Cancel safe. `None` if the thread has ended: [`Relay::finish`]
    /// tells why.
    pub async fn room(&self) -> Option<Permit<'_, Chunk>> {
        self.queue.as_ref()?.reserve().await.ok()
    }

    /// Waits until writing is of no use any more: it has failed, or the reader has left.
    /// [`Relay::finish`] tells which. Cancel safe.
    pub async fn failed(&self) {
        let Some(queue) = &self.queue else {
            return std::future::pending().await;
        };
        tokio::select! {
            () = queue.closed() => {}
            _ = self.reader.left() => {}
        }
    }

    /// Waits until all is written. Cancel safe.
    ///
    /// # Errors
    /// `BrokenPipe` if the reader has gone; others as write(2).
    pub async fn finish(&mut self) -> io::Result<()> {
        self.queue = None;
        if self.reader.has_left() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        (&mut self.done)
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the writing thread died")))
    }
}
