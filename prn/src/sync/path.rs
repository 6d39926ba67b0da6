//! Paths below a directory, as bytes: names of files are not always UTF-8.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// Longest path, in bytes: PATH_MAX, its end included (limits.h(0p)).
const LENGTH_MAX: usize = 4095;

/// A path that stays below the directory that it is taken in, as far as no link leads out: it has
/// one name or more, and none of them is "." or "..".
///
/// In the order of bytes, what is in a directory comes after that.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RelativePath(Vec<u8>);

impl RelativePath {
    /// One that is spelled so. `None` for anything else.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let is_name = |name: &[u8]| !name.is_empty() && name != b"." && name != b"..";
        let is_good = bytes.len() <= LENGTH_MAX
            && !bytes.contains(&0)
            && bytes.split(|byte| *byte == b'/').all(is_name);
        is_good.then(|| Self(bytes.to_vec()))
    }

    /// One that a person spells: "./a/" is "a".
    pub fn of_user(path: &Path) -> Option<Self> {
        let mut names = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => names.push(name.as_bytes()),
                Component::CurDir => {}
                Component::Prefix(_) | Component::RootDir | Component::ParentDir => return None,
            }
        }
        Self::parse(&names.join(&b'/'))
    }

    /// One that a program of the server prints, which was given [`RelativePath::argument`].
    pub fn of_argument(bytes: &[u8]) -> Option<Self> {
        Self::parse(bytes.strip_prefix(b"./")?)
    }

    /// As an argument of a program: no option, whatever it begins with.
    pub fn argument(&self) -> Vec<u8> {
        [b"./", self.0.as_slice()].concat()
    }

    /// The directory that it is in, if that is not the one that all of them are below.
    pub fn parent(&self) -> Option<Self> {
        let slash = self.0.iter().rposition(|byte| *byte == b'/')?;
        self.0.get(..slash).map(|parent| Self(parent.to_vec()))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same, to be joined to a directory.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_lead_out_is_no_path() {
        for good in [&b"a"[..], b"a/b", b"-rf", b"...", b"a b\n", b"\xff/.x"] {
            let path = RelativePath::parse(good).unwrap();
            assert_eq!(path.as_bytes(), good);
            assert_eq!(RelativePath::of_argument(&path.argument()), Some(path));
        }
        let long = vec![b'a'; LENGTH_MAX + 1];
        for bad in [
            &b""[..],
            b"/",
            b"/a",
            b"a/",
            b"a//b",
            b".",
            b"..",
            b"a/..",
            b"../a",
            b"a/../b",
            b"./a",
            b"a\0b",
            &long,
        ] {
            assert_eq!(RelativePath::parse(bad), None, "{bad:?}");
        }
        for bad in [&b"a"[..], b"/a", b"./../a", b"./", b"-a"] {
            assert_eq!(RelativePath::of_argument(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_person_may_spell_it_with_dots_and_slashes_but_not_out() {
        let of_user = |text: &str| RelativePath::of_user(Path::new(text));
        assert_eq!(of_user("./build//x/"), RelativePath::parse(b"build/x"));
        for bad in ["", ".", "/a", "a/../..", ".."] {
            assert_eq!(of_user(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_path_is_in_a_directory_unless_it_is_one_name() {
        let path = |text: &str| RelativePath::parse(text.as_bytes()).unwrap();
        assert_eq!(path("a/b/c").parent(), Some(path("a/b")));
        assert_eq!(path("a").parent(), None);
    }

    #[test]
    fn what_is_in_a_directory_comes_after_it() {
        let mut paths: Vec<_> = ["a/b", "a-b", "a", "a/b/c"]
            .iter()
            .filter_map(|text| RelativePath::parse(text.as_bytes()))
            .collect();
        paths.sort();
        let place = |text: &str| {
            let text = text.as_bytes();
            paths.iter().position(|path| path.as_bytes() == text)
        };
        assert!(place("a") < place("a/b") && place("a/b") < place("a/b/c"));
    }
}
