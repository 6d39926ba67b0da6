//! prn's privilege contract: everything that crosses between the unprivileged frontend and the root
//! supervisor.
//!
//! Linked by both halves, and by `prn server …` for [`config`] and [`control`] alone. A peer's
//! bytes become values only through [`codec::decode`], and what can be decoded has the form that
//! its type says: an argument vector is not empty and has no NUL byte inside, an id has its length.
//! Numbers are whatever the peer says: the supervisor compares them with its policy and its table.
//!
//! - [`message`]: one enum a direction.
//! - [`channel`]: SEQPACKET datagrams with file descriptors.
//! - [`control`]: what root says to a running server; [`status`]: what that tells of itself.
//! - [`config`]: what `prn server start` hands to each half.
//! - [`policy`]: who may do what: what is decided is the root half's, and what is shown the other's.
//! - [`digest`]: what two starts are told apart by; [`netstring`]: the form of what is digested or signed.
//! - [`signed`]: what a client signs of a start, and whose signatures count.
//! - [`signer`]: how a frontend comes to what signs with a key that it never has.
//! - [`search`]: where a program is looked for.
//! - [`kernel`]: what the kernel's texts in messages say, as numbers.
//! - [`output`]: the layout of a process's output in shared memory, and its reader.
//! - [`lines`]: lines of a log.
//! - [`fds`]: adoption of inherited and received descriptors, the only unsafe code here.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]
#![warn(missing_debug_implementations)]

pub mod channel;
pub mod codec;
pub mod config;
pub mod control;
pub mod digest;
pub mod fds;
pub mod kernel;
pub mod lines;
pub mod message;
mod names;
pub mod netstring;
pub mod output;
pub mod policy;
pub mod search;
pub mod signed;
pub mod signer;
pub mod status;
pub mod types;

pub use names::{DAYS, output_max};
