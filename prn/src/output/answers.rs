//! Answers to commands, on standard output.

use std::io;
use std::path::Path;

use prn_client::{Process, Started};
use prn_launch::{Finding, Verdict};

use super::descriptor::line;
use super::json::{CheckJson, json, list};
use super::shown::{escaped, put};
use super::tables::{columns, details, table, wide_table};
use crate::format::Format;

/// Prints a started process: its id alone, or all of it as JSON.
pub fn started(started: &Started, format: Format) -> io::Result<()> {
    match format {
        Format::Table | Format::Wide => line(&started.process.id.to_string()),
        Format::Json => json(started),
    }
}

/// Prints one process.
pub fn process(process: &Process, format: Format) -> io::Result<()> {
    match format {
        Format::Table => line(&table(std::slice::from_ref(process)).render(columns())),
        Format::Wide => line(&format!(
            "{}\n\n{}",
            table(std::slice::from_ref(process)).render(columns()),
            details(process)
        )),
        Format::Json => json(process),
    }
}

/// Prints a list of processes.
pub fn processes(processes: &[Process], format: Format) -> io::Result<()> {
    match format {
        Format::Table => line(&table(processes).render(columns())),
        Format::Wide => line(&wide_table(processes).render(columns())),
        Format::Json => list(processes),
    }
}

/// Prints what `prn keygen` has made.
pub fn key_pair(key: &Path, certificate: &Path, fingerprint: &str) -> io::Result<()> {
    line(&format!(
        "key          {}\ncertificate  {}\nfingerprint  {fingerprint}",
        escaped(&key.display().to_string()),
        escaped(&certificate.display().to_string())
    ))
}

/// Prints what `prn server check` has found.
pub fn findings(findings: &[Finding], can_start: bool, format: Format) -> io::Result<()> {
    if format == Format::Json {
        return json(&CheckJson {
            can_start,
            findings,
        });
    }
    let mut text = String::new();
    for finding in findings {
        let verdict = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Limited => "limited",
            Verdict::Missing => "MISSING",
        };
        put(
            &mut text,
            format_args!(
                "{verdict:<8} {:<24} {}\n",
                finding.name,
                escaped(&finding.found)
            ),
        );
        if let Some(cost) = &finding.cost {
            put(
                &mut text,
                format_args!("{:<8} {:<24} -> {}\n", "", "", escaped(cost)),
            );
        }
    }
    text.push('\n');
    text.push_str(if can_start {
        "The server can start here."
    } else {
        "The server cannot start here."
    });
    line(&text)
}
