//! Certificates as they are read: usable, or with what is to be said of them.

use std::fs::Metadata;
use std::path::Path;
use std::time::Duration;

use prn_proto::credentials::{
    CertificateSource, CredentialsError, ends_soon, load_certificate_and_metadata,
};
use prn_proto::tls::{Certificate, TlsError};

use crate::error::ServerError;
use crate::options::{Options, OptionsError};
use crate::owner::check_owner;
use crate::warning::Warning;

/// What certificates are read by.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    /// The server's options.
    pub options: &'a Options,
    /// This machine's time, since the Unix epoch.
    pub now: Duration,
    /// What is probably not meant.
    pub warn: &'a dyn Fn(Warning),
}

/// A client's certificate. That it lets nobody in at this time, or soon, is said, and that others than
/// root could let somebody else in.
pub fn usable(path: &Path, reading: &Reading<'_>) -> Result<Certificate, CredentialsError> {
    let (pin, metadata) = load_certificate_and_metadata(path)?;
    warn_of_owner(path, &metadata, reading);
    pin.check_kind(reading.options.kinds())
        .map_err(|source| refused(path, source))?;
    match pin.check_validity(reading.now) {
        Ok(()) => warn_of_end(&pin, path, reading.now, reading.warn),
        Err(TlsError::NotValidNow {
            from,
            until,
            now,
            outside,
        }) => (reading.warn)(Warning::ClientNotValid {
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

/// Says that others than root could let somebody else in.
pub fn warn_of_owner(path: &Path, metadata: &Metadata, reading: &Reading<'_>) {
    if let Err(problem) = check_owner(path, metadata) {
        (reading.warn)(Warning::Access(problem));
    }
}

/// Why a file of somebody else's is not taken: one that is not there is not to be made here.
pub fn of_others(key: &'static str, error: CredentialsError) -> ServerError {
    if let CredentialsError::Read { path, source } = error {
        return OptionsError::Unread { key, path, source }.into();
    }
    error.into()
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
