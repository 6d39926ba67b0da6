//! What is asked for, one type a call.

use std::collections::BTreeMap;
use std::time::Duration;

use prn_client::LabelSelector;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::calls::parsed::Parsed;
use crate::calls::spec::Ceilings;
use crate::typed::signal::SignalNumber;
use crate::which::reference::Reference;

/// One process.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct One {
    /// Which: its id, the beginning of its id, or its name
    pub process: Parsed<Reference>,
}

/// How a run is waited for, and what of its output is wanted.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Running {
    /// How long to wait for its end [default: 30s]. It goes on after that: wait waits for longer
    pub wait: Option<Parsed<Duration>>,
    /// Most bytes of its output to answer with [default: 65536]. output reads the rest
    pub max_bytes: Option<u64>,
    /// What it reads as its standard input, a text. Without it there is none
    pub input: Option<String>,
}

/// Which processes.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct List {
    /// Those that are alive, or those that have ended
    pub state: Option<Liveness>,
    /// Those that have these labels: key=value, key!=value, key or !key, several with commas between
    pub selector: Option<Parsed<LabelSelector>>,
    /// Those of this workspace
    pub workspace: Option<String>,
    /// The newest so many
    pub limit: Option<usize>,
}

/// Whether a process is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// It is.
    Running,
    /// It has ended.
    Stopped,
}

/// A wait.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// For which processes
    pub processes: Vec<Parsed<Reference>>,
    /// For the first of them alone
    #[serde(default)]
    pub any: bool,
    /// For so long at most. They go on after that
    #[serde(default)]
    pub timeout: Option<Parsed<Duration>>,
}

/// A stop.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// Of which process
    pub process: Parsed<Reference>,
    /// Time between SIGTERM and SIGKILL; 0 kills at once
    #[serde(default)]
    pub grace: Option<Parsed<Duration>>,
}

/// A signal.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// To which process
    pub process: Parsed<Reference>,
    /// Which
    pub signal: Parsed<SignalNumber>,
    /// To all that it has started, too
    #[serde(default)]
    pub tree: bool,
}

/// A change of a process that is alive. What is left out stays as it is.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Of which process
    pub process: Parsed<Reference>,
    /// Its labels: a value, or null for no such label any more. Those that are left out stay
    #[serde(default)]
    pub labels: BTreeMap<String, Option<String>>,
    /// Most that it may take of the machine from now on
    #[serde(default)]
    pub limits: Ceilings,
    /// None of its processes runs from now on, or all go on
    #[serde(default)]
    pub paused: Option<bool>,
    /// Stop it when nobody has followed its output or renewed the lease for so long from now; 0 ends its
    /// lease
    #[serde(default)]
    pub lease: Option<Parsed<Duration>>,
}

/// A part of an output.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Of which process
    pub process: Parsed<Reference>,
    /// Offset of the first byte: the last answer's next_offset
    #[serde(default)]
    pub from: Option<u64>,
    /// The end of it: so many lines
    #[serde(default)]
    pub tail_lines: Option<u64>,
    /// The end of it: so many bytes
    #[serde(default)]
    pub tail_bytes: Option<u64>,
    /// Most bytes [default: 65536]
    #[serde(default)]
    pub max_bytes: Option<u64>,
    /// This stream alone
    #[serde(default)]
    pub stream: Option<OnlyStream>,
    /// Wait so long for more. Without it: what there is by now
    #[serde(default)]
    pub wait: Option<Parsed<Duration>>,
}

/// A stream of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnlyStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Several processes.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Several {
    /// Which
    pub processes: Vec<Parsed<Reference>>,
}
