//! `prn server start` and `prn server check`: what runs as root before the supervisor.
//!
//! [`start`] runs as root, parses and checks everything that the server needs, and then executes
//! `prn-supervisor` in its own place (same PID, empty environment). It trusts the administrator's
//! flags and files, and nothing of the network.

mod check;
mod claim;
pub mod confinement;
mod handover;
mod host;
pub mod options;
mod plan;
mod streams;
mod warning;

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use prn_ipc_protocol::codec;
use prn_ipc_protocol::types::Id;
use prn_proto::credentials::{CredentialsError, KeySource, ends_soon, load_certificate, now};
use prn_proto::tls::{self, Certificate, Key, TlsError};

use claim::Claim;
use host::Host;
use options::OptionsError;

pub use check::{Finding, Verdict};
pub use handover::HandoverError;
pub use warning::Warning;

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The flags or the configuration file make no sense.
    #[error(transparent)]
    Options(#[from] OptionsError),
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
    Plan(#[from] plan::PlanError),
    /// The confinement could not be compiled.
    #[error("cannot make the system call filters")]
    Confinement(#[from] confinement::ConfinementError),
    /// The state folder or the cgroup could not be taken.
    #[error(transparent)]
    Claim(#[from] claim::ClaimError),
    /// Something could not be opened, made or handed over.
    #[error(transparent)]
    Handover(#[from] HandoverError),
}

/// `prn server start`: returns only if it fails. What the operator should know goes to `warn`.
///
/// # Errors
/// If anything is missing, contradicts itself or this host, or cannot be opened.
pub fn start(flags: options::Start, warn: &dyn Fn(Warning)) -> Result<Infallible, ServerError> {
    // First, before anything else is opened: what was inherited is known by its numbers.
    let inherited = handover::Inherited::adopt();
    streams::own();
    let options = options::merged(*flags.options, flags.config.as_deref())?;
    let host = Host::survey();
    if let Some(what) = check::blockers(&[check::privilege(&host)]) {
        return Err(ServerError::Host(what));
    }
    let (certificate, pins, key) = credentials(&options, warn)?;
    let findings = check::findings(&host, &(&options).into());
    if let Some(what) = check::blockers(&findings) {
        return Err(ServerError::Host(what));
    }
    if std::process::id() == 1 {
        let why = "it would be process 1, and so the parent of all orphans: run it under an init (docker run --init)";
        return Err(ServerError::Host(why.to_owned()));
    }
    let plan = plan::resolve(&options, &host)?;
    handover::check_null_device()?;
    handover::prepare_state_dir(&plan.state_dir)?;
    let binaries = handover::Binaries::open()?;
    let empty_folder = handover::empty_folder(&plan.state_dir)?;
    let notify = handover::notify_socket()?;
    let (listener, address) = inherited.listener(&plan.address)?;
    let disks = host::limited_disks(&host, &plan.state_dir);
    let state_dir = Path::new(&plan.state_dir);
    let cleaner = binaries.tools.as_fd();
    let claim = Claim::take(
        state_dir,
        &plan.cgroup,
        &host,
        plan.frontend_memory,
        cleaner,
        warn,
    )?;
    if !claim.missing.is_empty() {
        warn(Warning::MissingLimits(claim.missing));
    }
    let (origin, own_cgroup) = claim.origin.unzip();

    let confinement = confinement::resolve(host.seccomp, options.allow_profile_none)?;
    if confinement.landlock.is_none() {
        warn(Warning::NoLandlock);
    }
    let supervisor = prn_ipc_protocol::config::Supervisor {
        address,
        disks,
        open_files: handover::prepare_process()?,
        notify: notify.is_some(),
        own_cgroup,
        confinement,
        ..plan.supervisor
    };
    let frontend = prn_ipc_protocol::config::Frontend {
        epoch: Id::from_bytes(random()?),
        certificate: certificate.der().to_vec(),
        pins: pins.iter().map(|pin| pin.der().to_vec()).collect(),
        ..plan.frontend
    };
    let descriptors = handover::Descriptors {
        config: sealed("prn-config", codec::encode(&supervisor))?,
        frontend_config: sealed("prn-frontend-config", codec::encode(&frontend))?,
        key: handover::sealed_memfd("prn-key", key.pkcs8_der())?,
        listener,
        frontend_binary: binaries.frontend,
        empty_folder,
        tools: binaries.tools,
        strict: sealed("prn-strict", codec::encode(&confinement::strict()?))?,
        state: claim.state,
        cgroup: claim.cgroup,
        notify,
        origin,
    };
    drop(key);
    Err(handover::execute(binaries.supervisor, descriptors).into())
}

fn random() -> Result<[u8; 16], ServerError> {
    let mut bytes = [0; 16];
    let random = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
    random
        .map(|()| bytes)
        .map_err(|_| ServerError::Host("the kernel gives no random bytes".to_owned()))
}

fn sealed<E>(name: &'static str, encoded: Result<Vec<u8>, E>) -> Result<OwnedFd, ServerError> {
    let bytes =
        encoded.map_err(|_| ServerError::Host("its configuration cannot be encoded".to_owned()))?;
    Ok(handover::sealed_memfd(name, &bytes)?)
}

/// The server's certificate, the clients that are let in, and the key: each usable, and all of them
/// together.
fn credentials(
    options: &options::Options,
    warn: &dyn Fn(Warning),
) -> Result<(Certificate, Vec<Certificate>, Key), ServerError> {
    let path = options
        .server_cert
        .as_deref()
        .ok_or(OptionsError::Missing("server-cert"))?;
    let certificate = load_certificate(path)?;
    let refused = |source| CredentialsError::Certificate {
        path: path.to_owned(),
        source,
    };
    let now = now();
    certificate.check_validity(now).map_err(refused)?;
    warn_of_end(&certificate, path, now, warn);
    let mut pins: Vec<Certificate> = Vec::new();
    for path in &options.client_cert {
        let pin = load_certificate(path)?;
        match pin.check_validity(now) {
            Ok(()) => warn_of_end(&pin, path, now, warn),
            Err(TlsError::NotValidNow {
                from,
                until,
                now,
                outside,
            }) => warn(Warning::ClientNotValid {
                path: path.clone(),
                from,
                until,
                now,
                outside,
            }),
            Err(source) => {
                return Err(CredentialsError::Certificate {
                    path: path.clone(),
                    source,
                }
                .into());
            }
        }
        if !pins.contains(&pin) {
            pins.push(pin);
        }
    }
    if pins.is_empty() {
        return Err(OptionsError::NoClients.into());
    }
    let origin = KeySource::find(options.tls_key.clone())?;
    let key = origin.load()?;
    tls::check_key(&certificate, &key)
        .map_err(|source| CredentialsError::Key { origin, source })?;
    // As the frontend will: what it refuses must be refused now.
    tls::server_config(&certificate, &key, pins.clone())?;
    Ok((certificate, pins, key))
}

fn warn_of_end(certificate: &Certificate, path: &Path, now: Duration, warn: &dyn Fn(Warning)) {
    if let Some(ending) = ends_soon(certificate, path, now) {
        warn(Warning::EndsSoon(ending));
    }
}

/// What `prn server check` has found.
#[derive(Debug)]
pub struct Report {
    /// One thing each, in the order of printing.
    pub findings: Vec<Finding>,
    /// Nothing of it keeps the server from starting.
    pub can_start: bool,
}

/// `prn server check`.
pub fn check(flags: &options::Check) -> Report {
    let findings = check::findings(&Host::survey(), &flags.into());
    Report {
        can_start: check::blockers(&findings).is_none(),
        findings,
    }
}
