//! Somebody who uses a fleet, and has a configuration and nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::agents::Hosts;
use crate::{prn_of, wait_within};

/// A user whose configuration names the fleet.
pub struct User {
    /// Its configuration is in it, and what else it has.
    pub folder: TempDir,
}

impl User {
    /// With these lines more in the fleet's table.
    ///
    /// # Panics
    /// As all of this, if something does not work.
    pub fn of(hosts: &Hosts, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (cluster, client) = (&hosts.cluster, &hosts.cluster.client);
        let text = format!(
            "[fleet.prod]\nstore = {:?}\nstore-ca = {:?}\nclient-cert = {:?}\ntls-key = {:?}\n{more}\n",
            cluster.endpoints(),
            cluster.ca(),
            client.certificate,
            client.key,
        );
        let path = folder.path().join("config.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        Self { folder }
    }

    /// The configuration's path.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    /// A command of prn's, with this configuration and nothing else.
    pub fn prn(&self, words: &[&str]) -> Command {
        prn_of(self.folder.path(), words)
    }

    /// Its output.
    pub fn run(&self, words: &[&str]) -> Output {
        self.prn(words).output().unwrap()
    }

    /// Its exit code, and what it says.
    pub fn told(&self, words: &[&str]) -> (i32, String, String) {
        let output = self.run(words);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let code = output.status.code().expect("no signal");
        (code, text(output.stdout), text(output.stderr))
    }

    /// What it prints that works.
    pub fn ok(&self, words: &[&str]) -> String {
        let (code, out, err) = self.told(words);
        assert_eq!(code, 0, "{words:?}: {out}{err}");
        out.trim_end().to_owned()
    }

    /// The same as JSON.
    pub fn json(&self, words: &[&str]) -> Value {
        let text = self.ok(&[words, &["-o", "json"]].concat());
        serde_json::from_str(&text).unwrap()
    }

    /// How a job is, in one word.
    pub fn state(&self, id: &str) -> String {
        let job = self.json(&["status", "--fleet", id]);
        job["state"].as_str().unwrap().to_owned()
    }

    /// Waits for that.
    pub fn until(&self, id: &str, state: &str) {
        let what = format!("{id} is {state}");
        wait_within(Duration::from_secs(60), &what, || self.state(id) == state);
    }
}
