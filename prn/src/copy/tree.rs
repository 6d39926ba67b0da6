//! Writing files where somebody else chooses their names.
//!
//! All is below one directory, which nobody else can write to: each directory on the way to a name
//! is opened by itself, and never through a link.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, UtimensatFlags, fchmod, futimens, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{linkat, symlinkat};

use crate::copy::archive::member::{Content, Member, Time};
use crate::copy::directories::Directories;
use crate::copy::fault::CopyFault;
use crate::copy::name::shown;

/// What opens a directory, and no link to one.
pub const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// A directory that is filled.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    /// The directory that was written to last.
    last: Option<Last>,
    /// Those that were made: their modes are set last.
    directories: Directories,
}

#[derive(Debug)]
struct Last {
    parts: Vec<OsString>,
    fd: OwnedFd,
}

/// A file that is being written.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    name: PathBuf,
    mode: Mode,
    modified: Time,
}

impl Tree {
    /// Below this directory.
    pub fn new(root: OwnedFd) -> Self {
        Self {
            root,
            last: None,
            directories: Directories::default(),
        }
    }

    /// Makes a directory. `at` are the parts of its path, as in all that follow.
    ///
    /// # Errors
    /// [`CopyFault::Member`], [`CopyFault::Local`], as all that follow.
    pub fn directory(&mut self, at: &[&[u8]], member: &Member) -> Result<(), CopyFault> {
        let (name, parents) = last(at)?;
        let parent = self.parent(parents, &member.name)?;
        mkdirat(parent, name, Mode::S_IRWXU).map_err(failed("make", &member.name))?;
        let path = at.join(&b'/');
        let is_kept = self.directories.push(path, mode(member), member.modified);
        is_kept.ok_or_else(|| CopyFault::Member {
            name: shown(&member.name),
            why: "there are too many directories with long names",
        })
    }

    /// Makes a file, which is its user's alone until it is finished.
    pub fn file(
        &mut self,
        at: &[&[u8]],
        member: &Member,
        content: &Content,
    ) -> Result<NewFile, CopyFault> {
        let (name, parents) = last(at)?;
        let parent = self.parent(parents, &member.name)?;
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(parent, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map(File::from)
            .map_err(failed("make", &member.name))?;
        if content.extents.is_some() {
            file.set_len(content.size)
                .map_err(CopyFault::local("write", shown(&member.name)))?;
        }
        Ok(NewFile {
            file,
            name: shown(&member.name),
            mode: mode(member),
            modified: member.modified,
        })
    }

    /// Makes a symbolic link.
    pub fn symlink(
        &mut self,
        at: &[&[u8]],
        member: &Member,
        target: &[u8],
    ) -> Result<(), CopyFault> {
        let (name, parents) = last(at)?;
        let parent = self.parent(parents, &member.name)?;
        symlinkat(OsStr::from_bytes(target), parent.as_fd(), name)
            .map_err(failed("make", &member.name))?;
        let time = spec(member.modified);
        let flag = UtimensatFlags::NoFollowSymlink;
        utimensat(parent, name, &time, &time, flag).map_err(failed("set the time of", &member.name))
    }

    /// Makes a further name of what was made here before at `target`.
    pub fn hard_link(
        &mut self,
        at: &[&[u8]],
        member: &Member,
        target: &[&[u8]],
    ) -> Result<(), CopyFault> {
        let (old, parents) = last(target)?;
        let from = self.parent(parents, &member.name)?;
        let from = from
            .try_clone()
            .map_err(CopyFault::local("open", shown(&member.name)))?;
        let (new, parents) = last(at)?;
        let to = self.parent(parents, &member.name)?;
        linkat(from, old, to, new, AtFlags::empty()).map_err(failed("link", &member.name))
    }

    /// Sets the modes of all directories, of those in others before these.
    pub fn finish(&mut self) -> Result<(), CopyFault> {
        while let Some(directory) = self.directories.pop() {
            let parts = directory.path.split(|byte| *byte == b'/');
            let fd = opened(&self.root, parts.map(OsStr::from_bytes))
                .map_err(CopyFault::local("open", shown(&directory.path)))?;
            let time = spec(directory.modified);
            futimens(fd.as_fd(), &time, &time)
                .and_then(|()| fchmod(fd, directory.mode))
                .map_err(failed("set the mode of", &directory.path))?;
        }
        Ok(())
    }

    /// The directory that these parts lead to. It is kept: what comes next is mostly in it, too.
    fn parent(&mut self, parents: &[&[u8]], name: &[u8]) -> Result<&OwnedFd, CopyFault> {
        let is_last = self.last.as_ref().is_some_and(|last| {
            let parts = last.parts.iter().map(|part| part.as_bytes());
            parts.eq(parents.iter().copied())
        });
        if !is_last {
            let parts = parents.iter().map(|part| OsStr::from_bytes(part));
            let fd = opened(&self.root, parts).map_err(|_| CopyFault::Member {
                name: shown(name),
                why: "what it is in is no directory of the archive",
            })?;
            let parts = owned(parents);
            self.last = Some(Last { parts, fd });
        }
        Ok(self.last.as_ref().map_or(&self.root, |last| &last.fd))
    }
}

impl NewFile {
    /// Writes a part of it.
    pub fn write(&self, bytes: &[u8], offset: u64) -> Result<(), CopyFault> {
        self.file
            .write_all_at(bytes, offset)
            .map_err(CopyFault::local("write", &self.name))
    }

    /// Gives it its mode and time.
    pub fn finish(self) -> Result<(), CopyFault> {
        let time = spec(self.modified);
        futimens(&self.file, &time, &time)
            .and_then(|()| fchmod(&self.file, self.mode))
            .map_err(|errno| CopyFault::local("set the mode of", &self.name)(errno.into()))
    }
}

/// Opens a directory below `root`, part by part.
fn opened<'a>(root: &OwnedFd, parts: impl Iterator<Item = &'a OsStr>) -> io::Result<OwnedFd> {
    let mut at = root.try_clone()?;
    for part in parts {
        at = openat(&at, part, DIRECTORY, Mode::empty())?;
    }
    Ok(at)
}

/// The last part, and those before.
fn last<'a, 'b>(at: &'a [&'b [u8]]) -> Result<(&'b OsStr, &'a [&'b [u8]]), CopyFault> {
    let (last, parents) = at.split_last().ok_or(CopyFault::Malformed("a name"))?;
    Ok((OsStr::from_bytes(last), parents))
}

fn owned(parts: &[&[u8]]) -> Vec<OsString> {
    parts
        .iter()
        .map(|part| OsString::from_vec(part.to_vec()))
        .collect()
}

fn mode(member: &Member) -> Mode {
    Mode::from_bits_truncate(member.mode)
}

fn failed(act: &'static str, name: &[u8]) -> impl FnOnce(Errno) -> CopyFault {
    let name = shown(name);
    move |errno| {
        let why = if errno == Errno::EEXIST {
            "it is there twice"
        } else if errno == Errno::ENOENT {
            "a link to what is not in the archive"
        } else {
            return CopyFault::local(act, name)(errno.into());
        };
        CopyFault::Member { name, why }
    }
}

fn spec(time: Time) -> TimeSpec {
    TimeSpec::new(time.seconds, time.nanos.into())
}
