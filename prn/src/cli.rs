//! The command line: names, flags and their help texts.

mod usage;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use prn_client::{ProcessId, StopSignal};
use prn_launch::options as launch;
use prn_proto::units::{
    Address, Cpu, Directory, InvalidUnit, Moment, Size, SizeOrZero, Time, Variable,
};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::exit;

/// Run commands on another Linux machine: start, leave, come back, read all output, stop all of it.
///
/// `prn keygen` makes a key and certificate for each side; each side is told the other's
/// certificate. The key is read from PRN_TLS_KEY (PKCS#8, PEM) or from a file that only you can
/// read.
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
    /// Start a process and print its id
    ///
    /// The id names the process for its whole life and after; it is not a PID. `prn start "ping
    /// google.com"` splits the string into words as a shell would, without running a shell; `prn
    /// start -- ping google.com` takes the words as they are. For pipes, variables and the like name
    /// a shell: `prn start -- sh -c 'ls | wc -l'`.
    Start(Start),
    /// Show one process
    ///
    /// The state says how a process ended: `Stopped (exit 3)`, `Stopped (SIGSEGV)`, `Stopped (timed
    /// out)`, `Stopped (out of memory)`, `Stopped (output limit)`; `Stopped` alone means that it was
    /// stopped on request. On a terminal a table is cut to the terminal's width, which COLUMNS can
    /// set; in a pipe or a file, and as JSON, it is whole.
    Status(Status),
    /// Print a process's output from its first byte, then follow it to its end
    ///
    /// The process's standard output goes to standard output and its standard error to standard
    /// error, byte for byte. Of several processes, whole lines are printed, each after the first
    /// digits of its process's id; a line over 64 KiB is cut, and its further parts have a + there.
    /// When a connection is lost, prn goes on where it was.
    ///
    /// WHEN is a time by the server's clock: a span before now (10m, 1h30m), or an instant as
    /// --timestamps prints it (2030-01-31T12:00:00Z). Times are kept to the millisecond.
    Logs(Logs),
    /// Stop a process with everything it started
    ///
    /// SIGTERM first, SIGKILL to what is left after the grace time. Stopping a stopped process is
    /// no error.
    Stop(Stop),
    /// List all processes, oldest first
    ///
    /// States are those of `prn status`, and so are the widths of tables.
    List(List),
    /// Start a process, follow its output, and exit as it does
    ///
    /// Ctrl-C stops the process and goes on to show its output to the end; a second Ctrl-C leaves
    /// at once. SIGTERM and the end of the terminal stop it as well, and so does output that cannot
    /// be written, or whose reader has left.
    ///
    /// Standard input is not passed on: where bytes wait on a pipe or in a file, nothing is started
    /// without --no-stdin. Bytes that come later, while it runs, are told of and never end in
    /// success; a producer that is slower than all of the process is not noticed.
    Run(Run),
    /// Make a key and a self-signed certificate
    Keygen(Keygen),
    /// Run the server, or check whether it could run here
    #[command(subcommand)]
    Server(Server),
}

impl Command {
    /// The string that it would split into the words of a command.
    pub fn line(&self) -> Option<&str> {
        match self {
            Self::Start(start) => start.spec.line.as_deref(),
            Self::Run(run) => run.spec.line.as_deref(),
            Self::Status(_)
            | Self::Logs(_)
            | Self::Stop(_)
            | Self::List(_)
            | Self::Keygen(_)
            | Self::Server(_) => None,
        }
    }
}

impl Cli {
    /// The command line of this process.
    ///
    /// # Errors
    /// The exit code, once what there is to say has been said: help, or what is wrong.
    pub fn of_process() -> Result<Self, ExitCode> {
        let words: Vec<_> = std::env::args_os().collect();
        match Self::of_client(&words) {
            Some(cli) => Ok(cli),
            None => Self::try_parse_from(&words).map_err(|error| usage::tell(error, &words)),
        }
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
            "list" => only(words, Command::List),
            "run" => only(words, Command::Run),
            _ => None,
        }
    }

    /// Whether these words are one whole flag of `prn start` or `prn run`.
    pub fn takes_flag(command: &str, flag: &[&str]) -> bool {
        let parser = clap::Command::new("prn");
        let parser = if command == "run" {
            Run::augment_args(parser)
        } else {
            Start::augment_args(parser)
        };
        match parser.try_get_matches_from(["prn"].iter().chain(flag)) {
            Ok(_) => true,
            // Flags and values are looked at first, and only then what is missing.
            Err(error) => error.kind() == ErrorKind::MissingRequiredArgument,
        }
    }
}

/// How to reach the server.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// Your own certificate (PEM)
    #[arg(
        long,
        value_name = "FILE",
        env = "PRN_CLIENT_CERT",
        hide_env_values = true
    )]
    pub client_cert: PathBuf,
    /// The server's certificate (PEM): the one server that is talked to
    #[arg(
        long,
        value_name = "FILE",
        env = "PRN_SERVER_CERT",
        hide_env_values = true
    )]
    pub server_cert: PathBuf,
    /// Your private key (PKCS#8, PEM), readable by you alone. Without it: the text in PRN_TLS_KEY,
    /// else the file that PRN_TLS_KEY_FILE names
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Where the server listens
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = launch::address_variable(),
        hide_env_values = true,
        default_value = "127.0.0.1:50051"
    )]
    pub address: Address,
    /// Most time that the server has for an answer. A stop has its grace time beside it (10s where
    /// it is not given); output that is followed has no end
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_call_timeout)]
    pub call_timeout: Time,
}

fn parse_call_timeout(text: &str) -> Result<Time, String> {
    let time: Time = text
        .parse()
        .map_err(|error: InvalidUnit| error.to_string())?;
    if time.0.is_zero() {
        return Err("no answer comes in no time".to_owned());
    }
    Ok(time)
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table.
    Table,
    /// A table with more in it.
    Wide,
    /// All that is known, as JSON.
    Json,
}

/// The choice of a format.
#[derive(Debug, Clone, Args)]
pub struct Output {
    /// How to print the result
    #[arg(
        short,
        long,
        value_enum,
        value_name = "FORMAT",
        default_value = "table"
    )]
    pub output: Format,
}

/// What to start.
#[derive(Debug, Args)]
pub struct Spec {
    /// The command as one string, split into words as a shell would
    #[arg(
        value_name = "STRING",
        required_unless_present = "argv",
        conflicts_with = "argv"
    )]
    pub line: Option<String>,
    /// The command as words, taken as they are
    #[arg(last = true, value_name = "ARGV")]
    pub argv: Vec<String>,
    /// CPU time: a number of CPUs (1.5) or a percentage of one (150%)
    #[arg(
        long,
        value_name = "CPUS",
        help_heading = "Limits",
        allow_negative_numbers = true
    )]
    pub cpu: Option<Cpu>,
    /// Memory (64M, 2G)
    #[arg(
        long,
        value_name = "SIZE",
        help_heading = "Limits",
        allow_negative_numbers = true
    )]
    pub memory: Option<Size>,
    /// Bytes read a second, from each disk
    #[arg(
        long,
        value_name = "SIZE",
        help_heading = "Limits",
        allow_negative_numbers = true
    )]
    pub io_read: Option<Size>,
    /// Bytes written a second, to each disk
    #[arg(
        long,
        value_name = "SIZE",
        help_heading = "Limits",
        allow_negative_numbers = true
    )]
    pub io_write: Option<Size>,
    /// Processes and threads at one time
    #[arg(
        long,
        value_name = "NUMBER",
        help_heading = "Limits",
        allow_negative_numbers = true
    )]
    pub pids: Option<u64>,
    /// Start even if the server's host cannot enforce a limit; a warning says which
    #[arg(long, help_heading = "Limits")]
    pub best_effort_limits: bool,
    /// Most output bytes that the server keeps
    #[arg(
        long,
        value_name = "SIZE",
        help_heading = "Output",
        allow_negative_numbers = true
    )]
    pub output_max: Option<Size>,
    /// What happens when there are more [default: follow for `prn run`, else drop-oldest]
    #[arg(long, value_name = "POLICY", help_heading = "Output")]
    pub output_policy: Option<OutputPolicy>,
    /// With the policy follow: how long the process waits when the connection to `prn run` is lost,
    /// and `prn run` tries to come back [default: 30s]
    #[arg(long, value_name = "TIME", help_heading = "Output")]
    pub reconnect: Option<Time>,
    /// Where the server keeps them
    #[arg(
        long,
        value_name = "STORE",
        default_value = "memory",
        help_heading = "Output"
    )]
    pub output_store: OutputStore,
    /// Stop the process when it has run for this long (10s, 5m)
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub timeout: Option<Time>,
    /// Time between SIGTERM and SIGKILL when the process is stopped
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub grace: Option<Time>,
    /// Let what the process started live on after it has exited
    #[arg(long)]
    pub linger: bool,
    /// How the process is confined
    #[arg(long, value_name = "PROFILE", default_value = "default")]
    pub profile: Profile,
    /// Add a variable to the process's environment; NAME alone copies your own. Repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    pub env: Vec<Variable>,
    /// Directory on the server to start in, instead of a fresh one of the process's own
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<Directory>,
    /// Leave standard input alone, whatever it is: the process gets /dev/null. Without this flag it
    /// gets that too, but nothing is started where bytes wait on a pipe or in a file, which it would
    /// never see
    #[arg(short = 'n', long)]
    pub no_stdin: bool,
    /// Id for the process (32 hexadecimal digits), which makes the call safe to repeat; made up
    /// otherwise
    #[arg(long)]
    pub id: Option<ProcessId>,
}

/// `prn start`.
#[derive(Debug, Args)]
pub struct Start {
    /// What to start.
    #[command(flatten)]
    pub spec: Spec,
    /// How to print the result.
    #[command(flatten)]
    pub output: Output,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

/// `prn run`.
#[derive(Debug, Args)]
pub struct Run {
    /// What to start.
    #[command(flatten)]
    pub spec: Spec,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

/// `prn status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Id of the process
    pub id: ProcessId,
    /// How to print the result.
    #[command(flatten)]
    pub output: Output,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

/// `prn logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// Id of the process, or of several
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<ProcessId>,
    /// Print what there is by now and end
    #[arg(long)]
    pub no_follow: bool,
    /// Begin with the last so many lines; 0 for new ones alone. Both streams' lines are counted
    /// together, in the order in which they came, unless only one is asked for
    #[arg(
        short = 'n',
        long,
        value_name = "LINES",
        conflicts_with = "tail_bytes",
        allow_negative_numbers = true
    )]
    pub tail: Option<u64>,
    /// Begin with the last so many bytes (4096, 64K)
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    pub tail_bytes: Option<SizeOrZero>,
    /// Begin with what came at this time or later
    #[arg(long, value_name = "WHEN")]
    pub since: Option<Moment>,
    /// End before what came at this time or later; if it is still to come, follow until then
    #[arg(long, value_name = "WHEN")]
    pub until: Option<Moment>,
    /// Begin at this byte of the output, both streams counted together
    #[arg(long, value_name = "BYTE", allow_negative_numbers = true, conflicts_with_all = ["tail", "tail_bytes", "since"])]
    pub offset: Option<u64>,
    /// Standard output alone
    #[arg(long, conflicts_with = "stderr")]
    pub stdout: bool,
    /// Standard error alone
    #[arg(long)]
    pub stderr: bool,
    /// Put the time at which the server got it before each line (UTC, microseconds)
    #[arg(short, long)]
    pub timestamps: bool,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

/// How to stop.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum SignalName {
    /// SIGTERM, and SIGKILL after the grace time.
    Term,
    /// SIGKILL at once.
    Kill,
}

impl From<SignalName> for StopSignal {
    fn from(name: SignalName) -> Self {
        match name {
            SignalName::Term => Self::Term,
            SignalName::Kill => Self::Kill,
        }
    }
}

/// `prn stop`.
#[derive(Debug, Args)]
pub struct Stop {
    /// Id of the process
    pub id: ProcessId,
    /// How to stop it
    #[arg(long, value_enum, default_value = "term")]
    pub signal: SignalName,
    /// Time between SIGTERM and SIGKILL, instead of what it was started with
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub grace: Option<Time>,
    /// How to print the result.
    #[command(flatten)]
    pub output: Output,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

/// `prn list`.
#[derive(Debug, Args)]
pub struct List {
    /// Those that run alone
    #[arg(long, conflicts_with = "finished")]
    pub running: bool,
    /// Those that have ended alone
    #[arg(long)]
    pub finished: bool,
    /// Those alone that started at this time or later: 2030-01-31T12:00:00Z, or 10m for ten minutes
    /// ago
    #[arg(long, value_name = "WHEN")]
    pub since: Option<Moment>,
    /// Those alone that started before this time
    #[arg(long, value_name = "WHEN")]
    pub until: Option<Moment>,
    /// The newest so many of them
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = parse_count)]
    pub limit: Option<usize>,
    /// How to print the result.
    #[command(flatten)]
    pub output: Output,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

/// `prn keygen`.
#[derive(Debug, Args)]
pub struct Keygen {
    /// Folder for NAME.key and NAME.pem
    #[arg(long, value_name = "DIR", default_value = ".", conflicts_with_all = ["key", "cert"])]
    pub out_dir: PathBuf,
    /// File for the private key, instead
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// File for the certificate, instead
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Name in the certificate, for people: prn looks at the certificate as a whole
    #[arg(long, value_name = "CN", default_value = "prn")]
    pub name: String,
    /// Days until the certificate expires
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub days: u32,
    /// Replace files that exist
    #[arg(long)]
    pub force: bool,
    /// First instant of the validity period (RFC 3339), instead of a minute ago
    #[arg(long, value_name = "TIME", hide = true, value_parser = parse_time)]
    pub not_before: Option<OffsetDateTime>,
    /// Last instant of the validity period (RFC 3339), instead of --days
    #[arg(long, value_name = "TIME", hide = true, value_parser = parse_time)]
    pub not_after: Option<OffsetDateTime>,
}

fn parse_count(text: &str) -> Result<usize, &'static str> {
    match text.parse() {
        Ok(0) | Err(_) => Err("not a count: write a number from 1 up"),
        Ok(count) => Ok(count),
    }
}

fn parse_time(text: &str) -> Result<OffsetDateTime, &'static str> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|_| "not a time: write 2030-01-31T12:00:00Z")
}

/// `prn server`.
#[derive(Debug, Subcommand)]
pub enum Server {
    /// Run the server
    ///
    /// Checks everything first, then hands over to its two halves: prn-supervisor, a small program
    /// that runs as root, and prn-frontend, which talks to the network and has no privilege. Prints
    /// "Listening on ADDRESS" when clients can connect. All processes are stopped when it ends.
    ///
    /// A flag wins over an environment variable, which wins over the configuration file.
    Start(launch::Start),
    /// Say what this host offers, and what is missing for the server
    ///
    /// Exits 0 if the server could start here, else 1.
    Check(ServerCheck),
}

/// What happens when there is more output than is to be kept.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum OutputPolicy {
    /// The oldest is dropped, which readers are told
    DropOldest,
    /// The process waits, as with a full pipe, for those who read its output; while nobody does, it
    /// waits
    StopReading,
    /// The process is killed
    Kill,
    /// The process waits for `prn run` that follows it (`prn logs` is not waited for), also for a
    /// while when the connection is lost; then the oldest is dropped
    Follow,
}

impl From<OutputPolicy> for prn_client::OutputPolicy {
    fn from(policy: OutputPolicy) -> Self {
        match policy {
            OutputPolicy::DropOldest => Self::DropOldest,
            OutputPolicy::StopReading => Self::StopReading,
            OutputPolicy::Kill => Self::Kill,
            OutputPolicy::Follow => Self::Follow,
        }
    }
}

/// Where output is kept.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum OutputStore {
    /// In its memory
    Memory,
    /// In a file on its disk, if it was started with --output-disk
    Disk,
}

impl From<OutputStore> for prn_client::OutputStore {
    fn from(store: OutputStore) -> Self {
        match store {
            OutputStore::Memory => Self::Memory,
            OutputStore::Disk => Self::Disk,
        }
    }
}

/// How a process is confined, beside its user id, its limits and its lack of capabilities.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Profile {
    /// System calls are filtered; it reads the system, and writes to its own directory and to
    /// $TMPDIR only
    Default,
    /// Beside that: no network, no sockets but local ones, and /tmp and /dev/shm of its own
    Strict,
    /// Neither; the server must have been started with --allow-profile-none
    None,
}

impl From<Profile> for prn_client::Profile {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::Default => Self::Default,
            Profile::Strict => Self::Strict,
            Profile::None => Self::None,
        }
    }
}

/// `prn server check`.
#[derive(Debug, Args)]
pub struct ServerCheck {
    /// What to check for.
    #[command(flatten)]
    pub flags: launch::Check,
    /// How to print the result.
    #[command(flatten)]
    pub output: Output,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        let connection = ["--client-cert", "c.pem", "--server-cert", "s.pem"];
        let split = words
            .iter()
            .position(|word| *word == "--")
            .unwrap_or(words.len());
        let (before, after) = words.split_at(split);
        let words = [&["prn"], before, &connection, after].concat();
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
        (start.spec.line, start.spec.argv)
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
                tail: Some(5),
                stderr: true,
                ..
            })
        ));
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
        ] {
            assert!(parse(good).is_ok(), "{good:?}");
        }
        for other in [
            &["status"][..],
            &["status", id, "--help"],
            &["list", "--running", "--finished"],
            &["list", "--limit", "0"],
            &["run", "--version"],
            &["help", "status"],
            &["--help"],
            &[],
        ] {
            assert!(parse(other).is_err(), "{other:?}");
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
                signal: SignalName::Kill,
                ..
            })
        ));
        assert_eq!(
            parse(&["stop", "42"]).unwrap_err().exit_code(),
            i32::from(exit::USAGE.0)
        );
    }
}
