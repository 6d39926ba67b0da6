//! The layout of a process's output in shared memory, and its reader.
//!
//! The supervisor writes two files for each process; the frontend has read-only descriptors of
//! them.
//!
//! - The **data** begin with the ring: the byte at offset `o` of the output is at `o % capacity`. Both streams share one
//!   offset space, in the order in which they were read, from 0 for the whole life of the process. Behind the ring is the
//!   index, a ring of [`Record`]s: record number `n` is at `capacity + (n % slots) * RECORD`. A record says where a run of
//!   bytes of one stream begins and when it was read; it ends where the next one begins, or at the end of the output. A
//!   published record never changes.
//! - The **page** holds the sizes of both rings and the [`Marks`], between two sequence numbers' worth of care, see below. It
//!   is a memfd.
//!
//! Order, which `supervisor`'s store keeps and [`Reader`] relies on: before a byte or a record is
//! overwritten or its memory given back, the marks that exclude it are published. The sequence
//! number is odd while the marks change. A reader takes the marks twice and believes them when both
//! are equal and even (pread(2) copies in no order that it promises); it copies bytes out, then
//! takes the marks again, and what was excluded meanwhile is a gap, never old bytes and never
//! zeros.

mod layout;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use crate::types::UnixMicros;

pub use layout::*;

/// Tries for marks that are not changing, before a reader looks at the clock and gives way to the
/// writer.
const TRIES: u32 = 100;

/// How long a reader tries. A publication takes the writer less than a microsecond, so this one is
/// stopped in the middle of one, or gone: its reader must not spin on for as long as that is.
const PATIENCE: Duration = Duration::from_secs(1);

/// Records that are copied at once: as many as a page of the index holds.
const BATCH: usize = 256;

impl Default for Record {
    /// That of zeroed memory.
    fn default() -> Self {
        Self::from_words(0, 0)
    }
}

impl Record {
    /// From [`Record::to_words`].
    pub fn from_words(offset: u64, tag: u64) -> Self {
        let stream = if tag & 1 == 0 {
            Stream::Stdout
        } else {
            Stream::Stderr
        };
        Self {
            offset,
            time: UnixMicros(tag >> 1),
            stream,
        }
    }

    /// Both words as they lie in the index.
    fn from_bytes(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, tag @ ..] = bytes;
        Self::from_words(
            u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            u64::from_le_bytes(tag),
        )
    }
}

impl Marks {
    /// Whether a writer that keeps the layout's rules could have published them, in an index of
    /// this many slots.
    fn possible(&self, slots: u64) -> bool {
        let (Some(bytes), Some(records)) = (
            self.high.checked_sub(self.low),
            self.next_record.checked_sub(self.first_record),
        ) else {
            return false;
        };
        records <= slots && (bytes == 0 || records > 0)
    }
}

/// What a reader finds at its cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// `length` bytes were copied into the buffer.
    Data {
        /// Offset of the first.
        offset: u64,
        /// How many: at least 1.
        length: usize,
        /// Which stream they came from.
        stream: Stream,
        /// When they were read, to the millisecond.
        time: UnixMicros,
    },
    /// The bytes from `from` to before `to` are not kept any more.
    Gap {
        /// First one missing.
        from: u64,
        /// Just after the last one missing.
        to: u64,
    },
    /// Nothing is beyond the cursor yet.
    End {
        /// Offset just after the newest byte: the cursor, or less if it was set beyond the end.
        high: u64,
    },
}

/// What a reader copies from: a file; for tests, memory that stops between any two words.
pub trait Memory {
    /// Copies the bytes at `at`, in no order that it promises.
    ///
    /// # Errors
    /// Those of pread(2).
    fn read_exact_at(&self, into: &mut [u8], at: u64) -> io::Result<()>;
}

impl Memory for File {
    fn read_exact_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, into, at)
    }
}

/// Reads one process's output from its two files. Any number of cursors can share one reader's
/// descriptors.
#[derive(Debug)]
pub struct Reader<M = File> {
    data: M,
    page: M,
    capacity: u64,
    slots: u64,
}

/// A position in an output. Its offset is public; the rest makes the next read cheap.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cursor {
    /// Offset of the next byte to read.
    pub offset: u64,
    /// Number of the record that the last read ended in.
    record: u64,
    /// That record and its end when it was read. Published, it stays true: a read within it needs
    /// no look at the index before it copies, only after.
    run: Option<(Record, u64)>,
}

impl Cursor {
    /// At `offset`.
    pub fn at(offset: u64) -> Self {
        Self {
            offset,
            ..Self::default()
        }
    }

    /// The last read's record and its end, if `length` bytes from here all lie before that.
    fn run_of(&self, length: usize) -> Option<(u64, Record, u64)> {
        let (record, end) = self.run?;
        let last = self.offset.checked_add(u64::try_from(length).ok()?)?;
        (length > 0 && record.offset <= self.offset && last <= end).then_some((
            self.record,
            record,
            end,
        ))
    }
}

impl<M: Memory> Reader<M> {
    /// Over the descriptors that the supervisor handed out.
    ///
    /// # Errors
    /// Those of pread(2); `InvalidData` if the page has another layout.
    pub fn new(data: M, page: M) -> io::Result<Self> {
        let magic = word_at(&page, word::MAGIC)?;
        let capacity = word_at(&page, word::CAPACITY)?;
        let slots = word_at(&page, word::SLOTS)?;
        let end = slots
            .checked_mul(RECORD)
            .and_then(|records| records.checked_add(capacity));
        if magic != MAGIC || capacity == 0 || slots == 0 || end.is_none() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self {
            data,
            page,
            capacity,
            slots,
        })
    }

    /// What is readable now.
    ///
    /// # Errors
    /// Those of pread(2); `TimedOut` if the writer stopped in the middle of changing them; `InvalidData` if no writer could
    /// have published them.
    pub fn marks(&self) -> io::Result<Marks> {
        let mut tries = 0;
        let mut give_up = None;
        loop {
            let first = self.words()?;
            // Orders the two copies on machines whose loads are not ordered.
            fence(Ordering::SeqCst);
            let second = self.words()?;
            let [sequence, low, high, first_record, next_record] = first;
            if first == second && sequence % 2 == 0 {
                let marks = Marks {
                    low,
                    high,
                    first_record,
                    next_record,
                };
                return if marks.possible(self.slots) {
                    Ok(marks)
                } else {
                    Err(io::ErrorKind::InvalidData.into())
                };
            }
            tries += 1;
            if tries >= TRIES {
                tries = 0;
                if Instant::now() > *give_up.get_or_insert_with(|| Instant::now() + PATIENCE) {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                std::thread::yield_now();
            }
        }
    }

    /// Copies what follows the cursor into `buffer`, up to the end of one stream's run, and moves
    /// the cursor past it.
    ///
    /// # Errors
    /// Those of [`Self::marks`].
    pub fn read(&self, cursor: &mut Cursor, buffer: &mut [u8]) -> io::Result<Piece> {
        let mut run = cursor.run_of(buffer.len());
        let mut marks = None;
        loop {
            let (number, record, end) = match run.take() {
                Some(run) => run,
                None => {
                    let marks = match marks {
                        Some(marks) => marks,
                        None => self.marks()?,
                    };
                    if cursor.offset < marks.low {
                        let from = std::mem::replace(&mut cursor.offset, marks.low);
                        return Ok(Piece::Gap {
                            from,
                            to: marks.low,
                        });
                    }
                    if cursor.offset >= marks.high {
                        return Ok(Piece::End { high: marks.high });
                    }
                    self.find(cursor, &marks)?
                }
            };
            let position = cursor.offset % self.capacity;
            let want = (end.saturating_sub(cursor.offset)).min(self.capacity - position);
            let length = buffer
                .len()
                .min(usize::try_from(want).unwrap_or(usize::MAX));
            let target = buffer.get_mut(..length).unwrap_or_default();
            self.data.read_exact_at(target, position)?;
            fence(Ordering::SeqCst);
            let after = self.marks()?;
            // What the copy and the records were made from must still have been kept when both were
            // done.
            if cursor.offset >= after.low && number >= after.first_record && length > 0 {
                let offset = cursor.offset;
                cursor.offset += u64::try_from(length).unwrap_or(0);
                (cursor.record, cursor.run) = (number, Some((record, end)));
                return Ok(Piece::Data {
                    offset,
                    length,
                    stream: record.stream,
                    time: record.time,
                });
            }
            if buffer.is_empty() {
                return Ok(Piece::End { high: after.high });
            }
            marks = Some(after);
        }
    }

    /// Moves the cursor past bytes of the other stream than `stream`, as far as one batch of the
    /// index tells.
    ///
    /// Where it stays, [`Reader::read`] says what is there: bytes of `stream`, a gap, or the end.
    ///
    /// # Errors
    /// Those of pread(2).
    pub fn skip(&self, cursor: &mut Cursor, stream: Stream) -> io::Result<()> {
        let marks = self.marks()?;
        if cursor.offset < marks.low || cursor.offset >= marks.high {
            return Ok(());
        }
        let (number, record, _) = self.find(cursor, &marks)?;
        if record.stream == stream {
            return Ok(());
        }
        let mut batch = [Record::default(); BATCH];
        let ahead = usize::try_from(marks.next_record.saturating_sub(number + 1))
            .unwrap_or(BATCH)
            .min(BATCH);
        let batch = batch.get_mut(..ahead).unwrap_or_default();
        let after = self.records(number + 1, batch)?;
        // As in `read`: what the position was found from must still have been kept when it was found.
        if cursor.offset < after.low || number < after.first_record {
            return Ok(());
        }
        let mut position = Cursor {
            offset: marks.high,
            record: number,
            run: None,
        };
        for (number, record) in (number + 1..).zip(batch.iter()) {
            position = Cursor {
                offset: record.offset,
                record: number,
                run: None,
            };
            if record.stream == stream {
                break;
            }
            if number + 1 == marks.next_record {
                position.offset = marks.high;
            }
        }
        if position.offset > cursor.offset {
            *cursor = position;
        }
        Ok(())
    }

    /// Copies records, the first of them number `first`, and takes the marks after that: a record
    /// whose number is before their `first_record`, or not before their `next_record`, is garbage.
    ///
    /// # Errors
    /// Those of pread(2).
    pub fn records(&self, first: u64, into: &mut [Record]) -> io::Result<Marks> {
        let (mut number, mut rest) = (first, into);
        while !rest.is_empty() {
            let slot = number % self.slots;
            let length = usize::try_from(self.slots - slot)
                .unwrap_or(BATCH)
                .min(rest.len())
                .min(BATCH);
            let (now, later) = rest.split_at_mut(length);
            let mut bytes = [[0; 16]; BATCH];
            let bytes = bytes.get_mut(..length).unwrap_or_default();
            self.data
                .read_exact_at(bytes.as_flattened_mut(), self.capacity + slot * RECORD)?;
            for (record, bytes) in now.iter_mut().zip(bytes) {
                *record = Record::from_bytes(*bytes);
            }
            number += u64::try_from(length).unwrap_or(0);
            rest = later;
        }
        fence(Ordering::SeqCst);
        self.marks()
    }

    /// Copies bytes, the first of them at `offset`, and takes the marks after that: a byte before
    /// their `low`, or not before their `high`, is garbage.
    ///
    /// # Errors
    /// Those of pread(2).
    pub fn bytes(&self, offset: u64, into: &mut [u8]) -> io::Result<Marks> {
        let mut position = offset % self.capacity;
        let mut rest = into;
        while !rest.is_empty() {
            let length = usize::try_from(self.capacity - position)
                .unwrap_or(usize::MAX)
                .min(rest.len());
            let (now, later) = rest.split_at_mut(length);
            self.data.read_exact_at(now, position)?;
            (position, rest) = (0, later);
        }
        fence(Ordering::SeqCst);
        self.marks()
    }

    /// The record that holds the cursor's byte, its number, and where it ends. Garbage if it was
    /// overtaken meanwhile.
    fn find(&self, cursor: &Cursor, marks: &Marks) -> io::Result<(u64, Record, u64)> {
        // Reading on, the byte is in the same record or the next one.
        let hint = cursor
            .record
            .clamp(marks.first_record, marks.next_record.saturating_sub(1));
        for number in [hint, hint + 1]
            .into_iter()
            .filter(|number| *number < marks.next_record)
        {
            let record = self.record(number)?;
            let end = self.end_of(number, marks)?;
            if record.offset <= cursor.offset && cursor.offset < end {
                return Ok((number, record, end));
            }
        }
        // The last record that begins at or before the cursor.
        let (mut low, mut high) = (marks.first_record, marks.next_record);
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            if self.record(middle)?.offset <= cursor.offset {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok((low, self.record(low)?, self.end_of(low, marks)?))
    }

    fn end_of(&self, number: u64, marks: &Marks) -> io::Result<u64> {
        if number + 1 >= marks.next_record {
            return Ok(marks.high);
        }
        Ok(self.record(number + 1)?.offset.min(marks.high))
    }

    fn record(&self, number: u64) -> io::Result<Record> {
        let mut bytes = [0; 16];
        self.data
            .read_exact_at(&mut bytes, self.capacity + (number % self.slots) * RECORD)?;
        Ok(Record::from_bytes(bytes))
    }

    /// The sequence number and the four marks.
    fn words(&self) -> io::Result<[u64; 5]> {
        let mut words = [[0; 8]; 5];
        self.page
            .read_exact_at(words.as_flattened_mut(), word::SEQUENCE)?;
        Ok(words.map(u64::from_le_bytes))
    }
}

fn word_at(memory: &impl Memory, at: u64) -> io::Result<u64> {
    let mut bytes = [0; 8];
    memory.read_exact_at(&mut bytes, at)?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod interleavings;
#[cfg(test)]
#[expect(
    clippy::as_conversions,
    reason = "usize and u64 are the same here, and a byte is taken on purpose"
)]
mod writer_model;

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::memfd::{MFdFlags, memfd_create};

    /// A reader of 64 bytes in up to 4 records, with this sequence number and these marks.
    fn reader(sequence: u64, marks: Marks) -> Reader {
        let file = || File::from(memfd_create(c"test", MFdFlags::MFD_CLOEXEC).unwrap());
        let (data, page) = (file(), file());
        data.write_all_at(&[7; 64], 0).unwrap();
        let words = [
            MAGIC,
            64,
            4,
            sequence,
            marks.low,
            marks.high,
            marks.first_record,
            marks.next_record,
        ];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        page.write_all_at(&bytes, 0).unwrap();
        Reader::new(data, page).unwrap()
    }

    fn error(reader: &Reader) -> io::ErrorKind {
        reader
            .read(&mut Cursor::at(0), &mut [0; 8])
            .unwrap_err()
            .kind()
    }

    #[test]
    fn marks_that_no_writer_publishes_are_an_error() {
        let marks = |low, high, first_record, next_record| Marks {
            low,
            high,
            first_record,
            next_record,
        };
        for wrong in [
            marks(2, 1, 0, 1),
            marks(0, 1, 0, 0),
            marks(0, 1, 1, 0),
            marks(0, 9, 0, 5),
            marks(0, 9, u64::MAX, u64::MAX),
            marks(0, 9, 1 << 63, 0),
        ] {
            assert_eq!(
                error(&reader(0, wrong)),
                io::ErrorKind::InvalidData,
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn a_writer_that_stopped_while_it_published_is_not_waited_for_without_end() {
        assert_eq!(error(&reader(1, Marks::default())), io::ErrorKind::TimedOut);
    }
}
