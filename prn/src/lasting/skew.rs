//! Servers that are older than this prn.

use prn_client::{Client, ClientError, Code, ServerInfo};

/// What the server says of itself. `None`: it is of before there was this call, and of all that came
/// with it.
///
/// # Errors
/// As [`Client::server`].
pub async fn server(client: &Client) -> Result<Option<ServerInfo>, ClientError> {
    match client.server().await {
        Ok(server) => Ok(Some(server)),
        Err(ClientError::Refused(refusal)) if refusal.code == Code::Unimplemented => Ok(None),
        Err(error) => Err(error),
    }
}
