//! Who could write a file that lets somebody in.
//!
//! Runs in `prn server start` and `prn policy`. Of a file in the folder of clients it is a reason to
//! refuse it; of the configuration and of certificates, whose owner may be a person who becomes root,
//! it is a warning.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::access::tables::{Place, Problem};

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
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
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
