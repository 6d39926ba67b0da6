//! A part of a process's output, as one value: what scripts and agents read, of a size that they choose.

use std::time::Duration;

use prn_client::{ClientError, Event, Exit, Source, Truncated};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::Instant;

use crate::lasting::reading::Reading;

/// A part of a process's output.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Excerpt {
    /// Where it ends, and whether there is more.
    #[serde(flatten)]
    pub bounds: Bounds,
    /// How the main process ended, where this is the end of its output.
    pub exit: Option<Exit>,
    /// It, in the order in which it came.
    pub output: Vec<Piece>,
}

/// Where a part of an output ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Bounds {
    /// Offset to go on from.
    pub next_offset: u64,
    /// It ends here because it has as many bytes as were asked for.
    pub truncated: bool,
    /// It ends with the output, for good.
    pub complete: bool,
}

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Piece {
    /// What was written to one stream, and nothing to the other between.
    Written {
        /// Which one.
        stream: Stream,
        /// Offset of the first byte.
        offset: u64,
        /// The bytes.
        #[serde(flatten)]
        data: Data,
    },
    /// Bytes that were dropped before they could be read.
    Dropped {
        /// Which.
        gap: Gap,
    },
}

/// Bytes that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Gap {
    /// Offset of the first.
    pub from: u64,
    /// Offset just after the last.
    pub to: u64,
}

/// A stream that a process writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl From<Source> for Stream {
    fn from(source: Source) -> Self {
        match source {
            Source::Stdout => Self::Stdout,
            Source::Stderr => Self::Stderr,
        }
    }
}

/// Bytes, as JSON has room for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Data {
    /// They are UTF-8.
    Text(String),
    /// They are not.
    Base64(String),
}

impl Data {
    /// Of these bytes.
    pub fn of(bytes: Vec<u8>) -> Self {
        use base64::prelude::{BASE64_STANDARD, Engine};
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Base64(BASE64_STANDARD.encode(error.as_bytes())),
        }
    }
}

impl Bounds {
    /// Of what was read, up to there.
    pub fn of(next_offset: u64, truncated: Option<Truncated>, complete: bool) -> Self {
        Self {
            next_offset: truncated.map_or(next_offset, |truncated| truncated.next_offset),
            truncated: truncated.is_some(),
            complete,
        }
    }
}

/// Reads to the end of what was asked for, or until then; or for so long after something has come.
///
/// # Errors
/// As [`Reading::next`].
pub async fn read(
    reading: &mut Reading<'_>,
    mut until: Option<Instant>,
    settle: Option<Duration>,
) -> Result<Excerpt, ClientError> {
    let mut gathered = Gathered::default();
    let mut end = None;
    loop {
        let event = match until {
            None => reading.next().await?,
            Some(until) => match tokio::time::timeout_at(until, reading.next()).await {
                Ok(event) => event?,
                Err(_) => break,
            },
        };
        match event {
            Some(Event::Data {
                source,
                offset,
                data,
                ..
            }) => {
                gathered.data(source, offset, &data);
                let settled = settle.map(|settle| Instant::now() + settle);
                until = until.map(|until| settled.map_or(until, |settled| until.min(settled)));
            }
            Some(Event::Gap { from, to }) => gathered.gap(from, to),
            Some(Event::End(ended)) => {
                end = Some(ended);
                break;
            }
            None => break,
        }
    }
    let bounds = Bounds::of(reading.offset(), reading.truncated(), end.is_some());
    Ok(gathered.excerpt(bounds, end.and_then(|end| end.exit)))
}

/// Output as it comes, what follows each other put together.
#[derive(Debug, Default)]
struct Gathered(Vec<Raw>);

#[derive(Debug)]
enum Raw {
    Data(Source, u64, Vec<u8>),
    Gap(Gap),
}

impl Gathered {
    fn data(&mut self, source: Source, offset: u64, data: &[u8]) {
        match self.0.last_mut() {
            Some(Raw::Data(last, _, bytes)) if *last == source => bytes.extend_from_slice(data),
            _ => self.0.push(Raw::Data(source, offset, data.to_vec())),
        }
    }

    fn gap(&mut self, from: u64, to: u64) {
        self.0.push(Raw::Gap(Gap { from, to }));
    }

    fn excerpt(mut self, mut bounds: Bounds, exit: Option<Exit>) -> Excerpt {
        if !bounds.complete {
            let cut = self.cut_at_a_letter();
            bounds.next_offset = bounds.next_offset.saturating_sub(cut);
        }
        let pieces = self.0.into_iter().map(|raw| match raw {
            Raw::Data(source, offset, bytes) => Piece::Written {
                stream: source.into(),
                offset,
                data: Data::of(bytes),
            },
            Raw::Gap(gap) => Piece::Dropped { gap },
        });
        Excerpt {
            bounds,
            exit,
            output: pieces.collect(),
        }
    }

    /// Leaves the beginning of a letter (UTF-8) at the end to who goes on from there, unless there is
    /// nothing before it; and says how many bytes that are.
    fn cut_at_a_letter(&mut self) -> u64 {
        let Some(Raw::Data(_, _, bytes)) = self.0.last_mut() else {
            return 0;
        };
        let whole = match std::str::from_utf8(bytes) {
            Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => {
                error.valid_up_to()
            }
            Ok(_) | Err(_) => return 0,
        };
        let cut = bytes.len().saturating_sub(whole);
        bytes.truncate(whole);
        u64::try_from(cut).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(next_offset: u64, complete: bool) -> Bounds {
        Bounds {
            next_offset,
            truncated: !complete,
            complete,
        }
    }

    #[test]
    fn what_follows_each_other_is_one_piece_and_bytes_are_text_or_base64() {
        let mut gathered = Gathered::default();
        gathered.data(Source::Stdout, 0, b"a");
        gathered.data(Source::Stdout, 1, b"b\n");
        gathered.data(Source::Stderr, 3, b"\xff");
        gathered.gap(4, 9);
        gathered.data(Source::Stderr, 9, b"c");
        let excerpt = gathered.excerpt(bounds(10, true), None);
        let json = serde_json::to_string(&excerpt).unwrap();
        assert_eq!(
            json,
            r#"{"next_offset":10,"truncated":false,"complete":true,"exit":null,"output":[{"stream":"stdout","offset":0,"text":"ab\n"},{"stream":"stderr","offset":3,"base64":"/w=="},{"gap":{"from":4,"to":9}},{"stream":"stderr","offset":9,"text":"c"}]}"#
        );
    }

    #[test]
    fn a_letter_that_is_cut_is_left_to_the_next_part() {
        let cut = |bytes: &[u8], complete| {
            let mut gathered = Gathered::default();
            gathered.data(Source::Stdout, 0, bytes);
            let excerpt = gathered.excerpt(bounds(4, complete), None);
            let [Piece::Written { data, .. }] = &excerpt.output[..] else {
                panic!("{excerpt:?}")
            };
            (data.clone(), excerpt.bounds.next_offset)
        };
        assert_eq!(cut(b"ab\xe2\x82", false), (Data::Text("ab".into()), 2));
        assert_eq!(cut(b"abcd", false), (Data::Text("abcd".into()), 4));
        // There is no more to come, or no progress otherwise, or it is no letter anyway.
        for (bytes, complete) in [
            (&b"ab\xe2\x82"[..], true),
            (b"\xf0\x9f\x92", false),
            (b"\xffab\xe2", false),
        ] {
            let (data, next) = cut(bytes, complete);
            assert!(matches!(data, Data::Base64(_)) && next == 4, "{bytes:?}");
        }
    }
}
