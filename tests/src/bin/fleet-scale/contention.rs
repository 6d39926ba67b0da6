//! How often hosts of a real etcd claim what another has claimed: this checks the simulation.
//!
//! A host here is the part of an agent that watches and claims, with the store library's own watch
//! and transactions. Nothing is started.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use prn_fleet::etcd::{Told, WatchRange, Watcher, jitter};
use prn_fleet::{Fleet, record};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::inputs::{CHECK_HOSTS, CHECK_JOBS, CHECK_SECONDS};
use crate::records;

/// Half of the agent's time, as an empty host waits.
const WAIT: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
struct Counts {
    watch: AtomicU64,
    claimed: AtomicU64,
    lost: AtomicU64,
    /// When jobs were submitted, and how long after that hosts were told of them.
    submitted: Mutex<BTreeMap<String, Instant>>,
    told: Mutex<Vec<Duration>>,
}

/// What was measured.
#[derive(Debug)]
pub struct Contention {
    /// Claims that were another's already, and jobs that were claimed.
    pub lost: u64,
    pub claimed: u64,
    /// From when a job is submitted to that a host is told of it: half of the times are no longer.
    pub told: Duration,
}

/// Hosts, each with a connection of its own, and jobs at an even pace. `claims`: the hosts claim
/// them.
pub async fn measure(
    fleet_of: impl Fn() -> anyhow::Result<Fleet>,
    first: u64,
    claims: bool,
) -> anyhow::Result<Contention> {
    let counts = Arc::new(Counts::default());
    let mut hosts = JoinSet::new();
    for number in 0..CHECK_HOSTS {
        let name = format!("host{number}");
        hosts.spawn(host(fleet_of()?, name, claims, Arc::clone(&counts)));
    }
    let submitter = fleet_of()?;
    let all_watch = async {
        while counts.watch.load(Ordering::Relaxed) < u64::from(CHECK_HOSTS) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(60), all_watch).await?;
    let begun = Instant::now();
    for number in 0..CHECK_JOBS {
        let at = Duration::from_millis(1_000 * CHECK_SECONDS * number / CHECK_JOBS);
        sleep_until(begun + at).await;
        let job = records::job(first + number);
        let key = submitter.keys().waiting(&job.attempts[0].id);
        let submitted = || counts.submitted.lock().expect("no panic");
        submitted().insert(key, Instant::now());
        submitter.submit(job).await?;
    }
    let all_claimed = async {
        while claims && counts.claimed.load(Ordering::Relaxed) < CHECK_JOBS {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(60), all_claimed).await?;
    // Those who are at it yet lose.
    sleep(Duration::from_secs(1)).await;
    let mut told = counts.told.lock().expect("no panic").clone();
    told.sort_unstable();
    let median = told.get(told.len() / 2).copied();
    Ok(Contention {
        lost: counts.lost.load(Ordering::Relaxed),
        claimed: counts.claimed.load(Ordering::Relaxed),
        told: median.context("no host was told of a job")?,
    })
}

/// Watches what waits, and claims it after a wait.
async fn host(fleet: Fleet, name: String, claims: bool, counts: Arc<Counts>) -> anyhow::Result<()> {
    let range = WatchRange::prefix(fleet.keys().waiting(""));
    let gone = Arc::new(Mutex::new(BTreeSet::new()));
    let mut watcher = Watcher::new(fleet.etcd(), [range]);
    loop {
        match watcher.next().await? {
            Told::Snapshot { .. } => {
                counts.watch.fetch_add(1, Ordering::Relaxed);
            }
            Told::Deleted { key, .. } => {
                gone.lock().expect("no panic").insert(key);
            }
            Told::Put { item, .. } => {
                let submitted = counts.submitted.lock().expect("no panic");
                let submitted = submitted.get(&item.key).copied();
                let after = submitted.map(|submitted| submitted.elapsed());
                counts.told.lock().expect("no panic").extend(after);
                if !claims {
                    continue;
                }
                let (fleet, name) = (fleet.clone(), name.clone());
                let (gone, counts) = (Arc::clone(&gone), Arc::clone(&counts));
                tokio::spawn(async move {
                    sleep(jitter(WAIT)).await;
                    if gone.lock().expect("no panic").contains(&item.key) {
                        return anyhow::Ok(());
                    }
                    let claimed = fleet.claim(&name, "epoch", &record(&item)?).await?;
                    let count = match claimed {
                        Some(_) => &counts.claimed,
                        None => &counts.lost,
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                });
            }
        }
    }
}
