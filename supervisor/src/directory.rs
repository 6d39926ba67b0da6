//! The state folder and the working directories in it.
//!
//! Runs in the supervisor. A directory belongs to its process's user. Root makes it and, when it is empty, removes it;
//! what a process put into it is deleted by a cleaner that runs as the process's user (see [`clean`]).

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, fchdir, unlinkat};
use prn_ipc_protocol::types::ProcessId;

/// The state folder, held by a lock.
#[derive(Debug)]
pub struct State {
    folder: PathBuf,
    _lock: Flock<File>,
}

impl State {
    /// Takes the folder, which must exist, for this server alone.
    ///
    /// # Errors
    /// `WouldBlock` when another server holds it; others as open(2).
    pub fn open(folder: &Path) -> io::Result<Self> {
        let lock = File::options().create(true).truncate(false).write(true).mode(0o600).open(folder.join(".lock"))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| io::Error::from(errno))?;
        Ok(Self { folder: folder.to_owned(), _lock: lock })
    }

    /// Path of a process's directory.
    pub fn path(&self, id: ProcessId) -> PathBuf {
        self.folder.join(id.to_string())
    }

    /// Makes a process's directory: empty, its own, closed to others.
    ///
    /// # Errors
    /// As mkdir(2) and chown(2).
    pub fn create(&self, id: ProcessId, uid: u32) -> io::Result<()> {
        let path = self.path(id);
        DirBuilder::new().mode(0o700).create(&path)?;
        // The folder is root's, so nobody can have put something else in its place.
        lchown(&path, Some(uid), Some(uid)).inspect_err(|_| {
            let _unused = fs::remove_dir(&path);
        })
    }

    /// Removes a process's directory if it is empty. Returns whether it is gone.
    pub fn remove(&self, id: ProcessId) -> bool {
        !matches!(fs::remove_dir(self.path(id)), Err(error) if error.kind() != io::ErrorKind::NotFound)
    }

    /// A handle of a process's directory that gives no access by itself: root without CAP_DAC_OVERRIDE has none to it.
    ///
    /// # Errors
    /// As open(2).
    pub fn handle(&self, id: ProcessId) -> io::Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(nix::fcntl::open(&self.path(id), flags, Mode::empty())?)
    }

    /// Directories that an earlier run left behind, with their owners.
    ///
    /// # Errors
    /// As readdir(3).
    pub fn leftovers(&self) -> io::Result<Vec<(ProcessId, u32)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                found.push((id, fs::symlink_metadata(entry.path())?.uid()));
            }
        }
        Ok(found)
    }
}

/// The cleaner's `main`: deletes everything in the directory at descriptor 3. Runs as a process's user, in its cgroup,
/// after all its processes are gone, so nobody changes the tree meanwhile. It needs two descriptors at any depth.
///
/// # Errors
/// Those of the first system call that fails.
pub fn clean(directory: &OwnedFd) -> nix::Result<()> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
    // The process may have closed its directory even to itself.
    let _unused = fs::set_permissions(&path, fs::Permissions::from_mode(0o700));
    let open = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut folder = Dir::open(path.as_str(), open, Mode::empty())?;
    let top = fstat(&folder)?;
    loop {
        fchdir(&folder)?;
        match delete_entries(&mut folder)? {
            Some(below) => {
                // Down, into a folder that is not empty.
                let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
                let mode = fstatat(&folder, below.as_c_str(), flags)?.st_mode | 0o700;
                fchmodat(&folder, below.as_c_str(), Mode::from_bits_truncate(mode), FchmodatFlags::FollowSymlink)?;
                folder = Dir::openat(&folder, below.as_c_str(), open | OFlag::O_NOFOLLOW, Mode::empty())?;
            }
            None => {
                let here = fstat(&folder)?;
                if (here.st_dev, here.st_ino) == (top.st_dev, top.st_ino) {
                    return Ok(());
                }
                // Up: the folder above will find this one empty.
                folder = Dir::openat(folder.as_fd(), "..", open, Mode::empty())?;
            }
        }
    }
}

/// Deletes what can be deleted in a folder; returns the name of a sub-folder that is not empty, if there is one.
fn delete_entries(folder: &mut Dir) -> nix::Result<Option<std::ffi::CString>> {
    let handle = nix::unistd::dup(folder.as_fd())?;
    for entry in folder.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        match unlinkat(&handle, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => continue,
            Err(Errno::EISDIR | Errno::EPERM) => {}
            Err(error) => return Err(error),
        }
        match unlinkat(&handle, name, UnlinkatFlags::RemoveDir) {
            Ok(()) => {}
            Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::EACCES) => return Ok(Some(name.to_owned())),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s9_a_deep_tree_with_closed_folders_and_links_is_emptied_and_nothing_else() {
        let base = std::env::temp_dir().join(format!("prn-clean-{}", std::process::id()));
        let inside = base.join("inside");
        fs::create_dir_all(&inside).unwrap();
        fs::write(base.join("outside"), "stays").unwrap();
        std::os::unix::fs::symlink("../outside", inside.join("link")).unwrap();
        std::os::unix::fs::symlink(&base, inside.join("folder-link")).unwrap();
        for number in 0..300 {
            fs::write(inside.join(format!("file-{number}")), "x").unwrap();
            fs::create_dir_all(inside.join(format!("a{}/b", number % 7))).unwrap();
        }
        fs::set_permissions(inside.join("a1"), fs::Permissions::from_mode(0o000)).unwrap();
        // Deeper than a path can say.
        let mut deep = Dir::open(&inside, OFlag::O_RDONLY, Mode::empty()).unwrap();
        for _ in 0..4096 {
            nix::sys::stat::mkdirat(&deep, "d", Mode::S_IRWXU).unwrap();
            deep = Dir::openat(&deep, "d", OFlag::O_RDONLY, Mode::empty()).unwrap();
        }
        let handle: OwnedFd = File::open(&inside).unwrap().into();
        let back = File::open(".").unwrap();
        clean(&handle).unwrap();
        fchdir(&back).unwrap();
        assert_eq!(fs::read_dir(&inside).unwrap().count(), 0);
        assert_eq!(fs::read_to_string(base.join("outside")).unwrap(), "stays");
        fs::remove_dir_all(&base).unwrap();
    }
}
