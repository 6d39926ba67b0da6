//! The runs of bytes that a tail is counted in, backwards from its end.

use std::io;

use prn_ipc_protocol::output::{Marks, Reader, Record, Stream};

/// Bytes that are looked through at once.
const CHUNK: usize = 64 * 1024;

/// Records that are looked through at once.
const BATCH: usize = 256;

/// What is kept of an output, as far as it can be asked.
pub trait Kept {
    /// As [`Reader::records`].
    fn records(&self, first: u64, into: &mut [Record]) -> io::Result<Marks>;
    /// As [`Reader::bytes`].
    fn bytes(&self, offset: u64, into: &mut [u8]) -> io::Result<Marks>;
}

impl Kept for Reader {
    fn records(&self, first: u64, into: &mut [Record]) -> io::Result<Marks> {
        Self::records(self, first, into)
    }

    fn bytes(&self, offset: u64, into: &mut [u8]) -> io::Result<Marks> {
        Self::bytes(self, offset, into)
    }
}

/// Between two records.
#[derive(Debug, Clone, Copy)]
pub struct Boundary {
    /// Number of the record after it.
    pub number: u64,
    /// Where that begins.
    pub offset: u64,
    /// The record before it was seen.
    pub is_certain: bool,
}

/// The runs of wanted bytes, from the last one to the first.
#[derive(Debug)]
pub struct Runs<'a, K> {
    kept: &'a K,
    only: Option<Stream>,
    /// Nothing before it is wanted, or kept.
    floor: u64,
    /// Where the next run ends, or bytes of the other stream do.
    end: u64,
    /// Number of the first record that is kept.
    first_record: u64,
    /// Number just after the last record of the batch.
    number: u64,
    /// Records whose runs are still to come.
    batch: Vec<Record>,
}

impl<'a, K: Kept + Sync> Runs<'a, K> {
    /// Those of one stream, or of both, before `end` and not before `from`.
    pub fn new(kept: &'a K, marks: &Marks, only: Option<Stream>, from: u64, end: Boundary) -> Self {
        let (floor, first_record) = (from.max(marks.low), marks.first_record);
        Self {
            kept,
            only,
            floor,
            end: end.offset,
            first_record,
            number: end.number,
            batch: Vec::new(),
        }
    }

    /// Most bytes that are still to come.
    fn most(&self) -> u64 {
        self.end.saturating_sub(self.floor)
    }

    fn raise_floor(&mut self, now: &Marks) {
        self.floor = self.floor.max(now.low);
        self.first_record = self.first_record.max(now.first_record);
    }

    /// Where the next run begins and ends; `None` after the first run that is kept.
    async fn next(&mut self) -> io::Result<Option<(u64, u64)>> {
        let Some(only) = self.only else {
            let run = (self.floor, self.end);
            self.end = self.floor;
            return Ok((run.0 < run.1).then_some(run));
        };
        while self.floor < self.end {
            let Some(record) = self.record().await? else {
                return Ok(None);
            };
            let run = (record.offset.max(self.floor), self.end);
            self.end = record.offset;
            if record.stream == only && run.0 < run.1 {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }

    async fn record(&mut self) -> io::Result<Option<Record>> {
        if self.batch.is_empty() {
            tokio::task::coop::consume_budget().await;
            let length = usize::try_from(self.number.saturating_sub(self.first_record))
                .unwrap_or(BATCH)
                .min(BATCH);
            let first = self
                .number
                .saturating_sub(u64::try_from(length).unwrap_or(0));
            self.batch.resize(length, Record::default());
            let now = self.kept.records(first, &mut self.batch)?;
            self.raise_floor(&now);
            let dropped = usize::try_from(self.first_record.saturating_sub(first))
                .unwrap_or(length)
                .min(length);
            self.batch.drain(..dropped);
            self.number = first;
        }
        Ok(self.batch.pop())
    }
}

/// Where the last `count` wanted bytes begin, if so many are kept. `count` is not 0.
pub async fn bytes_before(
    runs: &mut Runs<'_, impl Kept + Sync>,
    mut count: u64,
) -> io::Result<Option<u64>> {
    while let Some((begin, end)) = runs.next().await? {
        if count <= end - begin {
            return Ok(Some(end - count));
        }
        count -= end - begin;
    }
    Ok(None)
}

/// Where the last `count` wanted lines begin, if it can be seen: after the newline of the line
/// before them. `count` is not 0.
pub async fn lines_before(
    runs: &mut Runs<'_, impl Kept + Sync>,
    mut count: u64,
) -> io::Result<Option<u64>> {
    if count > runs.most() {
        return Ok(None);
    }
    // Where the chunk begins and ends. Short runs lie many in one.
    let (mut chunk_begin, mut chunk_end) = (0, 0);
    let mut buffer = vec![0; CHUNK];
    // The newline at the very end ends the last line and begins no other.
    let mut is_last_byte = true;
    while let Some((begin, end)) = runs.next().await? {
        let mut position = end;
        while position > begin {
            if position <= runs.floor {
                // Dropped meanwhile, and with it what is sought.
                return Ok(None);
            }
            if !(chunk_begin < position && position <= chunk_end) {
                tokio::task::coop::consume_budget().await;
                let length = usize::try_from(position - runs.floor.min(position))
                    .unwrap_or(CHUNK)
                    .min(CHUNK);
                chunk_begin = position.saturating_sub(u64::try_from(length).unwrap_or(0));
                chunk_end = position;
                let now = runs
                    .kept
                    .bytes(chunk_begin, buffer.get_mut(..length).unwrap_or_default())?;
                runs.raise_floor(&now);
            }
            let lowest = begin.max(chunk_begin).max(runs.floor).min(position);
            let at = |offset: u64| usize::try_from(offset - chunk_begin).unwrap_or(CHUNK);
            let mut rest = buffer.get(at(lowest)..at(position)).unwrap_or_default();
            while let Some(newline) = rest.iter().rposition(|byte| *byte == b'\n') {
                let is_end_of_all = is_last_byte && newline + 1 == rest.len();
                is_last_byte = false;
                if !is_end_of_all {
                    count -= 1;
                    if count == 0 {
                        return Ok(Some(lowest + u64::try_from(newline).unwrap_or(0) + 1));
                    }
                }
                rest = rest.get(..newline).unwrap_or_default();
            }
            is_last_byte = false;
            position = lowest;
        }
    }
    Ok(None)
}
