//! Workspaces.

use prn_ipc_protocol::message::{DiskLimit, Enforcement, WorkspaceInfo, WorkspaceSpec};
use prn_ipc_protocol::types::WorkspaceName;

use super::*;

fn name(text: &str) -> WorkspaceName {
    text.to_owned().try_into().unwrap()
}

fn workspace(text: &str) -> WorkspaceInfo {
    WorkspaceInfo {
        name: name(text),
        directory: std::ffi::CString::new(format!("/srv/workspace-{text}")).unwrap(),
        uid: 7,
        created_by: Some(principal()),
        created: UnixMicros(3_000_000),
        disk: Some(DiskLimit {
            bytes: 1 << 20,
            enforcement: Enforcement::Watched,
        }),
        is_leaving: false,
    }
}

fn leaving(text: &str) -> WorkspaceInfo {
    WorkspaceInfo {
        is_leaving: true,
        ..workspace(text)
    }
}

fn live_in(text: &str, id: ProcessId, number: u64) -> ProcessInfo {
    let mut info = live(id, number);
    info.spec.workspace = Some(name(text));
    info
}

impl Frontend {
    fn with_workspaces(workspaces: &[WorkspaceInfo], processes: &[ProcessInfo]) -> Self {
        let mut frontend = Self::executed(16);
        assert_eq!(frontend.receive(), Request::Hello(PROTOCOL.to_owned()));
        for info in workspaces {
            frontend.event(Event::Workspace(Box::new(info.clone())));
        }
        for info in processes {
            frontend.event(Event::Process(Box::new(info.clone())));
        }
        frontend.event(Event::SnapshotEnd {
            change: 0,
            receipt_key: None,
        });
        assert_eq!(frontend.receive(), Request::Ready);
        frontend
    }
}

async fn listed(client: &mut Client) -> Vec<v1::Workspace> {
    let request = v1::ListWorkspacesRequest {};
    let list = client.list_workspaces(request).await.unwrap().into_inner();
    assert_eq!(list.boot_epoch, EPOCH.to_string());
    list.workspaces
}

fn create(client: &Client, text: &str) -> JoinHandle<Result<v1::Workspace, Status>> {
    let mut client = client.clone();
    let request = v1::CreateWorkspaceRequest {
        name: text.to_owned(),
        disk_max_bytes: Some(1 << 20),
    };
    tokio::spawn(async move {
        let created = client.create_workspace(request).await?.into_inner();
        Ok(created.workspace.unwrap())
    })
}

/// Whether it says that something is left.
fn remove(
    client: &Client,
    text: &str,
    stop_processes: bool,
    signal: v1::Signal,
) -> JoinHandle<Result<bool, Status>> {
    let mut client = client.clone();
    let request = v1::RemoveWorkspaceRequest {
        name: text.to_owned(),
        stop_processes,
        signal: signal.into(),
        grace: None,
    };
    tokio::spawn(async move { Ok(client.remove_workspace(request).await?.into_inner().leaving) })
}

async fn refusal<T: std::fmt::Debug>(
    call: JoinHandle<Result<T, Status>>,
) -> (Code, String, String) {
    let status = call.await.unwrap().unwrap_err();
    (status.code(), reason(&status), status.message().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workspaces_are_listed_with_their_processes_and_cost_the_supervisor_nothing() {
    let processes = [
        live_in("b", A, 1),
        live_in("b", B, 2),
        live(ProcessId::from_bytes([3; 16]), 3),
    ];
    let frontend = Frontend::with_workspaces(&[workspace("b"), workspace("a")], &processes);
    let mut client = frontend.connect().await;
    let list = listed(&mut client).await;
    let counts: Vec<_> = list
        .iter()
        .map(|workspace| (workspace.name.as_str(), workspace.processes))
        .collect();
    assert_eq!(counts, [("a", 0), ("b", 2)]);
    assert_eq!(list[1].directory, "/srv/workspace-b");
    assert_eq!((list[1].uid, list[1].disk_max_bytes), (7, Some(1 << 20)));
    assert_eq!(list[1].disk_enforcement(), v1::DiskEnforcement::Watched);
    assert_eq!(list[1].created_at.unwrap().seconds, 3);

    let request = v1::StatusRequest {
        process_identifier: named(A),
    };
    let status = client.status(request).await.unwrap().into_inner();
    assert_eq!(status.process_status.unwrap().workspace, "b");

    let totals = OutputTotals::default();
    let mut over = ended(A, 1, totals);
    over.spec.workspace = Some(name("b"));
    frontend.event(Event::Process(Box::new(over)));
    while listed(&mut client).await[1].processes != 1 {}
    assert!(!frontend.readable(Duration::ZERO));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workspace_that_was_made_is_in_the_answer_and_known_to_the_next_call() {
    let mut frontend = Frontend::with(&[]);
    let mut client = frontend.connect().await;
    let creating = create(&client, "w");
    let (request, ask) = frontend.asked();
    let spec = WorkspaceSpec {
        name: name("w"),
        disk_max: Some(1 << 20),
    };
    assert_eq!(ask, Ask::CreateWorkspace(spec));
    frontend.event(Event::Workspace(Box::new(workspace("w"))));
    frontend.reply(request, Reply::Done);
    let created = creating.await.unwrap().unwrap();
    assert_eq!((created.name.as_str(), created.uid), ("w", 7));
    assert_eq!(listed(&mut client).await, [created]);

    for (is_leaving, said) in [(false, "has the name w"), (true, "still being removed")] {
        if is_leaving {
            frontend.event(Event::Workspace(Box::new(leaving("w"))));
        }
        let again = create(&client, "w");
        let (request, _) = frontend.asked();
        frontend.reply(request, Reply::Refused(Refusal::WorkspaceExists));
        let (code, reason, message) = refusal(again).await;
        assert_eq!(
            (code, reason.as_str()),
            (Code::AlreadyExists, "WORKSPACE_EXISTS")
        );
        assert!(message.contains(said), "{message}");
    }

    let wrong = create(&client, "../w");
    let (code, _, message) = refusal(wrong).await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.starts_with("name: "), "{message}");
    assert!(!frontend.readable(Duration::ZERO), "refused here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_says_how_to_stop_and_whether_something_is_left() {
    let mut frontend = Frontend::with_workspaces(&[workspace("w")], &[live_in("w", A, 1)]);
    let client = frontend.connect().await;

    let plain = remove(&client, "w", false, v1::Signal::Unspecified);
    let (request, ask) = frontend.asked();
    assert_eq!(ask, Ask::RemoveWorkspace(name("w"), None));
    frontend.reply(request, Reply::Refused(Refusal::WorkspaceInUse(1)));
    let (code, reason, message) = refusal(plain).await;
    assert_eq!(
        (code, reason.as_str()),
        (Code::FailedPrecondition, "WORKSPACE_IN_USE")
    );
    assert!(message.contains("1 process lives in it"), "{message}");

    let graceful = remove(&client, "w", true, v1::Signal::Unspecified);
    let (first, ask) = frontend.asked();
    let how = StopHow::Graceful(None);
    assert_eq!(ask, Ask::RemoveWorkspace(name("w"), Some(how)));
    let killing = remove(&client, "w", true, v1::Signal::Sigkill);
    let (second, ask) = frontend.asked();
    assert_eq!(ask, Ask::RemoveWorkspace(name("w"), Some(StopHow::Kill)));
    // Both wait: one is told while it is being deleted, the other when it is gone.
    frontend.event(Event::Workspace(Box::new(leaving("w"))));
    frontend.reply(first, Reply::Done);
    assert!(graceful.await.unwrap().unwrap());
    frontend.event(Event::WorkspaceGone(name("w")));
    frontend.reply(second, Reply::Done);
    // As soon as somebody may have made another one.
    frontend.event(Event::Workspace(Box::new(workspace("w"))));
    assert!(!killing.await.unwrap().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_workspace_is_not_found_and_costs_the_supervisor_nothing() {
    let mut frontend = Frontend::with_workspaces(&[workspace("w")], &[]);
    let client = frontend.connect().await;
    let unknown = remove(&client, "x", true, v1::Signal::Unspecified);
    let (code, reason, message) = refusal(unknown).await;
    assert_eq!(
        (code, reason.as_str()),
        (Code::NotFound, "WORKSPACE_NOT_FOUND")
    );
    assert!(message.ends_with(" x"), "{message}");
    assert!(!frontend.readable(Duration::ZERO));

    // A client that leaves takes nothing with it, and the late answer does no harm.
    let gone = remove(&client, "w", false, v1::Signal::Unspecified);
    let (request, _) = frontend.asked();
    gone.abort();
    frontend.event(Event::WorkspaceGone(name("w")));
    frontend.reply(request, Reply::Done);
    let mut client = frontend.connect().await;
    assert!(listed(&mut client).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_carries_its_workspace_and_is_refused_by_its_name() {
    let mut frontend = Frontend::with(&[]);
    let client = frontend.connect().await;
    let start = |workspace: &str| {
        let mut client = client.clone();
        let request = v1::StartRequest {
            command: "true".into(),
            workspace: workspace.to_owned(),
            ..Default::default()
        };
        tokio::spawn(async move { client.start(request).await })
    };
    for (refused, code, reason) in [
        (
            Refusal::UnknownWorkspace,
            Code::NotFound,
            "WORKSPACE_NOT_FOUND",
        ),
        (
            Refusal::WorkspaceLeaving,
            Code::FailedPrecondition,
            "WORKSPACE_LEAVING",
        ),
    ] {
        let starting = start("w");
        let (request, Ask::Start(spec)) = frontend.asked() else {
            panic!("no start")
        };
        assert_eq!(spec.process.workspace, Some(name("w")));
        frontend.reply(request, Reply::Refused(refused));
        let (code_of_it, reason_of_it, message) = refusal(starting).await;
        assert_eq!((code_of_it, reason_of_it.as_str()), (code, reason));
        assert!(message.contains('w'), "{message}");
    }
    let (code, _, message) = refusal(start("W")).await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.starts_with("workspace: "), "{message}");
    assert!(!frontend.readable(Duration::ZERO));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r4_removals_that_wait_are_bounded_and_keep_no_stop_out() {
    let mut frontend = Frontend::with_workspaces(&[workspace("w")], &[live(A, 1)]);
    let client = frontend.connect().await;
    let mut waiting = Vec::new();
    for _ in 0..16 {
        waiting.push(remove(&client, "w", false, v1::Signal::Unspecified));
        frontend.asked();
    }
    let (code, reason, _) = refusal(remove(&client, "w", true, v1::Signal::Sigkill)).await;
    assert_eq!(
        (code, reason.as_str()),
        (Code::ResourceExhausted, "TOO_MANY_REQUESTS")
    );
    let stopping = stop(&client, v1::Signal::Sigkill, None);
    let (request, ask) = frontend.asked();
    assert_eq!(ask, Ask::Stop(A, StopHow::Kill));
    frontend.reply(request, Reply::Done);
    stopping.await.unwrap().unwrap();
    waiting.iter().for_each(JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l3_while_draining_no_workspace_is_made() {
    let frontend = Frontend::with(&[]);
    let mut client = frontend.connect().await;
    frontend.event(Event::Draining);
    // Told after it.
    frontend.event(Event::Workspace(Box::new(leaving("w"))));
    while listed(&mut client).await.is_empty() {}
    let (code, reason, _) = refusal(create(&client, "v")).await;
    assert_eq!((code, reason.as_str()), (Code::Unavailable, "DRAINING"));
    assert!(!frontend.readable(Duration::ZERO));
}
