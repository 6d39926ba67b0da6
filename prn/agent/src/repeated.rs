//! What would be said again and again for as long as it lasts.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// After so long the same is said again.
const AGAIN: Duration = Duration::from_secs(15 * 60);
/// Most different texts that are remembered.
const TEXTS_MAX: usize = 256;

/// What was said, and when.
#[derive(Debug, Default)]
pub struct Repeated {
    said: HashMap<String, Instant>,
}

impl Repeated {
    /// Whether this is to be said: it was not yet, or long ago. Digits make no difference: they are
    /// times of day, and how long something took.
    pub fn is_due(&mut self, text: &str, now: Instant) -> bool {
        let text = text.replace(|c: char| c.is_ascii_digit(), "");
        self.said.retain(|_, at| now < *at + AGAIN);
        if self.said.contains_key(&text) {
            return false;
        }
        if self.said.len() >= TEXTS_MAX {
            self.said.clear();
        }
        self.said.insert(text, now);
        true
    }

    /// It is over: whatever comes next is said.
    pub fn is_over(&mut self) {
        self.said.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_until_it_is_over_or_has_lasted_for_long() {
        let (mut repeated, begin) = (Repeated::default(), Instant::now());
        let mut is_due = |text, at| repeated.is_due(text, at);
        assert!(is_due("a: refused after 20 s", begin));
        assert!(is_due("b: timed out", begin));
        assert!(!is_due("a: refused after 21 s", begin + AGAIN / 2));
        assert!(!is_due("b: timed out", begin + AGAIN / 2));
        assert!(is_due("a: refused after 20 s", begin + AGAIN));
        repeated.is_over();
        assert!(repeated.is_due("a: refused after 20 s", begin + AGAIN));
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let (mut repeated, now) = (Repeated::default(), Instant::now());
        for number in 0..10 * TEXTS_MAX {
            let text = "x".repeat(number);
            assert!(repeated.is_due(&text, now));
            assert!(repeated.said.len() <= TEXTS_MAX);
        }
    }
}
