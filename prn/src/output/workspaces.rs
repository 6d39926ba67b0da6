//! Workspaces, on standard output.

use std::io;

use prn_client::{DiskEnforcement, Workspace};
use prn_proto::units::show_size;

use super::answers::table_text;
use super::column::{Column, named, table};
use super::data::print_data;
use super::descriptor::line;
use super::hosts::{OfHost, list_of_hosts};
use super::lists::{print_list, print_names};
use super::moments::local;
use super::paint::Tone;
use super::shown::escaped;
use super::table::Cell;
use crate::output::format::{Format, FormatFlag};

/// Prints a workspace that was made: its name alone, or all of it.
pub fn workspace(workspace: &Workspace, format: &FormatFlag) -> io::Result<()> {
    if print_data(workspace, &format.output)? {
        return Ok(());
    }
    line(&escaped(&workspace.name))
}

/// Prints a list of workspaces.
pub fn workspaces(workspaces: &[Workspace], format: &FormatFlag) -> io::Result<()> {
    let shown = |all: &[Workspace]| table_text(&table(&columns(format), all), format);
    print_list("workspaces", workspaces, shown, name, format)
}

/// Prints those of several servers. As names: server and name, one a line.
pub fn workspaces_of_hosts(all: &[OfHost<Workspace>], format: &FormatFlag) -> io::Result<()> {
    let table = |all: &[Workspace]| table(&columns(format), all);
    list_of_hosts("workspaces", all, table, name, format)
}

fn columns(format: &FormatFlag) -> Vec<&'static Column<Workspace>> {
    if format.output == Format::Wide {
        return COLUMNS.iter().collect();
    }
    named(COLUMNS, &["name", "state", "processes", "disk", "created"])
}

fn name(workspace: &Workspace) -> String {
    escaped(&workspace.name)
}

/// Prints the names of workspaces.
pub fn workspace_names(workspaces: &[Workspace]) -> io::Result<()> {
    print_names(workspaces, name)
}

const COLUMNS: &[Column<Workspace>] = &[
    Column {
        name: "name",
        header: "NAME",
        cell: |workspace| escaped(&workspace.name).into(),
        order: |a, b| a.name.cmp(&b.name),
    },
    Column {
        name: "state",
        header: "STATE",
        cell: |workspace| match workspace.leaving {
            true => Cell::new("Leaving".to_owned(), Tone::Notable),
            false => Cell::new("Ready".to_owned(), Tone::Good),
        },
        order: |a, b| a.leaving.cmp(&b.leaving),
    },
    Column {
        name: "processes",
        header: "PROCESSES",
        cell: |workspace| workspace.processes.to_string().into(),
        order: |a, b| a.processes.cmp(&b.processes),
    },
    Column {
        name: "disk",
        header: "DISK",
        cell: |workspace| show_bound(workspace).into(),
        order: |a, b| a.disk_max_bytes.cmp(&b.disk_max_bytes),
    },
    Column {
        name: "created",
        header: "CREATED",
        cell: |workspace| workspace.created_at.map(local).unwrap_or_default().into(),
        order: |a, b| a.created_at.cmp(&b.created_at),
    },
    Column {
        name: "created-by",
        header: "CREATED BY",
        cell: |workspace| {
            let who = workspace.created_by.as_deref();
            escaped(who.unwrap_or_default()).into()
        },
        order: |a, b| a.created_by.cmp(&b.created_by),
    },
    Column {
        name: "uid",
        header: "USER ID",
        cell: |workspace| workspace.uid.to_string().into(),
        order: |a, b| a.uid.cmp(&b.uid),
    },
    Column {
        name: "directory",
        header: "DIRECTORY",
        cell: |workspace| escaped(&workspace.directory).into(),
        order: |a, b| a.directory.cmp(&b.directory),
    },
];

/// How much of the disk it may take, and what sees to that.
fn show_bound(workspace: &Workspace) -> String {
    let Some(bytes) = workspace.disk_max_bytes else {
        return String::new();
    };
    let size = show_size(bytes);
    match workspace.disk_enforcement {
        Some(DiskEnforcement::Quota) => format!("{size}, quota"),
        Some(DiskEnforcement::Watched) => format!("{size}, watched"),
        None => size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prn_proto::v1;

    fn workspace(enforcement: v1::DiskEnforcement, leaving: bool) -> Workspace {
        let bound = enforcement != v1::DiskEnforcement::Unspecified;
        Workspace::from(v1::Workspace {
            name: "w".to_owned(),
            directory: "/var/lib/prn/workspace-w".to_owned(),
            created_at: Some(prost_types::Timestamp {
                seconds: 1_700_000_000,
                nanos: 0,
            }),
            created_by: "ci".to_owned(),
            uid: 7,
            disk_max_bytes: bound.then_some(1 << 30),
            disk_enforcement: enforcement.into(),
            processes: 2,
            leaving,
        })
    }

    #[test]
    fn a_row_says_what_bounds_a_workspace_and_whether_it_stays() {
        use v1::DiskEnforcement::{Quota, Unspecified, Watched};
        for (enforcement, leaving, cells) in [
            (Quota, false, ["Ready", "2", "1 GiB, quota"]),
            (Watched, true, ["Leaving", "2", "1 GiB, watched"]),
            (Unspecified, false, ["Ready", "2", ""]),
        ] {
            let all = [workspace(enforcement, leaving)];
            let columns: Vec<_> = COLUMNS.iter().collect();
            let shown = table(&columns, &all).plain(None);
            let row = shown.lines().nth(3).unwrap();
            let row: Vec<_> = row.split('|').map(str::trim).collect();
            assert_eq!(row[1], "w");
            assert_eq!(row[2..5], cells);
            assert_eq!(row[6..9], ["ci", "7", "/var/lib/prn/workspace-w"]);
        }
    }

    #[test]
    fn json_has_times_and_words() {
        let one = workspace(v1::DiskEnforcement::Watched, false);
        let json = serde_json::to_value(one).unwrap();
        assert_eq!(json["name"], "w");
        assert_eq!(json["disk_enforcement"], "watched");
        assert_eq!(json["created_at"], "2023-11-14T22:13:20Z");
        assert_eq!(
            (&json["processes"], &json["leaving"]),
            (&2.into(), &false.into())
        );
    }
}
