//! What the operator is told of a server that starts all the same.

use std::path::PathBuf;

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
    /// The group's lock is held.
    #[error("warning: {} is locked by a process that is no server: it is used all the same", .0.display())]
    LockedByStranger(PathBuf),
    /// A directory stays.
    #[error(
        "warning: the directory {} of an earlier run could not be removed: remove it by hand",
        .0.display()
    )]
    NotRemoved(PathBuf),
}
