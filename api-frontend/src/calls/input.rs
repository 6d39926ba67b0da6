//! SendInput: a client's stream to a process's standard input.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use prn_ipc_protocol::message::{Ask, Reply};
use prn_ipc_protocol::policy::Verb;
use prn_proto::v1;
use tonic::{Status, Streaming};

use crate::calls::server::Server;
use crate::clients::Client;
use crate::convert::input::{Opening, Piece, opening};
use crate::errors;
use crate::failure::Failure;
use crate::input::feed::{Fed, Feed};
use crate::input::intake::Gauge;
use crate::input::pipe::Pipe;
use crate::input::place::Place;
use crate::input::writer::{By, Entry, InUse, Writer};
use crate::supervisor::{Answered, Unexpected};

/// What a stream's first message gets to come. Until then it is one of its connection's
/// ([`Inputs`]) and nothing else.
///
/// [`Inputs`]: crate::input::streams::Inputs
const FIRST_WITHIN: Duration = Duration::from_secs(10);

/// Feeds a process's input for as long as the stream lasts.
///
/// It may be dropped at any time, as it is when its client goes: what it was lent is given back then.
pub async fn send_input(
    server: &Server,
    client: &Client,
    gauge: &Gauge,
    messages: Streaming<v1::SendInputRequest>,
) -> Result<v1::SendInputResponse, Status> {
    let outcome = tokio::select! {
        biased;
        () = server.supervisor.closed() => Err(server.gone()),
        outcome = fed(server, client, messages) => outcome,
        // After that, which has read what it can.
        () = gauge.stalled() => Err(errors::input_stalled()),
    }?;
    Ok(v1::SendInputResponse {
        taken: outcome.taken,
        ended: outcome.is_ended,
        closed: outcome.is_closed,
        boot_epoch: server.boot_epoch(),
    })
}

/// What the client is told.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    /// `None`: nobody knows.
    taken: Option<u64>,
    is_ended: bool,
    is_closed: bool,
}

/// What there is of a process's input.
#[derive(Debug)]
struct Lent {
    /// How much was taken. `None`: nobody knows.
    taken: Option<u64>,
    /// `None`: it takes nothing more.
    pipe: Option<Pipe>,
}

async fn fed(
    server: &Server,
    client: &Client,
    mut messages: Streaming<v1::SendInputRequest>,
) -> Result<Outcome, Status> {
    let first = tokio::time::timeout(FIRST_WITHIN, messages.message()).await;
    let first = first.map_err(|_| errors::input_silent(FIRST_WITHIN))??;
    // A stream without a message names no process.
    let first = first.unwrap_or_default();
    let (opening, first) = opening(first)?;
    let process = server.allowed(client, Verb::Input, opening.id)?;
    let by = By {
        client: client.number,
        name: opening.writer,
    };
    let (entry, mut takeover) =
        Entry::take(&process.writers, by).map_err(|InUse| errors::input_in_use(opening.id))?;
    let feed = Feed {
        server,
        client,
        process,
        messages,
    };
    tokio::select! {
        biased;
        () = takeover.happens() => Err(errors::input_taken_over(opening.id)),
        outcome = in_turn(feed, entry, opening, first) => outcome,
    }
}

async fn in_turn(
    mut feed: Feed<'_>,
    entry: Entry,
    opening: Opening,
    first: Piece,
) -> Result<Outcome, Status> {
    let client = feed.client.number;
    // Until there is an outcome: what comes later is no takeover of this stream.
    let writer = Arc::new(entry.turn().await);
    // After its turn has come: a client that comes again with all streams that it had finds as many
    // places.
    let _slot = feed
        .server
        .inputs
        .enter(client, client)
        .map_err(errors::too_many_inputs)?;
    let lent = lend(&feed, &writer)
        .await
        .map_err(|failure| errors::failed(&failure, opening.id, None))?;
    let own_from = writer.own_from(lent.taken.unwrap_or(0));
    let place = Place::find(lent.taken, opening.offset, own_from)
        .map_err(|misplaced| errors::input_misplaced(misplaced, opening.id));
    let Some(mut pipe) = lent.pipe else {
        return compared(&mut feed, lent.taken, place?, first).await;
    };
    let outcome = match place {
        Ok(place) => written(&mut feed, &writer, &mut pipe, place, first).await,
        Err(status) => Err(status),
    };
    // After what nobody knows, the pipe has counted this stream alone.
    let outcome = outcome.map(|outcome| Outcome {
        taken: lent.taken.and(outcome.taken),
        ..outcome
    });
    // Before the client is answered, which may come again at once, or another writer.
    pipe.close().await;
    outcome
}

/// Asks for the end to write to.
async fn lend(feed: &Feed<'_>, writer: &Arc<Writer>) -> Result<Lent, Failure> {
    let id = feed.id();
    let supervisor = &feed.server.supervisor;
    let permit = feed.server.permits.input(feed.client).await?;
    // The answer has the place as well, whatever becomes of the stream: nobody else may ask before
    // this end is given back.
    let (told, writer) = (supervisor.clone(), Arc::clone(writer));
    let read = move |answered: Answered<'_>| match answered.reply {
        Reply::Input { taken } => {
            let [end]: [OwnedFd; 1] = answered.descriptors.try_into().map_err(|_| Unexpected)?;
            // After what nobody knows, what this stream brings is counted alone, which the
            // supervisor does not take for all.
            let counted = taken.unwrap_or(0);
            let pipe = Pipe::new(end, id, counted, told, writer).map_err(Failure::Input);
            Ok(pipe.map(|pipe| Lent {
                taken,
                pipe: Some(pipe),
            }))
        }
        Reply::InputOver { taken } => Ok(Ok(Lent { taken, pipe: None })),
        Reply::Done
        | Reply::Existing
        | Reply::Subscribed
        | Reply::Usage(_)
        | Reply::Receipt(_)
        | Reply::Startable(_)
        | Reply::Refused(_) => Err(Unexpected),
    };
    supervisor
        .ask(feed.client, permit, Ask::LendInput(id), read)
        .await
}

async fn written(
    feed: &mut Feed<'_>,
    writer: &Arc<Writer>,
    pipe: &mut Pipe,
    place: Place,
    first: Piece,
) -> Result<Outcome, Status> {
    let mut changes = feed.process.changes();
    let fed = tokio::select! {
        biased;
        fed = feed.write(pipe, place, first) => fed?,
        // Others may have the pipe still.
        _ = changes.wait_for(|info| info.end.is_some()) => Fed::Closed,
    };
    if fed == Fed::Ended {
        end(feed, writer)
            .await
            .map_err(|failure| errors::failed(&failure, feed.id(), None))?;
    }
    Ok(Outcome {
        taken: Some(pipe.taken()),
        is_ended: fed == Fed::Ended,
        is_closed: fed == Fed::Closed,
    })
}

/// Asks for the input's end. Meanwhile the stream has its own end of the pipe still: the supervisor
/// closes one that is not the last, which nobody can make wait.
async fn end(feed: &Feed<'_>, writer: &Arc<Writer>) -> Result<(), Failure> {
    let permit = feed.server.permits.input(feed.client).await?;
    // As that of the end to write to: who comes next finds the input ended.
    let writer = Arc::clone(writer);
    let read = move |answered: Answered<'_>| {
        drop(writer);
        answered.done()
    };
    let ask = Ask::EndInput(feed.id());
    feed.server
        .supervisor
        .ask(feed.client, permit, ask, read)
        .await
}

/// The input takes nothing more. A client that does not know how its stream has ended asks again.
async fn compared(
    feed: &mut Feed<'_>,
    taken: Option<u64>,
    place: Place,
    first: Piece,
) -> Result<Outcome, Status> {
    // That it was ended, or that the process has, was said before.
    let info = feed.process.info();
    if info.input_ended {
        feed.compare(place, first).await?;
    }
    Ok(Outcome {
        taken,
        is_ended: info.input_ended,
        is_closed: info.end.is_some() || !info.input_ended,
    })
}
