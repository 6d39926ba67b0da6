//! How much of an output's end is wanted.

use crate::v1;

/// How much of the end is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// So many lines, in the order of capture whichever stream they are of; unfinished text at the
    /// end counts as one.
    Lines(u64),
    /// So many bytes.
    Bytes(u64),
}

/// A request asks for a tail of lines and for one of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must not stand together with tail_lines")]
pub struct TwoTails;

impl Tail {
    /// What a request asks for.
    ///
    /// # Errors
    /// [`TwoTails`], a fault of `tail_bytes`.
    pub fn of(raw: &v1::GetOutputRequest) -> Result<Option<Self>, TwoTails> {
        match (raw.tail_lines, raw.tail_bytes) {
            (None, None) => Ok(None),
            (Some(lines), None) => Ok(Some(Self::Lines(lines))),
            (None, Some(bytes)) => Ok(Some(Self::Bytes(bytes))),
            (Some(_), Some(_)) => Err(TwoTails),
        }
    }

    /// Asks for it.
    pub fn put(self, into: &mut v1::GetOutputRequest) {
        match self {
            Self::Lines(lines) => into.tail_lines = Some(lines),
            Self::Bytes(bytes) => into.tail_bytes = Some(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_of_lines_or_of_bytes() {
        assert_eq!(Tail::of(&v1::GetOutputRequest::default()), Ok(None));
        for tail in [Tail::Lines(0), Tail::Bytes(7)] {
            let mut request = v1::GetOutputRequest::default();
            tail.put(&mut request);
            assert_eq!(Tail::of(&request), Ok(Some(tail)));
            Tail::Lines(1).put(&mut request);
            Tail::Bytes(1).put(&mut request);
            assert_eq!(Tail::of(&request), Err(TwoTails));
        }
    }
}
