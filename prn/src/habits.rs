//! Words of other tools (docker, kubectl, systemctl, ssh, nomad, pueue and the like), and what does the
//! same here. Pure.

/// Words behind "prn" that are no command of it, and what to type instead.
const COMMANDS: &[(&[&str], &str)] = &[
    (
        &["delete", "del", "destroy", "erase", "forget", "clean"],
        "`prn rm ID` forgets a process that has ended, `prn stop ID` ends one that runs",
    ),
    (
        &["describe", "show", "info", "details"],
        "`prn status ID -o wide` shows a process, `prn inspect ID` all that is known of it",
    ),
    (
        &[
            "get",
            "process",
            "processes",
            "proc",
            "jobs",
            "job",
            "tasks",
            "task",
            "pods",
            "pod",
            "containers",
            "container",
            "procs",
        ],
        "`prn list` shows all processes, `prn status ID` one of them",
    ),
    (
        &["restart", "rerun", "retry", "again"],
        "`prn stop ID` ends a process, and `prn start` with its words starts it anew; `prn inspect ID` has them",
    ),
    (
        &[
            "cancel",
            "terminate",
            "abort",
            "end",
            "halt",
            "quit",
            "shutdown",
            "down",
        ],
        "`prn stop ID` stops a process with everything it started",
    ),
    (
        &["killall", "pkill"],
        "`prn stop -l KEY=VALUE` stops what has a label, `prn stop --all` everything",
    ),
    (
        &["log", "follow", "output", "cat", "journal", "journalctl"],
        "`prn logs ID` prints a process's output and follows it",
    ),
    (
        &["tail", "head"],
        "`prn logs --tail LINES ID` begins with the last lines",
    ),
    (
        &[
            "submit", "add", "enqueue", "create", "launch", "spawn", "new", "nohup", "bg", "begin",
        ],
        "`prn start -- ARGV…` starts a process and prints its id",
    ),
    (
        &["ssh", "shell", "sh", "bash", "connect", "console"],
        "`prn run -t -- bash` is a shell there",
    ),
    (
        &[
            "scp", "copy", "sftp", "upload", "download", "put", "push", "pull", "send", "fetch",
        ],
        "`prn cp` copies to a workspace and back",
    ),
    (
        &["rsync", "sync", "build", "deploy"],
        "`prn run -w NAME --sync DIR -- ARGV…` sends what has changed in a directory, and runs a command there",
    ),
    (
        &[
            "config",
            "contexts",
            "login",
            "cluster",
            "cluster-info",
            "host",
            "hosts",
            "use",
        ],
        "`prn context` keeps how servers are reached",
    ),
    (
        &["signal", "reload", "hup"],
        "`prn kill -s HUP ID` sends a signal",
    ),
    (
        &["suspend", "hold", "freezer"],
        "`prn pause ID` holds a process",
    ),
    (
        &["continue", "cont", "unfreeze", "unsuspend", "fg"],
        "`prn resume ID` lets a held process go on, `prn attach ID` comes back to one",
    ),
    (
        &["is-active", "state", "stat", "active"],
        "`prn status ID` says whether a process runs",
    ),
    (
        &[
            "set", "edit", "patch", "apply", "scale", "limit", "limits", "label", "annotate",
        ],
        "`prn update ID` changes limits, lease and labels",
    ),
    (
        &["usage", "metrics", "perf"],
        "`prn stats` shows what processes take of the machine",
    ),
    (
        &["monitor", "htop", "dashboard", "ui"],
        "`prn stats` shows what runs and what it takes of the machine, as it changes",
    ),
    (
        &["volume", "volumes", "workspaces", "dir", "mkdir"],
        "`prn workspace create NAME` makes a directory that processes share",
    ),
    (
        &["serve", "daemon", "up", "agent"],
        "`prn server start` runs the server",
    ),
    (
        &[
            "generate",
            "genkey",
            "key",
            "keys",
            "cert",
            "certificate",
            "init",
        ],
        "`prn keygen` makes a key and its certificate",
    ),
    (
        &["join", "block", "until"],
        "`prn wait ID` waits for a process, and exits as it did",
    ),
    (
        &["gc", "purge", "cleanup", "vacuum"],
        "`prn prune` forgets all that have ended",
    ),
    (
        &["man", "manual", "docs"],
        "`prn help COMMAND` explains a command, and so does man prn-COMMAND",
    ),
];

/// The same behind `prn workspace`.
const WORKSPACE: &[(&[&str], &str)] = &[
    (
        &["delete", "del", "destroy", "prune"],
        "`prn workspace remove NAME` removes it with all that is in it",
    ),
    (
        &["make", "mk", "mkdir", "new", "add", "init"],
        "`prn workspace create NAME` makes one",
    ),
    (
        &["get", "show", "ps", "status", "inspect"],
        "`prn workspace list` shows all of them",
    ),
    (
        &["cp", "copy", "push", "pull"],
        "`prn cp` copies to a workspace and back",
    ),
];

/// The same behind `prn server`.
const SERVER: &[(&[&str], &str)] = &[
    (
        &["run", "serve", "up", "daemon", "launch"],
        "`prn server start` runs it",
    ),
    (
        &["stop", "restart", "status", "reload", "kill", "down"],
        "a server runs until SIGTERM; the packaged one is a unit: systemctl status prn. `prn health` says whether it serves",
    ),
    (
        &["test", "verify", "doctor", "validate"],
        "`prn server check` says what this host offers",
    ),
];

/// What to type instead of these words, which stand behind "prn" and are no command.
pub fn instead(words: &[&str]) -> Option<&'static str> {
    let (table, word) = match words {
        ["workspace", word, ..] => (WORKSPACE, word),
        ["server", word, ..] => (SERVER, word),
        [word, ..] => (COMMANDS, word),
        [] => return None,
    };
    let known = table.iter().find(|(names, _)| names.contains(word));
    known.map(|(_, tip)| *tip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;
    use std::collections::BTreeSet;

    #[test]
    fn a_word_of_another_tool_stands_once_and_is_no_command() {
        let tree = Cli::command();
        for (path, table) in [
            (None, COMMANDS),
            (Some("workspace"), WORKSPACE),
            (Some("server"), SERVER),
        ] {
            let command = path.map_or(&tree, |path| tree.find_subcommand(path).unwrap());
            let mut seen = BTreeSet::new();
            for word in table.iter().flat_map(|(words, _)| *words) {
                assert!(seen.insert(word), "{word} stands twice");
                assert!(
                    command.find_subcommand(word).is_none(),
                    "{word} is a command"
                );
            }
        }
    }

    #[test]
    fn each_command_that_is_proposed_is_one() {
        let tree = Cli::command();
        for (_, tip) in [COMMANDS, WORKSPACE, SERVER].concat() {
            for proposed in tip.split("`prn ").skip(1) {
                let word = proposed.split([' ', '`']).next().unwrap();
                assert!(
                    tree.find_subcommand(word).is_some() || word == "help",
                    "{tip}"
                );
            }
        }
    }
}
