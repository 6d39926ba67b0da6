//! What keeps a job from being started, as people are told: no I/O.

use crate::hosts::KnownHost;
use crate::job::{fits, has_room};
use crate::placing::{Waits, waits};
use crate::v1;
use crate::v1::host::State;

/// What keeps a job from being started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hindrance {
    /// No host is announced.
    NoHosts,
    /// None that is announced has its name and its labels.
    NoHostFits,
    /// None of those that fit ever has that much.
    TooLarge,
    /// Those that fit and are large enough take nothing now.
    Unready(Vec<(String, Unready)>),
    /// Those that fit and take jobs have no room now.
    Full,
    /// Nothing but its turn: a host that fits has room.
    Turn,
    /// All that fit have refused it.
    RefusedByAll {
        /// Stable name of the last refusal's reason.
        reason: String,
        /// What each has said.
        why: String,
    },
}

impl Hindrance {
    /// Whether other hosts would have to be announced: those that are would never take it.
    pub fn is_unplaceable(&self) -> bool {
        matches!(self, Self::NoHosts | Self::NoHostFits | Self::TooLarge)
    }

    /// What keeps a job from all hosts, where this keeps it from some of them and the other from
    /// the rest: that of the part which is nearer to taking it.
    #[must_use]
    pub fn nearest(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::NoHosts, _) => other,
            (Self::NoHostFits, Self::NoHosts) => self,
            (Self::NoHostFits, _) => other,
            _ if other.is_unplaceable() => self,
            _ => other,
        }
    }
}

/// Why a host takes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unready {
    /// An operator drains it; why, if that was said.
    Drained(String),
    /// Its server does not answer.
    NoServer,
    /// Its agent was ended on purpose.
    Away,
}

/// What keeps a job that waits from being started, with these hosts.
pub fn hindrance(waiting: &v1::Waiting, hosts: &[KnownHost]) -> Hindrance {
    if let Waits::RefusedByAll { reason, why } = waits(waiting, hosts) {
        return Hindrance::RefusedByAll { reason, why };
    }
    let announced = hosts
        .iter()
        .filter_map(|known| Some((known, known.host.as_ref()?)));
    let announced: Vec<_> = announced.collect();
    if announced.is_empty() {
        return Hindrance::NoHosts;
    }
    let mut fit = announced;
    fit.retain(|(known, host)| fits(waiting, &known.name, &host.labels));
    if fit.is_empty() {
        return Hindrance::NoHostFits;
    }
    let needs = waiting.needs.unwrap_or_default();
    fit.retain(|(_, host)| {
        let capacity = host.capacity.as_ref();
        capacity.is_none_or(|capacity| has_room(capacity, &needs))
    });
    if fit.is_empty() {
        return Hindrance::TooLarge;
    }
    let mut unready = Vec::new();
    let mut takes = Vec::new();
    for (known, host) in fit {
        match why_unready(known, host) {
            Some(why) => unready.push((known.name.clone(), why)),
            None => takes.push(host),
        }
    }
    let has_it = |host: &&v1::Host| has_room(&host.free.unwrap_or_default(), &needs);
    match takes.iter().any(has_it) {
        true => Hindrance::Turn,
        false if takes.is_empty() => Hindrance::Unready(unready),
        false => Hindrance::Full,
    }
}

fn why_unready(known: &KnownHost, host: &v1::Host) -> Option<Unready> {
    if let Some(drain) = &known.drain {
        return Some(Unready::Drained(drain.why.clone()));
    }
    match host.state() {
        State::Ready => None,
        State::Draining => Some(Unready::Drained(String::new())),
        State::NoServer | State::Unspecified => Some(Unready::NoServer),
        State::Away => Some(Unready::Away),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(processes: u32, memory_bytes: u64) -> v1::Resources {
        v1::Resources {
            processes,
            memory_bytes,
            cpu_millis: 0,
        }
    }

    fn host(name: &str, state: State, free: v1::Resources) -> KnownHost {
        KnownHost {
            name: name.to_owned(),
            host: Some(v1::Host {
                state: state.into(),
                labels: [("zone".to_owned(), "a".to_owned())].into(),
                capacity: Some(room(4, 100)),
                free: Some(free),
                ..v1::Host::default()
            }),
            drain: None,
        }
    }

    fn drained(mut known: KnownHost, why: &str) -> KnownHost {
        known.drain = Some(v1::Drain {
            why: why.to_owned(),
            ..v1::Drain::default()
        });
        known
    }

    fn job(zone: &str, memory: u64) -> v1::Waiting {
        v1::Waiting {
            on: [("zone".to_owned(), zone.to_owned())].into(),
            needs: Some(room(1, memory)),
            ..v1::Waiting::default()
        }
    }

    #[test]
    fn of_two_parts_of_the_hosts_that_counts_which_is_nearer_to_taking_a_job() {
        let in_order = [
            Hindrance::NoHosts,
            Hindrance::NoHostFits,
            Hindrance::TooLarge,
            Hindrance::Full,
        ];
        for (far, first) in in_order.iter().enumerate() {
            for (near, second) in in_order.iter().enumerate() {
                let expected = &in_order[far.max(near)];
                assert_eq!(&first.clone().nearest(second.clone()), expected);
            }
        }
        let unplaceable = in_order.map(|hindrance| hindrance.is_unplaceable());
        assert_eq!(unplaceable, [true, true, true, false]);
    }

    #[test]
    fn each_thing_that_a_job_waits_for_is_told_from_the_others() {
        let ready = || host("web1", State::Ready, room(4, 100));
        let full = || host("web1", State::Ready, room(0, 100));
        let no_server = || host("web2", State::NoServer, room(4, 100));
        let away = || host("web3", State::Away, room(4, 100));
        let unannounced = KnownHost {
            host: None,
            ..drained(ready(), "disk")
        };
        let disk = || ("web1".to_owned(), Unready::Drained("disk".to_owned()));
        let silent = || ("web2".to_owned(), Unready::NoServer);
        let gone = || ("web3".to_owned(), Unready::Away);
        for (job, hosts, expected) in [
            (job("a", 1), vec![], Hindrance::NoHosts),
            (job("a", 1), vec![unannounced], Hindrance::NoHosts),
            (job("b", 1), vec![ready()], Hindrance::NoHostFits),
            (job("a", 101), vec![ready(), away()], Hindrance::TooLarge),
            (job("a", 1), vec![full(), no_server()], Hindrance::Full),
            (job("a", 1), vec![ready(), no_server()], Hindrance::Turn),
            (
                job("a", 1),
                vec![no_server()],
                Hindrance::Unready(vec![silent()]),
            ),
            (
                job("a", 1),
                vec![drained(ready(), "disk"), no_server(), away()],
                Hindrance::Unready(vec![disk(), silent(), gone()]),
            ),
        ] {
            assert_eq!(hindrance(&job, &hosts), expected, "{hosts:?}");
        }
    }
}
