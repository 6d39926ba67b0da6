//! How the API names limits, steps and exit codes. The frontend says them; the supervisor sends values and says nothing.

use std::fmt;

use crate::message::{ChildStep, ExitStatus, Preparation};
use crate::types::LimitName;

impl fmt::Display for LimitName {
    /// The name of the field of `proto.v1.Limits`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu_millis",
            Self::Memory => "memory_bytes",
            Self::IoRead => "io_read_bytes_per_second",
            Self::IoWrite => "io_write_bytes_per_second",
            Self::Pids => "pids",
        })
    }
}

impl fmt::Display for Preparation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory => "making the working directory",
            Self::Cgroup => "making the cgroup",
            Self::Pipes => "making the pipes",
            Self::Clone => "creating the process",
            Self::Watch => "watching the process",
            Self::Output => "making the output store",
        })
    }
}

impl fmt::Display for ChildStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Session => "setsid",
            Self::Descriptors => "dup2",
            Self::Limits => "setrlimit",
            Self::Identity => "setresuid",
            Self::Confinement => "prctl",
            Self::WorkingDirectory => "chdir",
            Self::Signals => "sigaction",
            Self::Exec => "execve",
        })
    }
}

impl ExitStatus {
    /// As shells say it: the exit code, or 128 + the signal's number.
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code.into(),
            Self::Signalled { signal, .. } => i32::from(signal) + 128,
        }
    }
}
