//! One look at the server: its own metrics, and those of processes.
//!
//! One at a time for all who ask meanwhile and within the second after it, each within a bounded
//! time; what cannot be had by then is left out, and `prn_up` is 0 where that is the server itself.

use prn_service::log;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prn_client::{Client, ClientError, ListRequest, MetricKind, Process, Selector, State, Usages};
use prn_proto::metrics::{family, number, sample};
use prn_proto::v1::MetricFamily;
use prn_proto::v1::metric_family::Kind;
use tokio::sync::Mutex;

use crate::link::Link;
use crate::options::Options;
use crate::processes::Series;

/// For how long a look is good for others, from its end.
const FRESH: Duration = Duration::from_secs(1);

/// The last look, and when it had ended.
type Kept = Option<(Instant, Arc<Vec<MetricFamily>>)>;

/// What looks.
pub struct Scraper {
    link: Arc<Link>,
    label_keys: Vec<String>,
    processes_max: u32,
    within: Duration,
    kept: Arc<Mutex<Kept>>,
    was_up: AtomicBool,
    spans_lost: AtomicU64,
}

/// What was seen of the server.
struct Seen {
    families: Vec<MetricFamily>,
    processes: Vec<Process>,
    usages: Option<Usages>,
    left_out: u64,
}

impl Scraper {
    /// As these options have it.
    pub fn new(link: Arc<Link>, options: &Options) -> Self {
        Self {
            link,
            label_keys: options.label_key.clone(),
            processes_max: options.processes_max,
            within: options.scrape_timeout,
            kept: Arc::default(),
            was_up: AtomicBool::new(true),
            spans_lost: AtomicU64::new(0),
        }
    }

    /// So many spans will not be sent.
    pub fn lose_spans(&self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.spans_lost.fetch_add(count, Ordering::Relaxed);
    }

    /// All families, in the order of their names. Whoever asks while there is a look waits for that
    /// one, and it goes on where who has asked for it is gone. Must be called in a local set.
    pub async fn families(self: &Arc<Self>) -> Arc<Vec<MetricFamily>> {
        let mut kept = Arc::clone(&self.kept).lock_owned().await;
        if let Some((ended, families)) = kept.as_ref()
            && ended.elapsed() < FRESH
        {
            return Arc::clone(families);
        }
        let this = Arc::clone(self);
        let look = tokio::task::spawn_local(async move {
            let families = Arc::new(this.seen().await);
            *kept = Some((Instant::now(), Arc::clone(&families)));
            families
        });
        look.await.unwrap_or_default()
    }

    async fn seen(&self) -> Vec<MetricFamily> {
        let began = Instant::now();
        let looked = tokio::time::timeout(
            self.within,
            self.link.ask(async |client| self.look(client).await),
        );
        let seen = match looked.await {
            Ok(Ok(seen)) => Ok(seen),
            Ok(Err(error)) => Err(log::chain(&error)),
            Err(_) => Err(format!("no answer within {:?}", self.within)),
        };
        self.say(seen.as_ref().err());
        let mut families = Vec::new();
        let up = f64::from(u8::from(seen.is_ok()));
        let mut one = |name: &str, unit: &str, help: &str, value: f64| {
            let mut family = family(Kind::Gauge, name, unit, help);
            family.samples = vec![sample(&[], value)];
            families.push(family);
        };
        one("prn_up", "", "1: the server has answered.", up);
        if let Ok(seen) = &seen {
            let help =
                "Processes that run and are not told apart: there are more than --processes-max.";
            one(
                "prn_exporter_processes_left_out",
                "",
                help,
                number(seen.left_out),
            );
        }
        let took = began.elapsed().as_secs_f64();
        let help = "How long this answer has taken.";
        one(
            "prn_exporter_scrape_duration_seconds",
            "seconds",
            help,
            took,
        );
        let help =
            "Spans that were not sent: the collector has refused them, or was away for long.";
        let mut lost = family(Kind::Counter, "prn_exporter_spans_lost", "", help);
        lost.samples = vec![sample(&[], number(self.spans_lost.load(Ordering::Relaxed)))];
        families.push(lost);
        if let Ok(seen) = seen {
            let series = Series::new(&seen.processes, &self.label_keys);
            families.extend(series.families(seen.usages.as_ref()));
            families.extend(seen.families);
        }
        families.sort_by(|one, other| one.name.cmp(&other.name));
        families
    }

    /// A line when the server goes, and one when it comes back.
    fn say(&self, fault: Option<&String>) {
        let was_up = self.was_up.swap(fault.is_none(), Ordering::Relaxed);
        match fault {
            Some(fault) if was_up => log::line(format_args!("the server does not answer: {fault}")),
            None if !was_up => log::line(format_args!("the server answers again")),
            Some(_) | None => {}
        }
    }

    async fn look(&self, client: &Client) -> Result<Seen, ClientError> {
        let metrics = client.metrics().await?;
        let families: Vec<_> = metrics.families.into_iter().map(wire).collect();
        let running = running(&families);
        let mut seen = Seen {
            families,
            processes: Vec::new(),
            usages: None,
            left_out: running,
        };
        if self.processes_max == 0 || running == 0 {
            return Ok(seen);
        }
        let mut request = ListRequest::default();
        request.state = Some(State::Running);
        request.newest_first = true;
        request.page_size = Some(self.processes_max);
        let mut pages = client.pages(request);
        let most = usize::try_from(self.processes_max).unwrap_or(usize::MAX);
        while seen.processes.len() < most
            && let Some(page) = pages.next().await?
        {
            seen.processes.extend(page);
        }
        seen.processes.truncate(most);
        let told = u64::try_from(seen.processes.len()).unwrap_or(u64::MAX);
        seen.left_out = running.saturating_sub(told);
        // By a selector: what ends meanwhile is then left out, and no error. They are the newest
        // ones too.
        let mut selector = Selector::default();
        selector.state = Some(State::Running);
        seen.usages = Some(client.usage(selector, false).await?);
        Ok(seen)
    }
}

/// The server's own count of processes that run.
fn running(families: &[MetricFamily]) -> u64 {
    let of = BTreeMap::from([("state".to_owned(), "running".to_owned())]);
    let mut all = families
        .iter()
        .filter(|family| family.name == "prn_processes");
    let samples = all.next().map(|family| family.samples.as_slice());
    let mut samples = samples.unwrap_or_default().iter();
    let value = samples.find(|sample| sample.labels == of);
    value.map_or(0, |sample| whole(sample.value))
}

#[expect(
    clippy::as_conversions,
    reason = "saturates, and there is no other conversion"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

/// As the server has sent it.
fn wire(from: prn_client::MetricFamily) -> MetricFamily {
    let kind = match from.kind {
        MetricKind::Counter => Kind::Counter,
        MetricKind::Gauge => Kind::Gauge,
        MetricKind::Unknown | _ => Kind::Unspecified,
    };
    let mut to = family(kind, &from.name, &from.unit, &from.help);
    let samples = from.samples.into_iter();
    to.samples = samples
        .map(|from| {
            let mut to = sample(&[], from.value);
            to.labels = from.labels;
            to
        })
        .collect();
    to
}
