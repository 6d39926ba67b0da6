//! Where a private key is: one name for each place, the same on both sides.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::Deserialize;

use super::token::{TokenError, TokenUri};
use crate::signer::SignerError;

/// Variable that holds the key itself, as PEM text.
pub const KEY_VARIABLE: &str = "PRN_TLS_KEY";

/// Variable that names the key's file.
pub const KEY_FILE_VARIABLE: &str = "PRN_TLS_KEY_FILE";

/// Where the service manager puts credentials (systemd.exec(5), "Credentials").
pub const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// Where a private key is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum KeySource {
    /// In [`KEY_VARIABLE`], as PEM text.
    Environment,
    /// In this file, which nobody but its owner can read.
    File(PathBuf),
    /// `credential:NAME`: a credential that the service manager has passed (LoadCredential= and
    /// its kin, systemd.exec(5)), as PEM text.
    Credential(String),
    /// `keyring:NAME`: a key of type user in the kernel's keyrings (keyrings(7)), as PEM text.
    Keyring(String),
    /// What a command prints, as PEM text: the program, and its arguments.
    Command(Vec<String>),
    /// `pkcs11:…`: in a token that signs with it and does not give it away.
    Token(Box<TokenUri>),
}

/// Why a key is not to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// This process was passed no credentials.
    #[error(
        "{CREDENTIALS_VARIABLE} is not set: pass it with LoadCredential= or LoadCredentialEncrypted= in the unit"
    )]
    NoCredentials,
    /// Credentials and keys have no such names.
    #[error("{0:?} is not a name: it must have 1 to 255 bytes, no / and no control characters")]
    Name(String),
    /// The service manager has passed others.
    #[error(
        "the service manager has passed no such credential ({0}): LoadCredential=NAME:FILE of the unit does"
    )]
    Credential(io::Error),
    /// The file of the PIN cannot be read.
    #[error("cannot read the PIN in {}, the file of pin-source: {}", .0.display(), .1)]
    Pin(PathBuf, io::Error),
    /// It is a directory, a device, or a pipe.
    #[error("{}, the file of pin-source, is no regular file", .0.display())]
    PinFile(PathBuf),
    /// Others than its owner can read or change the PIN.
    #[error("{}, the file of pin-source, is open to others (mode {:04o}): run `chmod 600` on it", .0.display(), .1)]
    OpenPin(PathBuf, u32),
    /// No keyring that is searched has it.
    #[error(
        "no keyring of this user has a key of type user with that name: `keyctl padd user {0} @u` adds one"
    )]
    NotInKeyring(String),
    /// The kernel gives no key of a keyring.
    #[error("the kernel does not give it ({0})")]
    Keyring(String),
    /// A command did not give it.
    #[error("{0}")]
    Command(String),
    /// The name of a key in a token makes no sense.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Nothing signs with it.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str(KEY_VARIABLE),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Credential(name) => write!(f, "credential:{name}"),
            Self::Keyring(name) => write!(f, "keyring:{name}"),
            // Its arguments may be a secret of somebody's.
            Self::Command(words) => {
                let program = words.first().map_or("", String::as_str);
                write!(f, "the output of {program} (key-command)")
            }
            Self::Token(uri) => write!(f, "{uri}"),
        }
    }
}

impl TryFrom<String> for KeySource {
    type Error = SourceError;

    fn try_from(text: String) -> Result<Self, SourceError> {
        Self::try_from(OsString::from(text))
    }
}

impl TryFrom<OsString> for KeySource {
    type Error = SourceError;

    /// As it is written in flags and files. What begins with no other place's name is a file.
    fn try_from(text: OsString) -> Result<Self, SourceError> {
        let place = text.to_str().and_then(|text| text.split_once(':'));
        match place {
            Some(("credential", name)) => named(name).map(Self::Credential),
            Some(("keyring", name)) => named(name).map(Self::Keyring),
            Some(("pkcs11", rest)) => Ok(Self::Token(TokenUri::parse(rest)?.into())),
            Some(_) | None => Ok(Self::File(text.into())),
        }
    }
}

/// One component of a path, and one word of a description.
fn named(name: &str) -> Result<String, SourceError> {
    let is_one = |name: &str| {
        (1..256).contains(&name.len())
            && name != "."
            && name != ".."
            && !name.contains('/')
            && !name.contains(char::is_control)
    };
    if is_one(name) {
        Ok(name.to_owned())
    } else {
        Err(SourceError::Name(name.to_owned()))
    }
}
