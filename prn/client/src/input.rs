//! What a process reads as its standard input: what is asked for, and what is sent.

use bytes::Bytes;
use prn_proto::id::ProcessId;
use prn_proto::v1;

/// Most bytes of a piece of input ([`InputPiece::Data`]).
pub const INPUT_PIECE_MAX: usize = 64 * 1024;

/// What a new process is to read as its standard input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StandardInput {
    /// Nothing: /dev/null.
    #[default]
    None,
    /// A pipe that stays open until it is ended.
    Pipe,
    /// A terminal, of this size at first, which its standard output and error are as well.
    Terminal(TerminalSize),
}

impl StandardInput {
    /// What it is, whatever its size.
    pub fn kind(self) -> InputKind {
        match self {
            Self::None => InputKind::None,
            Self::Pipe => InputKind::Pipe,
            Self::Terminal(_) => InputKind::Terminal,
        }
    }

    pub(crate) fn terminal_size(self) -> Option<TerminalSize> {
        match self {
            Self::None | Self::Pipe => None,
            Self::Terminal(size) => Some(size),
        }
    }
}

/// What a process's standard input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "kebab-case")
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum InputKind {
    /// Nothing: /dev/null.
    None,
    /// A pipe.
    Pipe,
    /// A terminal.
    Terminal,
}

impl InputKind {
    /// Servers of before there was input say nothing of it.
    pub(crate) fn from_wire(raw: i32) -> Self {
        match v1::StandardInput::try_from(raw) {
            Ok(v1::StandardInput::Pipe) => Self::Pipe,
            Ok(v1::StandardInput::Terminal) => Self::Terminal,
            Ok(v1::StandardInput::None | v1::StandardInput::Unspecified) | Err(_) => Self::None,
        }
    }

    pub(crate) fn into_wire(self) -> v1::StandardInput {
        match self {
            Self::None => v1::StandardInput::None,
            Self::Pipe => v1::StandardInput::Pipe,
            Self::Terminal => v1::StandardInput::Terminal,
        }
    }
}

/// How large a terminal is, in characters. Neither is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters of a line.
    pub columns: u16,
}

impl From<TerminalSize> for v1::TerminalSize {
    fn from(size: TerminalSize) -> Self {
        Self {
            rows: size.rows.into(),
            columns: size.columns.into(),
        }
    }
}

/// How a stream of input begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InputOpening {
    /// Who writes ([`mint_writer`](crate::mint_writer)): a stream takes the place of an earlier one of the same writer.
    /// Empty: the server makes up a name.
    pub writer: String,
    /// Where its first byte belongs in all of the process's input. What was taken before is skipped.
    /// `None`: just after what was taken.
    pub offset: Option<u64>,
}

impl InputOpening {
    pub(crate) fn message(&self, id: ProcessId) -> v1::SendInputRequest {
        v1::SendInputRequest {
            process_identifier: Some(id.into()),
            writer: self.writer.clone(),
            offset: self.offset,
            ..v1::SendInputRequest::default()
        }
    }
}

/// A piece of input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputPiece {
    /// Bytes, cut anywhere; [`INPUT_PIECE_MAX`] of them at most.
    Data(Bytes),
    /// How large the process's terminal is from here on.
    Size(TerminalSize),
    /// The input ends here, for ever: the process reads an end of file. Without it, another stream
    /// can go on.
    End,
}

impl From<InputPiece> for v1::SendInputRequest {
    fn from(piece: InputPiece) -> Self {
        let mut message = Self::default();
        match piece {
            InputPiece::Data(data) => message.data = data,
            InputPiece::Size(size) => message.terminal_size = Some(size.into()),
            InputPiece::End => message.end = true,
        }
        message
    }
}

/// What became of a stream of input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct InputAnswer {
    /// Bytes of the process's input that were ever taken: where the next stream begins. `None`:
    /// nobody knows, since a part of the server has died that did.
    pub taken: Option<u64>,
    /// The input has ended, by this stream or before.
    pub ended: bool,
    /// Nobody reads it any more: the process has closed it, or has ended.
    pub closed: bool,
}

impl From<v1::SendInputResponse> for InputAnswer {
    fn from(response: v1::SendInputResponse) -> Self {
        Self {
            taken: response.taken,
            ended: response.ended,
            closed: response.closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mint::{mint_id, mint_writer};

    #[test]
    fn what_an_input_is_comes_back_from_the_wire_and_of_an_old_server_it_is_none() {
        for kind in [InputKind::None, InputKind::Pipe, InputKind::Terminal] {
            assert_eq!(InputKind::from_wire(kind.into_wire().into()), kind);
        }
        assert_eq!(InputKind::from_wire(0), InputKind::None);
        assert_eq!(InputKind::from_wire(99), InputKind::None);
    }

    #[test]
    fn the_first_message_alone_names_the_process_and_a_piece_is_one_message() {
        let id = mint_id().unwrap();
        let opening = InputOpening {
            writer: mint_writer().unwrap(),
            offset: Some(0),
        };
        let first = opening.message(id);
        assert_eq!(first.process_identifier.unwrap().id, id.to_string());
        assert_eq!((first.writer.len(), first.offset), (32, Some(0)));
        let data = v1::SendInputRequest::from(InputPiece::Data("ab".into()));
        assert_eq!((data.data, data.process_identifier), ("ab".into(), None));
        assert!(v1::SendInputRequest::from(InputPiece::End).end);
    }
}
