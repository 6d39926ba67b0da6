//! What the operator is told of a server that starts all the same.

use std::path::PathBuf;

use prn_ipc_protocol::message::Layer;

use crate::access::tables::Problem;
use crate::confinement::Refused;

/// What processes have without namespaces of their own.
pub const SHARED: &str = "processes have only the host's /tmp and /dev/shm, to read, and no System V or POSIX objects; they see each other's command lines and what [paths] hides; profile strict, --bind, --hide and --read-only are refused";

/// Why there are no workspaces.
pub const TRACED: &str = "with fs.suid_dumpable 1, processes of a workspace could read memory of the server's in each other's first moments: set it to 0, or to 2";

/// One line, which the command line prints.
#[derive(Debug, thiserror::Error)]
pub enum Warning {
    /// Controllers are missing, and that was asked for.
    #[error(
        "WARNING: --allow-missing-limits: this host does not offer {}, so such limits are NOT enforced",
        .0.join(", ")
    )]
    MissingLimits(Vec<&'static str>),
    /// There is no Landlock.
    #[error(
        "WARNING: this kernel has no Landlock: processes can write wherever their user id lets them"
    )]
    NoLandlock,
    /// There are no namespaces.
    #[error("WARNING: {SHARED}: no namespaces: {0}")]
    NoNamespaces(Refused),
    /// There are no workspaces.
    #[error("WARNING: there are no workspaces: {TRACED}")]
    NoWorkspaces,
    /// What is in force, which is no warning.
    #[error(
        "processes of profile default are confined by {}; profile strict is {}",
        names(default),
        if *has_strict { "available" } else { "refused" }
    )]
    Layers {
        /// Of profile default.
        default: Vec<Layer>,
        /// There is profile strict.
        has_strict: bool,
    },
    /// A client's certificate lets nobody in.
    #[error(
        "warning: the client certificate {} is valid from {from} to {until}, and this machine's clock says {now}, so it lets nobody in: {outside}",
        path.display()
    )]
    ClientNotValid {
        /// Its file.
        path: PathBuf,
        /// From when on it is valid.
        from: String,
        /// Until when.
        until: String,
        /// This machine's time.
        now: String,
        /// Why, and what helps.
        outside: prn_proto::tls::Outside,
    },
    /// A certificate ends soon.
    #[error("warning: {0}")]
    EndsSoon(String),
    /// Something of clients and roles is probably not what is meant.
    #[error("warning: {0}")]
    Access(Problem),
    /// The client's variable is set, and none of the server's.
    #[error(
        "warning: PRN_ADDRESS says where clients find a server, and this one does not read it: --address, PRN_LISTEN or the configuration's address says where to listen"
    )]
    ClientsAddress,
    /// The group's lock is held.
    #[error("warning: {} is locked by a process that is no server: it is used all the same", .0.display())]
    LockedByStranger(PathBuf),
    /// Nothing keeps another server from the same user ids.
    #[error(
        "warning: /run/prn/uids cannot be locked, so nothing keeps another server of this machine from the same user ids: give each a --first-uid of its own: {0}"
    )]
    UidsNotLocked(std::io::Error),
    /// A directory stays.
    #[error(
        "warning: the directory {} of an earlier run could not be removed: remove it by hand",
        .0.display()
    )]
    NotRemoved(PathBuf),
}

/// "a, b and c", or that there is nothing but the user id.
fn names(layers: &[Layer]) -> String {
    let names: Vec<_> = layers.iter().map(|layer| layer.to_string()).collect();
    match names.split_last() {
        None => "their user ids alone".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_force_is_a_list_that_people_read() {
        assert_eq!(names(&[]), "their user ids alone");
        assert_eq!(names(&[Layer::Landlock]), "Landlock");
        assert_eq!(
            names(&[Layer::Namespaces, Layer::Landlock, Layer::SystemCallFilter]),
            "namespaces, Landlock and a system call filter"
        );
    }
}
