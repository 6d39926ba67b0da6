//! TLS peers that do not keep to prn's profile: each of them shows or signs what a test tells it
//! to.
//!
//! They accept every certificate of the other side, so that whatever is refused, it was prn that
//! refused it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConnection, ResolvesClientCert};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConnection};
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, HandshakeKind, ServerConfig,
    SignatureAlgorithm, SignatureScheme,
};

use crate::deadline;
use crate::pki::Identity;

/// What begins every HTTP/2 connection of a client (RFC 9113, section 3.4), and an empty SETTINGS
/// frame.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// What came of one connection, as the hostile end saw it.
#[derive(Debug)]
pub struct Seen {
    /// What ended it, if not the other end's close.
    pub error: Option<Error>,
    /// Application bytes that the other end sent.
    pub received: Vec<u8>,
    /// Session tickets that the other end sent.
    pub tickets: u32,
    /// Whether a session was resumed, if the handshake got as far as that.
    pub kind: Option<HandshakeKind>,
}

/// A certificate in DER.
pub fn der(identity: &Identity) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(identity.certificate_pem().as_bytes()).expect("a certificate")
}

/// The key of an identity, ready to sign with.
pub fn signer(identity: &Identity) -> Arc<dyn SigningKey> {
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem().as_bytes()).expect("a key");
    rustls::crypto::ring::sign::any_supported_type(&key).expect("a usable key")
}

/// What an honest peer would show.
pub fn shown(identity: &Identity) -> CertifiedKey {
    CertifiedKey::new(vec![der(identity)], signer(identity))
}

/// A client that shows `shown`, or no certificate, and asks for HTTP/2.
pub fn client_config(shown: Option<CertifiedKey>) -> ClientConfig {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone));
    let mut config = match shown {
        Some(shown) => config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown))),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// A server that shows `shown`, asks for a client certificate and speaks HTTP/2.
pub fn server_config(shown: CertifiedKey) -> ServerConfig {
    server_config_with(Arc::new(SingleCertAndKey::from(shown)))
}

fn server_config_with(resolver: Arc<dyn ResolvesServerCert>) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_client_cert_verifier(Arc::new(Anyone))
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// Connects, shakes hands, sends the start of an HTTP/2 connection, and reads until the server
/// answers or refuses.
///
/// # Panics
/// If the server does neither.
pub fn connect(address: &str, config: &Arc<ClientConfig>) -> Seen {
    let socket = TcpStream::connect(address).expect("a connection");
    let name = ServerName::try_from("prn.invalid").expect("a name");
    let mut connection = ClientConnection::new(Arc::clone(config), name).expect("a client");
    connection.writer().write_all(PREFACE).expect("a buffer");
    let (error, received) = converse(&mut connection, socket);
    Seen {
        error,
        received,
        tickets: connection.tls13_tickets_received(),
        kind: connection.handshake_kind(),
    }
}

/// A hostile server, with a thread of its own.
#[derive(Debug)]
pub struct HostileServer {
    /// Its address.
    pub address: String,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Seen>>,
}

impl HostileServer {
    /// Starts it.
    pub fn start(config: ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("its address").to_string();
        let stop = Arc::new(AtomicBool::new(false));
        let (config, stopped) = (Arc::new(config), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut all = Vec::new();
            for socket in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let mut connection = ServerConnection::new(Arc::clone(&config)).expect("a server");
                let (error, received) = converse(&mut connection, socket.expect("a connection"));
                all.push(Seen {
                    error,
                    received,
                    tickets: 0,
                    kind: connection.handshake_kind(),
                });
            }
            all
        });
        Self {
            address,
            stop,
            thread,
        }
    }

    /// Stops it; returns what came of each connection.
    ///
    /// # Panics
    /// If there was none, or if it panicked.
    pub fn finish(self) -> Vec<Seen> {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
        let seen = self.thread.join().expect("the hostile server");
        assert!(!seen.is_empty(), "nobody connected");
        seen
    }
}

/// Moves bytes until application bytes arrive, the connection fails or the other end closes it.
fn converse<Data>(
    connection: &mut (impl std::ops::DerefMut<Target = rustls::ConnectionCommon<Data>> + ?Sized),
    mut socket: TcpStream,
) -> (Option<Error>, Vec<u8>) {
    socket
        .set_read_timeout(Some(deadline()))
        .expect("a timeout");
    let mut received = Vec::new();
    let mut closed = false;
    loop {
        while connection.wants_write() && connection.write_tls(&mut socket).is_ok() {}
        if closed || !received.is_empty() {
            return (None, received);
        }
        match connection.read_tls(&mut socket) {
            Ok(0) => closed = true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => closed = true,
            // Whoever is stopped and goes on is interrupted in a read with a time limit (signal(7)).
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("neither an answer nor a refusal: {error}"),
        }
        if let Err(error) = connection.process_new_packets() {
            while connection.wants_write() && connection.write_tls(&mut socket).is_ok() {}
            return (Some(error), received);
        }
        let mut buffer = [0; 4096];
        match connection.reader().read(&mut buffer) {
            Ok(count) => received.extend_from_slice(&buffer[..count]),
            Err(error)
                if [ErrorKind::WouldBlock, ErrorKind::UnexpectedEof].contains(&error.kind()) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// A handshake in memory; returns the error of the end that refused, which comes before the other
/// end's alert.
///
/// # Errors
/// As said.
///
/// # Panics
/// If it neither ends nor fails.
pub fn handshake(client: ClientConfig, server: ServerConfig) -> Result<(), Error> {
    let name = ServerName::try_from("prn.invalid").expect("a name");
    let mut client = ClientConnection::new(Arc::new(client), name).expect("a client");
    let mut server = ServerConnection::new(Arc::new(server)).expect("a server");
    let carry = |bytes: &mut Vec<u8>, read: &mut dyn FnMut(&mut dyn Read) -> io::Result<usize>| {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            read(&mut rest).expect("room for what was sent");
        }
        bytes.clear();
    };
    let mut bytes = Vec::new();
    while client.wants_write() || server.wants_write() {
        client.write_tls(&mut bytes).expect("a buffer");
        carry(&mut bytes, &mut |from| server.read_tls(from));
        server.process_new_packets()?;
        server.write_tls(&mut bytes).expect("a buffer");
        carry(&mut bytes, &mut |from| client.read_tls(from));
        client.process_new_packets()?;
    }
    assert!(
        !client.is_handshaking() && !server.is_handshaking(),
        "the handshake got stuck"
    );
    Ok(())
}

/// Signs with the scheme of its own choice, whatever the other end offered.
#[derive(Debug)]
pub struct Obstinate {
    /// What signs.
    pub key: Arc<dyn SigningKey>,
    /// How.
    pub scheme: SignatureScheme,
}

impl SigningKey for Obstinate {
    fn choose_scheme(&self, _offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        self.key.choose_scheme(&[self.scheme])
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.key.algorithm()
    }
}

/// Shows a certificate, and notes the signature schemes that the other end would take.
#[derive(Debug)]
pub struct Curious {
    shown: Arc<CertifiedKey>,
    /// What the other end offered last.
    pub offered: Mutex<Vec<SignatureScheme>>,
}

impl Curious {
    /// A client's configuration that asks it, and the note.
    pub fn client(shown: CertifiedKey) -> (ClientConfig, Arc<Self>) {
        let curious = Self::new(shown);
        let mut config = client_config(None);
        config.client_auth_cert_resolver = Arc::clone(&curious) as _;
        (config, curious)
    }

    /// A server's configuration that asks it, and the note.
    pub fn server(shown: CertifiedKey) -> (ServerConfig, Arc<Self>) {
        let curious = Self::new(shown);
        (server_config_with(Arc::clone(&curious) as _), curious)
    }

    fn new(shown: CertifiedKey) -> Arc<Self> {
        Arc::new(Self {
            shown: Arc::new(shown),
            offered: Mutex::default(),
        })
    }

    fn note(&self, offered: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        *self.offered.lock().expect("no panic") = offered.to_vec();
        Some(Arc::clone(&self.shown))
    }
}

impl ResolvesClientCert for Curious {
    fn resolve(&self, _hints: &[&[u8]], offered: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.note(offered)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Curious {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.note(hello.signature_schemes())
    }
}

/// Accepts every certificate and every signature.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl ClientCertVerifier for Anyone {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
