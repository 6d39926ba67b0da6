//! Completion as somebody at a terminal has it: real shells, each at a terminal of its own, read the
//! script that prn prints, and the Tab key is pressed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use prn_tests::server::Server;
use prn_tests::{binary, wait_for};
use tempfile::TempDir;

/// A shell, and how it is made to complete prn's command line.
struct Shell {
    name: &'static str,
    arguments: &'static [&'static str],
    setup: &'static str,
}

const SHELLS: &[Shell] = &[
    Shell {
        name: "bash",
        arguments: &["--norc", "--noprofile", "-i"],
        setup: ". <(prn completion bash)",
    },
    Shell {
        name: "zsh",
        arguments: &["-f", "-i"],
        setup: "autoload -U compinit && compinit -u -D && . <(prn completion zsh)",
    },
    Shell {
        name: "fish",
        arguments: &["--private", "-i"],
        setup: "prn completion fish | source",
    },
];

/// A shell at a terminal.
struct Session {
    shell: Child,
    keys: File,
    screen: Arc<Mutex<String>>,
    folder: TempDir,
    typed: usize,
}

impl Session {
    /// With prn in its PATH, and these variables.
    fn start<'a>(shell: &Shell, set: impl Iterator<Item = (&'a OsStr, &'a OsStr)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let size = Winsize {
            ws_row: 50,
            ws_col: 200,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(Some(&size), None).unwrap();
        let stream = || Stdio::from(pty.slave.try_clone().unwrap());
        let path = format!(
            "{}:/usr/bin:/bin",
            binary("prn").parent().unwrap().display()
        );
        let child = Command::new("setsid")
            .args(["--ctty", "--wait", shell.name])
            .args(shell.arguments)
            .current_dir(folder.path())
            .env_clear()
            .env("HOME", folder.path())
            .env("PATH", path)
            .env("TERM", "xterm")
            .env("LANG", "C.UTF-8")
            .envs(set)
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .spawn()
            .unwrap();
        let keys = File::from(pty.master);
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut reader, seen) = (keys.try_clone().unwrap(), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..read]);
                seen.lock().unwrap().push_str(&text);
            }
        });
        let mut session = Self {
            shell: child,
            keys,
            screen,
            folder,
            typed: 0,
        };
        session.line(&format!("{} ; echo ready > ready", shell.setup));
        session.file("ready");
        session
    }

    fn keys(&mut self, keys: &str) {
        self.typed = self.screen.lock().unwrap().len();
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn line(&mut self, line: &str) {
        self.keys(&format!("{line}\r"));
    }

    /// Waits until the screen shows this behind what was typed last.
    fn shows(&self, text: &str) {
        let screen = || self.screen.lock().unwrap()[self.typed..].to_owned();
        let until = Instant::now() + prn_tests::deadline();
        while !screen().contains(text) {
            assert!(Instant::now() < until, "no {text:?} in {:?}", screen());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What a command has written there.
    fn file(&self, name: &str) -> String {
        let path = self.folder.path().join(name);
        let mut text = String::new();
        wait_for(name, || {
            text = fs::read_to_string(&path).unwrap_or_default();
            text.ends_with('\n')
        });
        text
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// The variables by which prn finds this server.
fn variables(command: &Command) -> impl Iterator<Item = (&OsStr, &OsStr)> {
    command
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)))
}

#[test]
fn each_shell_completes_the_id_of_a_live_process() {
    let server = Server::start();
    let id = server.start_process(&[], &["sleep", "1000"]);
    for shell in SHELLS {
        let mut session = Session::start(shell, variables(&server.prn(&[])));
        session.keys(&format!("prn status {}\t", &id[..4]));
        session.shows(&id[4..]);
        session.line("-o json > status");
        let status: serde_json::Value = serde_json::from_str(&session.file("status")).unwrap();
        assert_eq!(status["id"], id.as_str(), "{}", shell.name);
    }
}

#[test]
fn each_shell_completes_commands_flags_values_and_paths() {
    let server = Server::start();
    server.ok(&["workspace", "create", "build-1"]);
    for shell in SHELLS {
        let mut session = Session::start(shell, variables(&server.prn(&[])));
        let folder = session.folder.path().to_owned();
        fs::write(folder.join("a file.txt"), "").unwrap();
        // A command, a flag, and a value behind a = and behind a blank.
        session.line("prn works\tli\t--outp\tjson > workspaces");
        assert!(
            session.file("workspaces").contains("build-1"),
            "{}",
            shell.name
        );
        session.line("prn list --output=js\t> list");
        assert!(session.file("list").starts_with('{'), "{}", shell.name);
        // A workspace, and one that is part of a word, behind a path that needs quotes.
        session.line("prn run -w bui\t-- touch there; echo done > run");
        session.file("run");
        session.line("prn cp -q a\\ f\tbuil\tin.txt; echo done > copied");
        session.file("copied");
        let there = server.ok(&["run", "-w", "build-1", "--", "ls"]);
        assert_eq!(there, "in.txt\nthere\n", "{}", shell.name);
        server.ok(&["run", "-w", "build-1", "--", "rm", "in.txt", "there"]);
    }
}

#[test]
fn a_server_that_does_not_answer_holds_nobody_up() {
    let server = Server::start();
    // The kernel accepts for it, and nobody says a word.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = [
        mute.local_addr().unwrap().to_string(),
        closed.local_addr().unwrap().to_string(),
    ];
    drop(closed);
    for address in addresses {
        let began = Instant::now();
        let output = server
            .prn(&["__complete", "fish", "--", "prn", "status", ""])
            .env("PRN_ADDRESS", &address)
            .output()
            .unwrap();
        assert!(began.elapsed() < Duration::from_millis(1900), "{began:?}");
        assert!(output.status.success());
        assert!(
            output.stdout.is_empty() && output.stderr.is_empty(),
            "{output:?}"
        );
    }
}

#[test]
fn commands_offer_the_processes_that_they_are_for() {
    let server = Server::start();
    let running = server.start_process(&[], &["sleep", "1000"]);
    let ended = server.start_process(&[], &["true"]);
    wait_for("its end", || server.status(&ended)["state"] == "stopped");
    let offered = |command: &str| {
        let said = server.ok(&["__complete", "zsh", "--", "prn", command, ""]);
        let mut ids: Vec<String> = said
            .lines()
            .map(|line| line.split('\t').next().unwrap().to_owned())
            .collect();
        ids.sort();
        ids
    };
    let mut both = vec![running.clone(), ended.clone()];
    both.sort();
    assert_eq!(offered("logs"), both);
    assert_eq!(offered("status"), both);
    for command in ["stop", "kill", "pause", "resume", "update", "attach"] {
        assert_eq!(offered(command), [running.as_str()], "{command}");
    }
    assert_eq!(offered("rm"), [ended]);
    let said = server.ok(&["__complete", "zsh", "--", "prn", "stop", ""]);
    assert!(said.ends_with("\tsleep 1000\n"), "{said:?}");
    // By its name where it has one, and by its id for who types that.
    let named = server.start_process(&["--name", "web-1"], &["sleep", "2000"]);
    assert_eq!(offered("kill"), [running, "web-1".to_owned()]);
    let said = server.ok(&["__complete", "zsh", "--", "prn", "stop", &named[..8]]);
    assert_eq!(said, format!("{named}\tsleep 2000\n"));
    let said = server.ok(&["__complete", "zsh", "--", "prn", "kill", "-s", "H"]);
    assert!(said.starts_with("HUP\t"), "{said}");
}
