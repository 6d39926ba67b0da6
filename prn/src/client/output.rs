//! A process's output as a sequence of events.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use prn_proto::v1::{self, get_output_response::Type};
use tonic::Streaming;

use super::ClientError;
use super::transport::Health;
use super::types::{Exit, from_wire_time};

/// What part of the output is wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct OutputRequest {
    /// Offset of the first byte.
    pub from: u64,
    /// End at the last byte captured so far instead of following.
    pub no_follow: bool,
}

/// The stream that a process wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of output, or what is known about it. Both streams share one space of offsets, in the order of capture.
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
}

/// A process's output under way.
///
/// Complete or loudly not: bytes that are missing come as [`Event::Gap`], even where the server did not announce them,
/// and a stream that stops early is an error.
#[derive(Debug)]
pub struct OutputStream {
    frames: Streaming<v1::GetOutputResponse>,
    follow: bool,
    sequence: Sequence,
    epoch: Option<String>,
    health: Arc<Health>,
}

impl OutputStream {
    pub(super) fn new(
        frames: Streaming<v1::GetOutputResponse>,
        request: OutputRequest,
        epoch: Option<String>,
        health: Arc<Health>,
    ) -> Self {
        Self { frames, follow: !request.no_follow, sequence: Sequence::from(request.from), epoch, health }
    }

    /// Random id of the server run that answered: under another one the process no longer exists.
    pub fn boot_epoch(&self) -> Option<&str> {
        self.epoch.as_deref()
    }

    /// Offset of the next byte: where to go on after a failure.
    pub fn next_offset(&self) -> u64 {
        self.sequence.next
    }

    /// The next event. `None` after [`Event::End`], or, without following, after the last byte captured so far.
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
            match self.frames.message().await {
                Ok(Some(frame)) => self.sequence.accept(frame)?,
                Ok(None) if self.follow => return Err(self.cut_off(None)),
                Ok(None) => return Ok(None),
                Err(status) => {
                    let error = self.health.explain(status);
                    return Err(self.cut_off(Some(error)));
                }
            }
        }
    }

    fn cut_off(&self, source: Option<ClientError>) -> ClientError {
        ClientError::CutOff { offset: self.sequence.next, source: source.map(Box::new) }
    }
}

/// Puts frames in order and finds what is missing between them.
#[derive(Debug)]
struct Sequence {
    first: u64,
    next: u64,
    /// Events to hand out, the last one first. Never more than two: a gap and what follows it.
    ready: Vec<Event>,
    ended: bool,
}

impl Sequence {
    fn from(offset: u64) -> Self {
        Self { first: offset, next: offset, ready: Vec::with_capacity(2), ended: false }
    }

    fn take(&mut self) -> Option<Event> {
        let event = self.ready.pop()?;
        self.next = match &event {
            Event::Data { offset, data, .. } => offset.saturating_add(length(data)),
            Event::Gap { to, .. } => *to,
            Event::End(end) => end.end_offset.max(self.next),
        };
        Some(event)
    }

    fn accept(&mut self, frame: v1::GetOutputResponse) -> Result<(), ClientError> {
        if let Some(gap) = frame.gap {
            if gap.from != self.next || gap.to <= gap.from {
                return Err(ClientError::Protocol("the server announced a gap in the wrong place"));
            }
            self.ready.push(Event::Gap { from: gap.from, to: gap.to });
            return Ok(());
        }
        if let Some(end) = frame.end {
            self.ended = true;
            self.ready.push(Event::End(OutputEnd {
                exit: end.exit_cause.map(Exit::from),
                stdout_bytes: end.stdout_bytes,
                stderr_bytes: end.stderr_bytes,
                end_offset: end.end_offset,
            }));
            // Someone who asked for more than there ever was has missed nothing.
            return if self.next == self.first {
                self.fill(end.end_offset.max(self.first))
            } else {
                self.fill(end.end_offset)
            };
        }
        if frame.data.is_empty() {
            return Ok(());
        }
        let source = match Type::try_from(frame.r#type) {
            Ok(Type::Stdout) => Source::Stdout,
            Ok(Type::Stderr) => Source::Stderr,
            Ok(Type::Unspecified) | Err(_) => {
                return Err(ClientError::Protocol("the server sent output of an unknown stream"));
            }
        };
        let (offset, data) = (frame.offset, frame.data);
        self.ready.push(Event::Data { source, offset, time: frame.time.and_then(from_wire_time), data });
        self.fill(offset)
    }

    /// Puts a gap before what is ready and begins at `offset`, if there is one.
    fn fill(&mut self, offset: u64) -> Result<(), ClientError> {
        if offset < self.next {
            return Err(ClientError::Protocol("the server sent output that it had sent already"));
        }
        if offset > self.next {
            self.ready.push(Event::Gap { from: self.next, to: offset });
        }
        Ok(())
    }
}

fn length(data: &Bytes) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(offset: u64, bytes: &'static str) -> v1::GetOutputResponse {
        v1::GetOutputResponse { r#type: Type::Stdout.into(), data: bytes.into(), offset, ..Default::default() }
    }

    fn gap(from: u64, to: u64) -> v1::GetOutputResponse {
        v1::GetOutputResponse { gap: Some(v1::OutputGap { from, to }), ..Default::default() }
    }

    fn end(end_offset: u64) -> v1::GetOutputResponse {
        let end = v1::OutputEnd { end_offset, ..Default::default() };
        v1::GetOutputResponse { end: Some(end), ..Default::default() }
    }

    fn events(from: u64, frames: Vec<v1::GetOutputResponse>) -> Result<Vec<String>, ClientError> {
        let mut sequence = Sequence::from(from);
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

    #[test]
    fn output_without_loss_has_no_gap() {
        assert_eq!(events(0, vec![data(0, "ab"), data(2, "c"), end(3)]).unwrap(), ["0+2", "2+1", "end 3"]);
        assert_eq!(events(5, vec![data(5, "ab"), end(7)]).unwrap(), ["5+2", "end 7"]);
        assert_eq!(events(0, vec![end(0)]).unwrap(), ["end 0"]);
        assert_eq!(events(9, vec![end(7)]).unwrap(), ["end 7"]);
    }

    #[test]
    fn missing_bytes_are_a_gap_whether_announced_or_not() {
        assert_eq!(events(0, vec![gap(0, 4), data(4, "ab"), end(6)]).unwrap(), ["gap 0..4", "4+2", "end 6"]);
        assert_eq!(events(0, vec![data(4, "ab"), end(9)]).unwrap(), ["gap 0..4", "4+2", "gap 6..9", "end 9"]);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        assert!(events(0, vec![data(0, "abc"), data(2, "c")]).is_err());
        assert!(events(0, vec![data(0, "abc"), end(2)]).is_err());
        assert!(events(0, vec![gap(1, 4)]).is_err());
        assert!(events(0, vec![gap(0, 0)]).is_err());
        let unknown = v1::GetOutputResponse { data: "x".into(), ..Default::default() };
        assert!(events(0, vec![unknown]).is_err());
    }
}
