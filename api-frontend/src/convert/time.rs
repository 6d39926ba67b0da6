//! Times and spans.

use std::time::Duration;

use prn_ipc_protocol::types::{Millis, UnixMicros};
use prn_proto::v1;
use prn_proto::v1::output_time::At;

use crate::convert::fields::InvalidField;

/// A span; `None` for one that is negative. The conversion negates such a one, which the least of them
/// cannot be.
fn span(raw: prost_types::Duration) -> Option<Duration> {
    (raw.seconds >= 0)
        .then(|| Duration::try_from(raw).ok())
        .flatten()
}

/// A span, if there is one.
pub fn millis(
    raw: Option<prost_types::Duration>,
    field: &str,
) -> Result<Option<Millis>, InvalidField> {
    raw.map(|raw| {
        let duration = span(raw).ok_or_else(|| InvalidField::new(field, "must not be negative"))?;
        Millis::try_from(duration).map_err(|_| InvalidField::new(field, "must be at most 365 days"))
    })
    .transpose()
}

/// A span of some length, if there is one.
pub fn positive_millis(
    raw: Option<prost_types::Duration>,
    field: &str,
) -> Result<Option<Millis>, InvalidField> {
    match millis(raw, field)? {
        Some(span) if span.duration().is_zero() => {
            Err(InvalidField::new(field, "must be at least 1 ms"))
        }
        span => Ok(span),
    }
}

/// A span as the API shows it.
pub fn duration(span: Millis) -> prost_types::Duration {
    // At most 365 days.
    span.duration().try_into().unwrap_or_default()
}

/// A time of a request, by the server's clock. What lies before 1970 becomes 1970.
pub fn instant(
    raw: &v1::OutputTime,
    field: &str,
    now: UnixMicros,
) -> Result<UnixMicros, InvalidField> {
    let invalid = |part: &str, why: &str| InvalidField::new(format!("{field}.{part}"), why);
    let micros = match raw.at {
        None => return Err(InvalidField::new(field, "must have time or ago")),
        Some(At::Time(time)) => return micros(&time, &format!("{field}.time")),
        Some(At::Ago(ago)) => {
            let ago = span(ago).ok_or_else(|| invalid("ago", "must not be negative"))?;
            i128::from(now.0).saturating_sub_unsigned(ago.as_micros())
        }
    };
    Ok(since_epoch(micros))
}

/// A timestamp. What lies before 1970 becomes 1970.
pub fn micros(time: &prost_types::Timestamp, field: &str) -> Result<UnixMicros, InvalidField> {
    // As google.protobuf.Timestamp has it: the years 1 to 9999.
    let is_valid = (-62_135_596_800..=253_402_300_799).contains(&time.seconds)
        && (0..1_000_000_000).contains(&time.nanos);
    if is_valid {
        let micros = i128::from(time.seconds) * 1_000_000 + i128::from(time.nanos / 1000);
        Ok(since_epoch(micros))
    } else {
        let why = "must be a valid timestamp, in the years 1 to 9999";
        Err(InvalidField::new(field, why))
    }
}

fn since_epoch(micros: i128) -> UnixMicros {
    UnixMicros(u64::try_from(micros.max(0)).unwrap_or(u64::MAX))
}

/// A time of a request, if there is one.
pub fn maybe(
    raw: Option<&v1::OutputTime>,
    field: &str,
    now: UnixMicros,
) -> Result<Option<UnixMicros>, InvalidField> {
    raw.map(|at| instant(at, field, now)).transpose()
}

/// An instant in full resolution.
pub fn timestamp(at: UnixMicros) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: seconds(at),
        // Below a million, times a thousand.
        nanos: i32::try_from(at.0 % 1_000_000)
            .unwrap_or(0)
            .saturating_mul(1000),
    }
}

/// An instant to the second.
pub fn seconds(at: UnixMicros) -> i64 {
    i64::try_from(at.0 / 1_000_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_span_is_negative_not_even_the_least() {
        for (seconds, nanos) in [(-1, 0), (i64::MIN, 0), (i64::MIN, i32::MIN)] {
            let raw = prost_types::Duration { seconds, nanos };
            assert!(millis(Some(raw), "grace").is_err(), "{raw:?}");
            let ago = v1::OutputTime {
                at: Some(At::Ago(raw)),
            };
            assert!(instant(&ago, "since", UnixMicros(0)).is_err(), "{raw:?}");
        }
    }
}
