//! Pieces of output that were read lately, for those who read the same: each is copied out of a
//! process's ring once, however many subscribers want it.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use prn_ipc_protocol::output::{Cursor, Piece, Reader};

/// Most bytes in a chunk: with its framing a bit under 64 KiB, which is a frame of HTTP/2 and four
/// records of TLS for a client that takes such frames. Chunks end at multiples of it, so that
/// subscribers meet, wherever they began.
pub const CHUNK: usize = 64 * 1024 - 128;

/// Most bytes kept of all processes.
const KEPT: usize = 8 * 1024 * 1024;

/// What a chunk takes beside its bytes: its entries in two tables, with their spare room.
const OVERHEAD: usize = 256;

/// A shorter chunk was the end of the output when it was read, and is outgrown soon.
const WORTH_KEEPING: usize = CHUNK / 4;

/// A piece that is shorter is copied to memory of its own size, so that what waits for a slow
/// client takes little more memory than it has bytes.
const WORTH_A_BUFFER: usize = CHUNK / 4 * 3;

/// Buffers that a thread keeps, to be read into again when nobody holds them any more: a client
/// that keeps up has two on their way, and new ones would have to be zeroed, each on memory that is
/// in no cache.
const SPARE: usize = 8;

/// Bytes that a reader who is ahead of others reads at a time.
pub const LEAD: usize = 8 * CHUNK;

/// So many readers can be that far apart from each other and still share what is kept.
pub const TOGETHER: usize = KEPT / LEAD;

/// Who is further behind than this does not catch up, or does not read.
pub const NEAR: u64 = 64 * 1024 * 1024;

thread_local! {
    static BUFFERS: RefCell<Vec<Bytes>> = const { RefCell::new(Vec::new()) };
}

/// Of [`CHUNK`] bytes, whatever they are.
fn buffer() -> BytesMut {
    let free = BUFFERS.with_borrow_mut(|buffers| {
        let free = buffers.iter().position(Bytes::is_unique)?;
        buffers.swap_remove(free).try_into_mut().ok()
    });
    let mut buffer = free.unwrap_or_else(|| BytesMut::zeroed(CHUNK));
    buffer.resize(CHUNK, 0);
    buffer
}

/// Keeps a buffer, or a good part of one, instead of one that is in use if need be.
fn spare(buffer: Bytes) {
    BUFFERS.with_borrow_mut(|buffers| {
        if buffers.len() < SPARE {
            buffers.push(buffer);
        } else if let Some(used) = buffers.iter_mut().find(|buffer| !buffer.is_unique()) {
            *used = buffer;
        }
    });
}

/// The beginning of a buffer that was read into.
fn beginning(buffer: BytesMut, length: usize) -> Bytes {
    let whole = buffer.freeze();
    let piece = if length < WORTH_A_BUFFER {
        Bytes::copy_from_slice(whole.get(..length).unwrap_or_default())
    } else {
        whole.slice(..length)
    };
    spare(whole);
    piece
}

/// Chunks of all processes, the newest ones.
#[derive(Debug, Default)]
pub struct Chunks(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// By the number of the process and the offset.
    by_position: HashMap<(u64, u64), Chunk>,
    /// Oldest first.
    order: VecDeque<(u64, u64)>,
    bytes: usize,
}

#[derive(Debug, Clone)]
struct Chunk {
    piece: Piece,
    /// Where it ends.
    after: Cursor,
    bytes: Bytes,
}

impl Chunks {
    /// As [`Reader::read`], `most` bytes at most, with the bytes of a [`Piece::Data`]. The reader
    /// is that of the process with this number; `shared` says whether anybody else reads its
    /// output.
    ///
    /// # Errors
    /// As `Reader::read`.
    pub fn read(
        &self,
        (number, reader): (u64, &Reader),
        cursor: &mut Cursor,
        most: usize,
        shared: bool,
    ) -> io::Result<(Piece, Bytes)> {
        let position = (number, cursor.offset);
        if shared
            && let Some(Chunk {
                piece,
                after,
                bytes,
            }) = self.table().by_position.get(&position).cloned()
            && bytes.len() <= most
        {
            *cursor = after;
            return Ok((piece, bytes));
        }
        let chunk = u64::try_from(CHUNK).unwrap_or(u64::MAX);
        let aligned = usize::try_from(chunk - cursor.offset % chunk).unwrap_or(CHUNK);
        let mut buffer = buffer();
        let piece = reader.read(
            cursor,
            buffer.get_mut(..aligned.min(most)).unwrap_or_default(),
        )?;
        let length = if let Piece::Data { length, .. } = piece {
            length
        } else {
            0
        };
        let bytes = beginning(buffer, length);
        if shared && length >= WORTH_KEEPING {
            self.table().keep(
                position,
                Chunk {
                    piece,
                    after: *cursor,
                    bytes: bytes.clone(),
                },
            );
        }
        Ok((piece, bytes))
    }

    /// Whether what is at this offset of the process with this number was read lately.
    pub fn has(&self, number: u64, offset: u64) -> bool {
        self.table().by_position.contains_key(&(number, offset))
    }

    // No code under the lock can panic; were it poisoned, the table would still be whole.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn keep(&mut self, position: (u64, u64), chunk: Chunk) {
        self.bytes += chunk.bytes.len() + OVERHEAD;
        match self.by_position.insert(position, chunk) {
            // Two have read it at the same time.
            Some(same) => self.bytes -= same.bytes.len() + OVERHEAD,
            None => self.order.push_back(position),
        }
        while self.bytes > KEPT {
            let Some(oldest) = self
                .order
                .pop_front()
                .and_then(|position| self.by_position.remove(&position))
            else {
                return;
            };
            self.bytes -= oldest.bytes.len() + OVERHEAD;
            if oldest.bytes.len() >= WORTH_A_BUFFER {
                spare(oldest.bytes);
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::as_conversions, reason = "usize and u64 are the same here")]
mod tests {
    use super::*;
    use prn_ipc_protocol::output::{MAGIC, PAGE, RECORD};
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    fn byte(offset: u64) -> u8 {
        offset.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0]
    }

    /// An output of so many bytes, all of them kept, in one run.
    fn reader(length: u64) -> Reader {
        let file = || {
            let path = std::env::temp_dir().join(format!("prn-chunks-{}", std::process::id()));
            let file = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)
                .unwrap();
            std::fs::remove_file(path).unwrap();
            file
        };
        let (data, page) = (file(), file());
        data.write_all_at(&(0..length).map(byte).collect::<Vec<_>>(), 0)
            .unwrap();
        data.write_all_at(&[0; 16], length).unwrap();
        data.set_len(length + RECORD).unwrap();
        let words = [MAGIC, length, 1, 0, 0, length, 0, 1];
        page.write_all_at(&words.map(u64::to_le_bytes).concat(), 0)
            .unwrap();
        page.set_len(PAGE).unwrap();
        Reader::new(data, page).unwrap()
    }

    /// Reads on, and what came.
    fn read(chunks: &Chunks, reader: &Reader, cursor: &mut Cursor, shared: bool) -> Bytes {
        let from = cursor.offset;
        let (piece, bytes) = chunks.read((7, reader), cursor, CHUNK, shared).unwrap();
        assert!(
            matches!(piece, Piece::Data { offset, length, .. } if offset == from && length == bytes.len())
        );
        assert_eq!(cursor.offset, from + bytes.len() as u64);
        bytes
    }

    fn is_true(from: u64, bytes: &[u8]) -> bool {
        (from..)
            .zip(bytes)
            .all(|(offset, found)| byte(offset) == *found)
    }

    #[test]
    fn what_was_read_for_one_is_there_for_others_until_much_else_was() {
        let count = KEPT / CHUNK;
        let (reader, chunks) = (reader((2 * count * CHUNK) as u64), Chunks::default());
        let (mut first, mut second) = (Cursor::at(0), Cursor::at(0));
        let alone = read(&chunks, &reader, &mut Cursor::at(0), false);
        assert!(is_true(0, &alone) && !chunks.has(7, 0), "nobody shares it");
        // Held throughout, while buffers are used again.
        let held: Vec<_> = (0..count)
            .map(|_| (first.offset, read(&chunks, &reader, &mut first, true)))
            .collect();
        assert!(chunks.has(7, (CHUNK * (count - 2)) as u64) && !chunks.has(8, 0));
        let again = read(
            &chunks,
            &reader,
            &mut Cursor::at((CHUNK * (count - 2)) as u64),
            true,
        );
        assert_eq!(again.as_ptr(), held[count - 2].1.as_ptr(), "read twice");
        for _ in 0..count {
            let from = first.offset;
            assert!(is_true(from, &read(&chunks, &reader, &mut first, true)));
        }
        assert!(!chunks.has(7, 0));
        assert!(is_true(0, &read(&chunks, &reader, &mut second, true)));
        assert!(held.iter().all(|(from, bytes)| is_true(*from, bytes)));
        let table = chunks.table();
        assert!(table.bytes <= KEPT && table.order.len() == table.by_position.len());
    }
}
