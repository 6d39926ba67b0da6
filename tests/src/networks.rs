//! Machines of a test's own: network namespaces around one in the middle, each with a link to that.

use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns};

/// The address of the one in the middle.
pub const MIDDLE: &str = "10.77.0.1";

/// Namespaces, removed when dropped. All that runs there must have ended before.
#[derive(Debug)]
pub struct Networks {
    middle: String,
    around: Vec<String>,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

fn ip(words: &str) -> Result<(), String> {
    let output = Command::new("ip").args(words.split(' ')).output();
    let output = output.map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("ip {words}: {said}"))
}

impl Networks {
    /// So many around one.
    ///
    /// # Errors
    /// Namespaces cannot be made here: what `ip` says.
    pub fn new(count: usize) -> Result<Self, String> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let middle = format!("prn-test-{}-{number}", std::process::id());
        let around = (1..=count).map(|host| format!("{middle}-{host}"));
        let networks = Self {
            around: around.collect(),
            middle,
        };
        networks.make()?;
        Ok(networks)
    }

    fn make(&self) -> Result<(), String> {
        let middle = &self.middle;
        ip(&format!("netns add {middle}"))?;
        ip(&format!("-n {middle} link set lo up"))?;
        ip(&format!("-n {middle} address add {MIDDLE}/32 dev lo"))?;
        for (place, name) in self.around.iter().enumerate() {
            let host = place + 1;
            let (near, far) = (format!("10.77.{host}.1"), Self::address(host));
            ip(&format!("netns add {name}"))?;
            ip(&format!("-n {name} link set lo up"))?;
            ip(&format!(
                "-n {middle} link add host{host} type veth peer name eth0 netns {name}"
            ))?;
            ip(&format!("-n {middle} address add {near}/24 dev host{host}"))?;
            ip(&format!("-n {middle} link set host{host} up"))?;
            ip(&format!("-n {name} address add {far}/24 dev eth0"))?;
            ip(&format!("-n {name} link set eth0 up"))?;
            ip(&format!("-n {name} route add default via {near}"))?;
        }
        Ok(())
    }

    /// The address of one of those around, from 1.
    pub fn address(host: usize) -> String {
        format!("10.77.{host}.2")
    }

    /// The command that executes its arguments in one of those around.
    ///
    /// # Panics
    /// If there is no such one.
    pub fn within(&self, host: usize) -> Vec<String> {
        let name = &self.around[host - 1];
        vec!["nsenter".to_owned(), format!("--net=/run/netns/{name}")]
    }

    /// Does something in the middle: a thread of its own, whose threads and programs are there too.
    ///
    /// # Panics
    /// If that panics.
    pub fn in_the_middle<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let path = format!("/run/netns/{}", self.middle);
                let namespace = File::open(path).expect("a namespace");
                setns(namespace, CloneFlags::CLONE_NEWNET).expect("setns, as root");
                act()
            });
            match thread.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for name in self.around.iter().chain([&self.middle]) {
            // As far as it was made.
            let _ = ip(&format!("netns del {name}"));
        }
    }
}
