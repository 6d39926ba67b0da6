//! Reading what is below a directory, where others may put links in the place of directories.
//!
//! Each directory on the way to a name is opened by itself, and never through a link.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

use crate::copy::fault::CopyFault;

/// A directory on the way, which need not be one that may be read.
const ON_THE_WAY: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Never a link, and without waiting for whoever would write to a FIFO: either may have come since
/// it was looked at.
const FILE: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_CLOEXEC);

/// What a file or a directory is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id {
    device: u64,
    inode: u64,
}

impl Id {
    pub fn of(stat: &FileStat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }
}

/// A directory of which something is read.
#[derive(Debug)]
pub struct Source {
    /// Empty for the one that a process is in.
    path: PathBuf,
    id: Id,
}

impl Source {
    /// A path in it, as it is shown.
    pub fn shown(&self, at: &Path) -> PathBuf {
        if at.as_os_str().is_empty() {
            self.path.clone()
        } else {
            self.path.join(at)
        }
    }
}

/// The same, opened. Paths are relative to it; an empty one is itself.
#[derive(Debug)]
pub struct Below {
    source: Arc<Source>,
    root: OwnedFd,
    /// The directory that was reached last.
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    at: PathBuf,
    fd: OwnedFd,
}

impl Below {
    /// Opens a directory that its user has named: links on the way are theirs.
    ///
    /// # Errors
    /// [`CopyFault::Local`], as all that follow.
    pub fn new(path: &Path) -> Result<Self, CopyFault> {
        let failed = |errno: Errno| CopyFault::local("look at", path)(errno.into());
        let here = path.as_os_str().is_empty();
        let flags = ON_THE_WAY.difference(OFlag::O_NOFOLLOW);
        let named = if here { Path::new(".") } else { path };
        let root = open(named, flags, Mode::empty()).map_err(failed)?;
        let source = Source {
            path: path.to_owned(),
            id: Id::of(&fstat(&root).map_err(failed)?),
        };
        Ok(Self {
            source: Arc::new(source),
            root,
            last: None,
        })
    }

    /// Opens one again. There may be more than can be open at a time.
    ///
    /// # Errors
    /// [`CopyFault::Changed`]: there is another one by now.
    pub fn again(source: &Arc<Source>) -> Result<Self, CopyFault> {
        let opened = Self::new(&source.path)?;
        if opened.source.id != source.id {
            return Err(CopyFault::Changed(source.path.clone()));
        }
        let source = Arc::clone(source);
        Ok(Self { source, ..opened })
    }

    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Whether it was opened by this path.
    pub fn is_at(&self, path: &Path) -> bool {
        self.source.path.as_os_str() == path.as_os_str()
    }

    /// Looks at what is there, at a link itself.
    pub fn look(&mut self, at: &Path) -> Result<FileStat, CopyFault> {
        let stat = match (at.parent(), at.file_name()) {
            (Some(parent), Some(name)) => self
                .directory(parent)
                .and_then(|fd| fstatat(fd, name, AtFlags::AT_SYMLINK_NOFOLLOW)),
            (None, _) | (_, None) => fstat(&self.root),
        };
        stat.map_err(|errno| self.failed("look at", at)(errno))
    }

    /// What a link leads to.
    pub fn target(&mut self, at: &Path) -> nix::Result<Vec<u8>> {
        let (Some(parent), Some(name)) = (at.parent(), at.file_name()) else {
            return Err(Errno::EINVAL);
        };
        let target = readlinkat(self.directory(parent)?, name)?;
        Ok(target.as_bytes().to_vec())
    }

    /// Opens a file to be read, which is to be the one that was looked at.
    ///
    /// # Errors
    /// [`CopyFault::Changed`] too.
    pub fn file(&mut self, at: &Path, id: Id) -> Result<File, CopyFault> {
        let (Some(parent), Some(name)) = (at.parent(), at.file_name()) else {
            return Err(CopyFault::Changed(self.source.shown(at)));
        };
        let opened = self.directory(parent).and_then(|fd| {
            let file = openat(fd, name, FILE, Mode::empty())?;
            let stat = fstat(&file)?;
            Ok((kind(&stat) == SFlag::S_IFREG && Id::of(&stat) == id).then_some(file))
        });
        match opened {
            Ok(Some(file)) => Ok(file.into()),
            Ok(None) | Err(Errno::ELOOP | Errno::ENOTDIR) => {
                Err(CopyFault::Changed(self.source.shown(at)))
            }
            Err(errno) => Err(self.failed("open", at)(errno)),
        }
    }

    /// A directory. It is kept: what comes next is mostly in it, or in what it has.
    pub fn directory(&mut self, at: &Path) -> nix::Result<&OwnedFd> {
        if at.as_os_str().is_empty() {
            return Ok(&self.root);
        }
        let is_last = |last: &&Last| last.at.as_os_str() == at.as_os_str();
        if self.last.as_ref().filter(is_last).is_none() {
            let fd = self.opened(at)?;
            let at = at.to_owned();
            self.last = Some(Last { at, fd });
        }
        Ok(self.last.as_ref().map_or(&self.root, |last| &last.fd))
    }

    fn opened(&self, at: &Path) -> nix::Result<OwnedFd> {
        let near = self
            .last
            .as_ref()
            .and_then(|last| Some((at.strip_prefix(&last.at).ok()?, &last.fd)));
        let (rest, from) = near.unwrap_or((at, &self.root));
        let mut reached = None;
        for part in rest {
            let from = reached.as_ref().unwrap_or(from);
            reached = Some(openat(from, part, ON_THE_WAY, Mode::empty())?);
        }
        reached.ok_or(Errno::EINVAL)
    }

    /// For the error of a system call.
    pub fn failed(&self, act: &'static str, at: &Path) -> impl FnOnce(Errno) -> CopyFault + use<> {
        let path = self.source.shown(at);
        move |errno| CopyFault::local(act, path)(errno.into())
    }
}

/// The kind of what was looked at.
pub fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    fn read(below: &mut Below, at: &str) -> Result<String, CopyFault> {
        let at = Path::new(at);
        let id = Id::of(&below.look(at)?);
        let mut text = String::new();
        let read = below.file(at, id)?.read_to_string(&mut text);
        read.map(|_| text).map_err(CopyFault::local("read", at))
    }

    #[test]
    fn what_is_below_is_reached_and_nothing_through_a_link() {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("a/b/c")).unwrap();
        for name in ["f", "a/f", "a/b/f", "a/b/c/f"] {
            fs::write(path(name), name).unwrap();
        }
        symlink("b", path("a/link")).unwrap();
        let mut below = Below::new(folder.path()).unwrap();
        for name in ["a/b/c/f", "a/f", "f", "a/b/f", "a/b/c/f"] {
            assert_eq!(read(&mut below, name).unwrap(), name);
        }
        for name in ["a/link/f", "a/link/c/f", "a/link", "a", ""] {
            assert!(read(&mut below, name).is_err(), "{name}");
        }
        assert_eq!(below.target(Path::new("a/link")).unwrap(), b"b");
    }

    #[test]
    fn one_that_was_replaced_is_not_opened_again() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("d");
        fs::create_dir(&path).unwrap();
        let below = Below::new(&path).unwrap();
        assert!(Below::again(below.source()).is_ok());
        fs::rename(&path, folder.path().join("old")).unwrap();
        fs::create_dir(&path).unwrap();
        let again = Below::again(below.source());
        assert!(matches!(again, Err(CopyFault::Changed(_))));
    }
}
