//! Copying: one large file and a tree of small ones, up and down, by `prn cp`, by tar(1) over ssh and
//! by rsync(1) over ssh, in turns. What has arrived is compared once, byte for byte.
//!
//! Trees are kept until all is measured: for a minute and more, ext4 gives no inode away that was
//! freed, and looks past each of them for every file that is made near them. Whoever comes behind a
//! removal of 20,000 files takes four times as long to make as many, whatever program it is.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use prn_tests::server::Server;
use tempfile::TempDir;

use crate::machine::GIB;
use crate::numbers;
use crate::setup::{Bench, word};
use crate::ssh::Ssh;
use crate::table::{Samples, Series, Summary, Table};

/// Files of a directory of the tree.
const IN_DIRECTORY: usize = 100;

/// Each of them is so long, give or take as much: a file of source code.
const SMALL: usize = 2000;

const CIPHER: &str = "aes128-gcm@openssh.com";

const WORKSPACE: &str = "bench";

/// By what something is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Prn,
    Tar,
    Rsync,
}

const ALL: [By; 3] = [By::Prn, By::Tar, By::Rsync];

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Prn => "`prn cp`",
            Self::Tar => "`tar` over ssh",
            Self::Rsync => "`rsync -a` over ssh",
        }
    }
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What is copied: a directory, and what it is called.
#[derive(Debug)]
struct Load {
    name: String,
    directory: PathBuf,
    files: usize,
}

/// Where all of it is.
struct Places<'a> {
    ssh: Option<&'a Ssh>,
    server: &'a Server,
    /// Of the other end of ssh, and of what comes back, on the disk that workspaces are on.
    folder: &'a Path,
    round: usize,
}

pub fn measure(bench: &Bench, summary: &mut Summary) -> anyhow::Result<()> {
    // Where the state folder of a server is: the same disk for both ends of all.
    let folder = tempfile::Builder::new()
        .prefix("prn-bench-copy-")
        .tempdir_in("/var/lib")?;
    let ssh = Ssh::start()?;
    let loads = [large(&folder)?, small(&folder, bench.files)?];
    let mut series = Series::default();
    let server = bench.server(&[], 16)?;
    let created = server.run(&["workspace", "create", WORKSPACE]);
    ensure!(created.status.success(), "{created:?}");
    for round in bench.rounds("copy") {
        let places = Places {
            ssh: ssh.as_ref(),
            server: &server,
            folder: folder.path(),
            round,
        };
        for load in &loads {
            for by in in_turn(round) {
                let measured = places.both_ways(load, by, &mut series);
                measured.with_context(|| format!("{}: {}", by.name(), load.name))?;
            }
        }
    }
    for load in &loads {
        print(bench, load, &series, summary);
    }
    Ok(())
}

/// Another one is first in each round: what is first may find a disk that is busy otherwise.
fn in_turn(round: usize) -> [By; 3] {
    let mut turn = ALL;
    turn.rotate_left(round % ALL.len());
    turn
}

fn large(folder: &TempDir) -> anyhow::Result<Load> {
    let directory = folder.path().join("large");
    fs::create_dir(&directory)?;
    numbers::write(&mut File::create(directory.join("file"))?, GIB)?;
    Ok(Load {
        name: "1 GiB in one file".to_owned(),
        directory,
        files: 1,
    })
}

fn small(folder: &TempDir, files: usize) -> anyhow::Result<Load> {
    let directory = folder.path().join("small");
    for number in 0..files {
        let below = directory.join(format!("directory-{}", number / IN_DIRECTORY));
        if number % IN_DIRECTORY == 0 {
            fs::create_dir_all(&below)?;
        }
        let line = format!("line of file {number}\n");
        let text = line.repeat(SMALL / line.len() * (1 + number % 3) / 2);
        fs::write(below.join(format!("file-{number}.txt")), text)?;
    }
    Ok(Load {
        name: format!("{files} small files"),
        directory,
        files,
    })
}

impl Places<'_> {
    /// Copies there and back. Of a single large file nothing is left: it needs much room, and one
    /// inode.
    fn both_ways(&self, load: &Load, by: By, series: &mut Series) -> anyhow::Result<()> {
        let end = format!("{by:?}-{}-{}", load.files, self.round).to_lowercase();
        let there = format!("there-{end}");
        let there_path = self.folder.join(&there);
        let back = self.folder.join(format!("back-{end}"));
        for (way, target) in [(Way::Up, &there_path), (Way::Down, &back)] {
            if by != By::Prn || way == Way::Down {
                fs::create_dir(target)?;
            }
            let Some(mut command) = self.command(load, by, way, &there, &back)? else {
                return fs::remove_dir(target).map_err(Into::into);
            };
            // What was written before is not written to the disk at the expense of this.
            nix::unistd::sync();
            let begun = Instant::now();
            let status = command.stdin(Stdio::null()).status()?;
            series.add(&key(load, by, way), begun.elapsed().as_secs_f64());
            ensure!(status.success(), "{command:?}: {status}");
        }
        if self.round == 1 {
            ensure!(
                compare(&load.directory, &back)? == load.files,
                "files are missing"
            );
        }
        if load.files > 1 {
            return Ok(());
        }
        match by {
            By::Prn => {
                let argv = ["run", "-w", WORKSPACE, "--", "rm", "-rf", &there];
                let removed = self.server.run(&argv);
                ensure!(removed.status.success(), "{removed:?}");
            }
            By::Tar | By::Rsync => fs::remove_dir_all(&there_path)?,
        }
        Ok(fs::remove_dir_all(&back)?)
    }

    /// `None`: it is not installed.
    fn command(
        &self,
        load: &Load,
        by: By,
        way: Way,
        there: &str,
        back: &Path,
    ) -> anyhow::Result<Option<Command>> {
        let far = format!("{WORKSPACE}:{there}");
        let (here, there) = (word(&load.directory), word(&self.folder.join(there)));
        let back = word(back);
        Ok(Some(match by {
            By::Prn => match way {
                Way::Up => self.server.prn(&["cp", "-q", &here, &far]),
                Way::Down => self.server.prn(&["cp", "-q", &format!("{far}/."), &back]),
            },
            By::Tar => {
                let Some(ssh) = self.ssh else { return Ok(None) };
                let remote = |script: &str| shown(&ssh.command(&["-c", CIPHER], &[script]));
                let script = match way {
                    Way::Up => format!(
                        "tar -cC '{here}' . | {}",
                        remote(&format!("tar -xC {there}"))
                    ),
                    Way::Down => format!(
                        "{} | tar -xC '{back}'",
                        remote(&format!("tar -cC {there} ."))
                    ),
                };
                let mut sh = Command::new("sh");
                sh.arg("-c").arg(script);
                sh
            }
            By::Rsync => {
                let (Some(ssh), true) = (self.ssh, has_rsync()) else {
                    return Ok(None);
                };
                let (shell, host) = ssh.shell(&["-c", CIPHER]);
                let mut rsync = Command::new("rsync");
                // As the others do: without looking at what is there already.
                rsync.args(["-a", "--whole-file", "-e", &shell]);
                match way {
                    Way::Up => rsync.args([format!("{here}/"), format!("{host}:{there}/")]),
                    Way::Down => rsync.args([format!("{host}:{there}/"), format!("{back}/")]),
                };
                rsync
            }
        }))
    }
}

fn has_rsync() -> bool {
    let version = Command::new("rsync").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// A command as a shell takes it.
fn shown(command: &Command) -> String {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let quoted = words.map(|word| format!("'{}'", word.to_string_lossy()));
    quoted.collect::<Vec<_>>().join(" ")
}

/// Compares two directories, byte for byte; returns how many files there are.
fn compare(one: &Path, other: &Path) -> anyhow::Result<usize> {
    let mut files = 0;
    for entry in fs::read_dir(one)? {
        let entry = entry?;
        let other = other.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            files += compare(&entry.path(), &other)?;
        } else {
            let is_same = same(&entry.path(), &other);
            let is_same = is_same.with_context(|| word(&other))?;
            ensure!(is_same, "{}: other bytes", word(&other));
            files += 1;
        }
    }
    let count = |path: &Path| anyhow::Ok(fs::read_dir(path)?.count());
    ensure!(count(one)? == count(other)?, "{}: more files", word(other));
    Ok(files)
}

fn same(one: &Path, other: &Path) -> anyhow::Result<bool> {
    const PIECE: u64 = 1 << 20;
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    loop {
        let (mut piece, mut beside) = (Vec::new(), Vec::new());
        (&mut one).take(PIECE).read_to_end(&mut piece)?;
        (&mut other).take(PIECE).read_to_end(&mut beside)?;
        if piece != beside {
            return Ok(false);
        }
        if piece.is_empty() {
            return Ok(true);
        }
    }
}

fn key(load: &Load, by: By, way: Way) -> String {
    format!("{} {} {}", load.name, way.name(), by.name())
}

fn print(bench: &Bench, load: &Load, series: &Series, summary: &mut Summary) {
    let title = bench.title(&format!("Copying {}, in seconds", load.name));
    let mut table = Table::new(&title, &["", "seconds", "lowest–highest", "÷ `prn cp`"]);
    for way in [Way::Up, Way::Down] {
        let of = |by: By| series.of(&key(load, by, way));
        let prn = of(By::Prn);
        for by in ALL {
            let name = format!("{}, {}", by.name(), way.name());
            let samples = of(by);
            if samples.median().is_none() {
                table.row(&[name.as_str(), "not installed", "", ""]);
                continue;
            }
            let ratio = samples.over(&prn).figure();
            table.row(&[name, samples.figure(), samples.range(), ratio]);
        }
        let what = format!("`prn cp` of {}, {}", load.name, way.name());
        if let Some((name, better)) = better([By::Tar, By::Rsync].map(|by| (by.name(), of(by)))) {
            let ratio = better.over(&prn);
            summary.compare(&what, (&prn, "s"), (name, &better), &ratio);
        } else {
            summary.alone(&what, &format!("{} s", prn.figure()));
        }
    }
    table.print(
        "All is on one disk, at both ends, and what came back in the first round was compared.",
    );
}

/// The one with the lower median.
fn better<const N: usize>(rivals: [(&'static str, Samples); N]) -> Option<(&'static str, Samples)> {
    let known = rivals.into_iter().filter_map(|(name, samples)| {
        let median = samples.median()?;
        Some((median, name, samples))
    });
    let (_, name, samples) = known.min_by(|one, other| one.0.total_cmp(&other.0))?;
    Some((name, samples))
}
