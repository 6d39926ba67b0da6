//! Tasks of a process tree.

use prn_ipc_protocol::kernel;
use prn_proto::v1;

/// Those that /proc/pid/stat of each says, as far as it says anything.
pub fn tasks(stats: &[Vec<u8>]) -> Vec<v1::StuckTask> {
    let tasks = stats.iter().filter_map(|stat| kernel::stuck_task(stat));
    tasks
        .map(|(name, state)| v1::StuckTask {
            name,
            state: state.to_string(),
        })
        .collect()
}
