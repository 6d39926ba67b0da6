//! All of a terminal: what was on it comes back, however prn ends, as [`Raw`] says of its modes.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::{Hide, Show};
use crossterm::queue;
use crossterm::terminal::{Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use terminal_size::terminal_size_of;

use crate::input::terminal::{self, Raw};
use crate::output::write_all;

/// What is on it now is prn's.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// A terminal's screen, which is prn's until this is dropped.
#[derive(Debug)]
pub struct Screen {
    _raw: Raw,
    terminal: File,
    shown: Buffer,
}

impl Screen {
    /// Takes the terminal that standard input and standard output are.
    ///
    /// # Errors
    /// If they are none.
    pub fn take() -> io::Result<Self> {
        let raw = Raw::enter()?;
        give_back_before_a_panic_is_told();
        let terminal = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let mut screen = Self {
            _raw: raw,
            terminal,
            shown: Buffer::empty(Rect::ZERO),
        };
        screen.enter()?;
        Ok(screen)
    }

    fn enter(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        queue!(bytes, EnterAlternateScreen, Hide, Clear(ClearType::All))?;
        IS_TAKEN.store(true, Ordering::Relaxed);
        write_all(&mut self.terminal, &bytes)?;
        self.shown = Buffer::empty(area());
        Ok(())
    }

    /// How large it is.
    pub fn area(&self) -> Rect {
        self.shown.area
    }

    /// Forgets what is on it: another program may have written there, or its size has changed.
    pub fn renew(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        queue!(bytes, Clear(ClearType::All))?;
        write_all(&mut self.terminal, &bytes)?;
        self.shown = Buffer::empty(area());
        Ok(())
    }

    /// Shows a picture of its size. Nothing is written if it is the one that is shown.
    pub fn show(&mut self, next: Buffer) -> io::Result<()> {
        let changed = self.shown.diff(&next);
        if changed.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        CrosstermBackend::new(&mut bytes).draw(changed.into_iter())?;
        write_all(&mut self.terminal, &bytes)?;
        self.shown = next;
        Ok(())
    }

    /// Stops prn, with the terminal as it was before, and takes it again when prn goes on.
    pub fn suspend(&mut self) -> io::Result<()> {
        leave();
        terminal::suspend();
        self.enter()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// Gives the screen back, if it was taken.
fn leave() {
    if !IS_TAKEN.swap(false, Ordering::Relaxed) {
        return;
    }
    let mut bytes = Vec::new();
    let queued = queue!(bytes, LeaveAlternateScreen, Show);
    let terminal = io::stdout().as_fd().try_clone_to_owned().map(File::from);
    // A terminal that is gone needs nothing back.
    let _gone = queued
        .and(terminal)
        .and_then(|mut terminal| write_all(&mut terminal, &bytes));
}

fn give_back_before_a_panic_is_told() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            leave();
            tell(panic);
        }));
    });
}

fn area() -> Rect {
    let size = terminal_size_of(io::stdout()).map(|(width, height)| (width.0, height.0));
    // A serial line has no size.
    let is_known = |size: &(u16, u16)| size.0 > 0 && size.1 > 0;
    let (width, height) = size.filter(is_known).unwrap_or((80, 24));
    Rect::new(0, 0, width, height)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::openpty;
    use std::io::Read;
    use std::process::{Command, Stdio};

    /// Has the test itself panic, in a process of its own. No other test's name.
    const CHILD: &str = "panics-with-the-screen-taken";

    #[test]
    fn a_panic_gives_the_screen_back() {
        if std::env::args().any(|argument| argument == CHILD) {
            // What is dropped on the way is not to help.
            std::mem::forget(Screen::take().unwrap());
            panic!("with the screen taken");
        }
        let pty = openpty(None, None).unwrap();
        let status = Command::new(std::env::current_exe().unwrap())
            .args([CHILD, "a_panic_gives_the_screen_back"])
            .stdin(Stdio::from(pty.slave.try_clone().unwrap()))
            .stdout(Stdio::from(pty.slave))
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(!status.success());
        // Until nobody has its other side open: EIO.
        let mut written = Vec::new();
        let _eio = File::from(pty.master).read_to_end(&mut written);
        let written = String::from_utf8_lossy(&written);
        let taken = written.find("\u{1b}[?1049h").unwrap();
        let given_back = written.find("\u{1b}[?1049l").unwrap();
        assert!(taken < given_back && written.contains("\u{1b}[?25h"));
    }
}
