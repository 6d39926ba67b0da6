//! Setting a fleet up in etcd: who may do what there, and how long jobs are kept. For etcd's user root.
//!
//! A user of etcd is known by its certificate's name (CN). Names have colons in them, which names of
//! fleets and hosts have not: no two fleets of one etcd share a user.

use std::time::Duration;

use prost::Message;

use crate::error::FleetError;
use crate::etcd::{Grant, Txn};
use crate::fleet::Fleet;
use crate::keys::{Keys, is_name};
use crate::pruning::Keep;
use crate::records::record;
use crate::v1;

/// Most characters of a name in a certificate (RFC 5280, ub-common-name).
const USER_MAX: usize = 64;

impl Keys {
    /// The user of etcd that a host's agent is.
    ///
    /// # Errors
    /// [`FleetError::Name`]; [`FleetError::Invalid`]: no certificate can have the name.
    pub fn agent_user(&self, host: &str) -> Result<String, FleetError> {
        self.user("agent", host)
    }

    /// The user of etcd that somebody is who submits jobs.
    ///
    /// # Errors
    /// [`FleetError::Name`]; [`FleetError::Invalid`]: no certificate can have the name.
    pub fn client_user(&self, name: &str) -> Result<String, FleetError> {
        self.user("client", name)
    }

    fn user(&self, kind: &str, name: &str) -> Result<String, FleetError> {
        if !is_name(name) {
            return Err(FleetError::Name(name.to_owned()));
        }
        let user = format!("prn:{}:{kind}:{name}", self.fleet());
        if user.len() > USER_MAX {
            return Err(FleetError::Invalid(
                "this name and the fleet's are longer together than the name in a certificate can be: use shorter ones",
            ));
        }
        Ok(user)
    }
}

impl Fleet {
    /// Sets etcd up for this fleet: the role of clients, how long jobs are kept, and that users may
    /// from now on do what their roles say alone. Without `keep` that stays as it is, or becomes
    /// [`Keep::default`]. What is there already is fine.
    ///
    /// # Errors
    /// [`FleetError::Etcd`].
    pub async fn set_up(&self, keep: Option<Keep>) -> Result<(), FleetError> {
        let role = self.client_role();
        self.etcd().set_role(&role, &self.client_grants()).await?;
        let value = settings(keep.unwrap_or_default()).encode_to_vec();
        let key = self.keys().settings();
        let mut txn = Txn::new().put(&key, value);
        if keep.is_none() {
            txn = txn.if_absent(&key);
        }
        self.etcd().commit(&txn).await?;
        self.etcd().enable_auth().await?;
        Ok(())
    }

    /// Sees to it that etcd asks of each call whether its user may do it, where [`Fleet::set_up`] was
    /// done: before that, whoever is let in could do anything.
    ///
    /// # Errors
    /// [`FleetError::Etcd`]; [`FleetError::Invalid`]: it was not done.
    pub async fn require_set_up(&self) -> Result<(), FleetError> {
        let (settings, _) = self.etcd().read(&self.keys().settings()).await?;
        if settings.is_none() {
            return Err(FleetError::Invalid(
                "etcd is not set up for this fleet, and would let everybody do anything: `prn fleet enable` first",
            ));
        }
        self.etcd().enable_auth().await?;
        Ok(())
    }

    /// How long jobs that have ended are kept, as the fleet was set up.
    ///
    /// # Errors
    /// [`FleetError::Etcd`], [`FleetError::Malformed`].
    pub async fn keep(&self) -> Result<Keep, FleetError> {
        let (item, _) = self.etcd().read(&self.keys().settings()).await?;
        let Some(item) = item else {
            return Ok(Keep::default());
        };
        let settings = record::<v1::Settings>(&item)?.value;
        let age = settings.keep_for.map(Duration::try_from);
        Ok(Keep {
            count: settings.keep_count,
            age: age.and_then(Result::ok).unwrap_or(Duration::MAX),
        })
    }

    /// Lets the agent of a host in: as whoever has a certificate with the name
    /// [`Keys::agent_user`].
    ///
    /// # Errors
    /// [`FleetError::Etcd`], and as [`Keys::agent_user`].
    pub async fn admit_agent(&self, host: &str) -> Result<(), FleetError> {
        let user = self.keys().agent_user(host)?;
        self.etcd()
            .set_role(&user, &self.agent_grants(host))
            .await?;
        self.etcd().set_user(&user, &user).await?;
        Ok(())
    }

    /// Lets somebody submit jobs and look at them: whoever has a certificate with the name
    /// [`Keys::client_user`].
    ///
    /// # Errors
    /// [`FleetError::Etcd`], and as [`Keys::client_user`].
    pub async fn admit_client(&self, name: &str) -> Result<(), FleetError> {
        let user = self.keys().client_user(name)?;
        self.etcd().set_user(&user, &self.client_role()).await?;
        Ok(())
    }

    /// Lets the agent of a host in no longer, and takes its announcement away: nobody is told of
    /// the host any more. Where it looked after what others have lost, another one does. A watch of
    /// its goes on until its connection ends: etcd asks for rights when one is made.
    ///
    /// # Errors
    /// [`FleetError::Etcd`], and as [`Keys::agent_user`].
    pub async fn dismiss_agent(&self, host: &str) -> Result<(), FleetError> {
        let user = self.keys().agent_user(host)?;
        self.etcd().remove_user(&user).await?;
        self.etcd().remove_role(&user).await?;
        let announcement = Txn::new().delete(&self.keys().host(host));
        self.etcd().commit(&announcement).await?;
        self.depose(host).await
    }

    /// Sees to it that the host's agent is not the one that looks after what others have lost.
    async fn depose(&self, host: &str) -> Result<(), FleetError> {
        let key = self.keys().keeper();
        let (item, _) = self.etcd().read(&key).await?;
        let keeper = item.and_then(|item| self.known::<v1::Keeper>(&item));
        if let Some(keeper) = keeper.filter(|keeper| keeper.value.host == host) {
            // Another one may be it by now.
            let deposed = Txn::new().if_at(&key, keeper.revision).delete(&key);
            self.etcd().commit(&deposed).await?;
        }
        Ok(())
    }

    /// Lets somebody in no longer. A watch goes on, as with [`Fleet::dismiss_agent`].
    ///
    /// # Errors
    /// [`FleetError::Etcd`], and as [`Keys::client_user`].
    pub async fn dismiss_client(&self, name: &str) -> Result<(), FleetError> {
        let user = self.keys().client_user(name)?;
        self.etcd().remove_user(&user).await?;
        Ok(())
    }

    /// No user has this name: it has one colon less.
    fn client_role(&self) -> String {
        format!("prn:{}:client", self.keys().fleet())
    }

    /// All is read. Announcements, and who looks after what others have lost, are the agents'; how
    /// long jobs are kept is root's.
    fn client_grants(&self) -> Vec<Grant> {
        let keys = self.keys();
        let written = [
            keys.drain(""),
            keys.job(""),
            keys.waiting(""),
            keys.claim(""),
            keys.outcomes(),
            keys.lates(),
            keys.all_finished(),
        ];
        let mut grants = vec![Grant::read_all(keys.all())];
        grants.extend(written.iter().map(|prefix| Grant::write_all(prefix)));
        grants
    }

    /// What is of all hosts is written by all; of the rest, its own alone.
    fn agent_grants(&self, host: &str) -> Vec<Grant> {
        let keys = self.keys();
        let written = [
            keys.waiting(""),
            keys.claim(""),
            keys.all_finished(),
            keys.outcome(host, ""),
            keys.late(host, ""),
        ];
        let read = [keys.job(""), keys.host(""), keys.drain(""), keys.outcomes()];
        let mut grants = vec![
            Grant::write(&keys.keeper()),
            Grant::write(&keys.host(host)),
            Grant::read(&keys.settings()),
        ];
        grants.extend(written.iter().map(|prefix| Grant::write_all(prefix)));
        grants.extend(read.iter().map(|prefix| Grant::read_all(prefix)));
        grants
    }
}

fn settings(keep: Keep) -> v1::Settings {
    v1::Settings {
        keep_count: keep.count,
        keep_for: keep.age.try_into().ok(),
    }
}
