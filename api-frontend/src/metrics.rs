//! What this half counts of its clients and their calls, for GetMetrics.
//!
//! Whatever clients do, what is counted apart is bounded: calls by the names of the API and the
//! codes of gRPC, refusals by the reasons that [`prn_proto::reason`] has, connections by why they
//! were closed. Nothing is counted by what a client has sent.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::HeaderMap;
use prn_ipc_protocol::types::UnixMicros;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The calls of the API.
const CALLS: [&str; 21] = [
    "CheckAccess",
    "CreateWorkspace",
    "GetMetrics",
    "GetOutput",
    "GetReceipt",
    "GetServer",
    "GetUsage",
    "List",
    "ListWorkspaces",
    "RemoveProcess",
    "RemoveWorkspace",
    "ResizeTerminal",
    "SendInput",
    "SignalProcess",
    "Start",
    "Status",
    "Stop",
    "UpdateProcess",
    "Wait",
    "Watch",
    OTHER,
];

/// Every path that is none of theirs.
const OTHER: &str = "other";

/// What is counted since this half began.
#[derive(Debug)]
pub struct Metrics {
    /// When that was.
    pub began: UnixMicros,
    /// Calls that are under way.
    pub calls_open: Gauge,
    /// Connections that are served.
    pub connections_open: Gauge,
    /// Connections that were served.
    pub connections: Counter,
    /// Bytes of output that were handed to clients.
    pub output_sent: Counter,
    calls: Mutex<BTreeMap<(&'static str, i32), u64>>,
    refusals: Mutex<BTreeMap<String, u64>>,
    rejected: Mutex<BTreeMap<&'static str, u64>>,
}

/// Something that only grows.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// So many more.
    pub fn add(&self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many there are of something.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// One more, until that is dropped.
    pub fn enter(&self) -> Entered {
        self.0.fetch_add(1, Ordering::Relaxed);
        Entered(self.clone())
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One of those that a [`Gauge`] counts.
#[derive(Debug)]
pub struct Entered(Gauge);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            began: UnixMicros::now(),
            calls_open: Gauge::default(),
            connections_open: Gauge::default(),
            connections: Counter::default(),
            output_sent: Counter::default(),
            calls: Mutex::default(),
            refusals: Mutex::default(),
            rejected: Mutex::default(),
        }
    }
}

impl Metrics {
    /// A call of this path was answered so, or has begun to be.
    pub fn answered(&self, path: &str, headers: &HeaderMap) {
        let status = Status::from_header_map(headers);
        let code = status.as_ref().map_or(Code::Ok, Status::code);
        let call = path.rsplit_once('/').map_or(path, |(_, call)| call);
        let call = CALLS.iter().find(|known| **known == call);
        let call = (call.copied().unwrap_or(OTHER), i32::from(code));
        count(&mut lock(&self.calls), call);
        let info = status.and_then(|status| status.get_details_error_info());
        if let Some(info) = info.filter(|_| code != Code::Ok) {
            count(&mut lock(&self.refusals), info.reason);
        }
    }

    /// A connection was closed before it could make a call.
    pub fn reject(&self, why: &'static str) {
        count(&mut lock(&self.rejected), why);
    }

    /// Calls, by their names and gRPC codes.
    pub fn calls(&self) -> BTreeMap<(&'static str, i32), u64> {
        lock(&self.calls).clone()
    }

    /// Calls that were refused, by their reasons.
    pub fn refusals(&self) -> BTreeMap<String, u64> {
        lock(&self.refusals).clone()
    }

    /// Connections that were closed before they could make a call, by why.
    pub fn rejected(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.rejected).clone()
    }
}

fn count<K: Ord>(counts: &mut BTreeMap<K, u64>, of: K) {
    let count = counts.entry(of).or_default();
    *count = count.saturating_add(1);
}

// No code under the lock can panic; were it poisoned, the counts would still be whole.
fn lock<T>(counts: &Mutex<T>) -> MutexGuard<'_, T> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors;
    use std::collections::BTreeSet;

    #[test]
    fn the_calls_are_those_of_the_api() {
        let proto = include_str!("../../proto/v1/process_runner.proto");
        let calls = proto.lines().filter_map(|line| {
            let (name, _) = line.trim().strip_prefix("rpc ")?.split_once('(')?;
            Some(name)
        });
        let known = CALLS.into_iter().filter(|call| *call != OTHER);
        assert_eq!(calls.collect::<BTreeSet<_>>(), known.collect());
    }

    #[test]
    fn whatever_paths_are_asked_for_there_is_one_count_for_those_of_nobody() {
        let metrics = Metrics::default();
        let refused = errors::internal().into_http::<()>();
        for number in 0..10_000 {
            metrics.answered(&format!("/x/{number}"), refused.headers());
        }
        metrics.answered("/proto.v1.ProcessRunnerService/List", &HeaderMap::new());
        let calls = metrics.calls();
        assert_eq!(calls.len(), 2);
        assert_eq!(calls[&(OTHER, i32::from(Code::Internal))], 10_000);
        assert_eq!(calls[&("List", 0)], 1);
        assert_eq!(metrics.refusals(), [("INTERNAL".to_owned(), 10_000)].into());
    }

    #[test]
    fn what_is_open_is_counted_until_it_is_dropped() {
        let gauge = Gauge::default();
        let held = [gauge.enter(), gauge.enter()];
        assert_eq!(gauge.count(), 2);
        drop(held);
        assert_eq!(gauge.count(), 0);
    }
}
