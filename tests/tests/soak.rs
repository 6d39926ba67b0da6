//! Many readers of processes that write without a pattern: they join, stall, drop their connection
//! and go on elsewhere, at random, and each of them has the bytes that the process has written, or
//! is told which are missing.
//!
//! For PRN_SOAK_SECONDS; `make soak` lets it run for ten minutes. PRN_SOAK_SEED repeats the choices
//! of a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prn_proto::v1::{GetOutputRequest, GetOutputResponse, OutputEnd};
use prn_tests::client::{self, Client, output_request};
use prn_tests::random::Random;
use prn_tests::server::Server;
use prn_tests::writer::{self, Checker};
use tokio::runtime::Runtime;

const MIB: u64 = 1 << 20;

/// What was done.
#[derive(Debug, Default)]
struct Tally {
    bytes: AtomicU64,
    readers: AtomicU64,
    stalls: AtomicU64,
    dropped_streams: AtomicU64,
    dropped_connections: AtomicU64,
    gaps: AtomicU64,
    missing: AtomicU64,
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// One that reads a whole output.
struct Reader {
    server: Arc<Server>,
    id: String,
    random: Random,
    tally: Arc<Tally>,
    /// Once set, whoever reads makes haste.
    ending: Arc<AtomicBool>,
    next: u64,
    streams: [Checker; 2],
}

impl Reader {
    async fn connect(&mut self) -> Client {
        let config = client::tls_config(&self.server.client, &self.server.identity).unwrap();
        // Some are reset, some closed.
        let linger = (self.random.below(2) == 0).then_some(Duration::ZERO);
        client::connect_lingering(&self.server.address, config, linger)
            .await
            .unwrap()
    }

    /// To the end, over as many streams and connections as it takes.
    async fn read(mut self) -> (OutputEnd, [Checker; 2]) {
        count(&self.tally.readers, 1);
        let mut client = self.connect().await;
        loop {
            let request = GetOutputRequest {
                from_offset: self.next,
                ..output_request(&self.id)
            };
            let mut stream = client.get_output(request).await.unwrap().into_inner();
            let mut left = if self.ending.load(Ordering::Relaxed) {
                u64::MAX
            } else {
                1 + self.random.below(200)
            };
            while left > 0 {
                // A process that has paused is left as well.
                let patience = Duration::from_millis(1 + self.random.below(500));
                let Ok(frame) = tokio::time::timeout(patience, stream.message()).await else {
                    left -= 1;
                    continue;
                };
                if let Some(end) =
                    self.take(frame.unwrap().expect("a stream ends with its end frame"))
                {
                    return (end, self.streams);
                }
                if self.random.below(100) == 0 && !self.ending.load(Ordering::Relaxed) {
                    count(&self.tally.stalls, 1);
                    tokio::time::sleep(Duration::from_millis(self.random.below(700))).await;
                }
                left -= 1;
            }
            drop(stream);
            if self.random.below(2) == 0 {
                count(&self.tally.dropped_streams, 1);
            } else {
                count(&self.tally.dropped_connections, 1);
                client = self.connect().await;
            }
        }
    }

    fn take(&mut self, frame: GetOutputResponse) -> Option<OutputEnd> {
        let GetOutputResponse {
            r#type,
            data,
            offset,
            gap,
            end,
            skipped,
            ..
        } = frame;
        assert_eq!(skipped, 0, "all was asked for");
        if let Some(gap) = gap {
            assert!(
                gap.from == self.next && gap.to > gap.from,
                "{gap:?} at {}",
                self.next
            );
            self.next = gap.to;
            self.streams.iter_mut().for_each(Checker::gap);
            count(&self.tally.gaps, 1);
            count(&self.tally.missing, gap.to - gap.from);
        } else if !data.is_empty() {
            assert_eq!(offset, self.next, "no byte is lost or repeated");
            self.next += data.len() as u64;
            self.streams[usize::from(r#type == 2)].take(&data);
            count(&self.tally.bytes, data.len() as u64);
            // However much is missing of which stream: together they are where the offset is.
            if let [Some(stdout), Some(stderr)] = self.streams.each_ref().map(Checker::at) {
                assert_eq!(stdout + stderr, self.next);
            }
        }
        end
    }
}

/// Four processes, two of them with room for all that they write, and their readers.
fn round(
    server: &Arc<Server>,
    runtime: &Runtime,
    random: &mut Random,
    length: Duration,
    tally: &Arc<Tally>,
) {
    let ending = Arc::new(AtomicBool::new(false));
    let reader = |id: &String, random: Random| Reader {
        server: Arc::clone(server),
        id: id.clone(),
        random,
        tally: Arc::clone(tally),
        ending: Arc::clone(&ending),
        next: 0,
        streams: [false, true].map(Checker::new),
    };
    // At various rates, and less than there is room for.
    let processes: Vec<(String, bool)> = [
        ("100M", 80 * MIB, 20),
        ("100M", 80 * MIB, 60),
        ("256K", 1 << 40, 10),
        ("64K", 1 << 40, 40),
    ]
    .into_iter()
    .map(|(most, bytes, pause)| {
        let id = writer::start(
            server,
            &["--output-max", most],
            random.number(),
            bytes,
            pause,
        );
        (id, bytes < 100 * MIB)
    })
    .collect();
    let end = Instant::now() + length;
    let mut readers = Vec::new();
    while Instant::now() < end {
        if readers.len() < 32 {
            let process = usize::try_from(random.below(4)).unwrap();
            readers.push((
                process,
                runtime.spawn(reader(&processes[process].0, random.fork()).read()),
            ));
        }
        std::thread::sleep(
            Duration::from_millis(random.below(300)).min(end - Instant::now().min(end)),
        );
    }
    let hashes: Vec<[String; 2]> = processes
        .iter()
        .map(|(id, _)| writer::stop(server, id))
        .collect();
    ending.store(true, Ordering::Relaxed);
    // And one each that comes after all.
    for (process, (id, _)) in processes.iter().enumerate() {
        readers.push((process, runtime.spawn(reader(id, random.fork()).read())));
    }
    for (process, reader) in readers {
        let (end, streams) = runtime.block_on(reader).unwrap();
        let lengths = streams.each_ref().map(Checker::at);
        if processes[process].1 {
            assert_eq!(streams.each_ref().map(Checker::sha256), hashes[process]);
            assert_eq!(lengths, [Some(end.stdout_bytes), Some(end.stderr_bytes)]);
        } else {
            // After a gap, a stream may have too few bytes left to be told.
            let is = |at: Option<u64>, bytes| at.is_none_or(|at| at == bytes);
            assert!(
                is(lengths[0], end.stdout_bytes) && is(lengths[1], end.stderr_bytes),
                "{lengths:?}, {end:?}"
            );
        }
    }
}

#[test]
fn o5_readers_that_join_stall_drop_and_resume_get_what_was_written_or_are_told_what_is_missing() {
    let seconds = std::env::var("PRN_SOAK_SECONDS").map_or(8, |seconds| seconds.parse().unwrap());
    let mut random = Random::from_environment("PRN_SOAK_SEED");
    let server = Arc::new(Server::with_arguments(&["--output-budget", "1G"]));
    let runtime = Runtime::new().unwrap();
    let tally = Arc::new(Tally::default());
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut rounds = 0;
    while let Some(left) = end
        .checked_duration_since(Instant::now())
        .filter(|left| rounds == 0 || !left.is_zero())
    {
        round(
            &server,
            &runtime,
            &mut random,
            left.min(Duration::from_secs(10)),
            &tally,
        );
        rounds += 1;
        println!("round {rounds}: {tally:?}");
    }
    let Tally {
        bytes,
        readers,
        stalls,
        dropped_streams,
        dropped_connections,
        gaps,
        missing,
    } = &*tally;
    for counter in [
        bytes,
        readers,
        stalls,
        dropped_streams,
        dropped_connections,
        gaps,
        missing,
    ] {
        assert!(
            counter.load(Ordering::Relaxed) > 0,
            "nothing was tried: {tally:?}"
        );
    }
}
