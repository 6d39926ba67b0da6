//! Programs that the driver starts of itself: both ends of what prn is compared with, prn's
//! clients, and what processes under prn run. Each is a process of its own, as it would be between
//! machines.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::fcntl::{FcntlArg, fcntl};
use prn_client::credentials::{Credentials, KeySource, load_certificate};
use prn_client::{Client, Event, OutputPolicy, OutputRequest, ProcessId, StartSpec};
use prn_proto::tls;
use rustls::pki_types::ServerName;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::machine;

/// Bytes of one write, everywhere but for lines.
pub const CHUNK: usize = 64 * 1024;

/// Bytes of one read from a pipe: what the supervisor reads.
pub const PIPE_READ: usize = 256 * 1024;

static CONTENT: [u8; CHUNK] = [b'x'; CHUNK];

/// Connections under way at one time, of a client that makes many: fewer than the server allows
/// handshakes.
const CONNECTING: usize = 32;

/// What a raw server says when its side of the handshake is done too, which a client of TLS 1.3
/// does not see.
const GREETING: &[u8] = b"!";

/// What one client moved.
#[derive(Debug, Clone, Copy)]
pub struct Transfer {
    pub bytes: u64,
    pub seconds: f64,
    /// CPU time of the client, in seconds.
    pub client: f64,
    /// CPU time of the process that wrote it, if that ran under prn, in seconds.
    pub process: f64,
}

impl Transfer {
    /// Millions of bytes a second.
    pub fn rate(&self) -> f64 {
        self.bytes as f64 / self.seconds / 1e6
    }

    /// 10⁹ bytes, which CPU seconds are counted by.
    pub fn gigabytes(&self) -> f64 {
        self.bytes as f64 / 1e9
    }
}

/// A part that serves until dropped.
#[derive(Debug)]
pub struct Serving {
    child: Child,
    /// Where.
    pub address: String,
}

impl Serving {
    /// Starts it and waits for its address.
    ///
    /// # Errors
    /// If it has none.
    pub fn start(mut part: Command) -> anyhow::Result<Self> {
        // It ends when its standard input does: with this process at the latest.
        let mut child = part.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut address = String::new();
        BufReader::new(child.stdout.take().context("its output")?).read_line(&mut address)?;
        let serving = Self {
            child,
            address: address.trim().to_owned(),
        };
        ensure!(!serving.address.is_empty(), "{part:?} does not serve");
        Ok(serving)
    }

    /// Its process number.
    pub fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap_or(0)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a part to its end; the numbers that it prints.
///
/// # Errors
/// If it fails.
pub fn numbers(mut part: Command) -> anyhow::Result<Vec<f64>> {
    let output = part.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{part:?}: {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    text.split_whitespace()
        .map(|word| word.parse().context("a number"))
        .collect()
}

/// Runs a client to its end.
///
/// # Errors
/// If it fails, or did not get `bytes`.
pub fn transfer(part: Command, bytes: u64) -> anyhow::Result<Transfer> {
    let shown = format!("{part:?}");
    let [moved, seconds, client, process] = numbers(part)?[..] else {
        bail!("{shown}: not four numbers")
    };
    ensure!(
        moved as u64 == bytes,
        "{shown}: {moved} bytes instead of {bytes}"
    );
    Ok(Transfer {
        bytes,
        seconds,
        client,
        process,
    })
}

/// From the first byte to the end of a stream, after which the program that wrote it must succeed.
///
/// # Errors
/// If that fails, or did not write `bytes`.
pub fn read_from(mut command: Command, bytes: u64) -> anyhow::Result<Transfer> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut stdout = child.stdout.take().context("its output")?;
    let moved = count(&mut stdout, Duration::ZERO);
    let status = child.wait()?;
    let (moved, seconds) = moved?;
    ensure!(
        status.success() && moved == bytes,
        "{command:?}: {status}, {moved} bytes instead of {bytes}"
    );
    Ok(Transfer {
        bytes,
        seconds,
        client: 0.0,
        process: 0.0,
    })
}

/// Reads to the end, with a pause before each read but the first.
fn count(from: &mut impl Read, pause: Duration) -> io::Result<(u64, f64)> {
    let mut buffer = vec![0; PIPE_READ];
    let mut bytes = from.read(&mut buffer)? as u64;
    let begun = Instant::now();
    loop {
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        match from.read(&mut buffer)? {
            0 => return Ok((bytes, begun.elapsed().as_secs_f64())),
            more => bytes += more as u64,
        }
    }
}

/// Runs as one of the parts.
///
/// # Errors
/// Whatever goes wrong.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["write", size, bytes] => write(size.parse()?, bytes.parse()?),
        ["clock", micros, lines] => clock(Duration::from_micros(micros.parse()?), lines.parse()?),
        ["write-filtered", size, bytes] => {
            // As many as a process under prn has, which allow what is measured here just as they
            // do.
            for _ in 0..2 {
                let rules = [(nix::libc::SYS_acct, Vec::new())].into();
                let (allow, refuse) = (SeccompAction::Allow, SeccompAction::Errno(1));
                let filter =
                    SeccompFilter::new(rules, allow, refuse, std::env::consts::ARCH.try_into()?)?;
                seccompiler::apply_filter(&BpfProgram::try_from(filter)?)?;
            }
            write(size.parse()?, bytes.parse()?)
        }
        ["count", micros] => {
            let stdin = io::stdin();
            // What a pipe under prn grows to, and a full read of it.
            fcntl(stdin.as_fd(), FcntlArg::F_SETPIPE_SZ(PIPE_READ.try_into()?))?;
            let pause = Duration::from_micros(micros.parse()?);
            let (bytes, seconds) =
                count(&mut File::from(stdin.as_fd().try_clone_to_owned()?), pause)?;
            report(bytes, seconds, machine::own_cpu_seconds()?, 0.0)
        }
        ["tcp-serve"] => tcp_serve(),
        ["tcp-read", address, bytes] => tcp_read(address, bytes.parse()?),
        ["tls-serve", folder, threads] => tls_serve(folder.as_ref(), threads.parse()?, None),
        ["tls-serve", folder, threads, file] => {
            tls_serve(folder.as_ref(), threads.parse()?, Some(File::open(file)?))
        }
        [
            "tls-read",
            address,
            folder,
            threads,
            connections,
            bytes,
            read_ahead,
        ] => {
            let each = bytes.parse()?;
            let read_ahead = read_ahead.parse()?;
            runtime(threads.parse()?)?.block_on(tls_read(
                address,
                folder.as_ref(),
                connections.parse()?,
                each,
                read_ahead,
            ))
        }
        ["replay", address, folder, threads, connections, id] => runtime(threads.parse()?)?
            .block_on(replay(
                address,
                folder.as_ref(),
                connections.parse()?,
                id.parse()?,
            )),
        ["live", address, folder, threads, output_max, ref argv @ ..] => {
            let mut spec = StartSpec::new(argv.iter().copied());
            spec.output_max_bytes = Some(output_max.parse()?);
            spec.output_policy = Some(OutputPolicy::StopReading);
            runtime(threads.parse()?)?.block_on(live(address, folder.as_ref(), spec))
        }
        ["clone", cgroup, count] => crate::clone::run(cgroup.as_ref(), count.parse()?),
        _ => bail!("no such part: {words:?}"),
    }
}

/// Prints what `transfer` reads.
fn report(bytes: u64, seconds: f64, client: f64, process: f64) -> anyhow::Result<()> {
    Ok(writeln!(
        io::stdout(),
        "{bytes} {seconds} {client} {process}"
    )?)
}

/// 0 threads: all on the one that asks, as prn's own command does it.
pub fn runtime(threads: usize) -> io::Result<Runtime> {
    match threads {
        0 => Builder::new_current_thread().enable_all().build(),
        threads => Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build(),
    }
}

/// Writes so many bytes to standard output, `size` at a time; lines if that is not a chunk.
fn write(size: usize, bytes: u64) -> anyhow::Result<()> {
    let mut piece = CONTENT.get(..size).context("its size")?.to_vec();
    if size < CHUNK
        && let Some(last) = piece.last_mut()
    {
        *last = b'\n';
    }
    // Not what the standard library keeps, which would buffer.
    let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    for _ in 0..bytes / size as u64 {
        stdout.write_all(&piece)?;
    }
    Ok(stdout.write_all(&piece[..(bytes % size as u64) as usize])?)
}

/// Writes the time to standard output, every so often.
fn clock(every: Duration, lines: u32) -> anyhow::Result<()> {
    for _ in 0..lines {
        std::thread::sleep(every);
        // One write(2) a line: standard output is buffered up to the line's end.
        println!("{}", machine::monotonic_nanoseconds()?);
    }
    Ok(())
}

fn tcp_serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream?;
            std::thread::spawn(move || -> io::Result<()> {
                stream.set_nodelay(true)?;
                let mut request = [0; 8];
                stream.read_exact(&mut request)?;
                let mut left = u64::from_be_bytes(request);
                while left > 0 {
                    let length = left.min(CHUNK as u64);
                    stream.write_all(&CONTENT[..length as usize])?;
                    left -= length;
                }
                Ok(())
            });
        }
        Ok::<_, io::Error>(())
    });
    wait_for_end();
    Ok(())
}

/// The driver closes this process's standard input, or ends.
pub fn wait_for_end() {
    let _ = io::stdin().read_to_end(&mut Vec::new());
}

fn tcp_read(address: &str, bytes: u64) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let cpu = machine::own_cpu_seconds()?;
    let begun = Instant::now();
    stream.write_all(&bytes.to_be_bytes())?;
    let mut buffer = vec![0; CHUNK];
    let mut moved = 0;
    while moved < bytes {
        match stream.read(&mut buffer)? {
            0 => break,
            more => moved += more as u64,
        }
    }
    report(
        moved,
        begun.elapsed().as_secs_f64(),
        machine::own_cpu_seconds()? - cpu,
        0.0,
    )
}

/// prn's own profile: TLS 1.3, AES-128-GCM, both certificates pinned. The same 64 KiB again and
/// again, or a file.
fn tls_serve(folder: &Path, threads: usize, file: Option<File>) -> anyhow::Result<()> {
    let (certificate, key) = identity(folder, "server")?;
    let pins = vec![load_certificate(&folder.join("client.pem"))?];
    let acceptor = TlsAcceptor::from(Arc::new(tls::server_config(&certificate, &key, pins)?));
    let runtime = runtime(threads)?;
    let file = file.map(Arc::new);
    let serve = async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            let (acceptor, file) = (acceptor.clone(), file.clone());
            tokio::spawn(async move {
                stream.set_nodelay(true)?;
                let mut stream = acceptor.accept(stream).await?;
                stream.write_all(GREETING).await?;
                stream.flush().await?;
                let whole = stream.read_u64().await?;
                let mut buffer = CONTENT.to_vec();
                let mut sent = 0;
                while sent < whole {
                    let piece = &mut buffer[..(whole - sent).min(CHUNK as u64) as usize];
                    if let Some(file) = &file {
                        file.read_exact_at(piece, sent)?;
                    }
                    stream.write_all(piece).await?;
                    sent += piece.len() as u64;
                }
                stream.flush().await?;
                stream.shutdown().await
            });
        }
    };
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = serve => ended,
            _ = tokio::task::spawn_blocking(wait_for_end) => Ok::<(), io::Error>(()),
        }
    });
    runtime.shutdown_background();
    Ok(ended?)
}

fn identity(folder: &Path, name: &str) -> anyhow::Result<(tls::Certificate, tls::Key)> {
    let certificate = load_certificate(&folder.join(format!("{name}.pem")))?;
    Ok((
        certificate,
        KeySource::File(folder.join(format!("{name}.key"))).load()?,
    ))
}

/// `read_ahead`: of a buffer below TLS, as prn's client has; 0 is none.
async fn tls_read(
    address: &str,
    folder: &Path,
    connections: usize,
    each: u64,
    read_ahead: usize,
) -> anyhow::Result<()> {
    let (certificate, key) = identity(folder, "client")?;
    let config = tls::client_config(
        &certificate,
        &key,
        vec![load_certificate(&folder.join("server.pem"))?],
    )?;
    let connector = TlsConnector::from(Arc::new(config));
    let tcp = async || -> anyhow::Result<tokio::net::TcpStream> {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    let name = ServerName::try_from("127.0.0.1")?;
    let mut streams = Vec::new();
    for _ in 0..connections {
        let stream = tcp().await?;
        streams.push(if read_ahead > 0 {
            let stream = tokio::io::BufReader::with_capacity(read_ahead, stream);
            let mut stream = connector.connect(name.clone(), stream).await?;
            stream.read_u8().await?;
            Either::Buffered(stream)
        } else {
            let mut stream = connector.connect(name.clone(), stream).await?;
            stream.read_u8().await?;
            Either::Plain(stream)
        });
    }
    let cpu = machine::own_cpu_seconds()?;
    let begun = Instant::now();
    let tasks: Vec<_> = streams
        .into_iter()
        .map(|stream| {
            tokio::spawn(async move {
                match stream {
                    Either::Plain(stream) => drain(stream, each).await,
                    Either::Buffered(stream) => drain(stream, each).await,
                }
            })
        })
        .collect();
    let mut moved = 0;
    for task in tasks {
        moved += task.await??;
    }
    report(
        moved,
        begun.elapsed().as_secs_f64(),
        machine::own_cpu_seconds()? - cpu,
        0.0,
    )
}

/// Both ways to read, each with its own type, so that neither pays for the choice.
enum Either {
    Plain(tokio_rustls::client::TlsStream<tokio::net::TcpStream>),
    Buffered(tokio_rustls::client::TlsStream<tokio::io::BufReader<tokio::net::TcpStream>>),
}

async fn drain(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: u64) -> io::Result<u64> {
    stream.write_u64(bytes).await?;
    stream.flush().await?;
    let mut buffer = vec![0; CHUNK];
    let mut moved = 0;
    while moved < bytes {
        match stream.read(&mut buffer).await? {
            0 => break,
            more => moved += more as u64,
        }
    }
    Ok(moved)
}

/// prn's client library, with the keys in `folder`.
///
/// # Errors
/// Whatever goes wrong.
pub async fn connect(address: &str, folder: &Path) -> anyhow::Result<Client> {
    Ok(Client::connect(address, &credentials(folder)?).await?)
}

fn credentials(folder: &Path) -> anyhow::Result<Credentials> {
    let key = KeySource::File(folder.join("client.key"));
    Ok(Credentials::load(
        &folder.join("client.pem"),
        &key,
        &folder.join("server.pem"),
    )?)
}

async fn replay(
    address: &str,
    folder: &Path,
    connections: usize,
    id: ProcessId,
) -> anyhow::Result<()> {
    let credentials = Arc::new(credentials(folder)?);
    let places = Arc::new(Semaphore::new(CONNECTING));
    let connecting: Vec<_> = (0..connections)
        .map(|_| {
            let (credentials, places, address) = (
                Arc::clone(&credentials),
                Arc::clone(&places),
                address.to_owned(),
            );
            tokio::spawn(async move {
                let _place = places.acquire().await?;
                let client = Client::connect(&address, &credentials).await?;
                // The server's side of the handshake is then done too.
                client.status(id).await?;
                anyhow::Ok(client)
            })
        })
        .collect();
    let mut clients = Vec::new();
    for client in connecting {
        clients.push(client.await??);
    }
    let cpu = machine::own_cpu_seconds()?;
    let begun = Instant::now();
    let tasks: Vec<_> = clients
        .into_iter()
        .map(|client| tokio::spawn(async move { follow(&client, id).await }))
        .collect();
    let mut moved = 0;
    for task in tasks {
        moved += task.await??;
    }
    report(
        moved,
        begun.elapsed().as_secs_f64(),
        machine::own_cpu_seconds()? - cpu,
        0.0,
    )
}

async fn live(address: &str, folder: &Path, spec: StartSpec) -> anyhow::Result<()> {
    let client = connect(address, folder).await?;
    let cpu = machine::own_cpu_seconds()?;
    let begun = Instant::now();
    let id = client.start(&spec).await?.process.id;
    let moved = follow(&client, id).await?;
    let (seconds, cpu) = (
        begun.elapsed().as_secs_f64(),
        machine::own_cpu_seconds()? - cpu,
    );
    let usage = client.status(id).await?.status.usage.context("its usage")?;
    report(
        moved,
        seconds,
        cpu,
        (usage.cpu_user + usage.cpu_system).as_secs_f64(),
    )
}

/// Reads a process's output to its end, which must be complete; how many bytes it was.
///
/// # Errors
/// If it is not.
pub async fn follow(client: &Client, id: ProcessId) -> anyhow::Result<u64> {
    let mut output = client.output(id, OutputRequest::default()).await?;
    let (mut bytes, mut ended) = (0, false);
    while let Some(event) = output.next().await? {
        match event {
            Event::Data { data, .. } => bytes += data.len() as u64,
            Event::Gap { from, to } => bail!("bytes {from}..{to} were dropped"),
            Event::End(_) => ended = true,
        }
    }
    ensure!(ended, "a stream without an end");
    Ok(bytes)
}
