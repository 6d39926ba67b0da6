//! The store beside two models: one of its memory, which stands for it in the test of the reader's
//! interleavings, and one of what a reader gets.
#![expect(
    clippy::as_conversions,
    reason = "usize and u64 are the same here, and a byte is taken on purpose"
)]

use prn_ipc_protocol::message::{Keeping, OutputStore, Overflow};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::ptrace;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, gettid, pipe, write};
use prn_ipc_protocol::output::{
    Cursor, MAGIC, Marks, PAGE, RECORD, RESOLUTION, Reader, Record, Stream, word,
};
use prn_ipc_protocol::types::UnixMicros;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Errno, READ_MAX, Store};
use writer_model::{Position, Writer};

#[allow(dead_code, reason = "the readers' test makes more of it")]
#[path = "../../../ipc-protocol/src/output/writer_model.rs"]
mod writer_model;

#[path = "../../../tests/fuzz/src/model.rs"]
mod list;

/// The least that a store can be asked to keep.
const PROMISE: u64 = 65_536;

#[derive(Debug, Clone)]
enum Operation {
    Write {
        length: u64,
        stderr: bool,
        /// Microseconds after the operation before.
        later: u64,
    },
    /// Runs of one byte, of one stream and the other: they fill the index.
    Alternate(u64),
    Evict(u64),
    Read {
        room: usize,
        back: u64,
    },
}

fn kind() -> impl Strategy<Value = OutputStore> {
    prop_oneof![Just(OutputStore::Memory), Just(OutputStore::Disk)]
}

fn operation() -> impl Strategy<Value = Operation> {
    let length =
        prop_oneof![3 => 1..=100_u64, 3 => 1..=65_536_u64, 1 => 1..=READ_MAX, 1 => Just(READ_MAX)];
    let later = prop_oneof![Just(0), 0..3 * RESOLUTION];
    prop_oneof![
        8 => (length, any::<bool>(), later).prop_map(|(length, stderr, later)| Operation::Write { length, stderr, later }),
        1 => (1..3000_u64).prop_map(Operation::Alternate),
        1 => prop_oneof![0..2 * PROMISE, Just(u64::MAX)].prop_map(Operation::Evict),
        4 => (prop_oneof![0..100_usize, Just(65_536)], 0..3 * PROMISE)
            .prop_map(|(room, back)| Operation::Read { room, back }),
    ]
}

/// A store and what is written to it.
struct Bench {
    store: Store,
    data: File,
    page: File,
    from: OwnedFd,
    to: OwnedFd,
    now: u64,
}

impl Bench {
    fn new(store: OutputStore) -> Self {
        Self::of(Keeping {
            max: PROMISE,
            overflow: Overflow::DropOldest,
            store,
        })
    }

    fn of(keeping: Keeping) -> Self {
        let folder = File::open(std::env::temp_dir()).unwrap();
        let store = Store::new(keeping, folder.as_fd()).unwrap();
        let (from, to) = pipe().unwrap();
        nix::fcntl::fcntl(
            &to,
            nix::fcntl::FcntlArg::F_SETPIPE_SZ(READ_MAX.try_into().unwrap()),
        )
        .unwrap();
        let (data, page) = (store.data.reader().unwrap(), store.page.reader().unwrap());
        Self {
            store,
            data,
            page,
            from,
            to,
            now: 1_000_000,
        }
    }

    fn model(&self) -> Writer {
        Writer::new(self.store.capacity, self.store.slots, READ_MAX, None)
    }

    /// Tells of each time that the store takes some: on disk not beyond the end of the ring at
    /// once.
    fn fill(&mut self, mut bytes: &[u8], stream: Stream, mut taken: impl FnMut(&[u8])) {
        assert_eq!(write(&self.to, bytes), Ok(bytes.len()));
        while !bytes.is_empty() {
            let length = self
                .store
                .fill(self.from.as_fd(), stream, UnixMicros(self.now))
                .unwrap();
            let (first, rest) = bytes.split_at(length as usize);
            assert!(!first.is_empty());
            taken(first);
            bytes = rest;
        }
    }
}

/// All bytes of a file from there on.
fn bytes(file: &File, from: u64) -> Vec<u8> {
    let mut bytes = vec![0; (file.metadata().unwrap().len() - from) as usize];
    file.read_exact_at(&mut bytes, from).unwrap();
    bytes
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes
        .as_chunks::<8>()
        .0
        .iter()
        .map(|word| u64::from_le_bytes(*word))
        .collect()
}

/// What is in both files: the ring, the index and the page.
type Memory = (Vec<u8>, Vec<u64>, Vec<u64>);

fn memory(data: &File, page: &File, capacity: u64) -> Memory {
    let mut ring = bytes(data, 0);
    let index = ring.split_off(capacity as usize);
    (ring, words(&index), words(&bytes(page, 0)))
}

fn assert_same_memory((ring, index, page): &Memory, model: &Writer) {
    // Not assert_eq: it would print both.
    assert!(*page == model.page, "the page is not the model's");
    assert!(*index == model.index, "the index is not the model's");
    assert!(*ring == model.ring, "the ring is not the model's");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_each_operation_the_memory_is_that_of_the_readers_model(
        kind in kind(), operations in vec(operation(), 1..24)
    ) {
        let mut bench = Bench::new(kind);
        let mut model = bench.model();
        let fill = |bench: &mut Bench, model: &mut Writer, length, stream| {
            let high = model.marks.high;
            let bytes: Vec<u8> = (high..high + length).map(|offset| (offset % 251) as u8 | 1).collect();
            let now = UnixMicros(bench.now);
            bench.fill(&bytes, stream, |bytes| model.fill(bytes, stream, now));
        };
        for operation in operations {
            match operation {
                Operation::Write { length, stderr, later } => {
                    bench.now += later;
                    fill(&mut bench, &mut model, length, list::stream(stderr));
                }
                Operation::Alternate(times) => {
                    for number in 0..times {
                        fill(&mut bench, &mut model, 1, list::stream(number % 2 == 0));
                    }
                }
                Operation::Evict(bytes) => {
                    bench.store.evict(bytes).unwrap();
                    model.evict(bytes);
                }
                Operation::Read { .. } => continue,
            }
            model.steps.clear();
            assert_eq!(bench.store.marks, model.marks);
            assert_same_memory(&memory(&bench.data, &bench.page, bench.store.capacity), &model);
        }
    }

    #[test]
    fn what_a_reader_gets_is_what_a_plain_list_of_all_bytes_says(
        kind in kind(), operations in vec(operation(), 1..48)
    ) {
        let mut bench = Bench::new(kind);
        let reader = Reader::new(bench.data.try_clone().unwrap(), bench.page.try_clone().unwrap()).unwrap();
        let mut model = list::Model::coalescing(RESOLUTION);
        let mut cursor = Cursor::default();
        let fill = |bench: &mut Bench, model: &mut list::Model, length, stderr| {
            let bytes = model.write(length, stderr, bench.now);
            bench.fill(&bytes, list::stream(stderr), |_| {});
        };
        for operation in operations {
            match operation {
                Operation::Write { length, stderr, later } => {
                    bench.now += later;
                    fill(&mut bench, &mut model, length, stderr);
                }
                Operation::Alternate(times) => {
                    for number in 0..times {
                        fill(&mut bench, &mut model, 1, number % 2 == 0);
                    }
                }
                Operation::Evict(bytes) => bench.store.evict(bytes).unwrap(),
                Operation::Read { room, back } => {
                    model.drop_before(bench.store.marks.low);
                    // On from where it was, then from anywhere.
                    model.check_read(&reader, &mut cursor, room);
                    let mut elsewhere = Cursor::at((bench.store.marks.high + 1).saturating_sub(back));
                    model.check_read(&reader, &mut elsewhere, room);
                    if back % 4 == 0 {
                        cursor = elsewhere;
                    }
                }
            }
        }
        model.drop_before(bench.store.marks.low);
        model.check_all(&reader);
        let totals = bench.store.totals();
        assert_eq!((totals.end, totals.stdout, totals.stderr), model.totals());
    }
}

#[test]
fn o6_what_is_about_to_be_overwritten_is_excluded_before_the_read_begins() {
    // By bytes, and by records.
    for (kind, length) in [
        (OutputStore::Memory, READ_MAX),
        (OutputStore::Memory, 1),
        (OutputStore::Disk, READ_MAX),
        (OutputStore::Disk, 1),
    ] {
        let mut bench = Bench::new(kind);
        let mut model = bench.model();
        let mut stream = Stream::Stdout;
        // Until the next one has to drop something.
        while model.marks.high + READ_MAX <= bench.store.capacity
            && model.marks.next_record < bench.store.slots
        {
            let bytes = vec![b'x'; length as usize];
            let now = UnixMicros(bench.now);
            bench.fill(&bytes, stream, |bytes| model.fill(bytes, stream, now));
            stream = if stream == Stream::Stdout {
                Stream::Stderr
            } else {
                Stream::Stdout
            };
        }
        let now = UnixMicros(bench.now);
        let Bench {
            store,
            data,
            page,
            from,
            to,
            ..
        } = &mut bench;
        let (data, page, to, capacity) = (&*data, &*page, &*to, store.capacity);
        let (filling, has_returned) = (gettid(), &AtomicBool::new(false));
        let (seen, read) = std::thread::scope(|scope| {
            let onlooker = scope.spawn(move || {
                // In an empty pipe that blocks. splice(2) returns at once, with nothing.
                let readv = format!("{} ", nix::libc::SYS_readv);
                let status = format!("/proc/self/task/{filling}/syscall");
                while !has_returned.load(Ordering::SeqCst)
                    && !std::fs::read_to_string(&status)
                        .unwrap()
                        .starts_with(&readv)
                {
                    std::thread::yield_now();
                }
                let seen = memory(data, page, capacity);
                write(to, b"new").unwrap();
                seen
            });
            let mut read = store.fill(from.as_fd(), stream, now);
            has_returned.store(true, Ordering::SeqCst);
            let seen = onlooker.join().unwrap();
            if kind == OutputStore::Disk {
                assert_eq!(read, Err(Errno::EAGAIN));
                read = store.fill(from.as_fd(), stream, now);
            }
            (seen, read)
        });
        let low = model.marks.low;
        let joins = model.before_read(stream, now);
        assert!(model.marks.low > low, "nothing was dropped");
        assert_same_memory(&seen, &model);
        assert_eq!(read, Ok(3));
        model.after_read(b"new", stream, now, joins);
        assert_same_memory(&memory(data, page, capacity), &model);
    }
}

/// Bytes of the page that hold its words, and of the index that the traced operations store to,
/// with room to spare.
const WORDS: usize = word::NEXT_RECORD as usize + 8;
const WATCHED: usize = 64 * 8;

/// What is done while each instruction is looked at.
enum Traced {
    /// So many microseconds later than what was before.
    Write(Vec<u8>, Stream, u64),
    Evict(u64),
}

/// Some of each kind, and more than the ring holds.
fn traced() -> Vec<Traced> {
    let mut high = 0;
    let mut write = |length: u64, stderr, later| {
        let bytes = (high..high + length)
            .map(|offset| (offset % 251) as u8 | 1)
            .collect();
        high += length;
        Traced::Write(bytes, list::stream(stderr), later)
    };
    vec![
        write(3, false, 0),
        write(3, false, 1),
        write(3, true, 0),
        write(READ_MAX, true, RESOLUTION),
        write(READ_MAX, false, 0),
        write(10, false, 0),
        Traced::Evict(1),
        write(100_000, true, 0),
        Traced::Evict(u64::MAX),
        write(7, true, 1),
        write(7, false, 1),
        Traced::Evict(8),
    ]
}

const IS_TRACED: &str = "PRN_TEST_IS_TRACED";

/// The store at work, for somebody who looks on.
fn be_traced(kind: OutputStore) {
    let (mut bench, operations) = (Bench::new(kind), traced());
    println!(
        "\ntraced {} {} {}",
        gettid(),
        bench.data.as_raw_fd(),
        bench.page.as_raw_fd()
    );
    std::io::stdin().read_exact(&mut [0]).unwrap();
    for operation in &operations {
        match operation {
            Traced::Write(bytes, stream, later) => {
                bench.now += later;
                bench.fill(bytes, *stream, |_| {});
            }
            Traced::Evict(bytes) => bench.store.evict(*bytes).unwrap(),
        }
    }
    raise(Signal::SIGUSR1).unwrap();
}

/// Looks at the memory after each instruction of a thread that is at work on it.
fn watch(thread: Pid, data: &File, page: &File, capacity: u64, mut changed: impl FnMut(&[u64])) {
    let stopped = |signal| WaitStatus::Stopped(thread, signal);
    let wait = || waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
    let look = || {
        let mut now = vec![0_u8; WORDS + WATCHED];
        let (marks, index) = now.split_at_mut(WORDS);
        page.read_exact_at(marks, 0).unwrap();
        data.read_exact_at(index, capacity).unwrap();
        now
    };
    let mut last = look();
    loop {
        ptrace::step(thread, None).unwrap();
        match wait() {
            status if status == stopped(Signal::SIGTRAP) => {}
            status if status == stopped(Signal::SIGUSR1) => return,
            other => panic!("{other:?}"),
        }
        let now = look();
        if now != last {
            changed(&words(&now));
            last = now;
        }
    }
}

/// Marks and index as they are after each store to them, and the ring as it is then.
fn expected(kind: OutputStore) -> Vec<(Vec<u64>, Vec<u8>)> {
    let bench = Bench::new(kind);
    let mut model = bench.model();
    let (mut ring, mut seen) = (
        model.ring.clone(),
        [&model.page[..WORDS / 8], &model.index[..WATCHED / 8]].concat(),
    );
    let mut now = bench.now;
    for operation in traced() {
        match operation {
            Traced::Write(bytes, stream, later) => {
                now += later;
                let capacity = bench.store.capacity;
                let to_end = if kind == OutputStore::Disk {
                    capacity - model.marks.high % capacity
                } else {
                    capacity
                };
                let (first, rest) = bytes.split_at(bytes.len().min(to_end as usize));
                model.fill(first, stream, UnixMicros(now));
                if !rest.is_empty() {
                    model.fill(rest, stream, UnixMicros(now));
                }
            }
            Traced::Evict(bytes) => model.evict(bytes),
        }
    }
    let mut states: Vec<(Vec<u64>, Vec<u8>)> = Vec::new();
    // fallocate(2) gives back all records at once: no other store of 0 changes one.
    let is_punched = |step: &(Position, u64)| matches!(step, (Position::Index(_), 0));
    let mut steps = model.steps.iter().peekable();
    while let Some(step) = steps.next() {
        let at = match step.0 {
            Position::Ring(at) => {
                ring[at as usize] = step.1 as u8;
                continue;
            }
            Position::Index(at) => WORDS + at as usize,
            Position::Page(at) => at as usize,
        };
        seen[at / 8] = step.1;
        if !(is_punched(step) && steps.peek().is_some_and(|next| is_punched(next))) {
            states.push((seen.clone(), ring.clone()));
        }
    }
    states
}

#[test]
fn each_store_comes_in_the_models_order() {
    match std::env::var(IS_TRACED).as_deref() {
        Ok("memory") => be_traced(OutputStore::Memory),
        Ok(_) => be_traced(OutputStore::Disk),
        Err(_) => {
            trace(OutputStore::Memory);
            trace(OutputStore::Disk);
        }
    }
}

fn trace(kind: OutputStore) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "store::models::each_store_comes_in_the_models_order",
            "--nocapture",
        ])
        .env(
            IS_TRACED,
            if kind == OutputStore::Memory {
                "memory"
            } else {
                "disk"
            },
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines
        .by_ref()
        .map(Result::unwrap)
        .find_map(|line| line.strip_prefix("traced ").map(str::to_owned))
        .unwrap();
    let [thread, data, page] = line
        .split(' ')
        .map(|word| word.parse().unwrap())
        .collect::<Vec<i32>>()[..]
    else {
        panic!("{line}");
    };
    let open = |fd: i32| File::open(format!("/proc/{}/fd/{fd}", child.id())).unwrap();
    let (data, page, thread) = (open(data), open(page), Pid::from_raw(thread));
    ptrace::attach(thread).unwrap();
    assert_eq!(
        waitpid(thread, Some(WaitPidFlag::__WALL)),
        Ok(WaitStatus::Stopped(thread, Signal::SIGSTOP))
    );
    child.stdin.take().unwrap().write_all(b"!").unwrap();

    let expected = expected(kind);
    let capacity = expected[0].1.len() as u64;
    let mut seen = 0;
    watch(thread, &data, &page, capacity, |now| {
        let (then, ring) = &expected[seen];
        assert!(
            now == then,
            "store {seen}: {:?} and not {:?}",
            shown(now),
            shown(then)
        );
        assert!(
            bytes(&data, 0).starts_with(ring),
            "the ring at store {seen}, {:?}",
            shown(now)
        );
        seen += 1;
    });
    assert_eq!(seen, expected.len());
    // One that is still traced would wait for its tracer to reap it, and the whole process with it.
    ptrace::detach(thread, Signal::SIGKILL).unwrap();
    child.wait().unwrap();
}

/// Sequence number, marks and the first records.
fn shown(words: &[u64]) -> (&[u64], &[u64]) {
    (
        &words[word::SEQUENCE as usize / 8..WORDS / 8],
        &words[WORDS / 8..][..16],
    )
}

/// Limits the size of files of this process, which the kernel takes for a disk that is full
/// (setrlimit(2), EFBIG).
fn limit_files(bytes: u64) {
    setrlimit(Resource::RLIMIT_FSIZE, bytes, nix::libc::RLIM_INFINITY).unwrap();
}

const IS_LIMITED: &str = "PRN_TEST_IS_LIMITED";

#[test]
fn o7_a_disk_that_takes_no_more_costs_the_oldest_or_what_comes_and_never_a_byte_in_silence() {
    if std::env::var_os(IS_LIMITED).is_none() {
        // The limit is one of the whole process.
        let name = "store::models::o7_a_disk_that_takes_no_more_costs_the_oldest_or_what_comes_and_never_a_byte_in_silence";
        let arguments = ["--exact", name, "--nocapture"];
        let output = Command::new(std::env::current_exe().unwrap())
            .args(arguments)
            .env(IS_LIMITED, "1")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        return;
    }
    SigSet::from(Signal::SIGXFSZ).thread_block().unwrap();
    let mut bench = Bench::new(OutputStore::Disk);
    let reader = Reader::new(
        bench.data.try_clone().unwrap(),
        bench.page.try_clone().unwrap(),
    )
    .unwrap();
    let mut model = list::Model::coalescing(RESOLUTION);
    let mut write = |bench: &mut Bench, length: u64, stderr: bool| {
        let bytes = model.write(length, stderr, bench.now);
        bench.fill(&bytes, list::stream(stderr), |_| {});
        let Marks { low, high, .. } = bench.store.marks;
        model.drop_before(low);
        model.check_all(&reader);
        (low, high)
    };
    assert_eq!(write(&mut bench, 50_000, false), (0, 50_000));
    assert_eq!(bench.store.refused, None);

    // Nothing more is taken: neither is the end of a stream, nor an empty pipe, a reason to drop
    // what is there.
    limit_files(10);
    bench.now += RESOLUTION;
    let (silent, closed) = (pipe().unwrap(), pipe().unwrap().0);
    let now = UnixMicros(bench.now);
    assert_eq!(
        bench.store.fill(silent.0.as_fd(), Stream::Stderr, now),
        Err(Errno::EAGAIN)
    );
    assert_eq!(bench.store.fill(closed.as_fd(), Stream::Stderr, now), Ok(0));
    assert_eq!((bench.store.marks.low, bench.store.refused), (0, None));
    // Not even the record: all is a gap, up to what was lost.
    assert_eq!(write(&mut bench, 7, true), (50_007, 50_007));
    assert_eq!(write(&mut bench, 60_000, false), (110_007, 110_007));
    assert_eq!(
        (bench.store.refused, bench.store.charge()),
        (Some(Errno::EFBIG), 0)
    );

    // Room again.
    limit_files(nix::libc::RLIM_INFINITY);
    assert_eq!(write(&mut bench, 60_000, false), (110_007, 170_007));
    assert_eq!(write(&mut bench, 60_000, true), (110_007, 230_007));
    let totals = bench.store.totals();
    assert_eq!((totals.stdout, totals.stderr), (170_000, 60_007));

    // Some of the bytes fit, in the record that there is: those are told of, and then that they are
    // gone with the rest.
    limit_files(230_507);
    assert_eq!(write(&mut bench, 1000, true), (231_007, 231_007));
    let totals = bench.store.totals();
    assert_eq!((totals.stdout, totals.stderr), (170_000, 61_007));

    // Where nothing may be dropped, nothing is, and nothing is taken from the pipe.
    limit_files(nix::libc::RLIM_INFINITY);
    let mut strict = Bench::of(Keeping {
        max: PROMISE,
        overflow: Overflow::Kill,
        store: OutputStore::Disk,
    });
    strict.fill(b"kept", Stream::Stdout, |_| {});
    limit_files(0);
    assert_eq!(nix::unistd::write(&strict.to, b"left"), Ok(4));
    assert_eq!(
        strict
            .store
            .fill(strict.from.as_fd(), Stream::Stdout, UnixMicros(strict.now)),
        Err(Errno::EFBIG)
    );
    assert_eq!((strict.store.marks.low, strict.store.marks.high), (0, 4));
    limit_files(nix::libc::RLIM_INFINITY);
    assert_eq!(
        strict
            .store
            .fill(strict.from.as_fd(), Stream::Stdout, UnixMicros(strict.now)),
        Ok(4)
    );
}
