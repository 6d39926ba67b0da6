//! Resource limits of a process tree.

use prn_proto::v1;

/// Resource limits of a process tree. `None`: the server's default in a request, no limit in an
/// answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Limits {
    /// CPU time, in thousandths of a CPU.
    #[cfg_attr(
        feature = "clap",
        arg(long = "cpu", value_name = "CPUS", value_parser = crate::flags::cpu, help = "CPU time: a number of CPUs (1.5) or a percentage of one (150%)", help_heading = "Limits", allow_negative_numbers = true)
    )]
    pub cpu_millis: Option<u64>,
    /// Memory, in bytes.
    #[cfg_attr(
        feature = "clap",
        arg(long = "memory", value_name = "SIZE", value_parser = crate::flags::size, help = "Memory (64M, 2G)", help_heading = "Limits", allow_negative_numbers = true)
    )]
    pub memory_bytes: Option<u64>,
    /// Bytes read a second, from each limited disk.
    #[cfg_attr(
        feature = "clap",
        arg(long = "io-read", value_name = "SIZE", value_parser = crate::flags::size, help = "Bytes read a second, from each disk", help_heading = "Limits", allow_negative_numbers = true)
    )]
    pub io_read_bytes_per_second: Option<u64>,
    /// Bytes written a second, to each limited disk.
    #[cfg_attr(
        feature = "clap",
        arg(long = "io-write", value_name = "SIZE", value_parser = crate::flags::size, help = "Bytes written a second, to each disk", help_heading = "Limits", allow_negative_numbers = true)
    )]
    pub io_write_bytes_per_second: Option<u64>,
    /// Processes and threads at one time.
    #[cfg_attr(
        feature = "clap",
        arg(
            long,
            value_name = "NUMBER",
            help_heading = "Limits",
            allow_negative_numbers = true
        )
    )]
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
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AppliedLimits {
    /// The values in force.
    #[cfg_attr(feature = "serde", serde(rename = "limits"))]
    pub values: Limits,
    /// Names of the limits that were asked for and that the server's host cannot enforce.
    #[cfg_attr(feature = "serde", serde(rename = "limits_not_enforced"))]
    pub not_enforced: Vec<String>,
}
