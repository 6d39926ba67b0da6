//! What the server says of a workspace. Its processes may make it say anything: what was not asked
//! for is not taken.

use std::collections::{BTreeMap, BTreeSet};

use super::path::RelativePath;
use super::tree::{Entry, FileEntry, MODE, Modified, Tree};

/// What is there of what was asked for, and of what an earlier sync has brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Absolute path of the workspace's directory.
    pub directory: Vec<u8>,
    /// What is at the paths that were asked for.
    pub here: Tree,
    /// What an earlier sync brought, and is still there.
    pub brought: BTreeSet<RelativePath>,
    /// There is too much of that: none of it is taken.
    pub is_list_left_out: bool,
}

/// It is not what the script prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the workspace answers with something else than a list of files")]
pub struct Malformed;

/// So many names may be in the list of what was brought beside those that are here.
const OLD_MAX: usize = 100_000;

/// Reads what the script prints that lists files. `asked`: who asked for what.
///
/// # Errors
/// If it is anything else.
pub fn listing(answer: &[u8], asked: &Tree) -> Result<Listing, Malformed> {
    let mut listing = Listing::default();
    let most = asked.len().saturating_add(OLD_MAX);
    let mut fields = fields(answer)?;
    while let Some(first) = fields.next() {
        match first {
            b"w" => listing.directory = fields.next().ok_or(Malformed)?.to_vec(),
            b"o" => listing.leave_out(),
            b"b" => {
                let name = fields.next().ok_or(Malformed)?;
                if listing.brought.len() > most {
                    listing.leave_out();
                }
                listing.bring(name);
            }
            b"h" => {
                let (path, entry) = entry(&mut fields)?;
                if asked.contains_key(&path) {
                    listing.here.insert(path, entry);
                }
            }
            _ => return Err(Malformed),
        }
    }
    Ok(listing)
}

impl Listing {
    fn leave_out(&mut self) {
        self.is_list_left_out = true;
        self.brought = BTreeSet::new();
    }

    fn bring(&mut self, name: &[u8]) {
        if self.is_list_left_out {
            return;
        }
        // What anybody has written into the list may be no path at all.
        if let Some(path) = RelativePath::of_argument(name) {
            self.brought.insert(path);
        }
    }
}

/// Each ends in NUL.
fn fields(answer: &[u8]) -> Result<impl Iterator<Item = &[u8]>, Malformed> {
    let fields = match answer {
        [] => None,
        [fields @ .., 0] => Some(fields),
        _ => return Err(Malformed),
    };
    Ok(fields
        .into_iter()
        .flat_map(|fields| fields.split(|byte| *byte == 0)))
}

/// Type, size, time, mode, target of a link, path: as find(1) prints them.
fn entry<'a>(
    fields: &mut impl Iterator<Item = &'a [u8]>,
) -> Result<(RelativePath, Entry), Malformed> {
    let mut next = || fields.next().ok_or(Malformed);
    let (kind, size, time) = (next()?, next()?, next()?);
    let (mode, target, path) = (next()?, next()?, next()?);
    let entry = match kind {
        b"f" => Entry::File(FileEntry {
            size: number(size)?,
            modified: modified(time)?,
            mode: u32::from_str_radix(text(mode)?, 8).map_err(|_| Malformed)? & MODE,
        }),
        b"d" => Entry::Directory,
        b"l" => Entry::Link {
            target: target.to_vec(),
        },
        _ => Entry::Other,
    };
    let path = RelativePath::of_argument(path).ok_or(Malformed)?;
    Ok((path, entry))
}

/// Seconds, and behind a point as many digits as find(1) likes: nine are of a nanosecond.
fn modified(time: &[u8]) -> Result<Modified, Malformed> {
    let (seconds, fraction) = text(time)?.split_once('.').ok_or(Malformed)?;
    let nanoseconds = fraction.get(..9).ok_or(Malformed)?;
    Ok(Modified {
        seconds: seconds.parse().map_err(|_| Malformed)?,
        nanoseconds: nanoseconds.parse().map_err(|_| Malformed)?,
    })
}

fn number(digits: &[u8]) -> Result<u64, Malformed> {
    text(digits)?.parse().map_err(|_| Malformed)
}

fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed)
}

/// SHA-256 of a file, as hexadecimal digits.
pub type Digest = String;

/// Reads what `sha256sum -z` prints.
///
/// # Errors
/// If it is anything else.
pub fn digests(answer: &[u8]) -> Result<BTreeMap<RelativePath, Digest>, Malformed> {
    const DIGITS: usize = 64;
    let digest = |line: &[u8]| {
        let (digest, path) = line.split_at_checked(DIGITS).ok_or(Malformed)?;
        let path = path.strip_prefix(b"  ").ok_or(Malformed)?;
        let path = RelativePath::of_argument(path).ok_or(Malformed)?;
        Ok((path, text(digest)?.to_owned()))
    };
    fields(answer)?.map(digest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelativePath {
        RelativePath::parse(text.as_bytes()).unwrap()
    }

    fn asked(paths: &[&str]) -> Tree {
        let paths = paths.iter();
        paths.map(|text| (path(text), Entry::Directory)).collect()
    }

    #[test]
    fn all_kinds_are_read_and_what_was_not_asked_for_is_not_taken() {
        let answer = b"w\0/w\0b\0./old\0b\0../out\0b\0./a\0\
            h\0f\x0012\x001700000000.0000000050\x00644\0\0./a\0\
            h\0d\x004096\x001.0000000000\x00755\0\0./d\0\
            h\0l\x003\x001.0000000000\x00777\0/etc\0./l\0\
            h\0p\x000\x001.0000000000\x00644\0\0./p\0\
            h\0f\x001\x001.0000000000\x00644\0\0./unasked\0";
        let listing = listing(answer, &asked(&["a", "d", "l", "p", "gone"])).unwrap();
        assert_eq!(listing.directory, b"/w");
        assert_eq!(listing.brought, [path("a"), path("old")].into());
        let file = Entry::File(FileEntry {
            size: 12,
            modified: Modified {
                seconds: 1_700_000_000,
                nanoseconds: 5,
            },
            mode: 0o644,
        });
        let target = b"/etc".to_vec();
        let expected = [
            (path("a"), file),
            (path("d"), Entry::Directory),
            (path("l"), Entry::Link { target }),
            (path("p"), Entry::Other),
        ];
        assert_eq!(listing.here, expected.into());
    }

    #[test]
    fn a_list_that_is_too_long_is_left_out() {
        let names = |count: usize| -> Vec<u8> {
            let names = 0..count;
            names
                .flat_map(|name| format!("b\0./{name}\0").into_bytes())
                .collect()
        };
        let read = |answer: &[u8]| listing(answer, &asked(&["a"])).unwrap();
        let most = OLD_MAX + 1;
        assert_eq!(read(&names(most)).brought.len(), most);
        for more in [2, 100] {
            let listing = read(&names(most + more));
            assert!(listing.is_list_left_out && listing.brought.is_empty());
        }
        assert!(read(b"o\0").is_list_left_out);
    }

    #[test]
    fn times_before_1970_are_read_as_stat_gives_them() {
        let expected = Modified {
            seconds: -2,
            nanoseconds: 500_000_000,
        };
        assert_eq!(modified(b"-2.5000000000"), Ok(expected));
    }

    #[test]
    fn anything_else_is_refused() {
        let asked = asked(&["a"]);
        for bad in [
            &b"h"[..],
            b"h\0f\0",
            b"x\0",
            b"\0",
            b"h\0f\0x\x001.0000000000\x00644\0\0./a\0",
            b"h\0f\x001\x001\x00644\0\0./a\0",
            b"h\0f\x001\x001.00\x00644\0\0./a\0",
            b"h\0f\x001\x001.0000000000\x00999\0\0./a\0",
            b"h\0d\x001\x001.0000000000\x00755\0\0./../a\0",
            b"h\0d\x001\x001.0000000000\x00755\0\0/a\0",
            b"b\0",
        ] {
            assert_eq!(listing(bad, &asked), Err(Malformed), "{bad:?}");
        }
        assert_eq!(listing(b"", &asked), Ok(Listing::default()));
    }

    #[test]
    fn digests_are_read_with_names_of_any_bytes() {
        let digest = "ab".repeat(32);
        let answer = [digest.as_bytes(), b"  ./a\n\xff\0"].concat();
        let read = digests(&answer).unwrap();
        let name = RelativePath::parse(b"a\n\xff").unwrap();
        assert_eq!(read, [(name, digest.clone())].into());
        for bad in ["", "  ./a", "  a\0", " ./a\0", "  ./../a\0"] {
            let answer = [digest.as_bytes(), bad.as_bytes()].concat();
            assert_eq!(digests(&answer), Err(Malformed), "{bad:?}");
        }
    }
}
