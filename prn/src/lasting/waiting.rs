//! Waiting for the end of processes, over more than one connection if need be.

use std::time::Duration;

use prn_client::{Client, ClientError, FOLLOW_TIMEOUT, WaitRequest, Waited, reason};
use prn_proto::units::show_duration;
use tokio::time::Instant;

use crate::lasting::wait::{PAUSE, PAUSE_MAX};
use crate::output;
use crate::which::connection::Remote;

/// For how long a lost connection is worth new tries.
const PATIENCE: Duration = FOLLOW_TIMEOUT;

/// A wait that begins again where a connection is lost: it changes nothing on the server.
#[derive(Debug)]
pub struct Waiting<'a> {
    remote: &'a Remote,
    client: Option<Client>,
    /// The server run in which the processes were found.
    epoch: Option<String>,
}

impl<'a> Waiting<'a> {
    /// Beginning on a connection that is there.
    pub fn new(remote: &'a Remote, client: Client) -> Self {
        Self {
            remote,
            client: Some(client),
            epoch: None,
        }
    }

    /// How they ended.
    ///
    /// # Errors
    /// [`ClientError::ProcessLost`] if the server was restarted since.
    pub async fn wait(&mut self, request: &WaitRequest) -> Result<Waited, ClientError> {
        let mut failing: Option<(Instant, Duration)> = None;
        let mut is_told = false;
        loop {
            let error = match self.wait_once(request).await {
                Ok(waited) => {
                    self.epoch = Some(waited.boot_epoch.clone());
                    return Ok(waited);
                }
                Err(error) => error,
            };
            self.client = None;
            if self.is_of_another_run(&error) {
                return Err(ClientError::ProcessLost);
            }
            let now = Instant::now();
            let (last, pause) = failing.unwrap_or_else(|| (now + PATIENCE, PAUSE));
            if !error.is_transient() || self.epoch.is_none() || now >= last {
                return Err(error);
            }
            // A server that is reloaded is back at once: not worth a word.
            if !is_told && failing.is_some() {
                is_told = true;
                let wait = show_duration(PATIENCE);
                output::notice(&format!(
                    "the connection is lost: trying for {wait} to come back ({error})"
                ));
            }
            tokio::time::sleep_until((now + pause).min(last)).await;
            failing = Some((last, (pause * 2).min(PAUSE_MAX)));
        }
    }

    /// Waits on one connection, and learns beside that in which run of the server.
    async fn wait_once(&mut self, request: &WaitRequest) -> Result<Waited, ClientError> {
        let client = match self.client.clone() {
            Some(client) => client,
            None => self.remote.connect().await?,
        };
        self.client = Some(client.clone());
        let mut waited = std::pin::pin!(client.wait(request));
        if self.epoch.is_none() {
            tokio::select! {
                biased;
                waited = &mut waited => return waited,
                server = client.server() => {
                    self.epoch = server.ok().map(|server| server.boot_epoch);
                }
            }
        }
        waited.await
    }

    /// Whether the server does not know a process since it is not the run that did.
    fn is_of_another_run(&self, error: &ClientError) -> bool {
        let (Some(refusal), Some(epoch)) = (error.refusal(), &self.epoch) else {
            return false;
        };
        refusal.reason == reason::PROCESS_NOT_FOUND
            && refusal.boot_epoch.as_ref().is_some_and(|now| now != epoch)
    }
}
