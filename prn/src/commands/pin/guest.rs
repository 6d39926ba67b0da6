//! Whom another command lets in, by a paper that says who that is: nobody gets what a client may do
//! that is there already.

use std::path::Path;

use prn_client::credentials::KeyFingerprint;
use prn_launch::access::types::AccessName;
use prn_launch::access::{Access, check as check_file};
use toml_edit::{Array, Table, value};

use super::{Add, Known, Place, Remove, added, checked, remove};
use crate::failure::Failure;
use crate::output;

/// Whom to let in.
#[derive(Debug)]
pub struct Guest {
    /// The client's name.
    pub name: AccessName,
    /// Its certificate's path, or its key's fingerprint.
    pub what: String,
    /// What it may do.
    pub role: AccessName,
    /// The role's verbs, for all processes, if nobody has written the role yet. None: it is one that
    /// need not be written.
    pub verbs: &'static [&'static str],
    /// A client of this name and role gets this key in place of the earlier one.
    pub is_renewed: bool,
}

/// What became of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is let in with its role.
    AsAsked,
    /// It was let in before, and keeps another role, as was said.
    OtherRole,
    /// It is refused, and why was said.
    Refused,
}

/// Lets it in. A client of its name that has its key stays as it is; one with another key is not
/// touched, unless it is to be renewed.
///
/// # Errors
/// There is another client of that name; a file cannot be read or written.
pub fn let_in(config: &Path, guest: Guest) -> Result<Admission, Failure> {
    let key = Known::of(&guest.what)?.key();
    let is_there = Place::of(config, &guest.name)?
        .client(&guest.name)
        .is_some();
    // Without one, what is wrong is said when there is something to write.
    let access = match is_there {
        true => checked(|warn| check_file(config, warn))?,
        false => check_file(config, &|_| {}).ok(),
    };
    let Some(access) = access else {
        return if is_there {
            Ok(Admission::Refused)
        } else {
            add(config, guest, true)
        };
    };
    let Some(principal) = access.policy.principals.get(&guest.name) else {
        let needs_role = !access.policy.roles.contains_key(&guest.role);
        return add(config, guest, needs_role);
    };
    let (keys, role) = (keys(&access, &guest.name), &principal.role);
    if keys.contains(&key) {
        if *role == guest.role {
            return Ok(Admission::AsAsked);
        }
        output::notice(&format!(
            "client {} is there with this key, and keeps its role {role}",
            guest.name
        ));
        return Ok(Admission::OtherRole);
    }
    if !guest.is_renewed || *role != guest.role {
        return Err(Failure::Usage(format!(
            "client {name} is there, with the role {role} and another key, and this one would get that role: if both are the same one's, `prn pin add {name}` adds the key, and else `prn pin remove {name}` takes the earlier one away; then again",
            name = guest.name
        )));
    }
    renew(config, guest, &keys)
}

/// What to tell the operator, where no client has its key: how it is let in, and with which role.
///
/// # Errors
/// The configuration is refused.
pub fn how_to_let_in(config: &Path, guest: &Guest) -> Result<Option<String>, Failure> {
    let key = Known::of(&guest.what)?.key();
    let access = check_file(config, &|_| {})?;
    let clients = &access.policy.principals;
    let has_key = |name: &AccessName| keys(&access, name).contains(&key);
    if clients.keys().any(has_key) {
        return Ok(None);
    }
    let (name, command) = (&guest.name, format!("prn pin add {} {key}", guest.name));
    Ok(Some(match clients.get(name) {
        Some(known) => format!(
            "client {name} is there, with the role {} and another key, and this one would get that role: if both are the same one's, `{command}` lets it in",
            known.role
        ),
        None => format!("`{command} --role {}` lets it in", guest.role),
    }))
}

fn add(config: &Path, guest: Guest, needs_role: bool) -> Result<Admission, Failure> {
    let is_written = needs_role && !guest.verbs.is_empty();
    let role = is_written.then(|| role(&guest));
    let args = Add {
        name: guest.name,
        what: guest.what,
        role: Some(guest.role),
        not_after: None,
        config: config.to_owned(),
    };
    Ok(match added(&args, role)? {
        Some(_) => Admission::AsAsked,
        None => Admission::Refused,
    })
}

/// The earlier keys go when the new one is there.
fn renew(config: &Path, guest: Guest, earlier: &[KeyFingerprint]) -> Result<Admission, Failure> {
    let name = guest.name;
    let args = Add {
        name: name.clone(),
        what: guest.what,
        role: None,
        not_after: None,
        config: config.to_owned(),
    };
    if added(&args, None)?.is_none() {
        return Ok(Admission::Refused);
    }
    for key in earlier {
        remove(&Remove {
            name: name.clone(),
            what: Some(key.to_string()),
            config: config.to_owned(),
        })?;
    }
    output::notice(&format!(
        "client {name} was there: it is known by this certificate alone now, and by its earlier one no longer"
    ));
    Ok(Admission::AsAsked)
}

fn keys(access: &Access, name: &AccessName) -> Vec<KeyFingerprint> {
    let peers = access.known.iter().filter(|(whose, _)| whose == name);
    let keys = peers.flat_map(|(_, peer)| {
        let certificates = peer.certificates.iter();
        let certificates = certificates.map(|one| {
            let [key, _] = one.key_fingerprints();
            key
        });
        certificates.chain(peer.keys.iter().copied())
    });
    keys.collect()
}

fn role(guest: &Guest) -> Table {
    let mut table = Table::new();
    table.insert("name", value(guest.role.as_str()));
    let verbs: Array = guest.verbs.iter().copied().collect();
    table.insert("may", value(verbs));
    table.insert("whose", value("all"));
    table
}
