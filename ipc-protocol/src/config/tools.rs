//! What `prn server start` has compiled for `prn-tools`.

use serde::{Deserialize, Serialize};

use super::filter::Filter;

/// What confines a process of [`crate::message::Profile::Strict`] beside its namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strict {
    /// Applied before its program.
    pub filter: Filter,
    /// Rights below a path that is there when the server starts, as the kernel's bits
    /// (linux/landlock.h).
    pub files: Vec<(String, u64)>,
}
