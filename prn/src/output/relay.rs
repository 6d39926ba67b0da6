//! Passes a process's output on: its standard output to ours, its standard error to ours, as they
//! come.
//!
//! A thread writes, so that a reader who does not read (a pager, a stopped terminal) keeps nobody
//! from Ctrl-C, and so that the next piece is decrypted while this one is written. A few pieces are
//! on the way at most. A second thread notices a reader who has left while there is nothing to
//! write.

use std::fs::File;
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
    /// A line for programs on standard error, where nothing else is in it.
    Line(String),
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
        let mut streams = Streams {
            stdout: duplicate(io::stdout().as_fd())?,
            stderr: duplicate(io::stderr().as_fd())?,
            is_in_line: false,
        };
        let (queue, mut chunks) = mpsc::channel::<Chunk>(QUEUE);
        let (report, done) = oneshot::channel();
        std::thread::Builder::new()
            .name("prn-relay".to_owned())
            .spawn(move || {
                let mut relay = || {
                    while let Some(chunk) = chunks.blocking_recv() {
                        streams.write(&chunk)?;
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

/// Where it goes.
struct Streams {
    stdout: File,
    stderr: File,
    /// What the process has printed last on standard error has not ended its line.
    is_in_line: bool,
}

impl Streams {
    fn write(&mut self, chunk: &Chunk) -> io::Result<()> {
        let text = match chunk {
            Chunk::Data(Source::Stdout, data) => return write_all(&mut self.stdout, data),
            Chunk::Data(Source::Stderr, data) => {
                if let Some(last) = data.last() {
                    self.is_in_line = *last != b'\n';
                }
                return write_all(&mut self.stderr, data);
            }
            Chunk::Notice(line) => notice_line(line),
            Chunk::Line(line) if self.is_in_line => format!("\n{line}\n"),
            Chunk::Line(line) => format!("{line}\n"),
        };
        self.is_in_line = false;
        write_all(&mut self.stderr, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek};

    #[test]
    fn a_line_for_programs_has_nothing_else_in_it() {
        let mut streams = Streams {
            stdout: tempfile::tempfile().unwrap(),
            stderr: tempfile::tempfile().unwrap(),
            is_in_line: false,
        };
        let data = |source, text: &'static str| Chunk::Data(source, text.into());
        for chunk in [
            Chunk::Line("1".to_owned()),
            data(Source::Stderr, "half"),
            data(Source::Stdout, "x\n"),
            data(Source::Stderr, ""),
            Chunk::Line("2".to_owned()),
            data(Source::Stderr, "whole\n"),
            Chunk::Line("3".to_owned()),
        ] {
            streams.write(&chunk).unwrap();
        }
        let mut text = String::new();
        streams.stderr.rewind().unwrap();
        streams.stderr.read_to_string(&mut text).unwrap();
        assert_eq!(text, "1\nhalf\n2\nwhole\n3\n");
    }
}
