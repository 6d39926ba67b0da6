//! How large the store becomes: arithmetic on real records.

use crate::inputs::{FILE_PERCENT, HOSTS, PROCESSES_A_DAY, RUN_TIME, SECOND};
use crate::records::Sizes;

const DAY: u64 = 86_400;

/// How many announcements a job makes: one when it is claimed, one at its end.
const ANNOUNCEMENTS: u64 = 2;

/// Bytes of keys and values that are there at once, with so many ended jobs that are kept.
pub fn live(sizes: &Sizes, kept: u64) -> u64 {
    let running = PROCESSES_A_DAY * RUN_TIME / SECOND / DAY;
    (kept + running) * sizes.kept() + u64::from(HOSTS) * sizes.host
}

/// Bytes that are written in so many seconds of a day's mean.
pub fn written(sizes: &Sizes, seconds: u64) -> u64 {
    let job = sizes.written() + ANNOUNCEMENTS * sizes.host;
    PROCESSES_A_DAY * job / DAY * seconds
}

/// etcd's file: what is there, and what was written since revisions were compacted away.
pub fn file(sizes: &Sizes, kept: u64, seconds: u64) -> u64 {
    (live(sizes, kept) + written(sizes, seconds)) / 100 * FILE_PERCENT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::sizes;

    #[test]
    fn what_is_kept_and_what_is_not_compacted_both_count() {
        let sizes = sizes();
        assert!(file(&sizes, 10_000, 300) < file(&sizes, 10_000, 3600));
        assert!(file(&sizes, 10_000, 300) < file(&sizes, 7_000_000, 300));
        let day = written(&sizes, DAY);
        assert!(day > PROCESSES_A_DAY * sizes.kept(), "{day}");
    }
}
