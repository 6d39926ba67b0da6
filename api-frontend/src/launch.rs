//! From what a client asks for to what execve(2) takes: pure functions. The supervisor passes it on
//! as it is: whatever it says, it is executed as a process's user.

use std::ffi::CString;

/// Where programs are looked up when a process's own environment does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Most bytes of all places where a program may be: a start request has to fit in a message.
pub const PLACES_MAX: usize = 32 * 1024;

/// A process's environment: PATH, HOME (its directory), TMPDIR (its temporary one) and LANG, then
/// what was asked for. Nothing of the server's own.
pub fn environment(asked: &[(String, String)], home: &str) -> Vec<CString> {
    let temporary = format!("{home}.tmp");
    let defaults = [
        ("PATH", PATH),
        ("HOME", home),
        ("TMPDIR", &temporary),
        ("LANG", "C.UTF-8"),
    ];
    defaults
        .into_iter()
        .filter(|(name, _)| !asked.iter().any(|(other, _)| other == name))
        .chain(
            asked
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        )
        .filter_map(|(name, value)| CString::new(format!("{name}={value}")).ok())
        .collect()
}

/// Where the program may be: its path when it holds a slash, else each place along the
/// environment's PATH. `None`: they are longer than [`PLACES_MAX`] together.
pub fn places(program: &str, asked: &[(String, String)]) -> Option<Vec<CString>> {
    if program.contains('/') {
        return Some(CString::new(program).into_iter().collect());
    }
    let path = asked
        .iter()
        .find(|(name, _)| name == "PATH")
        .map_or(PATH, |(_, value)| value);
    let mut size = 0;
    let mut places = Vec::new();
    for folder in path.split(':') {
        let folder = if folder.is_empty() { "." } else { folder };
        size += folder.len() + program.len() + 2;
        if size > PLACES_MAX {
            return None;
        }
        places.extend(CString::new(format!("{folder}/{program}")));
    }
    Some(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_string()))
            .collect()
    }

    #[test]
    fn j3_the_environment_is_the_documented_set_and_what_was_asked_for() {
        let strings = |asked: &[(&str, &str)]| {
            environment(&pairs(asked), "/home")
                .into_iter()
                .map(|s| s.into_string().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            strings(&[]),
            [
                &format!("PATH={PATH}"),
                "HOME=/home",
                "TMPDIR=/home.tmp",
                "LANG=C.UTF-8"
            ]
        );
        assert_eq!(
            strings(&[("A", "1=2"), ("HOME", "")]),
            [
                &format!("PATH={PATH}"),
                "TMPDIR=/home.tmp",
                "LANG=C.UTF-8",
                "A=1=2",
                "HOME="
            ]
        );
    }

    #[test]
    fn a_name_is_looked_up_along_path_and_a_path_is_not() {
        let asked = pairs(&[("PATH", "/a::b")]);
        assert_eq!(
            places("x", &asked).unwrap(),
            [c"/a/x".into(), c"./x".into(), CString::from(c"b/x")]
        );
        assert_eq!(places("./x", &asked).unwrap(), [CString::from(c"./x")]);
        assert_eq!(places("x", &[]).unwrap().len(), 6);
    }

    #[test]
    fn a_long_path_times_a_long_name_is_refused_and_not_made() {
        let asked = pairs(&[("PATH", &":".repeat(100_000))]);
        assert_eq!(places(&"x".repeat(20_000), &asked), None);
        assert!(places("x", &pairs(&[("PATH", &"/a:".repeat(5000))])).is_some());
    }
}
