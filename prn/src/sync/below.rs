//! Reaching what is below a local directory, and nothing else.
//!
//! Whoever else may write to a folder there can put a link where there was a directory: each part of
//! a path is opened by itself, and never through a link.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstatat, mkdirat};

/// What opens a directory, and no link to one.
const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// A directory.
#[derive(Debug)]
pub struct Below {
    base: OwnedFd,
}

impl Below {
    /// Opens it. The path to it may have links.
    ///
    /// # Errors
    /// Those of open(2), as all that follow.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let base = open(directory, flags, Mode::empty())?;
        Ok(Self { base })
    }

    /// Opens a directory. An empty path is this one.
    pub fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        self.walked(path, |_, _| Ok(()))
    }

    /// The same, of one that is made where it is not there.
    pub fn made(&self, path: &Path) -> io::Result<OwnedFd> {
        self.walked(path, |folder, name| {
            match mkdirat(folder, name, Mode::from_bits_truncate(0o777)) {
                Ok(()) | Err(Errno::EEXIST) => Ok(()),
                Err(errno) => Err(errno.into()),
            }
        })
    }

    /// Opens a file to be read.
    pub fn file(&self, path: &Path) -> io::Result<File> {
        let (folder, name) = parts(path)?;
        // Nobody is waited for who would write to a FIFO.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file = openat(self.folder(folder)?, name, flags, Mode::empty())?;
        Ok(File::from(file))
    }

    fn walked(
        &self,
        path: &Path,
        before: impl Fn(&OwnedFd, &Path) -> io::Result<()>,
    ) -> io::Result<OwnedFd> {
        let mut at = self.base.try_clone()?;
        for part in path.components() {
            let Component::Normal(name) = part else {
                return Err(Errno::EINVAL.into());
            };
            let name = Path::new(name);
            before(&at, name)?;
            at = openat(&at, name, DIRECTORY, Mode::empty())?;
        }
        Ok(at)
    }
}

/// What is looked at in the order of a walk: mostly in the same folder as what was before.
#[derive(Debug)]
pub struct Looking {
    below: Below,
    folder: OwnedFd,
    path: Box<Path>,
}

impl Looking {
    /// Below a directory.
    pub fn new(below: Below) -> io::Result<Self> {
        let folder = below.folder(Path::new(""))?;
        let path = Path::new("").into();
        Ok(Self {
            below,
            folder,
            path,
        })
    }

    /// What is at a path, a link itself.
    pub fn stat(&mut self, path: &Path) -> io::Result<FileStat> {
        let (folder, name) = self.folder(path)?;
        Ok(fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }

    /// What a link says.
    pub fn link(&mut self, path: &Path) -> io::Result<OsString> {
        let (folder, name) = self.folder(path)?;
        Ok(readlinkat(folder, name)?)
    }

    fn folder<'a>(&mut self, path: &'a Path) -> io::Result<(&OwnedFd, &'a Path)> {
        let (folder, name) = parts(path)?;
        if *self.path != *folder {
            self.folder = self.below.folder(folder)?;
            self.path = folder.into();
        }
        Ok((&self.folder, name))
    }
}

/// The folder that a path is in, and its name there.
fn parts(path: &Path) -> io::Result<(&Path, &Path)> {
    let name = path.file_name().ok_or(Errno::EINVAL)?;
    Ok((path.parent().unwrap_or(Path::new("")), Path::new(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_link_is_followed_on_the_way_to_anything() {
        let here = tempfile::tempdir().unwrap();
        fs::create_dir_all(here.path().join("a/b")).unwrap();
        fs::write(here.path().join("a/b/f"), "abc").unwrap();
        symlink("a", here.path().join("link")).unwrap();
        symlink("f", here.path().join("a/b/link")).unwrap();
        let below = Below::open(here.path()).unwrap();
        let mut text = String::new();
        let mut file = below.file(Path::new("a/b/f")).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
        for path in ["link/b/f", "a/b/link", "a/../a/b/f", "a/b/f/x", ""] {
            assert!(below.file(Path::new(path)).is_err(), "{path}");
        }
        for path in ["link", "link/new", "a/b/f", "../x", "/tmp"] {
            assert!(below.made(Path::new(path)).is_err(), "{path}");
        }
        below.made(Path::new("a/new/folder")).unwrap();
        assert!(here.path().join("a/new/folder").is_dir());
        let mut looking = Looking::new(below).unwrap();
        assert_eq!(looking.stat(Path::new("a/b/f")).unwrap().st_size, 3);
        assert_eq!(looking.link(Path::new("a/b/link")).unwrap(), "f");
        assert_eq!(looking.link(Path::new("link")).unwrap(), "a");
        assert!(looking.stat(Path::new("link/b/f")).is_err());
    }
}
