//! The kernel's own texts, which the supervisor hands on unread: cgroup v2 interface files
//! (cgroup-v2.rst) and /proc/pid/stat. Pure functions; only the name in /proc/pid/stat is chosen by
//! a process.

use prn_ipc_protocol::message::FileText;

/// The text of one file; empty where it is not there.
pub fn text<'a>(files: &'a [FileText], name: &str) -> &'a str {
    files
        .iter()
        .find(|file| file.name == name)
        .map_or("", |file| &file.text)
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
