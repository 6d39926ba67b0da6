//! `prn run`: start, feed, follow, exit as the process did.

use std::time::Duration;

use clap::{Args, ValueEnum};
use prn_client::{
    AccessQuestion, Client, FOLLOW_TIMEOUT, OutputPolicy, OutputRequest, STOP_GRACE, StandardInput,
    StartSpec, Started, Verb,
};

use crate::commands::can_i::dry_run;
use crate::copy::Far;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::fleet::running;
use crate::fleet::submitting::{Placing, to_be_asked};
use crate::input::detach::DetachFlag;
use crate::input::leftover::Leftover;
use crate::input::stdin::Stdin;
use crate::interrupts::{Interrupt, Interrupts};
use crate::lasting::feeding::{Beginning, Screen};
use crate::lasting::following::{Tie, followed};
use crate::lasting::passing::{Passing, Receiver};
use crate::lasting::reading::{Reading, patience};
use crate::lasting::spread;
use crate::lasting::surely::start_surely;
use crate::output::format::FormatFlag;
use crate::sync::{self, Plan, SyncFlags};
use crate::typed::spec::{Spec, with_our_terminal};
use crate::which::connection::{Connection, Remote};
use crate::which::fleet::{FleetFlag, OpenFleet};
use crate::which::hosts::{Hosts, Servers};

/// Start a process, pass standard input on to it, follow its output, and exit as it does
///
/// Standard input is passed on where it is a pipe or a file, and its end is the end of the
/// process's input. A loop that reads its own standard input needs -n, as with ssh: `while read
/// host; do prn run -n ...; done` goes round as often as there are lines, and without -n the first
/// process gets them all. What is typed at a terminal is passed on with -i, a line at a time, or
/// with -t, each key as it is.
///
/// Ctrl-C stops the process and goes on to show its output to the end; a second Ctrl-C leaves at
/// once. With -t, Ctrl-C is the process's own. SIGTERM and the end of the terminal stop it as well,
/// and so does output that cannot be written, or whose reader has left, and input that cannot be
/// read or passed on.
///
/// On several servers (--context 'web*') each line of output stands behind the name of its
/// server's context, no process gets standard input, and the exit code is the highest of all.
#[derive(Debug, Args)]
pub struct Run {
    /// What to start.
    #[command(flatten)]
    pub spec: Spec,
    /// Pass standard input on whatever it is, a terminal too: a line at a time, and Ctrl-D ends it
    #[arg(short, long, conflicts_with = "no_stdin")]
    pub interactive: bool,
    /// Give the process a terminal, and this one to it: for programs that are used at one, and for
    /// shells. All output is standard output then
    #[arg(short, long, conflicts_with = "no_stdin")]
    pub tty: bool,
    /// What becomes of the process when prn is gone, or cannot reach the server: `stop` ends it after
    /// 30s, or after --lease, unless somebody follows it again
    #[arg(
        long,
        value_name = "WHAT",
        value_enum,
        default_value = "keep",
        help_heading = "Lifetime"
    )]
    pub on_disconnect: OnDisconnect,
    /// How to leave it.
    #[command(flatten)]
    pub detach: DetachFlag,
    /// What to send before, and to bring back after.
    #[command(flatten)]
    pub sync: SyncFlags,
    /// Where in a fleet, and how often.
    #[command(flatten)]
    pub placing: Placing,
    /// Of a fleet.
    #[command(flatten)]
    pub fleet: FleetFlag,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

/// What becomes of a process that nobody follows any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnDisconnect {
    /// It goes on, unless --lease says otherwise
    Keep,
    /// It is stopped
    Stop,
}

/// Of one that is stopped. As long as prn tries to come back.
const LEASE: Duration = FOLLOW_TIMEOUT;

impl OnDisconnect {
    /// The lease that following it keeps.
    fn lease(self, asked: Option<Duration>) -> Option<Duration> {
        match self {
            Self::Keep => asked,
            Self::Stop => asked.or(Some(LEASE)),
        }
    }
}

pub async fn run(mut args: Run) -> Result<Exit, Failure> {
    let asked = args.spec.start.lease;
    args.spec.start.lease = args.on_disconnect.lease(asked);
    let passing = args.passing(Stdin::of_process())?;
    let of_terminal = args.of_one_server();
    let plan = args.sync.checked()?;
    if let Some(open) = args.fleet.open(&args.connection)? {
        let of_sync = plan.map(|_| "--sync and --out copy");
        return of_fleet(args.spec, &args.placing, of_terminal.or(of_sync), &open).await;
    }
    if args.placing.is_said() {
        let why = "--on, --host, --retries, --may-run-twice, --start-by and --places are of jobs of a fleet: with --fleet";
        return Err(Failure::Usage(why.to_owned()));
    }
    let servers = Servers::of(&args.connection)?;
    if args.spec.dry_run {
        let spec = args.spec.completed(OutputPolicy::Follow)?;
        let exit = dry_run(&servers, &spec, &FormatFlag::table()).await?;
        return Ok(if exit == exit::OK {
            exit
        } else {
            exit::RUN_FAILED
        });
    }
    let remote = match servers {
        Servers::One(remote) => remote,
        Servers::Several(hosts) => {
            let of_sync = plan.map(|_| "--sync and --out copy");
            return everywhere(args.spec, of_terminal.or(of_sync), &hosts).await;
        }
    };
    let mut spec = args.spec.completed(OutputPolicy::Follow)?;
    match passing {
        Passing::Nothing | Passing::Refused(_) => {}
        Passing::ToItsEnd | Passing::KeptOpen | Passing::Typed => {
            spec.stdin = StandardInput::Pipe;
        }
        Passing::Terminal => with_our_terminal(&mut spec),
    }
    let process = Attachment {
        spec,
        passing,
        detach: args.detach,
    };
    let client = remote.connect().await?;
    may_feed(&client, passing).await?;
    // From here on a process may exist, and a signal must not leave it behind.
    let mut interrupts = Interrupts::take()?;
    let (Some(plan), Some(workspace)) = (plan, process.spec.workspace.clone()) else {
        return process.run(&remote, client, &mut interrupts).await;
    };
    let mut far = Far {
        remote: &remote,
        client,
        workspace: &workspace,
    };
    process.run_synced(&plan, &mut far, &mut interrupts).await
}

/// Whether what is to be passed on would be taken. Asked before anything starts, for a process
/// whose input is refused would wait for it, and could only be stopped. A server that gives no
/// answer is one that says it later.
async fn may_feed(client: &Client, passing: Passing) -> Result<(), Failure> {
    if matches!(passing, Passing::Nothing | Passing::Refused(_)) {
        return Ok(());
    }
    let question = AccessQuestion::Verb(Verb::Input);
    match client.check_access(question).await {
        Ok(access) if !access.allowed => {
            let why = access.why.unwrap_or_else(|| "not allowed".to_owned());
            Err(Failure::NotFed(why))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// As a job of a fleet, which gets no standard input.
async fn of_fleet(
    spec: Spec,
    placing: &Placing,
    of_one_server: Option<&str>,
    open: &OpenFleet,
) -> Result<Exit, Failure> {
    if let Some(what) = of_one_server {
        let why = format!("{what} to one server, and a job is any host's");
        return Err(Failure::Usage(why));
    }
    nothing_is_left(
        spec.no_stdin,
        "there is data on standard input, which no job of a fleet gets: -n leaves it alone, and nothing was submitted",
    )?;
    let is_dry = spec.dry_run;
    let spec = spec.completed(OutputPolicy::Follow)?;
    if is_dry {
        let first = to_be_asked(open, placing, &spec).await?;
        return dry_run(&Servers::One(first), &spec, &FormatFlag::table()).await;
    }
    running::run(open, &spec, placing).await
}

/// Nothing waits on standard input that no process would get.
fn nothing_is_left(is_left_alone: bool, why: &str) -> Result<(), Failure> {
    let leftover = Leftover::look(is_left_alone).and_then(Leftover::settle);
    leftover.map_err(|failure| {
        if let Failure::Input = failure {
            return Failure::Usage(why.to_owned());
        }
        failure
    })
}

/// On each of several servers. Standard input is one, and so is a terminal: no process gets it.
async fn everywhere(
    spec: Spec,
    of_one_server: Option<&str>,
    hosts: &Hosts,
) -> Result<Exit, Failure> {
    if let Some(what) = of_one_server {
        let why = format!("{what} to one server, and --context means several");
        return Err(Failure::Usage(why));
    }
    nothing_is_left(
        spec.no_stdin,
        "there is data on standard input, which goes to no process of several servers: -n leaves it alone, and nothing was started",
    )?;
    let id = spec.id;
    let spec = spec.completed(OutputPolicy::Follow)?;
    spread::run(hosts, &spec, id).await
}

/// A process that is run, and what is passed on to it.
struct Attachment {
    spec: StartSpec,
    passing: Passing,
    detach: DetachFlag,
}

impl Attachment {
    /// Runs it in a workspace, with what is sent before and brought back after.
    async fn run_synced(
        mut self,
        plan: &Plan,
        far: &mut Far<'_>,
        interrupts: &mut Interrupts,
    ) -> Result<Exit, Failure> {
        let directory = sync::send(plan, far, interrupts).await?;
        self.spec.working_directory = self.spec.working_directory.or(directory);
        let exit = self.run(far.remote, far.client.clone(), interrupts).await?;
        sync::bring_back(plan, exit, far, interrupts).await
    }

    /// Runs it, beginning on a connection that is there.
    async fn run(
        self,
        remote: &Remote,
        first: Client,
        interrupts: &mut Interrupts,
    ) -> Result<Exit, Failure> {
        let Self {
            spec,
            passing,
            detach,
        } = self;
        let (client, started) = start(remote, first, &spec, interrupts).await?;
        let id = started.process.id;
        let (grace, lease) = (spec.stop_grace, spec.lease);
        let until_read = spec.retention.until_read;
        interrupts.expect_grace(grace.unwrap_or(STOP_GRACE));
        let request = OutputRequest {
            follower: true,
            ..OutputRequest::default()
        };
        let reading = Reading::new(remote, client, id, request)
            .of_known(patience(spec.output_policy, spec.follow_timeout));
        let receiver = receiver(&started, passing, detach);
        let followed = async {
            let attached = passing.begin(receiver, interrupts)?;
            followed(
                reading,
                attached,
                interrupts,
                Tie::Own {
                    grace,
                    lease,
                    until_read,
                },
            )
            .await
        };
        followed.await.map_err(|failure| failure.after_start(id))
    }
}

impl Run {
    /// What is asked for that one server alone can have.
    fn of_one_server(&self) -> Option<&'static str> {
        match (self.interactive, self.tty) {
            (true, _) => Some("-i, --interactive passes standard input on"),
            (false, true) => Some("-t, --tty gives this terminal"),
            (false, false) => None,
        }
    }

    /// What of this standard input is passed on.
    fn passing(&self, stdin: Stdin) -> Result<Passing, Failure> {
        if self.tty {
            return match stdin {
                Stdin::Terminal => Ok(Passing::Terminal),
                Stdin::Stream | Stdin::Nothing => Err(Failure::Usage(
                    "-t, --tty needs a terminal as standard input; -i without -t passes on any other, to a process without a terminal"
                        .to_owned(),
                )),
            };
        }
        let is_passed_on = self.interactive || (stdin == Stdin::Stream && !self.spec.no_stdin);
        Ok(if is_passed_on {
            Passing::ToItsEnd
        } else {
            Passing::Nothing
        })
    }
}

/// To whom it is passed on.
fn receiver(started: &Started, passing: Passing, detach: DetachFlag) -> Receiver {
    // Of a process that the same command has started before, and fed up to somewhere: the same
    // input again, of which the server skips what it has. Nobody types the same again.
    let is_typed_again = started.already_running && passing == Passing::Terminal;
    Receiver {
        id: started.process.id,
        beginning: if is_typed_again {
            Beginning::Behind
        } else {
            Beginning::First
        },
        screen: Screen::Seen,
        detach_keys: detach.detach_keys,
    }
}

/// Starts the process. A first interrupt is kept for when it runs.
async fn start(
    remote: &Remote,
    first: Client,
    spec: &StartSpec,
    interrupts: &mut Interrupts,
) -> Result<(Client, Started), Failure> {
    let mut starting = std::pin::pin!(start_surely(remote, first, spec));
    loop {
        tokio::select! {
            biased;
            interrupt = interrupts.next() => {
                if let (Interrupt::Leave, Some(id)) = (interrupt, spec.id) {
                    return Err(Failure::Left(id));
                }
            }
            started = &mut starting => return started,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn passing(flags: &[&str], stdin: Stdin) -> Result<Passing, Failure> {
        let connection = ["--client-cert", "c.pem", "--server-cert", "s.pem"];
        let words = [&["prn", "run"], flags, &connection, &["--", "cat"]].concat();
        let Command::Run(run) = Cli::try_parse_from(words).unwrap().command else {
            panic!("not a run")
        };
        run.passing(stdin)
    }

    #[test]
    fn what_is_stopped_when_nobody_follows_it_has_a_lease() {
        let minute = Some(Duration::from_secs(60));
        assert_eq!(OnDisconnect::Keep.lease(None), None);
        assert_eq!(OnDisconnect::Keep.lease(minute), minute);
        assert_eq!(OnDisconnect::Stop.lease(None), Some(LEASE));
        assert_eq!(OnDisconnect::Stop.lease(minute), minute);
    }

    #[test]
    fn a_stream_is_passed_on_unless_it_is_not_to_be_and_a_terminal_where_it_is_asked_for() {
        use Passing::{Nothing, Terminal, ToItsEnd};
        for (flags, stdin, expected) in [
            (&[][..], Stdin::Stream, Some(ToItsEnd)),
            (&[], Stdin::Terminal, Some(Nothing)),
            (&[], Stdin::Nothing, Some(Nothing)),
            (&["-n"], Stdin::Stream, Some(Nothing)),
            (&["-i"], Stdin::Stream, Some(ToItsEnd)),
            (&["-i"], Stdin::Terminal, Some(ToItsEnd)),
            (&["-t"], Stdin::Terminal, Some(Terminal)),
            (&["-it"], Stdin::Terminal, Some(Terminal)),
            (&["-t"], Stdin::Stream, None),
            (&["-it"], Stdin::Nothing, None),
        ] {
            let passed = passing(flags, stdin);
            let said = passed.as_ref().err().map(ToString::to_string);
            assert!(said.is_none_or(|said| said.contains("-i without -t")));
            assert_eq!(passed.ok(), expected, "{flags:?} {stdin:?}");
        }
    }
}
