//! A response body that holds something until it is sent, and for so long at most.
//!
//! HTTP/2 does not ask a body for more while its client takes nothing, so the body cannot end
//! itself then: a timer takes its rest away. The rest is handed out in pieces, so that little of it
//! lies in HTTP/2's own buffers.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::task::AbortHandle;
use tonic::Status;
use tonic::body::Body;

use crate::errors;

/// What a client has to take the whole response: 64 MiB at 9 Mbit/s.
const TIME: Duration = Duration::from_secs(60);
/// Most bytes handed out at once.
const PIECE: usize = 64 * 1024;

/// A body with what it holds.
pub struct Lease<T> {
    rest: Arc<Mutex<Option<Rest<T>>>>,
    timer: AbortHandle,
}

struct Rest<T> {
    body: Body,
    /// What of its last frame is still to be handed out.
    data: Bytes,
    _held: T,
}

impl<T: Send + 'static> Lease<T> {
    /// Holds `held` until the body is sent, dropped, or out of time.
    pub fn new(body: Body, held: T) -> Self {
        Self::within(TIME, body, held)
    }

    fn within(time: Duration, body: Body, held: T) -> Self {
        let rest = Arc::new(Mutex::new(Some(Rest {
            body,
            data: Bytes::new(),
            _held: held,
        })));
        let expiring = Arc::clone(&rest);
        let timer = tokio::spawn(async move {
            tokio::time::sleep(time).await;
            drop(lock(&expiring).take());
        });
        Self {
            rest,
            timer: timer.abort_handle(),
        }
    }
}

impl<T> Drop for Lease<T> {
    fn drop(&mut self) {
        self.timer.abort();
        // The timer's task, which shares it, may go later.
        drop(lock(&self.rest).take());
    }
}

impl<T: Unpin> HttpBody for Lease<T> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut slot = lock(&self.rest);
        let Some(rest) = slot.as_mut() else {
            return Poll::Ready(Some(Err(errors::deadline_exceeded())));
        };
        if rest.data.is_empty() {
            match ready!(Pin::new(&mut rest.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => rest.data = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other @ (Some(Err(_)) | None) => return Poll::Ready(other),
            }
        }
        let piece = rest.data.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(rest.data.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.rest)
            .as_ref()
            .is_some_and(|rest| rest.data.is_empty() && rest.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

// Were it poisoned, there would still be a rest or none.
fn lock<T>(rest: &Mutex<Option<Rest<T>>>) -> MutexGuard<'_, Option<Rest<T>>> {
    rest.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    async fn next(lease: &mut Lease<Arc<()>>) -> Option<Result<Frame<Bytes>, Status>> {
        poll_fn(|context| Pin::new(&mut *lease).poll_frame(context)).await
    }

    fn long(time: Duration, held: &Arc<()>) -> Lease<Arc<()>> {
        let bytes = Bytes::from(vec![7; PIECE + 1]);
        Lease::within(time, Body::new(Once(Some(bytes))), Arc::clone(held))
    }

    /// A body of one frame.
    struct Once(Option<Bytes>);

    impl HttpBody for Once {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
        }
    }

    #[tokio::test]
    async fn a_body_arrives_whole_and_in_pieces_and_lets_go_when_dropped() {
        let held = Arc::new(());
        let mut lease = long(TIME, &held);
        for length in [PIECE, 1] {
            assert!(!lease.is_end_stream());
            assert_eq!(
                next(&mut lease)
                    .await
                    .unwrap()
                    .unwrap()
                    .into_data()
                    .unwrap()
                    .len(),
                length
            );
        }
        assert!(next(&mut lease).await.is_none());
        assert_eq!(Arc::strong_count(&held), 2);
        drop(lease);
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[tokio::test]
    async fn what_a_client_does_not_take_in_time_is_let_go_of() {
        let held = Arc::new(());
        let mut lease = long(Duration::from_millis(50), &held);
        assert!(next(&mut lease).await.unwrap().is_ok());
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(
            Arc::strong_count(&held),
            1,
            "nobody asked the body meanwhile"
        );
        assert_eq!(
            next(&mut lease).await.unwrap().unwrap_err().code(),
            tonic::Code::DeadlineExceeded
        );
    }
}
