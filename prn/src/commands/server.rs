//! `prn server start` and `prn server check`: what is found and what goes wrong is printed here,
//! done in [`prn_launch`].

use prn_launch::options::Start;

use super::Failure;
use crate::exit::{self, Exit};
use crate::{cli, output};

/// Returns only if the server does not start.
pub fn start(flags: Start) -> Result<Exit, Failure> {
    let warn = |warning: prn_launch::Warning| output::notice(&warning.to_string());
    match prn_launch::start(flags, &warn)? {}
}

pub fn check(args: &cli::ServerCheck) -> Result<Exit, Failure> {
    let report = prn_launch::check(&args.flags);
    output::findings(&report.findings, report.can_start, args.output.output)
        .map_err(Failure::Print)?;
    Ok(if report.can_start {
        exit::OK
    } else {
        exit::ERROR
    })
}
