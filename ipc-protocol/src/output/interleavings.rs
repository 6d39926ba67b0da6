//! Whatever the writer does between any two looks of the reader, the reader tells the truth.
//!
//! The reader is the real one, over a memory that stops it before each byte of the ring and each
//! word of the rest. There the writer (see [`super::writer_model`]) takes any number of steps. That
//! is done in all ways, for all short scripts of writes and evictions in a ring of a few bytes and
//! an index of two or three records, from all positions of a cursor, and for copies that go up and
//! copies that go down. What a reader on a machine that reorders loads would see beyond that is up
//! to the reader's fences.
//!
//! Nothing that differs is left out, but what cannot differ is: the writer stops only where a step
//! of its changes what the reader is about to look at, and of two ways by which the reader has seen
//! the same, with the writer at the same step, one is gone on with.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io;

use super::writer_model::{Mistake, Position, Writer};
use super::*;

const READ_MAX: u64 = 2;

/// What happens to an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    /// This many bytes of this stream, in the record before if that is of it.
    Write(u64, Stream),
    /// One byte of standard output, a millisecond later than all before.
    Later,
    Evict(u64),
}

use Operation::{Evict, Later, Write};
use Stream::{Stderr, Stdout};

const OPERATIONS: &[Operation] = &[
    Write(1, Stdout),
    Write(2, Stdout),
    Write(1, Stderr),
    Write(2, Stderr),
    Later,
    Evict(1),
    Evict(u64::MAX),
];

/// What is gone through.
#[derive(Debug, Clone, Copy)]
struct Case {
    capacity: u64,
    slots: u64,
    /// What scripts are made of.
    operations: &'static [Operation],
    /// How many of them there are before a call, and during it.
    length: [u32; 2],
    mistake: Option<Mistake>,
}

const SMALLEST: Case = Case {
    capacity: 4,
    slots: 2,
    operations: OPERATIONS,
    length: [2, 1],
    mistake: None,
};

/// A writer that performs operations.
#[derive(Debug, Clone)]
struct Script {
    writer: Writer,
    now: u64,
}

impl Script {
    fn new(case: &Case) -> Self {
        Self {
            writer: Writer::new(case.capacity, case.slots, READ_MAX, case.mistake),
            now: 0,
        }
    }

    fn perform(&mut self, operation: Operation) {
        match operation {
            Operation::Write(length, stream) => self.write(length, stream),
            Operation::Later => {
                self.now += RESOLUTION;
                self.write(1, Stream::Stdout);
            }
            Operation::Evict(bytes) => self.writer.evict(bytes),
        }
    }

    fn write(&mut self, length: u64, stream: Stream) {
        let high = self.writer.marks.high;
        // None twice, and none is 0, which is what memory that was given back reads as.
        let bytes: Vec<u8> = (high..high + length)
            .map(|offset| u8::try_from(offset + 1).unwrap())
            .collect();
        self.writer.fill(&bytes, stream, UnixMicros(self.now));
    }
}

/// What the writer does while one call of the reader runs.
struct Window {
    /// The writer when all is done. It knows what is true.
    writer: Writer,
    /// Each word of the page, then of the index, then each byte of the ring: at first, and after
    /// which steps it is what.
    positions: Vec<(u64, Vec<(usize, u64)>)>,
    steps: usize,
    /// Marks, with the steps after which they are published.
    published: Vec<(usize, Marks)>,
}

impl Window {
    fn new(before: &Script, operations: &[Operation]) -> Self {
        let mut after = before.clone();
        for operation in operations {
            after.perform(*operation);
        }
        let (before, writer) = (&before.writer, after.writer);
        let ring = before.ring.iter().map(|byte| u64::from(*byte));
        let words = before.page.iter().chain(&before.index).copied();
        let mut positions: Vec<_> = words.chain(ring).map(|word| (word, Vec::new())).collect();
        for ((position, value), step) in writer.steps[before.steps.len()..].iter().zip(1..) {
            let at = |at: &u64| usize::try_from(*at).unwrap();
            let position = match position {
                Position::Page(word) => at(word) / 8,
                Position::Index(word) => before.page.len() + at(word) / 8,
                Position::Ring(byte) => before.page.len() + before.index.len() + at(byte),
            };
            positions[position].1.push((step, *value));
        }
        let first = before.published.len() - 1;
        let published = &writer.published[first..];
        let published = published
            .iter()
            .map(|(steps, marks)| (steps.saturating_sub(before.steps.len()), *marks));
        let (published, steps) = (published.collect(), writer.steps.len() - before.steps.len());
        Self {
            writer,
            positions,
            steps,
            published,
        }
    }

    /// The marks that are published after so many steps.
    fn marks(&self, step: usize) -> Marks {
        self.published
            .iter()
            .rev()
            .find(|(published, _)| *published <= step)
            .unwrap()
            .1
    }

    /// Whether these marks were the published ones at any time up to this step.
    fn had(&self, step: usize, marks: impl Fn(&Marks) -> bool) -> bool {
        self.published
            .iter()
            .any(|(published, had)| *published <= step && marks(had))
    }
}

/// Where one run of a call has come to.
#[derive(Debug, Default)]
struct Run {
    step: usize,
    /// Of what the reader has seen.
    seen: u64,
    looks: u32,
    /// How many copies of the header were the last thing that it did; before them, what it had
    /// seen, and the step.
    headers: u32,
    before_headers: (u64, usize),
    depth: usize,
    left: bool,
    endless: bool,
}

/// All runs of a call.
struct Explorer<'a> {
    window: &'a Window,
    down: bool,
    run: RefCell<Run>,
    /// Where this run had a choice: what was chosen, and the last that there is.
    choices: RefCell<Vec<(usize, usize)>>,
    been: RefCell<HashSet<(u64, usize)>>,
}

/// One of the two files.
struct View<'a> {
    explorer: &'a Explorer<'a>,
    is_page: bool,
}

impl Memory for View<'_> {
    fn read_exact_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        let explorer = self.explorer;
        let is_header = self.is_page && at == word::SEQUENCE;
        explorer.begin(is_header)?;
        let at = usize::try_from(at).unwrap();
        let Writer {
            page, index, ring, ..
        } = &explorer.window.writer;
        let (base, at, size) = match at.checked_sub(ring.len()) {
            _ if self.is_page => (0, at, 8),
            Some(at) => (page.len(), at, 8),
            None => (page.len() + index.len(), at, 1),
        };
        assert!(
            at.is_multiple_of(size) && into.len().is_multiple_of(size),
            "words are read as wholes"
        );
        let first = base + at / size;
        let mut words: Vec<(usize, &mut [u8])> = (first..).zip(into.chunks_mut(size)).collect();
        if explorer.down {
            words.reverse();
        }
        for (position, word) in words {
            word.copy_from_slice(&explorer.look(position)?.to_le_bytes()[..size]);
        }
        if is_header {
            explorer.run.borrow_mut().headers += 1;
        }
        Ok(())
    }
}

impl<'a> Explorer<'a> {
    /// Two copies of the header one after the other, and then a third: the reader did not believe
    /// them, and is where it was before.
    fn begin(&self, is_header: bool) -> io::Result<()> {
        let mut run = self.run.borrow_mut();
        if !is_header {
            run.headers = 0;
        } else if run.headers == 0 {
            run.before_headers = (run.seen, run.step);
        } else if run.headers == 2 {
            let (seen, step) = run.before_headers;
            // Of marks that do not change, it must make something.
            let (sequence, changes) =
                &self.window.positions[usize::try_from(word::SEQUENCE / 8).unwrap()];
            let now = changes
                .iter()
                .rev()
                .find(|change| change.0 <= step)
                .map_or(*sequence, |change| change.1);
            run.endless |= step == run.step && now % 2 == 0;
            (run.seen, run.before_headers, run.headers) = (seen, (seen, run.step), 0);
        }
        if run.endless { Err(leave()) } else { Ok(()) }
    }

    /// What the reader sees there: the writer takes as many steps before as this run has chosen.
    fn look(&self, position: usize) -> io::Result<u64> {
        let mut run = self.run.borrow_mut();
        run.looks += 1;
        if run.looks > 2000 {
            run.endless = true;
            return Err(leave());
        }
        let (first, changes) = &self.window.positions[position];
        let past = changes.partition_point(|(step, _)| *step <= run.step);
        let mut chosen = 0;
        if past < changes.len() {
            let mut choices = self.choices.borrow_mut();
            if run.depth == choices.len() {
                if !self.been.borrow_mut().insert((run.seen, run.step)) {
                    run.left = true;
                    return Err(leave());
                }
                choices.push((0, changes.len() - past));
            }
            chosen = choices[run.depth].0;
            run.depth += 1;
        }
        let value = match (past + chosen).checked_sub(1) {
            None => *first,
            Some(change) => {
                run.step = run.step.max(changes[change].0);
                changes[change].1
            }
        };
        for word in [u64::try_from(position).unwrap(), value] {
            run.seen = (run.seen.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        Ok(value)
    }

    /// Makes the call in all ways. `check` gets what it returned, and the steps that the writer had
    /// taken by then.
    fn explore<T>(
        window: &'a Window,
        down: bool,
        call: impl Fn(&Reader<View<'_>>) -> io::Result<T>,
        mut check: impl FnMut(io::Result<T>, usize) -> Result<(), String>,
    ) -> Result<u64, String> {
        let explorer = Explorer {
            window,
            down,
            run: RefCell::default(),
            choices: RefCell::default(),
            been: RefCell::default(),
        };
        let mut runs = 0;
        loop {
            explorer.run.take();
            let view = |is_page| View {
                explorer: &explorer,
                is_page,
            };
            let result = Reader::new(view(false), view(true)).and_then(|reader| call(&reader));
            let run = explorer.run.take();
            runs += 1;
            if run.endless {
                return Err(format!("no end at step {}", run.step));
            }
            if !run.left {
                check(result, run.step)?;
            }
            let mut choices = explorer.choices.borrow_mut();
            while choices.pop_if(|(chosen, last)| chosen == last).is_some() {}
            match choices.last_mut() {
                Some((chosen, _)) => *chosen += 1,
                None => return Ok(runs),
            }
        }
    }
}

/// Ends a run that is of no more use.
fn leave() -> io::Error {
    io::ErrorKind::Other.into()
}

fn ensure(is_so: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(what()) }
}

/// What was seen at all, so that nobody believes in a test that sees nothing.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    runs: u64,
    data: u64,
    gaps: u64,
    ends: u64,
    skips: u64,
    /// Gaps of what was still kept when the call began.
    overtaken: u64,
}

/// All calls from all positions, in one window.
fn check_window(window: &Window, down: bool, seen: &mut Seen) -> Result<(), String> {
    let marks = window.marks(0);
    // Older offsets and records, and more room, are like those at the border.
    for offset in marks.low.saturating_sub(1)..=marks.high + 1 {
        for record in [0, marks.first_record, marks.next_record] {
            let cursor = Cursor {
                offset,
                record,
                run: None,
            };
            for room in [1, 4] {
                check_read(window, down, cursor, room, seen)
                    .map_err(|error| format!("read({room}) {cursor:?}: {error}"))?;
            }
            for stream in [Stdout, Stderr] {
                check_skip(window, down, cursor, stream, seen)
                    .map_err(|error| format!("skip {cursor:?}: {error}"))?;
            }
            if record >= marks.next_record {
                break;
            }
        }
        // Where an earlier read ended that remembers its record: one that may have been dropped
        // since.
        let all = &window.writer.records;
        for number in 0..marks.next_record {
            let at = usize::try_from(number).unwrap();
            let end = if number + 1 < marks.next_record {
                all[at + 1].offset
            } else {
                marks.high
            };
            let cursor = Cursor {
                offset,
                record: number,
                run: Some((all[at], end)),
            };
            if (all[at].offset..end).contains(&offset) {
                for room in [1, 4] {
                    check_read(window, down, cursor, room, seen)
                        .map_err(|error| format!("read({room}) {cursor:?}: {error}"))?;
                }
            }
        }
    }
    check_copies(window, down, marks, seen)
}

fn check_read(
    window: &Window,
    down: bool,
    from: Cursor,
    room: usize,
    seen: &mut Seen,
) -> Result<(), String> {
    let call = |reader: &Reader<View<'_>>| {
        let (mut cursor, mut buffer) = (from, [0xff; 4]);
        let piece = reader.read(&mut cursor, &mut buffer[..room])?;
        Ok((piece, cursor.offset, buffer))
    };
    let all = &window.writer;
    let mut tally = *seen;
    tally.runs += Explorer::explore(window, down, call, |result, step| {
        let (piece, after, buffer) = result.map_err(|error| error.to_string())?;
        let told = || {
            format!(
                "{piece:?} of {buffer:?} at step {step} of {}, then at {after}",
                window.steps
            )
        };
        match piece {
            Piece::Data {
                offset,
                length,
                stream,
                time,
            } => {
                tally.data += 1;
                let end = offset + u64::try_from(length).unwrap();
                let is_new = (offset, after) == (from.offset, end) && length > 0 && length <= room;
                ensure(is_new && end <= window.marks(step).high, told)?;
                for (byte, number) in all.bytes[range(offset, end)]
                    .iter()
                    .zip(&buffer)
                    .map(|(is, got)| ((is.0, *got), is.1))
                {
                    let record = all.records[number];
                    ensure(
                        byte.0 == byte.1 && (record.stream, record.time) == (stream, time),
                        told,
                    )?;
                }
            }
            Piece::Gap { from: first, to } => {
                tally.gaps += 1;
                tally.overtaken += u64::from(from.offset >= window.marks(0).low);
                // Nothing in it is kept, and the next byte is the oldest that was kept at some time
                // of the call.
                ensure((first, to) == (from.offset, after) && first < to, told)?;
                ensure(window.had(step, |marks| marks.low == to), told)?;
            }
            Piece::End { high } => {
                tally.ends += 1;
                ensure(
                    after == from.offset
                        && after >= high
                        && window.had(step, |marks| marks.high == high),
                    told,
                )?;
            }
        }
        Ok(())
    })?;
    *seen = tally;
    Ok(())
}

fn check_skip(
    window: &Window,
    down: bool,
    from: Cursor,
    stream: Stream,
    seen: &mut Seen,
) -> Result<(), String> {
    let call = |reader: &Reader<View<'_>>| {
        let mut cursor = from;
        reader.skip(&mut cursor, stream)?;
        Ok(cursor.offset)
    };
    let all = &window.writer;
    let (mut runs, mut skips) = (0, 0);
    runs += Explorer::explore(window, down, call, |result, step| {
        let after = result.map_err(|error| error.to_string())?;
        let told = || format!("to {after} at step {step} of {}", window.steps);
        ensure(
            after == from.offset || after > from.offset && after <= window.marks(step).high,
            told,
        )?;
        skips += u64::from(after > from.offset);
        let mut skipped = (from.offset..after)
            .map(|offset| &all.records[all.bytes[usize::try_from(offset).unwrap()].1]);
        ensure(skipped.all(|record| record.stream != stream), told)
    })?;
    seen.runs += runs;
    seen.skips += skips;
    Ok(())
}

/// What the seeker of the frontend reads.
fn check_copies(window: &Window, down: bool, marks: Marks, seen: &mut Seen) -> Result<(), String> {
    let all = &window.writer;
    let published = |step, got: Marks| window.had(step, |marks| *marks == got);
    for first in marks.first_record..marks.next_record {
        let call = |reader: &Reader<View<'_>>| {
            let mut records = [Record::default(); 2];
            Ok((reader.records(first, &mut records)?, records))
        };
        seen.runs += Explorer::explore(window, down, call, |result, step| {
            let (after, records) = result.map_err(|error| error.to_string())?;
            // Of records that were there before the call.
            let is_true = (first..marks.next_record)
                .zip(records)
                .filter(|(number, _)| *number >= after.first_record)
                .all(|(number, record)| record == all.records[usize::try_from(number).unwrap()]);
            ensure(is_true && published(step, after), || {
                format!("records from {first}: {records:?} and {after:?}")
            })
        })?;
    }
    for offset in marks.low..marks.high {
        let call = |reader: &Reader<View<'_>>| {
            let mut bytes = [0; 2];
            Ok((reader.bytes(offset, &mut bytes)?, bytes))
        };
        seen.runs += Explorer::explore(window, down, call, |result, step| {
            let (after, bytes) = result.map_err(|error| error.to_string())?;
            let is_true = (offset..marks.high)
                .zip(bytes)
                .filter(|(offset, _)| *offset >= after.low)
                .all(|(offset, byte)| byte == all.bytes[usize::try_from(offset).unwrap()].0);
            ensure(is_true && published(step, after), || {
                format!("bytes from {offset}: {bytes:?} and {after:?}")
            })
        })?;
    }
    Ok(())
}

fn range(from: u64, to: u64) -> std::ops::Range<usize> {
    usize::try_from(from).unwrap()..usize::try_from(to).unwrap()
}

/// All sequences of this many operations.
fn scripts(operations: &[Operation], length: u32) -> impl Iterator<Item = Vec<Operation>> {
    let count = operations.len();
    (0..count.pow(length)).map(move |number| {
        (0..length)
            .map(|position| operations[number / count.pow(position) % count])
            .collect()
    })
}

/// Each script before a call, and each during it.
fn check_all(case: Case) -> Result<Seen, String> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let [before, during] = case.length;
    let work = |worker| {
        let mut seen = Seen::default();
        for prefix in scripts(case.operations, before)
            .skip(worker)
            .step_by(workers)
        {
            let mut script = Script::new(&case);
            for operation in &prefix {
                script.perform(*operation);
            }
            for operations in scripts(case.operations, during) {
                let window = Window::new(&script, &operations);
                for down in [false, true] {
                    check_window(&window, down, &mut seen).map_err(|error| {
                        format!("{prefix:?}, then {operations:?}, down {down}: {error}")
                    })?;
                }
            }
        }
        Ok::<_, String>(seen)
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers)
            .map(|worker| scope.spawn(move || work(worker)))
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .try_fold(Seen::default(), |sum, seen| {
                let seen = seen?;
                Ok(Seen {
                    runs: sum.runs + seen.runs,
                    data: sum.data + seen.data,
                    gaps: sum.gaps + seen.gaps,
                    ends: sum.ends + seen.ends,
                    skips: sum.skips + seen.skips,
                    overtaken: sum.overtaken + seen.overtaken,
                })
            })
    })
}

#[test]
fn o6_between_any_two_looks_of_the_reader_the_writer_may_take_any_steps() {
    let mut cases = vec![
        SMALLEST,
        Case {
            slots: 3,
            ..SMALLEST
        },
        Case {
            operations: &[
                Write(1, Stdout),
                Write(2, Stdout),
                Write(1, Stderr),
                Evict(1),
                Evict(u64::MAX),
            ],
            length: [1, 2],
            ..SMALLEST
        },
        // The search for a record meets one that is overwritten, and the one that it looks for is
        // not.
        Case {
            capacity: 8,
            slots: 3,
            operations: &[Write(1, Stdout), Write(1, Stderr)],
            length: [3, 2],
            mistake: None,
        },
    ];
    // By the minute.
    if std::env::var_os("PRN_SOAK_SECONDS").is_some() {
        cases.extend([[3, 1], [2, 2]].map(|length| Case {
            slots: 3,
            length,
            ..SMALLEST
        }));
    }
    for case in cases {
        let seen = check_all(case).unwrap();
        println!("{case:?}: {seen:?}");
        let Seen {
            runs,
            data,
            gaps,
            ends,
            skips,
            overtaken,
        } = seen;
        assert!(
            [runs, data, gaps, ends, skips, overtaken]
                .iter()
                .all(|count| *count > 1000),
            "{seen:?}"
        );
    }
}

#[test]
fn o6_what_a_writer_could_do_wrong_is_noticed() {
    for mistake in [
        Mistake::ExcludesAfterReading,
        Mistake::SequenceStaysEven,
        Mistake::RecordAfterMarks,
        Mistake::PunchesBeforeMarks,
    ] {
        let error = check_all(Case {
            mistake: Some(mistake),
            ..SMALLEST
        })
        .unwrap_err();
        println!("{mistake:?}: {error}");
    }
}
