//! strace on a running server: to see its system calls, to delay them, and to let them fail.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::server::Server;
use crate::{procfs, wait_for};

/// On the supervisor and all that it creates, until dropped. What it created before is not traced.
#[derive(Debug)]
pub struct Trace {
    child: Child,
    output: PathBuf,
}

impl Trace {
    /// With further arguments of strace(1).
    ///
    /// # Panics
    /// If strace is not installed.
    pub fn of(server: &Server, arguments: &[&str]) -> Self {
        let (pid, output) = (server.supervisor(), server.folder().join("trace"));
        let mut command = Command::new("strace");
        command
            .args(["-f", "-qq", "-s", "16", "-o"])
            .arg(&output)
            .args(arguments)
            .args(["-p", &pid.to_string()]);
        let child = command
            .stderr(Stdio::null())
            .spawn()
            .expect("strace: apt-get install strace");
        let tracer = child.id().to_string();
        let trace = Self { child, output };
        wait_for("strace", || procfs::status(pid)["TracerPid"] == tracer);
        trace
    }

    /// Ends it; returns what it wrote.
    ///
    /// # Panics
    /// If it wrote nothing that can be read.
    pub fn end(self) -> String {
        let output = self.output.clone();
        drop(self);
        std::fs::read_to_string(output).expect("the trace")
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // It then lets go of what it traces.
        if let Ok(pid) = self.child.id().try_into() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGINT);
        }
        let _ = self.child.wait();
    }
}
