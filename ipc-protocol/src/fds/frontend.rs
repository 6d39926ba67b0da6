//! Descriptor numbers at the start of `prn-frontend`, as the supervisor leaves them.

use std::os::fd::RawFd;
/// Its end of the channel to the supervisor.
pub const CHANNEL: RawFd = 3;
/// [`crate::config::Frontend`] in a sealed memfd.
pub const CONFIG: RawFd = 4;
/// The TLS key (PKCS#8 DER) in a sealed memfd, or a socket to what signs with it.
pub const TLS_KEY: RawFd = 5;
/// The listening TCP socket.
pub const LISTENER: RawFd = 6;
/// An empty folder, its root.
pub const EMPTY_FOLDER: RawFd = 7;
