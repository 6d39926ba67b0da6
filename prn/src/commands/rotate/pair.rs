//! A certificate and its key as files, and those that are to take their places.
//!
//! Beside `x.pem` and `x.key`, `x.pem.next` and `x.key.next` are those to come, and `x.pem.old` and
//! `x.key.old` those that were before. Which of them are there, and which belong together, says how
//! far a rotation has come. So a step that was interrupted is done again, and ends as it would
//! have:
//!
//! | there are | it was interrupted | what a repeated step does |
//! |---|---|---|
//! | `x.key.next` alone | while both were made | makes both anew |
//! | both | not, or before the first was put in its place | puts both in their places |
//! | `x.pem.next`, of the key in `x.key` | between the two | puts the certificate in its place |
//!
//! Each file is written beside its place and renamed. Nothing that others are told of is made anew.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use prn_client::credentials::{CertificateSource, CredentialsError, KeySource, now};
use prn_proto::tls::{Certificate, Own, check_key};
use zeroize::Zeroizing;

use crate::commands::keygen::{self, KeygenError};
use crate::context::edit::replace_by;

/// What the name of a file ends in that is being written.
const PART: &str = ".part";

const PRIVATE: u32 = 0o600;
const READABLE: u32 = 0o644;

/// Why a pair was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// One of the files is refused.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// None was made.
    #[error("cannot make another key")]
    Made(#[from] KeygenError),
    /// Whoever has signed it has to sign the next one.
    #[error(
        "{} is signed by {issuer}, and what `prn rotate` makes is not: have another one signed, and put it and its key in their places",
        path.display()
    )]
    Signed {
        /// The certificate.
        path: PathBuf,
        /// Who.
        issuer: String,
    },
    /// The files that are to come are not of one pair.
    #[error(
        "{} does not belong to the key in {}: --abort removes what was to come, and then it can begin again",
        certificate.display(),
        key.display()
    )]
    Strange {
        /// One.
        certificate: PathBuf,
        /// The other.
        key: PathBuf,
    },
    /// Nor are those that there are.
    #[error("{} does not belong to the key in {}: name its own key with --tls-key", certificate.display(), key.display())]
    Apart {
        /// One.
        certificate: PathBuf,
        /// The other.
        key: PathBuf,
    },
    /// Nothing is to be put in place.
    #[error("there is no {}: the same command without --finish makes it, and says what to do next", .0.display())]
    NotBegun(PathBuf),
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// The files.
#[derive(Debug, Clone)]
pub struct Pair {
    /// Of the certificate.
    pub certificate: PathBuf,
    /// Of its key.
    pub key: PathBuf,
}

/// How far a rotation has come.
#[derive(Debug)]
pub enum Stage {
    /// Nothing is to come.
    Idle,
    /// Both are made.
    Begun(Certificate),
    /// The key is in its place, its certificate is to follow.
    Between,
}

/// The name of a file beside another one.
fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(what);
    name.into()
}

/// The certificate that is to follow the one in this file, if it was made.
///
/// # Errors
/// If it cannot be read.
pub fn next_certificate(path: &Path) -> Result<Option<Certificate>, CredentialsError> {
    let path = behind_link(path)?;
    match CertificateSource::File(beside(&path, ".next")).load() {
        Ok(certificate) => Ok(Some(certificate)),
        Err(CredentialsError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The file that is meant by a name that may be a link, which stays one: what is to come is beside
/// the file.
fn behind_link(path: &Path) -> Result<PathBuf, CredentialsError> {
    let found = path.symlink_metadata().and_then(|metadata| {
        if metadata.is_symlink() {
            path.canonicalize()
        } else {
            Ok(path.to_owned())
        }
    });
    found.map_err(|source| CredentialsError::Read {
        path: path.to_owned(),
        source,
    })
}

impl Pair {
    /// Of files that are there. Of one that is a link, what it leads to is meant.
    ///
    /// # Errors
    /// If one of them is not.
    pub fn new(certificate: &Path, key: &Path) -> Result<Self, PairError> {
        Ok(Self {
            certificate: behind_link(certificate)?,
            key: behind_link(key)?,
        })
    }

    /// Those that are to take their places.
    pub fn next(&self) -> Self {
        self.named(".next")
    }

    /// Those that were there before.
    pub fn old(&self) -> Self {
        self.named(".old")
    }

    fn named(&self, what: &str) -> Self {
        Self {
            certificate: beside(&self.certificate, what),
            key: beside(&self.key, what),
        }
    }

    /// The certificate, which nobody else has signed.
    ///
    /// # Errors
    /// If it is refused.
    pub fn load(&self) -> Result<Certificate, PairError> {
        let file = CertificateSource::File(self.certificate.clone());
        let own = file.load_as(Own::from_pem)?;
        let issuer = own.certificate.issuer();
        let issuer = issuer.or_else(|| (!own.issuers.is_empty()).then(|| "an authority".into()));
        match issuer {
            Some(issuer) => Err(PairError::Signed {
                path: self.certificate.clone(),
                issuer,
            }),
            None => Ok(own.certificate),
        }
    }

    /// Whether this certificate is of the key in that file.
    fn fits(certificate: &Certificate, key: &Path) -> Result<bool, PairError> {
        let key = KeySource::File(key.to_owned()).load()?;
        Ok(check_key(certificate, &key).is_ok())
    }

    /// How far it is.
    ///
    /// # Errors
    /// If files are refused, or do not belong together.
    pub fn stage(&self) -> Result<Stage, PairError> {
        let (certificate, next) = (self.load()?, self.next());
        let strange = |certificate: &Self, key: &Self| PairError::Strange {
            certificate: certificate.certificate.clone(),
            key: key.key.clone(),
        };
        let Some(following) = next_certificate(&self.certificate)? else {
            return if Self::fits(&certificate, &self.key)? {
                Ok(Stage::Idle)
            } else {
                Err(self.apart())
            };
        };
        let file = CertificateSource::File(next.certificate.clone());
        let valid = following.check_validity(now());
        valid.map_err(|error| file.refused(error))?;
        if next.key.exists() {
            if !Self::fits(&following, &next.key)? {
                return Err(strange(&next, &next));
            }
            return if Self::fits(&certificate, &self.key)? {
                Ok(Stage::Begun(following))
            } else {
                Err(self.apart())
            };
        }
        if Self::fits(&following, &self.key)? {
            Ok(Stage::Between)
        } else {
            Err(strange(&next, self))
        }
    }

    fn apart(&self) -> PairError {
        PairError::Apart {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
        }
    }

    /// Makes what is to come: the same kind of key, and the same names.
    ///
    /// # Errors
    /// If it cannot be made or written.
    pub fn begin(&self, days: u32) -> Result<Certificate, PairError> {
        let (present, next) = (self.load()?, self.next());
        let made = keygen::make(&present.names(), present.kind(), keygen::period(days))?;
        // The certificate is the last: with it, both are there.
        written(&next.key, &made.key, PRIVATE)?;
        written(&next.certificate, &made.certificate, READABLE)?;
        Ok(made.made)
    }

    /// Puts what is to come in its place, and keeps what was there.
    ///
    /// # Errors
    /// If nothing is to come, or a file cannot be written: then it can be done again.
    pub fn finish(&self, stage: &Stage) -> Result<(), PairError> {
        let (next, old) = (self.next(), self.old());
        match stage {
            Stage::Idle => return Err(PairError::NotBegun(next.certificate)),
            Stage::Begun(_) => {
                written(&old.certificate, &self.text(&self.certificate)?, READABLE)?;
                written(&old.key, &self.text(&self.key)?, PRIVATE)?;
                renamed(&next.key, &self.key)?;
            }
            Stage::Between => {}
        }
        renamed(&next.certificate, &self.certificate)
    }

    fn text(&self, path: &Path) -> Result<Zeroizing<String>, PairError> {
        let text = fs::read_to_string(path).map(Zeroizing::new);
        text.map_err(|source| {
            let path = path.to_owned();
            CredentialsError::Read { path, source }.into()
        })
    }

    /// Removes what was to come. Of a key that is in its place already, the one before it comes
    /// back. Whether there was anything.
    ///
    /// # Errors
    /// If a file cannot be changed: then it can be done again.
    pub fn abort(&self) -> Result<bool, PairError> {
        let (next, old) = (self.next(), self.old());
        let certificate = self.load()?;
        let is_of = |key: &Path| Self::fits(&certificate, key).unwrap_or(false);
        if !is_of(&self.key) && is_of(&old.key) {
            renamed(&old.key, &self.key)?;
        }
        let mut was_there = false;
        for path in [&next.certificate, &next.key] {
            removed(&beside(path, PART))?;
            was_there |= removed(path)?;
        }
        Ok(was_there)
    }

    /// Whether there is what was there before it.
    pub fn has_old(&self) -> bool {
        let old = self.old();
        old.certificate.exists() && old.key.exists()
    }
}

fn failed(path: &Path, source: io::Error) -> PairError {
    let path = path.to_owned();
    PairError::Write { path, source }
}

/// By a file of one name, for nobody else writes it: what an interrupted step has left there goes.
fn written(path: &Path, text: &str, mode: u32) -> Result<(), PairError> {
    let part = beside(path, PART);
    removed(&part)?;
    replace_by(&part, path, text, mode).map_err(|source| failed(path, source))
}

fn renamed(from: &Path, to: &Path) -> Result<(), PairError> {
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let done = fs::rename(from, to).and_then(|()| File::open(folder)?.sync_all());
    done.map_err(|source| failed(to, source))
}

fn removed(path: &Path) -> Result<bool, PairError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(failed(path, source)),
    }
}
