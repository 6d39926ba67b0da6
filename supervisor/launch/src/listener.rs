//! The listening socket: the service manager's, else a new one.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use prn_ipc_protocol::fds;
use prn_proto::units::Address;
use socket2::{Domain, Protocol, Socket, Type};

use crate::handover::{HandoverError, step};

/// Connections that wait while a frontend is replaced; the kernel's own cap is net.core.somaxconn.
const BACKLOG: i32 = 1024;

/// The first descriptor that a socket-activated program finds (sd_listen_fds(3)).
const LISTEN_FDS_START: RawFd = 3;

/// Descriptors beyond the standard streams that whoever started this process left open.
#[derive(Debug)]
pub struct Inherited {
    listener: Option<Result<OwnedFd, HandoverError>>,
    /// Kept open until the handover: one of them may be the key's pipe (`--tls-key <(…)`), by its
    /// path below /dev/fd.
    others: Vec<OwnedFd>,
}

impl Inherited {
    /// Takes all of them over. Call it before anything else opens a file.
    pub fn adopt() -> Self {
        let activated = activated();
        let open: Vec<RawFd> = fs::read_dir("/proc/self/fd")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|number| *number > 2)
            .collect();
        // The directory that was just read is closed again: its number is not open, and so not
        // adopted.
        let mut listener = None;
        let mut others = Vec::new();
        for number in open {
            match fds::inherited(number) {
                Ok(fd) if activated == Some(1) && number == LISTEN_FDS_START => {
                    listener = Some(Ok(fd))
                }
                Ok(fd) => others.push(fd),
                Err(_) => {}
            }
        }
        if activated.is_some() && listener.is_none() {
            listener = Some(Err(HandoverError::Activation));
        }
        Self { listener, others }
    }

    /// One of the others, by its number.
    pub fn take(&mut self, number: RawFd) -> Option<OwnedFd> {
        let place = (self.others.iter()).position(|fd| fd.as_raw_fd() == number)?;
        Some(self.others.swap_remove(place))
    }

    /// The listening socket, which does not block: the service manager's, else a new one. With the
    /// address it listens on.
    pub fn listener(self, address: &Address) -> Result<(OwnedFd, String), HandoverError> {
        let listener = match self.listener {
            Some(passed) => checked_listener(passed?)?,
            None => bind(address)?,
        };
        listener.set_nonblocking(true).map_err(step("O_NONBLOCK"))?;
        let address = listener
            .local_addr()
            .map_err(step("getsockname"))?
            .to_string();
        Ok((listener.into(), address))
    }
}

/// How many descriptors the service manager says it has passed to this process.
fn activated() -> Option<u32> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID")? != std::process::id() {
        None
    } else {
        number("LISTEN_FDS").filter(|count| *count > 0)
    }
}

fn checked_listener(fd: OwnedFd) -> Result<TcpListener, HandoverError> {
    let socket = Socket::from(fd);
    let listens = socket.is_listener().is_ok_and(|listens| listens)
        && socket.r#type().is_ok_and(|kind| kind == Type::STREAM)
        && socket
            .local_addr()
            .is_ok_and(|address| address.as_socket().is_some());
    if listens {
        Ok(socket.into())
    } else {
        Err(HandoverError::Activation)
    }
}

fn bind(address: &Address) -> Result<TcpListener, HandoverError> {
    let failed = |source| HandoverError::Listen {
        address: address.0.clone(),
        source,
    };
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for candidate in address.0.to_socket_addrs().map_err(failed)? {
        match listen(candidate) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_the_kernels_choice_is_told() {
        let inherited = Inherited {
            listener: None,
            others: Vec::new(),
        };
        let (_listener, address) = inherited.listener(&Address("127.0.0.1:0".into())).unwrap();
        assert!(!address.ends_with(":0"), "{address}");
    }
}
