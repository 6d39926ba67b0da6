//! The form in which files are on the way: tar, as POSIX has it (pax(1)), with the sparse files of
//! GNU tar (version 1.0). Pure.

pub mod encode;
pub mod member;
pub mod read;
