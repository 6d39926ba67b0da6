//! What `prn fleet invite` makes and `prn fleet join` takes: one file with all that a host's agent, or
//! somebody who submits jobs, has to have of a fleet. A private key is in it.

use std::path::Path;

use prn_client::credentials::{KeyFingerprint, load_certificate, now};
use prn_fleet::{Keys, is_name};
use prn_proto::tls::{
    AuthorityCertificate, Certificate, Key, TlsError, check_client, check_key, shown_time,
};
use prn_proto::units::Address;
use serde::{Deserialize, Deserializer};
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};
use zeroize::Zeroizing;

use super::error::SetupError;
use super::folder::read;

/// What a host's server knows the agent as.
pub const AGENT: &str = "prn-agent";

/// The file's content.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invitation {
    /// The fleet.
    pub fleet: String,
    /// The host whose agent is invited.
    pub host: Option<String>,
    /// Or who submits jobs.
    pub client: Option<String>,
    /// The members of its etcd.
    pub store: Vec<Address>,
    /// The certificate of the authority that signs theirs.
    pub authority: String,
    /// The certificate of who is invited.
    pub certificate: String,
    /// Its key.
    #[serde(deserialize_with = "secret")]
    pub key: Zeroizing<String>,
    /// Who submits jobs, and so is to be let in by a host's server.
    #[serde(default)]
    pub submitter: Vec<Submitter>,
}

/// Those in it.
struct Certificates {
    authority: AuthorityCertificate,
    own: Certificate,
}

impl Certificates {
    /// Which one is not valid now, and its time.
    fn outside(&self) -> Option<(&'static str, String)> {
        let now = now();
        let both = [
            (
                "the authority's certificate",
                self.authority.check_validity(now),
            ),
            ("the certificate", self.own.check_validity(now)),
        ];
        let mut outside = both.into_iter().filter_map(|(what, checked)| {
            let error = checked.err()?;
            let TlsError::NotValidNow {
                from, until, now, ..
            } = &error
            else {
                return Some((what, error.to_string()));
            };
            let period = format!("from {from} to {until}, and this machine's clock says {now}");
            Some((what, period))
        });
        outside.next()
    }
}

/// Somebody who submits jobs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submitter {
    /// Its name.
    pub name: String,
    /// The fingerprint of its key.
    pub fingerprint: String,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}

impl Invitation {
    /// That in a file. Its certificate is who it says to be, now, by its authority.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn open(path: &Path) -> Result<Self, SetupError> {
        let text = Zeroizing::new(read(path)?);
        let malformed = |what: &str| SetupError::Malformed {
            path: path.to_owned(),
            // Of the text itself nothing is told: there is a key in it.
            what: format!("{what}: not an invitation, as `prn fleet invite` makes it"),
        };
        let found: Self = toml::from_str(&text).map_err(|error| malformed(error.message()))?;
        if found.host.is_some() == found.client.is_some() {
            return Err(malformed("of neither a host nor a client"));
        }
        let certificates = found.check().map_err(malformed)?;
        if let Some((what, period)) = certificates.outside() {
            let path = path.to_owned();
            return Err(SetupError::NotNow { path, what, period });
        }
        found.check_signed(&certificates).map_err(malformed)?;
        Ok(found)
    }

    /// What of it becomes the name of a file, or is believed, is what it says to be.
    fn check(&self) -> Result<Certificates, &'static str> {
        let submitters = self.submitter.iter();
        let mut names = [&self.fleet]
            .into_iter()
            .chain(&self.host)
            .chain(&self.client)
            .chain(submitters.map(|submitter| &submitter.name));
        if !names.all(|name| is_name(name)) {
            return Err("a name in it is none");
        }
        let authority = AuthorityCertificate::from_pem(self.authority.as_bytes())
            .map_err(|_| "the authority's certificate in it is none")?;
        let own = self.own()?;
        let key = Key::from_pem(self.key.as_bytes()).map_err(|_| "the key in it is none")?;
        check_key(&own, &key).map_err(|_| "the key in it is not the certificate's")?;
        let mut submitters = self.submitter.iter();
        if submitters.any(|who| who.fingerprint.parse::<KeyFingerprint>().is_err()) {
            return Err("the fingerprint of a key in it is none");
        }
        Ok(Certificates { authority, own })
    }

    /// The certificate is what etcd will know the user by.
    fn check_signed(&self, certificates: &Certificates) -> Result<(), &'static str> {
        let Certificates { authority, own } = certificates;
        check_client(own, authority, now())
            .map_err(|_| "the authority in it has not signed its certificate")?;
        let user = self.user();
        if user.is_none() || own.names().common != user {
            return Err("the certificate in it is of another name");
        }
        Ok(())
    }

    /// The user of etcd whose it is to be.
    fn user(&self) -> Option<String> {
        let keys = Keys::new(&self.fleet).ok()?;
        let user = match (&self.host, &self.client) {
            (Some(host), _) => keys.agent_user(host),
            (None, name) => keys.client_user(name.as_deref()?),
        };
        user.ok()
    }

    /// The certificate of who is invited.
    ///
    /// # Errors
    /// It is none.
    pub fn own(&self) -> Result<Certificate, &'static str> {
        Certificate::from_pem(self.certificate.as_bytes())
            .map_err(|_| "the certificate in it is none")
    }

    /// Checks that its certificate does not end before the one that it is to replace. One that
    /// cannot be read is no loss.
    ///
    /// # Errors
    /// [`SetupError::Earlier`].
    pub fn check_replaces(&self, there: &Path) -> Result<(), SetupError> {
        let (Ok(own), Ok(known)) = (self.own(), load_certificate(there)) else {
            return Ok(());
        };
        let [ends, known] = [own, known].map(|one| one.not_after().unwrap_or_default());
        if ends >= known {
            return Ok(());
        }
        Err(SetupError::Earlier {
            ends: shown_time(ends),
            there: there.to_owned(),
            known: shown_time(known),
        })
    }

    /// The file's text.
    pub fn text(&self) -> Zeroizing<String> {
        let mut document = DocumentMut::new();
        document.insert("fleet", value(self.fleet.as_str()));
        for (key, name) in [("host", &self.host), ("client", &self.client)] {
            if let Some(name) = name {
                document.insert(key, value(name.as_str()));
            }
        }
        let store: Array = self.store.iter().map(|member| member.0.as_str()).collect();
        document.insert("store", value(store));
        for (key, pem) in [
            ("authority", &self.authority),
            ("certificate", &self.certificate),
            ("key", &*self.key),
        ] {
            document.insert(key, value(pem.as_str()));
        }
        let tables = self.submitter.iter().map(|submitter| {
            let mut table = Table::new();
            table.insert("name", value(submitter.name.as_str()));
            table.insert("fingerprint", value(submitter.fingerprint.as_str()));
            table
        });
        let tables: ArrayOfTables = tables.collect();
        if !tables.is_empty() {
            document.insert("submitter", Item::ArrayOfTables(tables));
        }
        Zeroizing::new(format!(
            "# For `prn fleet join`. A private key is in it: remove it there.\n{document}"
        ))
    }
}
