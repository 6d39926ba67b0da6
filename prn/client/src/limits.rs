//! Resource limits of a process tree.

use prn_proto::v1;

/// Resource limits of a process tree. `None`: the server's default in a request, no limit in an
/// answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// CPU time, in thousandths of a CPU.
    pub cpu_millis: Option<u64>,
    /// Memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// Bytes read a second, from each limited disk.
    pub io_read_bytes_per_second: Option<u64>,
    /// Bytes written a second, to each limited disk.
    pub io_write_bytes_per_second: Option<u64>,
    /// Processes and threads at one time.
    pub pids: Option<u64>,
}

impl From<Limits> for v1::Limits {
    fn from(limits: Limits) -> Self {
        let Limits {
            cpu_millis,
            memory_bytes,
            io_read_bytes_per_second,
            io_write_bytes_per_second,
            pids,
        } = limits;
        Self {
            cpu_millis,
            memory_bytes,
            io_read_bytes_per_second,
            io_write_bytes_per_second,
            pids,
        }
    }
}

impl From<v1::Limits> for Limits {
    fn from(limits: v1::Limits) -> Self {
        let v1::Limits {
            cpu_millis,
            memory_bytes,
            io_read_bytes_per_second,
            io_write_bytes_per_second,
            pids,
        } = limits;
        Self {
            cpu_millis,
            memory_bytes,
            io_read_bytes_per_second,
            io_write_bytes_per_second,
            pids,
        }
    }
}

/// Limits as the server's kernel reports them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppliedLimits {
    /// The values in force.
    pub values: Limits,
    /// Names of the limits that were asked for and that the server's host cannot enforce.
    pub not_enforced: Vec<String>,
}
