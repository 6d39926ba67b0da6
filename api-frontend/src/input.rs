//! Standard input of processes: what one client at a time writes to each.
//!
//! The supervisor lends the end of a process's pipe to one stream at a time, which writes to it
//! itself. Back-pressure is the pipe's: while it takes nothing, no more than two messages are
//! read of the client's stream, whose HTTP/2 window holds back the rest. What was taken is counted where it is written,
//! and told when the end is given back, however its stream ended.
//!
//! - [`writer`]: who may write, and how another stream of the same writer takes over.
//! - [`pipe`]: the end, until it is given back.
//! - [`queue`]: what waits to be written to it.
//! - [`threads`]: where it is written to.
//! - [`place`]: where a stream begins in what was taken.
//! - [`feed`]: one stream.
//! - [`intake`]: what waits to be read, and how much may be held for it.

pub mod feed;
pub mod intake;
pub mod pipe;
pub mod place;
pub mod queue;
pub mod streams;
pub mod threads;
pub mod writer;
