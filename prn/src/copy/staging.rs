//! Where what is copied from a workspace is before all of it has come, and how it gets from there to
//! where it is to be.
//!
//! Whoever else writes to the target meanwhile can put links where there were directories: nothing
//! below it is reached through one.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, fchmod, fchmodat, fstat, fstatat, futimens, mkdirat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Uid, UnlinkatFlags, unlinkat};
use ring::rand::{SystemRandom, generate};

use crate::copy::fault::CopyFault;
use crate::copy::plan::ROOT;
use crate::copy::tree::{DIRECTORY, Tree};

/// What the names of all that is staged begin with.
const PREFIX: &str = ".prn-cp.";

/// Names that are tried, if others are there.
const NAMES_TRIED: usize = 10;

/// Where something is to be in the end.
#[derive(Debug)]
pub struct Target {
    base: Base,
    /// What it becomes there. `None`: what is copied is a directory, whose content becomes the
    /// base's.
    name: Option<OsString>,
    /// It is to be a directory.
    is_directory: bool,
}

/// A directory that is there. It is looked for once: whatever is put in its place then is another.
#[derive(Debug)]
struct Base {
    directory: OwnedFd,
    /// To be shown.
    path: PathBuf,
}

impl Target {
    /// What `cp -a` makes of "SOURCE/`name`" and a path: without a name, of "SOURCE/.".
    ///
    /// # Errors
    /// If the directory is not there that it would be in.
    pub fn find(path: &Path, name: Option<&OsStr>) -> Result<Self, CopyFault> {
        if fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
            let directory = directory(path).map_err(failed("open", path))?;
            let name = name.map(OsStr::to_owned);
            return Ok(Self::within(directory, path.to_owned(), name));
        }
        let missing = || CopyFault::InTheWay {
            path: path.to_owned(),
            why: "there is no such directory",
        };
        let own = path.file_name().ok_or_else(missing)?;
        let base = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            Some(_) | None => PathBuf::from("."),
        };
        let directory = match directory(&base) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Err(missing()),
            opened => opened.map_err(failed("open", &base))?,
        };
        Ok(Self {
            is_directory: path.as_os_str().as_bytes().ends_with(b"/"),
            ..Self::within(directory, base, Some(own.to_owned()))
        })
    }

    /// What has this name in an open directory, or its content. The path is shown only.
    pub fn within(directory: OwnedFd, path: PathBuf, name: Option<OsString>) -> Self {
        let base = Base { directory, path };
        Self {
            base,
            name,
            is_directory: false,
        }
    }
}

/// Opens a directory that its user has named: links on the way are theirs.
fn directory(path: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty())
}

/// A directory beside the target, which is gone when this is dropped. Whoever may write to what it
/// is in can rename it, and put another one in its place: all is done to this one.
#[derive(Debug)]
pub struct Staging {
    name: OsString,
    /// To be shown.
    path: PathBuf,
    fd: OwnedFd,
    target: Target,
    /// What is in it.
    pub tree: Tree,
}

impl Staging {
    /// Makes it.
    ///
    /// # Errors
    /// [`CopyFault::Local`], [`CopyFault::InTheWay`].
    pub fn new(target: Target) -> Result<Self, CopyFault> {
        let Base { directory, path } = &target.base;
        let name = make(directory).map_err(failed("write to", path))?;
        let path = path.join(&name);
        let fd = made(directory, &name).map_err(failed("open", &path))?;
        let fd = fd.ok_or_else(|| CopyFault::InTheWay {
            path: path.clone(),
            why: "somebody else has put it where another directory was made",
        })?;
        let root = fd.try_clone().map_err(CopyFault::local("open", &path))?;
        Ok(Self {
            name,
            path,
            fd,
            target,
            tree: Tree::new(root),
        })
    }

    /// Moves it to where it is to be: a directory that is not there at once, else file by file.
    ///
    /// # Errors
    /// [`CopyFault::InTheWay`], [`CopyFault::Local`]: some of it may have been moved.
    pub fn install(&self) -> Result<(), CopyFault> {
        let root = OsStr::new(ROOT);
        let base = Place {
            directory: &self.target.base.directory,
            path: &self.target.base.path,
        };
        let staged = Place {
            directory: &self.fd,
            path: &self.path,
        };
        match &self.target.name {
            Some(name)
                if self.target.is_directory
                    && !look(staged, root)?.is_some_and(|staged| is_directory(&staged)) =>
            {
                Err(CopyFault::InTheWay {
                    path: base.path.join(name),
                    why: "what is copied is a file, and there is no such directory",
                })
            }
            Some(name) => put(staged, root, base, name),
            None => {
                let path = self.path.join(ROOT);
                let fd = unlocked(&self.fd, root).map_err(failed("open", &path))?;
                let from = Place {
                    directory: &fd,
                    path: &path,
                };
                merge(from, base)
            }
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let base = &self.target.base.directory;
        // Nobody is left to be told; and its name says what it is.
        let _is_left = clear(&self.fd)
            .and_then(|()| unlinkat(base, self.name.as_os_str(), UnlinkatFlags::RemoveDir));
    }
}

/// Makes a directory of this user's alone, under a name that nobody knows before.
fn make(base: &OwnedFd) -> nix::Result<OsString> {
    for _ in 0..NAMES_TRIED {
        let name = name()?;
        match mkdirat(base, name.as_os_str(), Mode::S_IRWXU) {
            Err(Errno::EEXIST) => {}
            made => return made.map(|()| name),
        }
    }
    Err(Errno::EEXIST)
}

fn name() -> nix::Result<OsString> {
    let random = generate::<[u8; 8]>(&SystemRandom::new()).map_err(|_| Errno::EIO)?;
    let number = u64::from_ne_bytes(random.expose());
    Ok(format!("{PREFIX}{number:016x}").into())
}

/// Opens a directory that was just made, if it is that one: another one that is this user's has
/// something in it, or lets others write to it. What is in it will be removed.
fn made(base: &OwnedFd, name: &OsStr) -> nix::Result<Option<OwnedFd>> {
    let fd = openat(base, name, DIRECTORY, Mode::empty())?;
    let is_ours = is_private(&fstat(&fd)?, Uid::effective()) && names(&fd)?.is_empty();
    Ok(is_ours.then_some(fd))
}

/// Whether nobody else writes to it. There are file systems that let all read everything.
fn is_private(stat: &FileStat, user: Uid) -> bool {
    let others = Mode::S_IWGRP | Mode::S_IWOTH;
    stat.st_uid == user.as_raw() && !Mode::from_bits_truncate(stat.st_mode).intersects(others)
}

/// Removes [`ROOT`] and all else that a stage has, to which nobody else writes. What is in a
/// directory there is moved up, under a number, before that is removed: however deep all is, two are
/// open at a time.
fn clear(stage: &OwnedFd) -> nix::Result<()> {
    let mut moved = 0_u64;
    loop {
        let names = names(stage)?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            if unlinked(stage, &name)? {
                continue;
            }
            let directory = unlocked(stage, &name)?;
            for below in self::names(&directory)? {
                if !unlinked(&directory, &below)? {
                    // Only one that may be written to can be moved (rename(2)).
                    unlocked(&directory, &below)?;
                    let new = moved.to_string();
                    renameat(&directory, below.as_os_str(), stage, new.as_str())?;
                    moved += 1;
                }
            }
            unlinkat(stage, name.as_os_str(), UnlinkatFlags::RemoveDir)?;
        }
    }
}

/// Removes what has this name, unless that is a directory. Whether it did.
fn unlinked(directory: &OwnedFd, name: &OsStr) -> nix::Result<bool> {
    match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) => Ok(true),
        Err(Errno::EISDIR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// An open directory.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    directory: &'a OwnedFd,
    /// To be shown.
    path: &'a Path,
}

/// Puts what has `name` in `from` where `new` is in `to`.
fn put(from: Place<'_>, name: &OsStr, to: Place<'_>, new: &OsStr) -> Result<(), CopyFault> {
    let path = to.path.join(new);
    let staged = look(from, name)?.ok_or_else(|| failed("open", &path)(Errno::ENOENT))?;
    let there = look(to, new)?;
    let in_the_way = |why| CopyFault::InTheWay {
        path: path.clone(),
        why,
    };
    match (is_directory(&staged), there.map(|stat| is_directory(&stat))) {
        (true, None) => move_directory(&staged, from, name, to, new),
        (true, Some(true)) => {
            let from_path = from.path.join(name);
            let from = unlocked(from.directory, name).map_err(failed("open", &from_path))?;
            let to = openat(to.directory, new, DIRECTORY, Mode::empty())
                .map_err(failed("open", &path))?;
            merge_and_mark(&staged, &from, &from_path, &to, &path)
        }
        (true, Some(false)) => Err(in_the_way("it is there, and no directory")),
        (false, Some(true)) => Err(in_the_way("it is a directory")),
        (false, Some(false) | None) => {
            renameat(from.directory, name, to.directory, new).map_err(failed("move to", &path))
        }
    }
}

/// A directory has to be one that may be written to, to be moved (rename(2)).
fn move_directory(
    staged: &FileStat,
    from: Place<'_>,
    name: &OsStr,
    to: Place<'_>,
    new: &OsStr,
) -> Result<(), CopyFault> {
    let path = to.path.join(new);
    let moved = || -> nix::Result<()> {
        let mode = Mode::from_bits_truncate(staged.st_mode);
        if mode.contains(Mode::S_IWUSR) {
            return renameat(from.directory, name, to.directory, new);
        }
        let fd = unlocked(from.directory, name)?;
        renameat(from.directory, name, to.directory, new)?;
        fchmod(&fd, mode)
    };
    moved().map_err(failed("move to", &path))
}

/// Opens a directory that is staged, whatever its mode says, and lets it be written to. Never a
/// link.
fn unlocked(directory: &OwnedFd, name: &OsStr) -> nix::Result<OwnedFd> {
    match openat(directory, name, DIRECTORY, Mode::empty()) {
        Ok(fd) => fchmod(&fd, Mode::S_IRWXU).map(|()| fd),
        Err(Errno::EACCES) => {
            let flag = FchmodatFlags::NoFollowSymlink;
            fchmodat(directory, name, Mode::S_IRWXU, flag)?;
            openat(directory, name, DIRECTORY, Mode::empty())
        }
        Err(errno) => Err(errno),
    }
}

/// Merges a directory into another, which then has its mode and its time.
fn merge_and_mark(
    staged: &FileStat,
    from: &OwnedFd,
    from_path: &Path,
    to: &OwnedFd,
    to_path: &Path,
) -> Result<(), CopyFault> {
    let place = |directory, path| Place { directory, path };
    merge(place(from, from_path), place(to, to_path))?;
    let time = TimeSpec::new(staged.st_mtime, staged.st_mtime_nsec);
    fchmod(to, Mode::from_bits_truncate(staged.st_mode))
        .and_then(|()| futimens(to, &time, &time))
        .map_err(failed("set the mode of", to_path))
}

fn merge(from: Place<'_>, to: Place<'_>) -> Result<(), CopyFault> {
    let names = names(from.directory).map_err(failed("read", from.path))?;
    for name in names {
        put(from, &name, to, &name)?;
    }
    Ok(())
}

fn names(directory: &OwnedFd) -> nix::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::openat(directory, ".", OFlag::O_DIRECTORY, Mode::empty())?.iter() {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

fn look(place: Place<'_>, name: &OsStr) -> Result<Option<FileStat>, CopyFault> {
    match fstatat(place.directory.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(failed("look at", &place.path.join(name))(errno)),
    }
}

fn is_directory(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

fn failed(act: &'static str, path: &Path) -> impl FnOnce(Errno) -> CopyFault {
    let path = path.to_owned();
    move |errno| CopyFault::local(act, path)(errno.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use tempfile::TempDir;

    #[test]
    fn what_is_put_where_a_directory_was_made_is_not_taken_for_it() {
        let folder = TempDir::new().unwrap();
        let base = directory(folder.path()).unwrap();
        let made = |name: &OsStr| made(&base, name);
        let ours = make(&base).unwrap();
        assert!(made(&ours).unwrap().is_some());
        let path = folder.path().join(&ours);
        fs::set_permissions(&path, Permissions::from_mode(0o770)).unwrap();
        assert!(made(&ours).unwrap().is_none());
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        fs::write(path.join("f"), "").unwrap();
        assert!(made(&ours).unwrap().is_none());
        symlink("/", folder.path().join("link")).unwrap();
        assert!(made(OsStr::new("link")).is_err());
    }

    #[test]
    fn another_user_s_directory_is_not_private() {
        let folder = TempDir::new().unwrap();
        let stat = fstat(directory(folder.path()).unwrap()).unwrap();
        let other = Uid::from_raw(stat.st_uid + 1);
        assert!(is_private(&stat, Uid::from_raw(stat.st_uid)) && !is_private(&stat, other));
    }

    #[test]
    fn whatever_is_in_a_directory_is_cleared_and_no_link_is_followed() {
        let (stage, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        fs::write(other.path().join("f"), "").unwrap();
        let root = stage.path().join(ROOT);
        let deep = root.join("0/1/0/2/".repeat(50));
        fs::create_dir_all(&deep).unwrap();
        symlink(other.path(), deep.join("link")).unwrap();
        symlink(other.path(), root.join("link")).unwrap();
        for path in ["0/1/0/2", "0/1/0", "0/1", "0"] {
            let path = root.join(path);
            fs::create_dir(path.join("7")).unwrap();
            fs::write(path.join("7/f"), "").unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o000)).unwrap();
        }
        clear(&directory(stage.path()).unwrap()).unwrap();
        assert_eq!(fs::read_dir(stage.path()).unwrap().count(), 0);
        assert!(other.path().join("f").exists());
    }
}
