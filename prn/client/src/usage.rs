//! What processes take of the server's machine.

use std::time::SystemTime;

use prn_proto::id::ProcessId;
#[cfg(doc)]
use prn_proto::reason;
use prn_proto::v1;

use crate::client::Client;
use crate::error::ClientError;
use crate::process::{Process, StuckTask, Usage};
use crate::several::Processes;
use crate::wire::{INCOMPLETE, from_wire_time};

/// What processes take of the server's machine.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Usages {
    /// Of each, in the order of the request, or of their starts.
    pub usages: Vec<ProcessUsage>,
    /// When the reading of it began, by the server's clock.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::time"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub sampled_at: Option<SystemTime>,
}

impl TryFrom<v1::GetUsageResponse> for Usages {
    type Error = ClientError;

    fn try_from(raw: v1::GetUsageResponse) -> Result<Self, ClientError> {
        let usages = raw.usages.into_iter().map(ProcessUsage::try_from);
        Ok(Self {
            usages: usages.collect::<Result<_, _>>()?,
            sampled_at: raw.sampled_at.and_then(from_wire_time),
        })
    }
}

/// What a process tree takes of the server's machine. `None` where its kernel does not count it.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ProcessUsage {
    /// Which.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::text"))]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub id: ProcessId,
    /// All that it took so far.
    pub usage: Option<Usage>,
    /// Memory in bytes now. `None` once it has ended.
    pub memory_bytes: Option<u64>,
    /// Tasks now. `None` once it has ended.
    pub pids: Option<u64>,
    /// Processes now.
    pub processes: u32,
    /// How often the kernel killed a process of it for memory.
    pub oom_kills: Option<u64>,
    /// How often it was held back at its memory limit.
    pub memory_limit_hits: Option<u64>,
    /// In how many periods the CPU limit held it back.
    pub cpu_throttled_periods: Option<u64>,
    /// Of so many.
    pub cpu_periods: Option<u64>,
    /// How long it waited for a CPU.
    pub cpu_pressure: Option<Pressure>,
    /// For memory.
    pub memory_pressure: Option<Pressure>,
    /// For disks.
    pub io_pressure: Option<Pressure>,
    /// Some of its tasks, if they are many and were asked for.
    pub tasks: Vec<StuckTask>,
}

impl TryFrom<v1::ProcessUsage> for ProcessUsage {
    type Error = ClientError;

    fn try_from(raw: v1::ProcessUsage) -> Result<Self, ClientError> {
        Ok(Self {
            id: Process::named(raw.id.ok_or(INCOMPLETE)?)?,
            usage: raw.usage.map(Usage::from),
            memory_bytes: raw.memory_bytes,
            pids: raw.pids,
            processes: raw.processes,
            oom_kills: raw.oom_kills,
            memory_limit_hits: raw.memory_limit_hits,
            cpu_throttled_periods: raw.cpu_throttled_periods,
            cpu_periods: raw.cpu_periods,
            cpu_pressure: raw.cpu_pressure.map(Pressure::from),
            memory_pressure: raw.memory_pressure.map(Pressure::from),
            io_pressure: raw.io_pressure.map(Pressure::from),
            tasks: StuckTask::all(raw.tasks),
        })
    }
}

/// How much of the time a tree waits for something (pressure stall information, psi.rst).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Pressure {
    /// Part of the last 10 seconds in which some task waited: 0 to 100.
    pub some_avg10: f64,
    /// Of the last minute.
    pub some_avg60: f64,
    /// All such time, in microseconds.
    pub some_total_usec: u64,
    /// Part of the last 10 seconds in which all tasks waited: 0 to 100.
    pub full_avg10: f64,
    /// Of the last minute.
    pub full_avg60: f64,
    /// All such time, in microseconds.
    pub full_total_usec: u64,
}

impl From<v1::Pressure> for Pressure {
    fn from(raw: v1::Pressure) -> Self {
        Self {
            some_avg10: raw.some_avg10,
            some_avg60: raw.some_avg60,
            some_total_usec: raw.some_total_usec,
            full_avg10: raw.full_avg10,
            full_avg60: raw.full_avg60,
            full_total_usec: raw.full_total_usec,
        }
    }
}

impl Client {
    /// What processes take of the server's machine now, or took until they ended.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with [`reason::PROCESS_NOT_FOUND`].
    pub async fn usage(
        &self,
        processes: impl Into<Processes>,
        with_tasks: bool,
    ) -> Result<Usages, ClientError> {
        let (processes, selector) = processes.into().into_wire();
        let request = v1::GetUsageRequest {
            processes,
            selector,
            with_tasks,
        };
        self.repeatable(
            self.call_timeout,
            request,
            |mut service, request| async move { service.get_usage(request).await },
        )
        .await?
        .try_into()
    }
}
