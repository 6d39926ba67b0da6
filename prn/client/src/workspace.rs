//! Workspaces: directories and user ids that processes share.

use std::time::{Duration, SystemTime};

#[cfg(doc)]
use prn_proto::reason;
use prn_proto::v1;

use crate::choices::{DiskEnforcement, StopSignal};
use crate::client::Client;
use crate::error::ClientError;
use crate::wire::{INCOMPLETE, from_wire_time, grace_beside, to_wire_duration};

/// A directory and a user id that processes share: those that were started in it
/// ([`StartSpec::workspace`](crate::StartSpec::workspace)).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Workspace {
    /// Its name.
    pub name: String,
    /// Path on the server of the directory where its processes start.
    pub directory: String,
    /// When it was made, by the server's clock.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::time"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub created_at: Option<SystemTime>,
    /// The numeric user id of its processes.
    pub uid: u32,
    /// Most bytes of the disk that it may take. `None`: as many as there are.
    pub disk_max_bytes: Option<u64>,
    /// What becomes of a process that would take more. `None`: nothing.
    pub disk_enforcement: Option<DiskEnforcement>,
    /// So many processes live in it.
    pub processes: u32,
    /// It is being removed: nothing starts in it.
    pub leaving: bool,
    /// Who has made it: the name that the server knows that client by, if the server says.
    pub created_by: Option<String>,
}

impl From<v1::Workspace> for Workspace {
    fn from(workspace: v1::Workspace) -> Self {
        Self {
            name: workspace.name,
            directory: workspace.directory,
            created_at: workspace.created_at.and_then(from_wire_time),
            uid: workspace.uid,
            disk_max_bytes: workspace.disk_max_bytes,
            disk_enforcement: DiskEnforcement::from_wire(workspace.disk_enforcement),
            processes: workspace.processes,
            leaving: workspace.leaving,
            created_by: Some(workspace.created_by).filter(|who| !who.is_empty()),
        }
    }
}

/// How to stop the processes of a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopProcesses {
    /// With which signal.
    pub signal: StopSignal,
    /// Time between SIGTERM and SIGKILL. `None`: what each was started with.
    pub grace: Option<Duration>,
}

/// What has become of a workspace that was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// Nothing of it is left, and its name is free.
    Gone,
    /// It is still being deleted, or a process of it could not be killed. Its name is free when that
    /// is done.
    Leaving,
}

impl Client {
    /// Makes a workspace. `disk_max_bytes` is how much of the disk it may take, at least 1 MiB;
    /// `None`: the most that the server allows.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with [`reason::WORKSPACE_EXISTS`], [`reason::TOO_MANY_WORKSPACES`],
    /// [`reason::TOO_MANY_PROCESSES`] (no user id is left), [`reason::LIMIT_ABOVE_CEILING`] or
    /// [`reason::TOO_MANY_REQUESTS`].
    /// [`ClientError::NoAnswer`], [`ClientError::Lost`]: it may be there.
    pub async fn create_workspace(
        &self,
        name: &str,
        disk_max_bytes: Option<u64>,
    ) -> Result<Workspace, ClientError> {
        let request = v1::CreateWorkspaceRequest {
            name: name.to_owned(),
            disk_max_bytes,
        };
        let mut service = self.service.clone();
        let response = self
            .answered(self.call_timeout, service.create_workspace(request))
            .await?
            .into_inner();
        Ok(response.workspace.ok_or(INCOMPLETE)?.into())
    }

    /// All workspaces, by name.
    ///
    /// # Errors
    /// As any call: there is none of its own.
    pub async fn list_workspaces(&self) -> Result<Vec<Workspace>, ClientError> {
        let request = v1::ListWorkspacesRequest {};
        let response = self
            .repeatable(
                self.call_timeout,
                request,
                |mut service, request| async move { service.list_workspaces(request).await },
            )
            .await?;
        Ok(response
            .workspaces
            .into_iter()
            .map(Workspace::from)
            .collect())
    }

    /// Removes a workspace with all that is in it; answers when nothing of it is left, or when the
    /// server goes on to delete after its answer. Removing one that is being removed waits for the
    /// same, and not at all once it takes long.
    ///
    /// `stop` says how to stop the processes that live in it; without it they are a refusal. A grace
    /// time is waited for beside the time that a call takes;
    /// [`STOP_GRACE`](crate::STOP_GRACE) is, where the processes' own are meant.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with [`reason::WORKSPACE_NOT_FOUND`], [`reason::WORKSPACE_IN_USE`] or
    /// [`reason::TOO_MANY_REQUESTS`].
    /// [`ClientError::NoAnswer`], [`ClientError::Lost`]: it may be on its way.
    pub async fn remove_workspace(
        &self,
        name: &str,
        stop: Option<StopProcesses>,
    ) -> Result<Removed, ClientError> {
        let signal = stop.map(|stop| v1::Signal::from(stop.signal));
        let grace = stop.and_then(|stop| stop.grace);
        let request = v1::RemoveWorkspaceRequest {
            name: name.to_owned(),
            stop_processes: stop.is_some(),
            signal: signal.unwrap_or(v1::Signal::Unspecified).into(),
            grace: grace.map(to_wire_duration).transpose()?,
        };
        let beside = stop.map_or(Duration::ZERO, |stop| grace_beside(stop.signal, stop.grace));
        let within = self.call_timeout.saturating_add(beside);
        let mut service = self.service.clone();
        let response = self
            .answered(within, service.remove_workspace(request))
            .await?
            .into_inner();
        Ok(if response.leaving {
            Removed::Leaving
        } else {
            Removed::Gone
        })
    }
}
