//! Kinds of keys, and which of them a side takes.
//!
//! Runs at both ends. Ed25519 is the default; P-256 is taken where somebody has said so. The kind
//! of a certificate's key decides the scheme of its signatures: there is one for each.

use std::fmt;

use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;
use webpki::ring::{ECDSA_P256_SHA256, ED25519};

/// DER of an Ed25519 SubjectPublicKeyInfo up to the 32 bytes of the key (RFC 8410, section 4).
const ED25519_KEY: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// DER of a P-256 SubjectPublicKeyInfo up to the 64 bytes of the point (RFC 5480, section 2): the
/// last byte says that it is not compressed (SEC 1, 2.3.3).
const P256_KEY: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// The kind of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA over P-256 (FIPS 186-5), with SHA-256.
    P256,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ed25519 => "Ed25519",
            Self::P256 => "P-256",
        })
    }
}

/// A public key, from its SubjectPublicKeyInfo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PublicKey<'a> {
    pub kind: KeyKind,
    /// The key itself: 32 bytes, or the two coordinates of the point, 32 each.
    pub bytes: &'a [u8],
}

impl<'a> PublicKey<'a> {
    /// Whole, as the handshake's signature check compares it: one with parameters or of another
    /// length could never connect. `None`: of another kind.
    pub fn of(info: &'a [u8]) -> Option<Self> {
        let of = |kind, prefix: &[u8], length| {
            let bytes = info.strip_prefix(prefix)?;
            (bytes.len() == length).then_some(Self { kind, bytes })
        };
        of(KeyKind::Ed25519, &ED25519_KEY, 32).or_else(|| of(KeyKind::P256, &P256_KEY, 64))
    }
}

/// Which kinds a side takes of its peers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyKinds {
    /// Ed25519 alone.
    #[default]
    Ed25519,
    /// P-256 alone.
    P256,
    /// Both.
    Both,
}

/// One scheme for each kind, and no other.
static FOR_ED25519: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[ED25519],
    mapping: &[(SignatureScheme::ED25519, &[ED25519])],
};
static FOR_P256: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[ECDSA_P256_SHA256],
    mapping: &[(SignatureScheme::ECDSA_NISTP256_SHA256, &[ECDSA_P256_SHA256])],
};
static FOR_BOTH: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[ED25519, ECDSA_P256_SHA256],
    mapping: &[
        (SignatureScheme::ED25519, &[ED25519]),
        (SignatureScheme::ECDSA_NISTP256_SHA256, &[ECDSA_P256_SHA256]),
    ],
};

impl KeyKinds {
    /// Whether this kind is one of them.
    pub fn takes(self, kind: KeyKind) -> bool {
        match (self, kind) {
            (Self::Both, _) | (Self::Ed25519, KeyKind::Ed25519) | (Self::P256, KeyKind::P256) => {
                true
            }
            (Self::Ed25519, KeyKind::P256) | (Self::P256, KeyKind::Ed25519) => false,
        }
    }

    /// Those of all of these keys; Ed25519 of none.
    pub fn of(kinds: impl IntoIterator<Item = KeyKind>) -> Self {
        let alone = |kind| match kind {
            KeyKind::Ed25519 => Self::Ed25519,
            KeyKind::P256 => Self::P256,
        };
        let kinds = kinds.into_iter().map(alone);
        let both = |a, b| if a == b { a } else { Self::Both };
        kinds.reduce(both).unwrap_or_default()
    }

    /// What signatures of a handshake, and of a chain, are checked with.
    pub(super) fn algorithms(self) -> &'static WebPkiSupportedAlgorithms {
        match self {
            Self::Ed25519 => &FOR_ED25519,
            Self::P256 => &FOR_P256,
            Self::Both => &FOR_BOTH,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_one_scheme_and_is_taken_where_it_is_named() {
        for (kinds, schemes) in [
            (KeyKinds::Ed25519, &[SignatureScheme::ED25519][..]),
            (KeyKinds::P256, &[SignatureScheme::ECDSA_NISTP256_SHA256]),
            (
                KeyKinds::Both,
                &[
                    SignatureScheme::ED25519,
                    SignatureScheme::ECDSA_NISTP256_SHA256,
                ],
            ),
        ] {
            assert_eq!(kinds.algorithms().supported_schemes(), schemes);
        }
        assert!(!KeyKinds::default().takes(KeyKind::P256));
        assert_eq!(KeyKinds::of([]), KeyKinds::Ed25519);
        assert_eq!(KeyKinds::of([KeyKind::P256]), KeyKinds::P256);
        assert_eq!(
            KeyKinds::of([KeyKind::P256, KeyKind::Ed25519]),
            KeyKinds::Both
        );
    }

    #[test]
    fn a_key_of_another_length_or_form_is_no_key() {
        for (prefix, length) in [(&ED25519_KEY[..], 32), (&P256_KEY, 64)] {
            let whole = [prefix, &vec![7; length]].concat();
            assert!(PublicKey::of(&whole).is_some());
            assert!(PublicKey::of(&whole[..whole.len() - 1]).is_none());
            assert!(PublicKey::of(&[&whole[..], &[0]].concat()).is_none());
            let mut compressed = whole;
            compressed[prefix.len() - 1] ^= 2;
            assert!(PublicKey::of(&compressed).is_none());
        }
    }
}
