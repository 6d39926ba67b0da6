//! `prn __complete`: what could stand at the cursor of a shell's command line.
//!
//! The scripts of [`completion`](crate::commands::completion) ask for it at each press of the Tab
//! key. So it is silent, whatever goes wrong, and takes a second at most, whatever hangs.

mod line;
mod live;
mod rules;

use std::ffi::OsString;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use clap::Args;
use clap_complete::engine::{CompletionCandidate, complete as candidates};

use crate::commands::completion::Shell;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::output::{self, Offer, Paths};
use live::Live;

/// Longer than that nobody looks at a cursor that does not move.
const LIMIT: Duration = Duration::from_secs(1);

/// What could stand at the cursor.
#[derive(Debug, Args)]
pub struct Complete {
    /// For which shell.
    pub shell: Shell,
    /// All words up to the cursor, the unfinished one last; for bash, they are one text.
    #[arg(last = true)]
    pub words: Vec<OsString>,
}

/// What is found.
#[derive(Debug, Default)]
struct Found {
    offers: Vec<Offer>,
    paths: Option<Paths>,
}

/// `tree` has all commands.
pub fn complete(args: Complete, tree: clap::Command) -> Result<Exit, Failure> {
    let words = match args.shell {
        Shell::Bash => args
            .words
            .first()
            .and_then(|line| line.to_str())
            .map(line::words)
            .unwrap_or_default(),
        Shell::Zsh | Shell::Fish => args.words,
    };
    let (sender, receiver) = mpsc::channel();
    // It may hang in a name lookup, or in a key that is a FIFO.
    thread::spawn(move || sender.send(found(words, tree)));
    let found = receiver.recv_timeout(LIMIT).unwrap_or_default();
    output::offers(&found.offers, found.paths)?;
    Ok(exit::OK)
}

fn found(words: Vec<OsString>, tree: clap::Command) -> Found {
    let Some((current, before)) = words.split_last() else {
        return Found::default();
    };
    if before.iter().any(|word| word == "--") {
        // The words of a command: what they may be is the server's affair.
        return Found {
            offers: Vec::new(),
            paths: Some(Paths::Files),
        };
    }
    let wants_flag = current.as_encoded_bytes().first() == Some(&b'-');
    let index = before.len();
    let live = Arc::new(Live::of(&words));
    let mut tree = rules::with_values(tree, &live);
    let mut found = Found::default();
    for candidate in candidates(&mut tree, words, index, None).unwrap_or_default() {
        if let Some(paths) = rules::paths_of(&candidate) {
            found.paths = Some(paths);
        } else if let Some(offer) = offer(&candidate) {
            found.offers.push(offer);
        }
    }
    // What there are more of than anything else, and nobody looks for without a dash.
    let is_shown = |offer: &Offer| wants_flag || !offer.value.starts_with('-');
    found.offers.retain(is_shown);
    found
}

fn offer(candidate: &CompletionCandidate) -> Option<Offer> {
    let help = candidate.get_help().map(ToString::to_string);
    let help = help.unwrap_or_default();
    Some(Offer {
        value: candidate.get_value().to_str()?.to_owned(),
        description: help.lines().next().unwrap_or_default().to_owned(),
    })
}
