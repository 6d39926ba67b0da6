//! Fleets: what the commands have in common that talk to the store of one.

pub mod fault;
pub mod user;
