//! PEM files of sections of one kind (RFC 7468).
//!
//! Runs wherever keys and certificates are read. No byte of what is no label is ever shown.

use rustls::pki_types::pem::{PemObject, SectionKind};
use zeroize::Zeroizing;

use super::error::TlsError;

/// The one section that there is, which is of this kind.
pub(super) fn sole_section(
    pem: &[u8],
    kind: SectionKind,
    label: &'static str,
) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let text = String::from_utf8_lossy(pem);
    if labels(&text).len() > 1 {
        return Err(unexpected(&text, label));
    }
    let mut found = sections(pem, kind, label)?;
    found.pop().ok_or(TlsError::Missing(label))
}

/// All sections, which are of this kind: one at least.
pub(super) fn sections(
    pem: &[u8],
    kind: SectionKind,
    label: &'static str,
) -> Result<Vec<Zeroizing<Vec<u8>>>, TlsError> {
    // The library passes over sections that it does not know, so it is the "BEGIN" lines that are
    // counted.
    let text = String::from_utf8_lossy(pem);
    let labels = labels(&text);
    if labels.is_empty() {
        return Err(TlsError::Missing(label));
    }
    if labels.iter().any(|found| *found != label) {
        return Err(unexpected(&text, label));
    }
    let mut found = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let (read, der) = section.map_err(|_| TlsError::Missing(label))?;
        let der = Zeroizing::new(der);
        if read != kind {
            return Err(TlsError::Missing(label));
        }
        found.push(der);
    }
    if found.len() == labels.len() {
        Ok(found)
    } else {
        Err(TlsError::Missing(label))
    }
}

/// The labels of all "BEGIN" lines.
fn labels(text: &str) -> Vec<&str> {
    // To the library a carriage return alone ends a line too. Only up to the dashes: of a key whose
    // line breaks were lost, all of it stands on the "BEGIN" line.
    text.split(['\n', '\r'])
        .filter_map(|line| {
            let label = line.trim().strip_prefix("-----BEGIN ")?;
            Some(label.split_once("-----")?.0)
        })
        .collect()
}

/// What stands there instead.
fn unexpected(text: &str, expected: &'static str) -> TlsError {
    // Where dashes were lost as well, a label is not one, and may hold the key; no label has small
    // letters.
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
    let found: Vec<_> = labels(text).into_iter().map(shown).collect();
    TlsError::Unexpected {
        expected,
        found: found.join(" and "),
    }
}
