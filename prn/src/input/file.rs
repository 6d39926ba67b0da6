//! A file that is read, which `-` is standard input for, as everywhere.

use std::fs::File;
use std::io;
use std::path::Path;

/// Opens it.
///
/// # Errors
/// Those of open(2).
pub fn open(path: &Path) -> io::Result<File> {
    let is_stdin = path.as_os_str() == "-";
    File::open(if is_stdin {
        Path::new("/dev/stdin")
    } else {
        path
    })
}
