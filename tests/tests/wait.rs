//! Waiting for the end of processes: for all and for any, for how long, and what it may take.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_client::{
    Client, ClientError, ProcessId, Selector, StopSignal, WaitCondition, WaitRequest,
};
use prn_proto::reason;
use prn_tests::pki::Identity;
use prn_tests::server::{Options, Server};
use prn_tests::{client, deadline};

fn start(server: &Server, flags: &[&str], argv: &[&str]) -> ProcessId {
    server.start_process(flags, argv).parse().unwrap()
}

fn waits(processes: &[ProcessId]) -> WaitRequest {
    let mut request = WaitRequest::default();
    request.processes = processes.to_vec();
    request
}

async fn kill_process(client: &Client, id: ProcessId) {
    client.stop(id, StopSignal::Kill, None).await.unwrap();
}

fn reason_of(error: &ClientError) -> &str {
    error
        .refusal()
        .map_or("", |refusal| refusal.reason.as_str())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

#[test]
fn a_wait_answers_when_all_have_ended_or_one_has_in_the_order_of_the_request() {
    let server = Server::start();
    let fast = start(&server, &[], &["sh", "-c", "exit 3"]);
    let [one, two] = [(); 2].map(|()| start(&server, &[], &["sleep", "1000"]));
    runtime().block_on(async {
        let client = client::library(&server).await.unwrap();
        // What has ended does not wait.
        let waited = client.wait(&waits(&[fast, fast])).await.unwrap();
        let [only] = &waited.processes[..] else {
            panic!("each once: {waited:?}")
        };
        assert_eq!(only.id, fast);
        assert_eq!(only.status.exit.as_ref().unwrap().code, Some(3));
        assert!(only.status.argv.is_empty() && !waited.boot_epoch.is_empty());

        let mut any = waits(&[one, two]);
        any.any = true;
        let (all, any) = (waits(&[two, fast, one]), any);
        let all = tokio::spawn({
            let client = client.clone();
            async move { client.wait(&all).await }
        });
        let any = tokio::spawn({
            let client = client.clone();
            async move { client.wait(&any).await }
        });
        // Neither is over yet.
        let mut short = waits(&[one]);
        short.timeout = Some(Duration::from_millis(200));
        let error = client.wait(&short).await.unwrap_err();
        assert!(matches!(error, ClientError::NoAnswer { .. }), "{error}");
        kill_process(&client, two).await;
        let any = any.await.unwrap().unwrap();
        assert_eq!(
            any.processes.iter().map(|it| it.id).collect::<Vec<_>>(),
            [two]
        );
        assert!(!all.is_finished());
        kill_process(&client, one).await;
        let all = all.await.unwrap().unwrap();
        let ids: Vec<_> = all.processes.iter().map(|it| it.id).collect();
        assert_eq!(ids, [two, fast, one]);

        let unknown = ProcessId::from_bytes([7; 16]);
        let error = client.wait(&waits(&[one, unknown])).await.unwrap_err();
        assert_eq!(reason_of(&error), reason::PROCESS_NOT_FOUND);
        for bad in [waits(&[]), waits(&vec![one; 1001])] {
            let error = client.wait(&bad).await.unwrap_err();
            assert_eq!(error.refusal().unwrap().violations[0].field, "processes");
        }
    });
}

#[test]
fn a_wait_can_be_for_the_main_process_alone_and_for_what_a_selector_says() {
    let server = Server::start();
    let script = "sleep 1000 & exit 4";
    let lingers = start(
        &server,
        &["--linger", "--label", "app=a"],
        &["sh", "-c", script],
    );
    let other = start(&server, &["--label", "app=b"], &["sleep", "1000"]);
    runtime().block_on(async {
        let client = client::library(&server).await.unwrap();
        let of = |labels: &str| {
            let mut selector = Selector::default();
            selector.labels = labels.parse::<prn_client::LabelSelector>().unwrap().0;
            let mut request = WaitRequest::default();
            request.selector = Some(selector);
            request.timeout = Some(deadline());
            request
        };
        let mut main = of("app=a");
        main.condition = WaitCondition::MainExited;
        let waited = client.wait(&main).await.unwrap();
        assert_eq!(waited.processes[0].id, lingers);
        assert!(!waited.processes[0].status.tree_empty);
        // Its tree is there still.
        let mut tree = of("app=a");
        tree.timeout = Some(Duration::from_millis(200));
        assert!(client.wait(&tree).await.is_err());
        // Nothing is waited for where nothing is selected.
        for any in [false, true] {
            let mut none = of("app=c");
            none.any = any;
            let waited = client.wait(&none).await.unwrap();
            assert!(waited.processes.is_empty() && waited.removed.is_empty());
        }
        let both = tokio::spawn({
            let (client, both) = (client.clone(), of("app"));
            async move { client.wait(&both).await }
        });
        kill_process(&client, other).await;
        kill_process(&client, lingers).await;
        let ids: Vec<_> = both
            .await
            .unwrap()
            .unwrap()
            .processes
            .iter()
            .map(|it| it.id)
            .collect();
        assert_eq!(ids, [lingers, other], "by their starts");
    });
}

#[test]
fn a_client_has_so_many_waits_and_they_are_gone_with_it() {
    const MOST: usize = 128;
    let folder = tempfile::tempdir().unwrap();
    let neighbour = Identity::keygen(folder.path(), "neighbour", &[]);
    let server = Server::with(Options {
        pins: vec![neighbour.certificate.clone()],
        ..Options::default()
    });
    let id = start(&server, &[], &["sleep", "1000"]);
    runtime().block_on(async {
        let client = client::library(&server).await.unwrap();
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..=MOST {
            let client = client.clone();
            waiting.spawn(async move { client.wait(&waits(&[id])).await });
        }
        let refused = tokio::time::timeout(deadline(), waiting.join_next()).await;
        let refused = refused.unwrap().unwrap().unwrap().unwrap_err();
        assert_eq!(reason_of(&refused), reason::TOO_MANY_WAITS);
        let mut short = waits(&[id]);
        short.timeout = Some(Duration::from_millis(100));
        let refused = client.wait(&short).await.unwrap_err();
        assert_eq!(reason_of(&refused), reason::TOO_MANY_WAITS);
        // They are its own.
        let config = client::tls_config(&neighbour, &server.identity).unwrap();
        let mut other = client::connect_with(&server.address, config).await.unwrap();
        let mut request = tonic::Request::new(prn_proto::v1::WaitRequest {
            processes: vec![id.into()],
            ..Default::default()
        });
        request.set_timeout(Duration::from_millis(200));
        let code = other.wait(request).await.unwrap_err().code();
        assert!(
            matches!(code, tonic::Code::DeadlineExceeded | tonic::Code::Cancelled),
            "{code}"
        );
        // Whoever goes leaves nothing.
        waiting.abort_all();
        while waiting.join_next().await.is_some() {}
        drop(client);
        let client = client::library(&server).await.unwrap();
        let started = Instant::now();
        while client.wait(&short).await.unwrap_err().refusal().is_some() {
            assert!(started.elapsed() < deadline());
        }
    });
}

#[test]
fn a_server_that_ends_answers_with_the_ends_and_one_that_dies_does_not() {
    for dies in [false, true] {
        let server = Server::start();
        let id = start(&server, &[], &["sleep", "1000"]);
        let waited = runtime().block_on(async {
            let client = client::library(&server).await.unwrap();
            let waiting = tokio::spawn(async move { client.wait(&waits(&[id])).await });
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert!(!waiting.is_finished());
            let signal = if dies {
                Signal::SIGKILL
            } else {
                Signal::SIGTERM
            };
            kill(Pid::from_raw(server.supervisor()), signal).unwrap();
            tokio::time::timeout(deadline(), waiting)
                .await
                .unwrap()
                .unwrap()
        });
        match waited {
            Ok(waited) => assert!(!dies && waited.processes[0].status.tree_empty),
            Err(error) => assert!(dies && error.is_transient(), "{dies}: {error}"),
        }
    }
}
