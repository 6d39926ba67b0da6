//! Where a stream begins in what was taken of an input. Pure.

/// What there is to do with the bytes of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// So many of them were taken before.
    skip: u64,
}

/// A stream does not go on where the input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misplaced {
    /// There are bytes between the one and the other.
    Beyond {
        /// How many were taken.
        taken: u64,
    },
    /// Nobody knows how many were taken.
    Unknown,
}

impl Place {
    /// Of a stream that begins at `offset`, or after what was taken.
    pub fn find(taken: Option<u64>, offset: Option<u64>) -> Result<Self, Misplaced> {
        let skip = match (taken, offset) {
            (_, None) => 0,
            (Some(taken), Some(offset)) => taken
                .checked_sub(offset)
                .ok_or(Misplaced::Beyond { taken })?,
            (None, Some(_)) => return Err(Misplaced::Unknown),
        };
        Ok(Self { skip })
    }

    /// What is new of the stream's next bytes.
    pub fn new_of<'a>(&mut self, data: &'a [u8]) -> &'a [u8] {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX);
        let (old, new) = data.split_at_checked(skipped).unwrap_or((data, &[]));
        self.skip -= u64::try_from(old.len()).unwrap_or(self.skip);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_goes_on_where_the_input_is_or_says_why_not() {
        let beyond = |taken| Err(Misplaced::Beyond { taken });
        for (taken, offset, found) in [
            (Some(0), None, Ok(0)),
            (Some(9), None, Ok(0)),
            (None, None, Ok(0)),
            (Some(0), Some(0), Ok(0)),
            (Some(9), Some(9), Ok(0)),
            (Some(9), Some(4), Ok(5)),
            (Some(u64::MAX), Some(0), Ok(u64::MAX)),
            (Some(9), Some(10), beyond(9)),
            (Some(0), Some(u64::MAX), beyond(0)),
            (None, Some(0), Err(Misplaced::Unknown)),
            (None, Some(9), Err(Misplaced::Unknown)),
        ] {
            let found = found.map(|skip| Place { skip });
            assert_eq!(Place::find(taken, offset), found, "{taken:?} {offset:?}");
        }
    }

    #[test]
    fn what_was_taken_is_skipped_however_it_is_cut() {
        let mut place = Place::find(Some(9), Some(4)).unwrap();
        assert_eq!(place.new_of(b"ab"), b"");
        assert_eq!(place.new_of(b""), b"");
        assert_eq!(place.new_of(b"cdefg"), b"fg");
        assert_eq!(place.new_of(b"h"), b"h");
        let mut place = Place::find(Some(9), Some(4)).unwrap();
        assert_eq!(place.new_of(b"abcde"), b"");
        assert_eq!(place.new_of(b"f"), b"f");
    }
}
