//! Clients that start, read, feed, signal and stop processes of all kinds at random, while one half
//! of the server or the other is killed now and then, and the server reloaded. Each client keeps an
//! account of what it has asked for and was told; in the end the accounts are the server's, and
//! nothing is left.
//!
//! PRN_SOAK_PROCESSES and PRN_SOAK_KILLS are the least that is done: `make soak` does 20,000 and
//! 200. PRN_SOAK_SEED repeats the choices of a run.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use prn_proto::v1::exit_cause::Kind;
use prn_proto::v1::{
    ExitCause, Limits, ListRequest, ProcessState, ProcessStatus, SendInputRequest,
    SignalProcessRequest, StandardInput, StartRequest, StatusRequest, StopRequest,
};
use prn_tests::client::{self, Client, collect, identifier, output_request};
use prn_tests::pki::Identity;
use prn_tests::random::Random;
use prn_tests::server::{Server, has_controllers};
use tonic::{Code, Status};

/// How a process is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    kind: Kind,
    exit_code: i32,
    signal: i32,
}

/// What became of a process, as its client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Ended(End),
    /// The server that ran it is gone.
    Lost,
}

/// What a process is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Exit(u8),
    Output(u64),
    Input(usize),
    Stop,
    Kill,
    Signal(i32),
    Timeout,
    Memory,
    LeftBehind,
}

impl Deed {
    fn choose(random: &mut Random) -> Self {
        match random.below(if has_controllers() { 9 } else { 8 }) {
            0 => Self::Exit(u8::try_from(random.below(256)).unwrap()),
            1 => Self::Output(random.below(300_000)),
            2 => Self::Input(usize::try_from(random.below(100_000)).unwrap()),
            3 => Self::Stop,
            4 => Self::Kill,
            5 => Self::Signal(if random.below(2) == 0 { 9 } else { 10 }),
            6 => Self::Timeout,
            7 => Self::LeftBehind,
            _ => Self::Memory,
        }
    }

    fn request(self, id: &str) -> StartRequest {
        let script = match self {
            Self::Exit(code) => format!("exit {code}"),
            Self::Output(bytes) => format!("exec head -c {bytes} /dev/zero"),
            Self::Input(_) => "exec wc -c".to_owned(),
            Self::Stop | Self::Kill | Self::Signal(_) | Self::Timeout => {
                "exec sleep 600".to_owned()
            }
            Self::Memory => "exec tail /dev/zero".to_owned(),
            Self::LeftBehind => "sleep 600 & exit 3".to_owned(),
        };
        StartRequest {
            command: "sh".to_owned(),
            args: vec!["-c".to_owned(), script],
            id: id.to_owned(),
            stdin: match self {
                Self::Input(_) => StandardInput::Pipe.into(),
                _ => StandardInput::None.into(),
            },
            timeout: (self == Self::Timeout).then_some(prost_types::Duration {
                seconds: 0,
                nanos: 50_000_000,
            }),
            limits: (self == Self::Memory).then(|| Limits {
                memory_bytes: Some(16 << 20),
                ..Limits::default()
            }),
            ..StartRequest::default()
        }
    }

    fn end(self) -> End {
        let (kind, exit_code, signal) = match self {
            Self::Exit(code) => (Kind::Exited, code.into(), 0),
            Self::Output(_) | Self::Input(_) => (Kind::Exited, 0, 0),
            Self::Stop => (Kind::StoppedOnRequest, 0, 15),
            Self::Kill => (Kind::StoppedOnRequest, 0, 9),
            Self::Signal(signal) => (Kind::Signalled, 0, signal),
            Self::Timeout => (Kind::TimedOut, 0, 15),
            Self::Memory => (Kind::OomKilled, 0, 9),
            Self::LeftBehind => (Kind::Exited, 3, 0),
        };
        End {
            kind,
            exit_code,
            signal,
        }
    }
}

/// What was done.
#[derive(Debug, Default)]
struct Tally {
    processes: AtomicU64,
    lost: AtomicU64,
    retries: AtomicU64,
    by_deed: Mutex<BTreeMap<String, u64>>,
}

/// One client of the server, whichever runs.
struct Account {
    address: String,
    client: Identity,
    server: Identity,
    connection: Option<Client>,
    random: Random,
    tally: Arc<Tally>,
    /// Of the server that has answered last: which run of it that was, and what was asked of it.
    epoch: String,
    told: BTreeMap<String, (Deed, Told)>,
    /// Nobody knows how much of the last input was taken, and so its process was killed.
    gave_up: bool,
    /// What is under way, for a message.
    doing: String,
}

/// How long a server may be away.
const PATIENCE: Duration = Duration::from_secs(90);

impl Account {
    async fn connect(&mut self) -> Option<Client> {
        if self.connection.is_none() {
            let config = client::tls_config(&self.client, &self.server).unwrap();
            self.connection = client::connect_with(&self.address, config).await.ok();
        }
        self.connection.clone()
    }

    /// Calls until there is an answer, over as many connections as it takes.
    async fn call<T, F: Future<Output = Result<T, Status>>>(
        &mut self,
        call: impl Fn(Client) -> F,
    ) -> Result<T, Status> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(client) = self.connect().await {
                let answer = tokio::time::timeout(Duration::from_secs(30), call(client)).await;
                let answer = answer.unwrap_or_else(|_| {
                    let what = std::any::type_name::<T>();
                    panic!("no {what} for 30 s: {}", self.doing);
                });
                match answer {
                    Err(status) if is_away(&status) => {}
                    answer => return answer,
                }
            }
            self.connection = None;
            self.tally.retries.fetch_add(1, Ordering::Relaxed);
            assert!(Instant::now() < until, "the server does not come back");
            tokio::time::sleep(Duration::from_millis(20 + self.random.below(100))).await;
        }
    }

    /// Whether a server of this run has answered: of another one, no process of before is there.
    fn saw(&mut self, epoch: &str) -> bool {
        if self.epoch == epoch {
            return true;
        }
        self.epoch = epoch.to_owned();
        self.told.clear();
        false
    }

    /// Starts a process, and sees it to its end.
    async fn live(&mut self) {
        let deed = Deed::choose(&mut self.random);
        let id: String = (0..2)
            .map(|_| format!("{:016x}", self.random.number()))
            .collect();
        let request = deed.request(&id);
        self.doing = format!("{deed:?} {id}");
        let started = self
            .call(|mut client| {
                let request = request.clone();
                async move { client.start(request).await }
            })
            .await
            .unwrap_or_else(|status| panic!("{deed:?}: {status:?}"))
            .into_inner();
        self.saw(&started.boot_epoch);
        let told = self.see_to(&id, deed, &started.boot_epoch).await;
        // What was given up was killed, if it had not ended by itself before.
        let gave_up = std::mem::take(&mut self.gave_up);
        let deed = match told {
            Told::Ended(end) if gave_up && end != deed.end() => Deed::Kill,
            Told::Ended(_) | Told::Lost => deed,
        };
        self.tally.processes.fetch_add(1, Ordering::Relaxed);
        let name = format!("{deed:?}");
        let name = name.split('(').next().unwrap().to_owned();
        *self.tally.by_deed.lock().unwrap().entry(name).or_default() += 1;
        match told {
            Told::Ended(end) => {
                assert_eq!(end, deed.end(), "{deed:?} {id}");
                // Of a server that is gone by now the next one knows nothing.
                if self.epoch == started.boot_epoch {
                    self.told.insert(id, (deed, told));
                }
            }
            Told::Lost => {
                self.tally.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    async fn see_to(&mut self, id: &str, deed: Deed, epoch: &str) -> Told {
        match deed {
            Deed::Stop | Deed::Kill => {
                // Its shell is on the way to be `sleep`.
                tokio::time::sleep(Duration::from_millis(self.random.below(40))).await;
                let request = StopRequest {
                    process_identifier: identifier(id),
                    signal: if deed == Deed::Stop { 1 } else { 2 },
                    grace: None,
                };
                let stop = |mut client: Client| {
                    let request = request.clone();
                    async move { client.stop(request).await }
                };
                match self.call(stop).await {
                    Ok(_) => {}
                    Err(status) if status.code() == Code::NotFound => return Told::Lost,
                    Err(status) => panic!("{deed:?}: {status:?}"),
                }
            }
            Deed::Signal(signal) => {
                let request = SignalProcessRequest {
                    process_identifier: identifier(id),
                    signal,
                    target: 0,
                };
                let send = |mut client: Client| {
                    let request = request.clone();
                    async move { client.signal_process(request).await }
                };
                match self.call(send).await {
                    Ok(_) => {}
                    // Sent before, over a connection that was lost.
                    Err(status) if status.code() == Code::FailedPrecondition => {}
                    Err(status) if status.code() == Code::NotFound => return Told::Lost,
                    Err(status) => panic!("{deed:?}: {status:?}"),
                }
            }
            Deed::Input(length) => self.feed(id, length).await,
            Deed::Output(bytes) => {
                if let Some(read) = self.read(id, epoch).await {
                    assert_eq!(u64::try_from(read.len()).unwrap(), bytes, "{id}");
                }
            }
            Deed::Exit(_) | Deed::Timeout | Deed::Memory | Deed::LeftBehind => {}
        }
        let told = self.end_of(id, epoch).await;
        if let (Deed::Input(length), Told::Ended(_), false) = (deed, told, self.gave_up)
            && let Some(read) = self.read(id, epoch).await
        {
            assert_eq!(
                String::from_utf8_lossy(&read).trim(),
                length.to_string(),
                "{id}"
            );
        }
        told
    }

    /// All of an input, however often a connection or a frontend is lost: from where the server
    /// says that it is, and if it does not know, with nothing but its end.
    async fn feed(&mut self, id: &str, length: usize) {
        let writer: String = (0..2)
            .map(|_| format!("{:016x}", self.random.number()))
            .collect();
        let message = |offset: Option<u64>, data: usize, end| SendInputRequest {
            process_identifier: identifier(id),
            writer: writer.clone(),
            offset,
            data: vec![b'x'; data].into(),
            end,
            terminal_size: None,
        };
        // One that gives up is no better than its process: what was taken is asked for first.
        let mut taken = 0;
        loop {
            let pieces = pieces(length - taken);
            let mut messages = vec![message(Some(taken as u64), 0, false)];
            messages.extend(pieces.iter().map(|piece| SendInputRequest {
                process_identifier: None,
                writer: String::new(),
                ..message(None, *piece, false)
            }));
            messages.push(SendInputRequest {
                process_identifier: None,
                writer: String::new(),
                ..message(None, 0, true)
            });
            let send = |mut client: Client| {
                let messages = messages.clone();
                async move { client.send_input(tokio_stream::iter(messages)).await }
            };
            match self.call(send).await {
                Ok(_) => return,
                Err(status) if status.code() == Code::NotFound => return,
                // It has ended, and so the answer was lost.
                Err(status) if status.code() == Code::FailedPrecondition => return,
                // A frontend died that knew, so nobody does: what a client can do is to say so.
                Err(status) if status.code() == Code::DataLoss => {
                    self.gave_up = true;
                    let stop = StopRequest {
                        process_identifier: identifier(id),
                        signal: 2,
                        grace: None,
                    };
                    let stop = |mut client: Client| {
                        let stop = stop.clone();
                        async move { client.stop(stop).await }
                    };
                    drop(self.call(stop).await);
                    return;
                }
                Err(status) if status.code() == Code::Aborted => taken = 0,
                Err(status) => panic!("{id}: {status:?}"),
            }
        }
    }

    /// The output of a process, whole. `None`: the process is lost.
    async fn read(&mut self, id: &str, epoch: &str) -> Option<Vec<u8>> {
        let until = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < until, "the output does not come");
            if let Some(client) = self.connect().await {
                match collect(client, output_request(id)).await {
                    Ok(all) if all.end.is_some() => {
                        assert_eq!(all.gaps, [], "{id}");
                        return Some(all.stdout);
                    }
                    Ok(_) => {}
                    Err(error) => match error.downcast_ref::<Status>() {
                        Some(status) if status.code() == Code::NotFound => {
                            assert!(!self.is_same(epoch).await, "{id} is forgotten");
                            return None;
                        }
                        _ => {}
                    },
                }
            }
            self.connection = None;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether the server that runs is the one of this run.
    async fn is_same(&mut self, epoch: &str) -> bool {
        let list = self
            .call(|mut client| async move {
                let request = ListRequest {
                    page_size: 1,
                    ..ListRequest::default()
                };
                client.list(request).await
            })
            .await
            .expect("a list");
        self.saw(&list.get_ref().boot_epoch);
        self.epoch == epoch
    }

    async fn end_of(&mut self, id: &str, epoch: &str) -> Told {
        let until = Instant::now() + PATIENCE;
        loop {
            let request = StatusRequest {
                process_identifier: identifier(id),
            };
            let status = |mut client: Client| {
                let request = request.clone();
                async move { client.status(request).await }
            };
            match self.call(status).await {
                Ok(response) => {
                    let status = response.into_inner().process_status.expect("a status");
                    if let Some(end) = end(&status) {
                        return Told::Ended(end);
                    }
                }
                Err(status) if status.code() == Code::NotFound => {
                    assert!(!self.is_same(epoch).await, "{id} is forgotten");
                    return Told::Lost;
                }
                Err(status) => panic!("{id}: {status:?}"),
            }
            assert!(Instant::now() < until, "{id} does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn pieces(length: usize) -> Vec<usize> {
    let whole = std::iter::repeat_n(30_000, length / 30_000);
    whole.chain([length % 30_000]).collect()
}

/// Half of the server is not there.
fn is_away(status: &Status) -> bool {
    let text = format!("{status:?}");
    matches!(status.code(), Code::Unavailable | Code::Cancelled)
        || (status.code() == Code::Unknown && text.contains("transport"))
        || (status.code() == Code::Internal && text.contains("h2"))
}

fn end(status: &ProcessStatus) -> Option<End> {
    let ExitCause {
        kind,
        exit_code,
        signal,
        ..
    } = status.exit_cause.clone()?;
    let is_over = status.state() == ProcessState::Stopped;
    is_over.then(|| End {
        kind: Kind::try_from(kind).expect("a known cause"),
        exit_code,
        signal,
    })
}

fn least(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect(variable))
}

/// All that a server knows.
async fn list(account: &mut Account) -> BTreeMap<String, Option<End>> {
    let mut all = BTreeMap::new();
    let mut token = String::new();
    loop {
        let request = ListRequest {
            page_size: 1000,
            page_token: token,
            ..ListRequest::default()
        };
        let page = |mut client: Client| {
            let request = request.clone();
            async move { client.list(request).await }
        };
        let page = account.call(page).await.expect("a page").into_inner();
        for process in page.processes {
            let id = process.id.expect("an id").id;
            all.insert(id, process.status.as_ref().and_then(end));
        }
        token = page.next_page_token;
        if token.is_empty() {
            return all;
        }
    }
}

/// Gives the server another limit, and so another frontend.
fn reload(server: &Server, workspaces: u64) {
    let workspaces = workspaces.to_string();
    let mut reload = server.reload();
    let reload = reload.args(["--max-workspaces", &workspaces]).output();
    let reload = reload.expect("prn server reload");
    assert!(reload.status.success(), "{reload:?} {}", server.log());
}

#[test]
fn l1_l2_whatever_halves_are_killed_each_clients_account_is_the_servers() {
    const CLIENTS: usize = 6;
    let processes = least("PRN_SOAK_PROCESSES", 400);
    let kills = least("PRN_SOAK_KILLS", 8);
    let mut random = Random::from_environment("PRN_SOAK_SEED");
    let mut server = Server::with_arguments(&["--max-finished", "2000"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let tally = Arc::new(Tally::default());
    let ending = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut account = Account {
                address: server.address.clone(),
                client: server.client.clone(),
                server: server.identity.clone(),
                connection: None,
                random: random.fork(),
                tally: Arc::clone(&tally),
                epoch: String::new(),
                told: BTreeMap::new(),
                gave_up: false,
                doing: String::new(),
            };
            let ending = Arc::clone(&ending);
            runtime.spawn(async move {
                while !ending.load(Ordering::Relaxed) {
                    account.live().await;
                }
                account
            })
        })
        .collect();
    let (mut frontends, mut supervisors, mut reloads) = (0, 0, 0);
    let (mut seen, mut was_on_its_way) = (0, false);
    while frontends + supervisors < kills || tally.processes.load(Ordering::Relaxed) < processes {
        std::thread::sleep(Duration::from_millis(200 + random.below(600)));
        assert!(
            clients.iter().all(|client| !client.is_finished()),
            "a client has failed"
        );
        if random.below(2) == 0 {
            reload(&server, 1 + random.below(60));
            reloads += 1;
        }
        if frontends + supervisors >= kills {
            continue;
        }
        // One that serves, or once the one after it on its way: if each next one were killed then,
        // nothing would go on.
        let done = tally.processes.load(Ordering::Relaxed);
        let is_on_its_way = done < seen + 5;
        if is_on_its_way && (was_on_its_way || random.below(8) != 0) {
            continue;
        }
        was_on_its_way = is_on_its_way;
        seen = done;
        if random.below(8) == 0 {
            server.kill_and_start_again();
            supervisors += 1;
        } else {
            let frontend = nix::unistd::Pid::from_raw(server.frontend());
            nix::sys::signal::kill(frontend, Signal::SIGKILL).unwrap();
            frontends += 1;
        }
        if (frontends + supervisors) % 20 == 0 {
            println!("{frontends} frontends, {supervisors} supervisors: {tally:?}");
        }
    }
    ending.store(true, Ordering::Relaxed);
    let mut accounts: Vec<Account> = clients
        .into_iter()
        .map(|client| runtime.block_on(client).expect("a client"))
        .collect();
    let known = runtime.block_on(list(&mut accounts[0]));
    let epoch = accounts[0].epoch.clone();
    let mut told = BTreeMap::new();
    for account in accounts.iter().filter(|account| account.epoch == epoch) {
        told.extend(account.told.iter().map(|(id, told)| (id.clone(), *told)));
    }
    for (id, end) in &known {
        let (deed, told) = told
            .get(id)
            .unwrap_or_else(|| panic!("nobody has asked for {id}"));
        assert_eq!(end.map(Told::Ended), Some(*told), "{deed:?} {id}");
    }
    if told.len() < 2000 {
        let missing: Vec<_> = told
            .iter()
            .filter(|(id, _)| !known.contains_key(*id))
            .collect();
        assert!(missing.is_empty(), "{missing:?} of {epoch}");
    }
    println!(
        "{frontends} frontends, {supervisors} supervisors killed, {reloads} reloads, {} compared: {tally:?}",
        known.len()
    );
    assert!(
        tally.retries.load(Ordering::Relaxed) > 0,
        "nothing was in the way"
    );
    let groups = std::fs::read_dir(server.cgroup().join("processes")).unwrap();
    assert_eq!(
        groups
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .count(),
        0
    );
    let state = server.state_dir();
    assert_eq!(server.stop(), Some(0));
    let left: Vec<_> = std::fs::read_dir(state)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert!(left.iter().all(|name| name.len() < 32), "{left:?}");
}
