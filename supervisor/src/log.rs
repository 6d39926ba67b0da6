//! The server's log: both halves' lines, on standard error. Runs in the supervisor.
//!
//! Nothing here waits. Whoever reads the log may stop: a line that cannot be written at once is
//! lost, and the next one that can be says how many were. The frontend has no descriptor of the
//! log. What it says comes through a pipe of its own, and is escaped, named and limited here, so
//! that it can neither forge a line of this half's nor stop the log for it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::pipe2;
use prn_ipc_protocol::lines::{Fields, LINES_A_SECOND, Level, Lost, Style, heard};
use prn_ipc_protocol::types::UnixMicros;

pub use prn_ipc_protocol::lines::chain;

/// Most bytes of a line with its end: as many as a pipe takes whole or not at all (PIPE_BUF,
/// pipe(7)).
const LINE_MAX: usize = 4096;

/// Most bytes that are read from a frontend in one turn, and in one [`PERIOD`]. What it writes
/// beyond that stays in its pipe, and what the pipe does not take it has to count itself.
const TURN: usize = 4096;
const PERIOD_MAX: usize = 64 * 1024;
const PERIOD: Duration = Duration::from_secs(1);

/// What a line counts for at least.
const LINE_COST: usize = PERIOD_MAX / LINES_A_SECOND;

/// Turns that empty a pipe of the size that pipes are made with, which a frontend cannot change.
const PIPE_TURNS: usize = 64 * 1024 / TURN;

/// Lines that could not be written.
static LOST: Lost = Lost::new(|told| formatted(OWN, Level::Warning, told, &[]));

/// How lines are written, once that is known.
pub static STYLE: OnceLock<Style> = OnceLock::new();

/// What lines of the supervisor's begin with.
const OWN: &str = "prn-supervisor";

/// Writes one line of the supervisor's: something that was to happen does not.
pub fn error(message: &str, fields: Fields<'_>) {
    write_line(OWN, Level::Error, message, fields);
}

/// Writes one line of the supervisor's: something is not as it should be.
pub fn warning(message: &str, fields: Fields<'_>) {
    write_line(OWN, Level::Warning, message, fields);
}

/// Writes one line of the supervisor's: all is in order.
pub fn info(message: &str, fields: Fields<'_>) {
    write_line(OWN, Level::Info, message, fields);
}

/// Writes one line under a name.
fn write_line(program: &str, level: Level, message: &str, fields: Fields<'_>) {
    LOST.write(&formatted(program, level, message, fields), |line| {
        write_whole_now(&io::stderr(), line.as_bytes())
    });
}

fn formatted(program: &str, level: Level, message: &str, fields: Fields<'_>) -> String {
    let style = STYLE.get().copied().unwrap_or_default();
    // What the frontend has escaped stays as it is.
    style.line(program, level, message, fields, UnixMicros::now(), LINE_MAX)
}

/// Writes a line to standard output, if it is taken at once: whoever started this may not listen
/// any more.
pub fn announce(text: &str) {
    let _unused = write_whole_now(&io::stdout(), format!("{text}\n").as_bytes());
}

/// Writes bytes whole and at once, or not. So few are taken whole by a pipe or a socket that takes
/// any; a file on a disk takes as long as its disk does. `prn server start` has made this program's
/// streams open file descriptions of their own that do not block, where they are pipes or
/// terminals.
pub(crate) fn write_whole_now(to: &impl AsFd, bytes: &[u8]) -> bool {
    let to = to.as_fd();
    // A socket need not be non-blocking for that (send(2)).
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    match send(to.as_raw_fd(), bytes, flags) {
        Err(Errno::ENOTSOCK) => {}
        sent => return sent == Ok(bytes.len()),
    }
    // One that could not be made non-blocking takes a line when it says that it takes anything.
    let mut ready = [PollFd::new(to, PollFlags::POLLOUT)];
    poll(&mut ready, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
        && nix::unistd::write(to, bytes) == Ok(bytes.len())
}

/// What one frontend says.
#[derive(Debug)]
pub struct FrontendLog {
    pipe: File,
    /// A line without its end yet.
    begun: Vec<u8>,
    /// The rest of a line that was too long is skipped.
    skipping: bool,
    allowance: Allowance,
    /// Lines that were written for it in this turn.
    lines: usize,
}

/// How much one frontend may say in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Allowance {
    /// When the present period began.
    since: Instant,
    /// What was read in it, and what that counts for.
    spent: usize,
}

impl Allowance {
    /// A whole one.
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            spent: 0,
        }
    }

    /// Whether something may be read.
    ///
    /// # Errors
    /// When the next period begins.
    fn check(&mut self, now: Instant) -> Result<(), Instant> {
        if now.duration_since(self.since) >= PERIOD {
            *self = Self::new(now);
        }
        if self.spent < PERIOD_MAX {
            Ok(())
        } else {
            Err(self.since + PERIOD)
        }
    }

    /// So many bytes were read in a turn, which ended so many lines. A byte at a time costs a turn
    /// as well, and a line a write.
    fn spend(&mut self, bytes: usize, lines: usize) {
        self.spent += bytes.max(TURN / 16).max(lines * LINE_COST);
    }
}

/// What there is to do for a frontend's log after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Wait until there is more.
    Wait,
    /// Nothing before that time.
    Pause(Instant),
    /// It is closed.
    Closed,
}

impl FrontendLog {
    /// One, and the end to write to, for the frontend. That one does not block either.
    ///
    /// # Errors
    /// Those of pipe2(2).
    pub fn new() -> nix::Result<(Self, OwnedFd)> {
        let (from, to) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let log = Self {
            pipe: from.into(),
            begun: Vec::new(),
            skipping: false,
            allowance: Allowance::new(Instant::now()),
            lines: 0,
        };
        Ok((log, to))
    }

    /// Hands on what is there, a bounded amount of it.
    pub fn turn(&mut self, now: Instant) -> Next {
        if let Err(until) = self.allowance.check(now) {
            return Next::Pause(until);
        }
        match self.read_once() {
            Ok(0) => Next::Closed,
            Ok(length) => {
                self.allowance
                    .spend(length, std::mem::take(&mut self.lines));
                Next::Wait
            }
            Err(error)
                if [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted]
                    .contains(&error.kind()) =>
            {
                Next::Wait
            }
            Err(_) => Next::Closed,
        }
    }

    /// Hands on the last words of a frontend that has ended: no more than its pipe holds.
    pub fn finish(mut self) {
        for _ in 0..PIPE_TURNS {
            if !matches!(self.read_once(), Ok(1..)) {
                break;
            }
        }
        if !self.begun.is_empty() {
            self.end_line();
        }
    }

    fn read_once(&mut self) -> io::Result<usize> {
        let mut bytes = [0; TURN];
        let length = self.pipe.read(&mut bytes)?;
        for byte in bytes.iter().take(length) {
            match byte {
                b'\n' => self.end_line(),
                _ if self.skipping => {}
                _ => {
                    self.begun.push(*byte);
                    if self.begun.len() >= LINE_MAX {
                        self.end_line();
                        self.skipping = true;
                    }
                }
            }
        }
        Ok(length)
    }

    fn end_line(&mut self) {
        if !std::mem::take(&mut self.skipping) && !self.begun.is_empty() {
            self.lines += 1;
            let said = String::from_utf8_lossy(&self.begun);
            let (level, message, fields) = heard(&said);
            write_line("prn-frontend", level, message, &fields);
        }
        self.begun.clear();
    }
}

impl AsFd for FrontendLog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s11_a_line_is_one_line_of_bounded_length_whatever_is_in_it() {
        let line = |text: &str| formatted(OWN, Level::Info, text, &[]);
        for (text, escaped) in [
            ("a\nb\u{1b}[0m\0", "a\\nb\\u{1b}[0m\\0"),
            ("it's \"so\"", "it's \"so\""),
            // It was escaped before.
            ("a\\nb", "a\\nb"),
        ] {
            assert_eq!(line(text), format!("prn-supervisor: {escaped}\n"));
        }
        for text in ["é".repeat(10_000), "\n".repeat(10_000)] {
            let line = line(&text);
            assert!(line.len() <= LINE_MAX && line.ends_with("…\n"));
            assert_eq!(line.matches('\n').count(), 1);
        }
    }

    #[test]
    fn x4_what_is_not_taken_at_once_is_not_waited_for() {
        let (from, to) = nix::unistd::pipe().unwrap();
        let mut taken = 0;
        while write_whole_now(&to, &[b'x'; LINE_MAX]) {
            taken += 1;
        }
        // It would have blocked: the pipe itself is a blocking one.
        assert_eq!(taken, 64 * 1024 / LINE_MAX);
        nix::unistd::read(&from, &mut [0; LINE_MAX]).unwrap();
        assert!(write_whole_now(&to, &[b'x'; LINE_MAX]));
        let (_ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        while write_whole_now(&theirs, &[b'x'; LINE_MAX]) {}
    }

    #[test]
    fn x3_short_lines_of_a_frontend_count_as_lines() {
        let (mut log, to) = FrontendLog::new().unwrap();
        let start = log.allowance.since;
        let mut turns = 0;
        while log.turn(start) == Next::Wait {
            let _unused = nix::unistd::write(&to, &b"a\n".repeat(TURN / 2));
            turns += 1;
        }
        assert_eq!(
            turns,
            2,
            "the first one found nothing, the second {} lines",
            TURN / 2
        );
        drop(to);
    }

    #[test]
    fn x3_a_frontend_is_read_a_bounded_amount_in_a_period() {
        let (mut log, to) = FrontendLog::new().unwrap();
        let (start, mut read) = (log.allowance.since, 0);
        let next = loop {
            let filled = std::iter::repeat_with(|| nix::unistd::write(&to, &[b'\n'; TURN]));
            let _unused = filled.take_while(Result::is_ok).count();
            match log.turn(start) {
                Next::Wait => read += TURN,
                other @ (Next::Pause(_) | Next::Closed) => break other,
            }
        };
        assert_eq!((next, read), (Next::Pause(start + PERIOD), PERIOD_MAX));
        assert_eq!(log.turn(start + PERIOD), Next::Wait);
        drop(to);
        log.finish();
    }

    #[test]
    fn x3_an_allowance_is_spent_by_bytes_turns_and_lines_and_renewed_in_time() {
        let start = Instant::now();
        let spent = |bytes, lines| {
            let mut allowance = Allowance::new(start);
            let mut turns = 0;
            while allowance.check(start).is_ok() {
                allowance.spend(bytes, lines);
                turns += 1;
            }
            assert_eq!(allowance.check(start), Err(start + PERIOD));
            assert_eq!(allowance.check(start + PERIOD), Ok(()));
            turns
        };
        assert_eq!(spent(TURN, 0), 16, "full turns");
        assert_eq!(spent(1, 0), 256, "a byte at a time");
        assert_eq!(spent(2, 1), 128, "a short line at a time");
    }
}
