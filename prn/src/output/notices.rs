//! What prn itself says on standard error, and help.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use super::descriptor::whole;
use super::shown::escaped;
use prn_launch::UnixMicros;
use prn_launch::lines::{Level, Style};

use crate::exit;

/// Prints one error line: the error, its causes, and what to do.
pub fn error(error: &dyn Error, hint: Option<&str>) {
    notice(&error_line(error, hint));
}

/// What [`error`] prints.
pub fn error_line(error: &dyn Error, hint: Option<&str>) -> String {
    let mut line = without_number(&error.to_string());
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let text = without_number(&deeper.to_string());
        // Some libraries repeat their cause in their own text.
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = deeper.source();
    }
    if let Some(hint) = hint {
        line.push_str(" (");
        line.push_str(hint);
        line.push(')');
    }
    line
}

/// Without the number that the standard library puts behind what a system call says.
pub fn without_number(text: &str) -> String {
    let Some((before, rest)) = text.split_once(" (os error ") else {
        return text.to_owned();
    };
    let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{before}{}", after.strip_prefix(')').unwrap_or(after))
}

/// Prints one line to standard error.
pub fn notice(line: &str) {
    // Nobody can be told if standard error is closed.
    let _unprinted = io::stderr().write_all(notice_line(line).as_bytes());
}

/// Writes one line of a server's log, whose first lines are those of the command that starts it.
pub fn log(style: Style, level: Level, message: &str) {
    const LINE_MAX: usize = 4096;
    // The level says it there.
    let words: &[&str] = if style.is_json {
        &["WARNING: ", "warning: "]
    } else {
        &[]
    };
    let message = words
        .iter()
        .find_map(|word| message.strip_prefix(word))
        .unwrap_or(message);
    let line = style.line("prn", level, message, &[], UnixMicros::now(), LINE_MAX);
    // Nobody can be told if standard error is closed.
    let _unprinted = io::stderr().write_all(line.as_bytes());
}

/// Asks a person something: on standard error, without a line's end.
pub fn ask(question: &str) {
    // Nobody is asked if standard error is closed.
    let _unprinted = io::stderr().write_all(format!("prn: {}", escaped(question)).as_bytes());
}

/// Whether the terminal that a line may go to is in raw mode: there, a line's end only goes down.
static IS_RAW: AtomicBool = AtomicBool::new(false);

/// Whether what a process printed last on it may end in the midst of a line.
static IS_IN_LINE: AtomicBool = AtomicBool::new(false);

/// Whether prn's terminal is in raw mode, and the process's.
pub fn is_raw() -> bool {
    IS_RAW.load(Ordering::Relaxed)
}

/// Says that prn's terminal is in raw mode from now on, and the process's; or no longer.
pub fn set_raw(is_raw: bool) {
    IS_RAW.store(is_raw, Ordering::Relaxed);
    IS_IN_LINE.store(true, Ordering::Relaxed);
}

/// A whole line. It goes out in one write(2), so that those of many prn that share a file or a
/// pipe stay whole.
pub fn notice_line(line: &str) -> String {
    let line = escaped(line);
    let is_raw = is_raw();
    // The process goes on printing as long as it has the terminal.
    let is_in_line = IS_IN_LINE.fetch_and(is_raw, Ordering::Relaxed);
    if is_in_line && io::stderr().is_terminal() {
        format!("\r\nprn: {line}\r\n")
    } else {
        format!("prn: {line}\n")
    }
}

/// Prints help that was asked for, or what is wrong with the command line.
pub fn usage(error: &clap::Error) -> exit::Exit {
    let asked_for = !error.use_stderr();
    let is_seen = if asked_for {
        io::stdout().is_terminal()
    } else {
        io::stderr().is_terminal()
    };
    let text = error.render().to_string();
    let printed = if is_seen {
        // With colours.
        error.print()
    } else if asked_for {
        whole(io::stdout().as_fd(), &text)
    } else {
        whole(io::stderr().as_fd(), &text)
    };
    match printed {
        Err(error) if asked_for && error.kind() == io::ErrorKind::BrokenPipe => exit::OUTPUT_CLOSED,
        Err(error) if asked_for => {
            notice(&format!("cannot write to standard output: {error}"));
            exit::ERROR
        }
        _ if asked_for => exit::OK,
        // Nobody can be told if standard error is closed.
        _ => exit::USAGE,
    }
}
