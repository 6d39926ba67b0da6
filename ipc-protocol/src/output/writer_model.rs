//! A model of the writer: each store that the supervisor's makes to the shared memory, one by one
//! and in its order.
//!
//! Two tests look at it from both sides. The one beside this file runs the reader between any two
//! of these stores. The one of the supervisor's store compares its memory with this one's after
//! each operation, and before each read(2), so that the model cannot come to differ from what it
//! stands for.

use super::{MAGIC, Marks, PAGE, RECORD, RESOLUTION, Record, Stream, UnixMicros, word};

/// Where a store goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// To this byte of the ring.
    Ring(u64),
    /// To the eight bytes of the index that begin here.
    Index(u64),
    /// To the eight bytes of the page that begin here.
    Page(u64),
}

/// What a writer could do wrong. A test that does not notice each of them is worth nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// What will be overwritten is excluded after the read(2) instead of before it.
    ExcludesAfterReading,
    /// The sequence number is even all the time.
    SequenceStaysEven,
    /// A record is written after the marks that tell of it.
    RecordAfterMarks,
    /// Memory is given back before the marks that exclude it.
    PunchesBeforeMarks,
}

/// The memory and what the writer knows.
#[derive(Debug, Clone)]
pub struct Writer {
    /// Bytes of the ring.
    pub ring: Vec<u8>,
    /// Words of the index, which follows the ring.
    pub index: Vec<u64>,
    /// Words of the page.
    pub page: Vec<u64>,
    /// All stores that changed anything.
    pub steps: Vec<(Position, u64)>,
    /// Each publication's marks, and how many steps there were when it was complete.
    pub published: Vec<(usize, Marks)>,
    /// All bytes that were ever written, and the number of the record of each.
    pub bytes: Vec<(u8, usize)>,
    /// All records that were ever written.
    pub records: Vec<Record>,
    /// What is kept.
    pub marks: Marks,
    capacity: u64,
    slots: u64,
    read_max: u64,
    sequence: u64,
    last: Option<Record>,
    mistake: Option<Mistake>,
}

impl Writer {
    /// As `Store::new`.
    pub fn new(capacity: u64, slots: u64, read_max: u64, mistake: Option<Mistake>) -> Self {
        let mut page = vec![0; (PAGE / 8) as usize];
        for (at, value) in [
            (word::MAGIC, MAGIC),
            (word::CAPACITY, capacity),
            (word::SLOTS, slots),
        ] {
            page[at as usize / 8] = value;
        }
        Self {
            ring: vec![0; capacity as usize],
            index: vec![0; (slots * RECORD / 8) as usize],
            page,
            steps: Vec::new(),
            published: vec![(0, Marks::default())],
            bytes: Vec::new(),
            records: Vec::new(),
            marks: Marks::default(),
            capacity,
            slots,
            read_max,
            sequence: 0,
            last: None,
            mistake,
        }
    }

    /// As `Store::fill` with a pipe that holds these bytes.
    pub fn fill(&mut self, bytes: &[u8], stream: Stream, now: UnixMicros) {
        let joins = self.before_read(stream, now);
        self.after_read(bytes, stream, now, joins);
    }

    /// As far as `Store::fill` comes in a pipe that is empty. Returns what [`Self::after_read`]
    /// must know.
    pub fn before_read(&mut self, stream: Stream, now: UnixMicros) -> bool {
        let low = self.marks.low;
        self.drop_before((self.marks.high + self.read_max).saturating_sub(self.capacity));
        let joins = self
            .last
            .is_some_and(|last| last.stream == stream && now.0.abs_diff(last.time.0) < RESOLUTION);
        if !joins && self.marks.next_record - self.marks.first_record == self.slots {
            self.drop_before(self.record(self.marks.first_record + 1).offset);
        }
        if self.marks.low != low && self.mistake != Some(Mistake::ExcludesAfterReading) {
            self.publish();
        }
        if !joins && self.mistake != Some(Mistake::RecordAfterMarks) {
            self.write_record(
                self.marks.next_record,
                Record {
                    offset: self.marks.high,
                    time: now,
                    stream,
                },
            );
        }
        joins
    }

    /// The rest of `Store::fill`.
    pub fn after_read(&mut self, bytes: &[u8], stream: Stream, now: UnixMicros, joins: bool) {
        assert!((1..=self.read_max).contains(&(bytes.len() as u64)));
        for (offset, byte) in (self.marks.high..).zip(bytes) {
            self.store(Position::Ring(offset % self.capacity), u64::from(*byte));
        }
        let record = Record {
            offset: self.marks.high,
            time: now,
            stream,
        };
        let number = self.marks.next_record;
        if !joins {
            self.marks.next_record += 1;
            self.last = Some(record);
            self.records.push(record);
        }
        self.marks.high += bytes.len() as u64;
        self.bytes
            .extend(bytes.iter().map(|byte| (*byte, self.records.len() - 1)));
        self.publish();
        if !joins && self.mistake == Some(Mistake::RecordAfterMarks) {
            self.write_record(number, record);
        }
    }

    /// As `Store::evict`.
    pub fn evict(&mut self, bytes: u64) {
        self.drop_before(self.marks.low.saturating_add(bytes).min(self.marks.high));
        if self.mistake == Some(Mistake::PunchesBeforeMarks) {
            self.punch();
            self.publish();
        } else {
            self.publish();
            self.punch();
        }
    }

    fn punch(&mut self) {
        let kept = self.marks.high - self.marks.low;
        for offset in self.marks.high..self.marks.high + self.capacity - kept {
            self.store(Position::Ring(offset % self.capacity), 0);
        }
        if kept == 0 {
            for position in (0..self.slots * RECORD).step_by(8) {
                self.store(Position::Index(position), 0);
            }
        }
    }

    fn write_record(&mut self, number: u64, record: Record) {
        let (position, [offset, tag]) = (self.position(number), record.to_words());
        self.store(Position::Index(position), offset);
        self.store(Position::Index(position + 8), tag);
    }

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
        while self.marks.first_record + 1 < self.marks.next_record
            && self.record(self.marks.first_record + 1).offset <= offset
        {
            self.marks.first_record += 1;
        }
    }

    fn publish(&mut self) {
        let Marks {
            low,
            high,
            first_record,
            next_record,
        } = self.marks;
        if self.mistake != Some(Mistake::SequenceStaysEven) {
            self.store(Position::Page(word::SEQUENCE), self.sequence + 1);
        }
        for (at, value) in [
            (word::LOW, low),
            (word::HIGH, high),
            (word::FIRST_RECORD, first_record),
            (word::NEXT_RECORD, next_record),
        ] {
            self.store(Position::Page(at), value);
        }
        self.sequence += 2;
        self.store(Position::Page(word::SEQUENCE), self.sequence);
        self.published.push((self.steps.len(), self.marks));
    }

    fn position(&self, number: u64) -> u64 {
        number % self.slots * RECORD
    }

    fn record(&self, number: u64) -> Record {
        let at = self.position(number) as usize / 8;
        Record::from_words(self.index[at], self.index[at + 1])
    }

    fn store(&mut self, position: Position, value: u64) {
        let before = match position {
            Position::Ring(at) => {
                u64::from(std::mem::replace(&mut self.ring[at as usize], value as u8))
            }
            Position::Index(at) => std::mem::replace(&mut self.index[at as usize / 8], value),
            Position::Page(at) => std::mem::replace(&mut self.page[at as usize / 8], value),
        };
        // Whoever looks on sees no difference otherwise.
        if before != value {
            self.steps.push((position, value));
        }
    }
}
