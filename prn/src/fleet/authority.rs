//! Authorities of a fleet, and what they sign: one for whoever talks to etcd's client port, and one for
//! etcd's members among themselves, as whoever is let in there can write anything.

use prn_proto::tls::{Certificate, Key, check_key};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519,
};
use zeroize::Zeroizing;

use crate::commands::keygen::{KeygenError, Pair, generate, period};

/// Days that an authority's own certificate is valid.
pub const DAYS: u32 = 3650;

/// Who signs.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

/// An authority's own key and certificate (PEM).
pub struct Files {
    /// A secret.
    pub key: Zeroizing<String>,
    /// No secret.
    pub certificate: String,
}

/// What an authority is to sign.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// Its name: the user of etcd that it is.
    pub name: String,
    /// Where a server with it is. None: it is a client's.
    pub hosts: Vec<String>,
    /// Days until it expires.
    pub days: u32,
}

impl Authority {
    /// A new one of this name, with its key and its certificate.
    ///
    /// # Errors
    /// If there are no random bytes.
    pub fn make(name: &str) -> Result<(Self, Files), KeygenError> {
        let key = generate()?;
        let params = params_of(name)?;
        let files = Files {
            key: Zeroizing::new(key.serialize_pem()),
            certificate: params.self_signed(&key)?.pem(),
        };
        let issuer = Issuer::new(params, key);
        Ok((Self { issuer }, files))
    }

    /// That of this name, by its key (PEM).
    ///
    /// # Errors
    /// The key is none.
    pub fn of_key(name: &str, key: &str) -> Result<Self, KeygenError> {
        let key = KeyPair::from_pkcs8_pem_and_sign_algo(key, &PKCS_ED25519)?;
        let issuer = Issuer::new(params_of(name)?, key);
        Ok(Self { issuer })
    }

    /// A key, and a certificate of it.
    ///
    /// # Errors
    /// If there are no random bytes, or it would be refused later.
    pub fn issue(&self, leaf: &Leaf) -> Result<Pair, KeygenError> {
        let key = generate()?;
        let mut params = CertificateParams::new(leaf.hosts.clone())?;
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, leaf.name.as_str());
        (params.not_before, params.not_after) = period(leaf.days).into_inner();
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if !leaf.hosts.is_empty() {
            // A member is its peers' client, too.
            let usages = &mut params.extended_key_usages;
            usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        pair(&key, &params.signed_by(&key, &self.issuer)?)
    }
}

/// The same each time but for the period, so that what it signs later names the same issuer.
fn params_of(name: &str) -> Result<CertificateParams, KeygenError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = period(DAYS).into_inner();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn pair(key: &KeyPair, certificate: &rcgen::Certificate) -> Result<Pair, KeygenError> {
    let made = Certificate::from_der(certificate.der().to_vec())?;
    let pem = Zeroizing::new(key.serialize_pem());
    check_key(&made, &Key::from_pem(pem.as_bytes())?)?;
    Ok(Pair {
        key: pem,
        certificate: certificate.pem(),
        made,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_that_is_loaded_signs_as_the_one_that_was_made() {
        let (made, files) = Authority::make("prn:prod").unwrap();
        let loaded = Authority::of_key("prn:prod", &files.key).unwrap();
        let leaf = Leaf {
            name: "prn:prod:agent:web1".to_owned(),
            hosts: Vec::new(),
            days: 1,
        };
        for authority in [made, loaded] {
            let issued = authority.issue(&leaf).unwrap();
            assert_eq!(issued.made.names().common.as_deref(), Some(&*leaf.name));
            assert!(issued.made.names().hosts.is_empty());
        }
    }
}
