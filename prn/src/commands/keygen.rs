//! `prn keygen`: a key and a self-signed certificate that clients in every language take.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use prn_client::credentials::{CertificateSource, CredentialsError};
use prn_proto::tls::{self, Certificate, Key, KeyKind, Names, Own, TlsError};
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::PrivatePkcs8KeyDer;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::exit::{self, Exit};
use crate::output;

/// A peer whose clock is this far behind takes a new certificate at once.
const BACKDATED: Duration = Duration::minutes(1);

/// Most bytes of a common name (RFC 5280, ub-common-name).
const NAME_MAX: usize = 64;

/// Why no key was made.
#[derive(Debug, thiserror::Error)]
pub enum KeygenError {
    /// The name cannot stand in a certificate or a file name.
    #[error("the name must have 1 to {NAME_MAX} characters and no slash or control character")]
    Name,
    /// No key.
    #[error("the kernel gives no random bytes for a key")]
    Random,
    /// The validity period is empty.
    #[error("the certificate would expire before it begins to be valid")]
    Period,
    /// The certificate could not be made.
    #[error("cannot make the certificate")]
    Certificate(#[from] rcgen::Error),
    /// It would be refused later.
    #[error("cannot use what was made")]
    Unusable(#[from] TlsError),
    /// The certificate that was to be shown is refused.
    #[error(transparent)]
    Show(#[from] CredentialsError),
    /// A file exists.
    #[error("{} exists: --force replaces it", .0.display())]
    Exists(PathBuf),
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Standard output failed.
    #[error("cannot print the result")]
    Print(#[source] io::Error),
}

/// Make a key and a self-signed certificate
///
/// Prints both files, the SHA-256 of the certificate, and the fingerprints of its key: as
/// ssh-keygen -l prints it (SHA256:…), and as curl takes it (sha256//…). The other side may know
/// you by the certificate or by either of these. An Ed25519 key, unless --p256 is given.
#[derive(Debug, Args)]
pub struct Keygen {
    /// Make nothing, and print the fingerprints of this certificate (PEM)
    #[arg(long, value_name = "CERT", exclusive = true)]
    pub show: Option<PathBuf>,
    /// Make a P-256 key, for clients whose TLS library has no Ed25519; a server takes it with
    /// --allow-p256
    #[arg(long)]
    pub p256: bool,
    /// Folder for NAME.key and NAME.pem
    #[arg(long, value_name = "DIR", default_value = ".", conflicts_with_all = ["key", "cert"])]
    pub out_dir: PathBuf,
    /// File for the private key, instead
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// File for the certificate, instead
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Name in the certificate, for people: prn knows a certificate as a whole, by its key, or by
    /// names that an authority has signed, and never by this one
    #[arg(long, value_name = "CN", default_value = "prn")]
    pub name: String,
    /// Days until the certificate expires
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub days: u32,
    /// Replace files that exist
    #[arg(long)]
    pub force: bool,
    /// First instant of the validity period (RFC 3339), instead of a minute ago
    #[arg(long, value_name = "TIME", hide = true, value_parser = parse_time)]
    pub not_before: Option<OffsetDateTime>,
    /// Last instant of the validity period (RFC 3339), instead of --days
    #[arg(long, value_name = "TIME", hide = true, value_parser = parse_time)]
    pub not_after: Option<OffsetDateTime>,
}

fn parse_time(text: &str) -> Result<OffsetDateTime, &'static str> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|_| "not a time: write 2030-01-31T12:00:00Z")
}

pub fn keygen(args: &Keygen) -> Result<Exit, KeygenError> {
    if let Some(path) = &args.show {
        let own = CertificateSource::File(path.clone()).load_as(Own::from_pem)?;
        output::key_pair(None, path, &own.certificate).map_err(KeygenError::Print)?;
        return Ok(exit::OK);
    }
    let name = args.name.as_str();
    if name.is_empty()
        || name.len() > NAME_MAX
        || name.contains(|c: char| c.is_control() || c == '/')
    {
        return Err(KeygenError::Name);
    }
    let (key_path, certificate_path) = match (&args.key, &args.cert) {
        (Some(key), Some(certificate)) => (key.clone(), certificate.clone()),
        _ => (
            args.out_dir.join(format!("{name}.key")),
            args.out_dir.join(format!("{name}.pem")),
        ),
    };
    let (from, until) = period(args.days).into_inner();
    let not_before = args.not_before.unwrap_or(from);
    let not_after = args.not_after.unwrap_or(until);
    if not_after < not_before {
        return Err(KeygenError::Period);
    }
    let kind = if args.p256 {
        KeyKind::P256
    } else {
        KeyKind::Ed25519
    };
    let pair = make(&names_of(name), kind, not_before..=not_after)?;

    if !args.force {
        // Both before the first is written, so that no half of a pair is left behind.
        for path in [&key_path, &certificate_path] {
            if path.symlink_metadata().is_ok() {
                return Err(KeygenError::Exists(path.clone()));
            }
        }
    }
    write(&key_path, pair.key.as_bytes(), 0o600, args.force)?;
    write(
        &certificate_path,
        pair.certificate.as_bytes(),
        0o644,
        args.force,
    )?;
    output::key_pair(Some(&key_path), &certificate_path, &pair.made).map_err(KeygenError::Print)?;
    Ok(exit::OK)
}

/// A key and its certificate.
pub struct Pair {
    /// PKCS#8, PEM.
    pub key: Zeroizing<String>,
    /// PEM.
    pub certificate: String,
    /// The same.
    pub made: Certificate,
}

/// From a minute ago on, for so many days.
pub fn period(days: u32) -> RangeInclusive<OffsetDateTime> {
    let now = OffsetDateTime::now_utc();
    now - BACKDATED..=now + Duration::days(days.into())
}

/// Those of a certificate that is called so.
fn names_of(name: &str) -> Names {
    // prn compares certificates as a whole and looks at no name; other languages' clients do.
    let mut hosts = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    if is_host_name(name) && !hosts.iter().any(|known| known == name) {
        hosts.insert(0, name.to_owned());
    }
    let common = Some(name.to_owned());
    Names { common, hosts }
}

/// Makes a key, and a certificate of it with these names that is valid for so long.
///
/// # Errors
/// If there are no random bytes, or it would be refused later.
pub fn make(
    names: &Names,
    kind: KeyKind,
    period: RangeInclusive<OffsetDateTime>,
) -> Result<Pair, KeygenError> {
    let key = match kind {
        KeyKind::Ed25519 => generate()?,
        KeyKind::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
    };
    let mut params = CertificateParams::new(names.hosts.clone())?;
    if let Some(common) = &names.common {
        params
            .distinguished_name
            .push(DnType::CommonName, common.as_str());
    }
    (params.not_before, params.not_after) = period.into_inner();
    // Written out as CA:FALSE: verifiers of other TLS libraries take a CA certificate for no leaf.
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let certificate = params.self_signed(&key)?;

    let made = Certificate::from_der(certificate.der().to_vec())?;
    let pem = Zeroizing::new(key.serialize_pem());
    tls::check_key(&made, &Key::from_pem(pem.as_bytes())?)?;
    Ok(Pair {
        key: pem,
        certificate: certificate.pem(),
        made,
    })
}

/// A new Ed25519 key, in the older of the two PKCS#8 forms (RFC 5208): OpenSSL 3.0 does not read
/// the newer one, which also holds the public key (RFC 5958) and which is what the library makes.
///
/// # Errors
/// If there are no random bytes.
pub fn generate() -> Result<KeyPair, KeygenError> {
    const PREFIX: [u8; 16] = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    let mut der = Zeroizing::new([0; 48]);
    let (prefix, seed) = der.split_at_mut(PREFIX.len());
    prefix.copy_from_slice(&PREFIX);
    SystemRandom::new()
        .fill(seed)
        .map_err(|_| KeygenError::Random)?;
    Ok(KeyPair::from_pkcs8_der_and_sign_algo(
        &PrivatePkcs8KeyDer::from(der.as_slice()),
        &PKCS_ED25519,
    )?)
}

/// Whether a name can be a subject alternative name of type dNSName.
fn is_host_name(name: &str) -> bool {
    name.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

fn write(path: &Path, bytes: &[u8], mode: u32, force: bool) -> Result<(), KeygenError> {
    let failed = |source: io::Error| KeygenError::Write {
        path: path.to_owned(),
        source,
    };
    if force {
        // Replaced as a whole, and by a file of its own mode: an old one may be open to others.
        if let Err(error) = std::fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(failed(error));
        }
    }
    write_new(path, bytes, mode).map_err(|error| {
        match error.kind() == io::ErrorKind::AlreadyExists {
            true => KeygenError::Exists(path.to_owned()),
            false => failed(error),
        }
    })
}

/// Writes a file of this mode that is not there yet.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`], among others.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    // O_EXCL: neither an existing file nor what a link points to.
    let options = options.write(true).mode(mode).create_new(true);
    let mut file = options.open(path)?;
    // The mode above is less the umask.
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_usable_by_both_sides() {
        let names = names_of("client.example");
        let pair = make(&names, KeyKind::Ed25519, period(1)).unwrap();
        let certificate = Certificate::from_pem(pair.certificate.as_bytes()).unwrap();
        let key = Key::from_pem(pair.key.as_bytes()).unwrap();
        certificate
            .check_validity(prn_client::credentials::now())
            .unwrap();
        tls::client_config(&certificate, &key, certificate.clone()).unwrap();
        tls::server_config(&certificate, &key, vec![certificate.clone()]).unwrap();
    }

    #[test]
    fn names_that_are_no_host_names_are_left_out_of_the_alternative_names() {
        for good in ["prn", "a.b-c.example", "1"] {
            assert!(is_host_name(good), "{good}");
        }
        for bad in ["", "a b", "a..b", "-a", "ü", "a_b"] {
            assert!(!is_host_name(bad), "{bad}");
        }
        let made = make(&names_of("Jane Doe"), KeyKind::P256, period(1)).unwrap();
        assert_eq!(made.made.names(), names_of("Jane Doe"));
        // One that follows another has the other's names.
        let named = make(&names_of("web1"), KeyKind::Ed25519, period(1)).unwrap();
        let hosts = ["web1", "localhost", "127.0.0.1", "::1"].map(str::to_owned);
        assert_eq!(named.made.names().hosts, hosts);
    }
}
