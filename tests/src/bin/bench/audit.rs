//! What the audit costs a start: two servers, one of which writes down what it decides, asked in
//! turns.

use anyhow::Context;
use prn_client::StartSpec;

use crate::setup::Bench;
use crate::table::{Series, Summary, Table, percentile};
use crate::{parts, start};

/// Starts of each kind in a round.
const STARTS: usize = 300;

const WITHOUT: &str = "Start, without an audit";
const WITH: &str = "Start, with an audit to a file";

pub fn measure(bench: &Bench, summary: &mut Summary) -> anyhow::Result<()> {
    let mut series = Series::default();
    let spec = StartSpec::new(["/bin/true"]);
    for _ in bench.rounds("audit") {
        let folder = tempfile::tempdir_in("/var/lib").context("a folder")?;
        let target = format!("file:{}", folder.path().join("log/audit.jsonl").display());
        let plain = bench.server(&[], 1024)?;
        let audited = bench.server(&["--audit", &target], 1024)?;
        parts::runtime(0)?.block_on(async {
            let plain = parts::connect(&plain.address, plain.folder()).await?;
            let audited = parts::connect(&audited.address, audited.folder()).await?;
            let mut times: [Vec<f64>; 2] = Default::default();
            for number in 0..STARTS + 20 {
                for (client, times) in [&plain, &audited].into_iter().zip(&mut times) {
                    let (_, [started, _]) = start::start(client, &spec).await?;
                    // The first ones find everything cold.
                    if number >= 20 {
                        times.push(started);
                    }
                }
            }
            for (name, times) in [WITHOUT, WITH].into_iter().zip(&mut times) {
                series.add(name, percentile(times, 50).unwrap_or(f64::NAN));
            }
            anyhow::Ok(())
        })?;
    }
    let (without, with) = (series.of(WITHOUT), series.of(WITH));
    let title = bench.title("Start of /bin/true with and without an audit, p50 in microseconds");
    let mut table = Table::new(&title, &["", "p50", "lowest–highest"]);
    for (name, samples) in [(WITHOUT, &without), (WITH, &with)] {
        table.row(&[name.to_owned(), samples.figure(), samples.range()]);
    }
    let ratio = with.over(&without);
    table.print(&format!(
        "With ÷ without, in turns: {} ({}).",
        ratio.figure(),
        ratio.range()
    ));
    summary.compare(
        "a Start call with an audit to a file, p50",
        (&with, "µs"),
        ("without one", &without),
        &ratio,
    );
    Ok(())
}
