//! The TLS profile of both ends: TLS 1.3 alone, Ed25519 alone, one self-signed certificate a side,
//! pinned by the other.
//!
//! Runs in the frontend and in clients; `prn server start` uses it to check what it was given
//! before anything listens. It trusts the pins and nothing that a peer says of itself. A peer is
//! accepted when its certificate equals a pin byte for byte, is inside its validity period, and the
//! handshake is signed by that certificate's key. Names, issuer and the CA flag are not looked at:
//! the pin is the identity (RFC 7469 speaks of pins; here the whole DER is one).

mod certificate;
mod error;
mod key;
mod peers;
mod pem;

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{cipher_suite, default_provider};
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ServerConfig};

pub use certificate::{Certificate, Fingerprint, Remaining, shown_time};
pub use error::{Outside, TlsError};
pub use key::{Key, check_key};
pub use peers::WrongServer;

use key::certified_key;
use peers::PinnedPeers;

/// The only application protocol: HTTP/2, as gRPC needs it (RFC 9113, section 3.2).
pub const ALPN: &[u8] = b"h2";

/// The server's side: `pins` are the clients that are let in.
pub fn server_config(
    certificate: &Certificate,
    key: &Key,
    pins: Vec<Certificate>,
) -> Result<ServerConfig, TlsError> {
    watched_server_config(certificate, key, pins, |_| {})
}

/// The same; `shown` hears of each certificate that a client shows, pinned or not, before it is
/// judged, in the same poll: after a handshake that failed, rustls does not tell whose it was.
pub fn watched_server_config(
    certificate: &Certificate,
    key: &Key,
    pins: Vec<Certificate>,
    shown: fn(Fingerprint),
) -> Result<ServerConfig, TlsError> {
    if pins.is_empty() {
        return Err(TlsError::NoPins);
    }
    let provider = provider();
    let verifier = PinnedPeers {
        shown,
        pins,
        algorithms: provider.signature_verification_algorithms,
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified_key(
            certificate,
            key,
        )?)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // On resumption rustls takes the peer's identity from the session and asks no verifier (compare
    // CVE-2025-23419), so a pin removed would go on opening the door. Nothing is resumable.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(config)
}

/// The client's side: `server` is the one server that is talked to.
pub fn client_config(
    certificate: &Certificate,
    key: &Key,
    server: Certificate,
) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let verifier = PinnedPeers {
        shown: |_| {},
        pins: vec![server],
        algorithms: provider.signature_verification_algorithms,
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified_key(
            certificate,
            key,
        )?)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    // The pin is the name.
    config.enable_sni = false;
    Ok(config)
}

/// ring, with the suite first that is fastest on machines with AES instructions.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = default_provider();
    provider.cipher_suites = vec![
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    Arc::new(provider)
}
