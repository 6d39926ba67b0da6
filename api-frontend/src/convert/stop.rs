//! What Stop asks for.

use prn_ipc_protocol::message::StopHow;
use prn_ipc_protocol::types::ProcessId;
use prn_proto::v1;

use crate::convert::fields::Violations;
use crate::convert::time::millis;
use crate::convert::{enums, id};

/// Which process is to be stopped, and how.
pub fn stop(raw: v1::StopRequest) -> Result<(ProcessId, StopHow), Violations> {
    let mut violations = Violations::default();
    let grace = violations.check(millis(raw.grace, "grace"));
    let how = violations.check(enums::asked_signal(raw.signal, grace.flatten()));
    let id = violations.check(id::named(raw.process_identifier));
    match (grace, how, id) {
        (Some(grace), Some(how), Some(id)) => Ok((id, how.unwrap_or(StopHow::Graceful(grace)))),
        _ => Err(violations),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prn_ipc_protocol::types::Millis;

    const ID: &str = "00ff10a9e28b7c4d5566778899aabbcc";

    fn how(signal: i32, grace: Option<prost_types::Duration>) -> Result<StopHow, Violations> {
        let process_identifier = Some(v1::ProcessIdentifier { id: ID.to_owned() });
        let request = v1::StopRequest {
            process_identifier,
            signal,
            grace,
        };
        stop(request).map(|(_, how)| how)
    }

    #[test]
    fn stop_signals() {
        let grace = Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        });
        assert_eq!(how(0, None), Ok(StopHow::Graceful(None)));
        assert_eq!(
            how(1, grace),
            Ok(StopHow::Graceful(Some(Millis::try_from(1000).unwrap())))
        );
        assert_eq!(how(2, grace), Ok(StopHow::Kill));
    }

    #[test]
    fn all_malformed_fields_of_a_stop_are_named_at_once() {
        let negative = prost_types::Duration {
            seconds: -1,
            nanos: 0,
        };
        let request = v1::StopRequest {
            process_identifier: None,
            signal: 9,
            grace: Some(negative),
        };
        let violations = stop(request).unwrap_err();
        let fields: Vec<&str> = violations
            .fields()
            .map(|fault| fault.field.as_str())
            .collect();
        assert_eq!(fields, ["grace", "signal", "process_identifier.id"]);
    }
}
