//! The messages between the halves: one enum a direction.
//!
//! [`Request`] goes from the frontend to the supervisor, [`FromSupervisor`] back. Requests that are
//! answered carry a [`RequestId`], each greater than the one before it. Three kinds of failure have
//! three fates: a [`Refusal`] answers a well-formed request; a broken protocol costs the frontend
//! its life; a broken invariant of the supervisor ends it.

use std::ffi::CString;

use serde::{Deserialize, Serialize};

use crate::signed::{SignatureRefusal, StartSignature};
use crate::types::{
    AccessName, Argv, Digest, Hours, LabelChanges, Labels, LimitName, Limits, Millis, Paths,
    ProcessId, ProcessName, SignalNumber, UnixMicros, UserName, WorkspaceName,
};

/// What both halves must have in common, compared at Hello. Raised with each change of this crate's
/// wire form.
pub const PROTOCOL: &str = concat!("prn ", env!("CARGO_PKG_VERSION"), " ipc 19");

/// Most requests that wait for an answer at one time: more is a fault of the frontend, which counts
/// its own.
pub const REQUESTS_WAITING_MAX: usize = 1024;

/// Ties an answer to its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);

/// From the frontend to the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The first message, once, with the frontend's [`PROTOCOL`]. Answered by a snapshot.
    Hello(String),
    /// The frontend has dropped all that it can and serves. Once, after the snapshot.
    Ready,
    /// Something that is answered, for the principal of that name. Who that is the frontend says,
    /// and what that one may do the supervisor's policy.
    Ask(RequestId, AccessName, Ask),
    /// Ask for one [`Event::Advanced`] as soon as the output's end lies beyond this offset. Not
    /// answered; the newest counts.
    Watch {
        /// Whose output.
        id: ProcessId,
        /// The end offset that is known.
        seen: u64,
    },
    /// All readers that count have taken this output up to this offset: with [`Overflow::Wait`]
    /// all there are, with [`Overflow::Follow`] those that follow. Not answered.
    Taken {
        /// Whose output.
        id: ProcessId,
        /// Up to where.
        offset: u64,
    },
    /// Somebody reads a process's output to whom it means something. Not answered.
    Follow(ProcessId, For),
    /// Nobody does any more. Not answered.
    Unfollow(ProcessId, For),
    /// The descriptor that [`Reply::Input`] came with is closed, after so many bytes of the
    /// process's input, all that were ever taken counted. Not answered. Who dies before leaves it
    /// unknown.
    InputTaken {
        /// Whose input.
        id: ProcessId,
        /// So many.
        taken: u64,
    },
    /// The frontend has said no to this principal by itself, by the policy, so often since it said so
    /// last. Not answered.
    Denied {
        /// To whom.
        who: AccessName,
        /// What the role has not, or not now.
        verb: Verb,
        /// How often.
        count: u32,
    },
    /// The answer to [`Event::Probe`].
    Alive,
    /// After [`Event::Replaced`]: all was said. The last message.
    Left,
}

/// What it means to a process that somebody reads its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum For {
    /// It waits for them, with [`Overflow::Follow`].
    Output,
    /// They keep its lease ([`ProcessSpec::lease`]).
    Lease,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Start a process. Answered when its program runs.
    Start(Box<StartSpec>),
    /// Stop a process. Answered when its tree is gone, or can't be killed.
    Stop(ProcessId, StopHow),
    /// The descriptors of a process's output.
    Subscribe(ProcessId),
    /// A descriptor to write a process's input to.
    LendInput(ProcessId),
    /// The end of a process's input, from who has its descriptor still and closes it then: the last
    /// one to close it may have to wait for the process.
    EndInput(ProcessId),
    /// How large a process's terminal is.
    ResizeTerminal(ProcessId, TerminalSize),
    /// A directory, and a user id, for processes to share. Answered when it is there.
    CreateWorkspace(WorkspaceSpec),
    /// The end of a workspace and of all that is in it. While processes live in it: how to stop
    /// them; `None`, they are a refusal. Answered when nothing of it is left, or when its
    /// directories were not emptied in one try: they are in the end. Nothing starts in it from then
    /// on.
    RemoveWorkspace(WorkspaceName, Option<StopHow>),
    /// Send a signal to a process that is alive.
    Signal(ProcessId, SignalNumber, Whom),
    /// Change something of a process that is alive.
    Update(ProcessId, Box<Update>),
    /// Forget a process that is finished.
    Remove(ProcessId),
    /// What a process that is alive takes of the machine.
    Usage {
        /// Which one.
        id: ProcessId,
        /// And who it is ([`LiveUsage::some`]).
        with_tasks: bool,
    },
    /// Whether this might be started, without starting it.
    TryStart(Box<StartSpec>),
    /// The same as Remove, of a process that is to be forgotten when it was read
    /// ([`Retention::until_read`]), for who has read it.
    Forget(ProcessId),
    /// The receipt of a process that has ended.
    Receipt(ProcessId),
}

/// From the supervisor to the frontend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromSupervisor {
    /// The answer to a request.
    Reply(RequestId, Reply),
    /// Something happened.
    Event(Event),
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To Start: the program runs. To Stop: the tree is gone, or what is left of it is reported as
    /// stuck. The process's state was sent before. To CreateWorkspace: it is there. To
    /// RemoveWorkspace: nothing of it is left, or it is leaving. Which of these was told before. To
    /// EndInput: so it is, once who asked has closed its end. To ResizeTerminal: so it will be, or
    /// as the next one says. To Signal: it was sent to all that there were. To Update, and to
    /// Remove: so it is, and was told before.
    Done,
    /// To Start: the same id and specification were known, so nothing new was started.
    Existing,
    /// To Subscribe: read-only descriptors of the data and the page (see [`crate::output`]) come
    /// with it.
    Subscribed,
    /// To LendInput: a descriptor to write to comes with it, which does not block. The supervisor
    /// keeps another one, so that nobody's end is the input's.
    Input {
        /// Bytes that were ever taken. `None`: somebody died who knew.
        taken: Option<u64>,
    },
    /// To LendInput: it takes nothing more. It was ended, or the process has.
    InputOver {
        /// Bytes that were ever taken. `None`: somebody died who knew.
        taken: Option<u64>,
    },
    /// The request was well-formed, and the answer is no.
    Refused(Refusal),
    /// To Usage: that.
    Usage(Box<LiveUsage>),
    /// To TryStart: it might.
    Startable(Box<Startable>),
    /// To Receipt: that.
    Receipt(Box<Receipt>),
}

/// What became of a process, signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// What is signed (docs/receipts.md), with the public key in it.
    pub body: Vec<u8>,
    /// Ed25519, of all of that.
    pub signature: Vec<u8>,
}

/// What a start would come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Startable {
    /// The rule of the role that describes its program, by its place. `None`: any may be started.
    pub rule: Option<u16>,
    /// Its limits.
    pub limits: Limits,
    /// Where the program is looked for, in this order: what the client has sent, or the server's
    /// own search path, makes these paths, and whether there is something was not looked at.
    pub candidates: Vec<CString>,
    /// Where it would start.
    pub working_directory: CString,
    /// Of all that ([`crate::digest`]).
    pub digest: Digest,
    /// The user id of its workspace, or of its user. `None`: one of its own.
    pub uid: Option<u32>,
    /// Which user of the machine's that is, if it is one.
    pub user: Option<UserName>,
}

/// Something that the frontend's mirror of the process table has to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A process is new, or its state has changed.
    Process(Box<ProcessInfo>),
    /// The snapshot that answers Hello is complete. Workspaces come in it before processes.
    SnapshotEnd {
        /// The newest change of any process ([`ProcessInfo::change`]).
        change: u64,
        /// Public half of the key that signs receipts (Ed25519).
        receipt_key: Option<[u8; 32]>,
    },
    /// A finished process was forgotten: to make room, for its age, or since somebody asked for
    /// that.
    Forgotten {
        /// Which.
        id: ProcessId,
        /// This is the newest change of any process.
        change: u64,
    },
    /// The output's end lies beyond what Watch said: the end offset now.
    Advanced {
        /// Whose output.
        id: ProcessId,
        /// Its end offset.
        end: u64,
    },
    /// The server is shutting down: no new starts.
    Draining,
    /// A workspace is new, or is being removed.
    Workspace(Box<WorkspaceInfo>),
    /// Nothing of a workspace is left.
    WorkspaceGone(WorkspaceName),
    /// Are you there? To be answered with [`Request::Alive`], before the next one comes.
    Probe,
    /// Another frontend is to serve, with another configuration. This one takes nothing more, says
    /// of each input that it has what was taken, and then [`Request::Left`].
    Replaced,
}

/// What to start.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StartSpec {
    /// Its name. One that is in use with the same specification returns that process.
    pub id: ProcessId,
    /// What it is to be.
    pub process: ProcessSpec,
    /// Variables of its environment beside the defaults, and instead of those of the same name:
    /// each `NAME=value`. They may be secret, and are told to nobody else.
    pub variables: Vec<CString>,
    /// The digest that this has to have, of what the supervisor is about to run.
    pub expect: Option<Digest>,
    /// Whose wish it is, signed: theirs is the process, whoever has sent it.
    pub signature: Option<StartSignature>,
    /// When the frontend had read the request. It is told, and decides nothing.
    pub requested: Option<UnixMicros>,
}

/// What a process is to be, as Start says it and as its [`ProcessInfo`] repeats it. There,
/// everything that Start left open is filled in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// Its argument vector. A name without a slash in the first place is looked up along the
    /// process's own PATH, as a shell does.
    pub argv: Argv,
    /// Where it starts; `None`: in a directory of its own.
    pub working_directory: Option<CString>,
    /// Its limits. Where there is none, the server's ceiling is the limit.
    pub limits: Limits,
    /// Start even if a limit can't be enforced.
    pub best_effort_limits: bool,
    /// What its standard input is.
    pub input: Input,
    /// What becomes of its output.
    pub output: Keeping,
    /// Stopped after this time.
    pub timeout: Option<Millis>,
    /// From SIGTERM to SIGKILL.
    pub stop_grace: Millis,
    /// What the main process leaves behind lives on.
    pub linger: bool,
    /// How it is confined.
    pub profile: Profile,
    /// Which user of the machine's it runs as, with its groups; `None`: one of its own, or its
    /// workspace's.
    pub user: Option<UserName>,
    /// How it sees some directories.
    pub paths: Paths,
    /// Whose directories and user id it has; `None`: its own.
    pub workspace: Option<WorkspaceName>,
    /// What people call it. No other process that is alive has that name.
    pub name: Option<ProcessName>,
    /// What people tell it apart by.
    pub labels: Labels,
    /// Stopped at this time, by the clock as it is when the process starts.
    pub deadline: Option<UnixMicros>,
    /// Stopped when it has lived this long without anybody who follows it, and without an
    /// [`Update::lease`].
    pub lease: Option<Millis>,
    /// For how long it is remembered when it has ended.
    pub retention: Retention,
}

impl ProcessSpec {
    /// What it takes of memory, about, where that is up to a client.
    pub fn size(&self) -> usize {
        self.argv.size() + self.paths.size() + self.labels.size()
    }
}

/// For how long a finished process is remembered, and its output kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Retention {
    /// Until it is removed, or the server ends: it is not forgotten to make room, nor is its output
    /// dropped for that.
    pub is_kept: bool,
    /// For this long at most.
    pub max_age: Option<Millis>,
    /// Until its output was read to the end: a matter of the frontend's, which then removes it.
    pub until_read: bool,
}

/// What is changed of a process that is alive: what is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// These limits. Others stay as they are.
    pub limits: Limits,
    /// None of its processes runs from now on (cgroup-v2.rst, cgroup.freeze), or all go on.
    pub paused: Option<bool>,
    /// Its lease begins anew.
    pub lease: Option<NewLease>,
    /// Other labels.
    pub labels: Option<NewLabels>,
}

/// What becomes of the labels of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NewLabels {
    /// These are all, from now on.
    All(Labels),
    /// Some of those that there are then change.
    Changed(LabelChanges),
}

/// How a lease begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NewLease {
    /// As long as it was.
    Same,
    /// This long. A process that had none has one from then on.
    Of(Millis),
    /// The process has none any more.
    Ended,
}

/// Who of a process tree gets a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Whom {
    /// Its main process.
    Main,
    /// Every process of the tree.
    Tree,
}

/// What a process tree takes of the machine now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveUsage {
    /// Files of its group, those that are there: cpu.stat, memory.current, memory.peak,
    /// memory.events, io.stat, pids.current, pids.peak, cpu.pressure, memory.pressure, io.pressure.
    pub files: Vec<FileText>,
    /// How many processes there are; of very many, how many were looked at: some hundreds.
    pub processes: u32,
    /// Of some of them, if they are many, where that was asked for: the /proc/pid/stat of each.
    pub some: Vec<Vec<u8>>,
}

/// What a workspace is to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WorkspaceSpec {
    /// Its name, which no other one has.
    pub name: WorkspaceName,
    /// Most bytes of disk. `None`: the most that the server allows.
    pub disk_max: Option<u64>,
}

/// What is known of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkspaceInfo {
    /// Its name.
    pub name: WorkspaceName,
    /// Path of the directory where its processes start.
    pub directory: CString,
    /// User and group id of its processes.
    pub uid: u32,
    /// Who has made it.
    pub created_by: Option<AccessName>,
    /// When it was made.
    pub created: UnixMicros,
    /// What bounds its disk space. `None`: nothing.
    pub disk: Option<DiskLimit>,
    /// It is being removed.
    pub is_leaving: bool,
}

/// A bound of a workspace's disk space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskLimit {
    /// Most bytes, as the file system counts blocks.
    pub bytes: u64,
    /// What becomes of a process that would have more.
    pub enforcement: Enforcement,
}

/// What becomes of who would take more of a disk than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enforcement {
    /// The file system refuses it: EDQUOT (quotactl(2)).
    Quota,
    /// All processes of the workspace are killed, soon after: [`ExitCause::DiskLimit`].
    Watched,
}

/// What a process's standard input is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Input {
    /// /dev/null.
    #[default]
    Nothing,
    /// A pipe.
    Pipe,
    /// A terminal (pty(7)), of this size at first, which its standard output and error are as well.
    Terminal(TerminalSize),
}

/// How large a terminal is, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters of a line.
    pub columns: u16,
}

/// What becomes of a process's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Keeping {
    /// Most bytes kept.
    pub max: u64,
    /// What happens at that point.
    pub overflow: Overflow,
    /// Where.
    pub store: OutputStore,
}

/// Where output is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OutputStore {
    /// In memory.
    Memory,
    /// In a file of the state folder's disk.
    Disk,
}

/// What happens when there is more output than is to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Overflow {
    /// The oldest is dropped.
    DropOldest,
    /// The process waits, as any does that writes to a full pipe, for readers to take the oldest.
    Wait,
    /// The process is killed.
    Kill,
    /// The process waits as with [`Overflow::Wait`], for those that follow it, also while nobody
    /// has come yet or they have all gone, for this long. After that the oldest is dropped, until
    /// somebody follows again.
    Follow(Millis),
}

/// How a process is confined, beside its user id, its group and its lack of capabilities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// System call filter and Landlock: reads the system, writes to its own two directories.
    #[default]
    Default,
    /// That, and namespaces of its own: no network, no other file system changes than its own.
    Strict,
    /// Neither. Only where the server allows it.
    None,
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
    /// What it was to be.
    pub spec: ProcessSpec,
    /// User id of the tree, and group id, but for a user of the machine's, which has its own.
    pub uid: u32,
    /// Who has started it. `None`: this program by itself.
    pub started_by: Option<AccessName>,
    /// How these have signed that. `None`: the frontend has said who it was.
    pub signed: Option<SignedBy>,
    /// When the frontend had read the request, as it says.
    pub requested: Option<UnixMicros>,
    /// When this half had it from there.
    pub received: UnixMicros,
    /// When it was admitted.
    pub admitted: UnixMicros,
    /// When all was made that it needs, and it was on its way to its program.
    pub prepared: UnixMicros,
    /// When its program began to run.
    pub started: UnixMicros,
    /// What became of the limits in its specification.
    pub limits: AppliedLimits,
    /// Nothing is read from it until somebody has taken what it has written.
    pub waits: bool,
    /// Its input was ended ([`Ask::EndInput`]).
    pub input_ended: bool,
    /// How the main process ended, once it has.
    pub main_exit: Option<MainExit>,
    /// Set once no process of the tree is left and all output is captured.
    pub end: Option<End>,
    /// Tasks that did not die when they were killed: the /proc/pid/stat of each.
    pub stuck: Vec<Vec<u8>>,
    /// What was still alive after the main process, and was ended.
    pub left_behind: Option<LeftBehind>,
    /// What its profile comes to on this host.
    pub layers: Vec<Layer>,
    /// None of its processes runs ([`Update::paused`]).
    pub paused: bool,
    /// Until when somebody has to follow it or to renew its lease. `None`: it has no lease,
    /// somebody follows it, or it has ended.
    pub lease_ends: Option<UnixMicros>,
    /// How it was stopped, or its tree, if it was.
    pub stop: Option<Stop>,
    /// Number of its newest change, among those of all processes: they only grow.
    pub change: u64,
}

/// What was verified of a signed start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedBy {
    /// The key's fingerprint: SHA-256 of its SubjectPublicKeyInfo.
    pub key: Digest,
    /// Who has sent it, as the frontend says.
    pub via: Option<AccessName>,
    /// The signature counted from then on.
    pub not_before: UnixMicros,
    /// And until then.
    pub not_after: UnixMicros,
}

/// How a process tree was stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// For what.
    pub cause: ExitCause,
    /// Who asked for it. `None`: nobody.
    pub by: Option<AccessName>,
    /// When that began: with SIGTERM, or with SIGKILL at once.
    pub asked: UnixMicros,
    /// When what was left was killed.
    pub killed: Option<UnixMicros>,
    /// What was left then of a tree that had its grace time, some of it if it was much: each one's
    /// /proc/pid/stat.
    pub outlived: Vec<Vec<u8>>,
}

/// Something that confines a process, beside its user id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layer {
    /// Namespaces of its own (namespaces(7)).
    Namespaces,
    /// Landlock (landlock(7)).
    Landlock,
    /// A filter of system calls (seccomp(2)).
    SystemCallFilter,
}

/// Processes that outlived the main process of their tree, and were ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftBehind {
    /// How many there were at that moment.
    pub processes: u32,
    /// What the tree was being stopped for; `None`: the main process had ended, and nothing was to
    /// outlive it.
    pub stopped_for: Option<ExitCause>,
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
        /// The signal's number.
        signal: u8,
        /// Whether a core image was written.
        core_dumped: bool,
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
    /// It wrote more than was to be kept ([`Overflow::Kill`]), or what it wrote could not be kept.
    OutputLimit,
    /// Its workspace held more than its bound, or nobody could see to that any more
    /// ([`Enforcement::Watched`]).
    DiskLimit,
    /// Its lease ran out ([`ProcessSpec::lease`]).
    LeaseExpired,
}

/// The end of a process tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When the tree was empty.
    pub at: UnixMicros,
    /// What it consumed: cpu.stat, memory.peak, io.stat, pids.peak, those that are there.
    pub usage: Vec<FileText>,
    /// Its output.
    pub output: OutputTotals,
}

/// Name and text of a cgroup v2 interface file, as the kernel wrote it (cgroup-v2.rst). The
/// supervisor hands it on unread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileText {
    /// The file's name.
    pub name: String,
    /// What it says.
    pub text: String,
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
    /// What the kernel made of them: cpu.max, memory.max, io.max, pids.max, those that are there.
    pub in_force: Vec<FileText>,
    /// Wanted, but not enforced.
    pub not_enforced: Vec<LimitName>,
}

/// What the number of processes at one time is bounded by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scarce {
    /// User ids: each has its own.
    UserIds,
    /// Descriptors of the supervisor.
    Descriptors,
    /// Terminals: a fixed number, which leaves enough of the machine's (kernel.pty.max, pty(7)).
    Terminals,
}

/// A well-formed request's "no".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// No such process.
    UnknownProcess,
    /// The process's standard input is /dev/null.
    NoInput,
    /// The process has no terminal.
    NoTerminal,
    /// The id names a process with another specification.
    AlreadyExists,
    /// The server is shutting down.
    Draining,
    /// As many processes run as the server has room for.
    TooManyProcesses {
        /// How many.
        max: u32,
        /// For want of what.
        scarce: Scarce,
    },
    /// No user id is free: of all that there are, so many belong to directories that are still
    /// being emptied.
    UserIdsHeld {
        /// Of processes that have ended.
        held: u32,
        /// All user ids.
        all: u32,
    },
    /// The arguments of all processes that run have this many bytes left.
    ArgumentsAboveBudget(u64),
    /// A limit is above the most that the server allows.
    AboveCeiling {
        /// Which.
        limit: LimitName,
        /// The most.
        ceiling: u64,
    },
    /// More output is to be kept than the most that the server allows in that store: 0, none at
    /// all.
    OutputAboveCeiling(u64),
    /// Nothing of this output may be dropped, and the half of the budget that is for such has this
    /// many bytes left.
    OutputAboveBudget(u64),
    /// PATH and the program's name make more than this many bytes of paths to look at.
    SearchPathAbove(u64),
    /// This host can't enforce a limit.
    NotEnforceable(LimitName),
    /// The server does not allow [`Profile::None`].
    Unconfined,
    /// This host cannot enforce [`Profile::Strict`].
    StrictUnavailable,
    /// Processes of that profile have no namespaces here, in which alone paths can be ruled.
    PathsUnavailable,
    /// The server does not let the directory of the rule at this place be bound.
    NotBindable(u8),
    /// The new process failed before its program ran, with this errno(3).
    Exec {
        /// Where it failed.
        step: ChildStep,
        /// Why.
        errno: i32,
    },
    /// The supervisor could not make what a process needs: errno(3).
    Resources {
        /// What it was making.
        what: Preparation,
        /// Why it could not.
        errno: i32,
    },
    /// No such workspace.
    UnknownWorkspace,
    /// There is a workspace of that name, or what is left of one.
    WorkspaceExists,
    /// The workspace is being removed.
    WorkspaceLeaving,
    /// So many processes live in the workspace.
    WorkspaceInUse(u32),
    /// There are as many workspaces as the server allows: so many.
    TooManyWorkspaces(u32),
    /// More disk space is asked for than the most that the server allows a workspace.
    DiskAboveCeiling(u64),
    /// A process that is alive has the name.
    NameTaken(ProcessId),
    /// The process's deadline has passed.
    DeadlinePassed,
    /// The process has ended.
    Ended,
    /// The process has not ended.
    NotEnded,
    /// The process takes so much memory, which is more than it is to be limited to.
    MemoryInUse(u64),
    /// The process has no lease that could begin anew.
    NoLease,
    /// Of what is remembered of finished processes, as much as can be is kept until it is removed
    /// ([`Retention::is_kept`]): half of so many, or of all arguments.
    TooManyKept {
        /// How many are remembered.
        max: u32,
    },
    /// The process is being stopped.
    Stopping,
    /// A process of this id was forgotten lately: it may be what is asked for once more.
    Forgotten,
    /// Signals to trees have taken much of the supervisor's time: to be asked again after this
    /// long.
    TooSoon(Millis),
    /// The kernel does not take the change: errno(3).
    NotChanged(i32),
    /// The process would have more than [`LABELS_MAX`](crate::types::LABELS_MAX) labels.
    TooManyLabels,
    /// The policy does not allow it to who asked.
    Denied(Denial),
    /// What was to be started has this digest, and not the one that was expected.
    OtherDigest(Digest),
    /// The start is not signed, or not as it has to be.
    Signature(SignatureRefusal),
    /// A workspace's processes run as its user id, and not as a user of the machine's.
    UserInWorkspace,
    /// A user of the machine's runs in namespaces alone.
    UserUnavailable,
}

/// Why somebody may not do what they have asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Denial {
    /// There is no such principal, or no longer.
    Unknown,
    /// The principal's time is over.
    Expired,
    /// The role has no such verb.
    Verb(Verb),
    /// The process or the workspace is of somebody whom the role does not reach.
    Reach(Verb),
    /// No rule of the role describes the program with its arguments.
    Program,
    /// Where programs are ruled the variable at this place may not be set.
    Variable(u16),
    /// Where programs are ruled a process starts in its own directory.
    Directory,
    /// And is in no workspace.
    Workspace,
    /// And sees the directories that all see.
    Paths,
    /// A process is to be confined at least so.
    Profile(Profile),
    /// More output is to be kept than this.
    Output(u64),
    /// The principal has so many processes, which is the most.
    Processes(u32),
    /// The role has no such user.
    User,
    /// It is none of the role's hours, of which these come next.
    Hours(Hours),
}

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Start, and change the limits, labels and lease of, a process.
    Start,
    /// Stop a process, or forget one that is finished.
    Stop,
    /// Send a signal to a process, pause it or let it go on.
    Signal,
    /// Read a process's output.
    Output,
    /// Feed a process's input, and size its terminal.
    Input,
    /// See that a process is there, how it is and what it takes.
    List,
    /// Make and remove workspaces.
    Workspace,
    /// What the server says of itself and of others beyond all that.
    Admin,
}

/// All verbs, in the order in which they are shown.
pub const VERBS: [Verb; 8] = [
    Verb::Start,
    Verb::Stop,
    Verb::Signal,
    Verb::Output,
    Verb::Input,
    Verb::List,
    Verb::Workspace,
    Verb::Admin,
];

/// What the supervisor makes before a process exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Preparation {
    /// Its working directory.
    Directory,
    /// Its cgroup.
    Cgroup,
    /// Its pipes.
    Pipes,
    /// Its terminal.
    Terminal,
    /// The process itself.
    Clone,
    /// A place in the event loop.
    Watch,
    /// The store of its output.
    Output,
    /// The bound of a workspace's disk space.
    DiskLimit,
}

/// What a new process does before its program runs, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChildStep {
    /// setsid(2), and the session's terminal: ioctl(2), TIOCSCTTY.
    Session,
    /// A table of its own with what was passed to it, of which all but the program's own is to be
    /// closed when that is executed: close_range(2), recvmsg(2).
    Descriptors,
    /// OOM score, and, just before the system call filter, resource limits:
    /// /proc/self/oom_score_adj, setrlimit(2).
    Limits,
    /// unshare(2), mount(2), and what is made for mounts.
    Namespaces,
    /// What was asked for of a path: the rule at this place.
    Path(u8),
    /// setgroups(2), setresgid(2), setresuid(2), and that there is no way back.
    Identity,
    /// prctl(2): PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS.
    Privileges,
    /// chdir(2).
    WorkingDirectory,
    /// sigprocmask(2).
    Signals,
    /// chdir(2) to the state folder, landlock_create_ruleset(2), landlock_restrict_self(2),
    /// seccomp(2).
    Confinement,
    /// execve(2).
    Exec,
    /// execve(2), which did not find what the program needs: the interpreter that its first line
    /// names, or its dynamic loader. The program itself is there.
    Interpreter,
}
