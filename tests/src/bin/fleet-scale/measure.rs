//! What a real etcd of three members does on the machine at hand: the figures that `inputs.rs` has.
//!
//! Members, clients and this program share the machine's processors: a member that has a machine of
//! its own does more.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use prn_fleet::Fleet;
use prn_fleet::etcd::{Etcd, Told, Txn, WatchRange, Watcher};
use prn_tests::etcd::Cluster;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::inputs::{CHECK_HOSTS, CHECK_JOBS};
use crate::{contention, records};

const PATIENCE: Duration = Duration::from_secs(20);
const TIME: Duration = Duration::from_secs(5);
const ROUNDS: usize = 3;
const WATCHERS: usize = 100;
/// Jobs that all watchers are told of in a round.
const TOLD_JOBS: usize = 2000;
const CLIENTS: [usize; 3] = [1, 16, 64];

/// Measures all, and prints it.
pub fn measure() -> anyhow::Result<()> {
    let cluster = Cluster::start(3);
    let runtime = Runtime::new()?;
    let processors = std::thread::available_parallelism()?;
    println!("three members of etcd and their clients on {processors} processors");
    runtime.block_on(async {
        let mut number = 0;
        for claims in [false, true] {
            for _ in 0..ROUNDS {
                let fleet_of = || fleet(cluster.client_for(PATIENCE));
                let found = contention::measure(fleet_of, number, claims).await?;
                number += CHECK_JOBS;
                println!(
                    "{CHECK_JOBS} jobs, {CHECK_HOSTS} hosts, told after {:?}; {} claims lost of {}",
                    found.told, found.lost, found.claimed
                );
                take_all_out(&fleet(cluster.client_for(PATIENCE))?).await?;
            }
        }
        for clients in CLIENTS {
            let before = (number, size_of_store(&cluster)?);
            for _ in 0..ROUNDS {
                number += transactions(&cluster, clients, number).await?;
            }
            let grown = size_of_store(&cluster)? - before.1;
            println!(
                "  the file has grown by {} bytes a submitted job",
                grown / (number - before.0)
            );
        }
        for _ in 0..ROUNDS {
            reads(&cluster, 64).await?;
            handshakes(&cluster, 16).await?;
        }
        fan_out(&cluster, number).await
    })
}

fn fleet(etcd: Etcd) -> anyhow::Result<Fleet> {
    Ok(Fleet::new(etcd, records::FLEET)?)
}

/// A client of the first member alone.
fn client_of_first(cluster: &Cluster) -> Etcd {
    let first: Vec<_> = cluster.endpoints().into_iter().take(1).collect();
    cluster.client_of(&first, &cluster.client, PATIENCE)
}

/// Jobs that so many clients submit, each one after the other. How many they were.
async fn transactions(cluster: &Cluster, clients: usize, first: u64) -> anyhow::Result<u64> {
    let numbers = Arc::new(AtomicU64::new(first));
    let until = Instant::now() + TIME;
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let fleet = fleet(cluster.client_for(PATIENCE))?;
        let numbers = Arc::clone(&numbers);
        tasks.spawn(async move {
            let mut took = Vec::new();
            while Instant::now() < until {
                let job = records::job(numbers.fetch_add(1, Ordering::Relaxed));
                let begun = Instant::now();
                fleet.submit(job).await?;
                took.push(begun.elapsed());
            }
            anyhow::Ok(took)
        });
    }
    let mut took = Vec::new();
    while let Some(done) = tasks.join_next().await {
        took.extend(done??);
    }
    took.sort_unstable();
    let at = |percent: usize| took.get((took.len() * percent / 100).min(took.len() - 1));
    println!(
        "{clients} clients: {} transactions a second, p50 {:?}, p99 {:?}",
        took.len() as u64 / TIME.as_secs(),
        at(50).context("none was done")?,
        at(99).context("none was done")?,
    );
    Ok(took.len() as u64)
}

/// Nothing waits any more.
async fn take_all_out(fleet: &Fleet) -> anyhow::Result<()> {
    let waiting = fleet.etcd().read_all(&fleet.keys().waiting("")).await?;
    for item in &waiting.items {
        let delete = Txn::new().delete(&item.key);
        fleet.etcd().commit(&delete).await?;
    }
    Ok(())
}

/// One key, read by so many clients of all members.
async fn reads(cluster: &Cluster, clients: usize) -> anyhow::Result<()> {
    let until = Instant::now() + TIME;
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let etcd = cluster.client_for(PATIENCE);
        tasks.spawn(async move {
            let mut count = 0;
            while Instant::now() < until {
                etcd.read("nothing").await?;
                count += 1;
            }
            anyhow::Ok(count)
        });
    }
    println!("{} reads a second", sum(tasks).await? / TIME.as_secs());
    Ok(())
}

/// Connections to one member, each with one read.
async fn handshakes(cluster: &Cluster, clients: usize) -> anyhow::Result<()> {
    let until = Instant::now() + TIME;
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let etcds = std::iter::repeat_with(|| client_of_first(cluster));
        // Made before: files are read for them.
        let etcds: Vec<_> = etcds.take(600).collect();
        tasks.spawn(async move {
            let mut count = 0;
            for etcd in etcds {
                if Instant::now() >= until {
                    break;
                }
                etcd.read("nothing").await?;
                count += 1;
            }
            anyhow::Ok(count)
        });
    }
    let begun = Instant::now();
    let count = sum(tasks).await?;
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    println!("{rate:.0} connections to one member a second, of {count}");
    Ok(())
}

async fn sum(mut tasks: JoinSet<anyhow::Result<u64>>) -> anyhow::Result<u64> {
    let mut all = 0;
    while let Some(done) = tasks.join_next().await {
        all += done??;
    }
    Ok(all)
}

/// What waits, told to many clients of one member.
async fn fan_out(cluster: &Cluster, mut number: u64) -> anyhow::Result<()> {
    let before = memory_of_members()?;
    let told = Arc::new(AtomicU64::new(0));
    let begun = Arc::new(AtomicU64::new(0));
    let keys = fleet(cluster.client_for(PATIENCE))?.keys().clone();
    let mut tasks = JoinSet::new();
    for _ in 0..WATCHERS {
        // Another fleet's, so that nobody is told what waits already.
        let range = WatchRange::prefix(keys.waiting("").replace(records::FLEET, "watched"));
        let mut watcher = Watcher::new(&client_of_first(cluster), [range]);
        let (told, begun) = (Arc::clone(&told), Arc::clone(&begun));
        tasks.spawn(async move {
            loop {
                match watcher.next().await {
                    Ok(Told::Snapshot { .. }) => begun.fetch_add(1, Ordering::Relaxed),
                    Ok(_) => told.fetch_add(1, Ordering::Relaxed),
                    Err(error) => return error,
                };
            }
        });
    }
    all_told(&begun, WATCHERS as u64).await?;
    // The first of them are told that they watch.
    for round in 0..=ROUNDS {
        let already = told.load(Ordering::Relaxed);
        let start = Instant::now();
        submit(cluster, number, TOLD_JOBS).await?;
        let submitted = start.elapsed();
        number += TOLD_JOBS as u64;
        let expected = already + (TOLD_JOBS * WATCHERS) as u64;
        all_told(&told, expected).await?;
        let rate = (TOLD_JOBS * WATCHERS) as f64 / start.elapsed().as_secs_f64();
        if round > 0 {
            println!(
                "{WATCHERS} watchers of one member: {rate:.0} events a second; all was submitted \
                 after {submitted:?}, told after {:?}",
                start.elapsed()
            );
        }
    }
    let after = memory_of_members()?;
    println!("memory of the members, MiB: {before:?} before {WATCHERS} watchers, {after:?} after");
    Ok(())
}

async fn all_told(told: &AtomicU64, expected: u64) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs(120);
    while told.load(Ordering::Relaxed) < expected {
        anyhow::ensure!(Instant::now() < until, "not all watchers were told of all");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

async fn submit(cluster: &Cluster, first: u64, count: usize) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    for part in 0..16 {
        let fleet = Fleet::new(cluster.client_for(PATIENCE), "watched")?;
        tasks.spawn(async move {
            for number in (part..count).step_by(16) {
                fleet.submit(records::job(first + number as u64)).await?;
            }
            anyhow::Ok(0)
        });
    }
    sum(tasks).await?;
    Ok(())
}

fn size_of_store(cluster: &Cluster) -> anyhow::Result<u64> {
    let output = cluster.ctl(&["endpoint", "status", "-w", "json"]);
    let said: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let sizes = said.as_array().into_iter().flatten();
    let sizes = sizes.filter_map(|member| member["Status"]["dbSize"].as_u64());
    sizes.max().context("no member says how large its file is")
}

/// What each member has of memory: those are this program's children.
fn memory_of_members() -> anyhow::Result<Vec<u64>> {
    let mut all = Vec::new();
    for thread in fs::read_dir("/proc/self/task")? {
        let children = fs::read_to_string(thread?.path().join("children"))?;
        for child in children.split_whitespace() {
            let status = fs::read_to_string(format!("/proc/{child}/status"))?;
            let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kib = resident.and_then(|text| text.trim().strip_suffix(" kB"));
            let kib: u64 = kib.context("a child without memory")?.trim().parse()?;
            all.push(kib / 1024);
        }
    }
    Ok(all)
}
