//! What the daemon watches, by its names in the event loop. Runs in the supervisor.

use crate::events::Token;

/// What the daemon watches in the event loop beside processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attached {
    /// The signals that tell it to stop.
    Signals,
    /// The channel to the frontend.
    Channel,
    /// The frontend's end.
    Frontend,
    /// What the frontend says of itself.
    Log,
}

impl Attached {
    /// Its name in the event loop.
    pub fn token(self) -> Token {
        Token(match self {
            Self::Signals => 0,
            Self::Channel => 1,
            Self::Frontend => 2,
            Self::Log => 3,
        })
    }
}
