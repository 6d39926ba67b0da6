//! The writing side of a process's output: see [`prn_ipc_protocol::output`] for the layout and for
//! the order that its readers rely on.
//!
//! Runs in the supervisor. The bytes go from the process's pipe straight into shared memory, or
//! into a file on disk; nothing in this program ever looks at them.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use prn_ipc_protocol::message::{Keeping, OutputStore, OutputTotals, Overflow};
use prn_ipc_protocol::output::{MAGIC, Marks, PAGE, RECORD, RESOLUTION, Record, Stream, word};
use prn_ipc_protocol::types::UnixMicros;

use crate::sys::memory::{RingPart, Shared};

/// Most bytes of one read: a pipe holds no more, once it has grown (see [`crate::runner`]).
pub const READ_MAX: u64 = 256 * 1024;

/// Output bytes for each record of the index. Where a process's output comes in smaller runs for
/// long, the index fills first, and the oldest output is dropped with its records.
const BYTES_PER_RECORD: u64 = 64;

/// Bytes that are kept of what a follower was sent last, beside what it was not sent yet: a
/// connection that breaks may have had as many under way (HTTP/2's window, and what lay before it).
const IN_FLIGHT: u64 = 4 << 20;

/// What takes room.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    /// Bytes of the ring.
    bytes: u64,
    /// Records of the index.
    records: u64,
}

/// The sizes of both rings.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// Bytes of output.
    capacity: u64,
    /// Records of the index.
    slots: u64,
}

impl Sizes {
    /// Bytes of the file that both are in.
    fn length(self) -> u64 {
        self.capacity + self.slots * RECORD
    }
}

/// What a read has taken from a pipe.
#[derive(Debug, Clone, Copy)]
enum Taken {
    /// So many bytes, which are in the ring.
    Kept(u64),
    /// So many bytes, which are nowhere.
    Lost(u64),
}

impl Taken {
    fn bytes(self) -> u64 {
        match self {
            Self::Kept(bytes) | Self::Lost(bytes) => bytes,
        }
    }
}

fn length(read: usize) -> nix::Result<u64> {
    u64::try_from(read).map_err(|_| Errno::EIO)
}

/// One process's output.
#[derive(Debug)]
pub struct Store {
    /// Its newest bytes, and records of where they came from.
    pub data: Shared,
    /// The marks, for readers.
    pub page: Shared,
    capacity: u64,
    slots: u64,
    sequence: u64,
    /// What is kept of it.
    pub marks: Marks,
    last: Option<Record>,
    stdout: u64,
    stderr: u64,
    held: Held,
    /// What the disk takes no more of is lost, which readers are told, and the process goes on.
    lossy: bool,
    /// Why the disk took no more.
    pub refused: Option<Errno>,
}

impl Store {
    /// Those of an output that is kept so.
    fn sizes(keeping: Keeping) -> Sizes {
        // One read more than promised, because room is made before it is known how much of it a
        // read will fill. Where nothing may be dropped, also for what is in two pipes when they are
        // read for the last time: a process can make each 1 MiB large (pipe(7), pipe-max-size). And
        // one more, for which room is made before it finds that there is nothing.
        let reads = if keeping.overflow == Overflow::DropOldest {
            1
        } else {
            10
        };
        // A follower's connection may be lost with what was on its way.
        let in_flight = if matches!(keeping.overflow, Overflow::Follow(_)) {
            IN_FLIGHT
        } else {
            0
        };
        let capacity = keeping.max.next_multiple_of(4096) + reads * READ_MAX + in_flight;
        Sizes {
            capacity,
            slots: capacity / BYTES_PER_RECORD,
        }
    }

    /// Most room that such an output can come to take, in bytes.
    pub fn most(keeping: Keeping) -> u64 {
        Self::sizes(keeping).length()
    }

    /// An empty output. One on disk is in a file without a name, in the folder `state`.
    pub fn new(keeping: Keeping, state: BorrowedFd<'_>) -> nix::Result<Self> {
        let sizes = Self::sizes(keeping);
        let on_disk = keeping.store == OutputStore::Disk;
        let data = if on_disk {
            Shared::on_disk(state, sizes.length())
        } else {
            Shared::in_memory(c"prn-output", sizes.length())
        }?;
        let page = Shared::in_memory(c"prn-marks", PAGE)?;
        let Sizes { capacity, slots } = sizes;
        page.put(0, &[MAGIC, capacity, slots])?;
        Ok(Self {
            data,
            page,
            capacity,
            slots,
            sequence: 0,
            marks: Marks::default(),
            last: None,
            stdout: 0,
            stderr: 0,
            held: Held::default(),
            lossy: on_disk && keeping.overflow == Overflow::DropOldest,
            refused: None,
        })
    }

    /// Takes what a pipe holds, one read's worth at most. Returns how many bytes; 0 at the end of
    /// the stream.
    ///
    /// # Errors
    /// EAGAIN when nothing is there. Others as readv(2), splice(2) and pwrite(2): nothing was taken.
    pub fn fill(
        &mut self,
        pipe: BorrowedFd<'_>,
        stream: Stream,
        now: UnixMicros,
    ) -> nix::Result<u64> {
        let record = Record {
            offset: self.marks.high,
            time: now,
            stream,
        };
        self.make_room(record);
        let taken = self.take(pipe, record)?;
        let read = taken.bytes();
        if read > 0 {
            self.count(record, taken);
            self.publish();
        }
        Ok(read)
    }

    /// Drops what the next read may overwrite. Readers must know that before it is overwritten (see
    /// the module of the layout).
    fn make_room(&mut self, record: Record) {
        let low = self.marks.low;
        self.drop_before((self.marks.high + READ_MAX).saturating_sub(self.capacity));
        let records = self.marks.next_record - self.marks.first_record;
        if !self.joins_last(record) && records == self.slots {
            self.drop_before(self.begin_of(self.marks.first_record + 1));
        }
        if self.marks.low != low {
            self.publish();
        }
    }

    /// Whether what has come is told as part of what came last.
    fn joins_last(&self, record: Record) -> bool {
        self.last.is_some_and(|last| {
            last.stream == record.stream && record.time.0.abs_diff(last.time.0) < RESOLUTION
        })
    }

    /// Reads once. What the disk does not take costs the oldest output, if that may be dropped.
    fn take(&mut self, pipe: BorrowedFd<'_>, record: Record) -> nix::Result<Taken> {
        let mut step = 4 * READ_MAX;
        loop {
            let error = match self.take_into_ring(pipe, record) {
                Ok(read) => return Ok(Taken::Kept(length(read)?)),
                Err(error @ (Errno::EAGAIN | Errno::EINTR)) => return Err(error),
                Err(error) => error,
            };
            let state = state(pipe);
            if !state.contains(PollFlags::POLLIN) {
                return if state.contains(PollFlags::POLLHUP) {
                    Ok(Taken::Kept(0))
                } else {
                    Err(Errno::EAGAIN)
                };
            }
            self.refused = Some(error);
            if !self.lossy {
                return Err(error);
            }
            if self.marks.high == self.marks.low {
                let read = nix::unistd::read(pipe, &mut [0; 65_536])?;
                return Ok(Taken::Lost(length(read)?));
            }
            // The oldest makes room, or more of it, until that is of no help.
            let _unused = self.evict(step);
            step *= 2;
        }
    }

    fn take_into_ring(&self, pipe: BorrowedFd<'_>, record: Record) -> nix::Result<usize> {
        // The record first: once bytes were taken, nothing can fail.
        if !self.joins_last(record) {
            let index = self.index_of(self.marks.next_record);
            self.data.put(index, &record.to_words())?;
        }
        let part = RingPart {
            at: self.marks.high % self.capacity,
            length: READ_MAX,
            size: self.capacity,
        };
        self.data.take(pipe, part)
    }

    /// Takes what was read into the marks; not published yet.
    fn count(&mut self, record: Record, taken: Taken) {
        let read = taken.bytes();
        let is_kept = matches!(taken, Taken::Kept(_));
        if is_kept && !self.joins_last(record) {
            self.marks.next_record += 1;
            self.held.records = (self.held.records + 1).min(self.slots);
            self.last = Some(record);
        }
        self.marks.high += read;
        match record.stream {
            Stream::Stdout => self.stdout += read,
            Stream::Stderr => self.stderr += read,
        }
        if is_kept {
            self.held.bytes = (self.held.bytes + read).min(self.capacity);
        } else {
            self.drop_before(self.marks.high);
        }
    }

    /// Whether more cannot be kept without dropping what is after `taken`: not its bytes, or not
    /// where they came from.
    pub fn is_full(&self, max: u64, taken: u64) -> bool {
        // What is read for the last time may come in a few runs more.
        let records = self.marks.next_record - self.marks.first_record + 64 > self.slots;
        self.marks.high.saturating_sub(self.marks.low.max(taken)) > max
            || (records && self.begin_of(self.marks.first_record + 64) > taken)
    }

    /// Drops the oldest `bytes`, or what there is, and gives their room back.
    ///
    /// # Errors
    /// As fallocate(2). The bytes are dropped for readers all the same.
    pub fn evict(&mut self, bytes: u64) -> nix::Result<()> {
        self.drop_before(self.marks.low.saturating_add(bytes).min(self.marks.high));
        self.publish();
        // All of the ring but what is kept, which may wrap around its end.
        let kept = self.marks.high - self.marks.low;
        let (from, length) = (self.marks.high % self.capacity, self.capacity - kept);
        self.held.bytes = kept;
        let first = length.min(self.capacity - from);
        self.data.punch(from, first)?;
        self.data.punch(0, length - first)?;
        if kept == 0 {
            self.held.records = 0;
            self.data.punch(self.capacity, self.slots * RECORD)?;
        }
        Ok(())
    }

    /// Room that it takes, in bytes.
    pub fn charge(&self) -> u64 {
        self.held.bytes + self.held.records * RECORD
    }

    /// Offsets and sizes.
    pub fn totals(&self) -> OutputTotals {
        OutputTotals {
            first: self.marks.low,
            end: self.marks.high,
            stdout: self.stdout,
            stderr: self.stderr,
        }
    }

    /// Excludes everything before `offset`; not published yet.
    fn drop_before(&mut self, offset: u64) {
        let offset = offset.min(self.marks.high);
        if offset <= self.marks.low {
            return;
        }
        self.marks.low = offset;
        if offset == self.marks.high {
            self.marks.first_record = self.marks.next_record;
            self.last = None;
            return;
        }
        // The last one that begins there or before.
        let mut after = self.marks.next_record;
        while self.marks.first_record + 1 < after {
            let middle = self.marks.first_record.midpoint(after);
            *(if self.begin_of(middle) > offset {
                &mut after
            } else {
                &mut self.marks.first_record
            }) = middle;
        }
    }

    fn publish(&mut self) {
        let Marks {
            low,
            high,
            first_record,
            next_record,
        } = self.marks;
        self.sequence += 2;
        // In memory that is there, so nothing can fail.
        let words = [self.sequence - 1, low, high, first_record, next_record];
        let _unused = self.page.put(word::SEQUENCE, &words);
        let _unused = self.page.put(word::SEQUENCE, &[self.sequence]);
    }

    /// Where a record is, in the data.
    fn index_of(&self, number: u64) -> u64 {
        self.capacity + (number % self.slots) * RECORD
    }

    /// Offset of the first byte of a record. If the disk fails to tell, one beyond all: what cannot
    /// be told apart is dropped.
    fn begin_of(&self, number: u64) -> u64 {
        self.data.get(self.index_of(number)).unwrap_or(u64::MAX)
    }
}

/// What poll(2) says of a pipe: POLLIN while it holds something, POLLHUP when no more will come.
pub fn state(pipe: BorrowedFd<'_>) -> PollFlags {
    let mut set = [PollFd::new(pipe, PollFlags::POLLIN)];
    let _unused = poll(&mut set, PollTimeout::ZERO);
    set.iter().filter_map(PollFd::revents).collect()
}

#[cfg(test)]
#[expect(
    clippy::as_conversions,
    reason = "usize and u64 are the same here, and a byte is taken on purpose"
)]
mod tests {
    use super::*;
    use nix::unistd::{pipe, write};
    use prn_ipc_protocol::output::{Cursor, Piece, Reader};
    use std::fs::File;
    use std::os::fd::AsFd;

    /// One of each kind.
    fn stores(max: u64) -> [Store; 2] {
        let folder = File::open(std::env::temp_dir()).unwrap();
        let keeping = |store| Keeping {
            max,
            overflow: Overflow::DropOldest,
            store,
        };
        [OutputStore::Memory, OutputStore::Disk]
            .map(|store| Store::new(keeping(store), folder.as_fd()).unwrap())
    }

    fn reader(store: &Store) -> Reader {
        Reader::new(store.data.reader().unwrap(), store.page.reader().unwrap()).unwrap()
    }

    /// Writes through a real pipe.
    fn put(store: &mut Store, stream: Stream, time: u64, bytes: &[u8]) {
        let (from, to) = pipe().unwrap();
        for chunk in bytes.chunks(65_536) {
            let mut length = write(&to, chunk).unwrap() as u64;
            // On disk not beyond the end of the ring at once.
            while length > 0 {
                length -= store.fill(from.as_fd(), stream, UnixMicros(time)).unwrap();
            }
        }
    }

    fn byte(offset: u64) -> u8 {
        (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
    }

    fn all(reader: &Reader, from: u64) -> Vec<(Piece, Vec<u8>)> {
        let mut cursor = Cursor::at(from);
        let mut buffer = vec![0; 100_000];
        let mut pieces = Vec::new();
        loop {
            let piece = reader.read(&mut cursor, &mut buffer).unwrap();
            let bytes = if let Piece::Data { length, .. } = piece {
                buffer[..length].to_vec()
            } else {
                Vec::new()
            };
            pieces.push((piece, bytes));
            if matches!(piece, Piece::End { .. }) {
                return pieces;
            }
        }
    }

    #[test]
    fn both_streams_come_back_in_order_with_their_times() {
        for mut store in stores(65_536) {
            put(&mut store, Stream::Stdout, 5_000, b"one");
            put(&mut store, Stream::Stdout, 5_999, b"two");
            put(&mut store, Stream::Stderr, 6_000, b"three");
            put(&mut store, Stream::Stderr, 7_000, b"four");
            let pieces = all(&reader(&store), 1);
            let data = |offset, length, stream, time| Piece::Data {
                offset,
                length,
                stream,
                time: UnixMicros(time),
            };
            assert_eq!(
                pieces,
                [
                    (data(1, 5, Stream::Stdout, 5_000), b"netwo".to_vec()),
                    (data(6, 5, Stream::Stderr, 6_000), b"three".to_vec()),
                    (data(11, 4, Stream::Stderr, 7_000), b"four".to_vec()),
                    (Piece::End { high: 15 }, Vec::new()),
                ]
            );
            assert_eq!(
                store.totals(),
                OutputTotals {
                    first: 0,
                    end: 15,
                    stdout: 6,
                    stderr: 9
                }
            );
        }
    }

    #[test]
    fn o6_what_is_dropped_is_a_gap_and_the_rest_is_exact() {
        for mut store in stores(65_536) {
            let reader = reader(&store);
            let mut written = 0;
            for round in 0..200u64 {
                let length = 1 + (round * 7919) % 60_000;
                let bytes: Vec<u8> = (written..written + length).map(byte).collect();
                let stream = if round % 3 == 0 {
                    Stream::Stderr
                } else {
                    Stream::Stdout
                };
                put(&mut store, stream, round * 2_000, &bytes);
                written += length;
                let mut at = 0;
                for (piece, bytes) in all(&reader, 0) {
                    match piece {
                        Piece::Gap { from, to } => {
                            assert_eq!((from, at), (0, 0));
                            assert!(written - to >= 65_536, "less was kept than promised");
                            at = to;
                        }
                        Piece::Data { offset, length, .. } => {
                            assert_eq!(offset, at);
                            at += length as u64;
                            assert!(
                                (offset..at).zip(&bytes).all(|(o, b)| byte(o) == *b),
                                "wrong bytes at {offset}"
                            );
                        }
                        Piece::End { high } => assert_eq!((high, at), (written, written)),
                    }
                }
            }
        }
    }

    #[test]
    fn an_index_full_of_tiny_runs_drops_the_oldest_and_says_so() {
        for mut store in stores(65_536) {
            let reader = reader(&store);
            let total = store.slots + 100;
            for offset in 0..total {
                put(
                    &mut store,
                    if offset % 2 == 0 {
                        Stream::Stdout
                    } else {
                        Stream::Stderr
                    },
                    offset,
                    &[byte(offset)],
                );
            }
            let pieces = all(&reader, 0);
            assert_eq!(pieces[0].0, Piece::Gap { from: 0, to: 100 });
            assert_eq!(pieces.len() as u64, store.slots + 2);
            assert!(
                pieces[1..]
                    .iter()
                    .zip(100..total)
                    .all(|((_, bytes), offset)| bytes == &[byte(offset)])
            );
        }
    }

    #[test]
    fn evicted_room_is_given_back_and_never_read_as_zeros() {
        for mut store in stores(1 << 20) {
            let reader = reader(&store);
            let bytes: Vec<u8> = (0..900_000).map(|offset| byte(offset) | 1).collect();
            put(&mut store, Stream::Stdout, 0, &bytes);
            store.evict(300_000).unwrap();
            let pieces = all(&reader, 0);
            assert_eq!(
                pieces[0].0,
                Piece::Gap {
                    from: 0,
                    to: 300_000
                }
            );
            assert!(
                pieces
                    .iter()
                    .flat_map(|(_, bytes)| bytes)
                    .all(|byte| *byte != 0)
            );
            store.evict(u64::MAX).unwrap();
            assert_eq!(
                all(&reader, 0)[0].0,
                Piece::Gap {
                    from: 0,
                    to: 900_000
                }
            );
            assert_eq!(store.charge(), 0);
            put(&mut store, Stream::Stdout, 0, b"more");
            assert_eq!(all(&reader, 900_000)[0].1, b"more");
        }
    }

    #[test]
    fn o1_a_reader_descriptor_does_not_write() {
        for store in stores(65_536) {
            use nix::fcntl::{FallocateFlags, fallocate};
            for file in [store.data.reader().unwrap(), store.page.reader().unwrap()] {
                assert_eq!(write(&file, b"x"), Err(Errno::EBADF));
                assert_eq!(nix::unistd::ftruncate(&file, 0), Err(Errno::EINVAL));
                assert_eq!(
                    fallocate(&file, FallocateFlags::empty(), 0, 1),
                    Err(Errno::EBADF)
                );
                // Only the owner's file mode keeps others from opening it again; root, as here, is
                // not kept.
                assert_eq!(
                    std::os::unix::fs::MetadataExt::mode(&file.metadata().unwrap()) & 0o777,
                    0o400
                );
            }
        }
    }

    #[test]
    fn a_reader_beside_a_fast_writer_sees_only_true_bytes() {
        for mut store in stores(65_536) {
            let reader = reader(&store);
            let total: u64 = 64 << 20;
            std::thread::scope(|scope| {
                let readers: Vec<_> = (0..2)
                    .map(|_| {
                        scope.spawn(|| {
                            let (mut cursor, mut buffer, mut seen, mut gaps) =
                                (Cursor::at(0), vec![0; 50_000], 0, 0);
                            while seen < total {
                                match reader.read(&mut cursor, &mut buffer).unwrap() {
                                    Piece::Data { offset, length, .. } => {
                                        assert_eq!(offset, seen);
                                        seen += length as u64;
                                        assert!(
                                            (offset..seen)
                                                .zip(&buffer[..length])
                                                .all(|(o, b)| byte(o) == *b)
                                        );
                                    }
                                    Piece::Gap { from, to } => {
                                        assert_eq!(from, seen);
                                        gaps += to - from;
                                        seen = to;
                                    }
                                    Piece::End { .. } => std::thread::yield_now(),
                                }
                            }
                            (seen, gaps)
                        })
                    })
                    .collect();
                let (from, to) = pipe().unwrap();
                let mut offset = 0;
                while offset < total {
                    let chunk: Vec<u8> = (offset..offset + 4096 * (1 + offset % 7))
                        .map(byte)
                        .collect();
                    let end = offset + write(&to, &chunk).unwrap() as u64;
                    while offset < end {
                        offset += store
                            .fill(from.as_fd(), Stream::Stdout, UnixMicros(offset))
                            .unwrap();
                    }
                }
                for reader in readers {
                    let (seen, _gaps) = reader.join().unwrap();
                    assert!(seen >= total);
                }
            });
        }
    }
}

#[cfg(test)]
#[path = "store/tests.rs"]
mod models;
