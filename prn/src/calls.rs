//! Calls as values of JSON: what `prn batch` reads from lines, and agents send to `prn mcp`.
//!
//! - [`requests`], with [`spec`] for what to start: what is asked for, checked field by field, by the
//!   names that the API has for them. [`parsed`] is for values that are texts there.
//! - [`session`]: who asks, over a connection that is made again when it is lost.
//! - [`act`]: the calls.
//! - [`fault`]: what went wrong, and what to do next.

pub mod act;
pub mod fault;
pub mod parsed;
pub mod requests;
pub mod session;
pub mod spec;
