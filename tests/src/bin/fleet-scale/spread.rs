//! How long hosts that could take the same job wait before they ask for it.

use prn_tests::random::Random;

use crate::inputs::MILLISECOND;

/// Half of the time by how full a host is, and half by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// Each time equally likely: as `delay()` of the agent does it.
    Even(u64),
    /// Each bit of time is as much more likely than the one before, 2^13 times over all: of few
    /// hosts and of ten thousand, about one asks first.
    Growing(u64),
}

/// Today's.
pub const TODAY: Spread = Spread::Even(20 * MILLISECOND);
/// 2^DOUBLINGS is about as many as there are hosts.
const DOUBLINGS: u64 = 13;

impl Spread {
    /// A host's wait, that has `used` of `all`.
    pub fn wait(self, random: &mut Random, used: u32, all: u32) -> u64 {
        let (Self::Even(time) | Self::Growing(time)) = self;
        let half = time / 2;
        let chance = match self {
            Self::Even(_) => random.below(half + 1),
            Self::Growing(_) => half * growing(random) / (DOUBLINGS << 16),
        };
        half * u64::from(used.min(all)) / u64::from(all.max(1)) + chance
    }
}

/// The logarithm, base 2, of a number from 1 to 2^13, in 65536ths. In integers, so that it is the
/// same on each machine.
fn growing(random: &mut Random) -> u64 {
    let number = (1 << 32) + random.below(((1 << DOUBLINGS) - 1) << 32);
    let whole = u64::from(number.ilog2());
    let rest = (number >> (whole - 16)) & 0xffff;
    ((whole - 32) << 16) + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_spread_lets_few_be_early() {
        let mut random = Random::new(1);
        let mut waits = |spread: Spread| {
            let mut all: Vec<_> = (0..10_000)
                .map(|_| spread.wait(&mut random, 0, 1))
                .collect();
            all.sort_unstable();
            all
        };
        let (even, growing) = (
            waits(Spread::Even(2_000_000)),
            waits(Spread::Growing(2_000_000)),
        );
        let early = |all: &[u64]| all.iter().filter(|wait| **wait < 100_000).count();
        assert!(early(&even) > 900, "{}", early(&even));
        assert!(early(&growing) < 20, "{}", early(&growing));
        assert!(*growing.last().unwrap() <= 1_000_000);
    }

    #[test]
    fn a_full_host_waits_for_longer() {
        let mut random = Random::new(1);
        assert!(TODAY.wait(&mut random, 100, 100) >= 10 * MILLISECOND);
        assert!(TODAY.wait(&mut random, 0, 100) <= 10 * MILLISECOND);
    }
}
