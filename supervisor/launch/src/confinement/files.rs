//! What processes may do with files, as rules for Landlock (landlock(7)).
//!
//! Runs in `prn server start`. All that is readable stays readable, since
//! programs need the system; what can be written to is a process's own: nothing that it writes
//! outlives its directories, and no file that others left open to everybody is a way to talk to
//! them.

use std::ffi::CString;
use std::path::Path;

use landlock::{ABI, Access, AccessFs, AccessNet, BitFlags, RestrictSelf, Scope};
use prn_ipc_protocol::config::{Landlock, Rule};

/// A path and what is allowed below it.
#[derive(Debug)]
pub struct Open {
    /// Why.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for the tables of docs/security/")
    )]
    pub reason: &'static str,
    /// Where. What does not exist is left out.
    pub paths: &'static [&'static str],
    /// What, of what the kernel knows.
    pub rights: fn(ABI) -> BitFlags<AccessFs>,
}

/// What is allowed beside a process's own directories.
pub const OPEN: &[Open] = &[
    Open {
        reason: "programs, libraries and data: what the user may read and execute",
        paths: &["/"],
        rights: AccessFs::from_read,
    },
    Open {
        reason: "devices that every program may use, and pseudo-terminals",
        paths: &[
            "/dev/null",
            "/dev/zero",
            "/dev/full",
            "/dev/random",
            "/dev/urandom",
            "/dev/tty",
            "/dev/ptmx",
            "/dev/pts",
        ],
        rights: write_and_control,
    },
    Open {
        reason: "properties of one's own processes (comm, oom_score_adj, …); the rest belongs to others or to root",
        paths: &["/proc"],
        rights: write,
    },
];

/// TRUNCATE too: O_TRUNC, which shells give, is asked for even where it has no effect (proc(5)).
fn write(abi: ABI) -> BitFlags<AccessFs> {
    (AccessFs::WriteFile | AccessFs::Truncate) & AccessFs::from_all(abi)
}

fn write_and_control(abi: ABI) -> BitFlags<AccessFs> {
    (AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev)
        & AccessFs::from_all(abi)
}

/// Everything of files that is denied to a process of profile default unless a rule allows it. Not
/// among it: connecting to sockets that have a path (ABI 9), which is the network of one machine
/// (name services, logs, databases), and default leaves a process the network.
pub fn handled(abi: ABI) -> BitFlags<AccessFs> {
    AccessFs::from_all(abi) & !BitFlags::from(AccessFs::ResolveUnix)
}

/// The version of Landlock that both this kernel and the crate know.
pub fn abi() -> ABI {
    // With no flag set this makes no call but the one that asks for the version.
    match RestrictSelf::default().no_new_privs(false).apply() {
        Ok(status) => match status.landlock {
            landlock::LandlockStatus::Available { effective_abi, .. } => effective_abi,
            landlock::LandlockStatus::NotEnabled | landlock::LandlockStatus::NotImplemented => {
                ABI::Unsupported
            }
        },
        Err(_) => ABI::Unsupported,
    }
}

/// [`OPEN`] on this host: paths that exist, with rights that fit what is there.
fn open(abi: ABI) -> impl Iterator<Item = (&'static str, BitFlags<AccessFs>)> {
    OPEN.iter()
        .flat_map(move |open| {
            open.paths
                .iter()
                .map(move |path| (*path, (open.rights)(abi)))
        })
        .filter_map(move |(path, rights)| {
            let metadata = Path::new(path).metadata().ok()?;
            // The kernel refuses rights of directories for anything else (landlock_add_rule(2),
            // EINVAL).
            Some((
                path,
                if metadata.is_dir() {
                    rights
                } else {
                    rights & AccessFs::from_file(abi)
                },
            ))
        })
}

/// The same in the kernel's bits.
fn rules(abi: ABI) -> Vec<Rule> {
    open(abi)
        .filter_map(|(path, rights)| {
            Some(Rule {
                path: CString::new(path).ok()?,
                rights: rights.bits(),
            })
        })
        .collect()
}

/// Of profile default. `None` where the kernel has no Landlock.
pub fn default(abi: ABI) -> Option<Landlock> {
    // The network is allowed: no port is ruled.
    ruleset(abi, handled(abi).bits(), 0)
}

/// Of profile strict: nor may it connect to a socket by its path, or use a TCP port.
pub fn strict(abi: ABI) -> Option<Landlock> {
    let network = AccessNet::from_all(abi).bits();
    ruleset(abi, AccessFs::from_all(abi).bits(), network)
}

fn ruleset(abi: ABI, files: u64, network: u64) -> Option<Landlock> {
    // A kernel refuses what it does not know of the structure unless it is zero; it takes a shorter
    // one.
    let attributes = match abi {
        ABI::Unsupported => return None,
        ABI::V1 | ABI::V2 | ABI::V3 => vec![files],
        ABI::V4 | ABI::V5 => vec![files, network],
        // V6 and what may follow, whose new members the crate will know of first.
        ABI::V6 | ABI::V7 | ABI::V8 | ABI::V9 | _ => {
            vec![files, network, Scope::from_all(abi).bits()]
        }
    };
    Some(Landlock {
        attributes,
        rules: rules(abi),
        own: files,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kernel_gets_the_structure_that_it_knows_and_no_right_that_it_does_not() {
        let landlock = default;
        assert_eq!(landlock(ABI::Unsupported), None);
        for (abi, members, rights) in [
            (ABI::V1, 1, 0x1fff),
            (ABI::V2, 1, 0x3fff),
            (ABI::V3, 1, 0x7fff),
            (ABI::V4, 2, 0x7fff),
            (ABI::V5, 2, 0xffff),
        ] {
            let found = landlock(abi).unwrap();
            assert_eq!(
                (found.attributes.len(), found.attributes[0], found.own),
                (members, rights, rights),
                "{abi:?}"
            );
        }
        for abi in [ABI::V6, ABI::V7, ABI::V9] {
            assert_eq!(landlock(abi).unwrap().attributes, [0xffff, 0, 3], "{abi:?}");
        }
        let attributes = |abi| strict(abi).unwrap().attributes;
        assert_eq!(attributes(ABI::V4), [0x7fff, 3]);
        assert_eq!(attributes(ABI::V6), [0xffff, 3, 3]);
        assert_eq!(attributes(ABI::V9), [0x1_ffff, 3, 3]);
    }

    #[test]
    fn nothing_is_writable_but_devices_and_ones_own_properties() {
        let writing = AccessFs::from_write(ABI::V9);
        for abi in [ABI::V1, ABI::V3, ABI::V6] {
            let Landlock {
                attributes, rules, ..
            } = default(abi).unwrap();
            for Rule { path, rights } in rules {
                let path = path.into_string().unwrap();
                assert_ne!(rights, 0, "{path:?}");
                assert_eq!(
                    rights & !attributes[0],
                    0,
                    "the kernel would refuse {path:?}"
                );
                let writable = rights & writing.bits() != 0;
                assert_eq!(
                    writable,
                    path.as_str().starts_with("/dev/") || path.as_str() == "/proc",
                    "{path:?}"
                );
                if writable && path.as_str() != "/proc" && path.as_str() != "/dev/pts" {
                    assert_eq!(
                        rights & !AccessFs::from_file(abi).bits(),
                        0,
                        "{path:?} is no folder"
                    );
                }
            }
        }
    }
}
