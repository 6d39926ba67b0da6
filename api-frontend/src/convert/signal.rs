//! What SignalProcess asks for.

use prn_ipc_protocol::message::Whom;
use prn_ipc_protocol::types::{ProcessId, SignalNumber};
use prn_proto::v1;

use crate::convert::fields::{InvalidField, Violations};
use crate::convert::{enums, id};

/// A signal, to whom of which process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// To which process.
    pub id: ProcessId,
    /// Its number.
    pub number: SignalNumber,
    /// To whom of it.
    pub whom: Whom,
}

/// What is to be sent.
pub fn signal(raw: v1::SignalProcessRequest) -> Result<Signal, Violations> {
    let mut violations = Violations::default();
    let number = u8::try_from(raw.signal).ok().map(SignalNumber::try_from);
    let number = number.and_then(Result::ok);
    let why = "must be a signal's number (signal(7)): 1 to 64";
    let number = violations.check(number.ok_or_else(|| InvalidField::new("signal", why)));
    let whom = violations.check(enums::asked_target(raw.target));
    let id = violations.check(id::named(raw.process_identifier));
    match (id, number, whom) {
        (Some(id), Some(number), Some(whom)) => Ok(Signal {
            id,
            number,
            whom: whom.unwrap_or(Whom::Main),
        }),
        _ => Err(violations),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00ff10a9e28b7c4d5566778899aabbcc";

    fn request(signal: i32, target: i32) -> v1::SignalProcessRequest {
        v1::SignalProcessRequest {
            process_identifier: Some(v1::ProcessIdentifier { id: ID.to_owned() }),
            signal,
            target,
        }
    }

    #[test]
    fn a_signal_has_a_number_and_goes_to_the_main_process_by_default() {
        for (number, target, whom) in [(1, 0, Whom::Main), (64, 1, Whom::Main), (9, 2, Whom::Tree)]
        {
            let signal = signal(request(number, target)).unwrap();
            assert_eq!((signal.number.number(), signal.whom), (number, whom));
        }
    }

    #[test]
    fn all_malformed_fields_of_a_signal_are_named() {
        for number in [0, -1, 65, 256 + 9, i32::MAX] {
            let mut raw = request(number, 3);
            raw.process_identifier = None;
            let violations = signal(raw).unwrap_err();
            let fields: Vec<_> = violations
                .fields()
                .map(|fault| fault.field.as_str())
                .collect();
            assert_eq!(fields, ["signal", "target", "process_identifier.id"]);
        }
    }
}
