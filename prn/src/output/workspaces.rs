//! Workspaces, on standard output.

use std::io;

use prn_client::{DiskEnforcement, Workspace};
use prn_proto::units::show_size;
use serde::Serialize;

use super::descriptor::{line, print};
use super::json::json;
use super::shown::{escaped, rfc3339_seconds};
use super::table::Table;
use super::tables::columns;
use crate::format::Format;

/// Prints a workspace that was made: its name alone, or all of it as JSON.
pub fn workspace(workspace: &Workspace, format: Format) -> io::Result<()> {
    match format {
        Format::Table | Format::Wide => line(&escaped(&workspace.name)),
        Format::Json => json(workspace),
    }
}

/// Prints a list of workspaces.
pub fn workspaces(workspaces: &[Workspace], format: Format) -> io::Result<()> {
    match format {
        Format::Table => line(&table(workspaces).render(columns())),
        Format::Wide => line(&wide_table(workspaces).render(columns())),
        Format::Json => json(&ListJson { workspaces }),
    }
}

/// Prints the names of workspaces.
pub fn workspace_names(workspaces: &[Workspace]) -> io::Result<()> {
    let names = workspaces.iter().map(|workspace| escaped(&workspace.name));
    print(&names.map(|name| name + "\n").collect::<String>())
}

/// An object with all of them.
#[derive(Debug, Serialize)]
struct ListJson<'a> {
    workspaces: &'a [Workspace],
}

fn table(workspaces: &[Workspace]) -> Table {
    let mut table = Table::new(&["NAME", "STATE", "PROCESSES", "DISK", "CREATED"]);
    for workspace in workspaces {
        table.push(row(workspace).into());
    }
    table
}

fn wide_table(workspaces: &[Workspace]) -> Table {
    let mut table = Table::new(&[
        "NAME",
        "STATE",
        "PROCESSES",
        "DISK",
        "CREATED",
        "USER ID",
        "DIRECTORY",
    ]);
    for workspace in workspaces {
        let mut row = Vec::from(row(workspace));
        row.push(workspace.uid.to_string());
        row.push(escaped(&workspace.directory));
        table.push(row);
    }
    table
}

fn row(workspace: &Workspace) -> [String; 5] {
    let state = if workspace.leaving {
        "Leaving"
    } else {
        "Ready"
    };
    [
        escaped(&workspace.name),
        state.to_owned(),
        workspace.processes.to_string(),
        show_bound(workspace),
        (workspace.created_at)
            .map(rfc3339_seconds)
            .unwrap_or_default(),
    ]
}

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
            let row = row(&workspace(enforcement, leaving));
            assert_eq!(row[0], "w");
            assert_eq!(row[1..4], cells);
            assert_eq!(row[4], "2023-11-14T22:13:20Z");
        }
        let wide = wide_table(&[workspace(Quota, false)]).render(None);
        assert!(wide.contains("| 7 ") && wide.contains("/var/lib/prn/workspace-w"));
    }

    #[test]
    fn json_has_all_below_one_name() {
        let all = [workspace(v1::DiskEnforcement::Watched, false)];
        let list = ListJson { workspaces: &all };
        let json = serde_json::to_value(list).unwrap();
        let first = &json["workspaces"][0];
        assert_eq!(first["name"], "w");
        assert_eq!(first["disk_enforcement"], "watched");
        assert_eq!(first["created_at"], "2023-11-14T22:13:20Z");
        assert_eq!(
            (&first["processes"], &first["leaving"]),
            (&2.into(), &false.into())
        );
    }
}
