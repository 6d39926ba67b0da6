//! The messages between the halves: one enum a direction.
//!
//! [`Request`] goes from the frontend to the supervisor, [`FromSupervisor`] back. Requests that are answered carry a
//! [`RequestId`], each greater than the one before it. Three kinds of failure have three fates: a [`Refusal`] answers
//! a well-formed request; a broken protocol costs the frontend its life; a broken invariant of the supervisor ends it.

use serde::{Deserialize, Serialize};

use crate::types::{
    AbsolutePath, Argv, BootEpoch, Environment, LimitName, Limits, Millis, OutputMax, ProcessId, UnixMicros,
};

/// What both halves must have in common, compared at Hello. Raised with each change of this crate's wire form.
pub const PROTOCOL: &str = concat!("prn ", env!("CARGO_PKG_VERSION"), " ipc 1");

/// Most requests that wait for an answer at one time: more is a fault of the frontend, which counts its own.
pub const REQUESTS_WAITING_MAX: usize = 1024;

/// Ties an answer to its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);

/// From the frontend to the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The first message, once. Answered by [`Event::Welcome`] and a snapshot.
    Hello {
        /// The frontend's [`PROTOCOL`].
        protocol: String,
    },
    /// The frontend has dropped all that it can and serves. Once, after the snapshot.
    Ready,
    /// Start a process. Answered when its program runs, or by a refusal.
    Start {
        /// Ties the answer to it.
        request: RequestId,
        /// What to start.
        spec: Box<StartSpec>,
    },
    /// Stop a process. Answered when its tree is gone, or can't be killed.
    Stop {
        /// Ties the answer to it.
        request: RequestId,
        /// Which.
        id: ProcessId,
        /// How.
        how: StopHow,
    },
    /// Ask for the descriptors of a process's output.
    Subscribe {
        /// Ties the answer to it.
        request: RequestId,
        /// Which.
        id: ProcessId,
    },
    /// Ask for one [`Event::Advanced`] as soon as the output's end lies beyond `seen`. Not answered; the newest counts.
    Watch {
        /// Which.
        id: ProcessId,
        /// End offset that the frontend knows of.
        seen: u64,
    },
}

/// From the supervisor to the frontend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromSupervisor {
    /// The answer to a request.
    Reply(RequestId, Reply),
    /// Something happened.
    Event(Event),
}

impl FromSupervisor {
    /// How many descriptors come with it: an output's ring and index with [`Reply::Output`], else none.
    pub fn descriptors(&self) -> usize {
        match self {
            Self::Reply(_, Reply::Output) => 2,
            Self::Reply(_, Reply::Started { .. } | Reply::Stopped(_) | Reply::Refused(_)) | Self::Event(_) => 0,
        }
    }
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To Start: the program runs.
    Started {
        /// Its state.
        process: Box<ProcessInfo>,
        /// The same id and specification were known: nothing new was started.
        existing: bool,
    },
    /// To Stop: the process's state, its tree gone or reported as stuck.
    Stopped(Box<ProcessInfo>),
    /// To Subscribe: read-only descriptors of the ring and the index (see [`crate::output`]) come with it.
    Output,
    /// The request was well-formed, and the answer is no.
    Refused(Refusal),
}

/// Something that the frontend's mirror of the process table has to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The answer to Hello.
    Welcome {
        /// This run of the supervisor.
        epoch: BootEpoch,
    },
    /// A process is new, or its state has changed.
    Process(Box<ProcessInfo>),
    /// The snapshot that follows Welcome is complete.
    SnapshotEnd,
    /// A finished process was forgotten, to make room.
    Forgotten(ProcessId),
    /// The output's end lies beyond what Watch said.
    Advanced {
        /// Which.
        id: ProcessId,
        /// The end offset now.
        end: u64,
    },
    /// The server is shutting down: no new starts.
    Draining,
}

/// What to start.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StartSpec {
    /// Its name. One that is in use with the same specification returns that process.
    pub id: ProcessId,
    /// Program and arguments.
    pub argv: Argv,
    /// Variables added to the default environment.
    pub environment: Environment,
    /// Where to start; `None`: the process's own directory.
    pub working_directory: Option<AbsolutePath>,
    /// Limits asked for.
    pub limits: Limits,
    /// Start even if a limit can't be enforced.
    pub best_effort_limits: bool,
    /// Most output bytes kept; `None`: the default.
    pub output_max: Option<OutputMax>,
    /// Stopped after this time.
    pub timeout: Option<Millis>,
    /// From SIGTERM to SIGKILL; `None`: the default.
    pub stop_grace: Option<Millis>,
    /// What the main process leaves behind lives on.
    pub linger: bool,
}

/// How to stop a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopHow {
    /// SIGTERM to all, then SIGKILL after the grace time (`None`: as Start said).
    Graceful(Option<Millis>),
    /// SIGKILL at once.
    Kill,
}

/// What is known of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessInfo {
    /// Its name.
    pub id: ProcessId,
    /// Position in the order of starts, from 1.
    pub number: u64,
    /// Program and arguments.
    pub argv: Argv,
    /// Where it started.
    pub working_directory: AbsolutePath,
    /// User and group id of the tree.
    pub uid: u32,
    /// When its program began to run.
    pub started: UnixMicros,
    /// Limits in force.
    pub limits: AppliedLimits,
    /// Most output bytes kept.
    pub output_max: OutputMax,
    /// How the main process ended, once it has.
    pub main_exit: Option<MainExit>,
    /// Set once no process of the tree is left and all output is captured.
    pub end: Option<End>,
    /// Tasks that did not die when they were killed.
    pub stuck: Vec<StuckTask>,
}

/// How a main process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MainExit {
    /// What waitid(2) said.
    pub status: ExitStatus,
    /// Why.
    pub cause: ExitCause,
    /// When the supervisor saw it.
    pub at: UnixMicros,
}

/// What waitid(2) says of a process that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// It called exit.
    Exited(u8),
    /// A signal ended it.
    Signalled {
        /// Its number.
        signal: u8,
        /// A core image was written.
        core: bool,
    },
}

/// Why a main process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitCause {
    /// By itself.
    Exited,
    /// By a signal that the supervisor did not send.
    Signalled,
    /// By the kernel, for memory (memory.events oom_kill).
    OomKilled,
    /// Its time was up.
    TimedOut,
    /// Somebody stopped it.
    StoppedOnRequest,
}

/// The end of a process tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When the tree was empty.
    pub at: UnixMicros,
    /// What it consumed.
    pub usage: Usage,
    /// Its output.
    pub output: OutputTotals,
}

/// What a process tree consumed. `None`: the kernel does not count it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Microseconds in user mode (cpu.stat user_usec).
    pub cpu_user: u64,
    /// Microseconds in the kernel (cpu.stat system_usec).
    pub cpu_system: u64,
    /// Microseconds held back by the CPU limit (cpu.stat throttled_usec).
    pub cpu_throttled: u64,
    /// Bytes (memory.peak).
    pub memory_peak: Option<u64>,
    /// Bytes, all devices (io.stat rbytes).
    pub io_read: Option<u64>,
    /// Bytes, all devices (io.stat wbytes).
    pub io_write: Option<u64>,
    /// Tasks (pids.peak).
    pub pids_peak: Option<u64>,
}

/// Offsets and sizes of a finished output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputTotals {
    /// Offset of the oldest byte kept.
    pub first: u64,
    /// Offset just after the last byte.
    pub end: u64,
    /// Bytes of standard output.
    pub stdout: u64,
    /// Bytes of standard error.
    pub stderr: u64,
}

/// Limits as the kernel reports them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedLimits {
    /// Read back from the group's files.
    pub values: Limits,
    /// Wanted, but not enforced.
    pub not_enforced: Vec<LimitName>,
}

/// A task that survived SIGKILL so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StuckTask {
    /// /proc/pid/comm, escaped.
    pub name: String,
    /// State letter of /proc/pid/stat.
    pub state: char,
}

/// A well-formed request's "no".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    /// No such process.
    #[error("no process has this id")]
    UnknownProcess,
    /// The id names a process with another specification.
    #[error("the id names a process with another specification")]
    AlreadyExists,
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Draining,
    /// As many processes run as the server allows.
    #[error("{max} processes run, which is the server's limit")]
    TooManyProcesses {
        /// The limit.
        max: u32,
    },
    /// A limit is above what the server allows.
    #[error("{limit} is above the server's ceiling of {ceiling}")]
    AboveCeiling {
        /// Which.
        limit: LimitName,
        /// The most that is allowed.
        ceiling: u64,
    },
    /// More output is to be kept than the server allows.
    #[error("output_max_bytes is above the server's ceiling of {ceiling}")]
    OutputAboveCeiling {
        /// The most that is allowed.
        ceiling: u64,
    },
    /// This host can't enforce a limit.
    #[error("this host cannot enforce {limit}")]
    NotEnforceable {
        /// Which.
        limit: LimitName,
    },
    /// The new process failed before its program ran.
    #[error("{step} failed with errno {errno}")]
    Exec {
        /// Where.
        step: ChildStep,
        /// errno(3).
        errno: i32,
    },
    /// The supervisor could not make what a process needs.
    #[error("{what} failed with errno {errno}")]
    Resources {
        /// What it was making.
        what: Preparation,
        /// errno(3).
        errno: i32,
    },
}

/// What the supervisor makes before a process exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Preparation {
    /// Its working directory.
    Directory,
    /// Its cgroup.
    Cgroup,
    /// Its pipes.
    Pipes,
    /// The process itself.
    Clone,
    /// A place in the event loop.
    Watch,
    /// The memory for its output.
    Output,
}

/// What a new process does before its program runs, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChildStep {
    /// setsid(2).
    Session,
    /// Standard streams and the closing of all else: dup2(2), close_range(2).
    Descriptors,
    /// Resource limits and OOM score: setrlimit(2), /proc/self/oom_score_adj.
    Limits,
    /// setgroups(2), setresgid(2), setresuid(2), and that there is no way back.
    Identity,
    /// prctl(2): PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS.
    Confinement,
    /// chdir(2).
    WorkingDirectory,
    /// sigaction(2), sigprocmask(2).
    Signals,
    /// execve(2).
    Exec,
}
