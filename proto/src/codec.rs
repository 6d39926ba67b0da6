//! How messages are read: as [`ProstCodec`](tonic_prost::ProstCodec) does, but for one that is made of
//! more parts than any honest message has.
//!
//! A limit of a message's bytes is none of the memory that it becomes: an entry of a list has two bytes
//! at least, and a process that is decoded from these takes about a thousand.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstDecoder, ProstEncoder};

/// Most fields of a message, and so most entries of its lists. The longest honest list is that of the ids
/// of removed processes: 4 MiB of 36 bytes each.
const PARTS_MAX: usize = 1 << 17;

/// Reads and writes messages of protocol buffers.
#[derive(Debug, Clone)]
pub struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(ProstDecoder::default())
    }
}

/// Reads messages.
#[derive(Debug, Clone)]
pub struct BoundedDecoder<U>(ProstDecoder<U>);

impl<U: Message + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // A message lies in one piece there.
        if has_more_parts(bytes::Buf::chunk(buffer), PARTS_MAX) {
            let why = format!("a message has more than {PARTS_MAX} parts");
            return Err(Status::resource_exhausted(why));
        }
        self.0.decode(buffer)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

/// Whether a message has more fields than `most`; those within its fields are not counted. What is no
/// message is for the decoder to refuse. (<https://protobuf.dev/programming-guides/encoding/>)
fn has_more_parts(mut message: &[u8], most: usize) -> bool {
    let mut parts = 0;
    while let Some(rest) = after_field(message) {
        parts += 1;
        if parts > most {
            return true;
        }
        message = rest;
    }
    false
}

/// What follows the first field.
fn after_field(message: &[u8]) -> Option<&[u8]> {
    let (tag, rest) = varint(message)?;
    match tag & 7 {
        0 => varint(rest).map(|(_, rest)| rest),
        1 => rest.get(8..),
        2 => {
            let (length, rest) = varint(rest)?;
            rest.get(usize::try_from(length).ok()?..)
        }
        // The begin or the end of a group, which the decoder goes through: what is in it counts.
        3 | 4 => Some(rest),
        5 => rest.get(4..),
        _ => None,
    }
}

/// A number of up to ten bytes, seven bits in each, and what follows it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let length = bytes.iter().take(10).position(|byte| *byte < 0x80)? + 1;
    let (number, rest) = bytes.split_at_checked(length)?;
    let bits = number.iter().rev();
    let number = bits.fold(0, |number: u64, byte| {
        number.wrapping_shl(7) | u64::from(byte & 0x7f)
    });
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;

    #[test]
    fn entries_of_lists_count_and_what_is_in_them_does_not() {
        let process = v1::Process {
            status: Some(v1::ProcessStatus {
                argv: vec![String::new(); 100],
                ..v1::ProcessStatus::default()
            }),
            ..v1::Process::default()
        };
        let list = v1::ListResponse {
            processes: vec![process; 9],
            boot_epoch: "x".repeat(300),
            left_out: u64::MAX,
            ..v1::ListResponse::default()
        };
        let message = list.encode_to_vec();
        assert!(!has_more_parts(&message, 11));
        assert!(has_more_parts(&message, 10));
        let pressure = v1::Pressure {
            some_avg10: 1.0,
            full_avg60: 2.0,
            ..v1::Pressure::default()
        };
        let message = pressure.encode_to_vec();
        assert!(has_more_parts(&message, 1) && !has_more_parts(&message, 2));
    }

    #[test]
    fn what_is_no_message_has_no_more_parts_than_those_before() {
        for bytes in [&[0x08][..], &[0x80; 20], &[0x0a, 5, 0], &[0x0f], &[0x09, 1]] {
            assert!(!has_more_parts(bytes, 0), "{bytes:?}");
        }
        assert!(!has_more_parts(&[0x08, 1, 0x0a, 0xff], 1));
        assert!(has_more_parts(&[0x0b, 0x0b, 0x0c, 0x0c], 3), "groups");
    }
}
