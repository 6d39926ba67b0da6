//! Why the server does not start.

use prn_proto::credentials::CredentialsError;
use prn_proto::tls::TlsError;

use crate::access::tables::AccessError;
use crate::claim::ClaimError;
use crate::confinement::ConfinementError;
use crate::control::ControlError;
use crate::handover::HandoverError;
use crate::options::OptionsError;
use crate::paths::PathsError;
use crate::plan::PlanError;

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The flags or the configuration file make no sense.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// Clients or roles were refused.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// A certificate or key was refused.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// They do not work together.
    #[error("the server's certificate, key and pins are refused")]
    Tls(#[from] TlsError),
    /// This host lacks something.
    #[error("this host cannot run the server: {0}")]
    Host(String),
    /// The values contradict each other or this host.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The table of paths is not one for this host.
    #[error(transparent)]
    Paths(#[from] PathsError),
    /// The confinement could not be compiled.
    #[error("cannot make the system call filters")]
    Confinement(#[from] ConfinementError),
    /// The state folder or the cgroup could not be taken.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// A running server was not reached, or says no.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Something could not be opened, made or handed over.
    #[error(transparent)]
    Handover(#[from] HandoverError),
}
