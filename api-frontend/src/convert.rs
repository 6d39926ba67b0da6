//! Between the public API's messages and the privilege contract's values. Pure.
//!
//! What a client sent becomes a valid value or a fault that names the field and its limit
//! ([`fields`]); nothing that a client sent reaches the supervisor in any other way.
//!
//! - [`start`], [`stop`], [`list`], [`subscribe`], [`input`], [`terminal`], [`signal`], [`update`],
//!   [`several`], [`wait`], [`watch`]: what each call asks for.
//! - [`process`], [`usage`]: what is said of a process.
//! - [`access`]: what is asked, and said, of what a client may do.
//! - [`workspace`]: what is asked for of workspaces, and what is said of them.
//! - [`selector`], [`digest`], [`enums`], [`id`], [`lifetime`], [`limits`], [`names`], [`tasks`],
//!   [`time`]: values that several of them have.

pub mod access;
pub mod digest;
pub mod enums;
pub mod fields;
pub mod id;
pub mod input;
pub mod lifetime;
pub mod limits;
pub mod list;
pub mod names;
pub mod paths;
pub mod process;
pub mod selector;
pub mod several;
pub mod signal;
pub mod signature;
pub mod start;
pub mod stop;
pub mod subscribe;
pub mod tasks;
pub mod terminal;
pub mod time;
pub mod update;
pub mod usage;
pub mod wait;
pub mod watch;
pub mod workspace;
