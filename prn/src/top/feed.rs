//! What comes from one server: changes of its processes and what these take, over as many
//! connections as it takes.

use std::time::Duration;

use prn_client::{
    Client, ClientError, Event, OutputRequest, ProcessId, Selector, State, Tail, Watch,
    WatchRequest,
};
use tokio::sync::{mpsc, watch};

use super::key::Key;
use super::log::Piece;
use super::model::Update;
use crate::failure::Failure;
use crate::lasting::reading::Reading;
use crate::lasting::wait::{PAUSE, PAUSE_MAX};
use crate::output::{error_line, show_exit};
use crate::which::connection::Remote;

/// Between the first two samples: what a process takes a second is known from the second one on.
const FIRST: Duration = Duration::from_millis(500);

/// Lines that a log begins with.
const TAIL: u64 = 500;

/// One server, and the connection to it.
#[derive(Debug)]
pub struct Feed {
    /// Its place among the servers.
    pub host: usize,
    /// What it is called, if anybody here has a name for it.
    pub name: Option<String>,
    remote: Remote,
    /// `None`: there is no connection now.
    client: watch::Sender<Option<Client>>,
    updates: mpsc::Sender<Update>,
}

/// Nobody takes updates any more: prn ends.
#[derive(Debug)]
struct Ended;

/// Why a connection is left.
enum Left {
    Failed(ClientError),
    Ended(Ended),
}

impl From<ClientError> for Left {
    fn from(error: ClientError) -> Self {
        Self::Failed(error)
    }
}

impl From<Ended> for Left {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

impl Feed {
    /// Of a server, whose updates go there.
    pub fn new(
        host: usize,
        name: Option<String>,
        remote: Remote,
        updates: mpsc::Sender<Update>,
    ) -> Self {
        Self {
            host,
            name,
            remote,
            client: watch::Sender::new(None),
            updates,
        }
    }

    /// The connection, if there is one now.
    pub fn client(&self) -> Option<Client> {
        self.client.borrow().clone()
    }

    /// Tells of processes until nobody takes that any more. A server that is lost is tried again.
    ///
    /// # Errors
    /// If it cannot be reached the first time.
    pub async fn run(&self, selector: &Selector, interval: Duration) -> Result<(), Failure> {
        let mut watch = None;
        let mut pause = PAUSE;
        loop {
            let error = match self.connected(&mut watch, selector, interval).await {
                Ok(()) | Err(Left::Ended(Ended)) => return Ok(()),
                Err(Left::Failed(error)) => error,
            };
            let was_there = self.client.send_replace(None).is_some();
            if watch.is_none() {
                return Err(error.into());
            }
            if was_there {
                pause = PAUSE;
            }
            let failure = Failure::from(error);
            let why = error_line(&failure, failure.hint().as_deref());
            let host = self.host;
            if self.send(Update::Lost { host, why }).await.is_err() {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// On one connection.
    async fn connected(
        &self,
        ended: &mut Option<Watch>,
        selector: &Selector,
        interval: Duration,
    ) -> Result<(), Left> {
        let client = self.remote.connect().await?;
        let mut request = WatchRequest::default();
        request.selector = selector.clone();
        let now = match &ended {
            Some(watch) => client.resume_watch(watch).await?,
            None => client.watch(&request).await?,
        };
        let watch = ended.insert(now);
        let name = match &self.name {
            Some(_) => None,
            None => client.server().await.ok().map(|server| server.hostname),
        };
        self.client.send_replace(Some(client.clone()));
        let host = self.host;
        self.send(Update::Connected { host, name }).await?;
        let changes = async {
            while let Some(change) = watch.next().await? {
                self.send(Update::Change { host, change }).await?;
            }
            Ok::<_, Left>(())
        };
        tokio::select! {
            done = changes => done,
            done = self.sample(&client, selector, interval) => done,
        }
    }

    async fn sample(
        &self,
        client: &Client,
        selector: &Selector,
        interval: Duration,
    ) -> Result<(), Left> {
        let mut running = selector.clone();
        running.state = Some(State::Running);
        let mut pause = FIRST.min(interval);
        loop {
            let usages = client.usage(running.clone(), false).await?;
            let host = self.host;
            self.send(Update::Usages { host, usages }).await?;
            tokio::time::sleep(pause).await;
            pause = interval;
        }
    }

    /// Reads a process's output, the end of it first.
    pub async fn read(&self, id: ProcessId) {
        let key = Key {
            host: self.host,
            id,
        };
        let ended = match self.pieces(key).await {
            Ok(why) => why,
            Err(Left::Ended(Ended)) => return,
            Err(Left::Failed(error)) => {
                let failure = Failure::from(error);
                error_line(&failure, None)
            }
        };
        let piece = Piece::End(ended);
        drop(self.send(Update::Log { key, piece }).await);
    }

    /// Each piece until the last; why there are no more.
    async fn pieces(&self, key: Key) -> Result<String, Left> {
        let Some(client) = self.client() else {
            return Ok("not connected".to_owned());
        };
        let request = OutputRequest {
            tail: Some(Tail::Lines(TAIL)),
            ..OutputRequest::default()
        };
        let mut reading = Reading::new(&self.remote, client, key.id, request);
        while let Some(event) = reading.next().await? {
            let piece = match event {
                Event::Data { source, data, .. } => Piece::Data { source, data },
                Event::Gap { from, to } => Piece::Gap(to.saturating_sub(from)),
                Event::End(end) => {
                    let exit = end.exit.as_ref().map(show_exit);
                    return Ok(exit.map_or("ended".to_owned(), |exit| format!("ended: {exit}")));
                }
            };
            self.send(Update::Log { key, piece }).await?;
        }
        Ok("ended".to_owned())
    }

    async fn send(&self, update: Update) -> Result<(), Ended> {
        self.updates.send(update).await.map_err(|_| Ended)
    }
}
