//! What the kernel's own texts say, which the supervisor hands on unread: cgroup v2 interface files
//! (cgroup-v2.rst) and /proc/pid/stat. Pure functions; only the name in /proc/pid/stat is chosen by
//! a process.
//!
//! Runs in the frontend, and in a program that uses the supervisor's library.

use std::time::Duration;

use crate::message::{End, FileText, ProcessInfo};
use crate::types::{LimitName, Limits};

/// What a process tree consumed. What this host's kernel does not count is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in user mode.
    pub cpu_user: Duration,
    /// CPU time in kernel mode.
    pub cpu_system: Duration,
    /// Time that it waited for its CPU limit's next period.
    pub cpu_throttled: Duration,
    /// Most bytes of memory at one time.
    pub memory_peak: Option<u64>,
    /// Bytes read from disks.
    pub io_read: Option<u64>,
    /// Bytes written to disks.
    pub io_written: Option<u64>,
    /// Most tasks at one time.
    pub pids_peak: Option<u64>,
}

/// How much of the time a tree waits for something (pressure stall information, psi.rst).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// In which some task waited.
    pub some: Stall,
    /// In which all tasks waited.
    pub full: Stall,
}

/// Such time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stall {
    /// Part of the last 10 seconds: 0 to 100.
    pub avg10: f64,
    /// Of the last minute.
    pub avg60: f64,
    /// All of it, in microseconds.
    pub total_usec: u64,
}

/// What the files of a group say of its tree. What this host's kernel does not count, or what is not
/// asked of a tree that has ended, is not there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TreeUsage {
    /// What it consumed.
    pub consumed: Usage,
    /// Bytes of memory now.
    pub memory: Option<u64>,
    /// Tasks now.
    pub pids: Option<u64>,
    /// How often the kernel killed one for memory.
    pub oom_kills: Option<u64>,
    /// How often it was held back at its memory limit.
    pub memory_limit_hits: Option<u64>,
    /// In how many periods the CPU limit held it back.
    pub cpu_throttled_periods: Option<u64>,
    /// Of so many.
    pub cpu_periods: Option<u64>,
    /// How it waited for a CPU.
    pub cpu_pressure: Option<Pressure>,
    /// For memory.
    pub memory_pressure: Option<Pressure>,
    /// For disks.
    pub io_pressure: Option<Pressure>,
}

impl End {
    /// What [`End::usage`] says.
    pub fn usage_numbers(&self) -> Usage {
        consumed(&self.usage)
    }
}

fn consumed(files: &[FileText]) -> Usage {
    let file = |name| find(files, name);
    let cpu = |key| {
        Duration::from_micros(
            file("cpu.stat")
                .and_then(|text| keyed(text, key))
                .unwrap_or(0),
        )
    };
    let io = |key| file("io.stat").map(|text| io_stat(text, key));
    Usage {
        cpu_user: cpu("user_usec"),
        cpu_system: cpu("system_usec"),
        cpu_throttled: cpu("throttled_usec"),
        memory_peak: file("memory.peak").and_then(number),
        io_read: io("rbytes"),
        io_written: io("wbytes"),
        pids_peak: file("pids.peak").and_then(number),
    }
}

/// What the files of a group say.
pub fn tree_usage(files: &[FileText]) -> TreeUsage {
    let file = |name| find(files, name);
    let in_file = |name, key| file(name).and_then(|text| keyed(text, key));
    TreeUsage {
        consumed: consumed(files),
        memory: file("memory.current").and_then(number),
        pids: file("pids.current").and_then(number),
        oom_kills: in_file("memory.events", "oom_kill"),
        memory_limit_hits: in_file("memory.events", "max"),
        cpu_throttled_periods: in_file("cpu.stat", "nr_throttled"),
        cpu_periods: in_file("cpu.stat", "nr_periods"),
        cpu_pressure: file("cpu.pressure").and_then(pressure),
        memory_pressure: file("memory.pressure").and_then(pressure),
        io_pressure: file("io.pressure").and_then(pressure),
    }
}

/// What a pressure file says; `None` if it has no line of what some task waited. Some have none of
/// what all did (cpu.pressure before Linux 5.13).
pub fn pressure(text: &str) -> Option<Pressure> {
    let line = |kind: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| stall(line.strip_prefix(kind)?.strip_prefix(' ')?))
    };
    Some(Pressure {
        some: line("some")?,
        full: line("full").unwrap_or_default(),
    })
}

fn stall(line: &str) -> Option<Stall> {
    let word = |key: &str| {
        let mut words = line.split_whitespace();
        words.find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    };
    let part = |key| {
        let part: f64 = word(key)?.parse().ok()?;
        part.is_finite().then(|| part.clamp(0.0, 100.0))
    };
    Some(Stall {
        avg10: part("avg10")?,
        avg60: part("avg60")?,
        total_usec: word("total")?.parse().ok()?,
    })
}

impl ProcessInfo {
    /// Of the limits in its specification, what the kernel has made of them. One that is not
    /// enforced is not there.
    pub fn limits_in_force(&self) -> Limits {
        let file = |name| find(&self.limits.in_force, name);
        let in_force = |limit| match limit {
            LimitName::Cpu => file("cpu.max").and_then(cpu_max),
            LimitName::Memory => file("memory.max").and_then(number),
            LimitName::IoRead => file("io.max").and_then(|text| io_max(text, "rbps")),
            LimitName::IoWrite => file("io.max").and_then(|text| io_max(text, "wbps")),
            LimitName::Pids => file("pids.max").and_then(number),
        };
        let wanted = self.spec.limits.iter();
        wanted
            .filter_map(|(limit, _)| Some((limit, in_force(limit)?)))
            .collect()
    }
}

/// The text of one file, if it is there.
pub fn find<'a>(files: &'a [FileText], name: &str) -> Option<&'a str> {
    let file = files.iter().find(|file| file.name == name);
    file.map(|file| file.text.as_str())
}

/// What cpu.max says, in thousandths of a CPU; `None` for no limit.
pub fn cpu_max(text: &str) -> Option<u64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    quota.checked_mul(1000)?.checked_div(period)
}

/// The smallest value of `key` in io.max, over all disks.
pub fn io_max(text: &str, key: &str) -> Option<u64> {
    text.lines().filter_map(|line| in_line(line, key)).min()
}

/// The sum of `key` in io.stat, over all devices.
pub fn io_stat(text: &str, key: &str) -> u64 {
    text.lines()
        .filter_map(|line| in_line(line, key))
        .fold(0, u64::saturating_add)
}

fn in_line(line: &str, key: &str) -> Option<u64> {
    line.split_whitespace()
        .find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
}

/// The value of `key` in a flat-keyed file.
pub fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        line.strip_prefix(key)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    })
}

/// A single value; `None` for "max".
pub fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// Name and state in /proc/pid/stat. The name stands in parentheses, and may hold any byte,
/// parentheses too.
pub fn stuck_task(stat: &[u8]) -> Option<(String, char)> {
    let open = stat.iter().position(|byte| *byte == b'(')?;
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let name = stat.get(open + 1..close)?;
    let state = stat.get(close + 2)?;
    Some((name.escape_ascii().to_string(), char::from(*state)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(texts: &[(&str, &str)]) -> Vec<FileText> {
        let file = |(name, text): &(&str, &str)| FileText {
            name: (*name).to_owned(),
            text: (*text).to_owned(),
        };
        texts.iter().map(file).collect()
    }

    #[test]
    fn usage_is_what_the_files_say_that_are_there() {
        let end = |usage| End {
            at: crate::types::UnixMicros(1),
            usage,
            output: crate::message::OutputTotals::default(),
        };
        let none = end(Vec::new()).usage_numbers();
        assert_eq!(none.cpu_user, Duration::ZERO);
        assert_eq!(
            [
                none.memory_peak,
                none.io_read,
                none.io_written,
                none.pids_peak
            ],
            [None; 4]
        );
        let all = end(files(&[
            (
                "cpu.stat",
                "usage_usec 9\nuser_usec 5\nsystem_usec 4\nthrottled_usec 3\n",
            ),
            ("memory.peak", "4096\n"),
            ("io.stat", "8:0 rbytes=10 wbytes=1\n"),
            ("pids.peak", "7\n"),
        ]));
        let expected = Usage {
            cpu_user: Duration::from_micros(5),
            cpu_system: Duration::from_micros(4),
            cpu_throttled: Duration::from_micros(3),
            memory_peak: Some(4096),
            io_read: Some(10),
            io_written: Some(1),
            pids_peak: Some(7),
        };
        assert_eq!(all.usage_numbers(), expected);
        assert_eq!(
            end(files(&[("io.stat", "")])).usage_numbers().io_read,
            Some(0),
            "counted, and none"
        );
    }

    #[test]
    fn what_a_tree_takes_is_what_its_files_say() {
        let none = tree_usage(&[]);
        assert_eq!((none.memory, none.pids, none.oom_kills), (None, None, None));
        assert_eq!((none.cpu_periods, none.io_pressure), (None, None));
        let all = tree_usage(&files(&[
            (
                "cpu.stat",
                "usage_usec 9\nuser_usec 5\nsystem_usec 4\nnr_periods 8\nnr_throttled 2\nthrottled_usec 3\n",
            ),
            ("memory.current", "1234\n"),
            (
                "memory.events",
                "low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 0\n",
            ),
            ("pids.current", "6\n"),
            (
                "memory.pressure",
                "some avg10=1.50 avg60=2.00 avg300=0.00 total=77\nfull avg10=0.25 avg60=0.00 avg300=0.00 total=5\n",
            ),
        ]));
        assert_eq!((all.memory, all.pids), (Some(1234), Some(6)));
        assert_eq!((all.oom_kills, all.memory_limit_hits), (Some(2), Some(3)));
        assert_eq!(
            (all.cpu_throttled_periods, all.cpu_periods),
            (Some(2), Some(8))
        );
        assert_eq!(all.consumed.cpu_user, Duration::from_micros(5));
        let pressure = all.memory_pressure.unwrap();
        assert_eq!((pressure.some.avg10, pressure.some.avg60), (1.5, 2.0));
        assert_eq!(
            (pressure.some.total_usec, pressure.full.total_usec),
            (77, 5)
        );
        assert_eq!(all.cpu_pressure, None);
    }

    #[test]
    fn a_strange_pressure_file_is_none_and_never_more_than_all_of_the_time() {
        let some = "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(pressure(some).unwrap().full, Stall::default());
        for text in [
            "",
            "some",
            "some avg10=nan avg60=0 total=1",
            "some avg10=inf avg60=0 total=1",
            "some avg10=1 avg60=1 total=-1",
            "some avg10=1 avg60=1",
            "something avg10=1 avg60=1 total=1",
            "full avg10=1 avg60=1 total=1",
            "some avg10= avg60= total=",
        ] {
            assert_eq!(pressure(text), None, "{text}");
        }
        let wild =
            pressure("some avg10=1e300 avg60=-5 total=18446744073709551615 total=1").unwrap();
        assert_eq!((wild.some.avg10, wild.some.avg60), (100.0, 0.0));
        assert_eq!(wild.some.total_usec, u64::MAX);
    }

    #[test]
    fn a_cpu_limit_is_a_share_of_its_period() {
        assert_eq!(cpu_max("50000 100000\n"), Some(500));
        assert_eq!(cpu_max("150000 50000\n"), Some(3000));
        for text in ["max 100000\n", "", "x y", "1 0"] {
            assert_eq!(cpu_max(text), None, "{text}");
        }
    }

    #[test]
    fn io_files_are_read_over_all_disks() {
        let max = "8:0 rbps=max wbps=2048 riops=max wiops=max\n8:16 rbps=5000 wbps=1024 riops=max wiops=max\n";
        assert_eq!(io_max(max, "wbps"), Some(1024));
        assert_eq!(io_max(max, "rbps"), Some(5000));
        assert_eq!(io_max("", "rbps"), None);
        let stat = "8:0 rbytes=10 wbytes=1 rios=1 wios=1\n8:16 rbytes=5 wbytes=2 rios=0 wios=0\n";
        assert_eq!((io_stat(stat, "rbytes"), io_stat(stat, "wbytes")), (15, 3));
    }

    #[test]
    fn keyed_files_are_read_by_whole_keys() {
        let events = "low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(keyed(events, "oom_kill"), Some(2));
        assert_eq!(keyed(events, "oom"), Some(1));
        assert_eq!(keyed(events, "none"), None);
        assert_eq!((number("max\n"), number("42\n")), (None, Some(42)));
    }

    #[test]
    fn s11_a_hostile_process_name_is_read_right_and_escaped() {
        let task = stuck_task(b"77 (a) R (\n\x1b) D 1 77 77 0").unwrap();
        assert_eq!((task.0.as_str(), task.1), ("a) R (\\n\\x1b", 'D'));
        assert_eq!(stuck_task(b"77 (x)"), None);
        assert_eq!(stuck_task(b""), None);
    }
}
