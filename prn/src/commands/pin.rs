//! `prn pin`: who is let in by a server, in files of its folder of clients.
//!
//! Runs as the operator, on the server's machine. What a change makes of the configuration is
//! checked as the server would check it, before anything is replaced; a file is replaced as a
//! whole. Two changes come one after the other. A file that the server would not read is never
//! changed.

pub mod guest;

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use nix::fcntl::Flock;
use prn_client::credentials::{
    CertificateSource, CredentialsError, KeyFingerprint, load_certificate,
};
use prn_launch::ServerError;
use prn_launch::access::types::AccessName;
use prn_launch::access::{Access, AccessError, Draft, check as check_file, check_draft, standing};
use prn_proto::tls::Certificate;
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value, value};

use crate::commands::context::pem;
use crate::commands::policy::{known_by, name};
use crate::context::config;
use crate::context::edit::{LOCK_WAIT, locked, replace};
use crate::context::error::ContextError;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::output::format::FormatFlag;
use crate::output::{self, PinnedClient};

/// Where a packaged server has its configuration.
pub const CONFIG: &str = "/etc/prn/prn.toml";

/// The folder of clients beside a configuration that names none.
const CLIENTS_DIR: &str = "clients.d";

/// Readable by all, as what is written there is no secret, and writable by its owner alone.
const READABLE: u32 = 0o644;

/// The role that may do everything.
const ADMIN: &str = "admin";

/// Who is let in by the server of this machine
///
/// A client that is added gets a file of its own, NAME.toml in the folder clients.d beside the
/// configuration. What would be refused is not written.
#[derive(Debug, Args)]
pub struct Pin {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Let a client in by a certificate, or a key's fingerprint; of one that is there, by this as
    /// well
    Add(Add),
    /// Show what each client is known by
    List(List),
    /// Remove a client, or one of the things that it is known by
    Remove(Remove),
}

/// Flags of `prn pin add`.
#[derive(Debug, Args)]
pub struct Add {
    /// The client's name
    #[arg(value_name = "NAME", value_parser = name)]
    pub name: AccessName,
    /// Its certificate (PEM), which is copied; or the fingerprint of its key, as `prn keygen
    /// --show` and `ssh-keygen -l` print it (SHA256:…), or as curl takes it (sha256//…)
    #[arg(value_name = "CERT|FINGERPRINT")]
    pub what: String,
    /// What a new client may do: viewer, operator, runner, admin, or a role of the configuration
    #[arg(long, value_name = "ROLE", value_parser = name)]
    pub role: Option<AccessName>,
    /// Until when a new client may do it (2030-01-31T00:00:00Z)
    #[arg(long, value_name = "TIME")]
    pub not_after: Option<String>,
    /// The server's configuration
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
}

/// Flags of `prn pin list`.
#[derive(Debug, Args)]
pub struct List {
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
    /// The server's configuration
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
}

/// Flags of `prn pin remove`.
#[derive(Debug, Args)]
pub struct Remove {
    /// The client's name
    #[arg(value_name = "NAME", value_parser = name)]
    pub name: AccessName,
    /// What it is no longer known by: a certificate (PEM), or a key's fingerprint, with which go
    /// all certificates of that key [default: all, and the client is gone]
    #[arg(value_name = "CERT|FINGERPRINT")]
    pub what: Option<String>,
    /// The server's configuration
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
}

/// Does what is asked.
pub fn pin(args: &Pin) -> Result<Exit, Failure> {
    match &args.verb {
        Verb::Add(args) => add(args),
        Verb::List(args) => list(args),
        Verb::Remove(args) => remove(args),
    }
}

/// Something that a client is known by.
enum Known {
    Certificate(Certificate),
    Key(KeyFingerprint),
}

impl Known {
    /// Its key, as a configuration names it.
    fn key(&self) -> KeyFingerprint {
        match self {
            Self::Certificate(certificate) => {
                let [fingerprint, _] = certificate.key_fingerprints();
                fingerprint
            }
            Self::Key(key) => *key,
        }
    }

    fn of(text: &str) -> Result<Self, Failure> {
        if let Ok(key) = text.parse() {
            return Ok(Self::Key(key));
        }
        let path = Path::new(text);
        if text.contains(':') && !path.exists() {
            let error = text.parse::<KeyFingerprint>().err();
            return Err(usage(
                error.map(|error| error.to_string()).unwrap_or_default(),
            ));
        }
        match CertificateSource::File(path.to_owned()).load() {
            Ok(loaded) => Ok(Self::Certificate(loaded)),
            // It is somebody else's: a new one would not be.
            Err(CredentialsError::Read { path, source }) => Err(Failure::Unread { path, source }),
            Err(error) => Err(error.into()),
        }
    }
}

impl Known {
    /// Whether this certificate is it, or has this key.
    fn is_of(&self, certificate: &Certificate) -> bool {
        match self {
            Self::Certificate(known) => known == certificate,
            Self::Key(key) => certificate.key_fingerprints().contains(key),
        }
    }
}

/// A file of the folder of clients, which nobody else changes meanwhile.
struct Place {
    folder: PathBuf,
    file: String,
    document: DocumentMut,
    _lock: Option<Flock<File>>,
}

impl Place {
    /// That of a client, which may not be there yet.
    fn of(config: &Path, name: &AccessName) -> Result<Self, Failure> {
        let folder = folder_of(config)?;
        let place = config::Place {
            path: folder.clone(),
        };
        let lock = locked(&place, LOCK_WAIT)?;
        let file = format!("{name}.toml");
        let path = folder.join(&file);
        // What the server refuses must not become what it takes, by being written anew.
        let text = standing(&folder, file.as_ref())
            .map_err(|problem| ServerError::from(AccessError(vec![problem])))?;
        let document = text.unwrap_or_default().parse();
        let document = document.map_err(|error: toml_edit::TomlError| {
            usage(format!("{}: {}", path.display(), error.message()))
        })?;
        Ok(Self {
            folder,
            file,
            document,
            _lock: lock,
        })
    }

    fn path(&self) -> PathBuf {
        self.folder.join(&self.file)
    }

    fn append(&mut self, key: &str, table: Table) {
        let tables = self.document.entry(key);
        let tables = tables.or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
        if let Some(tables) = tables.as_array_of_tables_mut() {
            tables.push(table);
        }
    }

    fn clients(&mut self) -> Option<&mut ArrayOfTables> {
        self.document.get_mut("client")?.as_array_of_tables_mut()
    }

    fn client(&mut self, name: &AccessName) -> Option<&mut Table> {
        let is_it =
            |table: &&mut Table| table.get("name").and_then(Item::as_str) == Some(name.as_str());
        self.clients()?.iter_mut().find(is_it)
    }

    /// Writes it, if the server would take what then is there.
    fn write(&self, config: &Path) -> Result<Option<Access>, Failure> {
        let is_empty = self.document.as_table().is_empty();
        let text = self.document.to_string();
        let draft = Draft {
            name: self.file.clone().into(),
            text: (!is_empty).then(|| text.clone()),
        };
        let Some(access) = checked(|warn| check_draft(config, draft, warn))? else {
            return Ok(None);
        };
        let path = self.path();
        let done = if is_empty {
            std::fs::remove_file(&path)
        } else {
            replace(&path, &text, READABLE)
        };
        done.map_err(|error| failed(&path, error))?;
        Ok(Some(access))
    }
}

fn add(args: &Add) -> Result<Exit, Failure> {
    let Some(path) = added(args, None)? else {
        return Ok(exit::ERROR);
    };
    output::print_line(&path.display().to_string())?;
    put_in_force(&args.config);
    Ok(exit::OK)
}

/// The file that it stands in. `None`: it is refused, and why was said.
/// `role`: stands there, too, of a new client.
fn added(args: &Add, role: Option<Table>) -> Result<Option<PathBuf>, Failure> {
    let known = Known::of(&args.what)?;
    let mut place = Place::of(&args.config, &args.name)?;
    if place.client(&args.name).is_none() {
        let key = known.key();
        let add =
            format!("write `fingerprint = [\"{key}\"]` there, beside what it has, and reload: ");
        check_elsewhere(&args.config, &args.name, &add)?;
    }
    if says_what_to_write(&args.config)? {
        return Ok(None);
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&place.folder)
        .map_err(|error| failed(&place.folder, error))?;
    let copied = match &known {
        Known::Certificate(certificate) => Some(copy(&place.folder, &args.name, certificate)?),
        Known::Key(_) => None,
    };
    let (key, text) = match (&known, &copied) {
        (Known::Key(fingerprint), _) => ("fingerprint", fingerprint.to_string()),
        (Known::Certificate(_), Some(copied)) => ("cert", copied.file.clone()),
        (Known::Certificate(_), None) => return Ok(None),
    };
    let written = if let Some(table) = place.client(&args.name) {
        if args.role.is_some() || args.not_after.is_some() {
            Err(usage(format!(
                "--role and --not-after are of a new client, and {} is there: change them in {}",
                args.name,
                place.path().display()
            )))
        } else {
            push(table, key, &text);
            place.write(&args.config)
        }
    } else {
        new_client(args, key, &text).and_then(|table| {
            place.append("client", table);
            role.into_iter()
                .for_each(|table| place.append("role", table));
            place.write(&args.config)
        })
    };
    if !matches!(written, Ok(Some(_)))
        && let Some(copied) = copied.filter(|copied| copied.is_new)
    {
        // Nobody names it.
        let _absent = std::fs::remove_file(place.folder.join(copied.file));
    }
    Ok(written?.map(|_| place.path()))
}

/// A client that stands in a file which is not ours to change.
/// `instead`: what to do there.
fn check_elsewhere(config: &Path, name: &AccessName, instead: &str) -> Result<(), Failure> {
    // What is wrong, or probably not meant, is said when there is something to check.
    let access = check_file(config, &|_| {});
    match access
        .ok()
        .and_then(|mut access| access.clients.remove(name))
    {
        Some(place) => Err(usage(format!(
            "client {name} stands at {place}, which is edited by hand: {instead}`prn pin` changes {name}.toml in the folder of clients alone"
        ))),
        None => Ok(()),
    }
}

/// Where clients have no names yet, the first one with a name would lock all others out: what is to
/// be written for these goes to standard output, and what to do with it is said.
fn says_what_to_write(config: &Path) -> Result<bool, Failure> {
    let text = std::fs::read_to_string(config).map_err(|error| unread(config, error))?;
    let document = text.parse::<DocumentMut>().unwrap_or_default();
    let paths = texts(document.get("client-cert"));
    if paths.is_empty() {
        return Ok(false);
    }
    output::notice(&format!(
        "{} lets clients in by client-cert, and nobody can be added beside these: take that line away, and put this at the end of the file:",
        config.display()
    ));
    for path in paths {
        let mut table = Table::new();
        let name = Path::new(&path).file_stem().unwrap_or_default();
        table.insert("name", value(name.to_string_lossy().as_ref()));
        table.insert("cert", value(path.as_str()));
        table.insert("role", value(ADMIN));
        output::print_line(&format!("[[client]]\n{}", table.to_string().trim_end()))?;
    }
    Ok(true)
}

fn new_client(args: &Add, key: &str, text: &str) -> Result<Table, Failure> {
    let Some(role) = &args.role else {
        return Err(usage(format!(
            "there is no client {}: --role says what a new one may do",
            args.name
        )));
    };
    let mut table = Table::new();
    table.insert("name", value(args.name.as_str()));
    table.insert(key, value(text));
    table.insert("role", value(role.as_str()));
    if let Some(end) = &args.not_after {
        table.insert("not-after", value(end.as_str()));
    }
    Ok(table)
}

fn list(args: &List) -> Result<Exit, Failure> {
    let Some(access) = checked(|warn| check_file(&args.config, warn))? else {
        return Ok(exit::ERROR);
    };
    let clients = access.policy.principals.iter();
    let clients = clients.map(|(name, principal)| PinnedClient {
        client: name.to_string(),
        role: principal.role.to_string(),
        known_by: known_by(&access, name),
    });
    output::pinned_clients(&clients.collect::<Vec<_>>(), &args.format).map_err(Failure::Print)?;
    Ok(exit::OK)
}

fn remove(args: &Remove) -> Result<Exit, Failure> {
    let mut place = Place::of(&args.config, &args.name)?;
    let (path, folder) = (place.path(), place.folder.clone());
    let Some(table) = place.client(&args.name) else {
        check_elsewhere(&args.config, &args.name, "take it away there, and reload: ")?;
        return Err(usage(format!(
            "there is no client {} in {}",
            args.name,
            path.display()
        )));
    };
    let copies;
    match &args.what {
        None => {
            copies = texts(table.get("cert"));
            drop_client(&mut place, &args.name);
        }
        Some(what) => {
            let known = Known::of(what)?;
            let keys = texts_of(table, "fingerprint", |text| match (&known, text.parse()) {
                (Known::Key(key), Ok(found)) => *key == found,
                (Known::Key(_) | Known::Certificate(_), _) => false,
            });
            copies = texts_of(table, "cert", |text| {
                load_certificate(&folder.join(text)).is_ok_and(|found| known.is_of(&found))
            });
            if keys.is_empty() && copies.is_empty() {
                return Err(usage(format!("{} is not known by {what}", args.name)));
            }
            pull(table, "fingerprint", &keys);
            pull(table, "cert", &copies);
            let is_known = |key: &&str| table.contains_key(key);
            if !["cert", "fingerprint", "san"].iter().any(is_known) {
                return Err(usage(format!(
                    "it is all that {name} is known by: `prn pin remove {name}` removes the client",
                    name = args.name
                )));
            }
        }
    }
    let Some(access) = place.write(&args.config)? else {
        return Ok(exit::ERROR);
    };
    for copy in copies.iter().filter(|copy| is_copy(copy, &args.name)) {
        // One that somebody else removed is gone as well.
        let _absent = std::fs::remove_file(folder.join(copy));
    }
    let mut principals = access.policy.principals.values();
    if !principals.any(|principal| principal.role.as_str() == ADMIN) {
        output::notice("warning: no client has the role admin any more");
    }
    put_in_force(&args.config);
    Ok(exit::OK)
}

/// Takes the client's table away, and the list of them when it was the last one.
fn drop_client(place: &mut Place, name: &AccessName) {
    let Some(clients) = place.clients() else {
        return;
    };
    clients.retain(|table| table.get("name").and_then(Item::as_str) != Some(name.as_str()));
    if clients.is_empty() {
        place.document.remove("client");
    }
}

/// Says how a server that runs gets to know it: what else it was started with is not known here.
fn put_in_force(config: &Path) {
    if config == Path::new(CONFIG) {
        output::notice(
            "a server that runs knows it after `prn server reload`, or `systemctl reload prn`",
        );
    } else {
        let shown = config.display().to_string();
        let quoted = shlex::try_quote(&shown).unwrap_or_default();
        output::notice(&format!(
            "a server that runs knows it after `prn server reload --config {quoted}`"
        ));
    }
}

/// The texts of a key: one, or a list.
fn texts(item: Option<&Item>) -> Vec<String> {
    let Some(item) = item else {
        return Vec::new();
    };
    let list = item.as_array().into_iter().flatten();
    let listed = list.filter_map(Value::as_str);
    item.as_str()
        .into_iter()
        .chain(listed)
        .map(str::to_owned)
        .collect()
}

fn texts_of(table: &Table, key: &str, is_it: impl Fn(&str) -> bool) -> Vec<String> {
    let all = texts(table.get(key));
    all.into_iter().filter(|text| is_it(text)).collect()
}

/// Adds a text to those of a key, once.
fn push(table: &mut Table, key: &str, text: &str) {
    let mut all = texts(table.get(key));
    if !all.iter().any(|known| known == text) {
        all.push(text.to_owned());
    }
    set(table, key, &all);
}

/// Takes texts away from those of a key.
fn pull(table: &mut Table, key: &str, gone: &[String]) {
    let mut all = texts(table.get(key));
    all.retain(|text| !gone.contains(text));
    set(table, key, &all);
}

fn set(table: &mut Table, key: &str, all: &[String]) {
    match all {
        [] => drop(table.remove(key)),
        [only] => drop(table.insert(key, value(only.as_str()))),
        several => {
            let several: Array = several.iter().map(String::as_str).collect();
            table.insert(key, value(several));
        }
    }
}

/// A certificate's copy in the folder of clients.
struct Copied {
    file: String,
    is_new: bool,
}

/// Copies it, under a name that says which it is.
fn copy(folder: &Path, name: &AccessName, certificate: &Certificate) -> Result<Copied, Failure> {
    let fingerprint = certificate.fingerprint().to_string();
    let digits: String = fingerprint.chars().skip("sha256:".len()).take(16).collect();
    let file = format!("{name}-{digits}.pem");
    let path = folder.join(&file);
    if path.exists() {
        let is_new = false;
        return Ok(Copied { file, is_new });
    }
    replace(&path, &pem(certificate.der()), READABLE).map_err(|error| failed(&path, error))?;
    let is_new = true;
    Ok(Copied { file, is_new })
}

/// Whether a file is a copy of ours, and no file of the operator's.
fn is_copy(file: &str, name: &AccessName) -> bool {
    let digits = file.strip_prefix(&format!("{name}-"));
    let digits = digits.and_then(|rest| rest.strip_suffix(".pem"));
    digits.is_some_and(|digits| {
        digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// The folder of clients: the one that the configuration names, else the usual one.
fn folder_of(config: &Path) -> Result<PathBuf, Failure> {
    let text = std::fs::read_to_string(config).map_err(|error| unread(config, error))?;
    let document = text.parse::<DocumentMut>();
    let named = document.ok().and_then(|document| {
        let named = document.get("clients-dir")?.as_str()?;
        Some(PathBuf::from(named))
    });
    let beside = config.parent().unwrap_or(Path::new(""));
    let folder = beside.join(named.unwrap_or_else(|| PathBuf::from(CLIENTS_DIR)));
    // Without a slash at its end, with which a link would be followed.
    Ok(folder.components().collect())
}

/// What a check says. `None`: it is refused, and all reasons were said.
fn checked(
    check: impl FnOnce(&dyn Fn(prn_launch::Warning)) -> Result<Access, ServerError>,
) -> Result<Option<Access>, Failure> {
    let warn = |warning: prn_launch::Warning| output::notice(&warning.to_string());
    match check(&warn) {
        Ok(access) => Ok(Some(access)),
        Err(ServerError::Access(AccessError(problems))) => {
            for problem in problems {
                output::notice(&output::without_number(&problem.to_string()));
            }
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn usage(what: String) -> Failure {
    Failure::Usage(what)
}

fn failed(path: &Path, source: io::Error) -> Failure {
    let path = path.to_owned();
    ContextError::Write { path, source }.into()
}

fn unread(path: &Path, source: io::Error) -> Failure {
    let path = path.to_owned();
    ContextError::Read { path, source }.into()
}
