//! Measures prn beside what it is made of and what it is used instead of, in one run: machines are
//! noisy, ratios hold.
//!
//! ```text
//! bench [--rounds N] [--idle-seconds N] [--files N] [SUBJECT] …     (make bench; all, or of:
//!       output fanout input terminal copy latency handshake start audit policy signed idle
//!       growth namespaces fleet cli)
//! bench compare [--rounds N] LABEL=BIN_DIR[,PROFILE] …
//! bench growth-of ROUNDS ADDRESS KEYS SUPERVISOR          (make bench-guest: of a server that runs)
//! ```
//!
//! Each round measures everything that is compared once, one after the other. What is printed are
//! medians of the rounds, and medians of the ratios within each round. Nothing here is an assertion
//! on time.
//!
//! `PRN_BIN_DIR` names the folder of the binaries, `PRN_STATIC_BIN` a static `prn` and
//! `PRN_BEFORE_BIN` an earlier one to be measured too, and `PRN_UNMODERATED_BIN_DIR` the folder of
//! both halves as they are with the feature `unmoderated`.
#![expect(clippy::print_stdout, reason = "a program that measures prints")]
#![expect(clippy::print_stderr, reason = "and says what it is at")]

mod beside;
mod cli;
mod clone;
mod compare;
mod copy;
mod fanout;
mod fleet;
mod growth;
mod handshake;
mod idle;
mod input;
mod latency;
mod machine;
mod namespaces;
mod numbers;
mod output;
mod parts;
mod setup;
mod signed;
mod ssh;
mod start;
mod table;
mod terminal;
mod terminal_parts;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

use setup::Bench;
use table::Summary;

/// What a subject adds to the summary.
type Measure = fn(&Bench, &mut Summary) -> anyhow::Result<()>;

const SUBJECTS: [(&str, Measure); 16] = [
    ("output", output::measure),
    ("fanout", fanout::measure),
    ("input", input::measure),
    ("terminal", terminal::measure),
    ("copy", copy::measure),
    ("latency", latency::measure),
    ("handshake", handshake::measure),
    ("start", start::measure),
    ("audit", beside::audit),
    ("policy", beside::policy),
    ("signed", signed::measure),
    ("idle", idle::measure),
    ("growth", growth::measure),
    ("namespaces", namespaces::measure),
    ("fleet", fleet::measure),
    ("cli", cli::measure),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        // It is made of other parts.
        ["part", "sign", key] => handshake::sign(key),
        ["part", "namespaces", profile, tree] => in_namespaces(profile, tree),
        ["part", ..] => terminal_parts::run(&arguments[1..]),
        ["compare", "--rounds", rounds, ..] => rounds
            .parse()
            .context("--rounds")
            .map(|rounds| compare::compare(rounds, &arguments[3..])),
        ["compare", ..] => {
            compare::compare(5, &arguments[1..]);
            Ok(())
        }
        ["measure", profile] => {
            compare::measure(profile);
            Ok(())
        }
        ["growth-of", rounds, address, keys, supervisor] => {
            growth_of(rounds, address, keys, supervisor)
        }
        _ => measure(&words),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn in_namespaces(profile: &str, tree: &str) -> anyhow::Result<()> {
    namespaces::run(profile.parse()?, tree.parse()?)
}

fn growth_of(rounds: &str, address: &str, keys: &str, supervisor: &str) -> anyhow::Result<()> {
    let rounds = rounds.parse().context("the number of rounds")?;
    let supervisor = supervisor.parse().context("a process number")?;
    growth::run(rounds, address, keys.as_ref(), supervisor)
}

fn measure(mut words: &[&str]) -> anyhow::Result<()> {
    let (mut rounds, mut idle, mut chosen) = (5, Duration::from_secs(60), Vec::new());
    let mut files = 20_000;
    loop {
        match words {
            [] => break,
            ["--rounds", number, rest @ ..] => {
                (rounds, words) = (number.parse().context("--rounds")?, rest)
            }
            ["--idle-seconds", number, rest @ ..] => {
                (idle, words) = (
                    Duration::from_secs(number.parse().context("--idle-seconds")?),
                    rest,
                );
            }
            ["--files", number, rest @ ..] => {
                (files, words) = (number.parse().context("--files")?, rest);
            }
            [name, rest @ ..] => {
                let subject = SUBJECTS.iter().find(|(subject, _)| subject == name);
                chosen.push(
                    subject.with_context(|| format!("bench: no such subject or flag: {name}"))?,
                );
                words = rest;
            }
        }
    }
    if rounds == 0 {
        bail!("bench: no rounds, no medians");
    }
    machine::check()?;
    let bench = Bench::new(rounds, idle, files)?;
    if chosen.is_empty() {
        chosen.extend(&SUBJECTS);
    }
    let mut summary = Summary::default();
    for (name, subject) in chosen {
        eprintln!("bench: {name}");
        subject(&bench, &mut summary)?;
    }
    summary.print();
    Ok(())
}
