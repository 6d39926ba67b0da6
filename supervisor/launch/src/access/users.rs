//! Users of the machine's that processes may run as: from their names to numbers, as the machine's
//! accounts are now.

use std::ffi::CString;
use std::ops::Range;

use nix::errno::Errno;
use nix::unistd::{Gid, User as Found, getgrouplist};
use prn_ipc_protocol::config::{AuditTarget, Supervisor, User};
use prn_ipc_protocol::types::UserName;

use super::listed::{Access, Listed};
use super::tables::Problem;
use crate::audit;
use crate::options::Options;
use crate::plan::FRONTEND_UID;
use crate::signer;
use crate::warning::Warning;

/// Most groups of one: each start says all of them to the kernel, and a configuration holds them.
const GROUPS_MAX: usize = 32;

/// Groups whose members are root in all but name, by what they may open.
const AS_ROOT: [&str; 7] = [
    "disk",
    "docker",
    "incus-admin",
    "kmem",
    "libvirt",
    "lxd",
    "shadow",
];

/// Adds all that the configuration lists.
pub(super) fn add(
    access: &mut Access,
    options: &Options,
    problems: &mut Vec<Problem>,
    warn: &dyn Fn(Warning),
) {
    let Some(source) = &options.file else { return };
    let reserved = Reserved::by(options);
    for spanned in &options.users {
        let (span, name) = (spanned.span(), spanned.get_ref());
        match resolve(name) {
            Ok(user) => {
                if let Some(what) = reserved.refusal(name, &user) {
                    problems.push(source.problem(&span, what));
                }
                if let Some(group) = as_root(&user) {
                    let what = format!(
                        "user {name} is in group {group}, which is as good as root: so is who may use it"
                    );
                    warn(Warning::Access(source.problem(&span, what)));
                }
                let place = source.place(&span);
                let listed = Listed { user, place };
                access.users.insert(name.clone(), listed);
            }
            Err(what) => problems.push(source.problem(&span, what)),
        }
    }
}

fn resolve(name: &UserName) -> Result<User, String> {
    let failed = |error: Errno| format!("cannot look up user {name}: {error}");
    let found = Found::from_name(name.as_str()).map_err(failed)?;
    let found = found.ok_or_else(|| {
        format!("there is no user {name} on this machine: make it, or take it out of users")
    })?;
    let text = CString::new(name.as_str()).map_err(|_| failed(Errno::EINVAL))?;
    let groups = getgrouplist(&text, found.gid).map_err(failed)?;
    if groups.len() > GROUPS_MAX {
        return Err(format!(
            "user {name} is in {} groups, and {GROUPS_MAX} are the most: take one that is in fewer",
            groups.len()
        ));
    }
    Ok(User {
        uid: found.uid.as_raw(),
        gid: found.gid.as_raw(),
        groups: groups.into_iter().map(Gid::as_raw).collect(),
    })
}

fn as_root(user: &User) -> Option<&'static str> {
    let has = |name: &&str| {
        let group = nix::unistd::Group::from_name(name);
        group
            .is_ok_and(|group| group.is_some_and(|group| user.groups.contains(&group.gid.as_raw())))
    };
    AS_ROOT.into_iter().find(has)
}

/// User and group ids that no process may have by its user.
#[derive(Debug)]
pub(crate) struct Reserved {
    frontend: [u32; 2],
    audit: [u32; 2],
    signer: [u32; 2],
    processes: Range<u32>,
}

impl Reserved {
    /// Of the server that these options would start.
    fn by(options: &Options) -> Self {
        let ids = |name: &str| {
            let found = Found::from_name(name).ok().flatten()?;
            Some([found.uid.as_raw(), found.gid.as_raw()])
        };
        let usual = ids("prn").unwrap_or([FRONTEND_UID; 2]);
        let (first, count) = (options.first_uid(), options.uids());
        Self {
            frontend: match options.frontend_uid {
                Some(uid) if uid != usual[0] => [uid; 2],
                Some(_) | None => usual,
            },
            audit: ids("prn-audit").unwrap_or([audit::UID; 2]),
            signer: signer::reserved(),
            processes: first..first.saturating_add(count),
        }
    }

    /// Of a server that runs, whatever its configuration file says by now.
    pub(crate) fn of(running: &Supervisor) -> Self {
        let first = running.first_uid;
        Self {
            frontend: [running.frontend_uid, running.frontend_gid],
            audit: match running.audit {
                Some(AuditTarget::File { uid, gid, .. }) => [uid, gid],
                Some(AuditTarget::Descriptor) | None => [audit::UID; 2],
            },
            signer: signer::reserved(),
            processes: first..first.saturating_add(running.uid_count),
        }
    }

    /// Why a process must not run as this user.
    pub(crate) fn refusal(&self, name: &UserName, user: &User) -> Option<String> {
        let uid = self.whose(user.uid);
        let uid = uid.map(|whose| format!("user {name} has user id {}, {whose}", user.uid));
        let group = |gid: &u32| {
            let whose = self.whose(*gid)?;
            Some(format!("user {name} is in group {gid}, {whose}"))
        };
        let mut groups = std::iter::once(&user.gid).chain(&user.groups);
        let what = uid.or_else(|| groups.find_map(group))?;
        Some(format!(
            "{what}: no process may have it, so take {name} out of users"
        ))
    }

    fn whose(&self, id: u32) -> Option<&'static str> {
        match id {
            0 => Some("root's"),
            // To setresuid(2) and setresgid(2) it means that nothing changes.
            u32::MAX => Some("which is none"),
            id if self.frontend.contains(&id) => Some("that of the half that talks to the network"),
            id if self.audit.contains(&id) => Some("that of who writes the audit"),
            id if self.signer.contains(&id) => Some("that of who signs with the server's key"),
            id if self.processes.contains(&id) => Some("one of those for processes"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_an_id_of_roots_or_of_a_part_of_the_server() {
        let reserved = Reserved {
            frontend: [990, 991],
            audit: [980, 981],
            signer: [970, 971],
            processes: 5000..5010,
        };
        let name = "deploy".to_owned().try_into().unwrap();
        let said = |uid, gid, groups: &[u32]| {
            let groups = groups.to_vec();
            let user = User { uid, gid, groups };
            let what = reserved.refusal(&name, &user)?;
            assert!(what.starts_with("user deploy "));
            Some(what)
        };
        assert_eq!(said(1001, 1001, &[1001, 33]), None);
        assert_eq!(said(4999, 5010, &[]), None);
        for id in [0, u32::MAX, 990, 991, 980, 981, 970, 971, 5000, 5009] {
            for (uid, gid, groups) in [
                (id, 1001, &[1001][..]),
                (1001, id, &[]),
                (1001, 1001, &[1001, id]),
            ] {
                let what = said(uid, gid, groups).unwrap();
                assert!(what.contains(&format!(" {id}, ")), "{what}");
            }
        }
    }
}
