//! Which values each flag and argument of a command can have, as far as a shell can offer them.

use std::ffi::OsStr;
use std::sync::Arc;

use clap::builder::ValueHint;
use clap::{Arg, Command};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use prn_client::State;

use super::live::Live;
use crate::context::config::{Context, Place};
use crate::output::{Paths, escaped};

/// Commands that are of use for a process that is alive alone.
const OF_RUNNING: &[&str] = &[
    "attach", "kill", "pause", "renew", "resume", "stats", "stop", "top", "update",
];

/// Commands that are of use for a process that has ended alone.
const OF_ENDED: &[&str] = &["remove", "rm"];

/// Signals that a person sends, with what they are for (signal(7)).
const SIGNALS: &[(&str, &str)] = &[
    ("HUP", "read the configuration again"),
    ("INT", "as Ctrl-C"),
    ("QUIT", "as Ctrl-\\: end with a core dump"),
    ("KILL", "end at once"),
    ("USR1", "what the program makes of it"),
    ("USR2", "what the program makes of it"),
    ("TERM", "end in order"),
    ("CONT", "go on"),
    ("STOP", "stand still"),
    ("TSTP", "as Ctrl-Z"),
    ("WINCH", "the terminal has another size"),
];

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    /// A process in this state, or in any.
    Process(Option<State>),
    Workspace,
    /// What is copied, or where to.
    Place,
    Context,
    Fleet,
    Signal,
    Path(Paths),
}

/// All commands, and for each value what it could be.
pub fn with_values(tree: Command, live: &Arc<Live>) -> Command {
    below(tree, &[], live)
}

fn below(command: Command, path: &[&str], live: &Arc<Live>) -> Command {
    let command = command.mut_args(|arg| match value(path, &arg) {
        Some(value) => {
            let live = Arc::clone(live);
            let offers = move |current: &OsStr| offers(value, current, &live);
            arg.add(ArgValueCompleter::new(offers))
        }
        None => arg,
    });
    command.mut_subcommands(|command| {
        let name = command.get_name().to_owned();
        let path = [path, &[name.as_str()]].concat();
        below(command, &path, live)
    })
}

/// `path`: the command's names below prn.
fn value(path: &[&str], arg: &Arg) -> Option<Value> {
    let command = path.first().copied().unwrap_or_default();
    let value = match (command, arg.get_id().as_str()) {
        ("start" | "run" | "submit", "id") => return None,
        ("workspace", "name" | "names") if path.last() != Some(&"create") => Value::Workspace,
        (_, "workspace") => Value::Workspace,
        ("context", "name" | "names") if path.last() != Some(&"add") => Value::Context,
        (_, "context") => Value::Context,
        (_, "fleet") => Value::Fleet,
        ("cp", "places") => Value::Place,
        ("start" | "run" | "attach" | "server" | "keygen" | "context", _) if !is_id(arg) => {
            return path_value(arg);
        }
        (_, _) if is_id(arg) => Value::Process(state(command)),
        (_, "signal") if arg.get_possible_values().is_empty() => Value::Signal,
        _ => return path_value(arg),
    };
    Some(value)
}

fn is_id(arg: &Arg) -> bool {
    matches!(
        arg.get_id().as_str(),
        "id" | "ids" | "process" | "processes"
    )
}

fn state(command: &str) -> Option<State> {
    if OF_RUNNING.contains(&command) {
        Some(State::Running)
    } else if OF_ENDED.contains(&command) {
        Some(State::Stopped)
    } else {
        None
    }
}

fn path_value(arg: &Arg) -> Option<Value> {
    let names = arg.get_value_names().unwrap_or_default();
    if arg.get_value_hint() != ValueHint::AnyPath {
        return None;
    }
    let is_directory = names.iter().any(|name| name == "DIR");
    Some(Value::Path(if is_directory {
        Paths::Directories
    } else {
        Paths::Files
    }))
}

fn offers(value: Value, current: &OsStr, live: &Live) -> Vec<CompletionCandidate> {
    let current = current.to_str().unwrap_or_default();
    let mut offers = match value {
        Value::Process(state) => live.processes(state, current),
        Value::Workspace => live.workspaces(""),
        Value::Context => contexts(),
        Value::Fleet => fleets(),
        Value::Place => live.workspaces(":"),
        Value::Signal => SIGNALS
            .iter()
            .map(|(name, what)| CompletionCandidate::new(*name).help(Some((*what).into())))
            .collect(),
        Value::Path(paths) => return vec![marker(paths)],
    };
    offers.retain(|offer| offer.get_value().to_string_lossy().starts_with(current));
    if value == Value::Place {
        offers.push(marker(Paths::Files));
    }
    offers
}

/// Those that are configured, with their addresses.
fn contexts() -> Vec<CompletionCandidate> {
    let config = Place::of_environment().and_then(|place| place.load());
    let contexts = config.map(|config| config.contexts).unwrap_or_default();
    let offer = |(name, context): (String, Context)| {
        let address = context.address.map(|address| escaped(&address.0).into());
        CompletionCandidate::new(name).help(address)
    };
    contexts.into_iter().map(offer).collect()
}

/// Those that are configured.
fn fleets() -> Vec<CompletionCandidate> {
    let config = Place::of_environment().and_then(|place| place.load());
    let fleets = config.map(|config| config.fleets).unwrap_or_default();
    fleets.into_keys().map(CompletionCandidate::new).collect()
}

/// Stands for all paths of one kind, which shells know better.
fn marker(paths: Paths) -> CompletionCandidate {
    CompletionCandidate::new("").id(Some(paths.mark().to_owned()))
}

/// What a candidate stands for, if it is no value itself.
pub fn paths_of(candidate: &CompletionCandidate) -> Option<Paths> {
    let id = candidate.get_id()?;
    [Paths::Files, Paths::Directories]
        .into_iter()
        .find(|paths| paths.mark() == id)
}
