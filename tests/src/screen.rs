//! A terminal, as a person at tmux has it.

use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::fleet::Fleet;
use crate::server::Server;
use crate::{procfs, wait_for};

/// A shell in a terminal of tmux, 80 by 24, with `prn` on its PATH and the server's address.
#[derive(Debug)]
pub struct Screen {
    folder: TempDir,
}

impl Screen {
    /// Opens one, which can reach the server.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn open(server: &Server) -> Self {
        Self::with(server, &[])
    }

    /// The same, with more variables.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn with(server: &Server, variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let screen = Self { folder };
        let prn = server.prn(&[]);
        let mut tmux = screen.tmux();
        tmux.args([
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
        ]);
        for (name, value) in prn.get_envs() {
            let value = value.map_or("", |value| value.to_str().unwrap());
            tmux.args(["-e", &format!("{}={value}", name.to_str().unwrap())]);
        }
        for (name, value) in variables {
            tmux.args(["-e", &format!("{name}={value}")]);
        }
        tmux.args(["-e", &format!("PRN={}", prn.get_program().display())]);
        tmux.args(["-e", "PS1=local> ", "bash", "--norc", "--noprofile"]);
        assert!(tmux.status().unwrap().success());
        screen.shows("local>");
        screen
    }

    /// The same of a user who has nothing but a configuration of several servers.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn of(fleet: &Fleet) -> Self {
        let config = fleet.config();
        let screen = Self::with(
            &fleet.servers[0],
            &[("PRN_CONFIG", config.to_str().unwrap())],
        );
        screen.line("unset PRN_ADDRESS PRN_CLIENT_CERT PRN_SERVER_CERT PRN_TLS_KEY; echo alone");
        screen.shows("\nalone");
        screen
    }

    /// tmux(1), for this one.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn tmux(&self) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(self.folder.path().join("tmux"));
        tmux.env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
        tmux
    }

    /// What tmux says to a command of its own.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.tmux().args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Types it, each word a key by tmux's names.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn keys(&self, keys: &[&str]) {
        self.ok(&[&["send-keys"], keys].concat());
    }

    /// Types a line.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn line(&self, text: &str) {
        self.ok(&["send-keys", "-l", text]);
        self.keys(&["Enter"]);
    }

    /// What is shown.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn pane(&self) -> String {
        self.ok(&["capture-pane", "-p"])
    }

    /// Waits until this is shown.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn shows(&self, text: &str) {
        let mut last = String::new();
        let until = std::time::Instant::now() + crate::deadline();
        while std::time::Instant::now() < until {
            last = self.pane();
            if last.contains(text) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{text:?} is not shown:\n{last}");
    }

    /// The modes of the local terminal, as stty(1) says them.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn modes(&self) -> String {
        let tty = self.ok(&["display-message", "-p", "#{pane_tty}"]);
        let output = Command::new("stty").args(["-F", tty.trim(), "-a"]).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }

    /// Waits until these are its modes again: the local shell asks for a line.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn comes_back(&self, modes: &str) {
        let mut found = String::new();
        let until = std::time::Instant::now() + crate::deadline();
        while std::time::Instant::now() < until {
            found = self.modes();
            if found == modes {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(found, modes, "{}", self.pane());
    }

    /// The pid of the `prn` that runs in it.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn prn(&self) -> i32 {
        let shell = self.ok(&["display-message", "-p", "#{pane_pid}"]);
        let shell = shell.trim().parse().unwrap();
        let mut found = None;
        wait_for("prn", || {
            let children = procfs::children(shell);
            found = children.into_iter().find(|pid| procfs::comm(*pid) == "prn");
            found.is_some()
        });
        found.unwrap()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _unused = self.tmux().arg("kill-server").output();
    }
}
