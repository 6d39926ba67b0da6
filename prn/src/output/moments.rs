//! Times as people read them: by the clock on the wall where prn runs, and how long ago.

use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use prn_proto::units::show_moment;
use serde::{Serialize, Serializer};

/// Where this machine's time zone is (localtime(5)).
const LOCALTIME: &str = "/etc/localtime";

/// The local time zone. Where TZ does not say which it is, it is read from its one file: `jiff` would
/// look for its name as well, in all folders of the time zone database.
static LOCAL: LazyLock<TimeZone> = LazyLock::new(|| {
    let of_machine = std::env::var_os("TZ").is_none();
    let zone = of_machine.then(|| zone_of(Path::new(LOCALTIME))).flatten();
    zone.unwrap_or_else(TimeZone::system)
});

fn zone_of(file: &Path) -> Option<TimeZone> {
    TimeZone::tzif("local", &std::fs::read(file).ok()?).ok()
}

/// As programs get it: RFC 3339, in UTC.
pub fn rfc3339<S: Serializer>(time: &Option<SystemTime>, to: S) -> Result<S::Ok, S::Error> {
    time.and_then(show_moment).serialize(to)
}

/// RFC 3339, in the local time zone, to the second: `--since` takes it.
pub fn local(time: SystemTime) -> String {
    shown_in(time, LOCAL.clone(), "%Y-%m-%dT%H:%M:%S")
}

/// The same with what there is of a fraction of a second.
pub fn local_precise(time: SystemTime) -> String {
    shown_in(time, LOCAL.clone(), "%Y-%m-%dT%H:%M:%S%.f")
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
    fn a_file_of_a_zone_alone_says_as_much_as_all_of_them() {
        let winter = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let summer = SystemTime::UNIX_EPOCH + Duration::from_secs(1_720_000_000);
        // Central European Time (RFC 8536, version 2): the rule stands behind empty tables.
        let table = |version: &[u8]| {
            let counts: [u32; 6] = [0, 0, 0, 0, 1, 4];
            let counts = counts.into_iter().flat_map(u32::to_be_bytes);
            let head = [&b"TZif"[..], version, &[0; 15]].concat().into_iter();
            let type_of_cet = [0, 0, 0x0e, 0x10, 0, 0].into_iter();
            head.chain(counts).chain(type_of_cet).chain(*b"CET\0")
        };
        let rule = b"\nCET-1CEST,M3.5.0,M10.5.0/3\n";
        let bytes: Vec<u8> = table(b"2").chain(table(b"2")).chain(*rule).collect();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("localtime");
        std::fs::write(&file, bytes).unwrap();
        let shown = |time| shown_in(time, zone_of(&file).unwrap(), "%H:%M");
        assert_eq!(shown(winter), "23:13+01:00");
        assert_eq!(shown(summer), "11:46+02:00");
        assert_eq!(zone_of(&folder.path().join("none")), None);
        std::fs::write(&file, "no zone").unwrap();
        assert_eq!(zone_of(&file), None);
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
