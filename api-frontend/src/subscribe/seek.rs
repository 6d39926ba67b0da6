//! Where a stream begins and ends that was asked for by time or by its tail.
//!
//! Times are found by binary search in the index, tails backwards from the end: by arithmetic, by
//! the index where one stream is wanted, and by the bytes themselves for lines. Nothing here waits,
//! and no more is scanned than was asked for. The supervisor may drop what is looked at: every look
//! comes with marks that were taken after it, and what they exclude is not believed. Whatever
//! asked-for output is gone by then, the stream is to begin before it, so that the reader meets it
//! as a gap.

use std::io;

use prn_ipc_protocol::output::{Marks, RESOLUTION, Record};
use prn_ipc_protocol::types::UnixMicros;
use prn_proto::Tail;

use crate::convert::subscribe::Part;
use crate::subscribe::runs::{Boundary, Kept, Runs, bytes_before, lines_before};

/// Where that part lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Offset of its first byte. Before what is kept if some of the part may have been dropped.
    pub from: u64,
    /// Offset just after its last byte. `None` if no byte is kept that is too late.
    pub end: Option<u64>,
}

/// Finds a part of what an output was when the marks were taken.
///
/// # Errors
/// Those of pread(2).
pub async fn find(kept: &(impl Kept + Sync), marks: &Marks, part: &Part) -> io::Result<Extent> {
    let mut from = part.from;
    if let Some(since) = part.since {
        // A record's last bytes may be this much younger than its time.
        let boundary = boundary(kept, marks, |time| {
            time.0.saturating_add(RESOLUTION) <= since.0
        })
        .await?;
        // If not even the oldest record is too old, older ones that were dropped may have been
        // wanted.
        if boundary.is_certain {
            from = from.max(boundary.offset);
        }
    }
    let mut end = Boundary {
        number: marks.next_record,
        offset: marks.high,
        is_certain: true,
    };
    let mut found_end = None;
    if let Some(until) = part.until {
        end = boundary(kept, marks, |time| time < until).await?;
        found_end = (end.number < marks.next_record).then_some(end.offset);
    }
    if let Some(tail) = part.tail {
        let mut runs = Runs::new(kept, marks, part.only, from, end);
        let start = match tail {
            Tail::Lines(0) | Tail::Bytes(0) => Some(end.offset),
            // All before it was dropped, and it may have been further back.
            Tail::Lines(_) | Tail::Bytes(_) if !end.is_certain => None,
            Tail::Bytes(count) if part.only.is_none() => Some(end.offset.saturating_sub(count)),
            Tail::Bytes(count) => bytes_before(&mut runs, count).await?,
            Tail::Lines(count) => lines_before(&mut runs, count).await?,
        };
        // If it is not there, all of it is wanted that is, and what was dropped before.
        from = from.max(start.unwrap_or(0));
    }
    Ok(Extent {
        from,
        end: found_end,
    })
}

/// Finds where the records begin that are not before a time.
///
/// Times are in order unless the clock was set back. Then there may be several such boundaries, and
/// this is one of them: the record before it is before the time, and the one after it is not.
async fn boundary(
    kept: &(impl Kept + Sync),
    marks: &Marks,
    is_before: impl Fn(UnixMicros) -> bool,
) -> io::Result<Boundary> {
    let (mut low, mut high) = (marks.first_record, marks.next_record);
    let mut found = Boundary {
        number: high,
        offset: marks.high,
        is_certain: false,
    };
    while low < high {
        tokio::task::coop::consume_budget().await;
        let middle = low + (high - low) / 2;
        let mut record = [Record::default()];
        let now = kept.records(middle, &mut record)?;
        let [record] = record;
        if middle < now.first_record {
            // Dropped meanwhile, with all before it: nobody knows any more what it was.
            low = now.first_record.min(high);
            found.is_certain = false;
        } else if is_before(record.time) {
            low = middle + 1;
            found.is_certain = true;
        } else {
            high = middle;
            found = Boundary {
                number: middle,
                offset: record.offset,
                ..found
            };
        }
    }
    Ok(found)
}

#[cfg(test)]
#[expect(
    clippy::as_conversions,
    reason = "numbers are small here, and bits are taken on purpose"
)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use prn_ipc_protocol::output::Stream;
    use std::sync::Mutex;

    /// Numbers that look random and are the same in each run (splitmix64).
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }

        fn below(&mut self, bound: u64) -> u64 {
            self.next() % bound.max(1)
        }
    }

    /// An output of which all is known, and only a part is shown: what is dropped comes back as
    /// garbage.
    struct Model {
        bytes: Vec<u8>,
        records: Vec<Record>,
        now: Mutex<Now>,
    }

    struct Now {
        low: u64,
        random: Random,
        /// With each look so many bytes may be dropped.
        drops: u64,
    }

    impl Model {
        fn new(runs: &[(Stream, u64, &[u8])]) -> Self {
            let (mut bytes, mut records) = (Vec::new(), Vec::new());
            for (stream, time, data) in runs {
                records.push(Record {
                    offset: bytes.len() as u64,
                    time: UnixMicros(*time),
                    stream: *stream,
                });
                bytes.extend_from_slice(data);
            }
            Self {
                bytes,
                records,
                now: Mutex::new(Now {
                    low: 0,
                    random: Random(1),
                    drops: 0,
                }),
            }
        }

        fn dropped(self, low: u64) -> Self {
            self.now.lock().unwrap().low = low;
            self
        }

        fn high(&self) -> u64 {
            self.bytes.len() as u64
        }

        fn low(&self) -> u64 {
            self.now.lock().unwrap().low
        }

        fn find(&self, part: &Part) -> Extent {
            find(self, &self.marks(), part)
                .now_or_never()
                .expect("it never waits")
                .unwrap()
        }

        fn record_of(&self, offset: u64) -> Record {
            self.records[self
                .records
                .partition_point(|record| record.offset <= offset)
                - 1]
        }

        /// Offsets of the bytes of a stream in a range.
        fn offsets(&self, only: Option<Stream>, from: u64, to: u64) -> Vec<u64> {
            (from..to)
                .filter(|offset| only.is_none_or(|only| self.record_of(*offset).stream == only))
                .collect()
        }
    }

    impl Model {
        fn marks(&self) -> Marks {
            let low = self.low();
            let next_record = self.records.len() as u64;
            let holds = self
                .records
                .iter()
                .rposition(|record| record.offset <= low)
                .map_or(0, |number| number as u64);
            let first_record = if low == self.high() {
                next_record
            } else {
                holds
            };
            Marks {
                low,
                high: self.high(),
                first_record,
                next_record,
            }
        }
    }

    impl Kept for Model {
        fn records(&self, first: u64, into: &mut [Record]) -> io::Result<Marks> {
            {
                let mut now = self.now.lock().unwrap();
                let drops = now.drops;
                now.low = (now.low + now.random.below(drops + 1)).min(self.high());
            }
            let marks = self.marks();
            for (number, record) in (first..).zip(into) {
                assert!(number < marks.next_record, "beyond the last record");
                let garbage = Record {
                    offset: u64::MAX - 7,
                    time: UnixMicros(u64::MAX - 3),
                    stream: Stream::Stderr,
                };
                *record = if number < marks.first_record {
                    garbage
                } else {
                    self.records[number as usize]
                };
            }
            Ok(marks)
        }

        fn bytes(&self, offset: u64, into: &mut [u8]) -> io::Result<Marks> {
            let marks = self.records(0, &mut [])?;
            for (offset, byte) in (offset..).zip(into) {
                assert!(offset < marks.high, "beyond the last byte");
                *byte = if offset < marks.low {
                    b'\n'
                } else {
                    self.bytes[offset as usize]
                };
            }
            Ok(marks)
        }
    }

    use Stream::{Stderr, Stdout};

    fn tail(tail: Tail) -> Part {
        Part {
            tail: Some(tail),
            ..Part::default()
        }
    }

    fn only(part: Part, stream: Stream) -> Part {
        Part {
            only: Some(stream),
            ..part
        }
    }

    fn ms(ms: u64) -> Option<UnixMicros> {
        Some(UnixMicros(ms * 1000))
    }

    #[test]
    fn lines_are_counted_as_tail_counts_them() {
        let lines = |text: &[u8], count| {
            Model::new(&[(Stdout, 0, text)])
                .find(&tail(Tail::Lines(count)))
                .from
        };
        assert_eq!(lines(b"a\nb\nc\n", 1), 4);
        assert_eq!(lines(b"a\nb\nc\n", 2), 2);
        assert_eq!(lines(b"a\nb\nc\n", 3), 0);
        assert_eq!(lines(b"a\nb\nc\n", u64::MAX), 0);
        assert_eq!(lines(b"a\nb\nc", 1), 4, "unfinished text is a line");
        assert_eq!(lines(b"\n\n\n", 1), 2);
        assert_eq!(lines(b"\n\n\n", 2), 1);
        assert_eq!(lines(b"abc", 1), 0);
        assert_eq!(lines(b"abc\n", 0), 4);
        let long = [b"first\n".as_slice(), &vec![b'x'; 200_000], b"\nlast\n"].concat();
        assert_eq!(lines(&long, 1), 200_007);
        assert_eq!(lines(&long, 2), 6);
        assert_eq!(lines(&long, 3), 0);
    }

    #[test]
    fn a_tail_of_one_stream_counts_that_stream_alone() {
        let model = Model::new(&[
            (Stdout, 0, b"one\nt"),
            (Stderr, 1, b"x\ny\nz\n"),
            (Stdout, 2, b"wo\n"),
            (Stderr, 3, b"end\n"),
        ]);
        assert_eq!(
            model.find(&only(tail(Tail::Lines(1)), Stdout)).from,
            4,
            "the line that began before the others"
        );
        assert_eq!(model.find(&only(tail(Tail::Lines(2)), Stdout)).from, 0);
        assert_eq!(model.find(&only(tail(Tail::Lines(2)), Stderr)).from, 9);
        assert_eq!(model.find(&only(tail(Tail::Bytes(4)), Stdout)).from, 4);
        assert_eq!(model.find(&only(tail(Tail::Bytes(5)), Stderr)).from, 10);
        assert_eq!(model.find(&tail(Tail::Bytes(5))).from, 13);
        assert_eq!(model.find(&tail(Tail::Lines(2))).from, 11);
    }

    #[test]
    fn a_tail_that_is_not_kept_begins_before_what_was_dropped() {
        let model = || Model::new(&[(Stdout, 0, b"a\nb\nc\nd\n")]);
        assert_eq!(
            model().dropped(3).find(&tail(Tail::Lines(2))).from,
            4,
            "seen to be whole"
        );
        assert_eq!(
            model().dropped(4).find(&tail(Tail::Lines(2))).from,
            0,
            "it may have begun earlier"
        );
        assert_eq!(model().dropped(4).find(&tail(Tail::Lines(3))).from, 0);
        assert_eq!(
            model().dropped(4).find(&tail(Tail::Bytes(5))).from,
            3,
            "one byte is missing, and no more"
        );
        assert_eq!(
            model()
                .dropped(4)
                .find(&only(tail(Tail::Bytes(5)), Stdout))
                .from,
            0
        );
        assert_eq!(
            model().dropped(8).find(&tail(Tail::Lines(1))).from,
            0,
            "nothing is kept"
        );
        assert_eq!(model().dropped(8).find(&tail(Tail::Lines(0))).from, 8);
    }

    #[test]
    fn times_begin_and_end_a_stream() {
        let model = || {
            Model::new(&[
                (Stdout, 10_000, b"aa"),
                (Stderr, 20_000, b"bb"),
                (Stdout, 30_000, b"cc"),
                (Stdout, 40_000, b"dd"),
            ])
        };
        let since = |time| Part {
            since: ms(time),
            ..Part::default()
        };
        let until = |time| Part {
            until: ms(time),
            ..Part::default()
        };
        let froms: Vec<_> = [5, 10, 11, 20, 21, 40, 41]
            .map(|time| model().find(&since(time)).from)
            .into();
        assert_eq!(froms, [0, 0, 2, 2, 4, 6, 8]);
        assert_eq!(
            model()
                .find(&Part {
                    since: Some(UnixMicros(20_999)),
                    ..Part::default()
                })
                .from,
            2,
            "to the millisecond"
        );
        let ends: Vec<_> = [5, 10, 11, 30, 31, 40, 41]
            .map(|time| model().find(&until(time)).end)
            .into();
        assert_eq!(
            ends,
            [Some(0), Some(0), Some(2), Some(4), Some(6), Some(6), None]
        );
        let both = Part {
            since: ms(15),
            tail: Some(Tail::Bytes(100)),
            ..until(35)
        };
        assert_eq!(
            model().find(&both),
            Extent {
                from: 2,
                end: Some(6)
            }
        );
        assert_eq!(
            model().find(&Part {
                tail: Some(Tail::Bytes(1)),
                ..both
            }),
            Extent {
                from: 5,
                end: Some(6)
            }
        );
        assert_eq!(
            model()
                .find(&only(
                    Part {
                        tail: Some(Tail::Bytes(1)),
                        ..both
                    },
                    Stderr
                ))
                .from,
            3
        );
        // Of what was dropped, nobody knows the time.
        assert_eq!(
            model().dropped(2).find(&since(15)).from,
            0,
            "some of it may be younger"
        );
        assert_eq!(
            model().dropped(3).find(&since(25)).from,
            4,
            "none of it can be younger"
        );
        assert_eq!(model().dropped(8).find(&since(25)).from, 0);
        assert_eq!(Model::new(&[]).find(&both), Extent { from: 0, end: None });
    }

    #[test]
    fn a_clock_that_was_set_back_ends_a_search_at_a_place_where_the_time_was_passed() {
        let times = [10, 11, 12, 5, 6, 7, 8, 13];
        let runs: Vec<_> = times
            .iter()
            .map(|time| (Stdout, time * 1_000_000, b"x".as_slice()))
            .collect();
        let model = Model::new(&runs);
        for time in 0..20 {
            let from = model
                .find(&Part {
                    since: ms(time * 1000),
                    ..Part::default()
                })
                .from as usize;
            assert!(from == 0 || times[from - 1] < time, "{time}: {from}");
            assert!(from == times.len() || times[from] >= time, "{time}: {from}");
        }
    }

    fn random_model(random: &mut Random) -> Model {
        let mut time = 1_000_000;
        let runs: Vec<(Stream, u64, Vec<u8>)> = (0..random.below(700))
            .map(|_| {
                let stream = if random.below(3) == 0 { Stderr } else { Stdout };
                time += random.below(3000);
                let data = (0..=random.below(12))
                    .map(|_| if random.below(4) == 0 { b'\n' } else { b'x' })
                    .collect();
                (stream, time, data)
            })
            .collect();
        let runs: Vec<_> = runs
            .iter()
            .map(|(stream, time, data)| (*stream, *time, data.as_slice()))
            .collect();
        Model::new(&runs)
    }

    fn random_part(random: &mut Random, model: &Model) -> Part {
        let span = model
            .records
            .last()
            .map_or(2000, |last| last.time.0 - 1_000_000 + 4000);
        let mut maybe = |bound| (random.below(2) == 0).then(|| random.below(bound));
        let (since, until) = (maybe(span), maybe(span));
        let lines = maybe(40).map(Tail::Lines);
        let tail = lines.or(maybe(model.high() + 10).map(Tail::Bytes));
        Part {
            from: 0,
            since: since.map(|at| UnixMicros(at + 999_000)),
            until: until.map(|at| UnixMicros(at + 999_000)),
            tail,
            only: [None, Some(Stdout), Some(Stderr)][random.below(3) as usize],
        }
    }

    /// Where a part of a whole output begins and ends, found by looking at each byte.
    fn by_hand(model: &Model, part: &Part) -> (u64, u64) {
        let reached = |time: u64| {
            let first = model.records.iter().find(|record| record.time.0 >= time);
            first.map_or(model.high(), |record| record.offset)
        };
        let since = part
            .since
            .map_or(0, |since| reached((since.0 + 1).saturating_sub(RESOLUTION)));
        let end = part.until.map_or(model.high(), |until| reached(until.0));
        let wanted = model.offsets(part.only, since, end);
        let from = match part.tail {
            None => since,
            Some(Tail::Lines(0) | Tail::Bytes(0)) => end.max(since),
            Some(Tail::Bytes(count)) if count as usize > wanted.len() => since,
            Some(Tail::Bytes(count)) => wanted[wanted.len() - count as usize],
            Some(Tail::Lines(count)) => {
                let text: Vec<u8> = wanted
                    .iter()
                    .map(|offset| model.bytes[*offset as usize])
                    .collect();
                let lines = text.split_inclusive(|byte| *byte == b'\n').count();
                let before: usize = text
                    .split_inclusive(|byte| *byte == b'\n')
                    .take(lines.saturating_sub(count as usize))
                    .map(<[u8]>::len)
                    .sum();
                if before == 0 {
                    since
                } else {
                    wanted[before - 1] + 1
                }
            }
        };
        (from, end)
    }

    #[test]
    fn a_whole_output_is_cut_where_looking_at_each_byte_cuts_it() {
        let mut random = Random(7);
        for round in 0..1500 {
            let model = random_model(&mut random);
            for _ in 0..4 {
                let part = random_part(&mut random, &model);
                let extent = model.find(&part);
                let (from, end) = by_hand(&model, &part);
                let is_tail_of_one =
                    part.only.is_some() && matches!(part.tail, Some(Tail::Bytes(_)));
                assert_eq!(extent.end.unwrap_or(model.high()), end, "{round}: {part:?}");
                // Which byte of the other stream it begins at makes no difference.
                let wanted = |from| model.offsets(part.only, from, end);
                assert_eq!(
                    wanted(extent.from),
                    wanted(from),
                    "{round}: {part:?} {is_tail_of_one}"
                );
                assert!(
                    extent.from <= model.high() && (part.only.is_some() || extent.from == from),
                    "{round}: {part:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_dropped_meanwhile_is_a_gap_or_was_not_asked_for() {
        let mut random = Random(11);
        let mut missing = 0;
        for round in 0..4000 {
            let model = random_model(&mut random);
            let part = random_part(&mut random, &model);
            let low = random.below(model.high() + 1);
            *model.now.lock().unwrap() = Now {
                low,
                random: Random(round),
                drops: random.below(60),
            };
            let extent = model.find(&part);
            // What it did not begin with although it should have is before it, and so in the gap
            // that the reader meets.
            let (from, end) = by_hand(&model, &part);
            let asked = model.offsets(part.only, from, end);
            assert!(
                asked.iter().all(|offset| *offset >= extent.from),
                "{round}: {part:?} at {extent:?}, not {from}"
            );
            // Nothing is sent that was not asked for, unless something is missing, and then it is
            // said.
            let sent = model.offsets(part.only, extent.from, extent.end.unwrap_or(model.high()));
            if extent.from >= model.low() {
                assert_eq!(sent, asked, "{round}: {part:?} at {extent:?}");
            } else {
                missing += 1;
            }
        }
        assert!((500..3500).contains(&missing), "{missing}");
    }

    #[test]
    fn a_short_tail_of_a_ring_that_is_overwritten_meanwhile_is_found() {
        let text: Vec<u8> = (0..10_000)
            .flat_map(|number| format!("line {number}\n").into_bytes())
            .collect();
        let model = Model::new(&[(Stdout, 0, &text)]).dropped(40_000);
        model.now.lock().unwrap().drops = 100;
        let from = model.find(&tail(Tail::Lines(3))).from as usize;
        assert_eq!(&text[from..], b"line 9997\nline 9998\nline 9999\n");
        // Nothing is looked at for more lines than there can be.
        let low = model.low();
        assert_eq!(
            (model.find(&tail(Tail::Lines(u64::MAX))).from, model.low()),
            (0, low)
        );
    }
}
