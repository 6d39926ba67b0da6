//! Why a job waits, and whether that can ever end: no I/O.

use crate::hosts::KnownHost;
use crate::job::fits;
use crate::past::is_refusal;
use crate::v1;

/// What a job waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waits {
    /// No host has its name and its labels. One that is added may.
    NoHostFits,
    /// Room on a host that fits, or its turn.
    ForRoom,
    /// Nothing: all that fit have refused it.
    RefusedByAll {
        /// Stable name of the last refusal's reason.
        reason: String,
        /// What each has said.
        why: String,
    },
}

/// Whether a host has refused the attempt that waits.
pub fn has_refusal(waiting: &v1::Waiting) -> bool {
    let mut past = waiting.past.iter();
    past.any(|past| is_refusal(past, waiting.attempt))
}

/// What a job waits for, with these hosts. A host counts while it is announced and nobody drains it: one
/// whose server or agent is away for a while, too.
pub fn waits(waiting: &v1::Waiting, hosts: &[KnownHost]) -> Waits {
    let may_take = |known: &&KnownHost| {
        let host = known.host.as_ref().filter(|_| known.drain.is_none());
        host.is_some_and(|host| {
            host.state() != v1::host::State::Draining && fits(waiting, &known.name, &host.labels)
        })
    };
    if hosts.iter().any(|known| may_take(&known)) {
        return Waits::ForRoom;
    }
    let refusals = waiting.past.iter();
    let refusals = refusals.filter(|past| is_refusal(past, waiting.attempt));
    let said: Vec<_> = refusals
        .filter_map(|past| Some((&past.host, past.outcome.as_ref()?)))
        .collect();
    let Some((_, last)) = said.last() else {
        return Waits::NoHostFits;
    };
    let each = said.iter().map(|(host, outcome)| {
        let why = Some(&outcome.why).filter(|why| !why.is_empty());
        format!("{host}: {}", why.unwrap_or(&outcome.reason))
    });
    let each: Vec<_> = each.collect();
    let why = format!("all hosts that fit have refused it: {}", each.join("; "));
    Waits::RefusedByAll {
        reason: last.reason.clone(),
        why: why.chars().take(WHY_MAX).collect(),
    }
}

/// Most characters of what all hosts have said.
const WHY_MAX: usize = 2000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::outcome::State;

    fn host(name: &str, zone: &str, state: v1::host::State) -> KnownHost {
        KnownHost {
            name: name.to_owned(),
            host: Some(v1::Host {
                state: state.into(),
                labels: [("zone".to_owned(), zone.to_owned())].into(),
                ..v1::Host::default()
            }),
            drain: None,
        }
    }

    fn refused_by(waiting: &mut v1::Waiting, host: &str) {
        waiting.past.push(v1::Past {
            host: host.to_owned(),
            attempt: waiting.attempt,
            outcome: Some(v1::Outcome {
                state: State::Refused.into(),
                reason: "NOT_ALLOWED".to_owned(),
                why: "no".to_owned(),
                ..v1::Outcome::default()
            }),
            times: 1,
        });
    }

    #[test]
    fn a_job_waits_while_a_host_that_fits_has_not_refused_it() {
        use v1::host::State as Is;
        let mut waiting = v1::Waiting {
            on: [("zone".to_owned(), "a".to_owned())].into(),
            ..v1::Waiting::default()
        };
        let mut hosts = vec![host("web3", "b", Is::Ready)];
        assert_eq!(waits(&waiting, &hosts), Waits::NoHostFits);
        hosts.extend([host("web1", "a", Is::Ready), host("web2", "a", Is::Away)]);
        assert_eq!(waits(&waiting, &hosts), Waits::ForRoom);
        assert!(!has_refusal(&waiting));
        refused_by(&mut waiting, "web1");
        assert!(has_refusal(&waiting));
        assert_eq!(waits(&waiting, &hosts), Waits::ForRoom, "web2 may be back");
        let mut drained = hosts.clone();
        drained[2].drain = Some(v1::Drain::default());
        let no = Waits::RefusedByAll {
            reason: "NOT_ALLOWED".to_owned(),
            why: "all hosts that fit have refused it: web1: no".to_owned(),
        };
        assert_eq!(waits(&waiting, &drained), no);
        refused_by(&mut waiting, "web2");
        assert!(matches!(
            waits(&waiting, &hosts),
            Waits::RefusedByAll { .. }
        ));
        waiting.attempt = 1;
        assert_eq!(waits(&waiting, &hosts), Waits::ForRoom, "another attempt");
    }
}
