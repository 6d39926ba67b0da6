//! Between the public API's messages and the privilege contract's values. Pure.
//!
//! What a client sent becomes a valid value or a fault that names the field and its limit
//! ([`fields`]); nothing that a client sent reaches the supervisor in any other way.
//!
//! - [`start`], [`stop`], [`list`], [`subscribe`], [`input`], [`terminal`]: what each call asks for.
//! - [`process`]: what is said of a process.
//! - [`workspace`]: what is asked for of workspaces, and what is said of them.
//! - [`selector`], [`enums`], [`id`], [`time`]: values that several of them have.

pub mod enums;
pub mod fields;
pub mod id;
pub mod input;
pub mod list;
pub mod paths;
pub mod process;
pub mod selector;
pub mod start;
pub mod stop;
pub mod subscribe;
pub mod terminal;
pub mod time;
pub mod workspace;
