//! GetMetrics: what this half has counted, and what the mirror has. docs/operate/metrics.md has a
//! row for each family.

use prn_ipc_protocol::policy::Verb;
use prn_ipc_protocol::types::UnixMicros;
use prn_proto::metrics::{Form, family, number, sample, text};
use prn_proto::v1;
use prn_proto::v1::metric_family::Kind::{self, Counter, Gauge};
use prn_proto::{API_REVISION, names, v1::MetricFamily, v1::MetricSample};
use tonic::{Code, Status};

use crate::calls::server::Server;
use crate::clients::Client;
use crate::convert::enums::shown_cause;
use crate::scope::Scope;
use crate::tally::CAUSES;

/// Says what the server does and has done.
pub fn get_metrics(
    server: &Server,
    client: &Client,
    request: v1::GetMetricsRequest,
) -> Result<v1::GetMetricsResponse, Status> {
    client.access.check(Verb::List)?;
    let sees_all = *client.access.scope() == Scope::All || client.access.may(Verb::Admin).is_ok();
    let mut all = Families::default();
    about(&mut all, server);
    let scope = match sees_all {
        true => &Scope::All,
        false => client.access.scope(),
    };
    processes(&mut all, server, client, scope);
    if sees_all {
        history(&mut all, server);
        traffic(&mut all, server);
        streams(&mut all, server);
        signing(&mut all, server);
    }
    let mut families = all.0;
    families.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(v1::GetMetricsResponse {
        text: match request.with_text {
            true => text(&families, Form::OpenMetrics),
            false => String::new(),
        },
        families,
        boot_epoch: server.boot_epoch(),
    })
}

/// All families so far.
#[derive(Default)]
struct Families(Vec<MetricFamily>);

impl Families {
    /// One more. What it is counted in is the end of its name.
    fn add(&mut self, kind: Kind, name: &str, help: &str, samples: Vec<MetricSample>) {
        let mut units = ["bytes", "seconds"].into_iter();
        let unit = units.find(|unit| name.ends_with(&format!("_{unit}")));
        let mut family = family(kind, name, unit.unwrap_or_default(), help);
        family.samples = samples;
        self.0.push(family);
    }

    /// One of a single value.
    fn one(&mut self, kind: Kind, name: &str, help: &str, value: f64) {
        self.add(kind, name, help, vec![sample(&[], value)]);
    }
}

fn seconds(time: UnixMicros) -> f64 {
    number(time.0) / 1e6
}

/// What the server is.
fn about(all: &mut Families, server: &Server) {
    let revision = API_REVISION.to_string();
    let labels = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("api_revision", revision.as_str()),
    ];
    let build = vec![sample(&labels, 1.0)];
    all.add(Gauge, "prn_build_info", "Always 1; which prn it is.", build);
    let run = vec![sample(&[("boot_epoch", &server.epoch)], 1.0)];
    let help = "Always 1; which run of the server it is.";
    all.add(Gauge, "prn_server_info", help, run);
    let about = &server.about;
    let help = "When this run of the server began, in seconds since the Unix epoch.";
    let started = seconds(about.started);
    all.one(Gauge, "prn_server_start_time_seconds", help, started);
    let help = "When its network half began, and all counters with it: later, where another one took its place.";
    let began = seconds(server.metrics.began);
    all.one(Gauge, "prn_frontend_start_time_seconds", help, began);
    let help = "1: it is shutting down, and nothing starts.";
    let draining = f64::from(u8::from(server.mirror.draining()));
    all.one(Gauge, "prn_server_draining", help, draining);
    if let Some(end) = about.not_after {
        let help = "Until when the server's certificate is valid, in seconds since the Unix epoch.";
        let name = "prn_server_certificate_not_after_seconds";
        all.one(Gauge, name, help, seconds(end));
    }
}

/// What there is of processes and workspaces.
fn processes(all: &mut Families, server: &Server, client: &Client, scope: &Scope) {
    let counts = server.mirror.counts(scope);
    let count = |count: usize| number(u64::try_from(count).unwrap_or(u64::MAX));
    let states = [("running", counts.running), ("finished", counts.finished)];
    let states = states.map(|(state, of)| sample(&[("state", state)], count(of)));
    let help = "Processes that are alive, and finished ones that are remembered.";
    all.add(Gauge, "prn_processes", help, states.into());
    let help = "Most processes that may be alive.";
    let most = f64::from(server.about.processes_max);
    all.one(Gauge, "prn_processes_limit", help, most);
    let workspaces = server.mirror.workspaces();
    let is_seen = |one: &&crate::workspaces::Workspace| *scope == Scope::All || client.sees(one);
    let seen = workspaces.iter().filter(is_seen).count();
    all.one(Gauge, "prn_workspaces", "Workspaces.", count(seen));
}

/// What has become of processes.
fn history(all: &mut Families, server: &Server) {
    let tally = server.mirror.tally();
    let help = "Processes that have started.";
    all.one(Counter, "prn_process_starts", help, number(tally.starts));
    let ends = CAUSES.into_iter().zip(tally.ends);
    let ends = ends.map(|(cause, of)| {
        let cause = names::cause(shown_cause(cause));
        sample(&[("cause", cause)], number(of))
    });
    let help = "Processes that have ended, by why their main process has.";
    all.add(Counter, "prn_process_ends", help, ends.collect());
    let help = "Output of processes that have ended.";
    let output = number(tally.output);
    all.one(Counter, "prn_process_output_bytes", help, output);
    let help = "Of that, what was dropped because more came than was to be kept.";
    let dropped = number(tally.output_dropped);
    all.one(Counter, "prn_process_output_dropped_bytes", help, dropped);
}

/// What clients ask for.
fn traffic(all: &mut Families, server: &Server) {
    let metrics = &server.metrics;
    let calls = metrics.calls().into_iter().map(|((call, code), of)| {
        let code = names::code(Code::from(code));
        sample(&[("call", call), ("code", code)], number(of))
    });
    let help = "Calls that were answered, by their gRPC code; of a stream, that it has begun.";
    all.add(Counter, "prn_calls", help, calls.collect());
    let refusals = metrics.refusals().into_iter();
    let refusals = refusals.map(|(reason, of)| sample(&[("reason", &reason)], number(of)));
    let help = "Calls that were refused, by the reason that the client was told.";
    all.add(Counter, "prn_refusals", help, refusals.collect());
    let help = "Calls that wait for their answer, or for a stream to begin.";
    let open = number(metrics.calls_open.count());
    all.one(Gauge, "prn_calls_open", help, open);
    let help = "Connections of known clients that were served.";
    let served = number(metrics.connections.count());
    all.one(Counter, "prn_connections", help, served);
    let rejected = metrics.rejected().into_iter();
    let rejected = rejected.map(|(why, of)| sample(&[("reason", why)], number(of)));
    let help = "Connections that were closed before they could make a call, by why.";
    all.add(
        Counter,
        "prn_connections_rejected",
        help,
        rejected.collect(),
    );
    let help = "Output that was handed to clients.";
    let sent = number(metrics.output_sent.count());
    all.one(Counter, "prn_output_sent_bytes", help, sent);
}

/// How many of what is bounded there are.
fn streams(all: &mut Families, server: &Server) {
    let open = number(server.metrics.connections_open.count());
    let most = number(server.about.connections_max.into());
    let bounded = [
        ("connections", open, most),
        (
            "output_streams",
            count(server.subscribers.taken()),
            count(server.subscribers.max()),
        ),
        (
            "input_streams",
            count(server.inputs.taken()),
            count(server.inputs.max()),
        ),
        (
            "watches",
            count(server.watches.taken()),
            count(server.watches.max()),
        ),
        (
            "waits",
            count(server.waits.taken()),
            count(server.waits.max()),
        ),
    ];
    let of = |pick: fn(&(&'static str, f64, f64)) -> f64| {
        let each = bounded.iter();
        each.map(|one| sample(&[("kind", one.0)], pick(one)))
            .collect()
    };
    let help = "Connections and calls that last, by kind.";
    all.add(Gauge, "prn_open", help, of(|one| one.1));
    let help = "Most of them.";
    all.add(Gauge, "prn_open_limit", help, of(|one| one.2));
}

/// Where another process signs handshakes, whether it does.
fn signing(all: &mut Families, server: &Server) {
    let Some(signing) = &server.signing else {
        return;
    };
    let help = "1: prn-signer is there, and has made the last signature that was asked of it.";
    let up = f64::from(u8::from(signing.tell()));
    all.one(Gauge, "prn_signer_up", help, up);
    let help = "Handshakes that prn-signer has not signed.";
    let failures = number(signing.failures());
    all.one(Counter, "prn_signer_failures", help, failures);
}

fn count(count: u32) -> f64 {
    f64::from(count)
}
