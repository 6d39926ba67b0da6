//! A fleet: real servers with an agent each, and a real etcd.

use prn_fleet::{JobView, Standing};
use prn_tests::agents::{Hosts, job};

/// Whether a job is over.
fn over(view: &JobView) -> bool {
    view.is_over()
}

#[test]
fn a_job_runs_on_a_host_and_its_end_is_known() {
    let hosts = Hosts::start(1, 1, &["--label", "zone=a"]);
    let mut wanted = job(&["sh", "-c", "exit 7"], 1);
    wanted.on = [("zone".to_owned(), "a".to_owned())].into();
    let id = hosts.submit(wanted);
    let view = hosts.until(&id, "the end", over);
    assert_eq!(
        (view.standing(), view.host()),
        (Standing::Ended, Some("web1"))
    );
    let outcome = view.outcome().unwrap();
    assert_eq!(outcome.exit_cause.as_ref().unwrap().exit_code, 7);
    assert_eq!(hosts.hosts[0].server.status(&id)["exit"]["code"], 7);

    let mut elsewhere = job(&["true"], 1);
    elsewhere.on = [("zone".to_owned(), "b".to_owned())].into();
    let waits = hosts.submit(elsewhere);
    let missing = hosts.submit(job(&["/no/such/program"], 1));
    hosts.until(&missing, "a refusal", |view| match &view.place {
        prn_fleet::Place::Waiting(waiting) => waiting.past.len() == 1,
        _ => false,
    });
    assert_eq!(hosts.job(&waits).standing(), Standing::Waiting);
}
