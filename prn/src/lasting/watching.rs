//! Changes of processes, over as many connections as it takes.

use std::time::Duration;

use prn_client::{Change, Client, ClientError, Watch, WatchRequest, reason};
use prn_proto::units::show_duration;
use tokio::time::Instant;

use crate::lasting::wait::{PAUSE, PAUSE_MAX};
use crate::output;
use crate::which::connection::Remote;

/// For how long a server that cannot be reached is tried again. Its machine has restarted by then.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// For so long it is a frontend that is replaced, of which nobody needs to know.
pub const UNREMARKED: Duration = Duration::from_secs(2);

/// Changes that go on where they were when a connection is lost.
#[derive(Debug)]
pub struct Watching<'a> {
    remote: &'a Remote,
    watch: Watch,
    is_connected: bool,
    failing: Option<Failing>,
}

/// Nothing comes.
#[derive(Debug, Clone, Copy)]
struct Failing {
    since: Instant,
    /// Before the next try.
    pause: Duration,
    is_told: bool,
}

impl<'a> Watching<'a> {
    /// Begins, on a connection that is there.
    pub async fn begin(
        remote: &'a Remote,
        client: &Client,
        request: &WatchRequest,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            remote,
            watch: client.watch(request).await?,
            is_connected: true,
            failing: None,
        })
    }

    /// The next change; `None` where it was asked to end. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Change>, ClientError> {
        loop {
            let error = match self.try_next().await {
                Ok(change) => {
                    self.failing = None;
                    return Ok(change);
                }
                Err(error) => error,
            };
            self.is_connected = false;
            let now = Instant::now();
            let failing = self.failing.unwrap_or(Failing {
                since: now,
                pause: PAUSE,
                is_told: false,
            });
            if !may_pass(&error) || now >= failing.since + PATIENCE {
                return Err(error);
            }
            let is_long = now >= failing.since + UNREMARKED;
            if is_long && !failing.is_told {
                let wait = show_duration(PATIENCE);
                output::notice(&format!(
                    "the connection is lost: trying for {wait} to come back ({error})"
                ));
            }
            self.failing = Some(Failing {
                pause: (failing.pause * 2).min(PAUSE_MAX),
                is_told: failing.is_told || is_long,
                ..failing
            });
        }
    }

    /// Where it is, to go on from there another time.
    pub fn cursor(&self) -> Option<&str> {
        self.watch.cursor()
    }

    /// Random id of the server run that tells.
    pub fn boot_epoch(&self) -> Option<&str> {
        self.watch.boot_epoch()
    }

    async fn try_next(&mut self) -> Result<Option<Change>, ClientError> {
        if !self.is_connected {
            if let Some(Failing { pause, .. }) = self.failing {
                tokio::time::sleep(pause).await;
            }
            let client = self.remote.connect().await?;
            self.watch = client.resume_watch(&self.watch).await?;
            self.is_connected = true;
        }
        self.watch.next().await
    }
}

/// Whether it is worth another try. A server that ends may be followed by its next run.
pub fn may_pass(error: &ClientError) -> bool {
    let is_draining = error
        .refusal()
        .is_some_and(|refusal| refusal.reason == reason::DRAINING);
    error.is_transient() || is_draining
}
