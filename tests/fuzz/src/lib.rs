//! What the fuzz targets share: counted allocations, files in memory, and the property of
//! everything that is decoded.

pub mod model;

use std::fmt::Debug;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use prn_ipc_protocol::codec::{DecodeError, decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// What `work` returns, and how many bytes it asked the allocator for, freed ones included.
pub fn counted<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let region = Region::new(ALLOCATOR);
    let value = work();
    let allocated = region.change().bytes_allocated;
    (value, allocated)
}

/// Fails if `work` asks for more than `factor` bytes for each of `length`, and a constant.
pub fn bounded<T>(length: usize, factor: usize, work: impl FnOnce() -> T) -> T {
    let (value, allocated) = counted(work);
    assert!(
        allocated <= factor * length + 4096,
        "{allocated} bytes allocated for {length}"
    );
    value
}

/// A peer's bytes either are no value, or the only form of one; either way they cost a small
/// multiple of their length.
///
/// The factor: an element of a list takes a byte at least, and the largest element (two strings) 48
/// bytes, which postcard reserves ahead; the value is encoded once more to compare.
pub fn decodes_canonically<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(value) = bounded(bytes.len(), 128, || decode::<T>(bytes)) else {
        return;
    };
    let again = encode(&value).expect("a value that was decoded encodes");
    assert_eq!(again, bytes, "two forms of {value:?}");
    assert_eq!(decode::<T>(&again).as_ref(), Ok(&value));
    // Nothing can be hidden behind a message, and none is the beginning of another.
    assert_eq!(
        decode::<T>(&[bytes, &[0]].concat()),
        Err(DecodeError::TrailingBytes)
    );
    if let [shorter @ .., _] = bytes {
        assert!(
            decode::<T>(shorter).is_err(),
            "a part of {value:?} is a message too"
        );
    }
}

/// A file in memory with these bytes.
pub fn memfd(bytes: &[u8]) -> File {
    let mut file = File::from(memfd_create(c"fuzz", MFdFlags::MFD_CLOEXEC).expect("a memfd"));
    file.write_all(bytes).expect("room in memory");
    file
}

/// The number that the next descriptor will get: the same again if all that were opened since are
/// closed.
pub fn next_descriptor(any: &OwnedFd) -> i32 {
    let number = fcntl(any, FcntlArg::F_DUPFD_CLOEXEC(0)).expect("a descriptor");
    nix::unistd::close(number).expect("an open descriptor");
    debug_assert_ne!(number, any.as_raw_fd());
    number
}
