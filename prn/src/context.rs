//! Contexts: servers by name, from the user's own configuration.
//!
//! The configuration says whom prn trusts and which key it shows, so it is read only where nobody
//! else can have written it. It holds no key, only where one is.

pub mod config;
pub mod edit;
pub mod error;
pub mod line;
pub mod name;
pub mod settings;
