//! From the listener to authenticated connections.
//!
//! Everything before the end of a handshake is done for strangers, so it is bounded: in number, where a new handshake
//! pushes out the oldest one, and in time. A stranger can't use up the places of connections, which only pinned
//! clients get. Dead peers are found by the kernel's timers, not by ours: an idle connection wakes nobody.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use prn_ipc_protocol::config;
use prn_proto::tls::ALPN;
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::connection;
use crate::envelope::Envelope;
use crate::log;

/// How long to wait when a connection can't be accepted for want of descriptors or memory: the listener stays readable,
/// so without a pause this would spin.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Probes begin after this silence, and repeat at this interval (tcp(7)).
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15)).with_retries(4);
/// A connection whose peer has acknowledged nothing for this long is closed (TCP_USER_TIMEOUT, tcp(7)).
const USER_TIMEOUT: Duration = Duration::from_secs(120);

/// Accepts, shakes hands and serves.
pub struct Acceptor {
    listener: TcpListener,
    shared: Arc<Shared>,
}

/// What each connection's task needs.
struct Shared {
    tls: TlsAcceptor,
    calls: Envelope,
    pending: Pending,
    handshake_timeout: Duration,
    connections: Arc<Semaphore>,
    connections_max: u32,
    streams_max: u32,
    closing: watch::Sender<bool>,
    refusals: log::Limited,
}

/// Why a connection was closed before it could make a call.
#[derive(Debug, thiserror::Error)]
enum Rejected {
    #[error("the handshake took too long")]
    TooSlow,
    #[error("newer connections pushed it out")]
    PushedOut,
    #[error("the TLS handshake failed")]
    Tls(#[source] io::Error),
    #[error("the client does not speak HTTP/2 (ALPN)")]
    NotHttp2,
    #[error("the server has as many connections as it allows: {0}")]
    TooMany(u32),
    #[error("a socket option cannot be set")]
    Socket(#[source] io::Error),
}

impl Acceptor {
    /// On a listening TCP socket. Must be called in the runtime.
    ///
    /// # Errors
    /// The descriptor is not such a socket.
    pub fn new(listener: OwnedFd, tls: ServerConfig, config: &config::Frontend, calls: Envelope) -> io::Result<Self> {
        let listener = std::net::TcpListener::from(listener);
        listener.set_nonblocking(true)?;
        let connections_max = config.connections_max.max(1);
        Ok(Self {
            listener: TcpListener::from_std(listener)?,
            shared: Arc::new(Shared {
                tls: TlsAcceptor::from(Arc::new(tls)),
                calls,
                pending: Pending::new(config.handshakes_max),
                handshake_timeout: config.handshake_timeout.duration(),
                connections: Arc::new(Semaphore::new(usize::try_from(connections_max).unwrap_or(usize::MAX))),
                connections_max,
                streams_max: config.streams_max,
                closing: watch::Sender::new(false),
                refusals: log::Limited::new(),
            }),
        })
    }

    /// Accepts for ever.
    pub async fn run(&self) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let (place, pushed_out) = self.shared.pending.enter();
                    tokio::spawn(Arc::clone(&self.shared).connection(stream, peer, place, pushed_out));
                }
                Err(error) if gone_already(&error) => {}
                Err(error) => {
                    self.shared.refusals.line(format_args!("no connection can be accepted for now: {error}"));
                    // Its descriptor may be the one that is missing.
                    self.shared.pending.push_out_oldest();
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }

    /// Tells all clients that this server goes, and gives what is under way up to `within` to end.
    pub async fn close(&self, within: Duration) {
        self.shared.closing.send_replace(true);
        let all = self.shared.connections.acquire_many(self.shared.connections_max);
        // Either way this process ends now.
        drop(tokio::time::timeout(within, all).await);
    }
}

/// Whether an error of accept(2) is about one connection, not about this process.
fn gone_already(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    errno.is_some_and(|errno| [Errno::ECONNABORTED, Errno::EINTR, Errno::EPERM, Errno::EPROTO].contains(&errno))
}

impl Shared {
    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        place: u64,
        pushed_out: oneshot::Receiver<()>,
    ) {
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(self.handshake_timeout, self.handshake(stream)) => {
                shaken.unwrap_or(Err(Rejected::TooSlow))
            }
            _ = pushed_out => Err(Rejected::PushedOut),
        };
        self.pending.leave(place);
        let served = match shaken {
            Ok(stream) => self.serve(stream).await,
            Err(rejected) => Err(rejected),
        };
        if let Err(rejected) = served {
            self.refusals.line(format_args!("connection from {peer} refused: {}", log::chain(&rejected)));
        }
    }

    async fn handshake(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Rejected> {
        stream.set_nodelay(true).map_err(Rejected::Socket)?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_keepalive(&KEEPALIVE).map_err(Rejected::Socket)?;
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT)).map_err(Rejected::Socket)?;
        let stream = self.tls.accept(stream).await.map_err(Rejected::Tls)?;
        // rustls refuses a client that offers other protocols, but takes one that offers none.
        if stream.get_ref().1.alpn_protocol() == Some(ALPN) { Ok(stream) } else { Err(Rejected::NotHttp2) }
    }

    async fn serve(&self, stream: TlsStream<TcpStream>) -> Result<(), Rejected> {
        let permit = Arc::clone(&self.connections).try_acquire_owned();
        let _permit = permit.map_err(|_| Rejected::TooMany(self.connections_max))?;
        // How an authenticated connection ends is its client's affair: most often by being closed.
        drop(connection::serve(stream, self.calls.clone(), self.streams_max, self.closing.subscribe()).await);
        Ok(())
    }
}

/// The handshakes under way, oldest first. Dropping an entry's sender ends its handshake.
struct Pending {
    max: usize,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    next: u64,
    by_age: BTreeMap<u64, oneshot::Sender<()>>,
}

impl Pending {
    fn new(max: u32) -> Self {
        Self { max: usize::try_from(max.max(1)).unwrap_or(usize::MAX), entries: Mutex::default() }
    }

    /// A place for a new handshake, the oldest one's if all are taken. The receiver tells when it is taken away.
    fn enter(&self) -> (u64, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.by_age.len() >= self.max {
            entries.by_age.pop_first();
        }
        let place = entries.next;
        entries.next += 1;
        entries.by_age.insert(place, sender);
        (place, receiver)
    }

    fn leave(&self, place: u64) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).by_age.remove(&place);
    }

    fn push_out_oldest(&self) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).by_age.pop_first();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r1_when_all_places_are_taken_the_oldest_handshake_is_pushed_out() {
        let pending = Pending::new(2);
        let (first, mut out_first) = pending.enter();
        let (second, mut out_second) = pending.enter();
        pending.leave(first);
        let (_, mut out_third) = pending.enter();
        assert!(matches!(out_second.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
        let (_, mut out_fourth) = pending.enter();
        assert!(matches!(out_first.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        assert!(matches!(out_second.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        assert!(matches!(out_third.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
        assert!(matches!(out_fourth.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
        pending.leave(second);
    }
}
