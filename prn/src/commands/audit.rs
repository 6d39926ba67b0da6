//! `prn audit`: what a server's audit says, and whether it is what was written. Without a server.

mod chain;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use prn_proto::units::{InvalidUnit, Moment, When};
use serde_json::Value;

use crate::commands::audit::chain::{After, BEGINNING, Chain, Fault, Report};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::input::file;
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
/// Exits 0 if all lines are those that were written, and says how many were lost: the server could
/// not write them, or not whole. Else it names the first line that cannot be, and exits with 1. Each line vouches
/// for the one before it: of the last one, and of lines that would follow it, nothing is known. A
/// run whose end is not told is named, when another one follows: its last lines may be missing.
#[derive(Debug, Args)]
pub struct Verify {
    /// The files, the oldest one first; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// The oldest file may begin in the middle of a run: what came before is gone
    #[arg(long)]
    pub from_middle: bool,
}

/// Show lines of an audit
///
/// WHO is what the server's network half has said; all else the root half knows by itself.
#[derive(Debug, Args)]
pub struct Show {
    /// The files, the oldest one first; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Only what this client has asked for, or has signed
    #[arg(long, value_name = "NAME")]
    pub who: Option<String>,
    /// Only what is about this process or workspace: its id, the beginning of its id, or its name
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Only what was refused: by the server's root half, or by its network half
    #[arg(long)]
    pub refused: bool,
    /// Only from this time on: an instant (2030-01-31T12:00:00Z), a day of UTC (2030-01-31), or a span
    /// before now (10m)
    #[arg(long, value_name = "TIME", value_parser = moment_or_day)]
    pub since: Option<Moment>,
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
}

fn moment_or_day(text: &str) -> Result<Moment, InvalidUnit> {
    let day = format!("{text}T00:00:00Z");
    text.parse().or_else(|why| day.parse().map_err(|_| why))
}

/// Does what is asked.
pub fn audit(args: &Audit) -> Result<Exit, Failure> {
    match &args.verb {
        Asked::Verify(args) => verify(args),
        Asked::Show(args) => show(args),
    }
}

/// Bytes after which a line is none of an audit, whose longest have 4,096: it is cut there.
const LINE_MAX: u64 = 64 * 1024;

/// Reads lines with their ends, one after the other, as long as they are wanted.
fn each_line(
    files: &[PathBuf],
    mut act: impl FnMut(&Path, u64, &[u8]) -> bool,
) -> Result<(), Failure> {
    // A line whose file was renamed in the middle of it goes on in the next one.
    let mut half: Option<(&Path, u64, Vec<u8>)> = None;
    for path in files {
        let is_last = files.last() == Some(path);
        let failed = |source| Failure::Unread {
            path: path.clone(),
            source,
        };
        let mut file = BufReader::new(file::open(path).map_err(failed)?);
        for number in 1.. {
            let mut line = Vec::new();
            let mut bounded = file.by_ref().take(LINE_MAX);
            if bounded.read_until(b'\n', &mut line).map_err(failed)? == 0 {
                break;
            }
            let room = bounded.limit();
            if let Some((before, number, mut half)) = half.take() {
                if !line.starts_with(BEGINNING) {
                    half.append(&mut line);
                    line = half;
                } else if !act(before, number, &half) {
                    return Ok(());
                }
            }
            if !is_last && !line.ends_with(b"\n") && room > 0 {
                half = Some((path, number, line));
                break;
            }
            if !act(path, number, &line) {
                return Ok(());
            }
        }
    }
    if let Some((path, number, half)) = half {
        act(path, number, &half);
    }
    Ok(())
}

/// What a look at files has found.
struct Look {
    report: Report,
    /// Runs whose end is not told, by the places of their last lines.
    unended: Vec<String>,
    /// Lines that are cut off, by their places.
    cut: Vec<String>,
    /// The first line that cannot be, with its place.
    fault: Option<String>,
}

fn look(files: &[PathBuf]) -> Result<Look, Failure> {
    let mut chain = Chain::default();
    let (mut unended, mut cut) = (Vec::new(), Vec::new());
    let mut fault = None;
    let mut before = String::new();
    each_line(files, |path, number, line| {
        let place = format!("{}:{number}", path.display());
        match chain.add(line) {
            Ok(After::Its) => {}
            Ok(After::Unended) => unended.push(std::mem::take(&mut before)),
            Ok(After::Cut) => cut.push(place.clone()),
            Err(why) => fault = Some(format!("{place}: {}", words(&why))),
        }
        before = place;
        fault.is_none()
    })?;
    Ok(Look {
        report: chain.finish(),
        unended,
        cut,
        fault,
    })
}

fn verify(args: &Verify) -> Result<Exit, Failure> {
    let look_of_all = look(&args.files)?;
    let report = look_of_all.report;
    if let Some(fault) = look_of_all.fault {
        output::notice(&output::escaped(&fault));
        if let Some(order) = better_order(&args.files)? {
            output::notice(&output::escaped(&format!(
                "nothing was altered, but the files are in the wrong order: give {order}"
            )));
        }
        return Ok(exit::ERROR);
    }
    for place in look_of_all.cut {
        output::notice(&output::escaped(&format!(
            "{place}: a line is cut off here, by a full disk or with the server, or is being written: it counts as lost"
        )));
    }
    for place in look_of_all.unended {
        output::notice(&output::escaped(&format!(
            "{place}: a run ends here without `over`: the server was killed, or lines are missing"
        )));
    }
    if let Some(seq) = report.begins_at.filter(|_| !args.from_middle) {
        output::notice(&format!(
            "it begins in the middle of a run, with line {seq} of it: give the older files too, or --from-middle if there are none"
        ));
        return Ok(exit::ERROR);
    }
    let said = format!(
        "as they were written: {}, of {}; lost: {}",
        some(report.lines, "line"),
        some(report.runs, "run"),
        report.lost
    );
    output::print_line(&said).map_err(Failure::Print)?;
    Ok(exit::OK)
}

/// The files in the order of their first lines' times, if all is good so and that is another order.
fn better_order(files: &[PathBuf]) -> Result<Option<String>, Failure> {
    let mut timed = Vec::new();
    for file in files {
        let mut first = None;
        each_line(std::slice::from_ref(file), |_, _, line| {
            first = read(line);
            false
        })?;
        timed.push((first.map(|line| line.at), file.clone()));
    }
    timed.sort_by_key(|(at, _)| *at);
    let sorted: Vec<PathBuf> = timed.into_iter().map(|(_, file)| file).collect();
    let found = look(&sorted)?;
    let is_good = sorted != files && found.fault.is_none() && found.report.begins_at.is_none();
    let names = sorted.iter().map(|file| file.display().to_string());
    Ok(is_good.then(|| names.collect::<Vec<_>>().join(" ")))
}

fn some(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn words(fault: &Fault) -> String {
    match fault {
        Fault::Malformed => "it is no line of an audit".to_owned(),
        Fault::AlteredBefore => "the line before it was altered".to_owned(),
        Fault::Missing { first, last } if first < last => {
            format!("lines {first} to {last} of its run are missing before it, or it was altered")
        }
        Fault::Missing { first, .. } => {
            format!("line {first} of its run is missing before it, or it was altered")
        }
        Fault::OutOfOrder => "it does not come after the line before it".to_owned(),
        Fault::SeenBefore => {
            "it begins a run that there were lines of before: a file was given twice, or copied, or is out of order".to_owned()
        }
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
        match read(line) {
            Some(line) => lines.extend(Some(line).filter(|line| is_wanted(args, since, line))),
            None => malformed += 1,
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

/// A line, if it is one.
fn read(line: &[u8]) -> Option<AuditLine> {
    let value: Value = serde_json::from_slice(line).ok()?;
    let at = value.get("at").and_then(Value::as_u64)?;
    Some(AuditLine {
        at: UNIX_EPOCH.checked_add(Duration::from_micros(at))?,
        value,
    })
}

/// Whether it is one of those that are asked for.
fn is_wanted(args: &Show, since: Option<SystemTime>, line: &AuditLine) -> bool {
    let is_of = |id: &String| line.id().starts_with(id.as_str());
    since.is_none_or(|since| line.at >= since)
        && args
            .who
            .as_ref()
            .is_none_or(|who| line.who() == who || line.signer() == who)
        && (!args.refused || line.is_refused())
        && args.id.as_ref().is_none_or(is_of)
}
