//! How many processes there are of each principal: a part of the [`Mirror`](crate::mirror::Mirror).
//! Pure.

use std::collections::HashMap;

use prn_ipc_protocol::message::ProcessInfo;
use prn_ipc_protocol::types::AccessName;

use crate::scope::Scope;

/// How many processes there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// That are alive.
    pub running: usize,
    /// That have ended.
    pub finished: usize,
}

/// The counts of each; `None` are those of nobody.
#[derive(Debug, Default)]
pub struct Owners(HashMap<Option<AccessName>, Counts>);

impl Owners {
    /// A process was this, if there was one, and is that, if there is one.
    pub fn changed(&mut self, was: Option<&ProcessInfo>, is: Option<&ProcessInfo>) {
        if let Some(is) = is {
            let counts = self.0.entry(is.started_by.clone()).or_default();
            let count = counts.of(is);
            *count = count.saturating_add(1);
        }
        if let Some(was) = was
            && let Some(counts) = self.0.get_mut(&was.started_by)
        {
            let count = counts.of(was);
            *count = count.saturating_sub(1);
            if *counts == Counts::default() {
                self.0.remove(&was.started_by);
            }
        }
    }

    /// Of all that are in this scope.
    pub fn counts(&self, scope: &Scope) -> Counts {
        let seen = self.0.iter().filter(|(owner, _)| scope.has(owner.as_ref()));
        seen.fold(Counts::default(), |sum, (_, counts)| Counts {
            running: sum.running + counts.running,
            finished: sum.finished + counts.finished,
        })
    }
}

impl Counts {
    fn of(&mut self, info: &ProcessInfo) -> &mut usize {
        if info.end.is_some() {
            &mut self.finished
        } else {
            &mut self.running
        }
    }
}
