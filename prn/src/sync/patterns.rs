//! Files of patterns, before crate `ignore` reads them: it follows links, and keeps a line whole
//! however long it is. What a workspace has brought back may be there.

use std::fs::{self, File, FileType, Metadata};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// A file of patterns as in `.gitignore`, which count for more than those there.
pub const IGNORE: &str = ".prnignore";

/// Most bytes of such a file.
const LENGTH_MAX: u64 = 1024 * 1024;

/// A file of patterns that is not read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read patterns from {}", path.display())]
pub struct Unreadable {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Whose files they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the directory that is sent: a link could lead anywhere.
    Sent,
    /// Above it: a link is the user's own.
    Above,
}

/// Checks all that would be read for this directory.
///
/// # Errors
/// [`Unreadable`]: something that is no regular file, or is long.
pub fn check(directory: &Path, place: Place) -> Result<(), Unreadable> {
    for name in [".gitignore", IGNORE] {
        check_file(directory.join(name), place)?;
    }
    let git = directory.join(".git");
    match kind(&git, place)? {
        None => Ok(()),
        Some(kind) if kind.is_dir() => check_excludes(git, place),
        Some(_) => {
            check_file(git.clone(), place)?;
            match common(&git).map_err(unreadable(&git))? {
                Some(folder) => check_excludes(folder, Place::Above),
                None => Ok(()),
            }
        }
    }
}

fn check_excludes(git: PathBuf, place: Place) -> Result<(), Unreadable> {
    let info = git.join("info");
    match kind(&info, place)? {
        None => Ok(()),
        Some(kind) if kind.is_dir() => check_file(info.join("exclude"), place),
        Some(_) => Err(unreadable(&info)(io::ErrorKind::NotADirectory.into())),
    }
}

fn check_file(path: PathBuf, place: Place) -> Result<(), Unreadable> {
    let why = match look(&path, place)? {
        None => return Ok(()),
        Some(found) if !found.is_file() => "it is no regular file",
        Some(found) if found.len() > LENGTH_MAX => "it is longer than 1 MiB",
        Some(_) => return Ok(()),
    };
    Err(unreadable(&path)(io::Error::other(why)))
}

/// The directory that a working tree's file `.git` leads to, as crate `ignore` finds it.
fn common(git: &Path) -> io::Result<Option<PathBuf>> {
    let line = first_line(git)?;
    let Some(own) = line.strip_prefix("gitdir: ").map(PathBuf::from) else {
        return Ok(None);
    };
    let file = own.join("commondir");
    match fs::metadata(&file) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(io::Error::other("it leads to what is no regular file")),
        Err(_) => return Ok(None),
    }
    Ok(Some(own.join(first_line(&file)?)))
}

fn first_line(path: &Path) -> io::Result<String> {
    let mut line = Vec::new();
    let mut file = BufReader::new(File::open(path)?.take(LENGTH_MAX));
    file.read_until(b'\n', &mut line)?;
    if !line.ends_with(b"\n") && file.into_inner().limit() == 0 {
        return Err(io::Error::other("it leads to what is no line"));
    }
    let line = String::from_utf8(line).map_err(io::Error::other)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

fn kind(path: &Path, place: Place) -> Result<Option<FileType>, Unreadable> {
    Ok(look(path, place)?.map(|found| found.file_type()))
}

/// What is there, if anything is.
fn look(path: &Path, place: Place) -> Result<Option<Metadata>, Unreadable> {
    let found = match place {
        Place::Sent => fs::symlink_metadata(path),
        Place::Above => fs::metadata(path),
    };
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) => match (error.kind(), place) {
            (io::ErrorKind::NotFound | io::ErrorKind::NotADirectory, _) => Ok(None),
            // It cannot be read then either.
            (io::ErrorKind::PermissionDenied, Place::Above) => Ok(None),
            _ => Err(unreadable(path)(error)),
        },
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Unreadable {
    let path = path.to_owned();
    move |source| Unreadable { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Whether all is well with a directory that has this made in it.
    fn is_well(place: Place, make: impl FnOnce(&Path)) -> bool {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path());
        check(folder.path(), place).is_ok()
    }

    fn write(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn files_of_patterns_are_short_and_regular() {
        use Place::Sent;
        assert!(is_well(Sent, |_| {}));
        for name in [".gitignore", ".prnignore", ".git/info/exclude"] {
            assert!(is_well(Sent, |at| write(at.join(name), "*.o")), "{name}");
            for target in ["/dev/zero", "/etc/passwd", "gone"] {
                let linked = is_well(Sent, |at| {
                    fs::create_dir_all(at.join(".git/info")).unwrap();
                    symlink(target, at.join(name)).unwrap();
                });
                assert!(!linked, "{name} {target}");
            }
            let sparse = is_well(Sent, |at| {
                write(at.join(name), "");
                let file = File::options().write(true).open(at.join(name));
                file.unwrap().set_len(1 << 40).unwrap();
            });
            assert!(!sparse, "{name}");
        }
        for folder in [".git", ".git/info"] {
            let linked = is_well(Sent, |at| {
                fs::create_dir_all(at.join(folder).parent().unwrap()).unwrap();
                symlink("/etc", at.join(folder)).unwrap();
            });
            assert!(!linked, "{folder}");
        }
    }

    #[test]
    fn above_a_link_may_be_there_but_no_device() {
        let linked = |target: &'static str| {
            is_well(Place::Above, |at| {
                symlink(target, at.join(".gitignore")).unwrap();
            })
        };
        assert!(linked("/etc/passwd") && linked("gone") && !linked("/dev/zero"));
    }

    #[test]
    fn what_a_working_tree_leads_to_is_checked_too() {
        let leads = |to: &'static str| {
            is_well(Place::Sent, |at| {
                let git = at.join("elsewhere");
                write(git.join("commondir"), to);
                write(git.join("common/info/exclude"), "*.o");
                write(at.join(".git"), &format!("gitdir: {}\n", git.display()));
                symlink("/dev", git.join("devices")).unwrap();
                fs::create_dir_all(git.join("bad/info")).unwrap();
                symlink("/dev/zero", git.join("bad/info/exclude")).unwrap();
            })
        };
        assert!(leads("./common\n") && leads("./gone\n") && !leads("./bad\n"));
        assert!(is_well(Place::Sent, |at| write(
            at.join(".git"),
            "gitdir: /dev\n"
        )));
        let device = is_well(Place::Sent, |at| {
            fs::create_dir(at.join("own")).unwrap();
            symlink("/dev/zero", at.join("own/commondir")).unwrap();
            let own = format!("gitdir: {}/own\n", at.display());
            write(at.join(".git"), &own);
        });
        assert!(!device);
    }
}
