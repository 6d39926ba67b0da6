//! `prn audit`: what a server's audit says, and whether it is what was written. Without a server.

mod chain;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use prn_proto::units::{Moment, When};
use serde_json::Value;

use crate::commands::audit::chain::{Chain, Fault};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::output::format::FormatFlag;
use crate::output::{self, AuditLine};

/// What a server has decided, by the files of its audit
///
/// Nothing is asked of a server. `prn server start --audit file:/PATH` writes such a file.
#[derive(Debug, Args)]
pub struct Audit {
    /// What to do.
    #[command(subcommand)]
    pub verb: Asked,
}

/// What is asked of an audit.
#[derive(Debug, Subcommand)]
pub enum Asked {
    Verify(Verify),
    Show(Show),
}

/// Check that no line was altered, dropped or moved
///
/// Exits 0 if all lines are those that were written, and says how many the server could not write.
/// Else it names the first line that cannot be, and exits with 1. Each line vouches for the one before
/// it: of the last one, and of lines that would follow it, nothing is known.
#[derive(Debug, Args)]
pub struct Verify {
    /// The files, the oldest one first
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
}

/// Show lines of an audit
///
/// WHO is what the server's network half has said; all else the root half knows by itself.
#[derive(Debug, Args)]
pub struct Show {
    /// The files, the oldest one first
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Only what this client has asked for
    #[arg(long, value_name = "NAME")]
    pub who: Option<String>,
    /// Only what is about this process or workspace: its id, the beginning of its id, or its name
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Only from this time on: an instant (2030-01-31T12:00:00Z), or a span before now (10m)
    #[arg(long, value_name = "TIME")]
    pub since: Option<Moment>,
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
}

/// Does what is asked.
pub fn audit(args: &Audit) -> Result<Exit, Failure> {
    match &args.verb {
        Asked::Verify(args) => verify(args),
        Asked::Show(args) => show(args),
    }
}

/// Reads lines with their ends, one after the other, as long as they are wanted.
fn each_line(
    files: &[PathBuf],
    mut act: impl FnMut(&Path, u64, &[u8]) -> bool,
) -> Result<(), Failure> {
    for path in files {
        let failed = |source| Failure::Unread {
            path: path.clone(),
            source,
        };
        let mut file = BufReader::new(File::open(path).map_err(failed)?);
        for number in 1.. {
            let mut line = Vec::new();
            if file.read_until(b'\n', &mut line).map_err(failed)? == 0 {
                break;
            }
            if !act(path, number, &line) {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn verify(args: &Verify) -> Result<Exit, Failure> {
    let mut chain = Chain::default();
    let mut found = None;
    each_line(&args.files, |path, number, line| {
        let fault = chain.add(line).err();
        found = fault.map(|fault| format!("{}:{number}: {}", path.display(), words(&fault)));
        found.is_none()
    })?;
    if let Some(found) = found {
        output::notice(&output::escaped(&found));
        return Ok(exit::ERROR);
    }
    let report = chain.finish();
    if let Some(seq) = report.begins_at {
        output::notice(&format!(
            "it begins in the middle of a run, with line {seq} of it: give the older files too"
        ));
    }
    let said = format!(
        "as they were written: {}, of {}; not written by the server: {}",
        some(report.lines, "line"),
        some(report.runs, "run"),
        report.lost
    );
    output::print_line(&said).map_err(Failure::Print)?;
    Ok(exit::OK)
}

fn some(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn words(fault: &Fault) -> String {
    match fault {
        Fault::Malformed => "it is no line of an audit".to_owned(),
        Fault::Unended => "it has no end: it was cut off, or is being written".to_owned(),
        Fault::AlteredBefore => "the line before it was altered".to_owned(),
        Fault::Missing { first, last } if first < last => {
            format!("lines {first} to {last} of its run are missing before it, or it was altered")
        }
        Fault::Missing { first, .. } => {
            format!("line {first} of its run is missing before it, or it was altered")
        }
        Fault::OutOfOrder => "it does not come after the line before it".to_owned(),
        Fault::NoBeginning => "the beginning of its run is missing before it".to_owned(),
    }
}

fn show(args: &Show) -> Result<Exit, Failure> {
    let since = args.since.map(|Moment(when)| match when {
        When::At(time) => time,
        When::Ago(span) => SystemTime::now().checked_sub(span).unwrap_or(UNIX_EPOCH),
    });
    let mut lines = Vec::new();
    let mut malformed = 0_u64;
    each_line(&args.files, |_, _, line| {
        match serde_json::from_slice(line) {
            Ok(value) => lines.extend(wanted(args, since, value)),
            Err(_) => malformed += 1,
        }
        true
    })?;
    output::audit_lines(&lines, &args.format).map_err(Failure::Print)?;
    if malformed > 0 {
        output::notice(&format!(
            "lines that are of no audit: {malformed}; `prn audit verify` says which is the first"
        ));
        return Ok(exit::ERROR);
    }
    Ok(exit::OK)
}

/// A line, if it is one of those that are asked for.
fn wanted(args: &Show, since: Option<SystemTime>, value: Value) -> Option<AuditLine> {
    let at = value.get("at").and_then(Value::as_u64)?;
    let line = AuditLine {
        at: UNIX_EPOCH.checked_add(Duration::from_micros(at))?,
        value,
    };
    let is_of = |id: &String| line.id().starts_with(id.as_str());
    let is_wanted = since.is_none_or(|since| line.at >= since)
        && args.who.as_ref().is_none_or(|who| line.who() == who)
        && args.id.as_ref().is_none_or(is_of);
    is_wanted.then_some(line)
}
