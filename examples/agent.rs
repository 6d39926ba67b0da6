//! What a program that works on code does, with prn's client library: see README.md in this folder.
//!
//! ```text
//! agent DIRECTORY RESULTS    sends DIRECTORY to a workspace of its own, runs `make` and `make test`
//!                            in it, brings build/report.txt back to RESULTS and removes the workspace
//! ```
#![expect(clippy::print_stdout, reason = "it shows what it does")]

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode};

use prn_client::credentials::{Credentials, KeySource};
use prn_client::{
    Client, Event, InputPiece, InputWriter, OutputEnd, OutputPolicy, OutputRequest, ProcessId,
    Removed, Source, StandardInput, StartSpec, StopProcesses, StopSignal, Tail, mint_id,
};
use tokio::signal::unix::{SignalKind, signal};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Most bytes of a command's output that are looked at.
const SEEN_MAX: usize = 4000;

/// Most bytes of a result.
const RESULT_MAX: usize = 1024 * 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, results] = arguments.as_slice() else {
        return Err("usage: agent DIRECTORY RESULTS".into());
    };
    let client = connect().await?;
    let workspace = format!("agent-{}", mint_id()?);
    client.create_workspace(&workspace, Some(1 << 30)).await?;
    let worked = tokio::select! {
        worked = work(&client, &workspace, directory.as_ref(), results.as_ref()) => worked,
        stopped = stopped() => stopped,
    };
    // Whatever has happened, and with all that runs in it.
    let stop = StopProcesses {
        signal: StopSignal::Kill,
        grace: None,
    };
    match client.remove_workspace(&workspace, Some(stop)).await? {
        Removed::Gone => {}
        Removed::Leaving => println!("workspace {workspace} is still being deleted"),
    }
    Ok(ExitCode::from(worked?))
}

/// Waits until somebody wants this program to end.
async fn stopped() -> Result<u8> {
    let mut term = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = term.recv() => {}
    }
    Err("stopped".into())
}

async fn connect() -> Result<Client> {
    let variable = |name: &str| std::env::var(name).map_err(|error| format!("{name}: {error}"));
    let key = KeySource::File(variable("PRN_TLS_KEY_FILE")?.into());
    let certificate = variable("PRN_CLIENT_CERT")?;
    let server = variable("PRN_SERVER_CERT")?;
    let credentials = Credentials::load(certificate.as_ref(), &key, server.as_ref())?;
    Ok(Client::connect(&variable("PRN_ADDRESS")?, &credentials).await?)
}

/// Builds and tests, and brings the report. Returns the exit code of the command that failed, or 0.
async fn work(client: &Client, workspace: &str, directory: &Path, results: &Path) -> Result<u8> {
    send(client, workspace, directory).await?;
    let mut code = 0;
    for argv in [&["make"][..], &["make", "test"]] {
        let (status, output) = run(client, workspace, argv).await?;
        println!("$ {}\n{output}exit code {status}", argv.join(" "));
        code = status;
        if code != 0 {
            break;
        }
    }
    let report = fetch(client, workspace, "build/report.txt").await?;
    put(results, "report.txt", &report)?;
    Ok(code)
}

/// Puts a file in a directory, in the place of what has that name there: also of a link.
fn put(directory: &Path, name: &str, content: &[u8]) -> Result<()> {
    std::fs::create_dir_all(directory)?;
    let new = directory.join(format!(".{name}.{}", mint_id()?));
    let mut file = File::create_new(&new)?;
    let put = file
        .write_all(content)
        .and_then(|()| std::fs::rename(&new, directory.join(name)));
    if put.is_err() {
        std::fs::remove_file(&new)?;
    }
    Ok(put?)
}

/// Sends what is in a directory, by tar(1) at both ends.
async fn send(client: &Client, workspace: &str, directory: &Path) -> Result<()> {
    let packed = Command::new("tar")
        .arg("-cC")
        .arg(directory)
        .arg(".")
        .output()?;
    if !packed.status.success() {
        return Err(String::from_utf8_lossy(&packed.stderr).into());
    }
    let mut spec = whole_output(workspace, ["tar", "-x"]);
    spec.stdin = StandardInput::Pipe;
    let id = client.start(&spec).await?.process.id;
    let (pieces, source) = tokio::sync::mpsc::channel(2);
    pieces.send(InputPiece::Data(packed.stdout.into())).await?;
    pieces.send(InputPiece::End).await?;
    let mut writer = InputWriter::new(id, Some(0), source)?;
    let (fed, read) = tokio::join!(
        writer.feed(client),
        read(client, id, following(), Keep::All)
    );
    fed?;
    let (said, end) = read?;
    succeeded(&end, &said)
}

/// Runs a command, for its exit code and the last bytes of its output, however much there is.
async fn run(client: &Client, workspace: &str, argv: &[&str]) -> Result<(u8, String)> {
    let mut spec = StartSpec::new(argv.iter().copied());
    spec.workspace = Some(workspace.to_owned());
    // The server keeps a part, and drops what is older: the command is not held up by anybody.
    spec.output_max_bytes = Some(1 << 20);
    let id = client.start(&spec).await?.process.id;
    let request = OutputRequest {
        tail: Some(Tail::Bytes(SEEN_MAX.try_into()?)),
        ..OutputRequest::default()
    };
    let (output, end) = read(client, id, request, Keep::Last(SEEN_MAX)).await?;
    let exit = end.exit.and_then(|exit| exit.status);
    let output = String::from_utf8_lossy(&output).into_owned();
    Ok((exit.ok_or("nobody knows how it ended")?, output))
}

/// Brings a file.
async fn fetch(client: &Client, workspace: &str, path: &str) -> Result<Vec<u8>> {
    let spec = whole_output(workspace, ["cat", "--", path]);
    let id = client.start(&spec).await?.process.id;
    let request = OutputRequest {
        only: Some(Source::Stdout),
        ..following()
    };
    let (bytes, end) = read(client, id, request, Keep::All).await?;
    succeeded(&end, path.as_bytes())?;
    Ok(bytes)
}

/// Of a command of whose output no byte is to be dropped.
fn whole_output<const N: usize>(workspace: &str, argv: [&str; N]) -> StartSpec {
    let mut spec = StartSpec::new(argv);
    spec.workspace = Some(workspace.to_owned());
    spec.output_policy = Some(OutputPolicy::Follow);
    spec
}

/// For the output of such a command.
fn following() -> OutputRequest {
    OutputRequest {
        follower: true,
        ..OutputRequest::default()
    }
}

/// What is kept of a process's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// All of it, up to [`RESULT_MAX`].
    All,
    /// So many bytes of its end.
    Last(usize),
}

/// What a request brings, to the end of the process.
async fn read(
    client: &Client,
    id: ProcessId,
    request: OutputRequest,
    keep: Keep,
) -> Result<(Vec<u8>, OutputEnd)> {
    let mut output = client.output(id, request).await?;
    let mut bytes = Vec::new();
    while let Some(event) = output.next().await? {
        match (event, keep) {
            (Event::Data { data, .. }, _) => bytes.extend_from_slice(&data),
            (Event::Gap { .. }, Keep::All) => return Err("output is missing".into()),
            // The oldest output of a long one is not kept.
            (Event::Gap { .. }, Keep::Last(_)) => {}
            (Event::End(end), _) => return Ok((bytes, end)),
        }
        match keep {
            Keep::Last(most) => drop(bytes.drain(..bytes.len().saturating_sub(most))),
            Keep::All if bytes.len() > RESULT_MAX => {
                return Err("more output than anybody has asked for".into());
            }
            Keep::All => {}
        }
    }
    Err("the output has no end".into())
}

fn succeeded(end: &OutputEnd, said: &[u8]) -> Result<()> {
    match end.exit.as_ref().and_then(|exit| exit.status) {
        Some(0) => Ok(()),
        _ => Err(format!("{}: {:?}", String::from_utf8_lossy(said).trim(), end.exit).into()),
    }
}
