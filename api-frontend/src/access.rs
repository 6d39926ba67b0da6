//! What a client gets to see and may do, by the policy. Pure, but for the clock.
//!
//! What a client does not get to see is to it as if it were not there. What it may not do it is
//! told here, before the supervisor is asked, which decides by the same policy again.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt};
use prn_ipc_protocol::policy::{Denial, Policy, Role, Verb};
use prn_ipc_protocol::types::{AccessName, UnixMicros};
use tonic::Status;

use crate::denials::Denials;
use crate::errors;
use crate::scope::Scope;

/// The clock can be set: it is looked at this often while the end of somebody, or of a certificate,
/// is waited for.
pub const LOOK: Duration = Duration::from_secs(60);

/// Who a client is, and what it may do.
#[derive(Debug, Clone)]
pub struct Access {
    policy: Arc<Policy>,
    who: AccessName,
    scope: Scope,
    denials: Denials,
}

impl Access {
    /// Of this principal, whose denials are counted there.
    pub fn new(policy: &Arc<Policy>, who: &AccessName, denials: &Denials) -> Self {
        Self {
            policy: Arc::clone(policy),
            who: who.clone(),
            scope: Scope::new(policy, who),
            denials: denials.clone(),
        }
    }

    /// Its name.
    pub fn principal(&self) -> &AccessName {
        &self.who
    }

    /// Who may do what.
    pub fn policy(&self) -> &Policy {
        &self.policy
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

    /// The same for a call that is refused without it, which counts.
    ///
    /// # Errors
    /// What the client is told.
    pub fn check(&self, verb: Verb) -> Result<&Role, Status> {
        self.may(verb).map_err(|denial| {
            self.denials.add(&self.who, verb);
            errors::denied(denial)
        })
    }

    /// Whether it may do this with what this owner has started, or is the owner.
    pub fn has_say(&self, verb: Verb, owner: Option<&AccessName>) -> bool {
        let (policy, now) = (&self.policy, UnixMicros::now());
        owner == Some(&self.who) || policy.may_with(&self.who, verb, owner, now).is_ok()
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
