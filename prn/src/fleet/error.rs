//! Why a fleet was not set up.

use std::io;
use std::path::PathBuf;

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Something is there that would be overwritten.
    #[error("{} is there, and is not overwritten: {instead}", path.display())]
    Exists {
        /// What.
        path: PathBuf,
        /// What to do.
        instead: &'static str,
    },
    /// The configuration has one of this name.
    #[error(
        "the configuration has a fleet {0} already: remove [fleet.{0}] there, or use another name"
    )]
    Known(String),
    /// There is no such folder.
    #[error("{} is no folder of a fleet: `prn fleet init` makes one, and --dir names it", .0.display())]
    NoFolder(PathBuf),
    /// What is there was not made by `prn fleet init`, or was changed.
    #[error("{}: {what}", path.display())]
    Malformed {
        /// Where.
        path: PathBuf,
        /// What is wrong there.
        what: String,
    },
    /// A certificate of an invitation is outside of its time.
    #[error(
        "{}: {what} in it is valid {period}: set the clock if it is wrong, and else get a new one by `prn fleet invite`",
        path.display()
    )]
    NotNow {
        /// The invitation.
        path: PathBuf,
        /// Which certificate.
        what: &'static str,
        /// From when to when, and what the clock says.
        period: String,
    },
    /// An invitation's certificate ends before the one that it would replace.
    #[error(
        "the certificate in it ends {ends}, earlier than the one that is there, {}, which ends {known}: get a new one by `prn fleet invite`, whose --days says for how long",
        there.display()
    )]
    Earlier {
        /// When it ends.
        ends: String,
        /// The one that is there.
        there: PathBuf,
        /// When that ends.
        known: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file cannot be taken away: hosts that join would let in whom it names.
    #[error("cannot remove {}, by which hosts that join later let it in: remove it", path.display())]
    Remove {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file or a folder cannot be made.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}
