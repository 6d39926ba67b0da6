//! Calls that change a process, or say what it takes; leases, and what is forgotten once it was
//! read.

use std::collections::BTreeMap;

use prn_ipc_protocol::message::{
    FileText, For, LiveUsage, NewLabels, NewLease, StartSpec, Stop, Update, Whom,
};
use prn_ipc_protocol::policy::{Denial, Verb};
use prn_ipc_protocol::types::ProcessName;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let pairs: BTreeMap<_, _> = pairs.iter().map(owned).collect();
    pairs.try_into().unwrap()
}

fn span(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn millis(span: u64) -> Millis {
    span.try_into().unwrap()
}

fn with_lease(id: ProcessId, lease: Option<u64>) -> ProcessInfo {
    let mut info = live(id, 1);
    info.spec.lease = lease.map(millis);
    info
}

/// A call, and what becomes of it.
fn call<R, F>(client: &Client, call: impl FnOnce(Client) -> F) -> JoinHandle<Result<R, Status>>
where
    R: Send + 'static,
    F: Future<Output = Result<tonic::Response<R>, Status>> + Send + 'static,
{
    let answer = call(client.clone());
    tokio::spawn(async move { Ok(answer.await?.into_inner()) })
}

fn start(
    client: &Client,
    request: v1::StartRequest,
) -> JoinHandle<Result<v1::StartResponse, Status>> {
    call(
        client,
        |mut client| async move { client.start(request).await },
    )
}

fn signal(
    client: &Client,
    signal: i32,
    target: v1::signal_process_request::Target,
) -> JoinHandle<Result<v1::SignalProcessResponse, Status>> {
    let request = v1::SignalProcessRequest {
        process_identifier: named(A),
        signal,
        target: target.into(),
    };
    call(client, |mut client| async move {
        client.signal_process(request).await
    })
}

fn update(
    client: &Client,
    mask: &[&str],
    request: v1::UpdateProcessRequest,
) -> JoinHandle<Result<v1::UpdateProcessResponse, Status>> {
    let request = v1::UpdateProcessRequest {
        process_identifier: named(A),
        update_mask: Some(prost_types::FieldMask {
            paths: mask.iter().map(|path| (*path).to_owned()).collect(),
        }),
        ..request
    };
    call(client, |mut client| async move {
        client.update_process(request).await
    })
}

fn remove(
    client: &Client,
    request: v1::RemoveProcessRequest,
) -> JoinHandle<Result<v1::RemoveProcessResponse, Status>> {
    call(client, |mut client| async move {
        client.remove_process(request).await
    })
}

fn usage(
    client: &Client,
    ids: &[ProcessId],
    with_tasks: bool,
) -> JoinHandle<Result<v1::GetUsageResponse, Status>> {
    let request = v1::GetUsageRequest {
        processes: ids.iter().map(|id| named(*id).unwrap()).collect(),
        with_tasks,
        ..Default::default()
    };
    call(client, |mut client| async move {
        client.get_usage(request).await
    })
}

fn these(ids: &[ProcessId]) -> v1::RemoveProcessRequest {
    v1::RemoveProcessRequest {
        processes: ids.iter().map(|id| named(*id).unwrap()).collect(),
        selector: None,
    }
}

async fn refused<R: std::fmt::Debug>(call: JoinHandle<Result<R, Status>>) -> Status {
    let answer = tokio::time::timeout(DEADLINE, call).await;
    answer.unwrap().unwrap().unwrap_err()
}

fn metadata(status: &Status, key: &str) -> Option<String> {
    let info = status.get_details_error_info().unwrap();
    info.metadata.get(key).cloned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_goes_to_whom_it_is_for() {
    use v1::signal_process_request::Target;
    let mut frontend = Frontend::with(&[live(A, 1)]);
    let client = frontend.connect().await;
    for (number, target, whom) in [
        (10, Target::Unspecified, Whom::Main),
        (64, Target::Main, Whom::Main),
        (1, Target::Tree, Whom::Tree),
    ] {
        let sending = signal(&client, number, target);
        let (request, ask) = frontend.asked();
        let Ask::Signal(A, sent, to) = ask else {
            panic!("{ask:?}")
        };
        assert_eq!((sent.number(), to), (number, whom));
        frontend.reply(request, Reply::Done);
        let sent = sending.await.unwrap().unwrap();
        assert_eq!(sent.boot_epoch, EPOCH.to_string());
    }
    // The main process has ended, and others of its tree have not.
    let sending = signal(&client, 9, Target::Main);
    let (request, _) = frontend.asked();
    frontend.reply(request, Reply::Refused(Refusal::Ended));
    let status = refused(sending).await;
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(reason(&status), "PROCESS_ENDED");
    assert!(status.message().contains("TARGET_TREE"), "{status}");

    let bad = refused(signal(&client, 0, Target::Main)).await;
    assert_eq!(bad.code(), Code::InvalidArgument);
    assert!(!frontend.readable(Duration::ZERO), "refused here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_ended_is_neither_signalled_nor_changed_and_that_costs_the_supervisor_nothing() {
    use v1::signal_process_request::Target;
    let frontend = Frontend::with(&[ended(A, 1, OutputTotals::default())]);
    let client = frontend.connect().await;
    let signalled = refused(signal(&client, 15, Target::Main)).await;
    let changed = refused(update(&client, &["paused"], Default::default())).await;
    for status in [signalled, changed] {
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(reason(&status), "PROCESS_ENDED");
        assert_eq!(metadata(&status, "id"), Some(A.to_string()));
    }
    assert!(!frontend.readable(Duration::ZERO));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_carries_what_its_mask_names_and_answers_with_what_is_so() {
    let mut frontend = Frontend::with(&[live(A, 1)]);
    let client = frontend.connect().await;
    let asked = v1::UpdateProcessRequest {
        limits: Some(v1::Limits {
            memory_bytes: Some(1 << 30),
            ..Default::default()
        }),
        paused: true,
        lease: span(3),
        labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
        ..Default::default()
    };
    let all = ["labels", "lease", "limits", "paused"];
    let updating = update(&client, &all, asked.clone());
    let (request, ask) = frontend.asked();
    let changed = Update {
        limits: Limits::try_from([None, Some(1 << 30), None, None, None]).unwrap(),
        paused: Some(true),
        lease: Some(NewLease::Of(millis(3000))),
        labels: Some(NewLabels::All(labels(&[("app", "web")]))),
    };
    assert_eq!(ask, Ask::Update(A, Box::new(changed)));
    let mut now = with_lease(A, Some(3000));
    now.paused = true;
    now.lease_ends = Some(UnixMicros(4_000_000));
    now.spec.labels = labels(&[("app", "web")]);
    frontend.event(Event::Process(Box::new(now)));
    frontend.reply(request, Reply::Done);
    let status = updating.await.unwrap().unwrap().process_status.unwrap();
    assert!(status.paused);
    assert_eq!(status.labels["app"], "web");
    let lease = status.lease.unwrap();
    assert_eq!(lease.duration, span(3));
    assert_eq!(lease.expires_at.unwrap().seconds, 4);

    let updating = update(&client, &["lease"], Default::default());
    let (request, ask) = frontend.asked();
    let renewed = Update {
        lease: Some(NewLease::Same),
        ..Update::default()
    };
    assert_eq!(ask, Ask::Update(A, Box::new(renewed)), "and nothing else");
    frontend.reply(request, Reply::Done);
    updating.await.unwrap().unwrap();

    let mut some = asked.clone();
    some.set_labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
    some.unset_labels = vec!["tier".to_owned()];
    let updating = update(&client, &["set_labels", "unset_labels"], some);
    let (request, ask) = frontend.asked();
    let changes = [
        ("app".to_owned(), Some("web".to_owned())),
        ("tier".to_owned(), None),
    ];
    let changes = BTreeMap::from(changes).try_into().unwrap();
    let changed = Update {
        labels: Some(NewLabels::Changed(changes)),
        ..Update::default()
    };
    assert_eq!(
        ask,
        Ask::Update(A, Box::new(changed)),
        "and not what there is"
    );
    frontend.reply(request, Reply::Done);
    updating.await.unwrap().unwrap();

    for mask in [&[][..], &["name"], &["limits.pids"]] {
        let status = refused(update(&client, mask, asked.clone())).await;
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with("update_mask: "), "{status}");
    }
    assert!(!frontend.readable(Duration::ZERO), "refused here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_of_an_update_has_its_reason_and_says_what_to_do() {
    let mut frontend = Frontend::with(&[live(A, 1)]);
    let client = frontend.connect().await;
    let ceiling = Refusal::AboveCeiling {
        limit: prn_ipc_protocol::types::LimitName::Memory,
        ceiling: 77,
    };
    let not_enforceable = Refusal::NotEnforceable(prn_ipc_protocol::types::LimitName::IoRead);
    let cases = [
        (Refusal::Ended, "PROCESS_ENDED", "its status says how"),
        (Refusal::NoLease, "NO_LEASE", "give one with its duration"),
        (Refusal::MemoryInUse(4096), "MEMORY_IN_USE", "ask for more"),
        (ceiling, "LIMIT_ABOVE_CEILING", "limits.memory_bytes: "),
        (not_enforceable, "LIMIT_NOT_ENFORCEABLE", "stays as it was"),
        (Refusal::NotChanged(95), "NOT_CHANGED", "kernel"),
        (Refusal::TooManyLabels, "TOO_MANY_LABELS", "take some away"),
        (Refusal::UnknownProcess, "PROCESS_NOT_FOUND", "no process"),
    ];
    for (refusal, expected, said) in cases {
        let updating = update(&client, &["paused"], Default::default());
        let (request, _) = frontend.asked();
        frontend.reply(request, Reply::Refused(refusal));
        let status = refused(updating).await;
        assert_eq!(reason(&status), expected);
        assert!(status.message().contains(said), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_labels_and_lifetimes_reach_the_supervisor_and_come_back() {
    let mut frontend = Frontend::with(&[]);
    let mut client = frontend.connect().await;
    let asked = v1::StartRequest {
        command: "true".into(),
        id: A.to_string(),
        name: "Web-1".into(),
        labels: BTreeMap::from([("app.io/x".to_owned(), "ä b".to_owned())]),
        deadline: Some(prost_types::Timestamp {
            seconds: 9,
            nanos: 5_000,
        }),
        lease: span(20),
        retention: Some(v1::Retention {
            max_age: span(60),
            until_read: true,
            ..Default::default()
        }),
        timeout: span(7),
        linger: true,
        ..Default::default()
    };
    let starting = start(&client, asked.clone());
    let (request, Ask::Start(spec)) = frontend.asked() else {
        panic!("no start")
    };
    let StartSpec { process: spec, .. } = *spec;
    assert_eq!(spec.name.as_ref().map(ProcessName::as_str), Some("Web-1"));
    assert_eq!(spec.labels, labels(&[("app.io/x", "ä b")]));
    assert_eq!(spec.deadline, Some(UnixMicros(9_000_005)));
    assert_eq!(spec.lease, Some(millis(20_000)));
    let retention = Retention {
        is_kept: false,
        max_age: Some(millis(60_000)),
        until_read: true,
    };
    assert_eq!(spec.retention, retention);
    let mut started = live(A, 1);
    started.spec = spec;
    started.stop = Some(Stop {
        cause: ExitCause::LeaseExpired,
        by: None,
        asked: UnixMicros(5_000_000),
        killed: Some(UnixMicros(6_000_000)),
        outlived: vec![b"7 (sl) eep) S 1".to_vec()],
    });
    frontend.event(Event::Process(Box::new(started)));
    frontend.reply(request, Reply::Done);
    starting.await.unwrap().unwrap();

    let request = v1::StatusRequest {
        process_identifier: named(A),
    };
    let status = client.status(request).await.unwrap().into_inner();
    let status = status.process_status.unwrap();
    assert_eq!((&status.name, &status.labels), (&asked.name, &asked.labels));
    assert_eq!(status.deadline, asked.deadline);
    assert_eq!(status.retention, asked.retention);
    assert_eq!((status.timeout, status.linger), (asked.timeout, true));
    assert_eq!(status.stop_grace, span(10));
    let lease = status.lease.unwrap();
    assert_eq!((lease.duration, lease.expires_at), (asked.lease, None));
    let stop = status.stop.unwrap();
    assert_eq!(stop.cause(), v1::exit_cause::Kind::LeaseExpired);
    let times = (
        stop.asked_at.unwrap().seconds,
        stop.killed_at.unwrap().seconds,
    );
    assert_eq!(times, (5, 6));
    assert_eq!(stop.outlived[0].name, "sl) eep");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_of_a_name_or_a_lifetime_says_its_rule() {
    let frontend = Frontend::with(&[]);
    let client = frontend.connect().await;
    let wrong = v1::StartRequest {
        command: "true".into(),
        name: "-x".into(),
        labels: BTreeMap::from([("a b".to_owned(), String::new())]),
        deadline: Some(prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: 0,
        }),
        lease: span(0),
        retention: Some(v1::Retention {
            keep: true,
            until_read: true,
            max_age: None,
        }),
        workspace: "W".into(),
        ..Default::default()
    };
    let status = refused(start(&client, wrong)).await;
    let bad = status.get_details_bad_request().unwrap();
    let said: Vec<_> = (bad.field_violations.iter())
        .map(|fault| (fault.field.as_str(), fault.description.as_str()))
        .collect();
    let rules = [
        ("workspace", "1 to 63 lower-case letters"),
        ("name", "1 to 63 letters, digits"),
        ("labels", "at most 32"),
        ("deadline", "valid timestamp"),
        ("lease", "at least 1 ms"),
        ("retention.keep", "max_age or until_read"),
    ];
    assert_eq!(said.len(), rules.len(), "{said:?}");
    for ((field, why), (expected, rule)) in said.into_iter().zip(rules) {
        assert_eq!(field, expected);
        assert!(why.contains(rule), "{why}");
    }
    assert!(!frontend.readable(Duration::ZERO));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_of_a_name_or_a_lifetime_has_its_reason() {
    let mut frontend = Frontend::with(&[]);
    let client = frontend.connect().await;
    let asked = v1::StartRequest {
        command: "true".into(),
        name: "web".into(),
        ..Default::default()
    };
    let cases = [
        (Refusal::NameTaken(B), Code::AlreadyExists, "NAME_TAKEN"),
        (
            Refusal::DeadlinePassed,
            Code::FailedPrecondition,
            "DEADLINE_PASSED",
        ),
        (
            Refusal::TooManyKept { max: 1000 },
            Code::ResourceExhausted,
            "TOO_MANY_KEPT",
        ),
    ];
    for (refusal, code, expected) in cases {
        let is_name = refusal == Refusal::NameTaken(B);
        let starting = start(&client, asked.clone());
        let (request, _) = frontend.asked();
        frontend.reply(request, Reply::Refused(refusal));
        let status = refused(starting).await;
        assert_eq!((status.code(), reason(&status).as_str()), (code, expected));
        if is_name {
            assert_eq!(metadata(&status, "id"), Some(B.to_string()));
            assert_eq!(metadata(&status, "name").as_deref(), Some("web"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_names_what_is_gone_and_how_much_output() {
    let totals = |first, end| OutputTotals {
        first,
        end,
        ..Default::default()
    };
    let c = ProcessId::from_bytes([3; 16]);
    let processes = [
        ended(A, 1, totals(100, 350)),
        ended(B, 2, totals(0, 7)),
        live(c, 3),
    ];
    let mut frontend = Frontend::with(&processes);
    let client = frontend.connect().await;

    // All or nothing, as far as is known here.
    let status = refused(remove(&client, these(&[A, c]))).await;
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(reason(&status), "PROCESS_RUNNING");
    assert!(status.message().contains("stop it first"), "{status}");
    let unknown = ProcessId::from_bytes([9; 16]);
    let status = refused(remove(&client, these(&[A, unknown]))).await;
    assert_eq!(reason(&status), "PROCESS_NOT_FOUND");
    for none in [these(&[]), these(&[A; 1001])] {
        let status = refused(remove(&client, none)).await;
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    assert!(!frontend.readable(Duration::ZERO), "refused here");

    let removing = remove(&client, these(&[B, A, B]));
    for (id, change) in [(B, 1), (A, 2)] {
        let (request, ask) = frontend.asked();
        assert_eq!(ask, Ask::Remove(id));
        frontend.event(Event::Forgotten { id, change });
        frontend.reply(request, Reply::Done);
    }
    let removed = removing.await.unwrap().unwrap();
    let ids: Vec<_> = removed.removed.iter().map(|id| id.id.clone()).collect();
    assert_eq!(ids, [B.to_string(), A.to_string()]);
    assert_eq!(removed.output_bytes, 257);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_is_refused_on_its_way_says_how_many_are_gone() {
    let totals = OutputTotals::default();
    let mut frontend = Frontend::with(&[ended(A, 1, totals), ended(B, 2, totals)]);
    let client = frontend.connect().await;
    let removing = remove(&client, these(&[A, B]));
    let (request, _) = frontend.asked();
    frontend.event(Event::Forgotten { id: A, change: 1 });
    frontend.reply(request, Reply::Done);
    let (request, _) = frontend.asked();
    frontend.reply(request, Reply::Refused(Refusal::UnknownProcess));
    let status = refused(removing).await;
    assert_eq!(reason(&status), "PROCESS_NOT_FOUND");
    assert_eq!(metadata(&status, "removed").as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_those_that_are_selected_the_ended_ones_are_removed() {
    let c = ProcessId::from_bytes([3; 16]);
    let totals = OutputTotals::default();
    let labelled = |mut info: ProcessInfo| {
        info.spec.labels = labels(&[("app", "web")]);
        info
    };
    let processes = [
        labelled(live(A, 1)),
        labelled(ended(B, 2, totals)),
        labelled(ended(c, 3, totals)),
        ended(ProcessId::from_bytes([4; 16]), 4, totals),
    ];
    let mut frontend = Frontend::with(&processes);
    let client = frontend.connect().await;
    let selector = v1::ProcessSelector {
        labels: vec![v1::LabelMatch {
            key: "app".into(),
            value: "web".into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let removing = remove(
        &client,
        v1::RemoveProcessRequest {
            selector: Some(selector),
            ..Default::default()
        },
    );
    let (request, ask) = frontend.asked();
    assert_eq!(ask, Ask::Remove(B));
    // It went by itself meanwhile.
    frontend.reply(request, Reply::Refused(Refusal::UnknownProcess));
    let (request, ask) = frontend.asked();
    assert_eq!(ask, Ask::Remove(c));
    frontend.reply(request, Reply::Done);
    let removed = removing.await.unwrap().unwrap().removed;
    assert_eq!(removed.len(), 1);
    assert_eq!(removed[0].id, c.to_string());
}

fn texts(texts: &[(&str, &str)]) -> Vec<FileText> {
    let text = |(name, text): &(&str, &str)| FileText {
        name: (*name).to_owned(),
        text: (*text).to_owned(),
    };
    texts.iter().map(text).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_is_what_is_so_now_and_of_what_has_ended_what_it_took() {
    let mut over = ended(B, 2, OutputTotals::default());
    over.end.as_mut().unwrap().usage = texts(&[("cpu.stat", "user_usec 77\n")]);
    let mut frontend = Frontend::with(&[live(A, 1), over]);
    let client = frontend.connect().await;
    let live_usage = || LiveUsage {
        files: texts(&[
            ("cpu.stat", "user_usec 5\nnr_periods 9\nnr_throttled 4\n"),
            ("memory.current", "4096\n"),
            ("memory.events", "max 2\noom_kill 1\n"),
            ("pids.current", "3\n"),
            (
                "io.pressure",
                "some avg10=1.50 avg60=0.10 avg300=0.00 total=9\n",
            ),
        ]),
        processes: 2,
        some: vec![b"7 (sh) S 1".to_vec(), b"8 (a\x1bb) R 1".to_vec()],
    };
    let asking = usage(&client, &[B, A], true);
    let (request, ask) = frontend.asked();
    let ask_of_a = |with_tasks| Ask::Usage { id: A, with_tasks };
    assert_eq!(ask, ask_of_a(true));
    frontend.reply(request, Reply::Usage(Box::new(live_usage())));
    let answer = asking.await.unwrap().unwrap();
    assert!(answer.sampled_at.is_some());
    let [of_b, of_a] = answer.usages.as_slice() else {
        panic!("{answer:?}")
    };
    assert_eq!(of_b.id, named(B));
    assert_eq!(of_b.usage.as_ref().unwrap().cpu_user_usec, 77);
    assert_eq!(
        (of_b.memory_bytes, of_b.pids, of_b.processes),
        (None, None, 0)
    );
    assert_eq!(of_a.usage.as_ref().unwrap().cpu_user_usec, 5);
    assert_eq!((of_a.memory_bytes, of_a.pids), (Some(4096), Some(3)));
    assert_eq!((of_a.oom_kills, of_a.memory_limit_hits), (Some(1), Some(2)));
    let periods = (of_a.cpu_throttled_periods, of_a.cpu_periods);
    assert_eq!(periods, (Some(4), Some(9)));
    assert_eq!(of_a.io_pressure.unwrap().some_avg10, 1.5);
    assert!(of_a.cpu_pressure.is_none());
    let tasks: Vec<_> = of_a.tasks.iter().map(|task| task.name.as_str()).collect();
    assert_eq!(tasks, ["sh", "a\\x1bb"]);

    let asking = usage(&client, &[A], false);
    let (request, ask) = frontend.asked();
    assert_eq!(ask, ask_of_a(false), "nobody looks for them");
    frontend.reply(request, Reply::Usage(Box::new(live_usage())));
    asking.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_ends_while_its_usage_is_asked_for_says_what_it_took() {
    let mut frontend = Frontend::with(&[live(A, 1)]);
    let client = frontend.connect().await;
    let asking = usage(&client, &[A], false);
    let (request, _) = frontend.asked();
    frontend.reply(request, Reply::Refused(Refusal::Ended));
    let mut over = ended(A, 1, OutputTotals::default());
    over.end.as_mut().unwrap().usage = texts(&[("pids.peak", "5\n")]);
    frontend.event(Event::Process(Box::new(over)));
    let answer = asking.await.unwrap().unwrap();
    assert_eq!(answer.usages[0].usage.as_ref().unwrap().pids_peak, Some(5));

    let status = refused(usage(&client, &[A, B], false)).await;
    assert_eq!(reason(&status), "PROCESS_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r4_one_call_for_many_asks_for_a_few_at_a_time_and_keeps_no_signal_out() {
    let ids: Vec<_> = (1..=20).map(|n| ProcessId::from_bytes([n; 16])).collect();
    let mut processes: Vec<_> = (1..)
        .zip(&ids)
        .map(|(number, id)| live(*id, number))
        .collect();
    processes.push(live(A, 100));
    let mut frontend = Frontend::with(&processes);
    let client = frontend.connect().await;
    let asking = usage(&client, &ids, false);
    let mut waiting: Vec<_> = (0..4).map(|_| frontend.asked()).collect();
    assert!(
        !frontend.readable(Duration::from_millis(100)),
        "four at a time"
    );
    let sending = signal(&client, 1, v1::signal_process_request::Target::Main);
    let (request, ask) = frontend.asked();
    assert!(matches!(ask, Ask::Signal(..)), "{ask:?}");
    frontend.reply(request, Reply::Done);
    sending.await.unwrap().unwrap();
    let empty = || LiveUsage {
        files: vec![],
        processes: 1,
        some: vec![],
    };
    for round in 0..20 {
        let (request, _) = waiting.remove(0);
        frontend.reply(request, Reply::Usage(Box::new(empty())));
        if round < 16 {
            waiting.push(frontend.asked());
        }
    }
    let answer = asking.await.unwrap().unwrap();
    let order: Vec<_> = answer.usages.into_iter().map(|usage| usage.id).collect();
    assert_eq!(order, ids.into_iter().map(named).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_says_what_it_is_and_how_full() {
    let totals = OutputTotals::default();
    let frontend = Frontend::with(&[live(A, 1), ended(B, 2, totals)]);
    let mut client = frontend.connect().await;
    let mut describe = async || {
        let answer = client.get_server(v1::GetServerRequest {}).await;
        answer.unwrap().into_inner()
    };
    let server = describe().await;
    assert_eq!(server.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(server.api_revision, prn_proto::API_REVISION);
    assert_eq!(
        (server.principal.as_str(), server.role.as_str()),
        ("client", "admin")
    );
    assert_eq!(server.started_at.unwrap().seconds, 1);
    assert_eq!(server.boot_epoch, EPOCH.to_string());
    assert_eq!(
        (server.processes_running, server.processes_finished),
        (1, 1)
    );
    assert_eq!((server.processes_max, server.workspaces), (100, 0));
    let here = nix::sys::utsname::uname().unwrap();
    assert_eq!(server.kernel, here.release().to_string_lossy());
    assert_eq!(server.hostname, here.nodename().to_string_lossy());
    let until = frontend.server.certificate.not_after().unwrap().as_secs();
    let until = i64::try_from(until).unwrap();
    assert_eq!(server.certificate_not_after.unwrap().seconds, until);
    assert_eq!(server.client_certificate_not_after.unwrap().seconds, until);
    assert!(!server.draining);
    frontend.event(Event::Draining);
    let started = Instant::now();
    while !describe().await.draining {
        assert!(started.elapsed() < DEADLINE);
    }
    assert!(!frontend.readable(Duration::ZERO), "it asks for nothing");
}

fn follow_of(id: ProcessId, follower: bool) -> v1::GetOutputRequest {
    v1::GetOutputRequest {
        follower,
        ..output_of(id)
    }
}

impl Frontend {
    async fn following(
        &mut self,
        client: &Client,
        request: v1::GetOutputRequest,
    ) -> Streaming<v1::GetOutputResponse> {
        let mut client = client.clone();
        let opening = tokio::spawn(async move { client.get_output(request).await });
        tokio::time::timeout(DEADLINE, opening)
            .await
            .unwrap()
            .unwrap()
            .unwrap()
            .into_inner()
    }

    /// The next request that is none of Watch and Taken, nor Subscribe, which is answered.
    pub fn told(&mut self, output: &Output) -> Request {
        loop {
            let asked = self.receive();
            match asked {
                Request::Watch { .. } | Request::Taken { .. } => {}
                Request::Ask(request, _, Ask::Subscribe(_)) => self.send(
                    FromSupervisor::Reply(request, Reply::Subscribed),
                    &[output.data.as_fd(), output.page.as_fd()],
                ),
                other @ (Request::Hello(_)
                | Request::Ready
                | Request::Denied { .. }
                | Request::Alive
                | Request::Ask(..)
                | Request::Follow(..)
                | Request::Unfollow(..)
                | Request::InputTaken { .. }
                | Request::Left) => return other,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_and_the_last_who_follow_keep_a_lease() {
    let output = Output::new();
    let mut frontend = Frontend::with(&[with_lease(A, Some(1000))]);
    let client = frontend.connect().await;
    let once = v1::GetOutputRequest {
        no_follow: true,
        ..output_of(A)
    };
    let reader = frontend.open(&client, once, &output).await.unwrap();
    drop(reader);
    // The first request of the next one: the one before told of nothing.
    let first = tokio::spawn({
        let mut client = client.clone();
        async move { client.get_output(output_of(A)).await }
    });
    assert_eq!(frontend.told(&output), Request::Follow(A, For::Lease));
    while !first.is_finished() {
        if frontend.readable(Duration::from_millis(10)) {
            let told = frontend.receive();
            if let Request::Ask(request, _, Ask::Subscribe(A)) = told {
                frontend.send(
                    FromSupervisor::Reply(request, Reply::Subscribed),
                    &[output.data.as_fd(), output.page.as_fd()],
                );
            } else {
                assert!(matches!(told, Request::Watch { .. }), "{told:?}");
            }
        }
    }
    let first = first.await.unwrap().unwrap().into_inner();
    let second = frontend.following(&client, output_of(A)).await;
    drop(first);
    let third = frontend.following(&client, output_of(A)).await;
    drop((second, third));
    assert_eq!(frontend.told(&output), Request::Unfollow(A, For::Lease));
    assert!(!frontend.readable(Duration::from_millis(50)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_comes_later_is_kept_by_who_follows_already() {
    let output = Output::new();
    let mut frontend = Frontend::with(&[with_lease(A, None)]);
    let client = frontend.connect().await;
    let stream = frontend.open(&client, output_of(A), &output).await.unwrap();
    assert_eq!(frontend.receive(), Request::Watch { id: A, seen: 0 });
    let asked = v1::UpdateProcessRequest {
        lease: span(1),
        ..Default::default()
    };
    let updating = update(&client, &["lease"], asked);
    let (request, _) = frontend.asked();
    frontend.event(Event::Process(Box::new(with_lease(A, Some(1000)))));
    frontend.reply(request, Reply::Done);
    updating.await.unwrap().unwrap();
    assert_eq!(frontend.told(&output), Request::Follow(A, For::Lease));
    drop(stream);
    assert_eq!(frontend.told(&output), Request::Unfollow(A, For::Lease));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_keeps_a_lease_need_not_be_one_that_the_process_waits_for() {
    let output = Output::new();
    let mut info = with_lease(A, Some(1000));
    info.spec.output.overflow = Overflow::Follow(millis(1000));
    let mut frontend = Frontend::with(&[info]);
    let client = frontend.connect().await;
    let open = |request| {
        let mut client = client.clone();
        tokio::spawn(async move { client.get_output(request).await })
    };
    let reader = open(follow_of(A, false));
    assert_eq!(frontend.told(&output), Request::Follow(A, For::Lease));
    let follower = open(follow_of(A, true));
    // Whoever opens it: the output is handed out once, to either.
    assert_eq!(frontend.told(&output), Request::Follow(A, For::Output));
    let follower = follower.await.unwrap().unwrap();
    drop(follower);
    assert_eq!(frontend.told(&output), Request::Unfollow(A, For::Output));
    drop(reader.await.unwrap().unwrap());
    assert_eq!(frontend.told(&output), Request::Unfollow(A, For::Lease));
}

fn until_read(mut info: ProcessInfo) -> ProcessInfo {
    info.spec.retention.until_read = true;
    info
}

/// A part of an output, of which there is more.
type Part = fn(&mut v1::GetOutputRequest);

const PARTS: [Part; 6] = [
    |request| request.from_offset = 1,
    |request| request.tail_bytes = Some(1),
    |request| request.max_bytes = Some(1),
    |request| request.set_only(v1::get_output_response::Type::Stdout),
    |request| {
        let second = prost_types::Timestamp {
            seconds: 1,
            nanos: 0,
        };
        let at = Some(v1::output_time::At::Time(second));
        request.until = Some(v1::OutputTime { at });
    },
    |request| request.no_follow = true,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_remembered_until_it_was_read_is_forgotten_a_minute_after_all_of_it_was() {
    let mut output = Output::new();
    output.append(Stream::Stdout, b"al");
    output.append(Stream::Stderr, b"l");
    let totals = output.totals;
    let other = |byte| ProcessId::from_bytes([byte; 16]);
    let lives = other(5);
    let mut processes = vec![
        until_read(ended(A, 1, totals)),
        until_read(ended(B, 2, totals)),
        // It is remembered for other reasons.
        ended(other(0), 3, totals),
        // Its streams lose nothing but its end.
        until_read(live(lives, 4)),
    ];
    for (byte, number) in (10..).zip(5..).take(5) {
        processes.push(until_read(ended(other(byte), number, totals)));
    }
    let mut frontend = Frontend::with(&processes);
    let client = frontend.connect().await;
    for control_frames in [true, false] {
        let with = |id| v1::GetOutputRequest {
            control_frames,
            ..output_of(id)
        };
        for (id, part) in [10, 11, 12, 13, 14]
            .map(other)
            .into_iter()
            .chain([lives])
            .zip(PARTS)
        {
            let mut request = with(id);
            part(&mut request);
            let mut stream = frontend.open(&client, request, &output).await.unwrap();
            let (bytes, end) = all(&mut stream).await;
            assert!(end.is_ok() && (id == lives || bytes.len() < 3), "{id}");
        }
        let whole = if control_frames { A } else { B };
        // Twice: it is forgotten once.
        for id in [whole, whole, other(0)] {
            let mut stream = frontend.open(&client, with(id), &output).await.unwrap();
            assert_eq!(all(&mut stream).await.0, b"all");
        }
    }
    assert!(!frontend.readable(Duration::from_secs(50)), "not yet");
    assert!(frontend.readable(Duration::from_secs(20)));
    let mut removed = vec![];
    for _ in 0..2 {
        let (request, ask) = frontend.asked();
        let Ask::Forget(id) = ask else {
            panic!("{ask:?}")
        };
        removed.push(id);
        frontend.reply(request, Reply::Done);
    }
    removed.sort_unstable();
    assert_eq!(removed, [A, B]);
    assert!(!frontend.readable(Duration::from_secs(1)), "once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_forgotten_is_tried_again_when_all_of_it_was_read_again() {
    let mut output = Output::new();
    output.append(Stream::Stdout, b"all");
    let mut frontend = Frontend::with(&[until_read(ended(A, 1, output.totals))]);
    let client = frontend.connect().await;
    let replies = [
        Reply::Refused(Refusal::Denied(Denial::Verb(Verb::Output))),
        Reply::Done,
    ];
    for reply in replies {
        let started = Instant::now();
        // More than once: the answer to the one before may not have been seen by then.
        while !frontend.readable(Duration::from_secs(5)) {
            assert!(started.elapsed() < Duration::from_secs(100), "{reply:?}");
            let mut stream = frontend.open(&client, output_of(A), &output).await.unwrap();
            assert_eq!(all(&mut stream).await.0, b"all");
        }
        let (request, ask) = frontend.asked();
        assert_eq!(ask, Ask::Forget(A));
        frontend.reply(request, reply);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forgotten_before_its_call_is_answered_ends_that_call_alone() {
    let mut frontend = Frontend::with(&[live(B, 1)]);
    let client = frontend.connect().await;
    let request = v1::StartRequest {
        command: "true".into(),
        id: A.to_string(),
        ..Default::default()
    };
    for reply in [Reply::Done, Reply::Existing] {
        let starting = start(&client, request.clone());
        let (asked, _) = frontend.asked();
        frontend.reply(asked, reply);
        let status = refused(starting).await;
        assert_eq!(status.code(), Code::AlreadyExists);
        assert_eq!(reason(&status), "PROCESS_FORGOTTEN");
    }
    let asked = v1::StopRequest {
        process_identifier: named(B),
        ..Default::default()
    };
    let stopping = call(
        &client,
        |mut client| async move { client.stop(asked).await },
    );
    let (stop, _) = frontend.asked();
    frontend.event(Event::Forgotten { id: B, change: 7 });
    frontend.reply(stop, Reply::Done);
    let status = refused(stopping).await;
    assert_eq!(reason(&status), "PROCESS_NOT_FOUND");

    frontend.event(Event::Process(Box::new(live(A, 2))));
    let list = async || {
        let listed = client.clone().list(v1::ListRequest::default()).await;
        listed.unwrap().into_inner().processes.len()
    };
    while list().await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let updating = update(&client, &["paused"], Default::default());
    let (update, _) = frontend.asked();
    frontend.event(Event::Forgotten { id: A, change: 9 });
    frontend.reply(update, Reply::Done);
    assert_eq!(reason(&refused(updating).await), "PROCESS_NOT_FOUND");
    assert_eq!(list().await, 0);
}
