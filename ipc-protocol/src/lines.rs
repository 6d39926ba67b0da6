//! Lines of a log: what keeps each one line, counts those that nobody took, and tells an error with
//! its causes. Linked by both halves; pure.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};

/// What becomes of a backslash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backslash {
    /// It is escaped, so that what was escaped here can be told apart.
    Escaped,
    /// It stays: the text was escaped before.
    Kept,
}

/// Whether a text had room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It did.
    Whole,
    /// Its end was left out.
    Cut,
}

/// Appends a text to a line, escaped so that it can neither end the line nor drive a terminal, up to
/// `max` bytes of the line.
pub fn push_escaped(line: &mut String, text: &str, backslash: Backslash, max: usize) -> Fit {
    for character in text.chars() {
        match (character, backslash) {
            // No line can be made of these.
            ('"' | '\'', _) | ('\\', Backslash::Kept) => line.push(character),
            _ => line.extend(character.escape_debug()),
        }
        if line.len() > max {
            while line.len() > max {
                line.pop();
            }
            return Fit::Cut;
        }
    }
    Fit::Whole
}

/// Counts the lines that could not be written since one could, and says so before the next one that
/// can.
#[derive(Debug)]
pub struct Lost {
    name: &'static str,
    count: AtomicU64,
}

impl Lost {
    /// None yet. What it says begins with this name.
    pub const fn new(name: &'static str) -> Self {
        let count = AtomicU64::new(0);
        Self { name, count }
    }

    /// Writes a line with its end, and before it how many were lost, if any were. `write_now` says
    /// whether it was taken at once and whole.
    pub fn write(&self, line: &str, write_now: impl Fn(&str) -> bool) {
        let lost = self.count.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let name = self.name;
            let told = format!("{name}{lost} lines of this log were lost: nobody read it\n");
            if !write_now(&told) {
                self.count.fetch_add(lost + 1, Ordering::Relaxed);
                return;
            }
        }
        if !write_now(line) {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// An error and its causes, on one line.
pub fn chain(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn s11_a_line_is_one_line_of_bounded_length_whatever_is_in_it() {
        let escaped = |text, backslash| {
            let mut line = "n: ".to_owned();
            assert_eq!(push_escaped(&mut line, text, backslash, 100), Fit::Whole);
            line
        };
        for (text, fresh, again) in [
            ("a\nb\u{1b}[0m", "n: a\\nb\\u{1b}[0m", "n: a\\nb\\u{1b}[0m"),
            ("it's \"so\"", "n: it's \"so\"", "n: it's \"so\""),
            ("a\\nb", "n: a\\\\nb", "n: a\\nb"),
        ] {
            assert_eq!(escaped(text, Backslash::Escaped), fresh);
            assert_eq!(escaped(text, Backslash::Kept), again);
        }
        for text in ["é".repeat(99), "\n".repeat(99), "\u{1b}".repeat(99)] {
            let mut line = "n: ".to_owned();
            let fit = push_escaped(&mut line, &text, Backslash::Kept, 100);
            assert_eq!(fit, Fit::Cut);
            assert!((99..=100).contains(&line.len()), "{}", line.len());
        }
    }

    #[test]
    fn lines_that_nobody_takes_are_counted_and_told_of_once() {
        let lost = Lost::new("n: ");
        let taken = RefCell::new(Vec::new());
        let write = |line: &str| {
            taken.borrow_mut().push(line.to_owned());
            true
        };
        lost.write("one\n", write);
        for _ in 0..3 {
            lost.write("lost\n", |_| false);
        }
        lost.write("two\n", write);
        lost.write("three\n", write);
        let told = "n: 3 lines of this log were lost: nobody read it\n";
        assert_eq!(taken.into_inner(), ["one\n", told, "two\n", "three\n"]);
    }

    #[test]
    fn a_line_that_is_lost_after_it_was_told_counts_anew() {
        let lost = Lost::new("");
        lost.write("lost\n", |_| false);
        // What tells of the first is taken, and then nothing more.
        lost.write("lost\n", |line| line.starts_with('1'));
        lost.write("two\n", |line| {
            let is_told = line == "1 lines of this log were lost: nobody read it\n";
            assert!(is_told || line == "two\n", "{line}");
            true
        });
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] crate::codec::DecodeError);
        let error = Outer(crate::codec::DecodeError::TrailingBytes);
        assert_eq!(chain(&error), "outer: bytes follow the message");
    }
}
