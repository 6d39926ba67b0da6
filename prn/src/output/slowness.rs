//! Why a process is slow, from what the kernel counts of it. Pure.

use prn_client::{Pressure, ProcessUsage};

/// Part of the time, or of the memory, from which on it is worth a word.
const NOTABLE_PERCENT: f64 = 10.0;
const FULL_PERCENT: f64 = 95.0;

/// Why a process is slow, a sentence each, and what to do about it. `throttled` is the part of the
/// time in which its CPU limit held it back, `memory` the part of its memory limit that it takes; both
/// in percent, where they are known.
pub fn reasons(usage: &ProcessUsage, throttled: Option<f64>, memory: Option<f64>) -> Vec<String> {
    let mut reasons = Vec::new();
    let notable = |percent: &f64| *percent > NOTABLE_PERCENT;
    let some = |pressure: Option<Pressure>| pressure.map(|pressure| pressure.some_avg10);
    if usage.oom_kills.is_some_and(|kills| kills > 0) {
        reasons
            .push("the kernel has killed a process of it for memory: a higher --memory".to_owned());
    }
    let is_throttled = throttled.filter(notable);
    if let Some(percent) = is_throttled {
        reasons.push(format!(
            "its CPU limit holds it back {percent:.0} % of the time: a higher --cpu"
        ));
    }
    if let Some(percent) = memory.filter(|percent| *percent > FULL_PERCENT) {
        reasons.push(format!(
            "it takes {percent:.0} % of the memory that it may: a higher --memory"
        ));
    } else if let Some(percent) = some(usage.memory_pressure).filter(notable) {
        reasons.push(format!("it waits for memory {percent:.0} % of the time"));
    }
    if let Some(percent) = some(usage.io_pressure).filter(notable) {
        reasons.push(format!(
            "it waits for disks {percent:.0} % of the time: they are busy, or --io-read and --io-write bind it"
        ));
    }
    // Held back by its own limit, it waits for a CPU as well.
    let waits = some(usage.cpu_pressure).filter(|_| is_throttled.is_none());
    if let Some(percent) = waits.filter(notable) {
        reasons.push(format!(
            "it waits for a CPU {percent:.0} % of the time: it has more to do at once than CPUs, or others take them"
        ));
    }
    reasons
}
