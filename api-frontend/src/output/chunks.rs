//! Pieces of output that were read lately, for those who read the same: each is copied out of a process's ring once,
//! however many subscribers want it.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use prn_ipc_protocol::output::{Cursor, Piece, Reader};

/// Most bytes in a chunk: with its framing a bit under 64 KiB, which is a frame of HTTP/2 and four records of TLS for
/// a client that takes such frames. Chunks end at multiples of it, so that subscribers meet, wherever they began.
pub const CHUNK: usize = 64 * 1024 - 128;

/// Most bytes kept of all processes.
const KEPT: usize = 8 * 1024 * 1024;

/// What a chunk takes beside its bytes: its places in two tables, with their spare room.
const OVERHEAD: usize = 256;

/// A shorter chunk was the end of the output when it was read, and is outgrown soon.
const WORTH_KEEPING: usize = CHUNK / 4;

/// A piece that is shorter is copied to memory of its own size, so that what waits for a slow client takes little more
/// memory than it has bytes.
const WORTH_A_BUFFER: usize = CHUNK / 4 * 3;

/// Buffers that a thread keeps, to be read into again when nobody holds them any more: a client that keeps up has two on
/// their way, and new ones would have to be zeroed, each on memory that is in no cache.
const SPARE: usize = 8;

thread_local! {
    static BUFFERS: RefCell<Vec<Bytes>> = const { RefCell::new(Vec::new()) };
}

/// Of [`CHUNK`] bytes, whatever they are.
fn buffer() -> BytesMut {
    let free = BUFFERS.with_borrow_mut(|buffers| {
        let free = buffers.iter().position(Bytes::is_unique)?;
        buffers.swap_remove(free).try_into_mut().ok()
    });
    free.unwrap_or_else(|| BytesMut::zeroed(CHUNK))
}

/// The beginning of a buffer that was read into.
fn beginning(buffer: BytesMut, length: usize) -> Bytes {
    let whole = buffer.freeze();
    let piece = if length < WORTH_A_BUFFER {
        Bytes::copy_from_slice(whole.get(..length).unwrap_or_default())
    } else {
        whole.slice(..length)
    };
    BUFFERS.with_borrow_mut(|buffers| {
        if buffers.len() < SPARE {
            buffers.push(whole);
        }
    });
    piece
}

/// Chunks of all processes, the newest ones.
#[derive(Default)]
pub struct Chunks(Mutex<Table>);

#[derive(Default)]
struct Table {
    /// By the number of the process and the offset.
    by_place: HashMap<(u64, u64), Chunk>,
    /// Oldest first.
    order: VecDeque<(u64, u64)>,
    bytes: usize,
}

#[derive(Clone)]
struct Chunk {
    piece: Piece,
    /// Where it ends.
    after: Cursor,
    bytes: Bytes,
}

impl Chunks {
    /// As [`Reader::read`], `most` bytes at most, with the bytes of a [`Piece::Data`]. The reader is that of the process
    /// with this number; `shared` says whether anybody else reads its output.
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
        let place = (number, cursor.offset);
        if shared
            && let Some(Chunk { piece, after, bytes }) = self.table().by_place.get(&place).cloned()
            && bytes.len() <= most
        {
            *cursor = after;
            return Ok((piece, bytes));
        }
        let chunk = u64::try_from(CHUNK).unwrap_or(u64::MAX);
        let aligned = usize::try_from(chunk - cursor.offset % chunk).unwrap_or(CHUNK);
        let mut buffer = buffer();
        let piece = reader.read(cursor, buffer.get_mut(..aligned.min(most)).unwrap_or_default())?;
        let length = if let Piece::Data { length, .. } = piece { length } else { 0 };
        let bytes = beginning(buffer, length);
        if shared && length >= WORTH_KEEPING {
            self.table().keep(place, Chunk { piece, after: *cursor, bytes: bytes.clone() });
        }
        Ok((piece, bytes))
    }

    // No code under the lock can panic; were it poisoned, the table would still be whole.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn keep(&mut self, place: (u64, u64), chunk: Chunk) {
        self.bytes += chunk.bytes.len() + OVERHEAD;
        match self.by_place.insert(place, chunk) {
            // Two have read it at the same time.
            Some(same) => self.bytes -= same.bytes.len() + OVERHEAD,
            None => self.order.push_back(place),
        }
        while self.bytes > KEPT {
            let Some(oldest) = self.order.pop_front().and_then(|place| self.by_place.remove(&place)) else { return };
            self.bytes -= oldest.bytes.len() + OVERHEAD;
        }
    }
}
