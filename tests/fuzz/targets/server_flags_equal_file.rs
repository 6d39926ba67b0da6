//! A value of the server's means the same as a flag and as a line of the configuration file: taken
//! by both or by none, and as the same value. Any other file is refused on one line that names the
//! place.
//!
//! The first byte chooses between an arbitrary file (0) and one option, whose value is the rest.
#![no_main]

use std::os::fd::AsRawFd;
use std::path::Path;

use clap::builder::{OsStr, Resettable};
use clap::{Args, FromArgMatches};
use libfuzzer_sys::fuzz_target;
use prn_fuzz::memfd;
use prn_launch::options::{Options, OptionsError, merged};

/// Options whose value is a text in the file too.
const TEXTS: [&str; 26] = [
    "address",
    "audit",
    "instance",
    "signed-start-window",
    "stop-grace",
    "default-cpu",
    "default-memory",
    "default-io-read",
    "default-io-write",
    "max-cpu",
    "max-memory",
    "max-io-read",
    "max-io-write",
    "output-default",
    "output-ceiling",
    "output-budget",
    "output-disk",
    "frontend-memory",
    "handshake-timeout",
    "server-cert",
    "state-dir",
    "tls-key",
    "peer-timeout",
    "connection-age",
    "max-workspace-disk",
    "max-finished-age",
];

/// Options whose value is a number in the file.
const NUMBERS: [&str; 13] = [
    "frontend-uid",
    "first-uid",
    "uids",
    "max-finished",
    "default-pids",
    "max-pids",
    "handshakes",
    "connections",
    "streams",
    "connections-per-client",
    "subscribers",
    "subscribers-per-process",
    "max-workspaces",
];

fuzz_target!(init: every_option_is_here(), |input: (u8, &str)| {
    let (choice, text) = input;
    let Some(option) = usize::from(choice).checked_sub(1) else {
        arbitrary_file(text);
        return;
    };
    let option = option % (TEXTS.len() + NUMBERS.len());
    let (name, line) = match (TEXTS.get(option), text.parse::<i64>()) {
        (Some(name), _) => (*name, format!("{name} = {}\n", toml::Value::String(text.to_owned()))),
        (None, Ok(number)) if number.to_string() == text => {
            let name = NUMBERS[option - TEXTS.len()];
            (name, format!("{name} = {text}\n"))
        }
        // Numbers are written in more ways there than here.
        (None, _) => return,
    };
    // An empty path is refused as a flag, and later as a file. A flag's text has no NUL.
    if text.is_empty() || text.contains('\0') || std::env::var_os("PRN_TLS_KEY").is_some() {
        return;
    }
    let flag = flags(&[&format!("--{name}={text}")]);
    match (flag.map(below), file(&line).map(without_file)) {
        (Some(flag), Ok(file)) => assert_eq!(flag, file),
        (None, Err(_)) => {}
        (flag, file) => panic!("{name}={text:?}: flag {flag:?}, file {file:?}"),
    }
});

/// A file that is named without a folder of its own is in that of the configuration.
fn below(mut options: Options) -> Options {
    for path in &mut options.server_cert {
        *path = Path::new(FOLDER).join(&path);
    }
    options.tls_key = options.tls_key.map(|key| key.below(Path::new(FOLDER)));
    options
}

/// What is known of the file itself is in no flag.
fn without_file(options: Options) -> Options {
    let Options { paths, file, .. } = Options::default();
    Options {
        paths,
        file,
        ..options
    }
}

/// Options that have no form in common in the file and as a flag: some are repeatable, the others
/// have no value.
const NOT_HERE: [&str; 10] = [
    "client-cert",
    "client-ca",
    "client-crl",
    "allow-p256",
    "reflection",
    "delegated-cgroup",
    "allow-missing-limits",
    "allow-profile-none",
    "fleet",
    "require-signed-starts",
];

/// A new option is noticed here.
fn every_option_is_here() {
    let command = Options::augment_args(clap::Command::new("server"));
    let mut options: Vec<_> = command
        .get_arguments()
        .filter_map(|argument| argument.get_long())
        .collect();
    options.retain(|name| !NOT_HERE.contains(name));
    options.sort_unstable();
    let mut here = [TEXTS.as_slice(), &NUMBERS].concat();
    here.sort_unstable();
    assert_eq!(options, here);
}

fn flags(arguments: &[&str]) -> Option<Options> {
    let command = Options::augment_args(clap::Command::new("server").no_binary_name(true));
    let command = command.mut_args(|argument| argument.env(Resettable::<OsStr>::Reset));
    Options::from_arg_matches(&command.try_get_matches_from(arguments).ok()?).ok()
}

/// The folder of the configuration.
const FOLDER: &str = "/proc/self/fd";

fn file(text: &str) -> Result<Options, OptionsError> {
    let file = memfd(text.as_bytes());
    let path = Path::new(FOLDER).join(file.as_raw_fd().to_string());
    merged(Options::default(), Some(&path), &|_| {})
}

fn arbitrary_file(text: &str) {
    match file(text) {
        Ok(_) => {}
        Err(OptionsError::Parse { line, what, .. }) => {
            assert!(
                (1..=text.matches('\n').count() + 1).contains(&line),
                "line {line}"
            );
            assert!(!what.is_empty() && !what.contains('\n'), "{what:?}");
        }
        Err(other) => panic!("{other}"),
    }
}
