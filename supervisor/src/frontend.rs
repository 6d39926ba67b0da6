//! The frontend as the supervisor sees it: a program that is started without privilege
//! (`instance`), spoken to over the channel, and not trusted in anything. Runs in the supervisor.
//!
//! What may be asked when is a table (`table`). Anything else, and anything that does not decode,
//! is a `fault`: the frontend dies, processes and their output do not, and a fresh frontend takes
//! its `seat`, unless none gets as far as serving (`succession`). The supervisor never waits
//! for it (`session`): what it does not take stays in a bounded `outbox`.

mod access;
pub(crate) mod attached;
mod fault;
mod instance;
mod outbox;
mod phase;
mod seat;
mod session;
mod succession;
mod table;

pub use fault::PeerFault;
pub(crate) use instance::is_socket;
pub use instance::{Files, Setup};
pub use phase::Phase;
pub(crate) use seat::{Outcome, Seat};
