//! Names of processes.

use prn_ipc_protocol::types::ProcessId;
use prn_proto::{id, v1};

use crate::convert::fields::InvalidField;

/// The process that a request names.
pub fn named(raw: Option<v1::ProcessIdentifier>) -> Result<ProcessId, InvalidField> {
    parsed(&raw.unwrap_or_default().id, "process_identifier.id")
}

/// An id in a field.
pub fn parsed(text: &str, field: &str) -> Result<ProcessId, InvalidField> {
    let id: id::ProcessId = text
        .parse()
        .map_err(|_| InvalidField::new(field, "must be 32 lower-case hexadecimal digits"))?;
    Ok(ProcessId::from_bytes(id.to_bytes()))
}
