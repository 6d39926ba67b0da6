//! What changes or describes a process while it runs, from the client to the kernel: signals, pauses,
//! limits, leases, names, labels, usage; and for how long it is remembered when it has ended.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_client::credentials::{Credentials, KeySource};
use prn_client::{
    Client, ClientError, Code, Event, ExitKind, Limits, NewLease, OutputRequest, OutputStream,
    ProcessId, ProcessStatus, ProcessUsage, Retention, Selector, StartSpec, State, StopSignal,
    Target, Update, reason,
};
use prn_tests::server::{Options, Server};
use prn_tests::{wait_for, wait_within};
use tokio::runtime::Runtime;

/// A server, and a client's calls on it, one after the other.
struct Calls {
    server: Server,
    runtime: Runtime,
    client: Client,
}

impl Calls {
    fn with_arguments(arguments: &[&str]) -> Self {
        Self::of(Server::with_arguments(arguments))
    }

    fn of(server: Server) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let client = connected(&runtime, &server).unwrap();
        Self {
            server,
            runtime,
            client,
        }
    }

    fn new() -> Self {
        Self::with_arguments(&[])
    }

    fn start(&self, line: &str, more: impl FnOnce(&mut StartSpec)) -> ProcessId {
        self.try_start(line, more).unwrap()
    }

    fn try_start(
        &self,
        line: &str,
        more: impl FnOnce(&mut StartSpec),
    ) -> Result<ProcessId, ClientError> {
        let mut spec = StartSpec::new(["sh", "-c", line]);
        more(&mut spec);
        let started = self.runtime.block_on(self.client.start(&spec));
        started.map(|started| started.process.id)
    }

    fn status(&self, id: ProcessId) -> ProcessStatus {
        self.known(id).unwrap()
    }

    fn known(&self, id: ProcessId) -> Result<ProcessStatus, ClientError> {
        let status = self.runtime.block_on(self.client.status(id));
        status.map(|process| process.status)
    }

    fn signal(&self, id: ProcessId, signal: Signal, target: Target) -> Result<(), ClientError> {
        let sent = self.client.signal_process(id, signal as i32, target);
        self.runtime.block_on(sent)
    }

    fn update(&self, id: ProcessId, update: &Update) -> Result<ProcessStatus, ClientError> {
        self.runtime
            .block_on(self.client.update_process(id, update))
    }

    fn pause(&self, id: ProcessId, paused: bool) -> ProcessStatus {
        let update = Update {
            paused: Some(paused),
            ..Update::default()
        };
        self.update(id, &update).unwrap()
    }

    fn stop(&self, id: ProcessId, grace: Duration) -> ProcessStatus {
        let stopped = self.client.stop(id, StopSignal::Term, Some(grace));
        self.runtime.block_on(stopped).unwrap().status
    }

    fn usage(&self, id: ProcessId) -> ProcessUsage {
        let usages = self.runtime.block_on(self.client.usage(id, true)).unwrap();
        usages.usages.into_iter().next().unwrap()
    }

    fn follow(&self, id: ProcessId) -> OutputStream {
        let output = self.client.output(id, OutputRequest::default());
        self.runtime.block_on(output).unwrap()
    }

    /// All that a process has written so far.
    fn output(&self, id: ProcessId) -> String {
        let request = OutputRequest {
            no_follow: true,
            ..OutputRequest::default()
        };
        self.runtime.block_on(async {
            let mut stream = self.client.output(id, request).await.unwrap();
            let mut all = Vec::new();
            while let Some(event) = stream.next().await.unwrap() {
                if let Event::Data { data, .. } = event {
                    all.extend(&data);
                }
            }
            String::from_utf8(all).unwrap()
        })
    }

    fn until_output(&self, id: ProcessId, text: &str) {
        wait_for(text, || self.output(id).contains(text));
    }

    fn until_ended(&self, id: ProcessId) -> ProcessStatus {
        wait_for("an end", || self.status(id).state == State::Stopped);
        self.status(id)
    }

    fn until_forgotten(&self, id: ProcessId) {
        wait_for("a process to be forgotten", || {
            self.known(id)
                .is_err_and(|error| reason_of(&error) == reason::PROCESS_NOT_FOUND)
        });
    }
}

fn connected(runtime: &Runtime, server: &Server) -> Result<Client, ClientError> {
    let key = KeySource::File(server.client.key.clone());
    let (certificate, pinned) = (&server.client.certificate, &server.identity.certificate);
    let credentials = Credentials::load(certificate, &key, pinned).unwrap();
    let connected = Client::connect(&server.address, &credentials);
    runtime.block_on(connected)
}

fn reason_of(error: &ClientError) -> &str {
    error.refusal().unwrap().reason.as_str()
}

fn label(key: &str, value: &str) -> BTreeMap<String, String> {
    [(key.to_owned(), value.to_owned())].into()
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_signal_reaches_the_main_process_or_its_whole_tree() {
    let calls = Calls::new();
    // The child of the main process tells of its own.
    let line = "sh -c 'trap \"echo child\" USR1; echo ready; while :; do sleep 0.05; done' & \
                trap 'echo main' USR1; while :; do sleep 0.05; done";
    let id = calls.start(line, |_| {});
    calls.until_output(id, "ready");
    calls.signal(id, Signal::SIGUSR1, Target::Main).unwrap();
    calls.until_output(id, "main");
    assert!(!calls.output(id).contains("child"));
    calls.signal(id, Signal::SIGURG, Target::Tree).unwrap();
    calls.signal(id, Signal::SIGUSR1, Target::Tree).unwrap();
    calls.until_output(id, "child");
    calls.signal(id, Signal::SIGKILL, Target::Main).unwrap();
    let exit = calls.until_ended(id).exit.unwrap();
    assert_eq!((exit.kind, exit.signal), (ExitKind::Signalled, Some(9)));
    let late = calls.signal(id, Signal::SIGKILL, Target::Tree).unwrap_err();
    assert_eq!(reason_of(&late), reason::PROCESS_ENDED);
    let unknown = calls.signal(ProcessId::from_bytes([7; 16]), Signal::SIGINT, Target::Main);
    assert_eq!(reason_of(&unknown.unwrap_err()), reason::PROCESS_NOT_FOUND);
}

#[test]
fn what_a_main_process_leaves_behind_is_signalled_as_a_tree() {
    let calls = Calls::new();
    let line =
        "sh -c 'trap \"echo child; exit\" TERM; echo ready; while :; do sleep 0.05; done' & exit 0";
    let id = calls.start(line, |spec| spec.linger = true);
    calls.until_output(id, "ready");
    wait_for("the main process's end", || calls.status(id).main_exited);
    let error = calls.signal(id, Signal::SIGTERM, Target::Main).unwrap_err();
    assert_eq!(reason_of(&error), reason::PROCESS_ENDED);
    assert!(error.to_string().contains("TARGET_TREE"), "{error}");
    calls.signal(id, Signal::SIGTERM, Target::Tree).unwrap();
    calls.until_ended(id);
    assert!(calls.output(id).ends_with("child\n"));
}

#[test]
fn a_paused_process_makes_no_progress_and_goes_on_where_it_was() {
    let calls = Calls::new();
    let id = calls.start("while :; do echo x; sleep 0.01; done", |_| {});
    calls.until_output(id, "x\nx\n");
    assert!(calls.pause(id, true).paused);
    let at = calls.output(id).len();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(calls.output(id).len(), at);
    assert!(calls.status(id).paused);
    assert!(!calls.pause(id, false).paused);
    wait_for("progress", || calls.output(id).len() > at);
    // A stop ends one that is paused, with its grace time.
    calls.pause(id, true);
    let stopped = calls.stop(id, 10 * SECOND);
    assert_eq!(stopped.state, State::Stopped);
    assert_eq!(stopped.exit.unwrap().signal, Some(15), "not killed");
    let update = Update {
        paused: Some(true),
        ..Update::default()
    };
    let late = calls.update(id, &update).unwrap_err();
    assert_eq!(reason_of(&late), reason::PROCESS_ENDED);
}

#[test]
#[ignore = "guest: needs the controllers of limits"]
fn guest_each_limit_can_be_changed_and_is_read_back() {
    // The guest has a disk at the packaged state folder.
    let state = Path::new("/var/lib/prn").join(format!("test-{}", std::process::id()));
    std::fs::create_dir_all(&state).unwrap();
    let calls = Calls::of(Server::with(Options {
        arguments: vec!["--max-pids".to_owned(), "100".to_owned()],
        state_dir: Some(state.clone()),
        ..Options::default()
    }));
    let fill = "head -c 60000000 /dev/zero >/dev/shm/f; echo done; exec sleep 600";
    let id = calls.start(fill, |spec| spec.limits.pids = Some(50));
    calls.until_output(id, "done");
    let limits = |set: fn(&mut Limits)| {
        let mut update = Update::default();
        set(&mut update.limits);
        update
    };
    let now = |update: &Update| calls.update(id, update).unwrap().limits.values;
    assert_eq!(now(&limits(|to| to.pids = Some(7))).pids, Some(7));
    assert_eq!(
        now(&limits(|to| to.cpu_millis = Some(500))).cpu_millis,
        Some(500)
    );
    let both = now(&limits(|to| {
        to.memory_bytes = Some(512 << 20);
        to.cpu_millis = Some(1500);
    }));
    assert_eq!(
        (both.memory_bytes, both.cpu_millis),
        (Some(512 << 20), Some(1500))
    );
    assert_eq!(both.pids, Some(7), "others stay as they are");
    now(&limits(|to| to.io_read_bytes_per_second = Some(2 << 20)));
    let both = now(&limits(|to| to.io_write_bytes_per_second = Some(1 << 20)));
    let io = (
        both.io_read_bytes_per_second,
        both.io_write_bytes_per_second,
    );
    assert_eq!(io, (Some(2 << 20), Some(1 << 20)));
    let group = calls.server.cgroup().join("processes").join(id.to_string());
    let read = |file: &str| std::fs::read_to_string(group.join(file)).unwrap();
    assert_eq!(read("pids.max"), "7\n");
    assert_eq!(read("memory.max"), format!("{}\n", 512 << 20));
    let io = read("io.max");
    assert!(io.contains("rbps=2097152 wbps=1048576"), "{io}");

    let below = calls.update(id, &limits(|to| to.memory_bytes = Some(50_000_000)));
    let below = below.unwrap_err();
    assert_eq!(reason_of(&below), reason::MEMORY_IN_USE);
    let used = &below.refusal().unwrap().metadata[reason::metadata::USED];
    assert!(used.parse::<u64>().unwrap() >= 60_000_000, "{used}");
    let above = calls
        .update(id, &limits(|to| to.pids = Some(101)))
        .unwrap_err();
    assert_eq!(reason_of(&above), reason::LIMIT_ABOVE_CEILING);
    let none = calls.update(id, &Update::default()).unwrap_err();
    assert_eq!(none.refusal().unwrap().code, Code::InvalidArgument);
    assert_eq!(
        calls.status(id).limits.values,
        both,
        "what was refused changed nothing"
    );
    drop(calls);
    std::fs::remove_dir_all(state).unwrap();
}

#[test]
fn a_lease_runs_out_without_a_follower_and_not_with_one() {
    let calls = Calls::new();
    let leased = |spec: &mut StartSpec| spec.lease = Some(SECOND);
    let alone = calls.start("exec sleep 600", leased);
    let followed = calls.start("exec sleep 600", leased);
    let lease = calls.status(alone).lease.unwrap();
    assert_eq!(lease.duration, Some(SECOND));
    assert!(lease.expires_at.unwrap() > SystemTime::now() - 10 * SECOND);
    let stream = calls.follow(followed);
    wait_for("the follower to count", || {
        calls.status(followed).lease.unwrap().expires_at.is_none()
    });
    let end = calls.until_ended(alone);
    assert_eq!(end.exit.unwrap().kind, ExitKind::LeaseExpired);
    assert_eq!(end.stop.unwrap().cause, ExitKind::LeaseExpired);
    // Nor does a reader that only looks.
    calls.output(followed);
    std::thread::sleep(2 * SECOND);
    assert_eq!(calls.status(followed).state, State::Running);
    drop(stream);
    let end = calls.until_ended(followed);
    assert_eq!(end.exit.unwrap().kind, ExitKind::LeaseExpired);
}

#[test]
fn a_lease_is_renewed_given_and_ended() {
    let calls = Calls::new();
    let id = calls.start("exec sleep 600", |_| {});
    let lease = |lease| Update {
        lease: Some(lease),
        ..Update::default()
    };
    let none = calls.update(id, &lease(NewLease::Same)).unwrap_err();
    assert_eq!(reason_of(&none), reason::NO_LEASE);
    let given = calls.update(id, &lease(NewLease::Of(2 * SECOND))).unwrap();
    let first = given.lease.unwrap().expires_at.unwrap();
    let renewed = calls.update(id, &lease(NewLease::Same)).unwrap();
    let lease_now = renewed.lease.unwrap();
    assert_eq!(lease_now.duration, Some(2 * SECOND));
    assert!(lease_now.expires_at.unwrap() > first);
    assert!(
        calls
            .update(id, &lease(NewLease::Ended))
            .unwrap()
            .lease
            .is_none()
    );
    std::thread::sleep(3 * SECOND);
    assert_eq!(calls.status(id).state, State::Running);

    // One that is given while somebody follows is kept at once.
    let stream = calls.follow(id);
    calls.update(id, &lease(NewLease::Of(SECOND))).unwrap();
    std::thread::sleep(2 * SECOND);
    assert_eq!(calls.status(id).state, State::Running);
    drop(stream);
    calls.until_ended(id);
}

#[test]
fn a_lease_outlives_the_frontend_that_its_follower_was_connected_to() {
    let calls = Calls::new();
    let id = calls.start("exec sleep 600", |spec| spec.lease = Some(4 * SECOND));
    let stream = calls.follow(id);
    wait_for("the follower to count", || {
        calls.status(id).lease.unwrap().expires_at.is_none()
    });
    kill(Pid::from_raw(calls.server.frontend()), Signal::SIGKILL).unwrap();
    drop(stream);
    // The next one: it knows the lease, which has begun anew, and whom it serves keeps it.
    let mut client = None;
    wait_for("another frontend", || {
        client = connected(&calls.runtime, &calls.server).ok();
        let Some(client) = &client else { return false };
        let status = calls.runtime.block_on(client.status(id));
        status.is_ok_and(|process| process.status.lease.is_some())
    });
    let calls = Calls {
        client: client.unwrap(),
        ..calls
    };
    let stream = calls.follow(id);
    std::thread::sleep(6 * SECOND);
    assert_eq!(calls.status(id).state, State::Running);
    drop(stream);
    let end = calls.until_ended(id);
    assert_eq!(end.exit.unwrap().kind, ExitKind::LeaseExpired);
}

#[test]
fn a_deadline_ends_a_process_and_one_that_has_passed_starts_none() {
    let calls = Calls::new();
    let at = SystemTime::now() + SECOND;
    let id = calls.start("exec sleep 600", |spec| spec.deadline = Some(at));
    let deadline = calls.status(id).deadline.unwrap();
    let apart = deadline.duration_since(at).unwrap_or_default();
    assert!(apart < Duration::from_millis(1), "{apart:?}");
    let end = calls.until_ended(id);
    assert_eq!(end.exit.unwrap().kind, ExitKind::TimedOut);
    assert!(end.ended_at.unwrap() >= at);
    let past = |spec: &mut StartSpec| spec.deadline = Some(SystemTime::UNIX_EPOCH);
    let refused = calls.try_start("true", past).unwrap_err();
    assert_eq!(reason_of(&refused), reason::DEADLINE_PASSED);
}

#[test]
fn a_name_is_one_living_process_s_and_free_after_its_end() {
    let calls = Calls::new();
    let web = |spec: &mut StartSpec| spec.name = Some("web".to_owned());
    let first = calls.start("exec sleep 600", web);
    assert_eq!(calls.status(first).name.as_deref(), Some("web"));
    let refused = calls.try_start("exec sleep 600", web).unwrap_err();
    assert_eq!(reason_of(&refused), reason::NAME_TAKEN);
    let refusal = refused.refusal().unwrap();
    assert_eq!(refusal.metadata["id"], first.to_string());
    assert_eq!(refusal.metadata["name"], "web");
    calls.stop(first, SECOND);
    let second = calls.start("exec sleep 600", web);
    assert_ne!(first, second);
    assert_eq!(
        calls.status(first).name.as_deref(),
        Some("web"),
        "it had it"
    );
}

#[test]
fn labels_are_told_and_changed_whole() {
    let calls = Calls::new();
    let labelled = |spec: &mut StartSpec| {
        spec.labels = vec!["app=web".parse().unwrap(), "tier=a b".parse().unwrap()];
    };
    let id = calls.start("exec sleep 600", labelled);
    let before = calls.status(id).labels;
    assert_eq!(
        (before["app"].as_str(), before["tier"].as_str()),
        ("web", "a b")
    );
    let update = Update {
        labels: Some(label("app", "shop")),
        ..Update::default()
    };
    assert_eq!(
        calls.update(id, &update).unwrap().labels,
        label("app", "shop")
    );
    assert_eq!(calls.status(id).labels, label("app", "shop"));
}

#[test]
fn labels_change_one_by_one_and_those_that_are_not_named_stay() {
    let calls = Calls::new();
    let labelled = |spec: &mut StartSpec| {
        spec.labels = vec!["app=web".parse().unwrap(), "tier=a b".parse().unwrap()];
    };
    let id = calls.start("exec sleep 600", labelled);
    let change = |changes: &[(&str, Option<&str>)]| {
        let owned = |text: &str| text.to_owned();
        let changes = changes
            .iter()
            .map(|(key, value)| (owned(key), value.map(owned)));
        let update = Update {
            label_changes: changes.collect(),
            ..Update::default()
        };
        calls.update(id, &update)
    };
    let labels = change(&[("app", None), ("new", Some("1")), ("none", None)]);
    let labels = labels.unwrap().labels;
    let expected = [("new", "1"), ("tier", "a b")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(labels, BTreeMap::from(expected));
    let keys: Vec<_> = (0..31).map(|number| number.to_string()).collect();
    let many: Vec<_> = keys.iter().map(|key| (key.as_str(), Some(""))).collect();
    let error = change(&many).unwrap_err();
    assert_eq!(reason_of(&error), reason::TOO_MANY_LABELS);
    assert_eq!(calls.status(id).labels, labels, "nothing has changed");
    assert_eq!(change(&many[1..]).unwrap().labels.len(), 32);
    let both = Update {
        labels: Some(label("a", "1")),
        label_changes: BTreeMap::from([("b".to_owned(), None)]),
        ..Update::default()
    };
    let error = calls.update(id, &both).unwrap_err();
    assert_eq!(error.refusal().unwrap().code, Code::InvalidArgument);
}

#[test]
fn of_many_updates_at_once_none_takes_back_what_another_one_has_done() {
    let server = Server::start();
    for count in [2, 50] {
        let old: Vec<_> = (0..8)
            .map(|number| format!("--label=old{number}=x"))
            .collect();
        let old: Vec<_> = old.iter().map(String::as_str).collect();
        let id = server.start_process(&old, &["sleep", "600"]);
        // Some of the keys are set by two or three of them.
        let changes: Vec<_> = (0..count)
            .map(|number| match number {
                0..8 if count > 8 => format!("old{number}-"),
                _ => format!("new{}={number}", number % 24),
            })
            .collect();
        let updates: Vec<_> = changes
            .iter()
            .map(|change| {
                let mut update = server.prn(&["update", &id, "--label", change]);
                update.stdout(std::process::Stdio::null()).spawn().unwrap()
            })
            .collect();
        for mut update in updates {
            assert!(update.wait().unwrap().success());
        }
        let labels = server.status(&id)["labels"].clone();
        for change in changes {
            match change.split_once('=') {
                None => assert!(
                    labels.get(change.trim_end_matches('-')).is_none(),
                    "{labels}"
                ),
                Some((key, number)) => {
                    let value = labels[key].as_str().unwrap_or("none").parse::<u32>();
                    let number: u32 = number.parse().unwrap();
                    assert_eq!(
                        value.map(|value| value % 24),
                        Ok(number % 24),
                        "{key}: {labels}"
                    );
                }
            }
        }
        let kept = labels.as_object().unwrap().keys();
        let kept = kept.filter(|key| key.starts_with("old")).count();
        assert_eq!(kept, if count > 8 { 0 } else { 8 }, "{labels}");
    }
}

#[test]
fn what_is_removed_is_gone_and_what_is_alive_is_not_removed() {
    let calls = Calls::new();
    let remove = |ids: &[ProcessId]| {
        let removed = calls.client.remove_processes(ids);
        calls.runtime.block_on(removed)
    };
    let over = calls.start("echo 12345", |_| {});
    let other = calls.start("true", |spec| spec.labels = vec!["app=x".parse().unwrap()]);
    let alive = calls.start("exec sleep 600", |_| {});
    calls.until_ended(over);
    calls.until_ended(other);
    let refused = remove(&[over, alive]).unwrap_err();
    assert_eq!(reason_of(&refused), reason::PROCESS_RUNNING);
    calls.status(over);
    let removed = remove(&[over]).unwrap();
    assert_eq!((removed.removed, removed.output_bytes), (vec![over], 6));
    calls.until_forgotten(over);
    let again = remove(&[over]).unwrap_err();
    assert_eq!(reason_of(&again), reason::PROCESS_NOT_FOUND);
    // By selector: those of them that have ended.
    let all = calls.client.remove_processes(Selector::default());
    let removed = calls.runtime.block_on(all).unwrap();
    assert_eq!(removed.removed, [other]);
    assert_eq!(calls.status(alive).state, State::Running);
}

#[test]
fn a_finished_process_is_remembered_for_as_long_as_was_asked_for() {
    let calls = Calls::with_arguments(&["--max-finished", "64"]);
    let kept = calls.start("echo kept", |spec| {
        spec.retention = Retention {
            keep: true,
            ..Retention::default()
        };
    });
    let aged = calls.start("true", |spec| {
        spec.retention = Retention {
            max_age: Some(Duration::from_millis(500)),
            ..Retention::default()
        };
    });
    assert!(calls.status(kept).retention.unwrap().keep);
    calls.until_ended(kept);
    calls.until_forgotten(aged);
    let others: Vec<_> = (0..70).map(|_| calls.start("true", |_| {})).collect();
    for id in others.iter().skip(60) {
        calls.until_ended(*id);
    }
    calls.until_forgotten(others[0]);
    assert_eq!(calls.output(kept), "kept\n", "it was the oldest");
}

#[test]
fn a_process_can_be_remembered_until_its_output_was_read() {
    let calls = Calls::new();
    let until_read = |spec: &mut StartSpec| {
        spec.retention = Retention {
            until_read: true,
            ..Retention::default()
        };
    };
    let id = calls.start("echo all", until_read);
    let unread = calls.start("echo all", until_read);
    calls.until_ended(unread);
    let mut stream = calls.follow(id);
    let end = calls.runtime.block_on(async {
        while let Some(event) = stream.next().await.unwrap() {
            if let Event::End(end) = event {
                return end;
            }
        }
        panic!("no end");
    });
    assert_eq!(end.exit.unwrap().status, Some(0));
    // The last of it may have been lost on its way.
    assert_eq!(calls.output(id), "all\n");
    wait_within(Duration::from_secs(90), "it to be forgotten", || {
        calls.known(id).is_err()
    });
    assert_eq!(calls.status(unread).state, State::Stopped);
}

/// Of a process's tasks, in their order.
fn names(usage: &ProcessUsage) -> Vec<&str> {
    let mut names: Vec<_> = usage.tasks.iter().map(|task| task.name.as_str()).collect();
    names.sort_unstable();
    names
}

#[test]
fn usage_of_a_busy_process_grows_and_names_its_tasks() {
    let calls = Calls::new();
    let id = calls.start("sleep 600 & while :; do :; done", |_| {});
    let cpu = |usage: &ProcessUsage| usage.usage.unwrap().cpu_user;
    // Until it is executed, the second is another shell.
    wait_for("two programs", || {
        names(&calls.usage(id)) == ["sh", "sleep"]
    });
    let first = calls.usage(id);
    assert_eq!(first.processes, 2);
    wait_for("CPU time", || {
        cpu(&calls.usage(id)) > cpu(&first) + Duration::from_millis(100)
    });
    let without = calls.client.usage(id, false);
    let without = calls.runtime.block_on(without).unwrap().usages;
    assert!(without[0].tasks.is_empty());
    let before = cpu(&calls.usage(id));
    calls.stop(id, Duration::ZERO);
    let after = calls.usage(id);
    assert!(cpu(&after) >= before);
    assert_eq!(
        (after.memory_bytes, after.pids, after.processes),
        (None, None, 0)
    );
    assert!(after.tasks.is_empty());
}

#[test]
#[ignore = "guest: needs the controllers of limits"]
fn guest_usage_says_what_holds_a_process_back() {
    let calls = Calls::new();
    let line = "head -c 20000000 /dev/zero >/dev/shm/f; sleep 600 & while :; do :; done";
    let id = calls.start(line, |spec| spec.limits.cpu_millis = Some(200));
    let throttled = |usage: &ProcessUsage| usage.cpu_throttled_periods.unwrap();
    wait_for("the CPU limit to hold it back", || {
        throttled(&calls.usage(id)) > 1
    });
    wait_for("two programs", || {
        names(&calls.usage(id)) == ["sh", "sleep"]
    });
    let now = calls.usage(id);
    assert!(now.memory_bytes.unwrap() >= 20_000_000, "{now:?}");
    assert_eq!((now.pids, now.oom_kills), (Some(2), Some(0)));
    assert!(throttled(&now) <= now.cpu_periods.unwrap(), "{now:?}");
    assert!(!now.usage.unwrap().cpu_throttled.is_zero());
    if let Some(pressure) = now.cpu_pressure {
        assert!((0.0..=100.0).contains(&pressure.some_avg10), "{now:?}");
        assert!(pressure.some_total_usec > 0, "{now:?}");
    }
}

#[test]
fn a_stop_has_its_times_and_says_who_outlived_the_signal() {
    let calls = Calls::new();
    let line = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    let id = calls.start(line, |_| {});
    calls.until_output(id, "ready");
    let began = Instant::now();
    let end = calls.stop(id, SECOND);
    assert!(began.elapsed() >= SECOND);
    let stop = end.stop.unwrap();
    assert_eq!(stop.cause, ExitKind::StoppedOnRequest);
    let killed = stop
        .killed_at
        .unwrap()
        .duration_since(stop.asked_at.unwrap());
    let killed = killed.unwrap();
    assert!(killed >= Duration::from_millis(900), "{killed:?}");
    assert!(
        stop.outlived.iter().any(|task| task.name == "sh"),
        "{stop:?}"
    );

    let gentle = calls.start("exec sleep 600", |_| {});
    let stop = calls.stop(gentle, 10 * SECOND).stop.unwrap();
    assert!(
        stop.killed_at.is_none() && stop.outlived.is_empty(),
        "{stop:?}"
    );
    let over = calls.start("true", |_| {});
    assert!(calls.until_ended(over).stop.is_none());
}

#[test]
fn a_server_says_what_it_is_and_how_full() {
    let calls = Calls::new();
    let alive = calls.start("exec sleep 600", |_| {});
    let over = calls.start("true", |_| {});
    calls.until_ended(over);
    let server = || calls.runtime.block_on(calls.client.server()).unwrap();
    let first = server();
    assert_eq!(first.version, env!("CARGO_PKG_VERSION"));
    assert_eq!((first.processes_running, first.processes_finished), (1, 1));
    assert_eq!(first.processes_max, 256);
    let here = nix::sys::utsname::uname().unwrap();
    assert_eq!(first.hostname, here.nodename().to_str().unwrap());
    assert_eq!(first.kernel, here.release().to_str().unwrap());
    let now = SystemTime::now();
    assert!(first.started_at.unwrap() < first.now.unwrap());
    assert!(first.certificate_not_after.unwrap() > now);
    assert!(first.client_certificate_not_after.unwrap() > now);
    calls.stop(alive, SECOND);
    assert_eq!(server().processes_finished, 2);

    // A frontend that replaces another knows when the server's run began.
    kill(Pid::from_raw(calls.server.frontend()), Signal::SIGKILL).unwrap();
    let mut second = None;
    wait_for("another frontend", || {
        let client = connected(&calls.runtime, &calls.server).ok();
        second = client.and_then(|client| calls.runtime.block_on(client.server()).ok());
        second.is_some()
    });
    let second = second.unwrap();
    assert_eq!(second.started_at, first.started_at);
    assert_eq!(second.boot_epoch, first.boot_epoch);
}
