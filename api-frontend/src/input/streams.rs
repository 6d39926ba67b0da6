//! The streams of input of one connection: what waits in them for its process is held back there.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::errors;

/// Most calls of a connection that are not read at once: streams of input ([`Inputs`]).
pub const INPUTS_MAX: u32 = 64;

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
