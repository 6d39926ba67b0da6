//! How much of a process's input was taken, as far as anybody can tell. Runs in the supervisor;
//! pure.
//!
//! Input goes from the frontend to the process, past this program. A frontend that stops writing
//! says how much it has written; one that dies can't.

/// Bytes of a process's input that are in its pipe, or were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// So many.
    Known(u64),
    /// Somebody writes, who will say.
    Counting,
    /// Somebody else has written meanwhile, or died who had.
    Unknown,
}

impl Taken {
    /// Of an input that nobody has written to.
    pub const NOTHING: Self = Self::Known(0);

    /// So many, if that is known.
    pub fn known(self) -> Option<u64> {
        match self {
            Self::Known(taken) => Some(taken),
            Self::Counting | Self::Unknown => None,
        }
    }

    /// Somebody writes from now on, who is told how many there were.
    pub fn begin(&mut self) -> Option<u64> {
        let taken = self.known();
        *self = match taken {
            Some(_) => Self::Counting,
            // Who wrote has died, or is the same and does not know what its other half has written.
            None => Self::Unknown,
        };
        taken
    }

    /// Who writes has stopped, and says so many. What was unknown stays so: it may not count from
    /// there.
    pub fn say(&mut self, taken: u64) {
        if *self == Self::Counting {
            *self = Self::Known(taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stops_says_how_much_and_the_next_one_goes_on_there() {
        let mut taken = Taken::NOTHING;
        assert_eq!(taken.begin(), Some(0));
        assert_eq!(taken.known(), None);
        taken.say(7);
        assert_eq!(taken.begin(), Some(7));
        taken.say(9);
        // Said again, or by somebody who does not write.
        taken.say(1);
        assert_eq!(taken, Taken::Known(9));
    }

    #[test]
    fn what_died_with_its_writer_is_unknown_for_good() {
        let mut taken = Taken::NOTHING;
        taken.begin();
        // Somebody else, later.
        assert_eq!(taken.begin(), None);
        taken.say(3);
        assert_eq!(taken, Taken::Unknown);
    }
}
