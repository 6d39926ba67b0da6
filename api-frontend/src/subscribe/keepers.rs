//! How many follow a process, and so keep its lease. Pure.

/// Those who do.
#[derive(Debug, Default)]
pub struct Keepers {
    count: usize,
    /// The supervisor knows of them.
    are_told: bool,
}

impl Keepers {
    /// One more.
    pub fn enter(&mut self) {
        self.count += 1;
    }

    /// Whether the supervisor is to be told of them: once, if there is a lease that they keep.
    pub fn tell(&mut self, has_lease: bool) -> bool {
        let is_news = has_lease && self.count > 0 && !self.are_told;
        self.are_told |= is_news;
        is_news
    }

    /// One goes. Whether the supervisor, which knows of them, is to be told that it was the last.
    pub fn leave(&mut self) -> bool {
        self.count = self.count.saturating_sub(1);
        self.count == 0 && std::mem::take(&mut self.are_told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_who_keep_a_lease_are_told_of() {
        let mut keepers = Keepers::default();
        assert!(!keepers.tell(true), "nobody follows");
        keepers.enter();
        assert!(keepers.tell(true));
        keepers.enter();
        assert!(!keepers.tell(true));
        assert!(!keepers.leave());
        assert!(keepers.leave());
        keepers.enter();
        assert!(keepers.tell(true), "another first one");
    }

    #[test]
    fn a_lease_that_comes_later_finds_those_who_follow_already() {
        let mut keepers = Keepers::default();
        keepers.enter();
        assert!(!keepers.tell(false));
        assert!(keepers.tell(true));
        assert!(!keepers.tell(false), "it may come back");
        assert!(keepers.leave());
        keepers.enter();
        assert!(!keepers.tell(false));
        assert!(!keepers.leave(), "it was told of nobody");
    }
}
