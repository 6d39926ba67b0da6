//! Results of several servers: the same as of one, each with the name of its server.

use std::io;

use prn_client::{Process, Started};
use serde::Serialize;

use super::answers::{Layout, print_table, processes_table};
use super::data::List;
use super::descriptor::{line, print};
use super::shown::escaped;
use super::table::{Table, cut};
use super::tables::columns;
use crate::output::format::{Format, FormatFlag};

/// A result, and which server it is of.
#[derive(Debug, Clone, Serialize)]
pub struct OfHost<T> {
    /// The name of the server's context.
    pub host: String,
    /// What it has answered.
    #[serde(flatten)]
    pub value: T,
}

/// Prints a list of processes. As names: server and whole id, one process a line.
pub fn processes_of_hosts(
    all: &[OfHost<Process>],
    format: &FormatFlag,
    layout: &Layout,
) -> io::Result<()> {
    match format.output {
        Format::Name => print(&lines(all, |process| process.id.to_string())),
        Format::Table | Format::Wide => line(&processes_of_hosts_text(all, &[], format, layout)),
        Format::Json | Format::JsonLines | Format::Yaml | Format::Template(_) => {
            print_list("processes", all, format)
        }
    }
}

/// A list of processes as a table, and lines below it.
pub fn processes_of_hosts_text(
    all: &[OfHost<Process>],
    below: &[String],
    format: &FormatFlag,
    layout: &Layout,
) -> String {
    let processes: Vec<_> = all.iter().map(|of| of.value.clone()).collect();
    let table = processes_table(&processes, format, layout);
    let table = layout.text(&with_hosts(table, all), format);
    format!("{table}{}", fitting(below))
}

/// Lines below a table, each after the end of the one before, no wider than the terminal.
pub fn fitting(lines: &[String]) -> String {
    let most = columns().unwrap_or(usize::MAX);
    let each = lines.iter();
    each.map(|line| format!("\n{}", cut(&escaped(line), most)))
        .collect()
}

/// Prints a started process, server and id, as soon as it is; unless all are printed together.
pub fn started_of_host(of: &OfHost<Started>, format: &FormatFlag) -> io::Result<bool> {
    if format.output.is_whole() {
        return Ok(false);
    }
    let one = std::slice::from_ref(of);
    print(&lines(one, |started| started.process.id.to_string()))?;
    Ok(true)
}

/// Prints all of them, where they are printed together.
pub fn started_of_hosts(all: &[OfHost<Started>], format: &FormatFlag) -> io::Result<()> {
    if format.output.is_whole() {
        return print_list("started", all, format);
    }
    Ok(())
}

/// Prints a list of anything else that has a table, and a name for a list of names.
pub fn list_of_hosts<T: Serialize + Clone>(
    name: &'static str,
    all: &[OfHost<T>],
    table: impl FnOnce(&[T]) -> Table,
    named: impl Fn(&T) -> String,
    format: &FormatFlag,
) -> io::Result<()> {
    match format.output {
        Format::Name => print(&lines(all, named)),
        Format::Table | Format::Wide => {
            let values: Vec<_> = all.iter().map(|of| of.value.clone()).collect();
            print_table(&with_hosts(table(&values), all), format)
        }
        Format::Json | Format::JsonLines | Format::Yaml | Format::Template(_) => {
            print_list(name, all, format)
        }
    }
}

fn print_list<T: Serialize>(
    name: &'static str,
    all: &[OfHost<T>],
    format: &FormatFlag,
) -> io::Result<()> {
    let mut list = List::new(name, &format.output);
    list.add(all)?;
    list.end()
}

/// With the names of their servers in front.
pub fn with_hosts<T>(table: Table, all: &[OfHost<T>]) -> Table {
    table.led_by("HOST", all.iter().map(|of| escaped(&of.host)))
}

fn lines<T>(all: &[OfHost<T>], text: impl Fn(&T) -> String) -> String {
    all.iter()
        .map(|of| format!("{} {}\n", escaped(&of.host), text(&of.value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::paint::Palette;

    #[test]
    fn a_result_has_its_host_beside_its_own_fields() {
        let of = OfHost {
            host: "web1".to_owned(),
            value: serde_json::json!({"id": "x"}),
        };
        let json = serde_json::to_string(&of).unwrap();
        assert_eq!(json, r#"{"host":"web1","id":"x"}"#);
        assert_eq!(lines(&[of], |_| "x".to_owned()), "web1 x\n");
    }

    #[test]
    fn the_host_is_the_first_column() {
        let mut table = Table::new(&["ID"]);
        table.push_texts(["x".to_owned()]);
        table.push_texts(["y".to_owned()]);
        let all = ["web1", "db"].map(|host| OfHost {
            host: host.to_owned(),
            value: (),
        });
        let shown = with_hosts(table, &all).render(None, Palette::PLAIN);
        assert!(shown.contains("| HOST | ID |") && shown.contains("| db   | y  |"));
    }
}
