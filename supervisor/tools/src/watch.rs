//! `prn-watch`: looks again and again how much of the disk directories of a workspace take, as its
//! user.
//!
//! Processes of that user change the trees meanwhile, and may do so to lead this one astray: what
//! moves, vanishes or is closed is left out, the way up never leaves a tree, and each look ends. All
//! that is lost by it is that the workspace has more than was seen.

mod usage;

use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use prn_ipc_protocol::fds::{self, tools};

/// Least time between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// The pause is so many times as long as the look before it: a tenth of a processor at most.
const PAUSE_LOOKS: u32 = 9;

/// The descriptors from [`tools::WATCHED`] on are the directories, the first argument is the bound,
/// the second may be [`tools::OVER`]. Ends with [`tools::ABOVE`] when there is more, and else with a
/// failure at once, or never.
pub fn main() -> ExitCode {
    // Its user's other processes shall not trace it: it is less confined than they are.
    if prctl::set_dumpable(false).is_err() {
        return ExitCode::FAILURE;
    }
    let mut arguments = std::env::args().skip(1);
    let Some(most) = arguments.next().and_then(|text| text.parse().ok()) else {
        return ExitCode::FAILURE;
    };
    let is_over = arguments.any(|argument| argument.as_bytes() == tools::OVER.to_bytes());
    let trees: Vec<OwnedFd> = (tools::WATCHED..)
        .map_while(|number| fds::inherited(number).ok())
        .collect();
    if trees.is_empty() {
        return ExitCode::FAILURE;
    }
    let mut watch = Watch::new(most, is_over);
    loop {
        let begun = Instant::now();
        let used = usage::of(&trees, watch.enough(), usage::Bounds::default());
        match watch.looked(used) {
            Next::Pause => std::thread::sleep(pause(begun.elapsed())),
            Next::LookAgain => {}
            Next::Above => return ExitCode::from(tools::ABOVE),
        }
    }
}

/// What a look leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// There is no more than there may be.
    Pause,
    /// There seems to be more. What was moved during a look may have been seen twice, so that it
    /// takes two looks, one right after the other, to be sure.
    LookAgain,
    /// There is more.
    Above,
}

/// What earlier looks have found.
#[derive(Debug)]
struct Watch {
    /// The bound.
    most: u64,
    /// What there may be: the bound, or, where there may be more from the beginning, the least that
    /// was seen since, so that who deletes in a workspace that is too full is left alone. `None`:
    /// that, before the first look.
    high: Option<u64>,
    /// The look before this one has seen more.
    is_doubted: bool,
}

impl Watch {
    fn new(most: u64, is_over: bool) -> Self {
        Self {
            most,
            high: (!is_over).then_some(most),
            is_doubted: false,
        }
    }

    /// A look that has seen more than so much need not go on.
    fn enough(&self) -> u64 {
        self.high.unwrap_or(u64::MAX)
    }

    fn looked(&mut self, used: u64) -> Next {
        let high = self.high.unwrap_or(used.max(self.most));
        if used > high {
            if self.is_doubted {
                return Next::Above;
            }
            self.is_doubted = true;
            return Next::LookAgain;
        }
        self.is_doubted = false;
        self.high = Some(high.min(used).max(self.most));
        Next::Pause
    }
}

/// How long to wait after a look that took so long.
fn pause(look: Duration) -> Duration {
    look.saturating_mul(PAUSE_LOOKS).max(PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_above_its_bound_twice_in_a_row_ends_it() {
        let mut watch = Watch::new(100, false);
        assert_eq!(watch.enough(), 100);
        for used in [0, 100, 50, 100] {
            assert_eq!(watch.looked(used), Next::Pause, "{used}");
            assert_eq!(watch.enough(), 100);
        }
        assert_eq!(watch.looked(101), Next::LookAgain);
        assert_eq!(watch.looked(100), Next::Pause);
        assert_eq!(watch.looked(101), Next::LookAgain);
        assert_eq!(watch.looked(102), Next::Above);
    }

    #[test]
    fn what_was_too_much_from_the_beginning_may_become_less_and_not_more() {
        let mut watch = Watch::new(100, true);
        assert_eq!(watch.enough(), u64::MAX);
        for (used, high) in [(500, 500), (500, 500), (300, 300), (250, 250)] {
            assert_eq!(watch.looked(used), Next::Pause, "{used}");
            assert_eq!(watch.enough(), high);
        }
        assert_eq!(watch.looked(251), Next::LookAgain);
        assert_eq!(watch.looked(200), Next::Pause);
        // Once there is room again the bound is the bound.
        assert_eq!(watch.looked(10), Next::Pause);
        assert_eq!(watch.looked(101), Next::LookAgain);
        assert_eq!(watch.looked(101), Next::Above);
    }

    #[test]
    fn looks_take_a_tenth_of_a_processor_at_most() {
        let pauses = [0, 100, 112, 2000].map(|millis| pause(Duration::from_millis(millis)));
        assert_eq!(
            pauses.map(|pause| pause.as_millis()),
            [1000, 1000, 1008, 18_000]
        );
    }
}
