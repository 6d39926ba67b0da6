//! The connection to the server: made when it is wanted, kept while it is good, and made anew once
//! where it was lost. Nothing happens on it while nobody asks.

use prn_client::credentials::Credentials;
use prn_client::{Client, ClientError};
use tokio::sync::Mutex;

/// Of one server.
pub struct Link {
    address: String,
    credentials: Credentials,
    client: Mutex<Option<Client>>,
}

impl Link {
    /// Not connected yet.
    pub fn new(address: String, credentials: Credentials) -> Self {
        Self {
            address,
            credentials,
            client: Mutex::new(None),
        }
    }

    /// Connects by itself.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect(&self) -> Result<Client, ClientError> {
        Client::connect(&self.address, &self.credentials).await
    }

    /// Asks for something, on a new connection where the one before was lost: the server may have
    /// been restarted since.
    ///
    /// # Errors
    /// As what is asked for.
    pub async fn ask<T>(
        &self,
        ask: impl AsyncFn(&Client) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut kept = self.client.lock().await;
        if let Some(client) = kept.take() {
            match ask(&client).await {
                Err(error) if error.is_transient() => {}
                answer => {
                    *kept = Some(client);
                    return answer;
                }
            }
        }
        let client = self.connect().await?;
        let answer = ask(&client).await;
        if answer.as_ref().is_err_and(ClientError::is_transient) {
            return answer;
        }
        *kept = Some(client);
        answer
    }
}
