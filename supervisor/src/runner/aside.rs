//! Calls on terminals that take as long as somebody else likes, made by children that do nothing
//! else. Runs in the supervisor.
//!
//! A size and the last close of a terminal wait for whoever is in a call on it (`winsize_mutex`,
//! `ldisc_sem` of drivers/tty), and that one may be copying to memory that is slow to arrive: a
//! page of a file that is throttled, or on a network. Nothing that this thread does may wait so.

use std::os::fd::{AsFd, OwnedFd};

use prn_ipc_protocol::message::TerminalSize;

use super::Runner;
use crate::events::{Interest, Part, Source};
use crate::process::{Aside, Process, Resizing, Terminal};
use crate::sys::pidfd;
use crate::sys::spawn::{self, Errand};

impl Runner {
    /// Sets a terminal's size, when the one before it is set. Of those that come meanwhile the newest
    /// is set.
    ///
    /// # Errors
    /// Those of clone3(2), and of what the child is passed.
    pub(super) fn set_size(
        &self,
        number: u64,
        terminal: &mut Terminal,
        size: TerminalSize,
    ) -> nix::Result<()> {
        if let Some(resizing) = &mut terminal.resizing {
            resizing.next = Some(size);
            return Ok(());
        }
        let child = spawn::send_aside(Errand::Resize(size), &terminal.master)?;
        self.watch_aside(number, &child)?;
        terminal.resizing = Some(Resizing { child, next: None });
        Ok(())
    }

    /// Closes a terminal for the last time. Should there be no child, here.
    pub(super) fn close_terminal(&mut self, number: u64, terminal: Terminal) {
        let Terminal {
            master,
            resizing,
            counted,
            ..
        } = terminal;
        let closer = spawn::close_aside(master).and_then(|child| {
            self.watch_aside(number, &child)?;
            Ok(child)
        });
        let children = resizing.map(|resizing| resizing.child);
        for child in children.into_iter().chain(closer) {
            self.asides.push(Aside {
                process: number,
                child,
                _counted: counted.clone(),
            });
        }
    }

    fn watch_aside(&self, number: u64, child: &OwnedFd) -> nix::Result<()> {
        let part = Part::Aside;
        let source = Source::Process { number, part };
        self.events.set(child.as_fd(), Interest::Changed, source)
    }

    /// A child of this process's has come back.
    pub(super) fn aside_ended(&mut self, number: u64) {
        let events = &self.events;
        self.asides.retain(|aside| {
            let is_back = aside.process == number && has_ended(&aside.child);
            if is_back {
                events.remove(&aside.child);
            }
            !is_back
        });
        self.with(number, Self::size_is_set);
    }

    fn size_is_set(&mut self, process: &mut Process) {
        let number = process.info.number;
        let live = process.live.as_mut();
        let Some(terminal) = live.and_then(|live| live.terminal.as_mut()) else {
            return;
        };
        let set = terminal
            .resizing
            .take_if(|resizing| has_ended(&resizing.child));
        let Some(Resizing { child, next }) = set else {
            return;
        };
        self.detach(&child);
        if let Some(size) = next {
            // The machine has nothing left for a child: the next size may find something.
            let _unused = self.set_size(number, terminal, size);
        }
    }
}

fn has_ended(child: &OwnedFd) -> bool {
    !matches!(pidfd::reap(child), Ok(None))
}
