//! A client of etcd's API, version 3, as far as prn uses it: over mutual TLS alone, to one of several
//! endpoints at a time.
//!
//! What is read is what a majority of the members has: no call asks for less. A call that fails for
//! want of a member goes on with the next one for a while. So a transaction may be done twice, unless
//! it compares with something that it changes: the second one then finds it changed ([`Txn`]).

mod auth;
mod connection;
mod error;
mod kv;
mod lease;
mod random;
mod watch;
mod wire;

pub use auth::{Grant, ROOT};
pub use connection::{Etcd, EtcdSettings};
pub use error::EtcdError;
pub use kv::{Committed, KeyValue, Listing, Pages, Txn};
pub use lease::{Lease, revoke};
pub use random::{jitter, token};
pub use watch::{Told, WatchRange, Watcher};
