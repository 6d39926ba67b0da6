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

/// Each usable, and all of them together.
#[derive(Debug)]
pub struct Credentials {
    /// The server's certificate.
    certificate: Certificate,
    /// The clients that are let in.
    pins: Vec<Pin>,
    /// Who may do what.
    policy: Policy,
    /// The server's key.
    pub key: Key,
}

impl Credentials {
    /// From the files that the options name.
    pub fn load(options: &Options, warn: &dyn Fn(Warning)) -> Result<Self, ServerError> {
        let now = now();
        let certificate = own(options, now, warn)?;
        let access = Access::load(options, now, warn)?;
        let origin = KeySource::find(options.tls_key.clone())?;
        let key = origin.load()?;
        tls::check_key(&certificate, &key)
            .map_err(|source| CredentialsError::Key { origin, source })?;
        // As the frontend will: what it refuses must be refused now.
        let pins = access.certificates.iter().map(|(principal, known)| Pin {
            principal: principal.clone(),
            certificates: known.iter().map(|known| known.der().to_vec()).collect(),
        });
        let pins = pins.collect();
        let pinned = access.certificates.into_iter().flat_map(|(_, known)| known);
        tls::server_config(&certificate, &key, pinned.collect())?;
        Ok(Self {
            certificate,
            pins,
            policy: access.policy,
            key,
        })
    }

    /// Who may do what.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What the frontend is to know of them: all but the key, which it gets by itself.
    pub fn show(&self, frontend: config::Frontend) -> config::Frontend {
        config::Frontend {
            certificate: self.certificate.der().to_vec(),
            pins: self.pins.clone(),
            policy: self.policy.clone(),
            ..frontend
        }
    }
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

/// A name for this run of the server, which no other has.
pub fn epoch() -> Result<Id, ServerError> {
    let mut bytes = [0; 16];
    let random = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
    random
        .map(|()| Id::from_bytes(bytes))
        .map_err(|_| ServerError::Host("the kernel gives no random bytes".to_owned()))
}
