//! `prn attach`: feed and follow a process that was started before, exit as it does.

use clap::Args;
use prn_client::{InputKind, OutputRequest, Process, ProcessStatus, State, Tail};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::input::detach::DetachFlag;
use crate::input::stdin::Stdin;
use crate::interrupts::Interrupts;
use crate::lasting::feeding::{Beginning, Screen};
use crate::lasting::following::{Tie, followed};
use crate::lasting::passing::{Passing, Receiver};
use crate::lasting::reading::{Reading, patience};
use crate::which::connection::{Connection, Remote};
use crate::which::reference::{Reference, resolve};

/// Come back to a process: pass standard input on to it, follow its output, and exit as it does
///
/// Output is shown from now on, unless --tail or --all asks for more. What was started with `prn
/// start --stdin` or `prn run` gets what comes on standard input, and the end of that is the end of
/// the process's input, unless --keep-open leaves it open for somebody else; it is fed by one at a time.
/// A terminal (`prn start -t`, `prn run -t`) gets each key as it is, and is as large as this one;
/// it has no end.
///
/// The process goes on whoever leaves: by the keys of --detach-keys at a terminal, by Ctrl-C
/// elsewhere, by SIGTERM, or because output cannot be written.
#[derive(Debug, Args)]
pub struct Attach {
    /// Which process: its id, the beginning of its id, or its name
    #[arg(value_name = "ID")]
    pub id: Reference,
    /// Leave standard input alone, and only follow the output
    #[arg(short = 'n', long)]
    pub no_stdin: bool,
    /// Fail unless the process has a terminal, and standard input is one: both are used without
    /// this flag where they are there
    #[arg(short, long, conflicts_with = "no_stdin")]
    pub tty: bool,
    /// Let the process's input stay open at the end of standard input, and leave the process when it
    /// has taken all of it
    #[arg(long, conflicts_with = "no_stdin")]
    pub keep_open: bool,
    /// Begin with the last so many lines of the output
    #[arg(long, value_name = "LINES", allow_negative_numbers = true)]
    pub tail: Option<u64>,
    /// Begin with the first byte of the output
    #[arg(long, conflicts_with = "tail")]
    pub all: bool,
    /// How to leave it.
    #[command(flatten)]
    pub detach: DetachFlag,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

pub async fn attach(args: Attach) -> Result<Exit, Failure> {
    let stdin = Stdin::of_process();
    let request = args.request();
    let remote = Remote::new(args.connection.clone())?;
    let client = remote.connect().await?;
    let id = resolve(&client, &args.id).await?;
    let Process { id, status } = client.status(id).await?;
    let passing = args.passing(stdin, &status)?;
    let mut interrupts = Interrupts::take()?;
    let policy = status.output.and_then(|output| output.policy);
    let reading = Reading::new(&remote, client, id, request).of_known(patience(policy, None));
    let receiver = Receiver {
        id,
        beginning: Beginning::Behind,
        screen: Screen::Unseen,
        detach_keys: args.detach.detach_keys,
    };
    let attached = passing.begin(receiver, &mut interrupts)?;
    followed(reading, attached, &mut interrupts, Tie::Guest).await
}

impl Attach {
    fn request(&self) -> OutputRequest {
        let tail = (!self.all).then(|| Tail::Lines(self.tail.unwrap_or(0)));
        OutputRequest {
            tail,
            follower: true,
            ..OutputRequest::default()
        }
    }

    /// What of this standard input is passed on to such a process.
    fn passing(&self, stdin: Stdin, status: &ProcessStatus) -> Result<Passing, Failure> {
        let input = status.stdin;
        if self.tty && (stdin, input) != (Stdin::Terminal, InputKind::Terminal) {
            let what = if input == InputKind::Terminal {
                "-t, --tty needs a terminal as standard input"
            } else {
                "-t, --tty is of use with a process that was started with -t alone"
            };
            return Err(Failure::Usage(what.to_owned()));
        }
        if self.no_stdin || stdin == Stdin::Nothing || status.state == State::Stopped {
            return Ok(Passing::Nothing);
        }
        if status.input_ended {
            return Ok(Passing::Refused("its standard input has ended"));
        }
        Ok(match (input, stdin) {
            (InputKind::None, _) => Passing::Refused("it was started without standard input"),
            (InputKind::Terminal, Stdin::Terminal) => Passing::Terminal,
            (_, Stdin::Stream | Stdin::Nothing) | (InputKind::Pipe, _) if self.keep_open => {
                Passing::KeptOpen
            }
            (InputKind::Terminal, Stdin::Stream | Stdin::Nothing) => Passing::Typed,
            (InputKind::Pipe, _) => Passing::ToItsEnd,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;
    use prn_proto::v1;

    const ID: &str = "fcd2310e7b9a462a5d88c3a0ff4e2d9b";

    fn args(flags: &[&str]) -> Attach {
        let connection = ["--client-cert", "c.pem", "--server-cert", "s.pem"];
        let words = [&["prn", "attach", ID], flags, &connection].concat();
        let Command::Attach(attach) = Cli::try_parse_from(words).unwrap().command else {
            panic!("not an attach")
        };
        attach
    }

    fn status(stdin: v1::StandardInput) -> v1::ProcessStatus {
        v1::ProcessStatus {
            state: v1::ProcessState::Running.into(),
            stdin: stdin.into(),
            ..Default::default()
        }
    }

    #[test]
    fn what_is_passed_on_is_what_both_sides_have() {
        use v1::StandardInput::{None as Null, Pipe, Terminal as Tty};
        for (flags, stdin, input, expected) in [
            (&[][..], Stdin::Stream, Pipe, Some(Passing::ToItsEnd)),
            (&[], Stdin::Terminal, Pipe, Some(Passing::ToItsEnd)),
            (
                &["--keep-open"],
                Stdin::Stream,
                Pipe,
                Some(Passing::KeptOpen),
            ),
            (&[], Stdin::Nothing, Pipe, Some(Passing::Nothing)),
            (&["-n"], Stdin::Stream, Null, Some(Passing::Nothing)),
            (&[], Stdin::Terminal, Tty, Some(Passing::Terminal)),
            (&["-t"], Stdin::Terminal, Tty, Some(Passing::Terminal)),
            (&[], Stdin::Stream, Tty, Some(Passing::Typed)),
            (
                &["--keep-open"],
                Stdin::Stream,
                Tty,
                Some(Passing::KeptOpen),
            ),
            (
                &["--keep-open"],
                Stdin::Terminal,
                Tty,
                Some(Passing::Terminal),
            ),
            (&["-t"], Stdin::Stream, Tty, None),
            (&["-t"], Stdin::Terminal, Pipe, None),
        ] {
            let status = status(input).try_into().unwrap();
            let passing = args(flags).passing(stdin, &status).ok();
            assert_eq!(passing, expected, "{flags:?} {stdin:?} {input:?}");
        }
        for (stdin, input_ended) in [(Null, false), (Pipe, true)] {
            let status = v1::ProcessStatus {
                input_ended,
                ..status(stdin)
            };
            let passing = args(&[]).passing(Stdin::Stream, &status.try_into().unwrap());
            assert!(matches!(passing, Ok(Passing::Refused(_))), "{stdin:?}");
        }
        let stopped = v1::ProcessStatus {
            state: v1::ProcessState::Stopped.into(),
            ..status(Pipe)
        };
        let passing = args(&[]).passing(Stdin::Stream, &stopped.try_into().unwrap());
        assert_eq!(passing.ok(), Some(Passing::Nothing));
    }

    #[test]
    fn output_begins_now_unless_more_is_asked_for() {
        assert_eq!(args(&[]).request().tail, Some(Tail::Lines(0)));
        assert_eq!(args(&["--tail", "5"]).request().tail, Some(Tail::Lines(5)));
        assert_eq!(args(&["--all"]).request().tail, None);
    }
}
