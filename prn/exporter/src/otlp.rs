//! Pushing to a collector of OpenTelemetry (OTLP over gRPC), where `--otlp` names one: the spans of
//! each process when it has ended, and all metrics at an interval.
//!
//! What cannot be sent yet waits, so much of it at most; the oldest goes first where there is more.

use prn_service::log;
use std::collections::{BTreeSet, VecDeque};
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prn_client::{Change, ClientError, ProcessId, Watch, WatchRequest};
use prn_proto::names;
use prn_proto::units::Address;
use prn_proto::v1::metric_family::Kind;
use prn_proto::v1::{MetricFamily, MetricSample};
use tokio::sync::{Mutex, Notify};
use tonic::Code;
use tonic::transport::Channel;

use crate::collector::Collector;
use crate::link::Link;
use crate::scrape::Scraper;
use crate::spans::{attribute, nanos, spans, text};

/// Most spans that wait to be sent, and of one message.
const WAITING_MAX: usize = 8192;
const BATCH: usize = 512;
/// How long to wait before the next try, at first and at most.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Most processes that are known to have been told of. A server remembers fewer; of one that says
/// otherwise some are told again.
const TOLD_MAX: usize = 65_536;

/// The type of the detail of a status that says when to try again.
const RETRY_INFO: &[u8] = b"google.rpc.RetryInfo";

/// What pushes.
pub struct Pusher {
    link: Arc<Link>,
    scraper: Arc<Scraper>,
    channel: Channel,
    server: Address,
    /// Of the server, as it has said last.
    version: std::sync::Mutex<Option<String>>,
    interval: Duration,
    waiting: Mutex<VecDeque<Span>>,
    some: Notify,
    /// Spans are lost, which was said.
    is_losing: AtomicBool,
}

impl Pusher {
    /// To this collector, of the server at this address. Must be called in the runtime.
    pub fn new(
        link: Arc<Link>,
        scraper: Arc<Scraper>,
        collector: &Collector,
        server: Address,
        interval: Duration,
    ) -> Self {
        Self {
            link,
            scraper,
            channel: collector.channel(),
            server,
            version: std::sync::Mutex::default(),
            interval,
            waiting: Mutex::default(),
            some: Notify::new(),
            is_losing: AtomicBool::new(false),
        }
    }

    /// Pushes for ever.
    pub async fn run(&self) {
        tokio::join!(self.follow(), self.send_spans(), self.send_metrics());
    }

    /// Follows what happens to processes, on a connection of its own, from where it was when that
    /// is lost.
    async fn follow(&self) {
        let since = SystemTime::now();
        let mut last: Option<Watch> = None;
        let mut told = BTreeSet::new();
        let mut pause = PAUSE;
        loop {
            let fault = match self.watch(last.as_ref()).await {
                Ok(mut watch) => {
                    let fault = loop {
                        match watch.next().await {
                            Ok(Some(change)) => {
                                pause = PAUSE;
                                self.note(change, since, &mut told).await;
                            }
                            Ok(None) => break None,
                            Err(error) => break Some(error),
                        }
                    };
                    last = Some(watch);
                    fault
                }
                Err(error) => Some(error),
            };
            if let Some(fault) = fault.filter(|_| pause == PAUSE) {
                let fault = log::chain(&fault);
                log::line(format_args!(
                    "following processes was cut off, and goes on: {fault}"
                ));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn watch(&self, last: Option<&Watch>) -> Result<Watch, ClientError> {
        let client = self.link.connect().await?;
        match last {
            Some(last) => client.resume_watch(last).await,
            None => {
                let mut request = WatchRequest::default();
                request.with_argv = true;
                client.watch(&request).await
            }
        }
    }

    /// Once for each process that has ended since the exporter runs.
    async fn note(&self, change: Change, since: SystemTime, told: &mut BTreeSet<ProcessId>) {
        match change {
            Change::Process(process) => {
                let is_new = process.status.ended_at.is_some_and(|ended| ended >= since);
                if is_new && told.insert(process.id) {
                    if told.len() > TOLD_MAX {
                        told.pop_first();
                    }
                    let mut waiting = self.waiting.lock().await;
                    waiting.extend(spans(&process));
                    let above = waiting.len().saturating_sub(WAITING_MAX);
                    if above > 0 {
                        waiting.drain(..above);
                        self.lose(above, "the collector takes nothing");
                    }
                    self.some.notify_one();
                }
            }
            Change::Removed(id) => {
                told.remove(&id);
            }
            Change::Restarted => told.clear(),
            Change::Reset | Change::Synchronized => {}
        }
    }

    /// Says so the first time since some were taken.
    fn lose(&self, count: usize, why: &str) {
        self.scraper.lose_spans(count);
        if !self.is_losing.swap(true, Ordering::Relaxed) {
            log::line(format_args!(
                "{count} spans are lost, and perhaps more (prn_exporter_spans_lost_total): {why}"
            ));
        }
    }

    /// Takes a batch away, of which some may have been dropped meanwhile. How many it were.
    async fn take(&self, count: usize, last: &[u8]) -> usize {
        let mut waiting = self.waiting.lock().await;
        let mut sent = waiting.iter().take(count);
        let sent = sent.rposition(|span| span.span_id == last);
        let sent = sent.map_or(0, |place| place + 1);
        waiting.drain(..sent);
        sent
    }

    async fn send_spans(&self) {
        let mut client = TraceServiceClient::new(self.channel.clone());
        let mut pause = PAUSE;
        loop {
            let batch: Vec<_> = {
                let waiting = self.waiting.lock().await;
                waiting.iter().take(BATCH).cloned().collect()
            };
            let Some(last) = batch.last().map(|span| span.span_id.clone()) else {
                self.some.notified().await;
                continue;
            };
            let count = batch.len();
            let request = ExportTraceServiceRequest {
                resource_spans: vec![ResourceSpans {
                    resource: Some(self.resource()),
                    scope_spans: vec![ScopeSpans {
                        scope: Some(scope()),
                        spans: batch,
                        schema_url: String::new(),
                    }],
                    schema_url: String::new(),
                }],
            };
            match client.export(request).await {
                Ok(_) => {
                    pause = PAUSE;
                    self.is_losing.store(false, Ordering::Relaxed);
                    self.take(count, &last).await;
                }
                Err(status) if !is_retryable(&status) => {
                    pause = PAUSE;
                    let refused = self.take(count, &last).await;
                    let why = format!("the collector has refused them: {}", said(&status));
                    self.lose(refused, &why);
                }
                Err(status) => {
                    if pause == PAUSE {
                        log::line(format_args!(
                            "the collector has not taken spans: {}",
                            said(&status)
                        ));
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    async fn send_metrics(&self) {
        let mut client = MetricsServiceClient::new(self.channel.clone());
        let mut was_taken = true;
        loop {
            let families = self.scraper.families().await;
            self.note_version(&families);
            let now = SystemTime::now();
            let metrics = families.iter().cloned();
            let metrics = metrics.map(|family| metric(family, now));
            let request = ExportMetricsServiceRequest {
                resource_metrics: vec![ResourceMetrics {
                    resource: Some(self.resource()),
                    scope_metrics: vec![ScopeMetrics {
                        scope: Some(scope()),
                        metrics: metrics.collect(),
                        schema_url: String::new(),
                    }],
                    schema_url: String::new(),
                }],
            };
            let sent = client.export(request).await;
            if let Err(status) = sent.as_ref()
                && was_taken
            {
                log::line(format_args!(
                    "the collector has not taken metrics: {}",
                    said(status)
                ));
            }
            was_taken = sent.is_ok();
            tokio::time::sleep(self.interval).await;
        }
    }

    /// The server's version, while it answers.
    fn note_version(&self, families: &[MetricFamily]) {
        let build = families
            .iter()
            .find(|family| family.name == "prn_build_info");
        let sample = build.and_then(|family| family.samples.first());
        if let Some(version) = sample.and_then(|sample| sample.labels.get("version")) {
            let mut known = self.version.lock().unwrap_or_else(PoisonError::into_inner);
            *known = Some(version.clone());
        }
    }

    /// Whose they are, by OpenTelemetry's names (opentelemetry.io/docs/specs/semconv: service and
    /// server).
    fn resource(&self) -> Resource {
        let (host, port) = self.server.parts();
        let known = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        let version = known.iter();
        Resource {
            attributes: [
                text("service.name", "prn"),
                text("service.instance.id", &self.server.0),
                text("server.address", host),
                attribute("server.port", any_value::Value::IntValue(port.into())),
            ]
            .into_iter()
            .chain(version.map(|version| text("service.version", version)))
            .collect(),
            ..Resource::default()
        }
    }
}

/// Whether the same may be taken later, as OTLP has it (opentelemetry.io/docs/specs/otlp,
/// "Failures").
fn is_retryable(status: &tonic::Status) -> bool {
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        // Where the collector says when it may be tried again.
        Code::ResourceExhausted => {
            let mut windows = status.details().windows(RETRY_INFO.len());
            windows.any(|part| part == RETRY_INFO)
        }
        // The connection's fault, and no word of the collector's.
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Unimplemented
        | Code::Internal
        | Code::Unauthenticated => status.source().is_some(),
    }
}

fn said(status: &tonic::Status) -> String {
    format!("{}: {}", names::code(status.code()), status.message())
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "prn-exporter".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

/// A family as OTLP has it: names with dots would be others.
fn metric(family: MetricFamily, now: SystemTime) -> Metric {
    let kind = family.kind();
    let points = family.samples.into_iter().map(|sample| point(sample, now));
    let data_points = points.collect();
    let data = match kind {
        Kind::Counter => Data::Sum(Sum {
            data_points,
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: true,
        }),
        Kind::Gauge | Kind::Unspecified => Data::Gauge(Gauge { data_points }),
    };
    Metric {
        name: family.name,
        description: family.help,
        // UCUM's names of them.
        unit: match family.unit.as_str() {
            "bytes" => "By",
            "seconds" => "s",
            _ => "1",
        }
        .to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn point(sample: MetricSample, now: SystemTime) -> NumberDataPoint {
    let labels = sample.labels.iter();
    NumberDataPoint {
        attributes: labels.map(|(key, value)| text(key, value)).collect(),
        time_unix_nano: nanos(now),
        value: Some(Value::AsDouble(sample.value)),
        ..NumberDataPoint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Status;

    #[test]
    fn what_a_collector_refuses_for_good_is_not_sent_again() {
        for code in [
            Code::InvalidArgument,
            Code::Unimplemented,
            Code::PermissionDenied,
            Code::Internal,
            Code::Unknown,
            Code::ResourceExhausted,
        ] {
            assert!(!is_retryable(&Status::new(code, "no")), "{code:?}");
        }
        for code in [Code::Unavailable, Code::DeadlineExceeded, Code::DataLoss] {
            assert!(is_retryable(&Status::new(code, "later")), "{code:?}");
        }
        let details = [b"\x12\x2atype.googleapis.com/", RETRY_INFO].concat();
        let status = Status::with_details(Code::ResourceExhausted, "later", details.into());
        assert!(is_retryable(&status));
        let broken = Status::from_error(Box::new(std::io::Error::other("reset")));
        assert!(is_retryable(&broken), "{broken:?}");
    }
}
