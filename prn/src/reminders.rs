//! What is said at most once a day: that a certificate ends soon.
//!
//! A script that runs prn every minute is to have one such line a day in its log, and a person one
//! in a morning. When something was said is the time of an empty file for it, in
//! `$XDG_STATE_HOME/prn` (`~/.local/state/prn`); where no file can be made it is said each time.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use prn_client::credentials::Ending;

use crate::output;

/// A day, less what a daily script's start may vary by.
const BETWEEN: Duration = Duration::from_secs(23 * 60 * 60);

/// What this process has said.
static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Says which certificates end soon, each once a day.
pub fn of_endings(endings: &[Ending]) {
    for ending in endings {
        let name = ending.fingerprint.to_string().replace(':', "-");
        let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
        if said.insert(name.clone()) && folder().is_none_or(|folder| is_due(&folder, &name)) {
            output::notice(&format!("warning: {ending}"));
        }
    }
}

/// Where such files are (XDG Base Directory Specification).
fn folder() -> Option<PathBuf> {
    let named = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|folder| folder.is_absolute())
    };
    let state =
        named("XDG_STATE_HOME").or_else(|| Some(named("HOME")?.join(".local").join("state")))?;
    Some(state.join("prn"))
}

/// Whether it was not said of late; from now on it was.
fn is_due(folder: &Path, name: &str) -> bool {
    let path = folder.join(name);
    let now = SystemTime::now();
    let at = path.metadata().and_then(|metadata| metadata.modified());
    // A time to come is of a clock that was wrong.
    let is_late = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age < BETWEEN);
    if at.is_ok_and(is_late) {
        return false;
    }
    // Where it cannot be noted it is said again.
    let _unnoted = note(folder, &path, now);
    true
}

fn note(folder: &Path, path: &Path, now: SystemTime) -> std::io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let file = File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    file.set_modified(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reminder_comes_once_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state").join("prn");
        assert!(is_due(&state, "a"));
        assert!(!is_due(&state, "a"));
        assert!(is_due(&state, "b"));
        let file = File::options().append(true).open(state.join("a")).unwrap();
        let hour = Duration::from_secs(60 * 60);
        file.set_modified(SystemTime::now() - 22 * hour).unwrap();
        assert!(!is_due(&state, "a"));
        file.set_modified(SystemTime::now() - 24 * hour).unwrap();
        assert!(is_due(&state, "a"));
        file.set_modified(SystemTime::now() + 24 * hour).unwrap();
        assert!(is_due(&state, "a"), "by a clock that was wrong");
    }

    #[test]
    fn what_cannot_be_noted_is_said_again() {
        assert!(is_due(Path::new("/proc/none"), "a"));
        assert!(is_due(Path::new("/proc/none"), "a"));
    }
}
