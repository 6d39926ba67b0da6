//! Exit codes of `prn`: the one place where they are fixed, and the text that documents them.

use std::process::ExitCode;

/// An exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(pub u8);

/// All is well.
pub const OK: Exit = Exit(0);
/// Any other error.
pub const ERROR: Exit = Exit(1);
/// The command line is wrong, whether this side finds that or the server does. clap uses the same.
pub const USAGE: Exit = Exit(2);
/// No process has this id, or no workspace this name.
pub const NO_SUCH_PROCESS: Exit = Exit(3);
/// One side does not accept the other's certificate.
pub const NOT_AUTHORISED: Exit = Exit(4);
/// The server cannot be reached, or is going away.
pub const UNAVAILABLE: Exit = Exit(5);
/// Output was read to its end, but bytes of it are missing.
pub const OUTPUT_GAP: Exit = Exit(6);
/// Output stopped before its end.
pub const OUTPUT_CUT_OFF: Exit = Exit(7);
/// `run`, `attach`: the time was up, however the process then ended. timeout(1) uses the same.
pub const RUN_TIMED_OUT: Exit = Exit(124);
/// `run`, `attach`: the process left with 0 when it was stopped or out of memory; or it could not get
/// all of its input, whatever it left with; or prn was asked by a signal to leave it, or failed
/// itself, also for a command line that is wrong, or nobody knows how the process ended.
pub const RUN_FAILED: Exit = Exit(125);
/// `run`: the command cannot be executed.
pub const RUN_NOT_EXECUTABLE: Exit = Exit(126);
/// `run`: there is no such command.
pub const RUN_NOT_FOUND: Exit = Exit(127);
/// Whoever read prn's output has closed it: what a shell shows of a program that SIGPIPE (13)
/// ended.
pub const OUTPUT_CLOSED: Exit = Exit(141);

/// For `--help`.
pub const HELP: &str = "\
Exit codes:
  0    success
  1    any other error
  2    wrong usage
  3    no such process, or no such workspace
  4    not authorised, or the server's certificate is not the pinned one
  5    the server cannot be reached or is not available
  6    output is complete up to its end, but bytes were dropped (they were announced)
  7    output was cut off before its end
  141  standard output was closed by its reader
  `prn logs` of several processes, and what is asked of several servers: the
  highest of what each alone would give.
  `prn run` and `prn attach` exit as the process did (128+n when signal n ended
  it); 124 when its time was up, however it then ended; 6 instead of 0 where
  output is missing; 125 instead of 0 for a process that was stopped or out of
  memory; 125 for one that could not get all of its input. 125 also when prn
  itself failed, wrong usage and a server that cannot be reached included, or
  when the outcome is unknown, 126 when the command cannot be executed, 127 when
  it does not exist. Where the process is left and goes on: 0 by the keys for it
  and by --keep-open, 125 by a signal.";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}
