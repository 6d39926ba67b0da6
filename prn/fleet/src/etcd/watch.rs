//! Changes of keys as they happen, and none twice or never: what is there is read, and watched from
//! the next revision on. A watch that was cut off goes on there, with whichever member answers. Where
//! etcd has compacted that away, what is there is read anew.
//!
//! A member that hangs says nothing, and nor does a watch with it: nothing is sent to ask. Whoever must
//! know of changes in time keeps a lease ([`Lease`](super::Lease)) with the same client. A renewal that is
//! not answered gives the connection up, and the watch goes on with the next member.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use prn_client::ClientError;
use prost::Message;
use tokio::time::sleep;
use tonic::{Code, Status, Streaming};

use super::connection::{ANSWER_MAX, Connection, Etcd, led};
use super::error::{EtcdError, TOO_LARGE};
use super::kv::{KeyValue, behind};
use super::random::jitter;
use super::wire::etcdserverpb as pb;
use super::wire::etcdserverpb::watch_client::WatchClient;
use super::wire::mvccpb;
use pb::watch_create_request::FilterType;
use pb::watch_request::RequestUnion;

/// Waits after a watch that was cut off: most of the first one, and of all.
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Most time for a member to begin a watch.
const BEGIN_TIME: Duration = Duration::from_secs(3);
/// Most bytes of a message that came in parts. Where there is more, as after a long time away, what
/// is there is read instead.
const PARTS_MAX: usize = ANSWER_MAX;

/// Keys that are watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchRange {
    /// The key, or how all of them begin.
    pub key: String,
    /// All that begin so.
    pub is_prefix: bool,
    /// Only that they are gone: neither what is there nor what is written is told.
    pub deletions_only: bool,
    /// What is there is not told, but as of which revision changes are: who asks reads it then
    /// ([`Etcd::pages`]).
    pub changes_only: bool,
}

impl WatchRange {
    /// One key.
    pub fn key(key: String) -> Self {
        Self {
            key,
            is_prefix: false,
            deletions_only: false,
            changes_only: false,
        }
    }

    /// All keys that begin so.
    pub fn prefix(key: String) -> Self {
        Self {
            is_prefix: true,
            ..Self::key(key)
        }
    }
}

/// What is told. `range` is the place of the range among those that are watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// All that is there now: what was told of before and is not here is gone.
    Snapshot {
        /// Of which range.
        range: usize,
        /// In the order of their names. Of a range of which only deletions or changes are told:
        /// none.
        items: Vec<KeyValue>,
        /// As of this revision.
        revision: i64,
    },
    /// A key was written.
    Put {
        /// Of which range.
        range: usize,
        /// As it is now.
        item: KeyValue,
    },
    /// A key was deleted, or its lease has ended.
    Deleted {
        /// Of which range.
        range: usize,
        /// Which.
        key: String,
        /// At which revision.
        revision: i64,
    },
}

impl Told {
    /// Of which range.
    pub fn range(&self) -> usize {
        match self {
            Self::Snapshot { range, .. }
            | Self::Put { range, .. }
            | Self::Deleted { range, .. } => *range,
        }
    }
}

/// Some ranges, watched by one stream.
#[derive(Debug)]
pub struct Watcher {
    etcd: Etcd,
    places: Vec<Place>,
    open: Option<Open>,
    told: VecDeque<Told>,
    wait: Duration,
}

#[derive(Debug)]
struct Place {
    range: WatchRange,
    /// The first revision that was not told of. `None`: nothing was.
    next: Option<i64>,
    /// Parts of one message that came so far.
    parts: Vec<mvccpb::Event>,
    /// How many bytes they came in.
    parts_size: usize,
}

struct Open {
    connection: Connection,
    messages: Streaming<pb::WatchResponse>,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Open")
    }
}

impl Watcher {
    /// Nothing is asked before the first [`Watcher::next`].
    pub fn new(etcd: &Etcd, ranges: impl IntoIterator<Item = WatchRange>) -> Self {
        let place = |range| Place {
            range,
            next: None,
            parts: Vec::new(),
            parts_size: 0,
        };
        Self {
            etcd: etcd.clone(),
            places: ranges.into_iter().map(place).collect(),
            open: None,
            told: VecDeque::new(),
            wait: FIRST_WAIT,
        }
    }

    /// What is next: of each range a [`Told::Snapshot`] first. Cancel safe.
    ///
    /// # Errors
    /// See [`EtcdError`]. After [`EtcdError::Unreachable`] it can be asked again, and goes on where it
    /// was.
    pub async fn next(&mut self) -> Result<Told, EtcdError> {
        loop {
            if let Some(told) = self.told.pop_front() {
                return Ok(told);
            }
            if let Some(range) = self.places.iter().position(|place| place.next.is_none()) {
                self.open = None;
                self.snapshot(range).await?;
                continue;
            }
            let Some(open) = &mut self.open else {
                self.begin().await?;
                continue;
            };
            let message = tokio::select! {
                message = open.messages.message() => message,
                () = open.connection.lost() => Ok(None),
            };
            match message {
                Ok(Some(message)) => self.received(message)?,
                Err(status) if is_too_large(&status) => self.read_anew(),
                Ok(None) | Err(_) => self.cut_off().await,
            }
        }
    }

    /// Another member is asked next; not at once, and not by all at one time.
    async fn cut_off(&mut self) {
        if let Some(open) = &self.open {
            self.etcd.discard(&open.connection).await;
        }
        let wait = self.wait;
        // As much as came of a revision comes again.
        self.places.iter_mut().for_each(Place::forget_parts);
        self.open = None;
        self.wait = (wait * 2).min(LONGEST_WAIT);
        sleep(jitter(wait)).await;
    }

    /// It would come again as large as it was: what is there is read instead, in smaller parts.
    fn read_anew(&mut self) {
        self.open = None;
        self.places.iter_mut().for_each(Place::read_anew);
    }

    async fn snapshot(&mut self, range: usize) -> Result<(), EtcdError> {
        let Some(place) = self.places.get(range) else {
            return Ok(());
        };
        let WatchRange {
            key,
            is_prefix,
            deletions_only,
            changes_only,
        } = &place.range;
        let (items, revision) = if *deletions_only || *changes_only {
            // For the revision alone.
            let (_, revision) = self.etcd.read(key).await?;
            (Vec::new(), revision)
        } else if *is_prefix {
            let listing = self.etcd.read_all(key).await?;
            (listing.items, listing.revision)
        } else {
            let (item, revision) = self.etcd.read(key).await?;
            (item.into_iter().collect(), revision)
        };
        if let Some(place) = self.places.get_mut(range) {
            place.next = Some(after(revision)?);
        }
        self.told.push_back(Told::Snapshot {
            range,
            items,
            revision,
        });
        Ok(())
    }

    async fn begin(&mut self) -> Result<(), EtcdError> {
        let mut creations = Vec::new();
        for (number, place) in self.places.iter().enumerate() {
            // 0 would leave it to etcd.
            let id = i64::try_from(number + 1);
            let id = id.map_err(|_| EtcdError::Protocol("too many ranges"))?;
            creations.push(place.creation(id));
        }
        let opened = self.etcd.call_on(|connection| {
            // It lasts for as long as the requests do.
            let requests = stream::iter(creations.clone()).chain(stream::pending());
            async move {
                let mut client =
                    WatchClient::new(connection.channel()).max_decoding_message_size(ANSWER_MAX);
                let begun = tokio::time::timeout(BEGIN_TIME, client.watch(led(requests))).await;
                let response = begun
                    .map_err(|_| ClientError::NoAnswer { after: BEGIN_TIME })?
                    .map_err(|status| connection.explain(status))?;
                Ok(Open {
                    connection,
                    messages: response.into_inner(),
                })
            }
        });
        self.open = Some(opened.await?);
        Ok(())
    }

    fn received(&mut self, message: pb::WatchResponse) -> Result<(), EtcdError> {
        let none = EtcdError::Protocol("etcd tells of a watch that nobody has asked for");
        let range = range_of(message.watch_id)?;
        let place = self.places.get_mut(range).ok_or(none)?;
        place.parts_size = place.parts_size.saturating_add(message.encoded_len());
        if message.compact_revision > 0 || place.parts_size > PARTS_MAX {
            place.read_anew();
            return Ok(());
        }
        if message.canceled {
            if message.cancel_reason.contains("permission denied") {
                let says = "etcd lets the user that this certificate names not watch";
                return Err(EtcdError::Protocol(says));
            }
            self.open = None;
            return Ok(());
        }
        place.parts.extend(message.events);
        if message.fragment {
            return Ok(());
        }
        place.parts_size = 0;
        for event in std::mem::take(&mut place.parts) {
            let is_put = event.r#type() == mvccpb::event::EventType::Put;
            let missing = EtcdError::Protocol("etcd tells of a change of nothing");
            let raw = event.kv.ok_or(missing)?;
            place.next = place.next.max(Some(after(raw.mod_revision)?));
            // Of a key that is no text nobody is told: nothing of prn's is there.
            let Ok(item) = KeyValue::try_from(raw) else {
                continue;
            };
            self.told.push_back(if is_put {
                Told::Put { range, item }
            } else {
                Told::Deleted {
                    range,
                    key: item.key,
                    revision: item.mod_revision,
                }
            });
        }
        // It works.
        self.wait = FIRST_WAIT;
        Ok(())
    }
}

/// Whether a message was larger than any that is taken.
fn is_too_large(status: &Status) -> bool {
    status.code() == Code::OutOfRange && status.message().contains(TOO_LARGE)
}

/// The revision behind this one.
fn after(revision: i64) -> Result<i64, EtcdError> {
    let after = revision.checked_add(1);
    after.ok_or(EtcdError::Protocol("etcd is at no revision"))
}

/// The place of the range that was given this number ([`Watcher::begin`]).
fn range_of(watch_id: i64) -> Result<usize, EtcdError> {
    let range = watch_id.checked_sub(1);
    let range = range.and_then(|range| usize::try_from(range).ok());
    range.ok_or(EtcdError::Protocol("etcd has not begun a watch"))
}

impl Place {
    /// Next, what is there is read.
    fn read_anew(&mut self) {
        self.next = None;
        self.forget_parts();
    }

    fn forget_parts(&mut self) {
        self.parts.clear();
        self.parts_size = 0;
    }

    fn creation(&self, id: i64) -> pb::WatchRequest {
        let no_puts = self.range.deletions_only.then_some(FilterType::Noput);
        pb::WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(pb::WatchCreateRequest {
                key: self.range.key.as_bytes().to_vec(),
                range_end: if self.range.is_prefix {
                    behind(&self.range.key)
                } else {
                    Vec::new()
                },
                start_revision: self.next.unwrap_or_default(),
                filters: no_puts.map(i32::from).into_iter().collect(),
                watch_id: id,
                fragment: true,
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_etcds_that_is_none_is_an_error() {
        assert_eq!(after(7).unwrap(), 8);
        assert!(matches!(after(i64::MAX), Err(EtcdError::Protocol(_))));
        assert_eq!(range_of(1).unwrap(), 0);
        for none in [i64::MIN, -1, 0] {
            assert!(matches!(range_of(none), Err(EtcdError::Protocol(_))));
        }
    }

    #[test]
    fn parts_that_are_forgotten_count_no_more() {
        let mut place = Place {
            range: WatchRange::key("a".to_owned()),
            next: Some(7),
            parts: vec![mvccpb::Event::default()],
            parts_size: PARTS_MAX,
        };
        place.read_anew();
        assert_eq!(
            (place.next, place.parts.len(), place.parts_size),
            (None, 0, 0)
        );
    }
}
