//! Who could write a file that lets somebody in.
//!
//! Runs in `prn server start` and `prn policy`. Of a file in the folder of clients it is a reason to
//! refuse it; of the configuration and of certificates, whose owner may be a person who becomes root,
//! it is a warning.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::access::tables::{Place, Problem};

/// The user who has become root for this by sudo(8): root as well.
fn became_root() -> Option<u32> {
    std::env::var("SUDO_UID").ok()?.parse().ok()
}

/// Whether this is root, who runs this as root, or has become root for it.
pub fn is_roots(owner: u32) -> bool {
    [0, nix::unistd::geteuid().as_raw()].contains(&owner) || became_root() == Some(owner)
}

/// Nobody can write it but root, or who runs this: the server is root. Else what to do.
pub fn check_owner(path: &Path, found: &Metadata) -> Result<(), Problem> {
    let (owner, mode) = (found.uid(), found.mode() & 0o7777);
    let refuse = |what| {
        Err(Problem {
            place: Place {
                path: path.to_owned(),
                line: None,
            },
            what,
        })
    };
    if !is_roots(owner) {
        return refuse(format!(
            "it is owned by user {owner}, who could let anybody in: run `chown root` on it"
        ));
    }
    if mode & 0o022 != 0 {
        return refuse(format!(
            "others can write it (mode {mode:04o}), and let anybody in: run `chmod go-w` on it"
        ));
    }
    Ok(())
}
