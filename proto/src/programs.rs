//! Where programs are that a client starts.

use std::io;
use std::path::{Path, PathBuf};

/// Where a package installs them.
const INSTALLED: &str = "/usr/libexec/prn";

/// Where the program of this name is: beside this one, else in the libexec folder that belongs to
/// it, else where the packages have it. It runs as this user; the root half finds its own.
///
/// # Errors
/// As [`std::env::current_exe`].
pub fn find(name: &str) -> io::Result<Option<PathBuf>> {
    let itself = std::env::current_exe()?;
    let beside = itself.parent().unwrap_or(Path::new("/"));
    let folders = [beside, &beside.join("../libexec/prn"), Path::new(INSTALLED)];
    let mut places = folders.into_iter().map(|folder| folder.join(name));
    Ok(places.find(|place| place.is_file()))
}
