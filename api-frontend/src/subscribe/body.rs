//! The response body of output: gRPC's framing made by hand around bytes that all subscribers share.
//!
//! The generated code copies each message into a buffer of its stream. Here a message is a few
//! bytes of its stream's own and a reference to a chunk. (gRPC over HTTP/2,
//! "Length-Prefixed-Message"; protobuf encoding, "Length-Delimited Records".)

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::buf::Chain;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::Stream;
use hyper::HeaderMap;
use hyper::body::{Body as HttpBody, Frame};
use prn_proto::v1;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use tonic::Status;
use tonic::body::Body;

/// Field number of [`v1::GetOutputResponse::data`].
const DATA: u32 = 2;

/// Not compressed, and the length in four bytes.
const PREFIX: usize = 5;

/// Most bytes of [`DATA`]'s key and length.
const DATA_HEAD: usize = 11;

/// From so many bytes on, data is sent from where it lies. What is smaller is gathered: clients end
/// a connection on which they hold many small frames that they have not come to yet (h2:
/// "too_many_data_frames").
const LARGE: usize = 4 * 1024;

/// So much is gathered, of what is there to be sent at once.
const GATHERED: usize = 32 * 1024;

/// What a subscription sends.
pub type Frames = Pin<Box<dyn Stream<Item = Result<v1::GetOutputResponse, Status>> + Send>>;

/// What is done when all frames are on their way to their client.
pub type Sent = Box<dyn FnOnce() + Send>;

/// A part of a body: what was gathered, then data from where it lies.
type Piece = Frame<Chain<Bytes, Bytes>>;

/// Frames on their way from the call to the connection, in the extensions of a response without a
/// body.
#[derive(Clone)]
pub struct Handed(Arc<Mutex<Option<(Frames, Sent)>>>);

impl fmt::Debug for Handed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handed").finish_non_exhaustive()
    }
}

impl Handed {
    /// To be sent as the response's body, and what is done then.
    pub fn new(frames: Frames, sent: Sent) -> Self {
        Self(Arc::new(Mutex::new(Some((frames, sent)))))
    }

    fn take(self) -> Option<(Frames, Sent)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A response's body: that of the generated code, or output.
#[derive(Debug)]
pub enum ResponseBody {
    /// What the generated code has framed.
    Whole(Body),
    /// Output.
    Output(OutputBody),
}

/// Output on its way.
pub struct OutputBody {
    /// `None` once they have ended.
    frames: Option<Frames>,
    /// Messages that are not sent yet.
    gathered: BytesMut,
    /// What comes after them.
    trailers: Option<HeaderMap>,
    /// What is done when they are sent: a client that takes nothing any more is sent none.
    sent: Option<Sent>,
}

impl fmt::Debug for OutputBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutputBody").finish_non_exhaustive()
    }
}

impl ResponseBody {
    /// Instead of `body`, if there are frames.
    pub fn new(body: Body, handed: Option<Handed>) -> Self {
        match handed.and_then(Handed::take) {
            Some((frames, sent)) => Self::Output(OutputBody {
                frames: Some(frames),
                gathered: BytesMut::new(),
                trailers: None,
                sent: Some(sent),
            }),
            None => Self::Whole(body),
        }
    }
}

impl HttpBody for ResponseBody {
    type Data = Chain<Bytes, Bytes>;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        match &mut *self {
            Self::Whole(body) => {
                let frame = ready!(Pin::new(body).poll_frame(context));
                Poll::Ready(frame.map(|frame| Ok(frame?.map_data(|data| data.chain(Bytes::new())))))
            }
            Self::Output(output) => output.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Output(output) => output.is_sent(),
        }
    }
}

impl OutputBody {
    fn is_sent(&self) -> bool {
        self.frames.is_none() && self.gathered.is_empty() && self.trailers.is_none()
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Piece, Status>>> {
        while let Some(frames) = self
            .frames
            .as_mut()
            .filter(|_| self.gathered.len() < GATHERED)
        {
            let status = match frames.as_mut().poll_next(context) {
                Poll::Ready(Some(Ok(mut message))) => {
                    let data = std::mem::take(&mut message.data);
                    if let Err(status) = put_head(&mut self.gathered, &message, data.len()) {
                        return Poll::Ready(Some(Err(status)));
                    }
                    if data.len() >= LARGE {
                        return Poll::Ready(Some(Ok(self.send(data))));
                    }
                    self.gathered.extend_from_slice(&data);
                    continue;
                }
                Poll::Ready(Some(Err(status))) => status,
                Poll::Ready(None) => Status::ok(""),
                Poll::Pending if self.gathered.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            };
            self.frames = None;
            let mut trailers = HeaderMap::new();
            if let Err(status) = status.add_header(&mut trailers) {
                return Poll::Ready(Some(Err(status)));
            }
            self.trailers = Some(trailers);
        }
        if self.gathered.is_empty() {
            let trailers = self.trailers.take();
            if let Some(sent) = self.sent.take() {
                sent();
            }
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        Poll::Ready(Some(Ok(self.send(Bytes::new()))))
    }

    fn send(&mut self, data: Bytes) -> Piece {
        Frame::data(std::mem::take(&mut self.gathered).freeze().chain(data))
    }
}

/// A message's prefix, its fields, and the key and length of its data, which is to follow. It comes
/// last, whatever its number is: the order of fields is free.
fn put_head(
    into: &mut BytesMut,
    message: &v1::GetOutputResponse,
    data: usize,
) -> Result<(), Status> {
    let start = into.len();
    into.reserve(PREFIX + message.encoded_len() + DATA_HEAD + if data < LARGE { data } else { 0 });
    into.put_bytes(0, PREFIX);
    message.encode_raw(into);
    if data > 0 {
        encode_key(DATA, WireType::LengthDelimited, into);
        encode_varint(u64::try_from(data).unwrap_or(u64::MAX), into);
    }
    let length = into.len() - start - PREFIX + data;
    let length =
        u32::try_from(length).map_err(|_| Status::internal("a frame of output is too long"))?;
    if let Some(field) = into.get_mut(start + 1..start + PREFIX) {
        field.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;
    use futures_util::stream::iter;

    fn reply(
        frames: impl Stream<Item = Result<v1::GetOutputResponse, Status>> + Send + 'static,
    ) -> ResponseBody {
        told(frames, || {})
    }

    fn told(
        frames: impl Stream<Item = Result<v1::GetOutputResponse, Status>> + Send + 'static,
        sent: impl FnOnce() + Send + 'static,
    ) -> ResponseBody {
        let handed = Handed::new(Box::pin(frames), Box::new(sent));
        ResponseBody::new(Body::empty(), Some(handed))
    }

    fn next(reply: &mut ResponseBody) -> Poll<Option<Frame<Vec<u8>>>> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let frame = Pin::new(reply).poll_frame(&mut context);
        frame.map(|frame| {
            frame.map(|frame| {
                frame
                    .unwrap()
                    .map_data(|mut data| data.copy_to_bytes(data.remaining()).to_vec())
            })
        })
    }

    /// All messages in these bytes, and how many pieces they came in.
    fn messages(mut reply: ResponseBody) -> (Vec<v1::GetOutputResponse>, usize) {
        let (mut bytes, mut pieces) = (Vec::new(), 0);
        while let Poll::Ready(Some(frame)) = next(&mut reply) {
            let Ok(data) = frame.into_data() else { break };
            pieces += 1;
            bytes.extend(data);
        }
        assert!(reply.is_end_stream());
        let (mut all, mut rest) = (Vec::new(), &bytes[..]);
        while let Some((prefix, after)) = rest.split_first_chunk::<PREFIX>() {
            let [compressed, length @ ..] = *prefix;
            assert_eq!(compressed, 0);
            let (message, after) =
                after.split_at(usize::try_from(u32::from_be_bytes(length)).unwrap());
            all.push(v1::GetOutputResponse::decode(message).unwrap());
            rest = after;
        }
        assert!(rest.is_empty());
        (all, pieces)
    }

    #[test]
    fn what_is_to_be_done_then_is_done_once_all_data_was_taken() {
        let (done, is_done) = std::sync::mpsc::channel();
        let frame = v1::GetOutputResponse {
            data: Bytes::from_static(b"x"),
            ..Default::default()
        };
        let mut reply = told(iter([Ok(frame)]), move || done.send(()).unwrap());
        assert!(matches!(next(&mut reply), Poll::Ready(Some(frame)) if frame.is_data()));
        assert!(
            is_done.try_recv().is_err(),
            "the data may not have been taken"
        );
        assert!(matches!(next(&mut reply), Poll::Ready(Some(frame)) if frame.is_trailers()));
        assert!(is_done.try_recv().is_ok());
        let (done, is_done) = std::sync::mpsc::channel();
        drop(told(iter([]), move || done.send(()).unwrap()));
        assert!(is_done.try_recv().is_err(), "its client has left");
    }

    #[test]
    fn a_frame_decodes_to_what_it_was_made_of() {
        let mut all = v1::GetOutputResponse {
            r#type: 2,
            offset: u64::MAX,
            time: Some(prost_types::Timestamp {
                seconds: 1,
                nanos: 2,
            }),
            gap: Some(v1::OutputGap { from: 3, to: 4 }),
            skipped: 300,
            ..Default::default()
        };
        let mut sent = Vec::new();
        for length in [0, 1, 127, 128, LARGE - 1, LARGE, 65_000] {
            all.data = Bytes::from(vec![7; length]);
            sent.extend([
                all.clone(),
                v1::GetOutputResponse {
                    data: all.data.clone(),
                    ..Default::default()
                },
            ]);
        }
        let frames = iter(sent.clone().into_iter().map(Ok));
        let (all, pieces) = messages(reply(frames));
        assert!(all == sent);
        assert_eq!(pieces, 4, "what is small goes with what follows it");
    }

    #[test]
    fn small_frames_are_gathered_as_far_as_they_are_there() {
        let small = v1::GetOutputResponse {
            r#type: 1,
            data: "line".into(),
            ..Default::default()
        };
        let (all, pieces) = messages(reply(iter(vec![Ok(small.clone()); 10_000])));
        assert!(all == vec![small.clone(); 10_000]);
        assert!(pieces <= 6, "{pieces}");
        // What is there is not held back for what may come.
        let mut waiting = reply(iter([Ok(small)]).chain(futures_util::stream::pending()));
        assert!(matches!(next(&mut waiting), Poll::Ready(Some(frame)) if frame.is_data()));
        assert!(next(&mut waiting).is_pending());
    }

    #[test]
    fn frames_are_followed_by_the_status_and_nothing() {
        let frame = v1::GetOutputResponse {
            r#type: 1,
            data: "x".into(),
            ..Default::default()
        };
        for (last, code) in [(None, "0"), (Some(Err(Status::data_loss("gone"))), "15")] {
            let mut reply = reply(iter([Ok(frame.clone())].into_iter().chain(last)));
            assert!(matches!(next(&mut reply), Poll::Ready(Some(frame)) if frame.is_data()));
            assert!(!reply.is_end_stream());
            let Poll::Ready(Some(trailers)) = next(&mut reply) else {
                panic!("no trailers")
            };
            assert_eq!(
                trailers
                    .into_trailers()
                    .unwrap_or_default()
                    .get("grpc-status")
                    .unwrap(),
                code
            );
            assert!(reply.is_end_stream());
            assert!(matches!(next(&mut reply), Poll::Ready(None)));
        }
    }
}
