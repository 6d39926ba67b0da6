//! What a local directory has to send: all but what the files `.gitignore` and `.prnignore` name.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};

use ignore::{DirEntry, WalkBuilder};
use nix::sys::stat::{FileStat, SFlag};

use super::below::{Below, Looking};
use super::path::RelativePath;
use super::patterns::{self, IGNORE, Place, Unreadable};
use super::tree::{Entry, FileEntry, MODE, Modified, Tree};

/// What is kept at the other end of what was sent there, and is never sent itself.
pub const MANIFEST: &str = ".prn-sync";

/// What there is to send.
#[derive(Debug, Default)]
pub struct Local {
    /// All of it.
    pub tree: Tree,
    /// What is left out because nothing like it can be sent: devices, FIFOs, sockets.
    pub special: Vec<PathBuf>,
}

/// Why a directory cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// Something in it cannot be looked at.
    #[error("cannot look at all of {}", directory.display())]
    Walk {
        /// The directory.
        directory: PathBuf,
        /// Why.
        #[source]
        source: ignore::Error,
    },
    /// What is to stay here cannot be told.
    #[error(transparent)]
    Patterns(#[from] Unreadable),
    /// The same, of one path.
    #[error("cannot look at {}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Looks at all below a directory. No link is followed.
///
/// # Errors
/// What cannot be looked at: a part of a tree is not sent for all of it.
pub fn walk(directory: &Path) -> Result<Local, WalkError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        |source| WalkError::Path { path, source }
    };
    let looking = Below::open(directory).and_then(Looking::new);
    let mut looking = looking.map_err(at(directory))?;
    let mut local = Local::default();
    let (unreadable, found) = sync_channel(1);
    for entry in builder(directory, unreadable)?.build() {
        let entry = entry.map_err(|source| WalkError::Walk {
            directory: directory.to_owned(),
            source,
        })?;
        take(&mut local, directory, &entry, &mut looking).map_err(at(entry.path()))?;
    }
    match found.try_recv() {
        Ok(unreadable) => Err(WalkError::Patterns(unreadable)),
        Err(_) => Ok(local),
    }
}

/// What walks through it. A directory whose patterns cannot be read is left out, and told to
/// `unreadable`.
fn builder(
    directory: &Path,
    unreadable: SyncSender<Unreadable>,
) -> Result<WalkBuilder, Unreadable> {
    patterns::check(directory, Place::Sent)?;
    let is_in_repository = is_in_repository(directory);
    if is_in_repository {
        for folder in absolute(directory).ancestors().skip(1) {
            patterns::check(folder, Place::Above)?;
        }
    }
    let mut builder = WalkBuilder::new(directory);
    builder
        .hidden(false)
        .follow_links(false)
        // A `.gitignore` counts wherever it is; those above the directory only as far as git reads them.
        .require_git(false)
        .parents(is_in_repository)
        .ignore(false)
        .add_custom_ignore_filename(IGNORE)
        .filter_entry(move |entry| {
            entry.depth() == 0 || (!is_own(entry) && is_readable(entry, &unreadable))
        });
    Ok(builder)
}

/// Whether git would look for patterns above it.
fn is_in_repository(directory: &Path) -> bool {
    absolute(directory)
        .ancestors()
        .any(|folder| fs::symlink_metadata(folder.join(".git")).is_ok())
}

fn absolute(directory: &Path) -> PathBuf {
    fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned())
}

/// What is git's, or of this program.
fn is_own(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    name == ".git" || (entry.depth() == 1 && name == MANIFEST) || is_staging(name.as_bytes())
}

/// What `prn cp` leaves behind if it is killed: with 16 digits on this side, with mktemp(1)'s six
/// letters on the other.
fn is_staging(name: &[u8]) -> bool {
    let mark = name.strip_prefix(b".prn-cp.");
    mark.is_some_and(|mark| {
        [6, 16].contains(&mark.len()) && mark.iter().all(u8::is_ascii_alphanumeric)
    })
}

fn is_readable(entry: &DirEntry, unreadable: &SyncSender<Unreadable>) -> bool {
    if !entry.file_type().is_some_and(|kind| kind.is_dir()) {
        return true;
    }
    match patterns::check(entry.path(), Place::Sent) {
        Ok(()) => true,
        Err(error) => {
            // The first is told.
            let _is_second = unreadable.try_send(error);
            false
        }
    }
}

fn take(
    local: &mut Local,
    directory: &Path,
    entry: &DirEntry,
    looking: &mut Looking,
) -> io::Result<()> {
    if entry.depth() == 0 {
        return Ok(());
    }
    let below = entry.path().strip_prefix(directory);
    let path = below.ok().and_then(RelativePath::of_user);
    let path = path.ok_or_else(|| io::Error::other("its name is too long to be sent"))?;
    let stat = looking.stat(path.as_path())?;
    match of_stat(&stat, || looking.link(path.as_path()))? {
        Entry::Other => local.special.push(path.as_path().to_owned()),
        known @ (Entry::File(_) | Entry::Directory | Entry::Link { .. }) => {
            local.tree.insert(path, known);
        }
    }
    Ok(())
}

fn of_stat(stat: &FileStat, target: impl FnOnce() -> io::Result<OsString>) -> io::Result<Entry> {
    let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    Ok(if kind == SFlag::S_IFREG {
        Entry::File(FileEntry {
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            modified: Modified {
                seconds: stat.st_mtime,
                nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or_default(),
            },
            mode: stat.st_mode & MODE,
        })
    } else if kind == SFlag::S_IFDIR {
        Entry::Directory
    } else if kind == SFlag::S_IFLNK {
        let target = target()?.into_vec();
        Entry::Link { target }
    } else {
        Entry::Other
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("prn-sync-walk-{name}-{}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            fs::create_dir(&folder).unwrap();
            Self(folder)
        }

        fn put(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn sent(&self) -> Vec<String> {
            let local = walk(&self.0).unwrap();
            let shown = |path: &RelativePath| String::from_utf8_lossy(path.as_bytes()).into_owned();
            local.tree.keys().map(shown).collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn what_git_ignores_is_not_sent_unless_prnignore_says_so_and_the_other_way_round() {
        let folder = Folder::new("ignore");
        folder.put(".gitignore", "*.o\n/build\n");
        folder.put(".prnignore", "!keep.o\n/secret\n");
        folder.put("sub/.gitignore", "!wanted.o\n");
        for path in [
            ".git/config",
            "sub/.git",
            "a.c",
            "a.o",
            "keep.o",
            "build/x",
            "sub/build/x",
            "sub/b.o",
            "sub/wanted.o",
            "secret/key",
            ".hidden",
            ".prn-sync",
            "sub/.prn-cp.aB3xY9/t/half",
            ".prn-cp.0123456789abcdef/t",
            ".prn-cp.notes",
        ] {
            folder.put(path, "");
        }
        let expected = [
            ".gitignore",
            ".hidden",
            ".prn-cp.notes",
            ".prnignore",
            "a.c",
            "keep.o",
            "sub",
            "sub/.gitignore",
            "sub/build",
            "sub/build/x",
            "sub/wanted.o",
        ];
        assert_eq!(folder.sent(), expected);
    }

    #[test]
    fn patterns_above_count_in_a_repository_alone() {
        let folder = Folder::new("above");
        folder.put(".gitignore", "*\n");
        folder.put("project/a.c", "");
        let sent = || {
            let local = walk(&folder.0.join("project")).unwrap();
            local.tree.len()
        };
        assert_eq!(sent(), 1);
        folder.put(".git/HEAD", "");
        assert_eq!(sent(), 0);
    }

    #[test]
    fn links_are_not_followed_names_may_be_any_and_what_cannot_be_sent_is_told() {
        let folder = Folder::new("kinds");
        fs::create_dir(folder.0.join("empty")).unwrap();
        symlink("/etc", folder.0.join("out")).unwrap();
        let odd = OsStr::from_bytes(b"a\n\xff");
        fs::write(folder.0.join(odd), "abc").unwrap();
        fs::set_permissions(folder.0.join(odd), fs::Permissions::from_mode(0o4751)).unwrap();
        let _socket = UnixListener::bind(folder.0.join("socket")).unwrap();
        let local = walk(&folder.0).unwrap();
        let at = |path: &[u8]| local.tree.get(&RelativePath::parse(path).unwrap());
        assert_eq!(at(b"empty"), Some(&Entry::Directory));
        let target = b"/etc".to_vec();
        assert_eq!(at(b"out"), Some(&Entry::Link { target }));
        let Some(Entry::File(file)) = at(b"a\n\xff") else {
            panic!("{local:?}")
        };
        assert_eq!((file.size, file.mode), (3, 0o751));
        assert_eq!(local.tree.len(), 3);
        assert_eq!(local.special, [Path::new("socket")]);
    }

    #[test]
    fn a_result_cannot_say_where_patterns_are_read_from() {
        for target in ["/dev/zero", "/etc/passwd"] {
            let folder = Folder::new("patterns");
            folder.put("a.c", "");
            folder.put("out/deep/x", "");
            symlink(target, folder.0.join("out/deep/.gitignore")).unwrap();
            let said = walk(&folder.0).unwrap_err().to_string();
            assert!(said.contains("out/deep/.gitignore"), "{said}");
        }
        // What is not sent is not looked at.
        let folder = Folder::new("patterns");
        folder.put(".gitignore", "/out");
        folder.put("out/deep/x", "");
        symlink("/dev/zero", folder.0.join("out/deep/.gitignore")).unwrap();
        assert_eq!(folder.sent(), [".gitignore"]);
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        assert!(walk(Path::new("/nonexistent/folder")).is_err());
    }
}
