//! Following a process's output: over more than one connection if need be, to its end frame, and on
//! to our own streams.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use prn_client::{
    Client, ClientError, Code, Event, OutputEnd, OutputRequest, OutputStream, ProcessId, Source,
    StopSignal, reason,
};
use prn_proto::units::show_duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::stop::waiting;
use super::wait::patiently;
use super::{Failure, Remote};
use crate::output::{self, Chunk, Lines, Relay};

/// Pause before the first new try to go on, doubled for each one after it, up to the longest. A
/// frontend that is replaced takes less than the first few.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(4);

/// How long it is tried again, unless it is said: less than a restart of the server's machine
/// takes.
pub const PATIENCE: Duration = Duration::from_millis(7500);

/// How output ended that was read to its end.
#[derive(Debug)]
pub struct Ending {
    /// Its end frame. `None` only without following, for a process that is alive.
    pub end: Option<OutputEnd>,
    /// Bytes were missing, and said to be.
    pub gap: bool,
}

/// Output that goes on where it was when a connection is lost.
pub struct Follower<'a> {
    remote: &'a Remote,
    id: ProcessId,
    request: OutputRequest,
    client: Option<Client>,
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

/// A connection that was lost.
#[derive(Debug, Clone, Copy)]
struct Failing {
    since: Instant,
    /// Before the next try.
    pause: Duration,
}

impl<'a> Follower<'a> {
    /// Of one process, beginning on a connection that is there.
    pub fn new(remote: &'a Remote, client: Client, id: ProcessId, request: OutputRequest) -> Self {
        Self {
            remote,
            id,
            request,
            client: Some(client),
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

    /// Whose output it is.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// The next event; `None` after the last. Cancel safe.
    async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            let error = match self.try_next().await {
                Ok(event) => {
                    self.failing = None;
                    return Ok(event);
                }
                Err(error) => error,
            };
            self.stream = None;
            self.client = None;
            if !self.exists {
                return Err(error);
            }
            let now = Instant::now();
            let failing = self.failing.unwrap_or(Failing {
                since: now,
                pause: PAUSE,
            });
            // The last try is at the end of that time, whatever the pauses come to.
            let last = failing.since + self.patience;
            if !error.is_transient() || now >= last {
                return Err(self.cut_off(error));
            }
            if self.failing.is_none() && self.patience > PATIENCE {
                let wait = show_duration(self.patience);
                output::notice(&format!(
                    "the connection is lost: trying for {wait} to come back ({error})"
                ));
            }
            self.not_before = Some((now + failing.pause).min(last));
            self.failing = Some(Failing {
                pause: (failing.pause * 2).min(PAUSE_MAX),
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
                let client = match &self.client {
                    Some(client) => client,
                    None => self.client.insert(self.remote.connect().await?),
                };
                let stream = client.output(self.id, self.request).await?;
                let epoch = stream.boot_epoch().unwrap_or_default().to_owned();
                self.exists = true;
                if self.epoch.get_or_insert_with(|| epoch.clone()) != &epoch {
                    return Err(ClientError::Protocol(
                        "the server was restarted, and the process ended with its predecessor",
                    ));
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

/// How long a server may take to answer whom a signal has asked to end.
const ANSWER: Duration = Duration::from_secs(5);

/// What a signal asks of `prn run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// Stop the process.
    Stop,
    /// Leave at once.
    Leave,
}

/// SIGINT, SIGTERM and SIGHUP, for `prn run`. Those that were ignored when prn was started
/// (nohup(1), `trap '' INT`, a shell's `&`) stay so.
pub struct Interrupts {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    hangup: Option<Signal>,
    count: u32,
    /// When one came whose sender will send no other, but expects prn to end.
    ending_since: Option<Instant>,
    /// For how long what they have asked for is waited for then.
    patience: Duration,
}

impl Interrupts {
    /// Takes the signals from now on: they no longer end prn by themselves.
    pub fn take() -> io::Result<Self> {
        let ignored = ignored_signals();
        let taken = |kind: SignalKind| {
            let bit = u32::try_from(kind.as_raw_value() - 1).unwrap_or_default();
            let is_ignored = ignored.checked_shr(bit).unwrap_or_default() & 1 == 1;
            if is_ignored {
                Ok(None)
            } else {
                signal(kind).map(Some)
            }
        };
        Ok(Self {
            interrupt: taken(SignalKind::interrupt())?,
            terminate: taken(SignalKind::terminate())?,
            hangup: taken(SignalKind::hangup())?,
            count: 0,
            ending_since: None,
            patience: ANSWER,
        })
    }

    /// From now on a signal stops a process that may take so long to end.
    pub fn expect_grace(&mut self, grace: Duration) {
        self.patience = ANSWER.saturating_add(grace);
    }

    /// What the next one asks for. A terminal that goes away often says so twice: that is never a
    /// second.
    ///
    /// Where a server does not answer, a second Ctrl-C ends prn. Whoever sends SIGTERM or SIGHUP
    /// need not send it twice: prn leaves in time by itself.
    pub async fn next(&mut self) -> Interrupt {
        let since = self.ending_since;
        let leave_at = since.and_then(|since| since.checked_add(self.patience));
        tokio::select! {
            () = received(self.interrupt.as_mut()) => {}
            () = received(self.terminate.as_mut()) => {
                self.ending_since.get_or_insert_with(Instant::now);
            }
            () = received(self.hangup.as_mut()) => {
                self.ending_since.get_or_insert_with(Instant::now);
                self.count = self.count.max(1);
                return Interrupt::Stop;
            }
            () = due(leave_at) => return Interrupt::Leave,
        }
        self.count += 1;
        if self.count > 1 {
            Interrupt::Leave
        } else {
            Interrupt::Stop
        }
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Bit n - 1 is set for a signal n that is ignored (proc_pid_status(5)).
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.unwrap_or_default()
}

/// Passes a process's output on, for `prn logs`: as it is, or as lines. A label names it in what
/// prn itself says.
///
/// Ends early if the relay does: [`Relay::finish`] tells why.
pub async fn pass_on(
    follower: &mut Follower<'_>,
    relay: &Relay,
    mut lines: Option<Lines>,
    label: Option<&str>,
) -> Result<Ending, ClientError> {
    let mut ending = Ending {
        end: None,
        gap: false,
    };
    let mut failed = None;
    loop {
        let mut chunks = Vec::new();
        let mut break_off = |chunks: &mut Vec<Chunk>, is_end| {
            let rest = lines
                .as_mut()
                .map(|lines| lines.break_off(is_end))
                .unwrap_or_default();
            chunks.extend(
                rest.into_iter()
                    .map(|(source, rest)| Chunk::Data(source, rest)),
            );
        };
        let mut is_over = true;
        match follower.next().await {
            Ok(Some(Event::Data {
                source, time, data, ..
            })) => {
                let data = lines
                    .as_mut()
                    .map_or_else(|| data.clone(), |lines| lines.feed(source, time, &data));
                chunks.push(Chunk::Data(source, data));
                is_over = false;
            }
            Ok(Some(Event::Gap { from, to })) => {
                ending.gap = true;
                break_off(&mut chunks, false);
                let label = label.map(|label| format!("{label}: ")).unwrap_or_default();
                chunks.push(Chunk::Notice(format!(
                    "{label}output bytes {from}..{to} were dropped"
                )));
                is_over = false;
            }
            Ok(Some(Event::End(end))) => {
                ending.end = Some(end);
                break_off(&mut chunks, true);
            }
            Ok(None) => break_off(&mut chunks, true),
            Err(error) => {
                failed = Some(error);
                break_off(&mut chunks, true);
            }
        }
        for chunk in chunks {
            match relay.room().await {
                Some(room) => room.send(chunk),
                None => return Ok(ending),
            }
        }
        if is_over {
            return failed.map_or(Ok(ending), Err);
        }
    }
}

/// Passes all output on to our own streams, for `prn run`.
///
/// The first interrupt stops the process, and following goes on; the second one ends this.
pub async fn follow(
    follower: &mut Follower<'_>,
    interrupts: &mut Interrupts,
    mut interrupted: bool,
    grace: Option<Duration>,
) -> Result<Ending, Failure> {
    let mut relay = Relay::start(Source::Stdout)?;
    let mut ending = Ending {
        end: None,
        gap: false,
    };
    let mut pending: Option<Chunk> = None;
    let mut failed = None;
    let mut stopping = interrupted.then(|| stop(follower, grace));
    loop {
        tokio::select! {
            biased;
            interrupt = interrupts.next() => {
                if interrupt == Interrupt::Leave {
                    return Err(Failure::Left(follower.id));
                }
                if !interrupted {
                    interrupted = true;
                    stopping = Some(stop(follower, grace));
                }
            }
            stopped = stopped(&mut stopping) => {
                stopping = None;
                if let Err(error) = stopped {
                    if let source @ ClientError::NoAnswer { .. } = error {
                        return Err(Failure::StopUnknown { id: follower.id, source });
                    }
                    output::error(&error, Some("the process was not stopped; interrupt again to leave it"));
                }
            }
            // Whoever is quiet for long would otherwise not be missed until its next piece.
            () = relay.failed() => break,
            room = relay.room(), if pending.is_some() => match (room, pending.take()) {
                (Some(room), Some(chunk)) => room.send(chunk),
                _ => break,
            },
            event = follower.next(), if pending.is_none() => match event {
                Ok(Some(Event::Data { source, data, .. })) => pending = Some(Chunk::Data(source, data)),
                Ok(Some(Event::Gap { from, to })) => {
                    ending.gap = true;
                    pending = Some(Chunk::Notice(format!("output bytes {from}..{to} were dropped")));
                }
                Ok(Some(Event::End(end))) => {
                    ending.end = Some(end);
                    break;
                }
                Ok(None) => break,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            },
        }
    }
    loop {
        tokio::select! {
            biased;
            interrupt = interrupts.next() => {
                if interrupt == Interrupt::Leave {
                    return Err(Failure::Left(follower.id));
                }
            }
            written = relay.finish() => {
                written?;
                return failed.map_or(Ok(ending), |error| Err(error.into()));
            }
        }
    }
}

/// A stop under way.
type Stopping<'a> = Pin<Box<dyn Future<Output = Result<(), ClientError>> + 'a>>;

/// Stops the process, beside everything else: for as long as its output is followed, on whatever
/// connection there is.
fn stop<'a>(follower: &Follower<'a>, grace: Option<Duration>) -> Stopping<'a> {
    if follower.client.is_none() {
        output::notice(
            "not connected: the process is stopped when the server is reached; interrupt again to leave it",
        );
    }
    let id = follower.id;
    Box::pin(patiently(
        move || {
            let waiting = waiting(id, StopSignal::Term, grace);
            format!("{waiting}; Ctrl-C again leaves it at once")
        },
        stop_surely(
            follower.remote,
            follower.client.clone(),
            id,
            grace,
            usize::MAX,
        ),
    ))
}

/// How the stop went; never without one.
async fn stopped(stopping: &mut Option<Stopping<'_>>) -> Result<(), ClientError> {
    match stopping {
        Some(stopping) => stopping.await,
        None => std::future::pending().await,
    }
}

/// Stops a process, again on a new connection after each failure that may pass, `tries` times at
/// most. `grace` is what it was started with, which the server knows and the client waits for.
pub async fn stop_surely(
    remote: &Remote,
    mut client: Option<Client>,
    id: ProcessId,
    grace: Option<Duration>,
    tries: usize,
) -> Result<(), ClientError> {
    let (mut failures, mut pause) = (0, PAUSE);
    loop {
        let error = match stop_once(remote, client.take(), id, grace).await {
            Ok(()) => return Ok(()),
            Err(ClientError::Refused(refusal)) if refusal.code == Code::NotFound => return Ok(()),
            Err(error) => error,
        };
        failures += 1;
        if failures >= tries || !error.is_transient() {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn stop_once(
    remote: &Remote,
    client: Option<Client>,
    id: ProcessId,
    grace: Option<Duration>,
) -> Result<(), ClientError> {
    let client = match client {
        Some(client) => client,
        None => remote.connect().await?,
    };
    client.stop(id, StopSignal::Term, grace).await.map(|_| ())
}
