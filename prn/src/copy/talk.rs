//! The process in the workspace that packs or unpacks: started, fed, read and waited for.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use prn_client::{
    ClientError, Event, ExitKind, FOLLOW_TIMEOUT, InputPiece, OutputEnd, OutputRequest, Source,
    StandardInput, StartSpec,
};
use tokio::sync::{mpsc, oneshot};

use crate::copy::far::Far;
use crate::copy::fault::CopyFault;
use crate::failure::Failure;
use crate::input::local_input::LocalEnd;
use crate::interrupts::{Interrupt, Interrupts};
use crate::lasting::feeding::{Fed, Feed};
use crate::lasting::reading::Reading;
use crate::lasting::surely::{start_surely, stop_surely};
use crate::output;
use crate::which::internal::Script;

/// For so long a process that is stopped may take to remove what it has unpacked.
const GRACE: Duration = Duration::from_secs(30);

/// Most bytes that are kept of what the process says.
const SAID_MAX: usize = 16 * 1024;

/// What the process is fed.
#[derive(Debug)]
pub struct Fodder {
    /// It. [`InputPiece::End`] says that it is all.
    pub pieces: mpsc::Receiver<InputPiece>,
    /// Told when nothing more comes.
    pub end: oneshot::Receiver<LocalEnd>,
}

/// Runs a script in the workspace to its end. Its standard output goes to `sink`; if nobody takes
/// that any more, the process is stopped.
///
/// # Errors
/// Unless it has left with 0, and all of its output came.
pub async fn talk(
    far: &mut Far<'_>,
    script: Script,
    fodder: Option<Fodder>,
    sink: Option<mpsc::Sender<Bytes>>,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let spec = spec(far.workspace, script, fodder.is_some())?;
    interrupts.expect_grace(GRACE);
    let (client, started) = start_surely(far.remote, far.client.clone(), &spec).await?;
    let id = started.process.id;
    let request = OutputRequest {
        follower: true,
        ..OutputRequest::default()
    };
    let mut reading = Reading::new(far.remote, client, id, request).of_known(FOLLOW_TIMEOUT);
    let feed = match fodder {
        Some(Fodder { pieces, end }) => Some(Feed::of_pieces(id, pieces, end)?),
        None => None,
    };
    let heard = Heard {
        sink,
        ..Heard::default()
    };
    let heard = converse(&mut reading, feed, heard, interrupts).await;
    if let Some(client) = reading.client() {
        far.client = client;
    }
    heard?.outcome()
}

fn spec(workspace: &str, script: Script, is_fed: bool) -> Result<StartSpec, ClientError> {
    let mut spec = script.spec(workspace)?;
    spec.stop_grace = Some(GRACE);
    if is_fed {
        spec.stdin = StandardInput::Pipe;
    }
    Ok(spec)
}

/// What came of the process.
#[derive(Debug, Default)]
struct Heard {
    sink: Option<mpsc::Sender<Bytes>>,
    /// Standard output that nobody has taken yet.
    pending: Option<Bytes>,
    /// What it says on standard error, up to a bound.
    said: Vec<u8>,
    has_gap: bool,
    is_interrupted: bool,
    end: Option<OutputEnd>,
}

/// What is done beside reading.
type Stopping<'a> = Pin<Box<dyn Future<Output = Result<(), ClientError>> + 'a>>;
type Feeding<'a> = Pin<Box<dyn Future<Output = Result<Fed, Failure>> + 'a>>;

/// Reads all that the process prints, and feeds it meanwhile.
async fn converse<'a>(
    reading: &mut Reading<'a>,
    feed: Option<Feed>,
    mut heard: Heard,
    interrupts: &mut Interrupts,
) -> Result<Heard, Failure> {
    let id = reading.id();
    let (remote, connected) = (reading.remote(), reading.connected());
    let mut feeding = feed.map(|feed| -> Feeding<'_> { Box::pin(feed.run(remote, connected)) });
    let mut stopping: Option<Stopping<'a>> = None;
    let mut failed = None;
    let stop = |reading: &Reading<'a>| -> Stopping<'a> {
        let client = reading.client();
        Box::pin(stop_surely(remote, client, id, Some(GRACE), usize::MAX))
    };
    if interrupts.have_asked() {
        heard.is_interrupted = true;
        stopping = Some(stop(reading));
    }
    loop {
        tokio::select! {
            biased;
            interrupt = interrupts.next() => {
                if interrupt == Interrupt::Leave {
                    return Err(Failure::Left(id));
                }
                heard.is_interrupted = true;
                stopping.get_or_insert_with(|| stop(reading));
            }
            stopped = over(&mut stopping) => stopped?,
            fed = over(&mut feeding) => {
                if let Err(failure) = fed {
                    failed = Some(failure);
                    stopping.get_or_insert_with(|| stop(reading));
                }
            }
            is_taken = hand_on(&heard.sink, heard.pending.clone()), if heard.pending.is_some() => {
                heard.pending = None;
                if !is_taken {
                    heard.sink = None;
                    stopping.get_or_insert_with(|| stop(reading));
                }
            }
            event = reading.next(), if heard.pending.is_none() => {
                match event.map_err(unknown)? {
                    Some(event) => heard.take(event),
                    None => break,
                }
            }
        }
    }
    match failed {
        Some(failure) => Err(failure),
        None => Ok(heard),
    }
}

fn unknown(source: ClientError) -> Failure {
    Failure::CopyUnknown {
        act: "copy anything",
        source,
    }
}

/// What a thing comes to that is under way, once; never without one.
async fn over<T>(under_way: &mut Option<Pin<Box<dyn Future<Output = T> + '_>>>) -> T {
    let done = match under_way {
        Some(future) => future.await,
        None => std::future::pending().await,
    };
    *under_way = None;
    done
}

/// Hands a piece on, and says whether anybody takes it.
async fn hand_on(sink: &Option<mpsc::Sender<Bytes>>, piece: Option<Bytes>) -> bool {
    match (sink, piece) {
        (Some(sink), Some(piece)) => sink.send(piece).await.is_ok(),
        // It was said before that nobody does.
        (None, _) | (_, None) => true,
    }
}

impl Heard {
    fn take(&mut self, event: Event) {
        match event {
            Event::Data { source, data, .. } => match source {
                Source::Stdout => self.pending = Some(data),
                Source::Stderr => {
                    let room = SAID_MAX.saturating_sub(self.said.len());
                    let begin = data.get(..room).unwrap_or(&data);
                    self.said.extend_from_slice(begin);
                }
            },
            Event::Gap { .. } => self.has_gap = true,
            Event::End(end) => self.end = Some(end),
        }
    }

    /// What it comes to, and what there is to say of it.
    fn outcome(self) -> Result<(), Failure> {
        let exit = self.end.and_then(|end| end.exit);
        let said = String::from_utf8_lossy(&self.said);
        let mut lines: Vec<_> = said.lines().collect();
        let is_well = exit
            .as_ref()
            .is_some_and(|exit| exit.kind == ExitKind::Exited && exit.status == Some(0));
        if is_well && !self.has_gap {
            for line in lines {
                output::notice(line);
            }
            return Ok(());
        }
        if self.is_interrupted {
            return Err(CopyFault::Interrupted.into());
        }
        let last = lines.pop().map(str::to_owned);
        for line in lines {
            output::notice(line);
        }
        Err(CopyFault::Far(match (exit, last) {
            (Some(exit), _) if exit.kind != ExitKind::Exited => {
                format!("the server's side ended: {}", output::show_exit(&exit))
            }
            (_, Some(last)) => last,
            (Some(exit), None) => format!("the server's side ended: {}", output::show_exit(&exit)),
            (None, None) => "nobody knows how the server's side ended".to_owned(),
        })
        .into())
    }
}
