//! A lease: what is written under it is gone soon after its holder is.

use std::time::Duration;

use futures_util::stream;
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::Status;

use super::connection::{Etcd, led};
use super::error::EtcdError;
use super::wire::etcdserverpb as pb;
use super::wire::etcdserverpb::lease_client::LeaseClient;

/// A lease that lasts for as long as it is kept ([`Lease::keep`]).
#[derive(Debug)]
pub struct Lease {
    etcd: Etcd,
    id: i64,
    lasts: Duration,
    /// It lasts until then for certain: counted from before it was asked for, by this machine's clock.
    /// etcd counts from later on.
    until: Instant,
}

impl Lease {
    /// Makes one that lasts for so long, in whole seconds, if it is not kept.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub async fn grant(etcd: &Etcd, lasts: Duration) -> Result<Self, EtcdError> {
        let wanted = Duration::from_secs(lasts.as_secs().max(1));
        let seconds = i64::try_from(wanted.as_secs()).unwrap_or(i64::MAX);
        let granted = etcd.call(|channel| async move {
            let asked = Instant::now();
            let request = led(pb::LeaseGrantRequest {
                ttl: seconds,
                id: 0,
            });
            let response = LeaseClient::new(channel).lease_grant(request).await?;
            Ok((asked, response.into_inner()))
        });
        let (asked, response) = granted.await?;
        let lasts = seconds_of(response.ttl, wanted).ok_or(EtcdError::LeaseEnded)?;
        Ok(Self {
            etcd: etcd.clone(),
            id: response.id,
            lasts,
            until: end(asked, lasts)?,
        })
    }

    /// What to write under.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// When it ends, unless it is kept.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Waits until a third of its time is over, and makes it last its whole time again, with whichever
    /// member answers. Cancel safe.
    ///
    /// # Errors
    /// [`EtcdError::LeaseEnded`]: it has, or it has to be believed so, before etcd does.
    pub async fn keep(&mut self) -> Result<(), EtcdError> {
        let (id, renew) = (self.id, self.until - self.lasts * 2 / 3);
        sleep_until(renew).await;
        loop {
            let kept = self.etcd.call(|channel| keep_alive(channel, id));
            match timeout_at(self.until, kept).await {
                Ok(Ok((asked, ttl))) => {
                    let lasts = seconds_of(ttl, self.lasts).ok_or(EtcdError::LeaseEnded)?;
                    self.until = end(asked, lasts)?;
                    return Ok(());
                }
                Err(_) => return Err(EtcdError::LeaseEnded),
                Ok(Err(error)) if error.is_transient() => {}
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    /// Ends it, and with it what was written under it.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub async fn revoke(self) -> Result<(), EtcdError> {
        revoke(&self.etcd, self.id).await
    }
}

/// Ends a lease, whoever keeps it. One that has ended already is no error.
///
/// # Errors
/// See [`EtcdError`].
pub async fn revoke(etcd: &Etcd, id: i64) -> Result<(), EtcdError> {
    let revoked = etcd.call(|channel| async move {
        let request = led(pb::LeaseRevokeRequest { id });
        LeaseClient::new(channel).lease_revoke(request).await
    });
    match revoked.await {
        Ok(_) | Err(EtcdError::LeaseEnded) => Ok(()),
        Err(error) => Err(error),
    }
}

/// One message each way: a stream that lasts would have to be watched, and made anew.
async fn keep_alive(channel: tonic::transport::Channel, id: i64) -> Result<(Instant, i64), Status> {
    let asked = Instant::now();
    let request = led(stream::iter([pb::LeaseKeepAliveRequest { id }]));
    let mut client = LeaseClient::new(channel);
    let mut answers = client.lease_keep_alive(request).await?.into_inner();
    let answer = answers.message().await?;
    let answer = answer.ok_or_else(|| Status::unavailable("etcd has not renewed the lease"))?;
    Ok((asked, answer.ttl))
}

/// For how long it lasts, `wanted` at most, whatever etcd says. `None`: it has ended.
fn seconds_of(ttl: i64, wanted: Duration) -> Option<Duration> {
    let seconds = u64::try_from(ttl).ok().filter(|seconds| *seconds > 0)?;
    Some(Duration::from_secs(seconds).min(wanted))
}

fn end(asked: Instant, lasts: Duration) -> Result<Instant, EtcdError> {
    let end = asked.checked_add(lasts);
    end.ok_or(EtcdError::Protocol("a lease is to last for ever"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_lasts_no_longer_than_was_asked_for() {
        let wanted = Duration::from_secs(15);
        let lasts = |ttl| seconds_of(ttl, wanted).map(|lasts| lasts.as_secs());
        let said = [i64::MIN, -1, 0, 1, 15, 16, i64::MAX];
        let expected = [None, None, None, Some(1), Some(15), Some(15), Some(15)];
        assert_eq!(said.map(lasts), expected);
        assert!(end(Instant::now(), wanted).is_ok());
        assert!(end(Instant::now(), Duration::MAX).is_err());
    }
}
