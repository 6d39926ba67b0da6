//! Executing the supervisor with exactly what it needs.
//!
//! Runs as root, in the process that becomes the supervisor: nothing may be left open, and no copy
//! of the key in memory or environment matters after the exec, which replaces both.

use std::convert::Infallible;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{AtFlags, FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{chdir, execveat};
use prn_ipc_protocol::codec;
use prn_ipc_protocol::config::OpenFiles;
use prn_ipc_protocol::types::Millis;
use prn_proto::tls::Key;
use serde::Serialize;

/// Descriptors are parked from here on, out of the way of those that the supervisor expects.
const PARKING: RawFd = 20;

/// A memfd that can never be executed (memfd_create(2), Linux 6.3).
const MFD_NOEXEC_SEAL: u32 = 0x8;

/// Why the server was not handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// A file or folder of the state refuses.
    #[error("cannot use {}", path.display())]
    State {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It is not safe to use.
    #[error("{} is refused: {why}", path.display())]
    Unsafe {
        /// Which.
        path: PathBuf,
        /// Why, and what helps.
        why: &'static str,
    },
    /// A program of the server's is not installed.
    #[error(
        "the program {name} is neither beside prn nor in ../libexec/prn: install or build all of prn"
    )]
    NoProgram {
        /// Which.
        name: &'static str,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// What the service manager passed is not one listening socket.
    #[error("LISTEN_FDS must be one listening TCP socket")]
    Activation,
    /// The service manager's socket cannot be reached.
    #[error("cannot reach NOTIFY_SOCKET")]
    Notify(#[source] io::Error),
    /// A step of the handover itself failed.
    #[error("cannot hand over to the supervisor: {step}")]
    Step {
        /// Which.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// What failed, and what the kernel said.
pub fn step<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> HandoverError {
    move |source| HandoverError::Step {
        step,
        source: source.into(),
    }
}

/// What the supervisor is to have of this process's limits and files, before it drops the privilege
/// to change them. Returns how many files processes may open.
pub fn prepare_process() -> Result<OpenFiles, HandoverError> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(step("getrlimit"))?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(step("setrlimit"))?;
    let (_, core) = getrlimit(Resource::RLIMIT_CORE).map_err(step("getrlimit"))?;
    setrlimit(Resource::RLIMIT_CORE, 0, core).map_err(step("setrlimit"))?;
    Ok(OpenFiles {
        soft: soft.min(1024),
        hard,
    })
}

/// Connects to the service manager, if there is one that wants to be told (sd_notify(3)).
pub fn notify_socket() -> Result<Option<OwnedFd>, HandoverError> {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let bytes = name.as_encoded_bytes();
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(Path::new(&name)),
    };
    let connect = || {
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address?)?;
        Ok(socket)
    };
    connect()
        .map(|socket| Some(socket.into()))
        .map_err(HandoverError::Notify)
}

/// How often the service manager wants to hear from this process, if it does: half of the time after
/// which it takes it to be stuck (sd_watchdog_enabled(3)).
pub fn watchdog() -> Option<Millis> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let process = number("WATCHDOG_PID");
    if process.is_some_and(|process| process != u64::from(std::process::id())) {
        return None;
    }
    let limit = Duration::from_micros(number("WATCHDOG_USEC")?);
    Millis::try_from(limit / 2)
        .ok()
        .filter(|often| !often.duration().is_zero())
}

/// A configuration in memory that nobody can change any more.
pub fn sealed<T: Serialize>(name: &'static str, value: &T) -> Result<OwnedFd, HandoverError> {
    let encoded = codec::encode(value);
    let bytes =
        encoded.map_err(|_| step("encoding")(io::Error::from(io::ErrorKind::InvalidInput)))?;
    sealed_memfd(name, &bytes)
}

/// The key in memory that nobody can change any more, or what sockets to its signer are opened by.
pub fn key(key: &Key) -> Result<OwnedFd, HandoverError> {
    let control = key.remote().and_then(|remote| remote.control());
    match control {
        Some(control) => control
            .try_clone_to_owned()
            .map_err(step("F_DUPFD_CLOEXEC")),
        None => sealed_memfd("prn-key", key.pkcs8_der().unwrap_or_default()),
    }
}

/// Bytes in memory that nobody can change any more: mode 0400, sealed.
pub fn sealed_memfd(name: &'static str, bytes: &[u8]) -> Result<OwnedFd, HandoverError> {
    let flags = MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC;
    // Some hosts refuse memfds that could be executed (vm.memfd_noexec); kernels before 6.3 do not
    // know the flag.
    let fd = memfd_create(name, flags | MFdFlags::from_bits_retain(MFD_NOEXEC_SEAL))
        .or_else(|_| memfd_create(name, flags))
        .map_err(step("memfd_create"))?;
    // Its inode is open to all otherwise, and a read-only descriptor could be re-opened for
    // writing.
    fchmod(&fd, Mode::S_IRUSR).map_err(step("fchmod"))?;
    let mut file = File::from(fd);
    file.write_all(bytes).map_err(step("write"))?;
    let seals = SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).map_err(step("sealing"))?;
    Ok(file.into())
}

/// What the supervisor finds open, by the numbers of [`prn_ipc_protocol::fds::supervisor`].
pub type Handed<const N: usize> = [(RawFd, Option<OwnedFd>); N];

/// Executes the supervisor in place of this process. Returns only if that fails.
pub fn execute<const N: usize>(
    supervisor: OwnedFd,
    handed: Handed<N>,
) -> Result<Infallible, HandoverError> {
    let supervisor = park(supervisor)?;
    number(handed)?;
    chdir("/").map_err(step("chdir"))?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
        .map_err(step("sigprocmask"))?;
    let environment: [&CStr; 0] = [];
    execveat(
        &supervisor,
        c"",
        &[c"prn-supervisor"],
        &environment,
        AtFlags::AT_EMPTY_PATH,
    )
    .map_err(step("execveat"))
}

/// Gives each descriptor its number; copies that stay open across the exec.
fn number<const N: usize>(handed: Handed<N>) -> Result<(), HandoverError> {
    // First all out of the way, so that the numbers wanted are free; each original is closed.
    let mut parked = Vec::with_capacity(N);
    for (number, fd) in handed {
        if let Some(fd) = fd {
            parked.push((number, park(fd)?));
        }
    }
    // Then each to its number. All others that are open close at the exec: the standard library
    // opens, and `Inherited` has marked, every one of them so.
    for (number, fd) in &parked {
        // F_DUPFD takes the lowest free number from there on, and the copy stays open across the
        // exec.
        let copy = fcntl(fd, FcntlArg::F_DUPFD(*number)).map_err(step("F_DUPFD"))?;
        if copy != *number {
            return Err(HandoverError::Step {
                step: "a descriptor is in the way",
                source: io::ErrorKind::AlreadyExists.into(),
            });
        }
    }
    Ok(())
}

fn park(fd: OwnedFd) -> Result<OwnedFd, HandoverError> {
    if fd.as_raw_fd() >= PARKING {
        return Ok(fd);
    }
    // More than one lap: a copy below the mark would be in the way later.
    let mut low = Vec::new();
    let mut copy = fd;
    while copy.as_raw_fd() < PARKING {
        let next = copy
            .as_fd()
            .try_clone_to_owned()
            .map_err(step("F_DUPFD_CLOEXEC"))?;
        low.push(std::mem::replace(&mut copy, next));
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::{FileExt, MetadataExt};

    #[test]
    fn a_sealed_memfd_can_be_read_and_nothing_else() {
        let file = File::from(sealed_memfd("test", b"secret").unwrap());
        let mut bytes = [0; 6];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"secret");
        assert!(file.write_all_at(b"x", 0).is_err());
        assert!(file.set_len(0).is_err());
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o400);
        let again = File::options()
            .read(true)
            .open(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let mut read = Vec::new();
        if let Ok(mut again) = again {
            again.read_to_end(&mut read).unwrap();
            assert_eq!(read, b"secret");
        }
    }

    #[test]
    fn a_parked_descriptor_is_out_of_the_way() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let parked = park(reader.into()).unwrap();
        assert!(parked.as_raw_fd() >= PARKING);
    }
}
