//! Faults of a request's fields.

use prn_proto::reason;
use tonic::{Code, Status};

use crate::convert::fields::{InvalidField, Violations};
use crate::errors::build::error;

impl From<InvalidField> for Status {
    fn from(invalid: InvalidField) -> Self {
        Violations::from(invalid).into()
    }
}

impl From<Violations> for Status {
    fn from(violations: Violations) -> Self {
        let all: Vec<String> = violations.fields().map(InvalidField::to_string).collect();
        error(
            Code::InvalidArgument,
            reason::INVALID_FIELD,
            all.join("; "),
            &[],
            |details| {
                for InvalidField { field, why } in violations.fields() {
                    details.add_bad_request_violation(field, why);
                }
            },
        )
    }
}
