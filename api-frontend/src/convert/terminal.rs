//! How large a terminal is.

use prn_ipc_protocol::message::TerminalSize;
use prn_ipc_protocol::types::ProcessId;
use prn_proto::v1;

use crate::convert::fields::{InvalidField, Violations};
use crate::convert::id;

/// Of a terminal for which no size was asked for.
pub const USUAL_SIZE: TerminalSize = TerminalSize {
    rows: 24,
    columns: 80,
};

/// A size, which all requests have in the field `terminal_size`.
pub fn size(raw: &v1::TerminalSize) -> Result<TerminalSize, InvalidField> {
    let count = |count, field| match u16::try_from(count) {
        Ok(count) if count > 0 => Ok(count),
        Ok(_) | Err(_) => Err(InvalidField::new(field, "must be 1 to 65,535")),
    };
    Ok(TerminalSize {
        rows: count(raw.rows, "terminal_size.rows")?,
        columns: count(raw.columns, "terminal_size.columns")?,
    })
}

/// Which process's terminal is to have which size.
pub fn resize(raw: v1::ResizeTerminalRequest) -> Result<(ProcessId, TerminalSize), Violations> {
    let mut violations = Violations::default();
    let id = violations.check(id::named(raw.process_identifier));
    let size = violations.check(size(&raw.terminal_size.unwrap_or_default()));
    match (id, size) {
        (Some(id), Some(size)) => Ok((id, size)),
        _ => Err(violations),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resize_names_a_process_and_a_size() {
        let id = "00ff10a9e28b7c4d5566778899aabbcc";
        let request = |id: &str, rows, columns| v1::ResizeTerminalRequest {
            process_identifier: Some(v1::ProcessIdentifier { id: id.to_owned() }),
            terminal_size: Some(v1::TerminalSize { rows, columns }),
        };
        let (_, size) = resize(request(id, 1, 65_535)).unwrap();
        assert_eq!((size.rows, size.columns), (1, 65_535));
        let fields = |request| -> Vec<String> {
            let violations = resize(request).unwrap_err();
            let fields = violations.fields().map(|fault| fault.field.clone());
            fields.collect()
        };
        let all_wrong = ["process_identifier.id", "terminal_size.rows"];
        assert_eq!(fields(request("x", 0, 0)), all_wrong);
        assert_eq!(fields(v1::ResizeTerminalRequest::default()), all_wrong);
        assert_eq!(fields(request(id, 1, 65_536)), ["terminal_size.columns"]);
    }
}
