//! An agent that is killed at each step of a job, and at random: what it began is taken up by the one
//! after it, each process is started once, and each outcome is known and true.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use prn_fleet::v1::outcome::State;
use prn_fleet::{JobView, Standing};
use prn_tests::agents::{Host, Hosts, Plan, job, waiter};
use prn_tests::random::Random;
use prn_tests::wait_for;

/// One host whose links can be held.
fn linked() -> Hosts {
    Hosts::with(Plan {
        has_links: true,
        ..Plan::default()
    })
}

fn has(host: &Host, id: &String) -> bool {
    host.processes().contains(id)
}

fn hold_server(host: &Host, is_held: bool) {
    host.to_server.as_ref().unwrap().hold(is_held);
}

/// Lets go of what was held between agent and etcd; what was on its way is lost.
fn lose_store(host: &Host) {
    host.store(|link| {
        link.interrupt();
        link.hold(false);
        link.resume();
    });
}

fn is(view: &JobView, state: State) -> bool {
    view.outcome().is_some_and(|known| known.state() == state)
}

/// Submits one, and waits until it is claimed while nothing passes to the server.
fn claimed(hosts: &Hosts) -> String {
    hold_server(&hosts.hosts[0], true);
    let id = hosts.submit(waiter(1));
    hosts.until(&id, "the claim", |view| is(view, State::Starting));
    id
}

fn running(hosts: &Hosts) -> String {
    let id = hosts.submit(waiter(1));
    hosts.until(&id, "the run", |view| is(view, State::Running));
    id
}

/// Lets it end, if that was not done yet, and checks that it ran once and how it ended.
fn ends(hosts: &Hosts, id: &String, is_let: bool) -> JobView {
    if !is_let {
        hosts.until(id, "the run", |view| is(view, State::Running));
        hosts.hosts[0].let_end(id);
    }
    let view = hosts.until(id, "the end", JobView::is_over);
    assert_eq!(view.standing(), Standing::Ended, "{view:?}");
    let exit = view.outcome().unwrap().exit_cause.as_ref().unwrap();
    assert_eq!(exit.exit_code, 3);
    hosts.each_once([id]);
    view
}

#[test]
fn killed_between_claim_and_start_it_starts_once() {
    let mut hosts = linked();
    // The start is lost with the connection.
    let id = claimed(&hosts);
    hosts.hosts[0].end_agent(Signal::SIGKILL);
    let link = hosts.hosts[0].to_server.as_ref().unwrap();
    link.interrupt();
    link.hold(false);
    link.resume();
    assert!(!has(&hosts.hosts[0], &id), "nothing has passed");
    hosts.hosts[0].run_agent();
    ends(&hosts, &id, false);

    // The start arrives when the agent is gone, or when another one asks already.
    let id = claimed(&hosts);
    hosts.hosts[0].end_agent(Signal::SIGKILL);
    hosts.hosts[0].run_agent();
    hold_server(&hosts.hosts[0], false);
    ends(&hosts, &id, false);
}

#[test]
fn killed_between_start_and_the_word_that_it_runs_it_is_found_running() {
    let mut hosts = linked();
    let id = claimed(&hosts);
    let host = &mut hosts.hosts[0];
    // The claim is seen in etcd before its agent is told that it has it.
    std::thread::sleep(Duration::from_secs(2));
    host.store(|link| link.hold(true));
    hold_server(host, false);
    wait_for("the start", || has(host, &id));
    host.end_agent(Signal::SIGKILL);
    lose_store(host);
    assert!(is(&hosts.job(&id), State::Starting), "nothing has passed");
    hosts.hosts[0].run_agent();
    ends(&hosts, &id, false);
}

#[test]
fn killed_while_it_runs_its_end_is_known_whether_that_comes_before_or_after() {
    let mut hosts = linked();
    let (before, after) = (running(&hosts), running(&hosts));
    let host = &mut hosts.hosts[0];
    host.end_agent(Signal::SIGKILL);
    host.let_end(&before);
    wait_for("the end", || !host.server.status(&before)["exit"].is_null());
    hosts.hosts[0].run_agent();
    ends(&hosts, &before, true);
    ends(&hosts, &after, false);
}

#[test]
fn killed_between_end_and_outcome_the_outcome_is_written_and_once_written_it_stays() {
    let mut hosts = linked();
    let id = running(&hosts);
    let host = &mut hosts.hosts[0];
    host.store(|link| link.hold(true));
    host.let_end(&id);
    wait_for("the end", || !host.server.status(&id)["exit"].is_null());
    host.end_agent(Signal::SIGKILL);
    lose_store(host);
    assert!(is(&hosts.job(&id), State::Running), "nothing has passed");
    hosts.hosts[0].run_agent();
    let view = ends(&hosts, &id, true);

    hosts.hosts[0].end_agent(Signal::SIGKILL);
    hosts.hosts[0].run_agent();
    // It takes jobs again, so it has looked at what there was.
    let other = running(&hosts);
    ends(&hosts, &other, false);
    assert_eq!(hosts.job(&id), view);
}

#[test]
fn a_process_that_is_removed_while_its_agent_is_dead_is_lost_and_told_so() {
    let mut hosts = linked();
    let id = running(&hosts);
    let host = &mut hosts.hosts[0];
    host.end_agent(Signal::SIGKILL);
    host.let_end(&id);
    wait_for("the end", || !host.server.status(&id)["exit"].is_null());
    host.server.ok(&["rm", &id]);
    host.run_agent();
    let view = hosts.until(&id, "the loss", JobView::is_over);
    assert_eq!(view.standing(), Standing::Lost, "{view:?}");
    assert_eq!(view.outcome().unwrap().reason, "PROCESS_NOT_FOUND");
    assert!(!has(&hosts.hosts[0], &id), "it is not started again");

    // The same while the agent lives, and is cut off from the server.
    let id = running(&hosts);
    let host = &hosts.hosts[0];
    let link = host.to_server.as_ref().unwrap();
    link.interrupt();
    host.let_end(&id);
    wait_for("the end", || !host.server.status(&id)["exit"].is_null());
    host.server.ok(&["rm", &id]);
    link.resume();
    let view = hosts.until(&id, "the loss", JobView::is_over);
    assert_eq!(view.standing(), Standing::Lost, "{view:?}");
}

#[test]
fn agents_that_are_killed_at_random_start_each_of_200_jobs_once_and_all_ends_are_known() {
    let mut hosts = Hosts::start(3, 3, &["--processes", "8"]);
    let started = Instant::now();
    let script = "echo started; sleep 0.3; exit 4";
    let ids: Vec<_> = (0..200)
        .map(|_| hosts.submit(job(&["sh", "-c", script], 1)))
        .collect();
    let (mut random, mut kills) = (Random::new(19), 0);
    let mut agents: Vec<Host> = std::mem::take(&mut hosts.hosts);
    let views = hosts.all_over(&ids, || {
        if kills < 60 {
            let number = usize::try_from(random.below(3)).unwrap();
            agents[number].end_agent(Signal::SIGKILL);
            agents[number].run_agent();
            kills += 1;
        }
        std::thread::sleep(Duration::from_millis(random.below(150)));
    });
    hosts.hosts = agents;
    for view in &views {
        assert_eq!(view.standing(), Standing::Ended, "{view:?}");
        let exit = view.outcome().unwrap().exit_cause.as_ref().unwrap();
        assert_eq!(exit.exit_code, 4, "{view:?}");
    }
    hosts.each_once(&ids);
    let took = started.elapsed();
    println!(
        "fleet: {kills} agents killed during 200 jobs: each once, all ends known, in {took:.1?}"
    );
}
