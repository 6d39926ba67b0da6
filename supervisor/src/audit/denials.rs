//! What the frontend says that it has refused by itself, counted for a second: one that was taken
//! over says it without end. Runs in the supervisor; pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use prn_ipc_protocol::message::Verb;
use prn_ipc_protocol::types::AccessName;

/// How often lines tell of them.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Whom what was refused, how often. As many as there are principals and verbs at most.
pub type Counts = BTreeMap<(AccessName, Verb), u64>;

/// Refusals that no line tells of yet.
#[derive(Debug, Default)]
pub struct Denials {
    counts: Counts,
    told: Option<Instant>,
}

impl Denials {
    /// So many more, of a principal that there is.
    pub fn add(&mut self, who: AccessName, verb: Verb, count: u32) {
        let sum = self.counts.entry((who, verb)).or_default();
        *sum = sum.saturating_add(count.into());
    }

    /// When lines are to tell of them, if there are any.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let next = self.told.map_or(now, |told| told + TOLD_EVERY);
        (!self.counts.is_empty()).then_some(next)
    }

    /// Those that lines tell of now.
    pub fn take(&mut self, now: Instant) -> Counts {
        self.told = Some(now);
        std::mem::take(&mut self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_without_end_is_told_once_a_second() {
        let who = |name: &str| AccessName::try_from(name.to_owned()).unwrap();
        let now = Instant::now();
        let mut denials = Denials::default();
        assert_eq!(denials.due(now), None);
        denials.add(who("anna"), Verb::Start, 1);
        assert_eq!(denials.due(now), Some(now));
        assert_eq!(denials.take(now).len(), 1);
        for _ in 0..1000 {
            denials.add(who("anna"), Verb::Start, u32::MAX);
            denials.add(who("ben"), Verb::Stop, 1);
        }
        assert_eq!(denials.due(now), Some(now + TOLD_EVERY));
        let told = denials.take(now + TOLD_EVERY);
        let anna = 1000 * u64::from(u32::MAX);
        assert_eq!(told.values().copied().collect::<Vec<_>>(), [anna, 1000]);
        assert_eq!(denials.due(now), None);
    }
}
