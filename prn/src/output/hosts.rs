//! Results of several servers: the same as of one, each with the name of its server.

use std::io;

use prn_client::{Process, Started};
use serde::Serialize;

use super::answers::{Layout, processes_table, table_text};
use super::lists::{print_data_list, print_list, print_names};
use super::shown::escaped;
use super::table::{Table, cut};
use super::tables::columns;
use crate::output::format::FormatFlag;

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
    let shown = |all: &[OfHost<Process>]| processes_of_hosts_text(all, &[], format, layout);
    let named = beside_host(|process: &Process| process.id.to_string());
    print_list("processes", all, shown, named, format)
}

/// A list of processes as a table, and lines below it.
pub fn processes_of_hosts_text(
    all: &[OfHost<Process>],
    below: &[String],
    format: &FormatFlag,
    layout: &Layout,
) -> String {
    let table = processes_table(&values(all), format, layout);
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
    let named = beside_host(|started: &Started| started.process.id.to_string());
    print_names(std::slice::from_ref(of), named)?;
    Ok(true)
}

/// Prints all of them, where they are printed together.
pub fn started_of_hosts(all: &[OfHost<Started>], format: &FormatFlag) -> io::Result<()> {
    if format.output.is_whole() {
        return print_data_list("started", all, format);
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
    let shown = |all: &[OfHost<T>]| table_text(&with_hosts(table(&values(all)), all), format);
    print_list(name, all, shown, beside_host(named), format)
}

fn values<T: Clone>(all: &[OfHost<T>]) -> Vec<T> {
    all.iter().map(|of| of.value.clone()).collect()
}

/// With the names of their servers in front.
pub fn with_hosts<T>(table: Table, all: &[OfHost<T>]) -> Table {
    table.led_by("HOST", all.iter().map(|of| escaped(&of.host)))
}

/// The name of a result, behind that of its server.
fn beside_host<T>(named: impl Fn(&T) -> String) -> impl Fn(&OfHost<T>) -> String {
    move |of| format!("{} {}", escaped(&of.host), named(&of.value))
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
        assert_eq!(beside_host(|_| "x".to_owned())(&of), "web1 x");
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
