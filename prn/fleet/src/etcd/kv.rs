//! Keys: read, and changed by transactions.

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::connection::{ANSWER_MAX, Etcd, led};
use super::error::EtcdError;
use super::wire::etcdserverpb as pb;
use super::wire::etcdserverpb::kv_client::KvClient;
use super::wire::mvccpb;
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request;
use pb::response_op::Response;

/// Keys that are read at a time, but for large ones.
const PAGE: i64 = 500;

/// A key and what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: String,
    /// What is there.
    pub value: Bytes,
    /// Revision of the store that it was created at.
    pub create_revision: i64,
    /// Revision of the store that it was last written at.
    pub mod_revision: i64,
    /// The lease that it lives as long as. 0: none.
    pub lease: i64,
}

impl TryFrom<mvccpb::KeyValue> for KeyValue {
    type Error = EtcdError;

    fn try_from(raw: mvccpb::KeyValue) -> Result<Self, EtcdError> {
        let key = String::from_utf8(raw.key);
        Ok(Self {
            key: key.map_err(|_| EtcdError::Protocol("etcd has a key that is no text"))?,
            value: raw.value,
            create_revision: raw.create_revision,
            mod_revision: raw.mod_revision,
            lease: raw.lease,
        })
    }
}

impl KeyValue {
    /// About what it takes in memory: bytes.
    fn size(&self) -> usize {
        let texts = self.key.len().saturating_add(self.value.len());
        texts.saturating_add(size_of::<Self>())
    }
}

/// Keys as they were at one revision.
#[derive(Debug, Default)]
pub struct Listing {
    /// In the order of their names.
    pub items: Vec<KeyValue>,
    /// The revision.
    pub revision: i64,
    /// What it takes of the client's room, where that is bounded.
    room: Option<OwnedSemaphorePermit>,
}

impl Listing {
    /// One page more.
    fn extend(&mut self, etcd: &Etcd, items: Vec<KeyValue>) -> Result<(), EtcdError> {
        let size = items.iter().map(KeyValue::size).sum();
        match (&mut self.room, etcd.room_for(size)?) {
            (Some(room), Some(more)) => room.merge(more),
            (room, more) => *room = more,
        }
        self.items.extend(items);
        Ok(())
    }
}

/// Keys that begin alike, as they were at one revision, read some at a time.
#[derive(Debug)]
pub struct Pages {
    etcd: Etcd,
    prefix: String,
    /// Where the next page begins. `None`: there is none.
    from: Option<Vec<u8>>,
    limit: i64,
    /// 0: that of the first page.
    revision: i64,
}

impl Pages {
    /// The next ones in the order of their names. `None`: there are no more.
    ///
    /// # Errors
    /// See [`EtcdError`]; [`EtcdError::Compacted`]: it took so long that their revision is gone.
    pub async fn next(&mut self) -> Result<Option<Vec<KeyValue>>, EtcdError> {
        while let Some(from) = self.from.clone() {
            let page = self
                .etcd
                .read_page(&self.prefix, from, self.limit, self.revision);
            match page.await {
                Err(EtcdError::TooLarge) if self.limit > 1 => self.limit /= 2,
                page => {
                    let page = page?;
                    self.revision = page.revision;
                    self.from = page.next;
                    return Ok(Some(page.items));
                }
            }
        }
        Ok(None)
    }
}

/// A transaction: if all of its conditions hold, all of its writes are done, at one revision; else
/// what it is to read then is read.
///
/// It may be sent twice, when the answer to the first was lost. So let it change what it compares
/// with, and read that where it does not hold: what is found there tells, by something that nobody
/// else writes, whether the first one was done.
#[derive(Debug, Clone, Default)]
pub struct Txn(pb::TxnRequest);

impl Txn {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// If the key was last written at this revision. 0: if it is not there.
    #[must_use]
    pub fn if_at(mut self, key: &str, mod_revision: i64) -> Self {
        self.0.compare.push(pb::Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            key: key.as_bytes().to_vec(),
            target_union: Some(TargetUnion::ModRevision(mod_revision)),
        });
        self
    }

    /// If the key is not there.
    #[must_use]
    pub fn if_absent(self, key: &str) -> Self {
        self.if_at(key, 0)
    }

    /// Then write this.
    #[must_use]
    pub fn put(self, key: &str, value: Vec<u8>) -> Self {
        self.put_leased(key, value, 0)
    }

    /// Then write this, for as long as the lease lasts. 0: no lease.
    #[must_use]
    pub fn put_leased(mut self, key: &str, value: Vec<u8>, lease: i64) -> Self {
        let put = pb::PutRequest {
            key: key.as_bytes().to_vec(),
            value,
            lease,
        };
        self.0.success.push(op(Request::RequestPut(put)));
        self
    }

    /// Then delete this key.
    #[must_use]
    pub fn delete(mut self, key: &str) -> Self {
        let delete = pb::DeleteRangeRequest {
            key: key.as_bytes().to_vec(),
            range_end: Vec::new(),
        };
        self.0.success.push(op(Request::RequestDeleteRange(delete)));
        self
    }

    /// Then read this key.
    #[must_use]
    pub fn read(mut self, key: &str) -> Self {
        self.0.success.push(op(Request::RequestRange(one(key))));
        self
    }

    /// Else read this key.
    #[must_use]
    pub fn or_read(mut self, key: &str) -> Self {
        self.0.failure.push(op(Request::RequestRange(one(key))));
        self
    }
}

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp {
        request: Some(request),
    }
}

fn one(key: &str) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key.as_bytes().to_vec(),
        ..pb::RangeRequest::default()
    }
}

/// What came of a transaction.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Its conditions held.
    pub succeeded: bool,
    /// The store's revision after it: that of its writes, if there are any.
    pub revision: i64,
    /// The keys that were read, in the order in which they were named. `None`: it is not there.
    pub read: Vec<Option<KeyValue>>,
}

/// The key behind all that begin like this: the one that is next in order.
pub(super) fn behind(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // To the end of all keys.
    vec![0]
}

impl Etcd {
    /// Reads one key, and says at which revision.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub async fn read(&self, key: &str) -> Result<(Option<KeyValue>, i64), EtcdError> {
        let response = self.range(one(key)).await?;
        let (mut items, revision) = items(response);
        Ok((items.pop(), revision))
    }

    /// Reads these keys, all at one revision. At most 128, as etcd has it by default.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub async fn read_together(
        &self,
        keys: &[&str],
    ) -> Result<(Vec<Option<KeyValue>>, i64), EtcdError> {
        let all = keys.iter().fold(Txn::new(), |txn, key| txn.read(key));
        let committed = self.commit(&all).await?;
        Ok((committed.read, committed.revision))
    }

    /// Keys that begin like this, as they were at this revision, to be read some at a time.
    pub fn pages(&self, prefix: &str, revision: i64) -> Pages {
        Pages {
            etcd: self.clone(),
            prefix: prefix.to_owned(),
            from: Some(prefix.as_bytes().to_vec()),
            limit: PAGE,
            revision,
        }
    }

    /// Reads all keys that begin like this, at one revision, however many they are.
    ///
    /// # Errors
    /// See [`EtcdError`]; [`EtcdError::TooLarge`]: there is no room for as many
    /// ([`Etcd::with_room_for`]).
    pub async fn read_all(&self, prefix: &str) -> Result<Listing, EtcdError> {
        loop {
            match self.read_pages(prefix).await {
                // It took so long that its revision is gone: as it is now, then.
                Err(EtcdError::Compacted) => {}
                read => return read,
            }
        }
    }

    async fn read_pages(&self, prefix: &str) -> Result<Listing, EtcdError> {
        let (mut all, mut pages) = (Listing::default(), self.pages(prefix, 0));
        while let Some(items) = pages.next().await? {
            all.extend(self, items)?;
        }
        all.revision = pages.revision;
        Ok(all)
    }

    /// Reads the first keys that begin with `prefix`, in the order of their names, `most` at most.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub async fn read_first(&self, prefix: &str, most: i64) -> Result<Vec<KeyValue>, EtcdError> {
        let from = prefix.as_bytes().to_vec();
        Ok(self.read_page(prefix, from, most, 0).await?.items)
    }

    async fn read_page(
        &self,
        prefix: &str,
        from: Vec<u8>,
        limit: i64,
        revision: i64,
    ) -> Result<Page, EtcdError> {
        let request = pb::RangeRequest {
            key: from,
            range_end: behind(prefix),
            limit,
            revision,
            count_only: false,
        };
        let response = self.range(request).await?;
        let next = response.kvs.last().filter(|_| response.more);
        let next = next.map(|last| [last.key.as_slice(), &[0]].concat());
        let (items, now) = items(response);
        let revision = if revision == 0 { now } else { revision };
        Ok(Page {
            items,
            revision,
            next,
        })
    }

    /// How many keys begin like this.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub async fn count(&self, prefix: &str) -> Result<u64, EtcdError> {
        let request = pb::RangeRequest {
            key: prefix.as_bytes().to_vec(),
            range_end: behind(prefix),
            count_only: true,
            ..pb::RangeRequest::default()
        };
        let count = self.range(request).await?.count;
        u64::try_from(count).map_err(|_| EtcdError::Protocol("etcd has counted less than nothing"))
    }

    async fn range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, EtcdError> {
        self.call(|channel| {
            let request = led(request.clone());
            let mut client = KvClient::new(channel).max_decoding_message_size(ANSWER_MAX);
            async move { client.range(request).await.map(tonic::Response::into_inner) }
        })
        .await
    }

    /// Does a transaction. It may be sent more than once: see [`Txn`].
    ///
    /// # Errors
    /// See [`EtcdError`]; [`EtcdError::Unreachable`]: whether it was done is unknown.
    pub async fn commit(&self, txn: &Txn) -> Result<Committed, EtcdError> {
        let called = self.call(|channel| {
            let request = led(txn.0.clone());
            let mut client = KvClient::new(channel).max_decoding_message_size(ANSWER_MAX);
            async move { client.txn(request).await.map(tonic::Response::into_inner) }
        });
        let response = called.await?;
        let mut read = Vec::new();
        for part in response.responses {
            if let Some(Response::ResponseRange(range)) = part.response {
                let item = range.kvs.into_iter().next();
                read.push(item.map(KeyValue::try_from).transpose()?);
            }
        }
        Ok(Committed {
            succeeded: response.succeeded,
            revision: response.header.unwrap_or_default().revision,
            read,
        })
    }
}

/// Some keys of a listing.
struct Page {
    items: Vec<KeyValue>,
    revision: i64,
    /// Where the next page begins, if there is one.
    next: Option<Vec<u8>>,
}

/// All but keys that are no text: nothing of prn's is there, and they are in the way of nothing.
fn items(response: pb::RangeResponse) -> (Vec<KeyValue>, i64) {
    let items = response.kvs.into_iter().map(KeyValue::try_from);
    let revision = response.header.unwrap_or_default().revision;
    (items.filter_map(Result::ok).collect(), revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_behind_all_keys_that_begin_alike() {
        assert_eq!(behind("/prn/a/"), b"/prn/a0");
        assert_eq!(behind("az"), b"a{");
        assert_eq!(behind(""), [0]);
    }
}
