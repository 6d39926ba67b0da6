//! Which servers and which processes a command is about.

pub mod connection;
pub mod fleet;
pub mod hosts;
pub mod internal;
pub mod reference;
pub mod search;
pub mod selection;
pub mod targets;
