//! For how long a process lives, and is remembered after that.

use prn_ipc_protocol::message::{ProcessInfo, Retention, Stop};
use prn_ipc_protocol::types::UnixMicros;
use prn_proto::v1;

use crate::convert::fields::{InvalidField, Violations};
use crate::convert::tasks::tasks;
use crate::convert::time::{duration, micros, positive_millis, timestamp};
use crate::convert::{enums, names};

/// When a process is to be stopped, if at any time.
pub fn deadline(raw: Option<&prost_types::Timestamp>) -> Result<Option<UnixMicros>, InvalidField> {
    raw.map(|time| micros(time, "deadline")).transpose()
}

/// For how long it is to be remembered.
pub fn retention(raw: Option<v1::Retention>, violations: &mut Violations) -> Option<Retention> {
    let raw = raw.unwrap_or_default();
    let max_age = violations.check(positive_millis(raw.max_age, "retention.max_age"));
    let is_bounded = raw.until_read || raw.max_age.is_some();
    let is_kept = match raw.keep && is_bounded {
        false => Ok(raw.keep),
        true => {
            let why = "is of no use together with max_age or until_read";
            Err(InvalidField::new("retention.keep", why))
        }
    };
    Some(Retention {
        is_kept: violations.check(is_kept)?,
        max_age: max_age?,
        until_read: raw.until_read,
    })
}

/// For how long a process is remembered; `None` for as long as the server's settings have it.
pub fn shown_retention(retention: Retention) -> Option<v1::Retention> {
    (retention != Retention::default()).then(|| v1::Retention {
        keep: retention.is_kept,
        max_age: retention.max_age.map(duration),
        until_read: retention.until_read,
    })
}

/// Its lease, if it has one.
pub fn shown_lease(info: &ProcessInfo) -> Option<v1::Lease> {
    info.spec.lease.map(|lease| v1::Lease {
        duration: Some(duration(lease)),
        expires_at: info.lease_ends.map(timestamp),
    })
}

/// How its tree was stopped.
pub fn shown_stop(stop: &Stop) -> v1::StopStatus {
    v1::StopStatus {
        cause: enums::shown_cause(stop.cause).into(),
        asked_at: Some(timestamp(stop.asked)),
        killed_at: stop.killed.map(timestamp),
        outlived: tasks(&stop.outlived),
        stopped_by: names::who(stop.by.as_ref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_kept_without_bounds() {
        let asked = |raw: v1::Retention| {
            let mut violations = Violations::default();
            let asked = retention(Some(raw), &mut violations);
            let fields = violations.fields().map(|fault| fault.field.clone());
            asked.ok_or(fields.collect::<Vec<_>>())
        };
        let age = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let kept = v1::Retention {
            keep: true,
            ..Default::default()
        };
        assert!(asked(kept).unwrap().is_kept);
        let bounded = v1::Retention {
            max_age: age(3),
            until_read: true,
            ..Default::default()
        };
        assert_eq!(
            asked(bounded),
            Ok(Retention {
                is_kept: false,
                max_age: Some(3000.try_into().unwrap()),
                until_read: true,
            })
        );
        assert_eq!(shown_retention(asked(bounded).unwrap()), Some(bounded));
        assert_eq!(
            shown_retention(asked(v1::Retention::default()).unwrap()),
            None
        );
        for (max_age, until_read) in [(age(3), false), (None, true)] {
            let both = v1::Retention {
                keep: true,
                max_age,
                until_read,
            };
            assert_eq!(asked(both).unwrap_err(), ["retention.keep"]);
        }
        let instant = v1::Retention {
            max_age: age(0),
            ..Default::default()
        };
        assert_eq!(asked(instant).unwrap_err(), ["retention.max_age"]);
    }

    #[test]
    fn a_deadline_is_a_timestamp() {
        let at = |seconds, nanos| deadline(Some(&prost_types::Timestamp { seconds, nanos }));
        assert_eq!(deadline(None), Ok(None));
        assert_eq!(at(1, 2_000), Ok(Some(UnixMicros(1_000_002))));
        assert_eq!(at(-1, 0), Ok(Some(UnixMicros(0))), "long past");
        assert_eq!(at(0, -1).unwrap_err().field, "deadline");
        assert_eq!(at(i64::MAX, 0).unwrap_err().field, "deadline");
    }
}
