//! `prn-frontend`: prn's unprivileged, network-facing half.
//!
//! Started by the supervisor as its own user, with the descriptors of [`fds::frontend`], standard
//! error for the log and an empty environment. It opens no file and makes no socket: all it has was
//! handed to it. It trusts the supervisor; of clients it trusts only that their certificate is
//! pinned. Panics end one call, never the process.
//!
//! [`run`] is the order of the start. What follows it is what each step does.
#![forbid(unsafe_code)]

mod acceptor;
mod access;
mod answers;
mod calls;
mod changes;
mod clients;
mod connection;
mod convert;
mod denials;
mod envelope;
mod errors;
mod failure;
mod handshakes;
mod held;
mod input;
mod lease;
mod link;
mod metrics;
mod mirror;
mod outgoing;
mod owners;
mod pending;
mod permits;
mod quota;
mod scope;
mod selector;
mod service;
mod services;
mod signing;
mod stops;
mod subscribe;
mod supervisor;
mod tally;
mod watching;
mod workspaces;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use prn_api_frontend::{confine, log, sandbox};
use prn_ipc_protocol::control::LEAVE_TIME;
use prn_ipc_protocol::{config, fds};
use prn_proto::signer::{Remote, Role};
use prn_proto::tls::{
    self, AuthorityCertificate, Certificate, Key, KeyKinds, Known, Own, Peer, RevocationList,
    TlsError,
};
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use self::supervisor::Supervisor;
use acceptor::{Acceptor, Door};
use calls::server::{Machine, Server};
use clients::Clients;
use denials::Denials;
use envelope::Envelope;
use handshakes::Handshakes;
use link::{Link, LinkError};
use metrics::Metrics;
use services::Services;
use signing::Signing;

/// What streams get to send their last frames when the supervisor has closed the channel.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// Why the frontend ended.
#[derive(Debug, thiserror::Error)]
enum Fatal {
    #[error("descriptor {0} was not handed over")]
    Descriptor(&'static str, #[source] nix::Error),
    #[error("the process cannot be confined")]
    Confine(#[from] nix::Error),
    #[error("the sandbox cannot be closed")]
    Sandbox(#[from] confine::SandboxError),
    #[error("the configuration cannot be read")]
    Config(#[source] io::Error),
    #[error("the TLS key cannot be read")]
    Key(#[source] io::Error),
    #[error("certificates and key cannot be used")]
    Tls(#[from] TlsError),
    #[error("the runtime cannot be started")]
    Runtime(#[source] io::Error),
    #[error("the listener cannot be used")]
    Listener(#[source] io::Error),
    #[error("the channel to the supervisor ended")]
    Link(#[from] LinkError),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            log::error(log::chain(&fatal), &[]);
            ExitCode::FAILURE
        }
    }
}

/// Memory that is given back to the allocator and wanted again at once must not go to the kernel
/// and come back page by page, as what a burst of records takes would.
///
/// glibc keeps up to twice the size of the largest block that it has mapped and unmapped
/// (mallopt(3), "Dynamic mmap threshold"). Elsewhere this does nothing.
fn keep_freed_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(1024 * 1024)));
}

fn run() -> Result<(), Fatal> {
    keep_freed_memory();
    sandbox::begin()?;
    let inherited = Inherited::adopt()?;
    let config: config::Frontend = config::read(inherited.config.as_fd()).map_err(Fatal::Config)?;
    let known = Arc::new(known(&config)?);
    let (tls, signing) = server_config(&config, &known, inherited.key)?;
    // While it may ask: what it serves with has no such call.
    let machine = Machine::here()?;
    sandbox::leave(&inherited.empty_folder, config.has_namespaces)?;
    let runtime = runtime(&config)?;
    input::threads::start(&runtime).map_err(Fatal::Runtime)?;
    let handshakes = Handshakes::start(signing.is_some(), config.handshakes_max);
    let handshakes = handshakes.map_err(Fatal::Runtime)?;
    non_blocking(&inherited.listener)?;
    sandbox::close()?;
    // As a task, beside those that it works with: on this thread it would have to be woken by
    // theirs, and they by it.
    let serving = runtime.spawn(serve(
        config,
        machine,
        Door {
            tls,
            known,
            handshakes,
            signing,
        },
        inherited.channel,
        inherited.listener,
    ));
    let ended = runtime.block_on(serving);
    runtime.shutdown_background();
    ended.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}

/// The descriptors that the supervisor left open, in the order of their numbers.
#[derive(Debug)]
struct Inherited {
    channel: OwnedFd,
    config: OwnedFd,
    key: OwnedFd,
    listener: OwnedFd,
    empty_folder: OwnedFd,
}

impl Inherited {
    fn adopt() -> Result<Self, Fatal> {
        let adopt =
            |name, number| fds::inherited(number).map_err(|error| Fatal::Descriptor(name, error));
        Ok(Self {
            channel: adopt("CHANNEL", fds::frontend::CHANNEL)?,
            config: adopt("CONFIG", fds::frontend::CONFIG)?,
            key: adopt("TLS_KEY", fds::frontend::TLS_KEY)?,
            listener: adopt("LISTENER", fds::frontend::LISTENER)?,
            empty_folder: adopt("EMPTY_FOLDER", fds::frontend::EMPTY_FOLDER)?,
        })
    }
}

/// Reads the key, whose descriptor is closed at the end, and wipes all copies but the one that
/// rustls signs with. Or keeps the socket to what signs, which is returned then.
fn server_config(
    config: &config::Frontend,
    known: &Arc<Known>,
    key: OwnedFd,
) -> Result<(ServerConfig, Option<Arc<Signing>>), Fatal> {
    let key = match SockRef::from(&key).r#type() {
        Ok(_) => Key::of_signer(Remote::new(key, Role::Server)),
        Err(_) => Key::from_pkcs8_der(Zeroizing::new(
            config::read_bytes(key.as_fd()).map_err(Fatal::Key)?,
        )),
    };
    let own = Own {
        certificate: Certificate::from_der(config.certificate.clone())?,
        issuers: each(&config.issuers, AuthorityCertificate::from_der)?,
    };
    let config = tls::watched_server_config(&own, &key, known, acceptor::judged)?;
    let signing = key.remote().cloned().map(Signing::new);
    Ok((config, signing.map(Arc::new)))
}

/// Who is let in, by what: in the order of the configuration.
fn known(config: &config::Frontend) -> Result<Known, TlsError> {
    let peer = |pin: &config::Pin| {
        Ok::<_, TlsError>(Peer {
            certificates: each(&pin.certificates, Certificate::from_der)?,
            keys: pin
                .keys
                .iter()
                .map(|key| key.parse())
                .collect::<Result<_, _>>()?,
            names: pin
                .names
                .iter()
                .map(|name| name.parse())
                .collect::<Result<_, _>>()?,
        })
    };
    Known::new(tls::Clients {
        peers: config.pins.iter().map(peer).collect::<Result<_, _>>()?,
        authorities: each(&config.authorities, AuthorityCertificate::from_der)?,
        revocations: each(&config.revocations, RevocationList::from_der)?,
        kinds: if config.allows_p256 {
            KeyKinds::Both
        } else {
            KeyKinds::Ed25519
        },
    })
}

fn each<T>(
    ders: &[Vec<u8>],
    from_der: fn(Vec<u8>) -> Result<T, TlsError>,
) -> Result<Vec<T>, TlsError> {
    ders.iter().cloned().map(from_der).collect()
}

/// Lets nobody wait in accept(2). Set while it can be: no frontend changes the listener once it
/// serves, and none relies on what an earlier one left.
fn non_blocking(listener: &OwnedFd) -> Result<(), Fatal> {
    SockRef::from(listener)
        .set_nonblocking(true)
        .map_err(Fatal::Listener)
}

/// All threads that there will be, with those for what blocks, which [`input::threads::start`] makes.
fn runtime(config: &config::Frontend) -> Result<Runtime, Fatal> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(usize::try_from(config.threads.max(1)).unwrap_or(1))
        .max_blocking_threads(input::threads::COUNT)
        .thread_keep_alive(input::threads::KEEP_ALIVE)
        .thread_name("prn-frontend")
        .enable_io()
        .enable_time()
        .build()
        .map_err(Fatal::Runtime)
}

/// Serves until the supervisor closes the channel, which after Draining is the regular end.
async fn serve(
    config: config::Frontend,
    machine: Machine,
    door: Door,
    channel: OwnedFd,
    listener: OwnedFd,
) -> Result<(), Fatal> {
    let denials = Denials::default();
    let policy = Arc::new(config.policy.clone());
    let clients = Arc::new(Clients::new(&config.pins, &policy, &denials));
    let (link, supervisor, mirror) = Link::hello(channel).await?;
    let epoch = config.epoch.to_string();
    let own = supervisor.clone();
    let metrics = Arc::new(Metrics::default());
    let server = Server::new(
        &config,
        machine,
        &clients,
        Arc::clone(&mirror),
        supervisor,
        &metrics,
        door.signing.clone(),
    );
    let services = Services::new(&Arc::new(server), config.reflects);
    let calls = Envelope::new(services, own.clone(), &epoch, metrics);
    let acceptor =
        Acceptor::new(listener, door, &config, clients, calls).map_err(Fatal::Listener)?;
    let (processes, clients_known) = (mirror.count(), config.pins.len());
    log::info(
        format_args!(
            "serving: boot epoch {epoch}, processes known: {processes}, clients known: {clients_known}"
        ),
        &[],
    );
    let mut running = pin!(link.run());
    let ended = tokio::select! {
        ended = &mut running => Some(ended),
        () = acceptor.run() => return Ok(()),
        never = denials.tell_all(|request| own.tell(request)) => match never {},
        () = own.is_replaced() => None,
    };
    let ended = match ended {
        Some(ended) => {
            acceptor.close(FLUSH_TIME).await;
            ended
        }
        None => leave(running, &acceptor, &own, &denials).await,
    };
    if matches!(ended, LinkError::Closed) && (mirror.draining() || own.has_been_replaced()) {
        Ok(())
    } else {
        Err(ended.into())
    }
}

/// Accepts nobody any more, lets calls end, gives back all input, and says so. The supervisor then
/// closes the channel. It is served meanwhile: calls may wait for answers.
async fn leave(
    running: Pin<&mut impl Future<Output = LinkError>>,
    acceptor: &Acceptor,
    supervisor: &Supervisor,
    denials: &Denials,
) -> LinkError {
    let leaving = async {
        acceptor.close(LEAVE_TIME).await;
        denials.tell(|request| supervisor.tell(request));
        supervisor.leave().await;
        std::future::pending::<LinkError>().await
    };
    tokio::select! {
        ended = running => ended,
        never = leaving => never,
    }
}
