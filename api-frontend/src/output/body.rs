//! GetOutput's response body: gRPC's framing made by hand around bytes that all subscribers share.
//!
//! The generated code copies each message into a buffer of its stream. Here a message is a few bytes of its stream's
//! own and a reference to a chunk. (gRPC over HTTP/2, "Length-Prefixed-Message"; protobuf encoding, "Length-Delimited
//! Records".)

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

/// What a subscription sends.
pub type Frames = Pin<Box<dyn Stream<Item = Result<v1::GetOutputResponse, Status>> + Send>>;

/// Frames on their way from the call to the connection, in the extensions of a response without a body.
#[derive(Clone)]
pub struct Handed(Arc<Mutex<Option<Frames>>>);

impl Handed {
    /// To be sent as the response's body.
    pub fn new(frames: Frames) -> Self {
        Self(Arc::new(Mutex::new(Some(frames))))
    }

    fn take(self) -> Option<Frames> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A response's body: that of the generated code, or output.
pub enum Reply {
    /// What the generated code has framed.
    Whole(Body),
    /// Output; `None` once its trailers were sent.
    Output(Option<Frames>),
}

impl Reply {
    /// In the place of `body`, if there are frames.
    pub fn new(body: Body, handed: Option<Handed>) -> Self {
        match handed.and_then(Handed::take) {
            Some(frames) => Self::Output(Some(frames)),
            None => Self::Whole(body),
        }
    }
}

impl HttpBody for Reply {
    type Data = Chain<Bytes, Bytes>;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        let output = match &mut *self {
            Self::Whole(body) => {
                let frame = ready!(Pin::new(body).poll_frame(context));
                return Poll::Ready(frame.map(|frame| Ok(frame?.map_data(|data| data.chain(Bytes::new())))));
            }
            Self::Output(output) => output,
        };
        let Some(frames) = output else { return Poll::Ready(None) };
        let status = match ready!(frames.as_mut().poll_next(context)) {
            Some(Ok(message)) => return Poll::Ready(Some(framed(message).map(Frame::data))),
            Some(Err(status)) => status,
            None => Status::ok(""),
        };
        *output = None;
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Output(output) => output.is_none(),
        }
    }
}

/// A message with its prefix. Its data comes last, whatever its number is: the order of fields is free.
fn framed(mut message: v1::GetOutputResponse) -> Result<Chain<Bytes, Bytes>, Status> {
    let data = std::mem::take(&mut message.data);
    let mut head = BytesMut::with_capacity(PREFIX + message.encoded_len() + DATA_HEAD);
    head.put_bytes(0, PREFIX);
    message.encode_raw(&mut head);
    if !data.is_empty() {
        encode_key(DATA, WireType::LengthDelimited, &mut head);
        encode_varint(u64::try_from(data.len()).unwrap_or(u64::MAX), &mut head);
    }
    let length = head.len() - PREFIX + data.len();
    let length = u32::try_from(length).map_err(|_| Status::internal("a frame of output is too long"))?;
    if let Some(field) = head.get_mut(1..PREFIX) {
        field.copy_from_slice(&length.to_be_bytes());
    }
    Ok(head.freeze().chain(data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;
    use futures_util::stream::iter;

    fn bytes(message: &v1::GetOutputResponse) -> Vec<u8> {
        let mut framed = framed(message.clone()).unwrap();
        framed.copy_to_bytes(framed.remaining()).to_vec()
    }

    #[test]
    fn a_frame_decodes_to_what_it_was_made_of() {
        let mut all = v1::GetOutputResponse {
            r#type: 2,
            offset: u64::MAX,
            time: Some(prost_types::Timestamp { seconds: 1, nanos: 2 }),
            gap: Some(v1::OutputGap { from: 3, to: 4 }),
            skipped: 300,
            ..Default::default()
        };
        for length in [0, 1, 127, 128, 65_000] {
            all.data = Bytes::from(vec![7; length]);
            for message in [&all, &v1::GetOutputResponse { data: all.data.clone(), ..Default::default() }] {
                let bytes = bytes(message);
                let (prefix, rest) = bytes.split_at(PREFIX);
                assert_eq!(prefix, [&[0], &u32::try_from(rest.len()).unwrap().to_be_bytes()[..]].concat());
                assert_eq!(&v1::GetOutputResponse::decode(rest).unwrap(), message);
            }
        }
    }

    #[tokio::test]
    async fn frames_are_followed_by_the_status_and_nothing() {
        let frame = v1::GetOutputResponse { r#type: 1, data: "x".into(), ..Default::default() };
        for (last, code) in [(None, "0"), (Some(Err(Status::data_loss("gone"))), "15")] {
            let frames: Frames = Box::pin(iter([Ok(frame.clone())].into_iter().chain(last)));
            let mut reply = Reply::new(Body::empty(), Some(Handed::new(frames)));
            let mut next = futures_util::stream::poll_fn(|context| Pin::new(&mut reply).poll_frame(context));
            assert!(next.next().await.unwrap().unwrap().is_data());
            let trailers = next.next().await.unwrap().unwrap().into_trailers().unwrap_or_default();
            assert_eq!(trailers.get("grpc-status").unwrap(), code);
            assert!(next.next().await.is_none());
            assert!(reply.is_end_stream());
        }
    }
}
