//! Limits.

use prn_ipc_protocol::types::{LimitName, Limits};
use prn_proto::v1;

use crate::convert::fields::{InvalidField, Violations};

/// Limits, which all requests have in the field `limits`.
pub fn limits(raw: v1::Limits, violations: &mut Violations) -> Option<Limits> {
    let mut values = [
        raw.cpu_millis,
        raw.memory_bytes,
        raw.io_read_bytes_per_second,
        raw.io_write_bytes_per_second,
        raw.pids,
    ];
    let mut are_valid = true;
    for (name, value) in LimitName::ALL.into_iter().zip(&mut values) {
        let checked = value.map(|value| name.check(value)).transpose();
        let checked = checked.map_err(|why| InvalidField::new(limit_field(name), why));
        match violations.check(checked) {
            Some(checked) => *value = checked,
            None => are_valid = false,
        }
    }
    if !are_valid {
        return None;
    }
    let limits = Limits::try_from(values);
    violations.check(limits.map_err(|why| InvalidField::new("limits", why)))
}

/// Path of a limit's field in a start request.
pub fn limit_field(name: LimitName) -> String {
    format!("limits.{name}")
}

/// Limits as the API shows them.
pub fn shown(limits: &Limits) -> v1::Limits {
    v1::Limits {
        cpu_millis: limits.get(LimitName::Cpu),
        memory_bytes: limits.get(LimitName::Memory),
        io_read_bytes_per_second: limits.get(LimitName::IoRead),
        io_write_bytes_per_second: limits.get(LimitName::IoWrite),
        pids: limits.get(LimitName::Pids),
    }
}
