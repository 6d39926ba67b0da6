//! Where a program is looked for: a pure function, of what a start says alone.
//!
//! The supervisor executes what is found there, as the process's user, and compares it with what a
//! role lets be started ([`crate::policy`]). `prn policy explain` asks the same.

use std::ffi::CString;

use crate::message::Refusal;
use crate::types::UserName;

/// Where programs are looked up when a process's own environment does not say.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// LANG, where it does not.
pub const LANG: &str = "C.UTF-8";

/// Most bytes of all paths where a program may be: a search path is as long as a client likes, and
/// a name goes behind each of its folders.
pub const CANDIDATES_MAX: u64 = 32 * 1024;

/// Where a program may be: its path when it holds a slash, else that name in each folder of PATH,
/// as these variables (`NAME=value`) have it.
///
/// # Errors
/// `SearchPathAbove`: these paths are too long together.
pub fn candidates(name: &[u8], variables: &[CString]) -> Result<Vec<CString>, Refusal> {
    if name.contains(&b'/') {
        return Ok(vec![joined(&[name])]);
    }
    let path = value(variables, "PATH").unwrap_or(PATH.as_bytes());
    let mut size = 0;
    let mut candidates = Vec::new();
    for folder in path.split(|byte| *byte == b':') {
        // An empty one is where the process starts, as POSIX has it.
        let folder = if folder.is_empty() { b"." } else { folder };
        let candidate = joined(&[folder, b"/", name]);
        size += candidate.as_bytes_with_nul().len();
        if u64::try_from(size).is_ok_and(|size| size > CANDIDATES_MAX) {
            return Err(Refusal::SearchPathAbove(CANDIDATES_MAX));
        }
        candidates.push(candidate);
    }
    Ok(candidates)
}

/// What a process's environment has, in this order: PATH, HOME (where it starts), TMPDIR (the
/// temporary directory beside that), LANG, and for a user of the machine's USER and LOGNAME, each
/// unless a start sets it, then what the start sets. Nothing of any program's own. Without a `home`,
/// what does not follow from it.
pub fn environment(
    variables: &[CString],
    home: Option<&[u8]>,
    user: Option<&UserName>,
) -> Vec<CString> {
    let temporary = home.map(|home| [home, b".tmp"].concat());
    let user = user.map(|name| name.as_str().as_bytes());
    let defaults = [
        ("PATH", Some(PATH.as_bytes())),
        ("HOME", home),
        ("TMPDIR", temporary.as_deref()),
        ("LANG", Some(LANG.as_bytes())),
        ("USER", user),
        ("LOGNAME", user),
    ];
    defaults
        .into_iter()
        .filter(|(name, _)| value(variables, name).is_none())
        .filter_map(|(name, text)| Some(joined(&[name.as_bytes(), b"=", text?])))
        .chain(variables.iter().cloned())
        .collect()
}

/// The value of a variable.
pub fn value<'a>(variables: &'a [CString], name: &str) -> Option<&'a [u8]> {
    variables.iter().find_map(|variable| {
        variable
            .to_bytes()
            .strip_prefix(name.as_bytes())?
            .strip_prefix(b"=")
    })
}

/// Parts of strings in one string. They hold no NUL byte.
pub fn joined(parts: &[&[u8]]) -> CString {
    CString::new(parts.concat()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Vec<CString> {
        texts
            .iter()
            .map(|text| CString::new(*text).unwrap())
            .collect()
    }

    #[test]
    fn a_name_is_looked_up_along_path_and_a_path_is_not() {
        for (name, path, expected) in [
            ("x", "PATH=/a::b", &["/a/x", "./x", "b/x"][..]),
            ("x", "PATH=", &["./x"]),
            ("x", "PATH=/a:", &["/a/x", "./x"]),
            ("./x", "PATH=/a", &["./x"]),
            ("/b/x", "PATH=/a", &["/b/x"]),
            (
                "x",
                "OTHER=/a",
                &[
                    "/usr/local/sbin/x",
                    "/usr/local/bin/x",
                    "/usr/sbin/x",
                    "/usr/bin/x",
                    "/sbin/x",
                    "/bin/x",
                ],
            ),
        ] {
            let found = candidates(name.as_bytes(), &strings(&[path]));
            assert_eq!(found, Ok(strings(expected)), "{name} {path}");
        }
    }

    #[test]
    fn a_long_path_times_a_long_name_is_refused_and_not_made() {
        let refused = Err(Refusal::SearchPathAbove(CANDIDATES_MAX));
        let path =
            |folder: &str, count: usize| strings(&[&format!("PATH={}", folder.repeat(count))]);
        assert_eq!(
            candidates("x".repeat(20_000).as_bytes(), &path(":", 100_000)),
            refused
        );
        // "//x" and its NUL are 4 bytes, and so are those of the last folder, the empty one: "./x".
        assert!(candidates(b"x", &path("/:", 8191)).is_ok());
        assert_eq!(candidates(b"x", &path("/:", 8192)), refused);
    }
}
