//! What can be done to processes that are alive, and how long finished ones are remembered, as the
//! supervisor has it: against a frontend that was taken over.

use std::time::Duration;

use prn_ipc_protocol::message::{
    Ask, Event, ExitCause, ExitStatus, For, FromSupervisor, LiveUsage, NewLabels, NewLease,
    ProcessInfo, Refusal, Reply, Request, Retention, StartSpec, StopHow, Update, Whom,
};
use prn_ipc_protocol::types::{
    Labels, LimitName, Millis, ProcessId, ProcessName, SignalNumber, UnixMicros,
};
use prn_tests::hostile_frontend::{HostileFrontend, Mode, encoded};
use prn_tests::server::Options;
use prn_tests::wait_for;

const TERM: u8 = 15;
const HUP: u8 = 1;

fn arguments(arguments: &[&str]) -> Options {
    Options {
        arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
        ..Options::default()
    }
}

fn millis(milliseconds: u64) -> Millis {
    Duration::from_millis(milliseconds).try_into().unwrap()
}

fn signal(number: u8) -> SignalNumber {
    number.try_into().unwrap()
}

fn name(text: &str) -> ProcessName {
    text.to_owned().try_into().unwrap()
}

fn labels(labels: &[(&str, &str)]) -> Labels {
    let owned = labels
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    owned
        .collect::<std::collections::BTreeMap<_, _>>()
        .try_into()
        .unwrap()
}

/// A shell script, with what is changed of an ordinary start.
fn start(
    hostile: &mut HostileFrontend,
    script: &str,
    change: impl FnOnce(&mut StartSpec),
) -> ProcessId {
    let (id, reply) = try_start(hostile, script, change);
    assert_eq!(reply, Reply::Done);
    id
}

fn try_start(
    hostile: &mut HostileFrontend,
    script: &str,
    change: impl FnOnce(&mut StartSpec),
) -> (ProcessId, Reply) {
    let mut spec = hostile.spec(&["sh", "-c", script]);
    change(&mut spec);
    let id = spec.id;
    (id, hostile.ask(Ask::Start(Box::new(spec))).0)
}

fn refused(hostile: &mut HostileFrontend, ask: Ask) -> Refusal {
    match hostile.ask(ask).0 {
        Reply::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

/// Changes a process; what is told of it then.
fn update(hostile: &mut HostileFrontend, id: ProcessId, update: Update) -> ProcessInfo {
    hostile.events.clear();
    let reply = hostile.ask(Ask::Update(id, Box::new(update))).0;
    assert_eq!(reply, Reply::Done);
    told(hostile, id)
}

/// The last that was told of a process, which came before the answer.
fn told(hostile: &mut HostileFrontend, id: ProcessId) -> ProcessInfo {
    let mut last = None;
    for event in &hostile.events {
        match event {
            Event::Process(info) if info.id == id => last = Some((**info).clone()),
            _ => {}
        }
    }
    last.expect("something was told of it")
}

fn usage(hostile: &mut HostileFrontend, id: ProcessId, with_tasks: bool) -> LiveUsage {
    match hostile.ask(Ask::Usage { id, with_tasks }).0 {
        Reply::Usage(usage) => *usage,
        other => panic!("{other:?}"),
    }
}

/// CPU time in microseconds.
fn cpu(hostile: &mut HostileFrontend, id: ProcessId) -> u64 {
    let usage = usage(hostile, id, false);
    let stat = usage.files.iter().find(|file| file.name == "cpu.stat");
    let line = stat.expect("cpu.stat").text.lines().next().unwrap();
    line.strip_prefix("usage_usec ").unwrap().parse().unwrap()
}

/// What a script wrote to the file `out` where it started.
fn written(hostile: &HostileFrontend, id: ProcessId) -> String {
    let directory = hostile.server.state_dir().join(id.to_string());
    std::fs::read_to_string(directory.join("out")).unwrap_or_default()
}

fn until_written(hostile: &HostileFrontend, id: ProcessId, text: &str) {
    wait_for(text, || written(hostile, id) == text);
}

/// Waits until a process is forgotten.
fn forgotten(hostile: &mut HostileFrontend, id: ProcessId) {
    hostile.event(|event| match event {
        Event::Forgotten { id: other, .. } => (*other == id).then_some(()),
        _ => None,
    });
}

#[test]
fn a_signal_goes_to_the_main_process_or_to_all_of_its_tree() {
    let mut hostile = HostileFrontend::start();
    let child = "sh -c 'trap \"echo child\" HUP; echo up; while :; do sleep 0.05; done' &";
    let script = format!("exec >out; trap 'echo main' HUP; {child} while :; do sleep 0.05; done");
    for (whom, expected) in [(Whom::Main, "main\n"), (Whom::Tree, "child\nmain\n")] {
        let id = start(&mut hostile, &script, |_| {});
        until_written(&hostile, id, "up\n");
        let asked = Ask::Signal(id, signal(HUP), whom);
        assert_eq!(hostile.ask(asked).0, Reply::Done);
        wait_for("both lines", || {
            let mut lines: Vec<_> = written(&hostile, id).lines().map(str::to_owned).collect();
            lines.retain(|line| line != "up");
            lines.sort();
            lines.join("\n") + "\n" == expected
        });
        assert_eq!(hostile.ask(Ask::Stop(id, StopHow::Kill)).0, Reply::Done);
    }
    let script = "exec >out; sleep 600 & echo up; exec sleep 600";
    let id = start(&mut hostile, script, |spec| spec.process.linger = true);
    until_written(&hostile, id, "up\n");
    let killed = Ask::Signal(id, signal(TERM), Whom::Main);
    assert_eq!(hostile.ask(killed.clone()).0, Reply::Done);
    hostile.event(|event| match event {
        Event::Process(info) if info.id == id => info.main_exit.map(|exit| {
            let status = ExitStatus::Signalled {
                signal: TERM,
                core_dumped: false,
            };
            assert_eq!((exit.status, exit.cause), (status, ExitCause::Signalled));
        }),
        _ => None,
    });
    assert_eq!(
        refused(&mut hostile, killed),
        Refusal::Ended,
        "its tree lives"
    );
    let rest = Ask::Signal(id, signal(TERM), Whom::Tree);
    assert_eq!(hostile.ask(rest.clone()).0, Reply::Done);
    hostile.end_of(id);
    assert_eq!(refused(&mut hostile, rest), Refusal::Ended);
}

#[test]
fn a_paused_process_does_nothing_until_it_goes_on_or_is_stopped() {
    let mut hostile = HostileFrontend::start();
    let paused = |paused| Update {
        paused: Some(paused),
        ..Update::default()
    };
    let busy = "trap 'exit 7' TERM; while :; do :; done";
    for how in [StopHow::Graceful(None), StopHow::Kill] {
        let id = start(&mut hostile, busy, |_| {});
        wait_for("work", || cpu(&mut hostile, id) > 10_000);
        assert!(update(&mut hostile, id, paused(true)).paused);
        let group = hostile
            .server
            .cgroup()
            .join("processes")
            .join(id.to_string());
        wait_for("frozen", || {
            std::fs::read_to_string(group.join("cgroup.events"))
                .unwrap()
                .contains("frozen 1")
        });
        let before = cpu(&mut hostile, id);
        std::thread::sleep(Duration::from_millis(200));
        assert!(cpu(&mut hostile, id) - before < 50_000);
        assert!(!update(&mut hostile, id, paused(false)).paused);
        wait_for("work again", || cpu(&mut hostile, id) > before + 50_000);
        assert!(update(&mut hostile, id, paused(true)).paused);
        assert_eq!(hostile.ask(Ask::Stop(id, how)).0, Reply::Done);
        let info = hostile.end_of(id);
        let expected = match how {
            StopHow::Graceful(_) => ExitStatus::Exited(7),
            StopHow::Kill => ExitStatus::Signalled {
                signal: 9,
                core_dumped: false,
            },
        };
        assert_eq!(info.main_exit.unwrap().status, expected);
        assert!(!info.paused);
        assert_eq!(
            refused(&mut hostile, Ask::Update(id, Box::new(paused(true)))),
            Refusal::Ended
        );
    }
}

#[test]
fn limits_change_within_the_ceilings_and_never_below_what_is_in_use() {
    let options = arguments(&["--max-memory", "1G", "--max-pids", "100"]);
    let mut hostile = HostileFrontend::with(options);
    let fill = "exec >out; head -c 60000000 /dev/zero >/dev/shm/f; echo done; exec sleep 600";
    let id = start(&mut hostile, fill, |_| {});
    until_written(&hostile, id, "done\n");
    let limit = |name, value| Update {
        limits: [(name, value)].into_iter().collect(),
        ..Update::default()
    };
    let in_force = |info: &ProcessInfo, file: &str| {
        let mut files = info.limits.in_force.iter();
        let found = files.find(|text| text.name == file);
        found.map(|text| text.text.trim().to_owned())
    };
    for (name, value, file, text) in [
        (LimitName::Pids, 7, "pids.max", "7"),
        (LimitName::Memory, 512 << 20, "memory.max", "536870912"),
        (LimitName::Cpu, 1500, "cpu.max", "150000 100000"),
    ] {
        let info = update(&mut hostile, id, limit(name, value));
        if let Some(found) = in_force(&info, file) {
            assert_eq!(found, text, "{name}");
            assert_eq!(info.spec.limits.get(name), Some(value));
        }
    }
    let above = Ask::Update(id, Box::new(limit(LimitName::Pids, 101)));
    let ceiling = Refusal::AboveCeiling {
        limit: LimitName::Pids,
        ceiling: 100,
    };
    assert_eq!(refused(&mut hostile, above), ceiling);
    let below = Ask::Update(id, Box::new(limit(LimitName::Memory, 50_000_000)));
    if in_force(&told(&mut hostile, id), "memory.max").is_some() {
        match refused(&mut hostile, below) {
            Refusal::MemoryInUse(bytes) => assert!(bytes >= 60_000_000, "{bytes}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(usage(&mut hostile, id, false).processes, 1);
}

#[test]
fn tasks_are_looked_at_where_they_are_asked_for() {
    let mut hostile = HostileFrontend::start();
    let id = start(&mut hostile, "exec sleep 600", |_| {});
    let with = usage(&mut hostile, id, true);
    let without = usage(&mut hostile, id, false);
    assert_eq!((with.some.len(), without.some.len()), (1, 0));
    assert_eq!((with.processes, without.processes), (1, 1));
    assert_eq!(with.files.len(), without.files.len());
}

#[test]
fn a_lease_runs_out_but_while_somebody_keeps_it() {
    let mut hostile = HostileFrontend::start();
    let leased = |spec: &mut StartSpec| spec.process.lease = Some(millis(700));
    let lost = start(&mut hostile, "exec sleep 600", leased);
    let kept = start(&mut hostile, "exec sleep 600", leased);
    let renewed = start(&mut hostile, "exec sleep 600", leased);
    let without = start(&mut hostile, "exec sleep 600", |_| {});
    hostile.send(&encoded(&Request::Follow(kept, For::Lease)));
    let longer = Update {
        lease: Some(NewLease::Of(millis(600_000))),
        ..Update::default()
    };
    let info = update(&mut hostile, renewed, longer);
    assert!(info.lease_ends.unwrap() > UnixMicros::now().after(millis(500_000)));
    let same = Update {
        lease: Some(NewLease::Same),
        ..Update::default()
    };
    let none = Ask::Update(without, Box::new(same));
    assert_eq!(refused(&mut hostile, none), Refusal::NoLease);
    let end = hostile.end_of(lost);
    assert_eq!(end.main_exit.unwrap().cause, ExitCause::LeaseExpired);
    assert_eq!(end.stop.unwrap().cause, ExitCause::LeaseExpired);
    assert_eq!(end.lease_ends, None);
    for id in [kept, renewed, without] {
        assert_eq!(usage(&mut hostile, id, false).processes, 1);
    }
    // Who kept it is gone with this frontend.
    hostile.live_again(Mode::Ready);
    let end = hostile.end_of(kept);
    assert_eq!(end.main_exit.unwrap().cause, ExitCause::LeaseExpired);
    assert_eq!(usage(&mut hostile, renewed, false).processes, 1);
}

#[test]
fn a_deadline_ends_a_process_and_one_that_has_passed_starts_none() {
    let mut hostile = HostileFrontend::start();
    let at = UnixMicros::now().after(millis(300));
    let id = start(&mut hostile, "exec sleep 600", |spec| {
        spec.process.deadline = Some(at)
    });
    let end = hostile.end_of(id).main_exit.unwrap();
    assert_eq!(end.cause, ExitCause::TimedOut);
    assert!(end.at >= at);
    let late = |spec: &mut StartSpec| spec.process.deadline = Some(at);
    let (_, reply) = try_start(&mut hostile, "true", late);
    assert_eq!(reply, Reply::Refused(Refusal::DeadlinePassed));
}

#[test]
fn of_those_that_are_alive_one_has_a_name() {
    let mut hostile = HostileFrontend::start();
    let named = |spec: &mut StartSpec| spec.process.name = Some(name("web"));
    let first = start(&mut hostile, "exec sleep 600", named);
    let (_, reply) = try_start(&mut hostile, "true", named);
    assert_eq!(reply, Reply::Refused(Refusal::NameTaken(first)));
    hostile.live_again(Mode::Ready);
    let (_, reply) = try_start(&mut hostile, "true", named);
    assert_eq!(reply, Reply::Refused(Refusal::NameTaken(first)));
    assert_eq!(hostile.ask(Ask::Stop(first, StopHow::Kill)).0, Reply::Done);
    let second = start(&mut hostile, "exit 3", named);
    hostile.end_of(second);
    let (failed, reply) = try_start(&mut hostile, "true", |spec| {
        named(spec);
        spec.process.argv = vec![c"/nowhere".to_owned()].try_into().unwrap();
    });
    assert!(
        matches!(reply, Reply::Refused(Refusal::Exec { .. })),
        "{failed} {reply:?}"
    );
    start(&mut hostile, "exec sleep 600", named);
}

#[test]
fn labels_change_whole_or_one_by_one() {
    let mut hostile = HostileFrontend::start();
    let first = labels(&[("a", "1"), ("b", "2")]);
    let id = start(&mut hostile, "exec sleep 600", |spec| {
        spec.process.labels = first.clone();
    });
    assert_eq!(told(&mut hostile, id).spec.labels, first);
    let new = |new| Update {
        labels: Some(new),
        ..Update::default()
    };
    let second = labels(&[("c", "3"), ("d", "4"), ("e", "5")]);
    let info = update(&mut hostile, id, new(NewLabels::All(second.clone())));
    assert_eq!(info.spec.labels, second);
    let changes = |changes: &[(&str, Option<&str>)]| {
        let owned = |text: &str| text.to_owned();
        let changes = changes
            .iter()
            .map(|(key, value)| (owned(key), value.map(owned)));
        let changes: std::collections::BTreeMap<_, _> = changes.collect();
        NewLabels::Changed(changes.try_into().unwrap())
    };
    let some = changes(&[("c", None), ("d", Some("7")), ("f", Some("6")), ("x", None)]);
    let info = update(&mut hostile, id, new(some));
    let third = labels(&[("d", "7"), ("e", "5"), ("f", "6")]);
    assert_eq!(info.spec.labels, third);

    let keys: Vec<_> = (0..30).map(|number| number.to_string()).collect();
    let many: Vec<_> = keys.iter().map(|key| (key.as_str(), Some(""))).collect();
    hostile.events.clear();
    let paused = Update {
        paused: Some(true),
        ..new(changes(&many))
    };
    let refusal = refused(&mut hostile, Ask::Update(id, Box::new(paused)));
    assert_eq!(refusal, Refusal::TooManyLabels);
    let info = told(&mut hostile, id);
    assert_eq!(
        (info.spec.labels, info.paused),
        (third, false),
        "nothing has changed"
    );
    let info = update(&mut hostile, id, new(changes(&many[1..])));
    assert_eq!(info.spec.labels.iter().count(), 32);
}

#[test]
fn a_finished_process_is_forgotten_when_it_is_time_and_no_other_one_is() {
    let options = arguments(&["--max-finished", "64", "--max-finished-age", "1h"]);
    let mut hostile = HostileFrontend::with(options);
    let retention = |retention| move |spec: &mut StartSpec| spec.process.retention = retention;
    let kept = Retention {
        is_kept: true,
        ..Retention::default()
    };
    let kept = start(&mut hostile, "echo kept", retention(kept));
    let short = Retention {
        max_age: Some(millis(200)),
        ..Retention::default()
    };
    let short = start(&mut hostile, "true", retention(short));
    hostile.end_of(kept);
    forgotten(&mut hostile, short);
    let asked = start(&mut hostile, "exec sleep 600", |_| {});
    assert_eq!(refused(&mut hostile, Ask::Remove(asked)), Refusal::NotEnded);
    assert_eq!(hostile.ask(Ask::Stop(asked, StopHow::Kill)).0, Reply::Done);
    assert_eq!(hostile.ask(Ask::Remove(asked)).0, Reply::Done);
    assert_eq!(
        refused(&mut hostile, Ask::Remove(asked)),
        Refusal::UnknownProcess
    );
    // Who asks for it again has not heard that it ran, whichever frontend asks.
    hostile.live_again(Mode::Ready);
    let again = |spec: &mut StartSpec| spec.id = asked;
    let (_, reply) = try_start(&mut hostile, "true", again);
    assert_eq!(reply, Reply::Refused(Refusal::Forgotten));
    // Its id is free, and others have no room.
    for _ in 0..70 {
        let id = start(&mut hostile, "true", |_| {});
        hostile.end_of(id);
    }
    assert_eq!(hostile.ask(Ask::Remove(kept)).0, Reply::Done);
}

#[test]
fn a_process_is_removed_while_what_it_has_left_is_still_deleted() {
    let mut hostile = HostileFrontend::start();
    let script = "i=0; while [ $i -lt 3000 ]; do : >f$i; i=$((i+1)); done";
    let id = start(&mut hostile, script, |_| {});
    hostile.event(|event| match event {
        Event::Process(info) if info.id == id => info.end.as_ref().map(|_| ()),
        _ => None,
    });
    assert_eq!(hostile.ask(Ask::Remove(id)).0, Reply::Done);
    forgotten(&mut hostile, id);
    assert!(!hostile.server.state_dir().join(id.to_string()).exists());
}

#[test]
fn a_stop_is_told_with_its_times_and_with_who_outlived_it() {
    let mut hostile = HostileFrontend::start();
    let id = start(
        &mut hostile,
        "exec >out; trap '' TERM; echo up; while :; do sleep 0.1; done",
        |spec| {
            spec.process.stop_grace = millis(300);
        },
    );
    until_written(&hostile, id, "up\n");
    assert_eq!(
        hostile.ask(Ask::Stop(id, StopHow::Graceful(None))).0,
        Reply::Done
    );
    let stop = hostile.end_of(id).stop.unwrap();
    assert_eq!(stop.cause, ExitCause::StoppedOnRequest);
    assert!(stop.killed.unwrap() >= stop.asked.after(millis(300)));
    let outlived: Vec<_> = stop
        .outlived
        .iter()
        .map(|stat| String::from_utf8_lossy(stat))
        .collect();
    assert!(
        outlived.iter().any(|stat| stat.contains("(sh)")),
        "{outlived:?}"
    );
    let id = start(&mut hostile, "exec sleep 600", |_| {});
    assert_eq!(hostile.ask(Ask::Stop(id, StopHow::Kill)).0, Reply::Done);
    let stop = hostile.end_of(id).stop.unwrap();
    assert!(stop.killed.is_some() && stop.outlived.is_empty());
}

#[test]
fn changes_are_numbered_in_their_order() {
    let mut hostile = HostileFrontend::start();
    let mut last = 0;
    for _ in 0..3 {
        let id = start(&mut hostile, "true", |_| {});
        let end = hostile.end_of(id);
        assert!(end.change > last);
        last = end.change;
        assert_eq!(hostile.ask(Ask::Remove(id)).0, Reply::Done);
        let change = hostile.event(|event| match event {
            Event::Forgotten { id: other, change } => (*other == id).then_some(*change),
            _ => None,
        });
        assert!(change > last);
        last = change;
    }
}

#[test]
fn a_lease_waits_for_who_could_renew_it() {
    let mut hostile = HostileFrontend::start();
    let leased = |spec: &mut StartSpec| spec.process.lease = Some(millis(500));
    let id = start(&mut hostile, "exec sleep 600", leased);
    hostile.send(&encoded(&Request::Follow(id, For::Lease)));
    // One that never serves, then one that does.
    hostile.live_again(Mode::Silent);
    std::thread::sleep(Duration::from_secs(2));
    let group = hostile
        .server
        .cgroup()
        .join("processes")
        .join(id.to_string());
    let members = std::fs::read_to_string(group.join("cgroup.procs")).unwrap();
    assert!(
        !members.is_empty(),
        "it was ended while nobody could renew it"
    );
    hostile.live_again(Mode::Ready);
    let end = hostile.end_of(id);
    assert_eq!(end.main_exit.unwrap().cause, ExitCause::LeaseExpired);
}

#[test]
fn a_process_that_is_being_stopped_is_not_paused() {
    let mut hostile = HostileFrontend::start();
    let script = "exec >out; trap 'sleep 1; exit 5' TERM; echo up; while :; do sleep 0.1; done";
    let id = start(&mut hostile, script, |_| {});
    until_written(&hostile, id, "up\n");
    hostile.request(Ask::Stop(id, StopHow::Graceful(None)));
    let pause = Update {
        paused: Some(true),
        ..Update::default()
    };
    hostile.request(Ask::Update(id, Box::new(pause)));
    let mut refused = false;
    let end = loop {
        match hostile.receive().0 {
            FromSupervisor::Reply(_, Reply::Refused(Refusal::Stopping)) => refused = true,
            FromSupervisor::Event(Event::Process(info)) if info.end.is_some() => break info,
            _ => {}
        }
    };
    assert!(refused);
    let status = end.main_exit.unwrap().status;
    assert_eq!(status, ExitStatus::Exited(5), "it had its time");
}

#[test]
fn signals_to_a_large_tree_leave_others_most_of_the_time() {
    let mut hostile = HostileFrontend::start();
    let script =
        "i=0; while [ $i -lt 1500 ]; do sleep 600 & i=$((i+1)); done; exec >out; echo up; wait";
    let id = start(&mut hostile, script, |_| {});
    until_written(&hostile, id, "up\n");
    let continued = Ask::Signal(id, signal(18), Whom::Tree);
    assert_eq!(hostile.ask(continued.clone()).0, Reply::Done);
    let Refusal::TooSoon(wait) = refused(&mut hostile, continued.clone()) else {
        panic!("another one at once")
    };
    // Who is one process is signalled all the same.
    let main = Ask::Signal(id, signal(18), Whom::Main);
    assert_eq!(hostile.ask(main).0, Reply::Done);
    std::thread::sleep(wait.duration());
    assert_eq!(hostile.ask(continued).0, Reply::Done);
}
