//! `prn exec`: `prn run` in a workspace, as docker and kubectl have it.

use clap::builder::Resettable;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches, Id};

use crate::commands::run::{self, Run};
use crate::exit::Exit;
use crate::failure::Failure;

/// A [`Run`], of which the workspace comes first and the command's words behind it.
#[derive(Debug)]
pub struct Exec(pub Run);

const ABOUT: &str = "Run a command in a workspace: prn run -w WORKSPACE -- COMMAND…";
const LONG_ABOUT: &str = "Run a command in a workspace: prn run -w WORKSPACE -- COMMAND…

The words behind the workspace are the command's, as they are: flags of prn's stand before it. All else \
is as with `prn run`.";

impl FromArgMatches for Exec {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Run::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl Args for Exec {
    fn augment_args(command: Command) -> Command {
        as_exec(Run::augment_args(command))
    }

    fn augment_args_for_update(command: Command) -> Command {
        as_exec(Run::augment_args_for_update(command))
    }
}

fn as_exec(command: Command) -> Command {
    command
        .about(ABOUT)
        .long_about(LONG_ABOUT)
        .mut_arg("workspace", |workspace| {
            workspace
                .short(None)
                .long(None)
                .index(1)
                .required(true)
                .value_name("WORKSPACE")
                .help("Which workspace (prn workspace list)")
        })
        .mut_arg("line", |line| {
            line.index(2)
                .value_name("COMMAND")
                .help("The program")
                .conflicts_with(Resettable::<Id>::Reset)
                .required(true)
        })
        .mut_arg("argv", |argv| {
            argv.index(3)
                .last(false)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .value_name("ARG")
                .help("Its arguments")
        })
}

pub async fn exec(Exec(mut args): Exec) -> Result<Exit, Failure> {
    let first = args.spec.line.take();
    let rest = std::mem::take(&mut args.spec.start.argv);
    args.spec.start.argv = first.into_iter().chain(rest).collect();
    run::run(args).await
}
