//! For how long a process lives, and is remembered after that.

use std::time::{Duration, SystemTime};

use prn_proto::v1;

use crate::error::ClientError;
use crate::wire::{from_wire_duration, from_wire_time, to_wire_duration};

/// For how long a finished process is remembered, and its output kept. The default is what the
/// server's settings say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Retention {
    /// Until it is removed, or the server ends: it is not forgotten to make room. Not together with
    /// the others.
    #[cfg_attr(
        feature = "clap",
        arg(
            long,
            help = "Remember the process, with its output, until it is removed (prn rm)",
            help_heading = "Lifetime",
            conflicts_with_all = ["max_age", "until_read"]
        )
    )]
    pub keep: bool,
    /// For this long at most.
    #[cfg_attr(
        feature = "clap",
        arg(
            long = "retain",
            value_name = "TIME",
            value_parser = crate::flags::time,
            help = "Forget the process, with its output, this long after it has ended",
            help_heading = "Lifetime",
            allow_negative_numbers = true
        )
    )]
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::span"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub max_age: Option<Duration>,
    /// Until all of its output was read at once, and a minute longer unless the reader removes it.
    #[cfg_attr(
        feature = "clap",
        arg(
            long = "rm",
            help = "Forget the process, with its output, when it has ended and somebody has read all of it",
            help_heading = "Lifetime"
        )
    )]
    pub until_read: bool,
}

impl Retention {
    pub(crate) fn into_wire(self) -> Result<Option<v1::Retention>, ClientError> {
        if self == Self::default() {
            return Ok(None);
        }
        Ok(Some(v1::Retention {
            keep: self.keep,
            max_age: self.max_age.map(to_wire_duration).transpose()?,
            until_read: self.until_read,
        }))
    }

    pub(crate) fn from_wire(raw: v1::Retention) -> Self {
        Self {
            keep: raw.keep,
            max_age: raw.max_age.and_then(from_wire_duration),
            until_read: raw.until_read,
        }
    }
}

/// A lease: the process is stopped when nobody has followed its output, or renewed the lease, for
/// so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Lease {
    /// For how long.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::span"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub duration: Option<Duration>,
    /// When it runs out, by the server's clock. `None`: somebody follows the process, or it has
    /// ended.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::time"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub expires_at: Option<SystemTime>,
}

impl Lease {
    pub(crate) fn from_wire(raw: v1::Lease) -> Self {
        Self {
            duration: raw.duration.and_then(from_wire_duration),
            expires_at: raw.expires_at.and_then(from_wire_time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_that_asks_for_nothing_is_the_server_s_and_any_other_comes_back() {
        assert_eq!(Retention::default().into_wire().unwrap(), None);
        for retention in [
            Retention {
                keep: true,
                ..Retention::default()
            },
            Retention {
                max_age: Some(Duration::from_millis(1500)),
                until_read: true,
                ..Retention::default()
            },
        ] {
            let raw = retention.into_wire().unwrap().unwrap();
            assert_eq!(Retention::from_wire(raw), retention);
        }
    }
}
