//! Who writes a process's input.
//!
//! One writer at a time, by whatever client. A stream of the same writer takes over from the one
//! before, whose connection may be lost without anybody knowing: that one is told, and the new one
//! begins when it has given back what it had.
//!
//! A writer that was cut off sends again what it does not know to be taken, which is skipped if it
//! was. That is right only while all of it is its own, so who wrote last is remembered, and from
//! where on.

use std::sync::{Arc, PoisonError};

use prn_ipc_protocol::types::Id;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use crate::quota::ClientNumber;

/// The writers of one process.
#[derive(Debug, Default)]
pub struct Writers {
    newest: watch::Sender<Newest>,
    /// Whoever has it may write. Who waits for it is told as well when another one takes over, so
    /// one waits at most.
    turn: Arc<Mutex<()>>,
    /// Who wrote last. `None`: nobody since this program runs.
    last: std::sync::Mutex<Option<Run>>,
}

/// What one writer has written, without another one in between.
#[derive(Debug, Clone, Copy)]
struct Run {
    by: By,
    /// How much was taken when it began.
    from: u64,
}

/// The stream that came last.
#[derive(Debug, Default, Clone, Copy)]
struct Newest {
    number: u64,
    /// Whose it is. `None`: it has ended.
    by: Option<By>,
}

/// Whose stream it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct By {
    /// The client.
    pub client: ClientNumber,
    /// Which of its writers. `None`: one that nobody else is.
    pub name: Option<Id>,
}

/// Another writer has the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InUse;

/// A stream that is to write, until it is dropped.
#[derive(Debug)]
pub struct Entry {
    writers: Arc<Writers>,
    number: u64,
    by: By,
}

/// The stream that writes, until it is dropped.
#[derive(Debug)]
pub struct Writer {
    // Dropped in this order.
    entry: Entry,
    _turn: OwnedMutexGuard<()>,
}

/// Whether another stream takes a stream's place.
#[derive(Debug)]
pub struct Takeover {
    newest: watch::Receiver<Newest>,
    number: u64,
}

impl Writers {
    fn last(&self) -> std::sync::MutexGuard<'_, Option<Run>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// From where on what was taken is what `by` has written. Where nobody has written since this
/// program runs, who did before is not known, and is believed.
fn own_from(last: Option<Run>, by: By, taken: u64) -> u64 {
    match last {
        None => 0,
        Some(run) if by.may_take_over(run.by) => run.from,
        Some(_) => taken,
    }
}

impl By {
    fn may_take_over(self, other: Self) -> bool {
        self.name.is_some() && self == other
    }
}

impl Entry {
    /// Takes the place, from the stream before if that one is by the same.
    pub fn take(writers: &Arc<Writers>, by: By) -> Result<(Self, Takeover), InUse> {
        let mut number = Err(InUse);
        let newest = &writers.newest;
        newest.send_if_modified(|newest| {
            if newest.by.is_some_and(|other| !by.may_take_over(other)) {
                return false;
            }
            let next = newest.number + 1;
            *newest = Newest {
                number: next,
                by: Some(by),
            };
            number = Ok(next);
            true
        });
        let number = number?;
        let entry = Self {
            writers: Arc::clone(writers),
            number,
            by,
        };
        let newest = newest.subscribe();
        Ok((entry, Takeover { newest, number }))
    }

    /// The writer, once those before it have given back what they had.
    pub async fn turn(self) -> Writer {
        let turn = Arc::clone(&self.writers.turn).lock_owned().await;
        Writer {
            entry: self,
            _turn: turn,
        }
    }
}

impl Writer {
    /// From where on what was taken is its own: all of it up to `taken`, or nothing.
    pub fn own_from(&self, taken: u64) -> u64 {
        own_from(*self.entry.writers.last(), self.entry.by, taken)
    }

    /// It has written what follows `taken`.
    pub fn wrote_after(&self, taken: u64) {
        let by = self.entry.by;
        let mut last = self.entry.writers.last();
        let from = own_from(*last, by, taken);
        *last = Some(Run { by, from });
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.writers.newest.send_if_modified(|newest| {
            if newest.number == self.number {
                newest.by = None;
            }
            // That there is nobody is of no interest to anybody.
            false
        });
    }
}

impl Takeover {
    /// Returns when it does. Cancel safe.
    pub async fn happens(&mut self) {
        let number = self.number;
        let taken_over = self.newest.wait_for(|newest| newest.number != number);
        if taken_over.await.is_err() {
            // The sender is the process's, which the stream holds.
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::process::tests::info;
    use crate::mirror::{Mirror, Process};
    use crate::quota::tests::number;
    use futures_util::FutureExt;

    const ID: &str = "00ff10a9e28b7c4d5566778899aabbcc";

    fn process() -> Arc<Process> {
        let mirror = Mirror::default();
        mirror.update(info(ID, 1));
        mirror.process(info(ID, 1).id).unwrap()
    }

    fn by(client: &str, name: u8) -> By {
        By {
            client: number(client),
            name: Some(Id::from_bytes([name; 16])),
        }
    }

    #[tokio::test]
    async fn another_writer_is_refused_until_the_first_is_gone() {
        let process = process();
        let unnamed = By {
            name: None,
            ..by("a", 1)
        };
        for first in [by("a", 1), unnamed] {
            let (entry, mut takeover) = Entry::take(&process.writers, first).unwrap();
            let writer = entry.turn().await;
            for other in [by("a", 2), by("b", 1), unnamed] {
                assert_eq!(Entry::take(&process.writers, other).unwrap_err(), InUse);
            }
            assert_eq!(takeover.happens().now_or_never(), None);
            drop(writer);
        }
        assert!(Entry::take(&process.writers, by("b", 1)).is_ok());
    }

    #[tokio::test]
    async fn the_same_writer_takes_over_and_waits_for_its_turn() {
        let process = process();
        let (first, mut told_first) = Entry::take(&process.writers, by("a", 1)).unwrap();
        let first = first.turn().await;
        let (second, mut told_second) = Entry::take(&process.writers, by("a", 1)).unwrap();
        assert_eq!(told_first.happens().now_or_never(), Some(()));
        let mut second = Box::pin(second.turn());
        assert!(second.as_mut().now_or_never().is_none());
        // A third one takes over from the one that waits, and the first one is told still.
        let (third, mut told_third) = Entry::take(&process.writers, by("a", 1)).unwrap();
        assert_eq!(told_second.happens().now_or_never(), Some(()));
        assert_eq!(told_first.happens().now_or_never(), Some(()));
        drop(second);
        let mut third = Box::pin(third.turn());
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        let third = third.await;
        assert_eq!(told_third.happens().now_or_never(), None);
        // Who was taken over from leaves the place to who has it.
        assert_eq!(
            Entry::take(&process.writers, by("a", 2)).unwrap_err(),
            InUse
        );
        drop(third);
        let (fourth, _) = Entry::take(&process.writers, by("a", 2)).unwrap();
        assert!(fourth.turn().now_or_never().is_some());
    }

    #[test]
    fn what_a_writer_can_send_again_is_what_it_has_sent_since_another_one_did() {
        let (a, b) = (by("a", 1), by("b", 1));
        let unnamed = By { name: None, ..a };
        let run = |by| Some(Run { by, from: 4 });
        for (last, by, from) in [
            (None, a, 0),
            (None, unnamed, 0),
            (run(a), a, 4),
            (run(b), a, 9),
            (run(unnamed), a, 9),
            (run(a), unnamed, 9),
            (run(unnamed), unnamed, 9),
        ] {
            assert_eq!(own_from(last, by, 9), from, "{last:?} {by:?}");
        }
    }

    #[tokio::test]
    async fn a_writer_that_comes_back_after_another_begins_anew() {
        let process = process();
        let turn = async |by| {
            let (entry, _) = Entry::take(&process.writers, by).unwrap();
            entry.turn().await
        };
        let (a, b) = (by("a", 1), by("b", 1));
        turn(a).await.wrote_after(0);
        assert_eq!(turn(a).await.own_from(5), 0);
        turn(a).await.wrote_after(5);
        assert_eq!(turn(a).await.own_from(7), 0);
        // One that writes nothing changes nothing.
        assert_eq!(turn(b).await.own_from(7), 7);
        assert_eq!(turn(a).await.own_from(7), 0);
        turn(b).await.wrote_after(7);
        assert_eq!(turn(a).await.own_from(9), 9);
        turn(a).await.wrote_after(9);
        assert_eq!(turn(a).await.own_from(12), 9);
        assert_eq!(turn(b).await.own_from(12), 12);
    }
}
