//! Fleets: what the commands have in common that talk to the store of one, and that set one up.

pub mod authority;
pub mod error;
pub mod fault;
pub mod folder;
pub mod invitation;
pub mod member;
pub mod section;
pub mod user;
