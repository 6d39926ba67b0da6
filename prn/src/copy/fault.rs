//! Why something could not be copied.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Names that are told of those that are refused.
const NAMES_MAX: usize = 10;

/// Why something could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyFault {
    /// Something of this machine's failed.
    #[error("cannot {act} {}", path.display())]
    Local {
        /// What was tried.
        act: &'static str,
        /// With what.
        path: PathBuf,
        /// As the system call says.
        source: io::Error,
    },
    /// These are no files, directories or links.
    #[error("only files, directories and links can be copied: {0}")]
    Refused(Names),
    /// A file became shorter while it was read.
    #[error("{} changed while it was copied: nothing was", .0.display())]
    Changed(PathBuf),
    /// An archive cannot be read.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// It is none.
    #[error("{0} of the archive is malformed")]
    Malformed(&'static str),
    /// It has no end.
    #[error("the archive ends before its end")]
    Cut,
    /// A member of it is not to be had here.
    #[error("{} in the archive: {why}", name.display())]
    Member {
        /// Which.
        name: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// What is there already is in the way.
    #[error("{}: {why}", path.display())]
    InTheWay {
        /// Where.
        path: PathBuf,
        /// Of what.
        why: &'static str,
    },
    /// The server's side of the copy failed.
    #[error("{0}")]
    Far(String),
    /// It was to end, and has before it was done. How far it had got is not known here.
    #[error("interrupted before all was copied")]
    Interrupted,
}

impl CopyFault {
    /// For the error of a system call.
    pub fn local(act: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Local { act, path, source }
    }
}

/// Some of what was refused, and what it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    first: Vec<String>,
    count: usize,
}

impl Names {
    /// One more.
    pub fn add(&mut self, path: &Path, kind: &'static str) {
        self.count += 1;
        if self.first.len() < NAMES_MAX {
            self.first.push(format!("{} is {kind}", path.display()));
        }
    }

    /// The fault that it is, if there are any.
    ///
    /// # Errors
    /// [`CopyFault::Refused`].
    pub fn none(self) -> Result<(), CopyFault> {
        if self.count == 0 {
            Ok(())
        } else {
            Err(CopyFault::Refused(self))
        }
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first.join(", "))?;
        match self.count - self.first.len() {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}
