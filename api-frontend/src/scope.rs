//! Whose processes and workspaces a client gets to see, by the policy. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use prn_ipc_protocol::policy::{Policy, Reach};
use prn_ipc_protocol::types::AccessName;

/// Whose processes and workspaces a client gets to see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scope {
    /// All there are.
    #[default]
    All,
    /// Those of these principals.
    Of(Arc<BTreeSet<AccessName>>),
}

impl Scope {
    /// That of this principal.
    pub fn new(policy: &Policy, who: &AccessName) -> Self {
        let principal = policy.principals.get(who);
        let role = principal.and_then(|principal| policy.roles.get(&principal.role));
        let Some((principal, role)) = principal.zip(role) else {
            return Self::Of(Arc::default());
        };
        let is_of_group =
            |other: &&AccessName| match (&principal.group, policy.principals.get(*other)) {
                (Some(group), Some(other)) => other.group.as_ref() == Some(group),
                (Some(_) | None, _) => false,
            };
        let own = std::iter::once(who);
        Self::Of(Arc::new(match role.reach {
            Reach::All => return Self::All,
            Reach::Own => own.cloned().collect(),
            Reach::Group => {
                let group = policy.principals.keys().filter(is_of_group);
                own.chain(group).cloned().collect()
            }
        }))
    }

    /// Whether what this one has started or made is in it. `None`: nobody.
    pub fn has(&self, owner: Option<&AccessName>) -> bool {
        match self {
            Self::All => true,
            Self::Of(owners) => owner.is_some_and(|owner| owners.contains(owner)),
        }
    }

    /// What tells it from others; nothing, if it is all.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::All => Vec::new(),
            // No name has a line's end.
            Self::Of(owners) => owners
                .iter()
                .flat_map(|owner| format!("\n{owner}").into_bytes())
                .collect(),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use prn_ipc_protocol::policy::{Principal, Programs, Role, VERBS, Verb};
    use prn_ipc_protocol::types::{Limits, UnixMicros};

    /// A name.
    pub fn name(text: &str) -> AccessName {
        text.to_owned().try_into().unwrap()
    }

    /// Those of these principals.
    pub fn of(owners: &[&str]) -> Scope {
        Scope::Of(Arc::new(owners.iter().map(|owner| name(owner)).collect()))
    }

    /// A role with all verbs.
    pub fn role(reach: Reach) -> Role {
        Role {
            verbs: VERBS.into(),
            reach,
            hours: Vec::new(),
            programs: Programs::Any,
            profile: prn_ipc_protocol::message::Profile::None,
            users: BTreeSet::new(),
            ceilings: Limits::default(),
            defaults: Limits::default(),
            processes_max: None,
            output_max: None,
        }
    }

    fn policy() -> Policy {
        let principal = |role: &str, group: Option<&str>| Principal {
            role: name(role),
            group: group.map(name),
            not_after: None,
            must_sign: false,
        };
        Policy {
            principals: [
                (name("all"), principal("all", None)),
                (name("own"), principal("own", Some("red"))),
                (name("red"), principal("group", Some("red"))),
                (name("blue"), principal("group", Some("blue"))),
                (name("alone"), principal("group", None)),
                (name("other"), principal("group", None)),
                (name("lost"), principal("none", None)),
            ]
            .into(),
            roles: [
                (name("all"), role(Reach::All)),
                (name("own"), role(Reach::Own)),
                (name("group"), role(Reach::Group)),
            ]
            .into(),
            ..Policy::default()
        }
    }

    #[test]
    fn what_is_seen_is_what_the_policy_lets_be_listed() {
        let policy = policy();
        let mut seen = 0;
        let known = policy.principals.keys().cloned().map(Some);
        let owners: Vec<_> = known.chain([None, Some(name("gone"))]).collect();
        for who in policy.principals.keys() {
            let scope = Scope::new(&policy, who);
            for owner in &owners {
                let may = policy.may_with(who, Verb::List, owner.as_ref(), UnixMicros(0));
                assert_eq!(scope.has(owner.as_ref()), may.is_ok(), "{who} {owner:?}");
                seen += usize::from(may.is_ok());
            }
        }
        assert!(seen > policy.principals.len());
    }
}
