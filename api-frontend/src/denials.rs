//! What clients were told no to here, which the supervisor has not decided and writes down as this
//! half says it.
//!
//! However often somebody tries, one number waits for each principal and verb, and is told once a
//! second at most.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prn_ipc_protocol::message::Request;
use prn_ipc_protocol::policy::Verb;
use prn_ipc_protocol::types::AccessName;
use tokio::sync::Notify;

/// How often they are told at most.
const PAUSE: Duration = Duration::from_secs(1);

/// What is not told yet.
#[derive(Debug, Clone, Default)]
pub struct Denials(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    counts: Mutex<BTreeMap<(AccessName, Verb), u32>>,
    some: Notify,
}

impl Denials {
    /// One more. As many are told apart as there are principals and verbs.
    pub fn add(&self, who: &AccessName, verb: Verb) {
        let mut counts = self.0.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry((who.clone(), verb)).or_default();
        *count = count.saturating_add(1);
        self.0.some.notify_one();
    }

    fn take(&self) -> impl Iterator<Item = Request> {
        let mut counts = self.0.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = std::mem::take(&mut *counts).into_iter();
        counts.map(|((who, verb), count)| Request::Denied { who, verb, count })
    }

    /// Tells the supervisor of what there is now.
    pub fn tell(&self, tell: impl FnMut(Request)) {
        self.take().for_each(tell);
    }

    /// Tells it of all that there is to come.
    pub async fn tell_all(&self, mut tell: impl FnMut(Request)) -> Infallible {
        loop {
            self.0.some.notified().await;
            self.tell(&mut tell);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_often_somebody_tries_one_number_waits_for_each_verb() {
        let denials = Denials::default();
        let name = |text: &str| AccessName::try_from(text.to_owned()).unwrap();
        for _ in 0..1000 {
            denials.add(&name("anna"), Verb::List);
            denials.add(&name("anna"), Verb::Output);
        }
        denials.add(&name("ben"), Verb::List);
        let of = |who: &str, verb, count| Request::Denied {
            who: name(who),
            verb,
            count,
        };
        let told: Vec<_> = denials.take().collect();
        let expected = [
            of("anna", Verb::Output, 1000),
            of("anna", Verb::List, 1000),
            of("ben", Verb::List, 1),
        ];
        assert_eq!(told, expected);
        assert_eq!(denials.take().count(), 0);
    }
}
