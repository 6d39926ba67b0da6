//! What a client may do, on standard output.

use std::io;

use prn_client::{Access, Reach};

use super::data::print_data;
use super::descriptor::line;
use super::hosts::{OfHost, list_of_hosts};
use super::notices::notice;
use super::rows::Rows;
use super::shown::{escaped, show_limits};
use super::table::Table;
use crate::output::format::FormatFlag;

/// Prints what the client's role is.
pub fn role(access: &Access, format: &FormatFlag) -> io::Result<()> {
    if print_data(access, &format.output)? {
        return Ok(());
    }
    let mut rows = Rows::default();
    add_role(&mut rows, access);
    let verbs: Vec<_> = access.verbs.iter().map(ToString::to_string).collect();
    rows.add("may", verbs.join(", "));
    rows.add("with", access.reach.map(whose).map(str::to_owned));
    add_bounds(&mut rows, access);
    line(&rows.finish())
}

/// Prints whether the client may do what was asked; why not beside it.
pub fn may(access: &Access, format: &FormatFlag) -> io::Result<()> {
    if print_data(access, &format.output)? {
        return Ok(());
    }
    line(yes_or_no(access))?;
    tell_why(access);
    Ok(())
}

/// Prints what a start would come to.
pub fn startable(access: &Access, format: &FormatFlag) -> io::Result<()> {
    if print_data(access, &format.output)? {
        return Ok(());
    }
    let mut rows = Rows::default();
    rows.add("would start", yes_or_no(access).to_owned());
    add_role(&mut rows, access);
    if let Some(start) = &access.start {
        let rule = match start.rule {
            Some(place) => place.to_string(),
            None => "none: the role allows all programs".to_owned(),
        };
        rows.add("rule", rule);
        rows.add("limits", show_limits(&start.limits));
        for candidate in &start.candidates {
            rows.add("program", escaped(candidate));
        }
        rows.add("directory", escaped(&start.working_directory));
        let user = match (start.uid, &start.user) {
            (Some(uid), Some(name)) => format!("{} ({uid})", escaped(name)),
            (Some(uid), None) => format!("{uid}, of the workspace"),
            (None, _) => "one of its own".to_owned(),
        };
        rows.add("user", user);
        rows.add("digest", start.digest.clone());
    }
    line(&rows.finish())?;
    tell_why(access);
    Ok(())
}

/// Prints what several servers let the client do.
pub fn access_of_hosts(all: &[OfHost<Access>], format: &FormatFlag) -> io::Result<()> {
    let table = |all: &[Access]| {
        let mut table = Table::new(&["ALLOWED", "PRINCIPAL", "ROLE", "WHY NOT"]);
        for access in all {
            table.push_texts([
                yes_or_no(access).to_owned(),
                escaped(&access.principal),
                escaped(&access.role),
                escaped(access.why.as_deref().unwrap_or_default()),
            ]);
        }
        table
    };
    let name = |access: &Access| yes_or_no(access).to_owned();
    list_of_hosts("servers", all, table, name, format)
}

/// What a role says beside its verbs.
fn add_bounds(rows: &mut Rows, access: &Access) {
    let hours = access.hours.join(", ");
    let now = match (hours.is_empty(), access.outside_hours) {
        (true, _) => String::new(),
        (false, false) => format!("{hours} (UTC)"),
        (false, true) => format!("{hours} (UTC), so not now: only list, output and stop"),
    };
    rows.add("hours", escaped(&now));
    for program in access.programs.iter().flatten() {
        rows.add("program", escaped(program));
    }
    rows.add("as users", escaped(&access.users.join(", ")));
    let signed = access.signed_starts.as_ref();
    if signed.is_some_and(|signed| signed.required) {
        let how = "starts must be: --sign, or sign = true in the context";
        rows.add("signed", how.to_owned());
    }
}

fn add_role(rows: &mut Rows, access: &Access) {
    rows.add("principal", escaped(&access.principal));
    rows.add("role", escaped(&access.role));
}

fn yes_or_no(access: &Access) -> &'static str {
    if access.allowed { "yes" } else { "no" }
}

fn tell_why(access: &Access) {
    if let Some(why) = &access.why {
        notice(why);
    }
}

fn whose(reach: Reach) -> &'static str {
    match reach {
        Reach::Own => "your own processes and workspaces",
        Reach::Group => "the processes and workspaces of your group",
        Reach::All | _ => "all processes and workspaces",
    }
}
