//! What a server does where a request does not say. A client counts on it when it waits.

use std::time::Duration;

/// How long a process waits while nobody follows it (`StartRequest.follow_timeout`): for a client
/// that comes back after its connection was lost.
pub const FOLLOW_TIMEOUT: Duration = Duration::from_secs(30);

/// From SIGTERM to SIGKILL (`StartRequest.stop_grace`), unless `prn server start` was told
/// otherwise.
pub const STOP_GRACE: Duration = Duration::from_secs(10);
