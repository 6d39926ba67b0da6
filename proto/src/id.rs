//! The name of a process, as both ends read and write it.

use std::fmt;
use std::str::FromStr;

use crate::v1;

/// Names a process for its whole life and after: 128 random bits, shown as 32 lower-case
/// hexadecimal digits. Whoever has random bits makes one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId([u8; 16]);

/// A text is not a [`ProcessId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a process id is 32 lower-case hexadecimal digits, as `prn start` and `prn list` print it")]
pub struct InvalidProcessId;

impl ProcessId {
    /// From random bits.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bits.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ProcessId {
    type Err = InvalidProcessId;

    fn from_str(text: &str) -> Result<Self, InvalidProcessId> {
        let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        // A sign or capital letters are a number to the library too.
        if text.len() != 32 || !text.bytes().all(is_digit) {
            return Err(InvalidProcessId);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| InvalidProcessId)?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl From<ProcessId> for v1::ProcessIdentifier {
    fn from(id: ProcessId) -> Self {
        Self { id: id.to_string() }
    }
}

impl TryFrom<v1::ProcessIdentifier> for ProcessId {
    type Error = InvalidProcessId;

    fn try_from(raw: v1::ProcessIdentifier) -> Result<Self, InvalidProcessId> {
        raw.id.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_id_is_32_lower_case_hexadecimal_digits() {
        let text = "00ff10a9e28b7c4d5566778899aabbcc";
        let id: ProcessId = text.parse().unwrap();
        assert_eq!(
            (id.to_string(), format!("{id:?}")),
            (text.into(), text.into())
        );
        assert_eq!(id.to_bytes()[..3], [0, 0xff, 0x10]);
        assert_eq!(ProcessId::from_bytes(id.to_bytes()), id);
        assert_eq!(ProcessId::try_from(v1::ProcessIdentifier::from(id)), Ok(id));
        for bad in [
            "",
            "0",
            &text[1..],
            &text.to_uppercase(),
            &format!("{text}00"),
            &format!("g{}", &text[1..]),
            &format!("+{}", &text[1..]),
            "../../../../../../etc/passwd//////",
        ] {
            assert_eq!(bad.parse::<ProcessId>(), Err(InvalidProcessId), "{bad}");
        }
    }
}
