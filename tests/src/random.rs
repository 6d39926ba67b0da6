//! Random numbers that can be had again.

use std::time::SystemTime;

/// A generator (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From the seed in the environment variable, or from the clock. The test prints which, to be
    /// run again with it.
    ///
    /// # Panics
    /// If the variable is no number.
    pub fn from_environment(variable: &str) -> Self {
        let seed = match std::env::var(variable) {
            Ok(text) => text.parse().expect("a seed"),
            Err(_) => SystemTime::UNIX_EPOCH
                .elapsed()
                .map_or(0, |time| u64::from(time.subsec_nanos()) ^ time.as_secs()),
        };
        println!("{variable}={seed}");
        Self(seed)
    }

    /// The next one.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// So many bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.number().to_ne_bytes());
        words.flatten().take(length).collect()
    }

    /// One below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// Another generator.
    pub fn fork(&mut self) -> Self {
        Self(self.number())
    }
}
