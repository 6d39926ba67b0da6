//! What both sides of `prn rotate` have alike.

use std::path::Path;

use clap::Args;
use nix::fcntl::Flock;

use super::pair::{Pair, PairError};
use crate::context::config::Place;
use crate::context::edit::{LOCK_WAIT, locked};
use crate::context::error::ContextError;
use crate::failure::Failure;

/// Which step.
#[derive(Debug, Clone, Copy, Args)]
pub struct Step {
    /// Put the next key and certificate in their places; those that were there stay beside them,
    /// with .old at the end
    #[arg(long, conflicts_with_all = ["abort", "days"])]
    pub finish: bool,
    /// Remove the next key and certificate: nothing was to come
    #[arg(long, conflicts_with = "days")]
    pub abort: bool,
    /// Days until the next certificate expires
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub days: u32,
}

/// Of one pair, steps come one after the other.
pub fn locked_pair(pair: &Pair) -> Result<Option<Flock<std::fs::File>>, Failure> {
    let path = pair.certificate.clone();
    match locked(&Place { path }, LOCK_WAIT) {
        Ok(lock) => Ok(lock),
        Err(ContextError::Write { path, source }) => Err(PairError::Write { path, source }.into()),
        Err(error) => Err(error.into()),
    }
}

/// A path as a shell takes it.
pub fn quoted(path: &Path) -> String {
    let shown = path.display().to_string();
    shlex::try_quote(&shown).unwrap_or_default().into_owned()
}
