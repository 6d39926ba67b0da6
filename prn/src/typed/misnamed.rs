//! A process that was named where a workspace is meant.

use crate::failure::Failure;
use crate::which::connection::{Connection, Remote};
use crate::which::reference::resolve;

/// The failure of a command that is for a workspace, where that is the name of a process instead.
pub async fn unless_a_process(failure: Failure, name: &str, connection: Connection) -> Failure {
    if !failure.is_workspace_not_found() {
        return failure;
    }
    let Ok(reference) = name.parse() else {
        return failure;
    };
    let is_process = async {
        let client = Remote::silent(connection).ok()?.connect().await.ok()?;
        resolve(&client, &reference).await.ok()
    };
    match is_process.await {
        Some(_) => Failure::NotWorkspace(name.to_owned()),
        None => failure,
    }
}
