//! Who the server is, and who may come.

use std::time::Duration;

use prn_ipc_protocol::config::{self, Pin};
use prn_ipc_protocol::policy::Policy;
use prn_ipc_protocol::types::{AccessName, Id};
use prn_proto::credentials::{CredentialsError, KeySource, load_and_metadata, now};
use prn_proto::tls::{
    self, AuthorityCertificate, Certificate, Clients, Key, KeyFingerprint, KeyKinds, NameRule, Own,
    Peer, RevocationList,
};

use crate::access::{Access, signing};
use crate::certificates::{refused, warn_of_end};
use crate::error::ServerError;
use crate::options::{Options, OptionsError};
use crate::warning::Warning;

/// All but the server's key: each usable.
#[derive(Debug)]
pub struct Credentials {
    /// The server's certificate.
    own: Own,
    /// The clients that are let in.
    clients: Clients,
    /// Who each of them is, in the same order.
    principals: Vec<AccessName>,
    /// Who may do what.
    policy: Policy,
}

impl Credentials {
    /// From the files that the options name.
    pub fn load(options: &Options, warn: &dyn Fn(Warning)) -> Result<Self, ServerError> {
        let now = now();
        let own = own(options, now, warn)?;
        let mut access = Access::load(options, now, warn)?;
        access.policy.signing.server = signing::of_server(&own.certificate);
        let (principals, peers) = access.known.into_iter().unzip();
        let clients = Clients {
            peers,
            authorities: access.authorities,
            revocations: access.revocations,
            kinds: options.kinds(),
        };
        Ok(Self {
            own,
            clients,
            principals,
            policy: access.policy,
        })
    }

    /// The key that the options name, which fits: all of them together are usable.
    pub fn key(&self, options: &Options) -> Result<Key, ServerError> {
        let origin = KeySource::find(options.tls_key.clone())?;
        let key = origin.load()?;
        tls::check_key(&self.own.certificate, &key)
            .map_err(|source| CredentialsError::Key { origin, source })?;
        // As the frontend will: what it refuses must be refused now.
        tls::server_config(&self.own, &key, self.clients.clone())?;
        Ok(key)
    }

    /// The server's certificate (DER).
    pub fn certificate(&self) -> &[u8] {
        self.own.certificate.der()
    }

    /// Who may do what.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What the frontend is to know of them: all but the key, which it gets by itself.
    pub fn show(&self, frontend: config::Frontend) -> config::Frontend {
        config::Frontend {
            certificate: self.own.certificate.der().to_vec(),
            issuers: ders(&self.own.issuers, AuthorityCertificate::der),
            pins: self.pins(),
            authorities: ders(&self.clients.authorities, AuthorityCertificate::der),
            revocations: ders(&self.clients.revocations, RevocationList::der),
            allows_p256: self.clients.kinds == KeyKinds::Both,
            policy: self.policy.clone(),
            ..frontend
        }
    }

    fn pins(&self) -> Vec<Pin> {
        let pin = |(principal, peer): (&AccessName, &Peer)| Pin {
            principal: principal.clone(),
            certificates: ders(&peer.certificates, Certificate::der),
            keys: peer.keys.iter().map(KeyFingerprint::to_string).collect(),
            names: peer.names.iter().map(NameRule::to_string).collect(),
        };
        self.principals
            .iter()
            .zip(&self.clients.peers)
            .map(pin)
            .collect()
    }
}

fn ders<T>(all: &[T], der: fn(&T) -> &[u8]) -> Vec<Vec<u8>> {
    all.iter().map(|one| der(one).to_vec()).collect()
}

/// A name for this run of the server.
pub fn epoch() -> Result<Id, ServerError> {
    let mut bytes = [0; 16];
    let random = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
    random
        .map(|()| Id::from_bytes(bytes))
        .map_err(|_| ServerError::Host("the kernel gives no random bytes".to_owned()))
}

fn own(options: &Options, now: Duration, warn: &dyn Fn(Warning)) -> Result<Own, ServerError> {
    let path = options
        .server_cert
        .as_deref()
        .ok_or(OptionsError::Missing("server-cert"))?;
    let (own, _) = load_and_metadata(path, Own::from_pem)?;
    let certificate = &own.certificate;
    let checked = certificate.check_kind(options.kinds());
    checked
        .and_then(|()| certificate.check_validity(now))
        .map_err(|source| refused(path, source))?;
    warn_of_end(certificate, path, now, warn);
    Ok(own)
}
