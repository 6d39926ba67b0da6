//! What goes wrong with contexts.

use std::io;
use std::path::PathBuf;

use super::line::LineError;

/// Why a context was not found, read or written.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// Nothing says where the configuration is.
    #[error("none of PRN_CONFIG, XDG_CONFIG_HOME and HOME says where the configuration is")]
    NoPlace,
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write the configuration {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Something holds it.
    #[error(
        "the configuration {} is being changed by another program: try again, or end what holds {}",
        path.display(),
        lock.display()
    )]
    Locked {
        /// Which.
        path: PathBuf,
        /// The file that is locked.
        lock: PathBuf,
    },
    /// Others can change whom prn trusts.
    #[error(
        "the configuration {} can be changed by others (mode {mode:04o}, user {uid}): run `chown {own}` and `chmod go-w` on it",
        path.display()
    )]
    Open {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Whose it should be.
        own: u32,
    },
    /// It is not one of this form.
    #[error("the configuration {} is refused, line {line}: {what}", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// Why, on one line.
        what: String,
    },
    /// There is no such context.
    #[error("there is no context {name}{}", those(known))]
    Unknown {
        /// Its name, or a pattern that none has.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// There is no such fleet.
    #[error("the configuration has no fleet {name}{}", those_fleets(known))]
    UnknownFleet {
        /// Its name.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// There is one already.
    #[error("there is a context {0} already: --force replaces it")]
    Exists(String),
    /// A line is not one of a server.
    #[error(transparent)]
    Line(#[from] LineError),
    /// Something that a connection needs is said nowhere, or cannot mean what it says.
    #[error("{what} {why}")]
    Setting {
        /// The flag or variable.
        what: &'static str,
        /// Why not.
        why: String,
    },
    /// A command that talks to one server was given several.
    #[error("{}", one_of(names))]
    Several {
        /// Their names.
        names: Vec<String>,
    },
}

/// Most names that an error lists.
const NAMES_MAX: usize = 8;

fn those(known: &[String]) -> String {
    match known.get(..NAMES_MAX) {
        _ if known.is_empty() => ": `prn context add` makes one".to_owned(),
        Some(_) if known.len() > NAMES_MAX => ": `prn context list` shows all".to_owned(),
        Some(_) | None => format!("; known: {}", known.join(", ")),
    }
}

fn those_fleets(known: &[String]) -> String {
    if known.is_empty() {
        return ": `prn fleet init` makes one".to_owned();
    }
    format!("; known: {}", known.join(", "))
}

fn one_of(names: &[String]) -> String {
    let count = names.len();
    let shown = names.get(..NAMES_MAX).unwrap_or(names).join(", ");
    format!(
        "this command talks to one server, and --context or PRN_CONTEXT names {count} ({shown}): name one; \
         of processes each with its own: prn list -q --context … | xargs -n2 sh -c 'prn COMMAND --context \"$0\" \"$1\"'"
    )
}
