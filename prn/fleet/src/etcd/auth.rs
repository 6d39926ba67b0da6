//! Users, roles and what they may do, as the user root sets them up.
//!
//! A user has no password: it is whoever has a certificate with its name (CN) from the authority that
//! etcd knows. What is asked for is done or was done before: each call can be sent twice.

use prn_client::Code;
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::connection::{Etcd, led};
use super::error::EtcdError;
use super::kv::behind;
use super::wire::etcdserverpb as pb;
use super::wire::etcdserverpb::auth_client::AuthClient;
use pb::permission::Type;

/// The user, and the role, that may do everything: etcd's own name for both.
pub const ROOT: &str = "root";

/// Keys that a role may read, or write as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant(pb::Permission);

impl Grant {
    /// This key may be read.
    pub fn read(key: &str) -> Self {
        Self::of(Type::Read, key, Vec::new())
    }

    /// All keys that begin like this may be read.
    pub fn read_all(prefix: &str) -> Self {
        Self::of(Type::Read, prefix, behind(prefix))
    }

    /// This key may be read and written.
    pub fn write(key: &str) -> Self {
        Self::of(Type::Readwrite, key, Vec::new())
    }

    /// All keys that begin like this may be read and written.
    pub fn write_all(prefix: &str) -> Self {
        Self::of(Type::Readwrite, prefix, behind(prefix))
    }

    fn of(what: Type, key: &str, range_end: Vec<u8>) -> Self {
        Self(pb::Permission {
            perm_type: what.into(),
            key: key.as_bytes().to_vec(),
            range_end,
        })
    }
}

impl Etcd {
    /// Lets a role of this name, which is made if there is none, do this and nothing else.
    ///
    /// # Errors
    /// See [`EtcdError`]; [`EtcdError::Denied`]: to others than root.
    pub async fn set_role(&self, role: &str, grants: &[Grant]) -> Result<(), EtcdError> {
        self.add_role(role).await?;
        let request = pb::AuthRoleGetRequest {
            role: role.to_owned(),
        };
        let asked = self.auth(&request, async |mut client, request| {
            client.role_get(request).await
        });
        let has = asked.await?.perm;
        for Grant(perm) in grants {
            if !has.contains(perm) {
                let request = pb::AuthRoleGrantPermissionRequest {
                    name: role.to_owned(),
                    perm: Some(perm.clone()),
                };
                let granted = self.auth(&request, async |mut client, request| {
                    client.role_grant_permission(request).await
                });
                granted.await?;
            }
        }
        let is_meant = |perm: &pb::Permission| {
            let mut all = grants.iter();
            all.any(|Grant(meant)| meant.key == perm.key && meant.range_end == perm.range_end)
        };
        for perm in has.iter().filter(|perm| !is_meant(perm)) {
            let request = pb::AuthRoleRevokePermissionRequest {
                role: role.to_owned(),
                key: perm.key.clone(),
                range_end: perm.range_end.clone(),
            };
            let revoked = self.auth(&request, async |mut client, request| {
                client.role_revoke_permission(request).await
            });
            unless(revoked.await, "not granted")?;
        }
        Ok(())
    }

    async fn add_role(&self, role: &str) -> Result<(), EtcdError> {
        let request = pb::AuthRoleAddRequest {
            name: role.to_owned(),
        };
        let added = self.auth(&request, async |mut client, request| {
            client.role_add(request).await
        });
        unless(added.await, "already exists")
    }

    /// Lets a user of this name, which is made if there is none, do what the role may.
    ///
    /// # Errors
    /// See [`EtcdError`]; [`EtcdError::Denied`]: to others than root.
    pub async fn set_user(&self, user: &str, role: &str) -> Result<(), EtcdError> {
        let request = pb::AuthUserAddRequest {
            name: user.to_owned(),
            options: Some(pb::UserAddOptions { no_password: true }),
        };
        let added = self.auth(&request, async |mut client, request| {
            client.user_add(request).await
        });
        unless(added.await, "already exists")?;
        let request = pb::AuthUserGrantRoleRequest {
            user: user.to_owned(),
            role: role.to_owned(),
        };
        let granted = self.auth(&request, async |mut client, request| {
            client.user_grant_role(request).await
        });
        granted.await.map(drop)
    }

    /// Removes a user: its certificates count no longer.
    ///
    /// # Errors
    /// See [`EtcdError`]; [`EtcdError::Denied`]: to others than root.
    pub async fn remove_user(&self, user: &str) -> Result<(), EtcdError> {
        let request = pb::AuthUserDeleteRequest {
            name: user.to_owned(),
        };
        let removed = self.auth(&request, async |mut client, request| {
            client.user_delete(request).await
        });
        unless(removed.await, "not found")
    }

    /// Removes a role.
    ///
    /// # Errors
    /// See [`EtcdError`]; [`EtcdError::Denied`]: to others than root.
    pub async fn remove_role(&self, role: &str) -> Result<(), EtcdError> {
        let request = pb::AuthRoleDeleteRequest {
            role: role.to_owned(),
        };
        let removed = self.auth(&request, async |mut client, request| {
            client.role_delete(request).await
        });
        unless(removed.await, "not found")
    }

    /// Makes the user root, and from now on asks of each call whether its user may do it.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub async fn enable_auth(&self) -> Result<(), EtcdError> {
        self.add_role(ROOT).await?;
        self.set_user(ROOT, ROOT).await?;
        let request = pb::AuthEnableRequest {};
        let enabled = self.auth(&request, async |mut client, request| {
            client.auth_enable(request).await
        });
        enabled.await.map(drop)
    }

    async fn auth<Q, A>(
        &self,
        request: &Q,
        ask: impl AsyncFn(AuthClient<Channel>, tonic::Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, EtcdError>
    where
        Q: Clone,
    {
        self.call(async |channel| {
            let asked = ask(AuthClient::new(channel), led(request.clone()));
            asked.await.map(Response::into_inner)
        })
        .await
    }
}

/// What etcd refuses because it is so already, with these words, is done.
fn unless<T>(answer: Result<T, EtcdError>, words: &str) -> Result<(), EtcdError> {
    match answer {
        Ok(_) => Ok(()),
        Err(EtcdError::Refused(error))
            if error.code == Code::FailedPrecondition && error.message.contains(words) =>
        {
            Ok(())
        }
        Err(error) => Err(error),
    }
}
