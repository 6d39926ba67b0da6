//! The manual pages as they are installed: without a warning of the programs that show them, without a
//! misspelled word, and with every variable that prn reads. That they are those of the command line is a
//! test of prn itself (prn/src/manuals.rs).

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const TOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Words that dictionaries do not have, one a line, sorted.
const WORDS: &str = include_str!("../words.txt");

fn pages() -> Vec<PathBuf> {
    let pages = fs::read_dir(Path::new(TOP).join("packaging/man")).unwrap();
    pages.map(|entry| entry.unwrap().path()).collect()
}

fn output(program: &str, arguments: &[&str], page: &Path) -> Output {
    Command::new(program)
        .args(arguments)
        .arg(page)
        .env("LC_ALL", "C.UTF-8")
        .env("MANWIDTH", "200")
        .env("MANROFFOPT", "-c")
        .output()
        .unwrap()
}

/// A page as a terminal shows it, without bold and underlined letters.
fn shown(page: &Path) -> String {
    let text = output(
        "man",
        &["--no-hyphenation", "--no-justification", "-l"],
        page,
    )
    .stdout;
    let mut plain: Vec<char> = Vec::new();
    for letter in String::from_utf8(text).unwrap().chars() {
        // A letter, a step back, and the same letter, or an underscore before it.
        if letter == '\u{8}' {
            plain.pop();
        } else {
            plain.push(letter);
        }
    }
    plain.into_iter().collect()
}

#[test]
fn the_pages_are_shown_without_a_warning() {
    for page in pages() {
        let lint = output("mandoc", &["-Tlint", "-Wwarning"], &page);
        let said = String::from_utf8(lint.stdout).unwrap();
        assert!(lint.status.success() && said.is_empty(), "{said}");
        let man = output("man", &["--warnings", "-l"], &page);
        let said = String::from_utf8(man.stderr).unwrap();
        assert!(man.status.success() && said.is_empty(), "{said}");
        assert!(!man.stdout.is_empty());
    }
}

/// The words of a text that no dictionary knows.
fn misspelled(text: &str) -> BTreeSet<String> {
    let mut checker = Command::new("hunspell")
        .args(["-d", "en_US", "-i", "utf-8", "-l"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = checker.stdin.take().unwrap();
    let text = text.to_owned();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()).unwrap());
    let output = checker.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    let known = |word: &&str| {
        WORDS
            .lines()
            .any(|known| known == word.trim_end_matches("'s"))
    };
    let words = String::from_utf8(output.stdout).unwrap();
    words
        .lines()
        .filter(|word| !known(word))
        .map(str::to_owned)
        .collect()
}

#[test]
fn no_word_of_them_is_misspelled() {
    let text: String = pages().iter().map(|page| shown(page)).collect();
    // What is read to be typed: flags, variables, paths, numbers with units.
    let words = text.split_whitespace().filter(|word| {
        let is_typed = |c: char| c.is_ascii_digit() || "/_=<>$~".contains(c);
        !word.starts_with(['-', '[']) && !word.contains(is_typed)
    });
    // One a line: hunspell cuts long lines in the middle of a word.
    let prose = words.collect::<Vec<_>>().join("\n");
    assert_eq!(
        misspelled(&prose),
        BTreeSet::new(),
        "in the manual, and not in tests/words.txt"
    );
    let wrong = misspelled("a procces is strated");
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    let sorted: BTreeSet<_> = WORDS.lines().collect();
    assert!(WORDS.lines().eq(sorted), "tests/words.txt is not sorted");
}

/// The sources of what a user runs.
fn sources(folder: &Path, found: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_variable_that_is_read_is_in_the_manual() {
    let mut text = String::new();
    for folder in [
        "prn/src",
        "prn/client/src",
        "proto/src",
        "supervisor/launch/src",
    ] {
        sources(&Path::new(TOP).join(folder), &mut text);
    }
    let read: BTreeSet<&str> = text
        .match_indices("\"PRN_")
        .filter_map(|(at, _)| text[at + 1..].split_once('"'))
        .map(|(name, _)| name)
        .filter(|name| {
            name.bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        })
        // Of tests, and of a script that prn hands on to itself.
        .filter(|name| !["PRN_WRITE_TABLES", "PRN_WRITE_SCHEMAS", "PRN_SCRIPT"].contains(name))
        .collect();
    assert!(read.contains("PRN_TLS_KEY"), "{read:?}");
    let page = shown(&Path::new(TOP).join("packaging/man/prn.1"));
    for name in read {
        let is_entry = |line: &str| line.split_whitespace().next() == Some(name);
        assert!(page.lines().any(is_entry), "{name} is not in prn(1)");
    }
}
