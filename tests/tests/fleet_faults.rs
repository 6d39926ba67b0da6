//! A fleet under fault: hosts that are lost, cut off, slow, full or drained, an etcd whose members are
//! killed, clocks that differ. Nothing is lost, nothing is done twice, and what is unknown is told so.

use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use prn_fleet::v1::{self, outcome::State};
use prn_fleet::{JobView, Place, Standing};
use prn_tests::agents::{Hosts, Plan, job, waiter};
use prn_tests::{fleet_load, skipped, wait_within};

const PATIENCE: Duration = Duration::from_secs(90);
const BRIEF: &str = "echo started; sleep 0.2";

fn is_running(view: &JobView) -> bool {
    view.standing() == Standing::Running
}

/// So many brief jobs; their ids.
fn brief(hosts: &Hosts, count: usize) -> Vec<String> {
    let one = |_| hosts.submit(job(&["sh", "-c", BRIEF], 1));
    (0..count).map(one).collect()
}

/// Checks that all of them have ended, with code 0.
fn all_well(views: &[JobView]) {
    for view in views {
        assert_eq!(view.standing(), Standing::Ended, "{view:?}");
        let exit = view.outcome().unwrap().exit_cause.as_ref().unwrap();
        assert_eq!(exit.exit_code, 0, "{view:?}");
    }
}

/// Two hosts, and two jobs that run on the first: one that may run once, and one that may run twice.
fn once_and_twice(has_links: bool) -> (Hosts, String, String) {
    let mut hosts = Hosts::with(Plan {
        hosts: 2,
        has_links,
        ..Plan::default()
    });
    hosts.hosts[1].end_agent(Signal::SIGKILL);
    let once = hosts.submit(waiter(2));
    let mut twice = waiter(2);
    twice.may_run_twice = true;
    let twice = hosts.submit(twice);
    for id in [&once, &twice] {
        let view = hosts.until(id, "the run", is_running);
        assert_eq!(view.host(), Some("web1"));
    }
    hosts.hosts[1].run_agent();
    hosts.ready();
    (hosts, once, twice)
}

/// Waits until the second host has what may run twice, and checks that it has not the other one.
fn taken_up(hosts: &Hosts, once: &str, twice: &str) -> String {
    let begun = Instant::now();
    let view = hosts.until(twice, "the second run", |view| {
        is_running(view) && view.host() == Some("web2")
    });
    let took = begun.elapsed();
    println!(
        "fleet: a host is lost: what may run twice runs elsewhere after {took:.1?} (lease 3 s)"
    );
    let second = view.outcome().unwrap().process_id.clone();
    assert_ne!(second, twice, "an attempt has an id of its own");
    assert_eq!(hosts.job(once).standing(), Standing::Unknown);
    second
}

#[test]
fn a_host_that_is_killed_has_jobs_that_are_unknown_and_only_what_may_runs_twice() {
    let (mut hosts, once, twice) = once_and_twice(false);
    hosts.hosts[0].end_agent(Signal::SIGKILL);
    hosts.hosts[0].server.kill_and_start_again();
    let second = taken_up(&hosts, &once, &twice);
    // The host is back, and its server knows nothing of before.
    hosts.hosts[0].run_agent();
    let view = hosts.until(&once, "the truth", JobView::is_over);
    assert_eq!(view.standing(), Standing::Lost, "{view:?}");
    assert_eq!(view.outcome().unwrap().reason, "SERVER_RESTARTED");
    let view = hosts.until(&twice, "what it knows", |view| {
        view.late.contains_key("web1")
    });
    assert_eq!(view.late["web1"].state(), State::Lost);
    assert!(is_running(&view) && view.host() == Some("web2"));
    hosts.hosts[1].let_end(&second);
    let view = hosts.until(&twice, "the end", JobView::is_over);
    assert_eq!(
        (view.standing(), view.host()),
        (Standing::Ended, Some("web2"))
    );
    assert!(
        hosts.hosts[0].processes().is_empty(),
        "nothing is started anew"
    );
}

#[test]
fn a_host_that_was_cut_off_tells_the_truth_and_overwrites_nothing() {
    let (hosts, once, twice) = once_and_twice(true);
    hosts.hosts[0].store(|link| link.interrupt());
    let second = taken_up(&hosts, &once, &twice);
    // Both processes of the host that is cut off are alive. One ends meanwhile, the other one later.
    hosts.hosts[0].let_end(&twice);
    hosts.hosts[0].store(|link| link.resume());
    hosts.until(&once, "that it runs", is_running);
    let view = hosts.until(&twice, "what it knows", |view| {
        view.late
            .get("web1")
            .is_some_and(|late| late.state() == State::Ended)
    });
    assert!(is_running(&view) && view.host() == Some("web2"), "{view:?}");
    hosts.hosts[0].let_end(&once);
    let view = hosts.until(&once, "the end", JobView::is_over);
    assert_eq!(
        (view.standing(), view.host()),
        (Standing::Ended, Some("web1"))
    );
    hosts.hosts[1].let_end(&second);
    let view = hosts.until(&twice, "the end", JobView::is_over);
    assert_eq!(
        (view.standing(), view.host()),
        (Standing::Ended, Some("web2"))
    );
    assert_eq!(view.outcome().unwrap().attempt, 1);
    hosts.each_once([&once, &twice, &second]);
}

#[test]
fn what_fails_is_tried_again_under_ids_of_its_own_as_often_as_it_says() {
    let hosts = Hosts::start(1, 2, &[]);
    let mut fails = job(&["sh", "-c", "echo started; exit 1"], 3);
    fails.retries = 2;
    let ids: Vec<_> = fails.attempts.iter().map(|one| one.id.clone()).collect();
    let id = hosts.submit(fails);
    let view = hosts.until(&id, "the end", JobView::is_over);
    assert_eq!(view.standing(), Standing::Ended);
    assert_eq!(view.outcome().unwrap().attempt, 2);
    hosts.each_once(&ids);

    let mut stopped = waiter(2);
    stopped.retries = 1;
    let id = hosts.submit(stopped);
    let view = hosts.until(&id, "the run", is_running);
    let host = hosts
        .hosts
        .iter()
        .find(|host| Some(&*host.name) == view.host());
    host.unwrap().server.ok(&["stop", &id]);
    let view = hosts.until(&id, "the end", JobView::is_over);
    assert_eq!(
        view.outcome().unwrap().attempt,
        0,
        "what is stopped is not tried again"
    );
}

#[test]
fn a_drained_host_goes_on_with_what_it_has_and_takes_no_more() {
    let hosts = Hosts::start(1, 1, &[]);
    let fleet = &hosts.fleet;
    let runs = hosts.submit(waiter(1));
    hosts.until(&runs, "the run", is_running);
    let drained = || {
        let known = hosts.runtime.block_on(fleet.hosts()).unwrap();
        known[0].host.as_ref().unwrap().state() == v1::host::State::Draining
    };
    let drain = fleet.drain("web1", "anna", "new memory");
    hosts.runtime.block_on(drain).unwrap();
    wait_within(PATIENCE, "the drain", drained);
    let waits = hosts.submit(waiter(1));
    // It goes on, to its end.
    hosts.hosts[0].let_end(&runs);
    hosts.until(&runs, "the end", JobView::is_over);
    assert_eq!(hosts.job(&waits).standing(), Standing::Waiting);
    hosts.runtime.block_on(fleet.undrain("web1")).unwrap();
    hosts.until(&waits, "the run", is_running);
    hosts.hosts[0].let_end(&waits);
    hosts.until(&waits, "the end", JobView::is_over);
    hosts.each_once([&runs, &waits]);
}

#[test]
fn an_agent_that_is_ended_on_purpose_says_so_and_gives_nothing_up() {
    let (mut hosts, once, twice) = once_and_twice(false);
    let announced = |hosts: &Hosts| {
        let key = hosts.fleet.keys().host("web1");
        let read = hosts.fleet.etcd().read(&key);
        hosts.runtime.block_on(read).unwrap().0.unwrap()
    };
    let leases =
        |hosts: &Hosts| String::from_utf8(hosts.cluster.ctl(&["lease", "list"]).stdout).unwrap();
    let lease = format!("{:x}", announced(&hosts).lease);
    assert!(leases(&hosts).contains(&lease));
    assert_eq!(hosts.hosts[0].end_agent(Signal::SIGTERM), Some(0));
    assert!(!leases(&hosts).contains(&lease), "it is revoked");
    assert_eq!(announced(&hosts).lease, 0);
    let view = hosts.job(&twice);
    assert_eq!(view.standing(), Standing::Away);
    assert!(view.away_since().is_some());
    // The one that is left looks after others from now on, and takes nothing of this one.
    let other = hosts.submit(waiter(1));
    hosts.until(&other, "the run", is_running);
    hosts.hosts[0].let_end(&once);
    hosts.hosts[0].run_agent();
    let view = hosts.until(&once, "the end", JobView::is_over);
    assert_eq!(
        (view.standing(), view.host()),
        (Standing::Ended, Some("web1"))
    );
    let view = hosts.until(&twice, "the run", is_running);
    assert_eq!(
        (view.outcome().unwrap().attempt, view.host()),
        (0, Some("web1"))
    );
    hosts.hosts[0].let_end(&twice);
    hosts.until(&twice, "the end", JobView::is_over);
    hosts.each_once([&once, &twice]);
}

#[test]
fn a_host_that_has_no_room_gives_back_and_one_that_has_takes_it() {
    let hosts = Hosts::with(Plan {
        hosts: 2,
        arguments: &["--processes", "100"],
        uids: Some(3),
        ..Plan::default()
    });
    let ids = brief(&hosts, 40);
    let views = hosts.all_over(&ids, || ());
    all_well(&views);
    hosts.each_once(&ids);
    let past = |view: &JobView| match &view.place {
        Place::Claimed { claim, .. } => claim.waiting.clone().unwrap_or_default().past,
        Place::Waiting(_) | Place::Nowhere => Vec::new(),
    };
    let back: Vec<_> = views.iter().flat_map(past).collect();
    let full = |past: &&v1::Past| past.outcome.as_ref().unwrap().reason == "TOO_MANY_PROCESSES";
    assert_eq!(back.iter().filter(full).count(), back.len(), "{back:?}");
    assert!(
        !back.is_empty(),
        "a server has less room than its agent believes"
    );
    let times: u32 = back.iter().map(|past| past.times).sum();
    println!(
        "fleet: two hosts with room for 3 processes each, 40 jobs: {times} given back, all run"
    );
}

#[test]
fn a_job_that_all_hosts_refuse_is_refused_and_one_that_fits_none_waits_to_its_deadline() {
    let hosts = Hosts::start(1, 2, &[]);
    let missing = hosts.submit(job(&["/no/such/program"], 1));
    let mut elsewhere = job(&["true"], 1);
    elsewhere.on = [("zone".to_owned(), "b".to_owned())].into();
    let deadline = SystemTime::now() + Duration::from_secs(2);
    elsewhere.deadline = Some(deadline.into());
    let late = hosts.submit(elsewhere);
    let view = hosts.until(&missing, "the refusal", JobView::is_over);
    let known = view.outcome().unwrap();
    assert_eq!(
        (view.standing(), &*known.reason),
        (Standing::Refused, "COMMAND_NOT_FOUND")
    );
    assert!(
        known.why.contains("web1: ") && known.why.contains("web2: "),
        "{}",
        known.why
    );
    let view = hosts.until(&late, "the deadline", JobView::is_over);
    assert_eq!(view.standing(), Standing::Expired);
    assert!(SystemTime::now() >= deadline);
}

#[test]
fn a_slow_host_holds_up_what_it_has_and_nothing_else() {
    let hosts = Hosts::with(Plan {
        hosts: 2,
        has_links: true,
        arguments: &["--processes", "4"],
        ..Plan::default()
    });
    hosts.hosts[0].to_server.as_ref().unwrap().hold(true);
    let begun = Instant::now();
    let ids = brief(&hosts, 40);
    let ended = || {
        let all = hosts.runtime.block_on(hosts.fleet.jobs()).unwrap();
        all.iter().filter(|view| view.is_over()).count()
    };
    // The slow one has 4 at most.
    wait_within(PATIENCE, "those of the other host", || ended() >= 36);
    println!(
        "fleet: one of two hosts hangs: 36 of 40 jobs are done after {:.1?}",
        begun.elapsed()
    );
    hosts.hosts[0].to_server.as_ref().unwrap().hold(false);
    all_well(&hosts.all_over(&ids, || ()));
    hosts.each_once(&ids);
}

/// The longest time in which no process ended.
fn longest_gap(views: &[JobView]) -> Duration {
    let ends = views.iter().filter_map(|view| view.outcome()?.ended_at);
    let mut ends: Vec<_> = ends.map(|at| SystemTime::try_from(at).unwrap()).collect();
    ends.sort();
    let gaps = ends
        .windows(2)
        .map(|two| two[1].duration_since(two[0]).unwrap());
    gaps.max().unwrap_or_default()
}

#[test]
fn the_store_loses_its_leader_and_then_all_of_its_members_and_no_job_is_lost() {
    let mut hosts = Hosts::start(3, 2, &["--processes", "4"]);
    let mut ids = brief(&hosts, 60);
    let done = |hosts: &Hosts, least: usize| {
        wait_within(PATIENCE, "some of the jobs", || {
            let all = hosts.runtime.block_on(hosts.fleet.jobs()).unwrap();
            all.iter().filter(|view| view.is_over()).count() >= least
        });
    };
    done(&hosts, 5);
    let leader = hosts.cluster.leader();
    hosts.cluster.kill(leader);
    all_well(&hosts.all_over(&ids, || ()));
    let gap = longest_gap(&hosts.all_over(&ids, || ()));
    println!("fleet: etcd's leader killed: longest time without an end {gap:.1?}");
    hosts.cluster.run(leader);
    let first = ids.len();
    ids.extend(brief(&hosts, 60));
    done(&hosts, first + 5);
    hosts.cluster.restart();
    let views = hosts.all_over(&ids, || ());
    all_well(&views);
    let gap = longest_gap(&views[first..]);
    println!("fleet: all of etcd restarted: longest time without an end {gap:.1?}");
    hosts.each_once(&ids);
}

#[test]
fn an_agent_whose_watch_is_behind_a_compaction_sees_what_is_there() {
    let hosts = Hosts::with(Plan {
        has_links: true,
        ..Plan::default()
    });
    hosts.hosts[0].store(|link| link.hold(true));
    let withdrawn = hosts.submit(job(&["sh", "-c", BRIEF], 1));
    let ids = brief(&hosts, 5);
    let close = hosts.fleet.close(&withdrawn, State::Withdrawn, "by anna");
    assert!(hosts.runtime.block_on(close).unwrap());
    hosts.cluster.compact();
    hosts.hosts[0].store(|link| {
        link.interrupt();
        link.hold(false);
        link.resume();
    });
    all_well(&hosts.all_over(&ids, || ()));
    hosts.each_once(&ids);
    assert_eq!(hosts.job(&withdrawn).standing(), Standing::Withdrawn);
    assert_eq!(hosts.hosts[0].processes().len(), 5);
}

#[test]
fn clocks_that_are_90_seconds_off_change_when_a_deadline_is_and_nothing_else() {
    let mut hosts = Hosts::start(1, 2, &[]);
    for (host, offset) in hosts.hosts.iter_mut().zip(["+90s", "-90s"]) {
        host.end_agent(Signal::SIGTERM);
        // What the command of the same name sets.
        let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
        assert!(
            std::path::Path::new(library).exists(),
            "faketime, which this test needs"
        );
        for (name, value) in [
            ("LD_PRELOAD", library),
            ("FAKETIME", offset),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ] {
            host.environment.insert(name.to_owned(), value.to_owned());
        }
        host.run_agent();
    }
    hosts.ready();
    let announced = hosts.runtime.block_on(hosts.fleet.hosts()).unwrap();
    let since = |number: usize| {
        let host: &v1::Host = announced[number].host.as_ref().unwrap();
        SystemTime::try_from(host.since.unwrap()).unwrap()
    };
    let apart = since(0).duration_since(since(1)).unwrap();
    assert!(
        apart > Duration::from_secs(120),
        "the clocks are off: {apart:?}"
    );
    let ids = brief(&hosts, 40);
    let views = hosts.all_over(&ids, || ());
    all_well(&views);
    hosts.each_once(&ids);
    let of = |name: &str| {
        views
            .iter()
            .filter(|view| view.host() == Some(name))
            .count()
    };
    println!(
        "fleet: clocks 180 s apart: 40 jobs, {} and {} of them",
        of("web1"),
        of("web2")
    );
    // A deadline by this clock has passed by the one that is ahead, which looks after all or is asked.
    let mut soon = job(&["sh", "-c", BRIEF], 1);
    soon.host = "web1".to_owned();
    soon.deadline = Some((SystemTime::now() + Duration::from_secs(60)).into());
    let soon = hosts.submit(soon);
    let view = hosts.until(&soon, "its end", JobView::is_over);
    assert_eq!(view.standing(), Standing::Expired);
    // A host that is lost and one that is back are known by leases, which no clock of a host counts.
    hosts.hosts[0].end_agent(Signal::SIGKILL);
    let last = brief(&hosts, 4);
    all_well(&hosts.all_over(&last, || ()));
}

#[test]
fn jobs_are_placed_by_label_and_room_on_hosts_in_networks_of_their_own() {
    // It checks each of them itself.
    match fleet_load::run(200, Duration::from_secs(1)) {
        Ok(figures) => println!(
            "fleet: 200 jobs on 4 hosts in {:.1?}, half of them started within {:.1?}",
            figures.all, figures.waits[100]
        ),
        Err(why) => skipped(&why),
    }
}
