//! The command line: all commands, and which one is meant.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::commands::attach::{self, Attach};
use crate::commands::audit::{self, Audit};
use crate::commands::batch::{self, Batch};
use crate::commands::can_i::{self, CanI};
use crate::commands::completion::{self, Completion};
use crate::commands::context::{self, Context};
use crate::commands::cp::{self, Cp};
use crate::commands::events::{self, Events};
use crate::commands::exec::{self, Exec};
use crate::commands::exporter::{self, Exporter};
use crate::commands::fleet::{self, Fleet};
use crate::commands::health;
use crate::commands::inspect::{self, Inspect};
use crate::commands::keygen::{self, Keygen};
use crate::commands::kill::{self, Kill};
use crate::commands::list::{self, List};
use crate::commands::logs::{self, Logs};
use crate::commands::mcp::{self, Mcp};
use crate::commands::metrics::{self, Metrics};
use crate::commands::pause::{self, Pause, Resume};
use crate::commands::pin::{self, Pin};
use crate::commands::policy::{self, Policy};
use crate::commands::prune::{self, Prune};
use crate::commands::receipt::{self, Receipt, Verify};
use crate::commands::rm::{self, Rm};
use crate::commands::rotate::{self, Rotate};
use crate::commands::run::{self, Run};
use crate::commands::server::{self, Server};
use crate::commands::start::{self, Start};
use crate::commands::stats::{self, Stats};
use crate::commands::status::{self, Status};
use crate::commands::stop::{self, Stop};
use crate::commands::submit::{self, Submit};
use crate::commands::top::{self, Top};
use crate::commands::update::{self, Change, Renew};
use crate::commands::version;
use crate::commands::wait::{self, Wait};
use crate::commands::workspace::{self, Workspace};
use crate::complete::{self, Complete};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::typed::usage;

/// Run commands on another Linux machine: start, leave, come back, read all output, stop all of it.
///
/// `prn keygen` makes a key and certificate for each side; each side is told the other's
/// certificate, or its key's fingerprint, or an authority and a name. The key is read from
/// PRN_TLS_KEY (PKCS#8, PEM) or from a file that only you can read.
#[derive(Debug, Parser)]
#[command(name = "prn", version, propagate_version = true, after_help = exit::HELP, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    Start(Start),
    Status(Status),
    Logs(Logs),
    Stop(Stop),
    #[command(visible_aliases = ["ls", "ps"])]
    List(List),
    Stats(Stats),
    Top(Top),
    #[command(visible_alias = "watch")]
    Events(Events),
    Run(Run),
    Exec(Exec),
    Attach(Attach),
    Wait(Wait),
    Kill(Kill),
    #[command(visible_alias = "freeze")]
    Pause(Pause),
    #[command(visible_aliases = ["unpause", "thaw"])]
    Resume(Resume),
    Update(Change),
    Renew(Renew),
    #[command(visible_alias = "remove")]
    Rm(Rm),
    Prune(Prune),
    Inspect(Inspect),
    CanI(CanI),
    Receipt(Receipt),
    Verify(Verify),
    Health(health::Check),
    Version(version::Show),
    Metrics(Metrics),
    Exporter(Exporter),
    Cp(Cp),
    Workspace(Workspace),
    Batch(Batch),
    Submit(Submit),
    Fleet(Fleet),
    Mcp(Mcp),
    Context(Context),
    Keygen(Keygen),
    #[command(subcommand)]
    Server(Server),
    Policy(Policy),
    Pin(Pin),
    Rotate(Rotate),
    Audit(Audit),
    Completion(Completion),
    #[command(name = "__complete", hide = true)]
    Complete(Complete),
}

impl Command {
    /// The string that it would split into the words of a command.
    pub fn line(&self) -> Option<&str> {
        match self {
            Self::Start(start) => start.spec.line.as_deref(),
            Self::Run(run) => run.spec.line.as_deref(),
            Self::Submit(submit) => submit.spec.line.as_deref(),
            Self::Exec(_)
            | Self::Wait(_)
            | Self::Kill(_)
            | Self::Pause(_)
            | Self::Resume(_)
            | Self::Update(_)
            | Self::Renew(_)
            | Self::Rm(_)
            | Self::Prune(_)
            | Self::Inspect(_)
            | Self::CanI(_)
            | Self::Receipt(_)
            | Self::Verify(_)
            | Self::Health(_)
            | Self::Version(_)
            | Self::Metrics(_)
            | Self::Exporter(_)
            | Self::Status(_)
            | Self::Logs(_)
            | Self::Stop(_)
            | Self::List(_)
            | Self::Stats(_)
            | Self::Top(_)
            | Self::Events(_)
            | Self::Attach(_)
            | Self::Cp(_)
            | Self::Workspace(_)
            | Self::Batch(_)
            | Self::Fleet(_)
            | Self::Mcp(_)
            | Self::Context(_)
            | Self::Keygen(_)
            | Self::Server(_)
            | Self::Policy(_)
            | Self::Pin(_)
            | Self::Rotate(_)
            | Self::Audit(_)
            | Self::Completion(_)
            | Self::Complete(_) => None,
        }
    }

    /// Does what the command line says, which is these words, without the program's name.
    pub fn act(self, words: &[OsString]) -> Result<Exit, Failure> {
        let acted = self.acted();
        if exit::is_as_a_process(words) {
            return acted.map_err(|failure| Failure::Run(Box::new(failure)));
        }
        acted
    }

    fn acted(self) -> Result<Exit, Failure> {
        match self {
            Self::Start(args) => block_on(|| start::start(args)),
            Self::Status(args) => block_on(|| status::status(args)),
            Self::Logs(args) => block_on(|| logs::logs(args)),
            Self::Stop(args) => block_on(|| stop::stop(args)),
            Self::List(args) => block_on(|| list::list(args)),
            Self::Stats(args) => block_on(|| stats::stats(args)),
            Self::Top(args) => block_on(|| top::top(args)),
            Self::Events(args) => block_on(|| events::events(args)),
            Self::Run(args) => block_on(|| run::run(args)),
            Self::Exec(args) => block_on(|| exec::exec(args)),
            Self::Attach(args) => block_on(|| attach::attach(args)),
            Self::Wait(args) => block_on(|| wait::wait(args)),
            Self::Kill(args) => block_on(|| kill::kill(args)),
            Self::Pause(args) => block_on(|| pause::pause(args)),
            Self::Resume(args) => block_on(|| pause::resume(args)),
            Self::Update(args) => block_on(|| update::update(args)),
            Self::Renew(args) => block_on(|| update::renew(args)),
            Self::Rm(args) => block_on(|| rm::rm(args)),
            Self::Prune(args) => block_on(|| prune::prune(args)),
            Self::Inspect(args) => block_on(|| inspect::inspect(args)),
            Self::CanI(args) => block_on(|| can_i::can_i(args)),
            Self::Receipt(args) => block_on(|| receipt::receipt(args)),
            Self::Verify(args) => block_on(|| receipt::verify(args)),
            Self::Health(args) => block_on(|| health::health(args)),
            Self::Version(args) => block_on(|| version::version(args)),
            Self::Metrics(args) => block_on(|| metrics::metrics(args)),
            Self::Exporter(args) => exporter::exporter(&args),
            Self::Cp(args) => block_on(|| cp::cp(args)),
            Self::Workspace(args) => block_on(|| workspace::workspace(args)),
            Self::Batch(args) => block_on(|| batch::batch(args)),
            Self::Submit(args) => block_on(|| submit::submit(args)),
            Self::Fleet(args) => block_on(|| fleet::fleet(args)),
            Self::Mcp(args) => block_on(|| mcp::mcp(args)),
            Self::Context(args) => block_on(|| context::context(args)),
            Self::Keygen(args) => Ok(keygen::keygen(&args)?),
            Self::Server(Server::Start(flags)) => server::start(flags),
            Self::Server(Server::Reload(flags)) => server::reload(flags),
            Self::Server(Server::Status(args)) => server::status::status(&args),
            Self::Server(Server::Check(args)) => server::check(&args),
            Self::Server(Server::Invite(args)) => server::invite(&args),
            Self::Policy(args) => policy::policy(&args),
            Self::Pin(args) => pin::pin(&args),
            Self::Rotate(args) => block_on(|| rotate::rotate(args)),
            Self::Audit(args) => audit::audit(&args),
            Self::Completion(args) => completion::completion(&args),
            Self::Complete(args) => complete::complete(args, Cli::command()),
        }
    }
}

impl Cli {
    /// The command line of this process.
    ///
    /// # Errors
    /// The exit code, once what there is to say has been said: help, or what is wrong.
    pub fn of_process() -> Result<Self, ExitCode> {
        let words = kill::with_flags(std::env::args_os().collect());
        let parsed = match Self::of_client(&words) {
            Some(cli) => Ok(cli),
            None => Self::of_all(&words),
        };
        let parsed = parsed.and_then(|cli| cli.unless_refused(&words));
        parsed.map_err(|error| usage::tell(error, &words, Self::command))
    }

    /// Itself, unless there are words behind a command's string that are the program's.
    fn unless_refused(self, words: &[OsString]) -> Result<Self, clap::Error> {
        let is_of_a_string = self.command.line().is_some();
        let refused = is_of_a_string.then(|| usage::refused(words.get(1..)?, Self::command));
        refused.flatten().map_or(Ok(self), Err)
    }

    /// A command line that may be of any command. The version alone needs none of them made.
    fn of_all(words: &[OsString]) -> Result<Self, clap::Error> {
        if matches!(words, [_, flag] if flag == "--version" || flag == "-V") {
            let version = clap::Command::new("prn").version(env!("CARGO_PKG_VERSION"));
            version.try_get_matches_from(words)?;
        }
        Self::try_parse_from(words)
    }

    /// A command line of a client's command that is a good one, the same as from all of [`Cli`]: of
    /// the commands beside it, the server's above all, each would have to be made with all of its
    /// flags.
    fn of_client(words: &[OsString]) -> Option<Self> {
        fn only<T: Args>(words: &[OsString], command: fn(T) -> Command) -> Option<Cli> {
            let matches = T::augment_args(clap::Command::new("prn"))
                .try_get_matches_from(words)
                .ok()?;
            Some(Cli {
                command: command(T::from_arg_matches(&matches).ok()?),
            })
        }
        let (_, words) = words.split_first()?;
        match words.first()?.to_str()? {
            "start" => only(words, Command::Start),
            "status" => only(words, Command::Status),
            "logs" => only(words, Command::Logs),
            "stop" => only(words, Command::Stop),
            "list" | "ls" | "ps" => only(words, Command::List),
            "stats" => only(words, Command::Stats),
            "top" => only(words, Command::Top),
            "events" | "watch" => only(words, Command::Events),
            "run" => only(words, Command::Run),
            "exec" => only(words, Command::Exec),
            "attach" => only(words, Command::Attach),
            "wait" => only(words, Command::Wait),
            "kill" => only(words, Command::Kill),
            "pause" | "freeze" => only(words, Command::Pause),
            "resume" | "unpause" | "thaw" => only(words, Command::Resume),
            "update" => only(words, Command::Update),
            "renew" => only(words, Command::Renew),
            "rm" | "remove" => only(words, Command::Rm),
            "prune" => only(words, Command::Prune),
            "inspect" => only(words, Command::Inspect),
            "can-i" => only(words, Command::CanI),
            "receipt" => only(words, Command::Receipt),
            "verify" => only(words, Command::Verify),
            "health" => only(words, Command::Health),
            "version" => only(words, Command::Version),
            "metrics" => only(words, Command::Metrics),
            "exporter" => only(words, Command::Exporter),
            "cp" => only(words, Command::Cp),
            "workspace" => only(words, Command::Workspace),
            "batch" => only(words, Command::Batch),
            "submit" => only(words, Command::Submit),
            "fleet" => only(words, Command::Fleet),
            "mcp" => only(words, Command::Mcp),
            "context" => only(words, Command::Context),
            "keygen" => only(words, Command::Keygen),
            "policy" => only(words, Command::Policy),
            "pin" => only(words, Command::Pin),
            "rotate" => only(words, Command::Rotate),
            "audit" => only(words, Command::Audit),
            _ => None,
        }
    }
}

/// Runs a client command. One thread is enough for it, and starts fastest. Never inlined: together,
/// all commands take so much of the stack that its pages cost more than what most of them do.
#[inline(never)]
fn block_on<T>(command: impl FnOnce() -> T) -> Result<Exit, Failure>
where
    T: Future<Output = Result<Exit, Failure>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(command());
    // The process ends now: a name lookup that hangs must not keep it from that, and the kernel
    // tidies up faster.
    std::mem::forget(runtime);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use prn_client::StopSignal;

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        let connection = ["--client-cert", "c.pem", "--server-cert", "s.pem"];
        let split = words
            .iter()
            .position(|word| *word == "--")
            .unwrap_or(words.len());
        let (before, after) = words.split_at(split);
        parse_as_is(&[before, &connection, after].concat())
    }

    fn parse_as_is(words: &[&str]) -> Result<Cli, clap::Error> {
        let words = [&["prn"], words].concat();
        let all = Cli::try_parse_from(&words);
        let one = Cli::of_client(&words.iter().map(Into::into).collect::<Vec<_>>());
        assert_eq!(
            one.map(|cli| format!("{cli:?}")),
            all.as_ref().ok().map(|cli| format!("{cli:?}")),
            "{words:?}"
        );
        all
    }

    fn spec(words: &[&str]) -> (Option<String>, Vec<String>) {
        let Command::Start(start) = parse(words).unwrap().command else {
            panic!("not a start")
        };
        (start.spec.line, start.spec.start.argv)
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_command_is_one_string_or_words_after_two_dashes() {
        assert_eq!(
            spec(&["start", "ping google.com"]),
            (Some("ping google.com".into()), vec![])
        );
        assert_eq!(spec(&["start", "--", "ls"]), (None, vec!["ls".into()]));
        assert_eq!(
            spec(&["start", "--", "ls", "-l", "--", "x"]),
            (None, ["ls", "-l", "--", "x"].map(Into::into).into())
        );
        assert_eq!(
            spec(&["start", "--memory", "64M", "true"]).0.unwrap(),
            "true"
        );
        assert!(parse(&["start"]).is_err());
        assert!(parse(&["start", "a", "b"]).is_err());
        assert!(parse(&["start", "a", "--", "b"]).is_err());
    }

    #[test]
    fn logs_take_several_ids_and_flags_that_do_not_contradict_each_other() {
        let id = "fcd2310e7b9a462a5d88c3a0ff4e2d9b";
        let cli = parse(&[
            "logs", id, id, "--tail", "5", "--since", "10m", "--stderr", "-t",
        ])
        .unwrap();
        assert!(matches!(
            cli.command,
            Command::Logs(Logs {
                tail: Some(logs::Lasting::Last(5)),
                stderr: true,
                ..
            })
        ));
        assert!(parse(&["logs", id, "--tail", "all"]).is_ok());
        for bad in [
            &["logs"][..],
            &["logs", id, "--tail", "1", "--tail-bytes", "1"],
            &["logs", id, "--offset", "1", "--since", "10m"],
            &["logs", id, "--offset", "1", "-n", "1"],
            &["logs", id, "--stdout", "--stderr"],
            &["logs", id, "--since", "1700000000"],
            &["logs", id, "--tail", "-1"],
        ] {
            assert_eq!(
                parse(bad).unwrap_err().exit_code(),
                i32::from(exit::USAGE.0),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn a_client_command_alone_is_read_as_among_all() {
        let id = "fcd2310e7b9a462a5d88c3a0ff4e2d9b";
        for good in [
            &["status", id, "-o", "json"][..],
            &["list", "--output=wide", "--address", "host:1"],
            &[
                "list",
                "--running",
                "--since",
                "1h",
                "--until",
                "5m",
                "-n",
                "10",
            ],
            &["list", "--finished", "--limit", "1", "-o", "json"],
            &[
                "run", "--memory", "1G", "--env", "A=b", "--", "status", "--help",
            ],
            &["start", "--linger", "--timeout", "10s", "true"],
            &["start", "-w", "build-1", "true"],
            &["status", "web"],
            &["status", "web", id, "db"],
            &["ps"],
            &["stop", "a", "b", "--grace", "5s"],
            &["stop", "--all", "-y"],
            &["stop", "-l", "a=b,!c", "-s", "KILL"],
            &["kill", "--signal=9", "a", "--tree"],
            &["kill", "-s", "SIGHUP", "-l", "a"],
            &["kill", "--list"],
            &["wait", "a", "b", "--any", "--timeout", "5s", "--main"],
            &["rm", "-f", "a"],
            &["prune", "--older-than", "1h", "--failed", "-y"],
            &["pause", "a"],
            &["unpause", "-l", "a"],
            &[
                "update", "a", "--memory", "1G", "--label", "a=b", "--label", "c-",
            ],
            &["renew", "a", "--lease", "5m"],
            &["inspect", "a", "b"],
            &["health", "-o", "json"],
            &["can-i"],
            &["can-i", "stop", "web", "-o", "json"],
            &["receipt", "web"],
            &["version", "--client"],
            &["workspace", "create", "w", "--disk", "1G", "--exist-ok"],
            &["workspace", "ls", "-q"],
            &["workspace", "list", "-o", "wide"],
            &["workspace", "rm", "a", "b", "--kill"],
            &["workspace", "remove", "-f", "w", "--grace", "5s"],
        ] {
            assert!(parse(good).is_ok(), "{good:?}");
        }
        for other in [
            &["status"][..],
            &["status", id, "--help"],
            &["list", "--running", "--finished"],
            &["list", "--limit", "0"],
            &["run", "-w", "a/b", "true"],
            &["stop", "a", "--all"],
            &["stop"],
            &["kill", "-s", "NOPE", "a"],
            &["wait"],
            &["rm", "a", "-l", "b"],
            &["prune", "--failed", "--succeeded"],
            &["update", "a", "--label", "a"],
            &["exec", "w"],
            &["exec"],
            &["workspace"],
            &["workspace", "create", "A"],
            &["workspace", "list", "-q", "-o", "json"],
            &["workspace", "remove"],
            &["workspace", "remove", "w", "--kill", "--grace", "5s"],
            &["run", "--version"],
            &["help", "status"],
            &["--help"],
            &[],
        ] {
            assert!(parse(other).is_err(), "{other:?}");
        }
    }

    #[test]
    fn a_command_that_asks_no_server_is_read_as_among_all() {
        for good in [
            &["verify", "-", "--key", &"0f".repeat(32)][..],
            &["keygen", "--p256", "--days", "7"],
            &["policy", "check", "prn.toml", "-o", "json"],
            &["policy", "explain", "f", "anna", "stop", "--owner", "ben"],
            &["pin", "add", "anna", "anna.pem", "--role", "viewer"],
            &["pin", "list", "--config", "prn.toml"],
            &["audit", "verify", "a", "b", "--from-middle"],
            &["audit", "show", "a", "--who", "anna", "-o", "json"],
        ] {
            assert!(parse_as_is(good).is_ok(), "{good:?}");
        }
        for other in [
            &["verify"][..],
            &["keygen", "--days", "0"],
            &["pin"],
            &["policy", "explain", "f", "anna"],
            &["audit", "--version"],
        ] {
            assert!(parse_as_is(other).is_err(), "{other:?}");
        }
    }

    #[test]
    fn the_version_alone_is_told_as_among_all() {
        for flag in ["--version", "-V"] {
            let words = ["prn", flag].map(OsString::from);
            let all = Cli::try_parse_from(&words).unwrap_err();
            let alone = Cli::of_all(&words).unwrap_err();
            assert_eq!(alone.kind(), all.kind());
            assert_eq!(alone.to_string(), all.to_string());
        }
    }

    #[test]
    fn flags_may_stand_after_the_id() {
        let cli = parse(&[
            "stop",
            "fcd2310e7b9a462a5d88c3a0ff4e2d9b",
            "--signal",
            "kill",
        ])
        .unwrap();
        assert!(matches!(
            cli.command,
            Command::Stop(Stop {
                signal: StopSignal::Kill,
                ..
            })
        ));
        assert_eq!(
            parse(&["stop", "4/2"]).unwrap_err().exit_code(),
            i32::from(exit::USAGE.0)
        );
    }
}
