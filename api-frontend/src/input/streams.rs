//! The streams of input of one connection: what waits in them for its process is held back there.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::errors;

/// Most calls of a connection that are not read at once: streams of input ([`Inputs`]). Each can hold
/// back a window of its connection's, which has to have room for all of them: 16 MiB. A client that
/// feeds more processes has as many connections as it takes.
pub const INPUTS_MAX: u32 = 64;

/// What a client may send of a call before it is read. Requests are small, and read at once. Input
/// is read as its process does, and all that may be under way in a round trip is this.
pub const STREAM_WINDOW: u32 = 256 * 1024;
/// What a client may send of all calls before it is read: the 16 MiB that its inputs can hold back,
/// and 1 MiB for the others. An input that nobody reads must not keep a Stop out.
///
/// h2 also derives from it how much framing it takes for little data that waits here (CVE-2019-9511,
/// the data dribble): 8.5 MiB, and then GOAWAY ENHANCE_YOUR_CALM, as for the 101st empty DATA frame
/// (RUSTSEC-2026-0258). It counts what a frame has less than 256 bytes: one input that nobody reads,
/// a byte of it in each message of 8 bytes, does not come to it.
pub const WINDOW: u32 = INPUTS_MAX * STREAM_WINDOW + 1024 * 1024;

/// The streams of input of one connection.
#[derive(Debug, Clone)]
pub struct Inputs(Arc<Semaphore>);

impl Inputs {
    /// None yet.
    pub fn new() -> Self {
        let max = usize::try_from(INPUTS_MAX).unwrap_or(usize::MAX);
        Self(Arc::new(Semaphore::new(max)))
    }

    /// One more, until what this returns is dropped.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub fn enter(&self) -> Result<OwnedSemaphorePermit, Status> {
        let permit = Arc::clone(&self.0).try_acquire_owned();
        permit.map_err(|_| errors::too_many_inputs_of_connection(INPUTS_MAX))
    }
}
