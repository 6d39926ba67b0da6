//! docs/commands.md has a row for each command of `prn`, and names two tests that run it: through a pipe,
//! and at a terminal. The binary is asked which commands there are, and the tree which tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use prn_tests::binary;

/// Commands of clap's own, which print help.
const HELP: &str = "help";

/// What makes a terminal, in the text of a test.
const TERMINALS: [&str; 5] = [
    "Screen::",
    "Shell::open",
    "Shell::with",
    "on_a_terminal",
    "openpty",
];

/// A row of the table.
struct Row {
    command: String,
    does: String,
    habit: String,
    pipe: String,
    terminal: String,
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The commands below these words, by their `--help`.
fn below(words: &[String]) -> Vec<String> {
    let output = Command::new(binary("prn"))
        .args(words)
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let Some((_, listed)) = help.split_once("\nCommands:\n") else {
        return Vec::new();
    };
    let lines = listed.lines().take_while(|line| line.starts_with("  "));
    // A description that goes on in the next line is indented further.
    let names = lines.filter(|line| !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != HELP)
        .map(str::to_owned)
        .collect()
}

/// All commands that do something, by all of their words.
fn commands(words: &[String]) -> BTreeSet<String> {
    let names = below(words);
    if names.is_empty() {
        return BTreeSet::from([words.join(" ")]);
    }
    let each = names.into_iter().map(|name| [words, &[name]].concat());
    each.flat_map(|words| commands(&words)).collect()
}

fn rows() -> Vec<Row> {
    let document = fs::read_to_string(root().join("docs/commands.md")).unwrap();
    let lines = document.lines().filter(|line| line.starts_with("| `prn "));
    let row = |line: &str| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [command, does, habit, pipe, terminal] = cells[..] else {
            panic!("not five cells: {line}");
        };
        let command = command.trim_matches('`').strip_prefix("prn ");
        Row {
            command: command.unwrap().to_owned(),
            does: does.to_owned(),
            habit: habit.to_owned(),
            pipe: pipe.to_owned(),
            terminal: terminal.to_owned(),
        }
    };
    lines.map(row).collect()
}

/// The text of a test, named as "`file.rs: name`", with what stands above it.
fn test(named: &str) -> String {
    let (file, name) = named.trim_matches('`').split_once(": ").expect(named);
    let text = fs::read_to_string(root().join("tests/tests").join(file)).expect(named);
    let begin = text.find(&format!("\nfn {name}() {{")).expect(named);
    let body = &text[begin..];
    let body = &body[..body.find("\n}\n").expect(named)];
    let above = text[..begin].rsplit("\n\n").next().unwrap();
    assert!(above.contains("#[test]"), "{named} is no test");
    assert!(!above.contains("#[ignore"), "{named} is ignored");
    format!("{above}{body}")
}

/// Whether a test's text runs a command: its words stand there as arguments, or in a shell's line.
fn runs(text: &str, command: &str) -> bool {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let words: Vec<_> = command
        .split(' ')
        .map(|word| format!("\"{word}\""))
        .collect();
    let words = words.join(", ");
    let as_arguments = [",", "]", "][..]"].map(|after| format!("{words}{after}"));
    let as_line = [" ", "\"", ";"].map(|after| format!("$PRN {command}{after}"));
    as_arguments
        .iter()
        .chain(&as_line)
        .any(|form| text.contains(form))
}

#[test]
fn each_command_has_a_row() {
    let rows = rows();
    let named: BTreeSet<_> = rows.iter().map(|row| row.command.clone()).collect();
    assert_eq!(named.len(), rows.len(), "each once");
    assert_eq!(named, commands(&[]));
    for row in &rows {
        let words = row.does.split_whitespace().count();
        assert!((1..=6).contains(&words), "{}: {}", row.command, row.does);
        assert!(!row.habit.is_empty(), "{}", row.command);
    }
}

#[test]
fn each_command_has_a_test_through_a_pipe_and_one_at_a_terminal() {
    let mut faults = Vec::new();
    for row in rows() {
        for named in [&row.pipe, &row.terminal] {
            let text = test(named);
            if !runs(&text, &row.command) {
                faults.push(format!("{named} does not run {}", row.command));
            }
            let has_terminal = TERMINALS.iter().any(|terminal| text.contains(terminal));
            if has_terminal != (*named == row.terminal) {
                faults.push(format!(
                    "{named}, {}: a terminal: {has_terminal}",
                    row.command
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
