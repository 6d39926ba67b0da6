//! What a process's standard streams are, made before it exists. Runs in the supervisor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use prn_ipc_protocol::message::{Input, Preparation, Refusal, TerminalSize};
use prn_ipc_protocol::output::Stream;

use crate::process::{Kind, Pipe, Terminal, Terminals};
use crate::sys::account::on_account_of;
use crate::sys::spawn::{self, Ids, Ours};
use crate::sys::terminal::{Ends, open_terminal};
use crate::sys::{errno, errno_number};

/// Whose streams they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner<'a> {
    /// Who may open them.
    pub ids: Ids<'a>,
    /// The user id, nobody else's, that they count for.
    pub account: u32,
}

/// Both ends of all of them.
#[derive(Debug)]
pub(crate) struct Streams {
    /// The process's ends.
    pub theirs: Theirs,
    /// What its output is read from.
    pub pipes: Vec<Pipe>,
    /// What its input is written to, if it has one.
    pub input: Option<OwnedFd>,
    /// Its terminal, if it has one.
    pub terminal: Option<Terminal>,
}

/// A process's ends.
#[derive(Debug)]
pub(crate) enum Theirs {
    /// A pipe for each.
    Pipes {
        /// `None`: /dev/null.
        input: Option<OwnedFd>,
        output: OwnedFd,
        error: OwnedFd,
    },
    /// A terminal for all.
    Terminal(OwnedFd),
}

impl Theirs {
    /// Standard input, output and error.
    pub fn streams<'a>(&'a self, null: BorrowedFd<'a>) -> [BorrowedFd<'a>; 3] {
        match self {
            Self::Terminal(terminal) => [terminal.as_fd(); 3],
            Self::Pipes {
                input,
                output,
                error,
            } => {
                let input = input.as_ref().map_or(null, AsFd::as_fd);
                [input, output.as_fd(), error.as_fd()]
            }
        }
    }
}

impl Streams {
    /// Makes them for a process. Of the kernel's memory for pipes each process has its own share:
    /// what it makes of the ends that it gets is at nobody else's cost, root's least of all
    /// (pipe(7)).
    ///
    /// # Errors
    /// `Resources`.
    pub fn make(owner: Owner<'_>, input: Input, terminals: &Terminals) -> Result<Self, Refusal> {
        let Owner { ids, account } = owner;
        let (what, made) = match input {
            Input::Nothing => {
                let made = on_account_of(account, || pipes(ids, None));
                (Preparation::Pipes, made)
            }
            Input::Pipe => {
                let made = || {
                    let input = spawn::pipe_of(ids, Ours::To)?;
                    pipes(ids, Some(input))
                };
                (Preparation::Pipes, on_account_of(account, made))
            }
            Input::Terminal(size) => {
                let made = || terminal(ids, size, terminals.clone());
                (Preparation::Terminal, on_account_of(account, made))
            }
        };
        made.flatten().map_err(|errno| Refusal::Resources {
            what,
            errno: errno_number(errno),
        })
    }
}

fn pipes(ids: Ids<'_>, input: Option<spawn::Pipe>) -> nix::Result<Streams> {
    let (output, error) = (
        spawn::pipe_of(ids, Ours::From)?,
        spawn::pipe_of(ids, Ours::From)?,
    );
    let (theirs, ours) = input.map(|pipe| (pipe.from, pipe.to)).unzip();
    Ok(Streams {
        theirs: Theirs::Pipes {
            input: theirs,
            output: output.to,
            error: error.to,
        },
        pipes: vec![
            Pipe::new(Stream::Stdout, output.from, Kind::Pipe),
            Pipe::new(Stream::Stderr, error.from, Kind::Pipe),
        ],
        input: ours,
        terminal: None,
    })
}

/// Its master stays here: who has it can read what is shown, and what is typed while it is echoed.
fn terminal(ids: Ids<'_>, size: TerminalSize, counted: Terminals) -> nix::Result<Streams> {
    let typed = spawn::pipe_of(ids, Ours::To)?;
    let Ends { master, slave } = open_terminal(ids, size)?;
    Ok(Streams {
        theirs: Theirs::Terminal(slave),
        terminal: Some(Terminal {
            master: master.try_clone().map_err(errno)?,
            typed: Some(typed.from),
            counted,
            resizing: None,
        }),
        pipes: vec![Pipe::new(Stream::Stdout, master, Kind::Terminal)],
        input: Some(typed.to),
    })
}
