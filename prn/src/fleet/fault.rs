//! What goes wrong with a fleet, and what to do about it.

use prn_fleet::FleetError;
use prn_fleet::etcd::EtcdError;

use super::error::SetupError;
use crate::exit::{self, Exit};

/// Why something of a fleet was not done.
#[derive(Debug, thiserror::Error)]
pub enum FleetFault {
    /// The store has not done it, or does not have it.
    #[error(transparent)]
    Store(#[from] FleetError),
    /// It was not set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

impl From<EtcdError> for FleetFault {
    fn from(error: EtcdError) -> Self {
        Self::Store(error.into())
    }
}

impl FleetFault {
    /// The exit code that stands for it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Store(error) => exit_of_store(error),
            Self::Setup(SetupError::NoFolder(_) | SetupError::Known(_)) => exit::USAGE,
            Self::Setup(_) => exit::ERROR,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Store(error) => hint_of_store(error)?,
            Self::Setup(_) => return None,
        };
        Some(hint.to_owned())
    }
}

fn exit_of_store(error: &FleetError) -> Exit {
    match error {
        FleetError::Etcd(EtcdError::Unreachable { .. }) => exit::UNAVAILABLE,
        FleetError::Etcd(EtcdError::Denied(_)) => exit::NOT_AUTHORISED,
        FleetError::NoJob(_) => exit::NO_SUCH_PROCESS,
        FleetError::Invalid(_) | FleetError::Name(_) => exit::USAGE,
        _ => exit::ERROR,
    }
}

fn hint_of_store(error: &FleetError) -> Option<&'static str> {
    let hint = match error {
        FleetError::Etcd(EtcdError::Unreachable { .. }) => {
            "is etcd running there? `store` of the fleet in the configuration says where"
        }
        FleetError::NoJob(_) => "`prn fleet jobs` shows all that there are",
        _ => return None,
    };
    Some(hint)
}
