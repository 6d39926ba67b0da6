//! Documents say what is so: the tables of checks and of unsafe blocks are made from the code, what
//! SECURITY.md claims has a check, links lead somewhere, and what is to be read stays short enough.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The folders of the project that hold sources.
const PARTS: [&str; 7] = [
    "api-frontend",
    "examples",
    "ipc-protocol",
    "prn",
    "proto",
    "supervisor",
    "tests",
];

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
    for part in PARTS {
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
            .filter(|letter| "tisjcorlpqxn".contains(*letter))?;
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

/// Names of a table's rows below a heading.
fn rows(document: &str, heading: &str) -> BTreeSet<String> {
    let below = document.split(&format!("## {heading}\n")).nth(1).unwrap();
    let below = below.split("\n## ").next().unwrap();
    below
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_crates_of_what_runs_as_root_or_for_a_process_are_listed() {
    let document = text("docs/security/crates.md");
    for (name, folder) in [
        ("prn-supervisor", "supervisor"),
        ("prn-ipc-protocol", "ipc-protocol"),
        ("prn-launch", "supervisor/launch"),
        ("prn-tools", "supervisor/tools"),
        ("prn-signer", "supervisor/signer"),
    ] {
        let manifest = text(&format!("{folder}/Cargo.toml"));
        let below = manifest.split("\n[dependencies]\n").nth(1).unwrap();
        let linked: BTreeSet<_> = below
            .lines()
            .take_while(|line| !line.starts_with('['))
            .filter_map(|line| line.split(['.', ' ', '=']).next())
            .filter(|name| !name.is_empty() && !name.starts_with("prn-"))
            .map(str::to_owned)
            .collect();
        assert_eq!(rows(&document, name), linked, "{folder}");
    }
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
    for (document, lines_max) in [("README.md", 110), ("SECURITY.md", 250)] {
        let document_text = text(document);
        let lines = document_text.lines().count();
        assert!(lines <= lines_max, "{document}: {lines} lines");
        for line in document_text.lines() {
            assert!(line.chars().count() <= 400, "{document}: {line}");
        }
    }
}

/// A limit of tests/budgets.sh, as documents write it: "11,600".
fn limit(name: &str) -> String {
    let script = text("tests/budgets.sh");
    let set = format!("{name}=");
    let mut values = script.lines().filter_map(|line| line.strip_prefix(&set));
    let value: u32 = values.next().unwrap().parse().unwrap();
    match (value / 1000, value % 1000) {
        (0, rest) => rest.to_string(),
        (thousands, rest) => format!("{thousands},{rest:03}"),
    }
}

#[test]
fn what_documents_say_of_budgets_is_what_the_script_has() {
    let crates = limit("crates_max");
    let root_half = limit("root_lines_max");
    let authority = limit("authority_lines_max");
    for (document, sentence) in [
        (
            "README.md",
            format!("at most {root_half} lines and {crates} crates (`make budgets`)"),
        ),
        ("SECURITY.md", format!("at most {root_half} lines [S7]")),
        (
            CHECKS,
            format!(
                "beyond {crates} crates, {root_half} lines, or {authority} of them that are its authority"
            ),
        ),
        (
            "docs/design/upgrade.md",
            format!("(`make budgets`: {root_half} lines,"),
        ),
    ] {
        assert!(text(document).contains(&sentence), "{document}: {sentence}");
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

/// Words that look like misspelled ones, and are none: what a compiler compiles, what an example
/// misspells on purpose, half of a list's bullet in a manual page, and what keyctl does.
const NO_MISTAKES: &str = "bu,crate,padd,strat";

#[test]
fn no_common_misspelling_is_in_what_is_read() {
    let check = |files: &[PathBuf]| {
        let mut command = std::process::Command::new("codespell");
        command.current_dir(root()).args(["-L", NO_MISTAKES]);
        let output = command.args(files).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let mut files = documents();
    files.extend(["docs/schemas", "packaging", "proto/v1"].map(PathBuf::from));
    assert_eq!(check(&files), "");
    // It looks into no file whose name begins with a dot.
    let wrong = tempfile::Builder::new().prefix("wrong").tempfile().unwrap();
    fs::write(wrong.path(), "a proccess is runing").unwrap();
    assert_eq!(check(&[wrong.path().to_owned()]).lines().count(), 2);
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

#[test]
fn each_page_for_operators_is_in_their_index_and_its_sessions_are_run() {
    let folder = Path::new("docs/operate");
    let index = text("docs/operate/README.md");
    let sessions = text("tests/tests/readme.rs");
    let pages: Vec<_> = documents()
        .into_iter()
        .filter(|path| path.parent() == Some(folder) && !path.ends_with("README.md"))
        .collect();
    assert!(pages.len() > 5, "{pages:?}");
    for page in pages {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(index.contains(&format!("\n| [{name}]({name}) |")), "{name}");
        let path = page.to_str().unwrap();
        let is_run = sessions.contains(&format!("include_str!(\"../../{path}\")"));
        assert!(is_run || !text(path).contains("```console\n"), "{path}");
    }
}

/// What stands between backquotes, outside of blocks.
fn spans(document: &str) -> Vec<String> {
    let mut is_block = false;
    let mut prose = String::new();
    for line in document.lines() {
        is_block ^= line.starts_with("```");
        if !is_block && !line.starts_with("```") {
            prose.push_str(line);
            prose.push(' ');
        }
    }
    let inside = prose.split('`').skip(1).step_by(2);
    inside.map(str::to_owned).collect()
}

/// Whether this source has a function, or a type, of that name.
fn defines(source: &str, name: &str) -> bool {
    let kinds: &[&str] = if name.starts_with(char::is_uppercase) {
        &["struct", "enum", "trait", "type", "const"]
    } else {
        &["fn"]
    };
    source.lines().any(|line| {
        kinds.iter().any(|kind| {
            line.split_once(&format!("{kind} {name}"))
                .is_some_and(|(before, after)| {
                    !before.contains("//")
                        && !after.starts_with(|next: char| next.is_alphanumeric() || next == '_')
                })
        })
    })
}

#[test]
fn what_documents_name_is_in_the_tree() {
    let mut wrong = Vec::new();
    for document in documents() {
        for span in spans(&text(document.to_str().unwrap())) {
            let (path, name) = match span.split_once(": ") {
                Some((path, name)) => (path, Some(name)),
                None => (span.as_str(), None),
            };
            let is_path = PARTS.iter().any(|part| {
                path.strip_prefix(part)
                    .is_some_and(|rest| rest.starts_with('/'))
            });
            if !is_path || path.contains(['*', '<', ' ', '…']) {
                continue;
            }
            let is_there =
                root().join(path).exists() && name.is_none_or(|name| defines(&text(path), name));
            if !is_there {
                wrong.push(format!("{}: {span}", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "not there:\n{}", wrong.join("\n"));
}

/// Lines and their numbers, without items that are for tests alone.
fn product_lines(source: &str) -> Vec<(usize, &str)> {
    /// Of an item for tests.
    #[derive(PartialEq)]
    enum At {
        Nothing,
        Attributes,
        Inside,
    }
    let mut at = At::Nothing;
    let mut found = Vec::new();
    for (line, number) in source.lines().zip(1..) {
        at = match at {
            At::Nothing if line == "#[cfg(test)]" => At::Attributes,
            At::Nothing => {
                found.push((number, line));
                At::Nothing
            }
            At::Attributes if line.starts_with(['#', ' ', ')']) => At::Attributes,
            At::Attributes if line.ends_with([';', '}']) => At::Nothing,
            At::Attributes => At::Inside,
            At::Inside if line.starts_with(['}', ')', ']']) => At::Nothing,
            At::Inside => At::Inside,
        };
    }
    found
}

/// Code lines of the product, by file, in which one of these words stands.
fn places(words: &[&str]) -> BTreeMap<String, Vec<String>> {
    let is_in = |line: &str, word: &str| {
        line.match_indices(word).any(|(at, _)| {
            let is_word = |character: char| character.is_alphanumeric() || character == '_';
            !line[..at].ends_with(is_word) && !line[at + word.len()..].starts_with(is_word)
        })
    };
    let mut files = sources();
    let schema = "proto/v1/process_runner.proto";
    files.push((schema.into(), text(schema)));
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, source) in files {
        let is_product = !path.starts_with("tests")
            && !path.ends_with("tests.rs")
            && !path
                .components()
                .any(|part| part.as_os_str() == "tests" || part.as_os_str() == "examples");
        let mut is_import = false;
        for (number, line) in product_lines(&source) {
            let trimmed = line.trim_start();
            is_import |= trimmed.starts_with("use ");
            if is_import {
                is_import = !line.ends_with(';');
                continue;
            }
            if is_product
                && !trimmed.starts_with("//")
                && words.iter().any(|word| is_in(line, word))
            {
                let shown = format!("{number}: {trimmed}");
                let path = path.display().to_string();
                found.entry(path).or_default().push(shown);
            }
        }
    }
    found
}

#[test]
fn a_new_call_or_field_has_the_places_that_are_listed() {
    let document = text("docs/adding-a-call.md");
    let lists: Vec<_> = document.split("<!-- places: ").skip(1).collect();
    assert_eq!(lists.len(), 3);
    let mut wrong = Vec::new();
    for list in lists {
        let (words, rest) = list.split_once(" -->").unwrap();
        let words: Vec<_> = words.split('|').collect();
        let rows = rest.lines().skip_while(|line| !line.starts_with('|'));
        let listed: BTreeSet<_> = rows
            .take_while(|line| line.starts_with('|'))
            .filter_map(|row| row.split('`').nth(1))
            .map(str::to_owned)
            .collect();
        let found = places(&words);
        for (path, lines) in &found {
            println!("{path}\n    {}", lines.join("\n    "));
            if !listed.contains(path) {
                wrong.push(format!("{words:?}: not listed: {path}"));
            }
        }
        for path in listed.iter().filter(|path| !found.contains_key(*path)) {
            wrong.push(format!("{words:?}: not found any more: {path}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Names of the tests of a crate: those of its unit tests, or of one of its test programs.
fn tests_of(package: &str, program: Option<&str>) -> Vec<String> {
    let folder = match package {
        "prn-tests" => "tests",
        "prn-api-frontend" => "api-frontend",
        "prn-ipc-protocol" => "ipc-protocol",
        "prn-launch" => "supervisor/launch",
        "prn-supervisor" => "supervisor",
        _ => panic!("which folder is {package} in?"),
    };
    let below = match program {
        Some(program) => format!("{folder}/tests/{program}.rs"),
        None => format!("{folder}/src"),
    };
    let of_it = sources()
        .into_iter()
        .filter(|(path, _)| path.starts_with(&below));
    let mut names = Vec::new();
    for (_, source) in of_it {
        let mut is_test = false;
        for line in source.lines().map(str::trim) {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            if let Some((_, name)) = line.split_once("fn ").filter(|_| is_test) {
                names.push(name.split('(').next().unwrap().to_owned());
                is_test = false;
            }
        }
    }
    names
}

#[test]
fn commands_of_the_review_run_tests_that_exist() {
    let document = text("docs/security/review.md");
    let commands = spans(&document)
        .into_iter()
        .filter(|span| span.starts_with("cargo test "));
    let mut count = 0;
    for command in commands {
        count += 1;
        let words: Vec<_> = command.split(' ').collect();
        let after = |option| {
            let at = words.iter().position(|word| *word == option)?;
            words.get(at + 1).copied()
        };
        let program = after("--test");
        let filter = words
            .last()
            .copied()
            .filter(|word| Some(*word) != program && !word.starts_with('-'));
        let tests = tests_of(after("-p").unwrap(), program);
        assert!(
            tests
                .iter()
                .any(|test| filter.is_none_or(|filter| test.contains(filter))),
            "{command}: there is none"
        );
    }
    assert!(count > 20, "{count} commands");
}

#[test]
fn the_review_goes_through_all_of_the_authority() {
    let document = text("docs/security/review.md");
    let (_, table) = document.split_once("## The authority\n").unwrap();
    let table = table.split_once("\n## ").unwrap().0;
    let read: BTreeSet<_> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .filter_map(|row| row.split('`').nth(1))
        .map(str::to_owned)
        .collect();
    let script = root().join("tests/budgets.sh");
    let counted = std::process::Command::new(script)
        .arg("--authority")
        .output()
        .unwrap();
    let counted: BTreeSet<_> = String::from_utf8(counted.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(read, counted);
}
