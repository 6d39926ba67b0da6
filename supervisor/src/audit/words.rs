//! Words for what is audited and signed, which docs/operate/audit.md lists: they stay what they
//! are, whatever is called otherwise here. Runs in the supervisor; pure.

use prn_ipc_protocol::digest::limit_word;
use prn_ipc_protocol::message::{
    Denial, ExitCause, ExitStatus, NewLease, Refusal, Update, Verb, Whom,
};
use prn_ipc_protocol::signed::SignatureRefusal;

/// Names each event, with its word.
macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// What a line is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Event {
            $($(#[$doc])* $name,)*
        }

        impl Event {
            /// All that there are.
            #[cfg(test)]
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What it is called in a line.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

events! {
    /// The server began.
    Run = "run",
    /// It was told to stop.
    Stopping = "stopping",
    /// It has: the last line.
    Over = "over",
    /// Asked for.
    Start = "start",
    /// Asked for.
    TryStart = "try-start",
    /// Asked for.
    Stop = "stop",
    /// Asked for.
    Signal = "signal",
    /// Asked for.
    Update = "update",
    /// Asked for.
    Remove = "remove",
    /// Asked for.
    Forget = "forget",
    /// Asked for.
    Output = "output",
    /// Asked for.
    Input = "input",
    /// Asked for.
    EndInput = "end-input",
    /// Asked for.
    Resize = "resize",
    /// Asked for.
    Usage = "usage",
    /// Asked for.
    Receipt = "receipt",
    /// Asked for.
    CreateWorkspace = "create-workspace",
    /// Asked for.
    RemoveWorkspace = "remove-workspace",
    /// By the frontend, as it says.
    Denied = "denied",
    /// A start that was allowed has failed.
    StartFailed = "start-failed",
    /// A process, and all that it has started, has ended.
    End = "end",
    /// For a fault.
    FrontendKilled = "frontend-killed",
    /// By itself, or by the kernel.
    FrontendEnded = "frontend-ended",
    /// Another configuration is in force.
    Reload = "reload",
    /// No frontend serves with it.
    ReloadFailed = "reload-failed",
    /// Somebody who is not root came to the control socket.
    ControlRefused = "control-refused",
    /// What came there is no order.
    ControlFault = "control-fault",
}

/// How a main process ended.
pub struct Status {
    /// In which way.
    pub word: &'static str,
    /// What it exited with.
    pub exit_code: Option<u8>,
    /// The number of the signal that ended it.
    pub signal: Option<u8>,
    /// Whether that left an image of its memory.
    pub core_dumped: Option<bool>,
}

/// Of what waitid(2) says.
pub fn status(status: ExitStatus) -> Status {
    match status {
        ExitStatus::Exited(code) => Status {
            word: "exited",
            exit_code: Some(code),
            signal: None,
            core_dumped: None,
        },
        ExitStatus::Signalled {
            signal,
            core_dumped,
        } => Status {
            word: "signalled",
            exit_code: None,
            signal: Some(signal),
            core_dumped: Some(core_dumped),
        },
    }
}

/// Why a main process ended.
pub fn cause(cause: ExitCause) -> &'static str {
    match cause {
        ExitCause::Exited => "exited",
        ExitCause::Signalled => "signalled",
        ExitCause::OomKilled => "oom-killed",
        ExitCause::TimedOut => "timed-out",
        ExitCause::StoppedOnRequest => "stopped-on-request",
        ExitCause::OutputLimit => "output-limit",
        ExitCause::DiskLimit => "disk-limit",
        ExitCause::LeaseExpired => "lease-expired",
    }
}

/// A kind of request.
pub fn verb(verb: Verb) -> &'static str {
    match verb {
        Verb::Start => "start",
        Verb::Stop => "stop",
        Verb::Signal => "signal",
        Verb::Output => "output",
        Verb::Input => "input",
        Verb::List => "list",
        Verb::Workspace => "workspace",
        Verb::Admin => "admin",
    }
}

/// Who gets a signal.
pub fn whom(whom: Whom) -> &'static str {
    match whom {
        Whom::Main => "main",
        Whom::Tree => "tree",
    }
}

/// What an update changes, each thing in words.
pub fn changes(update: &Update) -> Vec<String> {
    let limits = update.limits.iter();
    let limits = limits.map(|(name, value)| format!("limit {} {value}", limit_word(name)));
    let paused = update
        .paused
        .map(|paused| if paused { "pause" } else { "resume" });
    let lease = update.lease.map(|lease| match lease {
        NewLease::Same => "lease same".to_owned(),
        NewLease::Of(time) => format!("lease {}", time.milliseconds()),
        NewLease::Ended => "lease none".to_owned(),
    });
    let labels = update.labels.as_ref().map(|_| "labels".to_owned());
    let rest = paused.map(str::to_owned).into_iter().chain(lease);
    limits.chain(rest).chain(labels).collect()
}

/// Why something was refused.
pub fn refusal(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::UnknownProcess => "unknown-process",
        Refusal::NoInput => "no-input",
        Refusal::NoTerminal => "no-terminal",
        Refusal::AlreadyExists => "already-exists",
        Refusal::Draining => "draining",
        Refusal::TooManyProcesses { .. } => "too-many-processes",
        Refusal::UserIdsHeld { .. } => "user-ids-held",
        Refusal::ArgumentsAboveBudget(_) => "arguments-above-budget",
        Refusal::AboveCeiling { .. } => "above-ceiling",
        Refusal::OutputAboveCeiling(_) => "output-above-ceiling",
        Refusal::OutputAboveBudget(_) => "output-above-budget",
        Refusal::SearchPathAbove(_) => "search-path-above",
        Refusal::NotEnforceable(_) => "not-enforceable",
        Refusal::Unconfined => "unconfined",
        Refusal::StrictUnavailable => "strict-unavailable",
        Refusal::UserInWorkspace => "user-in-workspace",
        Refusal::UserUnavailable => "user-unavailable",
        Refusal::PathsUnavailable => "paths-unavailable",
        Refusal::NotBindable(_) => "not-bindable",
        Refusal::Exec { .. } => "exec",
        Refusal::Resources { .. } => "resources",
        Refusal::UnknownWorkspace => "unknown-workspace",
        Refusal::WorkspaceExists => "workspace-exists",
        Refusal::WorkspaceLeaving => "workspace-leaving",
        Refusal::WorkspaceInUse(_) => "workspace-in-use",
        Refusal::TooManyWorkspaces(_) => "too-many-workspaces",
        Refusal::DiskAboveCeiling(_) => "disk-above-ceiling",
        Refusal::NameTaken(_) => "name-taken",
        Refusal::DeadlinePassed => "deadline-passed",
        Refusal::Ended => "ended",
        Refusal::NotEnded => "not-ended",
        Refusal::MemoryInUse(_) => "memory-in-use",
        Refusal::NoLease => "no-lease",
        Refusal::TooManyKept { .. } => "too-many-kept",
        Refusal::Stopping => "stopping",
        Refusal::Forgotten => "forgotten",
        Refusal::TooSoon(_) => "too-soon",
        Refusal::NotChanged(_) => "not-changed",
        Refusal::TooManyLabels => "too-many-labels",
        Refusal::Denied(denial) => denied(*denial),
        Refusal::OtherDigest(_) => "other-digest",
        Refusal::Signature(refusal) => signature(*refusal),
    }
}

fn signature(refusal: SignatureRefusal) -> &'static str {
    match refusal {
        SignatureRefusal::Required => "signature-required",
        SignatureRefusal::Input => "signature-input",
        SignatureRefusal::UnknownKey => "signature-unknown-key",
        SignatureRefusal::KeyExpired => "signature-key-expired",
        SignatureRefusal::OtherAudience => "signature-other-audience",
        SignatureRefusal::BeforeRun(_) => "signature-before-run",
        SignatureRefusal::WindowTooLong(_) => "signature-window-too-long",
        SignatureRefusal::NotYet(_) => "signature-not-yet",
        SignatureRefusal::Expired(_) => "signature-expired",
        SignatureRefusal::Invalid => "signature-invalid",
        SignatureRefusal::Replayed => "signature-replayed",
        SignatureRefusal::TooMany(_) => "signature-too-many",
    }
}

fn denied(denial: Denial) -> &'static str {
    match denial {
        Denial::Unknown => "denied-unknown",
        Denial::Expired => "denied-expired",
        Denial::Verb(_) => "denied-verb",
        Denial::Reach(_) => "denied-reach",
        Denial::Program => "denied-program",
        Denial::Variable(_) => "denied-variable",
        Denial::Directory => "denied-directory",
        Denial::Workspace => "denied-workspace",
        Denial::Paths => "denied-paths",
        Denial::Profile(_) => "denied-profile",
        Denial::User => "denied-user",
        Denial::Hours(_) => "denied-hours",
        Denial::Output(_) => "denied-output",
        Denial::Processes(_) => "denied-processes",
    }
}
