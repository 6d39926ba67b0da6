//! How often hosts of a real etcd claim what another has claimed: what the simulation is checked with.
//!
//! A host here is the part of an agent that watches and claims, with the store library's own watch
//! and transactions. Nothing is started.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
}

/// Hosts, each with a connection of its own, and jobs at an even pace. How many claims were lost, and
/// how many jobs were claimed.
pub async fn measure(
    fleet_of: impl Fn() -> anyhow::Result<Fleet>,
    first: u64,
) -> anyhow::Result<(u64, u64)> {
    let counts = Arc::new(Counts::default());
    let mut hosts = JoinSet::new();
    for number in 0..CHECK_HOSTS {
        hosts.spawn(host(
            fleet_of()?,
            format!("host{number}"),
            Arc::clone(&counts),
        ));
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
        submitter.submit(records::job(first + number)).await?;
    }
    let all_claimed = async {
        while counts.claimed.load(Ordering::Relaxed) < CHECK_JOBS {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(60), all_claimed).await?;
    // Those who are at it yet lose.
    sleep(Duration::from_secs(1)).await;
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    Ok((of(&counts.lost), of(&counts.claimed)))
}

/// Watches what waits, and claims it after a wait.
async fn host(fleet: Fleet, name: String, counts: Arc<Counts>) -> anyhow::Result<()> {
    let range = WatchRange {
        key: fleet.keys().waiting(""),
        is_prefix: true,
        deletions_only: false,
    };
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
