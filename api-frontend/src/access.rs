//! What a client gets to see and may do, by the policy. Pure, but for the clock.
//!
//! What a client does not get to see is to it as if it were not there. What it may not do it is told
//! here, before the supervisor is asked, which decides by the same policy again.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt};
use prn_ipc_protocol::policy::{Denial, Policy, Reach, Role, Verb};
use prn_ipc_protocol::types::{AccessName, UnixMicros};
use tonic::Status;

use crate::errors;

/// The clock can be set: it is looked at this often while somebody's end is waited for.
const LOOK: Duration = Duration::from_secs(60);

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
    fn new(policy: &Policy, who: &AccessName) -> Self {
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

/// Who a client is, and what it may do.
#[derive(Debug, Clone)]
pub struct Access {
    policy: Arc<Policy>,
    who: AccessName,
    scope: Scope,
}

impl Access {
    /// Of this principal.
    pub fn new(policy: &Arc<Policy>, who: &AccessName) -> Self {
        Self {
            policy: Arc::clone(policy),
            who: who.clone(),
            scope: Scope::new(policy, who),
        }
    }

    /// Its name.
    pub fn principal(&self) -> &AccessName {
        &self.who
    }

    /// The name of its role; empty if it has none.
    pub fn role_name(&self) -> String {
        let principal = self.policy.principals.get(&self.who);
        principal.map_or_else(String::new, |principal| principal.role.to_string())
    }

    /// Whose processes and workspaces it gets to see, if it may list.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Its role.
    ///
    /// # Errors
    /// It has none, or no longer.
    pub fn role(&self) -> Result<&Role, Denial> {
        self.policy.role(&self.who, UnixMicros::now())
    }

    /// Its role, if that has this verb.
    ///
    /// # Errors
    /// It has not, or there is none.
    pub fn may(&self, verb: Verb) -> Result<&Role, Denial> {
        self.policy.may(&self.who, verb, UnixMicros::now())
    }

    /// When it may do nothing any more.
    fn end(&self) -> Option<UnixMicros> {
        self.policy.principals.get(&self.who)?.not_after
    }

    /// Returns when it may do nothing any more, with why: never, if no time is set for that.
    pub async fn over(&self) -> Denial {
        loop {
            if let Err(denial) = self.role() {
                return denial;
            }
            let Some(end) = self.end() else {
                return std::future::pending().await;
            };
            let left = end.0.saturating_sub(UnixMicros::now().0);
            tokio::time::sleep(Duration::from_micros(left).min(LOOK)).await;
        }
    }
}

/// What is sent to a client.
pub type Sent<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The same until the client may do nothing any more, which it is then told.
pub fn until_over<T: Send + 'static>(stream: Sent<T>, access: &Access) -> Sent<T> {
    if access.end().is_none() {
        return stream;
    }
    let access = access.clone();
    let over = Box::pin(async move { access.over().await });
    Box::pin(unfold(Some((stream, over)), |state| async {
        let (mut stream, mut over) = state?;
        tokio::select! {
            biased;
            denial = &mut over => Some((Err(errors::denied(denial)), None)),
            next = stream.next() => Some((next?, Some((stream, over)))),
        }
    }))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use prn_ipc_protocol::policy::{Principal, Programs, VERBS};
    use prn_ipc_protocol::types::Limits;

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
            programs: Programs::Any,
            profile: prn_ipc_protocol::message::Profile::None,
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
        }
    }

    #[test]
    fn what_is_seen_is_what_the_policy_lets_be_listed() {
        let policy = Arc::new(policy());
        let mut seen = 0;
        let known = policy.principals.keys().cloned().map(Some);
        let owners: Vec<_> = known.chain([None, Some(name("gone"))]).collect();
        for who in policy.principals.keys() {
            let access = Access::new(&policy, who);
            for owner in &owners {
                let may = policy.may_with(who, Verb::List, owner.as_ref(), UnixMicros(0));
                assert_eq!(
                    access.scope().has(owner.as_ref()),
                    may.is_ok(),
                    "{who} {owner:?}"
                );
                seen += usize::from(may.is_ok());
            }
        }
        assert!(seen > policy.principals.len());
    }
}
