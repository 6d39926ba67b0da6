//! Who a child is, and on whose account the kernel counts what this program makes. Runs in the
//! supervisor.

use nix::unistd::{Gid, Uid, setresuid};

/// User and group id, of all kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids<'a> {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups (setgroups(2)).
    pub groups: &'a [Gid],
}

impl Ids<'_> {
    /// Of a process, whose group is its own as its user is, and which has no other one.
    pub fn of_user(uid: u32) -> Self {
        Self::alone(uid, uid)
    }

    /// They are those of a user of the machine's, which has a group at least.
    pub const fn are_of_machine(&self) -> bool {
        !self.groups.is_empty()
    }

    /// With no supplementary groups.
    pub const fn alone(uid: u32, gid: u32) -> Self {
        let groups = &[];
        Self { uid, gid, groups }
    }

    /// This program's own.
    pub const ROOT: Self = Self::alone(0, 0);
}

/// Does something as `uid` by the real user id alone, which is whose the kernel counts pipes as
/// (`get_current_user` of fs/pipe.c). Rights go by the effective one, which stays, and with it all
/// capabilities (capabilities(7)).
///
/// Who has that user id could signal this program meanwhile (kill(2)): it must be nobody's.
///
/// # Errors
/// As setresuid(2); then nothing was done.
pub fn on_account_of<T>(uid: u32, act: impl FnOnce() -> T) -> nix::Result<T> {
    let same = Uid::from_raw(u32::MAX);
    let own = Uid::current();
    setresuid(Uid::from_raw(uid), same, same)?;
    let done = act();
    if setresuid(own, same, same).is_err() {
        // The next process with this user id could end this program, which has no other way back.
        std::process::abort();
    }
    Ok(done)
}
