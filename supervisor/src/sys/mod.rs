//! The root half's unsafe code: shared memory and process creation. Everything else in this crate is safe Rust.
#![expect(unsafe_code, reason = "system calls that no safe wrapper covers; each block names who upholds what it needs")]

pub mod memory;
pub mod pidfd;
pub mod spawn;
