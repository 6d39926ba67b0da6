//! Who may do what: from the configuration's clients and roles to a policy.

use std::collections::BTreeSet;
use std::path::Path;

use prn_ipc_protocol::message::Profile;
use prn_ipc_protocol::policy::{Policy, Principal, Programs, Reach, Role, VERBS, Verb};
use prn_ipc_protocol::types::{AccessName, Limits};

/// The role of those whom nothing else is said of.
pub const ADMIN: &str = "admin";

/// Roles that need not be written down: name, verbs, whose processes.
const PRESETS: [(&str, &[Verb], Reach); 4] = [
    ("viewer", &[Verb::Output, Verb::List], Reach::All),
    (
        "operator",
        &[Verb::Stop, Verb::Signal, Verb::Output, Verb::List],
        Reach::All,
    ),
    (
        "runner",
        &[
            Verb::Start,
            Verb::Stop,
            Verb::Signal,
            Verb::Output,
            Verb::Input,
            Verb::List,
            Verb::Workspace,
        ],
        Reach::Own,
    ),
    (ADMIN, &VERBS, Reach::All),
];

/// A policy of roles that need not be written down, and of nobody yet.
pub fn presets() -> Policy {
    let roles = PRESETS
        .into_iter()
        .filter_map(|(name, verbs, reach)| Some((named(name)?, role(verbs, reach))));
    Policy {
        roles: roles.collect(),
        ..Policy::default()
    }
}

/// A role that these verbs, and whose processes they are about, say all of.
fn role(verbs: &[Verb], reach: Reach) -> Role {
    Role {
        verbs: verbs.iter().copied().collect::<BTreeSet<_>>(),
        reach,
        programs: Programs::Any,
        profile: Profile::None,
        ceilings: Limits::default(),
        defaults: Limits::default(),
        processes_max: None,
        output_max: None,
    }
}

/// Lets somebody be an administrator under the name of this file, or that with a number if somebody has
/// it.
pub fn add_admin(policy: &mut Policy, path: &Path) -> Option<AccessName> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() || "-_.@".contains(letter) {
            letter
        } else {
            '-'
        }
    };
    let stem: String = stem.chars().map(plain).take(48).collect();
    let stem = stem.trim_start_matches(['-', '_', '.', '@']);
    let stem = if stem.is_empty() { "client" } else { stem };
    let numbered = (2..).map(|number| format!("{stem}-{number}"));
    let mut names = std::iter::once(stem.to_owned()).chain(numbered);
    let name =
        names.find_map(|name| named(&name).filter(|name| !policy.principals.contains_key(name)))?;
    let admin = Principal {
        role: named(ADMIN)?,
        group: None,
        not_after: None,
    };
    policy.principals.insert(name.clone(), admin);
    Some(name)
}

fn named(name: &str) -> Option<AccessName> {
    name.to_owned().try_into().ok()
}
