//! The body of a request, and whether too much is held here for what of it is not read.
//!
//! A frame that waits to be read is a slice of the buffer that it was read into, of 8 KiB and more,
//! and keeps all of that. A stream of 257 bytes a frame, with frames of other streams in between,
//! holds thirty times of what its window says. So what counts is not how much of a stream waits, but
//! how much its connection has read since the oldest of that may have come: [`HELD_MAX`].

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::watch;

use crate::input::streams::{STREAM_WINDOW, WINDOW};

/// Most bytes that a connection reads while a stream neither is read until nothing of it waits, nor
/// takes a window of it. Then the stream ends.
///
/// More than the connection's window, 17 MiB, with what is taken from it for 64 pipes that nobody
/// reads (64 KiB in each, and twice that before it), 12 MiB: none of such streams ends by that alone.
/// Where 64 streams have equal shares, each takes a window in 16 MiB.
///
/// What waits has come in the last two of such spans, since it is less than a window. So the streams
/// of a connection hold the buffers of 64 MiB at most, whatever a client sends, and those of a client
/// so much for each of its connections that has inputs (`--connections-per-client`): it has to send
/// as much on each of them.
const HELD_MAX: u64 = 32 * 1024 * 1024;
#[expect(clippy::as_conversions, reason = "no other conversion is const")]
const _: () = assert!(HELD_MAX > WINDOW as u64, "full windows alone end streams");

/// A request's body.
#[derive(Debug)]
pub struct Intake {
    body: Incoming,
    gauge: Gauge,
}

/// What is known of how much waits.
#[derive(Debug, Clone)]
pub struct Gauge {
    /// Bytes that the connection has read.
    arrived: watch::Receiver<u64>,
    backlog: Arc<Mutex<Backlog>>,
}

/// What of a stream may wait to be read. Pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backlog {
    /// The stream was read until there was nothing.
    Nothing,
    /// There may be something.
    Some {
        /// How much its connection had read: what waited then is less than a window.
        since: u64,
        /// Bytes of the stream that were read after that.
        taken: usize,
    },
}

impl Backlog {
    fn new(arrived: u64) -> Self {
        Self::Some {
            since: arrived,
            taken: 0,
        }
    }

    /// Once so many bytes more were read of the stream.
    fn after(self, length: usize, arrived: u64) -> Self {
        let window = usize::try_from(STREAM_WINDOW).unwrap_or(usize::MAX);
        match self {
            Self::Nothing => Self::new(arrived),
            Self::Some { since, taken } => match taken.saturating_add(length) {
                taken if taken >= window => Self::new(arrived),
                taken => Self::Some { since, taken },
            },
        }
    }

    fn is_too_old(self, arrived: u64) -> bool {
        match self {
            Self::Nothing => false,
            Self::Some { since, .. } => arrived.saturating_sub(since) > HELD_MAX,
        }
    }
}

impl Intake {
    /// On a connection that has read so much.
    pub fn new(body: Incoming, arrived: watch::Receiver<u64>) -> Self {
        let backlog = Backlog::new(*arrived.borrow());
        let gauge = Gauge {
            arrived,
            backlog: Arc::new(Mutex::new(backlog)),
        };
        Self { body, gauge }
    }

    /// What tells how much of it waits.
    pub fn gauge(&self) -> Gauge {
        self.gauge.clone()
    }
}

impl Gauge {
    /// Returns when too much is held for what of the stream is not read. Cancel safe.
    pub async fn stalled(&self) {
        let mut arrived = self.arrived.clone();
        let is_too_old = |arrived: &u64| self.backlog().is_too_old(*arrived);
        if arrived.wait_for(is_too_old).await.is_err() {
            // The connection has ended, and all calls with it.
            std::future::pending().await
        }
    }

    fn backlog(&self) -> std::sync::MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn took(&self, length: usize) {
        let arrived = *self.arrived.borrow();
        let mut backlog = self.backlog();
        *backlog = backlog.after(length, arrived);
    }
}

impl Body for Intake {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => self.gauge.took(frame.data_ref().map_or(0, Bytes::len)),
            Poll::Ready(None | Some(Err(_))) | Poll::Pending => {
                *self.gauge.backlog() = Backlog::Nothing;
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn what_waits_is_too_old_when_the_connection_has_read_much_since() {
        let opened = Backlog::new(5);
        assert!(!opened.is_too_old(5 + HELD_MAX));
        assert!(opened.is_too_old(6 + HELD_MAX));
        assert!(!Backlog::Nothing.is_too_old(u64::MAX));
        // Little that is read makes it no younger, however often.
        let little = (0..1023).fold(opened, |backlog, _| backlog.after(256, 10 * MIB));
        assert!(little.is_too_old(6 + HELD_MAX));
        let window = little.after(256, 10 * MIB);
        assert_eq!(window, Backlog::new(10 * MIB));
        assert_eq!(Backlog::Nothing.after(65_536, 7), Backlog::new(7));
    }

    #[tokio::test]
    async fn a_stream_of_which_nothing_waits_never_stalls() {
        let (told, arrived) = watch::channel(0);
        let gauge = Gauge {
            arrived,
            backlog: Arc::new(Mutex::new(Backlog::Nothing)),
        };
        told.send_replace(100 * MIB);
        assert_eq!(gauge.stalled().now_or_never(), None);
        gauge.took(1);
        told.send_replace(132 * MIB);
        let mut stalled = std::pin::pin!(gauge.stalled());
        assert_eq!(stalled.as_mut().now_or_never(), None);
        told.send_replace(133 * MIB);
        assert_eq!(stalled.now_or_never(), Some(()));
    }
}
