//! Whatever is written, dropped and read in whatever order, the reader's pieces are what a plain
//! list of all bytes says: each byte with its stream and time, each dropped one in a gap, none
//! twice, none left out.
//!
//! The writer here is the simplest that keeps the layout's rules, with rings of a few bytes, so
//! that they wrap all the time; `output_store_equals_model` has the supervisor's.
#![no_main]

use std::fs::File;
use std::os::unix::fs::FileExt;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use prn_fuzz::memfd;
use prn_fuzz::model::{Model, stream};
use prn_ipc_protocol::output::{Cursor, MAGIC, Marks, PAGE, RECORD, Reader, Record, word};
use prn_ipc_protocol::types::UnixMicros;

#[derive(Debug, Arbitrary)]
enum Step {
    Write {
        stderr: bool,
        length: u8,
        later: u16,
    },
    /// One more run in the record of the last one.
    WriteOn {
        length: u8,
    },
    Evict(u8),
    Read {
        cursor: u8,
        room: u8,
    },
    Seek {
        cursor: u8,
        back: u16,
    },
}

struct Writer {
    data: File,
    page: File,
    capacity: u64,
    slots: u64,
    sequence: u64,
    marks: Marks,
    records: Vec<Record>,
    time: u64,
}

impl Writer {
    fn new(capacity: u64, slots: u64) -> Self {
        let (data, page) = (
            memfd(&vec![0; (capacity + slots * RECORD) as usize]),
            memfd(&[0; PAGE as usize]),
        );
        for (at, value) in [
            (word::MAGIC, MAGIC),
            (word::CAPACITY, capacity),
            (word::SLOTS, slots),
        ] {
            page.write_all_at(&value.to_le_bytes(), at).expect("memory");
        }
        Self {
            data,
            page,
            capacity,
            slots,
            sequence: 0,
            marks: Marks::default(),
            records: Vec::new(),
            time: 0,
        }
    }

    fn publish(&mut self) {
        self.sequence += 2;
        let Marks {
            low,
            high,
            first_record,
            next_record,
        } = self.marks;
        let words = [self.sequence, low, high, first_record, next_record];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.page
            .write_all_at(&bytes, word::SEQUENCE)
            .expect("memory");
    }

    /// Excludes what lies before `low`, and the records that end there.
    fn drop_before(&mut self, low: u64) {
        self.marks.low = self.marks.low.max(low.min(self.marks.high));
        let kept = |next: &Record| next.offset > self.marks.low;
        let end = Record {
            offset: self.marks.high,
            time: UnixMicros(0),
            stream: stream(false),
        };
        let first = self
            .records
            .iter()
            .skip(1)
            .chain([&end])
            .position(kept)
            .unwrap_or(self.records.len());
        self.marks.first_record = first as u64;
        self.publish();
    }

    fn write(&mut self, bytes: &[u8], new_record: Option<bool>) {
        let length = bytes.len() as u64;
        self.drop_before((self.marks.high + length).saturating_sub(self.capacity));
        if let Some(stderr) = new_record {
            if self.marks.next_record - self.marks.first_record == self.slots {
                let second = self
                    .records
                    .get(self.marks.first_record as usize + 1)
                    .map(|record| record.offset);
                self.drop_before(second.unwrap_or(self.marks.high));
            }
            let record = Record {
                offset: self.marks.high,
                time: UnixMicros(self.time),
                stream: stream(stderr),
            };
            let [offset, tag] = record.to_words();
            let place = self.capacity + self.marks.next_record % self.slots * RECORD;
            self.data
                .write_all_at(&[offset.to_le_bytes(), tag.to_le_bytes()].concat(), place)
                .expect("memory");
            self.records.push(record);
            self.marks.next_record += 1;
        }
        for (byte, offset) in bytes.iter().zip(self.marks.high..) {
            self.data
                .write_all_at(&[*byte], offset % self.capacity)
                .expect("memory");
        }
        self.marks.high += length;
        self.publish();
    }
}

fuzz_target!(|case: (u8, u8, Vec<Step>)| {
    let (capacity, slots, steps) = case;
    let mut writer = Writer::new(1 + u64::from(capacity), 1 + u64::from(slots % 16));
    let reader = Reader::new(
        writer.data.try_clone().expect("a file"),
        writer.page.try_clone().expect("a file"),
    )
    .expect("a right layout");
    let mut model = Model::default();
    let mut cursors = [Cursor::default(); 3];
    for step in steps.into_iter().take(64) {
        match step {
            Step::Write {
                stderr,
                length,
                later,
            } => {
                writer.time += u64::from(later);
                let length = 1 + u64::from(length) % writer.capacity;
                let bytes = model.write(length, stderr, writer.time);
                writer.write(&bytes, Some(stderr));
            }
            // Once all is dropped, the last record is too.
            Step::WriteOn { .. } if writer.marks.low == writer.marks.high => {}
            Step::WriteOn { length } => {
                // A part of the last record must be left for it to go on.
                let length = (1 + u64::from(length)).min(writer.capacity - 1);
                if length == 0 {
                    continue;
                }
                let last = *writer.records.last().expect("bytes are kept");
                let stderr = last.stream == stream(true);
                let bytes = model.write(length, stderr, last.time.0);
                writer.write(&bytes, None);
            }
            Step::Evict(bytes) => writer.drop_before(writer.marks.low + u64::from(bytes)),
            Step::Read { cursor, room } => {
                model.drop_before(writer.marks.low);
                model.check_read(&reader, &mut cursors[usize::from(cursor) % 3], room.into());
            }
            Step::Seek { cursor, back } => {
                let to = (writer.marks.high + 8).saturating_sub(back.into());
                cursors[usize::from(cursor) % 3] = Cursor::at(to);
            }
        }
    }
    model.drop_before(writer.marks.low);
    model.check_all(&reader);
});
