//! Whose signatures count: the keys of all clients that are known by a certificate or a key.

use std::time::Duration;

use prn_ipc_protocol::signed::{Signing, SigningKey};
use prn_ipc_protocol::types::{AccessName, Digest, UnixMicros};
use prn_proto::tls::{Certificate, KeyFingerprint, KeyKinds, Peer};

use crate::options::Options;
use crate::plan::{self, PlanError};

/// Signatures count for a second at least, and for no longer than an id is well remembered.
const WINDOW: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);

/// By the options, of these clients. Whose certificate the server has is not known yet.
pub(super) fn of(options: &Options, known: &[(AccessName, Peer)]) -> Result<Signing, PlanError> {
    let usual = Signing::default();
    let window_max = match options.signed_start_window {
        None => usual.window_max,
        Some(given) if WINDOW.contains(&given.0) => plan::time("signed-start-window", Some(given))?,
        Some(_) => return Err(PlanError::SignedStartWindow),
    };
    Ok(Signing {
        is_required: options.require_signed_starts,
        window_max,
        fleets: options.fleet.iter().cloned().collect(),
        keys: known.iter().flat_map(keys_of).collect(),
        takes_p256: options.kinds() == KeyKinds::Both,
        ..usual
    })
}

fn keys_of((name, peer): &(AccessName, Peer)) -> Vec<(Digest, SigningKey)> {
    let key = |not_after| SigningKey {
        principal: name.clone(),
        not_after,
    };
    let alone = peer.keys.iter().map(|print| (hash(print), key(None)));
    // Of two with one key, the one that ends later counts.
    let mut certificates: Vec<_> = peer.certificates.iter().collect();
    certificates.sort_by_key(|certificate| certificate.not_after().unwrap_or_default());
    let certificates = certificates.into_iter().flat_map(|certificate| {
        let end = certificate.not_after().unwrap_or_default();
        let end = UnixMicros(u64::try_from(end.as_micros()).unwrap_or(u64::MAX));
        let prints = certificate.key_fingerprints();
        prints.map(|print| (hash(&print), key(Some(end))))
    });
    // Of a key that is known by itself too, that counts.
    certificates.chain(alone).collect()
}

/// What clients know the server's key by.
pub(crate) fn of_server(certificate: &Certificate) -> Digest {
    let [_, info] = certificate.key_fingerprints();
    hash(&info)
}

/// The SHA-256 that a fingerprint is.
fn hash(print: &KeyFingerprint) -> Digest {
    match print {
        KeyFingerprint::Ssh(hash) | KeyFingerprint::Info(hash) => Digest(*hash),
    }
}
