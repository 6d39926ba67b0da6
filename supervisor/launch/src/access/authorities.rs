//! Authorities that sign clients' certificates, and lists of what they have revoked.

use std::path::Path;

use prn_proto::credentials::{CredentialsError, load_and_metadata};
use prn_proto::tls::{AuthorityCertificate, RevocationList, TlsError, shown_time};

use super::listed::Access;
use super::tables::{Place, Problem};
use crate::certificates::{Reading, of_others, refused, warn_of_owner};
use crate::error::ServerError;
use crate::options::OptionsError;
use crate::warning::Warning;

/// Adds those that the options name. Clients must be known: an authority is for those that are
/// known by names.
pub(super) fn add(access: &mut Access, reading: &Reading<'_>) -> Result<(), ServerError> {
    let options = reading.options;
    let has_names = access.known.iter().any(|(_, peer)| !peer.names.is_empty());
    if !options.client_ca.is_empty() && !has_names {
        return Err(OptionsError::NoNames.into());
    }
    if options.client_ca.is_empty() && !options.client_crl.is_empty() {
        return Err(OptionsError::NoAuthorities.into());
    }
    for path in &options.client_ca {
        let (authority, metadata) = load_and_metadata(path, AuthorityCertificate::from_pem)
            .map_err(|error| of_others("client-ca", error))?;
        warn_of_owner(path, &metadata, reading);
        let checked = authority.check_validity(reading.now);
        let checked = checked.and_then(|()| check_kind(&authority, reading));
        checked.map_err(|source| refused(path, source))?;
        access.authorities.push(authority);
    }
    for path in &options.client_crl {
        let (list, metadata) = load_and_metadata(path, RevocationList::from_pem)
            .map_err(|error| of_list(error, path))?;
        warn_of_owner(path, &metadata, reading);
        if list.next_update() < reading.now {
            (reading.warn)(Warning::Access(Problem {
                place: Place {
                    path: path.clone(),
                    line: None,
                },
                what: format!(
                    "this list was to be followed by another one on {}: until that is here, nobody is let in whose issuer it is of",
                    shown_time(list.next_update())
                ),
            }));
        }
        let mut earlier = access.revocations.iter().zip(&options.client_crl);
        if let Some((_, other)) = earlier.find(|(other, _)| other.is_beside(&list)) {
            return Err(OptionsError::SecondList(path.clone(), other.clone()).into());
        }
        access.revocations.push(list);
    }
    warn_of_lists(access, reading);
    Ok(())
}

/// Says of which authorities there are no lists, where there are any.
fn warn_of_lists(access: &Access, reading: &Reading<'_>) {
    if access.revocations.is_empty() {
        return;
    }
    for (path, authority) in reading.options.client_ca.iter().zip(&access.authorities) {
        if !access.revocations.iter().any(|list| list.is_of(authority)) {
            let what = "no list of client-crl is of this authority: nobody is let in under it";
            (reading.warn)(Warning::Access(Problem {
                place: Place {
                    path: path.clone(),
                    line: None,
                },
                what: what.to_owned(),
            }));
        }
    }
}

fn check_kind(authority: &AuthorityCertificate, reading: &Reading<'_>) -> Result<(), TlsError> {
    if reading.options.kinds().takes(authority.kind()) {
        Ok(())
    } else {
        Err(TlsError::P256NotAllowed)
    }
}

/// The same, of what is no certificate.
fn of_list(error: CredentialsError, path: &Path) -> ServerError {
    if let CredentialsError::Certificate { source, .. } = error {
        return OptionsError::List(path.to_owned(), source).into();
    }
    of_others("client-crl", error)
}
