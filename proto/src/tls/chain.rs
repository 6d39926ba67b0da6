//! Chains of certificates, up to an authority: rustls-webpki checks them.
//!
//! Runs at both ends, on what a stranger has sent. Each authority is asked by itself, and only in
//! its own time, which webpki does not look at. What cannot be shown not to be revoked is refused.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, Error, OtherError};

use super::authority::{AuthorityCertificate, RevocationList};
use super::certificate::Certificate;
use super::error::TlsError;
use super::kind::KeyKinds;
use super::provider::provider_for;

/// An authority, and what checks chains up to it.
#[derive(Debug)]
pub(super) struct Chain<V: ?Sized> {
    pub(super) authority: AuthorityCertificate,
    verifier: Arc<V>,
}

/// For certificates of clients.
pub(super) fn of_clients(
    authorities: &[AuthorityCertificate],
    revocations: &[RevocationList],
    kinds: KeyKinds,
) -> Result<Vec<Chain<dyn ClientCertVerifier>>, TlsError> {
    let chains = authorities.iter().map(|authority| {
        let lists = revocations.iter().map(RevocationList::as_der);
        // Of lists, all of a chain is looked up, what is in none is refused, and a list ends.
        let verifier =
            WebPkiClientVerifier::builder_with_provider(authority.roots()?, provider_for(kinds))
                .with_crls(lists)
                .enforce_revocation_expiration()
                .build()
                .map_err(|_| TlsError::MalformedList)?;
        Ok(Chain {
            authority: authority.clone(),
            verifier,
        })
    });
    chains.collect()
}

/// Checks that this authority has signed it, for a client, and that both are valid at `now` (since
/// the Unix epoch). For whoever is given both at once: a peer's is checked in the handshake.
///
/// # Errors
/// [`TlsError::NotSigned`].
pub fn check_client(
    certificate: &Certificate,
    authority: &AuthorityCertificate,
    now: Duration,
) -> Result<(), TlsError> {
    let kinds = KeyKinds::of([authority.kind(), certificate.kind()]);
    let chains = of_clients(std::slice::from_ref(authority), &[], kinds)?;
    let now = UnixTime::since_unix_epoch(now);
    let checked = check(&chains, &[], now, |verifier| {
        let verified = verifier.verify_client_cert(&certificate.der, &[], now);
        verified.map(drop)
    });
    checked.map_err(TlsError::NotSigned)
}

/// For certificates of servers.
pub(super) fn of_servers(
    authorities: &[AuthorityCertificate],
    kinds: KeyKinds,
) -> Result<Vec<Chain<dyn ServerCertVerifier>>, TlsError> {
    let chains = authorities.iter().map(|authority| {
        let verifier: Arc<dyn ServerCertVerifier> =
            WebPkiServerVerifier::builder_with_provider(authority.roots()?, provider_for(kinds))
                .build()
                .map_err(|_| TlsError::NoAuthority)?;
        Ok(Chain {
            authority: authority.clone(),
            verifier,
        })
    });
    chains.collect()
}

/// Whether one of the authorities stands for it, with the others that were shown; else why the one
/// that comes nearest does not.
pub(super) fn check<V: ?Sized>(
    chains: &[Chain<V>],
    shown: &[CertificateDer<'_>],
    now: UnixTime,
    verify: impl Fn(&V) -> Result<(), Error>,
) -> Result<(), Error> {
    let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
    let mut nearest = unknown.clone();
    for chain in chains {
        let time = Duration::from_secs(now.as_secs());
        if chain.authority.check_validity(time).is_err() {
            continue;
        }
        match verify(&chain.verifier) {
            Ok(()) if chain.authority.allows(shown) => return Ok(()),
            Ok(()) => nearest = too_long(),
            Err(error) if error != unknown => nearest = error,
            Err(_) => {}
        }
    }
    Err(nearest)
}

fn too_long() -> Error {
    let error = Arc::new(webpki::Error::PathLenConstraintViolated);
    CertificateError::Other(OtherError(error)).into()
}

/// Why a chain is refused, for the operator.
pub(super) fn reason(error: &Error) -> &'static str {
    let Error::InvalidCertificate(error) = error else {
        return "a revocation list is not its issuer's";
    };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "rustls' list, which grows: what it adds is refused as well"
    )]
    match error {
        CertificateError::UnknownIssuer => "no authority of client-ca has issued it",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired, or one between it and the authority has"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet, or one between it and the authority is not"
        }
        CertificateError::Revoked => "it is revoked, or one between it and the authority is",
        CertificateError::UnknownRevocationStatus => {
            "no list of client-crl is of its issuer, or of one between that and the authority"
        }
        CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            "the revocation list of its issuer has expired"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its extended key usage does not allow clients"
        }
        CertificateError::BadEncoding => "it cannot be read",
        CertificateError::Other(other) => of_webpki(other.0.downcast_ref()),
        _ => "a signature of it is not valid, or not of a kind that is allowed",
    }
}

fn of_webpki(error: Option<&webpki::Error>) -> &'static str {
    match error {
        Some(webpki::Error::PathLenConstraintViolated) => {
            "there are more authorities between it and the one of client-ca than that allows"
        }
        Some(webpki::Error::MaximumPathDepthExceeded) => "its chain is too long",
        Some(webpki::Error::NameConstraintViolation) => "its names are not its authority's to give",
        Some(webpki::Error::EndEntityUsedAsCa) => {
            "one between it and the authority is no authority"
        }
        Some(webpki::Error::CaUsedAsEndEntity) => "it is an authority's own",
        Some(_) | None => "it is not valid",
    }
}
