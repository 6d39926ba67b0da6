//! A gRPC client of the tests' own, over the generated code and the TLS profile: what `prn` the
//! command is not asked for.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use prn_client::credentials::Credentials;
use prn_proto::tls::{self, Certificate, Key};
use prn_proto::v1::process_runner_service_client::ProcessRunnerServiceClient;
use prn_proto::v1::{GetOutputRequest, GetOutputResponse, ProcessIdentifier};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use crate::pki::Identity;
use crate::server::Server;

/// A client of the generated service.
pub type Client = ProcessRunnerServiceClient<Channel>;

/// Connects to a server as its client.
///
/// # Errors
/// Whatever goes wrong.
pub async fn connect(server: &Server) -> anyhow::Result<Client> {
    connect_with(
        &server.address,
        tls_config(&server.client, &server.identity)?,
    )
    .await
}

/// The TLS configuration of a client.
///
/// # Errors
/// Whatever goes wrong.
pub fn tls_config(client: &Identity, server: &Identity) -> anyhow::Result<rustls::ClientConfig> {
    let certificate = Certificate::from_pem(client.certificate_pem().as_bytes())?;
    let key = Key::from_pem(client.key_pem().as_bytes())?;
    let pinned = Certificate::from_pem(server.certificate_pem().as_bytes())?;
    Ok(tls::client_config(&certificate, &key, vec![pinned])?)
}

/// Connects with a TLS configuration of the test's own.
///
/// # Errors
/// Whatever goes wrong.
pub async fn connect_with(address: &str, config: rustls::ClientConfig) -> anyhow::Result<Client> {
    connect_lingering(address, config, None).await
}

/// Connects; what is done with what was not sent when the connection is closed, socket(7) tells of
/// SO_LINGER. With a time of zero it is reset.
///
/// # Errors
/// Whatever goes wrong.
pub async fn connect_lingering(
    address: &str,
    config: rustls::ClientConfig,
    linger: Option<Duration>,
) -> anyhow::Result<Client> {
    let connector = TlsConnector::from(Arc::new(config));
    let address = address.to_owned();
    let channel = Endpoint::from_static("http://prn.invalid")
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(1 << 20)
        .connect_with_connector(tower::service_fn(move |_| {
            let (connector, address) = (connector.clone(), address.clone());
            async move {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                socket2::SockRef::from(&stream).set_linger(linger)?;
                let name = "prn.invalid".try_into().map_err(std::io::Error::other)?;
                Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
            }
        }))
        .await?;
    Ok(ProcessRunnerServiceClient::new(channel))
}

/// A process's name, as requests take it.
pub fn identifier(id: &str) -> Option<ProcessIdentifier> {
    Some(ProcessIdentifier { id: id.to_owned() })
}

/// A request for all of a process's output, with control frames.
pub fn output_request(id: &str) -> GetOutputRequest {
    GetOutputRequest {
        process_identifier: identifier(id),
        control_frames: true,
        ..GetOutputRequest::default()
    }
}

/// What a whole output stream brought.
#[derive(Debug, Default)]
pub struct Collected {
    /// Bytes of standard output.
    pub stdout: Vec<u8>,
    /// Bytes of standard error.
    pub stderr: Vec<u8>,
    /// The begin frame.
    pub begin: Option<prn_proto::v1::OutputBegin>,
    /// Bytes that were left out because the request did not ask for them.
    pub skipped: u64,
    /// Ranges that were dropped.
    pub gaps: Vec<(u64, u64)>,
    /// The end frame.
    pub end: Option<prn_proto::v1::OutputEnd>,
}

/// Reads an output stream to its end, checking that offsets have no holes but announced ones and
/// skipped ones.
///
/// # Errors
/// The stream's error.
///
/// # Panics
/// If an offset is not where the one before ended.
pub async fn collect(mut client: Client, request: GetOutputRequest) -> anyhow::Result<Collected> {
    let mut next = request.from_offset;
    let mut stream = client.get_output(request).await?.into_inner();
    let mut all = Collected::default();
    while let Some(GetOutputResponse {
        r#type,
        data,
        offset,
        gap,
        end,
        begin,
        skipped,
        ..
    }) = stream.message().await?
    {
        all.skipped += skipped;
        next += skipped;
        if let Some(begin) = begin {
            assert_eq!((all.begin, next), (None, 0), "the first frame");
            (all.begin, next) = (Some(begin), begin.offset);
        } else if let Some(gap) = gap {
            assert_eq!(gap.from, next, "a gap begins where the output was");
            next = gap.to;
            all.gaps.push((gap.from, gap.to));
        } else if end.is_some() {
            all.end = end;
        } else if !data.is_empty() {
            assert_eq!(offset, next, "no byte is lost or repeated");
            next += data.len() as u64;
            if r#type == 1 {
                all.stdout.extend_from_slice(&data)
            } else {
                all.stderr.extend_from_slice(&data)
            }
        }
    }
    Ok(all)
}

/// What the client library needs to connect to a server as its client.
///
/// # Errors
/// Whatever goes wrong.
pub fn credentials(server: &Server) -> anyhow::Result<Credentials> {
    let (client, server) = (&server.client, &server.identity);
    let certificate = Certificate::from_pem(client.certificate_pem().as_bytes())?;
    let key = Key::from_pem(client.key_pem().as_bytes())?;
    let pinned = Certificate::from_pem(server.certificate_pem().as_bytes())?;
    Ok(Credentials::new(certificate, key, pinned)?)
}

/// Connects with the client library.
///
/// # Errors
/// Whatever goes wrong.
pub async fn library(server: &Server) -> anyhow::Result<prn_client::Client> {
    let credentials = credentials(server)?;
    Ok(prn_client::Client::connect(&server.address, &credentials).await?)
}
