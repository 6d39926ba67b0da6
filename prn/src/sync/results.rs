//! Bringing results back.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::ask::{Question, ask};
use super::below::Below;
use super::error::SyncError;
use super::flags::Plan;
use super::listing::listing;
use super::path::RelativePath;
use super::script::EXISTING;
use super::tree::Tree;
use crate::copy::fault::CopyFault;
use crate::copy::{Far, Target, down};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::output::{self, Progress};

/// Most bytes of an answer for each path, which is no longer.
const ANSWER_OF_PATH: usize = 5 * 1024;

/// Brings back what is asked for from a workspace in which a command has ended so. The exit code is
/// the command's own: what fails here makes another one of a success alone, and is told in any case.
///
/// # Errors
/// If a result is missing, or could not be brought, of a command that has succeeded.
pub async fn bring_back(
    sync: &Plan,
    exit: Exit,
    far: &mut Far<'_>,
    interrupts: &mut Interrupts,
) -> Result<Exit, Failure> {
    if sync.out.is_empty() {
        return Ok(exit);
    }
    let brought = if interrupts.have_asked() {
        Err(CopyFault::Interrupted.into())
    } else {
        bring(sync, far, interrupts).await
    };
    match brought {
        Ok(()) => Ok(exit),
        Err(failure) if exit == exit::OK => Err(failure),
        Err(failure) => {
            output::error(&failure, None);
            Ok(exit)
        }
    }
}

async fn bring(sync: &Plan, far: &mut Far<'_>, interrupts: &mut Interrupts) -> Result<(), Failure> {
    let existing = existing(sync, far, interrupts).await?;
    let (there, missing): (Vec<_>, Vec<_>) =
        sync.out.iter().partition(|path| existing.contains(path));
    for path in there {
        let progress = Progress::new(false);
        let from = sync.far_result(path);
        let Folder { directory, path } = folder_for(sync.here(), path)?;
        let name = from.name()?.map(OsStr::to_owned);
        let into = Target::within(directory, path, name);
        down(far, &from, into, interrupts, &progress).await?;
    }
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.iter();
    let missing = missing.map(|path| path.as_path().display().to_string());
    Err(SyncError::Missing {
        paths: missing.collect(),
    }
    .into())
}

/// Those results that are there.
async fn existing(
    sync: &Plan,
    far: &mut Far<'_>,
    interrupts: &mut Interrupts,
) -> Result<BTreeSet<RelativePath>, Failure> {
    let mut input = Vec::new();
    for path in &sync.out {
        input.extend(path.argument());
        input.push(0);
    }
    let question = Question {
        program: EXISTING,
        arguments: vec![sync.argument()],
        input,
        most: sync.out.len().saturating_mul(ANSWER_OF_PATH),
    };
    let answer = ask(far, question, interrupts).await?;
    let listing = listing(&answer, &Tree::new()).map_err(SyncError::from)?;
    Ok(listing.brought)
}

/// A local directory that a result goes into.
#[derive(Debug)]
struct Folder {
    directory: OwnedFd,
    /// To be shown.
    path: PathBuf,
}

/// Makes it if it is not there. An earlier result may have put a link anywhere on the way, which is
/// not followed.
fn folder_for(here: &Path, result: &RelativePath) -> Result<Folder, Failure> {
    let parent = result.parent();
    let (below, path) = match &parent {
        Some(parent) => (parent.as_path(), here.join(parent.as_path())),
        None => (Path::new(""), here.to_owned()),
    };
    let made = Below::open(here).and_then(|here| here.made(below));
    match made {
        Ok(directory) => Ok(Folder { directory, path }),
        Err(error) => Err(match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOTDIR | Errno::ELOOP) => SyncError::NoDirectory(path).into(),
            Some(_) | None => error.into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_link_is_followed_on_the_way_to_a_result() {
        let here = std::env::temp_dir().join(format!("prn-sync-results-{}", std::process::id()));
        fs::create_dir(&here).unwrap();
        symlink("/etc", here.join("link")).unwrap();
        fs::write(here.join("file"), "").unwrap();
        let folder = |text: &str| {
            let result = RelativePath::parse(text.as_bytes()).unwrap();
            folder_for(&here, &result)
        };
        let (top, below) = (folder("x"), folder("a/b/x"));
        let refused = [folder("link/x"), folder("link/a/x"), folder("file/x")];
        let is_made = here.join("a/b").is_dir();
        fs::remove_dir_all(&here).unwrap();
        assert_eq!(top.unwrap().path, here);
        assert_eq!(below.unwrap().path, here.join("a/b"));
        assert!(is_made && refused.iter().all(Result::is_err), "{refused:?}");
    }
}
