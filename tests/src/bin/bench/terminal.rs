//! Terminals: how long a key takes to come back, what typing costs root, and whom that delays.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::pty::openpty;
use prn_client::{
    Client, Event, OutputRequest, OutputStream, ProcessId, StandardInput, StartSpec, StopSignal,
};
use prn_tests::server::Server;

use crate::latency;
use crate::machine::{self, MIB};
use crate::parts::{self, CHUNK, Serving};
use crate::setup::{Bench, word};
use crate::ssh::Ssh;
use crate::table::{Samples, Series, Summary, Table, percentile};
use crate::terminal_parts::{self as typing, READY, SIZE};

/// Keys of a round, so far apart that everything sleeps in between.
const KEYS: usize = 500;
const PAUSE: Duration = Duration::from_millis(5);

/// What is typed to measure what that costs.
const TYPED: u64 = 16 * MIB;
const PIECE: usize = 4096;

/// Calls beside what floods.
const CALLS: usize = 1000;
const APART: Duration = Duration::from_millis(2);

const KEY_LOCAL: &str = "a local terminal";
const KEY_PRN: &str = "prn, client library";
const KEY_SSH: &str = "`ssh -tt`";
const CALL: &str = "an empty call, 5 ms after the last one";

const COST_TYPED: &str = "typed into a terminal whose process reads";
const COST_OUTPUT: &str = "output of a process, in writes of 64 KiB";

const IDLE: &str = "nothing else";
const PIPE: &str = "a pipe that is read, written without an end";
const ECHO: &str = "a terminal that echoes, typed into without an end";
const UNREAD: &str = "a terminal that is never read, the same";

pub fn measure(bench: &Bench, summary: &mut Summary) -> anyhow::Result<()> {
    let ssh = Ssh::start()?;
    let mut series = Series::default();
    let runtime = parts::runtime(0)?;
    for _ in bench.rounds("terminal") {
        let server = bench.server(&[], 64)?;
        add(&mut series, KEY_LOCAL, local_keys(bench)?);
        if let Some(ssh) = &ssh {
            add(&mut series, KEY_SSH, ssh_keys(bench, ssh)?);
        }
        runtime.block_on(async {
            let client = parts::connect(&server.address, server.folder()).await?;
            keys(bench, &client, &mut series).await?;
            cost(bench, &server, &client, &mut series).await?;
            beside(bench, &server, &client, &mut series).await
        })?;
    }
    print_keys(bench, &series, summary);
    print_cost(bench, &series, summary);
    print_beside(bench, &series, summary);
    Ok(())
}

/// What a round adds of all its times.
struct Percentiles {
    p50: Samples,
    p99: Samples,
    longest: Samples,
}

fn add(series: &mut Series, name: &str, mut micros: Vec<f64>) {
    for percent in [50, 99, 100] {
        let value = percentile(&mut micros, percent).unwrap_or(f64::NAN);
        series.add(&format!("{name} {percent}"), value);
    }
}

fn percentiles(series: &Series, name: &str) -> Percentiles {
    let of = |percent: u32| series.of(&format!("{name} {percent}"));
    Percentiles {
        p50: of(50),
        p99: of(99),
        longest: of(100),
    }
}

/// A terminal of this machine, which the same program answers on.
fn local_keys(bench: &Bench) -> anyhow::Result<Vec<f64>> {
    let pty = openpty(None, None)?;
    let slave = File::from(pty.slave);
    let mut part = bench.part(&["answer"]);
    part.stdin(slave.try_clone()?).stdout(slave);
    let child = part.spawn()?;
    drop(part);
    let master = File::from(pty.master);
    let micros = typed(master.try_clone()?, master);
    end(child)?;
    micros
}

/// A terminal behind ssh, which sends each key at once, where it would not by itself.
fn ssh_keys(bench: &Bench, ssh: &Ssh) -> anyhow::Result<Vec<f64>> {
    let argv = bench.argv(&["answer"]);
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    let at_once = [
        "-o",
        "IgnoreUnknown=ObscureKeystrokeTiming",
        "-o",
        "ObscureKeystrokeTiming=no",
        "-c",
        "aes128-gcm@openssh.com",
        "-t",
        "-t",
    ];
    let mut command = ssh.command(&at_once, &argv);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let keys = OwnedFd::from(child.stdin.take().context("its input")?);
    let echo = OwnedFd::from(child.stdout.take().context("its output")?);
    let micros = typed(keys.into(), echo.into());
    end(child)?;
    micros
}

fn end(mut child: Child) -> anyhow::Result<()> {
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// Types keys, one after the other; microseconds of each until it comes back.
fn typed(mut keys: File, mut echo: File) -> anyhow::Result<Vec<f64>> {
    let mut byte = [0];
    echo.read_exact(&mut byte)?;
    ensure!(byte == *READY, "it is not ready: {byte:?}");
    let mut micros = Vec::new();
    for _ in 0..KEYS {
        std::thread::sleep(PAUSE);
        let begun = Instant::now();
        keys.write_all(b"k")?;
        echo.read_exact(&mut byte)?;
        micros.push(begun.elapsed().as_secs_f64() * 1e6);
        ensure!(byte == *b"k", "another key: {byte:?}");
    }
    Ok(micros)
}

/// The same under prn, and empty calls of the same client.
async fn keys(bench: &Bench, client: &Client, series: &mut Series) -> anyhow::Result<()> {
    let argv = bench.argv(&["answer"]);
    let fed = typing::start(client, &argv, StandardInput::Terminal(SIZE)).await?;
    let mut output = client.output(fed.id, OutputRequest::default()).await?;
    ensure!(next(&mut output).await? == READY, "it is not ready");
    let mut micros = Vec::new();
    for _ in 0..KEYS {
        tokio::time::sleep(PAUSE).await;
        let begun = Instant::now();
        fed.pieces.send(typing::piece(b"k")).await?;
        let echo = next(&mut output).await?;
        micros.push(begun.elapsed().as_secs_f64() * 1e6);
        ensure!(echo == b"k", "another key: {echo:?}");
    }
    add(series, KEY_PRN, micros);
    let calls = latency::calls(client, fed.id, KEYS, PAUSE).await?;
    add(series, CALL, calls);
    client.stop(fed.id, StopSignal::Kill, None).await?;
    Ok(())
}

async fn next(output: &mut OutputStream) -> anyhow::Result<Vec<u8>> {
    loop {
        match output.next().await?.context("no more output")? {
            Event::Data { data, .. } if data.is_empty() => {}
            Event::Data { data, .. } => return Ok(data.to_vec()),
            Event::Gap { .. } | Event::End(_) => bail!("no more output"),
        }
    }
}

/// What root spends on what is typed, and on as much output; microseconds for each MiB.
async fn cost(
    bench: &Bench,
    server: &Server,
    client: &Client,
    series: &mut Series,
) -> anyhow::Result<()> {
    let spent = || machine::cpu_seconds(server.supervisor());
    let mut cost = |name: &str, seconds: f64| {
        series.add(name, seconds * 1e6 / (TYPED / MIB) as f64);
    };
    let argv = bench.argv(&["swallow", &TYPED.to_string()]);
    let fed = typing::start(client, &argv, StandardInput::Terminal(SIZE)).await?;
    let mut output = client.output(fed.id, OutputRequest::default()).await?;
    ensure!(next(&mut output).await? == READY, "it is not ready");
    let before = spent()?;
    let piece = typing::piece(&[b'x'; PIECE]);
    for _ in 0..TYPED / PIECE as u64 {
        fed.pieces.send(piece.clone()).await?;
    }
    ensure!(next(&mut output).await? == READY, "it has not read all");
    cost(COST_TYPED, spent()? - before);
    let argv = bench.argv(&["write", &CHUNK.to_string(), &TYPED.to_string()]);
    let before = spent()?;
    let id = client.start(&StartSpec::new(argv)).await?.process.id;
    parts::follow(client, id).await?;
    cost(COST_OUTPUT, spent()? - before);
    Ok(())
}

/// What each flood does to others: calls that root answers, of a terminal where nothing happens.
async fn beside(
    bench: &Bench,
    server: &Server,
    client: &Client,
    series: &mut Series,
) -> anyhow::Result<()> {
    let argv = ["sleep".to_owned(), "3600".to_owned()];
    let quiet = typing::start(client, &argv, StandardInput::Terminal(SIZE)).await?;
    add(series, IDLE, resizes(client, quiet.id).await?);
    for (name, stdin, program) in [
        (PIPE, "pipe", "exec cat >/dev/null"),
        (ECHO, "terminal", "exec cat >/dev/null"),
        (UNREAD, "terminal", "exec sleep 3600"),
    ] {
        let folder = word(server.folder());
        let flood = [
            "flood",
            &server.address,
            &folder,
            stdin,
            "sh",
            "-c",
            program,
        ];
        let flood = Serving::start(bench.part(&flood))?;
        add(series, name, resizes(client, quiet.id).await?);
        let id = flood.address.parse()?;
        drop(flood);
        client.stop(id, StopSignal::Kill, None).await?;
    }
    client.stop(quiet.id, StopSignal::Kill, None).await?;
    Ok(())
}

/// Microseconds of each.
async fn resizes(client: &Client, id: ProcessId) -> anyhow::Result<Vec<f64>> {
    let mut micros = Vec::new();
    for _ in 0..CALLS {
        tokio::time::sleep(APART).await;
        let begun = Instant::now();
        client.resize_terminal(id, SIZE).await?;
        micros.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    Ok(micros)
}

fn print_keys(bench: &Bench, series: &Series, summary: &mut Summary) {
    let prn = percentiles(series, KEY_PRN);
    let title = bench.title(&format!(
        "Terminals: {KEYS} keys and their echoes, in microseconds"
    ));
    let columns = ["", "p50", "lowest–highest", "p99", "p50 of prn ÷ this"];
    let mut table = Table::new(&title, &columns);
    for name in [KEY_PRN, KEY_SSH, KEY_LOCAL, CALL] {
        let other = percentiles(series, name);
        if other.p50.median().is_none() {
            table.row(&[name, "not installed", "", "", ""]);
            continue;
        }
        let ratio = prn.p50.over(&other.p50);
        table.row(&[
            name.to_owned(),
            other.p50.figure(),
            other.p50.range(),
            other.p99.figure(),
            ratio.figure(),
        ]);
        if name != KEY_PRN {
            let what = "a key, to its echo in a terminal, p50";
            summary.compare(what, (&prn.p50, "µs"), (name, &other.p50), &ratio);
            let (what, ratio) = ("the same, p99", prn.p99.over(&other.p99));
            summary.compare(what, (&prn.p99, "µs"), (name, &other.p99), &ratio);
        }
    }
    table.print(
        "The echo is a program's, which has set its terminal raw, as editors and shells do.",
    );
}

fn print_cost(bench: &Bench, series: &Series, summary: &mut Summary) {
    let title = bench.title("Terminals: root's CPU time for each MiB, in microseconds");
    let mut table = Table::new(&title, &["", "µs", "lowest–highest", "÷ output"]);
    let output = series.of(COST_OUTPUT);
    for name in [COST_TYPED, COST_OUTPUT] {
        let samples = series.of(name);
        let ratio = samples.over(&output).figure();
        table.row(&[name.to_owned(), samples.figure(), samples.range(), ratio]);
    }
    table.print("");
    let typed = series.of(COST_TYPED);
    summary.compare(
        "root's CPU time for a MiB that is typed",
        (&typed, "µs"),
        ("a MiB of output", &output),
        &typed.over(&output),
    );
}

fn print_beside(bench: &Bench, series: &Series, summary: &mut Summary) {
    let title = bench.title(&format!(
        "Terminals: {CALLS} calls that root answers beside a flood, in microseconds"
    ));
    let columns = ["beside", "p50", "lowest–highest", "p99", "longest"];
    let mut table = Table::new(&title, &columns);
    let pipe = percentiles(series, PIPE);
    for name in [IDLE, PIPE, ECHO, UNREAD] {
        let beside = percentiles(series, name);
        table.row(&[
            name.to_owned(),
            beside.p50.figure(),
            beside.p50.range(),
            beside.p99.figure(),
            beside.longest.figure(),
        ]);
        if name == ECHO || name == UNREAD {
            summary.compare(
                &format!("a call beside {name}, p99"),
                (&beside.p99, "µs"),
                ("beside the same into a pipe", &pipe.p99),
                &beside.p99.over(&pipe.p99),
            );
        }
    }
    table.print(
        "A call is ResizeTerminal of a quiet terminal. Root has no part in what goes into a pipe.",
    );
}
