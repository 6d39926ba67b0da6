//! A connection's TLS stream, which sends what a turn has written with one system call.
//!
//! HTTP/2's library flushes after each frame. Sent like that, each frame of output costs a system
//! call, and a client that has caught up is woken for each. Here records wait, encrypted, until the
//! turn's end ([`Outgoing::flush`]), or until there are many of them.

use std::io::{self, BufRead, IoSlice, Write};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use futures_util::future::poll_fn;
use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::coop;
use tokio_rustls::server::TlsStream;

/// Most bytes that are received with one system call. By itself, TLS asks for 4 KiB at a time. A
/// message of input is 64 KiB, its frame and what TLS adds to it.
const AHEAD: usize = 80 * 1024;

/// So many bytes, and those of one frame, wait at most to be sent together.
const BURST: usize = 512 * 1024;

/// The same while much waits for clients that do not read.
const BURST_SCARCE: usize = 16 * 1024;

/// How much that is, of all connections.
const SCARCE: usize = 8 * 1024 * 1024;

/// Who waits for what was read is told each time that it is so much more.
const TOLD_EACH: u64 = 1024 * 1024;

/// Bytes of all connections that their sockets did not take.
static STUCK: AtomicUsize = AtomicUsize::new(0);

/// The end that HTTP/2 has. What is written to it is sent by [`Outgoing`].
#[derive(Debug)]
pub struct Stream(Arc<Mutex<Session>>);

/// The end that the connection's turns have.
#[derive(Debug)]
pub struct Outgoing(Arc<Mutex<Session>>);

#[derive(Debug)]
struct Session {
    tcp: TcpStream,
    tls: ServerConnection,
    /// What was received that TLS has not taken.
    ahead: BytesMut,
    /// Bytes that were written since the socket had taken all.
    queued: usize,
    /// What of [`STUCK`] is this connection's; not 0 while it waits for its socket.
    stuck: usize,
    /// Why no more can be sent, for who writes or reads next.
    broken: Option<io::Error>,
    is_closed: bool,
    /// Bytes that were read, without TLS's.
    read: u64,
    /// The same, as last told.
    arrived: watch::Sender<u64>,
}

/// Both ends of a stream whose handshake is done.
pub fn split(stream: TlsStream<TcpStream>) -> (Stream, Outgoing) {
    let (tcp, mut tls) = stream.into_inner();
    // It is bounded here.
    tls.set_buffer_limit(None);
    let session = Session {
        tcp,
        tls,
        ahead: BytesMut::new(),
        queued: 0,
        stuck: 0,
        broken: None,
        is_closed: false,
        read: 0,
        arrived: watch::Sender::new(0),
    };
    let session = Arc::new(Mutex::new(session));
    (Stream(Arc::clone(&session)), Outgoing(session))
}

fn lock(session: &Mutex<Session>) -> MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stream {
    /// How many bytes were read, a MiB less at most.
    pub fn arrived(&self) -> watch::Receiver<u64> {
        lock(&self.0).arrived.subscribe()
    }
}

impl Outgoing {
    /// Sends what waits. Whoever the context is of is woken when the socket takes more, and when it
    /// never will.
    pub fn flush(&self, context: &mut Context<'_>) {
        let mut session = lock(&self.0);
        if session.broken.is_some() {
            return;
        }
        // A turn that has used up its budget could not send what it wrote.
        let sent = pin!(coop::unconstrained(poll_fn(
            |context| session.poll_send(context)
        )))
        .poll(context);
        if let Poll::Ready(Err(error)) = sent {
            session.broken = Some(error);
            context.waker().wake_by_ref();
        }
    }
}

impl Session {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Socket {
                tcp: &mut self.tcp,
                context,
            }) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(sent) => self.queued = self.queued.saturating_sub(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.count(self.queued.max(1));
                    return Poll::Pending;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.queued = 0;
        self.count(0);
        Poll::Ready(Ok(()))
    }

    fn count(&mut self, stuck: usize) {
        let before = std::mem::replace(&mut self.stuck, stuck);
        if stuck > before {
            STUCK.fetch_add(stuck - before, Ordering::Relaxed);
        } else {
            STUCK.fetch_sub(before - stuck, Ordering::Relaxed);
        }
    }

    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Err(error));
        }
        let burst = if STUCK.load(Ordering::Relaxed) > SCARCE {
            BURST_SCARCE
        } else {
            BURST
        };
        if self.queued >= burst || self.stuck > 0 {
            ready!(self.poll_send(context))?;
        }
        let length = self.tls.writer().write_vectored(slices)?;
        self.queued += length;
        Poll::Ready(Ok(length))
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Err(error));
        }
        loop {
            match self.tls.reader().fill_buf() {
                Ok(plain) => {
                    let length = plain.len().min(buffer.remaining());
                    buffer.put_slice(plain.get(..length).unwrap_or_default());
                    self.tls.reader().consume(length);
                    self.count_read(length);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            ready!(self.poll_receive(context))?;
            if let Err(error) = self.tls.process_new_packets() {
                // The alert that says why, if the socket takes it.
                let _unsent = self.poll_send(context);
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
        }
    }

    fn count_read(&mut self, length: usize) {
        self.read += u64::try_from(length).unwrap_or(0);
        if self.read - *self.arrived.borrow() >= TOLD_EACH {
            self.arrived.send_replace(self.read);
        }
    }

    /// Gives TLS what it takes next of what was received.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            self.ahead.reserve(AHEAD);
            let received = pin!(self.tcp.read_buf(&mut self.ahead)).poll(context);
            if received.is_pending() {
                // Who waits keeps no memory.
                self.ahead = BytesMut::new();
            }
            ready!(received)?;
        }
        // Nothing tells it of the end.
        self.tls.read_tls(&mut (&mut self.ahead).reader())?;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.is_closed, true) {
            self.tls.send_close_notify();
        }
        ready!(self.poll_send(context))?;
        match ready!(Pin::new(&mut self.tcp).poll_shutdown(context)) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Poll::Ready(Err(error)),
            Ok(()) | Err(_) => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.count(0);
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        lock(&self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_write(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_write(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// [`Outgoing::flush`] does it, at the turn's end.
    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).poll_shutdown(context)
    }
}

/// A socket as rustls writes it.
struct Socket<'a, 'b> {
    tcp: &'a mut TcpStream,
    context: &'a mut Context<'b>,
}

fn done<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(done) => done,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Write for Socket<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        done(Pin::new(&mut *self.tcp).poll_write(self.context, bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        done(Pin::new(&mut *self.tcp).poll_write_vectored(self.context, slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prn_proto::tls::{self, Certificate, Key};
    use rustls::pki_types::ServerName;
    use std::task::Waker;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::{TlsAcceptor, TlsConnector, client};

    fn identity() -> (Certificate, Key) {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let certificate = rcgen::CertificateParams::default()
            .self_signed(&key)
            .unwrap();
        (
            Certificate::from_der(certificate.der().to_vec()).unwrap(),
            Key::from_pkcs8_der(key.serialize_der().into()),
        )
    }

    async fn connected() -> (Stream, Outgoing, client::TlsStream<TcpStream>) {
        let (server, client) = (identity(), identity());
        let to_server = tls::client_config(&client.0, &client.1, vec![server.0.clone()]).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(
            tls::server_config(&server.0, &server.1, vec![client.0]).unwrap(),
        ));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let connector = TlsConnector::from(Arc::new(to_server));
        let accepted = async {
            acceptor
                .accept(listener.accept().await.unwrap().0)
                .await
                .unwrap()
        };
        let (connected, accepted) = tokio::join!(connector.connect(name, tcp), accepted);
        let (stream, outgoing) = split(accepted);
        (stream, outgoing, connected.unwrap())
    }

    /// Writes until no more is taken, and sends what was; how much it was.
    fn fill(stream: &mut Stream, outgoing: &Outgoing) -> usize {
        let mut context = Context::from_waker(Waker::noop());
        let mut taken = 0;
        while let Poll::Ready(length) =
            Pin::new(&mut *stream).poll_write(&mut context, &[7; 64 * 1024])
        {
            taken += length.unwrap();
            outgoing.flush(&mut context);
        }
        taken
    }

    #[tokio::test]
    async fn what_is_written_waits_for_the_end_of_the_turn() {
        let (mut stream, outgoing, mut client) = connected().await;
        for byte in *b"abc" {
            stream.write_all(&[byte]).await.unwrap();
            stream.flush().await.unwrap();
        }
        let mut buffer = [0; 16];
        let early =
            tokio::time::timeout(Duration::from_millis(100), client.read(&mut buffer)).await;
        assert!(early.is_err(), "sent before the end of the turn");
        outgoing.flush(&mut Context::from_waker(Waker::noop()));
        client.read_exact(&mut buffer[..3]).await.unwrap();
        assert_eq!(&buffer[..3], b"abc");
    }

    #[tokio::test]
    async fn a_full_socket_takes_no_more_and_loses_nothing() {
        let (mut stream, outgoing, mut client) = connected().await;
        let taken = fill(&mut stream, &outgoing);
        let queued = lock(&stream.0).queued;
        assert!(
            queued > 0 && queued <= BURST + 64 * 1024,
            "{queued} of {taken}"
        );
        assert!(STUCK.load(Ordering::Relaxed) > 0);
        let reader = tokio::spawn(async move {
            let mut all = vec![0; taken + 1];
            client.read_exact(&mut all).await.unwrap();
            all
        });
        // It is woken for what is stuck, and then for what it writes.
        poll_fn(|context| lock(&stream.0).poll_send(context))
            .await
            .unwrap();
        stream.write_all(&[8]).await.unwrap();
        poll_fn(|context| lock(&stream.0).poll_send(context))
            .await
            .unwrap();
        let all = reader.await.unwrap();
        assert!(all[..taken].iter().all(|byte| *byte == 7) && all[taken] == 8);
        assert_eq!(lock(&stream.0).stuck, 0);
    }

    #[tokio::test]
    async fn the_error_of_a_flush_is_that_of_the_next_write() {
        let (mut stream, outgoing, client) = connected().await;
        fill(&mut stream, &outgoing);
        drop(client);
        let error = loop {
            poll_fn(|context| {
                outgoing.flush(context);
                if lock(&stream.0).broken.is_some() {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            if let Err(error) = stream.write(b"x").await {
                break error;
            }
        };
        assert!(
            [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe].contains(&error.kind()),
            "{error}"
        );
    }

    #[tokio::test]
    async fn the_end_of_a_stream_is_told_after_its_last_byte() {
        let (mut stream, _outgoing, mut client) = connected().await;
        stream.write_all(b"last").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut all = Vec::new();
        // Without close_notify this would be an error.
        client.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"last");
        client.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    }
}
