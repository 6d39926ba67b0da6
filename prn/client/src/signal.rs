//! Signals to a process.

use prn_proto::id::ProcessId;
#[cfg(doc)]
use prn_proto::reason;
use prn_proto::v1;

use crate::client::Client;
use crate::error::ClientError;

/// Who of a process tree gets a signal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Target {
    /// Its main process.
    #[default]
    Main,
    /// Every process of the tree.
    Tree,
}

impl Client {
    /// Sends a signal, by its number on the server's machine (signal(7)). [`Client::stop`] is what
    /// ends a process for certain.
    ///
    /// # Errors
    /// As [`Client::status`]; [`ClientError::Refused`] with [`reason::PROCESS_ENDED`].
    /// [`ClientError::NoAnswer`], [`ClientError::Lost`]: it may have been sent.
    pub async fn signal_process(
        &self,
        id: ProcessId,
        signal: i32,
        target: Target,
    ) -> Result<(), ClientError> {
        use v1::signal_process_request::Target as Wire;
        let target = match target {
            Target::Main => Wire::Main,
            Target::Tree => Wire::Tree,
        };
        let request = v1::SignalProcessRequest {
            process_identifier: Some(id.into()),
            signal,
            target: target.into(),
        };
        let mut service = self.service.clone();
        self.answered(self.call_timeout, service.signal_process(request))
            .await?;
        Ok(())
    }
}
