//! What a signature costs a start: the same start with and without one, in turns, on a server that
//! takes both and on one that takes no other.

use std::time::Instant;

use prn_client::{Client, StartSpec};

use crate::setup::Bench;
use crate::table::{Series, Summary, Table, percentile};
use crate::{parts, start};

/// Starts of each kind in a round.
const STARTS: usize = 300;

const WITHOUT: &str = "Start, not signed";
const SIGNED: &str = "Start, signed";
const REQUIRED: &str = "Start, signed, where it has to be";
const ASKED: &str = "the same, with the question before it of what is filled in";

/// A signed start: the call, and with what comes before it, in microseconds.
async fn signed(client: &Client, spec: &StartSpec) -> anyhow::Result<[f64; 2]> {
    let begun = Instant::now();
    let signed = client.sign(spec).await?;
    let asked = Instant::now();
    let id = client.start_signed(&signed).await?.process.id;
    let times = [asked.elapsed(), begun.elapsed()];
    parts::follow(client, id).await?;
    Ok(times.map(|time| time.as_secs_f64() * 1e6))
}

pub fn measure(bench: &Bench, summary: &mut Summary) -> anyhow::Result<()> {
    let mut series = Series::default();
    let spec = StartSpec::new(["/bin/true"]);
    for _ in bench.rounds("signed") {
        let plain = bench.server(&[], 1024)?;
        let strict = bench.server(&["--require-signed-starts"], 1024)?;
        parts::runtime(0)?.block_on(async {
            let plain = parts::connect(&plain.address, plain.folder()).await?;
            let strict = parts::connect(&strict.address, strict.folder()).await?;
            let mut times: [Vec<f64>; 4] = Default::default();
            for number in 0..STARTS + 20 {
                let (_, [without, _]) = start::start(&plain, &spec).await?;
                let [with, _] = signed(&plain, &spec).await?;
                let [required, asked] = signed(&strict, &spec).await?;
                // The first ones find everything cold.
                if number >= 20 {
                    let found = [without, with, required, asked];
                    for (times, found) in times.iter_mut().zip(found) {
                        times.push(found);
                    }
                }
            }
            let names = [WITHOUT, SIGNED, REQUIRED, ASKED];
            for (name, times) in names.into_iter().zip(&mut times) {
                series.add(name, percentile(times, 50).unwrap_or(f64::NAN));
            }
            anyhow::Ok(())
        })?;
    }
    let without = series.of(WITHOUT);
    let title = bench.title("Start of /bin/true with and without a signature, p50 in microseconds");
    let mut table = Table::new(&title, &["", "p50", "lowest–highest", "÷ not signed"]);
    for name in [WITHOUT, SIGNED, REQUIRED, ASKED] {
        let samples = series.of(name);
        let ratio = samples.over(&without);
        table.row(&[
            name.to_owned(),
            samples.figure(),
            samples.range(),
            format!("{} ({})", ratio.figure(), ratio.range()),
        ]);
        if name != WITHOUT {
            summary.compare(
                &format!("{name}, p50"),
                (&samples, "µs"),
                ("not signed", &without),
                &ratio,
            );
        }
    }
    table.print("In turns, each on a connection that is kept.");
    Ok(())
}
