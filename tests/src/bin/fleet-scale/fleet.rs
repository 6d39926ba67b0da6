//! The fleet: jobs that are submitted, told to the hosts that watch them, claimed by one of those,
//! and run, each step a transaction as the agent does it.
//!
//! Each host could take each job, which is the worst: labels make it fewer.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use prn_tests::random::Random;

use crate::inputs::{RUN_TIME, SECOND, START_TIME, Store};
use crate::spread::Spread;
use crate::store::{Etcd, Told};

/// Most claims under way at a time, of one agent.
const CLAIMS_MAX: usize = 16;
/// A store that is as far behind does not keep up.
const TOO_FAR: u64 = 5 * SECOND;

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub store: Store,
    pub hosts: u32,
    /// Parts of the queue.
    pub shards: u32,
    /// How many of them each host watches.
    pub watched: u32,
    /// Processes that a host takes at a time.
    pub capacity: u32,
    /// Jobs in so many seconds.
    pub jobs: u64,
    pub seconds: u64,
    pub spread: Spread,
    /// An agent that has lost asks for the job again, if its watch has not said that it is gone.
    pub asks_again: bool,
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub claimed: u64,
    /// Claims that were another's already.
    pub lost: u64,
    pub writes: u64,
    pub events: u64,
    /// Of that time, in which jobs were submitted.
    pub time: u64,
    /// The store kept up.
    pub keeps_up: bool,
    /// From a submission to that its process is known to run, sorted.
    pub waits: Vec<u64>,
}

impl Outcome {
    /// That part of the jobs waited no longer.
    pub fn wait(&self, percent: usize) -> u64 {
        let place = (self.waits.len() * percent / 100).min(self.waits.len().saturating_sub(1));
        self.waits.get(place).copied().unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Submit,
    /// The next of those who wait for this job has waited.
    Waited {
        job: usize,
    },
    /// This host has, which looks at it later than others, or again.
    WaitedAgain {
        job: usize,
        host: u32,
    },
    /// The host is told that it has lost.
    Lost {
        job: usize,
        host: u32,
    },
    /// The process runs.
    Runs {
        job: usize,
        host: u32,
    },
    Ended {
        host: u32,
    },
    Announce {
        host: u32,
    },
    /// The host has room again.
    Look {
        host: u32,
    },
}

#[derive(Debug)]
struct Job {
    shard: u32,
    submitted: u64,
    told: Told,
    /// Hosts are told that it waits no more. `None`: it waits.
    gone: Option<Told>,
    /// When who has waited.
    waiting: VecDeque<(u64, u32)>,
}

#[derive(Debug, Default)]
struct Host {
    /// Its shards, and its place among those who watch each.
    places: Vec<(u32, u32)>,
    running: u32,
    /// Claims under way, and when they are over.
    claims: Vec<(usize, u64)>,
    /// It has seen jobs that it had no room for.
    has_more: bool,
    announced: u64,
    will_announce: bool,
}

#[derive(Debug, Default)]
struct Shard {
    hosts: Vec<u32>,
    /// Jobs that not all know to be gone.
    seen: VecDeque<usize>,
}

struct Fleet {
    plan: Plan,
    random: Random,
    etcd: Etcd,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    count: u64,
    jobs: Vec<Job>,
    hosts: Vec<Host>,
    shards: Vec<Shard>,
    claimed: u64,
    lost: u64,
    waits: Vec<u64>,
}

/// Simulates it to the end of its last process, or until the store is too far behind.
pub fn simulate(plan: Plan) -> Outcome {
    let mut fleet = Fleet::new(plan);
    let mut random = fleet.random.fork();
    for second in 0..plan.seconds {
        let before = plan.jobs * second / plan.seconds;
        for _ in before..plan.jobs * (second + 1) / plan.seconds {
            let at = second * SECOND + random.below(SECOND);
            fleet.then(at, Event::Submit);
        }
    }
    let (mut now, mut keeps_up) = (0, true);
    while let Some(Reverse((at, _, event))) = fleet.events.pop() {
        now = at;
        fleet.step(at, event);
        if fleet.etcd.behind(now) > TOO_FAR {
            keeps_up = false;
            break;
        }
    }
    let all = plan.seconds * SECOND;
    fleet.waits.sort_unstable();
    Outcome {
        claimed: fleet.claimed,
        lost: fleet.lost,
        writes: fleet.etcd.writes,
        events: fleet.etcd.events,
        time: if keeps_up { all } else { now.clamp(1, all) },
        keeps_up,
        waits: fleet.waits,
    }
}

impl Fleet {
    fn new(plan: Plan) -> Self {
        let mut hosts: Vec<_> = (0..plan.hosts).map(|_| Host::default()).collect();
        let mut shards: Vec<_> = (0..plan.shards).map(|_| Shard::default()).collect();
        let apart = (plan.shards / plan.watched).max(1);
        for (number, host) in (0..).zip(&mut hosts) {
            for more in 0..plan.watched {
                let shard = (number + more * apart) % plan.shards;
                let watchers = &mut shards[shard as usize].hosts;
                host.places.push((shard, watchers.len() as u32));
                watchers.push(number);
            }
        }
        Self {
            random: Random::new(plan.seed),
            etcd: Etcd::new(plan.store),
            events: BinaryHeap::new(),
            count: 0,
            jobs: Vec::new(),
            hosts,
            shards,
            claimed: 0,
            lost: 0,
            waits: Vec::new(),
            plan,
        }
    }

    fn then(&mut self, at: u64, event: Event) {
        self.count += 1;
        self.events.push(Reverse((at, self.count, event)));
    }

    fn step(&mut self, now: u64, event: Event) {
        match event {
            Event::Submit => self.submit(now),
            Event::Waited { job } => self.waited(now, job),
            Event::WaitedAgain { job, host } => self.claim(now, job, host),
            Event::Lost { job, host } => {
                if self.plan.asks_again && !self.is_known_gone(now, job, host) {
                    self.wait_for(now, job, host);
                }
                self.look_if_more(now, host);
            }
            Event::Runs { job, host } => {
                let known = self.etcd.commit(now);
                self.waits.push(known - self.jobs[job].submitted);
                let ends = known + 1 + self.random.below(2 * RUN_TIME);
                self.then(ends, Event::Ended { host });
            }
            Event::Ended { host } => {
                self.etcd.commit(now);
                self.hosts[host as usize].running -= 1;
                self.touch(now, host);
                self.look_if_more(now, host);
            }
            Event::Announce { host } => {
                let done = self.etcd.commit(now);
                let host = &mut self.hosts[host as usize];
                (host.announced, host.will_announce) = (done, false);
            }
            Event::Look { host } => self.look_if_more(now, host),
        }
    }

    fn submit(&mut self, now: u64) {
        let shard = self.random.below(u64::from(self.plan.shards)) as u32;
        let number = self.jobs.len();
        let done = self.etcd.commit(now);
        let watchers = std::mem::take(&mut self.shards[shard as usize].hosts);
        let told = self.etcd.tell(done, watchers.len() as u32);
        let mut waiting = Vec::with_capacity(watchers.len());
        for (place, host) in (0..).zip(&watchers) {
            let told = told.at(place);
            if let Some(until) = self.begin(told, number, *host) {
                waiting.push((until, *host));
            }
        }
        waiting.sort_unstable();
        if let Some((first, _)) = waiting.first() {
            self.then(*first, Event::Waited { job: number });
        }
        let shard_of = &mut self.shards[shard as usize];
        shard_of.hosts = watchers;
        shard_of.seen.push_back(number);
        self.jobs.push(Job {
            shard,
            submitted: now,
            told,
            gone: None,
            waiting: waiting.into(),
        });
    }

    /// A host that has room waits before it claims; until when.
    fn begin(&mut self, now: u64, job: usize, number: u32) -> Option<u64> {
        let host = &mut self.hosts[number as usize];
        host.claims.retain(|(_, until)| *until > now);
        let used = host.running + host.claims.len() as u32;
        if host.claims.len() >= CLAIMS_MAX || used >= self.plan.capacity {
            if !std::mem::replace(&mut host.has_more, true) {
                let first = host.claims.iter().map(|(_, until)| *until).min();
                if let Some(first) = first {
                    self.then(first, Event::Look { host: number });
                }
            }
            return None;
        }
        let until = now
            + self
                .plan
                .spread
                .wait(&mut self.random, used, self.plan.capacity);
        host.claims.push((job, until));
        Some(until)
    }

    fn wait_for(&mut self, now: u64, job: usize, host: u32) {
        if let Some(until) = self.begin(now, job, host) {
            self.then(until, Event::WaitedAgain { job, host });
        }
    }

    fn waited(&mut self, now: u64, job: usize) {
        let of = &mut self.jobs[job];
        let Some((_, host)) = of.waiting.pop_front() else {
            return;
        };
        let all_know = of.gone.is_some_and(|gone| gone.last() <= now);
        if all_know {
            of.waiting = VecDeque::new();
        } else if let Some((next, _)) = of.waiting.front().copied() {
            self.then(next, Event::Waited { job });
        }
        self.claim(now, job, host);
    }

    fn is_known_gone(&self, now: u64, job: usize, host: u32) -> bool {
        let job = &self.jobs[job];
        let place = self.place(job.shard, host);
        job.gone.is_some_and(|gone| gone.at(place) <= now)
    }

    fn place(&self, shard: u32, host: u32) -> u32 {
        let places = &self.hosts[host as usize].places;
        let found = places.iter().find(|(of, _)| *of == shard);
        found.map(|(_, place)| *place).unwrap_or_default()
    }

    /// The host claims the job, unless it knows by now that it is gone.
    fn claim(&mut self, now: u64, job: usize, host: u32) {
        if self.is_known_gone(now, job, host) {
            return self.look_if_more(now, host);
        }
        let done = self.etcd.commit(now);
        let of = &mut self.hosts[host as usize];
        of.claims.retain(|(claimed, _)| *claimed != job);
        if self.jobs[job].gone.is_some() {
            self.lost += 1;
            of.claims.push((job, done));
            return self.then(done, Event::Lost { job, host });
        }
        of.running += 1;
        self.claimed += 1;
        let watchers = self.shards[self.jobs[job].shard as usize].hosts.len() as u32;
        self.jobs[job].gone = Some(self.etcd.tell(done, watchers));
        self.then(done + START_TIME, Event::Runs { job, host });
        self.touch(done, host);
    }

    /// Others are told of what is free, once a second at most.
    fn touch(&mut self, now: u64, number: u32) {
        let host = &mut self.hosts[number as usize];
        if std::mem::replace(&mut host.will_announce, true) {
            return;
        }
        let at = if host.announced == 0 {
            now
        } else {
            now.max(host.announced + SECOND)
        };
        self.then(at, Event::Announce { host: number });
    }

    /// A host that had no room for all looks at what it knows to wait, the oldest first.
    fn look_if_more(&mut self, now: u64, host: u32) {
        if !std::mem::take(&mut self.hosts[host as usize].has_more) {
            return;
        }
        let mut untold: Option<u64> = None;
        for (shard, place) in self.hosts[host as usize].places.clone() {
            self.forget_gone(now, shard);
            let mut next = 0;
            while let Some(job) = self.shards[shard as usize].seen.get(next).copied() {
                next += 1;
                let of = &self.jobs[job];
                let told = of.told.at(place);
                if of.gone.is_some_and(|gone| gone.at(place) <= now) {
                    continue;
                }
                if told > now {
                    untold = Some(untold.map_or(told, |first| first.min(told)));
                    continue;
                }
                let claims = &self.hosts[host as usize].claims;
                if claims
                    .iter()
                    .any(|(own, until)| *own == job && *until > now)
                {
                    continue;
                }
                self.wait_for(now, job, host);
                if self.hosts[host as usize].has_more {
                    return;
                }
            }
        }
        if let Some(told) = untold {
            self.hosts[host as usize].has_more = true;
            self.then(told, Event::Look { host });
        }
    }

    /// Drops what all of a shard's hosts know to be gone.
    fn forget_gone(&mut self, now: u64, shard: u32) {
        let seen = &mut self.shards[shard as usize].seen;
        while let Some(first) = seen.front() {
            let gone = self.jobs[*first].gone;
            if gone.is_none_or(|gone| gone.last() > now) {
                return;
            }
            seen.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::{CAPACITY, LARGE, SMALL};
    use crate::spread::TODAY;

    fn small() -> Plan {
        Plan {
            store: LARGE,
            hosts: 50,
            shards: 1,
            watched: 1,
            capacity: CAPACITY,
            jobs: 200,
            seconds: 4,
            spread: TODAY,
            asks_again: true,
            seed: 7,
        }
    }

    #[test]
    fn the_same_seed_is_the_same_fleet_and_another_is_another() {
        let first = simulate(small());
        assert_eq!(first, simulate(small()));
        assert_ne!(first, simulate(Plan { seed: 8, ..small() }));
    }

    #[test]
    fn each_job_is_claimed_once_and_runs() {
        let outcome = simulate(small());
        assert!(outcome.keeps_up);
        assert_eq!(outcome.claimed, 200);
        assert_eq!(outcome.waits.len(), 200);
        // Submitted, claimed, running and ended; and each host is announced.
        assert!(outcome.writes > 4 * 200 + outcome.lost, "{outcome:?}");
        assert_eq!(outcome.events, 2 * 200 * 50);
    }

    #[test]
    fn one_host_alone_never_loses_and_is_never_too_full() {
        let outcome = simulate(Plan {
            hosts: 1,
            jobs: 300,
            ..small()
        });
        assert_eq!((outcome.lost, outcome.claimed), (0, 300));
        assert!(outcome.wait(99) > SECOND, "it has room for 100 at a time");
    }

    #[test]
    fn a_store_that_is_asked_for_too_much_does_not_keep_up() {
        let plan = Plan {
            store: SMALL,
            hosts: 5_000,
            ..small()
        };
        assert!(!simulate(plan).keeps_up);
    }

    #[test]
    fn shards_leave_each_host_less_to_be_told() {
        let whole = simulate(small());
        let parts = simulate(Plan {
            shards: 10,
            watched: 2,
            ..small()
        });
        assert_eq!(parts.events * 5, whole.events);
        assert_eq!(parts.claimed, 200);
        assert!(parts.lost < whole.lost, "{} {}", parts.lost, whole.lost);
    }
}
