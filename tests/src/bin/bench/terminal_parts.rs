//! What is run in terminals, and who types into one without an end.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, bail};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use prn_client::{
    Client, InputPiece, InputWriter, ProcessId, StandardInput, StartSpec, TerminalSize,
};
use tokio::sync::mpsc;

use crate::{numbers, parts};

/// What a part in a terminal says when its modes are set.
pub const READY: &[u8; 1] = b"!";

/// Of all terminals here.
pub const SIZE: TerminalSize = TerminalSize {
    rows: 24,
    columns: 80,
};

/// Bytes of a piece that is typed without an end: lines of 64 bytes.
const TYPED: usize = 4096;

/// A process whose input is open.
#[derive(Debug)]
pub struct Fed {
    /// Its id.
    pub id: ProcessId,
    /// What is to be fed. Once that is dropped, all is fed.
    pub pieces: mpsc::Sender<InputPiece>,
}

/// Starts a process with an input.
///
/// # Errors
/// Whatever goes wrong.
pub async fn start(client: &Client, argv: &[String], stdin: StandardInput) -> anyhow::Result<Fed> {
    let spec = StartSpec {
        stdin,
        ..StartSpec::new(argv.iter().cloned())
    };
    let id = client.start(&spec).await?.process.id;
    let (pieces, source) = mpsc::channel(8);
    let mut writer = InputWriter::new(id, Some(0), source)?;
    let client = client.clone();
    tokio::spawn(async move {
        // Who waits for what is not fed finds it missing.
        let _ended = writer.feed(&client).await;
    });
    Ok(Fed { id, pieces })
}

/// Answers each byte of the terminal with the same, until it is gone.
///
/// # Errors
/// As read(2), but for the end of a terminal.
pub fn answer() -> anyhow::Result<()> {
    let (mut terminal, mut byte) = (raw()?, [0]);
    while matches!(terminal.read(&mut byte), Ok(1)) {
        terminal.write_all(&byte)?;
    }
    Ok(())
}

/// Reads so many bytes of the terminal, and says when.
///
/// # Errors
/// As read(2).
pub fn swallow(bytes: usize) -> anyhow::Result<()> {
    let (mut terminal, mut buffer, mut read) = (raw()?, vec![0; TYPED], 0);
    while read < bytes {
        read += terminal.read(&mut buffer)?;
    }
    Ok(terminal.write_all(READY)?)
}

/// The terminal that is standard input: each byte is the program's, and none is shown.
fn raw() -> anyhow::Result<File> {
    let stdin = io::stdin();
    let mut modes = tcgetattr(stdin.as_fd())?;
    cfmakeraw(&mut modes);
    tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &modes)?;
    let mut terminal = File::from(stdin.as_fd().try_clone_to_owned()?);
    terminal.write_all(READY)?;
    Ok(terminal)
}

/// Feeds a process lines for as long as standard input is open. Says its id when the first of them
/// are on their way.
///
/// # Errors
/// Whatever goes wrong.
pub async fn flood(
    address: &str,
    folder: &Path,
    stdin: StandardInput,
    argv: &[String],
) -> anyhow::Result<()> {
    let client = parts::connect(address, folder).await?;
    let fed = start(&client, argv, stdin).await?;
    let line = [&[b'x'; 63][..], b"\n"].concat();
    let piece = piece(&line.repeat(TYPED / line.len()));
    for _ in 0..16 {
        fed.pieces.send(piece.clone()).await.context("its input")?;
    }
    writeln!(io::stdout(), "{}", fed.id)?;
    let feed = async {
        while fed.pieces.send(piece.clone()).await.is_ok() {}
        std::future::pending().await
    };
    tokio::select! {
        _ = tokio::task::spawn_blocking(parts::wait_for_end) => Ok(()),
        () = feed => Ok(()),
    }
}

/// Runs as one of these parts, or as one of the others.
///
/// # Errors
/// Whatever goes wrong.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["numbers", bytes] => {
            let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
            Ok(numbers::write(&mut stdout, bytes.parse()?)?)
        }
        ["answer"] => answer(),
        ["swallow", bytes] => swallow(bytes.parse()?),
        ["flood", address, folder, stdin, ..] => {
            let stdin = match stdin {
                "pipe" => StandardInput::Pipe,
                "terminal" => StandardInput::Terminal(SIZE),
                _ => bail!("no such input: {stdin}"),
            };
            let argv = arguments.get(4..).context("argv")?;
            let runtime = parts::runtime(0)?;
            let flooded = runtime.block_on(flood(address, folder.as_ref(), stdin, argv));
            runtime.shutdown_background();
            flooded
        }
        _ => parts::run(arguments),
    }
}

/// A piece of input.
pub fn piece(data: &[u8]) -> InputPiece {
    InputPiece::Data(data.to_vec().into())
}
