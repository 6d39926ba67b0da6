//! TCP, TLS and HTTP/2 below the calls.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use prn_proto::tls::{ALPN, WrongServer};
use rustls::pki_types::{CertificateDer, IpAddr, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, BufWriter, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::error::ClientError;

/// Frames and windows asked for: a server's chunk of output fills one frame, and 1 MiB of it is on
/// the way at most.
const FRAME: u32 = 64 * 1024;
const WINDOW: u32 = 1024 * 1024;

/// All streams together. More than one stream's: output that nobody reads must not hold up the
/// answer to a Stop.
const CONNECTION_WINDOW: u32 = 16 * WINDOW;

/// rustls reads 4 KiB at a time: this makes one system call for eight TLS records instead of four
/// for one. It is so much that the allocator maps it (mallopt(3), M_MMAP_THRESHOLD): all of it is
/// zeroed first, what is mapped is zero, and so a short answer touches one page of it and not all.
const READ_AHEAD: usize = 128 * 1024;

/// What is written goes out when it is flushed: HTTP/2's first frames together.
type Tcp = BufReader<BufWriter<TcpStream>>;

/// A server that is gone without a word is noticed within a minute, without polling it (tcp(7)).
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(30))
    .with_interval(Duration::from_secs(10))
    .with_retries(3);
const USER_TIMEOUT: Duration = Duration::from_secs(60);

/// Connects and gets HTTP/2 going. What goes wrong later is noted in `health`. With the
/// certificate that the server has shown.
pub(crate) async fn connect(
    address: &str,
    config: ClientConfig,
    health: &Arc<Health>,
) -> Result<(Channel, Option<CertificateDer<'static>>), ClientError> {
    let stream = handshake(address, config).await?;
    let shown = stream.get_ref().1.peer_certificates();
    let server = shown.and_then(|shown| Some(shown.first()?.clone().into_owned()));
    let stream = Watched::new(stream, Arc::clone(health));
    // The channel asks its connector again when the connection is lost. There is one stream, and so
    // one connection.
    let stream = Arc::new(Mutex::new(Some(stream)));
    let connector = tower::service_fn(move |_| {
        let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        std::future::ready(
            stream
                .map(TokioIo::new)
                .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)),
        )
    });
    let name = tonic::codegen::http::Uri::from_static("https://prn");
    Endpoint::from_static("http://prn")
        .origin(name)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .connect_with_connector(connector)
        .await
        .map(|channel| (channel, server))
        .map_err(|error| health.explain(Status::from_error(error.into())))
}

async fn handshake(address: &str, config: ClientConfig) -> Result<TlsStream<Tcp>, ClientError> {
    let refused = |source| ClientError::Connect {
        address: address.to_owned(),
        source,
    };
    let tcp = TcpStream::connect(address).await.map_err(refused)?;
    tcp.set_nodelay(true).map_err(refused)?;
    let socket = SockRef::from(&tcp);
    socket.set_tcp_keepalive(&KEEPALIVE).map_err(refused)?;
    socket
        .set_tcp_user_timeout(Some(USER_TIMEOUT))
        .map_err(refused)?;

    // Not sent, not checked: the pin is the name.
    let name = ServerName::IpAddress(IpAddr::from(std::net::Ipv4Addr::LOCALHOST));
    let tcp = BufReader::with_capacity(READ_AHEAD, BufWriter::new(tcp));
    let tls = match TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .into_fallible()
        .await
    {
        Ok(tls) => tls,
        Err((source, mut tcp)) => {
            // The alert that tells the server why.
            let _unsent = tokio::io::AsyncWriteExt::flush(&mut tcp).await;
            return Err(handshake_error(address, source));
        }
    };
    if tls.get_ref().1.alpn_protocol() != Some(ALPN) {
        let source = io::Error::other("the server does not speak HTTP/2: is it prn?");
        return Err(ClientError::Handshake {
            address: address.to_owned(),
            source,
        });
    }
    Ok(tls)
}

fn handshake_error(address: &str, error: io::Error) -> ClientError {
    let address = address.to_owned();
    match tls_error(&error) {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(other))) => {
            match other.0.downcast_ref() {
                Some(wrong) => ClientError::WrongServer {
                    address,
                    source: WrongServer::clone(wrong),
                },
                None => ClientError::Handshake {
                    address,
                    source: error,
                },
            }
        }
        Some(alert) if is_rejection(alert) => ClientError::NotAuthorised(alert.clone()),
        Some(_) | None => ClientError::Handshake {
            address,
            source: error,
        },
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Whether a server says with this that it does not accept the client's certificate (RFC 8446,
/// section 6.2).
fn is_rejection(error: &rustls::Error) -> bool {
    const REJECTIONS: [AlertDescription; 9] = [
        AlertDescription::AccessDenied,
        AlertDescription::BadCertificate,
        AlertDescription::CertificateExpired,
        AlertDescription::CertificateRequired,
        AlertDescription::CertificateRevoked,
        AlertDescription::CertificateUnknown,
        AlertDescription::DecryptError,
        AlertDescription::UnknownCA,
        AlertDescription::UnsupportedCertificate,
    ];
    matches!(error, rustls::Error::AlertReceived(alert) if REJECTIONS.contains(alert))
}

/// What is known of a connection beyond what HTTP/2 tells: its library turns errors of the stream
/// below into text.
#[derive(Debug, Default)]
pub(crate) struct Health {
    alert: OnceLock<rustls::Error>,
}

impl Health {
    /// The error that a status stands for.
    pub(crate) fn explain(&self, status: Status) -> ClientError {
        match (ClientError::from_status(status), self.alert.get()) {
            (ClientError::Lost(_), Some(alert)) if is_rejection(alert) => {
                ClientError::NotAuthorised(alert.clone())
            }
            (error, _) => error,
        }
    }

    fn note(&self, error: &io::Error) {
        if let Some(alert) = tls_error(error) {
            // The first one tells why; later ones only that it is over.
            let _second = self.alert.set(alert.clone());
        }
    }
}

/// A TLS stream that keeps the alert it ends with.
struct Watched {
    stream: TlsStream<Tcp>,
    health: Arc<Health>,
    /// Why nothing can be written any more.
    broken: Option<io::Error>,
}

impl Watched {
    fn new(stream: TlsStream<Tcp>, health: Arc<Health>) -> Self {
        Self {
            stream,
            health,
            broken: None,
        }
    }

    /// Writes. An error is held back until the other direction has been read to its end.
    ///
    /// A server that refuses this client sends an alert and closes. A write that hits the closed
    /// connection comes back first, and HTTP/2 would read no more: but the alert is there, and says
    /// what the write's error does not.
    fn write<T>(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TlsStream<Tcp>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.broken.is_none() {
            match write(Pin::new(&mut self.stream), context) {
                Poll::Ready(Err(error)) => self.broken = Some(error),
                done @ (Poll::Ready(Ok(_)) | Poll::Pending) => return done,
            }
        }
        let mut scratch = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(Ok(())) => break,
                Poll::Ready(Err(error)) => {
                    self.health.note(&error);
                    break;
                }
            }
        }
        Poll::Ready(Err(self
            .broken
            .take()
            .unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())))
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Poll::Ready(Err(error)) = &result {
            self.health.note(error);
        }
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |stream, context| {
            stream.poll_write_vectored(context, slices)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(context, |stream, context| stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
