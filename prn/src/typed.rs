//! What was typed: words and flags, what they mean, and what was meant by those that are not prn's.

pub mod command_line;
pub mod fields;
pub mod habits;
pub mod misnamed;
pub mod signal;
pub mod spec;
pub mod usage;
pub mod words;
