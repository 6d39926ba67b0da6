//! What a thousand processes and a thousand followers cost while nothing happens.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::ensure;
use prn_client::{OutputRequest, StartSpec};
use prn_tests::procfs;

use crate::setup::Bench;
use crate::table::{NONE, Summary, Table, figure};
use crate::{machine, parts};

const COUNT: usize = 1000;
const CONNECTIONS: usize = 10;

/// What the kernel has for itself. Percpu: the statistics of cgroups.
const KERNEL: [&str; 4] = ["Slab", "KernelStack", "PageTables", "Percpu"];

/// For things to come to rest: starts, and the kernel's delayed frees.
const REST: Duration = Duration::from_secs(3);

pub fn measure(bench: &Bench, summary: &mut Summary) -> anyhow::Result<()> {
    let bare = bare_processes()?;
    let server = bench.server(&[], 2048)?;
    let (supervisor, frontend) = (server.supervisor(), server.frontend());
    let runtime = parts::runtime(0)?;
    let seen = || -> anyhow::Result<Seen> {
        Ok(Seen {
            halves: [
                machine::pss(supervisor)? as f64,
                machine::pss(frontend)? as f64,
            ],
            kernel: kernel()?,
        })
    };
    let (memory, clients, streams) = runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.push(parts::connect(&server.address, server.folder()).await?);
        }
        tokio::time::sleep(REST).await;
        let empty = seen()?;
        let mut ids = Vec::new();
        for number in 0..COUNT {
            ids.push(
                clients[number % CONNECTIONS]
                    .start(&StartSpec::new(["sleep", "600"]))
                    .await?
                    .process
                    .id,
            );
        }
        tokio::time::sleep(REST).await;
        let started = seen()?;
        let mut streams = Vec::new();
        for (number, id) in ids.into_iter().enumerate() {
            streams.push(
                clients[number % CONNECTIONS]
                    .output(id, OutputRequest::default())
                    .await?,
            );
        }
        tokio::time::sleep(REST).await;
        anyhow::Ok(([empty, started, seen()?], clients, streams))
    })?;
    // Nobody runs the clients' side meanwhile: nothing is to be sent to it.
    let switches = || [supervisor, frontend].map(procfs::context_switches);
    let before = switches();
    std::thread::sleep(bench.idle);
    let after = switches();
    drop((streams, clients));
    runtime.shutdown_background();
    ensure!(
        server.supervisor() == supervisor && server.frontend() == frontend,
        "{}",
        server.log()
    );
    drop(server);

    let wake_ups = [after[0] - before[0], after[1] - before[1]];
    let [empty, started, followed] = memory;
    let title = format!(
        "Idle: {COUNT} processes (`sleep 600`), {COUNT} followers on {CONNECTIONS} connections, {} s (one run)",
        bench.idle.as_secs()
    );
    let columns = [
        "",
        "wake-ups of all threads",
        "KiB a process",
        "KiB a process without prn",
        "KiB a follower",
    ];
    let mut table = Table::new(&title, &columns);
    let (mut halves, mut kernel) = ([0.0; 2], [0.0; 3]);
    for (place, name) in ["supervisor", "frontend"].into_iter().enumerate() {
        let process = each(empty.halves[place], started.halves[place]);
        let follower = each(started.halves[place], followed.halves[place]);
        halves = [halves[0] + process, halves[1] + follower];
        table.row(&[
            name,
            &wake_ups[place].to_string(),
            &figure(process),
            NONE,
            &figure(follower),
        ]);
    }
    for (place, name) in KERNEL.into_iter().enumerate() {
        let process = each(empty.kernel[place], started.kernel[place]);
        let follower = each(started.kernel[place], followed.kernel[place]);
        kernel = [
            kernel[0] + process,
            kernel[1] + bare[place],
            kernel[2] + follower,
        ];
        let name = format!("the kernel: {name}");
        table.row(&[
            &name,
            NONE,
            &figure(process),
            &figure(bare[place]),
            &figure(follower),
        ]);
    }
    let [process, bare, follower] = kernel.map(figure);
    table.row(&["the kernel", NONE, &process, &bare, &follower]);
    table.print(
        "Wake-ups are context switches. Memory of the two halves is Pss; that of the kernel is of the whole machine \
         (/proc/meminfo), and includes what it has for the processes themselves.",
    );
    summary.alone(
        &format!(
            "wake-ups in {} s with {COUNT} idle processes and {COUNT} followers",
            bench.idle.as_secs()
        ),
        &format!("supervisor {}, frontend {}", wake_ups[0], wake_ups[1]),
    );
    let [beside, follower] = [kernel[0] - kernel[1], kernel[2]].map(figure);
    let [process, of_follower] = halves.map(figure);
    summary.alone(
        "memory for each idle process, beside what it has without prn",
        &format!("{beside} KiB of the kernel, {process} KiB of both halves"),
    );
    summary.alone(
        "memory for each idle follower",
        &format!("{follower} KiB of the kernel, {of_follower} KiB of both halves"),
    );
    Ok(())
}

/// Memory, in bytes.
struct Seen {
    halves: [f64; 2],
    kernel: [f64; KERNEL.len()],
}

/// KiB for each of [`COUNT`].
fn each(from: f64, to: f64) -> f64 {
    (to - from) / COUNT as f64 / 1024.0
}

/// What the kernel has, by [`KERNEL`].
fn kernel() -> anyhow::Result<[f64; KERNEL.len()]> {
    let mut bytes = [0.0; KERNEL.len()];
    for (bytes, name) in bytes.iter_mut().zip(KERNEL) {
        *bytes = machine::meminfo(name)? as f64;
    }
    Ok(bytes)
}

/// KiB of kernel memory for each of as many processes without prn.
fn bare_processes() -> anyhow::Result<[f64; KERNEL.len()]> {
    struct Children(Vec<Child>);
    impl Drop for Children {
        fn drop(&mut self) {
            self.0.iter_mut().for_each(|child| drop(child.kill()));
            self.0.iter_mut().for_each(|child| drop(child.wait()));
        }
    }
    std::thread::sleep(REST);
    let before = kernel()?;
    let mut children = Children(Vec::new());
    for _ in 0..COUNT {
        let mut sleep = Command::new("sleep");
        sleep
            .arg("600")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        children.0.push(sleep.spawn()?);
    }
    std::thread::sleep(REST);
    let after = kernel()?;
    Ok(std::array::from_fn(|place| {
        each(before[place], after[place])
    }))
}
