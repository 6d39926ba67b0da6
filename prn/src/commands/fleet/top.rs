//! `prn fleet top`.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};

use clap::Args;
use prn_fleet::{JobView, Standing};
use prn_proto::units::Time;

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::output::format::FormatFlag;
use crate::output::{self, FleetHost, FleetJob, Screen};
use crate::which::fleet::{OfFleet, OpenFleet};

/// Most jobs below the hosts.
const JOBS: usize = 50;

/// Show hosts and what they do, again and again
///
/// First the hosts with what is left of each, then how many jobs are in which state, then the jobs that
/// are not over, the newest first. Where there is no terminal it is printed once. Ctrl-C ends it.
#[derive(Debug, Args)]
pub struct Top {
    /// Time between two looks
    #[arg(short = 'd', long, value_name = "TIME", default_value = "2s")]
    pub interval: Time,
    /// Which fleet.
    #[command(flatten)]
    pub fleet: OfFleet,
}

pub async fn top(args: Top) -> Result<Exit, Failure> {
    let open = args.fleet.open()?;
    if !io::stdout().is_terminal() {
        output::print_line(look(&open).await?.trim_end())?;
        return Ok(exit::OK);
    }
    let Time(interval) = args.interval;
    let reader = output::Reader::of_stdout()?;
    let mut screen = Screen::default();
    let mut text = String::new();
    loop {
        text = match look(&open).await {
            Ok(text) => text,
            // What was there stays, with what is wrong above it.
            Err(failure) => {
                let line = output::error_line(&failure, failure.hint().as_deref());
                let before = text
                    .split_once("\n\n")
                    .map_or(text.as_str(), |(_, rest)| rest);
                format!("{line}\n\n{before}")
            }
        };
        screen.show(&text)?;
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            error = reader.left() => return Err(error.into()),
        }
    }
}

/// All of it as text.
async fn look(open: &OpenFleet) -> Result<String, Failure> {
    let hosts = open.hosts().await?;
    let hosts: Vec<_> = hosts.iter().map(FleetHost::of).collect();
    let views = open.jobs().await?;
    let lasting = views.iter().rev().filter(|view| !view.is_over());
    let jobs: Vec<_> = lasting.take(JOBS).map(FleetJob::of).collect();
    let format = FormatFlag::table();
    Ok(format!(
        "fleet {}: {}\n\n{}\n{}",
        open.name,
        counts(&views),
        output::fleet_hosts_text(&hosts, &format).trim_end(),
        output::fleet_jobs_text(&jobs, &format)
    ))
}

/// "2 waiting, 5 running, 1 unknown".
fn counts(views: &[JobView]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for view in views {
        let standing: Standing = view.standing();
        *counts.entry(output::standing_word(standing)).or_default() += 1;
    }
    let all = counts.iter().map(|(word, count)| format!("{count} {word}"));
    let all: Vec<_> = all.collect();
    match all.is_empty() {
        true => "no jobs".to_owned(),
        false => all.join(", "),
    }
}
