//! One connection to one member at a time, and the next member when that does not answer.

use std::fmt;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use prn_client::credentials::Credentials;
use prn_client::{ClientError, SecureChannel};
use prn_proto::tls::TlsError;
use prn_proto::units::Address;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::error::{EtcdError, is_outdated, is_transient};
use super::random::jitter;

/// Most time for a connection.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// Most time for an answer of one member. A leader's election takes 1 to 2 s by etcd's defaults.
const ANSWER_TIME: Duration = Duration::from_secs(3);
/// After so long whoever waits wants to know for what.
const SLOW: Duration = Duration::from_secs(2);
/// Waits between attempts: the first one, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(25);
const LONGEST_WAIT: Duration = Duration::from_millis(1000);
/// The largest answer that is taken.
pub(super) const ANSWER_MAX: usize = 16 * 1024 * 1024;

/// Where etcd is, and who asks.
#[derive(Debug)]
pub struct EtcdSettings {
    /// Its members: "HOST:PORT" each.
    pub endpoints: Vec<Address>,
    /// The client's certificate and key, and what all members are known by.
    pub credentials: Credentials,
    /// The members' name in certificates that an authority has signed. `None`: the host of each
    /// endpoint.
    pub name: Option<String>,
    /// For how long a call is tried with one member after the other.
    pub patience: Duration,
    /// Told once of all members, when a call was tried for 2 s or more, and is tried on.
    pub when_slow: Option<fn(&str)>,
}

/// A client of etcd. Cheap to clone; the clones share a connection.
#[derive(Clone)]
pub struct Etcd {
    inner: Arc<Inner>,
    /// Bytes that there is room for in listings. `None`: however many.
    room: Option<Arc<Semaphore>>,
}

struct Inner {
    endpoints: Vec<Endpoint>,
    patience: Duration,
    /// `None`: it was told, or nobody wants to know.
    when_slow: StdMutex<Option<fn(&str)>>,
    state: Mutex<State>,
}

struct Endpoint {
    address: String,
    credentials: Credentials,
}

struct State {
    /// Which endpoint is, or will be, connected to: modulo their number.
    place: usize,
    connection: Option<Connection>,
}

/// A connection, and whether anybody has found it to be of no use.
#[derive(Clone)]
pub(super) struct Connection {
    channel: SecureChannel,
    is_lost: watch::Sender<bool>,
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Etcd").field(&self.tried()).finish()
    }
}

impl Etcd {
    /// Not connected yet.
    ///
    /// # Errors
    /// An endpoint's name is none; there is no endpoint.
    pub fn new(settings: EtcdSettings) -> Result<Self, EtcdError> {
        let endpoint = |address: &Address| {
            let (host, _) = address.parts();
            let name = settings.name.as_deref().unwrap_or(host);
            Ok::<_, TlsError>(Endpoint {
                address: address.0.clone(),
                credentials: settings.credentials.named(name)?,
            })
        };
        let endpoints = settings.endpoints.iter().map(endpoint);
        let endpoints = endpoints.collect::<Result<Vec<_>, _>>();
        let endpoints = endpoints.map_err(|error| EtcdError::Unusable(Box::new(error.into())))?;
        if endpoints.is_empty() {
            return Err(EtcdError::Protocol("no endpoint of etcd is named"));
        }
        // Not all clients ask the same member.
        let chance = jitter(Duration::from_secs(3600)).as_millis();
        let place = usize::try_from(chance).unwrap_or_default();
        let inner = Inner {
            endpoints,
            patience: settings.patience,
            when_slow: StdMutex::new(settings.when_slow),
            state: Mutex::new(State {
                place,
                connection: None,
            }),
        };
        Ok(Self {
            inner: Arc::new(inner),
            room: None,
        })
    }

    /// The same with room for so many bytes in all listings that there are at a time
    /// ([`Etcd::read_all`]): for one that lasts, and reads what others write.
    #[must_use]
    pub fn with_room_for(mut self, bytes: usize) -> Self {
        self.room = Some(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))));
        self
    }

    /// Room for so many bytes more, until it is dropped. `None`: as much as anybody wants.
    pub(super) fn room_for(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, EtcdError> {
        let Some(room) = &self.room else {
            return Ok(None);
        };
        let bytes = u32::try_from(bytes).map_err(|_| EtcdError::TooLarge)?;
        let room = Arc::clone(room).try_acquire_many_owned(bytes);
        room.map(Some).map_err(|_| EtcdError::TooLarge)
    }

    fn tried(&self) -> String {
        let all = self.inner.endpoints.iter();
        let all: Vec<_> = all.map(|endpoint| endpoint.address.as_str()).collect();
        all.join(", ")
    }

    /// Calls until a member has answered, for as long as it is worth it. Each attempt is a call of
    /// its own.
    pub(super) async fn call<T, F>(&self, attempt: impl Fn(Channel) -> F) -> Result<T, EtcdError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        self.call_on(|connection| {
            let called = timeout(ANSWER_TIME, attempt(connection.channel()));
            async move {
                called
                    .await
                    .map_err(|_| ClientError::NoAnswer { after: ANSWER_TIME })?
                    .map_err(|status| connection.explain(status))
            }
        })
        .await
    }

    /// The same with the connection.
    pub(super) async fn call_on<T, F>(
        &self,
        attempt: impl Fn(Connection) -> F,
    ) -> Result<T, EtcdError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let began = Instant::now();
        let until = began + self.inner.patience;
        let mut wait = FIRST_WAIT;
        let mut unusable = 0;
        loop {
            let error = match self.connected().await {
                Ok(connection) => match attempt(connection.clone()).await {
                    Ok(answer) => return Ok(answer),
                    // The same member does it the next time.
                    Err(ClientError::Refused(error)) if is_outdated(&error) => {
                        ClientError::Refused(error)
                    }
                    Err(ClientError::Refused(error))
                        if !is_transient(&ClientError::Refused(error.clone())) =>
                    {
                        return Err(EtcdError::refused(error));
                    }
                    Err(error) => {
                        self.discard(&connection).await;
                        error
                    }
                },
                Err(error) => error,
            };
            if !is_transient(&error) {
                unusable += 1;
            }
            if unusable >= self.inner.endpoints.len() {
                return Err(EtcdError::Unusable(Box::new(error)));
            }
            let pause = wait / 2 + jitter(wait / 2);
            if Instant::now() + pause >= until {
                return Err(EtcdError::Unreachable {
                    tried: self.tried(),
                    after: self.inner.patience,
                    source: Box::new(error),
                });
            }
            if began.elapsed() >= SLOW {
                self.tell_slow();
            }
            sleep(pause).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    fn tell_slow(&self) {
        let when_slow = self.inner.when_slow.lock();
        let when_slow = when_slow.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(tell) = when_slow {
            tell(&self.tried());
        }
    }

    /// The connection that there is, or a new one.
    async fn connected(&self) -> Result<Connection, ClientError> {
        let mut state = self.inner.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok(connection.clone());
        }
        let number = state.place % self.inner.endpoints.len().max(1);
        // In case that this one does not answer, or is given up.
        state.place = state.place.wrapping_add(1);
        let none = ClientError::Protocol("no endpoint of etcd is named");
        let endpoint = self.inner.endpoints.get(number).ok_or(none)?;
        let channel =
            SecureChannel::connect(&endpoint.address, &endpoint.credentials, CONNECT_TIME).await?;
        let connection = Connection {
            channel,
            is_lost: watch::Sender::new(false),
        };
        state.connection = Some(connection.clone());
        Ok(connection)
    }

    /// Gives a connection up, for all who have it.
    pub(super) async fn discard(&self, connection: &Connection) {
        let mut state = self.inner.state.lock().await;
        connection.is_lost.send_replace(true);
        let same = |kept: &Connection| kept.is_lost.same_channel(&connection.is_lost);
        if state.connection.as_ref().is_some_and(same) {
            state.connection = None;
        }
    }
}

impl Connection {
    /// What generated code calls.
    pub(super) fn channel(&self) -> Channel {
        self.channel.channel()
    }

    /// The error that a status stands for.
    pub(super) fn explain(&self, status: Status) -> ClientError {
        self.channel.explain(status)
    }

    /// Returns when somebody has given it up.
    pub(super) async fn lost(&self) {
        let mut is_lost = self.is_lost.subscribe();
        // There is a sender as long as this is.
        let _never_gone = is_lost.wait_for(|is_lost| *is_lost).await;
    }
}

/// A request of a member that has a leader: without one it is refused or ended at once, instead of
/// waiting for an end of the separation.
pub(super) fn led<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let yes = tonic::metadata::MetadataValue::from_static("true");
    request.metadata_mut().insert("hasleader", yes);
    request
}
