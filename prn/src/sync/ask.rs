//! Asking a workspace: an ordinary process in it, its input and its answer.

use bytes::Bytes;
use prn_client::InputPiece;
use tokio::sync::{mpsc, oneshot};

use super::error::SyncError;
use super::listing::Malformed;
use super::script::Program;
use crate::copy::fault::CopyFault;
use crate::copy::{Far, Fodder, QUEUE, talk};
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::which::internal::Script;

/// What to ask.
#[derive(Debug)]
pub struct Question {
    /// What is run.
    pub program: Program,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its whole standard input.
    pub input: Vec<u8>,
    /// An answer that is longer, in bytes, is no answer.
    pub most: usize,
}

/// Asks: returns all that is written to standard output. A process that does not succeed has not
/// answered.
///
/// # Errors
/// [`SyncError::Failed`], [`SyncError::Malformed`]; as [`talk`].
pub async fn ask(
    far: &mut Far<'_>,
    question: Question,
    interrupts: &mut Interrupts,
) -> Result<Vec<u8>, Failure> {
    let Program { text, what } = question.program;
    let script = Script {
        name: "prn-sync",
        text,
        arguments: question.arguments,
    };
    let (sink, answer) = mpsc::channel(QUEUE);
    let fodder = fodder(question.input.into());
    let talking = talk(far, script, Some(fodder), Some(sink), interrupts);
    let (talked, answer) = tokio::join!(talking, whole(answer, question.most));
    match (answer, talked) {
        // The process was stopped because of that.
        (None, _) => Err(SyncError::from(Malformed).into()),
        (Some(_), Err(Failure::Copy(CopyFault::Far(said)))) => {
            Err(SyncError::Failed { what, said }.into())
        }
        (Some(_), Err(Failure::CopyUnknown { source, .. })) => {
            Err(Failure::CopyUnknown { act: what, source })
        }
        (Some(_), Err(failure)) => Err(failure),
        (Some(bytes), Ok(())) => Ok(bytes),
    }
}

fn fodder(input: Bytes) -> Fodder {
    let (pieces, source) = mpsc::channel(2);
    for piece in [InputPiece::Data(input), InputPiece::End] {
        // There is room for two, and the other end is here.
        let _taken = pieces.try_send(piece);
    }
    let (_, end) = oneshot::channel();
    Fodder {
        pieces: source,
        end,
    }
}

/// All that comes. `None`: more than `most` bytes.
async fn whole(mut pieces: mpsc::Receiver<Bytes>, most: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.recv().await {
        if piece.len() > most.saturating_sub(bytes.len()) {
            return None;
        }
        bytes.extend_from_slice(&piece);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(pieces: &[&'static str], most: usize) -> Option<Vec<u8>> {
        let (sink, received) = mpsc::channel(pieces.len().max(1));
        for piece in pieces {
            sink.try_send(Bytes::from_static(piece.as_bytes())).unwrap();
        }
        drop(sink);
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(whole(received, most))
    }

    #[test]
    fn an_answer_is_whole_or_too_long() {
        assert_eq!(answered(&["ab", "c"], 3).unwrap(), b"abc");
        assert_eq!(answered(&["ab", "c"], 2), None);
        assert_eq!(answered(&[], 0).unwrap(), b"");
    }
}
