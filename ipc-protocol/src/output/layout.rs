//! What is where in the files of an output: both halves agree on this. See the [module
//! above](super) for the order of access.

use crate::types::UnixMicros;

/// First eight bytes of the page: layout version 2.
pub const MAGIC: u64 = u64::from_le_bytes(*b"prnout02");
/// Bytes of the page.
pub const PAGE: u64 = 4096;
/// Bytes of a record.
pub const RECORD: u64 = 16;
/// Resolution of times, in microseconds: all bytes of a record were read less than this from its
/// time.
pub const RESOLUTION: u64 = 1000;

/// Byte offsets of the page's 64-bit little-endian words.
pub mod word {
    /// [`super::MAGIC`].
    pub const MAGIC: u64 = 0;
    /// Bytes in the ring.
    pub const CAPACITY: u64 = 8;
    /// Records in the index.
    pub const SLOTS: u64 = 16;
    /// Odd while the words after it change.
    pub const SEQUENCE: u64 = 24;
    /// [`super::Marks::low`].
    pub const LOW: u64 = 32;
    /// [`super::Marks::high`].
    pub const HIGH: u64 = 40;
    /// [`super::Marks::first_record`].
    pub const FIRST_RECORD: u64 = 48;
    /// [`super::Marks::next_record`].
    pub const NEXT_RECORD: u64 = 56;
}

/// A stream of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What is readable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// Offset of the oldest byte kept.
    pub low: u64,
    /// Offset just after the newest byte.
    pub high: u64,
    /// Number of the record that holds the byte at `low`, or `next_record` when no byte is kept.
    pub first_record: u64,
    /// Number of the next record to be written.
    pub next_record: u64,
}

/// Where a run of bytes of one stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Offset of its first byte.
    pub offset: u64,
    /// When it was read.
    pub time: UnixMicros,
    /// Which stream it came from.
    pub stream: Stream,
}

impl Record {
    /// Its two words: the offset; the time, doubled, plus 1 for standard error.
    pub fn to_words(self) -> [u64; 2] {
        [
            self.offset,
            self.time.0 << 1 | u64::from(self.stream == Stream::Stderr),
        ]
    }
}
