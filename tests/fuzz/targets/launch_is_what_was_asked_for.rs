//! Whatever variables and command a client asks for, what execve(2) is given says the same: each
//! variable that was asked for has its value and each other one its default, the places are those
//! of PATH in their order, and bounded together. The same request makes the same twice.
#![no_main]

use std::ffi::CString;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use prn_fuzz::bounded;
use prn_ipc_protocol::search::{CANDIDATES_MAX, candidates, environment};
use prn_ipc_protocol::types::UserName;

#[derive(Debug, Arbitrary)]
struct Case<'a> {
    program: Part<'a>,
    home: &'a str,
    asked: Vec<(Name<'a>, Part<'a>)>,
}

/// A text, repeated so that an input of a few bytes makes long ones.
#[derive(Debug, Clone, Copy, Arbitrary)]
struct Part<'a> {
    text: &'a str,
    times: u8,
    long: bool,
}

/// Mostly one that means something here.
#[derive(Debug, Clone, Copy, Arbitrary)]
enum Name<'a> {
    Path,
    Home,
    Tmpdir,
    Lang,
    Other(&'a str),
}

impl Part<'_> {
    fn text(&self) -> String {
        self.text
            .repeat(usize::from(self.times) * if self.long { 64 } else { 1 })
    }
}

impl Name<'_> {
    fn text(&self) -> &str {
        match self {
            Self::Path => "PATH",
            Self::Home => "HOME",
            Self::Tmpdir => "TMPDIR",
            Self::Lang => "LANG",
            Self::Other(name) => name,
        }
    }
}

/// Where programs are if nobody says: the documented value.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fuzz_target!(|case: Case| {
    let (program, home) = (case.program.text(), case.home);
    let asked: Vec<_> = case
        .asked
        .iter()
        .map(|(name, value)| (name.text().to_owned(), value.text()))
        .collect();
    if asked.iter().map(|(_, value)| value.len()).sum::<usize>() + program.len() > 256 * 1024 {
        return;
    }
    // Names hold no "=", as the frontend sees to; what no C string holds does not decode.
    let is_variable = |(name, value): &(String, String)| {
        !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
    };
    if !asked.iter().all(is_variable) || program.contains('\0') || home.contains('\0') {
        return;
    }
    let variables: Vec<_> = asked
        .iter()
        .filter_map(|(name, value)| CString::new(format!("{name}={value}")).ok())
        .collect();
    for user in [None, Some("deploy")] {
        check_environment(&asked, &variables, home, user);
    }
    check_candidates(&program, &asked, &variables);
});

fn check_environment(
    asked: &[(String, String)],
    variables: &[CString],
    home: &str,
    user: Option<&str>,
) {
    let name = user.and_then(|name| UserName::try_from(name.to_owned()).ok());
    let make = || environment(variables, Some(home.as_bytes()), name.as_ref());
    let size: usize = asked
        .iter()
        .map(|(name, value)| name.len() + value.len() + 16)
        .sum();
    let made = bounded(size + 2 * home.len(), 8, make);
    assert_eq!(made, make());
    let temporary = format!("{home}.tmp");
    let defaults = [
        ("PATH", Some(PATH)),
        ("HOME", Some(home)),
        ("TMPDIR", Some(temporary.as_str())),
        ("LANG", Some("C.UTF-8")),
        ("USER", user),
        ("LOGNAME", user),
    ];
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    for (name, value) in defaults {
        if asked.iter().all(|(other, _)| other != name) {
            wanted.extend(value.map(|value| (name, value)));
        }
    }
    wanted.extend(
        asked
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    assert_eq!(made.len(), wanted.len());
    for (made, (name, value)) in made.iter().zip(&wanted) {
        let rest = made
            .as_bytes()
            .strip_prefix(name.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"="));
        assert_eq!(rest, Some(value.as_bytes()), "{name}");
    }
}

fn check_candidates(program: &str, asked: &[(String, String)], variables: &[CString]) {
    let most = usize::try_from(CANDIDATES_MAX).unwrap_or(usize::MAX);
    let look = || candidates(program.as_bytes(), variables).ok();
    // One takes three bytes of the most at least, and some 60 in memory: its own string, the one
    // that it was made from, and its part of a list that doubles.
    let longest = asked.iter().map(|(_, value)| value.len()).max();
    let made = bounded(most + program.len() + longest.unwrap_or(0), 40, look);
    assert_eq!(made, look());
    if program.contains('/') {
        let same = CString::new(program).ok();
        assert_eq!(
            made,
            Some(same.into_iter().collect()),
            "a path is not looked up"
        );
        return;
    }
    let path = asked
        .iter()
        .find(|(name, _)| name == "PATH")
        .map_or(PATH, |(_, value)| value.as_str());
    let folders = || {
        path.split(':')
            .map(|folder| if folder.is_empty() { "." } else { folder })
    };
    let size: usize = folders()
        .map(|folder| folder.len() + 1 + program.len() + 1)
        .sum();
    let Some(made) = made else {
        assert!(size > most, "{size} bytes are refused");
        return;
    };
    assert!(size <= most, "{size} bytes are made");
    assert_eq!(made.len(), folders().count());
    for (candidate, folder) in made.iter().zip(folders()) {
        let rest = candidate
            .as_bytes()
            .strip_prefix(folder.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"/"));
        assert_eq!(rest, Some(program.as_bytes()), "in {folder}");
    }
}
