//! `prn exec`: `prn run` in a workspace, as docker and kubectl have it.

use clap::{ArgMatches, Args, Command, Error, FromArgMatches};

use crate::commands::run::{self, Run};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet::fault::FleetFault;
use crate::typed::misnamed::unless_a_process;

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

/// What is of jobs, which `prn run --fleet -w` is for.
const OF_JOBS: &[&str] = &[
    "on",
    "host",
    "retries",
    "may_run_twice",
    "start_by",
    "places",
    "fleet",
];

fn as_exec(command: Command) -> Command {
    let hidden =
        |command: Command, name: &&'static str| command.mut_arg(*name, |arg| arg.hide(true));
    OF_JOBS
        .iter()
        .fold(command, hidden)
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
        .mut_arg("argv", |argv| {
            argv.index(2)
                .last(false)
                .trailing_var_arg(true)
                .required(true)
                .value_name("COMMAND")
                .help("The program and its arguments")
        })
        // An argument cannot be taken away: this one stands nowhere.
        .mut_arg("line", |line| {
            line.long("line")
                .hide(true)
                .conflicts_with("argv")
                .conflicts_with("workspace")
                .required_unless_present("workspace")
        })
}

pub async fn exec(Exec(args): Exec) -> Result<Exit, Failure> {
    if args.fleet.fleet.is_some() {
        let why =
            "`prn exec` is in a workspace of one server: `prn run --fleet -w NAME` is a job in one";
        return Err(FleetFault::NotOfFleets(why).into());
    }
    let connection = args.connection.clone();
    let workspace = args.spec.start.workspace.clone().unwrap_or_default();
    match run::run(args).await {
        Ok(exit) => Ok(exit),
        Err(failure) => Err(unless_a_process(failure, &workspace, connection).await),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{self, Cli};
    use clap::Parser;

    fn parsed(words: &[&str]) -> Option<Exec> {
        let connection = ["--client-cert", "c.pem", "--server-cert", "s.pem"];
        let words = [&["prn", "exec"], &connection[..], words].concat();
        let cli::Command::Exec(exec) = Cli::try_parse_from(words).ok()?.command else {
            return None;
        };
        Some(exec)
    }

    #[test]
    fn the_words_behind_the_workspace_are_the_commands() {
        for (words, argv, interactive) in [
            (
                &["w", "ls", "-la", "--color"][..],
                &["ls", "-la", "--color"][..],
                false,
            ),
            (&["w", "--", "ls", "-i"], &["ls", "-i"], false),
            (&["-i", "w", "sh", "-c", "a b"], &["sh", "-c", "a b"], true),
            (&["w", "a b"], &["a b"], false),
            (&["w", "-i", "cat"], &["cat"], true),
            (&["w", "cat", "-i"], &["cat", "-i"], false),
            (&["w", "cat", "--", "x"], &["cat", "--", "x"], false),
        ] {
            let exec = parsed(words).unwrap();
            let workspace = exec.0.spec.start.workspace.as_deref();
            assert_eq!(workspace, Some("w"));
            assert_eq!(exec.0.interactive, interactive, "{words:?}");
            assert_eq!(exec.0.spec.start.argv, argv, "{words:?}");
        }
        for bad in [
            &["w"][..],
            &[],
            &["A", "ls"],
            &["w", "--no-such", "ls"],
            &["--line", "ls", "w"],
        ] {
            assert!(parsed(bad).is_none(), "{bad:?}");
        }
    }
}
