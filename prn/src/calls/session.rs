//! Who makes calls: over one connection, which is made again when it is lost.

use std::cell::RefCell;
use std::collections::BTreeMap;

use prn_client::{Client, ClientError, ProcessId};
use tokio::sync::Mutex;

use crate::calls::fault::Fault;
use crate::lasting::wait::PAUSE;
use crate::which::connection::Remote;
use crate::which::reference::{Reference, ReferenceError, resolve, resolve_within};

/// How often a call is made that changes nothing by being made again.
const TRIES: u32 = 4;

/// A server, and what of it is in reach.
#[derive(Debug)]
pub struct Session {
    remote: Remote,
    client: Mutex<Option<Client>>,
    /// All is to be in this workspace.
    workspace: Option<String>,
    /// Processes whose ids nobody was told of, and whether they were started.
    untold: RefCell<BTreeMap<ProcessId, bool>>,
}

impl Session {
    /// With a connection that is there.
    pub fn new(remote: Remote, client: Client, workspace: Option<String>) -> Self {
        Self {
            remote,
            client: Mutex::new(Some(client)),
            workspace,
            untold: RefCell::default(),
        }
    }

    /// Nobody is told of a process as long as this is there.
    pub fn untold(&self, id: ProcessId, is_started: bool) -> Untold<'_> {
        self.untold.borrow_mut().insert(id, is_started);
        Untold { session: self, id }
    }

    /// What to say of those processes where prn is to end.
    pub fn lines_of_untold(&self) -> Vec<String> {
        let untold = self.untold.borrow();
        let line = |(id, is_started): (&ProcessId, &bool)| match is_started {
            true => format!("process {id} was started"),
            false => format!("it is not known whether process {id} was started"),
        };
        untold.iter().map(line).collect()
    }

    /// The server.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// The workspace that all is to be in.
    pub fn workspace(&self) -> Option<&str> {
        self.workspace.as_deref()
    }

    /// The connection.
    pub async fn client(&self) -> Result<Client, ClientError> {
        let mut client = self.client.lock().await;
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let connected = self.remote.connect().await?;
        Ok(client.insert(connected).clone())
    }

    /// Uses this connection from now on.
    pub async fn keep(&self, client: Client) {
        *self.client.lock().await = Some(client);
    }

    /// Makes a call, once. If the connection is lost, the next call makes another.
    pub async fn once<T>(
        &self,
        call: impl AsyncFn(Client) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let result = match self.client().await {
            Ok(client) => call(client).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &result
            && error.is_transient()
        {
            *self.client.lock().await = None;
        }
        result
    }

    /// Makes a call that may be made twice, again where that may help.
    pub async fn surely<T>(
        &self,
        call: impl AsyncFn(Client) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let (mut tries, mut pause) = (1, PAUSE);
        loop {
            match self.once(&call).await {
                Err(error) if error.is_transient() && tries < TRIES => {}
                result => return result,
            }
            tokio::time::sleep(pause).await;
            (tries, pause) = (tries + 1, pause * 2);
        }
    }

    /// Which process is meant. One that is out of reach gets the answer of one that is not there.
    pub async fn find(&self, reference: &Reference) -> Result<ProcessId, Fault> {
        let found = self.surely(async |client: Client| {
            let found = match &self.workspace {
                Some(workspace) => resolve_within(&client, reference, workspace).await,
                None => resolve(&client, reference).await,
            };
            match found {
                Err(ReferenceError::Client(error)) => Err(error),
                other => Ok(other),
            }
        });
        Ok(found.await??)
    }
}

/// A process that nobody was told of yet.
#[derive(Debug)]
pub struct Untold<'a> {
    session: &'a Session,
    id: ProcessId,
}

impl Drop for Untold<'_> {
    fn drop(&mut self) {
        self.session.untold.borrow_mut().remove(&self.id);
    }
}
