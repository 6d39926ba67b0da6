//! Memory shared with the frontend: memfds, mapped here for writing, readable there through a descriptor.
//!
//! Runs in the supervisor. The frontend must never get a way to write: see [`Shared::reader`].

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Advice, MmapRaw};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, SealFlag, fallocate, fcntl};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use nix::sys::uio::pwrite;

/// A memfd of fixed size, mapped for writing while a process may still produce output.
pub struct Shared {
    file: File,
    mapping: Option<MmapRaw>,
}

impl Shared {
    /// `length` bytes of zeros. No page is allocated before it is written to.
    pub fn new(name: &std::ffi::CStr, length: u64) -> nix::Result<Self> {
        let file = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?);
        // A memfd's inode is born with mode 0777, so that whoever has a read-only descriptor could open it again for
        // writing through /proc/self/fd (measured). With 0400 that is EACCES for every other user.
        nix::sys::stat::fchmod(&file, Mode::S_IRUSR)?;
        nix::unistd::ftruncate(&file, length.try_into().map_err(|_| Errno::EFBIG)?)?;
        fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL))?;
        // Nobody can shrink the file (sealed), so no access inside the mapping goes beyond its end. A child never touches it,
        // and fork is cheaper without it.
        let mapping = MmapRaw::map_raw(&file).and_then(|mapping| mapping.advise(Advice::DontFork).map(|()| mapping));
        let mapping = mapping.map_err(|error| Errno::try_from(error).unwrap_or(Errno::EIO))?;
        Ok(Self { file, mapping: Some(mapping) })
    }

    /// Reads once from `from` into the bytes at `place`, and on from the start of the memory when the end is reached:
    /// `length` bytes at most. Returns how many were read; 0 at the end of the stream.
    ///
    /// # Errors
    /// EINVAL for a place outside; EAGAIN when nothing is there; others as readv(2).
    pub fn read_from(&self, from: BorrowedFd<'_>, place: usize, length: usize) -> nix::Result<usize> {
        let mapping = self.mapping.as_ref().ok_or(Errno::EINVAL)?;
        let size = mapping.len();
        if place >= size || length > size {
            return Err(Errno::EINVAL);
        }
        let first = length.min(size - place);
        let start = mapping.as_mut_ptr();
        let parts = [
            // SAFETY: place < size, so the pointer is inside the mapping.
            libc::iovec { iov_base: unsafe { start.add(place) }.cast(), iov_len: first },
            libc::iovec { iov_base: start.cast(), iov_len: length - first },
        ];
        let count = if length > first { 2 } else { 1 };
        // SAFETY: both parts lie inside the mapping, which this object owns and unmaps only when dropped; no Rust
        // reference to its bytes exists anywhere. Other processes read them, as shared memory allows.
        let read = unsafe { libc::readv(from.as_raw_fd(), parts.as_ptr(), count) };
        Errno::result(read).and_then(|read| usize::try_from(read).map_err(|_| Errno::EIO))
    }

    /// Stores one word for readers in other processes, all earlier stores before it. Outside of the memory: nothing.
    pub fn store(&self, at: usize, value: u64) {
        match self.word(at) {
            Some(word) => word.store(value.to_le(), Ordering::SeqCst),
            // One write(2) at a time holds the file's lock, which keeps their order. The size is sealed.
            None => drop(pwrite(&self.file, &value.to_le_bytes(), at.try_into().unwrap_or(i64::MAX))),
        }
    }

    /// The word at `at`. Outside of the memory, and once it is finished: 0.
    pub fn load(&self, at: usize) -> u64 {
        self.word(at).map_or(0, |word| u64::from_le(word.load(Ordering::SeqCst)))
    }

    fn word(&self, at: usize) -> Option<&AtomicU64> {
        let mapping = self.mapping.as_ref().filter(|mapping| at.is_multiple_of(8) && at + 8 <= mapping.len())?;
        // SAFETY: inside the mapping, which lives as long as `self` is borrowed, and aligned (mappings begin on a page),
        // checked above; accessed only as an atomic in this process.
        Some(unsafe { AtomicU64::from_ptr(mapping.as_mut_ptr().add(at).cast()) })
    }

    /// Gives the memory of these bytes back; they then read as zeros.
    ///
    /// # Errors
    /// As fallocate(2).
    pub fn punch(&self, at: u64, length: u64) -> nix::Result<()> {
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let number = |value: u64| value.try_into().map_err(|_| Errno::EINVAL);
        if length == 0 { Ok(()) } else { fallocate(&self.file, flags, number(at)?, number(length)?) }
    }

    /// A new read-only descriptor of the same memory, with an open file description of its own: for another process,
    /// which cannot move another reader's offset with it, nor open it again for writing.
    ///
    /// # Errors
    /// As open(2).
    pub fn reader(&self) -> nix::Result<File> {
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        nix::fcntl::open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map(File::from)
    }

    /// No more output will come: unmaps, keeps the contents. Words can still be stored.
    ///
    /// Every mapping makes every fork dearer, those that the child does not get as well: dup_mmap copies the whole tree of
    /// them before it takes these out (measured: 0.4 µs each).
    pub fn finish(&mut self) {
        self.mapping = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_finished_takes_words_and_grows_for_nobody() {
        let mut memory = Shared::new(c"prn-test", 4096).unwrap();
        memory.store(8, 1);
        memory.finish();
        memory.store(16, 2);
        memory.store(4096, 3);
        let mut words = [0; 24];
        assert_eq!(nix::unistd::read(memory.reader().unwrap(), &mut words).unwrap(), 24);
        assert_eq!(words.chunks(8).map(|word| word[0]).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(memory.file.metadata().unwrap().len(), 4096);
    }
}
