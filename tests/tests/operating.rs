//! What docs/operate says is so: each message is one that is really said, and each number of a
//! server's size is what the server makes of it.

use std::fs;
use std::path::Path;

use prn_ipc_protocol::config::processes_for;

fn text(path: &str) -> String {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The cells of a table's rows below a heading.
fn rows(document: &str, heading: &str) -> Vec<Vec<String>> {
    let below = document.split(&format!("## {heading}\n")).nth(1).unwrap();
    let below = below.split("\n## ").next().unwrap();
    let rows = below.lines().filter(|line| line.starts_with("| "));
    let cells = |line: &str| {
        let cells = line.trim_matches('|').split(" | ");
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    // The first is the head.
    let rows: Vec<_> = rows.skip(1).map(cells).collect();
    assert!(!rows.is_empty(), "{heading}");
    rows
}

/// All sources in a folder.
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
fn each_message_of_troubleshooting_is_one_that_is_said() {
    let document = text("docs/operate/troubleshooting.md");
    let answers = text("docs/errors.md");
    let said = |row: &Vec<String>| row[0].trim_matches('`').to_owned();
    for row in rows(&document, "A command says") {
        let message = said(&row);
        assert!(answers.contains(&message), "no command says {message:?}");
        assert!(
            row.len() == 3 && row.iter().all(|cell| !cell.is_empty()),
            "{row:?}"
        );
    }
    let mut logged = String::new();
    for folder in ["supervisor/src", "api-frontend/src", "proto/src"] {
        let top = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        sources(&top.join(folder), &mut logged);
    }
    let logged = logged.replace("{PROGRAM}", prn_proto::signer::PROGRAM);
    for row in rows(&document, "The server's log says") {
        let message = said(&row);
        assert!(logged.contains(&message), "no log says {message:?}");
        assert!(
            row.len() == 3 && row.iter().all(|cell| !cell.is_empty()),
            "{row:?}"
        );
    }
}

#[test]
fn as_many_processes_fit_as_it_says() {
    let number = |cell: &str| {
        let digits = cell.split(' ').next().unwrap().replace(',', "");
        digits.parse::<u64>().unwrap()
    };
    for row in rows(&text("docs/operate/sizing.md"), "Processes") {
        let numbers: Vec<_> = row.iter().map(|cell| number(cell)).collect();
        let finished = u32::try_from(numbers[1]).unwrap();
        assert_eq!(
            u64::from(processes_for(numbers[0], finished)),
            numbers[2],
            "{row:?}"
        );
    }
    let unit = text("packaging/prn.service");
    assert!(unit.contains("LimitNOFILE=65536") && unit.contains("MemoryMin=64M"));
}
