//! Starting `prn-signer`, which has the key of a token ([`crate::signer`] talks to it).

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, SockFlag, send};
use zeroize::Zeroizing;

use super::token::TokenUri;
use crate::programs;
use crate::signer::{
    MESSAGE_MAX, PROGRAM, Remote, Role, SignerError, accepted, open, pair, receive,
};
use crate::tls::Key;

/// For how long a token may look for its key: some ask a device on the network.
const FINDING: Duration = Duration::from_secs(30);

/// All that it gets of the environment: a secret may be in any other variable. With a `*`, those
/// that begin so. Beside what programs need they are those that modules are configured by.
pub const PASSED: [&str; 22] = [
    "PATH",
    "HOME",
    "LANG",
    "LC_*",
    "TZ",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "PKCS11_*",
    "P11_KIT_*",
    "SOFTHSM2_CONF",
    "OPENSC_*",
    "PCSCLITE_*",
    "TPM2_PKCS11_*",
    "TPM2OPENSSL_TCTI",
    "TSS2_*",
    "YUBIHSM_PKCS11_*",
    "YKCS11_*",
    "NFAST_*",
    "CKNFAST_*",
    "ChrystokiConfigurationPath",
    "KMS_PKCS11_CONFIG",
    "NSS_LIB_PARAMS",
];

fn is_passed(name: &OsStr) -> bool {
    let name = name.as_bytes();
    PASSED.iter().any(|passed| match passed.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning.as_bytes()),
        None => name == passed.as_bytes(),
    })
}

/// The program, and as whom it is to run.
#[derive(Debug, Clone)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// For a server: its user id, its group id, and its other groups. It gives up all else before
    /// it loads anything.
    pub ids: Option<Ids>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    /// Its id.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its other groups: one of them may be the token's.
    pub groups: Vec<u32>,
}

impl Program {
    /// For a client: beside this program, else where it is installed. It runs as this user.
    ///
    /// # Errors
    /// [`SignerError::NoProgram`].
    pub fn of_client() -> Result<Self, SignerError> {
        let path = programs::find(PROGRAM).map_err(SignerError::Start)?;
        Ok(Self {
            path: path.ok_or(SignerError::NoProgram)?,
            ids: None,
        })
    }

    fn role(&self) -> Role {
        match self.ids {
            Some(_) => Role::Server,
            None => Role::Client,
        }
    }

    /// It starts itself anew without privilege and ends, so it is nobody's child.
    fn spawn(&self, control: OwnedFd) -> io::Result<()> {
        let mut command = Command::new(&self.path);
        command.arg0(PROGRAM).stdin(control).stdout(Stdio::null());
        match &self.ids {
            Some(Ids { uid, gid, groups }) => {
                let ids = [*uid, *gid].into_iter().chain(groups.iter().copied());
                command.arg("server").args(ids.map(|id| id.to_string()));
            }
            // What a module has to say would be amidst what a user reads.
            None => drop(command.arg("client").stderr(Stdio::null())),
        }
        let variables = std::env::vars_os().filter(|(name, _)| is_passed(name));
        command.env_clear().envs(variables);
        let status = command.status()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(status.to_string()))
        }
    }
}

/// Starts it, and has it find the key.
///
/// # Errors
/// It does not start, or does not find it.
pub fn start(
    program: &Program,
    uri: &TokenUri,
    pin: &Zeroizing<Vec<u8>>,
) -> Result<Key, SignerError> {
    let (control, theirs) = pair(SockFlag::SOCK_CLOEXEC)?;
    program.spawn(theirs).map_err(SignerError::Start)?;
    let asked = first_message(uri, pin.strip_suffix(b"\n").unwrap_or(pin));
    send(control.as_raw_fd(), &asked, MsgFlags::MSG_NOSIGNAL)?;
    let mut buffer = vec![0; MESSAGE_MAX];
    let answer = receive(&control, &mut buffer, Instant::now() + FINDING, FINDING)?;
    accepted(answer)?;
    let socket = open(&control)?;
    let remote = Remote::of_starter(control, socket, program.role());
    Ok(Key::of_signer(remote))
}

/// The control socket's first message: which key, and the PIN.
fn first_message(uri: &TokenUri, pin: &[u8]) -> Zeroizing<Vec<u8>> {
    let uri = uri.to_string();
    let length = u16::try_from(uri.len()).unwrap_or(u16::MAX);
    let mut message = Zeroizing::new(Vec::with_capacity(2 + uri.len() + pin.len()));
    message.extend_from_slice(&length.to_le_bytes());
    message.extend_from_slice(uri.as_bytes());
    message.extend_from_slice(pin);
    message
}

/// What the control socket's first message asks for: the URI behind `pkcs11:`, and the PIN. `None`:
/// it is none.
pub fn read_first(message: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = message.split_first_chunk()?;
    let (uri, pin) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
    Some((str::from_utf8(uri).ok()?.strip_prefix("pkcs11:")?, pin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_message_is_read_as_it_was_written() {
        let uri = TokenUri::parse("token=prn;object=server?module-path=/m.so").unwrap();
        for pin in [&b""[..], b"4711", &[0; 300]] {
            let message = first_message(&uri, pin);
            let (text, read) = read_first(&message).unwrap();
            assert_eq!((TokenUri::parse(text).unwrap(), read), (uri.clone(), pin));
        }
        for spoilt in [&b""[..], b"\x01", b"\x0f\0pkcs11:token=a", b"\x06\0token="] {
            assert_eq!(read_first(spoilt), None);
        }
    }

    #[test]
    fn variables_of_modules_are_passed_and_no_others() {
        for name in ["PATH", "SOFTHSM2_CONF", "PKCS11_X", "LC_ALL", "LANG"] {
            assert!(is_passed(OsStr::new(name)), "{name}");
        }
        for name in [
            "PRN_TLS_KEY",
            "NOTIFY_SOCKET",
            "PATHS",
            "PKCS11",
            "AWS_SECRET_ACCESS_KEY",
        ] {
            assert!(!is_passed(OsStr::new(name)), "{name}");
        }
    }
}
