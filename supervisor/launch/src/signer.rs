//! Who signs with a key that does not leave its token: `prn-signer`, as a user of its own.
//!
//! Runs as root. The program gives root up before it reads or loads anything.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::unistd::{Gid, User, getgrouplist};
use prn_proto::credentials::program::{Ids, Program};

use crate::error::ServerError;
use crate::host::Host;
use crate::options::Options;
use crate::plan::FRONTEND_UID;
use crate::programs;

/// Its user, which is in the group of the token if there is one.
const USER: &str = "prn-signer";

/// Its user id where there is no such user.
pub const UID: u32 = 1_999_999_997;

/// Ids that no process may have by its user.
pub fn reserved() -> [u32; 2] {
    let user = User::from_name(USER).ok().flatten();
    user.map_or([UID; 2], |user| [user.uid.as_raw(), user.gid.as_raw()])
}

/// The program, which is open for as long as the descriptor lives, and who it is to be.
pub fn program(options: &Options, host: &Host) -> Result<(Program, OwnedFd), ServerError> {
    let binary = programs::open_signer()?;
    let path = format!("/proc/self/fd/{}", binary.as_raw_fd()).into();
    let ids = ids(options, host).map_err(ServerError::Host)?;
    let ids = Some(ids);
    Ok((Program { path, ids }, binary))
}

fn ids(options: &Options, host: &Host) -> Result<Ids, String> {
    let ids = match User::from_name(USER) {
        Ok(Some(user)) => {
            let name = std::ffi::CString::new(USER).unwrap_or_default();
            let groups = getgrouplist(&name, user.gid);
            Ids {
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
                groups: (groups.unwrap_or_default().into_iter().map(Gid::as_raw)).collect(),
            }
        }
        _ if host.named_ids.contains(&UID) => {
            return Err(format!(
                "the signer would have user id {UID}, which is another account's or group's: make a user {USER}"
            ));
        }
        _ => Ids {
            uid: UID,
            gid: UID,
            groups: Vec::new(),
        },
    };
    let frontend = options
        .frontend_uid
        .or(host.prn_uid)
        .unwrap_or(FRONTEND_UID);
    let processes = options.first_uid()..options.first_uid().saturating_add(options.uids());
    let is_taken = |id: &u32| *id == 0 || *id == frontend || processes.contains(id);
    if [ids.uid, ids.gid].iter().chain(&ids.groups).any(is_taken) {
        return Err(format!(
            "user {USER} has an id of root's or of another part of the server's: give it others"
        ));
    }
    Ok(ids)
}
