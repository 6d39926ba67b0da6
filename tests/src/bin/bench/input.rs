//! Standard input: one gigabyte in and out again at the same time, beside the same out alone.

use std::io;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use prn_tests::server::Server;

use crate::machine::{self, GIB};
use crate::numbers;
use crate::parts::Transfer;
use crate::setup::Bench;
use crate::ssh::Ssh;
use crate::table::{Series, Summary, Table, figure};

const PIPE: &str = "`cat` between two pipes";
const OUT: &str = "`prn run`, output alone";
const IN: &str = "`prn run -- cat >/dev/null`, input alone";
const BOTH: &str = "`prn run -- cat`, input and output";
const SSH_OUT: &str = "`ssh`, output alone";
const SSH_BOTH: &str = "`ssh host cat`, input and output";

/// CPU time by process, beside a name of the above.
const SHARES: [&str; 3] = ["supervisor", "frontend", "client"];

const CIPHER: [&str; 2] = ["-c", "aes128-gcm@openssh.com"];

/// What is written to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fed {
    Nothing,
    Numbers,
}

/// What a command writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gives {
    Nothing,
    Numbers,
}

pub fn measure(bench: &Bench, summary: &mut Summary) -> anyhow::Result<()> {
    let ssh = Ssh::start()?;
    let mut series = Series::default();
    for _ in bench.rounds("input") {
        round(bench, ssh.as_ref(), &mut series)?;
    }
    print_rates(bench, &series);
    print_shares(bench, &series);
    let (both, out) = (series.of(BOTH), series.of(OUT));
    summary.compare(
        "1 GiB through `prn run -- cat`",
        (&both, "MB/s"),
        ("the same, output alone", &out),
        &both.over(&out),
    );
    let ssh = series.of(SSH_BOTH);
    if ssh.median().is_some() {
        let beside = "`ssh host cat`, aes128-gcm";
        summary.compare(
            "1 GiB through `prn run -- cat`",
            (&both, "MB/s"),
            (beside, &ssh),
            &both.over(&ssh),
        );
        let out = series.of(SSH_OUT);
        summary.compare(
            "1 GiB through `ssh host cat`",
            (&ssh, "MB/s"),
            ("the same, output alone", &out),
            &ssh.over(&out),
        );
    }
    Ok(())
}

fn round(bench: &Bench, ssh: Option<&Ssh>, series: &mut Series) -> anyhow::Result<()> {
    let writer = bench.argv(&["numbers", &GIB.to_string()]);
    let writer: Vec<&str> = writer.iter().map(String::as_str).collect();
    let piped = through(bench, Command::new("cat"), Fed::Numbers, Gives::Numbers)?;
    series.add(PIPE, piped.rate());
    let server = bench.server(&[], 64)?;
    let to_null = ["sh", "-c", "exec cat >/dev/null"];
    for (name, argv, fed, gives) in [
        (OUT, &writer[..], Fed::Nothing, Gives::Numbers),
        (BOTH, &["cat"], Fed::Numbers, Gives::Numbers),
        (IN, &to_null, Fed::Numbers, Gives::Nothing),
    ] {
        let run = server.prn(&[&["run", "--"], argv].concat());
        let measured = through_prn(bench, &server, run, fed, gives);
        let (moved, shares) = measured.with_context(|| server.log())?;
        series.add(name, moved.rate());
        for (share, seconds) in SHARES.iter().zip(shares) {
            series.add(&format!("{share}: {name}"), seconds / moved.gigabytes());
        }
    }
    if let Some(ssh) = ssh {
        let out = ssh.command(&CIPHER, &writer);
        let out = through(bench, out, Fed::Nothing, Gives::Numbers)?;
        series.add(SSH_OUT, out.rate());
        let both = ssh.command(&CIPHER, &["cat"]);
        let both = through(bench, both, Fed::Numbers, Gives::Numbers)?;
        series.add(SSH_BOTH, both.rate());
    }
    Ok(())
}

/// Runs a client of prn, and adds what each process spent for it, in seconds.
fn through_prn(
    bench: &Bench,
    server: &Server,
    client: Command,
    fed: Fed,
    gives: Gives,
) -> anyhow::Result<(Transfer, [f64; 3])> {
    let pids = [server.supervisor(), server.frontend()];
    let spent = || anyhow::Ok(pids.map(machine::cpu_seconds));
    let before = spent()?;
    let moved = through(bench, client, fed, gives)?;
    let [supervisor, frontend] = spent()?;
    let [supervisor_before, frontend_before] = before;
    let shares = [
        supervisor? - supervisor_before?,
        frontend? - frontend_before?,
        moved.client,
    ];
    Ok((moved, shares))
}

/// Feeds a command numbers and reads them from it, which must succeed.
fn through(
    bench: &Bench,
    mut command: Command,
    fed: Fed,
    gives: Gives,
) -> anyhow::Result<Transfer> {
    let mut writer = None;
    if fed == Fed::Numbers {
        let mut numbers = bench.part(&["numbers", &GIB.to_string()]);
        let child = writer.insert(numbers.stdout(Stdio::piped()).spawn()?);
        command.stdin(child.stdout.take().context("its output")?);
    }
    let begun = std::time::Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    // It has what the writer's end is read from, and nobody else may.
    let shown = format!("{command:?}");
    drop(command);
    let mut stdout = child.stdout.take().context("its output")?;
    let read = match gives {
        Gives::Numbers => numbers::read(&mut stdout, GIB),
        Gives::Nothing => io::copy(&mut stdout, &mut io::sink())
            .map_err(anyhow::Error::from)
            .map(|_| Transfer {
                bytes: GIB,
                seconds: begun.elapsed().as_secs_f64(),
                client: 0.0,
                process: 0.0,
            }),
    };
    drop(stdout);
    let before = children_seconds()?;
    let status = child.wait()?;
    let client = children_seconds()? - before;
    if let Some(mut writer) = writer {
        writer.wait()?;
    }
    let read = read.with_context(|| format!("{shown}: {status}"))?;
    ensure!(status.success(), "{shown}: {status}");
    Ok(Transfer { client, ..read })
}

/// CPU time of all children that were waited for, in seconds.
fn children_seconds() -> anyhow::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(micros as f64 / 1e6)
}

fn print_rates(bench: &Bench, series: &Series) {
    let title = bench.title("Input: 1 GiB through a process");
    let mut table = Table::new(
        &title,
        &["", "MB/s", "lowest–highest", "÷ `prn run`, output alone"],
    );
    let out = series.of(OUT);
    for name in [PIPE, OUT, IN, BOTH, SSH_OUT, SSH_BOTH] {
        let samples = series.of(name);
        if samples.median().is_some() {
            let ratio = samples.over(&out).figure();
            table.row(&[name.to_owned(), samples.figure(), samples.range(), ratio]);
        } else {
            table.row(&[name, "not installed", "", ""]);
        }
    }
    table.print("MB are 10⁶ bytes, each of which is compared.");
}

fn print_shares(bench: &Bench, series: &Series) {
    let title = bench.title("Input: CPU seconds for each 10⁹ bytes");
    let columns = ["", "supervisor", "frontend", "client", "together"];
    let mut table = Table::new(&title, &columns);
    for name in [OUT, IN, BOTH] {
        let shares = SHARES.map(|share| series.of(&format!("{share}: {name}")));
        let together: f64 = shares.iter().filter_map(|share| share.median()).sum();
        let cells = shares
            .iter()
            .map(|share| share.figure())
            .chain([figure(together)]);
        let row: Vec<_> = [name.to_owned()].into_iter().chain(cells).collect();
        table.row(&row);
    }
    table.print("");
}
