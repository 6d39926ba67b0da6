//! Fingerprints of public keys, as people and other tools write them down.
//!
//! Runs at both ends, and where fingerprints are read. What is known by one is the key, whatever
//! certificate it comes in.
//!
//! | form | SHA-256 of | as printed by |
//! |---|---|---|
//! | `SHA256:` and base64 without padding | the key as ssh sends it (RFC 8709, section 4; RFC 5656, 3.1) | `ssh-keygen -l` |
//! | `sha256//` and base64 | the SubjectPublicKeyInfo (RFC 7469, section 2.4) | `curl --pinnedpubkey` takes it |

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::error::TlsError;
use super::hash::sha256;
use super::kind::{KeyKind, PublicKey};

/// What the form of ssh begins with.
const SSH: &str = "SHA256:";

/// What the form of curl begins with.
const CURL: &str = "sha256//";

/// A public key by its SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyFingerprint {
    /// Of the key as ssh sends it.
    Ssh([u8; 32]),
    /// Of its SubjectPublicKeyInfo.
    Info([u8; 32]),
}

impl KeyFingerprint {
    /// Both of a key by its SubjectPublicKeyInfo (DER). `None`: of a kind that nobody takes.
    pub(super) fn both(info: &[u8]) -> Option<[Self; 2]> {
        let key = PublicKey::of(info)?;
        Some([Self::Ssh(sha256(&ssh_blob(key))), Self::Info(sha256(info))])
    }
}

/// The key in the form of ssh's wire: strings, each behind its length (RFC 4251, section 5).
fn ssh_blob(key: PublicKey<'_>) -> Vec<u8> {
    let mut blob = Vec::new();
    let mut put = |parts: &[&[u8]]| {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        blob.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        blob.extend(parts.concat());
    };
    match key.kind {
        KeyKind::Ed25519 => {
            put(&[b"ssh-ed25519"]);
            put(&[key.bytes]);
        }
        KeyKind::P256 => {
            put(&[b"ecdsa-sha2-nistp256"]);
            put(&[b"nistp256"]);
            // The point is not compressed (SEC 1, 2.3.3).
            put(&[&[4], key.bytes]);
        }
    }
    blob
}

impl FromStr for KeyFingerprint {
    type Err = TlsError;

    fn from_str(text: &str) -> Result<Self, TlsError> {
        let refused = || TlsError::NoFingerprint(text.to_owned());
        // One text for each key: with the padding that its form has, and no bits behind the last
        // byte.
        let hash = |text: Result<Vec<u8>, _>| <[u8; 32]>::try_from(text.ok()?).ok();
        if let Some(rest) = text.strip_prefix(SSH) {
            return hash(STANDARD_NO_PAD.decode(rest))
                .map(Self::Ssh)
                .ok_or_else(refused);
        }
        let rest = text.strip_prefix(CURL).ok_or_else(refused)?;
        hash(STANDARD.decode(rest))
            .map(Self::Info)
            .ok_or_else(refused)
    }
}

impl fmt::Display for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ssh(hash) => write!(f, "{SSH}{}", STANDARD_NO_PAD.encode(hash)),
            Self::Info(hash) => write!(f, "{CURL}{}", STANDARD.encode(hash)),
        }
    }
}

impl fmt::Debug for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t14_a_fingerprint_with_any_bit_flipped_is_another_one_or_none() {
        for given in [KeyFingerprint::Ssh([7; 32]), KeyFingerprint::Info([7; 32])] {
            let text = given.to_string();
            assert_eq!(text.parse::<KeyFingerprint>().unwrap(), given);
            for bit in 0..text.len() * 8 {
                let mut bytes = text.clone().into_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                let Ok(flipped) = String::from_utf8(bytes) else {
                    continue;
                };
                if let Ok(other) = flipped.parse::<KeyFingerprint>() {
                    assert_ne!(other, given, "{flipped}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_fingerprint_of_a_key_is_refused() {
        let hash = "A".repeat(43);
        for good in [format!("SHA256:{hash}"), format!("sha256//{hash}=")] {
            assert_eq!(good.parse::<KeyFingerprint>().unwrap().to_string(), good);
        }
        for bad in [
            format!("SHA256:{hash}="),
            format!("sha256//{hash}"),
            format!("sha256:{}", "0".repeat(64)),
            format!("MD5:{hash}"),
            "SHA256:".to_owned(),
            hash[1..].to_owned(),
        ] {
            assert!(bad.parse::<KeyFingerprint>().is_err(), "{bad}");
        }
    }
}
