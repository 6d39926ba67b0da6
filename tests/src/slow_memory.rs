//! Memory that is slow to arrive, as that of a file on a disk that is throttled or hung: whoever
//! copies to it in the kernel waits there, with what it holds, until the test lets it arrive.
#![expect(unsafe_code, reason = "userfaultfd(2) and mmap(2)")]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::libc;

const PAGE: usize = 4096;
/// linux/userfaultfd.h
const UFFDIO_API: libc::Ioctl = 0xc018_aa3f;
const UFFDIO_REGISTER: libc::Ioctl = 0xc020_aa00;

/// A page that arrives when this is dropped.
#[derive(Debug)]
pub struct SlowPage {
    address: usize,
    _faults: OwnedFd,
}

impl SlowPage {
    /// One that has not arrived.
    ///
    /// # Panics
    /// If this machine has no userfaultfd(2) for root.
    pub fn new() -> Self {
        // SAFETY: a new anonymous mapping, which nothing else knows of.
        let address = unsafe {
            let (protection, flags) = (
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            );
            libc::mmap(std::ptr::null_mut(), PAGE, protection, flags, -1, 0)
        };
        let address = address.expose_provenance();
        // SAFETY: a system call with a number, which makes a descriptor for nobody else.
        let faults = unsafe {
            let number = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC);
            assert!(number >= 0, "userfaultfd");
            OwnedFd::from_raw_fd(number.try_into().expect("a descriptor"))
        };
        let start = u64::try_from(address).expect("an address");
        // struct uffdio_api and struct uffdio_register: missing pages of this range.
        let (mut api, mut range) = (
            [0xaa, 0, 0],
            [start, PAGE.try_into().expect("a size"), 1, 0],
        );
        for (request, argument) in [
            (UFFDIO_API, &mut api[..]),
            (UFFDIO_REGISTER, &mut range[..]),
        ] {
            // SAFETY: each request with the structure that it reads and writes.
            let done = unsafe { libc::ioctl(faults.as_raw_fd(), request, argument.as_mut_ptr()) };
            assert_eq!(done, 0, "{request:#x}");
        }
        Self {
            address,
            _faults: faults,
        }
    }

    /// Where it is. The mapping stays for ever.
    pub fn address(&self) -> usize {
        self.address
    }
}

impl Default for SlowPage {
    fn default() -> Self {
        Self::new()
    }
}
