//! A fleet's folder: its authorities with their keys, etcd's user root, and the certificates of clients.
//! `prn fleet init` makes it; whoever has it can do anything with the fleet.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use prn_client::credentials::{CertificateSource, Credentials, KeySource, ServerSource};
use prn_fleet::Fleet;
use prn_fleet::etcd::{Etcd, EtcdSettings, ROOT};
use prn_proto::units::Address;
use serde::Deserialize;
use toml_edit::{Array, DocumentMut, value};
use zeroize::Zeroizing;

use super::authority::Authority;
use super::error::SetupError;
use super::fault::FleetFault;
use crate::commands::keygen::{Pair, write_new};
use crate::context::config::Place;
use crate::context::edit::replace;
use crate::failure::Failure;
use crate::which::fleet::tell_slow;

/// For how long etcd is asked that does not answer: a cluster that has just been started elects first.
const PATIENCE: Duration = Duration::from_secs(20);

/// What says that it is such a folder.
const FILE: &str = "fleet.toml";

/// The certificate of who signs what etcd's client port takes.
pub const AUTHORITY: &str = "authority";

/// The same among etcd's members.
pub const PEERS: &str = "peers";

/// The client that `prn fleet init` makes: whoever has made the fleet.
pub const OPERATOR: &str = "operator";

/// The folder in it of the clients' certificates.
const CLIENTS: &str = "clients";

/// A secret: its owner's alone.
pub const PRIVATE: u32 = 0o600;
/// No secret.
pub const READABLE: u32 = 0o644;

/// Which fleet's folder, for commands that need its authority.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Fleet")]
pub struct OfFolder {
    /// Which fleet [env: PRN_FLEET] [default: the current one of the configuration, or its only one]
    #[arg(
        long = "fleet",
        value_name = "NAME",
        env = "PRN_FLEET",
        hide_env = true
    )]
    pub name: Option<String>,
    /// The folder that `prn fleet init` has made [default: fleets/NAME beside your configuration]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

impl OfFolder {
    /// The folder.
    ///
    /// # Errors
    /// [`SetupError`]; no fleet is named, and the configuration has none, or several.
    pub fn open(&self) -> Result<Folder, Failure> {
        if let Some(dir) = &self.dir {
            return Ok(Folder::open(dir).map_err(FleetFault::from)?);
        }
        let place = Place::of_environment()?;
        let path = match &self.name {
            Some(name) => usual(&place, name),
            None => usual(&place, place.load()?.usual_fleet()?),
        };
        Ok(Folder::open(&path).map_err(FleetFault::from)?)
    }
}

/// The folder, and what is known of the fleet.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// The fleet's name.
    pub name: String,
    /// Where its etcd is.
    pub store: Vec<Address>,
}

/// [`FILE`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    store: Vec<Address>,
}

/// Where that of a fleet is, unless --dir names another place.
pub fn usual(place: &Place, fleet: &str) -> PathBuf {
    place.folder().join("fleets").join(fleet)
}

/// The name of the authority of this kind: see [`AUTHORITY`].
fn authority_name(fleet: &str, kind: &str) -> String {
    format!("prn:{fleet}:{kind}")
}

impl Folder {
    /// Makes one, which must not be there yet.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn make(path: &Path, name: &str, store: Vec<Address>) -> Result<Self, SetupError> {
        let path = std::path::absolute(path).map_err(|source| failed(path, source))?;
        if path.symlink_metadata().is_ok() {
            let instead = "--dir names another folder";
            return Err(SetupError::Exists { path, instead });
        }
        let folder = Self {
            path,
            name: name.to_owned(),
            store,
        };
        folder.subfolder(CLIENTS)?;
        let mut document = DocumentMut::new();
        document.insert("name", value(name));
        let store: Array = folder
            .store
            .iter()
            .map(|member| member.0.as_str())
            .collect();
        document.insert("store", value(store));
        let text = format!(
            "# A fleet of prn, by `prn fleet init`: keys in here are worth all of it.\n{document}"
        );
        folder.put(FILE, &text, READABLE)?;
        Ok(folder)
    }

    /// That which is there.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn open(path: &Path) -> Result<Self, SetupError> {
        let file = path.join(FILE);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SetupError::NoFolder(path.to_owned()));
            }
            Err(source) => return Err(SetupError::Read { path: file, source }),
        };
        let written: Written = toml::from_str(&text).map_err(|error| SetupError::Malformed {
            path: file,
            what: error.message().to_owned(),
        })?;
        Ok(Self {
            path: path.to_owned(),
            name: written.name,
            store: written.store,
        })
    }

    /// A file in it, or a folder.
    pub fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a folder in it, that its owner alone can look into.
    ///
    /// # Errors
    /// [`SetupError::Write`].
    pub fn subfolder(&self, name: &str) -> Result<PathBuf, SetupError> {
        let path = self.at(name);
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path);
        made.map_err(|source| failed(&path, source))?;
        Ok(path)
    }

    /// Writes a file that is not there yet, with these rights.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn put(&self, name: &str, text: &str, mode: u32) -> Result<(), SetupError> {
        put_new(&self.at(name), text, mode)
    }

    /// Writes NAME.pem and NAME.key.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn put_pair(&self, name: &str, pair: &Pair) -> Result<(), SetupError> {
        self.put(&format!("{name}.key"), &pair.key, PRIVATE)?;
        self.put(&format!("{name}.pem"), &pair.certificate, READABLE)
    }

    /// Makes the authority of this kind, and writes it.
    ///
    /// # Errors
    /// [`SetupError`]; there are no random bytes.
    pub fn make_authority(&self, kind: &str) -> Result<Authority, Failure> {
        let (authority, files) = Authority::make(&authority_name(&self.name, kind))?;
        self.put(&format!("{kind}.key"), &files.key, PRIVATE)
            .and_then(|()| self.put(&format!("{kind}.pem"), &files.certificate, READABLE))
            .map_err(FleetFault::from)?;
        Ok(authority)
    }

    /// The authority that signs what etcd's client port takes.
    ///
    /// # Errors
    /// [`SetupError`]; the key is none.
    pub fn authority(&self) -> Result<Authority, Failure> {
        let key = Zeroizing::new(self.read(&format!("{AUTHORITY}.key"))?);
        Ok(Authority::of_key(
            &authority_name(&self.name, AUTHORITY),
            &key,
        )?)
    }

    fn read(&self, name: &str) -> Result<String, FleetFault> {
        Ok(read(&self.at(name))?)
    }

    /// The certificate of [`AUTHORITY`].
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn authority_certificate(&self) -> Result<String, FleetFault> {
        self.read(&format!("{AUTHORITY}.pem"))
    }

    /// The name, without an ending, of a client's files.
    pub fn client(name: &str) -> String {
        format!("{CLIENTS}/{name}")
    }

    /// Clients that there are, with their certificates.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn clients(&self) -> Result<Vec<(String, PathBuf)>, SetupError> {
        let path = self.at(CLIENTS);
        let unread = |source| SetupError::Read {
            path: path.clone(),
            source,
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(&path).map_err(unread)? {
            let file = entry.map_err(unread)?.path();
            let name = file.file_name().and_then(|name| name.to_str());
            if let Some(name) = name.and_then(|name| name.strip_suffix(".pem")) {
                found.push((name.to_owned(), file.clone()));
            }
        }
        found.sort();
        Ok(found)
    }

    /// The fleet as etcd's user root, not connected yet.
    ///
    /// # Errors
    /// A certificate or the key is refused.
    pub fn as_root(&self) -> Result<Fleet, Failure> {
        let file = |name: String| CertificateSource::File(self.at(&name));
        let first = self.store.first().map(|member| member.parts().0);
        let server = ServerSource {
            authorities: vec![file(format!("{AUTHORITY}.pem"))],
            name: first.unwrap_or_default().to_owned(),
            ..ServerSource::default()
        };
        let key = KeySource::File(self.at(&format!("{ROOT}.key")));
        let credentials = Credentials::find(&file(format!("{ROOT}.pem")), &key, &server)?;
        let etcd = Etcd::new(EtcdSettings {
            endpoints: self.store.clone(),
            credentials,
            name: None,
            patience: PATIENCE,
            when_slow: Some(tell_slow),
        });
        let fleet = Fleet::new(etcd.map_err(FleetFault::from)?, &self.name);
        Ok(fleet.map_err(FleetFault::from)?)
    }
}

/// A file's text.
///
/// # Errors
/// [`SetupError::Read`].
pub fn read(path: &Path) -> Result<String, SetupError> {
    fs::read_to_string(path).map_err(|source| SetupError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Writes a file of this mode that is not there yet.
///
/// # Errors
/// [`SetupError`].
pub fn put_new(path: &Path, text: &str, mode: u32) -> Result<(), SetupError> {
    let written = write_new(path, text.as_bytes(), mode);
    written.map_err(|error| match error.kind() == io::ErrorKind::AlreadyExists {
        true => SetupError::Exists {
            path: path.to_owned(),
            instead: "remove it, or name another place",
        },
        false => failed(path, error),
    })
}

/// Writes a file of this mode in place of the one that is there, if there is one.
///
/// # Errors
/// [`SetupError::Write`].
pub fn put_instead(path: &Path, text: &str, mode: u32) -> Result<(), SetupError> {
    replace(path, text, mode).map_err(|source| failed(path, source))
}

fn failed(path: &Path, source: io::Error) -> SetupError {
    SetupError::Write {
        path: path.to_owned(),
        source,
    }
}
