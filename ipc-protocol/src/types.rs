//! Values that cannot be invalid, whoever sent them. Linked by both halves.
//!
//! Each type is built by `TryFrom` of its raw form, and decoded through the same conversion.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Most bytes in a process's arguments and environment together, one more for each string's NUL.
///
/// The kernel takes 128 KiB for one string (MAX_ARG_STRLEN, execve(2)); this is that for all of them, so that a start
/// request stays well below the largest datagram (see [`crate::channel::MESSAGE_MAX`]).
pub const ARGUMENTS_MAX: usize = 128 * 1024;

/// Most bytes in a path, its NUL not counted (PATH_MAX, limits.h).
pub const PATH_MAX: usize = 4095;

/// Why a raw value was not taken.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum Invalid {
    /// An id is not 32 lower-case hexadecimal digits.
    #[error("must be 32 lower-case hexadecimal digits")]
    Id,
    /// A string that goes to the kernel holds a NUL.
    #[error("must not hold a NUL byte")]
    Nul,
    /// A value that must be there is not.
    #[error("must not be empty")]
    Empty,
    /// A variable's name holds "=".
    #[error("a variable's name must not hold \"=\"")]
    VariableName,
    /// A variable is given twice.
    #[error("a variable is given twice")]
    VariableTwice,
    /// Arguments and environment are too long.
    #[error("command, arguments and environment must not exceed {ARGUMENTS_MAX} bytes together")]
    TooLong,
    /// A path is not absolute, or too long.
    #[error("must be an absolute path of at most {PATH_MAX} bytes")]
    Path,
    /// A number is outside its range.
    #[error("must be between {min} and {max}")]
    Range {
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name([u8; 16]);

        impl $name {
            /// From 128 random bits.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                parse_id(text).map(Self)
            }
        }
    };
}

id_type! {
    /// Names a process for its whole life and after: 128 random bits, shown as 32 lower-case hexadecimal digits.
    ProcessId
}

id_type! {
    /// Names one run of the server: 128 random bits, shown as 32 lower-case hexadecimal digits.
    BootEpoch
}

fn parse_id(text: &str) -> Result<[u8; 16], Invalid> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(Invalid::Id),
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(Invalid::Id) };
    let mut bytes = [0; 16];
    if pairs.len() != bytes.len() {
        return Err(Invalid::Id);
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Ok(bytes)
}

/// A number between `MIN` and `MAX`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Bounded<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Bounded<MIN, MAX> {
    /// The number.
    pub const fn value(self) -> u64 {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> TryFrom<u64> for Bounded<MIN, MAX> {
    type Error = Invalid;

    fn try_from(raw: u64) -> Result<Self, Invalid> {
        if (MIN..=MAX).contains(&raw) { Ok(Self(raw)) } else { Err(Invalid::Range { min: MIN, max: MAX }) }
    }
}

impl<const MIN: u64, const MAX: u64> From<Bounded<MIN, MAX>> for u64 {
    fn from(bounded: Bounded<MIN, MAX>) -> u64 {
        bounded.0
    }
}

/// Thousandths of a CPU. The kernel takes no quota under 1 ms (cgroup-v2.rst, cpu.max), which is 10 of a 100 ms period.
pub type CpuMillis = Bounded<10, 1_000_000>;

/// Bytes of memory: under 1 MiB not even a small program can start.
pub type MemoryBytes = Bounded<0x10_0000, { u64::MAX >> 1 }>;

/// Bytes a second to or from a disk.
pub type BytesPerSecond = Bounded<1024, { u64::MAX >> 1 }>;

/// Number of tasks: up to the kernel's own most (PID_MAX_LIMIT, proc(5)).
pub type Pids = Bounded<1, 4_194_304>;

/// Output bytes kept: from one pipe buffer to 1 TiB.
pub type OutputMax = Bounded<65_536, 0x100_0000_0000>;

/// Milliseconds, up to a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(Bounded<0, 31_536_000_000>);

impl Millis {
    /// As a [`Duration`].
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0.value())
    }
}

impl TryFrom<Duration> for Millis {
    type Error = Invalid;

    fn try_from(duration: Duration) -> Result<Self, Invalid> {
        // More than u64 milliseconds is more than a year.
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).try_into().map(Self)
    }
}

/// An instant of the wall clock: microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMicros(pub u64);

impl UnixMicros {
    /// By this machine's clock.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

/// A newtype of `$raw` that only values which `$check` passes become.
macro_rules! checked {
    ($(#[$doc:meta])* $name:ident($raw:ty), $raw_name:literal, $view:ident -> $viewed:ty, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = $raw_name, into = $raw_name)]
        pub struct $name($raw);

        impl $name {
            /// The value.
            pub fn $view(&self) -> &$viewed {
                &self.0
            }
        }

        impl TryFrom<$raw> for $name {
            type Error = Invalid;

            fn try_from(raw: $raw) -> Result<Self, Invalid> {
                let check: fn(&$raw) -> Result<(), Invalid> = $check;
                check(&raw).map(|()| Self(raw))
            }
        }

        impl From<$name> for $raw {
            fn from(checked: $name) -> Self {
                checked.0
            }
        }
    };
}

checked! {
    /// An argument vector: a first string that is not empty, no NUL, within [`ARGUMENTS_MAX`].
    Argv(Vec<String>), "Vec<String>", as_slice -> [String], |raw| {
        if raw.first().is_none_or(String::is_empty) {
            return Err(Invalid::Empty);
        }
        if raw.iter().any(|argument| argument.contains('\0')) {
            return Err(Invalid::Nul);
        }
        fits(raw.iter().map(String::len))
    }
}

impl Argv {
    /// Its bytes, one more for each string.
    pub fn size(&self) -> usize {
        self.0.iter().map(|argument| argument.len() + 1).sum()
    }

    /// The program's name or path.
    pub fn program(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }
}

checked! {
    /// Variables to add to a process's environment: names not empty, distinct and without "=", no NUL.
    #[derive(Default)]
    Environment(Vec<(String, String)>), "Vec<(String, String)>", as_slice -> [(String, String)], |raw| {
        let mut names = std::collections::HashSet::new();
        for (name, value) in raw {
            if name.is_empty() {
                return Err(Invalid::Empty);
            }
            if name.contains('=') {
                return Err(Invalid::VariableName);
            }
            if name.contains('\0') || value.contains('\0') {
                return Err(Invalid::Nul);
            }
            if !names.insert(name) {
                return Err(Invalid::VariableTwice);
            }
        }
        fits(raw.iter().map(|(name, value)| name.len() + value.len() + 1))
    }
}

fn fits(lengths: impl Iterator<Item = usize>) -> Result<(), Invalid> {
    if lengths.map(|length| length + 1).sum::<usize>() > ARGUMENTS_MAX { Err(Invalid::TooLong) } else { Ok(()) }
}

checked! {
    /// An absolute path without NUL.
    AbsolutePath(String), "String", as_str -> str, |raw| match raw {
        raw if raw.contains('\0') => Err(Invalid::Nul),
        raw if !raw.starts_with('/') || raw.len() > PATH_MAX => Err(Invalid::Path),
        _ => Ok(()),
    }
}

/// Resource limits of one process tree. `None`: not limited, or, in a request, the server's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limits {
    /// CPU time (cpu.max).
    pub cpu: Option<CpuMillis>,
    /// Memory (memory.max, with memory.swap.max 0 and memory.oom.group 1).
    pub memory: Option<MemoryBytes>,
    /// Reads from each limited disk (io.max rbps).
    pub io_read: Option<BytesPerSecond>,
    /// Writes to each limited disk (io.max wbps).
    pub io_write: Option<BytesPerSecond>,
    /// Tasks (pids.max).
    pub pids: Option<Pids>,
}

/// Names a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LimitName {
    /// [`Limits::cpu`].
    Cpu,
    /// [`Limits::memory`].
    Memory,
    /// [`Limits::io_read`].
    IoRead,
    /// [`Limits::io_write`].
    IoWrite,
    /// [`Limits::pids`].
    Pids,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn ids_are_32_lower_case_hexadecimal_digits() {
        let text = "00ff10a9e28b7c4d5566778899aabbcc";
        assert_eq!(text.parse::<ProcessId>().unwrap().to_string(), text);
        for bad in [
            "",
            "0",
            &text[1..],
            &text.to_uppercase(),
            &format!("{text}00"),
            &format!("g{}", &text[1..]),
            "../../../../../../etc/passwd//////",
        ] {
            assert_eq!(bad.parse::<ProcessId>(), Err(Invalid::Id), "{bad}");
        }
    }

    #[test]
    fn i2_an_argv_that_execve_would_misread_does_not_decode() {
        let decode = |raw: Vec<String>| codec::decode::<Argv>(&codec::encode(&raw).unwrap()).is_ok();
        assert!(decode(vec!["true".into(), String::new()]));
        assert!(!decode(vec![]));
        assert!(!decode(vec![String::new()]));
        assert!(!decode(vec!["a\0b".into()]));
        assert!(decode(vec!["a".repeat(ARGUMENTS_MAX - 1)]));
        assert!(!decode(vec!["a".repeat(ARGUMENTS_MAX)]));
    }

    #[test]
    fn i2_an_environment_that_a_program_would_misread_does_not_decode() {
        let decode = |raw: &[(&str, &str)]| {
            let raw: Vec<_> = raw.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
            Environment::try_from(raw).map(|_| ())
        };
        assert_eq!(decode(&[("A", "1"), ("B", "")]), Ok(()));
        assert_eq!(decode(&[("", "1")]), Err(Invalid::Empty));
        assert_eq!(decode(&[("A=B", "1")]), Err(Invalid::VariableName));
        assert_eq!(decode(&[("A", "\0")]), Err(Invalid::Nul));
        assert_eq!(decode(&[("A", "1"), ("A", "2")]), Err(Invalid::VariableTwice));
    }

    #[test]
    fn numbers_outside_their_range_do_not_decode() {
        let decode = |raw: u64| codec::decode::<CpuMillis>(&codec::encode(&raw).unwrap()).is_ok();
        assert!(!decode(9) && decode(10) && decode(1_000_000) && !decode(1_000_001));
    }
}
