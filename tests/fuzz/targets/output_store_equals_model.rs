//! Whatever a process writes through its pipes, and whatever is evicted meanwhile, what a reader
//! gets is what was written: at least as many of the newest bytes as the store promised, each with
//! its stream, and the rest as gaps. What the store charges covers what it keeps.
#![no_main]

#[path = "../../../supervisor/src/sys/memory.rs"]
#[allow(dead_code)]
mod memory;
#[path = "../../../supervisor/src/store.rs"]
#[allow(dead_code)]
mod store;
mod sys {
    pub(crate) use crate::memory;
}

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use nix::errno::Errno;
use nix::unistd::{pipe, write};
use prn_fuzz::model::{Model, stream};
use prn_ipc_protocol::message::{Keeping, OutputStore, Overflow};
use prn_ipc_protocol::output::{Cursor, Reader};
use prn_ipc_protocol::types::UnixMicros;
use store::Store;

/// What the two files above take from the module that they are in.
fn errno(error: io::Error) -> Errno {
    Errno::try_from(error).unwrap_or(Errno::EIO)
}

fn reopen(file: &impl AsRawFd) -> nix::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    File::open(path).map(Into::into).map_err(errno)
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Step {
    Write {
        stderr: bool,
        length: u16,
        later: u16,
    },
    /// Runs of a few bytes, of one stream and the other: they fill the index.
    Alternate {
        times: u8,
        length: u8,
    },
    Evict(u32),
    EvictAll,
    Read {
        cursor: u8,
        room: u16,
    },
    Finish,
}

/// The least that can be promised.
const PROMISE: u64 = 65_536;

fuzz_target!(|steps: Vec<Step>| {
    check(OutputStore::Memory, &steps);
    check(OutputStore::Disk, &steps);
});

fn check(store: OutputStore, steps: &[Step]) {
    let keeping = Keeping {
        max: PROMISE,
        overflow: Overflow::DropOldest,
        store,
    };
    let folder = std::fs::File::open(std::env::temp_dir()).expect("a folder");
    let mut store = Store::new(keeping, folder.as_fd()).expect("memory, or a disk");
    let [data, page] =
        [&store.data, &store.page].map(|memory| memory.reader().expect("a descriptor"));
    let reader = Reader::new(data, page).expect("a right layout");
    let (from, to) = pipe().expect("a pipe");
    let mut model = Model::coalescing(1000);
    let mut cursors = [Cursor::default(); 3];
    let (mut time, mut evicted, mut small) = (0, 0, 0);
    let put = |store: &mut Store, model: &mut Model, length: u64, stderr: bool, time: u64| {
        let bytes = model.write(length, stderr, time);
        assert_eq!(write(&to, &bytes), Ok(bytes.len()));
        let mut taken = 0;
        while taken < length {
            taken += store
                .fill(from.as_fd(), stream(stderr), UnixMicros(time))
                .expect("what was written");
        }
        assert_eq!(taken, length);
    };
    for step in steps.iter().copied().take(48) {
        match step {
            Step::Write {
                stderr,
                length,
                later,
            } => {
                time += u64::from(later);
                put(&mut store, &mut model, 1 + u64::from(length), stderr, time);
            }
            // A little more than the index holds.
            Step::Alternate { times, .. } if small + 2 * u64::from(times) > 6000 => {}
            Step::Alternate { times, length } => {
                for stderr in [true, false].repeat(times.into()) {
                    put(&mut store, &mut model, 1 + u64::from(length), stderr, time);
                }
                small += u64::from(times) * 2;
            }
            Step::Evict(bytes) => {
                let bytes = u64::from(bytes) % (2 * PROMISE);
                let low = store.totals().first;
                store.evict(bytes).expect("room can be given back");
                assert_eq!(store.totals().first, store.marks.high.min(low + bytes));
                evicted = evicted.max(store.totals().first);
            }
            Step::EvictAll => {
                store.evict(u64::MAX).expect("room can be given back");
                assert_eq!(
                    (store.charge(), store.totals().first),
                    (0, store.marks.high)
                );
                evicted = store.marks.high;
            }
            Step::Read { cursor, room } => {
                model.drop_before(store.totals().first);
                model.check_read(&reader, &mut cursors[usize::from(cursor) % 3], room.into());
            }
            Step::Finish => {
                store.data.finish();
                break;
            }
        }
        let totals = store.totals();
        assert_eq!((totals.end, totals.stdout, totals.stderr), model.totals());
        // Runs of under 64 bytes fill the index first; without many of those the promise is the
        // ring's alone.
        if small < 1024 {
            assert!(
                totals.first <= evicted.max(totals.end.saturating_sub(PROMISE)),
                "less is kept than promised"
            );
        }
        assert!(store.charge() >= totals.end - totals.first);
    }
    model.drop_before(store.totals().first);
    model.check_all(&reader);
}
