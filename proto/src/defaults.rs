//! What a server does where a request does not say. A client counts on it when it waits. And where
//! both meet where nothing else is said.

use std::time::Duration;

/// Where a server listens, and where clients look for it (`HOST:PORT`).
pub const ADDRESS: &str = "127.0.0.1:50051";

/// How long a process waits while nobody follows it (`StartRequest.follow_timeout`): for a client
/// that comes back after its connection was lost.
pub const FOLLOW_TIMEOUT: Duration = Duration::from_secs(30);

/// From SIGTERM to SIGKILL (`StartRequest.stop_grace`), unless `prn server start` was told
/// otherwise.
pub const STOP_GRACE: Duration = Duration::from_secs(10);
