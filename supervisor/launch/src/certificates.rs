//! Certificates as they are read: usable, or with what is to be said of them.

use std::path::Path;
use std::time::Duration;

use prn_proto::credentials::{
    CertificateSource, CredentialsError, ends_soon, load_certificate_and_metadata,
};
use prn_proto::tls::{Certificate, TlsError};

use crate::owner::check_owner;
use crate::warning::Warning;

/// A client's certificate. That it lets nobody in at this time, or soon, is said, and that others than
/// root could let somebody else in.
pub fn usable(
    path: &Path,
    now: Duration,
    warn: &dyn Fn(Warning),
) -> Result<Certificate, CredentialsError> {
    let (pin, metadata) = load_certificate_and_metadata(path)?;
    if let Err(problem) = check_owner(path, &metadata) {
        warn(Warning::Access(problem));
    }
    match pin.check_validity(now) {
        Ok(()) => warn_of_end(&pin, path, now, warn),
        Err(TlsError::NotValidNow {
            from,
            until,
            now,
            outside,
        }) => warn(Warning::ClientNotValid {
            path: path.to_owned(),
            from,
            until,
            now,
            outside,
        }),
        Err(source) => return Err(refused(path, source)),
    }
    Ok(pin)
}

/// This file's certificate is refused.
pub fn refused(path: &Path, source: TlsError) -> CredentialsError {
    CertificateSource::File(path.to_owned()).refused(source)
}

/// Says that it ends soon.
pub fn warn_of_end(certificate: &Certificate, path: &Path, now: Duration, warn: &dyn Fn(Warning)) {
    if let Some(ending) = ends_soon(certificate, &path.display(), now) {
        warn(Warning::EndsSoon(ending));
    }
}
