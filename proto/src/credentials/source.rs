//! How a private key is had from where it is.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::error::CredentialsError;
use super::place::{CREDENTIALS_VARIABLE, KEY_FILE_VARIABLE, KEY_VARIABLE, KeySource, SourceError};
use super::program::{self, Program};
use super::reading::{open_file, read_bounded, unread};
use super::{command, keyring};
use crate::signer::SignerError;
use crate::tls::Key;

impl KeySource {
    /// The one that is given if there is one, else what the environment says.
    ///
    /// # Errors
    /// [`CredentialsError::NoKey`] if there is none of them.
    pub fn find(given: Option<Self>) -> Result<Self, CredentialsError> {
        given
            .or_else(Self::from_environment)
            .ok_or(CredentialsError::NoKey)
    }

    /// What the environment says: [`KEY_VARIABLE`] if it is set, even to nothing, else
    /// [`KEY_FILE_VARIABLE`], which has the name of any place.
    pub fn from_environment() -> Option<Self> {
        if std::env::var_os(KEY_VARIABLE).map(wiped).is_some() {
            return Some(Self::Environment);
        }
        let named = std::env::var_os(KEY_FILE_VARIABLE).filter(|place| !place.is_empty())?;
        // What is no place's name is said when it is looked for as a file.
        Some(Self::try_from(named.clone()).unwrap_or_else(|_| Self::File(named.into())))
    }

    /// The same with files that are named without a folder in this one.
    #[must_use]
    pub fn below(self, folder: &Path) -> Self {
        match self.file() {
            Some(path) => Self::File(folder.join(path)),
            None => self,
        }
    }

    /// The file that it is in, if it is in one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Environment
            | Self::Credential(_)
            | Self::Keyring(_)
            | Self::Command(_)
            | Self::Token(_) => None,
        }
    }

    /// Reads the key, or has the program `prn-signer` of this user's sign with it.
    ///
    /// # Errors
    /// If it is not to be had, is open to others, or is anything but one unencrypted PKCS#8 key in
    /// PEM form.
    pub fn load(&self) -> Result<Key, CredentialsError> {
        self.load_by(&Program::of_client)
    }

    /// The same; a key that does not leave its token is signed with by what `signer` finds.
    ///
    /// # Errors
    /// As [`KeySource::load`].
    pub fn load_by(
        &self,
        signer: &dyn Fn() -> Result<Program, SignerError>,
    ) -> Result<Key, CredentialsError> {
        let failed = |source| CredentialsError::Source {
            origin: self.clone(),
            source,
        };
        let pem = match self {
            Self::Environment => std::env::var_os(KEY_VARIABLE)
                .map(wiped)
                .unwrap_or_default(),
            Self::File(path) => read_key(path)?,
            Self::Credential(name) => credential(name).map_err(failed)?,
            Self::Keyring(name) => keyring::read(name).map_err(failed)?,
            Self::Command(words) => {
                let printed = command::output(words);
                printed.map_err(|why| failed(SourceError::Command(why)))?
            }
            Self::Token(uri) => {
                let pin = uri.pin_source().map(read_pin).transpose().map_err(failed)?;
                let pin = pin.unwrap_or_default();
                let started = signer().and_then(|program| program::start(&program, uri, &pin));
                return started.map_err(|error| failed(error.into()));
            }
        };
        if pem.iter().all(u8::is_ascii_whitespace) {
            return Err(CredentialsError::EmptyKey(self.clone()));
        }
        Key::from_pem(&pem).map_err(|source| CredentialsError::Key {
            origin: self.clone(),
            source,
        })
    }
}

fn wiped(value: OsString) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(value.into_vec())
}

/// What is in the file of a credential. Its folder is the service manager's, which lets nobody else
/// in: the modes of the files differ from one of its versions to the next.
fn credential(name: &str) -> Result<Zeroizing<Vec<u8>>, SourceError> {
    let folder = std::env::var_os(CREDENTIALS_VARIABLE).filter(|folder| !folder.is_empty());
    let folder = folder.ok_or(SourceError::NoCredentials)?;
    let opened = File::open(Path::new(&folder).join(name));
    opened
        .and_then(read_bounded)
        .map_err(SourceError::Credential)
}

fn read_pin(path: &Path) -> Result<Zeroizing<Vec<u8>>, SourceError> {
    let path = || path.to_owned();
    read_key(&path()).map_err(|error| match error {
        CredentialsError::OpenOther { mode, .. } | CredentialsError::OpenKey { mode, .. } => {
            SourceError::OpenPin(path(), mode)
        }
        CredentialsError::Read { source, .. } => SourceError::Pin(path(), source),
        CredentialsError::Certificate { .. }
        | CredentialsError::NoKey
        | CredentialsError::EmptyKey(_)
        | CredentialsError::NoFile(_)
        | CredentialsError::OpenCertificate { .. }
        | CredentialsError::Source { .. }
        | CredentialsError::Key { .. } => SourceError::PinFile(path()),
    })
}

fn read_key(path: &Path) -> Result<Zeroizing<Vec<u8>>, CredentialsError> {
    let failed = |source| unread(path, source);
    let (file, metadata) = open_file(path)?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 == 0 {
        return read_bounded(file).map_err(failed);
    }
    let is_key = |pem: &Zeroizing<Vec<u8>>| {
        let word = b"PRIVATE KEY-----";
        pem.windows(word.len()).any(|part| part == word)
    };
    let path = path.to_owned();
    Err(match read_bounded(file) {
        Ok(pem) if !is_key(&pem) => CredentialsError::OpenOther { path, mode },
        Ok(_) | Err(_) => CredentialsError::OpenKey { path, mode },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    fn place(text: &str) -> Result<KeySource, String> {
        KeySource::try_from(text.to_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_place_is_known_by_its_name_and_all_else_is_a_file() {
        assert_eq!(place("credential:k"), Ok(KeySource::Credential("k".into())));
        assert_eq!(
            place("keyring:prn:k"),
            Ok(KeySource::Keyring("prn:k".into()))
        );
        for file in ["a.key", "/x/a.key", "./keyring:a", "C:a", "keyring"] {
            assert_eq!(place(file), Ok(KeySource::File(file.into())), "{file}");
        }
        let bytes = OsString::from_vec(vec![b'/', 0xff]);
        let of_bytes = KeySource::try_from(bytes).unwrap();
        assert!(
            of_bytes
                .file()
                .unwrap()
                .as_os_str()
                .as_bytes()
                .contains(&0xff)
        );
    }

    #[test]
    fn a_name_leads_out_of_no_folder() {
        let long = "n".repeat(256);
        for name in ["", ".", "..", "../k", "a/b", "a\nb", &long] {
            for place in ["credential", "keyring"] {
                let text = format!("{place}:{name}");
                let refused = KeySource::try_from(text).unwrap_err().to_string();
                assert!(refused.contains("is not a name"), "{refused}");
            }
        }
    }

    #[test]
    fn of_a_command_its_program_alone_is_shown() {
        let command = KeySource::Command(vec!["vault".into(), "-token=s3cret".into()]);
        assert_eq!(command.to_string(), "the output of vault (key-command)");
    }
}
