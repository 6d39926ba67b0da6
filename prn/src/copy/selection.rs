//! What is to be copied to a workspace.

use std::fs::File;
use std::path::PathBuf;

/// What is to be copied.
#[derive(Debug)]
pub enum Selection {
    /// Each of these, as `cp -a` does: a directory with all that is in it, and of "DIR/." what is in
    /// it alone. Links are copied as links.
    Paths(Vec<PathBuf>),
    /// What these name, relative to `base` and without "." and "..": files and links, and
    /// directories without what is in them. The directories that they are in come with them. It
    /// becomes the content of the target.
    Listed {
        /// A directory.
        base: PathBuf,
        /// In any order, each once.
        names: Vec<PathBuf>,
    },
    /// The content of a tar stream, which becomes that of the target.
    Stream(File),
}
