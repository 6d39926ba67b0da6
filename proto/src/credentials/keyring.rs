//! A key in the kernel's keyrings (keyrings(7)): in no file and no environment, and in memory of
//! the kernel's that is never swapped.
//!
//! A key of type user, with the PEM text as its payload. Searched for in the keyrings that this
//! process has (thread, process and session), then in the user's own, then in the user's persistent
//! one (persistent-keyring(7)).

use linux_keyutils::{Key, KeyError, KeyRing, KeyRingIdentifier};
use zeroize::Zeroizing;

use super::place::SourceError;

/// The payload of the key of this name.
pub fn read(name: &str) -> Result<Zeroizing<Vec<u8>>, SourceError> {
    let failed = |error: KeyError| SourceError::Keyring(error.to_string());
    let key = search(name).map_err(|error| {
        if error == KeyError::KeyDoesNotExist {
            SourceError::NotInKeyring(name.to_owned())
        } else {
            failed(error)
        }
    })?;
    key.read_to_vec().map(Zeroizing::new).map_err(failed)
}

fn search(name: &str) -> Result<Key, KeyError> {
    use KeyRingIdentifier::{Process, Session, User, UserSession};
    let in_ring = |ring| KeyRing::from_special_id(ring, false).and_then(|ring| ring.search(name));
    let found = in_ring(Session).or_else(|_| in_ring(UserSession));
    found.or_else(|_| {
        // Who has found a key in a keyring that no keyring of the process leads to may not read
        // it (keyrings(7), "Possession"): a link makes it so, until this process executes another
        // program or ends.
        let process = KeyRing::from_special_id(Process, true)?;
        process.link_keyring_id(User)?;
        process.search(name).or_else(|error| {
            KeyRing::get_persistent(Process)?;
            process.search(name).map_err(|_| error)
        })
    })
}
