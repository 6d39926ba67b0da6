//! Values in JSON that have another form in Rust.

use std::fmt::Display;
use std::time::{Duration, SystemTime};

use prn_proto::units::show_moment;
use serde::{Serialize, Serializer};

/// As its text.
pub(crate) fn text<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

/// As their texts.
pub(crate) fn texts<T: Display, S: Serializer>(values: &[T], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(values.iter().map(ToString::to_string))
}

/// RFC 3339, in UTC.
pub(crate) fn time<S: Serializer>(time: &Option<SystemTime>, to: S) -> Result<S::Ok, S::Error> {
    time.and_then(show_moment).serialize(to)
}

/// Seconds with an "s", as the JSON of protocol buffers has them.
pub(crate) fn span<S: Serializer>(span: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    let text = |span: Duration| match span.subsec_micros() {
        0 => format!("{}s", span.as_secs()),
        micros => format!("{}.{micros:06}s", span.as_secs()),
    };
    span.map(text).serialize(to)
}

/// Microseconds.
pub(crate) fn micros<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
    span.as_micros().serialize(to)
}
