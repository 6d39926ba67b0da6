//! Fleets: what the commands do that talk to the store of one, and to its hosts.

pub mod attempts;
pub mod choosing;
pub mod fault;
pub mod job_watch;
pub mod naming;
pub mod placed;
pub mod running;
pub mod showing;
pub mod stopping;
pub mod submitting;
pub mod telling;
pub mod user;
pub mod waiting;
