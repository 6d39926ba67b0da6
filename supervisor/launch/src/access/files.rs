//! The files that clients and roles are read from.
//!
//! A file of the folder of clients lets somebody in, so it is taken only where nobody but root could
//! have written it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::tables::{Place, Problem, Source, Tables, line_and_message};
use crate::options::Options;

/// The folder of clients beside a configuration file that names none.
const CLIENTS_DIR: &str = "clients.d";

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
