//! Waiting that a person at a terminal is told about.

use std::io::{self, IsTerminal};
use std::time::Duration;

use crate::output;

/// Whoever waits for longer wonders what for.
const UNREMARKED: Duration = Duration::from_secs(1);

/// Waits, and if that takes long says once what for, to a person: no line of it is in a script's
/// log.
pub async fn patiently<T>(what: impl FnOnce() -> String, wait: impl Future<Output = T>) -> T {
    let mut wait = std::pin::pin!(wait);
    if io::stderr().is_terminal() {
        match tokio::time::timeout(UNREMARKED, &mut wait).await {
            Ok(done) => return done,
            Err(_) => output::notice(&what()),
        }
    }
    wait.await
}
