//! What a fleet of four hosts does with 2,000 short jobs, once whatever the number of rounds: it is the
//! distribution that is of interest. It fails if a job is not started exactly once.

use std::time::Duration;

use anyhow::Context;
use prn_tests::fleet_load::{self, Figures, HOSTS};

use crate::setup::Bench;
use crate::table::{Summary, Table, figure};

const JOBS: usize = 2000;

pub fn measure(bench: &Bench, summary: &mut Summary) -> anyhow::Result<()> {
    let figures = fleet_load::run(JOBS, bench.idle);
    let figures = figures.map_err(anyhow::Error::msg)?;
    print(&figures)?;
    let after = milliseconds(at(&figures.waits, 50)?);
    summary.alone(
        &format!("half of {JOBS} jobs on {HOSTS} hosts are started after"),
        &format!("{after} ms"),
    );
    Ok(())
}

fn print(figures: &Figures) -> anyhow::Result<()> {
    let title = format!("a fleet of {HOSTS} hosts, {JOBS} jobs that end at once");
    let mut table = Table::new(&title, &["what", "figure"]);
    let jobs = JOBS as f64;
    let mib = |bytes: f64| format!("{} MiB", figure(bytes / 1024.0 / 1024.0));
    let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let memory: Vec<f64> = figures.agent_memory.iter().map(|kib| *kib as f64).collect();
    let rows = [
        (
            "jobs submitted a second",
            figure(jobs / figures.submitting.as_secs_f64()),
        ),
        (
            "jobs ended a second, from the first submission to the last end",
            figure(jobs / figures.all.as_secs_f64()),
        ),
        (
            "from submitted to started, half of them",
            format!("{} ms", milliseconds(at(&figures.waits, 50)?)),
        ),
        (
            "from submitted to started, 99 of 100",
            format!("{} ms", milliseconds(at(&figures.waits, 99)?)),
        ),
        ("jobs on each host", format!("{:?}", figures.spread)),
        ("etcd's file after it", mib(figures.store_disk as f64)),
        (
            "etcd's memory after it",
            mib(figures.store_memory as f64 * 1024.0),
        ),
        (
            "an agent with nothing to do: wake-ups a minute",
            figure(most(&figures.wakeups)),
        ),
        ("and its memory", mib(most(&memory) * 1024.0)),
    ];
    for (what, said) in rows {
        table.row(&[what.to_owned(), said]);
    }
    table.print("");
    Ok(())
}

fn at(sorted: &[Duration], percent: usize) -> anyhow::Result<Duration> {
    let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(place).copied().context("no job")
}

fn milliseconds(time: Duration) -> String {
    figure(time.as_secs_f64() * 1000.0)
}
