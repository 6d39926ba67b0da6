//! How `prn-frontend` gives up what it does not need. A library for the sake of the tests, which
//! run an attacker in the very sandbox that the frontend closes behind itself; everything else of
//! the frontend is its binary's own.
//!
//! - [`sandbox`]: the steps, in their order.
//! - [`confine`], [`filter`]: what each step does.
//! - [`log`]: where they say what this host lacks.
#![forbid(unsafe_code)]

pub mod confine;
pub mod filter;
pub mod log;
pub mod sandbox;
