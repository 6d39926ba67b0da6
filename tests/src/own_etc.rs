//! A copy of /etc over /etc, for tests that add users: `useradd` renames /etc/passwd, which takes from
//! every process on the machine what was bound over that (rename(2)), those of other tests too.

use std::io;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

/// Gives the calling thread, and what it starts from now on, a mount namespace of its own, in which
/// /etc is a copy. It ends with them, and leaves nothing behind.
///
/// # Errors
/// It cannot be made.
pub fn own_etc() -> io::Result<()> {
    const NONE: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    // The machine's mounts arrive here still, and none goes back.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE)?;
    let folder = TempDir::new()?;
    let copy = folder.path();
    mount(Some("etc"), copy, Some("tmpfs"), MsFlags::empty(), NONE)?;
    let copied = Command::new("cp")
        .args(["-a", "/etc/."])
        .arg(copy)
        .status()?;
    if !copied.success() {
        return Err(io::Error::other(format!("cp: {copied}")));
    }
    mount(Some(copy), "/etc", NONE, MsFlags::MS_MOVE, NONE)?;
    Ok(())
}
