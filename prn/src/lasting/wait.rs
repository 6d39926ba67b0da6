//! Waiting: between tries, and so that a person at a terminal is told of it.

use std::io::{self, IsTerminal};
use std::time::Duration;

use crate::output;

/// Pause before the first new try to go on, doubled for each one after it, up to the longest. A
/// frontend that is replaced takes less than the first few.
pub const PAUSE: Duration = Duration::from_millis(100);
pub const PAUSE_MAX: Duration = Duration::from_secs(4);

/// Whoever waits for longer wonders what for.
const UNREMARKED: Duration = Duration::from_secs(1);

/// Waits, and if that takes long says once what for, to a person: no line of it is in a script's
/// log.
pub async fn patiently<T>(what: impl FnOnce() -> String, wait: impl Future<Output = T>) -> T {
    patiently_asking(async || what(), wait).await
}

/// The same, where it takes a call to know what for.
pub async fn patiently_asking<T>(
    what: impl AsyncFnOnce() -> String,
    wait: impl Future<Output = T>,
) -> T {
    let mut wait = std::pin::pin!(wait);
    if io::stderr().is_terminal() {
        let remark = async {
            tokio::time::sleep(UNREMARKED).await;
            output::notice(&what().await);
        };
        tokio::select! {
            biased;
            done = &mut wait => return done,
            () = remark => {}
        }
    }
    wait.await
}
