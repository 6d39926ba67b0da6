//! A filter of system calls, as it is handed over.

/// A program for seccomp(2): `struct sock_filter` (linux/filter.h), each as one number in this
/// machine's byte order.
pub type Filter = Vec<u64>;
