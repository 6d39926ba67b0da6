//! Following a process to its end: its output to our own streams, what interrupts ask for, and how
//! it ended.

use std::pin::Pin;
use std::time::Duration;

use prn_client::{Client, ClientError, Event, ExitKind, ProcessId, Source, StopSignal};

use crate::commands::stop::{stop_surely, waiting};
use crate::connection::Remote;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::interrupts::{Interrupt, Interrupts};
use crate::output::{self, Chunk, Relay};
use crate::reading::{Ending, Reading};
use crate::wait::patiently;

/// How often the stop of a process is tried whose output can no longer be passed on.
const STOP_TRIES: usize = 5;

/// Follows a process to its end, and exits as it does.
pub async fn followed(
    remote: &Remote,
    client: Client,
    mut reading: Reading<'_>,
    interrupts: &mut Interrupts,
    grace: Option<Duration>,
) -> Result<Exit, Failure> {
    let id = reading.id();
    let ending = match follow(&mut reading, interrupts, grace).await {
        Ok(ending) => ending,
        Err(failure @ Failure::Local(_)) => {
            drop(reading);
            // As in a local pipeline: a program that cannot write is ended. SIGPIPE would have done
            // it there.
            stop_unheard(remote, client, id, interrupts, grace).await?;
            return Err(failure);
        }
        Err(failure) => return Err(failure),
    };
    let gap = ending.gap;
    let left_behind = ending.end.as_ref().and_then(|end| end.left_behind);
    if let Some(left) = left_behind {
        output::notice(&format!(
            "process {id}: {}",
            output::show_left_behind(&left)
        ));
    }
    let exit = ending.end.and_then(|end| end.exit);
    if let Some(exit) = &exit
        && exit.kind != ExitKind::Exited
    {
        output::notice(&format!("process {id}: {}", output::show_exit(exit)));
    }
    if left_behind.is_some_and(|left| left.stopped_for == Some(ExitKind::TimedOut)) {
        return Ok(exit::RUN_TIMED_OUT);
    }
    match exit.and_then(|exit| status(exit.kind, exit.status?)) {
        // As `prn logs`: what is missing is no success.
        Some(exit::OK) if gap => Ok(exit::OUTPUT_GAP),
        Some(exit) => Ok(exit),
        None => Err(Failure::ExitUnknown(id)),
    }
}

/// The process's own status; but 0 only for one that has ended by itself.
fn status(kind: ExitKind, status: u8) -> Option<Exit> {
    match (kind, status) {
        (ExitKind::Unknown, _) => None,
        (ExitKind::TimedOut, _) => Some(exit::RUN_TIMED_OUT),
        (
            ExitKind::StoppedOnRequest
            | ExitKind::OomKilled
            | ExitKind::OutputLimit
            | ExitKind::Signalled,
            0,
        ) => Some(exit::RUN_FAILED),
        (_, status) => Some(Exit(status)),
    }
}

/// Passes all output on to our own streams.
///
/// The first interrupt stops the process, and following goes on; the second one ends this.
async fn follow(
    reading: &mut Reading<'_>,
    interrupts: &mut Interrupts,
    grace: Option<Duration>,
) -> Result<Ending, Failure> {
    let id = reading.id();
    let mut relay = Relay::start(Source::Stdout)?;
    let mut received = Received::default();
    let mut is_stopped = interrupts.have_asked();
    let mut stopping = is_stopped.then(|| stop(reading, grace));
    loop {
        tokio::select! {
            biased;
            interrupt = interrupts.next() => {
                if interrupt == Interrupt::Leave {
                    return Err(Failure::Left(id));
                }
                if !is_stopped {
                    is_stopped = true;
                    stopping = Some(stop(reading, grace));
                }
            }
            stopped = stopped(&mut stopping) => {
                stopping = None;
                stopped.or_else(|error| not_stopped(id, error))?;
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
    finish(id, &mut relay, interrupts).await?;
    match received.failed {
        None => Ok(received.ending),
        Some(error) => Err(error.into()),
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

/// A stop under way.
type Stopping<'a> = Pin<Box<dyn Future<Output = Result<(), ClientError>> + 'a>>;

/// Stops the process, beside everything else: for as long as its output is followed, on whatever
/// connection there is.
fn stop<'a>(reading: &Reading<'a>, grace: Option<Duration>) -> Stopping<'a> {
    if reading.client().is_none() {
        output::notice(
            "not connected: the process is stopped when the server is reached; interrupt again to leave it",
        );
    }
    let id = reading.id();
    Box::pin(patiently(
        move || {
            let waiting = waiting(id, StopSignal::Term, grace);
            format!("{waiting}; Ctrl-C again leaves it at once")
        },
        stop_surely(
            reading.remote(),
            reading.client().cloned(),
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

/// Stops a process whose output nobody gets.
async fn stop_unheard(
    remote: &Remote,
    client: Client,
    id: ProcessId,
    interrupts: &mut Interrupts,
    grace: Option<Duration>,
) -> Result<(), Failure> {
    let mut stopping = std::pin::pin!(patiently(
        || waiting(id, StopSignal::Term, grace),
        stop_surely(remote, Some(client), id, grace, STOP_TRIES),
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
    fn a_process_that_did_not_end_by_itself_is_no_success() {
        assert_eq!(status(ExitKind::Exited, 0), Some(exit::OK));
        assert_eq!(status(ExitKind::TimedOut, 0), Some(exit::RUN_TIMED_OUT));
        assert_eq!(
            status(ExitKind::StoppedOnRequest, 0),
            Some(exit::RUN_FAILED)
        );
        assert_eq!(status(ExitKind::OomKilled, 0), Some(exit::RUN_FAILED));
        for after_the_time_was_up in [3, 137, 143] {
            assert_eq!(
                status(ExitKind::TimedOut, after_the_time_was_up),
                Some(exit::RUN_TIMED_OUT)
            );
        }
        assert_eq!(status(ExitKind::StoppedOnRequest, 143), Some(Exit(143)));
        assert_eq!(status(ExitKind::Unknown, 0), None);
    }

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
