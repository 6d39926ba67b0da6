//! Copying from a workspace.

use std::fs::File;
use std::io;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::copy::archive::read::Archive;
use crate::copy::far::{Far, FarPath};
use crate::copy::fault::CopyFault;
use crate::copy::staging::{Staging, Target};
use crate::copy::talk::talk;
use crate::copy::thread::{QUEUE, ended};
use crate::copy::unpack::{Incoming, unpack};
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::output::{self, Progress};
use crate::which::internal::Script;

/// Copies from a workspace to a local place, as `cp -a` does, but for owners: they are this user.
/// Nothing of it is there before all has arrived; then all is moved, and what is there under the
/// same names is replaced.
///
/// # Errors
/// [`Failure::Copy`], and what a start and its output can fail with. Some of it may be there if
/// moving it has failed.
pub async fn down(
    far: &mut Far<'_>,
    from: &FarPath,
    to: Target,
    interrupts: &mut Interrupts,
    progress: &Progress,
) -> Result<(), Failure> {
    let mut staging = Staging::new(to)?;
    let (sink, pieces) = mpsc::channel(QUEUE);
    let shown = progress.clone();
    let unpacking = tokio::task::spawn_blocking(move || {
        let archive = Archive::new(Incoming(pieces));
        let unpacked = unpack(archive, &mut staging.tree, &shown);
        (staging, unpacked)
    });
    let talked = talk(far, script(from), None, Some(sink), interrupts).await;
    progress.clear();
    let (staging, unpacked) = unpacking.await.map_err(io::Error::other)?;
    match (unpacked, talked) {
        // The stream was no whole one because of that.
        (Err(CopyFault::Cut | CopyFault::Malformed(_)), Err(failure)) => return Err(failure),
        // And this is why it was not read to its end.
        (Err(fault), _) => return Err(fault.into()),
        (Ok(()), Err(failure)) => return Err(failure),
        (Ok(()), Ok(())) => {}
    }
    staging.install().map_err(Failure::from)
}

/// Writes the archive itself, as it comes.
///
/// # Errors
/// As [`down`]. The archive has no end, or is none, if it failed.
pub async fn down_stream(
    far: &mut Far<'_>,
    from: &FarPath,
    to: File,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let (sink, mut pieces) = mpsc::channel::<Bytes>(QUEUE);
    let writing = tokio::task::spawn_blocking(move || -> io::Result<()> {
        let mut to = to;
        while let Some(bytes) = pieces.blocking_recv() {
            output::write_all(&mut to, &bytes)?;
        }
        Ok(())
    });
    let talked = talk(far, script(from), None, Some(sink), interrupts).await;
    // Whoever reads what is written may not do so, when the server's side has come to an end.
    if let Some(written) = ended(&talked, writing).await {
        written.map_err(io::Error::other)??;
    }
    talked
}

fn script(from: &FarPath) -> Script {
    Script {
        name: "prn-cp",
        text: include_str!("down.sh"),
        arguments: vec![from.printed()],
    }
}
