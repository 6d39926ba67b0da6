//! Fleets: what the commands do that talk to the store of one and to its hosts, or set one up.

pub mod attempts;
pub mod authority;
pub mod choosing;
pub mod error;
pub mod fault;
pub mod folder;
pub mod invitation;
pub mod job_watch;
pub mod member;
pub mod naming;
pub mod placed;
pub mod reasons;
pub mod running;
pub mod section;
pub mod showing;
pub mod stopping;
pub mod submitting;
pub mod telling;
pub mod user;
pub mod waiting;
