//! Copying to and from a workspace: a tar stream over the input and output of an ordinary process.
//!
//! A thread packs or unpacks while another one talks to the server. Either side has all in a
//! directory beside the target first, and moves it there when it knows that it is all.

mod archive;
mod below;
mod directories;
mod down;
mod far;
pub mod fault;
mod name;
mod pack;
mod plan;
mod selection;
mod staging;
mod sum;
mod talk;
mod thread;
mod tree;
mod unpack;
mod up;

pub use down::{down, down_stream};
pub use far::{Far, FarPath};
pub use selection::Selection;
pub use staging::Target;
pub use sum::Sum;
pub use talk::{Fodder, talk};
pub use thread::{QUEUE, blocking};
pub use up::up;

#[cfg(test)]
mod tests;
