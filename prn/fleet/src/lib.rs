//! Several prn servers as one: a fleet, whose jobs are kept in etcd.
//!
//! - [`Fleet`]: jobs, claims and outcomes, each step a transaction that is guarded by what was seen.
//! - [`v1`]: what is kept there, as `v1/fleet.proto` has it, with the keys.
//! - [`etcd`]: the store itself.
//!
//! Used by clients, who submit jobs and look at them, and by each host's agent, which claims them. No
//! byte of a process's input or output is here: that goes between client and host.

mod contradicting;
mod error;
pub mod etcd;
mod fleet;
mod hindrance;
mod hosts;
mod job;
mod keys;
mod outcomes;
mod past;
mod placing;
mod pruning;
mod records;
mod setup;
mod unplaceable;
pub mod v1;
mod view;

pub use error::FleetError;
pub use fleet::Fleet;
pub use hindrance::{Hindrance, Unready, hindrance};
pub use hosts::KnownHost;
pub use job::{ATTEMPTS_MAX, Submitted, digest, fits, has_room};
pub use keys::{Keys, is_name, last};
pub use outcomes::{Claimed, Recorded, is_final};
pub use placing::{Waits, has_refusal, waits};
pub use pruning::Keep;
pub use records::{Record, encoded, now, record};
pub use view::{JobView, Place, Standing};
