//! Digests of local files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};

use super::below::Below;
use super::listing::Digest;
use super::path::RelativePath;

/// Read at a time.
const PIECE: usize = 256 * 1024;

/// A file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
pub struct Unread {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Those of these files whose content is another than what was found at the other end.
///
/// # Errors
/// [`Unread`].
pub fn changed(
    directory: &Path,
    files: BTreeSet<RelativePath>,
    there: &BTreeMap<RelativePath, Digest>,
) -> Result<BTreeSet<RelativePath>, Unread> {
    let mut changed = BTreeSet::new();
    let unread = |path: PathBuf| |source| Unread { path, source };
    let below = Below::open(directory).map_err(unread(directory.to_owned()))?;
    for path in files {
        let is_same = match there.get(&path) {
            Some(digest) => {
                let file = below.file(path.as_path());
                let here = file.and_then(digest_of);
                *digest == here.map_err(unread(directory.join(path.as_path())))?
            }
            None => false,
        };
        if !is_same {
            changed.insert(path);
        }
    }
    Ok(changed)
}

/// Of a regular file: a device that has taken its place may have no end.
fn digest_of(mut file: File) -> io::Result<Digest> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no longer a file"));
    }
    let mut context = Context::new(&SHA256);
    let mut piece = vec![0; PIECE];
    loop {
        let read = match file.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        context.update(piece.get(..read).unwrap_or_default());
    }
    let digest = context.finish();
    let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    Ok(digits.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_the_same_digest_has_not_changed() {
        let folder = std::env::temp_dir().join(format!("prn-sync-digest-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let path = |text: &str| RelativePath::parse(text.as_bytes()).unwrap();
        for name in ["same", "other", "gone"] {
            std::fs::write(folder.join(name), "abc").unwrap();
        }
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let there = [
            (path("same"), abc.to_owned()),
            (path("other"), "0".repeat(64)),
        ];
        let files: BTreeSet<_> = ["same", "other", "gone"].map(path).into();
        let changed = changed(&folder, files.clone(), &there.clone().into());
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(changed.unwrap(), ["other", "gone"].map(path).into());
        assert!(super::changed(&folder, files, &there.into()).is_err());
    }
}
