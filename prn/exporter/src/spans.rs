//! A process that has ended as spans of OpenTelemetry. Pure.
//!
//! One span for all of it, below whoever its label `traceparent` names, or of a trace of its own,
//! and one for each part whose times the server tells, each from where the one before has ended:
//! the steps of its start (`requested`, `admitted`, `prepared`, `executed`), until the main process
//! had ended (`ran`), from when it was to stop (`stopped`), and until all that it had started was
//! gone (`removed`).
//!
//! Ids follow from the process's, which is random: who is told of it twice, as after a restart, has
//! it once.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use prn_client::{ExitKind, Process, StartSteps};
use prn_proto::traceparent::{TRACEPARENT, Traceparent};

/// The spans of a process: none while it lives, or if its trace is not recorded.
pub fn spans(process: &Process) -> Vec<Span> {
    let status = &process.status;
    let (Some(started), Some(ended)) = (status.started_at, status.ended_at) else {
        return Vec::new();
    };
    let id = process.id.to_bytes();
    let caller = status.labels.get(TRACEPARENT);
    let caller: Option<Traceparent> = caller.and_then(|text| text.parse().ok());
    if caller.is_some_and(|caller| !caller.is_sampled) {
        return Vec::new();
    }
    let maker = Maker {
        trace_id: caller.map_or(id, |caller| caller.trace_id).to_vec(),
        id,
    };
    let parent = caller.map_or(Vec::new(), |caller| caller.parent_id.to_vec());
    let steps = steps(status.start_steps, started);
    let begun = steps.first().map_or(started, |(_, _, (begun, _))| *begun);
    let mut whole = maker.span(0, parent, "process", (begun, ended));
    whole.attributes = attributes(process);
    whole.status = Some(outcome(process));
    let parent = whole.span_id.clone();
    let part = |number, name, times| maker.span(number, parent.clone(), name, times);
    let main_ended = status.main_exited_at.unwrap_or(ended);
    let steps = steps.into_iter();
    let steps = steps.map(|(number, name, times)| part(number, name, times));
    let mut parts: Vec<_> = steps.collect();
    parts.push(part(1, "ran", (started, main_ended)));
    if let Some(stop) = &status.stop
        && let Some(asked) = stop.asked_at
    {
        let mut stopped = part(2, "stopped", (asked, ended));
        let by = stop.stopped_by.iter();
        stopped.attributes = by.map(|by| text("prn.stopped_by", by)).collect();
        stopped.events = stop
            .killed_at
            .map(|at| event("killed", at))
            .into_iter()
            .collect();
        parts.push(stopped);
    }
    parts.push(part(3, "removed", (main_ended, ended)));
    [vec![whole], parts].concat()
}

type Times = (SystemTime, SystemTime);

/// What came before its program ran, by number and name, in its order.
fn steps(steps: Option<StartSteps>, started: SystemTime) -> Vec<(u64, &'static str, Times)> {
    let Some(steps) = steps else {
        return Vec::new();
    };
    let requested = steps.requested_at;
    let requested = requested.map(|at| (4, "requested", (at, steps.received_at)));
    let own = [
        (5, "admitted", (steps.received_at, steps.admitted_at)),
        (6, "prepared", (steps.admitted_at, steps.prepared_at)),
        (7, "executed", (steps.prepared_at, started)),
    ];
    requested.into_iter().chain(own).collect()
}

struct Maker {
    trace_id: Vec<u8>,
    id: [u8; 16],
}

impl Maker {
    /// One of those of a process, by its number among them.
    fn span(&self, number: u64, parent_span_id: Vec<u8>, name: &str, (from, to): Times) -> Span {
        let [.., a, b, c, d, e, f, g, h] = self.id;
        let own = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        // Never 0, which is none.
        let span_id = own.wrapping_add(number).max(1);
        Span {
            trace_id: self.trace_id.clone(),
            span_id: span_id.to_be_bytes().to_vec(),
            parent_span_id,
            name: name.to_owned(),
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: nanos(from),
            // A clock that was set between them.
            end_time_unix_nano: nanos(to.max(from)),
            ..Span::default()
        }
    }
}

/// Since the Unix epoch.
pub fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn event(name: &str, at: SystemTime) -> Event {
    Event {
        time_unix_nano: nanos(at),
        name: name.to_owned(),
        ..Event::default()
    }
}

/// An attribute.
pub fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// An attribute that is a text.
pub fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

/// Of OpenTelemetry's names for processes those that there are. Its arguments may hold what is
/// nobody else's, and are not told.
fn attributes(process: &Process) -> Vec<KeyValue> {
    let status = &process.status;
    let mut all = vec![text("prn.process.id", &process.id.to_string())];
    let own = [
        ("prn.process.name", status.name.as_deref()),
        ("prn.process.workspace", status.workspace.as_deref()),
        ("prn.started_by", status.started_by.as_deref()),
    ];
    all.extend(
        own.into_iter()
            .filter_map(|(key, value)| Some(text(key, value?))),
    );
    if let Some(program) = status.argv.first() {
        let name = program.rsplit('/').next().unwrap_or(program);
        all.push(text("process.executable.name", name));
    }
    if let Some(exit) = &status.exit {
        all.push(text("prn.exit.cause", exit.kind.name()));
        let code = exit.status.map(|code| Value::IntValue(code.into()));
        all.extend(code.map(|code| attribute("process.exit.code", code)));
    }
    if let Some(usage) = &status.usage {
        let cpu = (usage.cpu_user + usage.cpu_system).as_secs_f64();
        all.push(attribute("prn.cpu_seconds", Value::DoubleValue(cpu)));
        let peak = usage.memory_peak_bytes;
        let peak = peak.map(|peak| Value::IntValue(i64::try_from(peak).unwrap_or(i64::MAX)));
        all.extend(peak.map(|peak| attribute("prn.memory_peak_bytes", peak)));
    }
    all
}

/// An error, unless it has left with 0 by itself or was stopped because somebody asked for that.
fn outcome(process: &Process) -> Status {
    let exit = process.status.exit.as_ref();
    let is_good = exit.is_some_and(|exit| {
        exit.kind == ExitKind::StoppedOnRequest
            || (exit.kind == ExitKind::Exited && exit.status == Some(0))
    });
    match is_good {
        true => Status {
            code: StatusCode::Ok.into(),
            message: String::new(),
        },
        false => Status {
            code: StatusCode::Error.into(),
            message: exit.map_or("unknown", |exit| exit.kind.name()).to_owned(),
        },
    }
}
