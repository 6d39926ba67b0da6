//! How much of the disk trees take that others change meanwhile.
//!
//! The way down is by open directories. So is the way up, near the top; below that it is by "..",
//! which is taken only where it leads back to the same directory. A look costs memory for each level
//! of a tree and for nothing else, and ends after so many entries.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RawDir, SeekFrom, Statx, StatxFlags, openat, seek, statx,
};

/// Bytes of a block as stat(2) counts them.
const BLOCK: u64 = 512;

/// Bytes of names that are read at a time: few, since they are read again after each directory below.
const BATCH: usize = 4096;

/// What bounds a look.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most directories that are held open.
    pub held: usize,
    /// Most levels of a tree: what is deeper is not seen.
    pub depth: usize,
    /// Most names, of all trees together: what comes later is not seen.
    pub names: u64,
}

impl Default for Bounds {
    /// Far more than anybody has, and less than two minutes and four megabytes.
    fn default() -> Self {
        Self {
            held: 64,
            depth: 1 << 17,
            names: 1 << 26,
        }
    }
}

/// Bytes of the disk that these directories take with all that is in them, on their own file
/// systems. Of a file with several names each counts for its share. More than `enough` may be less
/// than there is.
pub fn of(trees: &[OwnedFd], enough: u64, bounds: Bounds) -> u64 {
    let mut look = Look {
        enough,
        bounds,
        used: 0,
        names: 0,
    };
    for tree in trees {
        look.tree(tree);
    }
    look.used
}

/// A file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Device {
    major: u32,
    minor: u32,
}

#[derive(Debug)]
struct Look {
    enough: u64,
    bounds: Bounds,
    /// Bytes so far.
    used: u64,
    /// Names so far.
    names: u64,
}

/// A directory that is looked at.
#[derive(Debug)]
struct Folder {
    file: OwnedFd,
    inode: u64,
}

/// A directory above it, and where to go on in it.
#[derive(Debug)]
struct Level {
    /// `None`: it is found by "..".
    file: Option<OwnedFd>,
    inode: u64,
    /// What follows the directory below (getdents(2)).
    next: u64,
}

/// What a directory's names led to.
#[derive(Debug)]
enum Step {
    /// One of them is a directory. What follows it is at `next`.
    Down { below: Folder, next: u64 },
    /// There are no more.
    Up,
}

impl Look {
    fn is_over(&self) -> bool {
        self.used > self.enough || self.names >= self.bounds.names
    }

    fn tree(&mut self, top: &OwnedFd) {
        let Some(found) = look_at(top, c"") else {
            return;
        };
        self.count(&found);
        let device = device(&found);
        let Some(mut here) = open(top, c".", device) else {
            return;
        };
        let mut above: Vec<Level> = Vec::new();
        while !self.is_over() {
            match self.names(&here, device, above.len()) {
                Step::Down { below, next } => {
                    let is_held = above.len() < self.bounds.held;
                    above.push(Level {
                        inode: here.inode,
                        next,
                        file: is_held.then_some(here.file),
                    });
                    here = below;
                }
                Step::Up => match self.up(&here, &mut above, device) {
                    Some(folder) => here = folder,
                    None => return,
                },
            }
        }
    }

    /// Counts what is in a directory, from where it stands to the next directory.
    fn names(&mut self, here: &Folder, device: Device, depth: usize) -> Step {
        let mut batch = [MaybeUninit::uninit(); BATCH];
        let mut names = RawDir::new(&here.file, &mut batch);
        while let Some(Ok(entry)) = names.next() {
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if self.is_over() {
                break;
            }
            self.names = self.names.saturating_add(1);
            let Some(found) =
                look_at(&here.file, name).filter(|found| self::device(found) == device)
            else {
                continue;
            };
            self.count(&found);
            if is_folder(&found)
                && depth < self.bounds.depth
                && let Some(below) = open(&here.file, name, device)
            {
                return Step::Down {
                    below,
                    next: entry.next_entry_cookie(),
                };
            }
        }
        Step::Up
    }

    /// The directory above, where it was left. One that is not above any more, as somebody has moved
    /// what is below it, is left out, and so are all up to the nearest that is held.
    fn up(&self, here: &Folder, above: &mut Vec<Level>, device: Device) -> Option<Folder> {
        loop {
            let level = above.pop()?;
            let inode = level.inode;
            let folder = match level.file {
                Some(file) => Some(Folder { file, inode }),
                None => open(&here.file, c"..", device).filter(|found| found.inode == inode),
            };
            match folder {
                Some(folder) if seek(&folder.file, SeekFrom::Start(level.next)).is_ok() => {
                    return Some(folder);
                }
                Some(_) | None => above.truncate(self.bounds.held),
            }
        }
    }

    fn count(&mut self, found: &Statx) {
        self.used = self.used.saturating_add(share(found));
    }
}

/// What one name of a file stands for. A directory has one, whatever its number of links says.
fn share(found: &Statx) -> u64 {
    let bytes = found.stx_blocks.saturating_mul(BLOCK);
    if is_folder(found) {
        bytes
    } else {
        bytes / u64::from(found.stx_nlink).max(1)
    }
}

fn is_folder(found: &Statx) -> bool {
    FileType::from_raw_mode(found.stx_mode.into()).is_dir()
}

fn device(found: &Statx) -> Device {
    Device {
        major: found.stx_dev_major,
        minor: found.stx_dev_minor,
    }
}

/// What is there, and not where a link leads. Without a name: the folder itself.
fn look_at(folder: impl AsFd, name: &CStr) -> Option<Statx> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
    statx(folder, name, flags, StatxFlags::BASIC_STATS).ok()
}

/// Opens a directory of this file system that is no link.
fn open(folder: impl AsFd, name: &CStr, device: Device) -> Option<Folder> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(folder, name, flags, Mode::empty()).ok()?;
    let found = look_at(&file, c"").filter(|found| self::device(found) == device)?;
    Some(Folder {
        file,
        inode: found.stx_ino,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs::{self, File};
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use rustix::fs::{RenameFlags, mkdirat, renameat_with};

    /// A folder for a test.
    struct Base(PathBuf);

    impl Base {
        fn new(name: &str) -> Self {
            let base =
                std::env::temp_dir().join(format!("prn-usage-{}-{name}", std::process::id()));
            fs::create_dir(&base).unwrap();
            Self(base)
        }

        fn write(&self, below: &str, bytes: usize) {
            fs::write(self.0.join(below), vec![1; bytes]).unwrap();
        }

        fn tree(&self, below: &str) -> OwnedFd {
            File::open(self.0.join(below)).unwrap().into()
        }
    }

    impl Drop for Base {
        fn drop(&mut self) {
            let _unused = fs::remove_dir_all(&self.0);
        }
    }

    /// Bytes of one file.
    fn blocks(path: &Path) -> u64 {
        path.symlink_metadata().unwrap().blocks() * BLOCK
    }

    fn all(tree: OwnedFd) -> u64 {
        of(&[tree], u64::MAX, Bounds::default())
    }

    /// Directories in each other, with a file in the last.
    fn chain(base: &Base, depth: usize, bytes: usize) {
        let mut deep = base.tree("");
        for _ in 0..depth {
            mkdirat(&deep, "d", Mode::RWXU).unwrap();
            deep = openat(&deep, "d", OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        let flags = OFlags::CREATE | OFlags::WRONLY;
        let file = openat(&deep, "file", flags, Mode::RUSR).unwrap();
        std::io::Write::write_all(&mut File::from(file), &vec![1; bytes]).unwrap();
    }

    #[test]
    fn all_that_is_below_counts_and_nothing_that_links_lead_to() {
        let base = Base::new("links");
        for folder in ["tree", "tree/a", "tree/a/b", "tree/c", "outside"] {
            fs::create_dir(base.0.join(folder)).unwrap();
        }
        let files = ["tree/1", "tree/a/2", "tree/a/b/3", "tree/c/4"];
        for file in files {
            base.write(file, 100_000);
        }
        base.write("outside/large", 1_000_000);
        symlink(base.0.join("outside"), base.0.join("tree/folder-link")).unwrap();
        symlink(base.0.join("outside/large"), base.0.join("tree/file-link")).unwrap();
        let folders = ["tree", "tree/a", "tree/a/b", "tree/c"];
        let links = ["tree/folder-link", "tree/file-link"];
        let wanted = [files.as_slice(), &folders, &links].concat();
        let wanted: u64 = wanted.iter().map(|path| blocks(&base.0.join(path))).sum();
        assert!(wanted >= 400_000);
        assert_eq!(all(base.tree("tree")), wanted);
        let both = [base.tree("tree"), base.tree("outside")];
        let more = blocks(&base.0.join("outside")) + blocks(&base.0.join("outside/large"));
        assert_eq!(of(&both, u64::MAX, Bounds::default()), wanted + more);
    }

    #[test]
    fn names_of_one_file_share_it() {
        let base = Base::new("names");
        fs::create_dir_all(base.0.join("tree/a")).unwrap();
        base.write("tree/1", 1 << 20);
        let whole = all(base.tree("tree"));
        for name in ["tree/2", "tree/a/3"] {
            fs::hard_link(base.0.join("tree/1"), base.0.join(name)).unwrap();
        }
        let third = all(base.tree("tree")).abs_diff(whole);
        assert!(third < 3, "{third}: what is lost in three divisions");
        // A name outside takes its share along.
        fs::hard_link(base.0.join("tree/1"), base.0.join("outside")).unwrap();
        let part = whole - all(base.tree("tree"));
        assert!(
            part.abs_diff(blocks(&base.0.join("outside")) / 4) < 4,
            "{part}"
        );
    }

    #[test]
    fn depth_and_numbers_matter_little() {
        let base = Base::new("deep");
        chain(&base, 3000, 1 << 20);
        for number in 0..1500 {
            fs::create_dir(base.0.join(format!("folder-{number}"))).unwrap();
            base.write(&format!("folder-{number}/file"), 1);
        }
        let one = blocks(&base.0.join("folder-7")) + blocks(&base.0.join("folder-7/file"));
        let used = all(base.tree(""));
        assert!(used >= (1 << 20) + 1500 * one, "{used}");
        // By ".." from everywhere it is the same.
        let bounds = Bounds {
            held: 0,
            ..Bounds::default()
        };
        assert_eq!(of(&[base.tree("")], u64::MAX, bounds), used);
        let shallow = Bounds {
            depth: 2999,
            ..Bounds::default()
        };
        let without = of(&[base.tree("")], u64::MAX, shallow);
        assert!(used - without >= 1 << 20, "{without}");
    }

    #[test]
    fn a_look_ends_when_it_has_seen_enough_or_too_many_names() {
        let base = Base::new("bounds");
        for number in 0..100 {
            base.write(&format!("{number}"), 100_000);
        }
        let used = all(base.tree(""));
        assert!(used >= 10_000_000);
        let enough = of(&[base.tree("")], 1_000_000, Bounds::default());
        assert!((1_000_001..2_000_000).contains(&enough), "{enough}");
        let few = Bounds {
            names: 10,
            ..Bounds::default()
        };
        let seen = of(&[base.tree(""), base.tree("")], u64::MAX, few);
        assert!((1_000_000..2_000_000).contains(&seen), "{seen}");
    }

    #[test]
    fn the_way_up_never_leads_out_of_the_tree() {
        let base = Base::new("moved");
        fs::create_dir_all(base.0.join("tree/a/b")).unwrap();
        fs::create_dir(base.0.join("outside")).unwrap();
        base.write("outside/large", 1 << 20);
        let device = device(&look_at(base.tree(""), c"").unwrap());
        let at = |path: &str| {
            open(
                base.tree(""),
                &std::ffi::CString::new(path).unwrap(),
                device,
            )
        };
        let levels = || {
            ["tree", "tree/a"].map(|path| Level {
                file: None,
                inode: at(path).unwrap().inode,
                next: 0,
            })
        };
        let look = Look {
            enough: u64::MAX,
            bounds: Bounds {
                held: 0,
                ..Bounds::default()
            },
            used: 0,
            names: 0,
        };
        let (inside, here) = (at("tree/a").unwrap().inode, at("tree/a/b").unwrap());
        let found = look.up(&here, &mut levels().into(), device).unwrap();
        assert_eq!(found.inode, inside);
        fs::rename(base.0.join("tree/a/b"), base.0.join("outside/b")).unwrap();
        assert!(look.up(&here, &mut levels().into(), device).is_none());
        // A level that is held is found whatever has moved.
        let mut held: Vec<_> = levels().into();
        held[0].file = Some(at("tree").unwrap().file);
        let look = Look {
            bounds: Bounds {
                held: 1,
                ..look.bounds
            },
            ..look
        };
        let found = look.up(&here, &mut held, device).unwrap();
        assert_eq!(found.inode, at("tree").unwrap().inode);
    }

    #[test]
    fn looks_stay_in_their_trees_and_end_while_directories_are_moved_about() {
        let base = Base::new("storm");
        for folder in ["tree/left/1/2/3/4", "tree/right/1/2/3/4", "outside/inner"] {
            fs::create_dir_all(base.0.join(folder)).unwrap();
        }
        base.write("outside/large", 4 << 20);
        let (has_ended, moved) = (AtomicBool::new(false), AtomicU32::new(0));
        let storm = || {
            let tree = base.tree("tree");
            let pairs = [
                ("left/1/2", "right/1/2"),
                ("left/1/2/3", "right/1"),
                ("left/1/2", "../outside/inner"),
                ("right/1/2/3", "../outside/inner"),
            ];
            for (from, to) in pairs.into_iter().cycle().take(100_000) {
                let done = renameat_with(&tree, from, &tree, to, RenameFlags::EXCHANGE);
                moved.fetch_add(done.is_ok().into(), Ordering::Relaxed);
            }
            has_ended.store(true, Ordering::Relaxed);
        };
        std::thread::scope(|threads| {
            threads.spawn(storm);
            for held in (0..8).cycle() {
                let bounds = Bounds {
                    held,
                    names: 1000,
                    ..Bounds::default()
                };
                let trees = [base.tree("tree"), base.tree("tree")];
                let used = of(&trees, u64::MAX, bounds);
                assert!(used < 4 << 20, "{used}");
                if has_ended.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        assert!(moved.into_inner() > 10_000);
    }
}
