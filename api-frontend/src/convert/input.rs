//! What SendInput asks for, message by message.

use bytes::Bytes;
use prn_ipc_protocol::message::TerminalSize;
use prn_ipc_protocol::types::{Id, ProcessId};
use prn_proto::v1;

use crate::convert::fields::{InvalidField, Violations};
use crate::convert::id;
use crate::convert::terminal::size;

/// Most bytes of data in a message.
pub const DATA_MAX: usize = 64 * 1024;

/// What the first message of a stream says of all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// Whose input it is.
    pub id: ProcessId,
    /// The writer's name. `None`: one that nobody else has.
    pub writer: Option<Id>,
    /// Where the stream's first byte belongs in the input. `None`: after what was taken.
    pub offset: Option<u64>,
}

/// What any message brings: a size, then data, then the end.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    /// How large the terminal is from here on.
    pub size: Option<TerminalSize>,
    /// Bytes of the input.
    pub data: Bytes,
    /// Nothing follows.
    pub is_end: bool,
}

/// The first message of a stream.
pub fn opening(raw: v1::SendInputRequest) -> Result<(Opening, Piece), Violations> {
    let mut violations = Violations::default();
    let id = violations.check(id::named(raw.process_identifier));
    let writer = match raw.writer.as_str() {
        "" => Some(None),
        writer => violations.check(id::parsed(writer, "writer")).map(Some),
    };
    let offset = raw.offset;
    let piece = brought(raw.terminal_size, raw.data, raw.end, &mut violations);
    match (id, writer, piece) {
        (Some(id), Some(writer), Some(piece)) => Ok((Opening { id, writer, offset }, piece)),
        _ => Err(violations),
    }
}

/// A later message of a stream.
pub fn piece(raw: v1::SendInputRequest) -> Result<Piece, Violations> {
    let mut violations = Violations::default();
    let mut absent = |is_absent: bool, field| {
        let why = "is of the first message alone";
        let checked = is_absent.then_some(());
        violations.check(checked.ok_or_else(|| InvalidField::new(field, why)))
    };
    let named = absent(raw.process_identifier.is_none(), "process_identifier");
    let written = absent(raw.writer.is_empty(), "writer");
    let placed = absent(raw.offset.is_none(), "offset");
    let piece = brought(raw.terminal_size, raw.data, raw.end, &mut violations);
    match (named, written, placed, piece) {
        (Some(()), Some(()), Some(()), Some(piece)) => Ok(piece),
        _ => Err(violations),
    }
}

/// There is a message after the one that was the last.
pub fn after_the_end() -> InvalidField {
    InvalidField::new("end", "is of the last message alone")
}

fn brought(
    terminal_size: Option<v1::TerminalSize>,
    data: Bytes,
    is_end: bool,
    violations: &mut Violations,
) -> Option<Piece> {
    let checked = terminal_size.as_ref().map(size).transpose();
    let size = violations.check(checked);
    let data = violations.check(checked_data(data));
    Some(Piece {
        size: size?,
        data: data?,
        is_end,
    })
}

fn checked_data(data: Bytes) -> Result<Bytes, InvalidField> {
    if data.len() > DATA_MAX {
        let why = format!("must not exceed {DATA_MAX} bytes");
        return Err(InvalidField::new("data", why));
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00ff10a9e28b7c4d5566778899aabbcc";

    fn named(writer: &str) -> v1::SendInputRequest {
        v1::SendInputRequest {
            process_identifier: Some(v1::ProcessIdentifier { id: ID.to_owned() }),
            writer: writer.to_owned(),
            ..Default::default()
        }
    }

    fn fields<T: std::fmt::Debug>(read: Result<T, Violations>) -> Vec<String> {
        let violations = read.unwrap_err();
        let fields = violations.fields().map(|fault| fault.field.clone());
        fields.collect()
    }

    #[test]
    fn the_first_message_names_a_process_and_may_name_writer_and_offset() {
        let (plain, piece) = opening(named("")).unwrap();
        assert_eq!((plain.writer, plain.offset), (None, None));
        let nothing = Piece {
            size: None,
            data: Bytes::new(),
            is_end: false,
        };
        assert_eq!(piece, nothing);
        let (full, piece) = opening(v1::SendInputRequest {
            offset: Some(0),
            data: vec![7; DATA_MAX].into(),
            end: true,
            terminal_size: Some(v1::TerminalSize {
                rows: 1,
                columns: 2,
            }),
            ..named(ID)
        })
        .unwrap();
        assert_eq!((full.writer, full.offset), (Some(full.id), Some(0)));
        let size = TerminalSize {
            rows: 1,
            columns: 2,
        };
        assert_eq!((piece.size, piece.data.len()), (Some(size), DATA_MAX));
        assert!(piece.is_end);
    }

    #[test]
    fn all_malformed_fields_of_a_message_are_named_at_once() {
        let wild = || v1::SendInputRequest {
            writer: "x".into(),
            offset: Some(1),
            data: vec![0; DATA_MAX + 1].into(),
            terminal_size: Some(v1::TerminalSize::default()),
            ..Default::default()
        };
        let of_both = ["terminal_size.rows", "data"];
        let of_first = [&["process_identifier.id", "writer"][..], &of_both].concat();
        assert_eq!(fields(opening(wild())), of_first);
        let later = v1::SendInputRequest {
            process_identifier: Some(v1::ProcessIdentifier::default()),
            ..wild()
        };
        let of_later = [&["process_identifier", "writer", "offset"][..], &of_both].concat();
        assert_eq!(fields(piece(later)), of_later);
    }
}
