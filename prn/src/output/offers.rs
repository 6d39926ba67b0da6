//! What a shell is told to complete a command line with.

use std::io;

use super::descriptor::print;
use super::shown::put;

/// A word that could stand at the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The word.
    pub value: String,
    /// What it is. Empty: nothing is to be said.
    pub description: String,
}

/// Paths of this machine, which a shell finds by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paths {
    /// Of files and of what they are in.
    Files,
    /// Of directories alone.
    Directories,
}

impl Paths {
    /// How a shell's script reads it. No offer begins with a colon.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Files => ":files",
            Self::Directories => ":directories",
        }
    }
}

/// Prints a shell's script for completion.
pub fn completion_script(script: &str) -> io::Result<()> {
    print(script)
}

/// Prints them one a line, and what else could be there.
pub fn offers(offers: &[Offer], paths: Option<Paths>) -> io::Result<()> {
    let mut text = String::new();
    for offer in offers {
        if offer.description.is_empty() {
            put(&mut text, format_args!("{}\n", offer.value));
        } else {
            put(
                &mut text,
                format_args!("{}\t{}\n", offer.value, offer.description),
            );
        }
    }
    if let Some(paths) = paths {
        put(&mut text, format_args!("{}\n", paths.mark()));
    }
    print(&text)
}
