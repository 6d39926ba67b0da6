//! The reader of an output, against a plain model of one that is written by hand.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::sys::memfd::{MFdFlags, memfd_create};
use prn_ipc_protocol::output::{
    Cursor, MAGIC, Marks, PAGE, Piece, RECORD, Reader, Record, Stream, word,
};
use prn_ipc_protocol::types::UnixMicros;

const CAPACITY: u64 = 4096;
const SLOTS: u64 = 600;

/// An output as the supervisor lays it out, and all that was ever written to it.
struct Output {
    data: File,
    page: File,
    marks: Marks,
    bytes: Vec<u8>,
    records: Vec<Record>,
}

impl Output {
    fn new() -> Self {
        let file = |length| {
            let file = File::from(memfd_create(c"output", MFdFlags::MFD_CLOEXEC).unwrap());
            file.set_len(length).unwrap();
            file
        };
        let (data, page) = (file(CAPACITY + SLOTS * RECORD), file(PAGE));
        let output = Self {
            data,
            page,
            marks: Marks::default(),
            bytes: Vec::new(),
            records: Vec::new(),
        };
        output.word(word::MAGIC, MAGIC);
        output.word(word::CAPACITY, CAPACITY);
        output.word(word::SLOTS, SLOTS);
        output
    }

    fn reader(&self) -> Reader {
        Reader::new(
            self.data.try_clone().unwrap(),
            self.page.try_clone().unwrap(),
        )
        .unwrap()
    }

    fn word(&self, at: u64, value: u64) {
        self.page.write_all_at(&value.to_le_bytes(), at).unwrap();
    }

    fn append(&mut self, stream: Stream, byte: u8, length: u64) {
        let record = Record {
            offset: self.marks.high,
            time: UnixMicros(self.marks.next_record),
            stream,
        };
        let [offset, tag] = record.to_words();
        let words = [offset.to_le_bytes(), tag.to_le_bytes()].concat();
        self.data
            .write_all_at(&words, CAPACITY + self.marks.next_record % SLOTS * RECORD)
            .unwrap();
        for offset in self.marks.high..self.marks.high + length {
            self.data.write_all_at(&[byte], offset % CAPACITY).unwrap();
            self.bytes.push(byte);
        }
        self.records.push(record);
        self.marks.next_record += 1;
        self.marks.high += length;
        let most = self.marks.high.saturating_sub(CAPACITY);
        let oldest = self.marks.next_record.saturating_sub(SLOTS);
        let begin = self.records[usize::try_from(oldest).unwrap()].offset;
        self.marks.low = self.marks.low.max(most).max(begin);
        let holds = self
            .records
            .iter()
            .rposition(|record| record.offset <= self.marks.low)
            .unwrap();
        self.marks.first_record = u64::try_from(holds).unwrap();
        self.word(word::LOW, self.marks.low);
        self.word(word::HIGH, self.marks.high);
        self.word(word::FIRST_RECORD, self.marks.first_record);
        self.word(word::NEXT_RECORD, self.marks.next_record);
    }

    fn stream_at(&self, offset: u64) -> Stream {
        self.records
            .iter()
            .rfind(|record| record.offset <= offset)
            .unwrap()
            .stream
    }

    fn byte_at(&self, offset: u64) -> u8 {
        self.bytes[usize::try_from(offset).unwrap()]
    }
}

/// Numbers that look random and are the same in each run.
fn scrambled(number: u64) -> u64 {
    number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40
}

#[test]
fn records_and_bytes_come_back_across_the_ends_of_their_rings() {
    let mut output = Output::new();
    for number in 0..2 * SLOTS {
        let stream = if scrambled(number).is_multiple_of(2) {
            Stream::Stdout
        } else {
            Stream::Stderr
        };
        output.append(
            stream,
            u8::try_from(number % 256).unwrap(),
            1 + scrambled(number) % 12,
        );
        let reader = output.reader();
        let first = usize::try_from(output.marks.first_record).unwrap();
        let mut records = vec![Record::default(); output.records.len() - first];
        assert_eq!(
            reader
                .records(output.marks.first_record, &mut records)
                .unwrap(),
            output.marks
        );
        assert_eq!(records, output.records[first..]);
        let mut bytes = vec![0; usize::try_from(output.marks.high - output.marks.low).unwrap()];
        assert_eq!(
            reader.bytes(output.marks.low, &mut bytes).unwrap(),
            output.marks
        );
        assert!(
            (output.marks.low..)
                .zip(&bytes)
                .all(|(offset, byte)| output.byte_at(offset) == *byte)
        );
    }
    assert!(output.marks.first_record > 0 && output.marks.low > 0);
}

#[test]
fn skipping_stops_at_the_next_byte_of_the_stream_and_nowhere_before_the_end_without_one() {
    let mut output = Output::new();
    for number in 0..4 * SLOTS {
        // Long stretches of one stream, some longer than one look reaches, and short ones.
        let is_stdout = if (number / 350).is_multiple_of(2) {
            scrambled(number).is_multiple_of(300)
        } else {
            scrambled(number).is_multiple_of(2)
        };
        let stream = if is_stdout {
            Stream::Stdout
        } else {
            Stream::Stderr
        };
        output.append(
            stream,
            u8::try_from(number % 256).unwrap(),
            1 + scrambled(number) % 3,
        );
        if number % 97 != 0 {
            continue;
        }
        let reader = output.reader();
        for wanted in [Stream::Stdout, Stream::Stderr] {
            let mut cursor = Cursor::at(output.marks.low);
            let mut seen = Vec::new();
            let mut buffer = [0; 1];
            while cursor.offset < output.marks.high {
                let before = cursor.offset;
                reader.skip(&mut cursor, wanted).unwrap();
                assert!((before..cursor.offset).all(|offset| output.stream_at(offset) != wanted));
                if cursor.offset > before {
                    continue;
                }
                let piece = reader.read(&mut cursor, &mut buffer).unwrap();
                let Piece::Data { offset, stream, .. } = piece else {
                    panic!("{piece:?}")
                };
                assert_eq!(
                    (stream, buffer[0]),
                    (wanted, output.byte_at(offset)),
                    "where it stays, there is some"
                );
                seen.push(offset);
            }
            let range = output.marks.low..output.marks.high;
            assert_eq!(
                seen,
                range
                    .filter(|offset| output.stream_at(*offset) == wanted)
                    .collect::<Vec<_>>()
            );
            // At a gap and at the end it stays.
            for offset in [
                output.marks.low.saturating_sub(1),
                output.marks.high,
                output.marks.high + 5,
            ] {
                let mut cursor = Cursor::at(offset);
                if offset != output.marks.low {
                    reader.skip(&mut cursor, wanted).unwrap();
                    assert_eq!(cursor.offset, offset);
                }
            }
        }
    }
}
