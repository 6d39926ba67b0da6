//! Receipts of processes.

use prn_proto::id::ProcessId;
use prn_proto::v1;

use crate::client::Client;
use crate::error::ClientError;

/// What became of a process, signed by its server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// What is signed, with the public key in it.
    pub body: Vec<u8>,
    /// Ed25519, of all of that.
    pub signature: Vec<u8>,
}

impl Client {
    /// The receipt of a process that has ended.
    ///
    /// # Errors
    /// [`ClientError::Refused`] where there is no such process, or it has not ended.
    pub async fn receipt(&self, id: ProcessId) -> Result<Receipt, ClientError> {
        let process = Some(id.into());
        let request = v1::GetReceiptRequest { process };
        let response = self
            .repeatable(
                self.call_timeout,
                request,
                |mut service, request| async move { service.get_receipt(request).await },
            )
            .await?;
        Ok(Receipt {
            body: response.body,
            signature: response.signature,
        })
    }
}
