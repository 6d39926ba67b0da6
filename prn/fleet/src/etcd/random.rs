//! Chance: for waits that are not all equally long, and for names that nobody else has.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

use super::error::EtcdError;

/// A part of `most`, each equally likely.
pub fn jitter(most: Duration) -> Duration {
    let mut bytes = [0; 4];
    // Without random bytes all wait equally long.
    let _all_alike = SystemRandom::new().fill(&mut bytes);
    let part = f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX);
    most.mul_f64(part)
}

/// 32 hexadecimal digits that nobody else has.
///
/// # Errors
/// The kernel has no random bytes.
pub fn token() -> Result<String, EtcdError> {
    let mut bytes = [0; 16];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| EtcdError::Protocol("the kernel has no random bytes"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
