//! Where the exporter listens: an address, or a socket in the file system, which file permissions
//! keep for some.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, umask};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// What stands before a socket's path.
const UNIX: &str = "unix:";

/// Where it listens, as `--listen` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A socket's path (unix(7)), which its user and group may connect to.
    Unix(PathBuf),
}

impl std::str::FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix(UNIX) {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err("write unix:/PATH, the path from the root".to_owned()),
            None => text.parse().map(Self::Tcp).map_err(|_| {
                "write an IP address and a port (127.0.0.1:9464), or unix:/PATH".to_owned()
            }),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// What listens. A socket's file goes with it.
pub enum Listener {
    /// On a port.
    Tcp(TcpListener),
    /// On a socket with this path.
    Unix(UnixListener, PathBuf),
}

/// Who has connected.
pub enum Stream {
    /// To the port.
    Tcp(TcpStream),
    /// To the socket.
    Unix(UnixStream),
}

impl Listener {
    /// Listens there. What a listener before has left at a socket's path is replaced; one that
    /// still listens is not.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn bind(listen: &Listen) -> io::Result<Self> {
        match listen {
            Listen::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp),
            Listen::Unix(path) => {
                remove_left(path).await?;
                // Nobody else has the socket for a moment; nothing else makes a file meanwhile.
                let before = umask(Mode::from_bits_truncate(0o117));
                let bound = UnixListener::bind(path);
                umask(before);
                Ok(Self::Unix(bound?, path.clone()))
            }
        }
    }

    /// Where it listens: with the port that the kernel has chosen.
    ///
    /// # Errors
    /// The kernel's.
    pub fn at(&self) -> io::Result<Listen> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Listen::Tcp),
            Self::Unix(_, path) => Ok(Listen::Unix(path.clone())),
        }
    }

    /// Who comes next.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(one, _)| Stream::Tcp(one)),
            Self::Unix(listener, _) => listener.accept().await.map(|(one, _)| Stream::Unix(one)),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // It is replaced by the next one otherwise.
            drop(std::fs::remove_file(path));
        }
    }
}

/// A socket that nobody listens on.
async fn remove_left(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
    if is_socket
        && UnixStream::connect(path)
            .await
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    {
        std::fs::remove_file(path)?;
    }
    Ok(())
}
