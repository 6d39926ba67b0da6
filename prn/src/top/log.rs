//! The end of a process's output, as lines that a terminal may be given. Pure.

use std::collections::VecDeque;

use anstream::adapter::StripBytes;
use bytes::Bytes;
use prn_client::Source;

use super::key::Key;
use crate::output::plain;

/// Most lines that are kept.
const LINES_KEPT: usize = 2_000;
/// Most bytes of a line that are kept.
const LINE_MAX: usize = 2_048;

/// Something about a process's output.
#[derive(Debug, Clone)]
pub enum Piece {
    /// Bytes that it wrote.
    Data {
        /// To which stream.
        source: Source,
        /// The bytes.
        data: Bytes,
    },
    /// So many bytes are missing.
    Gap(u64),
    /// Nothing follows, for this reason.
    End(String),
}

/// A line of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Which stream it was written to. `None`: it is said of the output.
    pub source: Option<Source>,
    /// Its text, safe for a terminal.
    pub text: String,
}

/// The end of a process's output.
#[derive(Debug)]
pub struct Log {
    /// Whose it is.
    pub key: Key,
    /// Nothing follows, for this reason.
    pub ended: Option<String>,
    lines: VecDeque<LogLine>,
    stdout: Open,
    stderr: Open,
    /// Lines between the last one that is shown and the end.
    pub above_end: usize,
    /// Columns that are left out on the left.
    pub left: usize,
}

/// The line that a stream is in.
#[derive(Debug, Default)]
struct Open {
    /// Where it is within control sequences.
    strip: StripBytes,
    bytes: Vec<u8>,
    /// Its text goes from the first column again, once there is any (CR).
    returns: bool,
}

impl Log {
    /// Of a process, of which nothing has come yet.
    pub fn new(key: Key) -> Self {
        Self {
            key,
            ended: None,
            lines: VecDeque::new(),
            stdout: Open::default(),
            stderr: Open::default(),
            above_end: 0,
            left: 0,
        }
    }

    /// Takes what has come.
    pub fn take(&mut self, piece: Piece) {
        match piece {
            Piece::Data { source, data } => {
                let open = match source {
                    Source::Stdout => &mut self.stdout,
                    Source::Stderr => &mut self.stderr,
                };
                for text in open.feed(&data) {
                    self.push(LogLine {
                        source: Some(source),
                        text,
                    });
                }
            }
            Piece::Gap(bytes) => self.push(LogLine {
                source: None,
                text: format!("… {bytes} bytes are missing"),
            }),
            Piece::End(why) => self.ended = Some(why),
        }
    }

    fn push(&mut self, line: LogLine) {
        if self.lines.len() == LINES_KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
        // Whoever looks at what was before goes on seeing that.
        if self.above_end > 0 {
            self.above_end = (self.above_end + 1).min(self.lines.len());
        }
    }

    /// Up, or down with a negative number, and not past what there is.
    pub fn scroll(&mut self, lines: isize) {
        let most = self.lines.len().saturating_sub(1);
        self.above_end = self.above_end.saturating_add_signed(lines).min(most);
    }

    /// The lines that `height` rows show, unfinished ones among them.
    pub fn shown(&self, height: usize) -> Vec<LogLine> {
        let open = [
            (Source::Stdout, &self.stdout),
            (Source::Stderr, &self.stderr),
        ];
        let open = open
            .into_iter()
            .filter(|(_, open)| !open.bytes.is_empty())
            .map(|(source, open)| LogLine {
                source: Some(source),
                text: plain(&open.bytes),
            });
        let all: Vec<_> = self.lines.iter().cloned().chain(open).collect();
        let end = all.len().saturating_sub(self.above_end);
        let begin = end.saturating_sub(height);
        all.into_iter().take(end).skip(begin).collect()
    }
}

impl Open {
    /// The lines that are whole now.
    fn feed(&mut self, data: &[u8]) -> Vec<String> {
        let mut whole = Vec::new();
        for text in self.strip.strip_next(data) {
            for byte in text {
                match byte {
                    b'\n' => {
                        whole.push(plain(&self.bytes));
                        self.bytes.clear();
                        self.returns = false;
                    }
                    b'\r' => self.returns = true,
                    byte => {
                        if std::mem::take(&mut self.returns) {
                            self.bytes.clear();
                        }
                        if self.bytes.len() < LINE_MAX {
                            self.bytes.push(*byte);
                        }
                    }
                }
            }
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prn_client::ProcessId;

    fn log() -> Log {
        Log::new(Key {
            host: 0,
            id: ProcessId::from_bytes([1; 16]),
        })
    }

    fn feed(log: &mut Log, source: Source, data: &'static [u8]) {
        let data = Bytes::from_static(data);
        log.take(Piece::Data { source, data });
    }

    fn texts(log: &Log, height: usize) -> Vec<String> {
        let lines = log.shown(height).into_iter();
        lines.map(|line| line.text).collect()
    }

    #[test]
    fn nothing_that_a_terminal_acts_on_is_left() {
        let mut log = log();
        feed(&mut log, Source::Stdout, b"\x1b[31mred\x1b[0m \x1b]0;ti");
        feed(
            &mut log,
            Source::Stdout,
            b"tle\x07 \x1b[2J\x9b5A\x08b\xe2\x80\xae\n",
        );
        feed(&mut log, Source::Stdout, b"10 %\r20 %\r\na\tb\n");
        let lines = texts(&log, 9);
        assert_eq!(lines[1..], ["20 %", "a       b"]);
        assert!(lines[0].starts_with("red  "), "{lines:?}");
        assert!(!lines[0].contains(|c: char| c.is_control() || c == '\u{202e}'));
        assert!(!lines[0].contains("title"));
    }

    #[test]
    fn streams_do_not_run_into_each_other_and_an_open_line_is_shown() {
        let mut log = log();
        feed(&mut log, Source::Stdout, b"a");
        feed(&mut log, Source::Stderr, b"error\n");
        feed(&mut log, Source::Stdout, b"b");
        assert_eq!(texts(&log, 9), ["error", "ab"]);
        log.take(Piece::Gap(7));
        feed(&mut log, Source::Stdout, b"\n");
        assert_eq!(texts(&log, 9), ["error", "… 7 bytes are missing", "ab"]);
    }

    #[test]
    fn it_is_bounded_and_stays_where_it_is_looked_at() {
        let mut log = log();
        for _ in 0..LINES_KEPT {
            feed(&mut log, Source::Stdout, b"old\n");
        }
        feed(&mut log, Source::Stdout, b"here\nafter\n");
        log.scroll(1);
        assert_eq!(texts(&log, 1), ["here"]);
        feed(&mut log, Source::Stdout, b"more\nand more\n");
        assert_eq!(texts(&log, 1), ["here"]);
        log.scroll(-9);
        assert_eq!(texts(&log, 1), ["and more"]);
        assert_eq!(log.lines.len(), LINES_KEPT);
        for _ in 0..LINE_MAX {
            feed(&mut log, Source::Stdout, b"0123456789");
        }
        assert_eq!(log.stdout.bytes.len(), LINE_MAX);
        log.scroll(isize::MAX);
        assert_eq!(log.above_end, LINES_KEPT - 1);
    }
}
