//! What would be said again and again for as long as it lasts.

use std::time::Duration;

use tokio::time::Instant;

/// After so long the same is said again.
const AGAIN: Duration = Duration::from_secs(15 * 60);

/// What was said last, and when.
#[derive(Debug, Default)]
pub struct Repeated {
    said: Option<(String, Instant)>,
}

impl Repeated {
    /// Whether this is to be said: it is another than the last, or that was long ago.
    pub fn is_due(&mut self, text: &str, now: Instant) -> bool {
        let is_said = |(said, at): &(String, Instant)| said == text && now < *at + AGAIN;
        if self.said.as_ref().is_some_and(is_said) {
            return false;
        }
        self.said = Some((text.to_owned(), now));
        true
    }

    /// It is over: the next one is said, whichever it is.
    pub fn is_over(&mut self) {
        self.said = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_until_it_is_over_or_has_lasted_for_long() {
        let (mut repeated, begin) = (Repeated::default(), Instant::now());
        assert!(repeated.is_due("refused", begin));
        assert!(!repeated.is_due("refused", begin + AGAIN / 2));
        assert!(repeated.is_due("timed out", begin + AGAIN / 2));
        assert!(repeated.is_due("refused", begin + AGAIN / 2));
        assert!(repeated.is_due("refused", begin + 2 * AGAIN));
        repeated.is_over();
        assert!(repeated.is_due("refused", begin + 2 * AGAIN));
    }
}
