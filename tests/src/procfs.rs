//! What /proc says of a process.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The fields of /proc/pid/status.
pub fn status(pid: i32) -> HashMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

/// The children of a process, by number.
pub fn children(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// A process's name (/proc/pid/comm).
pub fn comm(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Where a process's descriptors lead, by number.
pub fn descriptors(pid: i32) -> Vec<(i32, PathBuf)> {
    let mut found: Vec<(i32, PathBuf)> = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                fs::read_link(entry.path()).ok()?,
            ))
        })
        .collect();
    found.sort();
    found
}

/// Whether the process exists and is no zombie.
pub fn alive(pid: i32) -> bool {
    !matches!(
        status(pid).get("State").map(|state| state.chars().next()),
        None | Some(Some('Z' | 'X'))
    )
}

/// Whether a process with this command line runs, and its terminal's keys are for it
/// (proc_pid_stat(5): pgrp, tpgid).
pub fn has_keys(argv: &[&str]) -> bool {
    let line = argv
        .iter()
        .flat_map(|word| [word.as_bytes(), b"\0"].concat());
    let line: Vec<u8> = line.collect();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut found =
        entries.filter(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(|is| is == line));
    found.any(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        matches!(fields(&stat)[..], ["S", _, group, _, _, foreground, ..] if group == foreground)
    })
}

/// Holds a process up (SIGSTOP), and returns when none of its threads runs any more: on a busy
/// machine they do for a moment after kill(2) has returned.
///
/// # Panics
/// If there is no such process, or it ends.
pub fn hold(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("a process to be held up");
    crate::wait_for("a process to be held up", || {
        assert!(alive(pid), "it has ended");
        let threads = fs::read_dir(format!("/proc/{pid}/task"));
        let threads = threads.into_iter().flatten().flatten();
        let mut stats = threads.map(|thread| fs::read_to_string(thread.path().join("stat")));
        stats.all(|stat| stat.is_ok_and(|stat| matches!(fields(&stat)[0], "T" | "Z" | "X")))
    });
    assert_eq!(status(pid)["State"].chars().next(), Some('T'));
}

/// What stands in proc_pid_stat(5) from the state on, behind the name, which may hold anything.
fn fields(stat: &str) -> Vec<&str> {
    let rest = stat.rsplit(") ").next().unwrap_or_default();
    rest.split(' ').collect()
}

/// Context switches of all threads so far, voluntary and not.
pub fn context_switches(pid: i32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok())
        .flat_map(|text| {
            text.lines()
                .filter(|line| line.contains("ctxt_switches"))
                .filter_map(|line| line.rsplit('\t').next()?.parse::<u64>().ok())
                .collect::<Vec<_>>()
        })
        .sum()
}

/// A size of /proc/pid/status in bytes: "VmRSS", or "VmHWM", its peak.
///
/// # Panics
/// If the process is gone.
pub fn memory(pid: i32, field: &str) -> u64 {
    let kilobytes = status(pid)[field]
        .strip_suffix(" kB")
        .and_then(|number| number.parse::<u64>().ok());
    kilobytes.expect("a size") * 1024
}

/// Calls that have read so far, of all threads (proc_pid_io(5), syscr).
///
/// # Panics
/// If the process is gone.
pub fn reads(pid: i32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).expect("a process");
    let reads = io.lines().find_map(|line| line.strip_prefix("syscr: "));
    reads.expect("syscr").parse().expect("a number")
}

/// CPU time of all threads so far, in clock ticks (proc_pid_stat(5), fields 14 and 15).
///
/// # Panics
/// If the process is gone.
pub fn cpu_ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    fields(&stat)[11..13]
        .iter()
        .map(|ticks| ticks.parse::<u64>().expect("a number"))
        .sum()
}
