//! A fleet under load: four hosts, each in a network of its own, an etcd of three members in the middle,
//! and many short jobs, placed by labels and by what hosts have room for.

use std::time::{Duration, Instant, SystemTime};

use prn_fleet::{JobView, Standing, v1};

use crate::agents::{Hosts, Plan, job};
use crate::networks::Networks;
use crate::procfs;

/// Hosts.
pub const HOSTS: usize = 4;
/// Who submit at the same time.
const SUBMITTERS: usize = 16;

/// What came of it.
#[derive(Debug)]
pub struct Figures {
    /// How long it took to submit all.
    pub submitting: Duration,
    /// How long it took from the first to the last one's end.
    pub all: Duration,
    /// From when each was submitted to when its process was started, in order.
    pub waits: Vec<Duration>,
    /// How many of them each host had.
    pub spread: Vec<usize>,
    /// Bytes of etcd's file after it, of the largest member.
    pub store_disk: u64,
    /// KiB of etcd's memory after it, of the largest member.
    pub store_memory: u64,
    /// Of each agent that has nothing to do: wake-ups in a minute.
    pub wakeups: Vec<f64>,
    /// And KiB of memory.
    pub agent_memory: Vec<u64>,
}

/// Runs so many jobs; the agents are looked at for `idle` after that.
///
/// # Errors
/// There can be no such networks here.
///
/// # Panics
/// If a job is not started once, or its outcome is not known.
pub fn run(jobs: usize, idle: Duration) -> Result<Figures, String> {
    let networks = Networks::new(HOSTS)?;
    Ok(networks.in_the_middle(|| loaded(&networks, jobs, idle)))
}

fn loaded(networks: &Networks, jobs: usize, idle: Duration) -> Figures {
    let kept = jobs.max(64).to_string();
    let hosts = Hosts::with(Plan {
        members: 3,
        hosts: HOSTS,
        arguments: &["--processes", "16", "--cpus", "8"],
        server_arguments: &["--max-finished", &kept],
        labels: &["zone=a", "zone=b"],
        networks: Some(networks),
        ..Plan::default()
    });
    let wanted: Vec<_> = (0..jobs).map(one).collect();
    let ids: Vec<_> = wanted
        .iter()
        .map(|job| job.attempts[0].id.clone())
        .collect();
    let begun = Instant::now();
    submit(&hosts, wanted);
    let submitting = begun.elapsed();
    let views = hosts.all_over(&ids, || std::thread::sleep(Duration::from_millis(200)));
    let all = begun.elapsed();
    let spread = check(&hosts, &views);
    let (store_disk, store_memory) = store(&hosts);
    let (wakeups, agent_memory) = idle_cost(&hosts, idle);
    let mut waits: Vec<_> = views.iter().map(wait).collect();
    waits.sort();
    Figures {
        submitting,
        all,
        waits,
        spread,
        store_disk,
        store_memory,
        wakeups,
        agent_memory,
    }
}

/// Every other one in the one zone; each takes half a CPU of what its host has.
fn one(number: usize) -> v1::Job {
    let mut one = job(&["echo", "started"], 1);
    let zone = if number % 2 == 0 { "a" } else { "b" };
    one.on = [("zone".to_owned(), zone.to_owned())].into();
    one.needs = Some(v1::Resources {
        processes: 1,
        memory_bytes: 1 << 20,
        cpu_millis: 500,
    });
    one
}

fn submit(hosts: &Hosts, wanted: Vec<v1::Job>) {
    let part = wanted.len().div_ceil(SUBMITTERS).max(1);
    let submitters = wanted.chunks(part).map(|part| {
        let (part, fleet) = (part.to_vec(), hosts.fleet.clone());
        hosts.runtime.spawn(async move {
            for job in part {
                fleet.submit(job).await.expect("a job");
            }
        })
    });
    let submitters: Vec<_> = submitters.collect();
    for submitter in submitters {
        hosts.runtime.block_on(submitter).expect("no panic");
    }
}

/// How many each host has had. Each is on one of them, once, where its label says, and has ended well.
fn check(hosts: &Hosts, views: &[JobView]) -> Vec<usize> {
    let there: Vec<_> = hosts.hosts.iter().map(|host| host.processes()).collect();
    let mut all: Vec<_> = there.iter().flatten().collect();
    all.sort();
    let mut expected: Vec<_> = views.iter().map(|view| &view.id).collect();
    expected.sort();
    assert_eq!(all, expected, "each once");
    for view in views {
        assert_eq!(view.standing(), Standing::Ended, "{view:?}");
        let exit = view.outcome().and_then(|known| known.exit_cause.as_ref());
        assert_eq!(exit.map(|exit| exit.exit_code), Some(0), "{view:?}");
        let host = view.host().and_then(|name| name.strip_prefix("web"));
        let number: usize = host.expect("a host").parse().expect("its number");
        let zone = if number % 2 == 1 { "a" } else { "b" };
        assert_eq!(view.job.on["zone"], zone, "{view:?}");
    }
    there.iter().map(Vec::len).collect()
}

fn wait(view: &JobView) -> Duration {
    let at = |time: Option<prost_types::Timestamp>| {
        SystemTime::try_from(time.expect("a time")).expect("a time")
    };
    let started = at(view.outcome().expect("known").started_at);
    let submitted = at(view.job.submitted_at);
    started.duration_since(submitted).unwrap_or_default()
}

fn store(hosts: &Hosts) -> (u64, u64) {
    let said = hosts.cluster.ctl(&["endpoint", "status", "-w", "json"]);
    let said: serde_json::Value = serde_json::from_slice(&said.stdout).expect("JSON");
    let members = said.as_array().expect("members").iter();
    let disk = members.filter_map(|member| member["Status"]["dbSize"].as_u64());
    let pids = hosts.cluster.pids().into_iter();
    let memory = pids.map(|pid| procfs::memory(pid.try_into().expect("a number"), "VmRSS"));
    (
        disk.max().unwrap_or_default(),
        memory.max().unwrap_or_default(),
    )
}

fn idle_cost(hosts: &Hosts, idle: Duration) -> (Vec<f64>, Vec<u64>) {
    let pids = hosts.hosts.iter().map(|host| host.agent_pid());
    let pids: Vec<i32> = pids.map(|pid| pid.try_into().expect("a number")).collect();
    let switches = || pids.iter().map(|pid| procfs::context_switches(*pid));
    let before: Vec<_> = switches().collect();
    std::thread::sleep(idle);
    let wakeups = switches()
        .zip(before)
        .map(|(after, before)| (after - before) as f64 * 60.0 / idle.as_secs_f64());
    let memory = pids.iter().map(|pid| procfs::memory(*pid, "VmRSS"));
    (wakeups.collect(), memory.collect())
}
