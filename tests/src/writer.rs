//! A process that writes bytes which tell their own place, to both of its streams, and hashes what
//! it writes.
//!
//! Each eight bytes of a stream are their number, multiplied: binary without a pattern, and whoever
//! finds some of them in a row knows where in the stream they stand.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::server::Server;
use crate::wait_for;

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// What undoes the multiplication.
const INVERSE: u64 = 0xf1de_83e1_9937_733d;
/// So many bytes in a row tell where they stand: three whole blocks.
const ENOUGH: usize = 31;
/// Numbers of standard error begin here.
const STDERR: u64 = 1 << 40;

/// In bursts of all sizes, with pauses, until there is a file "stop" or this much is written; then
/// the hashes of both streams are in "hashes", and it ends when there is a file "bye".
const SCRIPT: &str = r#"
use integer;
my ($seed, $most, $pause) = @ARGV;
srand($seed);
my (@at, @hash) = (0, 0);
my @stream = (*STDOUT, *STDERR);
for my $s (0, 1) { open($hash[$s], "|-", "sha256sum >hash$s") or die; binmode $hash[$s]; }
sub some { no integer; int(rand($_[0])) }
sub pause { no integer; select(undef, undef, undef, rand($_[0]) / 1000) }
until (-e "stop" or $at[0] + $at[1] >= $most) {
    my $s = some(3) == 0;
    my $length = 1 + some((10, 300, 5000, 70000, 200000)[some(5)]);
    my ($first, $skip) = ($at[$s] / 8, $at[$s] % 8);
    my @words = map { ($_ + ($s << 40)) * -7046029254386353131 } $first .. $first + ($skip + $length) / 8;
    my $bytes = substr(pack("q<*", @words), $skip, $length);
    print {$hash[$s]} $bytes or die;
    for (my $done = 0; $done < $length;) { $done += syswrite($stream[$s], $bytes, $length - $done, $done) // die; }
    $at[$s] += $length;
    pause($pause) if some(4) == 0;
}
close($_) or die for @hash;
rename("hash0", "hash") and system("cat hash1 >>hash") == 0 and rename("hash", "hashes") or die;
pause(40) until -e "bye";
"#;

/// The argument vector of a writer.
pub fn argv(seed: u64, most: u64, pause_millis: u64) -> Vec<String> {
    let numbers = [seed % (1 << 31), most, pause_millis].map(|number| number.to_string());
    ["perl", "-e", SCRIPT]
        .map(str::to_owned)
        .into_iter()
        .chain(numbers)
        .collect()
}

/// Starts a writer.
pub fn start(server: &Server, flags: &[&str], seed: u64, most: u64, pause_millis: u64) -> String {
    let argv = argv(seed, most, pause_millis);
    server.start_process(flags, &argv.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A file in its directory.
fn file(server: &Server, id: &str, name: &str) -> PathBuf {
    server.state_dir().join(id).join(name)
}

/// Ends a writer; returns its own hashes of both of its streams.
///
/// # Panics
/// If it does not end.
pub fn stop(server: &Server, id: &str) -> [String; 2] {
    std::fs::write(file(server, id, "stop"), "").expect("its directory");
    let hashes = file(server, id, "hashes");
    wait_for("the writer's hashes", || hashes.exists());
    let text = std::fs::read_to_string(&hashes).expect("its hashes");
    std::fs::write(file(server, id, "bye"), "").expect("its directory");
    let mut lines = text.lines().map(|line| {
        line.split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned()
    });
    [lines.next(), lines.next()].map(|hash| hash.expect("a hash of each"))
}

/// The byte at this place of a stream.
fn byte(stderr: bool, at: u64) -> u8 {
    let number = at / 8 + if stderr { STDERR } else { 0 };
    number.wrapping_mul(FACTOR).to_le_bytes()[at as usize % 8]
}

/// Whoever reads one stream of a writer.
#[derive(Debug, Default, Clone)]
pub struct Checker {
    stderr: bool,
    /// Where the next byte stands; `None` after a gap, until enough bytes tell.
    at: Option<u64>,
    /// Bytes since the gap.
    unplaced: Vec<u8>,
    /// Least place of them.
    least: u64,
    hash: Sha256,
}

impl Checker {
    /// From the first byte on.
    pub fn new(stderr: bool) -> Self {
        Self {
            stderr,
            at: Some(0),
            ..Self::default()
        }
    }

    /// Takes the next bytes.
    ///
    /// # Panics
    /// If they are not the stream's next ones, or, after a gap, none of later ones.
    pub fn take(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        match self.at {
            Some(at) => self.at = Some(self.compare(at, bytes)),
            None => {
                self.unplaced.extend_from_slice(bytes);
                if self.unplaced.len() >= ENOUGH {
                    let bytes = std::mem::take(&mut self.unplaced);
                    let at = self.place(&bytes);
                    assert!(
                        at >= self.least,
                        "bytes of {at} after those of {}",
                        self.least
                    );
                    self.at = Some(self.compare(at, &bytes));
                }
            }
        }
    }

    /// Some of the next bytes are missing.
    pub fn gap(&mut self) {
        if let Some(at) = self.at.take() {
            self.least = at;
        }
        // So few bytes between two gaps cannot be told.
        self.unplaced.clear();
    }

    /// How many bytes there were, missing ones included; `None` if that cannot be told.
    pub fn at(&self) -> Option<u64> {
        self.at
    }

    /// The hash of all bytes that were taken.
    pub fn sha256(&self) -> String {
        self.hash
            .clone()
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    fn compare(&self, at: u64, bytes: &[u8]) -> u64 {
        let wrong = (at..)
            .zip(bytes)
            .find(|(at, found)| byte(self.stderr, *at) != **found);
        assert_eq!(wrong, None, "a wrong byte (stderr: {})", self.stderr);
        at + bytes.len() as u64
    }

    fn place(&self, bytes: &[u8]) -> u64 {
        let base = if self.stderr { STDERR } else { 0 };
        let found = (0..8_usize).find_map(|skip| {
            let word = bytes
                .get(skip..skip + 8)?
                .try_into()
                .map(u64::from_le_bytes)
                .ok()?;
            let number = word
                .wrapping_mul(INVERSE)
                .checked_sub(base)
                .filter(|number| *number < 1 << 32)?;
            // A few bytes of the block before may come first. And the end of one block with the
            // beginning of the next may look like a third one: but then not all is right.
            let at = (number * 8).checked_sub(skip as u64)?;
            (at..)
                .zip(bytes)
                .all(|(at, found)| byte(self.stderr, at) == *found)
                .then_some(at)
        });
        found.unwrap_or_else(|| panic!("bytes of no place: {:?}", bytes.get(..32.min(bytes.len()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_after_a_gap_are_placed_and_wrong_ones_are_noticed() {
        let bytes: Vec<u8> = (0..1000).map(|at| byte(true, at)).collect();
        for from in 100..120 {
            let mut checker = Checker::new(true);
            checker.take(&bytes[..50]);
            checker.gap();
            checker.take(&bytes[from..from + 7]);
            assert_eq!(checker.at(), None);
            checker.take(&bytes[from + 7..500]);
            assert_eq!(checker.at(), Some(500));
            for wrong in [Vec::new(), bytes[499..600].to_vec(), vec![0; 20]] {
                let mut checker = checker.clone();
                let result = std::panic::catch_unwind(move || {
                    checker.take(&wrong);
                    checker.at()
                });
                assert!(result.is_err() || result.is_ok_and(|at| at == Some(500)));
            }
            checker.gap();
            let mut back = checker.clone();
            assert!(
                std::panic::catch_unwind(move || back.take(&bytes_of(400, 100))).is_err(),
                "it went back"
            );
        }
    }

    #[test]
    fn no_place_is_taken_for_another() {
        // Of blocks 233 and 234, the last byte of one and the first seven of the other look like
        // block 59904.
        for number in [0_u64, 233, 466, 610, 1220, 6_269_872]
            .into_iter()
            .chain((1..200).map(|step| step * 10_007))
        {
            for from in number * 8..number * 8 + 8 {
                let mut checker = Checker::new(false);
                checker.gap();
                checker.take(
                    &(from..from + 31)
                        .map(|at| byte(false, at))
                        .collect::<Vec<_>>(),
                );
                assert_eq!(checker.at(), Some(from + 31));
            }
        }
    }

    fn bytes_of(at: u64, length: u64) -> Vec<u8> {
        (at..at + length).map(|at| byte(true, at)).collect()
    }
}
