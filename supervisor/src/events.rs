//! The event loop's one place to wait: an epoll instance (epoll(7)), what is watched in it, and
//! for what. Runs in the supervisor.
//!
//! The kernel gives back a number for each descriptor that tells something. What it stands for is
//! a [`Source`], and nothing but this file knows the numbers.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use prn_ipc_protocol::output::Stream;

use crate::sys::epoll_wait;

/// Most descriptors that one wait tells of. The others are told of by the next one.
const TOLD_AT_ONCE: usize = 64;

/// Names a descriptor of the caller's: see [`crate::Runner::attach`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token(pub u32);

/// What a descriptor is watched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// That there is something to read, or the end: told as long as it is so.
    Readable,
    /// That there is room to write: told as long as it is so.
    Writable,
    /// That there is more to read than before, or the end: told at each change (EPOLLET).
    Changed,
    /// As [`Interest::Writable`], but told once, as the next one.
    WritableOnce,
    /// As [`Interest::Readable`], but told once, until it is asked for again (EPOLLONESHOT).
    ReadableOnce,
    /// That a cgroup's `cgroup.events` has changed since it was last read (EPOLLPRI,
    /// cgroup-v2.rst).
    Priority,
}

impl Interest {
    fn flags(self) -> EpollFlags {
        match self {
            Self::Readable => EpollFlags::EPOLLIN,
            Self::Writable => EpollFlags::EPOLLOUT,
            Self::WritableOnce => EpollFlags::EPOLLOUT | EpollFlags::EPOLLONESHOT,
            Self::Changed => EpollFlags::EPOLLIN | EpollFlags::EPOLLET,
            Self::ReadableOnce => EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT,
            Self::Priority => EpollFlags::EPOLLPRI,
        }
    }
}

/// What a watched descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Part of a process.
    Process {
        /// The process's number in the table.
        number: u64,
        /// Which part.
        part: Part,
    },
    /// The caller's.
    Attached(Token),
}

/// A descriptor that belongs to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Whether its program runs.
    Report,
    /// Its main process, or who cleans up after it.
    Main,
    /// What one of its streams is read from.
    Pipe(Stream),
    /// Its group's `cgroup.events`.
    Group,
    /// What is typed into its terminal comes from there, or goes there.
    Input,
    /// A child that does something to its terminal.
    Aside,
    /// The child that watches the workspace with its number.
    Watcher,
}

impl Source {
    /// Bits that say what it is. The others hold the process's number, or the caller's.
    const KIND_BITS: u32 = 4;
    const KIND_MASK: u64 = (1 << Self::KIND_BITS) - 1;

    /// As the kernel keeps it.
    fn encode(self) -> u64 {
        let (number, kind) = match self {
            Self::Process { number, part } => {
                let kind = match part {
                    Part::Report => 0,
                    Part::Main => 1,
                    Part::Pipe(Stream::Stdout) => 2,
                    Part::Pipe(Stream::Stderr) => 3,
                    Part::Group => 4,
                    Part::Input => 5,
                    Part::Aside => 6,
                    Part::Watcher => 8,
                };
                (number, kind)
            }
            Self::Attached(Token(token)) => (token.into(), 7),
        };
        number << Self::KIND_BITS | kind
    }

    /// From [`Source::encode`].
    fn decode(data: u64) -> Option<Self> {
        let number = data >> Self::KIND_BITS;
        let part = match data & Self::KIND_MASK {
            0 => Part::Report,
            1 => Part::Main,
            2 => Part::Pipe(Stream::Stdout),
            3 => Part::Pipe(Stream::Stderr),
            4 => Part::Group,
            5 => Part::Input,
            6 => Part::Aside,
            8 => Part::Watcher,
            7 => return number.try_into().ok().map(Token).map(Self::Attached),
            _ => return None,
        };
        Some(Self::Process { number, part })
    }
}

/// What is watched, and what the last wait found.
#[derive(Debug)]
pub(crate) struct Events {
    epoll: Epoll,
    /// Not handled yet.
    ready: Vec<Source>,
}

impl Events {
    /// Of nothing yet.
    ///
    /// # Errors
    /// As epoll_create1(2).
    pub fn open() -> nix::Result<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            ready: Vec::new(),
        })
    }

    /// Watches a descriptor that is not watched yet.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn add(&self, fd: BorrowedFd<'_>, interest: Interest, source: Source) -> nix::Result<()> {
        let event = EpollEvent::new(interest.flags(), source.encode());
        self.epoll.add(fd, event)
    }

    /// Watches a descriptor for this from now on, whether it was watched before or not.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn set(&self, fd: BorrowedFd<'_>, interest: Interest, source: Source) -> nix::Result<()> {
        let mut event = EpollEvent::new(interest.flags(), source.encode());
        self.epoll
            .modify(fd, &mut event)
            .or_else(|_| self.epoll.add(fd, event))
    }

    /// Watches a descriptor no more. Before it is closed: closing alone would not do, since a child
    /// that has not executed its program yet holds a copy, for which epoll(7) would go on
    /// reporting.
    pub fn remove(&self, fd: impl AsFd) {
        let _unused = self.epoll.delete(fd);
    }

    /// Waits until a descriptor tells something, for `timeout` at most.
    ///
    /// # Errors
    /// As epoll_pwait2(2), but not for a signal.
    pub fn wait(&mut self, timeout: Option<Duration>) -> nix::Result<()> {
        let mut told = [EpollEvent::empty(); TOLD_AT_ONCE];
        let count = match epoll_wait(&self.epoll, &mut told, timeout) {
            Err(Errno::EINTR) => 0,
            other => other?,
        };
        let told = told.iter().take(count);
        self.ready = told
            .filter_map(|event| Source::decode(event.data()))
            .collect();
        Ok(())
    }

    /// Whether the last wait found something for the caller's descriptor with this token.
    pub fn is_ready(&self, token: Token) -> bool {
        self.ready.contains(&Source::Attached(token))
    }

    /// Takes all that the last wait found.
    pub fn take_ready(&mut self) -> Vec<Source> {
        std::mem::take(&mut self.ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_gives_back_is_what_was_watched() {
        let parts = [
            Part::Report,
            Part::Main,
            Part::Pipe(Stream::Stdout),
            Part::Pipe(Stream::Stderr),
            Part::Group,
            Part::Input,
            Part::Aside,
            Part::Watcher,
        ];
        let numbers = [0, 1, u64::from(u32::MAX), u64::MAX >> Source::KIND_BITS];
        let of_processes = numbers.into_iter().flat_map(|number| {
            parts
                .into_iter()
                .map(move |part| Source::Process { number, part })
        });
        let attached = [0, 1, u32::MAX].map(|token| Source::Attached(Token(token)));
        let all: Vec<Source> = of_processes.chain(attached).collect();
        for source in &all {
            assert_eq!(Source::decode(source.encode()), Some(*source));
        }
        let mut encoded: Vec<u64> = all.into_iter().map(Source::encode).collect();
        let count = encoded.len();
        encoded.sort_unstable();
        encoded.dedup();
        assert_eq!(encoded.len(), count, "no two are the same number");
    }

    #[test]
    fn a_number_that_stands_for_nothing_is_nothing() {
        for data in [(1 << 40) | 7, 9, u64::MAX] {
            assert_eq!(Source::decode(data), None);
        }
    }

    #[test]
    fn a_descriptor_tells_of_what_it_is_watched_for() {
        let mut events = Events::open().unwrap();
        let (from, to) = nix::unistd::pipe().unwrap();
        let wait = |events: &mut Events| {
            events.wait(Some(Duration::ZERO)).unwrap();
            events.is_ready(Token(7))
        };
        let source = Source::Attached(Token(7));
        events.add(from.as_fd(), Interest::Changed, source).unwrap();
        assert!(!wait(&mut events));
        nix::unistd::write(&to, b"x").unwrap();
        assert!(wait(&mut events));
        assert!(!events.is_ready(Token(8)));
        assert_eq!(events.take_ready(), [source]);
        assert!(!wait(&mut events), "told once");
        events
            .set(from.as_fd(), Interest::Readable, source)
            .unwrap();
        assert!(wait(&mut events) && wait(&mut events), "told as long as so");
        events.remove(&from);
        assert!(!wait(&mut events));
        events.set(to.as_fd(), Interest::Writable, source).unwrap();
        assert!(wait(&mut events));
    }
}
