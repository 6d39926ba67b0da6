//! How long one line takes from a process's write to a client, beside the cheapest call.

use std::time::{Duration, Instant};

use prn_client::{Client, Event, OutputRequest, ProcessId, StartSpec};

use crate::setup::Bench;
use crate::table::{Series, Summary, Table, percentile};
use crate::{machine, parts};

/// Lines, and calls: so many, so far apart that everything sleeps in between.
const COUNT: usize = 1000;
const PAUSE: Duration = Duration::from_millis(5);

/// New connections.
const CONNECTIONS: usize = 100;

const LINE: &str = "a line: write(2) to the client";
const SPACED: &str = "an empty call, 5 ms after the last one";
const BUSY: &str = "an empty call, at once after the last one";
const FIRST: &str = "an empty call on a new connection";

pub fn measure(bench: &Bench, summary: &mut Summary) -> anyhow::Result<()> {
    let mut series = Series::default();
    // As prn's own command has it.
    let runtime = parts::runtime(0)?;
    for _ in bench.rounds("latency") {
        let server = bench.server(&[], 64)?;
        runtime.block_on(async {
            let client = parts::connect(&server.address, server.folder()).await?;
            let mut add = |name: &str, mut micros: Vec<f64>| {
                for percent in [50, 99] {
                    series.add(
                        &format!("{name} {percent}"),
                        percentile(&mut micros, percent).unwrap_or(f64::NAN),
                    );
                }
            };
            let (id, lines) = lines(bench, &client).await?;
            add(LINE, lines);
            add(SPACED, calls(&client, id, COUNT, PAUSE).await?);
            add(BUSY, calls(&client, id, COUNT, Duration::ZERO).await?);
            let mut first = Vec::new();
            for _ in 0..CONNECTIONS {
                tokio::time::sleep(PAUSE).await;
                let begun = Instant::now();
                let client = parts::connect(&server.address, server.folder()).await?;
                client.status(id).await?;
                first.push(begun.elapsed().as_secs_f64() * 1e6);
            }
            add(FIRST, first);
            anyhow::Ok(())
        })?;
    }
    let of = |name: &str, percent: u32| series.of(&format!("{name} {percent}"));
    let line = of(LINE, 50);
    let title = bench.title(&format!(
        "Latency: {COUNT} lines and calls, in microseconds"
    ));
    let mut table = Table::new(
        &title,
        &["", "p50", "lowest–highest", "p99", "p50 of a line ÷ this"],
    );
    for name in [LINE, SPACED, BUSY, FIRST] {
        let p50 = of(name, 50);
        table.row(&[
            name.to_owned(),
            p50.figure(),
            p50.range(),
            of(name, 99).figure(),
            line.over(&p50).figure(),
        ]);
    }
    table.print("A call is Status of one process, by the client library.");
    let empty = of(SPACED, 50);
    summary.compare(
        "a line, from write(2) to the client, p50",
        (&line, "µs"),
        ("an empty call", &empty),
        &line.over(&empty),
    );
    summary.alone(
        "a line, from write(2) to the client, p99",
        &format!("{} µs", of(LINE, 99).figure()),
    );
    summary.alone(
        "an empty call on a new connection, p50",
        &format!("{} µs", of(FIRST, 50).figure()),
    );
    Ok(())
}

/// Runs a process that writes the time, again and again.
async fn lines(bench: &Bench, client: &Client) -> anyhow::Result<(ProcessId, Vec<f64>)> {
    let (pause, count) = (PAUSE.as_micros().to_string(), COUNT.to_string());
    let id = client
        .start(&StartSpec::new(bench.argv(&["clock", &pause, &count])))
        .await?
        .process
        .id;
    let mut output = client.output(id, OutputRequest::default()).await?;
    let (mut micros, mut rest) = (Vec::new(), Vec::new());
    while let Some(event) = output.next().await? {
        let Event::Data { data, .. } = event else {
            continue;
        };
        let now = machine::monotonic_nanoseconds()?;
        rest.extend_from_slice(&data);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let written: i64 = String::from_utf8(line)?.trim().parse()?;
            micros.push((now - written) as f64 / 1e3);
        }
    }
    anyhow::ensure!(micros.len() == COUNT, "{} lines", micros.len());
    Ok((id, micros))
}

/// Calls, one after the other; microseconds of each.
///
/// # Errors
/// Whatever goes wrong.
pub async fn calls(
    client: &Client,
    id: ProcessId,
    count: usize,
    pause: Duration,
) -> anyhow::Result<Vec<f64>> {
    let mut micros = Vec::new();
    for _ in 0..count {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let begun = Instant::now();
        client.status(id).await?;
        micros.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    Ok(micros)
}
