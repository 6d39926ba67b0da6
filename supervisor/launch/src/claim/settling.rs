//! How long what another server holds is waited for: one that ends, or that was killed, whose
//! children have its files for a moment more.

use std::time::{Duration, Instant};

/// At most so long.
pub const SETTLING: Duration = Duration::from_secs(1);

/// Between two looks.
pub const PAUSE: Duration = Duration::from_millis(10);

/// Waits until something is free. Returns whether it is.
///
/// # Errors
/// Of the look.
pub fn is_free<E>(mut look: impl FnMut() -> Result<bool, E>) -> Result<bool, E> {
    let deadline = Instant::now() + SETTLING;
    while !look()? {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_free_is_waited_for_and_an_error_is_not() {
        let mut looks = [Ok(false), Ok(false), Ok(true)].into_iter();
        assert_eq!(is_free(|| looks.next().unwrap_or(Err(()))), Ok(true));
        assert_eq!(looks.next(), None);
        let mut looks = [Ok(false), Err("no"), Ok(true)].into_iter();
        assert_eq!(is_free(|| looks.next().unwrap()), Err("no"));
        assert_eq!(looks.next(), Some(Ok(true)));
    }
}
