//! Watching processes: what is told, in which order, and going on after anything that broke.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_client::{
    Change, Client, ClientError, Process, ProcessId, Selector, StartSpec, State, StopSignal, Watch,
    WatchRequest,
};
use prn_proto::reason;
use prn_tests::server::{Options, Server};
use prn_tests::{client, deadline};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

async fn next(watch: &mut Watch) -> Change {
    let next = tokio::time::timeout(deadline(), watch.next());
    next.await
        .expect("a change in time")
        .unwrap()
        .expect("a change")
}

async fn start(client: &Client, argv: &[&str]) -> ProcessId {
    let spec = StartSpec::new(argv.iter().copied());
    client.start(&spec).await.unwrap().process.id
}

/// What a client knows by a watch.
#[derive(Debug, Default)]
struct Known {
    processes: BTreeMap<ProcessId, Process>,
    anew: Option<BTreeMap<ProcessId, Process>>,
    is_synchronized: bool,
}

impl Known {
    fn take(&mut self, change: Change) {
        let into = self.anew.as_mut().unwrap_or(&mut self.processes);
        match change {
            Change::Process(process) => drop(into.insert(process.id, *process)),
            Change::Removed(id) => drop(into.remove(&id)),
            Change::Reset => self.anew = Some(BTreeMap::new()),
            Change::Synchronized => {
                self.is_synchronized = true;
                if let Some(anew) = self.anew.take() {
                    self.processes = anew;
                }
            }
            Change::Restarted => {}
        }
    }
}

#[test]
fn a_watch_tells_what_is_so_and_then_each_change() {
    let server = Server::start();
    runtime().block_on(async {
        let client = client::library(&server).await.unwrap();
        let one = start(&client, &["sleep", "1000"]).await;
        let mut watch = client.watch(&WatchRequest::default()).await.unwrap();
        let Change::Process(process) = next(&mut watch).await else {
            panic!("no process")
        };
        assert_eq!((process.id, process.status.state), (one, State::Running));
        assert!(process.status.argv.is_empty() && watch.cursor().is_none());
        assert_eq!(next(&mut watch).await, Change::Synchronized);
        assert!(watch.cursor().is_some() && watch.boot_epoch().is_some());

        let two = start(&client, &["sleep", "1000"]).await;
        let Change::Process(process) = next(&mut watch).await else {
            panic!("no process")
        };
        assert_eq!(process.id, two);
        client.stop(one, StopSignal::Kill, None).await.unwrap();
        // Its main process has exited, and then all of it: both, or the last alone.
        loop {
            let Change::Process(process) = next(&mut watch).await else {
                panic!("no process")
            };
            assert_eq!(process.id, one);
            if process.status.state == State::Stopped {
                break;
            }
        }

        // Those that are not selected are not told of, and one that is so no more is removed.
        let mut running = WatchRequest::default();
        running.selector.state = Some(State::Running);
        let mut watch = client.watch(&running).await.unwrap();
        assert!(matches!(next(&mut watch).await, Change::Process(it) if it.id == two));
        assert_eq!(next(&mut watch).await, Change::Synchronized);
        client.stop(two, StopSignal::Kill, None).await.unwrap();
        loop {
            match next(&mut watch).await {
                Change::Removed(id) => break assert_eq!(id, two),
                Change::Process(process) => assert_eq!(process.id, two),
                other @ (Change::Reset | Change::Synchronized | Change::Restarted) => {
                    panic!("{other:?}")
                }
            }
        }

        let mut once = WatchRequest::default();
        (once.no_follow, once.with_argv) = (true, true);
        let mut watch = client.watch(&once).await.unwrap();
        let mut known = Known::default();
        while let Some(change) = watch.next().await.unwrap() {
            known.take(change);
        }
        assert!(known.is_synchronized && known.processes.len() == 2);
        assert_eq!(known.processes[&one].status.argv, ["sleep", "1000"]);

        // A cursor that no watch has sent.
        let mut bad = WatchRequest::default();
        bad.after = Some("x".to_owned());
        let error = client.watch(&bad).await.unwrap_err();
        assert_eq!(error.refusal().unwrap().violations[0].field, "after");
    });
}

/// Processes start and end, and are forgotten, while frontends are killed and connections with them:
/// in the end the watch has told what a list says.
#[test]
fn a_watch_that_goes_on_over_replaced_frontends_misses_nothing() {
    const STARTS: usize = 200;
    let server = Server::with_arguments(&["--max-finished", "64"]);
    runtime().block_on(async {
        let credentials = client::credentials(&server).unwrap();
        let connect = async || {
            let started = Instant::now();
            loop {
                match Client::connect(&server.address, &credentials).await {
                    Ok(client) => break client,
                    Err(error) => assert!(started.elapsed() < deadline(), "{error}"),
                }
            }
        };
        let starting = async {
            for number in 0..STARTS {
                let client = connect().await;
                let argv = if number % 5 == 0 {
                    &["sleep", "1000"][..]
                } else {
                    &["true"]
                };
                // It may be cut off.
                drop(client.start(&StartSpec::new(argv.iter().copied())).await);
                if number % 50 == 25 {
                    kill(Pid::from_raw(server.frontend()), Signal::SIGKILL).unwrap();
                }
            }
        };
        let (mut known, mut cuts) = (Known::default(), 0);
        let mut watch = connect()
            .await
            .watch(&WatchRequest::default())
            .await
            .unwrap();
        let mut starting = std::pin::pin!(starting);
        let mut is_over = false;
        let quiet = Duration::from_secs(2);
        loop {
            tokio::select! {
                () = &mut starting, if !is_over => is_over = true,
                change = tokio::time::timeout(quiet, watch.next()) => match change {
                    Ok(Ok(change)) => known.take(change.expect("it follows")),
                    Ok(Err(error)) => {
                        assert!(error.is_transient(), "{error}");
                        cuts += 1;
                        let started = Instant::now();
                        watch = loop {
                            match connect().await.resume_watch(&watch).await {
                                Ok(watch) => break watch,
                                Err(error) => assert!(started.elapsed() < deadline(), "{error}"),
                            }
                        };
                    }
                    Err(_quiet) if is_over => break,
                    Err(_quiet) => {}
                }
            }
        }
        assert!(cuts >= 4, "{cuts}");
        let listed = connect().await.list().await.unwrap();
        let listed: BTreeMap<_, _> = listed
            .into_iter()
            .map(|it| (it.id, it.status.state))
            .collect();
        let told: BTreeMap<_, _> = known
            .processes
            .iter()
            .map(|(id, it)| (*id, it.status.state))
            .collect();
        assert_eq!(told, listed);
        assert!(listed.len() >= 64 && known.is_synchronized && known.anew.is_none());
    });
}

#[test]
fn at_the_servers_end_all_ends_are_told_and_another_server_is_told_apart() {
    let mut server = Server::start();
    runtime().block_on(async {
        let client = client::library(&server).await.unwrap();
        let mut ids = Vec::new();
        for _ in 0..20 {
            ids.push(start(&client, &["sleep", "1000"]).await);
        }
        let mut watch = client.watch(&WatchRequest::default()).await.unwrap();
        let mut known = Known::default();
        while !known.is_synchronized {
            known.take(next(&mut watch).await);
        }
        server.signal(Signal::SIGTERM);
        let error = loop {
            match tokio::time::timeout(deadline(), watch.next())
                .await
                .unwrap()
            {
                Ok(change) => known.take(change.expect("it follows")),
                Err(error) => break error,
            }
        };
        assert_eq!(error.refusal().unwrap().reason, reason::DRAINING, "{error}");
        let ended = known
            .processes
            .values()
            .filter(|it| it.status.state == State::Stopped);
        assert_eq!(ended.count(), ids.len());
        assert_eq!(server.wait(), Some(0));

        let other = Server::with(Options {
            identity: Some(server.identity.clone()),
            pins: vec![server.client.certificate.clone()],
            ..Options::default()
        });
        let credentials = client::credentials(&server).unwrap();
        let client = Client::connect(&other.address, &credentials).await.unwrap();
        let mut again = client.resume_watch(&watch).await.unwrap();
        let told = [
            next(&mut again).await,
            next(&mut again).await,
            next(&mut again).await,
        ];
        assert_eq!(
            told,
            [Change::Restarted, Change::Reset, Change::Synchronized]
        );
    });
}

#[test]
fn watches_that_nobody_reads_delay_nobody_and_are_so_many_at_most() {
    const MOST: usize = 64;
    let server = Server::start();
    runtime().block_on(async {
        let idle = client::library(&server).await.unwrap();
        let mut watches = Vec::new();
        // Those of one connection share what may be under way on it: one is apart.
        let apart = client::library(&server).await.unwrap();
        let mut watch = apart.watch(&WatchRequest::default()).await.unwrap();
        for _ in 1..MOST {
            watches.push(idle.watch(&WatchRequest::default()).await.unwrap());
        }
        let error = idle.watch(&WatchRequest::default()).await.unwrap_err();
        let ClientError::Refused(refusal) = error else {
            panic!("{error}")
        };
        assert_eq!(refusal.reason, reason::TOO_MANY_WATCHES);
        let client = client::library(&server).await.unwrap();
        let started = Instant::now();
        let long = "x".repeat(100_000);
        let mut ids = Vec::new();
        for _ in 0..50 {
            ids.push(start(&client, &["true", &long]).await);
        }
        let mut wait = prn_client::WaitRequest::default();
        wait.processes = ids.clone();
        wait.timeout = Some(deadline());
        client.wait(&wait).await.unwrap();
        println!("50 starts beside {MOST} watches: {:?}", started.elapsed());
        // Read at last, it tells the newest of each.
        let mut known = Known::default();
        let is_over = |known: &Known| {
            let ended = |id| {
                known
                    .processes
                    .get(id)
                    .is_some_and(|it| it.status.tree_empty)
            };
            ids.iter().all(ended)
        };
        while !is_over(&known) {
            known.take(next(&mut watch).await);
        }
        // A watch that is let go makes room.
        watches.pop();
        let started = Instant::now();
        let mut selected = WatchRequest::default();
        selected.selector = Selector::default();
        while idle.watch(&selected).await.is_err() {
            assert!(started.elapsed() < deadline());
        }
    });
}
