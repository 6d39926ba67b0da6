//! Sizes, CPU shares, times, addresses and variables as people write them, on the command line and
//! in the configuration.

use std::fmt;
use std::net::SocketAddrV6;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::de::{self, Deserialize, Deserializer, Visitor};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::id::ProcessId;

/// Why a text is not a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUnit {
    /// Not a size.
    #[error("not a size: write bytes, or a number with K, M, G or T, such as 64M or 1.5GiB")]
    Size,
    /// Not a CPU share.
    #[error("not a number of CPUs: write 0.5, 1.5 or 150%")]
    Cpu,
    /// Outside what the kernel takes.
    #[error("must be between 0.01 and 1000 CPUs")]
    CpuRange,
    /// Not a time.
    #[error("not a time: write 500ms, 10s, 5m, 2h or 1d")]
    Time,
    /// Neither a time span nor an instant.
    #[error(
        "not a time: write 10m for ten minutes ago by the server's clock, or 2030-01-31T12:00:00Z with its zone (Z, +02:00)"
    )]
    Moment,
    /// Not an address.
    #[error("not an address: write HOST:PORT, such as 127.0.0.1:50051 or [::1]:50051")]
    Address,
    /// Not a path from the root.
    #[error("not an absolute path: write one of the server's, such as /srv/data")]
    Directory,
    /// Not a directory and where it is to be seen.
    #[error(
        "not two absolute paths with one ':' between them: write SRC:DST, such as /srv/data:/tmp/data (and --read-only /tmp/data)"
    )]
    Binding,
    /// Not a name that a workspace can have.
    #[error(
        "not a name of a workspace: write 1 to {WORKSPACE_NAME_MAX} lower-case letters, digits, '-' and '_', first a letter or a digit"
    )]
    Workspace,
    /// Not a name that a process can have.
    #[error(
        "not a name of a process: write 1 to {PROCESS_NAME_MAX} letters, digits, '-', '_' and '.', first a letter or a digit, and nothing that an id looks like"
    )]
    ProcessName,
    /// Not a name that a user can have.
    #[error(
        "not a name of a user: write 1 to {USER_NAME_MAX} letters, digits, '-', '_', '.' and '@', first a letter, a digit or '_', and no number alone"
    )]
    UserName,
    /// Not a digest.
    #[error("not a digest: write the 64 hexadecimal digits that --dry-run shows")]
    Digest,
    /// Not a label.
    #[error(
        "not a label: write KEY=VALUE, the key 1 to {LABEL_KEY_MAX} letters, digits, '-', '_', '.' and '/', first a letter or a digit, the value up to {LABEL_VALUE_MAX} bytes without control characters"
    )]
    Label,
    /// A label of prn's own.
    #[error("labels that begin with {LABEL_RESERVED} are prn's own: take another key")]
    ReservedLabel,
    /// Neither a time span nor an instant, where it is to come.
    #[error("not a time: write 10m for in ten minutes, or 2030-01-31T12:00:00Z")]
    Deadline,
    /// Not a variable.
    #[error("not a variable: write NAME=VALUE, or NAME alone to pass on your own")]
    Variable,
    /// A variable to pass on that is not there.
    #[error("{0} is not set in your own environment, or is not text")]
    VariableUnset(String),
}

/// A number of bytes. Units are powers of 1024: K, M, G and T, also written KB or KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        let digits = text
            .bytes()
            .take_while(|byte| byte.is_ascii_digit() || *byte == b'.')
            .count();
        let (number, unit) = text.split_at_checked(digits).ok_or(InvalidUnit::Size)?;
        let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(InvalidUnit::Size),
        };
        let bytes = scaled(number, 1 << shift).ok_or(InvalidUnit::Size)?;
        if bytes == 0 {
            Err(InvalidUnit::Size)
        } else {
            Ok(Self(bytes))
        }
    }
}

/// A number of bytes, or 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeOrZero(pub u64);

impl FromStr for SizeOrZero {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        if text == "0" {
            Ok(Self(0))
        } else {
            text.parse().map(|Size(bytes)| Self(bytes))
        }
    }
}

/// Thousandths of a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu(pub u64);

impl FromStr for Cpu {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        let millis = match text.strip_suffix('%') {
            Some(percent) => scaled(percent, 10),
            None => scaled(text, 1000),
        };
        let millis = millis.ok_or(InvalidUnit::Cpu)?;
        if (10..=1_000_000).contains(&millis) {
            Ok(Self(millis))
        } else {
            Err(InvalidUnit::CpuRange)
        }
    }
}

/// A decimal number times `scale`, rounded down, without the errors of floating point.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| {
        !text.is_empty() && text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(scale);
    let part = part / 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    whole.checked_add(u64::try_from(part).ok()?)
}

/// A time span: ms, s, m, h and d, also several of them; a number alone is seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Duration);

impl FromStr for Time {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        let mut total: u64 = 0;
        let mut rest = text;
        if rest.is_empty() {
            return Err(InvalidUnit::Time);
        }
        while !rest.is_empty() {
            let end = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(rest.len());
            let (number, tail) = rest.split_at_checked(end).ok_or(InvalidUnit::Time)?;
            let end = tail
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(tail.len());
            let (unit, tail) = tail.split_at_checked(end).ok_or(InvalidUnit::Time)?;
            let millis = match unit {
                "ms" => 1,
                "s" => 1000,
                "" if rest.len() == text.len() && tail.is_empty() => 1000,
                "m" | "min" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(InvalidUnit::Time),
            };
            let part = scaled(number, millis).ok_or(InvalidUnit::Time)?;
            total = total.checked_add(part).ok_or(InvalidUnit::Time)?;
            rest = tail;
        }
        Ok(Self(Duration::from_millis(total)))
    }
}

/// A time by the server's clock, to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// An instant.
    At(SystemTime),
    /// This long before the server gets the request, whatever the client's clock says.
    Ago(Duration),
}

/// A time by the server's clock: RFC 3339, or a span before now with its unit. A number alone could
/// mean either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(pub When);

impl FromStr for Moment {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        if let Ok(Time(ago)) = text.parse()
            && !text.ends_with(|c: char| c.is_ascii_digit())
        {
            return Ok(Self(When::Ago(ago)));
        }
        let instant = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| InvalidUnit::Moment)?;
        Ok(Self(When::At(instant.into())))
    }
}

/// A time to come: RFC 3339, or a span from now on with its unit, by the clock of whoever reads it.
/// A number alone could mean either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(pub SystemTime);

impl FromStr for Deadline {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        match text.parse() {
            Ok(Moment(When::At(time))) => Ok(Self(time)),
            Ok(Moment(When::Ago(span))) => {
                let time = SystemTime::now().checked_add(span);
                time.map(Self).ok_or(InvalidUnit::Deadline)
            }
            Err(_) => Err(InvalidUnit::Deadline),
        }
    }
}

/// "HOST:PORT".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(pub String);

impl Address {
    /// Its host, without the brackets of an IPv6 address, and its port.
    pub fn parts(&self) -> (&str, u16) {
        let (host, port) = self.0.rsplit_once(':').unwrap_or((&self.0, ""));
        let host = host.trim_start_matches('[').trim_end_matches(']');
        // One that was read has a port.
        (host, port.parse().unwrap_or_default())
    }
}

impl FromStr for Address {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        let (host, port) = text.rsplit_once(':').ok_or(InvalidUnit::Address)?;
        let bracketed = text.parse::<SocketAddrV6>().is_ok();
        let plain = !host.is_empty()
            && !host.contains([':', '[', ']', '/', '@'])
            && !host.contains(char::is_whitespace);
        let port_fits =
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
        if (bracketed || plain) && port_fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidUnit::Address)
        }
    }
}

/// A directory of the server's machine: an absolute path, since there is nothing that another would
/// begin at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory(pub String);

impl FromStr for Directory {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        if text.starts_with('/') {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidUnit::Directory)
        }
    }
}

/// A directory of the server's machine, and where it is to be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Which.
    pub source: String,
    /// Where.
    pub target: String,
}

impl FromStr for Binding {
    type Err = InvalidUnit;

    /// The last colon is the one between them.
    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        let parts = text.rsplit_once(':').ok_or(InvalidUnit::Binding)?;
        let part = |text: &str| match text.parse() {
            Ok(Directory(path)) => Ok(path),
            Err(_) => Err(InvalidUnit::Binding),
        };
        Ok(Self {
            source: part(parts.0)?,
            target: part(parts.1)?,
        })
    }
}

/// Most characters of a workspace's name.
pub const WORKSPACE_NAME_MAX: usize = 63;

/// The name of a workspace: 1 to [`WORKSPACE_NAME_MAX`] lower-case letters, digits, `-` and `_`, and
/// first a letter or a digit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace(pub String);

impl FromStr for Workspace {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let is_part = |c: char| is_plain(c) || c == '-' || c == '_';
        if text.starts_with(is_plain)
            && text.chars().all(is_part)
            && text.len() <= WORKSPACE_NAME_MAX
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidUnit::Workspace)
        }
    }
}

/// Most characters of a user's name.
pub const USER_NAME_MAX: usize = 64;

/// The name of a user of the server's machine: 1 to [`USER_NAME_MAX`] letters, digits, `-`, `_`, `.`
/// and `@`, first a letter, a digit or `_`, and no number alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserName(pub String);

impl FromStr for UserName {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
        let is_name = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && text.chars().all(is_part)
            && text.len() <= USER_NAME_MAX;
        if is_name && !text.chars().all(|c| c.is_ascii_digit()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidUnit::UserName)
        }
    }
}

/// Most characters of a process's name.
pub const PROCESS_NAME_MAX: usize = 63;
/// Most characters of a label's key.
pub const LABEL_KEY_MAX: usize = 63;
/// Most bytes of a label's value.
pub const LABEL_VALUE_MAX: usize = 256;

/// The name of a process: 1 to [`PROCESS_NAME_MAX`] letters, digits, `-`, `_` and `.`, first a letter
/// or a digit, and nothing that an id looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessName(pub String);

impl FromStr for ProcessName {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let is_name = text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(is_part)
            && text.len() <= PROCESS_NAME_MAX;
        if is_name && text.parse::<ProcessId>().is_err() {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidUnit::ProcessName)
        }
    }
}

/// The digest of a start: 64 hexadecimal digits, lower-case here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest(pub String);

impl FromStr for Digest {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(InvalidUnit::Digest)
        }
    }
}

/// What the keys of prn's own labels begin with.
pub const LABEL_RESERVED: &str = "prn.io/";

/// A label of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// 1 to [`LABEL_KEY_MAX`] letters, digits, `-`, `_`, `.` and `/`, first a letter or a digit.
    pub key: String,
    /// Up to [`LABEL_VALUE_MAX`] bytes without control characters.
    pub value: String,
}

impl Label {
    /// One that a user sets: none of prn's own.
    ///
    /// # Errors
    /// [`InvalidUnit::Label`] and [`InvalidUnit::ReservedLabel`].
    pub fn of_user(text: &str) -> Result<Self, InvalidUnit> {
        let label: Self = text.parse()?;
        if label.key.starts_with(LABEL_RESERVED) {
            return Err(InvalidUnit::ReservedLabel);
        }
        Ok(label)
    }
}

impl FromStr for Label {
    type Err = InvalidUnit;

    /// The first equals sign is the one between them.
    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        let (key, value) = text.split_once('=').ok_or(InvalidUnit::Label)?;
        let is_part = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        let is_key = key.starts_with(|c: char| c.is_ascii_alphanumeric())
            && key.chars().all(is_part)
            && key.len() <= LABEL_KEY_MAX;
        let is_value = value.len() <= LABEL_VALUE_MAX && !value.chars().any(char::is_control);
        if is_key && is_value {
            Ok(Self {
                key: key.to_owned(),
                value: value.to_owned(),
            })
        } else {
            Err(InvalidUnit::Label)
        }
    }
}

/// A variable for a process's environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl FromStr for Variable {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        Self::parse(text, |name| std::env::var(name).ok())
    }
}

impl Variable {
    fn parse(text: &str, own: impl FnOnce(&str) -> Option<String>) -> Result<Self, InvalidUnit> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if name.is_empty() || text.contains('\0') {
            return Err(InvalidUnit::Variable);
        }
        let value = value
            .or_else(|| own(name))
            .ok_or_else(|| InvalidUnit::VariableUnset(name.to_owned()))?;
        Ok(Self {
            name: name.to_owned(),
            value,
        })
    }
}

/// In the configuration, each of these is a string, or a number where that says enough.
struct TextOrNumber<T>(std::marker::PhantomData<T>);

impl<T: FromStr<Err = InvalidUnit>> Visitor<'_> for TextOrNumber<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a number")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse()
            .map_err(|error: InvalidUnit| E::custom(format!("{text:?}: {error}")))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

macro_rules! deserialize_as_text {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(TextOrNumber(std::marker::PhantomData))
            }
        }
    )*};
}

deserialize_as_text!(Size, SizeOrZero, Cpu, Time, Address);

/// A time as people read it.
pub fn show_duration(duration: Duration) -> String {
    if duration.as_secs() >= 60 {
        let seconds = duration.as_secs();
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        if hours > 0 {
            format!("{hours}h{minutes:02}m{seconds:02}s")
        } else {
            format!("{minutes}m{seconds:02}s")
        }
    } else if duration.subsec_millis() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}.{:03}s", duration.as_secs(), duration.subsec_millis())
    }
}

/// A time by the calendar, in UTC; `None` for one whose year has more than four digits.
pub fn utc(time: SystemTime) -> Option<OffsetDateTime> {
    let epoch = OffsetDateTime::UNIX_EPOCH;
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => epoch.checked_add(since.try_into().ok()?),
        Err(before) => epoch.checked_sub(before.duration().try_into().ok()?),
    }
}

/// The same in the form of RFC 3339; `None` also for one before the year 0.
pub fn show_moment(time: SystemTime) -> Option<String> {
    utc(time)?.format(&Rfc3339).ok()
}

/// A number of bytes as people read it: exact if it is a round one, else to a tenth.
pub fn show_size(bytes: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        let one = 1u64 << shift;
        if bytes >= one {
            let tenths = u128::from(bytes) * 10 / u128::from(one);
            let (whole, tenth) = (tenths / 10, tenths % 10);
            return if tenth == 0 {
                format!("{whole} {unit}")
            } else {
                format!("{whole}.{tenth} {unit}")
            };
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_no_calendar_has_is_not_shown() {
        let epoch = SystemTime::UNIX_EPOCH;
        let after = |seconds| epoch.checked_add(Duration::from_secs(seconds)).unwrap();
        let before = |seconds| epoch.checked_sub(Duration::from_secs(seconds)).unwrap();
        let shown = |time| show_moment(time).unwrap_or_default();
        assert_eq!(shown(after(1_700_000_000)), "2023-11-14T22:13:20Z");
        assert_eq!(shown(after(253_402_300_799)), "9999-12-31T23:59:59Z");
        assert_eq!(shown(before(1)), "1969-12-31T23:59:59Z");
        for time in [after(253_402_300_800), before(62_167_219_201)] {
            assert_eq!(show_moment(time), None);
        }
        let ends = [
            after(i64::MAX.unsigned_abs()),
            before(i64::MAX.unsigned_abs()),
        ];
        assert_eq!(ends.map(utc), [None, None]);
    }

    #[test]
    fn a_process_name_is_plain_and_no_id() {
        let digest = "0123456789ABCDEF".repeat(4);
        assert_eq!(digest.parse(), Ok(Digest(digest.to_lowercase())));
        for bad in ["", "0", &digest[1..], &format!("{}g", &digest[1..])] {
            assert_eq!(bad.parse::<Digest>(), Err(InvalidUnit::Digest));
        }
        let longest = "x".repeat(PROCESS_NAME_MAX);
        let id = "0123456789abcdef".repeat(2);
        for good in ["a", "0", "Web-1_x.y", &longest, &id[1..]] {
            assert_eq!(good.parse(), Ok(ProcessName(good.to_owned())));
        }
        let longer = format!("{longest}x");
        for bad in ["", "-a", ".a", "a/b", "a b", "\u{e4}", &id, &longer] {
            assert_eq!(
                bad.parse::<ProcessName>(),
                Err(InvalidUnit::ProcessName),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn a_label_is_a_key_and_a_value() {
        let label = |text: &str| {
            let label: Result<Label, InvalidUnit> = text.parse();
            label.map(|Label { key, value }| (key, value))
        };
        let pair = |key: &str, value: &str| Ok((key.to_owned(), value.to_owned()));
        assert_eq!(label("app.io/x=a b"), pair("app.io/x", "a b"));
        assert_eq!(label("a="), pair("a", ""));
        assert_eq!(label("a=b=c"), pair("a", "b=c"));
        let long = format!("a={}", "v".repeat(LABEL_VALUE_MAX + 1));
        for bad in ["", "a", "=x", "-a=x", "a b=x", "a=\n", "a=\u{1b}[m", &long] {
            assert_eq!(label(bad), Err(InvalidUnit::Label), "{bad:?}");
        }
        assert!(label("prn.io/internal=cp").is_ok());
        assert_eq!(
            Label::of_user("prn.io/internal=cp"),
            Err(InvalidUnit::ReservedLabel)
        );
        assert!(Label::of_user("prn.io=x").is_ok());
    }

    #[test]
    fn a_deadline_is_an_instant_or_a_span_from_now_on() {
        let at = "2030-01-31T12:00:00Z".parse().map(|Deadline(time)| time);
        let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(1_896_091_200);
        assert_eq!(at, Ok(expected));
        let now = SystemTime::now();
        let Deadline(soon) = "10m".parse().unwrap();
        let from_now = soon.duration_since(now).unwrap();
        assert!((600..660).contains(&from_now.as_secs()), "{from_now:?}");
        for bad in ["", "10", "tomorrow", "-10m"] {
            assert_eq!(
                bad.parse::<Deadline>(),
                Err(InvalidUnit::Deadline),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn sizes_are_binary() {
        for (text, bytes) in [
            ("1", 1),
            ("4096", 4096),
            ("64M", 64 << 20),
            ("64m", 64 << 20),
            ("2G", 2 << 30),
            ("1MiB", 1 << 20),
            ("1 MiB", 1 << 20),
            ("1KB", 1024),
            ("1.5G", 3 << 29),
            ("1T", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for bad in [
            "",
            "0",
            "M",
            "1.M",
            ".5M",
            "1..5M",
            "-1",
            "+1",
            "1e3",
            "64X",
            "99999999999T",
            "é",
            "1é",
        ] {
            assert_eq!(bad.parse::<Size>(), Err(InvalidUnit::Size), "{bad}");
        }
    }

    #[test]
    fn cpus_are_a_number_or_a_percentage() {
        for (text, millis) in [
            ("1", 1000),
            ("1.5", 1500),
            ("150%", 1500),
            ("0.01", 10),
            ("12.5%", 125),
            ("1000", 1_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Cpu(millis)), "{text}");
        }
        for bad in ["", "%", "x", "-1", "1,5", "1.5 CPUs"] {
            assert_eq!(bad.parse::<Cpu>(), Err(InvalidUnit::Cpu), "{bad}");
        }
        for bad in ["0", "0.009", "0.5%", "1001"] {
            assert_eq!(bad.parse::<Cpu>(), Err(InvalidUnit::CpuRange), "{bad}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, millis) in [
            ("10s", 10_000),
            ("5m", 300_000),
            ("500ms", 500),
            ("1.5s", 1500),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
            ("0s", 0),
            ("7", 7000),
        ] {
            assert_eq!(
                text.parse(),
                Ok(Time(Duration::from_millis(millis))),
                "{text}"
            );
        }
        for bad in ["", "s", "1x", "1h30", "-1s", "1 s", "99999999999999999d"] {
            assert_eq!(bad.parse::<Time>(), Err(InvalidUnit::Time), "{bad}");
        }
    }

    #[test]
    fn moments_are_spans_before_now_or_instants() {
        assert_eq!(
            "10m".parse(),
            Ok(Moment(When::Ago(Duration::from_secs(600))))
        );
        assert_eq!(
            "1h30m".parse(),
            Ok(Moment(When::Ago(Duration::from_secs(5400))))
        );
        let instant = Ok(Moment(When::At(
            SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456),
        )));
        assert_eq!("2023-11-14T22:13:20.123456Z".parse(), instant);
        assert_eq!("2023-11-14T23:13:20.123456+01:00".parse(), instant);
        for bad in [
            "",
            "10",
            "1700000000",
            "10x",
            "yesterday",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "-10m",
            "10M",
            "1.",
            "10m5",
        ] {
            assert_eq!(bad.parse::<Moment>(), Err(InvalidUnit::Moment), "{bad}");
        }
        assert_eq!(
            ("0".parse(), "2K".parse()),
            (Ok(SizeOrZero(0)), Ok(SizeOrZero(2048)))
        );
    }

    #[test]
    fn an_address_is_host_and_port() {
        for good in [
            "127.0.0.1:50051",
            "[::1]:1",
            "host.example:65535",
            "localhost:0",
        ] {
            assert_eq!(good.parse(), Ok(Address(good.to_owned())));
        }
        for bad in [
            "",
            "localhost",
            ":1",
            "host:",
            "host:65536",
            "host:+1",
            "::1:50051",
            "http://host:1",
            "a b:1",
            "[a b]:1",
            "[]:1",
        ] {
            assert_eq!(bad.parse::<Address>(), Err(InvalidUnit::Address), "{bad}");
        }
    }

    #[test]
    fn a_directory_is_an_absolute_path() {
        assert_eq!("/srv".parse(), Ok(Directory("/srv".into())));
        for bad in ["", "srv", "./srv", "~/x"] {
            assert_eq!(bad.parse::<Directory>(), Err(InvalidUnit::Directory));
        }
    }

    #[test]
    fn a_variable_has_a_value_or_copies_ones_own() {
        let own = |name: &str| (name == "HOME").then(|| "/home/me".to_owned());
        let parsed =
            |text| Variable::parse(text, own).map(|variable| (variable.name, variable.value));
        assert_eq!(parsed("A=1=2"), Ok(("A".into(), "1=2".into())));
        assert_eq!(parsed("A="), Ok(("A".into(), String::new())));
        assert_eq!(parsed("HOME"), Ok(("HOME".into(), "/home/me".into())));
        assert_eq!(
            parsed("NOPE"),
            Err(InvalidUnit::VariableUnset("NOPE".into()))
        );
        assert_eq!(parsed("=1"), Err(InvalidUnit::Variable));
        assert_eq!(parsed(""), Err(InvalidUnit::Variable));
    }

    #[test]
    fn sizes_and_times_are_shown_short() {
        assert_eq!(show_size(0), "0 B");
        assert_eq!(show_size(64 << 20), "64 MiB");
        assert_eq!(show_size(1536), "1.5 KiB");
        assert_eq!(show_duration(Duration::from_millis(1500)), "1.500s");
        assert_eq!(show_duration(Duration::from_secs(10)), "10s");
        assert_eq!(show_duration(Duration::from_secs(3661)), "1h01m01s");
    }
}
