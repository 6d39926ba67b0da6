//! Documents say what is so: the tables of checks and of unsafe blocks are made from the code, what
//! SECURITY.md claims has a check, links lead somewhere, and what is to be read stays short enough.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Where ids and tests are listed.
const CHECKS: &str = "docs/security/checks.md";

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// All sources of the project, by their path in it.
fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        let mut entries: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        entries.sort();
        for path in entries {
            if path.is_dir() && !path.ends_with("target") {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    let mut found = Vec::new();
    for part in [
        "api-frontend",
        "ipc-protocol",
        "prn",
        "proto",
        "supervisor",
        "tests",
    ] {
        walk(&root().join(part), &mut found);
    }
    found
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The lines of a document between two markers, without the markers; with PRN_WRITE_TABLES set, those
/// become `made`.
fn section(document: &str, name: &str, made: Option<&str>) -> String {
    let path = root().join(document);
    let document = fs::read_to_string(&path).unwrap();
    let (begin, end) = (
        format!("<!-- {name}: begin -->\n"),
        format!("<!-- {name}: end -->"),
    );
    let (before, rest) = document.split_once(&begin).unwrap();
    let (found, after) = rest.split_once(&end).unwrap();
    if let Some(made) =
        made.filter(|made| *made != found && std::env::var_os("PRN_WRITE_TABLES").is_some())
    {
        fs::write(&path, format!("{before}{begin}{made}{end}{after}")).unwrap();
        return made.to_owned();
    }
    found.to_owned()
}

/// "T4" of `t4_…` and of `guest_c4_…`, and all of them of `j1_j2_j4_…`.
fn ids(function: &str) -> Vec<(char, u32)> {
    let id = |word: &str| {
        let letter = word
            .chars()
            .next()
            .filter(|letter| "tisjcorlpqx".contains(*letter))?;
        Some((letter.to_ascii_uppercase(), word.get(1..)?.parse().ok()?))
    };
    function
        .strip_prefix("guest_")
        .unwrap_or(function)
        .split('_')
        .map_while(id)
        .collect()
}

/// Names of test functions with ids, by id.
fn tests_by_id() -> BTreeMap<(char, u32), BTreeSet<String>> {
    let mut found: BTreeMap<(char, u32), BTreeSet<String>> = BTreeMap::new();
    for (path, text) in sources() {
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if let Some(name) = line
                .strip_prefix("fn ")
                .or_else(|| line.strip_prefix("async fn "))
            {
                let name = name.split('(').next().unwrap();
                for id in ids(name).into_iter().filter(|_| is_test) {
                    found
                        .entry(id)
                        .or_default()
                        .insert(format!("`{}`: `{name}`", path.display()));
                }
                is_test = false;
            }
        }
    }
    found
}

#[test]
fn the_table_of_checks_is_that_of_the_tests() {
    let rows: String = tests_by_id()
        .into_iter()
        .map(|((letter, number), tests)| {
            format!(
                "| {letter}{number} | {} |\n",
                tests.into_iter().collect::<Vec<_>>().join("; ")
            )
        })
        .collect();
    let made = format!("| id | tests |\n|---|---|\n{rows}");
    let found = section(CHECKS, "checks", Some(&made));
    assert_eq!(
        found, made,
        "docs/security/ is out of date: run the tests with PRN_WRITE_TABLES=1 once"
    );
}

/// Ids that have a reason instead of a test.
fn untested() -> BTreeSet<(char, u32)> {
    section(CHECKS, "untested", None)
        .lines()
        .filter_map(|line| line.split('|').nth(1))
        .flat_map(|id| ids(&id.trim().to_lowercase()))
        .collect()
}

#[test]
fn each_check_has_a_test_or_a_reason() {
    let tests = tests_by_id();
    let explained = untested();
    // The last number of each letter that the list of checks has.
    for (letter, last) in [
        ('T', 19),
        ('I', 12),
        ('S', 11),
        ('J', 13),
        ('C', 13),
        ('O', 11),
        ('R', 9),
        ('L', 13),
        ('P', 9),
        ('Q', 8),
        ('X', 15),
    ] {
        for number in 1..=last {
            let id = (letter, number);
            assert!(
                tests.contains_key(&id) || explained.contains(&id),
                "{letter}{number} has no test and no reason"
            );
            assert!(
                !(tests.contains_key(&id) && explained.contains(&id)),
                "{letter}{number} has a test and an excuse"
            );
        }
    }
}

#[test]
fn unsafe_blocks_are_where_and_as_many_as_it_says() {
    let mut rows = String::new();
    for (path, text) in sources() {
        let is_product = !path.starts_with("tests") && !path.ends_with("tests.rs");
        let text = text.split("#[cfg(test)]").next().unwrap();
        let count = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .map(|line| line.matches("unsafe {").count())
            .sum::<usize>();
        if is_product && count > 0 {
            rows.push_str(&format!("| `{}` | {count} |\n", path.display()));
        }
    }
    let made = format!("| file | blocks |\n|---|---|\n{rows}");
    let found = section("docs/security/unsafe.md", "unsafe", Some(&made));
    assert_eq!(
        found, made,
        "docs/security/ is out of date: run the tests with PRN_WRITE_TABLES=1 once"
    );
}

/// Ids between brackets: "[J1, J4]" of a claim.
fn named_ids(line: &str) -> Vec<(char, u32)> {
    line.split('[')
        .skip(1)
        .filter_map(|rest| rest.split(']').next())
        .flat_map(|list| list.split(", "))
        .flat_map(|id| ids(&id.to_lowercase()))
        .collect()
}

#[test]
fn what_security_md_guarantees_has_a_check() {
    let document = text("SECURITY.md");
    let (tests, explained) = (tests_by_id(), untested());
    for id in document.lines().flat_map(named_ids) {
        assert!(
            tests.contains_key(&id) || explained.contains(&id),
            "{}{} is in no list",
            id.0,
            id.1
        );
    }
    let guarantees = document.split_once("## Guarantees\n").unwrap().1;
    let guarantees = guarantees.split_once("\n## ").unwrap().0;
    let claims: Vec<_> = guarantees.split("\n- ").skip(1).collect();
    assert!(claims.len() > 10, "{guarantees}");
    for claim in claims {
        assert!(!named_ids(claim).is_empty(), "without a check: {claim}");
    }
}

#[test]
fn what_is_to_be_read_is_short_enough() {
    for (document, lines_max) in [("README.md", 95), ("SECURITY.md", 250)] {
        let document_text = text(document);
        let lines = document_text.lines().count();
        assert!(lines <= lines_max, "{document}: {lines} lines");
        for line in document_text.lines() {
            assert!(line.chars().count() <= 400, "{document}: {line}");
        }
    }
}

/// All documents, by their path in the project.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules"
            {
                folders.push(path);
            } else if name.ends_with(".md") {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// What a heading is called in a link: as GitHub names it.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|character| character.is_alphanumeric() || " -_".contains(*character))
        .map(|character| if character == ' ' { '-' } else { character })
        .collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    for document in documents() {
        let folder = root().join(document.parent().unwrap());
        let document_text = text(document.to_str().unwrap());
        for link in document_text.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            if link.contains("://") {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() {
                root().join(&document)
            } else {
                folder.join(path)
            };
            assert!(target.exists(), "{}: {link}", document.display());
            let has_heading = heading.is_empty()
                || fs::read_to_string(&target)
                    .unwrap()
                    .lines()
                    .filter_map(|line| line.strip_prefix('#'))
                    .any(|line| anchor(line.trim_start_matches('#').trim()) == heading);
            assert!(has_heading, "{}: {link}", document.display());
        }
    }
}
