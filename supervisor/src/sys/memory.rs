//! Files shared with the frontend: memfds, mapped here for writing, and files on disk, never
//! mapped; readable there through a descriptor.
//!
//! Runs in the supervisor. The frontend must never get a way to write: see [`Shared::reader`].

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Advice, MmapRaw};
use nix::errno::Errno;
use nix::fcntl::{
    FallocateFlags, FcntlArg, OFlag, SealFlag, SpliceFFlags, fallocate, fcntl, openat, splice,
};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;

use super::{errno, reopen};

/// A part of the ring that a file begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingPart {
    /// Where it begins, in the ring.
    pub at: u64,
    /// Most bytes of it.
    pub length: u64,
    /// Bytes of the ring.
    pub size: u64,
}

/// A file of fixed size.
#[derive(Debug)]
pub struct Shared {
    file: File,
    /// Of a memfd, while a process may still produce output. None: it is written to by system
    /// calls.
    mapping: Option<MmapRaw>,
}

impl Shared {
    /// `length` bytes of zeros on the disk of `folder`, in a file that has no name and gets none
    /// (O_TMPFILE, open(2)). It is not mapped: a disk that is full or fails is then the error of a
    /// system call, never a signal.
    pub fn on_disk(folder: BorrowedFd<'_>, length: u64) -> nix::Result<Self> {
        let flags = OFlag::O_TMPFILE | OFlag::O_EXCL | OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let file = File::from(openat(folder, ".", flags, Mode::S_IRUSR)?);
        file.set_len(length).map_err(errno)?;
        Ok(Self {
            file,
            mapping: None,
        })
    }

    /// `length` bytes of zeros in memory. No page is allocated before it is written to.
    pub fn in_memory(name: &std::ffi::CStr, length: u64) -> nix::Result<Self> {
        let file = File::from(memfd_create(
            name,
            MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING,
        )?);
        // A memfd's inode is born with mode 0777, so that whoever has a read-only descriptor could
        // open it again for writing through /proc/self/fd (measured). With 0400 that is EACCES for
        // every other user.
        nix::sys::stat::fchmod(&file, Mode::S_IRUSR)?;
        file.set_len(length).map_err(errno)?;
        fcntl(
            &file,
            FcntlArg::F_ADD_SEALS(
                SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL,
            ),
        )?;
        // Nobody can shrink the file (sealed), so no access inside the mapping goes beyond its end.
        // A child never touches it, and fork is cheaper without it.
        let mapping = MmapRaw::map_raw(&file)
            .and_then(|mapping| mapping.advise(Advice::DontFork).map(|()| mapping));
        Ok(Self {
            file,
            mapping: Some(mapping.map_err(errno)?),
        })
    }

    /// Moves bytes from a pipe into a part of the ring, and in memory on from the ring's start when
    /// its end is reached. Returns how many were moved; 0 at the end of the stream.
    ///
    /// # Errors
    /// EINVAL for a part outside; EAGAIN when nothing is there; others as readv(2) or splice(2), and
    /// nothing was moved.
    pub fn take(&self, from: BorrowedFd<'_>, part: RingPart) -> nix::Result<usize> {
        let number = |number| usize::try_from(number).map_err(|_| Errno::EOVERFLOW);
        let RingPart { at, length, size } = part;
        let (at, length, size) = (number(at)?, number(length)?, number(size)?);
        let is_mapped = |mapping: &MmapRaw| size <= mapping.len();
        if at >= size || length > size || !self.mapping.as_ref().is_none_or(is_mapped) {
            return Err(Errno::EINVAL);
        }
        let first = length.min(size - at);
        let Some(mapping) = &self.mapping else {
            let mut at = at.try_into().map_err(|_| Errno::EFBIG)?;
            return splice(
                from,
                None,
                &self.file,
                Some(&mut at),
                first,
                SpliceFFlags::SPLICE_F_NONBLOCK,
            );
        };
        let start = mapping.as_mut_ptr();
        let parts = [
            libc::iovec {
                // SAFETY: at < size, which is no more than the mapping has, so the pointer is
                // inside it.
                iov_base: unsafe { start.add(at) }.cast(),
                iov_len: first,
            },
            libc::iovec {
                iov_base: start.cast(),
                iov_len: length - first,
            },
        ];
        let count = if length > first { 2 } else { 1 };
        // SAFETY: both parts lie inside the mapping, which this object owns and unmaps only when
        // dropped; no Rust reference to its bytes exists anywhere. Other processes read them, as
        // shared memory allows.
        let read = unsafe { libc::readv(from.as_raw_fd(), parts.as_ptr(), count) };
        Errno::result(read).and_then(|read| usize::try_from(read).map_err(|_| Errno::EIO))
    }

    /// Stores words for readers in other processes, in memory one after the other, all earlier
    /// stores before each.
    ///
    /// # Errors
    /// Those of pwrite(2), of a file that is not mapped.
    pub fn put(&self, at: u64, words: &[u64]) -> nix::Result<()> {
        for (at, value) in (at..).step_by(8).zip(words) {
            match self.word(at) {
                Some(word) => word.store(value.to_le(), Ordering::SeqCst),
                None => self
                    .file
                    .write_all_at(&value.to_le_bytes(), at)
                    .map_err(errno)?,
            }
        }
        Ok(())
    }

    /// The word at `at`.
    ///
    /// # Errors
    /// Those of pread(2), of a file that is not mapped.
    pub fn get(&self, at: u64) -> nix::Result<u64> {
        let mut bytes = [0; 8];
        match self.word(at) {
            Some(word) => Ok(u64::from_le(word.load(Ordering::SeqCst))),
            None => self
                .file
                .read_exact_at(&mut bytes, at)
                .map(|()| u64::from_le_bytes(bytes))
                .map_err(errno),
        }
    }

    fn word(&self, at: u64) -> Option<&AtomicU64> {
        let at = usize::try_from(at).ok()?;
        let mapping = self
            .mapping
            .as_ref()
            .filter(|mapping| at.is_multiple_of(8) && at + 8 <= mapping.len())?;
        // SAFETY: inside the mapping, which lives as long as `self` is borrowed, and aligned
        // (mappings begin on a page), checked above; accessed only as an atomic in this process.
        Some(unsafe { AtomicU64::from_ptr(mapping.as_mut_ptr().add(at).cast()) })
    }

    /// Gives these bytes back to the memory or the disk; they then read as zeros.
    ///
    /// # Errors
    /// As fallocate(2).
    pub fn punch(&self, at: u64, length: u64) -> nix::Result<()> {
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let number = |value: u64| value.try_into().map_err(|_| Errno::EINVAL);
        if length == 0 {
            Ok(())
        } else {
            fallocate(&self.file, flags, number(at)?, number(length)?)
        }
    }

    /// A new read-only descriptor of the same file, with an open file description of its own: for
    /// another process, which cannot move another reader's offset with it, nor open it again for
    /// writing.
    ///
    /// # Errors
    /// As open(2).
    pub fn reader(&self) -> nix::Result<File> {
        reopen(&self.file).map(File::from)
    }

    /// No more output will come: unmaps, keeps the contents. Words can still be stored.
    ///
    /// Every mapping makes every fork dearer, those that the child does not get as well: dup_mmap
    /// copies the whole tree of them before it takes these out (measured: 0.4 µs each).
    pub fn finish(&mut self) {
        self.mapping = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_finished_takes_words_and_grows_for_nobody() {
        let mut memory = Shared::in_memory(c"prn-test", 4096).unwrap();
        memory.put(8, &[1]).unwrap();
        memory.finish();
        memory.put(16, &[2]).unwrap();
        assert_eq!(memory.put(4096, &[3]), Err(Errno::EPERM));
        assert_eq!((memory.get(8), memory.get(16)), (Ok(1), Ok(2)));
        let mut words = [0; 24];
        assert_eq!(
            nix::unistd::read(memory.reader().unwrap(), &mut words).unwrap(),
            24
        );
        assert_eq!(
            words.chunks(8).map(|word| word[0]).collect::<Vec<_>>(),
            [0, 1, 2]
        );
        assert_eq!(memory.file.metadata().unwrap().len(), 4096);
    }
}
