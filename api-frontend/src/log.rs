//! The frontend's log: one line an event to standard error, which is all that the frontend can
//! write to.
//!
//! What a peer sent is escaped, so that it can neither forge a line nor drive a terminal. Lines
//! that an unauthenticated peer can cause are counted, and beyond a few a second only the count is
//! logged.

use std::fmt::Display;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest text of an event, in characters.
const LINE_MAX: usize = 1000;

/// Writes one line.
pub fn line(event: impl Display) {
    let mut text = String::from("prn-frontend: ");
    for character in event.to_string().chars().take(LINE_MAX) {
        match character {
            '"' | '\'' => text.push(character),
            _ => text.extend(character.escape_debug()),
        }
    }
    text.push('\n');
    // There is nowhere to report that the log can't be written.
    drop(std::io::stderr().write_all(text.as_bytes()));
}

/// Makes panics lines of the log, without the backtrace that the standard library prints of one
/// that may not unwind. It looks at files for that, which the sandbox does not allow: SIGSYS, and
/// not SIGABRT, would end the process.
pub fn panics() {
    std::panic::set_hook(Box::new(|panic| line(panic)));
}

/// An error with all of its sources, outermost first.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Logs a few lines a second, and counts the others.
pub struct Limited {
    state: Mutex<State>,
}

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
    const BURST: u32 = 10;
    const PERIOD: Duration = Duration::from_secs(1);

    /// Writes one line, or counts it.
    pub fn line(&self, event: impl Display) {
        let left_out = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(left_out) = state.admit(Instant::now()) else {
                return;
            };
            left_out
        };
        if left_out > 0 {
            line(format_args!("{left_out} lines like the next left out"));
        }
        line(event);
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
    fn r1_a_flood_of_connections_is_no_flood_of_lines() {
        let start = Instant::now();
        let mut state = State {
            since: start,
            lines: 0,
            left_out: 0,
        };
        let logged = (0..1000).filter(|_| state.admit(start).is_some()).count();
        assert_eq!(logged, 10);
        assert_eq!(state.admit(start + Limited::PERIOD), Some(990));
        assert_eq!(state.admit(start + Limited::PERIOD), Some(0));
    }
}
