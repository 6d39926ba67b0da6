//! Lines of a log: what makes one of a message and its fields, keeps it one line, counts those that
//! nobody took, and tells an error with its causes. Linked by both halves and by what starts them;
//! pure.

use std::error::Error;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::types::UnixMicros;

/// Lines that the supervisor passes on of a frontend's in a second, at most: a service manager's
/// own limit leaves room beside.
pub const LINES_A_SECOND: usize = 128;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something that was to happen does not.
    Error,
    /// Something is less than it could be, or somebody is not what he should be.
    Warning,
    /// It is in order.
    Info,
}

impl Level {
    /// Its name, and how a line of that priority begins for the journal (sd-daemon(3)).
    pub const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Error => ("error", "<3>"),
            Self::Warning => ("warning", "<4>"),
            Self::Info => ("info", "<6>"),
        }
    }
}

/// What a line says beside its message: at most [`FIELDS_MAX`] names of [`NAMES`], with values.
pub type Fields<'a> = &'a [(&'a str, &'a str)];

/// Most fields of a line.
pub const FIELDS_MAX: usize = 4;
/// All names of fields. None of them is what JSON has for the line itself.
pub const NAMES: [&str; 5] = ["error", "peer", "process", "uid", "workspace"];

/// How lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Style {
    /// Each is a JSON object, not text.
    pub is_json: bool,
    /// The journal reads them: each begins with its priority (sd-daemon(3)).
    pub has_priority: bool,
}

impl Style {
    /// A line with its end, of `max` bytes at most, which are 512 at least: what a program says,
    /// how much that matters, and when it was.
    pub fn line(
        self,
        program: &str,
        level: Level,
        message: &str,
        fields: Fields<'_>,
        UnixMicros(at): UnixMicros,
        max: usize,
    ) -> String {
        // Room for names, for what closes a line, and for telling that something was cut.
        let max = max.saturating_sub(128);
        let (word, priority) = level.words();
        let mut line = String::from(if self.has_priority { priority } else { "" });
        let push_quoted = |line: &mut String, text: &str| {
            // `Debug` escapes what JSON does, for nothing else is left: quotes and backslashes.
            let mut plain = String::new();
            let room = max.saturating_sub(line.len()) / 2;
            push_escaped(&mut plain, text, Backslash::Kept, room);
            let _never = write!(line, "{plain:?}");
        };
        if self.is_json {
            let _never = write!(
                line,
                r#"{{"at":{at},"level":"{word}","program":"{program}","#
            );
            line.push_str(r#""message":"#);
            push_quoted(&mut line, message);
        } else {
            let _never = write!(line, "{program}: ");
            push_escaped(&mut line, message, Backslash::Kept, max);
        }
        for (name, value) in fields {
            let _never = match self.is_json {
                true => write!(line, ",\"{name}\":"),
                false => write!(line, " {name}="),
            };
            push_quoted(&mut line, value);
        }
        line + if self.is_json { "}\n" } else { "\n" }
    }
}

/// Between a message and fields on their way to the half that writes the log.
pub const SEPARATOR: char = '\u{1f}';

/// What another program has said: how much it matters, its message and fields. What is none is left
/// out.
pub fn heard(text: &str) -> (Level, &str, Vec<(&str, &str)>) {
    let levels = [Level::Error, Level::Warning, Level::Info];
    let said = |level: Level| Some((level, text.strip_prefix(level.words().1)?));
    let said = levels.into_iter().find_map(said);
    let (level, text) = said.unwrap_or((Level::Warning, text));
    let mut parts = text.split(SEPARATOR);
    let message = parts.next().unwrap_or_default();
    let fields = parts.filter_map(|part| part.split_once('='));
    let fields = fields.filter(|(name, _)| NAMES.contains(name));
    (level, message, fields.take(FIELDS_MAX).collect())
}

/// What becomes of a backslash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backslash {
    /// It is escaped, so that what was escaped here can be told apart.
    Escaped,
    /// It stays: the text was escaped before.
    Kept,
}

/// Appends a text to a line, escaped so that it can neither end the line nor drive a terminal, up to
/// `max` bytes of the line. What has no room is left out, and a character in its place.
pub fn push_escaped(line: &mut String, text: &str, backslash: Backslash, max: usize) {
    for character in text.chars() {
        let begun = line.len();
        match (character, backslash) {
            // No line can be made of these.
            ('"' | '\'', _) | ('\\', Backslash::Kept) => line.push(character),
            _ => line.extend(character.escape_debug()),
        }
        if line.len() > max {
            line.truncate(begun);
            return line.push('…');
        }
    }
}

/// Counts the lines that could not be written since one could, and says so before the next one that
/// can.
#[derive(Debug)]
pub struct Lost {
    tell: fn(&str) -> String,
    count: AtomicU64,
}

impl Lost {
    /// None yet. `tell` makes a line of what is to be said of them.
    pub const fn new(tell: fn(&str) -> String) -> Self {
        let count = AtomicU64::new(0);
        Self { tell, count }
    }

    /// Writes a line with its end, and before it how many were lost, if any were. `write_now` says
    /// whether it was taken at once and whole.
    pub fn write(&self, line: &str, write_now: impl Fn(&str) -> bool) {
        let lost = self.count.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let told = format!("{lost} lines of this log were lost: nobody read it");
            if !write_now(&(self.tell)(&told)) {
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
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::RefCell;

    fn line(style: Style, message: &str, fields: Fields<'_>, max: usize) -> String {
        style.line("prn-x", Level::Warning, message, fields, UnixMicros(7), max)
    }

    const TEXT: Style = Style {
        is_json: false,
        has_priority: false,
    };
    const JSON: Style = Style {
        is_json: true,
        has_priority: false,
    };

    #[test]
    fn a_line_has_its_priority_and_its_fields() {
        let fields = &[("peer", "[::1]:5"), ("error", "no \"x\"")][..];
        let journal = Style {
            has_priority: true,
            ..TEXT
        };
        assert_eq!(
            line(journal, "it's \"so\"", fields, 512),
            "<4>prn-x: it's \"so\" peer=\"[::1]:5\" error=\"no \\\"x\\\"\"\n"
        );
        assert_eq!(
            line(JSON, "it's \"so\"", fields, 512),
            "{\"at\":7,\"level\":\"warning\",\"program\":\"prn-x\",\"message\":\"it's \\\"so\\\"\",\
             \"peer\":\"[::1]:5\",\"error\":\"no \\\"x\\\"\"}\n"
        );
        assert_eq!(line(TEXT, "m", &[], 512), "prn-x: m\n");
        assert_eq!(
            line(JSON, "m", &[], 512),
            "{\"at\":7,\"level\":\"warning\",\"program\":\"prn-x\",\"message\":\"m\"}\n"
        );
    }

    #[test]
    fn what_is_heard_is_a_level_a_message_and_fields_whatever_it_is() {
        let fields = vec![("peer", "a=b"), ("error", "")];
        for (text, expected) in [
            (
                "<3>m\u{1f}peer=a=b\u{1f}error=",
                (Level::Error, "m", fields),
            ),
            ("<4>m", (Level::Warning, "m", vec![])),
            ("m", (Level::Warning, "m", vec![])),
            ("<0>m", (Level::Warning, "<0>m", vec![])),
            (
                "<6>\u{1f}Peer=x\u{1f}=y\u{1f}z\u{1f}level=e\u{1f}at=1\u{1f}program=p",
                (Level::Info, "", vec![]),
            ),
        ] {
            assert_eq!(heard(text), expected, "{text:?}");
        }
    }

    #[test]
    fn s11_a_line_is_one_line_of_bounded_length_whatever_is_in_it() {
        let escaped = |text: &str, backslash| {
            let mut line = "n: ".to_owned();
            push_escaped(&mut line, text, backslash, 100);
            line
        };
        for (text, once, again) in [
            ("a\nb\u{1b}[0m", "n: a\\nb\\u{1b}[0m", "n: a\\nb\\u{1b}[0m"),
            ("it's \"so\"", "n: it's \"so\"", "n: it's \"so\""),
            ("a\\nb", "n: a\\\\nb", "n: a\\nb"),
        ] {
            assert_eq!(escaped(text, Backslash::Escaped), once);
            assert_eq!(escaped(text, Backslash::Kept), again);
        }
        for text in ["é".repeat(99), "\n".repeat(99), "\u{1b}".repeat(99)] {
            let line = escaped(&text, Backslash::Kept);
            assert!((97..=103).contains(&line.len()), "{}", line.len());
            assert!(line.ends_with('…'), "{line}");
        }
    }

    proptest! {
        #[test]
        fn s11_whatever_is_said_is_one_line_of_bounded_length_and_json_one_object(
            message in "(?s).{0,300}",
            values in prop::collection::vec("(?s).{0,300}", 0..=FIELDS_MAX),
            max in 512..1200usize,
        ) {
            let fields: Vec<_> = values.iter().map(|value| ("workspace", value.as_str())).collect();
            for style in [TEXT, JSON] {
                let line = line(style, &message, &fields, max);
                prop_assert!(line.len() <= max, "{}", line.len());
                let content = line.strip_suffix('\n').unwrap();
                prop_assert!(!content.contains(char::is_control), "{}", content);
            }
            let object = |max| {
                let line = line(JSON, &message, &fields, max);
                serde_json::from_str::<serde_json::Value>(&line)
            };
            prop_assert!(object(max).is_ok());
            let mut text = String::new();
            push_escaped(&mut text, &message, Backslash::Kept, usize::MAX);
            prop_assert_eq!(&object(1 << 20).unwrap()["message"], &text);
        }

        #[test]
        fn what_is_heard_fits_into_a_line_whatever_it_is(
            text in "(?s).{0,300}|(\u{1f}(peer|error|at|level|x)=.{0,99}){0,9}",
        ) {
            let (level, message, fields) = heard(&text);
            let line = JSON.line("prn-x", level, message, &fields, UnixMicros(7), 512);
            prop_assert!(line.len() <= 512, "{}", line.len());
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(&value["at"], 7);
            prop_assert_eq!(&value["program"], "prn-x");
        }
    }

    #[test]
    fn lines_that_nobody_takes_are_counted_and_told_of_once() {
        let lost = Lost::new(|told| format!("n: {told}\n"));
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
        let lost = Lost::new(|told| format!("{told}\n"));
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
