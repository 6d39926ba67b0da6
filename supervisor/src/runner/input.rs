//! A process's input: the pipe that the frontend writes to, and what is typed into a terminal. Runs
//! in the supervisor, which looks at none of it.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::PollFlags;
use prn_ipc_protocol::message::{Input, Preparation, Refusal, TerminalSize};
use prn_ipc_protocol::types::ProcessId;

use super::{Runner, resources};
use crate::events::{Interest, Part, Source};
use crate::process::{Process, Terminal};
use crate::signed;
use crate::store::state;
use crate::sys::errno;
use crate::sys::terminal::type_from;

/// A process's input, for somebody who writes to it.
#[derive(Debug)]
pub struct Lent {
    /// Bytes that were ever taken; `None`: that is not known.
    pub taken: Option<u64>,
    /// Where to write to. `None`: it takes nothing more.
    pub end: Option<File>,
}

/// What came of typing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Typed {
    /// There may be more.
    Some,
    /// The terminal is full.
    Full,
    /// There will be no more, or nobody has the terminal.
    Over,
}

impl Runner {
    /// The descriptor to write a process's input to. Who has it says how much was taken when it is
    /// closed ([`Runner::input_taken`]), or dies, and then nobody knows.
    ///
    /// # Errors
    /// `UnknownProcess`, `NoInput`, `Signature` if its owner has to sign, or `Resources`.
    pub fn lend_input(&mut self, id: ProcessId) -> Result<Lent, Refusal> {
        let may_be_fed = signed::check_feeding(self.policy(), self.owner(id).flatten());
        let process = self.known_by(id)?;
        if process.info.spec.input == Input::Nothing {
            return Err(Refusal::NoInput);
        }
        may_be_fed?;
        let end = process.live.as_ref().and_then(|live| live.input.as_ref());
        let Some(end) = end else {
            return Ok(Lent {
                taken: process.input_taken.known(),
                end: None,
            });
        };
        let end = end.try_clone().map_err(errno);
        let end = end.map_err(resources(Preparation::Pipes))?;
        Ok(Lent {
            taken: process.input_taken.begin(),
            end: Some(end.into()),
        })
    }

    /// Who had a process's input has closed it, and so many bytes of it were ever taken.
    pub fn input_taken(&mut self, id: ProcessId, taken: u64) {
        if let Ok(process) = self.known_by(id) {
            process.input_taken.say(taken);
        }
    }

    /// Ends a process's input, when who has it closes it, which is to be after this: the last one to
    /// close a pipe waits for whoever reads from it. Its info says so from now on.
    ///
    /// # Errors
    /// `UnknownProcess` or `NoInput`.
    pub fn end_input(&mut self, id: ProcessId) -> Result<(), Refusal> {
        let process = self.known_by(id)?;
        if process.info.spec.input == Input::Nothing {
            return Err(Refusal::NoInput);
        }
        let end = process.live.as_mut().and_then(|live| live.input.take());
        process.info.input_ended |= end.is_some();
        self.with_id(id, |runner, process| runner.stamp(process));
        Ok(())
    }

    /// Says how large a process's terminal is: so it will be, or as large as is said after that.
    ///
    /// # Errors
    /// `UnknownProcess`, `NoTerminal`, also of one that has ended, or `Resources`.
    pub fn resize(&mut self, id: ProcessId, size: TerminalSize) -> Result<(), Refusal> {
        self.known_by(id)?;
        let mut outcome = Err(Refusal::NoTerminal);
        self.with_id(id, |runner, process| {
            let number = process.info.number;
            let live = process.live.as_mut();
            if let Some(terminal) = live.and_then(|live| live.terminal.as_mut()) {
                let set = runner.set_size(number, terminal, size);
                outcome = set.map_err(resources(Preparation::Terminal));
            }
        });
        outcome
    }

    /// Types what was written to a process's input, a bounded amount of it: the rest has its turn
    /// when others have had theirs.
    pub(super) fn type_input(&mut self, process: &mut Process) {
        let number = process.info.number;
        let live = process.live.as_mut();
        let Some(terminal) = live.and_then(|live| live.terminal.as_mut()) else {
            return;
        };
        let Some(typed) = &terminal.typed else {
            return;
        };
        let (fd, interest) = match type_once(typed, &terminal.master) {
            Typed::Some => (typed, Interest::ReadableOnce),
            Typed::Full => (&terminal.master, Interest::WritableOnce),
            Typed::Over => return self.stop_typing(terminal),
        };
        let part = Part::Input;
        let source = Source::Process { number, part };
        if self.events.set(fd.as_fd(), interest, source).is_err() {
            self.stop_typing(terminal);
        }
    }

    fn stop_typing(&self, terminal: &mut Terminal) {
        self.detach(&terminal.master);
        if let Some(typed) = terminal.typed.take() {
            self.detach(typed);
        }
    }

    /// Nobody reads a process's input any more.
    pub(super) fn close_input(&mut self, process: &mut Process) {
        let Some(live) = &mut process.live else {
            return;
        };
        live.input = None;
        if let Some(mut terminal) = live.terminal.take() {
            self.stop_typing(&mut terminal);
            self.close_terminal(process.info.number, terminal);
        }
    }
}

/// Types once.
fn type_once(typed: &OwnedFd, master: &OwnedFd) -> Typed {
    match type_from(typed, master) {
        Ok(0) => Typed::Over,
        Ok(_) | Err(Errno::EINTR) => Typed::Some,
        // Either of the two, so the terminal if the pipe has something.
        Err(Errno::EAGAIN) if state(typed.as_fd()).contains(PollFlags::POLLIN) => Typed::Full,
        Err(Errno::EAGAIN) => Typed::Some,
        Err(_) => Typed::Over,
    }
}
