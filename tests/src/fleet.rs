//! Several servers, and a user who has a context for each.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::pki::Identity;
use crate::prn_of;
use crate::server::{Options, Server};

/// Servers that let one user in, whose configuration names them web1, web2, ….
#[derive(Debug)]
pub struct Fleet {
    /// The user's own.
    pub folder: TempDir,
    /// In the order of their names.
    pub servers: Vec<Server>,
}

impl Fleet {
    /// Of so many servers, without contexts.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn bare(count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Where contexts look for them that name none.
        let client = Identity::keygen(folder.path(), "client", &[]);
        let server = || {
            Server::with(Options {
                pins: vec![client.certificate.clone()],
                ..Options::default()
            })
        };
        let servers = (0..count).map(|_| server()).collect();
        Self { folder, servers }
    }

    /// With a context for each.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn new(count: usize) -> Self {
        let fleet = Self::bare(count);
        for number in 1..=count {
            fleet.add(&format!("web{number}"), number - 1);
        }
        fleet
    }

    /// Adds a context for one of them, by its place.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn add(&self, name: &str, server: usize) {
        self.add_at(name, server, &self.servers[server].address);
    }

    /// The same at another address.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn add_at(&self, name: &str, server: usize, address: &str) {
        let certificate = self.servers[server].identity.certificate.to_str().unwrap();
        let words = ["--address", address, "--server-cert", certificate];
        self.ok(&[&["context", "add", name][..], &words].concat());
    }

    /// The user's configuration.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    /// `prn`, as its user: with nothing but the configuration.
    pub fn prn(&self, words: &[&str]) -> Command {
        prn_of(self.folder.path(), words)
    }

    /// Runs `prn` with these words.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn run(&self, words: &[&str]) -> Output {
        self.prn(words).output().unwrap()
    }

    /// The same, which must succeed; its standard output.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it prints as JSON.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[words, &["-o", "json"]].concat())).unwrap()
    }

    /// How many processes run on each.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn running(&self) -> Vec<usize> {
        let count = |server: &Server| server.ok(&["list", "--running", "-q"]).lines().count();
        self.servers.iter().map(count).collect()
    }
}
