//! Whoever reads what prn prints, and may leave while there is nothing to print.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::PollTimeout;
use tokio::sync::watch;

use super::descriptor::{duplicate, has_nobody};

/// Output may end as its reader leaves (`prn run -- uname | head -n 1`). For so long the end is
/// waited for, which then says how the process ended, as it would for a program of this machine
/// that had written all.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A thread that notices when nobody can read a stream any more.
#[derive(Debug)]
pub struct Reader(watch::Receiver<bool>);

impl Reader {
    /// Of standard output.
    ///
    /// # Errors
    /// If it is closed, or there can be no thread.
    pub fn of_stdout() -> io::Result<Self> {
        Self::of(duplicate(io::stdout().as_fd())?)
    }

    /// Of a stream.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn of(stream: File) -> io::Result<Self> {
        let (report, left) = watch::channel(false);
        std::thread::Builder::new()
            .name("prn-reader".to_owned())
            .spawn(move || {
                if has_nobody(&stream, PollTimeout::NONE) {
                    std::thread::sleep(LAST_WORDS);
                    report.send_replace(true);
                }
            })?;
        Ok(Self(left))
    }

    /// Whether the reader has left.
    pub fn has_left(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the reader has left: then writing is of no use. Cancel safe.
    pub async fn left(&self) -> io::Error {
        let mut left = self.0.clone();
        if left.wait_for(|left| *left).await.is_err() {
            // Of a file nobody ever leaves.
            std::future::pending::<()>().await;
        }
        io::ErrorKind::BrokenPipe.into()
    }
}
