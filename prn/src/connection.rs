//! How to reach the server: the flags for it, and connecting.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use prn_client::credentials::{Credentials, KeySource};
use prn_client::{Client, ClientError};
use prn_launch::options::address_variable;
use prn_proto::units::{Address, InvalidUnit, Time};

use crate::failure::Failure;
use crate::output;

/// How to reach the server.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// Your own certificate (PEM)
    #[arg(
        long,
        value_name = "FILE",
        env = "PRN_CLIENT_CERT",
        hide_env_values = true
    )]
    pub client_cert: PathBuf,
    /// The server's certificate (PEM): the one server that is talked to
    #[arg(
        long,
        value_name = "FILE",
        env = "PRN_SERVER_CERT",
        hide_env_values = true
    )]
    pub server_cert: PathBuf,
    /// Your private key (PKCS#8, PEM), readable by you alone. Without it: the text in PRN_TLS_KEY,
    /// else the file that PRN_TLS_KEY_FILE names
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Where the server listens
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = address_variable(),
        hide_env_values = true,
        default_value = "127.0.0.1:50051"
    )]
    pub address: Address,
    /// Most time that the server has for an answer. A stop has its grace time beside it (10s where
    /// it is not given); output that is followed has no end
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_call_timeout)]
    pub call_timeout: Time,
}

fn parse_call_timeout(text: &str) -> Result<Time, String> {
    let time: Time = text
        .parse()
        .map_err(|error: InvalidUnit| error.to_string())?;
    if time.0.is_zero() {
        return Err("no answer comes in no time: write 500ms, 10s, 5m or 2h".to_owned());
    }
    Ok(time)
}

/// The server that a command talks to, for as many connections as it takes.
#[derive(Debug)]
pub struct Remote {
    address: String,
    credentials: Credentials,
    call_timeout: Duration,
}

impl Remote {
    /// Loads certificates and key, and says which certificates will soon end.
    pub fn new(connection: Connection) -> Result<Self, Failure> {
        let remote = Self::silent(connection)?;
        for ending in remote.credentials.ending() {
            output::notice(&format!("warning: {ending}"));
        }
        Ok(remote)
    }

    /// Loads certificates and key.
    pub fn silent(connection: Connection) -> Result<Self, Failure> {
        let Connection {
            client_cert,
            server_cert,
            tls_key,
            address,
            call_timeout,
        } = connection;
        let key = KeySource::find(tls_key)?;
        let credentials = Credentials::load(&client_cert, &key, &server_cert)?;
        Ok(Self {
            address: address.0,
            credentials,
            call_timeout: call_timeout.0,
        })
    }

    /// Connects.
    pub async fn connect(&self) -> Result<Client, ClientError> {
        let client = Client::connect(&self.address, &self.credentials).await?;
        Ok(client.with_call_timeout(self.call_timeout))
    }
}
