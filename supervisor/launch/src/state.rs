//! The state folder, and what else must be there before the server starts: made if it is missing,
//! refused if others could change it.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use crate::confinement::mount_points;
use crate::handover::HandoverError;
use crate::host::closed_ancestor;

/// Makes the state folder if it is not there, and checks that it is root's and that processes can
/// pass it.
pub fn prepare(path: &str) -> Result<(), HandoverError> {
    let path = Path::new(path);
    let failed = |source| HandoverError::State {
        path: path.to_owned(),
        source,
    };
    let refused = |why| {
        Err(HandoverError::Unsafe {
            path: path.to_owned(),
            why,
        })
    };
    let is_missing = |path: &Path| {
        path.symlink_metadata()
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let missing: Vec<_> = path
        .ancestors()
        .take_while(|folder| is_missing(folder))
        .collect();
    for folder in missing.into_iter().rev() {
        DirBuilder::new()
            .mode(0o711)
            .create(folder)
            .map_err(failed)?;
        // The mode above is less the umask.
        fs::set_permissions(folder, Permissions::from_mode(0o711)).map_err(failed)?;
    }
    let metadata = path.symlink_metadata().map_err(failed)?;
    if metadata.is_symlink() {
        return refused("it is a symbolic link: give the folder itself");
    }
    if !metadata.is_dir() {
        return refused("it is not a folder");
    }
    if metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
        return refused("only root may own it and write to it (chown root, chmod 711)");
    }
    if metadata.mode() & 0o001 == 0 {
        return refused("processes must be able to pass it (chmod 711)");
    }
    if metadata.mode() & 0o044 != 0 {
        // Who can read it can lock it (flock(2)), and so keep this server from its next start.
        let mode = metadata.mode() & !0o044;
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
    }
    // Once more, now that all of them are there.
    if closed_ancestor(path).is_some() {
        return refused(
            "others cannot pass a folder above it: choose another --state-dir, or chmod o+x that folder",
        );
    }
    if mount_points().any(|point| is_same(Path::new(point), path)) {
        return refused("each process has one of its own there: choose a folder below it");
    }
    Ok(())
}

fn is_same(path: &Path, other: &Path) -> bool {
    path.canonicalize()
        .is_ok_and(|path| other.canonicalize().is_ok_and(|other| path == other))
}

/// Checks that there is a /dev/null, which each process gets as its standard input.
pub fn check_null_device() -> Result<(), HandoverError> {
    let path = PathBuf::from("/dev/null");
    let opened = File::options().read(true).write(true).open(&path);
    opened
        .map(drop)
        .map_err(|source| HandoverError::State { path, source })
}

/// Opens a folder in the state folder that is empty and stays so: the frontend's root.
pub fn empty_folder(state_dir: &str) -> Result<OwnedFd, HandoverError> {
    let path = Path::new(state_dir).join(".empty");
    let failed = |source| HandoverError::State {
        path: path.clone(),
        source,
    };
    if let Err(error) = DirBuilder::new().mode(0o555).create(&path)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(failed(error));
    }
    let flags = (OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).bits();
    let folder = File::options()
        .read(true)
        .custom_flags(flags)
        .open(&path)
        .map_err(failed)?;
    let refused = |why| {
        Err(HandoverError::Unsafe {
            path: path.clone(),
            why,
        })
    };
    if folder.metadata().map_err(failed)?.uid() != 0 {
        return refused("it is not root's");
    }
    folder
        .set_permissions(Permissions::from_mode(0o555))
        .map_err(failed)?;
    if fs::read_dir(&path).map_err(failed)?.next().is_some() {
        return refused("it must be empty");
    }
    Ok(folder.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_folder_is_made_with_all_above_it_and_never_by_a_link() {
        let base = std::env::temp_dir().join(format!("prn-state-{}", std::process::id()));
        DirBuilder::new().mode(0o755).create(&base).unwrap();
        fs::set_permissions(&base, Permissions::from_mode(0o755)).unwrap();
        let state = base.join("a/b");
        let made = prepare(state.to_str().unwrap());
        for folder in [base.join("a"), state.clone()] {
            assert_eq!(folder.metadata().unwrap().mode() & 0o777, 0o711);
        }
        // The rest is about a folder of root's.
        if nix::unistd::geteuid().is_root() {
            made.unwrap();
            std::os::unix::fs::symlink(&state, base.join("link")).unwrap();
            let error = prepare(base.join("link").to_str().unwrap())
                .unwrap_err()
                .to_string();
            assert!(error.contains("symbolic link"), "{error}");
            fs::set_permissions(base.join("a"), Permissions::from_mode(0o700)).unwrap();
            let error = prepare(state.to_str().unwrap()).unwrap_err().to_string();
            assert!(error.contains("above it"), "{error}");
        }
        fs::remove_dir_all(&base).unwrap();
    }
}
