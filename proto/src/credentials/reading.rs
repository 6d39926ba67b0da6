//! Reading what may be a secret.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use super::error::CredentialsError;

/// No certificate or key is nearly this long.
pub const FILE_MAX: usize = 64 * 1024;

/// Where descriptors have names: a pipe that is handed on, as `<(…)` of a shell's, is named so.
const DESCRIPTORS: [&str; 4] = [
    "/dev/fd",
    "/dev/stdin",
    "/proc/self/fd",
    "/proc/thread-self/fd",
];

/// The kernel has said why this cannot be read.
pub fn unread(path: &Path, source: io::Error) -> CredentialsError {
    CredentialsError::Read {
        path: path.to_owned(),
        source,
    }
}

/// A file of a key or a certificate, with its metadata: nothing that could be waited on for ever.
pub fn open_file(path: &Path) -> Result<(File, Metadata), CredentialsError> {
    let failed = |source| unread(path, source);
    let is_handed_on = DESCRIPTORS.iter().any(|folder| path.starts_with(folder));
    // Nobody may ever write to a pipe that has a name of its own.
    let waits = if is_handed_on {
        0
    } else {
        nix::libc::O_NONBLOCK
    };
    let opened = File::options().read(true).custom_flags(waits).open(path);
    let file = opened.map_err(failed)?;
    // Asked of the open file: the name may mean another one by now.
    let metadata = file.metadata().map_err(failed)?;
    let is_handed_pipe = is_handed_on && metadata.file_type().is_fifo();
    if metadata.is_file() || is_handed_pipe {
        Ok((file, metadata))
    } else {
        Err(CredentialsError::NoFile(path.to_owned()))
    }
}

/// All bytes of a file, in one allocation, so that growing leaves no copy behind. Of no more than
/// the file says that it needs, if it does: each byte is wiped in the end, used or not.
pub fn read_bounded(file: File) -> io::Result<Zeroizing<Vec<u8>>> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let most = if (1..FILE_MAX).contains(&length) {
        length
    } else {
        FILE_MAX
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 64));
    let limit = u64::try_from(most).unwrap_or(u64::MAX);
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}
