//! From the listener to authenticated connections.
//!
//! Everything before the end of a handshake is done for strangers, so it is bounded: in number,
//! where a new handshake pushes out another one, and in time. A stranger can't use up the room
//! of connections, which only known clients get, each so many. Dead peers are found by the
//! kernel's timers, not by ours: an idle connection wakes nobody.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use prn_api_frontend::log;
use prn_ipc_protocol::config;
use prn_ipc_protocol::types::Millis;
use prn_proto::credentials::now;
use prn_proto::tls::{ALPN, Fingerprint, Known, Refusal};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::clients::Clients;
use crate::connection::{self, Life};
use crate::envelope::Envelope;
use crate::errors;
use crate::handshakes::Handshakes;
use crate::pending::Pending;
use crate::quota::ClientNumber;
use crate::quota::{Full, Limit, Quota, Which};
use crate::signing::Signing;

/// How long to wait when a connection can't be accepted for want of descriptors or memory: the
/// listener stays readable, so without a pause this would spin.
const BACK_OFF: Duration = Duration::from_millis(50);

/// How long to wait for the descriptor of a handshake that was pushed out: its task has to run.
/// Those who wait behind a hundred strangers wait a hundred times as long.
const LEAVING: Duration = Duration::from_millis(1);

/// Unanswered probes that end a silent connection. The first comes after half of the time that a
/// peer has, and they share the other half.
const PROBES: u32 = 4;

/// Most clients over a limit that are told so at one time, and for how long at most. Others are
/// closed without a word: a refusal costs a handshake and a connection, which are what there is too
/// much of.
const REFUSALS_MAX: u32 = 16;
const REFUSAL_TIME: Duration = Duration::from_secs(5);

/// What a handshake under way gets to end when this server goes: its client would have to begin
/// anew.
const LAST_HANDSHAKES: Duration = Duration::from_millis(250);

tokio::task_local! {
    /// The certificate that the client of this handshake has shown, and why it is refused.
    static SHOWN: Cell<Option<(Fingerprint, Option<Refusal>)>>;
}

/// Notes the certificate that a client shows, and why it is refused if it is, for the log.
pub fn judged(certificate: Fingerprint, refusal: Option<Refusal>) {
    // Outside of a handshake there is nobody to tell.
    let _nobody = SHOWN.try_with(|shown| shown.set(Some((certificate, refusal))));
}

/// What lets a client in.
#[derive(Debug)]
pub struct Door {
    /// The handshake, which asks who it is.
    pub tls: ServerConfig,
    /// Who that is.
    pub known: Arc<Known>,
    /// Where it is made.
    pub handshakes: Handshakes,
    /// What signs it, if that is another process.
    pub signing: Option<Arc<Signing>>,
}

/// Accepts, shakes hands and serves.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    shared: Arc<Shared>,
}

/// What each connection's task needs.
#[derive(Debug)]
struct Shared {
    tls: Arc<ServerConfig>,
    known: Arc<Known>,
    handshakes: Handshakes,
    signing: Option<Arc<Signing>>,
    clients: Arc<Clients>,
    calls: Envelope,
    pending: Pending<TcpStream>,
    handshakes_max: u32,
    handshake_timeout: Duration,
    peer_timeout: Duration,
    connections: Arc<Quota<ClientNumber>>,
    life: Life,
    telling: Arc<Quota<()>>,
    closing: watch::Sender<bool>,
    log: Log,
}

/// Lines about those who were not let in. Each kind has a limit of its own: strangers who say
/// nothing must not hide those who try certificates, and neither of them a client.
#[derive(Debug, Default)]
struct Log {
    listener: log::Limited,
    silent: log::Limited,
    strangers: log::Limited,
    clients: log::Limited,
}

/// Why a connection was closed before it could make a call. Limits are named by their flags.
#[derive(Debug, thiserror::Error)]
enum Rejected {
    #[error("the handshake took longer than {0:?} (--handshake-timeout)")]
    TooSlow(Duration),
    #[error(
        "pushed out: {0} newer handshakes, or most of them from its network, were under way (--handshakes)"
    )]
    PushedOut(u32),
    #[error("the TLS handshake failed")]
    Tls(#[source] io::Error),
    #[error("the client's certificate {0} {1}")]
    NotKnown(Fingerprint, Refusal),
    #[error("the TLS handshake with the client of certificate {0} failed")]
    Certificate(Fingerprint, #[source] io::Error),
    #[error("the client {0} does not speak HTTP/2 (ALPN)")]
    NotHttp2(Fingerprint),
    #[error("the client {0} {1}")]
    TooMany(Fingerprint, Excess),
    #[error("a socket option cannot be set")]
    Socket(#[source] io::Error),
}

impl Rejected {
    /// What it is counted as.
    fn reason(&self) -> &'static str {
        match self {
            Self::TooSlow(_) => "too_slow",
            Self::PushedOut(_) => "pushed_out",
            Self::Tls(_) => "tls",
            Self::NotKnown(..) => "not_known",
            Self::Certificate(..) => "certificate",
            Self::NotHttp2(_) => "not_http2",
            Self::TooMany(..) => "too_many",
            Self::Socket(_) => "socket",
        }
    }
}

/// Which limit of connections a client would exceed.
#[derive(Debug, Clone, Copy)]
struct Excess(Full);

impl std::fmt::Display for Excess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Full { which, max, kept } = self.0;
        match (which, kept) {
            (Which::Each, _) => write!(
                f,
                "has {max} connections, which is the limit (--connections-per-client)"
            ),
            (Which::All, 0) => write!(
                f,
                "came while {max} connections were open, which is the limit (--connections)"
            ),
            (Which::All, kept) => write!(
                f,
                "came while {max} connections were open, {kept} of them kept for other clients, which is the limit (--connections)"
            ),
        }
    }
}

impl Acceptor {
    /// On a listening TCP socket, which is non-blocking. Must be called in the runtime.
    ///
    /// # Errors
    /// The descriptor is not such a socket.
    pub fn new(
        listener: OwnedFd,
        door: Door,
        config: &config::Frontend,
        clients: Arc<Clients>,
        calls: Envelope,
    ) -> io::Result<Self> {
        let shared_by = clients.count();
        let telling = Limit::shared(REFUSALS_MAX, shared_by);
        Ok(Self {
            listener: TcpListener::from_std(listener.into())?,
            shared: Arc::new(Shared {
                tls: Arc::new(door.tls),
                known: door.known,
                handshakes: door.handshakes,
                signing: door.signing,
                clients,
                calls,
                pending: Pending::new(config.handshakes_max),
                handshakes_max: config.handshakes_max,
                handshake_timeout: config.handshake_timeout.duration(),
                peer_timeout: config.peer_timeout.duration(),
                connections: Quota::new(
                    Limit::shared(config.connections_max, shared_by),
                    Limit::own(config.connections_per_client),
                ),
                life: Life {
                    streams_max: config.streams_max,
                    age_max: config.connection_age.map(Millis::duration),
                },
                telling: Quota::new(telling, telling),
                closing: watch::Sender::new(false),
                log: Log::default(),
            }),
        })
    }

    /// Accepts for ever.
    pub async fn run(&self) {
        let mut starved = false;
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    starved = starved && is_waited_for(&self.listener);
                    let stream = Arc::new(stream);
                    let (number, pushed_out) =
                        self.shared.pending.enter(peer.ip(), Arc::clone(&stream));
                    tokio::spawn(
                        Arc::clone(&self.shared).connection(stream, peer, number, pushed_out),
                    );
                    // Those who are waited for first get to read what has come: each
                    // accept now pushes out one of them.
                    if self.shared.pending.is_full() {
                        tokio::task::yield_now().await;
                    }
                }
                Err(error) if gone_already(&error) => {}
                Err(error) => {
                    self.shared.log.listener.warning(
                        format_args!("no connection can be accepted for now: {error}"),
                        &[],
                    );
                    // accept(2) wants a descriptor also when nobody waits. Who waits is let in for
                    // a handshake that is under way, but not at the first time: what took the last
                    // descriptor may be a client's.
                    let waits = is_waited_for(&self.listener);
                    if starved && waits && self.shared.pending.push_out() {
                        tokio::time::sleep(LEAVING).await;
                        continue;
                    }
                    starved = waits;
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }

    /// Tells all clients that this server goes, and gives what is under way up to `within` to end.
    pub async fn close(&self, within: Duration) {
        self.shared.closing.send_replace(true);
        // Each connection that is served holds a receiver. Either way this process ends now.
        drop(tokio::time::timeout(within, self.shared.closing.closed()).await);
    }
}

/// Whether a connection waits to be accepted.
fn is_waited_for(listener: &TcpListener) -> bool {
    let mut listener = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    poll(&mut listener, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Whether an error of accept(2) is about one connection, not about this process.
fn gone_already(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    errno.is_some_and(|errno| {
        [
            Errno::ECONNABORTED,
            Errno::EINTR,
            Errno::EPERM,
            Errno::EPROTO,
        ]
        .contains(&errno)
    })
}

/// Of the client: the handshake has shown that there is one, and it is a known one.
fn certificate(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    let certificates = stream.get_ref().1.peer_certificates();
    let client = certificates.and_then(<[_]>::first);
    client.map_or_else(|| CertificateDer::from(Vec::new()), Clone::clone)
}

impl Log {
    fn of(&self, rejected: &Rejected) -> &log::Limited {
        match rejected {
            Rejected::TooSlow(_)
            | Rejected::PushedOut(_)
            | Rejected::Tls(_)
            | Rejected::Socket(_) => &self.silent,
            Rejected::NotKnown(..) | Rejected::Certificate(..) => &self.strangers,
            Rejected::TooMany(..) | Rejected::NotHttp2(_) => &self.clients,
        }
    }
}

impl Shared {
    async fn connection(
        self: Arc<Self>,
        stream: Arc<TcpStream>,
        peer: SocketAddr,
        number: u64,
        pushed_out: oneshot::Receiver<()>,
    ) {
        let mut closing = self.closing.subscribe();
        let closed = async {
            // The sender lives as long as this.
            drop(closing.wait_for(|closing| *closing).await);
            tokio::time::sleep(LAST_HANDSHAKES).await;
        };
        let shaken = tokio::select! {
            () = closed => return self.pending.leave(number),
            shaken = tokio::time::timeout(self.handshake_timeout, self.handshake(stream, number)) => {
                shaken.unwrap_or(Err(Rejected::TooSlow(self.handshake_timeout)))
            }
            _ = pushed_out => Err(Rejected::PushedOut(self.handshakes_max)),
        };
        self.pending.leave(number);
        let served = match shaken {
            Ok(stream) => self.serve(stream).await,
            Err(rejected) => Err(rejected),
        };
        if let Err(rejected) = served {
            self.calls.metrics().reject(rejected.reason());
            self.log.of(&rejected).warning(
                format_args!("connection refused: {}", log::chain(&rejected)),
                &[("peer", &peer.to_string())],
            );
        }
    }

    async fn handshake(
        &self,
        stream: Arc<TcpStream>,
        number: u64,
    ) -> Result<TlsStream<TcpStream>, Rejected> {
        stream.set_nodelay(true).map_err(Rejected::Socket)?;
        let socket = SockRef::from(&*stream);
        // A peer that owes nothing is asked for a sign of life; one that owes acknowledgements is
        // not (tcp(7)).
        let keepalive = TcpKeepalive::new()
            .with_time(self.peer_timeout / 2)
            .with_interval(self.peer_timeout / 2 / PROBES)
            .with_retries(PROBES);
        socket
            .set_tcp_keepalive(&keepalive)
            .map_err(Rejected::Socket)?;
        socket
            .set_tcp_user_timeout(Some(self.peer_timeout))
            .map_err(Rejected::Socket)?;
        stream.peek(&mut [0]).await.map_err(Rejected::Tls)?;
        self.pending.spoke(number);
        // Only the handshakes under way have had it too, and they just gave it back.
        let stream = Arc::into_inner(stream).ok_or(Rejected::PushedOut(self.handshakes_max))?;
        let tls = TlsAcceptor::from(Arc::clone(&self.tls));
        let handshake = async move {
            tls.accept(stream)
                .await
                .map_err(|error| match SHOWN.with(Cell::take) {
                    None => Rejected::Tls(error),
                    Some((client, Some(refusal))) => Rejected::NotKnown(client, refusal),
                    Some((client, None)) => Rejected::Certificate(client, error),
                })
        };
        let handshake = SHOWN.scope(Cell::new(None), handshake);
        let made = self.handshakes.make(handshake).await;
        if let Some(signing) = &self.signing {
            signing.tell();
        }
        let stream = made?;
        // rustls refuses a client that offers other protocols, but takes one that offers none.
        if stream.get_ref().1.alpn_protocol() == Some(ALPN) {
            Ok(stream)
        } else {
            Err(Rejected::NotHttp2(Fingerprint::of(&certificate(&stream))))
        }
    }

    async fn serve(&self, stream: TlsStream<TcpStream>) -> Result<(), Rejected> {
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let certificate = certificate(&stream);
        let fingerprint = Fingerprint::of(&certificate);
        let unknown = |refusal| Rejected::NotKnown(fingerprint, refusal);
        // By the function that the handshake has asked as well.
        let others = shown.get(1..).unwrap_or_default();
        let recognised = self.known.recognise(&certificate, others, now());
        let recognised = recognised.map_err(unknown)?;
        let Some(certified) = self.clients.at(recognised) else {
            return Err(unknown(Refusal::Unknown));
        };
        let number = certified.client.number;
        let _slot = match self.connections.enter(number, number) {
            Ok(slot) => slot,
            Err(full) => {
                self.refuse(stream, number, full).await;
                return Err(Rejected::TooMany(fingerprint, Excess(full)));
            }
        };
        let metrics = self.calls.metrics();
        metrics.connections.add(1);
        let _open = metrics.connections_open.enter();
        // How an authenticated connection ends is its client's affair: most often by being closed.
        drop(
            connection::serve(
                stream,
                certified,
                self.calls.clone(),
                self.life,
                self.closing.subscribe(),
            )
            .await,
        );
        Ok(())
    }

    /// Answers a client's first call with the limit that it has met.
    async fn refuse(&self, stream: TlsStream<TcpStream>, client: ClientNumber, full: Full) {
        let Ok(_slot) = self.telling.enter((), client) else {
            return;
        };
        let status = errors::too_many_connections(full);
        drop(
            tokio::time::timeout(
                REFUSAL_TIME,
                connection::refuse(stream, &self.calls, &status),
            )
            .await,
        );
    }
}
