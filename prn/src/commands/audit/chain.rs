//! Whether lines of an audit are those that were written: a pure function over their bytes.
//!
//! Each line holds the hash of the one before it. So the last line of all is the one that nothing
//! vouches for.

use std::collections::HashSet;
use std::fmt::Write;

use ring::digest::{SHA256, digest};
use serde::Deserialize;

/// What the chain is made of. All else in a line only counts by its bytes.
#[derive(Debug, Clone, Deserialize)]
pub struct Link {
    /// Number of the line in its run, from 1. Lines that were lost have numbers too.
    pub seq: u64,
    /// Of the server's run.
    pub epoch: String,
    /// What happened.
    pub event: String,
    /// Lines before this one that could not be written.
    #[serde(default)]
    pub lost: u64,
    /// Hash of the line before it.
    pub prev: String,
}

/// What a look at all lines has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Lines in all.
    pub lines: u64,
    /// Runs of the server, and what is there of one whose beginning is not.
    pub runs: u64,
    /// Lines that could not be written, as the next ones say, and those that were cut off.
    pub lost: u64,
    /// It begins in the middle of a run: with the line of this number.
    pub begins_at: Option<u64>,
}

/// Why a line cannot be what was written there.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is no line of an audit.
    Malformed,
    /// The line before it was altered, or cut off in the middle of a run.
    AlteredBefore,
    /// These are missing before it.
    Missing {
        /// The first one's number.
        first: u64,
        /// And the last one's.
        last: u64,
    },
    /// It does not come after the line before it.
    OutOfOrder,
    /// It is of another run, whose beginning is missing.
    NoBeginning,
    /// It begins a run that there were lines of before.
    SeenBefore,
}

/// What a line comes after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// What is to come before it: the line before it in its run, or a run that has ended, or
    /// nothing.
    Its,
    /// The last line that there is of another run, whose end is not told.
    Unended,
    /// It is the beginning of a line alone. The rest was cut off: nothing, or another run, follows.
    Cut,
}

/// How a line begins.
pub const BEGINNING: &[u8] = b"{\"seq\":";

/// Digits of a SHA-256.
const HASH_DIGITS: usize = 64;

/// Follows the chain, line by line.
#[derive(Debug, Default)]
pub struct Chain {
    report: Report,
    last: Option<(Link, String)>,
    epochs: HashSet<String>,
    /// The line before is the beginning of one alone.
    is_cut: bool,
}

impl Chain {
    /// The next line, with its end.
    ///
    /// # Errors
    /// It cannot be what was written there. Nothing after it is known to be good.
    pub fn add(&mut self, line: &[u8]) -> Result<After, Fault> {
        let whole = line.strip_suffix(b"\n");
        let line = whole.unwrap_or(line);
        let link: Link = match serde_json::from_slice(line) {
            Ok(link) if whole.is_some() => link,
            Err(error) if whole.is_some() && !error.is_eof() => return Err(Fault::Malformed),
            Ok(_) | Err(_) => return self.add_cut(line),
        };
        let after = self.check(&link)?;
        self.is_cut = false;
        self.report.lines += 1;
        let lost = self.report.lost.checked_add(link.lost);
        self.report.lost = lost.ok_or(Fault::Malformed)?;
        self.last = Some((link, hash(line)));
        Ok(after)
    }

    /// A line without its end, which a full disk, or the machine's, has cut off.
    fn add_cut(&mut self, line: &[u8]) -> Result<After, Fault> {
        let is_beginning = line
            .iter()
            .zip(BEGINNING)
            .all(|(byte, other)| byte == other);
        if self.is_cut || line.is_empty() || !is_beginning {
            return Err(Fault::Malformed);
        }
        self.is_cut = true;
        let lost = self.report.lost.checked_add(1);
        self.report.lost = lost.ok_or(Fault::Malformed)?;
        Ok(After::Cut)
    }

    fn check(&mut self, link: &Link) -> Result<After, Fault> {
        let begins = link.event == "run" && link.prev == "0".repeat(HASH_DIGITS);
        // What was lost of a run's beginning is nobody's line.
        if begins && link.lost.checked_add(1) == Some(link.seq) {
            if !self.epochs.insert(link.epoch.clone()) {
                return Err(Fault::SeenBefore);
            }
            self.report.runs += 1;
            let last = self.last.as_ref();
            let is_unended = last.is_some_and(|(last, _)| last.event != "over");
            return Ok(if is_unended {
                After::Unended
            } else {
                After::Its
            });
        }
        if self.is_cut {
            return Err(Fault::AlteredBefore);
        }
        let Some((last, hash)) = &self.last else {
            self.report.runs += 1;
            self.report.begins_at = Some(link.seq);
            self.epochs.insert(link.epoch.clone());
            return Ok(After::Its);
        };
        if link.epoch != last.epoch {
            return Err(Fault::NoBeginning);
        }
        let expected = last.seq.saturating_add(link.lost).saturating_add(1);
        if link.seq == expected && link.prev == *hash {
            return Ok(After::Its);
        }
        Err(match link.seq.cmp(&expected) {
            std::cmp::Ordering::Less => Fault::OutOfOrder,
            std::cmp::Ordering::Equal => Fault::AlteredBefore,
            std::cmp::Ordering::Greater => Fault::Missing {
                first: last.seq.saturating_add(1),
                last: link.seq.saturating_sub(link.lost.saturating_add(1)),
            },
        })
    }

    /// What was found, all lines being good.
    pub fn finish(self) -> Report {
        self.report
    }
}

fn hash(line: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in digest(&SHA256, line).as_ref() {
        let _never = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    /// So many lines of a run, of which those with these numbers were lost.
    fn run(epoch: &str, count: u64, is_lost: impl Fn(u64) -> bool) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        let (mut prev, mut lost) = ("0".repeat(64), 0);
        for seq in 1..=count {
            if is_lost(seq) {
                lost += 1;
                continue;
            }
            let event = if seq == 1 { "run" } else { "stop" };
            let told = match lost {
                0 => String::new(),
                lost => format!(",\"lost\":{lost}"),
            };
            let line = format!(
                "{{\"seq\":{seq},\"at\":{seq},\"epoch\":\"{epoch}\",\"event\":\"{event}\",\
                 \"verified\":{{\"outcome\":\"allowed\"}}{told},\"prev\":\"{prev}\"}}"
            );
            (prev, lost) = (hash(line.as_bytes()), 0);
            lines.push(format!("{line}\n").into_bytes());
        }
        lines
    }

    fn check(lines: &[Vec<u8>]) -> Result<Report, Fault> {
        let mut chain = Chain::default();
        // As a file is read: a line ends where it ends.
        for line in lines.concat().split_inclusive(|byte| *byte == b'\n') {
            chain.add(line)?;
        }
        Ok(chain.finish())
    }

    #[test]
    fn numbers_that_no_run_has_are_of_no_line() {
        for (seq, lost, prev) in [(0, u64::MAX, "0".repeat(64)), (1, 0, String::new())] {
            let line = format!(
                "{{\"seq\":{seq},\"epoch\":\"a\",\"event\":\"run\",\"lost\":{lost},\"prev\":\"{prev}\"}}\n"
            );
            let report = check(&[line.into_bytes()]);
            assert!(report.is_err() || report.is_ok_and(|report| report.begins_at.is_some()));
        }
        let [first, mut second] = <[_; 2]>::try_from(run("a", 2, |_| false)).unwrap();
        let text = String::from_utf8(second).unwrap();
        second = text
            .replace(",\"prev\"", &format!(",\"lost\":{},\"prev\"", u64::MAX))
            .into_bytes();
        assert!(check(&[first, second]).is_err());
    }

    #[test]
    fn what_was_written_is_good_with_what_was_lost_and_over_several_runs() {
        let lines = [
            run("a", 9, |seq| seq == 4 || seq == 5),
            run("b", 3, |_| false),
        ]
        .concat();
        let report = Report {
            lines: 10,
            runs: 2,
            lost: 2,
            begins_at: None,
        };
        assert_eq!(check(&lines), Ok(report));
        let rest = check(&lines[3..]).unwrap();
        assert_eq!((rest.begins_at, rest.runs), (Some(6), 2));
    }

    #[test]
    fn a_run_that_was_seen_before_is_found_and_one_without_an_end_is_told() {
        let (a, b) = (run("a", 3, |_| false), run("b", 3, |_| false));
        for twice in [[a.clone(), a.clone()], [a[1..].to_vec(), a.clone()]] {
            assert_eq!(check(&twice.concat()), Err(Fault::SeenBefore));
        }
        let again = [a.clone(), b.clone(), a.clone()].concat();
        assert_eq!(check(&again), Err(Fault::SeenBefore));
        let mut chain = Chain::default();
        let after: Vec<_> = [a, b].concat().iter().map(|line| chain.add(line)).collect();
        let unended = after.iter().position(|after| *after == Ok(After::Unended));
        assert_eq!(unended, Some(3));
    }

    #[test]
    fn a_line_that_was_cut_off_ends_its_run_and_what_follows_of_that_run_is_found() {
        let (a, b) = (run("a", 3, |_| false), run("b", 3, |_| false));
        let whole = &a[2];
        for length in 1..whole.len() {
            for end in ["", "\n"] {
                let cut = [&whole[..length], end.as_bytes()].concat();
                if cut == *whole {
                    continue;
                }
                let report = check(&[a[..2].to_vec(), vec![cut.clone()]].concat());
                assert_eq!(report.map(|report| report.lost), Ok(1), "{length}");
                let cut = [&whole[..length], b"\n"].concat();
                let then = |rest: &[Vec<u8>]| check(&[&a[..2], from_ref(&cut), rest].concat());
                if cut != *whole {
                    assert_eq!(then(&b).map(|report| report.lines), Ok(5), "{length}");
                    assert_eq!(then(&a[2..]), Err(Fault::AlteredBefore), "{length}");
                    assert_eq!(then(from_ref(&cut)), Err(Fault::Malformed), "{length}");
                }
            }
        }
    }

    #[test]
    fn any_byte_that_is_altered_is_found_but_in_the_last_line() {
        let lines = run("a", 6, |seq| seq == 3);
        let last = lines.len() - 1;
        for place in 0..last {
            for byte in 0..lines[place].len() {
                for flip in [1, 0x20, 0x80] {
                    let mut altered = lines.clone();
                    altered[place][byte] ^= flip;
                    assert!(check(&altered).is_err(), "{place} {byte} {flip}");
                }
            }
        }
    }

    #[test]
    fn lines_that_are_dropped_repeated_or_swapped_are_found() {
        let lines = run("a", 7, |seq| seq == 3);
        for place in 1..lines.len() - 1 {
            let mut dropped = lines.clone();
            dropped.remove(place);
            let fault = check(&dropped).unwrap_err();
            assert!(matches!(fault, Fault::Missing { .. }), "{place}: {fault:?}");
            let mut repeated = lines.clone();
            repeated.insert(place, lines[place].clone());
            assert_eq!(check(&repeated), Err(Fault::OutOfOrder), "{place}");
        }
        for one in 0..lines.len() {
            for other in one + 1..lines.len() {
                let mut swapped = lines.clone();
                swapped.swap(one, other);
                assert!(check(&swapped).is_err(), "{one} {other}");
            }
        }
    }
}
