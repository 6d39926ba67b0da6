//! A command line that is still being typed, as a shell will split it. Pure.

use std::ffi::OsString;

/// Its words. The last one is where the cursor stands: it may be empty, or have a quote that is
/// still open.
pub fn words(line: &str) -> Vec<OsString> {
    // An escape of what is still to come.
    let escapes = line.len() - line.trim_end_matches('\\').len();
    let line = line.get(..line.len() - escapes % 2).unwrap_or(line);
    // What it would be if it were closed here. An empty word at a blank's end needs its quotes.
    let closed = ["''", "'", "\""]
        .iter()
        .find_map(|end| shlex::split(&format!("{line}{end}")));
    let closed = closed.unwrap_or_default();
    closed.into_iter().map(OsString::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_is_the_unfinished_one() {
        for (line, expected) in [
            ("prn st", &["prn", "st"][..]),
            ("prn status ", &["prn", "status", ""]),
            ("prn status  fcd2", &["prn", "status", "fcd2"]),
            ("prn cp 'a b", &["prn", "cp", "a b"]),
            ("prn cp \"a b", &["prn", "cp", "a b"]),
            ("prn cp a\\ b", &["prn", "cp", "a b"]),
            ("prn cp a\\", &["prn", "cp", "a"]),
            ("prn list --output=", &["prn", "list", "--output="]),
            ("", &[""]),
        ] {
            assert_eq!(words(line), expected, "{line:?}");
        }
    }
}
