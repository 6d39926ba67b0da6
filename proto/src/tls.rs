//! The TLS profile of both ends: TLS 1.3 alone, Ed25519 unless P-256 is asked for, and peers that
//! are known by their certificates, by their keys, or by an authority and a name.
//!
//! Runs in the frontend and in clients; `prn server start` uses it to check what it was given
//! before anything listens. It trusts the pins and authorities, and nothing that a peer says of
//! itself. A peer is accepted when it is known ([`Known`] says how), is inside its validity period,
//! and the handshake is signed by its certificate's key. Of what is pinned, names, issuer and the
//! CA flag are not looked at: the pin is the identity (RFC 7469 speaks of pins of keys; the whole
//! DER is one too).

mod authority;
mod certificate;
mod chain;
mod error;
mod fingerprint;
mod hash;
mod key;
mod kind;
mod names;
mod peers;
mod pem;
mod provider;
mod remote;
mod signer;

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ServerConfig};

pub use authority::{AuthorityCertificate, RevocationList};
pub use certificate::{Certificate, Names, Remaining, shown_time};
pub use chain::check_client;
pub use error::{Outside, TlsError};
pub use fingerprint::KeyFingerprint;
pub use hash::Fingerprint;
pub use key::{Key, Own, Pair, check_key};
pub use kind::{KeyKind, KeyKinds};
pub use names::NameRule;
pub use peers::{Clients, Known, NamedServer, Peer, Recognised, Refusal, Server, WrongServer};
pub use signer::Signer;

use peers::{ClientVerifier, ServerVerifier};
use provider::provider;

/// The only application protocol: HTTP/2, as gRPC needs it (RFC 9113, section 3.2).
pub const ALPN: &[u8] = b"h2";

/// The server's side, for the clients that are let in.
///
/// # Errors
/// If nobody is, or something of what they are known by is refused.
pub fn server_config(
    own: impl Into<Own>,
    key: &Key,
    clients: impl Into<Clients>,
) -> Result<ServerConfig, TlsError> {
    let known = Arc::new(Known::new(clients.into())?);
    watched_server_config(own, key, &known, |_, _| {})
}

/// The same; `judged` hears of each certificate that a client shows, and of why it is refused, in
/// the same poll: after a handshake that failed, rustls does not tell whose it was.
///
/// # Errors
/// If the certificate and the key are not a pair that is taken.
pub fn watched_server_config(
    own: impl Into<Own>,
    key: &Key,
    known: &Arc<Known>,
    judged: fn(Fingerprint, Option<Refusal>),
) -> Result<ServerConfig, TlsError> {
    let verifier = ClientVerifier {
        known: Arc::clone(known),
        judged,
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Pair::new(&own.into(), key)?.resolver);
    config.alpn_protocols = vec![ALPN.to_vec()];
    // On resumption rustls takes the peer's identity from the session and asks no verifier (compare
    // CVE-2025-23419), so a pin removed would go on opening the door. Nothing is resumable.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(config)
}

/// The client's side: `server` is the one server that is talked to.
///
/// # Errors
/// If nothing says which it is, or the certificate and the key are not a pair that is taken.
pub fn client_config(
    own: impl Into<Own>,
    key: &Key,
    server: impl Into<Server>,
) -> Result<ClientConfig, TlsError> {
    client_config_of(&Pair::new(&own.into(), key)?, server)
}

/// The same of a pair.
///
/// # Errors
/// If nothing says which server it is.
pub fn client_config_of(pair: &Pair, server: impl Into<Server>) -> Result<ClientConfig, TlsError> {
    let verifier = ServerVerifier::new(server.into())?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(pair.resolver.clone());
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    // Whom it is for is nobody's business, and the server has one certificate.
    config.enable_sni = false;
    Ok(config)
}
