//! Reading what may be a secret.

use std::fs::File;
use std::io::{self, Read};

use zeroize::Zeroizing;

/// No certificate or key is nearly this long.
pub const FILE_MAX: usize = 64 * 1024;

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
