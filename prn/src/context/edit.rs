//! Changes of the configuration file. All else in it stays as the user wrote it, comments too.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use toml_edit::{Array, DocumentMut, Item, Table, value};

use super::config::{Context, FILE_MAX, Place, Texts, line_at, parse};
use super::error::ContextError;
use super::name::Name;

/// The table that all contexts are in.
const CONTEXTS: &str = "context";

/// The key of the context that is used where none is named.
const CURRENT: &str = "current";

/// How long another change is waited for.
pub const LOCK_WAIT: Duration = Duration::from_secs(5);

/// The mode of the configuration: it may hold what is nobody else's business.
const PRIVATE: u32 = 0o600;

/// How often it is looked whether it is over.
const LOCK_TICK: Duration = Duration::from_millis(20);

/// Changes the file as a whole: others see the old one or the new one.
///
/// # Errors
/// What `change` says, and if the file cannot be read or written.
pub fn change<T>(
    place: &Place,
    change: impl FnOnce(&mut DocumentMut) -> Result<T, ContextError>,
) -> Result<T, ContextError> {
    let failed = |source| ContextError::Write {
        path: place.path.clone(),
        source,
    };
    let _lock = locked(place, LOCK_WAIT)?;
    let text = place.text()?.unwrap_or_default();
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        let start = error.span().map_or(0, |span| span.start);
        let what = error.message().replace('\n', ", ");
        place.refused(line_at(&text, start), what)
    })?;
    let done = change(&mut document)?;
    let text = document.to_string();
    // What would be refused from now on is not written.
    parse(&text).map_err(|(line, what)| place.refused(line, what))?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > FILE_MAX {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    let path = behind_links(&place.path).map_err(failed)?;
    replace(&path, &text, PRIVATE).map_err(failed)?;
    Ok(done)
}

/// Two changes at a time come one after the other: neither is lost. The lock is on a file beside it
/// that nobody else can open.
///
/// # Errors
/// [`ContextError::Locked`] when it was waited for so long, and if there can be no such file.
pub fn locked(place: &Place, wait: Duration) -> Result<Option<Flock<File>>, ContextError> {
    let mut path = place.path.clone().into_os_string();
    path.push(".lock");
    let path = PathBuf::from(path);
    let failed = |source| ContextError::Write {
        path: path.clone(),
        source,
    };
    let folder = place.folder();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed)?;
    let mut options = File::options();
    let options = options.write(true).create(true).truncate(false).mode(0o600);
    let options = options.custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits());
    let mut file = options.open(&path).map_err(failed)?;
    let until = Instant::now() + wait;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Some(lock)),
            Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => file,
            // A file system that has no locks (some of the network) has none to wait for.
            Err(_) => return Ok(None),
        };
        if Instant::now() >= until {
            return Err(ContextError::Locked {
                path: place.path.clone(),
                lock: path,
            });
        }
        std::thread::sleep(LOCK_TICK);
    }
}

/// The file that is meant by a name that may be a link, which stays one.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
            let why =
                "it is a link to a file that is not there: make that file, or remove the link";
            Err(io::Error::new(error.kind(), why))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
        Err(error) => Err(error),
    }
}

/// Writes a file of this mode as a whole: beside it, to the disk, and only then in its place.
///
/// # Errors
/// Then what was there is there.
pub fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    replace_by(Path::new(&beside), path, text, mode)
}

/// The same with a file beside it of this name, which must not be there.
///
/// # Errors
/// Then what was there is there.
pub fn replace_by(beside: &Path, path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let written = write(beside, text, mode).and_then(|()| std::fs::rename(beside, path));
    if written.is_err() {
        // It may not be there.
        let _absent = std::fs::remove_file(beside);
    }
    written?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut options = File::options();
    let mut file = options.write(true).create_new(true).mode(mode).open(path)?;
    // What the umask took away as well.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Whether a context is to take the place of one of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and that is an error.
    Kept,
    /// It goes.
    Replaced,
}

/// Adds a context; the first one becomes the current one. Whether it did.
///
/// # Errors
/// [`ContextError::Exists`].
pub fn add(
    document: &mut DocumentMut,
    name: &Name,
    context: &Context,
    existing: Existing,
) -> Result<bool, ContextError> {
    let mut table = Table::new();
    let address = context.address.as_ref().map(|address| &address.0);
    if let Some(address) = address {
        table.insert("address", value(address.as_str()));
    }
    let fingerprints = context
        .server_fingerprint
        .as_ref()
        .and_then(|all| Texts::of(all.0.iter().map(ToString::to_string).collect()));
    for (key, texts) in [
        ("server-cert", &context.server_cert),
        ("server-fingerprint", &fingerprints),
        ("server-ca", &context.server_ca),
    ] {
        match texts {
            Some(Texts::One(text)) => drop(table.insert(key, value(text.as_str()))),
            Some(Texts::Several(texts)) => {
                let texts: Array = texts.iter().map(String::as_str).collect();
                table.insert(key, value(texts));
            }
            None => {}
        }
    }
    let texts = [
        ("server-name", context.server_name.as_ref()),
        ("client-cert", context.client_cert.as_ref()),
        ("tls-key", context.tls_key.as_ref()),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            table.insert(key, value(text.as_str()));
        }
    }
    if let Some(command) = &context.key_command {
        let words: Array = command.iter().map(String::as_str).collect();
        table.insert("key-command", value(words));
    }
    if context.sign {
        table.insert("sign", value(true));
    }
    let mut implicit = Table::new();
    implicit.set_implicit(true);
    let contexts = document
        .entry(CONTEXTS)
        .or_insert(Item::Table(implicit))
        .as_table_like_mut();
    let is_first = contexts.as_ref().is_none_or(|contexts| contexts.is_empty());
    if let Some(contexts) = contexts {
        if existing == Existing::Kept && contexts.contains_key(name.as_str()) {
            return Err(ContextError::Exists(name.to_string()));
        }
        contexts.insert(name.as_str(), Item::Table(table));
    }
    let becomes_current = is_first && !document.contains_key(CURRENT);
    if becomes_current {
        document.insert(CURRENT, value(name.as_str()));
    }
    Ok(becomes_current)
}

/// Makes a context that is there the current one.
pub fn set_current(document: &mut DocumentMut, name: &str) {
    // In its place: a comment beside it stays.
    match document.get_mut(CURRENT).and_then(Item::as_value_mut) {
        Some(current) => {
            let decor = current.decor().clone();
            *current = name.into();
            *current.decor_mut() = decor;
        }
        None => {
            document.insert(CURRENT, value(name));
        }
    }
}

/// Removes contexts that are there. Whether one of them was the current one, and so none is now.
pub fn remove(document: &mut DocumentMut, names: &[String]) -> bool {
    if let Some(contexts) = document.get_mut(CONTEXTS).and_then(Item::as_table_like_mut) {
        for name in names {
            contexts.remove(name);
        }
    }
    let current = document.get(CURRENT).and_then(Item::as_str);
    let is_current = current.is_some_and(|current| names.iter().any(|name| name == current));
    if is_current {
        document.remove(CURRENT);
    }
    is_current
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "# mine\ncurrent = \"a\" # for now\n\n# the first\n[context.a]\naddress = 'a:1'\n";

    fn document(text: &str) -> DocumentMut {
        text.parse().unwrap()
    }

    fn context(address: &str) -> Context {
        Context {
            address: Some(address.parse().unwrap()),
            server_cert: Texts::of(vec![
                "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n".into(),
            ]),
            ..Context::default()
        }
    }

    #[test]
    fn comments_and_all_else_stay() {
        let mut document = document(TEXT);
        let name: Name = "b.example".parse().unwrap();
        assert!(!add(&mut document, &name, &context("b:2"), Existing::Kept).unwrap());
        set_current(&mut document, "b.example");
        let text = document.to_string();
        assert!(text.starts_with("# mine\ncurrent = \"b.example\" # for now\n\n# the first\n[context.a]\naddress = 'a:1'\n"), "{text}");
        assert!(
            text.contains("[context.\"b.example\"]\naddress = \"b:2\"\n"),
            "{text}"
        );
        let config = parse(&text).unwrap();
        assert_eq!(config.contexts["b.example"], context("b:2"));
        assert!(remove(&mut document, &["b.example".to_owned()]));
        assert!(!document.to_string().contains("b.example"), "{document}");
        assert!(document.to_string().contains("# the first"));
    }

    #[test]
    fn the_first_is_the_current_one_and_none_is_replaced_unasked() {
        let mut document = DocumentMut::new();
        let name: Name = "a".parse().unwrap();
        assert!(add(&mut document, &name, &context("a:1"), Existing::Kept).unwrap());
        let again = add(&mut document, &name, &context("a:2"), Existing::Kept);
        assert!(again.unwrap_err().to_string().contains("--force"));
        assert!(!add(&mut document, &name, &context("a:2"), Existing::Replaced).unwrap());
        let config = parse(&document.to_string()).unwrap();
        assert_eq!(config.current.as_deref(), Some("a"));
        assert_eq!(config.contexts["a"], context("a:2"));
    }

    #[test]
    fn a_change_is_whole_private_and_follows_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("real.toml");
        std::fs::write(&real, TEXT).unwrap();
        let path = folder.path().join("config.toml");
        std::os::unix::fs::symlink(&real, &path).unwrap();
        let place = Place { path: path.clone() };
        change(&place, |document| {
            set_current(document, "a");
            Ok(())
        })
        .unwrap();
        assert!(path.is_symlink());
        assert_eq!(std::fs::read_to_string(&real).unwrap(), TEXT);
        let mode = std::fs::metadata(&real).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // With the file that is locked.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
        std::fs::remove_file(&real).unwrap();
        let error = change(&place, |_| Ok(())).unwrap_err();
        let why = std::error::Error::source(&error).unwrap().to_string();
        assert!(why.contains("link") && path.is_symlink(), "{why}");
    }

    #[test]
    fn what_is_locked_is_waited_for_a_while_and_what_is_too_long_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        let place = Place { path: path.clone() };
        let held = locked(&place, Duration::ZERO).unwrap();
        let mode = std::fs::metadata(folder.path().join("config.toml.lock"));
        assert_eq!(mode.unwrap().permissions().mode() & 0o777, 0o600);
        let error = locked(&place, Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("config.toml.lock"), "{error}");
        drop(held);
        assert!(locked(&place, Duration::ZERO).is_ok());
        let long = "#".repeat(usize::try_from(FILE_MAX).unwrap() + 1);
        write(&path, &long, PRIVATE).unwrap();
        assert!(change(&place, |_| Ok(())).is_err() && place.load().is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap().len(), long.len());
    }

    #[test]
    fn changes_at_one_time_are_all_made() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place {
            path: folder.path().join("prn").join("config.toml"),
        };
        std::thread::scope(|scope| {
            for number in 0..8 {
                let place = &place;
                scope.spawn(move || {
                    let name: Name = format!("web{number}").parse().unwrap();
                    let add = |document: &mut DocumentMut| {
                        add(document, &name, &context("a:1"), Existing::Kept)
                    };
                    change(place, add).unwrap();
                });
            }
        });
        assert_eq!(place.load().unwrap().contexts.len(), 8);
    }
}
