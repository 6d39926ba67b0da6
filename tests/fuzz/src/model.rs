//! An output as a plain list: what a reader of the ring must agree with.

use prn_ipc_protocol::output::{Cursor, Piece, Reader, Stream};
use prn_ipc_protocol::types::UnixMicros;

/// Everything that was ever written.
#[derive(Debug, Default)]
pub struct Model {
    /// Where each run begins, its stream and its time.
    runs: Vec<(u64, Stream, u64)>,
    low: u64,
    high: u64,
    stdout: u64,
    /// Runs of one stream are one within this time.
    coalesce: u64,
}

/// One of the two.
pub fn stream(stderr: bool) -> Stream {
    if stderr {
        Stream::Stderr
    } else {
        Stream::Stdout
    }
}

/// No byte is 0, which is what memory that was given back reads as, and neighbours and laps differ.
fn byte(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 | 1
}

impl Model {
    /// One in which runs of a stream that begin within `micros` are one run.
    pub fn coalescing(micros: u64) -> Self {
        Self {
            coalesce: micros,
            ..Self::default()
        }
    }

    /// Adds a run of `length` bytes, and returns them.
    pub fn write(&mut self, length: u64, stderr: bool, time: u64) -> Vec<u8> {
        let bytes = (self.high..self.high + length).map(byte).collect();
        self.runs.push((self.high, stream(stderr), time));
        self.high += length;
        if !stderr {
            self.stdout += length;
        }
        bytes
    }

    /// Everything before `low` is gone.
    pub fn drop_before(&mut self, low: u64) {
        assert!(
            (self.low..=self.high).contains(&low),
            "{low} is outside of {}..{}",
            self.low,
            self.high
        );
        self.low = low;
    }

    /// All bytes, those of standard output and those of standard error.
    pub fn totals(&self) -> (u64, u64, u64) {
        (self.high, self.stdout, self.high - self.stdout)
    }

    /// Reads once, and compares.
    pub fn check_read(&self, reader: &Reader, cursor: &mut Cursor, room: usize) -> Piece {
        let from = cursor.offset;
        let mut buffer = vec![0; room];
        let piece = reader.read(cursor, &mut buffer).expect("a right index");
        match piece {
            Piece::Gap { from: first, to } => {
                assert_eq!((first, to, cursor.offset), (from, self.low, self.low))
            }
            Piece::End { high } => {
                assert_eq!((high, cursor.offset), (self.high, from));
                assert!(from >= high || room == 0, "no end at {from}");
            }
            Piece::Data {
                offset,
                length,
                stream,
                time,
            } => {
                let end = from + length as u64;
                assert!(length > 0 && from >= self.low && end <= self.high);
                assert_eq!((offset, cursor.offset), (from, end));
                assert!(
                    (from..end)
                        .zip(&buffer)
                        .all(|(offset, found)| byte(offset) == *found),
                    "wrong bytes"
                );
                self.check_runs(from, end, stream, time);
            }
        }
        piece
    }

    /// All runs between are of this stream, and of this time or joined to one of it.
    fn check_runs(&self, from: u64, end: u64, stream: Stream, time: UnixMicros) {
        let last = self.runs.partition_point(|run| run.0 < end);
        let first = self
            .runs
            .partition_point(|run| run.0 <= from)
            .saturating_sub(1);
        for (_, of, at) in &self.runs[first..last] {
            assert_eq!(*of, stream);
            assert!(
                *at >= time.0 && (at - time.0 < self.coalesce || *at == time.0),
                "{at} is told as {time:?}"
            );
        }
    }

    /// Reads all from the first byte on, and compares.
    pub fn check_all(&self, reader: &Reader) {
        let mut cursor = Cursor::default();
        let room = 65_536;
        // At most one read for each run, one for each full buffer, one at the ring's end, the gap
        // and the end.
        let most = self.runs.len() + self.high as usize / room + 3;
        for _ in 0..most {
            if matches!(
                self.check_read(reader, &mut cursor, room),
                Piece::End { .. }
            ) {
                assert_eq!(cursor.offset, self.high);
                return;
            }
        }
        panic!("no end after {most} reads");
    }
}
