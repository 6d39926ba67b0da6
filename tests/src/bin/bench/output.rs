//! One reader of one gigabyte: what is moved, and what it costs.

use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use prn_tests::{procfs, server::Server};

use crate::machine::{self, GIB, MIB, Pinned};
use crate::parts::{self, CHUNK, Serving, Transfer};
use crate::setup::{Bench, word};
use crate::ssh::Ssh;
use crate::table::{Samples, Series, Summary, Table, figure};

const PIPE: &str = "raw pipe";
const PIPE_LINES: &str = "raw pipe, lines of 100 bytes";
/// No process writes faster than that under prn, whatever becomes of its lines: nobody watches the
/// pipe, it is never full, and its reader is hardly ever there.
const PIPE_BOUND: &str = "raw pipe, lines of 100 bytes, two filters, read each 500 µs";
const TCP: &str = "plain TCP";
const TLS: &str = "raw tokio-rustls";
const TLS_READ_AHEAD: &str = "raw tokio-rustls, 64 KiB read ahead below TLS";
const TLS_FILE: &str = "raw tokio-rustls, of a file in memory";
const SSH: &str = "`ssh cat`, aes128-gcm, to a pipe";
const REPLAY: &str = "prn replay, client library";
const LOGS: &str = "prn replay, `prn logs` to a pipe";
const LIVE: &str = "prn live, writes of 64 KiB";
const LINES: &str = "prn live, lines of 100 bytes";
const LINES_UNMODERATED: &str = "the same without moderation";

/// In lines, a write(2) each.
const LINE: u64 = 100;
const LINES_BYTES: u64 = 200_000_000;

/// What is kept of the output of a process that is followed live. It waits for its reader, so that
/// nothing is dropped; and its memory is used again, as that of a process which runs for long is,
/// instead of each byte being the first on its page.
const LIVE_KEPT: u64 = 64 * MIB;

/// CPU time by process, beside a name of the above.
const SHARES: [&str; 4] = ["process", "supervisor", "frontend", "client"];

pub fn measure(bench: &Bench, summary: &mut Summary) -> anyhow::Result<()> {
    for pinned in [false, true] {
        let _pinned = if pinned { Some(Pinned::new()?) } else { None };
        let peers = Peers::start(bench)?;
        let mut series = Series::default();
        let label = if pinned {
            "output, on one CPU"
        } else {
            "output"
        };
        for _ in bench.rounds(label) {
            round(bench, &peers, !pinned, &mut series)?;
        }
        print(bench, pinned, &series, summary);
    }
    Ok(())
}

/// What prn is compared with, running all the time.
struct Peers {
    tcp: Serving,
    tls: Serving,
    /// Sends the file, as prn sends what it has kept.
    tls_file: Serving,
    ssh: Option<Ssh>,
    /// 1 GiB.
    file: tempfile::NamedTempFile,
}

impl Peers {
    fn start(bench: &Bench) -> anyhow::Result<Self> {
        let tcp = Serving::start(bench.part(&["tcp-serve"]))?;
        let tls = Serving::start(bench.part(&["tls-serve", &word(bench.keys()), "0"]))?;
        let file = tempfile::NamedTempFile::new_in("/dev/shm")?;
        let mut write = bench.part(&["write", &CHUNK.to_string(), &GIB.to_string()]);
        ensure!(
            write.stdout(file.reopen()?).status()?.success(),
            "1 GiB in /dev/shm"
        );
        let tls_file = Serving::start(bench.part(&[
            "tls-serve",
            &word(bench.keys()),
            "0",
            &word(file.path()),
        ]))?;
        Ok(Self {
            tcp,
            tls,
            tls_file,
            ssh: Ssh::start()?,
            file,
        })
    }
}

fn round(bench: &Bench, peers: &Peers, lines: bool, series: &mut Series) -> anyhow::Result<()> {
    let gib = GIB.to_string();
    series.add(PIPE, raw_pipe(bench, "write", CHUNK as u64, GIB, 0)?.rate());
    if lines {
        series.add(
            PIPE_LINES,
            raw_pipe(bench, "write", LINE, LINES_BYTES, 0)?.rate(),
        );
        series.add(
            PIPE_BOUND,
            raw_pipe(bench, "write-filtered", LINE, LINES_BYTES, 500)?.rate(),
        );
    }
    series.add(
        TCP,
        parts::transfer(bench.part(&["tcp-read", &peers.tcp.address, &gib]), GIB)?.rate(),
    );
    let keys = word(bench.keys());
    for (name, server, read_ahead) in [
        (TLS, &peers.tls, "0"),
        (TLS_READ_AHEAD, &peers.tls, "65536"),
        (TLS_FILE, &peers.tls_file, "65536"),
    ] {
        let before = machine::cpu_seconds(server.pid())?;
        let part = bench.part(&[
            "tls-read",
            &server.address,
            &keys,
            "0",
            "1",
            &gib,
            read_ahead,
        ]);
        let moved = parts::transfer(part, GIB)?;
        series.add(name, moved.rate());
        let server = machine::cpu_seconds(server.pid())? - before;
        add_shares(
            series,
            name,
            &moved,
            [None, None, Some(server), Some(moved.client)],
        );
    }
    if let Some(ssh) = &peers.ssh {
        let cat = ssh.command(
            &["-c", "aes128-gcm@openssh.com"],
            &["cat", &word(peers.file.path())],
        );
        series.add(SSH, parts::read_from(cat, GIB)?.rate());
    }

    // Everything in it is of this round, so that it holds no more than one output of 1 GiB.
    let server = bench.server(&["--output-budget", "4G"], 64)?;
    let argv = bench.argv(&["write", &CHUNK.to_string(), &gib]);
    let words: Vec<&str> = argv.iter().map(String::as_str).collect();
    let id = server.start_process(&["--output-max", "1100M"], &words);
    prn_tests::wait_for("its end", || server.status(&id)["tree_empty"] == true);
    let keys = word(server.folder());
    let replay = bench.part(&["replay", &server.address, &keys, "0", "1", &id]);
    through_prn(&server, series, REPLAY, replay, GIB)?;
    series.add(
        LOGS,
        parts::read_from(server.prn(&["logs", &id]), GIB)?.rate(),
    );
    through_prn(&server, series, LIVE, live(bench, &server, &argv), GIB)?;
    if lines {
        lines_live(bench, &server, series, LINES)?;
        if let Some(programs) = bench.unmoderated() {
            let server =
                bench.server_of(&["--output-budget", "4G"], 64, Some(programs.to_owned()))?;
            lines_live(bench, &server, series, LINES_UNMODERATED)?;
        }
    }
    Ok(())
}

/// Follows a process from its start.
fn live(bench: &Bench, server: &Server, argv: &[String]) -> Command {
    let mut command = bench.part(&[
        "live",
        &server.address,
        &word(server.folder()),
        "0",
        &LIVE_KEPT.to_string(),
    ]);
    command.args(argv);
    command
}

fn lines_live(
    bench: &Bench,
    server: &Server,
    series: &mut Series,
    name: &str,
) -> anyhow::Result<()> {
    let argv = bench.argv(&["write", &LINE.to_string(), &LINES_BYTES.to_string()]);
    let switches = || procfs::status(server.supervisor())["voluntary_ctxt_switches"].parse::<f64>();
    let before = switches()?;
    through_prn(
        server,
        series,
        name,
        live(bench, server, &argv),
        LINES_BYTES,
    )?;
    series.add(
        &format!("wake-ups: {name}"),
        (switches()? - before) / (LINES_BYTES as f64 / 1e6),
    );
    Ok(())
}

fn raw_pipe(
    bench: &Bench,
    write: &str,
    size: u64,
    bytes: u64,
    pause: u64,
) -> anyhow::Result<Transfer> {
    let mut writer = bench
        .part(&[write, &size.to_string(), &bytes.to_string()])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut reader = bench.part(&["count", &pause.to_string()]);
    if let Some(stdout) = writer.stdout.take() {
        reader.stdin(stdout);
    }
    let moved = parts::transfer(reader, bytes);
    // It has ended, or its reader has and it gets SIGPIPE.
    writer.wait()?;
    moved
}

/// Runs a client of prn, and adds its rate and what each process spent for it.
fn through_prn(
    server: &Server,
    series: &mut Series,
    name: &str,
    client: Command,
    bytes: u64,
) -> anyhow::Result<()> {
    let (supervisor, frontend) = (server.supervisor(), server.frontend());
    let before = (
        machine::cpu_seconds(supervisor)?,
        machine::cpu_seconds(frontend)?,
    );
    let moved = parts::transfer(client, bytes).with_context(|| server.log())?;
    let supervisor = machine::cpu_seconds(supervisor)? - before.0;
    let frontend = machine::cpu_seconds(frontend)? - before.1;
    series.add(name, moved.rate());
    let process = (moved.process > 0.0).then_some(moved.process);
    add_shares(
        series,
        name,
        &moved,
        [
            process,
            Some(supervisor),
            Some(frontend),
            Some(moved.client),
        ],
    );
    Ok(())
}

/// In CPU seconds for each 10⁹ bytes.
fn add_shares(series: &mut Series, name: &str, moved: &Transfer, seconds: [Option<f64>; 4]) {
    for (share, seconds) in SHARES.iter().zip(seconds) {
        if let Some(seconds) = seconds {
            series.add(&format!("{share}: {name}"), seconds / moved.gigabytes());
        }
    }
}

fn print(bench: &Bench, pinned: bool, series: &Series, summary: &mut Summary) {
    let place = if pinned { "all on one CPU" } else { "all CPUs" };
    // The better way to read is what prn is held against.
    let tls = [TLS, TLS_READ_AHEAD].map(|name| series.of(name));
    let [plain, ahead] = &tls;
    let (best, tls) = if ahead.median() > plain.median() {
        (TLS_READ_AHEAD, ahead)
    } else {
        (TLS, plain)
    };
    let ssh = series.of(SSH);
    let title = bench.title(&format!("Output: 1 GiB to one reader, {place}"));
    let mut table = Table::new(
        &title,
        &[
            "",
            "MB/s",
            "lowest–highest",
            "÷ raw tokio-rustls",
            "÷ `ssh cat`",
        ],
    );
    for name in [
        PIPE,
        PIPE_LINES,
        PIPE_BOUND,
        TCP,
        TLS,
        TLS_READ_AHEAD,
        TLS_FILE,
        SSH,
        REPLAY,
        LOGS,
        LIVE,
        LINES,
        LINES_UNMODERATED,
    ] {
        let samples = series.of(name);
        if samples.median().is_none() && name != SSH {
            continue;
        }
        let figure = if samples.median().is_none() {
            "not installed".to_owned()
        } else {
            samples.figure()
        };
        let (to_tls, to_ssh) = (samples.over(tls).figure(), samples.over(&ssh).figure());
        table.row(&[name.to_owned(), figure, samples.range(), to_tls, to_ssh]);
    }
    table.print(&format!(
        "MB are 10⁶ bytes. What is divided by: {best}, which is the faster of the two; `ssh cat`. \
         prn live: with {} MiB kept, and a process that waits for its reader (stop-reading).",
        LIVE_KEPT / MIB,
    ));

    let title = bench.title(&format!("Output: CPU seconds for each 10⁹ bytes, {place}"));
    let mut table = Table::new(
        &title,
        &[
            "",
            "process",
            "supervisor",
            "frontend or server",
            "client",
            "together",
        ],
    );
    for name in [
        TLS,
        TLS_READ_AHEAD,
        TLS_FILE,
        REPLAY,
        LIVE,
        LINES,
        LINES_UNMODERATED,
    ] {
        let shares = SHARES.map(|share| series.of(&format!("{share}: {name}")));
        let together: f64 = shares.iter().filter_map(|share| share.median()).sum();
        if together > 0.0 {
            let cells = shares
                .iter()
                .map(|share| share.figure())
                .chain([figure(together)]);
            table.row(
                &[name.to_owned()]
                    .into_iter()
                    .chain(cells)
                    .collect::<Vec<_>>(),
            );
        }
    }
    let [moderated, unmoderated] =
        [LINES, LINES_UNMODERATED].map(|name| series.of(&format!("wake-ups: {name}")));
    let below = if moderated.median().is_some() {
        let (with, without) = (moderated.figure(), unmoderated.figure());
        format!(
            "Wake-ups of the supervisor for each 10⁶ bytes of lines: {with}; without moderation: {without}."
        )
    } else {
        String::new()
    };
    table.print(&below);

    let note = if pinned { ", on one CPU" } else { "" };
    let (replay, live) = (series.of(REPLAY), series.of(LIVE));
    let mut add = |what: &str, prn: &Samples, beside: &str, other: &Samples| {
        summary.compare(
            &format!("{what}{note}"),
            (prn, "MB/s"),
            (beside, other),
            &prn.over(other),
        );
    };
    add("replay of 1 GiB", &replay, "raw tokio-rustls", tls);
    add("replay of 1 GiB", &replay, TLS_FILE, &series.of(TLS_FILE));
    let beside = if ssh.median().is_some() {
        "`ssh cat`, aes128-gcm"
    } else {
        "ssh is not installed"
    };
    add("replay of 1 GiB", &replay, beside, &ssh);
    add(
        "1 GiB live, writes of 64 KiB",
        &live,
        "raw tokio-rustls",
        tls,
    );
    let (lines, unmoderated) = (series.of(LINES), series.of(LINES_UNMODERATED));
    if unmoderated.median().is_some() {
        add(
            "live, lines of 100 bytes",
            &lines,
            LINES_UNMODERATED,
            &unmoderated,
        );
        add(
            "live, lines of 100 bytes",
            &lines,
            PIPE_LINES,
            &series.of(PIPE_LINES),
        );
        add(
            "live, lines of 100 bytes",
            &lines,
            PIPE_BOUND,
            &series.of(PIPE_BOUND),
        );
    } else if lines.median().is_some() {
        summary.alone(
            "live, lines of 100 bytes",
            &format!("{} MB/s", lines.figure()),
        );
    }
}
