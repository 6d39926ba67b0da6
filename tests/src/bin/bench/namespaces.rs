//! What namespaces of processes cost the host: memory of its kernel, its mounts, and how little
//! memory a process can have.
//!
//! The host's own mounts are left alone: a server runs, and mounts are made, in a mount namespace
//! of a part's own. Its mounts are shared, as systemd makes a host's, so that all that happens to
//! them happens to the copies that processes have.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use prn_client::{Client, Limits, Profile, StartSpec};
use prn_tests::server::has_controllers;

use crate::setup::{Bench, server};
use crate::table::{NONE, Summary, Table, figure, percentile};
use crate::{machine, parts};

/// Live processes, at which all is measured. In order: they are added to.
const LIVE: [usize; 3] = [10, 500, 1500];

/// Mounts that are there as well as the host's, where many are.
const MOUNTS: usize = 480;

/// A file system that is mounted and unmounted so many times, but no longer than that, if more than
/// a few times.
const TIMES: usize = 50;
const LONGEST: Duration = Duration::from_secs(5);
const FEW: usize = 5;

/// For things to come to rest: starts, and the kernel's delayed frees.
const REST: Duration = Duration::from_secs(3);

/// The memory that a start is sure to have enough of, and to how much the least is told.
const ENOUGH: u64 = 64 << 20;
const STEP: u64 = 64 << 10;

/// What processes are started with, and what that is compared with.
const PROFILES: [Confined; 2] = [Confined::Default, Confined::None];

/// Mounts of the host, and how they hang together.
const TREES: [Tree; 3] = [Tree::Few, Tree::Apart, Tree::Together];

/// What the host has mounted.
#[derive(Debug, Clone, Copy)]
pub enum Tree {
    /// What it has anyway.
    Few,
    /// And [`MOUNTS`] that have nothing to do with each other, as those of different file systems.
    Apart,
    /// And [`MOUNTS`] that share what happens to them, as bind mounts of one shared file system do.
    Together,
}

impl Tree {
    fn name(self) -> &'static str {
        match self {
            Self::Few => "few",
            Self::Apart => "apart",
            Self::Together => "together",
        }
    }

    fn described(self) -> &'static str {
        match self {
            Self::Few | Self::Apart => "mounts",
            Self::Together => "mounts, most of them of its file system",
        }
    }
}

impl FromStr for Tree {
    type Err = anyhow::Error;

    fn from_str(word: &str) -> anyhow::Result<Self> {
        let mut all = TREES.into_iter();
        all.find(|tree| tree.name() == word)
            .with_context(|| format!("no such mounts: {word}"))
    }
}

/// How processes are confined.
#[derive(Debug, Clone, Copy)]
pub enum Confined {
    /// As they are by default: with namespaces.
    Default,
    /// Not at all.
    None,
}

impl Confined {
    fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::None => "none",
        }
    }

    fn profile(self) -> Profile {
        match self {
            Self::Default => Profile::Default,
            Self::None => Profile::None,
        }
    }
}

impl FromStr for Confined {
    type Err = anyhow::Error;

    fn from_str(word: &str) -> anyhow::Result<Self> {
        let mut all = PROFILES.into_iter();
        all.find(|confined| confined.name() == word)
            .with_context(|| format!("no such profile here: {word}"))
    }
}

/// What is seen while so many processes live.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    /// KiB of the kernel's memory for each.
    kernel: f64,
    /// Microseconds of a mount(2) and an umount(2).
    mount: f64,
    umount: f64,
}

pub fn measure(bench: &Bench, summary: &mut Summary) -> anyhow::Result<()> {
    let columns = [
        "live processes",
        "KiB a process",
        "profile none",
        "mount, µs",
        "profile none",
        "umount, µs",
        "profile none",
    ];
    for tree in TREES {
        eprintln!("bench: namespaces: mounts: {}", tree.name());
        let [(mounts, default), (_, none)] = [
            seen(bench, Confined::Default, tree)?,
            seen(bench, Confined::None, tree)?,
        ];
        let mounts = format!("{mounts} {}", tree.described());
        let title =
            format!("Namespaces: `sleep`, and a tmpfs of the host, with {mounts} (one run)");
        let mut table = Table::new(&title, &columns);
        for ((live, default), none) in LIVE.into_iter().zip(&default).zip(&none) {
            let row = [
                default.kernel,
                none.kernel,
                default.mount,
                none.mount,
                default.umount,
                none.umount,
            ];
            let mut cells = vec![live.to_string()];
            cells.extend(row.map(figure));
            table.row(&cells);
        }
        table.print(
            "Memory is that of the whole machine (/proc/meminfo: Slab, KernelStack, PageTables, Percpu, Shmem), which is noise \
             where few live. A mount on the host is one more in each process's namespace.",
        );
        let (Some(default), Some(none)) = (default.last(), none.last()) else {
            bail!("nothing was measured");
        };
        let live = LIVE[LIVE.len() - 1];
        for (what, unit, default, none) in [
            (
                "memory of the kernel for a process",
                "KiB",
                default.kernel,
                none.kernel,
            ),
            ("a mount(2) on the host", "µs", default.mount, none.mount),
            (
                "an umount(2) on the host",
                "µs",
                default.umount,
                none.umount,
            ),
        ] {
            summary.alone(
                &format!("{what}, {live} live, {mounts}"),
                &format!(
                    "{} {unit}; profile none: {} {unit}",
                    figure(default),
                    figure(none)
                ),
            );
        }
    }
    let least = least_memory()?;
    summary.alone("the least `--memory` that /bin/true starts with", &least);
    Ok(())
}

/// Of a server and processes in a part's own mount namespace: how many mounts there are, and what
/// was seen at each of [`LIVE`].
fn seen(bench: &Bench, confined: Confined, tree: Tree) -> anyhow::Result<(usize, Vec<Seen>)> {
    let part = bench.part(&["namespaces", confined.name(), tree.name()]);
    let numbers = parts::numbers(part)?;
    let (mounts, seen) = numbers.split_first().context("no number")?;
    let seen: Vec<_> = seen
        .chunks_exact(3)
        .map(|three| Seen {
            kernel: three[0],
            mount: three[1],
            umount: three[2],
        })
        .collect();
    ensure!(seen.len() == LIVE.len(), "{numbers:?}");
    Ok((*mounts as usize, seen))
}

/// Prints what [`seen`] reads.
///
/// # Errors
/// Whatever goes wrong.
pub fn run(confined: Confined, tree: Tree) -> anyhow::Result<()> {
    leave_the_host()?;
    let folder = tempfile::tempdir()?;
    let measured = grow(folder.path(), tree)?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?.lines().count();
    let server = server(&["--allow-profile-none"], 2048)?;
    let seen = parts::runtime(0)?.block_on(async {
        let client = parts::connect(&server.address, server.folder()).await?;
        look(&client, confined, &measured).await
    });
    drop(server);
    // Or the folder cannot be removed. The tree goes with it.
    umount2(folder.path(), MntFlags::MNT_DETACH)?;
    let mut line = mounts.to_string();
    for seen in seen? {
        line += &format!(" {} {} {}", seen.kernel, seen.mount, seen.umount);
    }
    Ok(writeln!(io::stdout(), "{line}")?)
}

const NOTHING: Option<&str> = None;

/// A mount namespace with the host's mounts, which nothing gets to or from: first their ties to the
/// host's are cut, then they are shared with whoever copies them.
fn leave_the_host() -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    Ok(cut_and_share(Path::new("/"), MsFlags::MS_REC)?)
}

fn cut_and_share(at: &Path, flags: MsFlags) -> nix::Result<()> {
    for ties in [MsFlags::MS_PRIVATE, MsFlags::MS_SHARED] {
        mount(NOTHING, at, NOTHING, flags | ties, NOTHING)?;
    }
    Ok(())
}

/// A file system with so many mounts, one of them its own, and with a folder to mount at.
fn grow(folder: &Path, tree: Tree) -> anyhow::Result<PathBuf> {
    mount_temporary(folder)?;
    let more = match tree {
        Tree::Few => 0,
        Tree::Apart | Tree::Together => MOUNTS - 1,
    };
    for number in 0..more {
        let place = folder.join(number.to_string());
        fs::create_dir(&place)?;
        mount(Some(&place), &place, NOTHING, MsFlags::MS_BIND, NOTHING)?;
        if matches!(tree, Tree::Apart) {
            cut_and_share(&place, MsFlags::empty())?;
        }
    }
    let measured = folder.join("measured");
    fs::create_dir(&measured)?;
    Ok(measured)
}

fn mount_temporary(at: &Path) -> nix::Result<()> {
    mount(
        Some("tmpfs"),
        at,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("size=4m"),
    )
}

async fn look(client: &Client, confined: Confined, measured: &Path) -> anyhow::Result<Vec<Seen>> {
    let mut spec = StartSpec::new(["sleep", "3600"]);
    spec.profile = Some(confined.profile());
    let mut all = Vec::new();
    tokio::time::sleep(REST).await;
    let empty = machine::kernel_memory()?;
    let mut started = 0;
    for live in LIVE {
        while started < live {
            client.start(&spec).await?;
            started += 1;
        }
        tokio::time::sleep(REST).await;
        let kernel = (machine::kernel_memory()? - empty) / live as f64 / 1024.0;
        let (mount, umount) = mounts(measured)?;
        all.push(Seen {
            kernel,
            mount,
            umount,
        });
    }
    Ok(all)
}

/// Medians of [`TIMES`], in microseconds.
fn mounts(measured: &Path) -> anyhow::Result<(f64, f64)> {
    let (mut mounted, mut unmounted) = (Vec::new(), Vec::new());
    let first = Instant::now();
    while mounted.len() < FEW || (mounted.len() < TIMES && first.elapsed() < LONGEST) {
        let begun = Instant::now();
        mount_temporary(measured)?;
        mounted.push(begun.elapsed().as_secs_f64() * 1e6);
        let begun = Instant::now();
        umount2(measured, MntFlags::empty())?;
        unmounted.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    let median = |values: &mut Vec<f64>| percentile(values, 50).unwrap_or(f64::NAN);
    Ok((median(&mut mounted), median(&mut unmounted)))
}

/// What the least limit of memory is that /bin/true starts and succeeds with.
fn least_memory() -> anyhow::Result<String> {
    if !has_controllers() {
        return Ok(format!(
            "{NONE} (no memory controller in this host's cgroup2)"
        ));
    }
    let server = server(&["--allow-profile-none"], 256)?;
    parts::runtime(0)?.block_on(async {
        let client = parts::connect(&server.address, server.folder()).await?;
        let mut found = Vec::new();
        for (name, profile) in [
            ("default", Profile::Default),
            ("strict", Profile::Strict),
            ("none", Profile::None),
        ] {
            let least = least(&client, profile).await?;
            found.push(format!("{name} {} KiB", least >> 10));
        }
        Ok(found.join(", "))
    })
}

async fn least(client: &Client, profile: Profile) -> anyhow::Result<u64> {
    // Too little, and enough.
    let (mut below, mut enough) = (0, ENOUGH);
    ensure!(
        succeeds(client, profile, enough).await?,
        "/bin/true fails with {ENOUGH} bytes of memory"
    );
    while enough - below > STEP {
        let middle = (below + enough) / 2;
        if succeeds(client, profile, middle).await? {
            enough = middle;
        } else {
            below = middle;
        }
    }
    Ok(enough)
}

/// Whether it does so three times in a row: what the kernel charges in advance varies.
async fn succeeds(client: &Client, profile: Profile, memory: u64) -> anyhow::Result<bool> {
    let mut spec = StartSpec::new(["/bin/true"]);
    spec.profile = Some(profile);
    spec.limits = Limits {
        memory_bytes: Some(memory),
        ..Limits::default()
    };
    for _ in 0..3 {
        let Ok(started) = client.start(&spec).await else {
            return Ok(false);
        };
        let id = started.process.id;
        parts::follow(client, id).await?;
        let exit = client.status(id).await?.status.exit;
        if exit.is_none_or(|exit| exit.code != Some(0)) {
            return Ok(false);
        }
    }
    Ok(true)
}
