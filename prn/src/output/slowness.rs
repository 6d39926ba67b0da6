//! Why a process is slow, from what the kernel counts of it. Pure.

use prn_client::{Limits, Pressure, ProcessUsage};

/// Part of the time from which on it is worth a word that something holds a process up.
const NOTABLE_PERCENT: f64 = 10.0;

/// Part of its memory limit from which on a process is short of memory.
const FULL_PERCENT: f64 = 95.0;

/// It holds a process up for so much of the time that it is worth a word.
pub fn is_notable(percent: f64) -> bool {
    percent > NOTABLE_PERCENT
}

/// So much of its memory limit leaves a process short of memory.
pub fn is_full(percent: f64) -> bool {
    percent > FULL_PERCENT
}

/// Why a process is slow, a sentence each, and what to do about it. `throttled` is the part of the
/// time in which its CPU limit held it back, in percent, where it is known.
pub fn reasons(usage: &ProcessUsage, limits: &Limits, throttled: Option<f64>) -> Vec<String> {
    let mut reasons = Vec::new();
    if usage.oom_kills.is_some_and(|kills| kills > 0) {
        reasons
            .push("the kernel has killed a process of it for memory: a higher --memory".to_owned());
    }
    if let (Some(tasks), Some(most)) = (usage.pids, limits.pids)
        && tasks >= most
    {
        reasons.push(format!(
            "it has as many tasks as it may, {most}: a higher --pids"
        ));
    }
    let is_throttled = throttled.filter(|percent| is_notable(*percent));
    if let Some(percent) = is_throttled {
        reasons.push(format!(
            "its CPU limit holds it back {percent:.0} % of the time: a higher --cpu"
        ));
    }
    let full = memory(usage, limits).filter(|percent| is_full(*percent));
    if let Some(percent) = full {
        reasons.push(format!(
            "it takes {percent:.0} % of the memory that it may: a higher --memory"
        ));
    }
    // Held back by its own limit, it waits for a CPU or for memory as well.
    reasons.extend(waits(usage, is_throttled.is_some(), full.is_some()));
    reasons
}

/// What it waits for, unless that is told already.
fn waits(usage: &ProcessUsage, is_throttled: bool, is_full: bool) -> impl Iterator<Item = String> {
    let long = |pressure: Option<Pressure>| {
        let part = pressure.map(|pressure| pressure.some_avg10);
        part.filter(|percent| is_notable(*percent))
    };
    let memory = long(usage.memory_pressure).filter(|_| !is_full);
    let disks = long(usage.io_pressure);
    let cpu = long(usage.cpu_pressure).filter(|_| !is_throttled);
    [
        memory.map(|percent| format!("it waits for memory {percent:.0} % of the time")),
        disks.map(|percent| {
            format!(
                "it waits for disks {percent:.0} % of the time: they are busy, or --io-read and --io-write bind it"
            )
        }),
        cpu.map(|percent| {
            format!(
                "it waits for a CPU {percent:.0} % of the time: it has more to do at once than CPUs, or others take them"
            )
        }),
    ]
    .into_iter()
    .flatten()
}

/// Part of its memory limit that it takes, in percent.
pub fn memory(usage: &ProcessUsage, limits: &Limits) -> Option<f64> {
    percent(usage.memory_bytes?, limits.memory_bytes?)
}

/// Part of the scheduler's periods in which its CPU limit held it back, in percent: of those since
/// `before`, or of all.
pub fn throttled(usage: &ProcessUsage, before: Option<&ProcessUsage>) -> Option<f64> {
    let since =
        |of: fn(&ProcessUsage) -> Option<u64>| of(usage)?.checked_sub(before.map_or(Some(0), of)?);
    let periods = since(|usage| usage.cpu_periods)?;
    let throttled = since(|usage| usage.cpu_throttled_periods)?;
    if periods == 0 {
        return Some(0.0);
    }
    percent(throttled, periods)
}

fn percent(part: u64, of: u64) -> Option<f64> {
    let percent = float(part) * 100.0 / float(of);
    (of > 0).then(|| rounded(percent))
}

/// To a tenth.
pub fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// A count, to calculate with.
#[expect(
    clippy::as_conversions,
    reason = "exact to 2^53, and shown to three digits"
)]
pub fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use prn_proto::v1;

    fn usage(usage: v1::ProcessUsage) -> ProcessUsage {
        let id = "fcd2310e7b9a462a5d88c3a0ff4e2d9b".to_owned();
        let id = Some(v1::ProcessIdentifier { id });
        ProcessUsage::try_from(v1::ProcessUsage { id, ..usage }).unwrap()
    }

    fn pressed(some_avg10: f64) -> Option<v1::Pressure> {
        Some(v1::Pressure {
            some_avg10,
            ..v1::Pressure::default()
        })
    }

    #[test]
    fn what_holds_a_process_up_is_told_and_what_does_not_is_not() {
        let waits = |cpu, memory, io| {
            usage(v1::ProcessUsage {
                cpu_pressure: pressed(cpu),
                memory_pressure: pressed(memory),
                io_pressure: pressed(io),
                ..v1::ProcessUsage::default()
            })
        };
        let limits = |memory_bytes, pids| {
            let mut limits = Limits::default();
            (limits.memory_bytes, limits.pids) = (memory_bytes, pids);
            limits
        };
        let taking = |memory_bytes, pids, memory_pressure| {
            usage(v1::ProcessUsage {
                memory_bytes: Some(memory_bytes),
                pids: Some(pids),
                memory_pressure: pressed(memory_pressure),
                ..v1::ProcessUsage::default()
            })
        };
        let killed = usage(v1::ProcessUsage {
            oom_kills: Some(1),
            ..v1::ProcessUsage::default()
        });
        let none = limits(None, None);
        let some = limits(Some(100), Some(3));
        for (usage, limits, throttled, told) in [
            (waits(0.0, 0.0, 0.0), none, Some(0.0), &[][..]),
            (waits(10.0, 10.0, 10.0), none, Some(10.0), &[]),
            (waits(50.0, 0.0, 0.0), none, Some(45.0), &["--cpu"]),
            (waits(50.0, 0.0, 0.0), none, None, &["for a CPU 50 %"]),
            (
                waits(0.0, 20.0, 30.0),
                none,
                None,
                &["for memory 20 %", "for disks 30 %"],
            ),
            (taking(95, 2, 0.0), some, None, &[]),
            (
                taking(99, 2, 20.0),
                some,
                None,
                &["takes 99 % of the memory"],
            ),
            (
                taking(95, 3, 20.0),
                some,
                None,
                &["as it may, 3", "for memory"],
            ),
            (taking(99, 3, 20.0), none, None, &["for memory"]),
            (killed, none, None, &["has killed"]),
        ] {
            let reasons = reasons(&usage, &limits, throttled);
            assert_eq!(reasons.len(), told.len(), "{reasons:?}");
            for (reason, part) in reasons.iter().zip(told) {
                assert!(reason.contains(part), "{reason}");
            }
        }
    }
}
