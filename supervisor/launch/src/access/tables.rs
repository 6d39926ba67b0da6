//! The tables `[[client]]` and `[[role]]` as they are written: in the configuration file, and in the
//! files of its folder of clients.
//!
//! Runs in `prn server start` and `prn policy`. A file of that folder lets somebody in, so it is
//! taken only where nobody but root could have written it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use prn_ipc_protocol::message::Profile;
use prn_ipc_protocol::policy::{Reach, Verb};
use prn_ipc_protocol::types::{AccessName, UnixMicros};
use prn_proto::units::{Cpu, Moment, Size, When};
use serde::Deserialize;
use toml::Spanned;

use super::{Place, Problem};
use crate::options::{Options, line_and_message};

/// The folder of clients beside a configuration file that names none.
const CLIENTS_DIR: &str = "clients.d";

/// A client.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClientTable {
    /// What it is called.
    pub name: Spanned<AccessName>,
    /// What it is known by: files of certificates, below the file's own folder.
    pub cert: Spanned<Files>,
    /// What it may do.
    pub role: Spanned<AccessName>,
    /// Whom it shares processes with.
    pub group: Option<AccessName>,
    /// Until when.
    pub not_after: Option<Spanned<End>>,
}

/// A file, or several.
#[derive(Debug, Clone, Deserialize)]
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

/// An instant: RFC 3339.
#[derive(Debug, Clone, Copy, Deserialize)]
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
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RoleTable {
    /// What it is called.
    pub name: Spanned<AccessName>,
    /// What it allows.
    pub may: BTreeSet<Verb>,
    /// Whose processes and workspaces that is about. `None`: one's own.
    pub whose: Option<Reach>,
    /// What may be started: each a path and its words. `None`: anything.
    pub programs: Option<Vec<Spanned<Vec<String>>>>,
    /// Names of variables that may be set for these.
    pub variables: Option<Vec<String>>,
    /// The least that confines them.
    pub profile: Option<Profile>,
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

/// A file that was read.
#[derive(Debug)]
pub(super) struct Part {
    pub source: Source,
    pub tables: Tables,
}

/// The tables of the configuration, and those of its folder of clients, in the order of their names.
/// What could not be read is a problem.
pub(super) fn read(options: &Options, problems: &mut Vec<Problem>) -> Vec<Part> {
    let Some(source) = options.file.clone() else {
        return Vec::new();
    };
    let names = folder_of_clients(options, &source.path).map(|folder| names_in(&folder));
    let own = Part {
        source,
        tables: Tables {
            client: options.client.clone(),
            role: options.role.clone(),
        },
    };
    let mut parts = vec![own];
    match names.unwrap_or(Ok(Vec::new())) {
        Ok(names) => {
            for part in names.into_iter().map(part) {
                match part {
                    Ok(part) => parts.push(part),
                    Err(problem) => problems.push(problem),
                }
            }
        }
        Err(problem) => problems.push(problem),
    }
    parts
}

/// The one that is named, else the usual one if it is there.
fn folder_of_clients(options: &Options, file: &Path) -> Option<PathBuf> {
    let beside = file.parent().unwrap_or(Path::new(""));
    match &options.clients_dir {
        Some(named) => Some(beside.join(named)),
        None => Some(beside.join(CLIENTS_DIR)).filter(|usual| usual.exists()),
    }
}

fn names_in(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let failed =
        |error: io::Error| of_file(folder, None, format!("cannot read the folder: {error}"));
    check_owner(folder, &fs::metadata(folder).map_err(failed)?)?;
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        names.push(entry.map_err(failed)?.path());
    }
    names.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    names.sort();
    Ok(names)
}

fn part(path: PathBuf) -> Result<Part, Problem> {
    let failed = |error: io::Error| of_file(&path, None, format!("cannot read it: {error}"));
    let mut file = File::open(&path).map_err(failed)?;
    // Asked of the open file: the name may mean another one by now.
    check_owner(&path, &file.metadata().map_err(failed)?)?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    let tables = toml::from_str(&text).map_err(|error| {
        let (line, what) = line_and_message(&text, &error);
        of_file(&path, Some(line), what)
    })?;
    Ok(Part {
        source: Source { path, text },
        tables,
    })
}

/// Root, or who runs this: the server is root.
fn check_owner(path: &Path, found: &fs::Metadata) -> Result<(), Problem> {
    let (owner, mode) = (found.uid(), found.mode() & 0o7777);
    let refuse = |why| Err(of_file(path, None, why));
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        return refuse(format!(
            "it is owned by user {owner}, who could let anybody in: run `chown root` on it"
        ));
    }
    if mode & 0o022 != 0 {
        return refuse(format!(
            "others can write it (mode {mode:04o}), and let anybody in: run `chmod go-w` on it"
        ));
    }
    Ok(())
}

fn of_file(path: &Path, line: Option<usize>, what: String) -> Problem {
    let path = path.to_owned();
    Problem {
        place: Place { path, line },
        what,
    }
}
