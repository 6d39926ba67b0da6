//! HTTP/2 by hand, for what no library would send: frames are written as a test says, and what
//! comes back is kept.
//!
//! It goes on reading while it writes, unless told otherwise, so that neither end waits for the
//! other for ever.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Error};

use crate::{deadline, hostile};

/// Frame types (RFC 9113, section 6).
pub mod kind {
    /// DATA.
    pub const DATA: u8 = 0;
    /// HEADERS.
    pub const HEADERS: u8 = 1;
    /// RST_STREAM.
    pub const RST_STREAM: u8 = 3;
    /// SETTINGS.
    pub const SETTINGS: u8 = 4;
    /// PING.
    pub const PING: u8 = 6;
    /// GOAWAY.
    pub const GOAWAY: u8 = 7;
    /// WINDOW_UPDATE.
    pub const WINDOW_UPDATE: u8 = 8;
    /// CONTINUATION.
    pub const CONTINUATION: u8 = 9;
}

/// The flag of DATA and HEADERS: the stream ends.
pub const END_STREAM: u8 = 1;
/// The flag of HEADERS and CONTINUATION: the header block ends.
pub const END_HEADERS: u8 = 4;
/// The flag of SETTINGS and PING: an answer.
pub const ACK: u8 = 1;

/// Error codes (RFC 9113, section 7).
pub const REFUSED_STREAM: u32 = 7;
/// See [`REFUSED_STREAM`].
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame that has come.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of RST_STREAM (offset 0) and GOAWAY (offset 4).
    pub fn code(&self) -> Option<u32> {
        let at = if self.kind == kind::GOAWAY { 4 } else { 0 };
        Some(u32::from_be_bytes(
            self.payload.get(at..at + 4)?.try_into().ok()?,
        ))
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("a length")
        .to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The header block of a call (RFC 7541, appendix A for the numbers): nothing of it is remembered
/// by the other end.
pub fn call(method: &str) -> Vec<u8> {
    let path = format!("/proto.v1.ProcessRunnerService/{method}");
    let mut block = vec![0x83, 0x87, 0x01, 3];
    block.extend(b"prn");
    block.extend([0x04, u8::try_from(path.len()).expect("a short path")]);
    block.extend(path.as_bytes());
    block.extend([0x0f, 0x10, 16]);
    block.extend(b"application/grpc");
    block.extend(b"\x00\x02te\x08trailers");
    block
}

/// A gRPC message with its prefix.
pub fn message(encoded: &[u8]) -> Vec<u8> {
    [
        &[0][..],
        &u32::try_from(encoded.len())
            .expect("a length")
            .to_be_bytes(),
        encoded,
    ]
    .concat()
}

/// A connection of an attacker's.
#[derive(Debug)]
pub struct Attacker {
    tls: ClientConnection,
    socket: TcpStream,
    received: Vec<u8>,
    /// All frames that have come.
    pub frames: Vec<Frame>,
    /// The other end has closed the connection.
    pub closed: bool,
    /// What ended TLS.
    pub error: Option<Error>,
}

impl Attacker {
    /// Connects, shakes hands as far as the other end lets it, and sends the preface with these
    /// settings.
    ///
    /// # Panics
    /// If there is no TCP connection.
    pub fn connect(address: &str, config: &Arc<ClientConfig>, settings: &[(u16, u32)]) -> Self {
        Self::over(
            TcpStream::connect(address).expect("a connection"),
            config,
            settings,
        )
    }

    /// The same over a connection that is there.
    ///
    /// # Panics
    /// If TLS cannot begin.
    pub fn over(socket: TcpStream, config: &Arc<ClientConfig>, settings: &[(u16, u32)]) -> Self {
        let name = ServerName::try_from("prn.invalid").expect("a name");
        let mut tls = ClientConnection::new(Arc::clone(config), name).expect("a client");
        tls.set_buffer_limit(None);
        socket.set_nonblocking(true).expect("a non-blocking socket");
        let mut attacker = Self {
            tls,
            socket,
            received: vec![],
            frames: vec![],
            closed: false,
            error: None,
        };
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        let preface = hostile::PREFACE
            .strip_suffix(b"\0\0\0\x04\0\0\0\0\0")
            .expect("an empty SETTINGS");
        attacker.send(&[preface, &frame(kind::SETTINGS, 0, 0, &settings)].concat());
        attacker
    }

    /// Sends bytes, reading meanwhile. False: the other end has gone.
    ///
    /// # Panics
    /// If it neither takes them nor goes.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        // The buffer has no limit: it fails when TLS has ended.
        if self.tls.writer().write_all(bytes).is_err() {
            self.closed = true;
        }
        let until = Instant::now() + deadline();
        while self.tls.wants_write() && !self.closed {
            assert!(Instant::now() < until, "the other end takes nothing");
            self.turn(true, Duration::from_millis(100));
        }
        !self.closed
    }

    /// Sends bytes without ever reading, until the other end has taken none for a second: how many
    /// it has taken.
    pub fn press(&mut self, bytes: &[u8], most: usize) -> usize {
        let mut taken = 0;
        let mut since = Instant::now();
        while taken < most && since.elapsed() < Duration::from_secs(1) {
            if !self.tls.wants_write() && self.tls.writer().write_all(bytes).is_err() {
                break;
            }
            match self.tls.write_tls(&mut self.socket) {
                Ok(count) => {
                    taken += count;
                    since = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(10))
                }
                Err(_) => break,
            }
        }
        taken
    }

    /// Reads until there is such a frame, or the other end has gone.
    ///
    /// # Panics
    /// If neither happens.
    pub fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        let until = Instant::now() + deadline();
        loop {
            if let Some(found) = self.frames.iter().find(|frame| wanted(frame)) {
                return Some(found.clone());
            }
            if self.closed {
                return None;
            }
            let last = self.frames.get(self.frames.len().saturating_sub(10)..);
            assert!(
                Instant::now() < until,
                "nothing came but {} frames, the last: {last:?}",
                self.frames.len()
            );
            self.turn(self.tls.wants_write(), Duration::from_millis(100));
        }
    }

    /// What has come to an end, and how, for a test that did not expect it.
    pub fn ending(&self) -> String {
        let last = self.frames.get(self.frames.len().saturating_sub(3)..);
        format!(
            "closed: {}, TLS: {:?}, {} frames, the last: {last:?}, bytes of another: {:?}",
            self.closed,
            self.error,
            self.frames.len(),
            self.received.len()
        )
    }

    /// Sends a PING and waits for its answer. False: the other end has gone.
    pub fn is_served(&mut self) -> bool {
        self.send(&frame(kind::PING, 0, 0, b"are you?"));
        self.until(|frame| {
            frame.kind == kind::PING && frame.flags == ACK && frame.payload == b"are you?"
        })
        .is_some()
    }

    /// Reads to the end.
    ///
    /// # Panics
    /// If the other end does not close.
    pub fn finish(&mut self) {
        self.until(|_| false);
    }

    /// Reads what is there, for as long as this.
    pub fn listen(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.closed {
            self.turn(self.tls.wants_write(), Duration::from_millis(100));
        }
    }

    /// The code of the GOAWAY that ended the connection.
    pub fn goodbye(&mut self) -> Option<u32> {
        self.until(|frame| frame.kind == kind::GOAWAY && frame.code() != Some(0))?
            .code()
    }

    fn turn(&mut self, write: bool, wait: Duration) {
        let events = if write {
            PollFlags::POLLIN | PollFlags::POLLOUT
        } else {
            PollFlags::POLLIN
        };
        let timeout = PollTimeout::try_from(wait).expect("a short time");
        poll(&mut [PollFd::new(self.socket.as_fd(), events)], timeout).expect("poll");
        // What was sent before a reset is still to be read, so a failed write does not end this.
        let unwritable = write
            && self
                .tls
                .write_tls(&mut self.socket)
                .is_err_and(|error| error.kind() != ErrorKind::WouldBlock);
        loop {
            match self.tls.read_tls(&mut self.socket) {
                Ok(0) => self.closed = true,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.closed |= unwritable;
                    break;
                }
                Err(_) => self.closed = true,
            }
            match self.tls.process_new_packets() {
                Ok(_) => {}
                Err(error) => {
                    self.error.get_or_insert(error);
                    self.closed = true;
                }
            }
            let mut buffer = [0; 16 * 1024];
            while let Ok(count @ 1..) = self.tls.reader().read(&mut buffer) {
                self.received.extend_from_slice(&buffer[..count]);
            }
            self.split();
            if self.closed {
                break;
            }
        }
    }

    fn split(&mut self) {
        let mut at = 0;
        while let Some(header) = self.received.get(at..at + 9) {
            let number = |bytes: &[u8]| {
                bytes
                    .iter()
                    .fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte))
            };
            let length = usize::try_from(number(&header[..3])).expect("a length");
            let Some(payload) = self.received.get(at + 9..at + 9 + length) else {
                break;
            };
            let (kind, flags, stream) =
                (header[3], header[4], number(&header[5..]) & (u32::MAX >> 1));
            self.frames.push(Frame {
                kind,
                flags,
                stream,
                payload: payload.to_vec(),
            });
            at += 9 + length;
        }
        self.received.drain(..at);
    }
}
