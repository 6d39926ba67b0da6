//! Our own standard input, and the terminal that it may be.

pub mod detach;
pub mod file;
pub mod leftover;
pub mod local_input;
pub mod stdin;
pub mod terminal;
