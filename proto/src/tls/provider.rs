//! Cipher suites, and what signatures are checked with.
//!
//! Runs at both ends.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{cipher_suite, default_provider};

use super::kind::KeyKinds;

/// ring, with the suite first that is fastest on machines with AES instructions.
pub(super) fn provider() -> Arc<CryptoProvider> {
    provider_for(KeyKinds::default())
}

/// The same, for chains of these kinds of keys.
pub(super) fn provider_for(kinds: KeyKinds) -> Arc<CryptoProvider> {
    let mut provider = default_provider();
    provider.cipher_suites = vec![
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    provider.signature_verification_algorithms = *kinds.algorithms();
    Arc::new(provider)
}
