//! Bytes of which each has its place, so that one that is lost, comes twice or is another is found:
//! numbers of eight bytes, counted up. To make and to compare them costs next to nothing.

use std::io::{self, Read, Write};
use std::time::Instant;

use anyhow::ensure;

use crate::parts::{CHUNK, Transfer};

const NUMBER: usize = size_of::<u64>();

/// Writes so many bytes of numbers, a chunk at a time. Whole chunks.
pub fn write(to: &mut impl Write, bytes: u64) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    for number in 0..bytes / CHUNK as u64 {
        for (place, word) in chunk.chunks_exact_mut(NUMBER).enumerate() {
            word.copy_from_slice(&expected(number, place).to_le_bytes());
        }
        to.write_all(&chunk)?;
    }
    Ok(())
}

/// Reads numbers to their end, from the first byte on.
///
/// # Errors
/// If those that [`write()`] writes are not all that is read.
pub fn read(from: &mut impl Read, bytes: u64) -> anyhow::Result<Transfer> {
    let mut chunk = vec![0; CHUNK];
    let mut have = from.read(&mut chunk)?;
    let begun = Instant::now();
    let mut chunks = 0;
    let mut more = have;
    while more > 0 {
        if have == CHUNK {
            let mut words = chunk.chunks_exact(NUMBER).enumerate();
            let is_same = words.all(|(place, word)| word == expected(chunks, place).to_le_bytes());
            ensure!(is_same, "other bytes, behind {}", chunks * CHUNK as u64);
            (chunks, have) = (chunks + 1, 0);
        }
        more = from.read(&mut chunk[have..])?;
        have += more;
    }
    let moved = chunks * CHUNK as u64 + have as u64;
    ensure!(moved == bytes, "{moved} bytes instead of {bytes}");
    Ok(Transfer {
        bytes,
        seconds: begun.elapsed().as_secs_f64(),
        client: 0.0,
        process: 0.0,
    })
}

fn expected(chunk: u64, place: usize) -> u64 {
    chunk * (CHUNK / NUMBER) as u64 + place as u64
}
