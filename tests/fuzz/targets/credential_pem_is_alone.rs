//! A certificate or key that is taken from a file is the only PEM section in it, by the reckoning
//! of the library that decodes PEM and of nobody else: a second one, which its owner believes to be
//! pinned or used, is never passed over. An error about a key holds no byte of it.
//!
//! In the input, `$` stands for the text of a valid certificate's body and `%` for that of a valid
//! key's, so that a change of one byte does not spoil either.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prn_fuzz::bounded;
use prn_proto::tls::{Certificate, Key, check_key};
use rustls_pki_types::pem::{PemObject, SectionKind};

/// Made by openssl: a certificate and its key, good for nothing else.
const CERTIFICATE: &str = include_str!("sample.pem");
const KEY: &str = include_str!("sample.key");

fuzz_target!(|input: &[u8]| {
    let mut pem = Vec::new();
    for byte in input {
        match byte {
            b'$' => pem.extend(body(CERTIFICATE)),
            b'%' => pem.extend(body(KEY)),
            other => pem.push(*other),
        }
    }
    let certificate = bounded(pem.len(), 64, || Certificate::from_pem(&pem));
    let key = bounded(pem.len(), 64, || Key::from_pem(&pem));
    assert!(
        certificate.is_err() || key.is_err(),
        "both a certificate and a key"
    );
    if let Ok(certificate) = &certificate {
        assert_eq!(
            sections(&pem),
            [(SectionKind::Certificate, certificate.der().to_vec())]
        );
    }
    let sample = Certificate::from_pem(CERTIFICATE.as_bytes()).expect("the sample is valid");
    match &key {
        Ok(key) => {
            assert_eq!(
                sections(&pem),
                [(
                    SectionKind::PrivateKey,
                    key.pkcs8_der().unwrap_or_default().to_vec()
                )]
            );
            if let Err(error) = check_key(&sample, key) {
                tells_nothing(&format!("{error} {error:?}"));
            }
        }
        Err(error) => tells_nothing(&format!("{error} {error:?}")),
    }
});

fn body(pem: &str) -> impl Iterator<Item = u8> {
    pem.lines()
        .filter(|line| !line.starts_with('-'))
        .flat_map(str::bytes)
}

/// All sections that the library finds, up to the first that it cannot read.
fn sections(pem: &[u8]) -> Vec<(SectionKind, Vec<u8>)> {
    <(SectionKind, Vec<u8>)>::pem_slice_iter(pem)
        .map_while(Result::ok)
        .collect()
}

fn tells_nothing(shown: &str) {
    // The first 16 bytes of every such key are the same.
    let secret: Vec<u8> = body(KEY).skip(24).collect();
    assert!(
        !secret
            .windows(8)
            .any(|part| shown.as_bytes().windows(8).any(|other| part == other)),
        "{shown}"
    );
}
