//! Who the server is, and who may come.

use std::collections::BTreeMap;
use std::time::Duration;

use prn_ipc_protocol::config::{self, Pin, User};
use prn_ipc_protocol::policy::Policy;
use prn_ipc_protocol::types::{AccessName, Id, UserName};
use prn_proto::credentials::{CredentialsError, KeySource, load_and_metadata, now};
use prn_proto::tls::{
    self, AuthorityCertificate, Certificate, Clients, Key, KeyFingerprint, KeyKinds, NameRule, Own,
    Peer, RevocationList,
};

use crate::access::{Access, AccessError, Listed, Problem, Reserved, signing};
use crate::certificates::{refused, warn_of_end};
use crate::error::ServerError;
use crate::host::Host;
use crate::options::{Options, OptionsError};
use crate::signer;
use crate::warning::Warning;

/// The child of a start has root's memory when it is the user already, until its program runs.
const TRACED: &str = "with fs.suid_dumpable 1, whatever else that user runs could read memory of the server's in a process's first moments: set it to 0, or to 2, or take users away";

/// All but the server's key, of which it is where it is said to be: each usable.
#[derive(Debug)]
pub struct Credentials {
    /// The server's certificate.
    own: Own,
    /// Where its key is, by the options or the environment.
    key: Option<KeySource>,
    /// The clients that are let in.
    clients: Clients,
    /// Who each of them is, in the same order.
    principals: Vec<AccessName>,
    /// Who may do what.
    policy: Policy,
    /// Users of the machine's that processes may run as.
    users: BTreeMap<UserName, Listed>,
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
            key: options.tls_key.clone().or_else(KeySource::from_environment),
            clients,
            principals,
            policy: access.policy,
            users: access.users,
        })
    }

    /// Whether the key stays in a token.
    pub fn is_token(&self) -> bool {
        matches!(self.key, Some(KeySource::Token(_)))
    }

    /// The key, which fits: all of them together are usable.
    pub fn key(&self, options: &Options, host: &Host) -> Result<Key, ServerError> {
        let origin = self.key.clone().ok_or(CredentialsError::NoKey)?;
        let key = match &origin {
            KeySource::Token(_) => {
                let (program, _binary) = signer::program(options, host)?;
                origin.load_by(&|| Ok(program.clone()))?
            }
            KeySource::Environment
            | KeySource::File(_)
            | KeySource::Credential(_)
            | KeySource::Keyring(_)
            | KeySource::Command(_) => origin.load()?,
        };
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

    /// Users of the machine's that processes of this server may run as.
    ///
    /// # Errors
    /// One has an id of a part of the server, or this host lets others of its processes look into it.
    pub fn users(
        &self,
        server: &config::Supervisor,
        host: &Host,
    ) -> Result<BTreeMap<UserName, User>, AccessError> {
        let reserved = Reserved::of(server);
        let listed = || self.users.iter();
        let traced = || Some(TRACED.to_owned()).filter(|_| host.traces_former_root);
        let problem = |(name, Listed { user, place }): (&UserName, &Listed)| {
            let what = reserved.refusal(name, user).or_else(traced)?;
            let place = place.clone();
            Some(Problem { place, what })
        };
        let problems: Vec<_> = listed().filter_map(problem).collect();
        if !problems.is_empty() {
            return Err(AccessError(problems));
        }
        let named = |(name, listed): (&UserName, &Listed)| (name.clone(), listed.user.clone());
        Ok(listed().map(named).collect())
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
