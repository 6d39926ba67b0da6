//! GetOutput: a subscription to a process's output.

use std::fmt;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::stream::unfold;
use prn_ipc_protocol::message::{Ask, Reply};
use prn_ipc_protocol::output::Reader;
use prn_ipc_protocol::policy::Verb;
use prn_ipc_protocol::types::{ProcessId, UnixMicros};
use prn_proto::v1;
use tonic::Status;

use crate::access::until_over;
use crate::calls::server::Server;
use crate::clients::Client;
use crate::convert::subscribe::wanted;
use crate::errors;
use crate::failure::Failure;
use crate::mirror::Process;
use crate::permits::Permit;
use crate::subscribe::body::{Frames, Sent};
use crate::subscribe::keeper::Keeper;
use crate::subscribe::seat::Standing;
use crate::subscribe::subscription::{Source, Subscription, unreadable};
use crate::supervisor::{Answered, Supervisor, Unexpected};

/// What is remembered until its output was read is remembered for this long after that: what the
/// kernel took has not come yet, and who lost the connection before it did asks again. Who has it all
/// need not wait for that, and can have the process removed.
const COMEBACK: Duration = Duration::from_secs(60);

/// A stream of a process's output.
pub struct Opened {
    /// What is sent.
    pub frames: Frames,
    /// What is done then.
    pub sent: Sent,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").finish_non_exhaustive()
    }
}

/// Opens a stream of a process's output.
pub async fn subscribe(
    server: &Server,
    client: &Arc<Client>,
    request: &v1::GetOutputRequest,
) -> Result<Opened, Status> {
    let (id, wanted) = wanted(request, UnixMicros::now())?;
    let process = server.allowed(client, Verb::Output, id)?;
    // For as long as the stream lasts: a client that takes nothing holds a chunk of output here.
    let slot = server
        .subscribers
        .enter(id, client.number)
        .map_err(|full| errors::too_many_subscribers(full, id))?;
    let info = process.info();
    // To read is allowed alone: who has no more to say keeps nothing alive, and holds nothing up.
    let may = |verb| client.access.has_say(verb, info.started_by.as_ref());
    let keeps = !wanted.no_follow && may(Verb::Start);
    let keeper = keeps.then(|| Keeper::enter(&process, &server.supervisor));
    let standing = match (may(Verb::Signal), wanted.is_follower) {
        (false, _) => Standing::Guest,
        (true, false) => Standing::Reader,
        (true, true) => Standing::Follower,
    };
    let until_read = info.spec.retention.until_read;
    let read = Arc::downgrade(&process);
    let source = Source {
        reader: reader(server, client, &process).await?,
        process,
        supervisor: server.supervisor.clone(),
        chunks: Arc::clone(&server.chunks),
        epoch: Arc::clone(&server.epoch),
        standing,
    };
    let subscription = Subscription::open(source, wanted).await?;
    let has_all = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&has_all);
    let sent = server.metrics.output_sent.clone();
    let frames = unfold(
        (subscription, (slot, keeper, told, sent)),
        |(mut subscription, held)| async {
            let Some(frame) = subscription.next().await else {
                held.2.store(subscription.has_all(), Ordering::Release);
                return None;
            };
            if let Ok(frame) = &frame {
                held.3.add(frame.data.len());
            }
            Some((frame, (subscription, held)))
        },
    );
    let forget = forget(server, client, read.clone());
    Ok(Opened {
        frames: until_over(Box::pin(frames), &client.access),
        sent: Box::new(move || {
            let is_read = until_read && has_all.load(Ordering::Acquire);
            // Once, however often it is read until that is done.
            if is_read && read.upgrade().is_some_and(|process| process.was_read()) {
                drop(tokio::spawn(forget));
            }
        }),
    })
}

/// Has the supervisor forget a process whose output was read.
fn forget(
    server: &Server,
    client: &Arc<Client>,
    process: Weak<Process>,
) -> impl Future<Output = ()> + use<> {
    let (permits, supervisor) = (server.permits.clone(), server.supervisor.clone());
    let client = Arc::clone(client);
    async move {
        tokio::time::sleep(COMEBACK).await;
        let process = process.upgrade();
        let Some(process) = process.filter(|process| !process.is_forgotten()) else {
            return;
        };
        let id = process.hub.id();
        let forgotten = async {
            let permit = permits.forgetting(&client).await?;
            let done = |answered: Answered<'_>| answered.done();
            supervisor.ask(&client, permit, Ask::Forget(id), done).await
        };
        // Another reader may have had it forgotten, or somebody who asked for that. If it is there
        // yet, whoever reads all of it next has it tried again.
        if forgotten.await.is_err() {
            process.set_unread();
        }
    }
}

/// The process's output, opened if nobody reads it yet; `None` if it ended without a byte, and has
/// nothing to be opened.
async fn reader(
    server: &Server,
    client: &Client,
    process: &Process,
) -> Result<Option<Arc<Reader>>, Status> {
    let info = process.info();
    if info.end.as_ref().is_some_and(|end| end.output.end == 0) {
        return Ok(None);
    }
    if let Some(reader) = process.hub.reader() {
        return Ok(Some(reader));
    }
    let opened = async {
        // Before the lock: who has it waits for the supervisor, and never for other calls of its
        // own client.
        let permit = server.permits.subscription(client).await?;
        let open = ask(&server.supervisor, client, permit, info.id);
        process.hub.reader_or(open).await
    };
    opened.await.map(Some).map_err(|failure| {
        if let Failure::Output(error) = &failure {
            return unreadable(info.id, error);
        }
        errors::failed(&failure, info.id, None)
    })
}

async fn ask(
    supervisor: &Supervisor,
    client: &Client,
    permit: Permit,
    id: ProcessId,
) -> Result<Reader, Failure> {
    let read = |answered: Answered<'_>| {
        if answered.reply != Reply::Subscribed {
            return Err(Unexpected);
        }
        let [data, page]: [OwnedFd; 2] = answered.descriptors.try_into().map_err(|_| Unexpected)?;
        Ok(Reader::new(File::from(data), File::from(page)).map_err(Failure::Output))
    };
    supervisor
        .ask(client, permit, Ask::Subscribe(id), read)
        .await
}
