//! A response body that is counted until it is sent, and while its client takes of it.
//!
//! HTTP/2 does not ask a body for more while its client takes nothing, so the body cannot end
//! itself then: a watch beside it resets the stream, which frees all that the call has. The rest is
//! handed out in pieces, so that little of it lies in HTTP/2's own buffers.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::AbortHandle;
use hyper::HeaderMap;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::task;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;

use crate::answers::Revoke;
use crate::errors;

/// For how long a client may take nothing.
const PATIENCE: Duration = Duration::from_secs(20);
/// Most bytes handed out at once.
const PIECE: usize = 16 * 1024;

/// A body with what it holds.
#[derive(Debug)]
pub struct Lease<T> {
    rest: Arc<Mutex<Option<Rest<T>>>>,
    watch: task::AbortHandle,
    /// Added to the body's own.
    trailers: HeaderMap,
}

#[derive(Debug)]
struct Rest<T> {
    body: Body,
    /// What of its last frame is still to be handed out.
    data: Bytes,
    /// When the client took a piece last.
    taken: Instant,
    _held: T,
}

impl<T: Send + 'static> Lease<T> {
    /// Holds what `hold` makes until the body is sent or dropped. When the client takes nothing for
    /// some time, or when what `hold` was given is called, the body is gone and `call`, whose it
    /// is, ends.
    pub fn new(
        body: Body,
        trailers: HeaderMap,
        call: Option<AbortHandle>,
        hold: impl FnOnce(Revoke) -> T,
    ) -> Self {
        Self::within(PATIENCE, body, trailers, call, hold)
    }

    fn within(
        patience: Duration,
        body: Body,
        trailers: HeaderMap,
        call: Option<AbortHandle>,
        hold: impl FnOnce(Revoke) -> T,
    ) -> Self {
        let rest: Arc<Mutex<Option<Rest<T>>>> = Arc::default();
        let revoke = {
            let (rest, call) = (Arc::downgrade(&rest), call.clone());
            move || {
                drop(rest.upgrade().and_then(|rest| lock(&rest).take()));
                if let Some(call) = call {
                    call.abort();
                }
            }
        };
        let held = hold(Box::new(revoke.clone()));
        // If it was revoked by now, the call that this is a part of ends at its next turn.
        *lock(&rest) = Some(Rest {
            body,
            data: Bytes::new(),
            taken: Instant::now(),
            _held: held,
        });
        let watched = Arc::downgrade(&rest);
        let watch = tokio::spawn(async move {
            stalled(&watched, patience).await;
            revoke();
        });
        Self {
            rest,
            watch: watch.abort_handle(),
            trailers,
        }
    }
}

/// Returns when nothing was taken for so long.
async fn stalled<T>(rest: &Weak<Mutex<Option<Rest<T>>>>, patience: Duration) {
    loop {
        let taken = rest
            .upgrade()
            .and_then(|rest| lock(&rest).as_ref().map(|rest| rest.taken));
        let Some(until) = taken.map(|taken| taken + patience) else {
            return;
        };
        if until <= Instant::now() {
            return;
        }
        tokio::time::sleep_until(until).await;
    }
}

impl<T> Drop for Lease<T> {
    fn drop(&mut self) {
        self.watch.abort();
        // Not when the last who looks at it goes.
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
        let lease = self.get_mut();
        let mut slot = lock(&lease.rest);
        let Some(rest) = slot.as_mut() else {
            return Poll::Ready(Some(Err(errors::not_taken())));
        };
        rest.taken = Instant::now();
        if rest.data.is_empty() {
            match ready!(Pin::new(&mut rest.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => rest.data = data,
                    Err(frame) => {
                        let trailers = frame.into_trailers().map(|mut trailers| {
                            trailers.extend(std::mem::take(&mut lease.trailers));
                            Frame::trailers(trailers)
                        });
                        return Poll::Ready(Some(Ok(trailers.unwrap_or_else(|frame| frame))));
                    }
                },
                other @ (Some(Err(_)) | None) => return Poll::Ready(other),
            }
        }
        let piece = rest.data.split_to(rest.data.len().min(PIECE));
        // A part of the whole would keep all of it: hyper holds one piece for a client that takes
        // nothing, until the call has ended.
        Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(&piece)))))
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

    fn long(patience: Duration, held: &Arc<()>) -> Lease<Arc<()>> {
        let bytes = Bytes::from(vec![7; PIECE + 1]);
        let body = Body::new(Once(Some(bytes)));
        let held = Arc::clone(held);
        Lease::within(patience, body, HeaderMap::new(), None, |_| held)
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
        let mut lease = long(PATIENCE, &held);
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
        // Nobody asks the body meanwhile.
        let let_go = async {
            while Arc::strong_count(&held) > 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), let_go)
            .await
            .unwrap();
        assert_eq!(
            next(&mut lease).await.unwrap().unwrap_err().code(),
            tonic::Code::Cancelled
        );
    }

    #[tokio::test]
    async fn what_is_revoked_is_let_go_of_and_its_call_ended() {
        let held = Arc::new(());
        let (call, handle) = futures_util::future::abortable(std::future::pending::<()>());
        let body = Body::new(Once(Some(Bytes::from_static(b"x"))));
        let mut revoke = None;
        let lease = Lease::new(body, HeaderMap::new(), Some(handle), |how| {
            revoke = Some(how);
            Arc::clone(&held)
        });
        assert_eq!(Arc::strong_count(&held), 2);
        revoke.unwrap()();
        assert_eq!(Arc::strong_count(&held), 1);
        assert!(call.await.is_err());
        drop(lease);
    }
}
