//! Exit codes of `prn`: the one place where they are fixed, and the text that documents them.
//!
//! The rule: a command says of itself how it has gone (0 to 7); one that exits as a process did
//! ([`AS_A_PROCESS`]) leaves those to the process, and says of itself what shells and timeout(1) say,
//! 124 to 127. A process that was lost, and output that nobody reads, have the same
//! codes everywhere. Of several processes it is the highest code; of several that are waited for, the
//! first one that is not 0.

use std::ffi::OsString;
use std::process::ExitCode;

use prn_client::{ExitKind, LeftBehind};

/// An exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(pub u8);

/// The commands that exit as a process did.
const AS_A_PROCESS: &[&str] = &["run", "exec", "attach", "wait"];

/// The command of these words, without the program's name, exits as a process did.
pub fn is_as_a_process(words: &[OsString]) -> bool {
    let command = words.first();
    command.is_some_and(|command| AS_A_PROCESS.iter().any(|name| command == name))
}

/// All is well.
pub const OK: Exit = Exit(0);
/// Any other error.
pub const ERROR: Exit = Exit(1);
/// The command line is wrong, whether this side finds that or the server does. clap uses the same.
pub const USAGE: Exit = Exit(2);
/// There is no such process, or no such workspace.
pub const NO_SUCH_PROCESS: Exit = Exit(3);
/// One side does not accept the other's certificate.
pub const NOT_AUTHORISED: Exit = Exit(4);
/// The server cannot be reached, or is going away.
pub const UNAVAILABLE: Exit = Exit(5);
/// Output was read to its end, but bytes of it are missing.
pub const OUTPUT_GAP: Exit = Exit(6);
/// Output stopped before its end.
pub const OUTPUT_CUT_OFF: Exit = Exit(7);
/// The server was restarted, and the process ended with its predecessor: nobody knows how.
pub const LOST: Exit = Exit(123);
/// `run`, `exec`, `attach`: the time was up, however the process then ended; `wait`: that too, or it
/// had not ended in time. timeout(1) uses the same.
pub const RUN_TIMED_OUT: Exit = Exit(124);
/// Of those that exit as a process did: it left with 0 when it was stopped or out of memory; or it could
/// not get all of its input, whatever it left with; or prn was asked by a signal to leave it, or
/// failed itself, also for a command line that is wrong, or nobody knows how the process ended.
pub const RUN_FAILED: Exit = Exit(125);
/// `run`, `exec`: the command cannot be executed.
pub const RUN_NOT_EXECUTABLE: Exit = Exit(126);
/// `run`, `exec`: there is no such command.
pub const RUN_NOT_FOUND: Exit = Exit(127);
/// Whoever read prn's output has closed it: what a shell shows of a program that SIGPIPE (13)
/// ended.
pub const OUTPUT_CLOSED: Exit = Exit(141);

/// For `--help`.
pub const HELP: &str = "\
Exit codes:
  0    success
  1    any other error
  2    wrong usage, or an id's beginning that several processes have
  3    no such process, or no such workspace
  4    not authorised, or the server's certificate is not the pinned one
  5    the server cannot be reached or is not available
  6    output is complete up to its end, but bytes were dropped (they were announced)
  7    output was cut off before its end
  123  the process was lost: its server was restarted
  141  standard output was closed by its reader
  Of several processes, and of several servers: the highest of what each alone
  would give.
  `prn run`, `exec`, `attach` and `wait` exit as the process did (128+n when
  signal n ended it), and have none of 1 to 7 for themselves: 124 when its time
  was up, however it then ended, or the time that `wait` was given; 6 instead of
  0 where output is missing; 125 instead of 0 for a process that was stopped or
  out of memory; 125 for one that could not get all of its input. 125 also when
  prn itself failed, wrong usage and a server that cannot be reached included,
  or when the outcome is unknown, 126 when the command cannot be executed, 127
  when it does not exist. Where the process is left and goes on: 0 by the keys
  for it and by --keep-open, 125 by a signal. `wait` for several processes: 0 if
  all gave 0, else the code of the first that did not.";

impl Exit {
    /// The higher one: that of several things that were done.
    pub fn highest(self, other: Self) -> Self {
        Self(self.0.max(other.0))
    }

    /// As a process did that has ended like this. `None` if nobody knows how.
    pub fn of_process(
        exit: Option<&prn_client::Exit>,
        left_behind: Option<LeftBehind>,
    ) -> Option<Self> {
        if left_behind.is_some_and(|left| left.stopped_for == Some(ExitKind::TimedOut)) {
            return Some(RUN_TIMED_OUT);
        }
        let exit = exit?;
        status(exit.kind, exit.status?)
    }
}

/// The process's own status; but 0 only for one that has ended by itself.
fn status(kind: ExitKind, status: u8) -> Option<Exit> {
    match (kind, status) {
        (ExitKind::Unknown, _) => None,
        (ExitKind::TimedOut, _) => Some(RUN_TIMED_OUT),
        (
            ExitKind::StoppedOnRequest
            | ExitKind::OomKilled
            | ExitKind::OutputLimit
            | ExitKind::DiskLimit
            | ExitKind::LeaseExpired
            | ExitKind::Signalled,
            0,
        ) => Some(RUN_FAILED),
        (_, status) => Some(Exit(status)),
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_did_not_end_by_itself_is_no_success() {
        assert_eq!(status(ExitKind::Exited, 0), Some(OK));
        assert_eq!(status(ExitKind::TimedOut, 0), Some(RUN_TIMED_OUT));
        for kind in [
            ExitKind::StoppedOnRequest,
            ExitKind::OomKilled,
            ExitKind::LeaseExpired,
        ] {
            assert_eq!(status(kind, 0), Some(RUN_FAILED));
        }
        for after_the_time_was_up in [3, 137, 143] {
            assert_eq!(
                status(ExitKind::TimedOut, after_the_time_was_up),
                Some(RUN_TIMED_OUT)
            );
        }
        assert_eq!(status(ExitKind::StoppedOnRequest, 143), Some(Exit(143)));
        assert_eq!(status(ExitKind::Unknown, 0), None);
        assert_eq!(Exit::of_process(None, None), None);
    }

    #[test]
    fn those_that_exit_as_a_process_are_commands_in_the_help() {
        use clap::CommandFactory;
        let all = crate::cli::Cli::command();
        for name in AS_A_PROCESS {
            // By another name it would not be known.
            let command = all.find_subcommand(name).unwrap();
            assert_eq!(command.get_name(), *name);
            assert_eq!(command.get_all_aliases().count(), 0, "{name}");
            assert!(HELP.contains(&format!("{name}`")), "{name}");
        }
        assert!(is_as_a_process(&["wait".into(), "run".into()]));
        assert!(!is_as_a_process(&["logs".into(), "run".into()]) && !is_as_a_process(&[]));
    }

    #[test]
    fn each_code_is_in_the_help() {
        for exit in [
            OK,
            ERROR,
            USAGE,
            NO_SUCH_PROCESS,
            NOT_AUTHORISED,
            UNAVAILABLE,
            OUTPUT_GAP,
            OUTPUT_CUT_OFF,
            LOST,
            RUN_TIMED_OUT,
            RUN_FAILED,
            RUN_NOT_EXECUTABLE,
            RUN_NOT_FOUND,
            OUTPUT_CLOSED,
        ] {
            let code = exit.0.to_string();
            let is_there = HELP
                .split(|c: char| !c.is_ascii_digit())
                .any(|word| word == code);
            assert!(is_there, "{code}");
        }
    }
}
