//! Names of an archive that somebody else has made. Pure.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::copy::fault::CopyFault;

/// Most directories that a name may be in: so many are opened at a time to put it there.
const DEPTH_MAX: usize = 256;

/// Most bytes of one part (NAME_MAX, limits.h(0p)), and of all (PATH_MAX).
const PART_MAX: usize = 255;
const NAME_MAX: usize = 4096;

/// The parts of a relative path that leads to nowhere but below. None: the directory itself.
///
/// # Errors
/// [`CopyFault::Member`] for any other.
pub fn parts(name: &[u8]) -> Result<Vec<&[u8]>, CopyFault> {
    let refused = |why| CopyFault::Member {
        name: shown(name),
        why,
    };
    if name.starts_with(b"/") {
        return Err(refused("an absolute name"));
    }
    if name.contains(&0) {
        return Err(refused("a name with a NUL in it"));
    }
    let parts: Vec<_> = name
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    if parts.contains(&b"..".as_slice()) {
        return Err(refused("a name with \"..\" in it"));
    }
    if name.len() > NAME_MAX || parts.iter().any(|part| part.len() > PART_MAX) {
        return Err(refused("a name that is too long"));
    }
    if parts.len() > DEPTH_MAX {
        return Err(refused("a name that is too deep"));
    }
    Ok(parts)
}

/// A name as it can be shown: so much of it that it can.
pub fn shown(name: &[u8]) -> PathBuf {
    let begin = name.get(..PART_MAX).unwrap_or(name);
    Path::new(OsStr::from_bytes(begin)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_nowhere_but_below() {
        assert_eq!(parts(b"./a//b/.").unwrap(), [b"a", b"b"]);
        assert!(parts(b"./").unwrap().is_empty());
        let long = [b'x'; 256];
        let deep = b"a/".repeat(100_000);
        let nested = b"a/".repeat(257);
        for bad in [&b"/a"[..], b"..", b"a/../b", b"a\0b", &long, &deep, &nested] {
            assert!(parts(bad).is_err(), "{:?}", shown(bad));
        }
    }
}
