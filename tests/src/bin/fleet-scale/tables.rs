//! The tables of docs/fleet-scale.md.

use crate::fleet::{Outcome, Plan, simulate};
use crate::inputs::{
    BURST_A_SECOND, BURST_SECONDS, CAPACITY, CHECK_HOSTS, CHECK_JOBS, CHECK_LOST, CHECK_SECONDS,
    HOSTS, LARGE, LEASE, MEMBERS, MILLISECOND, PROCESSES_A_DAY, SECOND, SMALL, Store,
};
use crate::records::sizes;
use crate::size;
use crate::spread::{Spread, TODAY};
use crate::storm::{Storm, weather};
use crate::text::{Table, bytes, number, ratio, time};

const SEED: u64 = 19;
/// Of the day's mean, so much is simulated.
const MEAN_SECONDS: u64 = 30;
const MEAN_JOBS: u64 = PROCESSES_A_DAY * MEAN_SECONDS / 86_400;
/// Submitted, claimed, running, ended; and announced twice.
const WRITES_A_JOB: u64 = 6;
/// What is proposed for the wait before a claim.
const PROPOSED: Spread = Spread::Growing(200 * MILLISECOND);

/// Makes a table.
type Make = fn() -> String;
/// A figure of an etcd, to be read.
type Figure = fn(&Store) -> String;

/// Each, by the name that the document has it by.
pub const ALL: [(&str, Make); 10] = [
    ("inputs", inputs),
    ("records", records),
    ("size", store_size),
    ("storm", storms),
    ("limits", limits),
    ("hosts", by_hosts),
    ("spread", by_spread),
    ("shards", by_shards),
    ("full", nearly_full),
    ("check", check),
];

fn mean(store: Store, hosts: u32) -> Plan {
    Plan {
        store,
        hosts,
        shards: 1,
        watched: 1,
        capacity: CAPACITY,
        jobs: MEAN_JOBS,
        seconds: MEAN_SECONDS,
        spread: TODAY,
        asks_again: true,
        seed: SEED,
    }
}

fn burst(store: Store, hosts: u32) -> Plan {
    Plan {
        jobs: BURST_A_SECOND * BURST_SECONDS,
        seconds: BURST_SECONDS,
        ..mean(store, hosts)
    }
}

fn inputs() -> String {
    let mut table = Table::new(&[
        "what",
        " two cores for all",
        " 3 members of 8 cores",
        "source of the latter",
    ]);
    let rows: [(&str, Figure); 6] = [
        ("transactions a second, many clients", |of| {
            number(of.writes)
        }),
        ("one transaction, one client", |of| time(of.write_time)),
        ("from there to a watcher that knows", |of| {
            time(of.told_time)
        }),
        ("reads a second", |of| number(of.reads)),
        ("changes told by one member a second", |of| {
            number(of.events)
        }),
        ("connections to one member a second", |of| {
            number(of.connections)
        }),
    ];
    for ((what, figure), source) in rows.iter().zip(LARGE.sources) {
        table.row(&[*what, &figure(&SMALL), &figure(&LARGE), source]);
    }
    table.text()
}

fn records() -> String {
    let sizes = sizes();
    let mut table = Table::new(&["record", " bytes of key and value"]);
    for (what, bytes) in [
        ("`jobs/ID`", sizes.job),
        ("`queue/ID`", sizes.waiting),
        ("`claims/ID`", sizes.claim),
        ("`outcomes/HOST/ID`, it runs", sizes.running),
        ("`outcomes/HOST/ID`, it has ended", sizes.ended),
        ("`finished/TIME-ID`", sizes.finished),
        ("kept of a job that has ended", sizes.kept()),
        (
            "written of a job from its start to its end",
            sizes.written(),
        ),
        ("`hosts/HOST`", sizes.host),
    ] {
        table.row(&[what, &number(bytes)]);
    }
    table.text()
}

fn store_size() -> String {
    let sizes = sizes();
    let mut table = Table::new(&[
        "ended jobs kept",
        " there at once",
        " file, compacted each 5 minutes",
        " each hour",
        " once a day",
    ]);
    for (what, kept) in [
        ("10,000 (a quarter of an hour)", 10_000),
        ("1,000,000 (a day)", PROCESSES_A_DAY),
        ("7,000,000 (7 days)", 7 * PROCESSES_A_DAY),
    ] {
        let file = |seconds| bytes(size::file(&sizes, kept, seconds));
        let live = bytes(size::live(&sizes, kept));
        table.row(&[what.to_owned(), live, file(300), file(3_600), file(86_400)]);
    }
    table.text()
}

const OUTCOME: [&str; 6] = [
    " losers a claim",
    " transactions/s",
    " changes told/s",
    " p50",
    " p99",
    "keeps up",
];

/// What came of a plan, in the columns of `OUTCOME`.
fn cells(outcome: &Outcome) -> Vec<String> {
    let rate = |count: u64| number(count * SECOND / outcome.time);
    let (p50, p99) = if outcome.keeps_up {
        (time(outcome.wait(50)), time(outcome.wait(99)))
    } else {
        ("–".to_owned(), "–".to_owned())
    };
    let keeps_up = if outcome.keeps_up { "yes" } else { "no" };
    vec![
        ratio(outcome.lost, outcome.claimed),
        rate(outcome.writes),
        rate(outcome.events),
        p50,
        p99,
        keeps_up.to_owned(),
    ]
}

fn by_hosts() -> String {
    let mut table = Table::new(&[&["hosts", "etcd"][..], &OUTCOME].concat());
    for hosts in [10, 100, 300, 1_000, 3_000, HOSTS] {
        for store in [SMALL, LARGE] {
            let mut row = vec![number(u64::from(hosts)), store.name.to_owned()];
            row.extend(cells(&simulate(mean(store, hosts))));
            table.row(&row);
        }
    }
    table.text()
}

fn by_spread() -> String {
    let columns = [" hosts", "wait before a claim"];
    let mut table = Table::new(&[&columns[..], &OUTCOME].concat());
    let even = |millis| Spread::Even(millis * MILLISECOND);
    let growing = |millis| Spread::Growing(millis * MILLISECOND);
    for (hosts, what, spread, asks_again) in [
        (HOSTS, "up to 20 ms, even (today's)", TODAY, true),
        (
            HOSTS,
            "the same, and a loser does not ask again",
            TODAY,
            false,
        ),
        (HOSTS, "up to 200 ms, even", even(200), false),
        (HOSTS, "up to 1 s, even", even(1_000), false),
        (HOSTS, "up to 200 ms, growing", PROPOSED, false),
        (HOSTS, "up to 500 ms, growing", growing(500), false),
        (HOSTS, "up to 1 s, growing", growing(1_000), false),
        (100, "up to 20 ms, even (today's)", TODAY, true),
        (100, "up to 200 ms, growing", PROPOSED, false),
        (10, "up to 20 ms, even (today's)", TODAY, true),
        (10, "up to 200 ms, growing", PROPOSED, false),
    ] {
        let plan = Plan {
            spread,
            asks_again,
            ..mean(LARGE, hosts)
        };
        let mut row = vec![number(u64::from(hosts)), what.to_owned()];
        row.extend(cells(&simulate(plan)));
        table.row(&row);
    }
    table.text()
}

/// Shards of the queue in a burst, and how many of them a host watches.
const SHARDS: [(u32, u32); 5] = [(1, 1), (16, 1), (64, 1), (256, 1), (256, 4)];

fn sharded(plan: Plan, (shards, watched): (u32, u32)) -> Plan {
    Plan {
        shards,
        watched,
        spread: PROPOSED,
        asks_again: false,
        ..plan
    }
}

fn by_shards() -> String {
    let columns = ["load", "wait", " shards", " watched by a host"];
    let mut table = Table::new(&[&columns[..], &OUTCOME].concat());
    for (load, plan) in [("mean", mean(LARGE, HOSTS)), ("burst", burst(LARGE, HOSTS))] {
        for parts in SHARDS {
            let proposed = sharded(plan, parts);
            let today = Plan {
                spread: TODAY,
                asks_again: true,
                ..proposed
            };
            for (wait, plan) in [("today's", today), ("growing, 200 ms", proposed)] {
                let figures = [u64::from(parts.0), u64::from(parts.1)].map(number);
                let mut row = vec![load.to_owned(), wait.to_owned()];
                row.extend(figures);
                row.extend(cells(&simulate(plan)));
                table.row(&row);
            }
        }
    }
    table.text()
}

/// Hosts of one place each, of which four in five are taken.
fn nearly_full() -> String {
    let columns = [" shards", " watched by a host"];
    let mut table = Table::new(&[&columns[..], &OUTCOME].concat());
    for parts in [(64, 1), (256, 1), (256, 4), (1_024, 8)] {
        let plan = Plan {
            jobs: 800 * BURST_SECONDS,
            capacity: 1,
            ..sharded(burst(LARGE, HOSTS), parts)
        };
        let figures = [u64::from(parts.0), u64::from(parts.1)].map(number);
        let mut row = figures.to_vec();
        row.extend(cells(&simulate(plan)));
        table.row(&row);
    }
    table.text()
}

/// What is simulated of few hosts, beside what was measured.
fn check() -> String {
    let plan = Plan {
        hosts: CHECK_HOSTS,
        jobs: CHECK_JOBS,
        seconds: CHECK_SECONDS,
        asks_again: false,
        ..mean(SMALL, CHECK_HOSTS)
    };
    let outcome = simulate(plan);
    let mut table = Table::new(&[" hosts", " jobs", " losers a claim, simulated", " measured"]);
    table.row(&[
        number(u64::from(CHECK_HOSTS)),
        number(CHECK_JOBS),
        ratio(outcome.lost, outcome.claimed),
        ratio(CHECK_LOST, 100),
    ]);
    table.text()
}

fn storms() -> String {
    let mut table = Table::new(&[
        "etcd",
        " members that serve",
        "agents begin within",
        " half are back after",
        " all but 1 % after",
        " all after",
        " connections made in vain",
        " leases that end",
    ]);
    for store in [SMALL, LARGE] {
        for members in [2, 3] {
            for first_wait in [20 * MILLISECOND, 10 * SECOND] {
                let calm = weather(Storm {
                    store,
                    hosts: HOSTS,
                    members,
                    first_wait,
                    seed: SEED,
                });
                let count = calm.connected.len();
                let all = count == HOSTS as usize;
                let after = |place: usize| {
                    let at = calm.connected.get(place).copied();
                    at.map_or_else(|| "not in 600 s".to_owned(), time)
                };
                let last = HOSTS as usize - 1;
                table.row(&[
                    store.name.to_owned(),
                    number(u64::from(members)),
                    time(first_wait),
                    after(HOSTS as usize / 2),
                    after(HOSTS as usize / 100 * 99),
                    if all {
                        after(last)
                    } else {
                        "not in 600 s".to_owned()
                    },
                    number(calm.wasted),
                    number(calm.leases_ended),
                ]);
            }
        }
    }
    table.text()
}

fn limits() -> String {
    let mut table = Table::new(&[
        "what is asked for a second",
        " day's mean",
        " burst",
        " burst, 64 shards",
        " two cores do",
        " 3 × 8 cores do",
    ]);
    let told = 2 * u64::from(HOSTS);
    let renewals = number(u64::from(HOSTS) * SECOND / (LEASE / 3));
    let both = |of: fn(&Store) -> u64| [number(of(&SMALL)), number(of(&LARGE))];
    let mean = |each: u64| number(PROCESSES_A_DAY * each / 86_400);
    let burst = |each: u64| number(BURST_A_SECOND * each);
    let rows = [
        (
            "transactions, without losers",
            [mean(WRITES_A_JOB), burst(WRITES_A_JOB), burst(WRITES_A_JOB)],
            both(|of| of.writes),
        ),
        (
            "changes told, of all members",
            [mean(told), burst(told), number(BURST_A_SECOND * told / 64)],
            both(|of| of.events * MEMBERS as u64),
        ),
        (
            "leases renewed, as reads",
            [renewals.clone(), renewals.clone(), renewals],
            both(|of| of.reads),
        ),
    ];
    for (what, asked, done) in rows {
        let mut row = vec![what.to_owned()];
        row.extend(asked);
        row.extend(done);
        table.row(&row);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/fleet-scale.md");

    /// With PRN_WRITE_TABLES set, the document is made what it should be.
    #[test]
    fn the_document_has_what_this_program_prints() {
        let document = fs::read_to_string(DOCUMENT).unwrap();
        let mut made = document.clone();
        for (name, table) in ALL {
            let table = table();
            let begin = format!("<!-- {name}: begin -->\n");
            let end = format!("<!-- {name}: end -->");
            let (before, rest) = made.split_once(&begin).expect(name);
            let (_, after) = rest.split_once(&end).expect(name);
            made = format!("{before}{begin}{table}{end}{after}");
        }
        if made != document && std::env::var_os("PRN_WRITE_TABLES").is_some() {
            fs::write(DOCUMENT, &made).unwrap();
            return;
        }
        assert!(
            made == document,
            "docs/fleet-scale.md is out of date: run the tests with PRN_WRITE_TABLES=1 once"
        );
    }
}
