//! `prn completion`: what a shell reads to complete prn's command line.

use clap::{Args, ValueEnum};

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::output;

/// For `--help`.
const HOW: &str = "\
For good, in the file that your shell reads at its start:
  ~/.bashrc                   . <(prn completion bash)
  ~/.zshrc, below compinit    . <(prn completion zsh)
  ~/.config/fish/config.fish  prn completion fish | source";

/// Print what your shell needs to complete prn's command line with the Tab key
///
/// Commands, flags and their values are completed, and what the server has: ids of processes and
/// names of workspaces. The server is asked with the flags of the command line and the variables of
/// the shell, for a second at most, and nothing is said where it does not answer.
#[derive(Debug, Args)]
#[command(after_help = HOW)]
pub struct Completion {
    /// Which shell
    pub shell: Shell,
}

/// A shell whose command line can be completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// From version 4 on
    Bash,
    /// With its newer completion (compinit)
    Zsh,
    /// From version 3 on
    Fish,
}

pub fn completion(args: &Completion) -> Result<Exit, Failure> {
    output::completion_script(match args.shell {
        Shell::Bash => include_str!("../../../packaging/completions/prn.bash"),
        Shell::Zsh => include_str!("../../../packaging/completions/_prn"),
        Shell::Fish => include_str!("../../../packaging/completions/prn.fish"),
    })?;
    Ok(exit::OK)
}
