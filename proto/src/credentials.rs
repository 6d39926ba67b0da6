//! Certificates and keys, from files, the environment and wherever else a key is kept.
//!
//! Trusts nothing about a file but what it has checked. A key's bytes are in no error and in no
//! memory that is not wiped.

mod command;
mod error;
mod keyring;
mod place;
pub mod program;
mod reading;
mod source;
pub mod token;

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::tls::{Certificate, Remaining, TlsError};

pub use error::CredentialsError;
pub use place::{KEY_FILE_VARIABLE, KEY_VARIABLE, KeySource, SourceError};
use reading::{open_file, read_bounded, unread};

/// Where a certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateSource {
    /// In this file.
    File(PathBuf),
    /// Here.
    Text {
        /// The certificate, in PEM form.
        pem: String,
        /// What to call it in a message, such as "of context web1".
        name: String,
    },
}

impl fmt::Display for CertificateSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Text { name, .. } => f.write_str(name),
        }
    }
}

impl CertificateSource {
    /// Reads the certificate.
    ///
    /// # Errors
    /// If it cannot be read, or is not one certificate that prn can use.
    pub fn load(&self) -> Result<Certificate, CredentialsError> {
        self.load_as(Certificate::from_pem)
    }

    /// Reads what is in it.
    ///
    /// # Errors
    /// If it cannot be read, or `parse` does not take it.
    pub fn load_as<T>(
        &self,
        parse: fn(&[u8]) -> Result<T, TlsError>,
    ) -> Result<T, CredentialsError> {
        match self {
            Self::File(path) => load_and_metadata(path, parse).map(|(loaded, _)| loaded),
            Self::Text { pem, .. } => parse(pem.as_bytes()).map_err(|source| self.refused(source)),
        }
    }

    /// Reads what is in it of whom is to be trusted.
    ///
    /// # Errors
    /// As [`Self::load_as`], and if others can write the file that it is in.
    pub fn load_trusted<T>(
        &self,
        parse: fn(&[u8]) -> Result<T, TlsError>,
    ) -> Result<T, CredentialsError> {
        let Self::File(path) = self else {
            return self.load_as(parse);
        };
        let (file, metadata) = open_file(path)?;
        let mode = metadata.mode() & 0o7777;
        if mode & 0o022 != 0 {
            return Err(CredentialsError::OpenCertificate {
                path: path.clone(),
                mode,
            });
        }
        let pem = read_bounded(file).map_err(|source| unread(path, source))?;
        parse(&pem).map_err(|source| self.refused(source))
    }

    /// It is refused.
    pub fn refused(&self, source: TlsError) -> CredentialsError {
        CredentialsError::Certificate {
            origin: self.to_string(),
            source,
        }
    }
}

/// Reads a certificate in PEM form.
///
/// # Errors
/// If it cannot be read, or is not one certificate that prn can use.
pub fn load_certificate(path: &Path) -> Result<Certificate, CredentialsError> {
    load_certificate_and_metadata(path).map(|(certificate, _)| certificate)
}

/// Reads a certificate in PEM form, with what the open file says of its owner and mode.
///
/// # Errors
/// As [`load_certificate`].
pub fn load_certificate_and_metadata(
    path: &Path,
) -> Result<(Certificate, Metadata), CredentialsError> {
    load_and_metadata(path, Certificate::from_pem)
}

/// Reads a file of certificates or the like in PEM form, with what the open file says of its owner
/// and mode.
///
/// # Errors
/// If it cannot be read, or `parse` does not take it.
pub fn load_and_metadata<T>(
    path: &Path,
    parse: fn(&[u8]) -> Result<T, TlsError>,
) -> Result<(T, Metadata), CredentialsError> {
    let (file, metadata) = open_file(path)?;
    let pem = read_bounded(file).map_err(|source| unread(path, source))?;
    let parsed = parse(&pem);
    let parsed =
        parsed.map_err(|source| CertificateSource::File(path.to_owned()).refused(source))?;
    Ok((parsed, metadata))
}

/// Time since the Unix epoch, as [`Certificate::check_validity`] takes it.
pub fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// A certificate that ends within this time is worth a word: time enough to make a new one, and to
/// bring it to the other side.
const ENDS_SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// But of one that was made for a day or an hour not always: in the last part of its own time.
const LAST_PART: u32 = 10;

/// What to tell people of a certificate that is valid and will soon not be.
pub fn ends_soon(
    certificate: &Certificate,
    name: &dyn fmt::Display,
    now: Duration,
) -> Option<String> {
    let Remaining { left, until } = certificate.remaining(now)?;
    if left > ENDS_SOON.min(certificate.lifetime() / LAST_PART) {
        return None;
    }
    let (days, hours) = (left.as_secs() / 86_400, left.as_secs() / 3600);
    let span = match (days, hours) {
        (0, 0) => "in less than an hour".to_owned(),
        (0, 1) => "in 1 hour".to_owned(),
        (0, hours) => format!("in {hours} hours"),
        (1, _) => "in 1 day".to_owned(),
        (days, _) => format!("in {days} days"),
    };
    let advice = match certificate.issuer() {
        Some(issuer) => format!("get a new one from the authority that signed it ({issuer})"),
        None => "make a new one with `prn keygen`, and pin it on the other side".to_owned(),
    };
    Some(format!(
        "the certificate {name} ends {span}, on {until}: {advice}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    fn key_file(name: &str, content: &str, mode: u32) -> KeySource {
        let path =
            std::env::temp_dir().join(format!("prn-credentials-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        KeySource::File(path)
    }

    /// An error with its causes. The file is removed.
    fn refused(source: &KeySource) -> String {
        let error = source.load().unwrap_err();
        if let KeySource::File(path) = source {
            std::fs::remove_file(path).unwrap();
        }
        let cause = std::error::Error::source(&error)
            .map(ToString::to_string)
            .unwrap_or_default();
        format!("{error}: {cause}")
    }

    fn pem() -> String {
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)
            .unwrap()
            .serialize_pem()
    }

    #[test]
    fn a_key_that_only_its_owner_reads_is_taken() {
        let source = key_file("good", &pem(), 0o600);
        assert!(source.load().is_ok());
        let KeySource::File(path) = source else {
            return;
        };
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_certificate_that_others_can_write_is_not_trusted() {
        for (mode, is_open) in [(0o644, false), (0o664, true), (0o646, true)] {
            let KeySource::File(path) = key_file("pinned", "x", mode) else {
                return;
            };
            let error = CertificateSource::File(path.clone()).load_trusted(Certificate::from_pem);
            std::fs::remove_file(&path).unwrap();
            let error = error.unwrap_err().to_string();
            let says = format!("`chmod go-w {}`", path.display());
            assert_eq!(error.contains(&says), is_open, "{error}");
        }
    }

    #[test]
    fn t10_keys_that_are_open_empty_or_of_another_kind_are_refused() {
        for mode in [0o644, 0o640, 0o604, 0o660] {
            assert!(
                refused(&key_file("open", &pem(), mode)).contains("chmod 600"),
                "{mode:o}"
            );
        }
        assert!(refused(&key_file("empty", " \n", 0o600)).contains("is empty"));
        for label in [
            "RSA PRIVATE KEY",
            "EC PRIVATE KEY",
            "ENCRYPTED PRIVATE KEY",
            "CERTIFICATE",
        ] {
            let other = pem().replace("PRIVATE KEY", label);
            assert!(
                refused(&key_file("kind", &other, 0o600)).contains(label),
                "{label}"
            );
        }
        let two = pem().repeat(2).replace(['\r', '\n'], "\r");
        assert!(refused(&key_file("two", &two, 0o600)).contains("PRIVATE KEY and PRIVATE KEY"));
        assert!(refused(&key_file("long", &pem().repeat(1000), 0o600)).contains("cannot read"));
    }

    #[test]
    fn a_certificate_is_worth_a_word_in_its_last_tenth_and_never_before_its_last_14_days() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let mut params = rcgen::CertificateParams::default();
        let end = 1_900_000_000;
        params.not_after = time::OffsetDateTime::from_unix_timestamp(end).unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        let certificate = Certificate::from_der(der).unwrap();
        let said = |before: u64| {
            let end = Duration::from_secs(1_900_000_000);
            let now = end.checked_sub(Duration::from_secs(before)).unwrap();
            ends_soon(&certificate, &"c.pem", now)
        };
        let day = 24 * 60 * 60;
        assert_eq!(said(14 * day + 1), None);
        for (before, span) in [
            (14 * day, "in 14 days"),
            (2 * day - 1, "in 1 day,"),
            (day - 1, "in 23 hours"),
            (7199, "in 1 hour,"),
            (0, "in less than an hour"),
        ] {
            let said = said(before).unwrap();
            assert!(said.contains(span) && said.contains("c.pem"), "{said}");
            assert!(said.contains("2030"), "{said}");
        }
        let after = Duration::from_secs(1_900_000_001);
        assert_eq!(ends_soon(&certificate, &"c.pem", after), None);
    }

    #[test]
    fn a_certificate_of_an_hour_is_worth_a_word_in_its_last_minutes_and_names_its_authority() {
        let key = || rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let at = |seconds| time::OffsetDateTime::from_unix_timestamp(seconds).unwrap();
        let mut authority = rcgen::CertificateParams::default();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let mut name = rcgen::DistinguishedName::new();
        // A name is a stranger's text: it is printed as one line of plain letters.
        name.push(rcgen::DnType::CommonName, "Team \u{1b}[31m CA");
        authority.distinguished_name = name;
        let issuer = rcgen::Issuer::new(authority, key());
        let mut params = rcgen::CertificateParams::default();
        (params.not_before, params.not_after) = (at(1_899_996_400), at(1_900_000_000));
        let made = params.signed_by(&key(), &issuer).unwrap();
        let certificate = Certificate::from_der(made.der().to_vec()).unwrap();
        let said = |before: u64| {
            let now = Duration::from_secs(1_900_000_000 - before);
            ends_soon(&certificate, &"c.pem", now)
        };
        assert_eq!(said(361), None);
        let said = said(360).unwrap();
        assert!(said.contains("Team") && !said.contains("keygen"), "{said}");
        assert!(!said.contains('\u{1b}'), "{said}");
    }

    #[test]
    fn t10_no_byte_of_a_key_is_in_an_error() {
        let pem = pem();
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let spoilt = [
            pem.replace(['\r', '\n'], " "),
            pem.replace(['\r', '\n'], ""),
            body.clone(),
            pem.replace("-----END", "----END"),
            pem.replace(['\r', '\n'], "").replace("KEY-----", "KEY----"),
            format!("{pem}{pem}"),
            pem.replacen("MC", "MD", 1),
        ];
        for (number, text) in spoilt.iter().enumerate() {
            let source = key_file(&format!("spoilt-{number}"), text, 0o600);
            let shown = format!("{:?}", source.load());
            let KeySource::File(path) = source else {
                continue;
            };
            std::fs::remove_file(path).unwrap();
            let leaked = body
                .as_bytes()
                .windows(8)
                .any(|part| shown.contains(&*String::from_utf8_lossy(part)));
            assert!(!leaked, "{number}: {shown}");
        }
    }
}
