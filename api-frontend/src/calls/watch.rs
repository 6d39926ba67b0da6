//! Watch: answered from the mirror.

use std::sync::Arc;

use futures_util::stream::unfold;
use prn_ipc_protocol::policy::Verb;
use prn_proto::v1;
use tokio::sync::watch;
use tonic::Status;

use crate::access::{Sent, until_over};
use crate::calls::server::{self, Server};
use crate::clients::Client;
use crate::convert;
use crate::errors;
use crate::mirror::Mirror;
use crate::quota::ClientNumber;
use crate::quota::Slot;
use crate::supervisor::Supervisor;
use crate::watching::{Step, Watching};

/// What a watch sends.
pub type Changes = Sent<v1::WatchResponse>;

/// Opens a stream of changes.
pub fn watch(
    server: &Server,
    client: &Client,
    request: v1::WatchRequest,
) -> Result<Changes, Status> {
    client.access.check(Verb::List)?;
    let wanted = convert::watch::watch(request, &server.epoch, client.access.scope())?;
    // For as long as the stream lasts.
    let slot = server.watches.enter(client.number, client.number);
    let slot = slot.map_err(errors::too_many_watches)?;
    // Before the first look, so that no change is missed.
    let news = server.mirror.news();
    let sending = Sending {
        watching: Watching::new(Arc::clone(&server.mirror), wanted),
        news,
        mirror: Arc::clone(&server.mirror),
        supervisor: server.supervisor.clone(),
        is_closed: false,
        is_over: false,
        _slot: slot,
    };
    let changes = unfold(sending, |mut sending| async {
        let message = sending.next().await?;
        Some((message, sending))
    });
    Ok(until_over(Box::pin(changes), &client.access))
}

struct Sending {
    watching: Watching,
    news: watch::Receiver<u64>,
    mirror: Arc<Mirror>,
    supervisor: Supervisor,
    /// The supervisor says nothing more.
    is_closed: bool,
    is_over: bool,
    _slot: Slot<ClientNumber>,
}

impl Sending {
    async fn next(&mut self) -> Option<Result<v1::WatchResponse, Status>> {
        while !self.is_over {
            // A client that is far behind could keep this thread for itself.
            tokio::task::coop::consume_budget().await;
            match self.watching.step() {
                Ok(Step::Message(message)) => return Some(Ok(*message)),
                Ok(Step::Skipped) => {}
                Ok(Step::Over) => return None,
                Ok(Step::Nothing) if self.is_closed => {
                    self.is_over = true;
                    return Some(Err(server::gone(&self.mirror)));
                }
                Ok(Step::Nothing) => self.wait().await,
                Err(_behind) => {
                    self.is_over = true;
                    return Some(Err(errors::watch_behind()));
                }
            }
        }
        None
    }

    async fn wait(&mut self) {
        tokio::select! {
            // Its sender is the mirror's, which is held here.
            changed = self.news.changed() => drop(changed),
            () = self.supervisor.closed() => self.is_closed = true,
        }
    }
}
