//! What a client signs of a start, and whose signatures count. Pure; docs/signed-starts.md describes
//! the bytes for other languages. The supervisor verifies, of what it is about to run; the frontend
//! only passes on.

use std::collections::{BTreeMap, BTreeSet};

use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use serde::{Deserialize, Serialize};

use crate::netstring::Writer;
use crate::types::{
    AccessName, Digest, Invalid, Millis, ProcessId, UnixMicros, check_length, range,
};

/// First line of the signed bytes: no receipt, no handshake and no other form begins so.
pub const HEADER: &str = "prn-signed-start-1";

/// DER of an Ed25519 SubjectPublicKeyInfo up to the 32 bytes of the key (RFC 8410, section 4).
const ED25519_INFO: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// DER of a P-256 SubjectPublicKeyInfo up to the 65 bytes of the point (RFC 5480, section 2), of
/// which the first says that it is not compressed.
const P256_INFO: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Most bytes of an [`Audience`]: two keys in hexadecimal digits, and a slash.
pub const AUDIENCE_MAX: usize = 129;

/// Most bytes of [`SignatureBytes`]: ECDSA over P-256 in its DER.
pub const SIGNATURE_MAX: usize = 72;

/// The SubjectPublicKeyInfo (DER) of an Ed25519 or a P-256 key: 44 or 91 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>")]
pub struct KeyInfo(Vec<u8>);

impl TryFrom<Vec<u8>> for KeyInfo {
    type Error = Invalid;

    fn try_from(raw: Vec<u8>) -> Result<Self, Invalid> {
        match PublicKey::of(&raw) {
            Some(_) => Ok(Self(raw)),
            None => Err(Invalid::Character),
        }
    }
}

/// Whom a signature is for: 1 to [`AUDIENCE_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Audience(String);

impl TryFrom<String> for Audience {
    type Error = Invalid;

    fn try_from(raw: String) -> Result<Self, Invalid> {
        check_length(&raw, 1, AUDIENCE_MAX)?;
        Ok(Self(raw))
    }
}

impl Audience {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a key has made of a message: 1 to [`SIGNATURE_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>")]
pub struct SignatureBytes(Vec<u8>);

impl TryFrom<Vec<u8>> for SignatureBytes {
    type Error = Invalid;

    fn try_from(raw: Vec<u8>) -> Result<Self, Invalid> {
        if (1..=SIGNATURE_MAX).contains(&raw.len()) {
            Ok(Self(raw))
        } else {
            Err(range(1, SIGNATURE_MAX))
        }
    }
}

/// A client's word that it wants a start.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StartSignature {
    /// The key, which names the principal.
    pub key: KeyInfo,
    /// Whom it is for: one run of one server ([`Signing::run`]), or a fleet by its name.
    pub audience: Audience,
    /// It counts from then on.
    pub not_before: UnixMicros,
    /// And no longer from then on.
    pub not_after: UnixMicros,
    /// Of [`StartSignature::signed_bytes`]: 64 bytes of Ed25519, or the DER of ECDSA.
    pub signature: SignatureBytes,
}

impl StartSignature {
    /// What is signed of the start of this digest under this id.
    pub fn signed_bytes(&self, id: ProcessId, digest: Digest) -> Vec<u8> {
        let mut writer = Writer::new(HEADER);
        writer.text("digest", digest.to_string());
        writer.text("id", id.to_string());
        writer.text("audience", self.audience.as_str());
        writer.text("not-before", self.not_before.0.to_string());
        writer.text("not-after", self.not_after.0.to_string());
        writer.finish()
    }

    /// Whether it is the key's, of that start.
    pub fn is_of(&self, id: ProcessId, digest: Digest) -> bool {
        let message = self.signed_bytes(id, digest);
        let (algorithm, key): (&dyn VerificationAlgorithm, _) = match PublicKey::of(&self.key.0) {
            Some(PublicKey::Ed25519(key)) => (&ED25519, key),
            Some(PublicKey::P256(point)) => (&ECDSA_P256_SHA256_ASN1, point),
            None => return false,
        };
        let key = UnparsedPublicKey::new(algorithm, key);
        key.verify(&message, &self.signature.0).is_ok()
    }

    /// SHA-256 of the key's SubjectPublicKeyInfo: what receipts and the audit call it.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.key.0)
    }
}

/// A public key, from its SubjectPublicKeyInfo: its 32 bytes, or the 65 of its point.
#[derive(Debug)]
enum PublicKey<'a> {
    Ed25519(&'a [u8]),
    P256(&'a [u8]),
}

impl<'a> PublicKey<'a> {
    /// `None`: of another kind, or none at all.
    fn of(info: &'a [u8]) -> Option<Self> {
        let ed25519 = info.strip_prefix(&ED25519_INFO);
        let ed25519 = ed25519.filter(|key| key.len() == 32).map(Self::Ed25519);
        let point = info.strip_prefix(&P256_INFO);
        let point = point.filter(|point| point.len() == 65).map(Self::P256);
        ed25519.or(point)
    }

    /// SHA-256 of the key as ssh sends it (RFC 8709, section 4; RFC 5656, section 3.1), which
    /// clients may be known by as well.
    fn ssh_fingerprint(&self) -> Digest {
        const P256_HEAD: &[u8] = b"\0\0\0\x13ecdsa-sha2-nistp256\0\0\0\x08nistp256\0\0\0\x41";
        let (head, key) = match self {
            Self::Ed25519(key) => (&b"\0\0\0\x0bssh-ed25519\0\0\0\x20"[..], *key),
            Self::P256(point) => (P256_HEAD, *point),
        };
        Digest::of(&[head, key].concat())
    }
}

/// Whose signatures count, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signing {
    /// Nobody's start is taken without one.
    pub is_required: bool,
    /// Longest time from a signature's beginning to its end.
    pub window_max: Millis,
    /// Names that other servers have as well.
    pub fleets: BTreeSet<AccessName>,
    /// SHA-256 of the SubjectPublicKeyInfo of the server's certificate: of the key that a client
    /// knows the server by.
    pub server: Digest,
    /// Keys of clients, by their fingerprints.
    pub keys: BTreeMap<Digest, SigningKey>,
    /// P-256 keys count as well.
    pub takes_p256: bool,
}

/// A key that may sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    /// Whose it is.
    pub principal: AccessName,
    /// When the certificate ends that it is in. `None`: it is known by itself.
    pub not_after: Option<UnixMicros>,
}

impl Default for Signing {
    fn default() -> Self {
        Self {
            is_required: false,
            window_max: Millis {
                milliseconds: 60_000,
            },
            fleets: BTreeSet::new(),
            server: Digest([0; 32]),
            keys: BTreeMap::new(),
            takes_p256: false,
        }
    }
}

impl Signing {
    /// Whose signature it claims to be. `None`: nobody's, or that of two, who know the key by one
    /// fingerprint each.
    pub fn signer(&self, signature: &StartSignature) -> Option<&SigningKey> {
        let key = PublicKey::of(&signature.key.0)?;
        if matches!(key, PublicKey::P256(_)) && !self.takes_p256 {
            return None;
        }
        let by_info = self.keys.get(&signature.fingerprint());
        let by_ssh = self.keys.get(&key.ssh_fingerprint());
        match (by_info, by_ssh) {
            (Some(one), Some(other)) if one.principal != other.principal => None,
            // A key that is known by itself ends with no certificate.
            (Some(one), Some(other)) if one.not_after.is_some() => Some(other),
            (one, other) => one.or(other),
        }
    }

    /// The audience of one run of this server, which signs receipts with this key (64 hexadecimal
    /// digits). A client can compare the first half with the certificate that it has seen: nobody
    /// gets a signature for another server from it.
    pub fn run(&self, receipt_key: &str) -> String {
        format!("{}/{receipt_key}", self.server)
    }
}

/// Why a signature, or that there is none, is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignatureRefusal {
    /// There is none, and there has to be.
    Required,
    /// Who has to sign starts nothing that can be fed: what is fed is not signed.
    Input,
    /// The key is nobody's.
    UnknownKey,
    /// The certificate has ended that the key is in.
    KeyExpired,
    /// It is for somebody else.
    OtherAudience,
    /// It is for a fleet, and begins before this run of the server, which knows nothing of ids
    /// that were used before: it began then.
    BeforeRun(UnixMicros),
    /// From its beginning to its end it is longer than this.
    WindowTooLong(Millis),
    /// It has not begun: the time is this.
    NotYet(UnixMicros),
    /// It has ended: the time is this.
    Expired(UnixMicros),
    /// It is not the key's, or not of this start.
    Invalid,
    /// A start of this id was signed and was taken.
    Replayed,
    /// So many ids of the signer are remembered until their signatures end, or so many of all.
    TooMany(u32),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};

    const ID: ProcessId = ProcessId::from_bytes([7; 16]);
    const DIGEST: Digest = Digest([9; 32]);

    fn unsigned(key: Vec<u8>) -> StartSignature {
        StartSignature {
            key: key.try_into().unwrap(),
            audience: "prod".to_owned().try_into().unwrap(),
            not_before: UnixMicros(1),
            not_after: UnixMicros(2),
            signature: vec![0; 64].try_into().unwrap(),
        }
    }

    fn ed25519() -> (Ed25519KeyPair, Vec<u8>) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let info = [&ED25519_INFO[..], pair.public_key().as_ref()].concat();
        (pair, info)
    }

    #[test]
    fn what_is_signed_has_its_bytes() {
        let bytes = unsigned(ed25519().1).signed_bytes(ID, DIGEST);
        let expected = format!(
            "prn-signed-start-1\ndigest 64:{}\nid 32:{}\naudience 4:prod\nnot-before 1:1\nnot-after 1:2\n",
            "09".repeat(32),
            "07".repeat(16)
        );
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }

    #[test]
    fn a_signature_of_each_kind_is_of_one_start_and_no_other() {
        let (pair, info) = ed25519();
        let mut by_ed25519 = unsigned(info);
        let bytes = by_ed25519.signed_bytes(ID, DIGEST);
        by_ed25519.signature = pair.sign(&bytes).as_ref().to_vec().try_into().unwrap();
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        let mut by_p256 = unsigned([&P256_INFO[..], pair.public_key().as_ref()].concat());
        let bytes = by_p256.signed_bytes(ID, DIGEST);
        let signature = pair.sign(&random, &bytes).unwrap();
        by_p256.signature = signature.as_ref().to_vec().try_into().unwrap();
        for signed in [by_ed25519, by_p256] {
            assert!(signed.is_of(ID, DIGEST));
            assert!(!signed.is_of(ProcessId::from_bytes([8; 16]), DIGEST));
            assert!(!signed.is_of(ID, Digest([8; 32])));
            let changes: [fn(&mut StartSignature); 4] = [
                |of| of.audience = "prof".to_owned().try_into().unwrap(),
                |of| of.not_before.0 += 1,
                |of| of.not_after.0 += 1,
                |of| of.signature.0[9] ^= 1,
            ];
            for change in changes {
                let mut changed = signed.clone();
                change(&mut changed);
                assert!(!changed.is_of(ID, DIGEST), "{changed:?}");
            }
        }
    }

    #[test]
    fn a_key_is_somebodys_by_either_fingerprint_and_p256_where_it_is_taken() {
        let ed25519 = unsigned(ed25519().1);
        let p256 = unsigned([&P256_INFO[..], &[4], &[5; 64]].concat());
        let anna = SigningKey {
            principal: "anna".to_owned().try_into().unwrap(),
            not_after: None,
        };
        for (of, is_p256) in [(&ed25519, false), (&p256, true)] {
            let ssh = PublicKey::of(&of.key.0).unwrap().ssh_fingerprint();
            for known in [of.fingerprint(), ssh] {
                let mut signing = Signing {
                    keys: [(known, anna.clone())].into(),
                    takes_p256: true,
                    ..Signing::default()
                };
                assert_eq!(signing.signer(of), Some(&anna));
                signing.takes_p256 = false;
                assert_eq!(signing.signer(of).is_some(), !is_p256);
                signing.keys.clear();
                assert_eq!(signing.signer(of), None);
            }
            let until = |name: &str, not_after| SigningKey {
                principal: name.to_owned().try_into().unwrap(),
                not_after,
            };
            let ends = Some(UnixMicros(9));
            for (by_info, by_ssh, expected) in [
                (until("anna", ends), anna.clone(), Some(&anna)),
                (anna.clone(), until("anna", ends), Some(&anna)),
                (anna.clone(), until("ben", None), None),
                (until("ben", None), anna.clone(), None),
            ] {
                let signing = Signing {
                    keys: [(of.fingerprint(), by_info), (ssh, by_ssh)].into(),
                    takes_p256: true,
                    ..Signing::default()
                };
                assert_eq!(signing.signer(of), expected);
            }
        }
    }

    #[test]
    fn a_key_an_audience_and_a_signature_that_cannot_be_one_do_not_decode() {
        let good = unsigned(ed25519().1);
        let is_taken = |key: Vec<u8>, audience: usize, signature: usize| {
            let wire = (
                key,
                "a".repeat(audience),
                (1_u64, 2_u64),
                vec![0_u8; signature],
            );
            codec::decode::<StartSignature>(&codec::encode(&wire).unwrap()).is_ok()
        };
        let info = || good.key.0.clone();
        let p256 = [&P256_INFO[..], &[4], &[5; 64]].concat();
        assert!(is_taken(info(), 1, 1));
        assert!(is_taken(p256.clone(), AUDIENCE_MAX, SIGNATURE_MAX));
        assert!(!is_taken(info(), 0, 64));
        assert!(!is_taken(info(), AUDIENCE_MAX + 1, 64));
        assert!(!is_taken(info(), 4, 0));
        assert!(!is_taken(info(), 4, SIGNATURE_MAX + 1));
        let longer = [&info()[..], &[0]].concat();
        for bad in [
            Vec::new(),
            longer,
            info()[..43].to_vec(),
            p256[..90].to_vec(),
            vec![0; 44],
            vec![0; 91],
        ] {
            assert!(!is_taken(bad.clone(), 4, 64), "{bad:?}");
        }
    }
}
