//! What was copied.

/// So much was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Files, links among them; no directories.
    pub files: u64,
    /// Bytes of their contents, without holes.
    pub bytes: u64,
}
