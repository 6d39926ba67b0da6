//! How large the pipes of processes become. Runs in the supervisor; pure.

use std::cell::Cell;
use std::rc::Rc;

/// Bytes in a pipe as it is made (pipe(7)).
pub(crate) const PIPE_DEFAULT: u64 = 64 * 1024;

/// Bytes in a pipe once it was found full, as far as can be told: beyond that, measured, there is
/// under 10 % to gain.
pub(crate) const PIPE_GROWN: u64 = 256 * 1024;

/// Bytes by which pipes may be larger than they were made, all together: of some 680 of them. The
/// memory is that of who writes, in the group of its process, which may have no limit. The pipes
/// beyond stay as they are, which costs throughput and nothing else.
const BUDGET: u64 = 128 << 20;

/// What is left of [`BUDGET`].
#[derive(Debug, Clone)]
pub(crate) struct PipeBudget {
    left: Rc<Cell<u64>>,
}

impl PipeBudget {
    /// All of it.
    pub fn new() -> Self {
        Self {
            left: Rc::new(Cell::new(BUDGET)),
        }
    }

    /// Takes what one pipe grows by. `None`: there is not enough left.
    pub fn take(&self) -> Option<Growth> {
        let left = self.left.get().checked_sub(PIPE_GROWN - PIPE_DEFAULT)?;
        self.left.set(left);
        Some(Growth(self.clone()))
    }
}

/// That one pipe has grown. Given back when that pipe is closed.
#[derive(Debug)]
pub(crate) struct Growth(PipeBudget);

impl Drop for Growth {
    fn drop(&mut self) {
        let left = &self.0.left;
        left.set(left.get() + (PIPE_GROWN - PIPE_DEFAULT));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_grow_until_the_budget_is_used_up_and_again_when_others_are_closed() {
        let budget = PipeBudget::new();
        let mut grown: Vec<_> = std::iter::from_fn(|| budget.take()).collect();
        assert_eq!(grown.len(), 682);
        assert!(budget.take().is_none());
        grown.truncate(680);
        assert!(budget.take().is_some(), "given back at once");
        grown.extend(std::iter::from_fn(|| budget.take()));
        assert_eq!(grown.len(), 682);
        drop(grown);
        assert_eq!(budget.left.get(), BUDGET);
    }
}
