//! Values that mean the same to both halves, which both link.
//!
//! What execve(2) would misread does not decode. A number decodes whatever it is: the supervisor
//! compares it with its policy, and what the kernel makes of it is the kernel's to decide; the
//! ranges that make sense to people are the frontend's matter (see `names.rs`).

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Why a raw value was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalid {
    /// A value that must be there is not.
    Empty,
    /// A number is not between these two.
    Range {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A path does not begin at the root.
    Relative,
    /// There is a character that is not allowed there.
    Character,
}

/// 128 random bits, shown as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Id([u8; 16]);

/// Names a process for its whole life and after.
pub type ProcessId = Id;

impl Id {
    /// From random bits.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A SHA-256, shown as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Most characters of a [`WorkspaceName`].
pub const WORKSPACE_NAME_MAX: usize = 63;

/// Names a workspace: 1 to [`WORKSPACE_NAME_MAX`] lower-case letters, digits, `-` and `_`, and first
/// a letter or a digit. It is part of one component of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct WorkspaceName(String);

impl TryFrom<String> for WorkspaceName {
    type Error = Invalid;

    fn try_from(raw: String) -> Result<Self, Invalid> {
        check_length(&raw, 1, WORKSPACE_NAME_MAX)?;
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_part = |byte: u8| is_plain(byte) || b"-_".contains(&byte);
        if raw.bytes().next().is_some_and(is_plain) && raw.bytes().all(is_part) {
            Ok(Self(raw))
        } else {
            Err(Invalid::Character)
        }
    }
}

impl WorkspaceName {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkspaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Most characters of a [`ProcessName`].
pub const PROCESS_NAME_MAX: usize = 63;

/// A name that people give to a process: 1 to [`PROCESS_NAME_MAX`] letters, digits, `-`, `_` and
/// `.`, and first a letter or a digit. It is none that an [`Id`] is shown as.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ProcessName(String);

impl TryFrom<String> for ProcessName {
    type Error = Invalid;

    fn try_from(raw: String) -> Result<Self, Invalid> {
        check_length(&raw, 1, PROCESS_NAME_MAX)?;
        let is_hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_id = raw.len() == 32 && raw.bytes().all(is_hexadecimal);
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if is_id || !starts_plainly(&raw) || !raw.bytes().all(is_part) {
            return Err(Invalid::Character);
        }
        Ok(Self(raw))
    }
}

impl ProcessName {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Most characters of an [`AccessName`].
pub const ACCESS_NAME_MAX: usize = 64;

/// Names a principal, a group of them, or a role: 1 to [`ACCESS_NAME_MAX`] letters, digits, `-`,
/// `_`, `.` and `@`, and first a letter or a digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct AccessName(String);

impl TryFrom<String> for AccessName {
    type Error = Invalid;

    fn try_from(raw: String) -> Result<Self, Invalid> {
        check_length(&raw, 1, ACCESS_NAME_MAX)?;
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
        if starts_plainly(&raw) && raw.bytes().all(is_part) {
            Ok(Self(raw))
        } else {
            Err(Invalid::Character)
        }
    }
}

impl AccessName {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Most characters of a [`UserName`].
pub const USER_NAME_MAX: usize = 64;

/// Names a user of the server's machine: 1 to [`USER_NAME_MAX`] letters, digits, `-`, `_`, `.` and
/// `@`, first a letter, a digit or `_`, and no number alone. It is a field of passwd(5).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct UserName(String);

impl TryFrom<String> for UserName {
    type Error = Invalid;

    fn try_from(raw: String) -> Result<Self, Invalid> {
        check_length(&raw, 1, USER_NAME_MAX)?;
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
        let is_number = raw.bytes().all(|byte| byte.is_ascii_digit());
        let begins = starts_plainly(&raw) || raw.starts_with('_');
        if begins && !is_number && raw.bytes().all(is_part) {
            Ok(Self(raw))
        } else {
            Err(Invalid::Character)
        }
    }
}

impl UserName {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Minutes of a week.
pub const WEEK: u16 = 7 * 24 * 60;

/// A part of each week, in minutes since Monday, 00:00 UTC: from the first one up to the second,
/// which comes after it, is a [`WEEK`] later at most, and from there on is in the next week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "(u16, u16)")]
pub struct Hours {
    /// The first minute.
    pub(crate) from: u16,
    /// The first minute that is not in it.
    pub(crate) to: u16,
}

impl TryFrom<(u16, u16)> for Hours {
    type Error = Invalid;

    fn try_from((from, to): (u16, u16)) -> Result<Self, Invalid> {
        let within = |min: u16, value: u16, max: u16| match value {
            value if (min..=max).contains(&value) => Ok(()),
            _ => Err(range(min.into(), max.into())),
        };
        within(0, from, WEEK - 1)?;
        within(from + 1, to, from + WEEK)?;
        Ok(Self { from, to })
    }
}

impl Hours {
    /// Whether it is within them.
    pub fn contain(self, now: UnixMicros) -> bool {
        let minute = now.minute_of_week();
        let within = self.from..self.to;
        within.contains(&minute) || within.contains(&(minute + WEEK))
    }

    /// In how many minutes they begin, if not now.
    pub fn begin_in(self, now: UnixMicros) -> u16 {
        (self.from + WEEK - now.minute_of_week()) % WEEK
    }
}

/// Most labels of a process.
pub const LABELS_MAX: usize = 32;
/// Most characters of a label's key.
pub const LABEL_KEY_MAX: usize = 63;
/// Most bytes of a label's value.
pub const LABEL_VALUE_MAX: usize = 256;

/// What people tell processes apart by: at most [`LABELS_MAX`] values by their keys. A key has 1 to
/// [`LABEL_KEY_MAX`] letters, digits, `-`, `_`, `.` and `/`, and first a letter or a digit; a value
/// has up to [`LABEL_VALUE_MAX`] bytes of text without control characters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub struct Labels(BTreeMap<String, String>);

impl TryFrom<BTreeMap<String, String>> for Labels {
    type Error = Invalid;

    fn try_from(raw: BTreeMap<String, String>) -> Result<Self, Invalid> {
        let labels = raw.iter();
        check_labels(labels.map(|(key, value)| (key.as_str(), value.as_str())))?;
        Ok(Self(raw))
    }
}

/// What becomes of some labels, by their keys: a value from now on, or `None`, no label any more. Others
/// stay as they are. As many, with such keys and values, as there can be of [`Labels`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, Option<String>>")]
pub struct LabelChanges(BTreeMap<String, Option<String>>);

impl TryFrom<BTreeMap<String, Option<String>>> for LabelChanges {
    type Error = Invalid;

    fn try_from(raw: BTreeMap<String, Option<String>>) -> Result<Self, Invalid> {
        let labels = raw.iter();
        check_labels(labels.map(|(key, value)| (key.as_str(), value.as_deref().unwrap_or(""))))?;
        Ok(Self(raw))
    }
}

fn check_labels<'a>(all: impl ExactSizeIterator<Item = (&'a str, &'a str)>) -> Result<(), Invalid> {
    if all.len() > LABELS_MAX {
        return Err(range(0, LABELS_MAX));
    }
    for (key, value) in all {
        check_length(key, 1, LABEL_KEY_MAX)?;
        check_length(value, 0, LABEL_VALUE_MAX)?;
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        let is_key = starts_plainly(key) && key.bytes().all(is_part);
        if !is_key || value.chars().any(char::is_control) {
            return Err(Invalid::Character);
        }
    }
    Ok(())
}

impl Labels {
    /// These, with those changes.
    ///
    /// # Errors
    /// They would be more than [`LABELS_MAX`].
    pub fn with(mut self, changes: LabelChanges) -> Result<Self, Invalid> {
        self.0.retain(|key, _| !changes.0.contains_key(key));
        let set = (changes.0.into_iter()).filter_map(|(key, value)| Some((key, value?)));
        self.0.extend(set);
        self.0.try_into()
    }

    /// All, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let labels = self.0.iter();
        labels.map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// What they take of memory, about.
    pub fn size(&self) -> usize {
        const STRINGS: usize = 128;
        let text = |(key, value): (&str, &str)| key.len() + value.len() + STRINGS;
        self.iter().map(text).sum()
    }
}

pub(crate) fn range(min: usize, max: usize) -> Invalid {
    let number = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
    Invalid::Range {
        min: number(min),
        max: number(max),
    }
}

pub(crate) fn check_length(raw: &str, min: usize, max: usize) -> Result<(), Invalid> {
    if min > 0 && raw.is_empty() {
        return Err(Invalid::Empty);
    }
    if raw.len() > max {
        return Err(range(min, max));
    }
    Ok(())
}

fn starts_plainly(raw: &str) -> bool {
    raw.bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric())
}

/// Number of a signal (signal(7)): 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8")]
pub struct SignalNumber(u8);

impl TryFrom<u8> for SignalNumber {
    type Error = Invalid;

    fn try_from(raw: u8) -> Result<Self, Invalid> {
        if (1..=64).contains(&raw) {
            Ok(Self(raw))
        } else {
            Err(Invalid::Range { min: 1, max: 64 })
        }
    }
}

impl SignalNumber {
    /// As the system calls take it.
    pub fn number(self) -> i32 {
        self.0.into()
    }
}

/// An instant of the wall clock: microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMicros(pub u64);

impl UnixMicros {
    /// By this machine's clock.
    pub fn now() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Self(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    /// The minute of the week, from Monday, 00:00 UTC.
    pub fn minute_of_week(self) -> u16 {
        // The first day of 1970 was a Thursday.
        let minutes = self.0 / 60_000_000 + 3 * 24 * 60;
        u16::try_from(minutes % u64::from(WEEK)).unwrap_or(0)
    }

    /// So much later.
    pub fn after(self, time: Millis) -> Self {
        let micros = time.duration().as_micros();
        Self(
            self.0
                .saturating_add(u64::try_from(micros).unwrap_or(u64::MAX)),
        )
    }

    /// The time from another instant to this one; none if that is later.
    pub fn since(self, other: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(other.0))
    }
}

/// Most bytes of an argument vector, each string's NUL counted.
///
/// The kernel takes 128 KiB for one string (MAX_ARG_STRLEN, execve(2)); this is that for all of
/// them. What is told of a process repeats them, with all else that there is to tell, and has to
/// fit in a message ([`crate::channel::MESSAGE_MAX`]): one that does not would end each frontend at
/// its snapshot.
pub const ARGUMENTS_MAX: usize = 128 * 1024;

/// An argument vector of at most [`ARGUMENTS_MAX`] bytes, which is not empty (CVE-2021-4034), and
/// begins with a program's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<CString>")]
pub struct Argv(Vec<CString>);

impl TryFrom<Vec<CString>> for Argv {
    type Error = Invalid;

    fn try_from(raw: Vec<CString>) -> Result<Self, Invalid> {
        if raw.first().is_none_or(|name| name.is_empty()) {
            return Err(Invalid::Empty);
        }
        let bytes: usize = raw.iter().map(|string| string.count_bytes() + 1).sum();
        if bytes > ARGUMENTS_MAX {
            let max = u64::try_from(ARGUMENTS_MAX).unwrap_or(u64::MAX);
            return Err(Invalid::Range { min: 1, max });
        }
        Ok(Self(raw))
    }
}

impl Argv {
    /// The strings.
    pub fn as_slice(&self) -> &[CString] {
        &self.0
    }

    /// What it takes of memory, about.
    pub fn size(&self) -> usize {
        self.0.iter().map(|argument| size(argument)).sum()
    }
}

/// What a string takes of memory, about: an empty one is kept as well, as a pointer, a length and
/// the allocator's smallest piece.
fn size(string: &CStr) -> usize {
    const STRING: usize = 64;
    string.count_bytes() + STRING
}

/// Most rules of [`Paths`]: each is a mount or two.
pub const PATHS_MAX: usize = 16;
/// How many of them can make directories read-only: each can double the number of mounts.
pub const READ_ONLY_MAX: usize = 4;
/// Most bytes of all paths of [`Paths`], which what is told of a process repeats, as
/// [`ARGUMENTS_MAX`].
pub const PATHS_BYTES_MAX: usize = 16 * 1024;

/// How a process is to see a directory of the server's machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PathRule {
    /// Nothing in it can be changed.
    ReadOnly(CString),
    /// It is empty.
    Hidden(CString),
    /// It is another one.
    Bound {
        /// Which.
        source: CString,
        /// Where.
        target: CString,
    },
}

impl PathRule {
    /// What it says something about.
    pub fn target(&self) -> &CStr {
        match self {
            Self::ReadOnly(target) | Self::Hidden(target) | Self::Bound { target, .. } => target,
        }
    }

    fn paths(&self) -> impl Iterator<Item = &CStr> {
        let source = match self {
            Self::ReadOnly(_) | Self::Hidden(_) => None,
            Self::Bound { source, .. } => Some(source.as_c_str()),
        };
        source.into_iter().chain([self.target()])
    }
}

/// At most [`PATHS_MAX`] rules, in the order in which they are followed, of absolute paths, and at
/// most [`READ_ONLY_MAX`] of them [`PathRule::ReadOnly`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<PathRule>")]
pub struct Paths(Vec<PathRule>);

impl TryFrom<Vec<PathRule>> for Paths {
    type Error = Invalid;

    fn try_from(raw: Vec<PathRule>) -> Result<Self, Invalid> {
        let above = |max: usize| Invalid::Range {
            min: 0,
            max: u64::try_from(max).unwrap_or(u64::MAX),
        };
        if raw.len() > PATHS_MAX {
            return Err(above(PATHS_MAX));
        }
        let read_only = raw
            .iter()
            .filter(|rule| matches!(rule, PathRule::ReadOnly(_)));
        if read_only.count() > READ_ONLY_MAX {
            return Err(above(READ_ONLY_MAX));
        }
        let paths = || raw.iter().flat_map(PathRule::paths);
        if paths().map(CStr::count_bytes).sum::<usize>() > PATHS_BYTES_MAX {
            return Err(above(PATHS_BYTES_MAX));
        }
        if paths().any(|path| !path.to_bytes().starts_with(b"/")) {
            return Err(Invalid::Relative);
        }
        Ok(Self(raw))
    }
}

impl Paths {
    /// The rules.
    pub fn as_slice(&self) -> &[PathRule] {
        &self.0
    }

    /// What they take of memory, about.
    pub fn size(&self) -> usize {
        let paths = self.0.iter().flat_map(PathRule::paths);
        paths.map(size).sum()
    }
}

/// Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis {
    pub(crate) milliseconds: u64,
}

impl Millis {
    /// As a [`Duration`].
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.milliseconds)
    }

    /// As a number.
    pub const fn milliseconds(self) -> u64 {
        self.milliseconds
    }
}

/// Names a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LimitName {
    /// Thousandths of a CPU (cpu.max).
    Cpu,
    /// Bytes of memory (memory.max, with memory.swap.max 0 and memory.oom.group 1).
    Memory,
    /// Bytes a second, read from each limited disk (io.max rbps).
    IoRead,
    /// Bytes a second, written to each limited disk (io.max wbps).
    IoWrite,
    /// Tasks (pids.max).
    Pids,
}

/// Resource limits of one process tree. One that is not there: not limited, or, in a request, the
/// server's ceiling.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Limits {
    by_name: BTreeMap<LimitName, u64>,
}

impl Limits {
    /// All that there are, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (LimitName, u64)> {
        self.by_name.iter().map(|(name, value)| (*name, *value))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// One limit's value.
    pub fn get(&self, name: LimitName) -> Option<u64> {
        self.by_name.get(&name).copied()
    }

    /// Of each limit that is in either, the lower value.
    pub fn lowest(&self, other: &Self) -> Self {
        let lower = |(name, value): (LimitName, u64)| {
            let beside = self.get(name).unwrap_or(value);
            (name, value.min(beside))
        };
        self.iter().chain(other.iter().map(lower)).collect()
    }

    /// These, and `other`'s where there is none.
    pub fn or(&self, other: &Self) -> Self {
        other.iter().chain(self.iter()).collect()
    }
}

impl FromIterator<(LimitName, u64)> for Limits {
    /// The last value of each name.
    fn from_iter<T: IntoIterator<Item = (LimitName, u64)>>(limits: T) -> Self {
        Self {
            by_name: limits.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_a_part_of_a_week_or_do_not_decode() {
        for (from, to, is_taken) in [
            (0, 1, true),
            (0, WEEK, true),
            (WEEK - 1, WEEK, true),
            (WEEK - 1, 2 * WEEK - 1, true),
            (0, 0, false),
            (5, 4, false),
            (0, WEEK + 1, false),
            (WEEK - 1, 2 * WEEK, false),
            (WEEK, WEEK + 1, false),
            (u16::MAX, u16::MAX, false),
        ] {
            let bytes = crate::codec::encode(&(from, to)).unwrap();
            let decoded = crate::codec::decode::<Hours>(&bytes);
            assert_eq!(decoded.is_ok(), is_taken, "{from} {to}");
        }
    }
    use crate::codec;

    #[test]
    fn an_id_is_shown_as_32_lower_case_hexadecimal_digits() {
        let mut bytes = [0xab; 16];
        bytes[0] = 0x0f;
        let shown = format!("0f{}", "ab".repeat(15));
        assert_eq!(ProcessId::from_bytes(bytes).to_string(), shown);
    }

    #[test]
    fn i2_a_workspace_name_is_one_plain_component_of_a_path() {
        let decode = |raw: &str| {
            let bytes = codec::encode(&raw.to_owned()).unwrap();
            codec::decode::<WorkspaceName>(&bytes)
        };
        let longest = "x".repeat(WORKSPACE_NAME_MAX);
        for good in ["a", "0", "build-1_x", &longest] {
            assert_eq!(decode(good).unwrap().to_string(), good);
        }
        let longer = format!("{longest}x");
        for bad in [
            "", ".", "..", "a.b", "a/b", "-a", "_a", "A", "ä", "a b", "a\0", "a\n", &longer,
        ] {
            assert!(decode(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_process_name_is_plain_and_no_id() {
        let decode = |raw: &str| {
            let bytes = codec::encode(&raw.to_owned()).unwrap();
            codec::decode::<ProcessName>(&bytes).is_ok()
        };
        let longest = "x".repeat(PROCESS_NAME_MAX);
        let id = "0123456789abcdef".repeat(2);
        let capitals = id.to_uppercase();
        for good in ["a", "0", "Web-1_x.y", "abc", &longest, &capitals, &id[1..]] {
            assert!(decode(good), "{good:?}");
        }
        let longer = format!("{longest}x");
        for bad in [
            "", ".", "-a", "_a", "a/b", "ä", "a b", "a\0", "a\n", &id, &longer,
        ] {
            assert!(!decode(bad), "{bad:?}");
        }
    }

    #[test]
    fn an_access_name_is_plain() {
        let decode = |raw: &str| {
            let bytes = codec::encode(&raw.to_owned()).unwrap();
            codec::decode::<AccessName>(&bytes).is_ok()
        };
        let longest = "x".repeat(ACCESS_NAME_MAX);
        for good in ["a", "0", "Ci-1_x.y", "deploy@web", &longest] {
            assert!(decode(good), "{good:?}");
        }
        let longer = format!("{longest}x");
        for bad in [
            "", ".", "-a", "_a", "@a", "a/b", "ä", "a b", "a\0", "a\n", "a=b", "a\"", &longer,
        ] {
            assert!(!decode(bad), "{bad:?}");
        }
    }

    #[test]
    fn labels_are_few_short_and_plain() {
        let decode = |raw: Vec<(String, String)>| {
            let raw: BTreeMap<String, String> = raw.into_iter().collect();
            codec::decode::<Labels>(&codec::encode(&raw).unwrap()).is_ok()
        };
        let one = |key: &str, value: &str| decode(vec![(key.to_owned(), value.to_owned())]);
        let key = "k".repeat(LABEL_KEY_MAX);
        let value = "v".repeat(LABEL_VALUE_MAX);
        assert!(one("app.kubernetes.io/name", "web ä=1") && one("a", "") && one(&key, &value));
        assert!(!one(&format!("{key}k"), "") && !one("a", &format!("{value}v")));
        for bad in ["", "-a", "/a", "a b", "a=b", "ä", "a,b"] {
            assert!(!one(bad, "x"), "{bad:?}");
        }
        assert!(!one("a", "x\ny") && !one("a", "\u{1b}[m"));
        let many = |count: usize| (0..count).map(|number| (number.to_string(), String::new()));
        assert!(decode(many(LABELS_MAX).collect()));
        assert!(!decode(many(LABELS_MAX + 1).collect()));
    }

    #[test]
    fn changes_of_labels_are_as_labels_are_and_leave_others_alone() {
        let decode = |raw: Vec<(String, Option<&str>)>| {
            let raw: BTreeMap<String, Option<&str>> = raw.into_iter().collect();
            codec::decode::<LabelChanges>(&codec::encode(&raw).unwrap())
        };
        let one = |key: &str, value: Option<&str>| decode(vec![(key.to_owned(), value)]);
        let value = "v".repeat(LABEL_VALUE_MAX);
        assert!(one("a/b", Some(&value)).is_ok() && one("a/b", None).is_ok());
        let longer = format!("{value}v");
        assert!(one("a", Some(&longer)).is_err() && one("a", Some("\n")).is_err());
        for bad in ["", "-a", "a b", "a=b"] {
            assert!(one(bad, Some("x")).is_err() && one(bad, None).is_err());
        }
        let many = |count: usize| (0..count).map(|number| (number.to_string(), None));
        assert!(decode(many(LABELS_MAX).collect()).is_ok());
        assert!(decode(many(LABELS_MAX + 1).collect()).is_err());

        let labels = |numbers: std::ops::Range<usize>| {
            let each = numbers.map(|number| (number.to_string(), String::new()));
            Labels::try_from(each.collect::<BTreeMap<_, _>>()).unwrap()
        };
        let changed = |raw: &[(&str, Option<&str>)]| {
            let raw = raw.iter().map(|(key, value)| ((*key).to_owned(), *value));
            labels(0..LABELS_MAX).with(decode(raw.collect()).unwrap())
        };
        let same = changed(&[("none", None)]).unwrap();
        assert_eq!(same, labels(0..LABELS_MAX), "one that is not there");
        assert!(
            changed(&[("new", Some("1"))]).is_err(),
            "more than there may be"
        );
        let all = changed(&[("new", Some("1")), ("0", None), ("1", Some("2"))]).unwrap();
        let values = ["new", "0", "1", "2"].map(|key| all.get(key));
        assert_eq!(values, [Some("1"), None, Some("2"), Some("")]);
        assert_eq!(all.iter().count(), LABELS_MAX);
    }

    #[test]
    fn of_two_sets_of_limits_the_first_counts_where_it_says_something() {
        let limits = |values: &[(LimitName, u64)]| values.iter().copied().collect::<Limits>();
        let asked = limits(&[(LimitName::Cpu, 1), (LimitName::Pids, 2)]);
        let ceilings = limits(&[(LimitName::Pids, 3), (LimitName::Memory, 4)]);
        let all = asked.or(&ceilings);
        let expected = [
            (LimitName::Cpu, 1),
            (LimitName::Memory, 4),
            (LimitName::Pids, 2),
        ];
        assert_eq!(all, limits(&expected));
        assert_eq!(all.get(LimitName::IoRead), None);
    }

    #[test]
    fn i2_an_argv_that_execve_would_misread_does_not_decode() {
        let decode = |raw: &[&[u8]]| {
            let raw: Vec<Vec<u8>> = raw.iter().map(|bytes| bytes.to_vec()).collect();
            codec::decode::<Argv>(&codec::encode(&raw).unwrap()).is_ok()
        };
        assert!(decode(&[b"true", b""]));
        assert!(!decode(&[]));
        assert!(!decode(&[b""]));
        assert!(!decode(&[b"a\0b"]));
        assert!(!decode(&[b"a", b"\0"]));
    }

    #[test]
    fn an_argv_that_leaves_no_room_in_a_message_for_the_rest_does_not_decode() {
        let decode = |length: usize| {
            let raw = vec![c"a".to_owned(), CString::new(vec![b'x'; length]).unwrap()];
            codec::decode::<Argv>(&codec::encode(&raw).unwrap())
        };
        let longest = ARGUMENTS_MAX - 3;
        assert!(decode(longest).is_ok());
        assert!(decode(longest + 1).is_err());
    }

    #[test]
    fn paths_are_absolute_few_and_short() {
        let decode = |raw: Vec<PathRule>| codec::decode::<Paths>(&codec::encode(&raw).unwrap());
        let path = |text: &str| CString::new(text).unwrap();
        let bound = |source, target| PathRule::Bound {
            source: path(source),
            target: path(target),
        };
        assert!(decode(vec![PathRule::Hidden(path("/a")); PATHS_MAX]).is_ok());
        assert!(decode(vec![PathRule::Hidden(path("/a")); PATHS_MAX + 1]).is_err());
        let read_only = PathRule::ReadOnly(path("/a"));
        assert!(decode(vec![read_only.clone(); READ_ONLY_MAX]).is_ok());
        assert!(decode(vec![read_only; READ_ONLY_MAX + 1]).is_err());
        for relative in [
            PathRule::ReadOnly(path("a")),
            PathRule::Hidden(path("")),
            bound("a", "/b"),
            bound("/a", "b"),
        ] {
            assert!(decode(vec![relative.clone()]).is_err(), "{relative:?}");
        }
        let half = format!("/{}", "x".repeat(PATHS_BYTES_MAX / 2 - 1));
        assert!(decode(vec![bound(&half, &half)]).is_ok());
        assert!(decode(vec![bound(&half, &format!("{half}x"))]).is_err());
        let longest = format!("/{}", "x".repeat(PATHS_BYTES_MAX - 1));
        assert!(
            decode(vec![PathRule::ReadOnly(path(&longest))]).is_ok(),
            "one path counts once"
        );
    }
}
