//! The harness of prn's end-to-end tests: real binaries, keys made by `prn keygen`, and a server of
//! its own for each test, in a cgroup, a state folder and a range of user ids that no other test
//! shares.
//!
//! Tests run as root, on a host with any cgroup v2 mount, and in the guest (see `guest/README.md`).
//! A test whose name contains `guest_` needs what only the guest is sure to have, and is ignored
//! elsewhere.
//!
//! `PRN_BIN_DIR` names the folder of the binaries; without it, the one that this test was
//! built into serves.

pub mod agents;
pub mod authority;
pub mod client;
pub mod etcd;
pub mod fleet;
pub mod fleet_load;
pub mod fleet_user;
pub mod hostile;
pub mod hostile_frontend;
pub mod http2;
pub mod libraries;
pub mod networks;
pub mod own_etc;
pub mod pki;
pub mod procfs;
pub mod proxy;
pub mod random;
pub mod schemas;
pub mod screen;
pub mod server;
pub mod slow_memory;
pub mod taken_over;
pub mod trace;
pub mod writer;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The path of one of prn's binaries.
///
/// # Panics
/// If it is not there: build the workspace first.
pub fn binary(name: &str) -> PathBuf {
    let folder = match std::env::var_os("PRN_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let test = std::env::current_exe().expect("the test's own path");
            test.ancestors()
                .nth(2)
                .expect("target/<profile>/deps/<test>")
                .to_owned()
        }
    };
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is not there: build the workspace first",
        path.display()
    );
    path
}

/// Waits for a condition, up to a deadline that is generous, because tests run on shared and
/// emulated machines.
///
/// # Panics
/// When the deadline passes.
pub fn wait_for(what: &str, condition: impl FnMut() -> bool) {
    wait_within(deadline(), what, condition);
}

/// Waits for a condition for so long.
///
/// # Panics
/// If it doesn't come.
pub fn wait_within(within: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// `prn` of a user whose configuration, config.toml, and state are in this folder, and who has said
/// nothing else: no variable of prn's, and no input.
pub fn prn_of(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(binary("prn"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PRN_") {
            command.env_remove(name);
        }
    }
    command
        .args(words)
        .env("PRN_CONFIG", folder.join("config.toml"))
        .env("XDG_STATE_HOME", folder.join("state"))
        .stdin(Stdio::null());
    command
}

/// Says that a test, or a part of it, has nothing to run on here: also when it passes, whose prints
/// the harness keeps.
///
/// # Panics
/// Without standard error.
pub fn skipped(why: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    writeln!(std::io::stderr(), "skipped: {name}: {why}").expect("standard error");
}

/// How long a test waits for what must happen.
pub fn deadline() -> Duration {
    Duration::from_secs(if in_guest() { 120 } else { 30 })
}

/// Whether this runs in the guest.
pub fn in_guest() -> bool {
    std::env::var_os("PRN_GUEST").is_some()
}

/// SHA-256 of bytes, as hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
