//! What a call hands to what is around it ([`crate::envelope`]) with its response.

use hyper::HeaderMap;
use prost::Message;
use tonic::Response;

/// Names the compressions that the client asks for. [`crate::envelope`] leaves it only where there
/// is one.
pub const ACCEPT_ENCODING: &str = "grpc-accept-encoding";

/// What has to be known of a response with one message, in its extensions.
#[derive(Debug, Clone, Default)]
pub struct Outgoing {
    /// Of the message.
    pub bytes: usize,
    /// Further trailing metadata.
    pub trailers: HeaderMap,
}

/// A response with one message.
pub fn response<T: Message>(message: T, trailers: HeaderMap) -> Response<T> {
    let outgoing = Outgoing {
        bytes: message.encoded_len(),
        trailers,
    };
    let mut response = Response::new(message);
    response.extensions_mut().insert(outgoing);
    response
}
