//! The trace that something belongs to (W3C Trace Context, w3.org/TR/trace-context, section 3.2).
//! Pure.

use std::fmt;
use std::str::FromStr;

/// Key of the label that a process has it as, and of the metadata of Start.
pub const TRACEPARENT: &str = "traceparent";

/// Bytes of version 00.
const LENGTH: usize = 55;

/// `traceparent`: `00-<trace id>-<parent id>-<flags>`, in lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traceparent {
    /// The trace: not 0.
    pub trace_id: [u8; 16],
    /// What asks, within the trace: not 0.
    pub parent_id: [u8; 8],
    /// Whoever began the trace has it recorded.
    pub is_sampled: bool,
}

/// A text is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a traceparent: write 00-TRACE-PARENT-FLAGS, in 2, 32, 16 and 2 lower-case hexadecimal digits"
)]
pub struct InvalidTraceparent;

impl FromStr for Traceparent {
    type Err = InvalidTraceparent;

    /// Of a version that is newer than 00 what this one has is read, as the specification wants it.
    fn from_str(text: &str) -> Result<Self, InvalidTraceparent> {
        let (known, more) = text.split_at_checked(LENGTH).ok_or(InvalidTraceparent)?;
        let mut fields = known.split('-');
        let mut next = || fields.next().ok_or(InvalidTraceparent);
        let [version] = digits(next()?)?;
        let trace_id = digits(next()?)?;
        let parent_id = digits(next()?)?;
        let [flags] = digits(next()?)?;
        let is_whole = match version {
            0xff => false,
            0 => more.is_empty(),
            _ => more.is_empty() || more.starts_with('-'),
        };
        let is_any = trace_id != [0; 16] && parent_id != [0; 8];
        if !is_whole || !is_any || next().is_ok() {
            return Err(InvalidTraceparent);
        }
        Ok(Self {
            trace_id,
            parent_id,
            is_sampled: flags & 1 == 1,
        })
    }
}

impl fmt::Display for Traceparent {
    /// As version 00.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            u128::from_be_bytes(self.trace_id),
            u64::from_be_bytes(self.parent_id),
            u8::from(self.is_sampled)
        )
    }
}

/// So many bytes.
fn digits<const N: usize>(text: &str) -> Result<[u8; N], InvalidTraceparent> {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 2 * N || !text.bytes().all(is_digit) {
        return Err(InvalidTraceparent);
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| InvalidTraceparent)?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| InvalidTraceparent)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn it_reads_back_as_what_it_is() {
        let parsed: Traceparent = GOOD.parse().unwrap();
        assert_eq!(parsed.to_string(), GOOD);
        assert!(parsed.is_sampled);
        let newer = format!("cc{}-more", &GOOD[2..]);
        assert_eq!(newer.parse::<Traceparent>().unwrap(), parsed);
        let other = format!("{}00", &GOOD[..53]);
        assert!(!other.parse::<Traceparent>().unwrap().is_sampled);
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-x"),
            &format!("ff{}", &GOOD[2..]),
            &format!("cc{}x", &GOOD[2..]),
            &GOOD.to_uppercase(),
            &GOOD.replace('-', "_"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902é-01",
        ] {
            assert_eq!(
                text.parse::<Traceparent>(),
                Err(InvalidTraceparent),
                "{text}"
            );
        }
    }
}
