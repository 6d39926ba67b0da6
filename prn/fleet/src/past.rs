//! What came of a job's claims before: remembered while it waits, for those who look at it and for hosts
//! that have refused it.

use crate::v1;
use crate::v1::outcome::State;

/// Most that is remembered of one job, but for refusals of the attempt that is next: without those it
/// would be claimed again by a host that refuses it.
const PAST_MAX: usize = 32;
/// Of refusals beyond that, the reason's name alone.
const IN_FULL: usize = PAST_MAX;

/// How a claim came to its end, as its host has said.
fn state(past: &v1::Past) -> State {
    let outcome = past.outcome.as_ref();
    outcome.map_or(State::Unspecified, v1::Outcome::state)
}

/// Whether this host has refused this attempt.
pub(crate) fn is_refusal(past: &v1::Past, attempt: u32) -> bool {
    past.attempt == attempt && state(past) == State::Refused
}

/// How often an attempt was given back, for want of room.
pub(crate) fn given_back(past: &[v1::Past], attempt: u32) -> u32 {
    let counts = past
        .iter()
        .filter(|past| past.attempt == attempt && state(past) == State::Starting)
        .map(|past| past.times.max(1));
    counts.fold(0, u32::saturating_add)
}

/// Adds what came of a claim. `next` is the attempt that waits after that.
pub(crate) fn remember(past: &mut Vec<v1::Past>, mut new: v1::Past, next: u32) {
    let is_same = |old: &v1::Past| {
        old.host == new.host
            && old.attempt == new.attempt
            && state(old) == State::Starting
            && state(&new) == State::Starting
    };
    if let Some(place) = past.iter().position(is_same) {
        let old = past.remove(place);
        new.times = old.times.max(1).saturating_add(1);
    }
    past.push(new);
    let mut surplus = past.len().saturating_sub(PAST_MAX);
    past.retain(|past| {
        let goes = surplus > 0 && !is_refusal(past, next);
        surplus -= usize::from(goes);
        !goes
    });
    let brief = past.len().saturating_sub(IN_FULL);
    for outcome in past
        .iter_mut()
        .take(brief)
        .flat_map(|past| &mut past.outcome)
    {
        outcome.why.clear();
        outcome.usage = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(host: &str, attempt: u32, state: State) -> v1::Past {
        v1::Past {
            host: host.to_owned(),
            attempt,
            outcome: Some(v1::Outcome {
                state: state.into(),
                why: "because".to_owned(),
                ..v1::Outcome::default()
            }),
            times: 1,
        }
    }

    #[test]
    fn what_was_given_back_again_and_again_is_one_entry_with_its_count() {
        let mut all = Vec::new();
        for _ in 0..1000 {
            remember(&mut all, past("web1", 0, State::Starting), 0);
            remember(&mut all, past("web2", 0, State::Starting), 0);
        }
        assert_eq!(all.len(), 2);
        assert_eq!((given_back(&all, 0), given_back(&all, 1)), (2000, 0));
    }

    #[test]
    fn a_refusal_of_the_attempt_that_is_next_is_never_forgotten() {
        let mut all = Vec::new();
        remember(&mut all, past("first", 1, State::Refused), 1);
        for number in 0..100 {
            remember(&mut all, past(&format!("web{number}"), 1, State::Lost), 1);
        }
        assert_eq!(all.len(), PAST_MAX);
        assert_eq!(all[0].host, "first");
        for number in 0..100 {
            remember(&mut all, past(&format!("no{number}"), 1, State::Refused), 1);
        }
        let refusals = all.iter().filter(|past| is_refusal(past, 1));
        assert_eq!(refusals.count(), 101);
        let in_full = |past: &&v1::Past| !past.outcome.as_ref().unwrap().why.is_empty();
        assert_eq!(all.iter().filter(in_full).count(), IN_FULL);
        // Of another attempt they are history as all else is.
        remember(&mut all, past("web1", 1, State::Ended), 2);
        assert_eq!(all.len(), PAST_MAX);
    }
}
