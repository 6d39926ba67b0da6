//! From a specification to what execve(2) takes: pure functions. Run in the supervisor, on values that the frontend sent
//! and that decoding has validated.

use std::ffi::CString;

use prn_ipc_protocol::types::{Argv, Environment};

/// Where programs are looked up when a process's own environment does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A process's environment: PATH, HOME (its directory) and LANG, then what was asked for. Nothing of the server's own.
pub fn environment(asked: &Environment, home: &str) -> Vec<CString> {
    let defaults = [("PATH", PATH), ("HOME", home), ("LANG", "C.UTF-8")];
    let asked = asked.as_slice();
    defaults
        .into_iter()
        .filter(|(name, _)| !asked.iter().any(|(other, _)| other == name))
        .chain(asked.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        .filter_map(|(name, value)| CString::new(format!("{name}={value}")).ok())
        .collect()
}

/// An argument vector.
pub fn argv(argv: &Argv) -> Vec<CString> {
    argv.as_slice().iter().filter_map(|argument| CString::new(argument.as_str()).ok()).collect()
}

/// Where the program may be: its path when it holds a slash, else each place along the environment's PATH.
pub fn candidates(program: &str, asked: &Environment) -> Vec<CString> {
    if program.contains('/') {
        return CString::new(program).into_iter().collect();
    }
    let path = asked.as_slice().iter().find(|(name, _)| name == "PATH").map_or(PATH, |(_, value)| value);
    path.split(':')
        .map(|folder| if folder.is_empty() { "." } else { folder })
        .filter_map(|folder| CString::new(format!("{folder}/{program}")).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment_of(pairs: &[(&str, &str)]) -> Environment {
        let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        pairs.try_into().unwrap()
    }

    #[test]
    fn j3_the_environment_is_the_documented_set_and_what_was_asked_for() {
        let strings = |asked: &[(&str, &str)]| {
            environment(&environment_of(asked), "/home")
                .into_iter()
                .map(|s| s.into_string().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(strings(&[]), [format!("PATH={PATH}"), "HOME=/home".into(), "LANG=C.UTF-8".into()]);
        assert_eq!(
            strings(&[("A", "1=2"), ("HOME", "")]),
            [format!("PATH={PATH}"), "LANG=C.UTF-8".into(), "A=1=2".into(), "HOME=".into()]
        );
    }

    #[test]
    fn a_name_is_looked_up_along_path_and_a_path_is_not() {
        let asked = environment_of(&[("PATH", "/a::b")]);
        assert_eq!(candidates("x", &asked), [c"/a/x".into(), c"./x".into(), CString::from(c"b/x")]);
        assert_eq!(candidates("./x", &asked), [CString::from(c"./x")]);
        assert_eq!(candidates("x", &Environment::default()).len(), 6);
    }
}
