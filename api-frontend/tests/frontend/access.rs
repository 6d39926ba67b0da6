//! Who gets to see what, and may do what: of each call.

use super::*;
use prn_ipc_protocol::message::{For, WorkspaceInfo};
use prn_ipc_protocol::policy::Verb;
use prn_ipc_protocol::types::WorkspaceName;
use std::collections::BTreeSet;

/// Another principal, who has no client here.
const OTHER: &str = "other";
/// The other's process that has ended.
const ENDED: ProcessId = ProcessId::from_bytes([0xe0; 16]);
/// The other's workspace.
const WORKSPACE: &str = "theirs";

fn access_name(name: &str) -> AccessName {
    name.to_owned().try_into().unwrap()
}

/// The client has this role, and there is somebody else.
fn ruled(verbs: &[Verb], reach: Reach, not_after: Option<UnixMicros>) -> Policy {
    let mut policy = policy();
    for role in policy.roles.values_mut() {
        role.verbs = verbs.iter().copied().collect();
        role.reach = reach;
    }
    for principal in policy.principals.values_mut() {
        principal.not_after = not_after;
    }
    let other = Principal {
        role: access_name("admin"),
        group: None,
        not_after: None,
        must_sign: false,
    };
    policy.principals.insert(access_name(OTHER), other);
    policy
}

fn of_other(info: ProcessInfo) -> ProcessInfo {
    ProcessInfo {
        started_by: Some(access_name(OTHER)),
        ..info
    }
}

/// A server with two processes and a workspace of somebody else's.
fn frontend(policy: Policy) -> Frontend {
    let mut frontend = Frontend::executed_by(16, policy);
    assert_eq!(frontend.receive(), Request::Hello(PROTOCOL.to_owned()));
    for process in [live(A, 1), ended(ENDED, 2, OutputTotals::default())] {
        frontend.event(Event::Process(Box::new(of_other(process))));
    }
    let workspace = WorkspaceInfo {
        name: WorkspaceName::try_from(WORKSPACE.to_owned()).unwrap(),
        directory: c"/w".into(),
        uid: 1,
        created_by: Some(access_name(OTHER)),
        created: UnixMicros(1),
        disk: None,
        is_leaving: false,
    };
    frontend.event(Event::Workspace(Box::new(workspace)));
    frontend.event(Event::SnapshotEnd {
        change: 0,
        receipt_key: None,
    });
    assert_eq!(frontend.receive(), Request::Ready);
    frontend
}

/// What a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// A process or a workspace that it names, with which it does that.
    Named(Verb),
    /// All that it gets to see.
    All,
    /// Nothing that is there: it makes something.
    New(Verb),
    /// Who asks.
    Oneself,
}

/// Each call of the API, and variants of one that differ.
const CALLS: [(&str, About); 23] = [
    ("Start", About::New(Verb::Start)),
    ("Status", About::Named(Verb::List)),
    ("Stop", About::Named(Verb::Stop)),
    ("List", About::All),
    ("GetOutput", About::Named(Verb::Output)),
    ("Wait", About::Named(Verb::List)),
    ("Wait selected", About::All),
    ("Watch", About::All),
    ("SignalProcess", About::Named(Verb::Signal)),
    ("UpdateProcess", About::Named(Verb::Start)),
    ("UpdateProcess paused", About::Named(Verb::Signal)),
    ("RemoveProcess", About::Named(Verb::Stop)),
    ("GetUsage", About::Named(Verb::List)),
    ("GetUsage selected", About::All),
    ("GetServer", About::Oneself),
    ("GetMetrics", About::All),
    ("SendInput", About::Named(Verb::Input)),
    ("ResizeTerminal", About::Named(Verb::Input)),
    ("CreateWorkspace", About::New(Verb::Workspace)),
    ("ListWorkspaces", About::All),
    ("RemoveWorkspace", About::Named(Verb::Workspace)),
    ("CheckAccess", About::Named(Verb::List)),
    ("GetReceipt", About::Named(Verb::List)),
];

/// The answer as text, with a stream's first messages.
async fn called(mut client: Client, call: &'static str) -> Result<String, Status> {
    let text = |answer: &dyn std::fmt::Debug| format!("{answer:?}");
    let all = || Some(v1::ProcessSelector::default());
    Ok(match call {
        "Start" => text(&client.start(start("true", "")).await?),
        "Status" => text(&client.status(status_of(A)).await?),
        "Stop" => text(
            &client
                .stop(v1::StopRequest {
                    process_identifier: named(A),
                    ..Default::default()
                })
                .await?,
        ),
        "List" => text(&client.list(v1::ListRequest::default()).await?),
        "GetOutput" => text(&client.get_output(output_of(A)).await?),
        "Wait" => text(&client.wait(wait_for(vec![ENDED], None)).await?),
        "Wait selected" => {
            let ended = v1::ProcessSelector {
                state: v1::ProcessState::Stopped.into(),
                ..Default::default()
            };
            text(&client.wait(wait_for(vec![], Some(ended))).await?)
        }
        "Watch" => {
            let watch = v1::WatchRequest {
                no_follow: true,
                ..Default::default()
            };
            let mut stream = client.watch(watch).await?.into_inner();
            let mut told = String::new();
            while let Some(message) = stream.message().await? {
                told.push_str(&text(&message));
            }
            told
        }
        "SignalProcess" => text(
            &client
                .signal_process(v1::SignalProcessRequest {
                    process_identifier: named(A),
                    signal: 1,
                    ..Default::default()
                })
                .await?,
        ),
        "UpdateProcess" | "UpdateProcess paused" => {
            let path = if call.ends_with("paused") {
                "paused"
            } else {
                "labels"
            };
            let mask = prost_types::FieldMask {
                paths: vec![path.to_owned()],
            };
            text(
                &client
                    .update_process(v1::UpdateProcessRequest {
                        process_identifier: named(A),
                        update_mask: Some(mask),
                        paused: true,
                        ..Default::default()
                    })
                    .await?,
            )
        }
        "RemoveProcess" => text(
            &client
                .remove_process(v1::RemoveProcessRequest {
                    processes: named(ENDED).into_iter().collect(),
                    selector: None,
                })
                .await?,
        ),
        "GetUsage" | "GetUsage selected" => {
            let is_named = call == "GetUsage";
            let usage = v1::GetUsageRequest {
                processes: named(ENDED).into_iter().filter(|_| is_named).collect(),
                selector: all().filter(|_| !is_named),
                with_tasks: false,
            };
            text(&client.get_usage(usage).await?)
        }
        "GetServer" => text(&client.get_server(v1::GetServerRequest {}).await?),
        "GetMetrics" => text(
            &client
                .get_metrics(v1::GetMetricsRequest { with_text: true })
                .await?,
        ),
        "SendInput" => {
            let first = v1::SendInputRequest {
                process_identifier: named(A),
                ..Default::default()
            };
            text(&client.send_input(tokio_stream(first)).await?)
        }
        "ResizeTerminal" => text(
            &client
                .resize_terminal(v1::ResizeTerminalRequest {
                    process_identifier: named(A),
                    terminal_size: Some(v1::TerminalSize {
                        rows: 1,
                        columns: 1,
                    }),
                })
                .await?,
        ),
        "CreateWorkspace" => text(
            &client
                .create_workspace(v1::CreateWorkspaceRequest {
                    name: "mine".to_owned(),
                    ..Default::default()
                })
                .await?,
        ),
        "ListWorkspaces" => text(&client.list_workspaces(v1::ListWorkspacesRequest {}).await?),
        "RemoveWorkspace" => text(
            &client
                .remove_workspace(v1::RemoveWorkspaceRequest {
                    name: WORKSPACE.to_owned(),
                    ..Default::default()
                })
                .await?,
        ),
        "CheckAccess" => text(
            &client
                .check_access(v1::CheckAccessRequest {
                    verb: v1::Verb::Stop.into(),
                    process: named(A),
                    start: None,
                })
                .await?,
        ),
        "GetReceipt" => text(
            &client
                .get_receipt(v1::GetReceiptRequest { process: named(A) })
                .await?,
        ),
        other => panic!("no call {other}"),
    })
}

fn tokio_stream(
    first: v1::SendInputRequest,
) -> impl futures_util::Stream<Item = v1::SendInputRequest> + Send + 'static {
    futures_util::stream::iter([first])
}

fn start(command: &str, name: &str) -> v1::StartRequest {
    v1::StartRequest {
        command: command.to_owned(),
        name: name.to_owned(),
        ..Default::default()
    }
}

fn status_of(id: ProcessId) -> v1::StatusRequest {
    v1::StatusRequest {
        process_identifier: named(id),
    }
}

fn wait_for(ids: Vec<ProcessId>, selector: Option<v1::ProcessSelector>) -> v1::WaitRequest {
    v1::WaitRequest {
        processes: ids.into_iter().filter_map(named).collect(),
        selector,
        ..Default::default()
    }
}

/// What becomes of a call, and how often the supervisor was asked. It refuses all.
async fn outcome(
    frontend: &mut Frontend,
    client: &Client,
    call: &'static str,
) -> (Result<String, Status>, u32) {
    let calling = tokio::spawn(called(client.clone(), call));
    let mut asked = 0;
    while !calling.is_finished() {
        if frontend.readable(Duration::from_millis(5))
            && let Request::Ask(request, who, _) = frontend.next()
        {
            assert_eq!(who, principal());
            asked += 1;
            frontend.reply(request, Reply::Refused(Refusal::Draining));
        }
    }
    (calling.await.unwrap(), asked)
}

fn tells_of_others(answer: &str) -> bool {
    let ids = [A, ENDED].map(|id| id.to_string());
    ids.iter().any(|id| answer.contains(id)) || answer.contains(WORKSPACE)
}

#[test]
fn the_table_of_calls_has_all_of_the_api() {
    let proto = include_str!("../../../proto/v1/process_runner.proto");
    let calls = proto.lines().filter_map(|line| {
        let (name, _) = line.trim().strip_prefix("rpc ")?.split_once('(')?;
        Some(name)
    });
    let known = CALLS
        .iter()
        .map(|(call, _)| call.split(' ').next().unwrap());
    assert_eq!(calls.collect::<BTreeSet<_>>(), known.collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_to_be_seen_is_not_there() {
    // Who administers the server is told how many there are.
    let verbs = VERBS.into_iter().filter(|verb| *verb != Verb::Admin);
    let verbs: Vec<_> = verbs.collect();
    let mut frontend = frontend(ruled(&verbs, Reach::Own, None));
    let client = frontend.connect().await;
    for (call, about) in CALLS {
        let (outcome, asked) = outcome(&mut frontend, &client, call).await;
        match about {
            About::Named(_) => {
                let status = outcome.unwrap_err();
                assert_eq!((status.code(), asked), (Code::NotFound, 0), "{call}");
            }
            About::All | About::Oneself => {
                assert!(!tells_of_others(&outcome.unwrap()), "{call}");
                assert_eq!(asked, 0, "{call}");
            }
            About::New(_) => {
                assert_eq!((outcome.unwrap_err().code(), asked), (Code::Unavailable, 1))
            }
        }
    }
    let server = frontend.connect().await;
    let server = { server }
        .get_server(v1::GetServerRequest {})
        .await
        .unwrap();
    let server = server.into_inner();
    let counts = (
        server.processes_running,
        server.processes_finished,
        server.workspaces,
    );
    assert_eq!(counts, (0, 0, 0));
    let metrics = frontend.connect().await;
    let metrics = { metrics }
        .get_metrics(v1::GetMetricsRequest { with_text: true })
        .await
        .unwrap();
    let text = metrics.into_inner().text;
    assert!(
        text.contains("prn_processes{state=\"running\"} 0"),
        "{text}"
    );
    for of_all in [
        "prn_calls",
        "prn_process_starts",
        "prn_connections",
        "prn_open",
    ] {
        assert!(!text.contains(of_all), "{of_all} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_seen_and_not_allowed_is_denied_before_the_supervisor_is_asked() {
    let mut frontend = frontend(ruled(&[Verb::List], Reach::All, None));
    let client = frontend.connect().await;
    for (call, about) in CALLS {
        let (outcome, asked) = outcome(&mut frontend, &client, call).await;
        match about {
            // The supervisor alone can sign it.
            About::Named(_) if call == "GetReceipt" => {
                assert_eq!((outcome.unwrap_err().code(), asked), (Code::Unavailable, 1));
                continue;
            }
            About::Named(Verb::List) => assert!(outcome.is_ok(), "{call}: {outcome:?}"),
            About::Named(verb) | About::New(verb) => {
                let status = outcome.unwrap_err();
                assert_eq!(status.code(), Code::PermissionDenied, "{call}");
                assert_eq!(reason(&status), "NOT_ALLOWED");
                let verb = format!("{verb}: ");
                assert!(status.message().starts_with(&verb), "{call}: {status:?}");
            }
            // Of what is alive the supervisor knows.
            About::All if call == "GetUsage selected" => {
                assert_eq!((outcome.unwrap_err().code(), asked), (Code::Unavailable, 1));
                continue;
            }
            // It counts them, and names none.
            About::All if call == "GetMetrics" => {
                let answer = outcome.unwrap();
                assert!(
                    answer.contains("prn_processes{state=\\\"running\\\"} 1"),
                    "{answer}"
                );
                assert!(answer.contains("prn_calls_total"), "{answer}");
            }
            About::All => assert!(tells_of_others(&outcome.unwrap()), "{call}"),
            About::Oneself => assert!(outcome.is_ok()),
        }
        assert_eq!(asked, 0, "{call}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_list_nothing_sees_nothing_and_is_told_why() {
    let verbs: Vec<_> = VERBS
        .into_iter()
        .filter(|verb| *verb != Verb::List)
        .collect();
    let mut frontend = frontend(ruled(&verbs, Reach::All, None));
    let client = frontend.connect().await;
    for (call, about) in CALLS {
        let (outcome, _) = outcome(&mut frontend, &client, call).await;
        match about {
            About::Named(_) if call == "RemoveWorkspace" => {
                assert_eq!(outcome.unwrap_err().code(), Code::NotFound);
            }
            About::Named(_) | About::All => {
                let status = outcome.unwrap_err();
                assert_eq!(status.code(), Code::PermissionDenied, "{call}");
            }
            About::New(_) => assert_eq!(outcome.unwrap_err().code(), Code::Unavailable),
            About::Oneself => assert!(!tells_of_others(&outcome.unwrap())),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_allowed_reaches_the_supervisor() {
    let mut frontend = frontend(ruled(&VERBS, Reach::All, None));
    let client = frontend.connect().await;
    for (call, about) in CALLS {
        let (outcome, asked) = outcome(&mut frontend, &client, call).await;
        let is_answered_here = match about {
            About::Named(verb) => verb == Verb::List && call != "GetReceipt",
            About::All => call != "GetUsage selected",
            About::New(_) => false,
            About::Oneself => true,
        };
        if is_answered_here {
            assert_eq!((outcome.is_ok(), asked), (true, 0), "{call}: {outcome:?}");
        } else {
            assert_eq!(
                (outcome.unwrap_err().code(), asked),
                (Code::Unavailable, 1),
                "{call}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_tells_nothing_of_others_not_even_that_they_were_forgotten() {
    let frontend = frontend(ruled(&VERBS, Reach::Own, None));
    let mut client = frontend.connect().await;
    let mut watch = client
        .watch(v1::WatchRequest::default())
        .await
        .unwrap()
        .into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert!(first.synchronized, "{first:?}");
    let changed =
        |info: ProcessInfo, change| Event::Process(Box::new(ProcessInfo { change, ..info }));
    frontend.event(changed(of_other(live(A, 1)), 1));
    frontend.event(Event::Forgotten {
        id: ENDED,
        change: 2,
    });
    frontend.event(changed(live(B, 3), 3));
    let mut told = async || {
        let message = tokio::time::timeout(DEADLINE, watch.message()).await;
        message.unwrap().unwrap().unwrap()
    };
    let shown = told().await.process.unwrap();
    assert_eq!(shown.id, named(B));
    frontend.event(Event::Forgotten { id: B, change: 4 });
    assert_eq!(told().await.removed, named(B));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_somebody_else_has_taken_is_taken_and_no_more_is_said() {
    for (reach, is_told) in [(Reach::Own, false), (Reach::All, true)] {
        let mut frontend = frontend(ruled(&VERBS, reach, None));
        let mut client = frontend.connect().await;
        let starting = tokio::spawn(async move { client.start(start("true", "web")).await });
        let (request, _) = frontend.asked();
        frontend.reply(request, Reply::Refused(Refusal::NameTaken(A)));
        let status = starting.await.unwrap().unwrap_err();
        assert_eq!(reason(&status), "NAME_TAKEN");
        assert_eq!(format!("{status:?}").contains(&A.to_string()), is_told);
        let details = status.get_details_resource_info().unwrap();
        assert_eq!(details.resource_name == A.to_string(), is_told);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_started_it_selects() {
    let frontend = frontend(ruled(&VERBS, Reach::All, None));
    frontend.event(Event::Process(Box::new(live(B, 3))));
    let mut client = frontend.connect().await;
    let mut selected = async |started_by: &str| {
        let selector = v1::ProcessSelector {
            started_by: started_by.to_owned(),
            ..Default::default()
        };
        let request = v1::ListRequest {
            selector: Some(selector),
            ..Default::default()
        };
        client.list(request).await.map(|list| {
            let processes = list.into_inner().processes.into_iter();
            let of = processes.map(|process| process.status.unwrap().started_by);
            of.collect::<Vec<_>>()
        })
    };
    while selected("client").await.unwrap().is_empty() {}
    assert_eq!(selected("client").await.unwrap(), ["client"]);
    assert_eq!(selected(OTHER).await.unwrap(), [OTHER, OTHER]);
    assert!(selected("nobody").await.unwrap().is_empty());
    assert_eq!(
        selected("a b").await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_principal_whose_time_is_over_is_refused_and_its_streams_end() {
    let now = UnixMicros::now();
    let mut frontend = frontend(ruled(
        &VERBS,
        Reach::All,
        Some(UnixMicros(now.0 + 2_000_000)),
    ));
    let mut client = frontend.connect().await;
    let mut watch = client
        .watch(v1::WatchRequest::default())
        .await
        .unwrap()
        .into_inner();
    let output = Output::new();
    let mut follower = frontend.open(&client, output_of(A), &output).await.unwrap();
    let mut waiter = client.clone();
    let waiting = tokio::spawn(async move { waiter.wait(wait_for(vec![A], None)).await });
    let is_over = |status: &Status| {
        status.code() == Code::PermissionDenied && reason(status) == "NOT_ALLOWED"
    };
    let watched = loop {
        match tokio::time::timeout(DEADLINE, watch.message())
            .await
            .unwrap()
        {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the watch has ended"),
            Err(status) => break status,
        }
    };
    assert!(is_over(&watched), "{watched:?}");
    assert!(is_over(&frame(&mut follower).await.unwrap_err()));
    assert!(is_over(&waiting.await.unwrap().unwrap_err()));
    // The connection is about to be closed.
    let client = frontend.connect().await;
    for (call, _) in CALLS {
        let (outcome, asked) = outcome(&mut frontend, &client, call).await;
        assert!(is_over(&outcome.unwrap_err()), "{call}");
        assert_eq!(asked, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_time_is_over_holds_no_process_by_taking_nothing() {
    let end = UnixMicros(UnixMicros::now().0 + 2_000_000);
    let mut frontend = frontend(ruled(&VERBS, Reach::All, Some(end)));
    let mut info = live(B, 3);
    info.spec.output.overflow = Overflow::Follow(1000.try_into().unwrap());
    frontend.event(Event::Process(Box::new(info)));
    let mut client = frontend.connect().await;
    while client.status(status_of(B)).await.is_err() {}
    let mut output = Output::new();
    output.append(Stream::Stdout, &[b'x'; 512 * 1024]);
    // HTTP/2 by hand: a client that makes room for nothing more than its first window.
    let stream = frontend.tls(&frontend.client).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http_request("/proto.v1.ProcessRunnerService/GetOutput", &[]);
    let (response, mut body) = sender.send_request(request, false).unwrap();
    let message = v1::GetOutputRequest {
        follower: true,
        ..output_of(B)
    }
    .encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let message = [&[0][..], &length, &message].concat();
    body.send_data(message.into(), true).unwrap();
    assert_eq!(frontend.told(&output), Request::Follow(B, For::Output));
    let answering = tokio::spawn(response);
    assert_eq!(frontend.told(&output), Request::Unfollow(B, For::Output));
    assert!(UnixMicros::now() >= end);
    let unread = answering.await.unwrap().unwrap();
    let ended = tokio::time::timeout(DEADLINE, connection).await;
    assert!(ended.is_ok(), "the connection is there yet");
    drop((unread, sender));
}

/// A process of an owner's, with a lease, that writes more than is kept under this policy.
fn awaiting(overflow: Overflow, owner: &str) -> ProcessInfo {
    let mut info = live(B, 3);
    info.spec.output.overflow = overflow;
    info.spec.output.max = 65_536;
    info.spec.lease = Some(60_000.try_into().unwrap());
    info.started_by = Some(access_name(owner));
    info
}

/// What the supervisor is told, but for Watch, while a client reads all of 512 KiB that such a
/// process has written.
async fn told_of_reader(verbs: &[Verb], overflow: Overflow, owner: &str) -> Vec<Request> {
    let mut frontend = frontend(ruled(verbs, Reach::All, None));
    frontend.event(Event::Process(Box::new(awaiting(overflow, owner))));
    let mut client = frontend.connect().await;
    while client.status(status_of(B)).await.is_err() {}
    let mut output = Output::new();
    output.append(Stream::Stdout, &[b'x'; 512 * 1024]);
    let reading = tokio::spawn(async move {
        let request = v1::GetOutputRequest {
            follower: true,
            ..output_of(B)
        };
        let mut stream = client.get_output(request).await.unwrap().into_inner();
        let mut read = 0;
        while read < 512 * 1024 {
            read += frame(&mut stream).await.unwrap().unwrap().data.len();
        }
        stream
    });
    let mut told = Vec::new();
    loop {
        let asked = frontend.receive();
        if let Request::Ask(request, _, Ask::Subscribe(B)) = asked {
            frontend.send(
                FromSupervisor::Reply(request, Reply::Subscribed),
                &[output.data.as_fd(), output.page.as_fd()],
            );
        } else if matches!(asked, Request::Watch { .. }) {
            // It has all, and so has said what there is to be said.
            break;
        } else {
            told.push(asked);
        }
    }
    drop(reading.await.unwrap());
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_only_read_holds_no_process_of_others_and_keeps_no_lease() {
    let follow = Overflow::Follow(1000.try_into().unwrap());
    let viewer = [Verb::List, Verb::Output];
    let [signaller, starter] =
        [Verb::Signal, Verb::Start].map(|verb| [&viewer[..], &[verb]].concat());
    for (verbs, owner, may_hold, may_keep) in [
        (&viewer[..], OTHER, false, false),
        (&viewer, "client", true, true),
        (&signaller, OTHER, true, false),
        (&starter, OTHER, false, true),
    ] {
        for overflow in [Overflow::Wait, follow] {
            let told = told_of_reader(verbs, overflow, owner).await;
            let what = format!("{verbs:?} {owner} {overflow:?}: {told:?}");
            let is_taken = told
                .iter()
                .any(|told| matches!(told, Request::Taken { id: B, .. }));
            assert_eq!(is_taken, may_hold, "{what}");
            let follows = told.contains(&Request::Follow(B, For::Output));
            assert_eq!(follows, may_hold && overflow == follow, "{what}");
            let keeps = told.contains(&Request::Follow(B, For::Lease));
            assert_eq!(keeps, may_keep, "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_start_does_not_say_is_as_the_role_has_it() {
    let mut policy = ruled(&VERBS, Reach::Own, None);
    for role in policy.roles.values_mut() {
        role.defaults = Limits::try_from([None, Some(1 << 20), None, None, None]).unwrap();
        role.profile = Profile::Strict;
        role.output_max = Some(4096);
    }
    let mut frontend = frontend(policy);
    let mut client = frontend.connect().await;
    let starting = tokio::spawn(async move { client.start(start("true", "")).await });
    let (request, ask) = frontend.asked();
    let Ask::Start(spec) = ask else {
        panic!("{ask:?}")
    };
    assert_eq!(spec.process.limits.iter().count(), 1);
    assert_eq!(spec.process.profile, Profile::Strict);
    assert_eq!(spec.process.output.max, 4096);
    frontend.reply(request, Reply::Refused(Refusal::Draining));
    assert!(starting.await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forgotten_takes_the_verb_stop_however_it_is_named() {
    let frontend = frontend(ruled(&[Verb::List, Verb::Output], Reach::All, None));
    let mut client = frontend.connect().await;
    let mut read = ended(B, 3, OutputTotals::default());
    read.spec.retention.until_read = true;
    frontend.event(Event::Process(Box::new(read)));
    while client.status(status_of(B)).await.is_err() {}
    let all = v1::RemoveProcessRequest {
        processes: vec![],
        selector: Some(v1::ProcessSelector::default()),
    };
    let one = v1::RemoveProcessRequest {
        processes: vec![named(B).unwrap()],
        selector: None,
    };
    for request in [all, one] {
        let denied = client.remove_process(request).await.unwrap_err();
        assert_eq!(denied.code(), Code::PermissionDenied);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_start_would_come_to_is_told_and_nothing_starts() {
    use prn_ipc_protocol::message::Startable;
    use prn_ipc_protocol::policy::Denial;
    use prn_ipc_protocol::types::Digest;
    let mut frontend = frontend(ruled(&[Verb::Start], Reach::Own, None));
    let client = frontend.connect().await;
    let question = v1::CheckAccessRequest {
        start: Some(start("date", "")),
        ..Default::default()
    };
    let startable = Startable {
        rule: Some(2),
        limits: Limits::default(),
        candidates: vec![c"/bin/date".into()],
        working_directory: c"/d".into(),
        digest: Digest([0xab; 32]),
        uid: Some(7),
        user: Some("deploy".to_owned().try_into().unwrap()),
    };
    let answers = [
        Reply::Startable(Box::new(startable)),
        Reply::Refused(Refusal::Denied(Denial::Program)),
    ];
    let mut told = Vec::new();
    for answer in answers {
        let (mut client, question) = (client.clone(), question.clone());
        let asking = tokio::spawn(async move { client.check_access(question).await });
        let (request, ask) = frontend.asked();
        assert!(matches!(ask, Ask::TryStart(_)), "{ask:?}");
        frontend.reply(request, answer);
        told.push(asking.await.unwrap().unwrap().into_inner());
    }
    let [yes, no] = told.try_into().unwrap();
    assert!(yes.allowed && yes.why.is_empty());
    assert_eq!(
        (yes.principal.as_str(), yes.role.as_str()),
        ("client", "admin")
    );
    assert_eq!(yes.verbs, [i32::from(v1::Verb::Start)]);
    assert_eq!(yes.reach(), v1::Reach::Own);
    let start = yes.start.unwrap();
    assert_eq!(
        (start.rule, start.candidates),
        (Some(2), vec!["/bin/date".to_owned()])
    );
    assert_eq!((start.digest, start.uid), ("ab".repeat(32), Some(7)));
    assert!(!no.allowed && no.start.is_none());
    assert_eq!(no.reason, "START_NOT_ALLOWED");
    // A verb alone needs no supervisor.
    let mut client = client;
    let mut may = async |verb: v1::Verb| {
        let question = v1::CheckAccessRequest {
            verb: verb.into(),
            ..Default::default()
        };
        client.check_access(question).await.unwrap().into_inner()
    };
    let answers = (may(v1::Verb::Start).await, may(v1::Verb::Admin).await);
    assert_eq!((answers.0.allowed, answers.1.allowed), (true, false));
    assert_eq!(answers.1.reason, "NOT_ALLOWED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_certificates_of_a_principal_are_one_client() {
    let frontend = frontend(ruled(&VERBS, Reach::Own, None));
    let mut connected = Vec::new();
    for identity in [&frontend.client, &frontend.twin]
        .into_iter()
        .cycle()
        .take(4)
    {
        let mut client = frontend.connect_as(identity).await.unwrap();
        let server = client.get_server(v1::GetServerRequest {}).await.unwrap();
        assert_eq!(server.into_inner().principal, "client");
        connected.push(client);
    }
    // As many as a client may have.
    let mut above = frontend.connect_as(&frontend.twin).await.unwrap();
    let status = above.get_server(v1::GetServerRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    drop(connected);
}
