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
    /// What it may have sent before ends with what another writer has sent.
    Foreign {
        /// How many were taken.
        taken: u64,
    },
    /// Nobody knows how many were taken.
    Unknown,
}

impl Place {
    /// Of a stream that begins at `offset`, or after what was taken. What was taken from `own_from`
    /// on is of the stream's writer: of a stream that begins before, bytes would be skipped in place
    /// of another writer's.
    pub fn find(taken: Option<u64>, offset: Option<u64>, own_from: u64) -> Result<Self, Misplaced> {
        let skip = match (taken, offset) {
            (_, None) => 0,
            (Some(taken), Some(offset)) => match taken.checked_sub(offset) {
                None => return Err(Misplaced::Beyond { taken }),
                Some(1..) if offset < own_from => return Err(Misplaced::Foreign { taken }),
                Some(skip) => skip,
            },
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
        let foreign = |taken| Err(Misplaced::Foreign { taken });
        for (taken, offset, own_from, found) in [
            (Some(0), None, 0, Ok(0)),
            (Some(9), None, 9, Ok(0)),
            (None, None, 0, Ok(0)),
            (Some(0), Some(0), 0, Ok(0)),
            (Some(9), Some(9), 0, Ok(0)),
            (Some(9), Some(4), 0, Ok(5)),
            (Some(u64::MAX), Some(0), 0, Ok(u64::MAX)),
            (Some(9), Some(10), 0, beyond(9)),
            (Some(9), Some(10), 9, beyond(9)),
            (Some(0), Some(u64::MAX), 0, beyond(0)),
            // What it has sent begins at 4.
            (Some(9), Some(9), 4, Ok(0)),
            (Some(9), Some(5), 4, Ok(4)),
            (Some(9), Some(4), 4, Ok(5)),
            (Some(9), Some(3), 4, foreign(9)),
            // All is another's.
            (Some(9), Some(9), 9, Ok(0)),
            (Some(9), Some(8), 9, foreign(9)),
            (Some(9), Some(0), 9, foreign(9)),
            (None, Some(0), 0, Err(Misplaced::Unknown)),
            (None, Some(9), 0, Err(Misplaced::Unknown)),
        ] {
            let found = found.map(|skip| Place { skip });
            assert_eq!(
                Place::find(taken, offset, own_from),
                found,
                "{taken:?} {offset:?} {own_from}"
            );
        }
    }

    #[test]
    fn what_was_taken_is_skipped_however_it_is_cut() {
        let mut place = Place::find(Some(9), Some(4), 0).unwrap();
        assert_eq!(place.new_of(b"ab"), b"");
        assert_eq!(place.new_of(b""), b"");
        assert_eq!(place.new_of(b"cdefg"), b"fg");
        assert_eq!(place.new_of(b"h"), b"h");
        let mut place = Place::find(Some(9), Some(4), 0).unwrap();
        assert_eq!(place.new_of(b"abcde"), b"");
        assert_eq!(place.new_of(b"f"), b"f");
    }
}
