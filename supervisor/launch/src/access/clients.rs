//! Clients: from a table to a principal and the certificates that it is known by.

use std::time::Duration;

use prn_ipc_protocol::policy::Principal;
use prn_ipc_protocol::types::AccessName;
use prn_proto::tls::Certificate;

use super::files::Part;
use super::listed::{Access, chain};
use super::tables::{ClientTable, Problem};
use crate::certificates;
use crate::warning::Warning;

/// Adds all clients of a file. Roles must be known.
pub(super) fn add(
    access: &mut Access,
    part: &Part,
    now: Duration,
    problems: &mut Vec<Problem>,
    warn: &dyn Fn(Warning),
) {
    for table in &part.tables.client {
        let (span, table) = (table.span(), table.get_ref());
        let before = problems.len();
        check_names(access, part, table, problems);
        let known = certificates(access, part, table, now, problems, warn);
        if problems.len() > before {
            continue;
        }
        let end = table.not_after.as_ref();
        if let Some(end) = end.filter(|end| Duration::from_micros(end.get_ref().0.0) <= now) {
            let what = "this time has passed, so the client may do nothing";
            warn(Warning::Access(part.source.problem(&end.span(), what)));
        }
        let principal = Principal {
            role: table.role.get_ref().clone(),
            group: table.group.clone(),
            not_after: end.map(|end| end.get_ref().0),
        };
        let name = table.name.get_ref().clone();
        access
            .clients
            .insert(name.clone(), part.source.place(&span));
        access.policy.principals.insert(name.clone(), principal);
        access.certificates.push((name, known));
    }
}

/// A name that nobody else has, and a role that there is.
fn check_names(access: &Access, part: &Part, table: &ClientTable, problems: &mut Vec<Problem>) {
    let (name, role) = (table.name.get_ref(), table.role.get_ref());
    if let Some(place) = access.clients.get(name) {
        let what = format!(
            "there is a client {name} already, at {place}: several certificates of one client are a list, cert = [\"…\", \"…\"]"
        );
        problems.push(part.source.problem(&table.name.span(), what));
    }
    // Of one that is refused that was said.
    if !access.policy.roles.contains_key(role) && !access.roles.contains_key(role) {
        let all: Vec<_> = access.policy.roles.keys().map(AccessName::as_str).collect();
        let what = format!(
            "there is no role {role}: there are {}; or write a [[role]] of that name",
            all.join(", ")
        );
        problems.push(part.source.problem(&table.role.span(), what));
    }
}

/// Each usable, and nobody else's.
fn certificates(
    access: &Access,
    part: &Part,
    table: &ClientTable,
    now: Duration,
    problems: &mut Vec<Problem>,
    warn: &dyn Fn(Warning),
) -> Vec<Certificate> {
    let mut all: Vec<Certificate> = Vec::new();
    let mut refuse = |what: String| problems.push(part.source.problem(&table.cert.span(), what));
    let files = table.cert.get_ref().as_slice();
    if files.is_empty() {
        refuse("cert is empty, so nobody could be this client: name a file".to_owned());
    }
    for file in files {
        let path = part.source.path.with_file_name(file);
        match certificates::usable(&path, now, warn) {
            Err(error) => refuse(chain(&error)),
            Ok(known) => {
                let mut others = access.certificates.iter();
                if let Some((other, _)) = others.find(|(_, theirs)| theirs.contains(&known)) {
                    refuse(format!(
                        "{} is the certificate of client {other} as well: nobody could tell them apart, so make one for each",
                        path.display()
                    ));
                }
                all.push(known);
            }
        }
    }
    all
}
