//! Bytes to values and back. Runs in both halves; trusts no byte that it decodes.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// They are not the postcard form of a valid value.
    #[error("not a valid message")]
    Malformed,
    /// Bytes are left over.
    #[error("bytes follow the message")]
    TrailingBytes,
    /// The same value has a shorter or other form.
    #[error("not in canonical form")]
    NotCanonical,
}

/// A value's postcard form.
///
/// # Errors
/// Only for values whose `Serialize` fails, which no type of this crate does.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_allocvec(value)
}

/// A value's postcard form, in a buffer: without allocation. Empty if it does not fit.
pub fn encode_into<'a, T: Serialize>(value: &T, buffer: &'a mut [u8]) -> &'a [u8] {
    postcard::to_slice(value, buffer).map_or(&[], |bytes| bytes)
}

/// The value whose canonical postcard form is exactly `bytes`.
///
/// Allocates at most a small multiple of `bytes.len()`: postcard reads lengths from the peer, but
/// reserves no more than the bytes that are left.
pub fn decode<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Result<T, DecodeError> {
    // `postcard::from_bytes` would ignore what follows.
    let (value, rest) =
        postcard::take_from_bytes::<T>(bytes).map_err(|_| DecodeError::Malformed)?;
    if !rest.is_empty() {
        return Err(DecodeError::TrailingBytes);
    }
    // A varint can be padded; two encodings of one message would let a peer hide something from a
    // log or a comparison.
    if encode(&value).map_err(|_| DecodeError::Malformed)? != bytes {
        return Err(DecodeError::NotCanonical);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i2_trailing_bytes_and_padded_varints_are_refused() {
        assert_eq!(decode::<u32>(&[5]), Ok(5));
        assert_eq!(decode::<u32>(&[5, 0]), Err(DecodeError::TrailingBytes));
        assert_eq!(decode::<u32>(&[0x85, 0x00]), Err(DecodeError::NotCanonical));
        assert_eq!(decode::<u32>(&[]), Err(DecodeError::Malformed));
    }
}
