//! What waits to be written to a pipe, and how that goes. Pure.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf, Bytes};

/// What waits.
#[derive(Debug, Default)]
pub struct Queue {
    pieces: VecDeque<Bytes>,
    /// Of all of them together.
    bytes: usize,
    state: State,
    /// Somebody waits until no more than this waits.
    asked: Option<Most>,
}

/// How much may wait. A piece may hold more memory than its bytes: the message that it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Most {
    /// Of all pieces together.
    pub bytes: usize,
    /// So many.
    pub pieces: usize,
}

impl Most {
    /// Nothing waits.
    pub const NOTHING: Self = Self {
        bytes: 0,
        pieces: 0,
    };
}

/// How writing goes.
#[derive(Debug, Default)]
pub enum State {
    /// There is nothing to write.
    #[default]
    Idle,
    /// A thread writes.
    Writing,
    /// The pipe has no room, and no thread waits for it.
    Full,
    /// Nobody reads it any more.
    Closed,
    /// As write(2).
    Failed(io::Error),
}

/// Whether a thread has to begin to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Thread {
    /// There is none, and something to write.
    Begins,
    /// There is one, or nothing that it could write.
    Stays,
}

/// Whether somebody waits for what has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// He is to be told.
    Told,
    /// Nobody does.
    Silent,
}

impl Queue {
    /// Takes one more piece.
    pub fn push(&mut self, piece: Bytes) -> Thread {
        if piece.is_empty() || self.has_ended() {
            return Thread::Stays;
        }
        self.bytes += piece.len();
        self.pieces.push_back(piece);
        match self.state {
            State::Idle => {
                self.state = State::Writing;
                Thread::Begins
            }
            State::Writing | State::Full | State::Closed | State::Failed(_) => Thread::Stays,
        }
    }

    /// What the thread writes next. `None`: it has nothing to do here any more.
    pub fn piece(&mut self) -> Option<Bytes> {
        match self.state {
            State::Idle | State::Full | State::Closed | State::Failed(_) => None,
            State::Writing => {
                let piece = self.pieces.front().cloned();
                if piece.is_none() {
                    self.state = State::Idle;
                }
                piece
            }
        }
    }

    /// The pipe has taken so much of it.
    pub fn took(&mut self, bytes: usize) -> Progress {
        if let Some(piece) = self.pieces.front_mut() {
            let taken = bytes.min(piece.len());
            piece.advance(taken);
            self.bytes -= taken;
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        if self.asked.is_some_and(|asked| self.has_at_most(asked)) {
            self.asked = None;
            return Progress::Told;
        }
        Progress::Silent
    }

    /// The thread stops, and this is why.
    ///
    /// Who waits is to be told.
    pub fn halt(&mut self, state: State) {
        self.state = state;
        self.asked = None;
    }

    /// There is room again.
    pub fn go_on(&mut self) -> Thread {
        if !self.is_full() {
            return Thread::Stays;
        }
        self.state = State::Writing;
        Thread::Begins
    }

    /// Whether no more than this waits. If more does, it is told when that has changed.
    pub fn is_within(&mut self, most: Most) -> bool {
        let is_within = self.has_at_most(most);
        self.asked = (!is_within).then_some(most);
        is_within
    }

    fn has_at_most(&self, most: Most) -> bool {
        self.bytes <= most.bytes && self.pieces.len() <= most.pieces
    }

    /// How it has ended, if it has.
    pub fn end(&mut self) -> Option<io::Result<()>> {
        match std::mem::take(&mut self.state) {
            // An error is told once.
            State::Failed(error) => {
                self.state = State::Closed;
                Some(Err(error))
            }
            State::Closed => {
                self.state = State::Closed;
                Some(Ok(()))
            }
            state @ (State::Idle | State::Writing | State::Full) => {
                self.state = state;
                None
            }
        }
    }

    /// Whether nothing more can be written.
    pub fn has_ended(&self) -> bool {
        match self.state {
            State::Closed | State::Failed(_) => true,
            State::Idle | State::Writing | State::Full => false,
        }
    }

    /// Whether somebody has to wait for room.
    pub fn is_full(&self) -> bool {
        match self.state {
            State::Full => true,
            State::Idle | State::Writing | State::Closed | State::Failed(_) => false,
        }
    }

    /// Nothing of it is to be written any more.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: usize) -> Bytes {
        vec![7; length].into()
    }

    #[test]
    fn one_thread_at_a_time_writes_and_goes_when_there_is_nothing() {
        let mut queue = Queue::default();
        assert_eq!(queue.push(Bytes::new()), Thread::Stays);
        assert_eq!(queue.piece(), None);
        assert_eq!(queue.push(bytes(3)), Thread::Begins);
        assert_eq!(queue.push(bytes(2)), Thread::Stays);
        assert_eq!(queue.piece(), Some(bytes(3)));
        queue.took(2);
        assert_eq!(queue.piece(), Some(bytes(1)));
        queue.took(1);
        assert_eq!(queue.piece(), Some(bytes(2)));
        queue.took(2);
        assert_eq!(queue.piece(), None);
        assert_eq!(queue.push(bytes(1)), Thread::Begins);
    }

    #[test]
    fn who_waits_is_told_once_when_little_enough_waits() {
        let mut queue = Queue::default();
        let most = |bytes| Most { bytes, pieces: 1 };
        assert!(queue.is_within(Most::NOTHING));
        assert_eq!(queue.push(bytes(4)), Thread::Begins);
        assert!(queue.is_within(most(4)));
        assert_eq!(queue.took(1), Progress::Silent);
        assert!(!queue.is_within(most(1)));
        assert_eq!(queue.took(1), Progress::Silent);
        assert_eq!(queue.took(1), Progress::Told);
        assert_eq!(queue.took(1), Progress::Silent);
    }

    #[test]
    fn pieces_are_bounded_however_small_they_are() {
        let mut queue = Queue::default();
        let most = Most {
            bytes: 100,
            pieces: 1,
        };
        let _begins = queue.push(bytes(1));
        assert!(queue.is_within(most));
        let _stays = queue.push(bytes(1));
        assert!(!queue.is_within(most));
        assert_eq!(queue.took(1), Progress::Told);
    }

    #[test]
    fn a_full_pipe_takes_what_waits_once_it_has_room() {
        let mut queue = Queue::default();
        assert_eq!(queue.go_on(), Thread::Stays);
        assert_eq!(queue.push(bytes(4)), Thread::Begins);
        queue.halt(State::Full);
        assert_eq!(queue.piece(), None);
        assert_eq!(queue.push(bytes(4)), Thread::Stays);
        assert!(queue.is_full());
        assert_eq!(queue.go_on(), Thread::Begins);
        assert_eq!(queue.go_on(), Thread::Stays);
        assert_eq!(queue.piece(), Some(bytes(4)));
    }

    #[test]
    fn an_error_is_told_once_and_nothing_is_written_after_it() {
        let mut queue = Queue::default();
        assert_eq!(queue.push(bytes(4)), Thread::Begins);
        assert!(queue.end().is_none());
        queue.halt(State::Failed(io::ErrorKind::Other.into()));
        assert!(queue.has_ended());
        assert_eq!(queue.push(bytes(4)), Thread::Stays);
        assert_eq!(queue.go_on(), Thread::Stays);
        assert!(queue.end().unwrap().is_err());
        assert!(queue.end().unwrap().is_ok());
        assert_eq!(queue.piece(), None);
    }

    #[test]
    fn nothing_is_left_of_what_is_not_to_be_written() {
        let mut queue = Queue::default();
        assert_eq!(queue.push(bytes(4)), Thread::Begins);
        queue.clear();
        // The thread comes back from a write that was under way.
        queue.took(4);
        assert_eq!(queue.piece(), None);
        assert!(queue.is_within(Most::NOTHING));
    }
}
