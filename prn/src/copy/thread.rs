//! Threads that work on files while a talk goes on, and how they are waited for.

use std::io;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};

use crate::copy::fault::CopyFault;
use crate::failure::Failure;
use crate::interrupts::{Interrupt, Interrupts};

/// Pieces on the way between a thread and a talk, or whoever else takes them.
pub const QUEUE: usize = 8;

/// For so long a thread is waited for that may say why a talk has failed.
const LAST_PIECE: Duration = Duration::from_secs(1);

/// What a thread comes to that has worked for a talk. `None`: the talk has failed, and the thread
/// waits for something else, which may never come.
pub async fn ended<T>(
    talked: &Result<(), Failure>,
    thread: JoinHandle<T>,
) -> Option<Result<T, JoinError>> {
    match talked {
        Ok(()) => Some(thread.await),
        Err(_) => tokio::time::timeout(LAST_PIECE, thread).await.ok(),
    }
}

/// What takes long by a disk's choice. A signal does not wait for it.
///
/// # Errors
/// [`CopyFault::Interrupted`].
pub async fn blocking<T: Send + 'static>(
    interrupts: &mut Interrupts,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::select! {
        Interrupt::Stop | Interrupt::Leave = interrupts.next() => {
            Err(CopyFault::Interrupted.into())
        }
        done = tokio::task::spawn_blocking(work) => Ok(done.map_err(io::Error::other)?),
    }
}
