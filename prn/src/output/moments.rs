//! Times as people read them: by the clock on the wall where prn runs, and how long ago.

use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use prn_proto::units::show_moment;
use serde::{Serialize, Serializer};

/// As programs get it: RFC 3339, in UTC.
pub fn rfc3339<S: Serializer>(time: &Option<SystemTime>, to: S) -> Result<S::Ok, S::Error> {
    time.and_then(show_moment).serialize(to)
}

/// RFC 3339, in the local time zone, to the second: `--since` takes it.
pub fn local(time: SystemTime) -> String {
    shown_in(time, TimeZone::system(), "%Y-%m-%dT%H:%M:%S")
}

/// The same with what there is of a fraction of a second.
pub fn local_precise(time: SystemTime) -> String {
    shown_in(time, TimeZone::system(), "%Y-%m-%dT%H:%M:%S%.f")
}

fn shown_in(time: SystemTime, zone: TimeZone, format: &str) -> String {
    // A time of the year 9999 and later has no form of four digits.
    let Ok(time) = Timestamp::try_from(time) else {
        return String::new();
    };
    let time = time.to_zoned_datetime(zone);
    format!("{}{}", time.strftime(format), offset(&time))
}

fn offset(time: &ZonedDateTime) -> String {
    if time.offset().seconds() == 0 {
        return "Z".to_owned();
    }
    time.strftime("%:z").to_string()
}

/// How long ago a time is: "3m ago". Server's clock and client's may differ: what is still to come
/// by that is now.
pub fn ago(time: SystemTime, now: SystemTime) -> String {
    let age = now.duration_since(time).unwrap_or_default();
    format!("{} ago", age_of(age))
}

/// A span by its largest unit, and the next one while that says something.
pub fn age_of(age: Duration) -> String {
    let seconds = age.as_secs();
    let two = |large: u64, unit: &str, small: u64, next: &str| match small {
        0 => format!("{large}{unit}"),
        small => format!("{large}{unit}{small}{next}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(seconds / 60, "m", seconds % 60, "s"),
        600..7_200 => format!("{}m", seconds / 60),
        7_200..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "m"),
        86_400..864_000 => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_with_its_zone() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_500);
        let in_zone =
            |zone: &str, format: &str| shown_in(time, TimeZone::posix(zone).unwrap(), format);
        let format = "%Y-%m-%dT%H:%M:%S";
        assert_eq!(in_zone("UTC0", format), "2023-11-14T22:13:20Z");
        assert_eq!(in_zone("XYZ-5:30", format), "2023-11-15T03:43:20+05:30");
        let shown = in_zone("UTC0", "%Y-%m-%dT%H:%M:%S%.f");
        assert_eq!(shown, "2023-11-14T22:13:20.5Z");
    }

    #[test]
    fn an_age_has_two_units_at_most() {
        for (seconds, shown) in [
            (0, "0s"),
            (119, "119s"),
            (180, "3m"),
            (185, "3m5s"),
            (3_599, "59m"),
            (7_260, "2h1m"),
            (86_400, "1d"),
            (90_000, "1d1h"),
            (8_640_000, "100d"),
        ] {
            assert_eq!(age_of(Duration::from_secs(seconds)), shown);
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        assert_eq!(ago(SystemTime::UNIX_EPOCH, now), "100s ago");
        assert_eq!(ago(now + Duration::from_secs(9), now), "0s ago");
    }
}
