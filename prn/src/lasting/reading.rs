//! Reading a process's output: over more than one connection if need be, to its end frame.

use std::time::Duration;

use prn_client::{
    Client, ClientError, Event, FOLLOW_TIMEOUT, OutputEnd, OutputPolicy, OutputRequest,
    OutputStream, ProcessId, Truncated, reason,
};
use prn_proto::units::show_duration;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::lasting::wait::{PAUSE, PAUSE_MAX};
use crate::output;
use crate::which::connection::Remote;

/// How long it is tried again, unless it is said: less than a restart of the server's machine
/// takes.
pub const PATIENCE: Duration = Duration::from_millis(7500);

/// For how long a lost connection is worth new tries: as long as the process waits, as far as that
/// is known here.
pub fn patience(policy: Option<OutputPolicy>, follow_timeout: Option<Duration>) -> Duration {
    match policy {
        Some(OutputPolicy::Follow) => follow_timeout.unwrap_or(FOLLOW_TIMEOUT),
        Some(OutputPolicy::DropOldest | OutputPolicy::StopReading | OutputPolicy::Kill) | None => {
            PATIENCE
        }
    }
}

/// How output ended that was read to its end.
#[derive(Debug, Default)]
pub struct Ending {
    /// Its end frame. `None` only without following, for a process that is alive.
    pub end: Option<OutputEnd>,
    /// Bytes were missing, and said to be.
    pub gap: bool,
}

/// Output that goes on where it was when a connection is lost.
#[derive(Debug)]
pub struct Reading<'a> {
    remote: &'a Remote,
    id: ProcessId,
    request: OutputRequest,
    /// The connection that it is read on, if there is one.
    connected: watch::Sender<Option<Client>>,
    stream: Option<OutputStream>,
    /// Of the server run that answered first.
    epoch: Option<String>,
    /// The process is known to exist, so that a failure is worth another try.
    exists: bool,
    /// For how long.
    patience: Duration,
    /// Since when nothing has come.
    failing: Option<Failing>,
    not_before: Option<Instant>,
}

/// Whose connection is back within this time need not hear of it.
const UNREMARKED: Duration = Duration::from_millis(500);

/// A connection that was lost.
#[derive(Debug, Clone, Copy)]
struct Failing {
    since: Instant,
    /// Before the next try.
    pause: Duration,
    /// That it was lost was said.
    is_told: bool,
}

impl<'a> Reading<'a> {
    /// Of one process, beginning on a connection that is there.
    pub fn new(remote: &'a Remote, client: Client, id: ProcessId, request: OutputRequest) -> Self {
        Self {
            remote,
            id,
            request,
            connected: watch::Sender::new(Some(client)),
            stream: None,
            epoch: None,
            exists: false,
            patience: PATIENCE,
            failing: None,
            not_before: None,
        }
    }

    /// Of one that the server is known to know, and to wait for this client for so long.
    pub fn of_known(self, patience: Duration) -> Self {
        Self {
            exists: true,
            patience,
            ..self
        }
    }

    /// The server that it comes from.
    pub fn remote(&self) -> &'a Remote {
        self.remote
    }

    /// The connection that it is read on, if there is one.
    pub fn client(&self) -> Option<Client> {
        self.connected.borrow().clone()
    }

    /// The same, each time that it is another one, for as long as this is there.
    pub fn connected(&self) -> watch::Receiver<Option<Client>> {
        self.connected.subscribe()
    }

    /// Whose output it is.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// Offset just after what was read.
    pub fn offset(&self) -> u64 {
        let stream = self.stream.as_ref();
        stream.map_or(self.request.from, OutputStream::offset)
    }

    /// Whether it has ended since there are as many bytes as were asked for.
    pub fn truncated(&self) -> Option<Truncated> {
        self.stream.as_ref()?.truncated()
    }

    /// The next event; `None` after the last. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            let error = match self.try_next().await {
                Ok(event) => {
                    self.failing = None;
                    return Ok(event);
                }
                Err(error) => error,
            };
            self.stream = None;
            self.connected.send_replace(None);
            if !self.exists {
                return Err(error);
            }
            let now = Instant::now();
            let failing = self.failing.unwrap_or(Failing {
                since: now,
                pause: PAUSE,
                is_told: false,
            });
            // The last try is at the end of that time, whatever the pauses come to.
            let last = failing.since + self.patience;
            if !error.is_transient() || now >= last {
                return Err(self.cut_off(error));
            }
            // A server that is reloaded is back at once: not worth a word.
            let is_told = now >= failing.since + UNREMARKED;
            if is_told && !failing.is_told && self.patience > PATIENCE {
                let wait = show_duration(self.patience);
                output::notice(&format!(
                    "the connection is lost: trying for {wait} to come back ({error})"
                ));
            }
            self.not_before = Some((now + failing.pause).min(last));
            self.failing = Some(Failing {
                pause: (failing.pause * 2).min(PAUSE_MAX),
                is_told: failing.is_told || is_told,
                ..failing
            });
        }
    }

    async fn try_next(&mut self) -> Result<Option<Event>, ClientError> {
        if let Some(instant) = self.not_before {
            tokio::time::sleep_until(instant).await;
            self.not_before = None;
        }
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let client = match self.client() {
                    Some(client) => client,
                    None => {
                        let client = self.remote.connect().await?;
                        self.connected.send_replace(Some(client.clone()));
                        client
                    }
                };
                let stream = match &self.epoch {
                    Some(epoch) => client.resume(self.id, self.request, epoch).await?,
                    None => client.output(self.id, self.request).await?,
                };
                self.exists = true;
                if self.epoch.is_none() {
                    self.epoch = stream.boot_epoch().map(str::to_owned);
                }
                self.stream.insert(stream)
            }
        };
        let event = stream.next().await;
        self.request = stream.resume();
        event
    }

    fn cut_off(&self, error: ClientError) -> ClientError {
        let offset = self.request.from;
        let forgotten = error
            .refusal()
            .is_some_and(|refusal| refusal.reason == reason::PROCESS_NOT_FOUND);
        let source = if forgotten {
            let why =
                "the server no longer knows the process: it was restarted, or has forgotten it";
            Some(Box::new(ClientError::Protocol(why)))
        } else if let ClientError::CutOff { source, .. } = error {
            source
        } else {
            Some(Box::new(error))
        };
        ClientError::CutOff { offset, source }
    }
}
