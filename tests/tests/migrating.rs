//! docs/migrating.md: each command of prn in its tables is run as it stands there, and does what the line
//! says.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output, Stdio};

use prn_tests::binary;
use prn_tests::server::Server;
use tempfile::TempDir;

const DOCUMENT: &str = include_str!("../../docs/migrating.md");

/// Commands that go on until somebody ends them.
const ENDLESS: &[&str] = &[
    "attach",
    "events",
    "logs",
    "run -t",
    "run -it",
    "top",
    "list --watch",
    "stats",
    "wait",
];

/// Commands that need a terminal to show what they are for.
const AT_A_TERMINAL: &[&str] = &["run -t", "run -it", "top"];

/// The commands in the second column of the tables, each once.
fn commands() -> Vec<&'static str> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for line in DOCUMENT.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = split_cells(line);
        assert_eq!(cells.len(), 3, "{line}");
        let inline = cells[1].split('`').skip(1).step_by(2);
        let all: Vec<&str> = inline.collect();
        assert!(
            !all.is_empty() && all.iter().all(|command| command.contains("prn ")),
            "{line}"
        );
        found.extend(all.into_iter().filter(|command| seen.insert(*command)));
    }
    found
}

/// The cells of a row; a bar behind a backslash is none.
fn split_cells(row: &'static str) -> Vec<&'static str> {
    let row = row.trim_start_matches('|').trim_end_matches('|');
    let mut cells = Vec::new();
    let mut start = 0;
    for (at, _) in row.match_indices('|') {
        if !row[..at].ends_with('\\') {
            cells.push(row[start..at].trim());
            start = at + 1;
        }
    }
    cells.push(row[start..].trim());
    cells
}

/// What the commands are about.
struct Scene {
    server: Server,
    folder: TempDir,
}

impl Scene {
    fn set() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("src")).unwrap();
        fs::write(
            folder.path().join("src/main.c"),
            "int main(void) { return 0; }\n",
        )
        .unwrap();
        fs::write(folder.path().join("report.csv"), "a,b\n").unwrap();
        let server = Server::start();
        server.ok(&["workspace", "create", "build"]);
        server.ok(&["run", "-w", "build", "--", "mkdir", "results"]);
        Self { server, folder }
    }

    /// `web` runs, deaf to signals that only tell it something, and nothing is called `job`.
    fn reset(&self) {
        self.server.run(&["stop", "--signal", "kill", "job"]);
        let script = "trap : HUP USR1; echo up; while :; do sleep 0.1; done";
        self.server.run(&["resume", "web"]);
        self.server.run(&[
            "start", "--name", "web", "--label", "team=a", "--", "sh", "-c", script,
        ]);
        let mut up = String::new();
        prn_tests::wait_for("web", || {
            up = self.server.ok(&["logs", "--no-follow", "web"]);
            up == "up\n"
        });
    }

    fn type_in(&self, line: &str) -> Output {
        let programs = binary("prn").parent().unwrap().to_owned();
        let mut shell = Command::new("timeout");
        let is_endless = is_one_of(ENDLESS, line);
        let seconds = if is_endless { "2" } else { "30" };
        if is_one_of(AT_A_TERMINAL, line) {
            let line = format!("timeout 2 {line}");
            shell.args(["10", "script", "-qec", &line, "/dev/null"]);
        } else {
            shell.args([seconds, "sh", "-c", line]);
        }
        shell
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
            .env("HOME", self.folder.path())
            .env("TERM", "xterm")
            .stdin(Stdio::null());
        for (name, value) in self.server.prn(&[]).get_envs() {
            shell.env(name, value.unwrap());
        }
        shell.output().unwrap()
    }
}

fn is_one_of(commands: &[&str], line: &str) -> bool {
    commands
        .iter()
        .any(|command| line.starts_with(&format!("prn {command}")))
}

#[test]
fn each_command_does_what_its_line_says() {
    let scene = Scene::set();
    let commands = commands();
    let mut faults = Vec::new();
    for line in &commands {
        scene.reset();
        let output = scene.type_in(&line.replace("\\|", "|"));
        let code = output.status.code();
        // timeout(1) says 124 of what goes on; a process that was killed says 128 and its signal.
        let is_fine = code == Some(0) || (is_one_of(ENDLESS, line) && code == Some(124));
        if !is_fine {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            faults.push(format!("{line}: {code:?}: {said}"));
        }
    }
    assert!(
        faults.is_empty(),
        "{} of {}:\n{}",
        faults.len(),
        commands.len(),
        faults.join("\n")
    );
    assert!(commands.len() > 60, "{}", commands.len());
}
