//! What to start: the flags for it that `prn start` and `prn run` share.

use clap::{Args, ValueEnum};
use prn_client::{Limits, ProcessId, StartSpec, mint_id};
use prn_proto::units::{Cpu, Directory, Size, Time, Variable};

use crate::command_line::split_words;
use crate::failure::Failure;

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

/// What the command line asks for, under a new id if it names none.
pub fn spec(args: Spec, policy: prn_client::OutputPolicy) -> Result<StartSpec, Failure> {
    let argv = match args.line {
        Some(line) => split_words(&line).map_err(|why| Failure::Usage(why.to_owned()))?,
        None => args.argv,
    };
    if argv.first().is_none_or(String::is_empty) {
        return Err(Failure::Usage("the command is empty".to_owned()));
    }
    let limits = Limits {
        cpu_millis: args.cpu.map(|cpu| cpu.0),
        memory_bytes: args.memory.map(|size| size.0),
        io_read_bytes_per_second: args.io_read.map(|size| size.0),
        io_write_bytes_per_second: args.io_write.map(|size| size.0),
        pids: args.pids,
    };
    let id = args.id.map_or_else(mint_id, Ok)?;
    let mut spec = StartSpec::new(argv);
    spec.id = Some(id);
    spec.environment = args
        .env
        .into_iter()
        .map(|variable| (variable.name, variable.value))
        .collect();
    spec.working_directory = args.cwd.map(|directory| directory.0);
    spec.limits = limits;
    spec.best_effort_limits = args.best_effort_limits;
    spec.output_max = args.output_max.map(|size| size.0);
    spec.output_policy = args
        .output_policy
        .map_or(policy, prn_client::OutputPolicy::from);
    spec.follow_timeout = args.reconnect.map(|time| time.0);
    if spec.follow_timeout.is_some() && spec.output_policy != prn_client::OutputPolicy::Follow {
        let why = "--reconnect is of use with --output-policy follow alone";
        return Err(Failure::Usage(why.to_owned()));
    }
    spec.output_store = args.output_store.into();
    spec.timeout = args.timeout.map(|time| time.0);
    spec.stop_grace = args.grace.map(|time| time.0);
    spec.linger = args.linger;
    spec.profile = args.profile.into();
    Ok(spec)
}
