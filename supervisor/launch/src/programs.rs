//! The programs that the server consists of, opened once: what is checked is what will run.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::handover::{HandoverError, step};

/// The two halves of the server, and what runs as a process's user.
#[derive(Debug)]
pub struct Programs {
    /// `prn-tools`.
    pub tools: OwnedFd,
    /// `prn-supervisor`.
    pub supervisor: OwnedFd,
    /// `prn-frontend`.
    pub frontend: OwnedFd,
}

impl Programs {
    /// Opens them: beside this program, else in the libexec folder that belongs to it.
    pub fn open() -> Result<Self, HandoverError> {
        Ok(Self {
            tools: open("prn-tools")?,
            supervisor: open("prn-supervisor")?,
            frontend: open("prn-frontend")?,
        })
    }
}

/// `prn-signer`, for a key in a token.
pub fn open_signer() -> Result<OwnedFd, HandoverError> {
    open("prn-signer")
}

fn open(name: &'static str) -> Result<OwnedFd, HandoverError> {
    let itself = fs::read_link("/proc/self/exe").map_err(step("readlink /proc/self/exe"))?;
    let beside = itself.parent().unwrap_or(Path::new("/"));
    let root = beside.parent().unwrap_or(Path::new("/"));
    open_program(name, &[beside, &root.join("libexec/prn")])
}

fn open_program(name: &'static str, folders: &[&Path]) -> Result<OwnedFd, HandoverError> {
    for folder in folders {
        let path = folder.join(name);
        // O_PATH: to be executed, not read. What is checked below is what will run, whatever the
        // name means then.
        match nix::fcntl::open(&path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(fd) => {
                let file = File::from(fd);
                let metadata = file.metadata().map_err(step("fstat"))?;
                return match refusal(metadata.is_file(), metadata.uid(), metadata.mode()) {
                    None => Ok(file.into()),
                    Some(why) => Err(HandoverError::Unsafe { path, why }),
                };
            }
            Err(Errno::ENOENT) => {}
            Err(errno) => {
                return Err(HandoverError::State {
                    path,
                    source: errno.into(),
                });
            }
        }
    }
    Err(HandoverError::NoProgram { name })
}

/// Why a program must not be executed by root.
fn refusal(is_file: bool, uid: u32, mode: u32) -> Option<&'static str> {
    if !is_file {
        Some("it is not a program")
    } else if uid != 0 {
        Some("root runs no program that another user can change (chown root, or `make install`)")
    } else if mode & 0o022 != 0 {
        Some("root runs no program that others can write to (chmod go-w)")
    } else if mode & 0o111 == 0 {
        Some("it is not executable")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_runs_no_program_that_others_can_change() {
        assert_eq!(refusal(true, 0, 0o100_755), None);
        for (is_file, uid, mode) in [
            (false, 0, 0o755),
            (true, 1000, 0o755),
            (true, 0, 0o775),
            (true, 0, 0o757),
            (true, 0, 0o644),
        ] {
            assert!(
                refusal(is_file, uid, mode).is_some(),
                "{is_file} {uid} {mode:o}"
            );
        }
    }
}
