//! The calls.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use prn_client::{
    Client, ClientError, Exit, INPUT_PIECE_MAX, InputAnswer, InputOpening, InputPiece, Label,
    ListRequest, OutputRequest, Process, ProcessId, RemovedProcesses, Selector, Source,
    StandardInput, StartSpec, Started, State, StopSignal, Tail, Target, Update, WaitRequest,
    reason,
};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::calls::fault::Fault;
use crate::calls::parsed::Parsed;
use crate::calls::requests::{
    Change, List, Liveness, OnlyStream, Output, Running, Several, Signal, Stop, Wait,
};
use crate::calls::session::Session;
use crate::calls::spec;
use crate::lasting::excerpt::{self, Excerpt};
use crate::lasting::reading::Reading;
use crate::lasting::surely::start_surely;
use crate::output::still_alive;
use crate::typed::signal::SignalNumber;
use crate::which::reference::Reference;

/// How long a run is waited for, unless it is said.
const RUN_WAIT: Duration = Duration::from_secs(30);

/// Most bytes of output in an answer, unless it is said.
const OUTPUT_MAX: u64 = 64 * 1024;

/// Output that was waited for is answered with when nothing has come after it for so long, or enough.
const SETTLE: Duration = Duration::from_millis(50);

/// How a run has gone so far.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Ran {
    /// Its process's id.
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String")]
    pub id: ProcessId,
    /// It had not ended when the time for that was up, and goes on.
    pub running: bool,
    /// How its main process has ended.
    pub exit: Option<Exit>,
    /// The begin of its output.
    pub output: Excerpt,
    /// What else is known of it. Null where it was to be forgotten when it had ended.
    pub process: Option<Process>,
}

/// Processes.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listed {
    /// The newest first.
    pub processes: Vec<Process>,
    /// There are more.
    pub more: bool,
}

/// Processes that were waited for.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Waited {
    /// Those that were to end; all of them, where the time was up.
    pub processes: Vec<Process>,
    /// The time was up.
    pub timed_out: bool,
}

/// A signal was sent.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Signalled {
    /// To this process.
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String")]
    pub id: ProcessId,
    /// Its number.
    pub signal: i32,
}

fn as_text<S: serde::Serializer>(id: &ProcessId, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(id)
}

/// Starts a process, once, whatever becomes of the connection.
pub async fn start(session: &Session, spec: &StartSpec) -> Result<Started, Fault> {
    let confined = match session.workspace() {
        None => spec.clone(),
        Some(workspace) => within(workspace, spec.clone())?,
    };
    let first = session.client().await?;
    let _untold = confined.id.map(|id| session.untold(id, false));
    let started = start_surely(session.remote(), first, &confined).await;
    let Some(workspace) = session.workspace() else {
        let (client, started) = started?;
        session.keep(client).await;
        return Ok(started);
    };
    let (client, started) = started.map_err(|failure| Fault::from(failure).within())?;
    session.keep(client).await;
    if started.process.status.workspace.as_deref() != Some(workspace) {
        return Err(Fault::id_taken());
    }
    Ok(started)
}

/// In the workspace that all is to be in.
fn within(workspace: &str, mut spec: StartSpec) -> Result<StartSpec, Fault> {
    if spec
        .workspace
        .as_deref()
        .is_some_and(|other| other != workspace)
    {
        return Err(Fault::outside(
            format!("all processes are to be in workspace {workspace}"),
            "leave workspace out",
        ));
    }
    spec.workspace = Some(workspace.to_owned());
    Ok(spec)
}

/// Starts a process and waits for its end, for so long. Its id is told as soon as it runs.
pub async fn run(
    session: &Session,
    mut spec: StartSpec,
    how: Running,
    started: impl FnOnce(ProcessId),
) -> Result<Ran, Fault> {
    let until = Instant::now() + how.wait.map_or(RUN_WAIT, |Parsed(wait)| wait);
    if how.input.is_some() {
        spec.stdin = StandardInput::Pipe;
    }
    let id = start(session, &spec).await?.process.id;
    started(id);
    let _untold = session.untold(id, true);
    let client = session.client().await?;
    let feeding = how
        .input
        .map(|input| feed(client.clone(), id, input.into()));
    let request = OutputRequest {
        max_bytes: Some(how.max_bytes.unwrap_or(OUTPUT_MAX)),
        ..OutputRequest::default()
    };
    let mut reading = Reading::new(session.remote(), client, id, request);
    let output = excerpt::read(&mut reading, Some(until), None).await?;
    if !output.bounds.complete {
        end_of(session, vec![id], false, Some(until)).await?;
    }
    if let Some(feeding) = feeding.filter(JoinHandle::is_finished)
        && let Ok(fed) = feeding.await
    {
        fed?;
    }
    let process = known(session, id).await?;
    let status = process.as_ref().map(|process| &process.status);
    Ok(Ran {
        id,
        running: status.is_some_and(|status| status.state == State::Running),
        exit: output.exit.clone().or_else(|| status?.exit.clone()),
        output,
        process,
    })
}

/// Feeds all of a process's standard input, for as long as that takes.
pub fn feed(
    client: Client,
    id: ProcessId,
    input: Bytes,
) -> JoinHandle<Result<InputAnswer, ClientError>> {
    let pieces: Vec<_> = input
        .chunks(INPUT_PIECE_MAX)
        .map(|piece| InputPiece::Data(input.slice_ref(piece)))
        .chain([InputPiece::End])
        .collect();
    tokio::spawn(async move {
        let opening = InputOpening::default();
        client.send_input(id, &opening, stream::iter(pieces)).await
    })
}

/// What is known of a process, if anything is.
async fn known(session: &Session, id: ProcessId) -> Result<Option<Process>, Fault> {
    match session
        .surely(async |client: Client| client.status(id).await)
        .await
    {
        Ok(process) => Ok(Some(process)),
        Err(error) if is_unknown(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_unknown(error: &ClientError) -> bool {
    error
        .refusal()
        .is_some_and(|refusal| refusal.reason == reason::PROCESS_NOT_FOUND)
}

/// Waits for ends. `None` if there is none by then.
async fn end_of(
    session: &Session,
    processes: Vec<ProcessId>,
    any: bool,
    until: Option<Instant>,
) -> Result<Option<prn_client::Waited>, Fault> {
    let waited = session.surely(async |client: Client| {
        let mut request = WaitRequest::default();
        request.processes.clone_from(&processes);
        request.any = any;
        request.timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        client.wait(&request).await
    });
    match waited.await {
        Ok(waited) => Ok(Some(waited)),
        Err(ClientError::NoAnswer { .. }) if until.is_some() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Describes a process.
pub async fn status(
    session: &Session,
    Parsed(which): &Parsed<Reference>,
) -> Result<Process, Fault> {
    let id = session.find(which).await?;
    Ok(session
        .surely(async |client: Client| client.status(id).await)
        .await?)
}

/// Lists processes.
pub async fn list(session: &Session, list: &List) -> Result<Listed, Fault> {
    let mut selector = Selector::default();
    let workspace = session.workspace().map(str::to_owned);
    selector.workspace = workspace.or_else(|| list.workspace.clone());
    selector.state = list.state.map(|state| match state {
        Liveness::Running => State::Running,
        Liveness::Stopped => State::Stopped,
    });
    if let Some(Parsed(labels)) = &list.selector {
        selector.labels.clone_from(&labels.0);
    }
    let limit = list.limit.unwrap_or(usize::MAX);
    let listed = session.surely(async |client: Client| {
        let mut request = ListRequest::default();
        request.selector = Some(selector.clone());
        request.newest_first = true;
        let mut pages = client.pages(request);
        let mut processes = Vec::new();
        while processes.len() <= limit
            && let Some(page) = pages.next().await?
        {
            processes.extend(page);
        }
        Ok(processes)
    });
    let mut processes = listed.await?;
    let more = processes.len() > limit;
    processes.truncate(limit);
    Ok(Listed { processes, more })
}

/// Waits for the end of processes.
pub async fn wait(session: &Session, wait: &Wait) -> Result<Waited, Fault> {
    if wait.processes.is_empty() {
        return Err(Fault::invalid("processes", "there is none to wait for"));
    }
    let until = wait.timeout.map(|Parsed(timeout)| Instant::now() + timeout);
    let ids = find_all(session, &wait.processes).await?;
    if let Some(waited) = end_of(session, ids.clone(), wait.any, until).await? {
        return Ok(Waited {
            processes: waited.processes,
            timed_out: false,
        });
    }
    let mut processes = Vec::new();
    for id in ids {
        processes.extend(known(session, id).await?);
    }
    Ok(Waited {
        processes,
        timed_out: true,
    })
}

async fn find_all(
    session: &Session,
    references: &[Parsed<Reference>],
) -> Result<Vec<ProcessId>, Fault> {
    let mut ids = Vec::new();
    for Parsed(reference) in references {
        ids.push(session.find(reference).await?);
    }
    Ok(ids)
}

/// Stops a process with everything it started.
pub async fn stop(session: &Session, stop: &Stop) -> Result<Process, Fault> {
    let Parsed(which) = &stop.process;
    let id = session.find(which).await?;
    stop_by_id(session, id, stop.grace.map(|Parsed(grace)| grace)).await
}

/// The same, of a process that is known to be in reach.
pub async fn stop_by_id(
    session: &Session,
    id: ProcessId,
    grace: Option<Duration>,
) -> Result<Process, Fault> {
    let signal = match grace {
        Some(Duration::ZERO) => StopSignal::Kill,
        Some(_) | None => StopSignal::Term,
    };
    let grace = grace.filter(|grace| !grace.is_zero());
    let stopped = session.surely(async |client: Client| client.stop(id, signal, grace).await);
    let process = stopped.await?;
    if process.status.state == State::Running {
        let text = still_alive(&format!("process {id}"), &process.status);
        return Err(Fault::still_alive(text));
    }
    Ok(process)
}

/// Sends a signal.
pub async fn signal(session: &Session, signal: &Signal) -> Result<Signalled, Fault> {
    let (Parsed(which), Parsed(SignalNumber(number))) = (&signal.process, signal.signal);
    let target = if signal.tree {
        Target::Tree
    } else {
        Target::Main
    };
    let id = session.find(which).await?;
    // Not again where it may have been sent: a process that gets it twice may do something else.
    let sent = session.once(async |client: Client| client.signal_process(id, number, target).await);
    sent.await?;
    Ok(Signalled { id, signal: number })
}

/// Changes a process that is alive.
pub async fn update(session: &Session, change: Change) -> Result<Process, Fault> {
    let Change {
        process: Parsed(which),
        labels,
        limits,
        paused,
        lease,
    } = change;
    let update = Update {
        limits: limits.into(),
        paused,
        lease: lease.map(|Parsed(time)| time.into()),
        labels: None,
        label_changes: labels
            .into_iter()
            .map(label_change)
            .collect::<Result<_, _>>()?,
    };
    if update == Update::default() {
        let why = "say what is to be changed: labels, limits, paused or lease";
        return Err(Fault::malformed(why));
    }
    let id = session.find(&which).await?;
    let updated = session.surely(async |client: Client| {
        client.update_process(id, &update).await?;
        client.status(id).await
    });
    Ok(updated.await?)
}

fn label_change((key, value): (String, Option<String>)) -> Result<(String, Option<String>), Fault> {
    let is_set = value.is_some();
    let Label { key, value } = spec::label((key, value.unwrap_or_default()))?;
    Ok((key, is_set.then_some(value)))
}

/// Reads a part of an output.
pub async fn output(session: &Session, output: &Output) -> Result<Excerpt, Fault> {
    let Parsed(which) = &output.process;
    let id = session.find(which).await?;
    let tail = match (output.tail_lines, output.tail_bytes) {
        (Some(_), Some(_)) => {
            return Err(Fault::invalid("tail_lines", "not together with tail_bytes"));
        }
        (lines, bytes) => lines.map(Tail::Lines).or(bytes.map(Tail::Bytes)),
    };
    if tail.is_some() && output.from.is_some() {
        return Err(Fault::invalid("from", "not together with a tail"));
    }
    let request = OutputRequest {
        from: output.from.unwrap_or(0),
        no_follow: output.wait.is_none(),
        tail,
        only: output.stream.map(|stream| match stream {
            OnlyStream::Stdout => Source::Stdout,
            OnlyStream::Stderr => Source::Stderr,
        }),
        max_bytes: Some(output.max_bytes.unwrap_or(OUTPUT_MAX)),
        ..OutputRequest::default()
    };
    let until = output.wait.map(|Parsed(wait)| Instant::now() + wait);
    let client = session.client().await?;
    let mut reading = Reading::new(session.remote(), client, id, request);
    Ok(excerpt::read(&mut reading, until, Some(SETTLE)).await?)
}

/// Forgets finished processes.
pub async fn remove(session: &Session, several: &Several) -> Result<RemovedProcesses, Fault> {
    let ids = find_all(session, &several.processes).await?;
    let removed =
        session.once(async |client: Client| client.remove_processes(ids.as_slice()).await);
    Ok(removed.await?)
}
