//! Answers to commands, on standard output.

use std::io;
use std::path::Path;

use prn_client::{Process, Started};
use prn_launch::{Finding, Verdict};
use prn_proto::tls::Certificate;

use super::column::{Column, table};
use super::data::print_data;
use super::descriptor::line;
use super::json::CheckJson;
use super::lists::{print_list, print_names};
use super::paint::Palette;
use super::processes::{usual, wide};
use super::shown::{escaped, put};
use super::table::Table;
use super::tables::{columns, details};
use crate::output::format::{Format, FormatFlag};

/// A table, as wide as the terminal has room for.
pub fn table_text(table: &Table, format: &FormatFlag) -> String {
    table.render(columns(), Palette::new(format.color))
}

/// Prints a started process: its id alone, or all of it.
pub fn started(started: &Started, format: &FormatFlag) -> io::Result<()> {
    if print_data(started, &format.output)? {
        return Ok(());
    }
    line(&started.process.id.to_string())
}

/// Prints one process.
pub fn process(process: &Process, format: &FormatFlag) -> io::Result<()> {
    if print_data(process, &format.output)? {
        return Ok(());
    }
    match format.output {
        Format::Name => ids(std::slice::from_ref(process)),
        Format::Wide => {
            let table = one_text(process, format);
            line(&format!("{table}\n\n{}", details(process)))
        }
        Format::Table | Format::Json | Format::JsonLines | Format::Yaml | Format::Template(_) => {
            line(&one_text(process, format))
        }
    }
}

/// A table of one process.
pub fn one_text(process: &Process, format: &FormatFlag) -> String {
    let one = std::slice::from_ref(process);
    table_text(&table(&usual(one), one), format)
}

/// Which columns a table of processes has, and whether a terminal cuts it.
#[derive(Debug, Default)]
pub struct Layout {
    /// These. `None`: those that the format has.
    pub columns: Option<Vec<&'static Column<Process>>>,
    /// Each line is whole on a terminal too.
    pub is_whole: bool,
}

impl Layout {
    /// A table as it is printed: as wide as there is room for, or whole.
    pub fn text(&self, table: &Table, format: &FormatFlag) -> String {
        let room = columns().filter(|_| !self.is_whole);
        table.render(room, Palette::new(format.color))
    }
}

/// Prints a list of processes.
pub fn processes(processes: &[Process], format: &FormatFlag, layout: &Layout) -> io::Result<()> {
    let shown = |all: &[Process]| processes_text(all, format, layout);
    print_list("processes", processes, shown, id, format)
}

fn id(process: &Process) -> String {
    process.id.to_string()
}

/// A list of processes as a table, as it is printed.
pub fn processes_text(processes: &[Process], format: &FormatFlag, layout: &Layout) -> String {
    layout.text(&processes_table(processes, format, layout), format)
}

/// A list of processes as a table.
pub fn processes_table(processes: &[Process], format: &FormatFlag, layout: &Layout) -> Table {
    match &layout.columns {
        Some(columns) => table(columns, processes),
        None if format.output == Format::Wide => table(&wide(processes), processes),
        None => table(&usual(processes), processes),
    }
}

/// Prints whole ids, one a line.
pub fn ids(processes: &[Process]) -> io::Result<()> {
    print_names(processes, id)
}

/// Prints what `prn keygen` has made, or the certificate alone that it was to show: what it is
/// pinned by.
pub fn key_pair(key: Option<&Path>, file: &Path, certificate: &Certificate) -> io::Result<()> {
    let mut text = String::new();
    if let Some(key) = key {
        put(
            &mut text,
            format_args!("key          {}\n", escaped(&key.display().to_string())),
        );
    }
    let [ssh, curl] = certificate.key_fingerprints();
    put(
        &mut text,
        format_args!(
            "certificate  {}\nfingerprint  {}\nof its key   {ssh}\n             {curl}",
            escaped(&file.display().to_string()),
            certificate.fingerprint(),
        ),
    );
    line(&text)
}

/// Prints what `prn server check` has found.
pub fn findings(findings: &[Finding], can_start: bool, format: &FormatFlag) -> io::Result<()> {
    let all = CheckJson {
        can_start,
        findings,
    };
    if print_data(&all, &format.output)? {
        return Ok(());
    }
    let mut text = String::new();
    for finding in findings {
        let verdict = match finding.verdict {
            _ if finding.blocks => "BLOCKS",
            Verdict::Ok => "ok",
            Verdict::Limited => "limited",
            Verdict::Missing => "missing",
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
    let blocking = findings.iter().filter(|finding| finding.blocks);
    let blocking: Vec<_> = blocking.map(|finding| finding.name).collect();
    if can_start {
        text.push_str("The server can start here.");
    } else {
        let blocking = blocking.join(", ");
        put(
            &mut text,
            format_args!("The server cannot start here: {blocking}"),
        );
    }
    line(&text)
}
