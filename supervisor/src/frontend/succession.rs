//! When the next frontend comes, and when none comes any more. Runs in the supervisor; pure.

use std::time::Duration;

/// This many frontends that died before the first one served: the fault is not a passing one.
const EARLY_DEATHS: u32 = 5;

/// Wait before a new frontend: this, doubled with each one that lived for less than [`SETTLED`], up
/// to 6.4 s.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Most doublings of [`BACK_OFF`].
const DOUBLINGS_MAX: u32 = 7;

/// A frontend that lives for this long was worth its start; one that does not serve by then never
/// will.
pub(super) const SETTLED: Duration = Duration::from_secs(30);

/// What follows a frontend's death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Another one, after this time.
    Respawn(Duration),
    /// None: no frontend gets as far as serving.
    GiveUp,
}

/// The frontends so far.
#[derive(Debug, Default)]
pub(super) struct Succession {
    /// Those that died in a row, each before it was [`SETTLED`].
    early_deaths: u32,
    /// One has served.
    has_served: bool,
}

impl Succession {
    /// A frontend serves. Returns whether it is the first one.
    pub fn serves(&mut self) -> bool {
        !std::mem::replace(&mut self.has_served, true)
    }

    /// A frontend has died that lived for this long.
    pub fn died(&mut self, lived: Duration) -> Next {
        if lived >= SETTLED {
            self.early_deaths = 0;
        } else {
            self.early_deaths = self.early_deaths.saturating_add(1);
        }
        if self.has_given_up() {
            Next::GiveUp
        } else {
            Next::Respawn(BACK_OFF * (1 << self.early_deaths.min(DOUBLINGS_MAX)))
        }
    }

    /// Whether no frontend got as far as serving, and none will.
    pub fn has_given_up(&self) -> bool {
        self.early_deaths >= EARLY_DEATHS && !self.has_served
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;

    #[test]
    fn the_wait_doubles_with_each_early_death_up_to_6_4_seconds() {
        let mut succession = Succession::default();
        assert!(succession.serves());
        for milliseconds in [100, 200, 400, 800, 1600, 3200, 6400, 6400, 6400] {
            let wait = Duration::from_millis(milliseconds);
            assert_eq!(succession.died(AT_ONCE), Next::Respawn(wait));
        }
    }

    #[test]
    fn one_that_has_settled_makes_up_for_those_before() {
        let mut succession = Succession::default();
        succession.serves();
        let not_settled = SETTLED - Duration::from_nanos(1);
        for deaths in 1..5 {
            let wait = BACK_OFF * (1 << deaths);
            assert_eq!(succession.died(not_settled), Next::Respawn(wait));
        }
        assert_eq!(succession.died(SETTLED), Next::Respawn(BACK_OFF));
        assert_eq!(succession.died(AT_ONCE), Next::Respawn(2 * BACK_OFF));
    }

    #[test]
    fn five_early_deaths_without_one_that_served_are_the_end() {
        let mut succession = Succession::default();
        for _ in 1..EARLY_DEATHS {
            assert!(matches!(succession.died(AT_ONCE), Next::Respawn(_)));
            assert!(!succession.has_given_up());
        }
        assert_eq!(succession.died(AT_ONCE), Next::GiveUp);
        assert!(succession.has_given_up());
    }

    #[test]
    fn once_one_has_served_there_is_always_another() {
        let mut succession = Succession::default();
        assert!(succession.serves());
        assert!(!succession.serves(), "not the first one any more");
        for _ in 0..1000 {
            assert!(matches!(succession.died(AT_ONCE), Next::Respawn(_)));
        }
    }
}
