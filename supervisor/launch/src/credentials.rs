//! Who the server is, and who may come.

use std::time::Duration;

use prn_ipc_protocol::config::{self, Pin};
use prn_ipc_protocol::policy::Policy;
use prn_ipc_protocol::types::Id;
use prn_proto::credentials::{CredentialsError, KeySource, load_certificate, now};
use prn_proto::tls::{self, Certificate, Key};

use crate::access::Access;
use crate::certificates::{refused, warn_of_end};
use crate::error::ServerError;
use crate::options::{Options, OptionsError};
use crate::warning::Warning;

/// All but the server's key: each usable.
#[derive(Debug)]
pub struct Credentials {
    /// The server's certificate.
    certificate: Certificate,
    /// Who may come, and do what.
    access: Access,
}

impl Credentials {
    /// From the files that the options name.
    pub fn load(options: &Options, warn: &dyn Fn(Warning)) -> Result<Self, ServerError> {
        let now = now();
        Ok(Self {
            certificate: own(options, now, warn)?,
            access: Access::load(options, now, warn)?,
        })
    }

    /// The key that the options name, which fits: all of them together are usable.
    pub fn key(&self, options: &Options) -> Result<Key, ServerError> {
        let origin = KeySource::find(options.tls_key.clone())?;
        let key = origin.load()?;
        tls::check_key(&self.certificate, &key)
            .map_err(|source| CredentialsError::Key { origin, source })?;
        // As the frontend will: what it refuses must be refused now.
        let pinned = self.access.certificates.iter();
        let pinned = pinned.flat_map(|(_, known)| known.iter().cloned());
        tls::server_config(&self.certificate, &key, pinned.collect())?;
        Ok(key)
    }

    /// The server's certificate (DER).
    pub fn certificate(&self) -> &[u8] {
        self.certificate.der()
    }

    /// Who may do what.
    pub fn policy(&self) -> &Policy {
        &self.access.policy
    }

    /// What the frontend is to know of them: all but the key, which it gets by itself.
    pub fn show(&self, frontend: config::Frontend) -> config::Frontend {
        let pins = self.access.certificates.iter();
        let pins = pins.map(|(principal, known)| Pin {
            principal: principal.clone(),
            certificates: known.iter().map(|known| known.der().to_vec()).collect(),
        });
        config::Frontend {
            certificate: self.certificate.der().to_vec(),
            pins: pins.collect(),
            policy: self.policy().clone(),
            ..frontend
        }
    }
}

/// A name for this run of the server.
pub fn epoch() -> Result<Id, ServerError> {
    let mut bytes = [0; 16];
    let random = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
    random
        .map(|()| Id::from_bytes(bytes))
        .map_err(|_| ServerError::Host("the kernel gives no random bytes".to_owned()))
}

fn own(
    options: &Options,
    now: Duration,
    warn: &dyn Fn(Warning),
) -> Result<Certificate, ServerError> {
    let path = options
        .server_cert
        .as_deref()
        .ok_or(OptionsError::Missing("server-cert"))?;
    let certificate = load_certificate(path)?;
    certificate
        .check_validity(now)
        .map_err(|source| refused(path, source))?;
    warn_of_end(&certificate, path, now, warn);
    Ok(certificate)
}
