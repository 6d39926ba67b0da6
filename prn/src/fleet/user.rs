//! Who asks, as records of a fleet have it.

use std::fs;

use nix::unistd::{Uid, User};

/// The machine's name (hostname(7)).
const HOSTNAME: &str = "/proc/sys/kernel/hostname";

/// The user and the machine: "anna@desk". Nothing that anybody trusts.
pub fn own_name() -> String {
    let uid = Uid::effective();
    let user = User::from_uid(uid).ok().flatten();
    let user = user.map_or_else(|| uid.to_string(), |user| user.name);
    match fs::read_to_string(HOSTNAME) {
        Ok(machine) => format!("{user}@{}", machine.trim()),
        Err(_) => user,
    }
}
