//! Values in etcd, as messages.

use std::time::SystemTime;

use prost::Message;

use crate::error::FleetError;
use crate::etcd::KeyValue;

/// A message, and where and when it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Record<T> {
    /// Its key.
    pub key: String,
    /// What is there.
    pub value: T,
    /// Revision of the store that the key was created at: what waits is taken in this order.
    pub created: i64,
    /// Revision of the store that it was written at.
    pub revision: i64,
    /// The lease that it lives as long as. 0: none.
    pub lease: i64,
}

/// The message of a value.
///
/// # Errors
/// [`FleetError::Malformed`].
pub fn record<T: Message + Default>(item: &KeyValue) -> Result<Record<T>, FleetError> {
    let value = T::decode(item.value.clone()).map_err(|_| FleetError::Malformed {
        key: item.key.clone(),
    })?;
    Ok(Record {
        key: item.key.clone(),
        value,
        created: item.create_revision,
        revision: item.mod_revision,
        lease: item.lease,
    })
}

/// This machine's clock, as records have it.
pub fn now() -> prost_types::Timestamp {
    SystemTime::now().into()
}

/// The value of a message.
pub fn encoded(message: &impl Message) -> Vec<u8> {
    message.encode_to_vec()
}
