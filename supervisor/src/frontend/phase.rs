//! The phases of a frontend. Runs in the supervisor.

/// What a frontend is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It has said nothing.
    Silent,
    /// It has said Hello.
    Greeted,
    /// It has dropped its privileges, and serves.
    Ready,
    /// It was told that it is replaced.
    Leaving,
    /// It has said all.
    Left,
}
