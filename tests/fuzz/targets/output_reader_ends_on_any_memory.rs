//! Whatever stands in the two files of an output, its reader ends: each read moves the cursor on,
//! or says that nothing is there, or fails. It writes no byte of the caller's buffer but those that
//! it reports, and these are the ring's.
//!
//! The sequence number is even: an odd one is a writer in the middle of a publication, which
//! readers wait for.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use prn_fuzz::{bounded, memfd};
use prn_ipc_protocol::output::{Cursor, MAGIC, PAGE, Piece, Reader, word};

/// Mostly small, so that values meet; else near the ends of the range, where sums and products
/// overflow.
#[derive(Debug, Clone, Copy)]
struct Word(u64);

impl<'a> Arbitrary<'a> for Word {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let value = u64::from(bytes.arbitrary::<u16>()?);
        Ok(Self(match value >> 12 {
            0..=0xb => value & 0xff,
            0xc => value & 0xfff,
            0xd => u64::MAX - (value & 0xff),
            0xe => (i64::MAX as u64 - 0x80).wrapping_add(value & 0xff),
            _ => 1 << (value & 63),
        }))
    }
}

#[derive(Debug, Arbitrary)]
struct Case<'a> {
    magic_is_wrong: bool,
    capacity: Word,
    slots: Word,
    sequence: Word,
    low: Word,
    high: Word,
    first_record: Word,
    next_record: Word,
    /// Where reads begin, and with how much room.
    reads: Vec<(Word, u8)>,
    records: Vec<(Word, Word)>,
    /// The data are cut here, if that is shorter.
    data_length: Word,
    ring: &'a [u8],
}

const UNTOUCHED: u8 = 0xa5;

fuzz_target!(|case: Case| {
    let mut page = vec![0; PAGE as usize];
    for (at, value) in [
        (word::MAGIC, if case.magic_is_wrong { 0 } else { MAGIC }),
        (word::CAPACITY, case.capacity.0),
        (word::SLOTS, case.slots.0),
        (word::SEQUENCE, case.sequence.0 & !1),
        (word::LOW, case.low.0),
        (word::HIGH, case.high.0),
        (word::FIRST_RECORD, case.first_record.0),
        (word::NEXT_RECORD, case.next_record.0),
    ] {
        page[at as usize..][..8].copy_from_slice(&value.to_le_bytes());
    }
    let mut data = case.ring.to_vec();
    if case.capacity.0 < 1 << 13 {
        data.resize(case.capacity.0 as usize, 0);
        for (offset, tag) in &case.records {
            data.extend(offset.0.to_le_bytes());
            data.extend(tag.0.to_le_bytes());
        }
    }
    if case.data_length.0 > 0 {
        data.truncate(usize::try_from(case.data_length.0).unwrap_or(usize::MAX));
    }
    let Ok(reader) = Reader::new(memfd(&data), memfd(&page)) else {
        return;
    };
    for (from, room) in case.reads.into_iter().take(16) {
        let mut cursor = Cursor::at(from.0);
        // Each read moves the cursor on; how often it can is up to the memory, not to the reader.
        for _ in 0..64 {
            let mut buffer = [UNTOUCHED; 256];
            let (room, spare) = buffer.split_at_mut(room.into());
            let before = cursor.offset;
            let Ok(piece) = bounded(0, 0, || reader.read(&mut cursor, room)) else {
                break;
            };
            assert!(spare.iter().all(|byte| *byte == UNTOUCHED));
            match piece {
                Piece::Data { offset, length, .. } => {
                    assert_eq!((offset, cursor.offset), (before, before + length as u64));
                    assert!((1..=room.len()).contains(&length));
                    let place = (offset % case.capacity.0) as usize;
                    assert_eq!(room[..length], data[place..place + length]);
                    assert!(room[length..].iter().all(|byte| *byte == UNTOUCHED));
                }
                Piece::Gap { from, to } => {
                    assert_eq!((from, to), (before, cursor.offset));
                    assert!(from < to);
                }
                Piece::End { .. } => {
                    assert_eq!(cursor.offset, before);
                    break;
                }
            }
        }
    }
});
