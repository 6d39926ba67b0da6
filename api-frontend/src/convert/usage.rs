//! What processes take of the machine.

use std::time::Duration;

use prn_ipc_protocol::kernel::{self, Pressure, TreeUsage};
use prn_ipc_protocol::message::LiveUsage;
use prn_ipc_protocol::types::ProcessId;
use prn_proto::v1;

use crate::convert::tasks::tasks;

/// What a process tree consumed, as the API shows it.
pub fn shown(usage: kernel::Usage) -> v1::Usage {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    v1::Usage {
        cpu_user_usec: micros(usage.cpu_user),
        cpu_system_usec: micros(usage.cpu_system),
        cpu_throttled_usec: micros(usage.cpu_throttled),
        memory_peak_bytes: usage.memory_peak,
        io_read_bytes: usage.io_read,
        io_write_bytes: usage.io_written,
        pids_peak: usage.pids_peak,
    }
}

/// What one takes that is alive.
pub fn live(id: ProcessId, usage: &LiveUsage) -> v1::ProcessUsage {
    let tree = kernel::tree_usage(&usage.files);
    v1::ProcessUsage {
        memory_bytes: tree.memory,
        pids: tree.pids,
        processes: usage.processes,
        tasks: tasks(&usage.some),
        ..whole(id, &tree)
    }
}

/// What one has taken that has ended.
pub fn ended(id: ProcessId, tree: &TreeUsage) -> v1::ProcessUsage {
    whole(id, tree)
}

fn whole(id: ProcessId, tree: &TreeUsage) -> v1::ProcessUsage {
    v1::ProcessUsage {
        id: Some(v1::ProcessIdentifier { id: id.to_string() }),
        usage: Some(shown(tree.consumed)),
        oom_kills: tree.oom_kills,
        memory_limit_hits: tree.memory_limit_hits,
        cpu_throttled_periods: tree.cpu_throttled_periods,
        cpu_periods: tree.cpu_periods,
        cpu_pressure: tree.cpu_pressure.map(pressure),
        memory_pressure: tree.memory_pressure.map(pressure),
        io_pressure: tree.io_pressure.map(pressure),
        ..Default::default()
    }
}

fn pressure(pressure: Pressure) -> v1::Pressure {
    v1::Pressure {
        some_avg10: pressure.some.avg10,
        some_avg60: pressure.some.avg60,
        some_total_usec: pressure.some.total_usec,
        full_avg10: pressure.full.avg10,
        full_avg60: pressure.full.avg60,
        full_total_usec: pressure.full.total_usec,
    }
}
