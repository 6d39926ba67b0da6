//! Lines of the audit, and the chain that they make. Runs in the supervisor; pure.
//!
//! A line is one JSON object in ASCII, its keys always in the same order, of less than 4,096 bytes:
//! as many as a pipe takes whole or not at all (PIPE_BUF, pipe(7)). `prev` is the SHA-256 of the
//! line before it, without its line feed; zeros in the first of a run. What comes from a peer is
//! escaped and cut here, and stands in a string: it can neither end its line nor look like a field.

use std::fmt::Write;

use prn_ipc_protocol::types::{AccessName, Digest, Id, UnixMicros};

use super::words::Event;

/// Most bytes of one string, and of all words of a command, as they are escaped. All else that is
/// in a line is short, and together less than half of one.
const TEXT_MAX: usize = 512;
const WORDS_MAX: usize = 1536;

/// What this program knows of something that happened: fields of a JSON object.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    fields: String,
    /// One of them was longer than there is room for.
    is_cut: bool,
}

impl Facts {
    /// With a string.
    pub fn text(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        self.is_cut |= push_string(&mut self.fields, value, TEXT_MAX);
        self
    }

    /// With a number.
    pub fn number(mut self, key: &str, value: u64) -> Self {
        self.key(key);
        let _never = write!(self.fields, "{value}");
        self
    }

    /// With yes or no.
    pub fn switch(mut self, key: &str, is_on: bool) -> Self {
        self.key(key);
        let _never = write!(self.fields, "{is_on}");
        self
    }

    /// With words, as many as there is room for.
    pub fn words<'a>(mut self, key: &str, words: impl Iterator<Item = &'a [u8]>) -> Self {
        self.key(key);
        let end = self.fields.len() + WORDS_MAX;
        let mut separator = '[';
        for word in words {
            if self.fields.len() >= end {
                self.is_cut = true;
                break;
            }
            self.fields.push(separator);
            let left = end - self.fields.len();
            let word = String::from_utf8_lossy(word);
            self.is_cut |= push_string(&mut self.fields, &word, left);
            separator = ',';
        }
        self.fields.push(']');
        self
    }

    /// All of it, and whether something of it is missing.
    fn finish(self) -> String {
        if self.is_cut {
            self.switch("cut", true).fields
        } else {
            self.fields
        }
    }

    fn key(&mut self, key: &str) {
        if !self.fields.is_empty() {
            self.fields.push(',');
        }
        let _never = write!(self.fields, "\"{key}\":");
    }
}

/// A string in its quotes, in printable ASCII, cut where it is longer than so much. Returns whether
/// it was.
fn push_string(to: &mut String, text: &str, max: usize) -> bool {
    let end = to.len() + max;
    to.push('"');
    let mut units = [0; 2];
    let mut is_cut = false;
    for character in text.chars() {
        if to.len() >= end {
            is_cut = true;
            break;
        }
        match character {
            '"' | '\\' => to.extend(['\\', character]),
            ' '..='~' => to.push(character),
            other => {
                for unit in other.encode_utf16(&mut units) {
                    let _never = write!(to, "\\u{unit:04x}");
                }
            }
        }
    }
    to.push('"');
    is_cut
}

/// Something that happened.
#[derive(Debug)]
pub struct Entry<'a> {
    /// What.
    pub event: Event,
    /// To which process, or to which workspace.
    pub of: Option<String>,
    /// Who the frontend says has asked.
    pub principal: Option<&'a AccessName>,
    /// What else it says.
    pub asserted: Facts,
    /// What this program knows of it.
    pub facts: Facts,
}

/// Where the lines of a run are.
#[derive(Debug)]
pub struct Chain {
    epoch: Id,
    seq: u64,
    prev: Digest,
    lost: u64,
}

impl Chain {
    /// Of no line yet.
    pub fn new(epoch: Id) -> Self {
        Self {
            epoch,
            seq: 0,
            prev: Digest([0; 32]),
            lost: 0,
        }
    }

    /// The next line, without its end. It counts from now on, whether it is written or not.
    pub fn next(&mut self, at: UnixMicros, entry: Entry<'_>) -> String {
        self.seq += 1;
        let mut line = String::with_capacity(1024);
        let (seq, at, epoch, event) = (self.seq, at.0, self.epoch, entry.event.word());
        let _never = write!(
            line,
            "{{\"seq\":{seq},\"at\":{at},\"epoch\":\"{epoch}\",\"event\":\"{event}\""
        );
        if let Some(of) = &entry.of {
            let _never = write!(line, ",\"id\":\"{of}\"");
        }
        if let Some(principal) = entry.principal {
            let _never = write!(line, ",\"asserted\":{{\"principal\":\"{principal}\"");
            let asserted = entry.asserted.finish();
            let separator = if asserted.is_empty() { "" } else { "," };
            let _never = write!(line, "{separator}{asserted}}}");
        }
        let _never = write!(line, ",\"verified\":{{{}}}", entry.facts.finish());
        if self.lost > 0 {
            let _never = write!(line, ",\"lost\":{}", self.lost);
        }
        let _never = write!(line, ",\"prev\":\"{}\"}}", self.prev);
        line
    }

    /// That line was written.
    pub fn written(&mut self, line: &str) {
        self.prev = Digest::of(line.as_bytes());
        self.lost = 0;
    }

    /// It was not: the next one says so.
    pub fn lost(&mut self) {
        self.lost += 1;
    }

    /// How many were not, since the last one that was.
    pub fn lost_now(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(chain: &mut Chain, facts: Facts) -> String {
        let principal = "anna".to_owned().try_into().unwrap();
        let entry = Entry {
            event: Event::Start,
            of: Some("07".repeat(16)),
            principal: Some(&principal),
            asserted: Facts::default(),
            facts,
        };
        chain.next(UnixMicros(5), entry)
    }

    #[test]
    fn a_line_has_its_form_and_the_hash_of_the_one_before() {
        let mut chain = Chain::new(Id::from_bytes([1; 16]));
        let facts = || Facts::default().text("outcome", "allowed").number("uid", 7);
        let first = line(&mut chain, facts());
        let expected = format!(
            "{{\"seq\":1,\"at\":5,\"epoch\":\"{}\",\"event\":\"start\",\"id\":\"{}\",\
             \"asserted\":{{\"principal\":\"anna\"}},\"verified\":{{\"outcome\":\"allowed\",\"uid\":7}},\
             \"prev\":\"{}\"}}",
            "01".repeat(16),
            "07".repeat(16),
            "0".repeat(64)
        );
        assert_eq!(first, expected);
        chain.written(&first);
        line(&mut chain, facts());
        chain.lost();
        let third = line(&mut chain, facts());
        let end = format!(
            ",\"lost\":1,\"prev\":\"{}\"}}",
            Digest::of(first.as_bytes())
        );
        assert!(
            third.starts_with("{\"seq\":3,") && third.ends_with(&end),
            "{third}"
        );
    }

    proptest! {
        #[test]
        fn whatever_a_peer_says_a_line_is_one_short_line_of_plain_text(
            words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..40),
            text in ".{0,2000}",
        ) {
            let facts = Facts::default()
                .words("argv", words.iter().map(Vec::as_slice))
                .text("why", &text);
            let line = line(&mut Chain::new(Id::from_bytes([255; 16])), facts);
            prop_assert!(line.len() < 4096, "{}", line.len());
            prop_assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{}", line);
        }
    }

    #[test]
    fn what_looks_like_a_field_stays_a_word() {
        let forged: &[u8] = b"x\"],\"outcome\":\"allowed\",\"y\":[\"\n\x1b[2J\xff";
        let facts = Facts::default().words("argv", [forged].into_iter());
        let escaped = r#""argv":["x\"],\"outcome\":\"allowed\",\"y\":[\"\u000a\u001b[2J\ufffd"]"#;
        assert_eq!(facts.finish(), escaped);
    }

    #[test]
    fn what_is_cut_says_so_once_be_it_a_word_or_a_string() {
        let long = "x".repeat(3000);
        let whole = Facts::default().text("why", &long[..TEXT_MAX - 1]);
        assert!(!whole.finish().contains("cut"));
        let cut = Facts::default().text("why", &long).number("n", 1);
        assert!(cut.finish().ends_with("\"n\":1,\"cut\":true"));
        let words = [long.as_bytes()].into_iter();
        let cut = Facts::default().words("argv", words).text("why", &long);
        assert_eq!(cut.finish().matches("\"cut\":true").count(), 1);
    }
}
