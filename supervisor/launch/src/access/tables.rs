//! The tables `[[client]]` and `[[role]]` as they are written: in the configuration file, and in the
//! files of its folder of clients.
//!
//! Runs in `prn server start` and `prn policy`. What has a form of its own is of that form here; what
//! refers to something else is compared in `clients.rs` and `roles.rs`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use prn_ipc_protocol::message::Profile;
use prn_ipc_protocol::policy::{Reach, Verb};
use prn_ipc_protocol::types::{AccessName, UnixMicros, UserName};
use prn_proto::units::{Cpu, Moment, Size, When};
use serde::Deserialize;
use toml::Spanned;

/// A client.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClientTable {
    /// What it is called.
    pub name: Spanned<AccessName>,
    /// What it is known by: files of certificates, below the file's own folder.
    pub cert: Option<Spanned<Files>>,
    /// Or fingerprints of its keys.
    pub fingerprint: Option<Spanned<Texts>>,
    /// Or rules for names in certificates that an authority has signed.
    pub san: Option<Spanned<Texts>>,
    /// What it may do.
    pub role: Spanned<AccessName>,
    /// Whom it shares processes with.
    pub group: Option<AccessName>,
    /// Until when.
    pub not_after: Option<Spanned<End>>,
    /// What it starts it signs.
    #[serde(default)]
    pub require_signed_starts: bool,
}

/// A file, or several.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "not a file's name, or a list of such")]
pub enum Files {
    /// One.
    One(PathBuf),
    /// Several.
    Several(Vec<PathBuf>),
}

impl Files {
    pub(super) fn as_slice(&self) -> &[PathBuf] {
        match self {
            Self::One(path) => std::slice::from_ref(path),
            Self::Several(paths) => paths,
        }
    }
}

/// A text, or several.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "not a text, or a list of such")]
pub enum Texts {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl Texts {
    pub(super) fn as_slice(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Several(texts) => texts,
        }
    }
}

/// An instant: RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct End(pub UnixMicros);

impl TryFrom<String> for End {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let Ok(Moment(When::At(time))) = text.parse() else {
            return Err(format!(
                "{text:?} is not a time: write one with its zone, such as 2030-01-31T12:00:00Z"
            ));
        };
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        Ok(Self(UnixMicros(micros)))
    }
}

/// A role.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RoleTable {
    /// What it is called.
    pub name: Spanned<AccessName>,
    /// What it allows.
    pub may: BTreeSet<Verb>,
    /// Whose processes and workspaces that is about. `None`: one's own.
    pub whose: Option<Reach>,
    /// When something may be changed. `None`: at any time.
    pub hours: Option<Spanned<Texts>>,
    /// What may be started: each a path and its words. `None`: anything.
    pub programs: Option<Vec<Spanned<Vec<String>>>>,
    /// Names of variables that may be set for these.
    pub variables: Option<Vec<String>>,
    /// The least that confines them.
    pub profile: Option<Profile>,
    /// Users of the machine's that they may run as.
    #[serde(default)]
    pub users: Vec<Spanned<UserName>>,
    /// Most CPU time of a process.
    pub max_cpu: Option<Cpu>,
    /// Most memory.
    pub max_memory: Option<Size>,
    /// Most bytes read a second.
    pub max_io_read: Option<Size>,
    /// Most bytes written a second.
    pub max_io_write: Option<Size>,
    /// Most tasks.
    pub max_pids: Option<u64>,
    /// CPU time of a process that asks for none.
    pub default_cpu: Option<Cpu>,
    /// Memory of one.
    pub default_memory: Option<Size>,
    /// Bytes read a second of one.
    pub default_io_read: Option<Size>,
    /// Bytes written a second of one.
    pub default_io_write: Option<Size>,
    /// Tasks of one.
    pub default_pids: Option<u64>,
    /// Most processes of one client at one time.
    pub max_processes: Option<u32>,
    /// Most output that a process can ask to be kept.
    pub max_output: Option<Size>,
}

/// All tables of a file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tables {
    pub client: Vec<Spanned<ClientTable>>,
    pub role: Vec<Spanned<RoleTable>>,
}

/// A file of the folder of clients as it is to become.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// Its name.
    pub name: OsString,
    /// What is to be in it. `None`: it is to go.
    pub text: Option<String>,
}

/// A file's name and text, in which a place has its line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// Which file.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
}

impl Source {
    /// Where this is in it.
    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or_default();
        Place {
            path: self.path.clone(),
            line: Some(before.matches('\n').count() + 1),
        }
    }

    pub(super) fn problem(&self, span: &Range<usize>, what: impl Into<String>) -> Problem {
        Problem {
            place: self.place(span),
            what: what.into(),
        }
    }
}

/// Somewhere in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// In which file.
    pub path: PathBuf,
    /// In which line, from 1. `None`: all of it.
    pub line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.path.display()),
            None => write!(f, "{}", self.path.display()),
        }
    }
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What, and what to do about it.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Why clients and roles are refused: one problem or more.
#[derive(Debug, thiserror::Error)]
#[error("{}", first_of(.0))]
pub struct AccessError(pub Vec<Problem>);

fn first_of(problems: &[Problem]) -> String {
    match problems {
        [] => String::new(),
        [only] => only.to_string(),
        [first, others @ ..] => format!(
            "{first} (and {} more: `prn policy check {}` says all)",
            others.len(),
            first.place.path.display()
        ),
    }
}

/// Where a text is not of its form, and why.
pub(crate) fn line_and_message(text: &str, error: &toml::de::Error) -> (usize, String) {
    let before = error
        .span()
        .and_then(|span| text.get(..span.start))
        .unwrap_or_default();
    // What a key could be instead is a long list, which --help has too.
    let what = match error.message() {
        key if key.starts_with("unknown field `log-format`") => {
            Some("log-format is a flag alone: `prn server start --log-format json`")
        }
        key if key.starts_with("unknown field") => key.split(", expected one of").next(),
        whole => Some(whole),
    };
    let what = what.unwrap_or_default();
    (before.matches('\n').count() + 1, what.replace('\n', ", "))
}
