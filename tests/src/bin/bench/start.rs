//! What a start costs, beside the least that a process in a cgroup of its own can cost.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use prn_client::{Client, ProcessId, Profile, StartSpec, StopSignal};
use prn_tests::procfs;
use prn_tests::server::cgroup_mount;

use crate::setup::{Bench, cpus, word};
use crate::table::{Series, Summary, Table, figure, percentile};
use crate::{latency, parts};

/// Starts of each kind in a round.
const STARTS: usize = 300;
const CALLS: usize = 1000;

/// Clients at one time, and what each starts.
const CLIENTS: usize = 8;
const STARTS_EACH: usize = 250;

/// Processes that live while others are started.
const FEW: usize = 10;
const MANY: usize = 1500;

const CLONED: &str = "raw: cgroup, two pipes, clone3 returned";
const EXECUTED: &str = "raw: the same, until execve is seen (a third pipe)";
const EXITED: &str = "raw: cgroup, two pipes, clone3, execve, exit seen";
const CALL: &str = "an empty call on a kept connection";
const START: &str = "prn: Start, which answers when the program runs";
const ENDED: &str = "prn: Start, and the output to its end frame";
const RATE: &str = "starts a second";
const AMONG_FEW: &str = "Start, with 10 live processes";
const AMONG_MANY: &str = "Start, with 1,500 live processes";

/// What is compared in turns: a Start under it, and that to the end of the process's output.
const PROFILES: [(Profile, [&str; 2]); 3] = [
    (Profile::Default, ["Start, default", "to the end, default"]),
    (Profile::Strict, ["Start, strict", "to the end, strict"]),
    (Profile::None, ["Start, none", "to the end, none"]),
];

pub fn measure(bench: &Bench, summary: &mut Summary) -> anyhow::Result<()> {
    let mut series = Series::default();
    for _ in bench.rounds("start") {
        // Before the raw ones: with it the controllers are on for groups below the mount's.
        let arguments = ["--connections-per-client", "64", "--allow-profile-none"];
        let server = bench.server(&arguments, 4096)?;
        raw(bench, &mut series)?;
        series.add(
            "supervisor",
            procfs::memory(server.supervisor(), "VmRSS") as f64 / 1e6,
        );
        parts::runtime(0)?.block_on(one_by_one(&server.address, server.folder(), &mut series))?;
        parts::runtime(cpus())?.block_on(many(&server.address, server.folder(), &mut series))?;
        parts::runtime(0)?.block_on(others(&server.address, server.folder(), &mut series))?;
    }
    let (start, raw, call) = (series.of(START), series.of(EXITED), series.of(CALL));
    let allowed = raw.with(&call, |raw, call| 2.0 * raw + call);
    let title = bench.title("Start of /bin/true, p50 in microseconds");
    let mut table = Table::new(&title, &["", "p50", "lowest–highest", "÷ raw, exit seen"]);
    for name in [CLONED, EXECUTED, EXITED, CALL, START, ENDED] {
        let samples = series.of(name);
        table.row(&[
            name.to_owned(),
            samples.figure(),
            samples.range(),
            samples.over(&raw).figure(),
        ]);
    }
    let rate = series.of(RATE);
    table.print(&format!(
        "Start ÷ (2 × raw, exit seen, + an empty call): {}. Raw processes are cloned from one of {} MB; the supervisor has {} MB.\n\
         {CLIENTS} clients with a connection each: {} starts a second ({}).",
        start.over(&allowed).figure(),
        series.of("raw memory").figure(),
        series.of("supervisor").figure(),
        rate.figure(),
        rate.range(),
    ));
    summary.compare(
        "a Start call on a kept connection, p50",
        (&start, "µs"),
        (
            "2 × (own cgroup, pipes, clone3, execve, exit) + an empty call",
            &allowed,
        ),
        &start.over(&allowed),
    );
    let ended = series.of(ENDED).median().unwrap_or(f64::NAN);
    summary.alone(
        "a Start call and the process's end, p50",
        &format!("{} µs", figure(ended)),
    );
    summary.alone(
        &format!("starts from {CLIENTS} clients"),
        &format!("{} a second", rate.figure()),
    );
    report_others(bench, &series, summary);
    Ok(())
}

/// Profiles beside the default one, and starts among many processes beside those among few.
fn report_others(bench: &Bench, series: &Series, summary: &mut Summary) {
    let title = bench.title("Start of /bin/true by profile, and among others, p50 in microseconds");
    let mut table = Table::new(&title, &["", "p50", "lowest–highest", "ratio"]);
    let mut row = |name: &str, beside: &str| {
        let (samples, beside) = (series.of(name), series.of(beside));
        let (range, ratio) = (samples.range(), samples.over(&beside));
        table.row(&[
            name.to_owned(),
            samples.figure(),
            range,
            format!("{} ({})", ratio.figure(), ratio.range()),
        ]);
    };
    let (_, default) = PROFILES[0];
    for (_, names) in PROFILES {
        for (name, default) in names.into_iter().zip(default) {
            row(name, default);
        }
    }
    row(AMONG_FEW, AMONG_FEW);
    row(AMONG_MANY, AMONG_FEW);
    table.print("Ratios are to profile default, and to 10 live processes (`sleep`).");
    let mut compare = |name: &str, beside: &str| {
        let (samples, beside_it) = (series.of(name), series.of(beside));
        summary.compare(
            &format!("{name}, p50"),
            (&samples, "µs"),
            (beside, &beside_it),
            &samples.over(&beside_it),
        );
    };
    for (_, [name, _]) in &PROFILES[1..] {
        compare(name, default[0]);
    }
    compare(AMONG_MANY, AMONG_FEW);
}

/// What one start takes: until the program runs, and until its output has ended, in microseconds.
pub async fn start(client: &Client, spec: &StartSpec) -> anyhow::Result<(ProcessId, [f64; 2])> {
    let begun = Instant::now();
    let id = client.start(spec).await?.process.id;
    let started = begun.elapsed();
    parts::follow(client, id).await?;
    let micros = [started, begun.elapsed()].map(|time| time.as_secs_f64() * 1e6);
    Ok((id, micros))
}

/// Starts under each profile, in turns; then among few and among many others.
async fn others(address: &str, folder: &Path, series: &mut Series) -> anyhow::Result<()> {
    let client = parts::connect(address, folder).await?;
    let mut times: [[Vec<f64>; 2]; PROFILES.len()] = Default::default();
    let mut spec = StartSpec::new(["/bin/true"]);
    for _ in 0..STARTS {
        for ((profile, _), times) in PROFILES.iter().zip(&mut times) {
            spec.profile = Some(*profile);
            let (_, micros) = start(&client, &spec).await?;
            for (times, micros) in times.iter_mut().zip(micros) {
                times.push(micros);
            }
        }
    }
    for ((_, names), times) in PROFILES.iter().zip(&mut times) {
        for (name, times) in names.iter().zip(times) {
            series.add(name, percentile(times, 50).unwrap_or(f64::NAN));
        }
    }
    spec.profile = Some(Profile::Default);
    among(&client, &spec, series).await
}

/// Starts among few, among many, and among few again: machines get slower or faster meanwhile.
async fn among(client: &Client, spec: &StartSpec, series: &mut Series) -> anyhow::Result<()> {
    let sleep = StartSpec::new(["sleep", "3600"]);
    let (mut live, mut few, mut many) = (Vec::new(), Vec::new(), Vec::new());
    for (count, times) in [(FEW, &mut few), (MANY, &mut many)] {
        while live.len() < count {
            live.push(client.start(&sleep).await?.process.id);
        }
        starts(client, spec, times).await?;
    }
    for id in live.drain(FEW..) {
        client.stop(id, StopSignal::Kill, None).await?;
    }
    starts(client, spec, &mut few).await?;
    for (name, mut times) in [(AMONG_FEW, few), (AMONG_MANY, many)] {
        series.add(name, percentile(&mut times, 50).unwrap_or(f64::NAN));
    }
    Ok(())
}

async fn starts(client: &Client, spec: &StartSpec, times: &mut Vec<f64>) -> anyhow::Result<()> {
    for _ in 0..STARTS {
        let (_, [started, _]) = start(client, spec).await?;
        times.push(started);
    }
    Ok(())
}

async fn one_by_one(address: &str, folder: &Path, series: &mut Series) -> anyhow::Result<()> {
    let client = parts::connect(address, folder).await?;
    let spec = StartSpec::new(["/bin/true"]);
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    let mut last = None;
    for number in 0..STARTS + 20 {
        let (id, [started, ended]) = start(&client, &spec).await?;
        // The first ones find everything cold.
        if number >= 20 {
            starts.push(started);
            ends.push(ended);
        }
        last = Some(id);
    }
    let Some(id) = last else { bail!("no start") };
    let calls = latency::calls(&client, id, CALLS, Duration::ZERO).await?;
    for (name, mut micros) in [(START, starts), (ENDED, ends), (CALL, calls)] {
        series.add(name, percentile(&mut micros, 50).unwrap_or(f64::NAN));
    }
    Ok(())
}

async fn many(address: &str, folder: &Path, series: &mut Series) -> anyhow::Result<()> {
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(parts::connect(address, folder).await?);
    }
    let begun = Instant::now();
    let tasks: Vec<_> = clients
        .into_iter()
        .map(|client| {
            tokio::spawn(async move {
                let spec = StartSpec::new(["/bin/true"]);
                for _ in 0..STARTS_EACH {
                    client.start(&spec).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    series.add(
        RATE,
        (CLIENTS * STARTS_EACH) as f64 / begun.elapsed().as_secs_f64(),
    );
    Ok(())
}

fn raw(bench: &Bench, series: &mut Series) -> anyhow::Result<()> {
    let group = Group::new()?;
    let values = parts::numbers(bench.part(&["clone", &word(&group.0), &STARTS.to_string()]))?;
    ensure!(values.len() == 4, "{values:?}");
    for (name, value) in [CLONED, EXITED, EXECUTED].iter().zip(&values) {
        series.add(name, *value);
    }
    series.add("raw memory", values[3] / 1e6);
    Ok(())
}

/// A cgroup of the driver's own, removed when dropped.
struct Group(PathBuf);

impl Group {
    fn new() -> anyhow::Result<Self> {
        let path = cgroup_mount().join(format!("prn-bench-{}", std::process::id()));
        fs::create_dir(&path)?;
        let group = Self(path);
        // Groups of processes under prn have these, and more controllers make a group dearer. Not
        // everywhere are all there.
        for controller in ["cpu", "io", "memory", "pids"] {
            let _ = fs::write(
                group.0.join("cgroup.subtree_control"),
                format!("+{controller}"),
            );
        }
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let below = fs::read_dir(&self.0)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        below
            .filter(|path| path.is_dir())
            .for_each(|path| drop(fs::remove_dir(path)));
        let _ = fs::remove_dir(&self.0);
    }
}
