//! What the machine is asked for and what it says: CPUs, CPU time, open files, memory.

use std::fs;

use anyhow::{Context, bail, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

pub const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;

/// Output of 1 GiB is kept at one time, readers have their own, and ssh's file is in memory too.
const MEMORY: u64 = 6 * GIB;

/// Enough for a thousand connections, or for a thousand processes with their pipes.
const OPEN_FILES: u64 = 20_000;

/// Says what is missing, on one line.
///
/// # Errors
/// That line.
pub fn check() -> anyhow::Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "bench: missing: root, who starts servers (sudo make bench)"
    );
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    ensure!(
        std::env::var_os("PRN_BIN_DIR").is_some(),
        "bench: missing: PRN_BIN_DIR, the folder of the binaries (make bench sets it)"
    );
    ensure!(
        mounts.contains(" - cgroup2 "),
        "bench: missing: a cgroup2 mount"
    );
    let available = meminfo("MemAvailable")?;
    if available < MEMORY {
        bail!(
            "bench: missing: {} GiB of free memory, {} MiB are there",
            MEMORY / GIB,
            available / MIB
        );
    }
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let limit = hard.max(OPEN_FILES);
    let raised = setrlimit(Resource::RLIMIT_NOFILE, limit, limit);
    ensure!(
        raised.is_ok(),
        "bench: missing: {OPEN_FILES} open files (ulimit -n), {hard} are allowed"
    );
    Ok(())
}

/// A field of /proc/meminfo, in bytes.
///
/// # Errors
/// If it cannot be read.
pub fn meminfo(field: &str) -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kilobytes = value
        .and_then(|value| value.trim().strip_suffix(" kB"))
        .context(field.to_owned())?;
    Ok(kilobytes.parse::<u64>()? * 1024)
}

/// What the kernel has for processes and their namespaces. Shmem: what their own file systems hold.
const KERNEL: [&str; 5] = ["Slab", "KernelStack", "PageTables", "Percpu", "Shmem"];

/// Memory that the kernel has for processes and their namespaces, of the whole machine, in bytes.
///
/// # Errors
/// If it cannot be read.
pub fn kernel_memory() -> anyhow::Result<f64> {
    let fields = KERNEL.into_iter().map(meminfo);
    Ok(fields.sum::<anyhow::Result<u64>>()? as f64)
}

/// Proportional set size of a process in bytes (/proc/pid/smaps_rollup).
///
/// # Errors
/// If the process is gone.
pub fn pss(pid: i32) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .context("no Pss")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// Makes the peak of a process's memory (VmHWM) what it has now (proc_pid_clear_refs(5)).
///
/// # Errors
/// If the process is gone.
pub fn reset_peak(pid: i32) -> anyhow::Result<()> {
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

/// CPU time of a process so far, all its threads, in seconds.
///
/// # Errors
/// If the process is gone.
pub fn cpu_seconds(pid: i32) -> anyhow::Result<f64> {
    seconds(clock_getcpuclockid(Pid::from_raw(pid))?)
}

/// CPU time of this process so far, in seconds.
///
/// # Errors
/// Never, on Linux.
pub fn own_cpu_seconds() -> anyhow::Result<f64> {
    seconds(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

fn seconds(clock: ClockId) -> anyhow::Result<f64> {
    let time = clock_gettime(clock)?;
    Ok(time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
}

/// Nanoseconds of the clock that all processes share and that nobody sets.
///
/// # Errors
/// Never, on Linux.
pub fn monotonic_nanoseconds() -> anyhow::Result<i64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

/// This thread, and all that it starts, on one CPU until dropped.
#[derive(Debug)]
pub struct Pinned(CpuSet);

impl Pinned {
    /// To the first CPU that this thread may use.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn new() -> anyhow::Result<Self> {
        let thread = Pid::from_raw(0);
        let before = sched_getaffinity(thread)?;
        let first = (0..CpuSet::count())
            .find(|cpu| before.is_set(*cpu) == Ok(true))
            .context("no CPU")?;
        let mut one = CpuSet::new();
        one.set(first)?;
        sched_setaffinity(thread, &one)?;
        Ok(Self(before))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = sched_setaffinity(Pid::from_raw(0), &self.0);
    }
}
