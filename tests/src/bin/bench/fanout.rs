//! Many readers of one process, each over its own connection.

use anyhow::Context;
use prn_tests::procfs;

use crate::machine::{self, GIB, MIB};
use crate::parts::{self, CHUNK, Serving};
use crate::setup::{Bench, cpus, word};
use crate::table::{Series, Summary, Table};

const READERS: [u64; 4] = [1, 10, 100, 1000];

/// All readers together, unless that is more than 1 GiB for each.
const TOTAL: u64 = 4 * GIB;

pub fn measure(bench: &Bench, summary: &mut Summary) -> anyhow::Result<()> {
    let mut series = Series::default();
    let threads = cpus().to_string();
    for _ in bench.rounds("fanout") {
        for readers in READERS {
            raw(bench, readers, &threads, &mut series)?;
            prn(bench, readers, &threads, &mut series)?;
        }
    }
    let title = bench.title("Fan-out: readers of one process's output, a connection each");
    let columns = [
        "readers",
        "each",
        "prn, MB/s",
        "raw tokio-rustls, MB/s",
        "lowest–highest",
        "prn ÷ raw",
        "frontend, KiB a reader",
        "raw server, KiB a reader",
    ];
    let mut table = Table::new(&title, &columns);
    for readers in READERS {
        let of = |what: &str| series.of(&format!("{what} {readers}"));
        let (prn, raw) = (of("prn"), of("raw"));
        let ratio = prn.over(&raw);
        table.row(&[
            readers.to_string(),
            format!("{} MiB", each(readers) / MIB),
            prn.figure(),
            raw.figure(),
            raw.range(),
            ratio.figure(),
            of("prn memory").figure(),
            of("raw memory").figure(),
        ]);
        let what = format!(
            "replay to {readers} reader{}, together",
            if readers == 1 { "" } else { "s" }
        );
        summary.compare(&what, (&prn, "MB/s"), ("raw tokio-rustls", &raw), &ratio);
    }
    table.print("Memory: the process's peak during the transfer, over what it had before the first connection.");
    let memory = series.of("prn memory 1000");
    summary.alone(
        "frontend memory for each of 1000 active readers",
        &format!("{} KiB", memory.figure()),
    );
    Ok(())
}

fn each(readers: u64) -> u64 {
    (TOTAL / readers).min(GIB) / MIB * MIB
}

fn raw(bench: &Bench, readers: u64, threads: &str, series: &mut Series) -> anyhow::Result<()> {
    let keys = word(bench.keys());
    let server = Serving::start(bench.part(&["tls-serve", &keys, threads]))?;
    let before = Memory::before(server.pid())?;
    let (count, bytes) = (readers.to_string(), each(readers).to_string());
    // As prn's client reads.
    let ahead = CHUNK.to_string();
    let client = bench.part(&[
        "tls-read",
        &server.address,
        &keys,
        threads,
        &count,
        &bytes,
        &ahead,
    ]);
    let moved = parts::transfer(client, readers * each(readers))?;
    series.add(&format!("raw {readers}"), moved.rate());
    series.add(&format!("raw memory {readers}"), before.grown_kib(readers));
    Ok(())
}

fn prn(bench: &Bench, readers: u64, threads: &str, series: &mut Series) -> anyhow::Result<()> {
    let server = bench.server(
        &["--output-budget", "2G", "--connections-per-client", "2000"],
        64,
    )?;
    let (count, bytes) = (readers.to_string(), each(readers));
    let argv = bench.argv(&["write", &CHUNK.to_string(), &bytes.to_string()]);
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    let id = server.start_process(&["--output-max", &(bytes + MIB).to_string()], &argv);
    prn_tests::wait_for("its end", || server.status(&id)["tree_empty"] == true);
    let before = Memory::before(server.frontend())?;
    let client = bench.part(&[
        "replay",
        &server.address,
        &word(server.folder()),
        threads,
        &count,
        &id,
    ]);
    let moved = parts::transfer(client, readers * bytes).with_context(|| server.log())?;
    series.add(&format!("prn {readers}"), moved.rate());
    series.add(&format!("prn memory {readers}"), before.grown_kib(readers));
    Ok(())
}

/// What a process had.
struct Memory {
    pid: i32,
    bytes: u64,
}

impl Memory {
    fn before(pid: i32) -> anyhow::Result<Self> {
        machine::reset_peak(pid)?;
        Ok(Self {
            pid,
            bytes: procfs::memory(pid, "VmRSS"),
        })
    }

    fn grown_kib(&self, readers: u64) -> f64 {
        procfs::memory(self.pid, "VmHWM").saturating_sub(self.bytes) as f64
            / 1024.0
            / readers as f64
    }
}
