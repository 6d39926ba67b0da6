//! The configuration file: `~/.config/prn/config.toml`.
//!
//! ```toml
//! current = "web1"
//!
//! [context.web1]
//! address = "web1.example:50051"
//! server-cert = "web1.pem"    # or the certificate itself, PEM; or a list
//! client-cert = "me.pem"      # without: client.pem beside this file
//! tls-key = "me.key"          # or "env": PRN_TLS_KEY; without: client.key beside this file
//!                             # or keyring:NAME, credential:NAME, pkcs11:URI, or instead of it
//!                             # key-command = ["vault", …]
//! ```
//!
//! A fleet has a table of its own, `[fleet.NAME]`, beside `current-fleet`: docs/fleet.md.
//!
//! With `sign = true` all that is started there is signed. Instead of `server-cert`, or beside it, a server is known by `server-fingerprint`, or by
//! `server-ca` and `server-name`. Each key is a flag without its dashes, as in the server's own
//! file. A path is meant from the folder that the file is in; `~/` is the user's own folder.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use prn_client::credentials::{CertificateSource, KeyFingerprint, KeySource};
use prn_proto::units::Address;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::ContextError;
use super::name::is_name;

/// What `tls-key` says of a key that is in the environment.
pub const KEY_OF_ENVIRONMENT: &str = "env";

/// No configuration is nearly this long.
pub const FILE_MAX: u64 = 4 << 20;

/// What certificates begin with where they are in the file.
const PEM: &str = "-----BEGIN ";

/// The file's content.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The context that is used where none is named.
    pub current: Option<String>,
    /// All contexts by their names.
    #[serde(rename = "context")]
    pub contexts: BTreeMap<String, Context>,
    /// The fleet that is used where none is named and there are several.
    pub current_fleet: Option<String>,
    /// All fleets by their names.
    #[serde(rename = "fleet")]
    pub fleets: BTreeMap<String, Fleet>,
}

/// One fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Fleet {
    /// The members of its etcd.
    pub store: Vec<Address>,
    /// Certificates of authorities that sign theirs, or files of them.
    pub store_ca: Option<Texts>,
    /// Their name in those, if it is not the host of each address.
    pub store_name: Option<String>,
    /// The user's own certificate, or the file of it: for etcd, and for the hosts.
    pub client_cert: Option<String>,
    /// Where the user's key is: its file, another place, or that it is in the environment.
    pub tls_key: Option<String>,
    /// A command that prints the user's key.
    pub key_command: Option<Vec<String>>,
    /// All jobs are signed.
    pub sign: bool,
    /// Certificates of authorities that sign the hosts', or files of them. Without: what a host is
    /// known by is what its agent announces.
    pub server_ca: Option<Texts>,
}

/// One server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Context {
    /// Where it listens.
    pub address: Option<Address>,
    /// Its certificate, or the file of it; or several.
    pub server_cert: Option<Texts>,
    /// Fingerprints of its keys.
    pub server_fingerprint: Option<Fingerprints>,
    /// Certificates of authorities that sign its certificate, or files of them.
    pub server_ca: Option<Texts>,
    /// Its name in that, if it is not that of the address.
    pub server_name: Option<String>,
    /// The user's own certificate, or the file of it.
    pub client_cert: Option<String>,
    /// Where the user's key is: its file, another place, or that it is in the environment.
    pub tls_key: Option<String>,
    /// A command that prints the user's key.
    pub key_command: Option<Vec<String>>,
    /// All that is started there is signed.
    pub sign: bool,
}

/// A text, or several.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "not a text, or a list of such")]
pub enum Texts {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

/// Fingerprints of keys, as they are written: one, or several.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Texts")]
pub struct Fingerprints(pub Vec<KeyFingerprint>);

impl TryFrom<Texts> for Fingerprints {
    type Error = String;

    fn try_from(texts: Texts) -> Result<Self, String> {
        let parsed = texts.as_slice().iter().map(|text| text.parse());
        let parsed = parsed.collect::<Result<_, prn_proto::tls::TlsError>>();
        parsed.map(Self).map_err(|error| error.to_string())
    }
}

impl Texts {
    /// None, one, or several of them.
    pub fn of(mut texts: Vec<String>) -> Option<Self> {
        match (texts.pop(), texts.is_empty()) {
            (None, _) => None,
            (Some(one), true) => Some(Self::One(one)),
            (Some(last), false) => {
                texts.push(last);
                Some(Self::Several(texts))
            }
        }
    }

    /// All.
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Several(texts) => texts,
        }
    }
}

/// Where the configuration is.
#[derive(Debug, Clone)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
}

impl Place {
    /// What the environment says: `PRN_CONFIG`, else the folder of the user's configuration (XDG
    /// Base Directory Specification).
    ///
    /// # Errors
    /// [`ContextError::NoPlace`].
    pub fn of_environment() -> Result<Self, ContextError> {
        let named = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let folder = || {
            named("XDG_CONFIG_HOME")
                .filter(|folder| folder.is_absolute())
                .or_else(|| Some(named("HOME")?.join(".config")))
        };
        let path = named("PRN_CONFIG").or_else(|| Some(folder()?.join("prn").join("config.toml")));
        Ok(Self {
            path: path.ok_or(ContextError::NoPlace)?,
        })
    }

    /// The folder that it is in.
    pub fn folder(&self) -> &Path {
        let folder = self.path.parent();
        folder
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."))
    }

    /// The user's own certificate, for contexts that name none.
    pub fn own_certificate(&self) -> PathBuf {
        self.folder().join("client.pem")
    }

    /// Its key.
    pub fn own_key(&self) -> PathBuf {
        self.folder().join("client.key")
    }

    /// The text of the file; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be read, or others can change it.
    pub fn text(&self) -> Result<Option<String>, ContextError> {
        let failed = |source| ContextError::Read {
            path: self.path.clone(),
            source,
        };
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        // Asked of the open file: the name may mean another one by now.
        let metadata = file.metadata().map_err(failed)?;
        let own = Uid::effective().as_raw();
        let is_ours = metadata.uid() == own || metadata.uid() == 0;
        if !is_ours || metadata.mode() & 0o022 != 0 {
            return Err(ContextError::Open {
                path: self.path.clone(),
                mode: metadata.mode() & 0o7777,
                uid: metadata.uid(),
                own,
            });
        }
        let mut bytes = Vec::new();
        file.take(FILE_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_MAX {
            return Err(failed(io::ErrorKind::FileTooLarge.into()));
        }
        let text = String::from_utf8(bytes)
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        Ok(Some(text))
    }

    /// The file's content; nothing if there is none.
    ///
    /// # Errors
    /// As [`Place::text`], and if it is not one of this form.
    pub fn load(&self) -> Result<Config, ContextError> {
        let Some(text) = self.text()? else {
            return Ok(Config::default());
        };
        parse(&text).map_err(|(line, what)| self.refused(line, what))
    }

    /// It is not of this form.
    pub fn refused(&self, line: usize, what: String) -> ContextError {
        ContextError::Parse {
            path: self.path.clone(),
            line,
            what,
        }
    }

    /// Where a certificate of a context is.
    pub fn certificate(&self, text: &str, name: String) -> CertificateSource {
        if text.trim_start().starts_with(PEM) {
            let pem = text.to_owned();
            CertificateSource::Text { pem, name }
        } else {
            CertificateSource::File(self.resolved(text))
        }
    }

    /// Where a key of a context is.
    pub fn key(&self, text: &str) -> KeySource {
        if text == KEY_OF_ENVIRONMENT {
            KeySource::from_environment().unwrap_or(KeySource::Environment)
        } else {
            match KeySource::try_from(text.to_owned()) {
                Ok(KeySource::File(_)) | Err(_) => KeySource::File(self.resolved(text)),
                Ok(place) => place,
            }
        }
    }

    /// A path as it is meant in the file.
    fn resolved(&self, text: &str) -> PathBuf {
        match (text.strip_prefix("~/"), std::env::var_os("HOME")) {
            (Some(below), Some(home)) => Path::new(&home).join(below),
            _ => self.folder().join(text),
        }
    }
}

impl Context {
    /// From a file that has the keys of one context alone.
    ///
    /// # Errors
    /// As [`parse`].
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        toml(text)
    }
}

fn toml<T: DeserializeOwned>(text: &str) -> Result<T, (usize, String)> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        (line_at(text, start), error.message().replace('\n', ", "))
    })
}

/// The content, or the line and what is wrong there.
pub fn parse(text: &str) -> Result<Config, (usize, String)> {
    let config: Config = toml(text)?;
    let contexts = config.contexts.values();
    let keys = contexts.map(|context| (&context.tls_key, &context.key_command));
    let fleets = config.fleets.values();
    let of_fleets = fleets.map(|fleet| (&fleet.tls_key, &fleet.key_command));
    for (tls_key, key_command) in keys.chain(of_fleets) {
        let key = tls_key.clone().map(KeySource::try_from);
        let both = key_command.is_some() && key.is_some();
        let what = match key {
            Some(Ok(_)) if both => "key-command and tls-key: the key is in one place".to_owned(),
            Some(Err(error)) => error.to_string(),
            Some(Ok(_)) | None => continue,
        };
        let start = text.find(tls_key.as_deref().unwrap_or_default());
        return Err((line_at(text, start.unwrap_or_default()), what));
    }
    match config.contexts.keys().find(|name| !is_name(name)) {
        None => Ok(config),
        Some(name) => {
            let start = text.find(name.as_str()).unwrap_or_default();
            Err((
                line_at(text, start),
                format!("{name:?} is not a context's name"),
            ))
        }
    }
}

/// The line that a byte is in, from 1.
pub fn line_at(text: &str, byte: usize) -> usize {
    let before = text.get(..byte).unwrap_or_default();
    before.matches('\n').count() + 1
}

impl Config {
    /// The names of all contexts.
    pub fn names(&self) -> Vec<String> {
        self.contexts.keys().cloned().collect()
    }

    /// The name of the fleet that is used where none is named: the current one, or the only one.
    ///
    /// # Errors
    /// [`ContextError::Setting`].
    pub fn usual_fleet(&self) -> Result<&str, ContextError> {
        let mut names = self.fleets.keys();
        let only = match (names.next(), names.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        };
        let usual = self.current_fleet.as_ref().or(only);
        usual.map(String::as_str).ok_or_else(|| {
            let why = if self.fleets.is_empty() {
                "names no fleet, and nor does the configuration: `prn fleet init` makes one"
            } else {
                "names no fleet, and the configuration has several: name one, or set current-fleet"
            };
            ContextError::Setting {
                what: "--fleet",
                why: why.to_owned(),
            }
        })
    }

    /// The fleet of this name.
    ///
    /// # Errors
    /// [`ContextError::UnknownFleet`].
    pub fn fleet(&self, name: &str) -> Result<&Fleet, ContextError> {
        let unknown = || ContextError::UnknownFleet {
            name: name.to_owned(),
            known: self.fleets.keys().cloned().collect(),
        };
        self.fleets.get(name).ok_or_else(unknown)
    }

    /// There is none of this name, or pattern.
    pub fn unknown(&self, name: &str) -> ContextError {
        ContextError::Unknown {
            name: name.to_owned(),
            known: self.names(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn place(folder: &tempfile::TempDir, text: &str, mode: u32) -> Place {
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        Place { path }
    }

    #[test]
    fn a_file_that_others_can_change_is_refused_and_one_that_they_can_read_is_not() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o600, 0o644, 0o400] {
            assert!(place(&folder, "", mode).load().is_ok(), "{mode:o}");
        }
        for mode in [0o660, 0o602, 0o666] {
            let refused = place(&folder, "", mode).load().unwrap_err();
            assert!(refused.to_string().contains("chmod go-w"), "{refused}");
        }
        let nothing = Place {
            path: folder.path().join("none.toml"),
        };
        assert!(nothing.load().unwrap().contexts.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, line, what) in [
            (
                "current = 'a'\n\n[context.a]\nadress = 'x:1'\n",
                4,
                "adress",
            ),
            ("[context.a]\naddress = 'x'\n", 2, "HOST:PORT"),
            (
                "[context.a]\naddress = 'x:1'\n[contexts.b]\n",
                3,
                "contexts",
            ),
            ("\n[context.'a b']\naddress = 'x:1'\n", 2, "a b"),
            ("[context.a\n", 1, ""),
        ] {
            let (at, said) = parse(text).unwrap_err();
            assert!(at == line && said.contains(what), "{text}: {at}: {said}");
            assert!(!said.contains('\n'), "{said}");
        }
    }

    #[test]
    fn paths_are_meant_from_the_files_own_folder_and_a_certificate_may_be_in_it() {
        let place = Place {
            path: "/c/prn/config.toml".into(),
        };
        let file = |text: &str| place.certificate(text, String::new()).to_string();
        assert_eq!(file("a.pem"), "/c/prn/a.pem");
        assert_eq!(file("/b/a.pem"), "/b/a.pem");
        let text = place.certificate("-----BEGIN CERTIFICATE-----\n", "of a".to_owned());
        assert_eq!(text.to_string(), "of a");
        assert_eq!(place.key("k"), KeySource::File("/c/prn/k".into()));
        assert_eq!(Place { path: "c".into() }.folder(), Path::new("."));
    }
}
