//! One command from fork to exit, everything in it new: process, keys, connection, call.

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::ensure;

use crate::setup::Bench;
use crate::ssh::Ssh;
use crate::table::{Series, Summary, Table, percentile};

/// Of each kind in a round.
const CALLS: usize = 10;

const PRN: &str = "`prn status ID`";
const STATIC: &str = "`prn status ID`, the static binary";
const BEFORE: &str = "`prn status ID`, an earlier binary";
const VERSION: &str = "`prn --version`";
const VERSION_BEFORE: &str = "`prn --version`, an earlier binary";
const SSH: &str = "`ssh host true`";
const MASTER: &str = "`ssh host true`, ControlMaster";

pub fn measure(bench: &Bench, summary: &mut Summary) -> anyhow::Result<()> {
    let server = bench.server(&[], 64)?;
    let id = server.start_process(&[], &["true"]);
    let mut ssh = Ssh::start()?;
    if let Some(ssh) = &mut ssh {
        ssh.start_master()?;
    }
    let status = || server.prn(&["status", &id]);
    let version = || server.prn(&["--version"]);
    let mut series = Series::default();
    for _ in bench.rounds("cli") {
        series.add(PRN, calls(status)?);
        if let Some(program) = std::env::var_os("PRN_STATIC_BIN") {
            series.add(STATIC, calls(|| with(&program, &status()))?);
        }
        if let Some(program) = std::env::var_os("PRN_BEFORE_BIN") {
            series.add(BEFORE, calls(|| with(&program, &status()))?);
            series.add(VERSION, calls(version)?);
            series.add(VERSION_BEFORE, calls(|| with(&program, &version()))?);
        }
        if let Some(ssh) = &ssh {
            series.add(SSH, calls(|| ssh.command(&[], &["true"]))?);
            series.add(
                MASTER,
                calls(|| ssh.command(&["-S", &ssh.socket()], &["true"]))?,
            );
        }
    }
    let prn = series.of(PRN);
    let title = bench.title(&format!(
        "Command line: fork to exit, p50 of {CALLS} in milliseconds"
    ));
    let mut table = Table::new(&title, &["", "p50", "lowest–highest", "÷ `prn status`"]);
    for name in [PRN, STATIC, BEFORE, VERSION, VERSION_BEFORE, SSH, MASTER] {
        let samples = series.of(name);
        if samples.median().is_some() {
            table.row(&[
                name.to_owned(),
                samples.figure(),
                samples.range(),
                samples.over(&prn).figure(),
            ]);
        } else if name == SSH {
            table.row(&[name, "not installed", "", ""]);
        }
    }
    table.print("");
    for (name, what) in [
        (PRN, "a cold `prn status`"),
        (STATIC, "a cold `prn status`, the static binary"),
    ] {
        let prn = series.of(name);
        for (beside, other) in [SSH, MASTER].map(|name| (name, series.of(name))) {
            if prn.median().is_some() && other.median().is_some() {
                summary.compare(what, (&prn, "ms"), (beside, &other), &other.over(&prn));
            }
        }
    }
    Ok(())
}

/// The same words and environment for another `prn`.
fn with(program: &OsStr, command: &Command) -> Command {
    let mut other = Command::new(program);
    let environment = command
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    other.args(command.get_args()).envs(environment);
    other
}

/// Runs commands one after the other, which must succeed; the median in milliseconds.
fn calls(command: impl Fn() -> Command) -> anyhow::Result<f64> {
    let mut millis = Vec::new();
    for _ in 0..CALLS {
        let mut command = command();
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let begun = Instant::now();
        let status = command.status()?;
        millis.push(begun.elapsed().as_secs_f64() * 1e3);
        ensure!(status.success(), "{command:?}: {status}");
    }
    Ok(percentile(&mut millis, 50).unwrap_or(f64::NAN))
}
