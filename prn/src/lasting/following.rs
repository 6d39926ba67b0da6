//! Following a process to its end: its output to our own streams, our input to it, what interrupts
//! ask for, and how it ended.

use std::pin::Pin;
use std::time::Duration;

use prn_client::{
    Client, ClientError, Event, ExitKind, OutputEnd, ProcessId, Source, StopSignal, reason,
};

use prn_proto::units::show_duration;

use crate::commands::stop::waiting;
use crate::commands::workspace::tell_of_bound;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::input::terminal::Raw;
use crate::interrupts::{Interrupt, Interrupts};
use crate::lasting::feeding::{Fed, Feed, Leaving};
use crate::lasting::reading::{Ending, Reading};
use crate::lasting::surely::stop_surely;
use crate::lasting::wait::patiently;
use crate::output::{self, Chunk, Relay};
use crate::which::connection::Remote;

/// How often the stop of a process is tried whose output can no longer be passed on.
const STOP_TRIES: usize = 5;

/// For so long it is waited for what the process printed last before it was left.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What the process is to whoever follows it.
#[derive(Debug, Clone, Copy)]
pub enum Tie {
    /// It was started for this: what ends prn ends it too.
    Own {
        /// What it was started with.
        grace: Option<Duration>,
        /// As well: it ends when nobody has followed it for so long.
        lease: Option<Duration>,
        /// As well: it is forgotten when its output was read.
        until_read: bool,
    },
    /// It goes on whoever comes and leaves.
    Guest,
}

/// What is passed on to the process.
#[derive(Debug, Default)]
pub struct Attached {
    /// What it is fed.
    pub feed: Option<Feed>,
    /// The terminal, while it is the process's.
    pub raw: Option<Raw>,
}

/// How following ended.
#[derive(Debug)]
enum Followed {
    /// At the end of the output.
    Ended {
        ending: Ending,
        /// The process was stopped because it could not get all of its input.
        is_input_lost: bool,
    },
    /// The process was left alone, in this way.
    Left(Leaving),
}

/// Follows a process to its end, and exits as it does.
pub async fn followed(
    mut reading: Reading<'_>,
    attached: Attached,
    interrupts: &mut Interrupts,
    tie: Tie,
) -> Result<Exit, Failure> {
    let id = reading.id();
    let Attached { feed, raw } = attached;
    let followed = follow(&mut reading, feed, interrupts, tie).await;
    let (ending, is_input_lost) = match (followed, tie) {
        (
            Ok(Followed::Ended {
                ending,
                is_input_lost,
            }),
            _,
        ) => (ending, is_input_lost),
        (Ok(Followed::Left(Leaving::Fed)), _) => return Ok(exit::OK),
        (Ok(Followed::Left(Leaving::Keys)), _) => {
            drop(raw);
            output::notice(&detached(id, tie));
            return Ok(exit::OK);
        }
        (Err(failure @ Failure::Local(_)), Tie::Own { grace, .. }) => {
            // As in a local pipeline: a program that cannot write is ended. SIGPIPE would have done
            // it there.
            stop_unheard(reading, interrupts, grace).await?;
            return Err(failure);
        }
        (Err(failure), _) => return Err(failure),
    };
    drop(raw);
    let exit = ending.end.as_ref().and_then(|end| end.exit.as_ref());
    let is_over_disk = exit.is_some_and(|exit| exit.kind == ExitKind::DiskLimit);
    let exit = exit_of(id, ending, output::notice)?;
    if is_over_disk
        && let Some(client) = reading.client()
        && let Ok(process) = client.status(id).await
    {
        tell_of_bound(&client, &process.status).await;
    }
    if let Tie::Own {
        until_read: true, ..
    } = tie
    {
        let (remote, client) = (reading.remote(), reading.client());
        tokio::select! {
            () = forget(remote, client, id) => {}
            _ = interrupts.next() => {}
        }
    }
    // However it ended: it had not read what it was to read.
    Ok(if is_input_lost {
        exit::RUN_FAILED
    } else {
        exit
    })
}

/// Has the server forget a process of which all output was read. If this fails, the server does it by
/// itself a while later.
pub async fn forget(remote: &Remote, client: Option<Client>, id: ProcessId) {
    let client = match client {
        Some(client) => Some(client),
        None => remote.connect().await.ok(),
    };
    if let Some(client) = client {
        let _unremoved = client.remove_processes(id).await;
    }
}

/// What is said to somebody who has left it by the keys for that.
fn detached(id: ProcessId, tie: Tie) -> String {
    let lease = match tie {
        Tie::Own { lease, .. } => lease,
        Tie::Guest => None,
    };
    match lease.map(show_duration) {
        None => format!("detached from process {id}, which goes on; `prn attach {id}` comes back"),
        Some(lease) => format!(
            "detached from process {id}, which is stopped in {lease} unless `prn attach {id}` comes back, or `prn update --lease none {id}` lets it go on"
        ),
    }
}

/// How the process has ended, as prn exits for it; and what there is to say of that.
pub fn exit_of(id: ProcessId, ending: Ending, mut say: impl FnMut(&str)) -> Result<Exit, Failure> {
    let OutputEnd {
        exit, left_behind, ..
    } = ending.end.ok_or(Failure::ExitUnknown(id))?;
    if let Some(left) = left_behind {
        say(&format!(
            "process {id}: {}",
            output::show_left_behind(&left)
        ));
    }
    if let Some(exit) = &exit
        && exit.kind != ExitKind::Exited
    {
        say(&format!("process {id}: {}", output::show_exit(exit)));
    }
    match Exit::of_process(exit.as_ref(), left_behind) {
        // As `prn logs`: what is missing is no success.
        Some(exit::OK) if ending.gap => Ok(exit::OUTPUT_GAP),
        Some(exit) => Ok(exit),
        None => Err(Failure::ExitUnknown(id)),
    }
}

/// Passes all output on to our own streams, and our input to the process.
///
/// The first interrupt stops the process if it is our own, and following goes on; the second one
/// ends this.
async fn follow(
    reading: &mut Reading<'_>,
    feed: Option<Feed>,
    interrupts: &mut Interrupts,
    tie: Tie,
) -> Result<Followed, Failure> {
    let id = reading.id();
    let mut relay = Relay::start(Source::Stdout)?;
    let (remote, connected) = (reading.remote(), reading.connected());
    let mut feeding = feed.map(|feed| -> Feeding<'_> { Box::pin(feed.run(remote, connected)) });
    let mut received = Received::default();
    let mut stopping = Stopping::default();
    let mut left = None;
    if interrupts.have_asked() {
        stopping.stop(reading, tie)?;
    }
    loop {
        tokio::select! {
            biased;
            interrupt = interrupts.next() => {
                stopping.interrupted(interrupt, reading, tie)?;
            }
            stopped = stopping.done() => stopped.or_else(|error| not_stopped(id, error))?,
            fed = fed(&mut feeding) => {
                feeding = None;
                match fed {
                    Ok(Fed::Over) => {}
                    Ok(Fed::Left(leaving)) => {
                        left = Some(leaving);
                        break;
                    }
                    Err(failure) => stopping.stop_unfed(failure, reading, tie)?,
                }
            }
            // Whoever is quiet for long would otherwise not be missed until its next piece.
            () = relay.failed() => break,
            room = relay.room(), if received.pending.is_some() => {
                match (room, received.pending.take()) {
                    (Some(room), Some(chunk)) => room.send(chunk),
                    _ => break,
                }
            }
            event = reading.next(), if received.pending.is_none() => {
                received.take(event);
                if received.pending.is_none() {
                    break;
                }
            }
        }
    }
    if let Some(leaving) = left {
        let goes_on = !stopping.is_asked && reading.client().is_some();
        if leaving == Leaving::Keys && !goes_on {
            // It is being stopped, or nobody knows what becomes of it.
            return Err(Failure::Left(id));
        }
        let _unheard = tokio::time::timeout(LAST_WORDS, relay.finish()).await;
        return Ok(Followed::Left(leaving));
    }
    finish(id, &mut relay, interrupts).await?;
    received.followed(stopping.is_input_lost)
}

/// Input on its way to the process.
type Feeding<'a> = Pin<Box<dyn Future<Output = Result<Fed, Failure>> + 'a>>;

/// How that ended; never without any.
async fn fed(feeding: &mut Option<Feeding<'_>>) -> Result<Fed, Failure> {
    match feeding {
        Some(feeding) => feeding.await,
        None => std::future::pending().await,
    }
}

/// What has come of a process's output.
#[derive(Debug, Default)]
struct Received {
    /// To be written. `None` after an event: there is nothing more.
    pending: Option<Chunk>,
    ending: Ending,
    failed: Option<ClientError>,
}

impl Received {
    fn take(&mut self, event: Result<Option<Event>, ClientError>) {
        match event {
            Ok(Some(Event::Data { source, data, .. })) => {
                self.pending = Some(Chunk::Data(source, data));
            }
            Ok(Some(Event::Gap { from, to })) => {
                self.ending.gap = true;
                let line = format!("output bytes {from}..{to} were dropped");
                self.pending = Some(Chunk::Notice(line));
            }
            Ok(Some(Event::End(end))) => self.ending.end = Some(end),
            Ok(None) => {}
            Err(error) => self.failed = Some(error),
        }
    }

    fn followed(self, is_input_lost: bool) -> Result<Followed, Failure> {
        match self.failed {
            None => Ok(Followed::Ended {
                ending: self.ending,
                is_input_lost,
            }),
            Some(error) => Err(error.into()),
        }
    }
}

/// A stop that failed: only one that nobody knows the outcome of ends the following.
fn not_stopped(id: ProcessId, error: ClientError) -> Result<(), Failure> {
    if let source @ ClientError::NoAnswer { .. } = error {
        return Err(Failure::StopUnknown { id, source });
    }
    let hint = "the process was not stopped; interrupt again to leave it";
    output::error(&error, Some(hint));
    Ok(())
}

/// Waits until all is written.
async fn finish(
    id: ProcessId,
    relay: &mut Relay,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    loop {
        tokio::select! {
            biased;
            interrupt = interrupts.next() => {
                if interrupt == Interrupt::Leave {
                    return Err(Failure::Left(id));
                }
            }
            written = relay.finish() => return Ok(written?),
        }
    }
}

/// A stop, once it is asked for.
#[derive(Default)]
struct Stopping<'a> {
    is_asked: bool,
    /// It is stopped, or would have been, because it could not get all of its input.
    is_input_lost: bool,
    under_way: Option<UnderWay<'a>>,
}

type UnderWay<'a> = Pin<Box<dyn Future<Output = Result<(), ClientError>> + 'a>>;

impl<'a> Stopping<'a> {
    /// Stops the process, beside everything else: for as long as its output is followed, on
    /// whatever connection there is. Once: a second time changes nothing.
    ///
    /// # Errors
    /// That the process is left, if it is not ours to be stopped.
    fn stop(&mut self, reading: &Reading<'a>, tie: Tie) -> Result<(), Failure> {
        let id = reading.id();
        let Tie::Own { grace, .. } = tie else {
            return Err(Failure::Left(id));
        };
        if std::mem::replace(&mut self.is_asked, true) {
            return Ok(());
        }
        if reading.client().is_none() {
            output::notice(
                "not connected: the process is stopped when the server is reached; interrupt again to leave it",
            );
        }
        let (remote, client) = (reading.remote(), reading.client());
        self.under_way = Some(Box::pin(patiently(
            move || {
                let waiting = waiting(id, StopSignal::Term, grace);
                // There Ctrl-C is a key like any other.
                let how = if output::is_raw() {
                    "the keys that detach leave"
                } else {
                    "Ctrl-C again leaves"
                };
                format!("{waiting}; {how} it at once")
            },
            stop_surely(remote, client, id, grace, usize::MAX),
        )));
        Ok(())
    }

    /// What an interrupt asks for: as [`Stopping::stop`].
    fn interrupted(
        &mut self,
        interrupt: Interrupt,
        reading: &Reading<'a>,
        tie: Tie,
    ) -> Result<(), Failure> {
        match interrupt {
            Interrupt::Stop => self.stop(reading, tie),
            Interrupt::Leave => Err(Failure::Left(reading.id())),
        }
    }

    /// Stops a process that cannot get the rest of its input: it would wait for that for ever, or
    /// take a part for all.
    ///
    /// # Errors
    /// The failure, if the process is not ours to be stopped.
    fn stop_unfed(
        &mut self,
        failure: Failure,
        reading: &Reading<'a>,
        tie: Tie,
    ) -> Result<(), Failure> {
        match tie {
            Tie::Guest => Err(failure),
            // It is somebody else's as well, who may be a person at its terminal.
            Tie::Own { .. } if is_fed_by_another(&failure) => Err(failure),
            Tie::Own { .. } => {
                output::error(&failure, Some("the process is stopped"));
                self.is_input_lost = true;
                self.stop(reading, tie)
            }
        }
    }

    /// How the stop went; never without one.
    async fn done(&mut self) -> Result<(), ClientError> {
        let stopped = match &mut self.under_way {
            Some(stopping) => stopping.await,
            None => std::future::pending().await,
        };
        self.under_way = None;
        stopped
    }
}

/// Whether the process gets its input, from somebody else.
fn is_fed_by_another(failure: &Failure) -> bool {
    let Failure::Client(error) = failure else {
        return false;
    };
    let by_another = [reason::INPUT_IN_USE, reason::INPUT_TAKEN_OVER];
    error
        .refusal()
        .is_some_and(|refusal| by_another.contains(&refusal.reason.as_str()))
}

/// Stops a process whose output nobody gets.
async fn stop_unheard(
    reading: Reading<'_>,
    interrupts: &mut Interrupts,
    grace: Option<Duration>,
) -> Result<(), Failure> {
    let (remote, client, id) = (reading.remote(), reading.client(), reading.id());
    // Nobody is to wait for this reader.
    drop(reading);
    let mut stopping = std::pin::pin!(patiently(
        || waiting(id, StopSignal::Term, grace),
        stop_surely(remote, client, id, grace, STOP_TRIES),
    ));
    loop {
        tokio::select! {
            biased;
            interrupt = interrupts.next() => {
                if interrupt == Interrupt::Leave {
                    return Err(Failure::Left(id));
                }
            }
            stopped = &mut stopping => return Ok(stopped?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_received_is_kept_until_it_is_written_and_a_gap_is_remembered() {
        let mut received = Received::default();
        received.take(Ok(Some(Event::Gap { from: 3, to: 9 })));
        assert!(
            matches!(&received.pending, Some(Chunk::Notice(line)) if line.contains("3..9")),
            "{received:?}"
        );
        received.pending = None;
        received.take(Ok(None));
        assert!(received.pending.is_none() && received.ending.gap);
        received.take(Err(ClientError::ProcessLost));
        assert!(received.pending.is_none() && received.failed.is_some());
    }

    #[test]
    fn a_stop_without_an_answer_ends_the_following_and_a_refused_one_does_not() {
        let id: ProcessId = "fcd2310e7b9a462a5d88c3a0ff4e2d9b".parse().unwrap();
        let after = Duration::from_secs(1);
        assert!(not_stopped(id, ClientError::NoAnswer { after }).is_err());
        assert!(not_stopped(id, ClientError::Protocol("no")).is_ok());
    }
}
