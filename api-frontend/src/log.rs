//! The frontend's log: one line an event into a pipe at standard error, the only file that the
//! frontend can write to. The supervisor reads it, and writes it to the server's log.
//!
//! What a peer sent is escaped, so that it can neither forge a line nor drive a terminal. Lines
//! that an unauthenticated peer can cause are counted, and beyond a few a second only the count is
//! logged. Nothing waits for the log: the pipe does not block, and a line that it does not take is
//! lost, which the next one that it takes says.

use std::fmt::Display;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prn_ipc_protocol::lines::{Backslash, Fields, Level, Lost, SEPARATOR, push_escaped};

pub use prn_ipc_protocol::lines::chain;

/// Most bytes of a line with its end: as many as a pipe takes whole or not at all (PIPE_BUF,
/// pipe(7)), less what the supervisor puts before them.
const LINE_MAX: usize = 3900;

/// Lines that the pipe did not take.
static LOST: Lost = Lost::new(|lost| formatted(Level::Warning, lost, &[]));

/// Writes one line: a call, or all of them, do not get what they should.
pub fn error(event: impl Display, fields: Fields<'_>) {
    line(Level::Error, event, fields);
}

/// Writes one line: something is not as it should be.
pub fn warning(event: impl Display, fields: Fields<'_>) {
    line(Level::Warning, event, fields);
}

/// Writes one line: all is in order.
pub fn info(event: impl Display, fields: Fields<'_>) {
    line(Level::Info, event, fields);
}

fn line(level: Level, event: impl Display, fields: Fields<'_>) {
    // Whole or not at all: it is no more than PIPE_BUF.
    LOST.write(&formatted(level, event, fields), |line| {
        std::io::stderr().write_all(line.as_bytes()).is_ok()
    });
}

/// An event as one line, as [`prn_ipc_protocol::lines::heard`] takes it apart: a separator that a
/// peer sent is escaped.
fn formatted(level: Level, event: impl Display, fields: Fields<'_>) -> String {
    let (_, priority) = level.words();
    let mut line = priority.to_owned();
    push_escaped(&mut line, &event.to_string(), Backslash::Escaped, LINE_MAX);
    for (name, value) in fields {
        line.push(SEPARATOR);
        line.push_str(name);
        line.push('=');
        push_escaped(&mut line, value, Backslash::Escaped, LINE_MAX);
    }
    line.push('\n');
    line
}

/// Makes panics lines of the log, without the backtrace that the standard library prints of one
/// that may not unwind. It looks at files for that, which the sandbox does not allow: SIGSYS, and
/// not SIGABRT, would end the process.
pub fn panics() {
    std::panic::set_hook(Box::new(|panic| error(panic, &[])));
}

/// Logs a few lines a second, and counts the others.
#[derive(Debug)]
pub struct Limited {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    since: Instant,
    lines: u32,
    left_out: u64,
}

impl Default for Limited {
    /// Nothing logged yet.
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                since: Instant::now(),
                lines: 0,
                left_out: 0,
            }),
        }
    }
}

impl Limited {
    const BURST: u32 = 5;
    const PERIOD: Duration = Duration::from_secs(1);

    /// Writes one line, or counts it.
    pub fn warning(&self, event: impl Display, fields: Fields<'_>) {
        let left_out = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(left_out) = state.admit(Instant::now()) else {
                return;
            };
            left_out
        };
        if left_out > 0 {
            warning(format_args!("{left_out} lines like the next left out"), &[]);
        }
        warning(event, fields);
    }
}

impl State {
    /// How many lines were left out before this one, or `None` if it is left out too.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if now.duration_since(self.since) >= Limited::PERIOD {
            self.since = now;
            self.lines = 0;
        }
        if self.lines >= Limited::BURST {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s11_a_line_is_one_line_of_bounded_length_whatever_is_in_it() {
        let fields = [("peer", "a\u{1f}b=c")];
        assert_eq!(
            formatted(Level::Error, "a\nb \"it's\" \u{1f}c=d", &fields),
            "<3>a\\nb \"it's\" \\u{1f}c=d\u{1f}peer=a\\u{1f}b=c\n"
        );
        for text in ["é".repeat(9999), "\n".repeat(9999), "x".repeat(9999)] {
            let line = formatted(Level::Error, &text, &[("error", &*text); 4]);
            assert!(line.len() <= 4000 && line.ends_with('\n'));
            assert_eq!(line.matches('\n').count(), 1);
        }
    }

    #[test]
    fn r1_a_flood_of_connections_is_no_flood_of_lines() {
        let start = Instant::now();
        let mut state = State {
            since: start,
            lines: 0,
            left_out: 0,
        };
        let logged = (0..1000).filter(|_| state.admit(start).is_some()).count();
        assert_eq!(logged, 5);
        assert_eq!(state.admit(start + Limited::PERIOD), Some(995));
        assert_eq!(state.admit(start + Limited::PERIOD), Some(0));
    }
}
