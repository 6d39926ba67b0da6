//! Hosts: announced by their agents, drained by operators.

use prost::Message;

use crate::error::FleetError;
use crate::etcd::{KeyValue, Txn, revoke};
use crate::fleet::Fleet;
use crate::keys::{is_name, last};
use crate::records::now;
use crate::v1;

/// A host that is announced, or that an operator drains.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownHost {
    /// Its name.
    pub name: String,
    /// What its agent says. `None`: there is no agent, or its lease has ended.
    pub host: Option<v1::Host>,
    /// An operator's wish that it takes nothing.
    pub drain: Option<v1::Drain>,
}

impl Fleet {
    /// Announces a host, for as long as the lease lasts. 0: until it is announced again.
    ///
    /// # Errors
    /// [`FleetError::Etcd`].
    pub async fn announce(
        &self,
        name: &str,
        host: &v1::Host,
        lease: i64,
    ) -> Result<(), FleetError> {
        let key = self.keys().host(name);
        let txn = Txn::new().put_leased(&key, host.encode_to_vec(), lease);
        self.etcd().commit(&txn).await?;
        Ok(())
    }

    /// Says for good what a host is whose agent ends, and ends the lease that it was announced under.
    ///
    /// An announcement that was given up may be done yet. So it is said before the lease ends, for nobody
    /// is to believe the host lost meanwhile, and again after that if such a one came between: then it
    /// has gone with the lease.
    ///
    /// # Errors
    /// [`FleetError::Etcd`].
    pub async fn leave(
        &self,
        name: &str,
        host: &v1::Host,
        lease: Option<i64>,
    ) -> Result<(), FleetError> {
        self.announce(name, host, 0).await?;
        let Some(lease) = lease else { return Ok(()) };
        revoke(self.etcd(), lease).await?;
        let key = self.keys().host(name);
        let txn = Txn::new().if_absent(&key).put(&key, host.encode_to_vec());
        self.etcd().commit(&txn).await?;
        Ok(())
    }

    /// All hosts, by name, but for what is malformed: [`Fleet::malformed`].
    ///
    /// # Errors
    /// [`FleetError::Etcd`].
    pub async fn hosts(&self) -> Result<Vec<KnownHost>, FleetError> {
        let announced = self.etcd().read_all(&self.keys().host("")).await?;
        let drained = self.etcd().read_all(&self.keys().drain("")).await?;
        let mut all: Vec<_> = self.announced(&announced.items).collect();
        for drain in drained.items.iter().filter_map(|item| self.known(item)) {
            let (name, drain) = (last(&drain.key), drain.value);
            match all.iter_mut().find(|known| known.name == name) {
                Some(known) => known.drain = Some(drain),
                None => all.push(KnownHost {
                    name: name.to_owned(),
                    host: None,
                    drain: Some(drain),
                }),
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Hosts by what their agents say.
    pub(crate) fn announced(&self, items: &[KeyValue]) -> impl Iterator<Item = KnownHost> {
        let known = items.iter().filter_map(|item| self.known(item));
        known.map(|host| KnownHost {
            name: last(&host.key).to_owned(),
            host: Some(host.value),
            drain: None,
        })
    }

    /// Lets a host take no more jobs. What runs there goes on.
    ///
    /// # Errors
    /// [`FleetError::Name`], [`FleetError::Etcd`].
    pub async fn drain(&self, name: &str, who: &str, why: &str) -> Result<(), FleetError> {
        if !is_name(name) {
            return Err(FleetError::Name(name.to_owned()));
        }
        let drain = v1::Drain {
            who: who.to_owned(),
            why: why.to_owned(),
            since: Some(now()),
        };
        let key = self.keys().drain(name);
        let txn = Txn::new().put(&key, drain.encode_to_vec());
        self.etcd().commit(&txn).await?;
        Ok(())
    }

    /// Lets a host take jobs again.
    ///
    /// # Errors
    /// [`FleetError::Name`], [`FleetError::Etcd`].
    pub async fn undrain(&self, name: &str) -> Result<(), FleetError> {
        if !is_name(name) {
            return Err(FleetError::Name(name.to_owned()));
        }
        let txn = Txn::new().delete(&self.keys().drain(name));
        self.etcd().commit(&txn).await?;
        Ok(())
    }
}
