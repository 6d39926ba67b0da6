//! Asking a person before something that cannot be taken back.

use std::io::{self, BufRead, IsTerminal};

use crate::failure::Failure;
use crate::output;

/// A person can be asked.
///
/// # Errors
/// [`Failure::Usage`] without a terminal. That is said before anything is looked at, so that a script
/// does not work until there is something to be asked about.
pub fn can_ask() -> Result<(), Failure> {
    if io::stdin().is_terminal() && io::stderr().is_terminal() {
        return Ok(());
    }
    let why = "without a terminal nobody can be asked, and nothing was done: --yes does it unasked";
    Err(Failure::Usage(why.to_owned()))
}

/// Whether it is to be done, as a person at a terminal says.
pub fn confirm(question: &str) -> io::Result<bool> {
    output::ask(&format!("{question} [y/N] "));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_one() {
        assert!(is_yes("y\n") && is_yes(" Yes\n"));
        assert!(!is_yes("\n") && !is_yes("") && !is_yes("n\n") && !is_yes("yy\n"));
    }
}
