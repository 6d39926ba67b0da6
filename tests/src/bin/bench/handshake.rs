//! What it would cost to keep the TLS key out of the frontend: handshakes with the key in the
//! server's own process, with a process beside it that has the key and signs, and with `prn-signer`
//! and a key in a token, SoftHSM's (docs/security/tls-key.md).
//!
//! All servers are plain rustls with prn's TLS profile, so that nothing but the signature differs.

use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, scope, spawn};
use std::time::Instant;

use anyhow::{Context, ensure};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use prn_client::credentials::{KeySource, load_certificate};
use prn_proto::credentials::program::{self, Ids, Program};
use prn_proto::credentials::token::TokenUri;
use prn_proto::tls;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::ServerConnection;
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, ServerConfig, SignatureAlgorithm, SignatureScheme};

use zeroize::Zeroizing;

use crate::setup::Bench;
use crate::table::{Series, Summary, Table};

/// Handshakes of a round, by each number of clients.
const COUNT: usize = 2000;
const CLIENTS: [usize; 2] = [1, 8];

const OWN: &str = "the key in the server's process";
const APART: &str = "the key in a process beside it";
const TOKEN: &str = "the key in a token, by prn-signer";

/// Debian's softhsm2.
const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// Bytes of an Ed25519 signature (RFC 8032, section 5.1.6).
const SIGNATURE: usize = 64;

pub fn measure(bench: &Bench, summary: &mut Summary) -> anyhow::Result<()> {
    let mut series = Series::default();
    let own = server_config(bench)?;
    let signing = Signing::start(bench)?;
    let mut apart = own.clone();
    apart.cert_resolver = Arc::new(SingleCertAndKey::from(signing.key(bench)?));
    let token = token_config(bench)?;
    let client = Arc::new(client_config(bench)?);
    for _ in bench.rounds("handshake") {
        for clients in CLIENTS {
            for (name, config) in [(OWN, &own), (APART, &apart), (TOKEN, &token)] {
                let rate = handshakes(config.clone(), &client, clients)?;
                series.add(&format!("{name} {clients}"), rate);
            }
        }
    }
    let title = bench.title("Handshakes a second, mutual, each on a new connection");
    let mut table = Table::new(&title, &["", OWN, APART, "ratio", TOKEN, "ratio"]);
    for clients in CLIENTS {
        let of = |name: &str| series.of(&format!("{name} {clients}"));
        let (own, apart, token) = (of(OWN), of(APART), of(TOKEN));
        let (ratio, of_token) = (apart.over(&own), token.over(&own));
        table.row(&[
            format!("{clients} at a time"),
            own.figure(),
            apart.figure(),
            ratio.figure(),
            token.figure(),
            of_token.figure(),
        ]);
        summary.compare(
            &format!("handshakes with the key apart, {clients} at a time"),
            (&apart, "a second"),
            ("with the key in the process", &own),
            &ratio,
        );
        summary.compare(
            &format!("handshakes with the key in a token, {clients} at a time"),
            (&token, "a second"),
            ("with the key in the process", &own),
            &of_token,
        );
    }
    table.print("The process beside it is asked over a socket pair, one signature at a time.");
    Ok(())
}

fn server_config(bench: &Bench) -> anyhow::Result<ServerConfig> {
    let keys = bench.keys();
    let certificate = load_certificate(&keys.join("server.pem"))?;
    let key = KeySource::File(keys.join("server.key")).load()?;
    let pins = vec![load_certificate(&keys.join("client.pem"))?];
    Ok(tls::server_config(&certificate, &key, pins)?)
}

/// The same key, imported into a token that is made for it.
fn token_config(bench: &Bench) -> anyhow::Result<ServerConfig> {
    let keys = bench.keys();
    let at = |name: &str| keys.join(name).display().to_string();
    std::fs::create_dir(at("tokens"))?;
    let config = format!("directories.tokendir = {}\n", at("tokens"));
    std::fs::write(at("softhsm2.conf"), config)?;
    let key = at("server.key");
    for words in [
        &[
            "--init-token",
            "--free",
            "--label",
            "bench",
            "--pin",
            "4711",
            "--so-pin",
            "4711",
        ][..],
        &[
            "--import", &key, "--token", "bench", "--label", "k", "--id", "01", "--pin", "4711",
        ],
    ] {
        let mut command = Command::new("softhsm2-util");
        command.env("SOFTHSM2_CONF", at("softhsm2.conf"));
        let output = command.args(words).output().context("softhsm2-util")?;
        ensure!(output.status.success(), "{output:?}");
    }
    // The module looks for its configuration in the environment.
    let script = format!(
        "#!/bin/sh\nSOFTHSM2_CONF={} exec {} \"$@\"\n",
        at("softhsm2.conf"),
        prn_tests::binary("prn-signer").display()
    );
    std::fs::write(at("signer"), script)?;
    std::fs::set_permissions(at("signer"), Permissions::from_mode(0o755))?;
    let nobody = 65_534;
    for path in ["tokens", "softhsm2.conf"] {
        let mut command = Command::new("chown");
        let status = command
            .args(["-R", &nobody.to_string(), &at(path)])
            .status()?;
        ensure!(status.success());
    }
    std::fs::set_permissions(keys, Permissions::from_mode(0o711))?;
    let program = Program {
        path: at("signer").into(),
        ids: Some(Ids {
            uid: nobody,
            gid: nobody,
            groups: Vec::new(),
        }),
    };
    let uri = TokenUri::parse(&format!("token=bench;object=k?module-path={MODULE}"))?;
    let key = program::start(&program, &uri, &Zeroizing::new(b"4711".to_vec()))?;
    let certificate = load_certificate(&keys.join("server.pem"))?;
    let pins = vec![load_certificate(&keys.join("client.pem"))?];
    Ok(tls::server_config(&certificate, &key, pins)?)
}

fn client_config(bench: &Bench) -> anyhow::Result<ClientConfig> {
    let keys = bench.keys();
    let certificate = load_certificate(&keys.join("client.pem"))?;
    let key = KeySource::File(keys.join("client.key")).load()?;
    let server = load_certificate(&keys.join("server.pem"))?;
    Ok(tls::client_config(&certificate, &key, server)?)
}

/// [`COUNT`] of them, by so many clients and as many threads of the server; how many a second.
fn handshakes(
    server: ServerConfig,
    client: &Arc<ClientConfig>,
    clients: usize,
) -> anyhow::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let each = COUNT / clients;
    let server = Arc::new(server);
    let serving: Vec<_> = (0..clients)
        .map(|_| Ok(serve(listener.try_clone()?, &server, each)))
        .collect::<anyhow::Result<_>>()?;
    let begun = Instant::now();
    scope(|scope| {
        let connecting: Vec<_> = (0..clients)
            .map(|_| scope.spawn(|| (0..each).try_for_each(|_| connect(address, client))))
            .collect();
        let ended = connecting.into_iter().map(|client| client.join());
        ended.collect::<Vec<_>>()
    })
    .into_iter()
    .try_for_each(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))?;
    let seconds = begun.elapsed().as_secs_f64();
    for thread in serving {
        let ended = thread.join();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    }
    Ok((each * clients) as f64 / seconds)
}

/// Greets so many clients, when their handshakes are done.
fn serve(
    listener: TcpListener,
    config: &Arc<ServerConfig>,
    count: usize,
) -> JoinHandle<anyhow::Result<()>> {
    let config = Arc::clone(config);
    spawn(move || {
        for _ in 0..count {
            let (mut stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            let mut connection = ServerConnection::new(Arc::clone(&config))?;
            rustls::Stream::new(&mut connection, &mut stream).write_all(b"!")?;
        }
        Ok(())
    })
}

fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("prn").context("a name")?;
    let mut connection = ClientConnection::new(Arc::clone(config), name)?;
    let mut greeting = [0];
    rustls::Stream::new(&mut connection, &mut stream).read_exact(&mut greeting)?;
    ensure!(greeting == *b"!");
    Ok(())
}

/// A process that has the key and signs what it is asked to, until dropped.
#[derive(Debug)]
struct Signing {
    child: Child,
    asked: Arc<Mutex<UnixStream>>,
}

impl Signing {
    fn start(bench: &Bench) -> anyhow::Result<Self> {
        let (family, kind) = (AddressFamily::Unix, SockType::Stream);
        let (ours, theirs) = socketpair(family, kind, None, SockFlag::SOCK_CLOEXEC)?;
        let key = bench.keys().join("server.key").display().to_string();
        let mut part = bench.part(&["sign", &key]);
        let child = part.stdin(Stdio::from(theirs)).spawn()?;
        Ok(Self {
            child,
            asked: Arc::new(Mutex::new(ours.into())),
        })
    }

    /// The server's certificate with the key that is there.
    fn key(&self, bench: &Bench) -> anyhow::Result<CertifiedKey> {
        let certificate = load_certificate(&bench.keys().join("server.pem"))?;
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = Apart(Arc::clone(&self.asked));
        Ok(CertifiedKey::new(chain, Arc::new(key)))
    }
}

impl Drop for Signing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The key that is there.
#[derive(Debug, Clone)]
struct Apart(Arc<Mutex<UnixStream>>);

impl SigningKey for Apart {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let is_offered = offered.contains(&SignatureScheme::ED25519);
        is_offered.then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for Apart {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let mut signature = vec![0; SIGNATURE];
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let asked = [&length.to_le_bytes(), message].concat();
        let answered = stream
            .write_all(&asked)
            .and_then(|()| stream.read_exact(&mut signature));
        answered.map_err(|error| rustls::Error::General(error.to_string()))?;
        Ok(signature)
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// The process beside it: signs what its standard input asks for, until that ends.
///
/// # Errors
/// Whatever goes wrong.
pub fn sign(key: &str) -> anyhow::Result<()> {
    let key = KeySource::File(key.into()).load()?;
    let pkcs8 = PrivatePkcs8KeyDer::from(key.pkcs8_der().unwrap_or_default().to_vec());
    let key = rustls::crypto::ring::sign::any_eddsa_type(&pkcs8)?;
    let signer = key.choose_scheme(&[SignatureScheme::ED25519]);
    let signer = signer.context("an Ed25519 key")?;
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    let mut stream = UnixStream::from(stdin);
    let mut length = [0; 4];
    while stream.read_exact(&mut length).is_ok() {
        let mut message = vec![0; u32::from_le_bytes(length).try_into()?];
        stream.read_exact(&mut message)?;
        stream.write_all(&signer.sign(&message)?)?;
    }
    Ok(())
}
