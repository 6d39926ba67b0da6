//! Times and spans on the wire.

use std::time::{Duration, SystemTime};

use prn_proto::defaults::STOP_GRACE;
use prn_proto::units::When;
use prn_proto::v1::{self, output_time::At};

use crate::choices::StopSignal;
use crate::error::ClientError;

/// An answer without a part that each answer has.
pub(crate) const INCOMPLETE: ClientError =
    ClientError::Protocol("the server's answer is incomplete");

pub(crate) fn to_wire_duration(duration: Duration) -> Result<prost_types::Duration, ClientError> {
    duration
        .try_into()
        .map_err(|_| ClientError::Protocol("a duration is too long"))
}

/// `None` for one that is negative.
pub(crate) fn from_wire_duration(duration: prost_types::Duration) -> Option<Duration> {
    // The conversion negates one that is negative, which the least of them cannot be.
    (duration.seconds >= 0)
        .then(|| duration.try_into().ok())
        .flatten()
}

/// What a stop is given beside the time that a call takes. [`STOP_GRACE`], where the process's own
/// grace time is meant: it is not known here.
pub(crate) fn grace_beside(signal: StopSignal, grace: Option<Duration>) -> Duration {
    match signal {
        StopSignal::Term => grace.unwrap_or(STOP_GRACE),
        StopSignal::Kill => Duration::ZERO,
    }
}

pub(crate) fn from_wire_time(time: prost_types::Timestamp) -> Option<SystemTime> {
    time.try_into().ok()
}

pub(crate) fn to_wire_when(when: When) -> Result<v1::OutputTime, ClientError> {
    let at = match when {
        When::At(time) => At::Time(time.into()),
        When::Ago(ago) => At::Ago(to_wire_duration(ago)?),
    };
    Ok(v1::OutputTime { at: Some(at) })
}
