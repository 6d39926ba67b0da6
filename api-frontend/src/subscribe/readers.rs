//! How far the subscribers of one process have come. Pure.

use std::collections::BTreeMap;

use crate::subscribe::chunks::{NEAR, TOGETHER};

/// Up to where each subscriber has been sent the output, lately, and all of them.
#[derive(Debug, Default)]
pub struct Readers {
    by_number: BTreeMap<u64, Position>,
    last: u64,
    taken: u64,
}

/// How far a subscriber is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// All before it is on its way to the client.
    pub offset: u64,
    /// The process waits for it.
    pub is_awaited: bool,
}

impl Readers {
    /// One more, and its number.
    pub fn enter(&mut self, position: Position) -> u64 {
        self.last += 1;
        self.by_number.insert(self.last, position);
        self.last
    }

    /// One has come so far.
    pub fn arrive(&mut self, number: u64, position: Position) {
        self.by_number.insert(number, position);
    }

    /// One goes.
    pub fn leave(&mut self, number: u64) {
        self.by_number.remove(&number);
    }

    /// Where all that are awaited have arrived, if that is `step` further than what was told last.
    pub fn advance(&mut self, step: u64) -> Option<u64> {
        let awaited = self.by_number.values().filter(|reader| reader.is_awaited);
        let all = awaited.map(|reader| reader.offset).min()?;
        if all <= self.taken || all - self.taken < step {
            return None;
        }
        self.taken = all;
        Some(all)
    }

    /// Whether the process waits for any of them.
    pub fn are_any_awaited(&self) -> bool {
        self.by_number.values().any(|reader| reader.is_awaited)
    }

    /// Whether there are a few, and one of them is not at `offset` yet, but near it.
    pub fn are_some_behind(&self, offset: u64) -> bool {
        let is_behind =
            |reader: &Position| (1..=NEAR).contains(&offset.saturating_sub(reader.offset));
        self.by_number.len() <= TOGETHER && self.by_number.values().any(is_behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Position {
        Position {
            offset,
            is_awaited: true,
        }
    }

    #[test]
    fn only_those_that_are_awaited_say_up_to_where_the_output_was_taken() {
        let other = Position {
            is_awaited: false,
            ..at(0)
        };
        let mut readers = Readers::default();
        let first = readers.enter(at(500));
        readers.enter(other);
        assert_eq!(readers.advance(400), Some(500));
        assert_eq!(readers.advance(0), None, "that was told");
        assert!(readers.are_any_awaited());
        readers.leave(first);
        assert!(!readers.are_any_awaited());
        assert_eq!(readers.advance(0), None, "nobody is awaited");
    }

    #[test]
    fn a_reader_gives_way_to_a_few_who_are_behind() {
        let mut readers = Readers::default();
        for offset in [500, 700] {
            readers.enter(at(offset));
        }
        assert!(readers.are_some_behind(501));
        assert!(!readers.are_some_behind(500), "the last of them goes on");
        assert!(
            !readers.are_some_behind(701 + NEAR),
            "nobody waits for one who has stopped"
        );
        for _ in 0..TOGETHER {
            readers.enter(at(0));
        }
        assert!(
            !readers.are_some_behind(700),
            "so many share nothing by waiting"
        );
    }
}
