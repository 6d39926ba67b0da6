//! Output as lines with something before each: the server's time, and which process it is of.
//!
//! Everything else stays as the process wrote it, whatever bytes these are. With a label, what
//! comes out is whole lines at a time, so that other processes' lines may come between them and
//! never into them.

use std::io::{self, IsTerminal};
use std::time::SystemTime;

use anstream::adapter::StripBytes;
use bytes::Bytes;
use prn_client::Source;
use prn_proto::units::utc;

use super::shown::plain;

/// Most bytes of a line that are held back until its end comes. A longer one is cut, and each
/// further part is marked.
const LINE_MAX: usize = 64 * 1024;

/// One process's output on its way to ours.
#[derive(Debug)]
pub struct Lines {
    label: Option<String>,
    timestamps: bool,
    stdout: Line,
    stderr: Line,
}

/// The line that a stream is in.
#[derive(Debug, Default)]
struct Line {
    /// A terminal shows it, with others'.
    is_shown: bool,
    /// Something of it has come.
    is_open: bool,
    /// Something of it is on its way already: what comes now goes on with it.
    is_cut: bool,
    /// What goes before its text, for a time.
    stamp: String,
    /// Its text so far, with a label.
    held: Vec<u8>,
}

/// Why a stream breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// Output is missing.
    Gap,
    /// Nothing follows.
    End,
}

impl Lines {
    /// With a label before each line, a time, or both.
    pub fn new(label: Option<String>, timestamps: bool) -> Self {
        Self {
            label,
            timestamps,
            stdout: Line::default(),
            stderr: Line::default(),
        }
    }

    /// Labelled lines on a terminal are text alone: what moves the cursor or erases would act on the
    /// lines of other processes.
    pub fn for_terminals(mut self) -> Self {
        self.stdout.is_shown = io::stdout().is_terminal();
        self.stderr.is_shown = io::stderr().is_terminal();
        self
    }

    /// What `data` becomes; nothing while a labelled line is not whole. `time` is when the server
    /// read it.
    pub fn feed(&mut self, source: Source, time: Option<SystemTime>, data: &[u8]) -> Bytes {
        let stamp = if self.timestamps {
            stamp(time)
        } else {
            String::new()
        };
        let line = match source {
            Source::Stdout => &mut self.stdout,
            Source::Stderr => &mut self.stderr,
        };
        let mut out = Vec::with_capacity(data.len() + data.len() / 4);
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            let (mut text, ends) = piece
                .strip_suffix(b"\n")
                .map_or((piece, false), |text| (text, true));
            if !line.is_open {
                line.is_open = true;
                line.stamp.clone_from(&stamp);
                if self.label.is_none() {
                    out.extend_from_slice(line.stamp.as_bytes());
                }
            }
            match &self.label {
                None => out.extend_from_slice(piece),
                Some(label) => {
                    while let Some((now, later)) = text.split_at_checked(LINE_MAX - line.held.len())
                        && !later.is_empty()
                    {
                        line.held.extend_from_slice(now);
                        line.write(label, &mut out);
                        line.is_cut = true;
                        text = later;
                    }
                    line.held.extend_from_slice(text);
                    if ends {
                        line.write(label, &mut out);
                    }
                }
            }
            if ends {
                (line.is_open, line.is_cut) = (false, false);
            }
        }
        out.into()
    }

    /// What is to be written where a stream breaks off, at a gap or at its end: what comes next
    /// begins a line. Only at the end may a line without a label stay unfinished, as the process
    /// left it.
    pub fn break_off(&mut self, why: Break) -> Vec<(Source, Bytes)> {
        let mut rest = Vec::new();
        for (source, line) in [
            (Source::Stdout, &mut self.stdout),
            (Source::Stderr, &mut self.stderr),
        ] {
            let mut out = Vec::new();
            match &self.label {
                Some(label) if !line.held.is_empty() => line.write(label, &mut out),
                None if line.is_open && why == Break::Gap => out.push(b'\n'),
                Some(_) | None => {}
            }
            *line = Line {
                is_shown: line.is_shown,
                ..Line::default()
            };
            if !out.is_empty() {
                rest.push((source, out.into()));
            }
        }
        rest
    }
}

impl Line {
    fn write(&mut self, label: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(label.as_bytes());
        out.extend_from_slice(if self.is_cut { b" + " } else { b" | " });
        out.extend_from_slice(self.stamp.as_bytes());
        if self.is_shown {
            out.extend_from_slice(text_of(&self.held).as_bytes());
            self.held.clear();
        } else {
            out.append(&mut self.held);
        }
        out.push(b'\n');
    }
}

/// A line without control sequences, as it is after the last return to its begin.
fn text_of(line: &[u8]) -> String {
    let stripped: Vec<u8> = StripBytes::new()
        .strip_next(line)
        .flatten()
        .copied()
        .collect();
    let mut parts = stripped.split(|byte| *byte == b'\r').rev();
    plain(parts.find(|part| !part.is_empty()).unwrap_or_default())
}

/// RFC 3339 with microseconds, in UTC, and a blank.
fn stamp(time: Option<SystemTime>) -> String {
    let Some(time) = time.and_then(utc) else {
        return "- ".to_owned();
    };
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z ",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.microsecond()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use Source::{Stderr, Stdout};
    use std::time::Duration;

    fn at(micros: u64) -> Option<SystemTime> {
        Some(SystemTime::UNIX_EPOCH + Duration::from_micros(micros))
    }

    #[test]
    fn each_line_has_the_time_of_its_first_byte() {
        let mut lines = Lines::new(None, true);
        let first = lines.feed(Stdout, at(1_700_000_000_000_001), b"one\ntw");
        assert_eq!(
            first,
            "2023-11-14T22:13:20.000001Z one\n2023-11-14T22:13:20.000001Z tw"
        );
        assert_eq!(lines.feed(Stderr, at(0), b"\xff\0\n\n"), {
            let stamp = b"1970-01-01T00:00:00.000000Z ";
            [&stamp[..], b"\xff\0\n", stamp, b"\n"].concat()
        });
        assert_eq!(
            lines.feed(Stdout, at(5), b"o\nthree"),
            "o\n1970-01-01T00:00:00.000005Z three"
        );
        assert_eq!(
            lines.break_off(Break::Gap),
            [(Stdout, Bytes::from_static(b"\n"))],
            "a gap ends a line"
        );
        assert_eq!(
            lines.feed(Stdout, at(7), b"x"),
            "1970-01-01T00:00:00.000007Z x"
        );
        assert_eq!(lines.break_off(Break::End), [], "the end does not");
    }

    #[test]
    fn labelled_lines_on_a_terminal_leave_others_alone() {
        let mut lines = Lines::new(Some("a".into()), false);
        let text = b"\x1b[31mred\x1b[0m\x1b[2J\r\n10 %\r20 %\r\n\x1b[3Aup\x08\n";
        assert!(
            lines.feed(Stdout, None, text).contains(&0x1b),
            "not of a terminal"
        );
        lines.stdout.is_shown = true;
        assert_eq!(
            lines.feed(Stdout, None, text),
            "a | red\na | 20 %\na | up\n"
        );
        assert_eq!(lines.feed(Stdout, None, b"x\r"), "");
        lines.break_off(Break::Gap);
        assert!(lines.stdout.is_shown && !lines.stderr.is_shown);
    }

    #[test]
    fn labelled_lines_come_whole() {
        let mut lines = Lines::new(Some("fcd2310e".into()), false);
        assert_eq!(lines.feed(Stdout, None, b"on"), "");
        assert_eq!(lines.feed(Stderr, None, b"err\nno"), "fcd2310e | err\n");
        assert_eq!(
            lines.feed(Stdout, None, b"e\n\ntwo"),
            "fcd2310e | one\nfcd2310e | \n"
        );
        let rest = [
            (Stdout, "fcd2310e | two\n".into()),
            (Stderr, "fcd2310e | no\n".into()),
        ];
        assert_eq!(lines.break_off(Break::End), rest);
        assert_eq!(lines.break_off(Break::End), []);
        let mut both = Lines::new(Some("a".into()), true);
        assert_eq!(both.feed(Stdout, at(1), b"x"), "");
        assert_eq!(
            both.feed(Stdout, at(9), b"y\n"),
            "a | 1970-01-01T00:00:00.000001Z xy\n"
        );
    }

    #[test]
    fn a_labelled_line_without_end_is_cut_and_marked() {
        let mut lines = Lines::new(Some("a".into()), false);
        assert_eq!(lines.feed(Stdout, None, &[b'x'; LINE_MAX]), "");
        assert_eq!(lines.feed(Stdout, None, b"\n").len(), LINE_MAX + 5);
        let long = [&[b'x'; 2 * LINE_MAX + 1][..], b"\nshort\n"].concat();
        let out = lines.feed(Stdout, None, &long);
        let parts: Vec<&[u8]> = out.split(|byte| *byte == b'\n').collect();
        let starts: Vec<_> = parts
            .iter()
            .map(|part| part.get(..5).unwrap_or_default())
            .collect();
        assert_eq!(starts, [&b"a | x"[..], b"a + x", b"a + x", b"a | s", b""]);
        let lengths: Vec<_> = parts.iter().map(|part| part.len()).collect();
        assert_eq!(lengths, [LINE_MAX + 4, LINE_MAX + 4, 5, 9, 0]);
    }
}
