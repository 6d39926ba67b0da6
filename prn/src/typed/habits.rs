//! Words of other tools (docker, kubectl, systemctl, ssh, nomad, pueue and the like), and what does the
//! same here. Pure.

/// Words behind "prn" that are no command of it, and what to type instead.
const COMMANDS: &[(&[&str], &str)] = &[
    (
        &["delete", "del", "destroy", "erase", "forget", "clean"],
        "`prn rm ID` forgets a process that has ended, `prn stop ID` ends one that runs",
    ),
    (
        &["info", "ping"],
        "`prn health` and `prn version` are about the server, `prn status ID -o wide` about a process",
    ),
    (
        &["describe", "show", "details"],
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
            "add", "enqueue", "create", "launch", "spawn", "new", "nohup", "bg", "begin",
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
        &["usage", "perf"],
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
        &["stop", "restart", "kill", "down"],
        "a server runs until SIGTERM; the packaged one is a unit: systemctl status prn. `prn health` says whether it serves",
    ),
    (
        &["test", "verify", "doctor", "validate"],
        "`prn server check` says what this host offers",
    ),
];

/// The same behind `prn context`.
const CONTEXT: &[(&[&str], &str)] = &[
    (
        &["current", "current-context", "get", "view", "inspect"],
        "`prn context show` shows the one in force, `prn context list` all",
    ),
    (
        &["switch", "use-context", "set", "select"],
        "`prn context use NAME` makes it the one that is used",
    ),
    (
        &["rename", "edit", "update", "create", "new"],
        "`prn context add NAME` makes one, `prn context remove NAME` takes one away",
    ),
    (
        &["get-contexts", "ps"],
        "`prn context list` shows all of them",
    ),
    (
        &["test", "ping", "verify"],
        "`prn context check` asks the server of one",
    ),
];

/// Flags of other tools behind a command of prn's, and what does it here.
const FLAGS: &[Habit] = &[
    Habit {
        commands: &["stop"],
        flags: &["-9", "-KILL", "-SIGKILL", "-k", "--kill", "-f", "--force"],
        tip: "`--signal kill` stops at once; without it a process has its grace time",
    },
    Habit {
        commands: &["stop"],
        flags: &["-15", "-TERM", "-SIGTERM"],
        tip: "a process gets SIGTERM first, without a flag",
    },
    Habit {
        commands: &["inspect", "status"],
        flags: &["-f", "--format"],
        tip: "-o 'template={{state}}' prints a field; -o json has them all",
    },
    Habit {
        commands: &["list", "ls", "ps", "stats", "version", "events", "watch"],
        flags: &["--format", "--template"],
        tip: "-o 'template={{id}} {{name}}' prints fields; -o json has them all",
    },
    Habit {
        commands: &["list", "ls", "ps", "stats", "events", "watch", "top"],
        flags: &["-f", "--filter", "--field-selector"],
        tip: "-l KEY=VALUE selects by label; --help has what else selects",
    },
    Habit {
        commands: &["events", "watch"],
        flags: &["--since", "--until", "-S"],
        tip: "--existing tells first how all processes are, --after CURSOR goes on from there",
    },
    Habit {
        commands: &["rm", "remove"],
        flags: &["-a", "--all"],
        tip: "`prn prune` forgets all that have ended",
    },
    Habit {
        commands: &["kill", "pause", "freeze", "resume", "unpause", "thaw"],
        flags: &["-a", "--all"],
        tip: "-l KEY=VALUE selects several; `prn list -q --running` has the ids of all that run, for xargs",
    },
    Habit {
        commands: &["run", "exec"],
        flags: &["-d", "--detach", "--detached"],
        tip: "`prn start` starts a process and leaves it",
    },
    Habit {
        commands: &["start"],
        flags: &["-d", "--detach", "--detached"],
        tip: "`prn start` leaves the process anyway",
    },
    Habit {
        commands: &["run", "start", "exec"],
        flags: &["-e", "-E", "--setenv"],
        tip: "--env NAME=VALUE sets a variable",
    },
    Habit {
        commands: &["run", "start", "exec", "update"],
        flags: &["-m", "--mem"],
        tip: "--memory SIZE bounds the memory",
    },
    Habit {
        commands: &["run", "start", "exec", "update"],
        flags: &["--cpus", "-c", "--cpu-quota"],
        tip: "--cpu CPUS bounds the CPU time",
    },
    Habit {
        commands: &["run", "start", "exec"],
        flags: &["-l"],
        tip: "--label KEY=VALUE sets a label",
    },
    Habit {
        commands: &["run", "start", "exec"],
        flags: &["--uid"],
        tip: "a process gets a user id of its own from the server; --user NAME runs it as a user of the server's machine, where your role allows that",
    },
    Habit {
        commands: &["run", "start", "exec"],
        flags: &["-v", "--volume", "--mount"],
        tip: "-w NAME starts in a workspace, --bind SRC:DST shows a directory of the server's",
    },
    Habit {
        commands: &["run", "start", "exec"],
        flags: &["--workdir", "--chdir", "-C"],
        tip: "--cwd DIR is where it starts",
    },
    Habit {
        commands: &["cp"],
        flags: &[
            "-r",
            "-R",
            "-a",
            "-p",
            "-rp",
            "-av",
            "--recursive",
            "--archive",
        ],
        tip: "directories go whole, with modes and times, without a flag",
    },
    Habit {
        commands: &["logs"],
        flags: &["-p", "--previous"],
        tip: "`prn list --name NAME` has the ids of those that were called so before",
    },
];

/// Flags that some other tool takes behind a command.
#[derive(Debug)]
struct Habit {
    commands: &'static [&'static str],
    flags: &'static [&'static str],
    tip: &'static str,
}

/// What to type instead of a flag that is not of the command: `unknown`, as far as the parser says it, or
/// one of these words, which stand behind "prn".
pub fn flag(words: &[&str], unknown: Option<&str>) -> Option<&'static str> {
    let (command, further) = words.split_first()?;
    let name = |word: &str| word.split('=').next().map(str::to_owned);
    let typed = further.iter().take_while(|word| **word != "--");
    let typed: Vec<_> = unknown
        .iter()
        .chain(typed)
        .filter_map(|word| name(word))
        .collect();
    let of_command = |habit: &&Habit| habit.commands.contains(command);
    typed.iter().find_map(|flag| {
        let is_meant = |habit: &&Habit| habit.flags.contains(&flag.as_str());
        let habit = FLAGS.iter().filter(of_command).find(is_meant)?;
        Some(habit.tip)
    })
}

/// What to type instead of these words, which stand behind "prn" and are no command.
pub fn instead(words: &[&str]) -> Option<&'static str> {
    let (table, word) = match words {
        ["workspace", word, ..] => (WORKSPACE, word),
        ["server", word, ..] => (SERVER, word),
        ["context", word, ..] => (CONTEXT, word),
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
            (Some("context"), CONTEXT),
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
    fn a_flag_of_another_tool_is_none_of_the_commands_own() {
        let tree = Cli::command();
        for habit in FLAGS {
            for name in habit.commands {
                let command = tree.find_subcommand(name).unwrap();
                for flag in habit.flags {
                    let is_own = command.get_arguments().any(|arg| {
                        let short = arg.get_short_and_visible_aliases().unwrap_or_default();
                        let long = arg.get_long_and_visible_aliases().unwrap_or_default();
                        short.iter().any(|own| format!("-{own}") == **flag)
                            || long.iter().any(|own| format!("--{own}") == **flag)
                    });
                    assert!(!is_own, "{name} {flag}");
                }
            }
        }
    }

    #[test]
    fn each_command_that_is_proposed_is_one() {
        let tree = Cli::command();
        for (_, tip) in [COMMANDS, WORKSPACE, SERVER, CONTEXT].concat() {
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
