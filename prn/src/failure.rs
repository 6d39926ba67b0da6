//! What failures mean: their exit codes, and what to do about each.

use std::fmt;
use std::io;
use std::path::PathBuf;

use prn_client::credentials::{CredentialsError, now};
use prn_client::{ClientError, Code, ProcessId, reason};
use prn_launch::ServerError;
use prn_launch::options::OptionsError;
use prn_proto::tls::{TlsError, shown_time};
use prn_proto::units::show_size;
use rustls::{AlertDescription, CertificateError};

use crate::commands::keygen::KeygenError;
use crate::commands::rotate::pair::PairError;
use crate::commands::server::running::StatusError;
use crate::context::error::ContextError;
use crate::copy::fault::CopyFault;
use crate::exit::{self, Exit};
use crate::fleet::fault::FleetFault;
use crate::output::template::TemplateError;
use crate::sync::error::SyncError;
use crate::typed::fields;
use crate::which::reference::ReferenceError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A call failed.
    #[error(transparent)]
    Client(ClientError),
    /// A certificate or key was refused.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The server's certificate cannot be read.
    #[error(transparent)]
    ServerCertificate(CredentialsError),
    /// A context is not there, or the configuration is refused.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// Something failed with a fleet.
    #[error(transparent)]
    Fleet(#[from] FleetFault),
    /// `keygen` failed.
    #[error(transparent)]
    Keygen(#[from] KeygenError),
    /// A key and its certificate were not replaced.
    #[error(transparent)]
    Pair(PairError),
    /// `server status` failed.
    #[error(transparent)]
    Status(#[from] StatusError),
    /// `server start` or `server check` failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// What `server check` has found could not be printed.
    #[error("cannot print the result")]
    Print(#[source] io::Error),
    /// Something could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyFault),
    /// The connection was lost for good while something was copied.
    #[error("it is unknown whether the server's side could {act}")]
    CopyUnknown {
        /// What was under way.
        act: &'static str,
        /// Why nobody knows.
        source: ClientError,
    },
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// It is not known which process is meant.
    #[error(transparent)]
    Reference(ReferenceError),
    /// Processes that were waited for ended with their server.
    #[error("process {which}{} lost with its server, which was restarted: nobody knows how it ended", and_more(*more))]
    Lost {
        /// The first one, as it was named.
        which: String,
        /// How many more.
        more: usize,
    },
    /// `run --sync --out`: a directory could not be sent, or results not brought back.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// A file cannot be read that somebody else has made: an audit, a receipt, a certificate of
    /// others.
    #[error("cannot read {}", path.display())]
    Unread {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Standard input holds bytes that `start` would leave there.
    #[error(
        "there is data on standard input, which `prn start` does not pass on to the process: nothing was started"
    )]
    Input,
    /// Standard input is to be passed on, and cannot be read.
    #[error("cannot read standard input")]
    LocalInput(#[source] io::Error),
    /// What is to be passed on to a process would be refused by the server.
    #[error("{0}: your standard input could not go to the process, so nothing was started")]
    NotFed(String),
    /// Nobody knows whether a start took effect.
    #[error("it is unknown whether process {id} was started")]
    StartUnknown {
        /// The id it would have.
        id: ProcessId,
        /// What failed last.
        #[source]
        source: ClientError,
    },
    /// The same, where a signal has ended prn before there was an answer.
    #[error(
        "it is not known whether process {0} was started: prn was to end before the server answered"
    )]
    StartLeft(ProcessId),
    /// The server was restarted while it was asked to start a process.
    #[error("the server was restarted while process {0} was being started: it does not run")]
    StartLost(ProcessId),
    /// Nobody knows whether a stop took effect.
    #[error("it is unknown whether process {id} was stopped")]
    StopUnknown {
        /// The process.
        id: ProcessId,
        /// What failed.
        #[source]
        source: ClientError,
    },
    /// Nobody knows whether a workspace was made or removed.
    #[error("it is unknown whether workspace {name} was {outcome}")]
    WorkspaceUnknown {
        /// Its name.
        name: String,
        /// What was to become of it.
        outcome: Outcome,
        /// What failed.
        #[source]
        source: ClientError,
    },
    /// There is a workspace of that name, and it is not what was asked for.
    #[error("workspace {name} is there, and {}", bound_of_disk(*disk))]
    OtherWorkspace {
        /// Its name.
        name: String,
        /// Its own bound of the disk, in bytes.
        disk: Option<u64>,
    },
    /// `run` was left by a second signal, or by one after which nothing ended; `attach` by any.
    #[error("left process {0}, which may be running")]
    Left(ProcessId),
    /// `run` failed after its process was started.
    #[error("`prn run` failed, process {id} was started")]
    AfterStart {
        /// Its id.
        id: ProcessId,
        /// The job of a fleet that it is of.
        job: Option<String>,
        /// What failed.
        #[source]
        source: Box<Failure>,
    },
    /// `run` does not know how its process ended.
    #[error("it is unknown how process {0} ended")]
    ExitUnknown(ProcessId),
    /// Any part of a command failed that exits as a process did.
    #[error(transparent)]
    Run(Box<Failure>),
    /// A process was started, and its id could not be printed.
    #[error("process {id} was started")]
    StartedUnsaid {
        /// Its id.
        id: ProcessId,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// The agent on standard input does not speak the protocol.
    #[error("the agent's side of the Model Context Protocol failed: {0}")]
    Agent(String),
    /// There is no workspace of that name.
    #[error("there is no workspace {0}")]
    NoWorkspace(String),
    /// What was taken for a workspace is a process.
    #[error("{0} is a process, and there is no workspace of that name")]
    NotWorkspace(String),
    /// Standard output, or something else of this machine, failed.
    #[error("a local operation failed")]
    Local(#[source] io::Error),
}

impl From<PairError> for Failure {
    fn from(error: PairError) -> Self {
        match error {
            PairError::Credentials(error) => Self::Credentials(error),
            PairError::Made(error) => Self::Keygen(error),
            error @ (PairError::Signed { .. }
            | PairError::Strange { .. }
            | PairError::Apart { .. }
            | PairError::NotBegun(_)
            | PairError::Write { .. }) => Self::Pair(error),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        // A template is the user's: only its result was to be printed.
        match error.downcast::<TemplateError>() {
            Ok(error) => Self::Usage(error.to_string()),
            Err(error) => Self::Local(error),
        }
    }
}

impl Failure {
    /// The exit code that stands for it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Client(error)
            | Self::StartUnknown { source: error, .. }
            | Self::StopUnknown { source: error, .. }
            | Self::CopyUnknown { source: error, .. }
            | Self::WorkspaceUnknown { source: error, .. } => exit_of_client(error),
            Self::Credentials(CredentialsError::Certificate {
                source: TlsError::NotValidNow { .. },
                ..
            }) => exit::NOT_AUTHORISED,
            Self::Reference(ReferenceError::None(_)) => exit::NO_SUCH_PROCESS,
            Self::Fleet(fault) => fault.exit(),
            Self::Reference(ReferenceError::Client(error)) => exit_of_client(error),
            Self::Lost { .. } => exit::LOST,
            Self::NoWorkspace(_) | Self::NotWorkspace(_) => exit::NO_SUCH_PROCESS,
            Self::Usage(_)
            | Self::Reference(ReferenceError::Ambiguous { .. })
            | Self::Input
            | Self::Context(
                ContextError::Unknown { .. }
                | ContextError::UnknownFleet { .. }
                | ContextError::Setting { .. }
                | ContextError::Several { .. }
                | ContextError::Line(_),
            )
            | Self::Credentials(CredentialsError::NoKey)
            | Self::Server(ServerError::Credentials(CredentialsError::NoKey))
            | Self::Server(ServerError::Options(
                OptionsError::Missing(_) | OptionsError::NoClients,
            )) => exit::USAGE,
            Self::Local(error)
            | Self::Print(error)
            | Self::Keygen(KeygenError::Print(error))
            | Self::StartedUnsaid { source: error, .. } => {
                if error.kind() == io::ErrorKind::BrokenPipe {
                    exit::OUTPUT_CLOSED
                } else {
                    exit::ERROR
                }
            }
            Self::Credentials(_)
            | Self::ServerCertificate(_)
            | Self::Context(_)
            | Self::Keygen(_)
            | Self::Pair(_)
            | Self::Status(_)
            | Self::Server(_)
            | Self::Copy(_)
            | Self::Sync(_) => exit::ERROR,
            Self::LocalInput(_)
            | Self::OtherWorkspace { .. }
            | Self::Agent(_)
            | Self::Unread { .. } => exit::ERROR,
            Self::NotFed(_) => exit::NOT_AUTHORISED,
            Self::StartLost(_) => exit_of_client(&ClientError::ProcessLost),
            Self::StartLeft(_) => exit::UNAVAILABLE,
            Self::Left(_) | Self::ExitUnknown(_) => exit::RUN_FAILED,
            Self::Run(failure)
            | Self::AfterStart {
                source: failure, ..
            } => exit_of_run(failure),
        }
    }

    /// Nothing needs to be said: whoever would read it has gone.
    pub fn is_silent(&self) -> bool {
        match self {
            Self::Local(error) | Self::Print(error) | Self::Keygen(KeygenError::Print(error)) => {
                error.kind() == io::ErrorKind::BrokenPipe
            }
            Self::Run(failure)
            | Self::AfterStart {
                source: failure, ..
            } => failure.is_silent(),
            Self::Client(_)
            | Self::Credentials(_)
            | Self::ServerCertificate(_)
            | Self::Context(_)
            | Self::Fleet(_)
            | Self::Keygen(_)
            | Self::Pair(_)
            | Self::Status(_)
            | Self::Server(_)
            | Self::Copy(_)
            | Self::CopyUnknown { .. }
            | Self::Usage(_)
            | Self::Reference(_)
            | Self::Lost { .. }
            | Self::Sync(_)
            | Self::Unread { .. }
            | Self::Input
            | Self::NotFed(_)
            | Self::LocalInput(_)
            | Self::StartedUnsaid { .. }
            | Self::StartUnknown { .. }
            | Self::StartLost(_)
            | Self::StartLeft(_)
            | Self::StopUnknown { .. }
            | Self::WorkspaceUnknown { .. }
            | Self::OtherWorkspace { .. }
            | Self::Agent(_)
            | Self::NoWorkspace(_)
            | Self::NotWorkspace(_)
            | Self::Left(_)
            | Self::ExitUnknown(_) => false,
        }
    }

    /// The same of a process that was started: it names that.
    pub fn after_start(self, id: ProcessId) -> Self {
        let is_named = matches!(
            self,
            Self::Left(_) | Self::ExitUnknown(_) | Self::StopUnknown { .. }
        );
        if is_named {
            return self;
        }
        Self::AfterStart {
            id,
            job: None,
            source: Box::new(self),
        }
    }

    /// The same of a job of a fleet.
    pub fn after_start_of_job(self, id: ProcessId, of: &str) -> Self {
        let mut failure = self.after_start(id);
        if let Self::AfterStart { job, .. } = &mut failure {
            *job = Some(of.to_owned());
        }
        failure
    }

    /// There is no such workspace on the server.
    pub fn is_workspace_not_found(&self) -> bool {
        if let Self::Client(error) = self {
            let refusal = error.refusal();
            return refusal.is_some_and(|refusal| refusal.reason == reason::WORKSPACE_NOT_FOUND);
        }
        matches!(self, Self::NoWorkspace(_))
    }

    /// There is no such program on the server.
    pub fn is_command_not_found(&self) -> bool {
        if let Self::Client(error) = self {
            error
                .refusal()
                .is_some_and(|refusal| refusal.reason == reason::COMMAND_NOT_FOUND)
        } else {
            false
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Run(failure) => return failure.hint(),
            Self::StartUnknown { id, .. } | Self::StartLeft(id) => {
                return Some(format!(
                    "it is safe to start it again with --id {id}, which starts nothing twice; `prn list` shows it only once the server answers again"
                ));
            }
            Self::StartLost(_) => {
                "if it was started at all, it ended with the server that ran it; start it again if once more does no harm"
            }
            Self::StopUnknown { id, .. } => {
                return Some(format!(
                    "`prn status {id}` tells; it is safe to stop it again, and --call-timeout waits longer"
                ));
            }
            Self::WorkspaceUnknown { outcome, .. } => outcome.hint(),
            Self::NoWorkspace(name) => {
                return Some(format!(
                    "`prn workspace create {name}` makes it, `prn workspace list` shows all that there are"
                ));
            }
            Self::NotWorkspace(name) => {
                return Some(format!(
                    "a workspace is what `prn exec` and `prn cp` are for: what is started with `-w NAME` shares its files; `prn attach {name}` gets at the process"
                ));
            }
            Self::Agent(_) => {
                "an agent's program starts `prn mcp` and speaks to it: see docs/agents.md"
            }
            Self::OtherWorkspace { .. } => "without --disk, --exist-ok takes it as it is",
            Self::AfterStart { job: Some(job), .. } => {
                return Some(format!(
                    "see `prn status --fleet {job}` and `prn logs --fleet {job}`"
                ));
            }
            Self::Left(id) | Self::ExitUnknown(id) | Self::AfterStart { id, .. } => {
                return Some(format!("see `prn status {id}` and `prn logs {id}`"));
            }
            Self::Client(error) => return hint_of_client(error),
            Self::Fleet(fault) => return fault.hint(),
            Self::Credentials(error) | Self::Server(ServerError::Credentials(error)) => {
                return hint_of_credentials(error).map(str::to_owned);
            }
            Self::ServerCertificate(_) => {
                "it is the one that `prn keygen` wrote where the server is: copy that file from there"
            }
            Self::Server(ServerError::Access(_)) => {
                "docs/operate/access.md shows how clients and roles are written, and prn.toml(5) has all keys"
            }
            Self::Server(ServerError::Options(OptionsError::Parse { .. })) => {
                "prn.toml(5) and `prn server start --help` have all keys"
            }
            Self::Usage(_) => "see --help",
            Self::Reference(ReferenceError::None(_)) => "`prn list` shows all that there are",
            Self::Reference(ReferenceError::Ambiguous { .. }) => "write more of the id",
            Self::Reference(ReferenceError::Client(error)) => return hint_of_client(error),
            Self::Lost { .. } => "`prn health` tells since when the server runs",
            Self::Input => {
                "`prn run` passes it on, and so does `prn attach` to what was started with --stdin; -n leaves it alone, for whoever reads it next"
            }
            Self::NotFed(_) => "-n runs it without input; `prn can-i` shows what you may do",
            Self::LocalInput(_)
            | Self::Sync(_)
            | Self::Unread { .. }
            | Self::StartedUnsaid { .. }
            | Self::Context(_)
            | Self::Keygen(_)
            | Self::Pair(_)
            | Self::Status(_)
            | Self::Server(_)
            | Self::Print(_)
            | Self::Copy(_)
            | Self::CopyUnknown { .. }
            | Self::Local(_) => {
                return None;
            }
        };
        Some(hint.to_owned())
    }
}

/// What was to become of a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was to be made.
    Created,
    /// It was to go.
    Removed,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Removed => "removed",
        })
    }
}

impl Outcome {
    /// What to do where it is not known.
    fn hint(self) -> &'static str {
        match self {
            Self::Created => {
                "`prn workspace list` tells; with --exist-ok it is safe to create it again"
            }
            Self::Removed => {
                "`prn workspace list` tells; it is safe to remove it again, and --call-timeout waits longer"
            }
        }
    }
}

/// The verb behind one process, and how many more.
fn and_more(more: usize) -> String {
    match more {
        0 => " was".to_owned(),
        1 => " and 1 more were".to_owned(),
        more => format!(" and {more} more were"),
    }
}

/// `bytes` is what a workspace may take of the disk.
fn bound_of_disk(bytes: Option<u64>) -> String {
    bytes.map_or_else(
        || "has no bound of its disk space".to_owned(),
        |bytes| format!("may take {} of the disk", show_size(bytes)),
    )
}

impl From<ReferenceError> for Failure {
    fn from(error: ReferenceError) -> Self {
        match error {
            ReferenceError::Client(error) => error.into(),
            ReferenceError::None(_) | ReferenceError::Ambiguous { .. } => Self::Reference(error),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(fields::in_flags(error))
    }
}

/// What to do about a certificate or a key that was not taken.
fn hint_of_credentials(error: &CredentialsError) -> Option<&'static str> {
    let hint = match error {
        CredentialsError::Key {
            source: TlsError::Unexpected { found, .. },
            ..
        } if found.ends_with("EC PRIVATE KEY") => {
            "`openssl pkcs8 -topk8 -nocrypt -in FILE -out OTHER` writes it in the form that is read"
        }
        CredentialsError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            "`prn keygen` makes a key and its certificate"
        }
        CredentialsError::Certificate {
            source: TlsError::Missing(_) | TlsError::Unexpected { .. } | TlsError::Malformed,
            ..
        } => "a certificate is the file that `prn keygen` wrote for --cert",
        CredentialsError::Key {
            source: TlsError::Missing(_) | TlsError::Unexpected { .. },
            ..
        } => "a key is the file that `prn keygen` wrote for --key",
        CredentialsError::Key {
            source: TlsError::KeyMismatch(_),
            ..
        } => "a key and its certificate are of one `prn keygen`: name both of the same",
        CredentialsError::Read { .. }
        | CredentialsError::Certificate { .. }
        | CredentialsError::NoKey
        | CredentialsError::EmptyKey(_)
        | CredentialsError::OpenKey { .. }
        | CredentialsError::OpenOther { .. }
        | CredentialsError::NoFile(_)
        | CredentialsError::OpenCertificate { .. }
        | CredentialsError::Key { .. }
        | _ => return None,
    };
    Some(hint)
}

/// What to do about a call that failed.
fn hint_of_client(error: &ClientError) -> Option<String> {
    let hint = match error {
        ClientError::Connect { .. } | ClientError::Timeout { .. } => {
            "is the server running there? --address, PRN_ADDRESS or its context says where"
        }
        ClientError::WrongServer { .. } => {
            "nothing was sent to it; if that is the right server, get its new certificate for --server-cert"
        }
        ClientError::NotAuthorised(rustls::Error::AlertReceived(
            AlertDescription::CertificateRevoked,
        )) => "its certificate was revoked: get a new one from the authority that signed it",
        // TLS shows no certificate where the other side takes no key of its kind.
        ClientError::NotAuthorised(rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired,
        )) => {
            "the server takes no key of the kind that yours is of: P-256 keys want --allow-p256 there, or allow-p256 in its configuration"
        }
        ClientError::NotAuthorised(_) => {
            return Some(format!(
                "the server must be started with --client-cert, or a [[client]] of its configuration, for your certificate, and both clocks must be right: this machine's says {}",
                shown_time(now())
            ));
        }
        ClientError::NoAnswer { .. } => {
            "it is there, but busy or stuck; --call-timeout waits longer"
        }
        ClientError::CutOff { source, .. }
            if matches!(source.as_deref(), Some(ClientError::ProcessLost)) =>
        {
            return None;
        }
        ClientError::CutOff { .. } => {
            "`prn logs --offset` goes on from there, if the process still exists"
        }
        ClientError::Refused(refusal) => return hint_of_refusal(refusal),
        ClientError::OtherUser { id, .. } => {
            return Some(format!(
                "`prn stop {id}` stops it; a server that is older than --user starts everything with a user id of its own: `prn version` shows both"
            ));
        }
        ClientError::Handshake { source, .. } if is_other_name(source) => {
            "nothing was sent to it; if that is the right server, --server-name says which name its certificate has"
        }
        ClientError::Handshake { .. } => {
            "is that a prn server? --address or PRN_ADDRESS says where it is"
        }
        ClientError::Tls(_)
        | ClientError::Lost(_)
        | ClientError::InputCutOff(_)
        | ClientError::ProcessLost
        | ClientError::NotSigned(_)
        | ClientError::Protocol(_)
        | _ => return None,
    };
    Some(hint.to_owned())
}

fn hint_of_refusal(refusal: &prn_client::ServerError) -> Option<String> {
    let lookup = refusal.metadata.get(reason::metadata::LOOKUP);
    if lookup.is_some_and(|lookup| lookup == "path") {
        return Some("a path is one of the server's machine, as the process sees it".to_owned());
    }
    let hint = match refusal.reason.as_str() {
        reason::PROCESS_NOT_FOUND => "`prn list` shows all that there are",
        reason::COMMAND_NOT_FOUND => "a command is looked up in the PATH of the server's processes",
        reason::COMMAND_NOT_EXECUTABLE => {
            "it takes a file that the process's user may execute; a script can be given to its shell: sh FILE"
        }
        reason::PROCESS_ENDED => "`prn status` shows how it ended, `prn logs` what it has printed",
        reason::PROCESS_RUNNING => "`prn rm --force` stops it first",
        reason::OTHER_DIGEST => "the same with --dry-run shows what would start",
        reason::SIGNATURE_INPUT => {
            "-n starts it without input, whatever yours is; `prn attach -n` only follows its output"
        }
        reason::NO_LEASE => "`prn renew --lease 5m` gives it one",
        reason::PROCESS_EXISTS => "`prn status` shows it; without --id a new one is made up",
        reason::INPUT_IN_USE => {
            "another `prn run` or `prn attach` feeds it; with -n, `prn attach` only follows its output"
        }
        reason::INPUT_ENDED => "with -n, `prn attach` only follows its output",
        reason::WORKSPACE_NOT_FOUND => {
            let name = refusal.metadata.get(reason::metadata::WORKSPACE)?;
            return Some(format!(
                "`prn workspace create {name}` makes it, `prn workspace list` shows all that there are"
            ));
        }
        reason::WORKSPACE_EXISTS => {
            "with --exist-ok one that is there, and stays, is taken as it is"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

fn exit_of_client(error: &ClientError) -> Exit {
    match error {
        ClientError::WrongServer { .. } | ClientError::NotAuthorised(_) => exit::NOT_AUTHORISED,
        ClientError::Handshake { source, .. } if is_certificate_error(source) => {
            exit::NOT_AUTHORISED
        }
        ClientError::Connect { .. }
        | ClientError::Timeout { .. }
        | ClientError::Handshake { .. }
        | ClientError::Lost(_)
        | ClientError::NoAnswer { .. } => exit::UNAVAILABLE,
        ClientError::CutOff { source, .. } => match source.as_deref() {
            // The server has answered, with a no of its own: nothing was cut off, it never began.
            Some(no @ ClientError::Refused(refusal)) if refusal.code != Code::Unavailable => {
                exit_of_client(no)
            }
            Some(no @ (ClientError::NotAuthorised(_) | ClientError::ProcessLost)) => {
                exit_of_client(no)
            }
            Some(_) | None => exit::OUTPUT_CUT_OFF,
        },
        ClientError::Refused(refusal)
            if [reason::PROCESS_NOT_FOUND, reason::WORKSPACE_NOT_FOUND]
                .contains(&refusal.reason.as_str()) =>
        {
            exit::NO_SUCH_PROCESS
        }
        ClientError::Refused(refusal)
            if [
                reason::NOT_ALLOWED,
                reason::OUTSIDE_HOURS,
                reason::START_NOT_ALLOWED,
            ]
            .contains(&refusal.reason.as_str()) =>
        {
            exit::NOT_AUTHORISED
        }
        ClientError::Refused(refusal) if refusal.code == Code::Unavailable => exit::UNAVAILABLE,
        ClientError::Refused(refusal) if refusal.is_bad_request() => exit::USAGE,
        ClientError::ProcessLost => exit::LOST,
        ClientError::Refused(_)
        | ClientError::Tls(_)
        | ClientError::InputCutOff(_)
        | ClientError::OtherUser { .. }
        | ClientError::NotSigned(_)
        | ClientError::Protocol(_)
        | _ => exit::ERROR,
    }
}

/// Whether this side has refused the server's certificate, for another reason than that it is not
/// the pinned one.
fn is_certificate_error(error: &io::Error) -> bool {
    certificate_error(error).is_some()
}

/// Whether the server's certificate is of another name than the one that it was to have.
fn is_other_name(error: &io::Error) -> bool {
    matches!(
        certificate_error(error),
        Some(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })
    )
}

fn certificate_error(error: &io::Error) -> Option<&CertificateError> {
    if let rustls::Error::InvalidCertificate(error) = error.get_ref()?.downcast_ref()? {
        return Some(error);
    }
    None
}

/// As shells do it: 126 and 127 for a command that could not be started, 125 for whoever should
/// have started it.
fn exit_of_run(failure: &Failure) -> Exit {
    if failure.is_silent() {
        return exit::OUTPUT_CLOSED;
    }
    if failure.exit() == exit::LOST {
        return exit::LOST;
    }
    let reason = if let Failure::Client(error) = failure {
        error.refusal().map(|refusal| refusal.reason.as_str())
    } else if let Failure::Fleet(fault) = failure {
        fault.reason()
    } else {
        None
    };
    match reason {
        Some(reason::COMMAND_NOT_FOUND) => exit::RUN_NOT_FOUND,
        Some(
            reason::COMMAND_NOT_EXECUTABLE | reason::COMMAND_FAILED | reason::INTERPRETER_NOT_FOUND,
        ) => exit::RUN_NOT_EXECUTABLE,
        _ => exit::RUN_FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> ClientError {
        ClientError::Connect {
            address: "x:1".into(),
            source: io::ErrorKind::ConnectionRefused.into(),
        }
    }

    #[test]
    fn run_exits_as_a_shell_would_for_commands_that_cannot_start() {
        assert_eq!(
            Failure::Run(Box::new(lost().into())).exit(),
            exit::RUN_FAILED
        );
        assert_eq!(Failure::Client(lost()).exit(), exit::UNAVAILABLE);
        let closed = || Failure::Local(io::ErrorKind::BrokenPipe.into());
        assert_eq!(Failure::Run(Box::new(closed())).exit(), exit::OUTPUT_CLOSED);
        assert!(closed().is_silent());
        let id: ProcessId = "fcd2310e7b9a462a5d88c3a0ff4e2d9b".parse().unwrap();
        let after = |source| {
            Failure::Run(Box::new(Failure::AfterStart {
                id,
                job: None,
                source: Box::new(source),
            }))
        };
        assert_eq!(
            after(Failure::Local(io::ErrorKind::StorageFull.into())).exit(),
            exit::RUN_FAILED
        );
        assert!(
            after(lost().into())
                .hint()
                .unwrap()
                .contains("prn logs fcd2310e7b9a462a5d88c3a0ff4e2d9b")
        );
        assert_eq!(
            (after(closed()).exit(), after(closed()).is_silent()),
            (exit::OUTPUT_CLOSED, true)
        );
    }

    #[test]
    fn output_that_was_cut_off_has_its_own_code_whatever_cut_it_off() {
        let cut = |source| Failure::Client(ClientError::CutOff { offset: 3, source }).exit();
        assert_eq!(cut(None), exit::OUTPUT_CUT_OFF);
        assert_eq!(cut(Some(Box::new(lost()))), exit::OUTPUT_CUT_OFF);
    }
}
