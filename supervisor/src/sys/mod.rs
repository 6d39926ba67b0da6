//! The root half's unsafe code: shared memory and process creation. Everything else in this crate is safe Rust.
#![expect(unsafe_code, reason = "system calls that no safe wrapper covers; each block names who upholds what it needs")]

pub mod memory;
pub mod pidfd;
pub mod spawn;

/// The number of an error (errno(3)).
#[expect(clippy::as_conversions, reason = "Errno is a C enum; its value is the number")]
pub fn errno_number(errno: nix::errno::Errno) -> i32 {
    errno as i32
}
