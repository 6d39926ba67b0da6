//! The connection to the server: made when it is wanted, kept while it is good, and made anew once
//! where it was lost. Nothing happens on it while nobody asks. Where a key is in a token and what
//! signs with it has ended, another one is started.

use prn_service::log;
use std::sync::Arc;

use prn_client::credentials::Credentials;
use prn_client::{Client, ClientError};
use prn_proto::signer;
use tokio::sync::Mutex;

use crate::options::Options;

/// Of one server.
pub struct Link {
    options: Arc<Options>,
    credentials: Mutex<Credentials>,
    client: Mutex<Option<Client>>,
}

impl Link {
    /// Not connected yet.
    pub fn new(options: Arc<Options>, credentials: Credentials) -> Self {
        Self {
            options,
            credentials: Mutex::new(credentials),
            client: Mutex::new(None),
        }
    }

    /// Connects by itself.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect(&self) -> Result<Client, ClientError> {
        let mut credentials = self.credentials.lock().await;
        let address = &self.options.address.0;
        match Client::connect(address, &credentials).await {
            Err(error) if log::chain(&error).contains(signer::PROGRAM) => {
                let options = Arc::clone(&self.options);
                let found = tokio::task::spawn_blocking(move || options.credentials()).await;
                match found {
                    Ok(Ok(found)) => *credentials = found,
                    Ok(Err(fault)) => {
                        log::error(&fault);
                        return Err(error);
                    }
                    Err(_) => return Err(error),
                }
                Client::connect(address, &credentials).await
            }
            connected => connected,
        }
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
