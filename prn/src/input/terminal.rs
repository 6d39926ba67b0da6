//! The terminal that prn is used at, while it is the process's: in raw mode, each key goes there as
//! it is, and what it prints comes as it is.
//!
//! However prn ends, the terminal is as it was before: the mode is put back when [`Raw`] is dropped,
//! which all signals lead to that ask prn to end (SIGQUIT too, while there is one), before a panic
//! is told of, and around a stop by SIGTSTP. Nothing can be done where prn is ended from outside
//! without a word: by SIGKILL, SIGSTOP for as long as it lasts, and a fault of its own (SIGSEGV, SIGABRT).

use std::io;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use nix::sys::signal::{Signal, raise};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use prn_client::TerminalSize;
use terminal_size::terminal_size_of;

use crate::output;

/// What a terminal has that does not say its size.
const UNKNOWN_SIZE: TerminalSize = TerminalSize {
    rows: 24,
    columns: 80,
};

/// The mode to go back to, while there is another one.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// The size of the terminal that standard input is, or one that fits all.
pub fn size() -> TerminalSize {
    let size = terminal_size_of(io::stdin()).map(|(width, height)| TerminalSize {
        rows: height.0,
        columns: width.0,
    });
    // A serial line has none.
    let is_known = |size: &TerminalSize| size.rows > 0 && size.columns > 0;
    size.filter(is_known).unwrap_or(UNKNOWN_SIZE)
}

/// The terminal that standard input is, in raw mode until this is dropped.
#[derive(Debug)]
pub struct Raw(());

impl Raw {
    /// Takes the terminal. Once at a time.
    ///
    /// # Errors
    /// As tcsetattr(3): standard input is no terminal.
    pub fn enter() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let tell = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                leave();
                tell(panic);
            }));
        });
        let before = tcgetattr(io::stdin().as_fd())?;
        enter(&before)?;
        *locked() = Some(before);
        output::set_raw(true);
        Ok(Self(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        leave();
    }
}

fn enter(before: &Termios) -> io::Result<()> {
    let mut raw = before.clone();
    cfmakeraw(&mut raw);
    Ok(tcsetattr(io::stdin().as_fd(), SetArg::TCSANOW, &raw)?)
}

/// Gives the terminal back, if it was taken.
fn leave() {
    if let Some(before) = locked().take() {
        // A terminal that is gone needs no mode.
        let _gone = tcsetattr(io::stdin().as_fd(), SetArg::TCSANOW, &before);
        output::set_raw(false);
    }
}

/// Stops prn, as SIGTSTP would have done, with the terminal as it was before; and takes it again
/// when prn goes on.
pub fn suspend() {
    let before = locked().clone();
    leave();
    // Cannot fail for a signal that exists.
    let _sent = raise(Signal::SIGSTOP);
    if let Some(before) = before
        && enter(&before).is_ok()
    {
        *locked() = Some(before);
        output::set_raw(true);
    }
}

fn locked() -> MutexGuard<'static, Option<Termios>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::openpty;
    use nix::sys::termios::LocalFlags;
    use std::process::{Command, Stdio};

    fn echoes(modes: &Termios) -> bool {
        modes.local_flags.contains(LocalFlags::ECHO)
    }

    /// Has the test itself panic, in a process of its own. No other test's name.
    const CHILD: &str = "panics-at-a-terminal";

    #[test]
    fn a_panic_leaves_the_terminal_as_it_was() {
        if std::env::args().any(|argument| argument == CHILD) {
            // What is dropped on the way is not to help.
            std::mem::forget(Raw::enter().unwrap());
            assert!(echoes(&tcgetattr(io::stdin()).unwrap()), "in raw mode");
        }
        let pty = openpty(None, None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        assert!(echoes(&before));
        let child = Command::new(std::env::current_exe().unwrap())
            .args([CHILD, "a_panic_leaves_the_terminal_as_it_was"])
            .stdin(Stdio::from(pty.slave.try_clone().unwrap()))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(said.contains("in raw mode"), "{said}");
        assert_eq!(tcgetattr(&pty.slave).unwrap(), before);
    }
}
