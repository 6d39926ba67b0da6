//! What clients may do, on standard output.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use super::answers::table_text;
use super::column::{Column, table};
use super::lists::print_list;
use super::shown::escaped;
use crate::output::format::FormatFlag;

/// What one client may do.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PolicyClient {
    /// Its name.
    pub client: String,
    /// Its role.
    pub role: String,
    /// What it is known by: `cert` and a certificate's SHA-256, `fingerprint` and a key's, `san`
    /// and a rule for names.
    pub known_by: Vec<String>,
    /// Whom it shares processes with.
    pub group: Option<String>,
    /// Whose processes and workspaces the verbs are about: own, group or all.
    pub whose: &'static str,
    /// What it may ask for.
    pub verbs: Vec<String>,
    /// When it may change something. Empty: at any time.
    pub hours: Vec<String>,
    /// What it may start, each with its arguments; `...` where others may follow. `null`: anything.
    pub programs: Option<Vec<String>>,
    /// Nothing of it starts that its key has not signed (`prn start --sign`).
    pub must_sign: bool,
    /// Users of the server's machine that these may run as.
    pub users: Vec<String>,
    /// By the keys of a role: thousandths of a CPU, bytes, bytes a second, numbers.
    pub limits: BTreeMap<String, u64>,
    /// The same for people.
    #[serde(skip)]
    pub shown_limits: Vec<String>,
}

/// Prints what each client may do.
pub fn policy_clients(all: &[PolicyClient], format: &FormatFlag) -> io::Result<()> {
    let shown = |all: &[PolicyClient]| {
        let has_users = all.iter().any(|one| !one.users.is_empty());
        let signs = all.iter().any(|one| one.must_sign);
        let has_hours = all.iter().any(|one| !one.hours.is_empty());
        let is_shown = |column: &&Column<PolicyClient>| match column.name {
            "users" => has_users,
            "hours" => has_hours,
            "must_sign" => signs,
            _ => true,
        };
        let columns: Vec<_> = COLUMNS.iter().filter(is_shown).collect();
        table_text(&table(&columns, all), format)
    };
    print_list("clients", all, shown, |one| escaped(&one.client), format)
}

/// What one client is known by.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PinnedClient {
    /// Its name.
    pub client: String,
    /// Its role.
    pub role: String,
    /// `cert` and a certificate's SHA-256, `fingerprint` and a key's, `san` and a rule for names.
    pub known_by: Vec<String>,
}

/// Prints what each client is known by: for people, each of these in a line of its own.
pub fn pinned_clients(all: &[PinnedClient], format: &FormatFlag) -> io::Result<()> {
    let shown = |all: &[PinnedClient]| {
        let lines = all.iter().flat_map(|one| {
            let known = one.known_by.iter();
            known.map(move |known| escaped(&format!("{} {} {known}", one.client, one.role)))
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    print_list("clients", all, shown, |one| escaped(&one.client), format)
}

const COLUMNS: &[Column<PolicyClient>] = &[
    Column {
        name: "client",
        header: "CLIENT",
        cell: |one| escaped(&one.client).into(),
        order: |a, b| a.client.cmp(&b.client),
    },
    Column {
        name: "role",
        header: "ROLE",
        cell: |one| escaped(&one.role).into(),
        order: |a, b| a.role.cmp(&b.role),
    },
    Column {
        name: "known_by",
        header: "KNOWN BY",
        cell: |one| escaped(&kinds(&one.known_by)).into(),
        order: |a, b| a.known_by.cmp(&b.known_by),
    },
    Column {
        name: "whose",
        header: "WHOSE",
        cell: |one| match &one.group {
            Some(group) if one.whose == "group" => escaped(&format!("group {group}")).into(),
            _ => one.whose.to_owned().into(),
        },
        order: |a, b| a.whose.cmp(b.whose),
    },
    Column {
        name: "verbs",
        header: "MAY",
        cell: |one| one.verbs.join(",").into(),
        order: |a, b| a.verbs.cmp(&b.verbs),
    },
    Column {
        name: "hours",
        header: "HOURS",
        cell: |one| escaped(&one.hours.join(", ")).into(),
        order: |a, b| a.hours.cmp(&b.hours),
    },
    Column {
        name: "programs",
        header: "PROGRAMS",
        cell: |one| match &one.programs {
            Some(programs) => escaped(&programs.join("; ")).into(),
            None if one.verbs.iter().any(|verb| verb == "start") => "any".to_owned().into(),
            None => String::new().into(),
        },
        order: |a, b| a.programs.cmp(&b.programs),
    },
    Column {
        name: "must_sign",
        header: "SIGNED",
        cell: |one| if one.must_sign { "starts" } else { "" }.to_owned().into(),
        order: |a, b| a.must_sign.cmp(&b.must_sign),
    },
    Column {
        name: "users",
        header: "USERS",
        cell: |one| escaped(&one.users.join(",")).into(),
        order: |a, b| a.users.cmp(&b.users),
    },
    Column {
        name: "limits",
        header: "LIMITS",
        cell: |one| one.shown_limits.join(", ").into(),
        order: |a, b| a.limits.cmp(&b.limits),
    },
];

/// Of certificates and fingerprints how many there are, which JSON has whole; names as they are.
fn kinds(known_by: &[String]) -> String {
    let count = |kind: &str| {
        let of_kind = known_by.iter().filter(|one| one.starts_with(kind));
        match of_kind.count() {
            0 => None,
            1 => Some(kind.to_owned()),
            count => Some(format!("{count} {kind}s")),
        }
    };
    let names = known_by.iter().filter_map(|one| one.strip_prefix("san "));
    let counted = [count("cert"), count("fingerprint")].into_iter().flatten();
    let all: Vec<_> = counted.chain(names.map(str::to_owned)).collect();
    all.join(",")
}
