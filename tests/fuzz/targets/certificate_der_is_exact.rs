//! A certificate that is taken from DER is one X.509 version 3 certificate with a usable Ed25519 or
//! P-256 key and nothing else, and each of its parts has the shortest length there is: a pin is
//! compared byte for byte, so one certificate must not have two forms. (What is inside of names and
//! extensions is nobody's business: see the module of the TLS profile.)
//!
//! Read again here by a reader of DER that shares no code with the product's.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use prn_fuzz::bounded;
use prn_proto::tls::{Certificate, KeyFingerprint};

/// SubjectPublicKeyInfo of Ed25519 up to the key's 32 bytes (RFC 8410: the algorithm has no
/// parameters).
const ED25519: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// SubjectPublicKeyInfo of P-256 up to the point's 64 bytes (RFC 5480; SEC 1, 2.3.3).
const P256: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
/// \[0\] EXPLICIT INTEGER 2 (RFC 5280, 4.1.2.1).
const VERSION_3: [u8; 5] = [0xa0, 0x03, 0x02, 0x01, 0x02];

fuzz_target!(|der: &[u8]| {
    let Ok(certificate) = bounded(der.len(), 64, || Certificate::from_der(der.to_vec())) else {
        return;
    };
    assert_eq!(certificate.der(), der);
    for now in [
        Duration::ZERO,
        Duration::from_secs(1_800_000_000),
        Duration::MAX,
    ] {
        // An error names the period, whatever years it has.
        if let Err(error) = certificate.check_validity(now) {
            assert!(!error.to_string().is_empty());
        }
    }
    // The certificate, its three parts, and the parts of the first of them.
    assert_eq!(encoded_again(der, 2).as_deref(), Some(der), "not DER");
    let [(_, whole)] = elements(der).expect("an element")[..] else {
        panic!("more than one element")
    };
    let parts = elements(whole).expect("a certificate's three parts");
    assert_eq!(parts.len(), 3);
    let tbs = elements(parts[0].1).expect("the parts of a TBSCertificate");
    assert_eq!(tbs[0].0, VERSION_3);
    // version, serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo
    let key = tbs[6].0;
    let length = |prefix: &[u8]| key.strip_prefix(prefix).map(<[u8]>::len);
    assert!(
        length(&ED25519) == Some(32) || length(&P256) == Some(64),
        "neither Ed25519 nor P-256: {key:02x?}"
    );
    let [ssh, info] = certificate.key_fingerprints();
    assert_eq!(ssh.to_string().parse::<KeyFingerprint>().ok(), Some(ssh));
    assert_eq!(info.to_string().parse::<KeyFingerprint>().ok(), Some(info));
    let mut longer = der.to_vec();
    longer.push(0);
    assert!(Certificate::from_der(longer).is_err());
});

/// The elements that `der` is a sequence of: each whole, and its contents.
fn elements(der: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut found = Vec::new();
    let mut rest = der;
    while let [tag, length, ..] = *rest {
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (head, length) = match length {
            0..=0x7f => (2, usize::from(length)),
            0x81..=0x84 => {
                let bytes = usize::from(length & 0x7f);
                let number = rest.get(2..2 + bytes)?;
                (
                    2 + bytes,
                    number
                        .iter()
                        .fold(0, |number, byte| number << 8 | usize::from(*byte)),
                )
            }
            _ => return None,
        };
        let (whole, tail) = rest.split_at_checked(head + length)?;
        found.push((whole, &whole[head..]));
        rest = tail;
    }
    rest.is_empty().then_some(found)
}

/// The same elements with the shortest form of each length, and so on inside of constructed ones,
/// `depth` levels down.
fn encoded_again(der: &[u8], depth: usize) -> Option<Vec<u8>> {
    let mut again = Vec::new();
    for (whole, contents) in elements(der)? {
        let is_constructed = whole[0] & 0x20 != 0;
        let contents = match depth.checked_sub(1) {
            Some(depth) if is_constructed => encoded_again(contents, depth)?,
            _ => contents.to_vec(),
        };
        again.push(whole[0]);
        let length = contents.len().to_be_bytes();
        let digits = &length[length.iter().take_while(|byte| **byte == 0).count()..];
        match digits {
            [] => again.push(0),
            [short @ 0..0x80] => again.push(*short),
            _ => {
                again.push(0x80 | digits.len() as u8);
                again.extend(digits);
            }
        }
        again.extend(contents);
    }
    Some(again)
}
