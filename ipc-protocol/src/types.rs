//! Values that cannot be invalid, whoever sent them. Linked by both halves.
//!
//! Each type is built by `TryFrom` of its raw form, and decoded through the same conversion.

use std::ffi::CString;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Why a raw value was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalid {
    /// An id is not 32 lower-case hexadecimal digits.
    Id,
    /// A value that must be there is not.
    Empty,
    /// A number is not between these two.
    Range(u64, u64),
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

/// A newtype of `$raw` that only values which `$check` passes become, also when they are decoded.
macro_rules! checked {
    ($(#[$doc:meta])* $name:ident($raw:ty), $raw_name:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = $raw_name)]
        pub struct $name($raw);

        impl TryFrom<$raw> for $name {
            type Error = Invalid;

            fn try_from(raw: $raw) -> Result<Self, Invalid> {
                let check: fn(&$raw) -> Result<(), Invalid> = $check;
                check(&raw).map(|()| Self(raw))
            }
        }
    };
}

fn between(value: u64, min: u64, max: u64) -> Result<(), Invalid> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(Invalid::Range(min, max)) }
}

checked! {
    /// An argument vector, which is not empty (CVE-2021-4034), with a program's name in its first place.
    Argv(Vec<CString>), "Vec<CString>", |raw| match raw.first() {
        Some(name) if !name.is_empty() => Ok(()),
        _ => Err(Invalid::Empty),
    }
}

impl Argv {
    /// The strings.
    pub fn as_slice(&self) -> &[CString] {
        &self.0
    }

    /// Its bytes, one more for each string.
    pub fn size(&self) -> usize {
        self.0.iter().map(|argument| argument.count_bytes() + 1).sum()
    }
}

checked! {
    /// Output bytes kept: from one pipe buffer to 1 TiB.
    #[derive(Copy)]
    OutputMax(u64), "u64", |raw| between(*raw, 65_536, 0x100_0000_0000)
}

impl OutputMax {
    /// The number.
    pub const fn value(self) -> u64 {
        self.0
    }
}

checked! {
    /// Milliseconds, up to a year.
    #[derive(Copy)]
    Millis(u64), "u64", |raw| between(*raw, 0, 31_536_000_000)
}

impl Millis {
    /// As a [`Duration`].
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

/// Names a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

impl LimitName {
    /// All of them, in the order of [`Limits`].
    pub const ALL: [Self; 5] = [Self::Cpu, Self::Memory, Self::IoRead, Self::IoWrite, Self::Pids];

    /// The value, if the kernel can take it.
    ///
    /// # Errors
    /// [`Invalid::Range`].
    pub fn check(self, value: u64) -> Result<u64, Invalid> {
        let (min, max) = match self {
            // The kernel takes no quota under 1 ms (cgroup-v2.rst, cpu.max), which is 10 of a 100 ms period.
            Self::Cpu => (10, 1_000_000),
            // Under 1 MiB not even a small program can start.
            Self::Memory => (0x10_0000, u64::MAX >> 1),
            Self::IoRead | Self::IoWrite => (1024, u64::MAX >> 1),
            // The kernel's own most (PID_MAX_LIMIT, proc(5)).
            Self::Pids => (1, 4_194_304),
        };
        between(value, min, max).map(|()| value)
    }
}

/// Resource limits of one process tree. `None`: not limited, or, in a request, the server's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "[Option<u64>; 5]")]
pub struct Limits([Option<u64>; 5]);

impl Limits {
    /// Each limit with its value.
    pub fn iter(&self) -> impl Iterator<Item = (LimitName, Option<u64>)> {
        LimitName::ALL.into_iter().zip(self.0)
    }

    /// One limit's value.
    pub fn get(&self, name: LimitName) -> Option<u64> {
        self.iter().find(|(other, _)| *other == name).and_then(|(_, value)| value)
    }
}

impl TryFrom<[Option<u64>; 5]> for Limits {
    type Error = Invalid;

    fn try_from(raw: [Option<u64>; 5]) -> Result<Self, Invalid> {
        let mut set = LimitName::ALL.into_iter().zip(raw).filter_map(|(name, value)| Some((name, value?)));
        set.try_for_each(|(name, value)| name.check(value).map(drop)).map(|()| Self(raw))
    }
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
    fn numbers_outside_their_range_do_not_decode() {
        let cpu =
            |raw: u64| codec::decode::<Limits>(&codec::encode(&[Some(raw), None, None, None, None]).unwrap()).is_ok();
        assert!(!cpu(9) && cpu(10) && cpu(1_000_000) && !cpu(1_000_001));
        let output = |raw: u64| codec::decode::<OutputMax>(&codec::encode(&raw).unwrap()).is_ok();
        assert!(!output(65_535) && output(65_536) && output(1 << 40) && !output((1 << 40) + 1));
    }
}
