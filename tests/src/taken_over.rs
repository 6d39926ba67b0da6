//! A server that its client has pinned and that somebody has taken over: TLS and HTTP/2 are as they
//! should be, and each byte of what it answers is a test's.

use std::collections::HashMap;
use std::future::poll_fn;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::http::{HeaderMap, HeaderValue, Request, Response};
use prost::Message;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::hostile::{server_config, shown};
use crate::pki::Identity;
use crate::{binary, http2};

/// Bytes that are sent at one time.
const PIECE: usize = 32 * 1024;

/// What a call is answered with.
pub struct Answer {
    /// Its messages, encoded, one after the other. They may never end.
    pub messages: Box<dyn Iterator<Item = Bytes> + Send>,
    /// What comes after them.
    pub end: End,
}

/// How an answer ends.
pub enum End {
    /// With this status.
    Status(Status),
    /// Without any.
    Missing,
    /// Never: the call stays open, and nothing comes.
    Never,
}

impl Answer {
    /// One message, and all is well.
    pub fn one(message: &impl Message) -> Self {
        Self::many([message.encode_to_vec()])
    }

    /// Messages that are encoded, and all is well.
    pub fn many<I>(messages: I) -> Self
    where
        I: IntoIterator<Item = Vec<u8>, IntoIter: Send + 'static>,
    {
        Self {
            messages: Box::new(messages.into_iter().map(Bytes::from)),
            end: End::Status(Status::ok("")),
        }
    }

    /// No message, and an error whose every text is this.
    pub fn refusal(code: Code, reason: &str, text: &str) -> Self {
        let named = |name: &str| (name.to_owned(), text.to_owned());
        let names = ["exec_step", "exec_errno", "workspace", "id", "limit", text];
        let metadata: HashMap<_, _> = names.into_iter().map(named).collect();
        let mut details = ErrorDetails::with_error_info(reason, "prn", metadata);
        details.add_bad_request_violation(text, text);
        Self {
            messages: Box::new(std::iter::empty()),
            end: End::Status(Status::with_error_details(code, text, details)),
        }
    }

    /// The same with another end.
    pub fn ending(self, end: End) -> Self {
        Self { end, ..self }
    }
}

/// What it answers to a call of this name, whose first message is this.
pub type Act = dyn Fn(&str, &[u8]) -> Answer + Send + Sync;

/// A server, gone when dropped.
#[derive(Debug)]
pub struct TakenOver {
    /// Its address.
    pub address: String,
    folder: TempDir,
    identity: Identity,
    client: Identity,
    _runtime: Runtime,
}

impl TakenOver {
    /// One that answers like this.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn start(act: impl Fn(&str, &[u8]) -> Answer + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let identity = Identity::keygen(folder.path(), "server", &[]);
        let client = Identity::keygen(folder.path(), "client", &[]);
        let acceptor = TlsAcceptor::from(Arc::new(server_config(shown(&identity))));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("a listener");
        let address = listener.local_addr().expect("its address").to_string();
        let act: Arc<Act> = Arc::new(act);
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(acceptor.clone(), socket, Arc::clone(&act)));
            }
        });
        Self {
            address,
            folder,
            identity,
            client,
            _runtime: runtime,
        }
    }

    /// A folder of the test's own.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A shell's line that is run as its client: `"$@"` in it is the `prn` command with these arguments.
    pub fn shell(&self, line: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line, "sh"]).arg(binary("prn"));
        command
            .args(arguments)
            .env("PRN_ADDRESS", &self.address)
            .env("PRN_CLIENT_CERT", &self.client.certificate)
            .env("PRN_SERVER_CERT", &self.identity.certificate)
            .env("PRN_TLS_KEY", self.client.key_pem())
            .env("PRN_CONFIG", self.folder.path().join("config.toml"))
            .current_dir(self.folder.path())
            .stdin(std::process::Stdio::null());
        command
    }
}

/// One connection, for as long as the client has it open.
async fn serve(acceptor: TlsAcceptor, socket: TcpStream, act: Arc<Act>) -> Option<()> {
    let stream = acceptor.accept(socket).await.ok()?;
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(1000);
    let mut connection = builder.handshake::<_, Bytes>(stream).await.ok()?;
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(answer(request, respond, Arc::clone(&act)));
    }
    None
}

/// One call.
async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    act: Arc<Act>,
) -> Option<()> {
    let (parts, mut body) = request.into_parts();
    let method = parts.uri.path().rsplit('/').next()?.to_owned();
    let first = first_message(&mut body).await?;
    // What else comes is taken, and left unread.
    tokio::spawn(async move {
        while let Some(Ok(data)) = body.data().await {
            let _closed = body.flow_control().release_capacity(data.len());
        }
    });
    let Answer { messages, end } = act(&method, &first);
    let response = Response::builder()
        .header("content-type", "application/grpc")
        .header("prn-boot-epoch", "0123456789abcdef0123456789abcdef");
    let mut stream = respond.send_response(response.body(()).ok()?, false).ok()?;
    // Many in one piece, so that a client has half a million of them soon.
    let mut piece = Vec::new();
    for message in messages {
        piece.extend(http2::message(&message));
        if piece.len() >= PIECE {
            send(&mut stream, std::mem::take(&mut piece).into()).await?;
        }
    }
    send(&mut stream, piece.into()).await?;
    match end {
        End::Status(status) => {
            let mut trailers = HeaderMap::new();
            status.add_header(&mut trailers).ok()?;
            if status.code() == Code::Ok {
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
            }
            stream.send_trailers(trailers).ok()
        }
        End::Missing => stream.send_data(Bytes::new(), true).ok(),
        End::Never => {
            poll_fn(|context| stream.poll_reset(context)).await.ok()?;
            None
        }
    }
}

/// The first message of a request, without its prefix.
async fn first_message(body: &mut h2::RecvStream) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        if let Some((prefix, rest)) = all.split_at_checked(5) {
            let length = u32::from_be_bytes(<[u8; 4]>::try_from(&prefix[1..]).ok()?);
            if let Some(message) = rest.get(..usize::try_from(length).ok()?) {
                return Some(message.to_vec());
            }
        }
        let data = body.data().await?.ok()?;
        body.flow_control().release_capacity(data.len()).ok()?;
        all.extend_from_slice(&data);
    }
}

/// Sends as the client takes it, so that what never ends is never held.
async fn send(stream: &mut h2::SendStream<Bytes>, mut data: Bytes) -> Option<()> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        while stream.capacity() == 0 {
            poll_fn(|context| stream.poll_capacity(context))
                .await?
                .ok()?;
        }
        let piece = data.split_to(stream.capacity().min(data.len()));
        stream.send_data(piece, false).ok()?;
    }
    Some(())
}
