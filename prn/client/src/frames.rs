//! GetOutput's frames as they come, without a copy.
//!
//! The generated code copies each message to a buffer of its own before it decodes it. Here a
//! message that lies in one piece, as the server sends it, is decoded where it is, and its data is
//! a part of that piece. (gRPC over HTTP/2, "Length-Prefixed-Message".)

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use prn_proto::v1;
use prost::Message;
use tonic::body::Body;
use tonic::codegen::{Body as _, http};
use tonic::{Code, Response, Status, Streaming};

/// Whether it is compressed in one byte, and the length in four.
const PREFIX: usize = 5;

/// A body on its way past the generated code, in the extensions of its response.
#[derive(Clone)]
struct Handed(Arc<Mutex<Option<Body>>>);

/// Hands a response's body past the generated code, if it is one of messages and a status:
/// everything else is for that to explain.
pub(crate) fn hand_over(response: http::Response<Body>) -> http::Response<Body> {
    let (mut parts, body) = response.into_parts();
    let has = |name| parts.headers.contains_key(name);
    if parts.status != http::StatusCode::OK || has("grpc-status") || has("grpc-encoding") {
        return http::Response::from_parts(parts, body);
    }
    parts
        .extensions
        .insert(Handed(Arc::new(Mutex::new(Some(body)))));
    http::Response::from_parts(parts, Body::empty())
}

/// The messages of one response.
#[derive(Debug)]
pub(crate) enum Frames {
    /// As the generated code decodes them.
    Generated(Box<Streaming<v1::GetOutputResponse>>),
    /// Decoded here.
    Plain(Plain),
}

impl Frames {
    /// Those of a response that may have gone through [`hand_over`]. No message is taken that is
    /// longer than `most`.
    pub(crate) fn new(
        mut response: Response<Streaming<v1::GetOutputResponse>>,
        most: usize,
    ) -> Self {
        let handed = response.extensions_mut().remove::<Handed>();
        match handed.and_then(|handed| {
            handed
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
        }) {
            Some(body) => Self::Plain(Plain {
                body,
                messages: Messages::new(most),
                ended: false,
            }),
            None => Self::Generated(Box::new(response.into_inner())),
        }
    }

    /// The next one; `None` after the last, when the server has said that all is well. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<v1::GetOutputResponse>, Status> {
        match self {
            Self::Generated(frames) => frames.message().await,
            Self::Plain(frames) => frames.next().await,
        }
    }
}

/// A body and what has come of it.
#[derive(Debug)]
pub(crate) struct Plain {
    body: Body,
    messages: Messages,
    ended: bool,
}

impl Plain {
    async fn next(&mut self) -> Result<Option<v1::GetOutputResponse>, Status> {
        loop {
            if let Some(message) = self.messages.take()? {
                let message = v1::GetOutputResponse::decode(message);
                return message
                    .map(Some)
                    .map_err(|error| Status::internal(error.to_string()));
            }
            if self.ended {
                return Ok(None);
            }
            match poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await {
                Some(frame) => match frame?.into_data() {
                    Ok(data) => self.messages.piece = data,
                    Err(frame) => {
                        self.messages.end(frame.trailers_ref())?;
                        self.ended = true;
                    }
                },
                None => self.messages.end(None)?,
            }
        }
    }
}

/// Messages in the pieces of a body, cut anywhere.
#[derive(Debug)]
struct Messages {
    /// A message that has begun.
    begun: BytesMut,
    /// What has come and was not looked at yet.
    piece: Bytes,
    most: usize,
}

impl Messages {
    fn new(most: usize) -> Self {
        Self {
            begun: BytesMut::new(),
            piece: Bytes::new(),
            most,
        }
    }

    /// The next message without its prefix, or `None` if all of `piece` is taken and more must
    /// come.
    fn take(&mut self) -> Result<Option<Bytes>, Status> {
        if self.begun.is_empty() {
            if let Some(length) = self.length(&self.piece)?
                && self.piece.len() - PREFIX >= length
            {
                self.piece.advance(PREFIX);
                return Ok(Some(self.piece.split_to(length)));
            }
            self.begun
                .extend_from_slice(&std::mem::take(&mut self.piece));
            return Ok(None);
        }
        // The prefix, then the message, and no more: what follows stays in one piece.
        self.fill(PREFIX);
        let Some(length) = self.length(&self.begun)? else {
            return Ok(None);
        };
        self.fill(PREFIX + length);
        if self.begun.len() < PREFIX + length {
            return Ok(None);
        }
        let mut message = self.begun.split().freeze();
        message.advance(PREFIX);
        Ok(Some(message))
    }

    /// Goes on with the message that has begun, up to `length` bytes.
    fn fill(&mut self, length: usize) {
        let missing = length
            .saturating_sub(self.begun.len())
            .min(self.piece.len());
        self.begun.extend_from_slice(&self.piece.split_to(missing));
    }

    /// The length that a prefix tells, if all of it is there.
    fn length(&self, bytes: &[u8]) -> Result<Option<usize>, Status> {
        let Some(&[compressed, ref length @ ..]) = bytes.first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        if compressed != 0 {
            return Err(Status::internal(
                "the server compressed a message, which it was not asked for",
            ));
        }
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > self.most {
            return Err(Status::out_of_range(
                "the server sent a message that is longer than any of its API",
            ));
        }
        Ok(Some(length))
    }

    /// Nothing comes after these trailers. Without a status, nobody has said that this is the end.
    fn end(&self, trailers: Option<&http::HeaderMap>) -> Result<(), Status> {
        let status = trailers.and_then(Status::from_header_map);
        let status = status.unwrap_or_else(|| Status::unknown("the response has no status"));
        if status.code() != Code::Ok {
            return Err(status);
        }
        if !self.begun.is_empty() {
            return Err(Status::internal("the last message is not complete"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prn_proto::v1::GetOutputResponse;

    const MOST: usize = 70_000;

    fn framed(message: &GetOutputResponse) -> Vec<u8> {
        let message = message.encode_to_vec();
        [
            &[0][..],
            &u32::try_from(message.len()).unwrap().to_be_bytes(),
            &message,
        ]
        .concat()
    }

    fn taken(pieces: &[&[u8]]) -> Result<(Vec<GetOutputResponse>, Messages), Status> {
        let (mut all, mut messages) = (Vec::new(), Messages::new(MOST));
        for piece in pieces {
            messages.piece = Bytes::copy_from_slice(piece);
            while let Some(message) = messages.take()? {
                all.push(GetOutputResponse::decode(message).unwrap());
            }
            assert!(messages.piece.is_empty());
        }
        Ok((all, messages))
    }

    fn trailers(code: &'static str) -> http::HeaderMap {
        let code = http::HeaderValue::from_static(code);
        http::HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), code)])
    }

    #[test]
    fn messages_are_the_same_wherever_they_are_cut() {
        let empty = GetOutputResponse::default();
        let gap = GetOutputResponse {
            gap: Some(v1::OutputGap { from: 1, to: 300 }),
            ..empty.clone()
        };
        let data = GetOutputResponse {
            data: "0123456789".into(),
            offset: 300,
            ..empty.clone()
        };
        let sent = vec![gap, empty, data.clone(), data];
        let bytes: Vec<u8> = sent.iter().flat_map(framed).collect();
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                let (all, messages) = taken(&pieces).unwrap();
                assert_eq!(all, sent, "{first} {second}");
                messages.end(Some(&trailers("0"))).unwrap();
            }
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(taken(&single).unwrap().0, sent);
    }

    #[test]
    fn data_of_a_whole_message_is_not_copied() {
        let mut messages = Messages::new(MOST);
        let sent = GetOutputResponse {
            data: vec![7; 65_000].into(),
            ..GetOutputResponse::default()
        };
        messages.piece = framed(&sent).into();
        let place = messages.piece.as_ptr_range();
        let message = GetOutputResponse::decode(messages.take().unwrap().unwrap()).unwrap();
        assert!(message == sent && place.contains(&message.data.as_ptr()));
    }

    #[test]
    fn fields_of_a_later_api_are_passed_over() {
        let sent = GetOutputResponse {
            data: "x".into(),
            ..GetOutputResponse::default()
        };
        // Number 1000, a varint.
        let mut message = [&sent.encode_to_vec()[..], &[0xc0, 0x3e, 1]].concat();
        message.splice(
            0..0,
            [&[0; 4][..], &[u8::try_from(message.len()).unwrap()]].concat(),
        );
        assert_eq!(taken(&[&message]).unwrap().0, [sent]);
    }

    #[test]
    fn what_is_no_message_or_no_end_is_an_error() {
        let code = |pieces: &[&[u8]]| taken(pieces).map(|_| ()).unwrap_err().code();
        assert_eq!(code(&[&[1, 0, 0, 0, 0]]), Code::Internal);
        assert_eq!(code(&[&[0, 0, 1], &[0x11, 0x71]]), Code::OutOfRange);
        let (_, begun) = taken(&[&[0, 0, 0, 0, 9, 1]]).unwrap();
        assert_eq!(
            begun.end(Some(&trailers("0"))).unwrap_err().code(),
            Code::Internal
        );
        assert_eq!(
            begun.end(Some(&trailers("14"))).unwrap_err().code(),
            Code::Unavailable
        );
        let (_, whole) = taken(&[]).unwrap();
        assert_eq!(whole.end(None).unwrap_err().code(), Code::Unknown);
        assert_eq!(
            whole.end(Some(&http::HeaderMap::new())).unwrap_err().code(),
            Code::Unknown
        );
    }
}
