//! The command line, and what `prn exporter` hands over beside it. Anybody may read a command line
//! (proc(5)); words of a context, such as those of a key's command, come in memory that prn has
//! sealed (memfd_create(2)), each with a NUL byte behind it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStringExt;

/// The flag that names the descriptor. It stands for the words.
pub const FLAG: &str = "--settings-fd";

/// All words.
///
/// # Errors
/// The descriptor is none, or cannot be read.
pub fn words() -> io::Result<Vec<OsString>> {
    let mut words = Vec::new();
    for word in std::env::args_os() {
        match number(&word) {
            Some(number) => words.extend(handed_over(number)?),
            None => words.push(word),
        }
    }
    Ok(words)
}

fn number(word: &OsStr) -> Option<RawFd> {
    let number = word.to_str()?.strip_prefix(FLAG)?.strip_prefix('=')?;
    number.parse().ok().filter(|number| *number > 2)
}

fn handed_over(number: RawFd) -> io::Result<Vec<OsString>> {
    let bytes = std::fs::read(format!("/proc/self/fd/{number}"))?;
    // No program that is started from here is to have it.
    nix::unistd::close(number)?;
    let words = bytes.split_inclusive(|byte| *byte == 0);
    let words = words.filter_map(|word| word.strip_suffix(b"\0"));
    Ok(words
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_descriptor_is_a_number_above_the_standard_ones() {
        let of = |word: &str| number(OsStr::from_bytes(word.as_bytes()));
        assert_eq!(of("--settings-fd=7"), Some(7));
        for none in ["--settings-fd=2", "--settings-fd=-1", "--settings-fd", "7"] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
