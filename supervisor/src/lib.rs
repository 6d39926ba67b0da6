//! Runs processes on Linux, each in a cgroup v2 group of its own: starts them under limits, keeps
//! their output so that it can be read from the first byte at any time, knows how each one ended,
//! and stops all of what it started.
//!
//! This is the root half of prn, and a library of its own: [`Runner`] works without the daemon
//! around it. It needs root (or CAP_SETUID, CAP_SETGID, CAP_KILL and CAP_CHOWN), a cgroup v2
//! directory that nobody else writes, Linux 5.14, and a program with a single thread, because
//! processes die with the thread that created them (PR_SET_PDEATHSIG, prctl(2)).
//!
//! ```no_run
//! use std::time::Duration;
//! use prn_supervisor::ipc::message::{StartSpec, StopHow};
//! use prn_supervisor::ipc::output::{Cursor, Piece, Reader};
//! use prn_supervisor::{Notice, Runner, Settings};
//!
//! # fn settings() -> Settings { unimplemented!() }
//! # fn spec() -> StartSpec { unimplemented!() }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut runner = Runner::open(settings())?;
//! let spec = spec();
//! let id = spec.id;
//! runner.start(spec)?;
//! let [data, page] = loop {
//!     runner.wait(Some(Duration::from_secs(1)))?;
//!     runner.dispatch();
//!     if let Some(Notice::Started(_)) = runner.take_notice() {
//!         break runner.subscribe(id)?;
//!     }
//! };
//! let reader = Reader::new(data, page)?;
//! let (mut cursor, mut buffer) = (Cursor::at(0), vec![0; 65536]);
//! if let Piece::Data { length, .. } = reader.read(&mut cursor, &mut buffer)? {
//!     println!("{length} bytes");
//! }
//! runner.stop(id, StopHow::Graceful(None), None)?;
//! # Ok(())
//! # }
//! ```
//!
//! `examples/run.rs` is the whole of it. The binary `prn-supervisor` puts [`daemon`], which serves
//! the unprivileged frontend, around the same [`Runner`].
#![cfg_attr(not(test), warn(clippy::too_many_lines))]
#![warn(missing_debug_implementations)]

mod accounts;
mod admission;
mod audit;
mod cgroup;
mod control;
pub mod daemon;
mod deadlines;
mod directory;
mod events;
pub mod frontend;
mod input;
mod ledger;
pub mod log;
mod pipes;
pub mod privilege;
mod process;
mod reading;
mod receipts;
mod resolve;
mod runner;
mod signed;
mod stage;
mod stopping;
mod store;
mod streams;
mod sys;
mod tree;
mod workspaces;

pub use events::{Interest, Token};
pub use prn_ipc_protocol as ipc;
pub use receipts::Key;
pub use runner::start::Started;
pub use runner::{Notice, Runner, Settings};
pub use sys::spawn::{Ids, filter};
pub use tree::{Origin, Tree};
