//! PEM files of one section (RFC 7468).
//!
//! Runs wherever keys and certificates are read. No byte of what is no label is ever shown.

use rustls::pki_types::pem::{PemObject, SectionKind};
use zeroize::{Zeroize, Zeroizing};

use super::error::TlsError;

pub(super) fn sole_section(
    pem: &[u8],
    kind: SectionKind,
    label: &'static str,
) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    // The library passes over sections that it does not know, so it is the "BEGIN" lines that are
    // counted.
    let text = String::from_utf8_lossy(pem);
    // To the library a carriage return alone ends a line too. Only up to the dashes: of a key whose
    // line breaks were lost, all of it stands on the "BEGIN" line.
    let found: Vec<&str> = text
        .split(['\n', '\r'])
        .filter_map(|line| {
            Some(
                line.trim()
                    .strip_prefix("-----BEGIN ")?
                    .split_once("-----")?
                    .0,
            )
        })
        .collect();
    match found.as_slice() {
        [] => return Err(TlsError::Missing(label)),
        [only] if *only == label => {}
        other => {
            // Where dashes were lost as well, a label is not one, and may hold the key; no label
            // has small letters.
            let is_label = |text: &str| {
                text.bytes()
                    .all(|byte| byte.is_ascii_uppercase() || b"0123456789 ".contains(&byte))
            };
            let shown = |text| {
                if is_label(text) {
                    text
                } else {
                    "something else"
                }
            };
            let found: Vec<_> = other.iter().copied().map(shown).collect();
            return Err(TlsError::Unexpected {
                expected: label,
                found: found.join(" and "),
            });
        }
    }
    let (read, mut der) =
        <(SectionKind, Vec<u8>)>::from_pem_slice(pem).map_err(|_| TlsError::Missing(label))?;
    if read != kind {
        der.zeroize();
        return Err(TlsError::Missing(label));
    }
    Ok(Zeroizing::new(der))
}
