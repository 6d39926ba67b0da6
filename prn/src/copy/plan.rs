//! What is to be copied to a workspace, looked at before anything is sent.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, SFlag};

use crate::copy::archive::member::{Content, Kind, MODE_BITS, Member, Time};
use crate::copy::below::{self, Below, Id, Source};
use crate::copy::fault::{CopyFault, Names};

/// The name in the archive of what is copied. All else is below.
pub const ROOT: &str = "t";

/// What is copied, in its order.
#[derive(Debug)]
pub struct Plan {
    /// Each file, directory and link: a directory before what is in it.
    pub items: Vec<Item>,
    /// What it is to the target.
    pub shape: Shape,
    /// Bytes of all files, without holes.
    pub bytes: u64,
}

/// Something to be copied.
#[derive(Debug)]
pub struct Item {
    /// What is known of it. Of a file whose blocks are fewer than its bytes, holes are looked for
    /// when it is read.
    pub member: Member,
    /// Where it is, of a file.
    pub origin: Option<Origin>,
}

/// Where a file is.
#[derive(Debug)]
pub struct Origin {
    pub source: Arc<Source>,
    /// Its path there.
    pub at: PathBuf,
    pub id: Id,
    /// Whether its blocks are fewer than its bytes.
    pub may_have_holes: bool,
}

/// What the archive's root becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// The target; or, if that is a directory, what it has under this name.
    One(Vec<u8>),
    /// The content of the target.
    Contents,
    /// The same, of a target that is there.
    Many,
}

/// Plans a copy of these, as `cp -a` takes them.
///
/// # Errors
/// [`CopyFault::Local`]; [`CopyFault::Refused`] with all that cannot be copied.
pub fn of_paths(paths: &[PathBuf]) -> Result<Plan, CopyFault> {
    let mut walk = Walk::default();
    let shape = if let [path] = paths {
        let name = path.file_name().filter(|_| !is_contents(path));
        walk.tree(path, ROOT.into())?;
        match name {
            Some(name) => Shape::One(name.as_bytes().to_vec()),
            None => Shape::Contents,
        }
    } else {
        walk.synthetic_root();
        let mut seen = HashSet::new();
        for path in paths {
            walk.below_root(path, &mut seen)?;
        }
        Shape::Many
    };
    walk.finish(shape)
}

/// Plans a copy of these names below `base`, with the directories that they are in.
///
/// # Errors
/// As [`of_paths`]; [`CopyFault::Member`] for a name that is not below.
pub fn of_names(base: &Path, names: &[PathBuf]) -> Result<Plan, CopyFault> {
    let mut walk = Walk::default();
    let mut below = Below::new(base)?;
    let stat = below.look(Path::new(""))?;
    walk.add(&mut below, PathBuf::new(), ROOT.into(), &stat);
    let mut seen = HashSet::new();
    for name in names {
        walk.named(&mut below, name, &mut seen)?;
    }
    walk.finish(Shape::Contents)
}

/// Whether a path asks for what is in a directory: "DIR/.", ".", "..", "/".
fn is_contents(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes == b"." || bytes.ends_with(b"/.") || path.file_name().is_none()
}

/// A directory, and what is meant there: itself, of a path with a slash or a dot behind it, which
/// may be a link.
fn located(path: &Path) -> (&Path, &Path) {
    let has_slash = path.as_os_str().as_bytes().ends_with(b"/");
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if !has_slash && !is_contents(path) => (parent, Path::new(name)),
        (Some(_) | None, Some(_) | None) => (path, Path::new("")),
    }
}

#[derive(Debug, Default)]
struct Walk {
    items: Vec<Item>,
    refused: Names,
    bytes: u64,
    /// Names in the archive of files that have more than one, by what they are.
    linked: HashMap<Id, Vec<u8>>,
    /// The source before, which often is the next, too.
    source: Option<Below>,
}

impl Walk {
    fn finish(self, shape: Shape) -> Result<Plan, CopyFault> {
        self.refused.none()?;
        Ok(Plan {
            items: self.items,
            shape,
            bytes: self.bytes,
        })
    }

    /// A path with all that is in it.
    fn tree(&mut self, path: &Path, name: Vec<u8>) -> Result<(), CopyFault> {
        let (directory, at) = located(path);
        let mut below = self.source(directory)?;
        self.tree_below(&mut below, at, name)?;
        self.source = Some(below);
        Ok(())
    }

    fn source(&mut self, path: &Path) -> Result<Below, CopyFault> {
        match self.source.take().filter(|below| below.is_at(path)) {
            Some(below) => Ok(below),
            None => Below::new(path),
        }
    }

    fn tree_below(&mut self, below: &mut Below, at: &Path, name: Vec<u8>) -> Result<(), CopyFault> {
        let stat = below.look(at)?;
        self.add(below, at.to_owned(), name.clone(), &stat);
        if below::kind(&stat) != SFlag::S_IFDIR {
            return Ok(());
        }
        let mut directories = vec![(at.to_owned(), name)];
        while let Some((at, name)) = directories.pop() {
            self.directory(below, &at, &name, &mut directories)?;
        }
        Ok(())
    }

    fn directory(
        &mut self,
        below: &mut Below,
        at: &Path,
        name: &[u8],
        directories: &mut Vec<(PathBuf, Vec<u8>)>,
    ) -> Result<(), CopyFault> {
        for entry in names(below, at)? {
            let at = at.join(&entry);
            let stat = below.look(&at)?;
            let name = joined(name, &entry);
            if below::kind(&stat) == SFlag::S_IFDIR {
                directories.push((at.clone(), name.clone()));
            }
            self.add(below, at, name, &stat);
        }
        Ok(())
    }

    /// One of several paths.
    fn below_root(&mut self, path: &Path, seen: &mut HashSet<Vec<u8>>) -> Result<(), CopyFault> {
        let mut taken = |name: &OsStr| {
            if seen.insert(name.as_bytes().to_vec()) {
                Ok(joined(ROOT.as_bytes(), name))
            } else {
                Err(CopyFault::InTheWay {
                    path: path.to_owned(),
                    why: "another one that is to be copied has the same name",
                })
            }
        };
        match path.file_name().filter(|_| !is_contents(path)) {
            Some(name) => self.tree(path, taken(name)?),
            None => {
                let mut below = self.source(path)?;
                for entry in names(&mut below, Path::new(""))? {
                    self.tree_below(&mut below, Path::new(&entry), taken(&entry)?)?;
                }
                self.source = Some(below);
                Ok(())
            }
        }
    }

    /// One name, after the directories that it is in.
    fn named(
        &mut self,
        below: &mut Below,
        name: &Path,
        seen: &mut HashSet<PathBuf>,
    ) -> Result<(), CopyFault> {
        let mut at = PathBuf::new();
        for component in name.components() {
            let Component::Normal(part) = component else {
                return Err(CopyFault::Member {
                    name: name.to_owned(),
                    why: "it is not below the directory",
                });
            };
            at.push(part);
            if !seen.insert(at.clone()) {
                continue;
            }
            let stat = below.look(&at)?;
            if at != name && below::kind(&stat) != SFlag::S_IFDIR {
                return Err(CopyFault::InTheWay {
                    path: below.source().shown(&at),
                    why: "it is no directory",
                });
            }
            let name = joined(ROOT.as_bytes(), at.as_os_str());
            self.add(below, at.clone(), name, &stat);
        }
        Ok(())
    }

    fn synthetic_root(&mut self) {
        self.items.push(Item {
            member: Member {
                name: ROOT.into(),
                mode: 0o700,
                modified: Time::default(),
                kind: Kind::Directory,
            },
            origin: None,
        });
    }

    fn add(&mut self, below: &mut Below, at: PathBuf, name: Vec<u8>, stat: &FileStat) {
        let kind = self.kind(below, &at, &name, stat);
        if let Kind::Other(kind) = kind {
            self.refused.add(&below.source().shown(&at), kind);
            return;
        }
        let origin = matches!(kind, Kind::File(_)).then(|| {
            let stored = unsigned(stat.st_blocks).saturating_mul(512);
            let size = unsigned(stat.st_size);
            self.bytes = self.bytes.saturating_add(size.min(stored));
            Origin {
                source: Arc::clone(below.source()),
                at,
                id: Id::of(stat),
                may_have_holes: stored < size,
            }
        });
        self.items.push(Item {
            member: Member {
                name,
                mode: stat.st_mode & MODE_BITS,
                modified: Time {
                    seconds: stat.st_mtime,
                    nanos: stat.st_mtime_nsec.try_into().unwrap_or_default(),
                },
                kind,
            },
            origin,
        });
    }

    fn kind(&mut self, below: &mut Below, at: &Path, name: &[u8], stat: &FileStat) -> Kind {
        let kind = below::kind(stat);
        if kind == SFlag::S_IFDIR {
            return Kind::Directory;
        }
        if let Some(unknown) = refused(kind) {
            return Kind::Other(unknown);
        }
        if stat.st_nlink > 1 {
            let file = Id::of(stat);
            if let Some(first) = self.linked.get(&file) {
                return Kind::HardLink(first.clone());
            }
            self.linked.insert(file, name.to_vec());
        }
        if kind == SFlag::S_IFREG {
            return Kind::File(Content::whole(unsigned(stat.st_size)));
        }
        match below.target(at) {
            Ok(target) => Kind::Symlink(target),
            Err(_) => Kind::Other("a link that cannot be read"),
        }
    }
}

/// What a directory has, at this moment.
fn names(below: &mut Below, at: &Path) -> Result<Vec<OsString>, CopyFault> {
    let mut read = || -> nix::Result<Vec<OsString>> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut directory = Dir::openat(below.directory(at)?, ".", flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in directory.iter() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    };
    read().map_err(|errno| below.failed("read", at)(errno))
}

/// What is not copied, by its kind.
fn refused(kind: SFlag) -> Option<&'static str> {
    if kind == SFlag::S_IFREG || kind == SFlag::S_IFLNK {
        None
    } else if kind == SFlag::S_IFIFO {
        Some("a FIFO")
    } else if kind == SFlag::S_IFSOCK {
        Some("a socket")
    } else {
        Some("a device")
    }
}

fn unsigned(number: i64) -> u64 {
    number.try_into().unwrap_or_default()
}

fn joined(directory: &[u8], name: &OsStr) -> Vec<u8> {
    [directory, b"/", name.as_bytes()].concat()
}
