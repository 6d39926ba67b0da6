//! What calls and an idle server cost by how many processes are alive, over one connection.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use prn_client::{
    Client, LabelIs, LabelMatch, ListRequest, ProcessId, Selector, StartSpec, State, StopSignal,
};
use prn_proto::units::Label;
use prn_tests::procfs;
use prn_tests::server::cgroup_mount;

use crate::setup::Bench;
use crate::table::{NONE, Samples, Series, Summary, Table, percentile};
use crate::{machine, parts};

/// Live processes (`sleep`), at which all is measured. In order: they are added to. One that the
/// server has no room for is as many as it has.
const LIVE: [usize; 4] = [10, 100, 1000, 4000];

/// Calls of each kind at each of them. Starts and stops take turns: each stops what the one before
/// has started.
const CALLS: usize = 300;

/// Lists of all of them: each of thousands takes as long as a hundred other calls.
const LISTS: usize = 50;

/// Processes that have a label, whatever else is alive.
const LABELLED: usize = 10;
const LABEL: (&str, &str) = ("bench", "growth");

/// How long an idle server is watched.
const IDLE: Duration = Duration::from_secs(10);

/// For things to come to rest: starts, and the kernel's delayed frees.
const REST: Duration = Duration::from_secs(3);

const START: &str = "Start of one more, µs";
const STOP: &str = "Stop of that one, µs";
const STATUS: &str = "Status, µs";
const LIST: &str = "List of all, µs";
const EACH: &str = "List of all, p50, µs for each process";
const SELECTED: &str = "List of 10 by a label, µs";
const CPU: [&str; 2] = [
    "supervisor, idle: ms of CPU time in 10 s",
    "frontend, idle: ms of CPU time in 10 s",
];
const SWITCHES: [&str; 2] = [
    "supervisor, idle: wake-ups in 10 s",
    "frontend, idle: wake-ups in 10 s",
];
const MEMORY: [&str; 2] = ["supervisor, MiB", "frontend, MiB"];
const GROUP: &str = "a process's group: memory.current, KiB";
const GROUP_KERNEL: &str = "a process's group: of that the kernel's, KiB";
const MACHINE: &str = "the kernel's memory of the whole machine, KiB a process";

pub fn measure(bench: &Bench, summary: &mut Summary) -> anyhow::Result<()> {
    let mut grown = Grown::default();
    for _ in bench.rounds("growth") {
        let server = bench.server(&[], 4096)?;
        grown.round(&server.address, server.folder(), server.supervisor())?;
    }
    grown.print(bench.title("Growth"));
    grown.summarize(summary);
    Ok(())
}

/// Measures a server that runs already and has no process, and prints the table: one by its
/// address, a folder with `client.key`, `client.pem` and `server.pem`, and its process number.
///
/// # Errors
/// Whatever goes wrong.
pub fn run(rounds: usize, address: &str, keys: &Path, supervisor: i32) -> anyhow::Result<()> {
    let mut grown = Grown::default();
    for round in 1..=rounds {
        eprintln!("bench: growth: round {round} of {rounds}");
        grown.round(address, keys, supervisor)?;
    }
    grown.print(format!("Growth (medians of {rounds} rounds)"));
    Ok(())
}

/// What was measured, by row and by column.
#[derive(Debug, Default)]
struct Grown {
    /// Most processes of the server.
    most: u32,
    columns: Vec<String>,
    rows: Vec<String>,
    series: Series,
}

impl Grown {
    /// From few to many and back, on one connection.
    fn round(&mut self, address: &str, keys: &Path, supervisor: i32) -> anyhow::Result<()> {
        let runtime = parts::runtime(0)?;
        runtime.block_on(async {
            let client = parts::connect(address, keys).await?;
            let mut watched = Watched::new(client, supervisor)?;
            self.most = watched.client.server().await?.processes_max;
            tokio::time::sleep(REST).await;
            watched.empty = machine::kernel_memory()?;
            // One more is started beside them.
            let most = usize::try_from(self.most)?.saturating_sub(1);
            let mut levels = LIVE.map(|live| live.min(most)).to_vec();
            levels.dedup();
            for live in &levels {
                eprintln!("bench: growth: {live} live");
                watched.grow(*live).await?;
                self.column(&watched, grouped(*live)).await?;
            }
            // Machines get slower or faster meanwhile, and what many have left behind is seen.
            let [fewest, ..] = levels[..] else {
                return Ok(());
            };
            eprintln!("bench: growth: {fewest} live again");
            watched.shrink(fewest).await?;
            let column = format!("{} again", grouped(fewest));
            self.column(&watched, column).await?;
            watched.shrink(0).await?;
            watched.forget().await
        })
    }

    async fn column(&mut self, watched: &Watched, column: String) -> anyhow::Result<()> {
        tokio::time::sleep(REST).await;
        let mut column = Column {
            grown: self,
            column,
        };
        watched.idle(&mut column)?;
        watched.memory(&mut column)?;
        watched.calls(&mut column).await
    }

    fn of(&self, row: &str, column: &str) -> Samples {
        self.series.of(&format!("{row} at {column}"))
    }

    /// What is there is beside what is in the first column.
    fn print(&self, title: String) {
        let title = format!(
            "{title}: {CALLS} calls of each kind ({LISTS} lists of all) by live processes (`sleep`)"
        );
        let columns: Vec<&str> = self.columns.iter().map(String::as_str).collect();
        let mut table = Table::new(&title, &[&[""], &columns[..]].concat());
        for row in &self.rows {
            let first = columns.first().map(|column| self.of(row, column));
            let first = first.unwrap_or_default();
            let mut cells = vec![row.clone()];
            for (place, column) in columns.iter().enumerate() {
                let samples = self.of(row, column);
                let ratio = samples.over(&first).median();
                cells.push(match ratio.filter(|ratio| ratio.is_finite()) {
                    Some(ratio) if place > 0 => format!("{} ({ratio:.2})", samples.figure()),
                    _ => samples.figure(),
                });
            }
            table.row(&cells);
        }
        table.print(&format!(
            "In parentheses: how many times what it is in the first column. The server takes {} processes at a time, one of which \
             is the one that is started and stopped. Lists are of pages of 1,000. Memory of the two halves is Pss. {NONE}: no \
             memory controller here.",
            grouped(usize::try_from(self.most).unwrap_or(usize::MAX)),
        ));
    }

    /// The most beside the fewest.
    fn summarize(&self, summary: &mut Summary) {
        let [fewest, .., most, _] = &self.columns[..] else {
            return;
        };
        for what in [START, STOP, STATUS] {
            let row = percent(what, 50);
            let (few, many) = (self.of(&row, fewest), self.of(&row, most));
            let (name, unit) = what.rsplit_once(", ").unwrap_or((what, ""));
            summary.compare(
                &format!("{name}, p50, {most} live"),
                (&many, unit),
                (&format!("{fewest} live"), &few),
                &many.over(&few),
            );
        }
    }
}

/// A name of a row: one in so many of a hundred takes no longer.
fn percent(what: &str, percent: usize) -> String {
    let (what, unit) = what.rsplit_once(", ").unwrap_or((what, ""));
    format!("{what}, p{percent}, {unit}")
}

/// A number as people write it.
fn grouped(number: usize) -> String {
    match (number / 1000, number % 1000) {
        (0, rest) => rest.to_string(),
        (thousands, rest) => format!("{thousands},{rest:03}"),
    }
}

/// Where figures of one number of processes go.
struct Column<'a> {
    grown: &'a mut Grown,
    column: String,
}

impl Column<'_> {
    fn add(&mut self, row: &str, value: f64) {
        let Grown {
            columns,
            rows,
            series,
            ..
        } = &mut *self.grown;
        if !rows.iter().any(|known| known == row) {
            rows.push(row.to_owned());
        }
        if !columns.contains(&self.column) {
            columns.push(self.column.clone());
        }
        series.add(&format!("{row} at {}", self.column), value);
    }

    /// Microseconds of calls.
    fn calls(&mut self, what: &str, mut micros: Vec<f64>) {
        for part in [50, 99] {
            let value = percentile(&mut micros, part).unwrap_or(f64::NAN);
            self.add(&percent(what, part), value);
        }
    }
}

/// A server, what was started there, and where what it takes is seen.
struct Watched {
    client: Client,
    /// The supervisor and the frontend.
    halves: [i32; 2],
    /// The folder of the groups of processes.
    groups: PathBuf,
    /// What the kernel had before the first process, in bytes.
    empty: f64,
    live: Vec<ProcessId>,
}

impl Watched {
    fn new(client: Client, supervisor: i32) -> anyhow::Result<Self> {
        let mut children = procfs::children(supervisor).into_iter();
        let frontend = children
            .find(|pid| procfs::comm(*pid) == "prn-frontend")
            .context("no frontend")?;
        let own = fs::read_to_string(format!("/proc/{supervisor}/cgroup"))?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
        let own = cgroup_mount().join(own.context("no cgroup2")?);
        let groups = own.parent().context("no group above")?.join("processes");
        ensure!(groups.is_dir(), "{} is not there", groups.display());
        Ok(Self {
            client,
            halves: [supervisor, frontend],
            groups,
            empty: 0.0,
            live: Vec::new(),
        })
    }

    async fn grow(&mut self, live: usize) -> anyhow::Result<()> {
        while self.live.len() < live {
            let mut spec = sleep();
            if self.live.len() < LABELLED {
                let (key, value) = LABEL;
                spec.labels = vec![format!("{key}={value}").parse::<Label>()?];
            }
            self.live.push(self.client.start(&spec).await?.process.id);
        }
        Ok(())
    }

    async fn shrink(&mut self, live: usize) -> anyhow::Result<()> {
        for id in self.live.drain(live..) {
            self.client.stop(id, StopSignal::Kill, None).await?;
        }
        self.forget().await
    }

    /// What has ended is not to be in lists.
    async fn forget(&self) -> anyhow::Result<()> {
        let mut ended = Selector::default();
        ended.state = Some(State::Stopped);
        self.client.remove_processes(ended).await?;
        Ok(())
    }

    /// Nobody runs the client meanwhile: nothing is to be sent to it.
    fn idle(&self, column: &mut Column<'_>) -> anyhow::Result<()> {
        let cpu = || self.halves.map(machine::cpu_seconds);
        let switches = || self.halves.map(procfs::context_switches);
        let before = (cpu(), switches());
        std::thread::sleep(IDLE);
        let after = (cpu(), switches());
        for (row, (after, before)) in CPU.iter().zip(after.0.into_iter().zip(before.0)) {
            column.add(row, (after? - before?) * 1e3);
        }
        for (row, (after, before)) in SWITCHES.iter().zip(after.1.into_iter().zip(before.1)) {
            column.add(row, (after - before) as f64);
        }
        Ok(())
    }

    fn memory(&self, column: &mut Column<'_>) -> anyhow::Result<()> {
        for (pid, row) in self.halves.into_iter().zip(MEMORY) {
            column.add(row, machine::pss(pid)? as f64 / machine::MIB as f64);
        }
        let live = self.live.len() as f64;
        let (mut current, mut kernel_part) = (0, 0);
        let mut has_controller = true;
        for id in &self.live {
            let group = self.groups.join(id.to_string());
            let Ok(bytes) = fs::read_to_string(group.join("memory.current")) else {
                has_controller = false;
                break;
            };
            let statistics = fs::read_to_string(group.join("memory.stat"))?;
            let of_kernel = statistics
                .lines()
                .find_map(|line| line.strip_prefix("kernel "));
            current += bytes.trim().parse::<u64>()?;
            kernel_part += of_kernel.map_or(Ok(0), str::parse::<u64>)?;
        }
        if has_controller {
            column.add(GROUP, current as f64 / live / 1024.0);
            column.add(GROUP_KERNEL, kernel_part as f64 / live / 1024.0);
        }
        column.add(
            MACHINE,
            (machine::kernel_memory()? - self.empty) / live / 1024.0,
        );
        Ok(())
    }

    async fn calls(&self, column: &mut Column<'_>) -> anyhow::Result<()> {
        let (mut starts, mut stops) = (Vec::new(), Vec::new());
        for _ in 0..CALLS {
            let begun = Instant::now();
            let id = self.client.start(&sleep()).await?.process.id;
            starts.push(micros(begun));
            let begun = Instant::now();
            self.client.stop(id, StopSignal::Term, None).await?;
            stops.push(micros(begun));
        }
        self.forget().await?;
        column.calls(START, starts);
        column.calls(STOP, stops);

        let mut statuses = Vec::new();
        for number in 0..CALLS {
            // All over the table.
            let id = self.live[number * 7919 % self.live.len()];
            let begun = Instant::now();
            self.client.status(id).await?;
            statuses.push(micros(begun));
        }
        column.calls(STATUS, statuses);
        self.lists(column).await
    }

    async fn lists(&self, column: &mut Column<'_>) -> anyhow::Result<()> {
        let (key, value) = LABEL;
        let mut selector = Selector::default();
        selector.labels = vec![LabelMatch {
            key: key.to_owned(),
            is: LabelIs::Equal(value.to_owned()),
        }];
        let mut selected = ListRequest::default();
        selected.selector = Some(selector);
        for (row, request, expected, calls) in [
            (LIST, ListRequest::default(), self.live.len(), LISTS),
            (SELECTED, selected, LABELLED.min(self.live.len()), CALLS),
        ] {
            let mut times = Vec::new();
            for _ in 0..calls {
                let begun = Instant::now();
                let mut pages = self.client.pages(request.clone());
                let mut listed = 0;
                while let Some(page) = pages.next().await? {
                    listed += page.len();
                }
                times.push(micros(begun));
                ensure!(listed == expected, "{listed} instead of {expected}");
            }
            if row == LIST {
                let all = percentile(&mut times, 50).unwrap_or(f64::NAN);
                column.add(EACH, all / self.live.len() as f64);
            }
            column.calls(row, times);
        }
        Ok(())
    }
}

fn sleep() -> StartSpec {
    StartSpec::new(["sleep", "36000"])
}

fn micros(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}
