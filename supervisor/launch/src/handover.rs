//! Opening what the server's halves need, and executing the supervisor with exactly that.
//!
//! Runs as root, in the process that becomes the supervisor: nothing may be left open, and no copy
//! of the key in memory or environment matters after the exec, which replaces both.

use std::ffi::CStr;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, FcntlArg, OFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{chdir, execveat};
use prn_ipc_protocol::config::OpenFiles;
use prn_ipc_protocol::fds::{self, supervisor as numbers};
use prn_proto::units::Address;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::check;

/// Connections that wait while a frontend is replaced; the kernel's own cap is net.core.somaxconn.
const BACKLOG: i32 = 1024;

/// The first descriptor that a socket-activated program finds (sd_listen_fds(3)).
const LISTEN_FDS_START: RawFd = 3;

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

fn step<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> HandoverError {
    move |source| HandoverError::Step {
        step,
        source: source.into(),
    }
}

/// Descriptors beyond the standard streams that whoever started this process left open.
pub struct Inherited {
    listener: Option<Result<OwnedFd, HandoverError>>,
    /// Kept open until the handover: one of them may be the key's pipe (`--tls-key <(…)`), by its
    /// path below /dev/fd.
    _others: Vec<OwnedFd>,
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
        Self {
            listener,
            _others: others,
        }
    }

    /// The listening socket: the service manager's, else a new one. With the address it listens on.
    pub fn listener(self, address: &Address) -> Result<(OwnedFd, String), HandoverError> {
        let listener = match self.listener {
            Some(passed) => checked_listener(passed?)?,
            None => bind(address)?,
        };
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

/// Makes the state folder if it is not there, and checks that it is root's and that processes can
/// pass it.
pub fn prepare_state_dir(path: &str) -> Result<(), HandoverError> {
    let path = Path::new(path);
    let failed = |source| HandoverError::State {
        path: path.to_owned(),
        source,
    };
    let refused = |why| {
        Err(HandoverError::Unsafe {
            path: path.to_owned(),
            why,
        })
    };
    let is_missing = |path: &Path| {
        path.symlink_metadata()
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let missing: Vec<_> = path
        .ancestors()
        .take_while(|folder| is_missing(folder))
        .collect();
    for folder in missing.into_iter().rev() {
        DirBuilder::new()
            .mode(0o711)
            .create(folder)
            .map_err(failed)?;
        // The mode above is less the umask.
        fs::set_permissions(folder, Permissions::from_mode(0o711)).map_err(failed)?;
    }
    let metadata = path.symlink_metadata().map_err(failed)?;
    if metadata.is_symlink() {
        return refused("it is a symbolic link: give the folder itself");
    }
    if !metadata.is_dir() {
        return refused("it is not a folder");
    }
    if metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
        return refused("only root may own it and write to it (chown root, chmod 711)");
    }
    if metadata.mode() & 0o001 == 0 {
        return refused("processes must be able to pass it (chmod 711)");
    }
    if metadata.mode() & 0o044 != 0 {
        // Who can read it can lock it (flock(2)), and so keep this server from its next start.
        let mode = metadata.mode() & !0o044;
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
    }
    // Once more, now that all of them are there.
    if check::closed_ancestor(path).is_some() {
        return refused(
            "others cannot pass a folder above it: choose another --state-dir, or chmod o+x that folder",
        );
    }
    Ok(())
}

/// Checks that there is a /dev/null, which each process gets as its standard input.
pub fn check_null_device() -> Result<(), HandoverError> {
    let path = PathBuf::from("/dev/null");
    let opened = File::options().read(true).write(true).open(&path);
    opened
        .map(drop)
        .map_err(|source| HandoverError::State { path, source })
}

/// Opens a folder in the state folder that is empty and stays so: the frontend's root.
pub fn empty_folder(state_dir: &str) -> Result<OwnedFd, HandoverError> {
    let path = Path::new(state_dir).join(".empty");
    let failed = |source| HandoverError::State {
        path: path.clone(),
        source,
    };
    if let Err(error) = DirBuilder::new().mode(0o555).create(&path)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(failed(error));
    }
    let flags = (OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).bits();
    let folder = File::options()
        .read(true)
        .custom_flags(flags)
        .open(&path)
        .map_err(failed)?;
    let refused = |why| {
        Err(HandoverError::Unsafe {
            path: path.clone(),
            why,
        })
    };
    if folder.metadata().map_err(failed)?.uid() != 0 {
        return refused("it is not root's");
    }
    folder
        .set_permissions(Permissions::from_mode(0o555))
        .map_err(failed)?;
    if fs::read_dir(&path).map_err(failed)?.next().is_some() {
        return refused("it must be empty");
    }
    Ok(folder.into())
}

/// The two halves of the server, and what runs as a process's user.
pub struct Binaries {
    /// `prn-tools`.
    pub tools: OwnedFd,
    /// `prn-supervisor`.
    pub supervisor: OwnedFd,
    /// `prn-frontend`.
    pub frontend: OwnedFd,
}

impl Binaries {
    /// Opens them: beside this program, else in the libexec folder that belongs to it.
    pub fn open() -> Result<Self, HandoverError> {
        let itself = fs::read_link("/proc/self/exe").map_err(step("readlink /proc/self/exe"))?;
        let beside = itself.parent().unwrap_or(Path::new("/"));
        let libexec = beside
            .parent()
            .unwrap_or(Path::new("/"))
            .join("libexec/prn");
        let open = |name| open_program(name, &[beside, libexec.as_path()]);
        Ok(Self {
            tools: open("prn-tools")?,
            supervisor: open("prn-supervisor")?,
            frontend: open("prn-frontend")?,
        })
    }
}

fn open_program(name: &'static str, folders: &[&Path]) -> Result<OwnedFd, HandoverError> {
    for folder in folders {
        let path = folder.join(name);
        // O_PATH: to be executed, not read. What is checked below is what will run, whatever the
        // name means then.
        match nix::fcntl::open(&path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(fd) => {
                let file = File::from(fd);
                let metadata = file.metadata().map_err(step("fstat"))?;
                return match refusal(metadata.is_file(), metadata.uid(), metadata.mode()) {
                    None => Ok(file.into()),
                    Some(why) => Err(HandoverError::Unsafe { path, why }),
                };
            }
            Err(Errno::ENOENT) => {}
            Err(errno) => {
                return Err(HandoverError::State {
                    path,
                    source: errno.into(),
                });
            }
        }
    }
    Err(HandoverError::NoProgram { name })
}

/// Why a program must not be executed by root.
fn refusal(is_file: bool, uid: u32, mode: u32) -> Option<&'static str> {
    if !is_file {
        Some("it is not a program")
    } else if uid != 0 {
        Some("root runs no program that another user can change (chown root, or `make install`)")
    } else if mode & 0o022 != 0 {
        Some("root runs no program that others can write to (chmod go-w)")
    } else if mode & 0o111 == 0 {
        Some("it is not executable")
    } else {
        None
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
        Some(name) => std::os::unix::net::SocketAddr::from_abstract_name(name),
        None => std::os::unix::net::SocketAddr::from_pathname(Path::new(&name)),
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

/// What the supervisor finds open, at the numbers of [`prn_ipc_protocol::fds::supervisor`].
pub struct Descriptors {
    /// The supervisor's configuration.
    pub config: OwnedFd,
    /// The frontend's configuration.
    pub frontend_config: OwnedFd,
    /// The TLS key.
    pub key: OwnedFd,
    /// The listening socket.
    pub listener: OwnedFd,
    /// The frontend's program.
    pub frontend_binary: OwnedFd,
    /// The frontend's root.
    pub empty_folder: OwnedFd,
    /// `prn-tools`.
    pub tools: OwnedFd,
    /// What profile strict confines processes with.
    pub strict: OwnedFd,
    /// The state folder, locked.
    pub state: OwnedFd,
    /// The server's cgroup, locked.
    pub cgroup: OwnedFd,
    /// The service manager's socket.
    pub notify: Option<OwnedFd>,
    /// `cgroup.procs` of the group that this process came from.
    pub origin: Option<OwnedFd>,
}

/// Executes the supervisor in place of this process. Returns only if that fails.
pub fn execute(supervisor: OwnedFd, descriptors: Descriptors) -> HandoverError {
    match try_execute(supervisor, descriptors) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_execute(
    supervisor: OwnedFd,
    descriptors: Descriptors,
) -> Result<std::convert::Infallible, HandoverError> {
    let all = descriptors;
    SockRef::from(&all.listener)
        .set_nonblocking(true)
        .map_err(step("O_NONBLOCK"))?;
    let wanted = [
        (numbers::CONFIG, Some(all.config)),
        (numbers::FRONTEND_CONFIG, Some(all.frontend_config)),
        (numbers::TLS_KEY, Some(all.key)),
        (numbers::LISTENER, Some(all.listener)),
        (numbers::FRONTEND_BINARY, Some(all.frontend_binary)),
        (numbers::EMPTY_FOLDER, Some(all.empty_folder)),
        (numbers::TOOLS, Some(all.tools)),
        (numbers::STATE_DIR, Some(all.state)),
        (numbers::CGROUP, Some(all.cgroup)),
        (numbers::NOTIFY, all.notify),
        (numbers::ORIGIN, all.origin),
        (numbers::STRICT, Some(all.strict)),
    ];
    // First all out of the way, so that the numbers wanted are free; each original is closed.
    let supervisor = park(supervisor)?;
    let mut parked = Vec::with_capacity(wanted.len());
    for (number, fd) in wanted {
        if let Some(fd) = fd {
            parked.push((number, park(fd)?));
        }
    }
    // Then each to its number. All others that are open close at the exec: the standard library
    // opens, and `Inherited` has marked, every one of them so.
    for (number, fd) in &parked {
        // F_DUPFD takes the lowest free number from there on, and the copy stays open across the
        // exec.
        let placed = fcntl(fd, FcntlArg::F_DUPFD(*number)).map_err(step("F_DUPFD"))?;
        if placed != *number {
            return Err(HandoverError::Step {
                step: "a descriptor is in the way",
                source: io::ErrorKind::AlreadyExists.into(),
            });
        }
    }
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
    use std::os::unix::fs::FileExt;

    #[test]
    fn root_runs_no_program_that_others_can_change() {
        assert_eq!(refusal(true, 0, 0o100_755), None);
        for (is_file, uid, mode) in [
            (false, 0, 0o755),
            (true, 1000, 0o755),
            (true, 0, 0o775),
            (true, 0, 0o757),
            (true, 0, 0o644),
        ] {
            assert!(
                refusal(is_file, uid, mode).is_some(),
                "{is_file} {uid} {mode:o}"
            );
        }
    }

    #[test]
    fn a_state_folder_is_made_with_all_above_it_and_never_by_a_link() {
        let base = std::env::temp_dir().join(format!("prn-state-{}", std::process::id()));
        DirBuilder::new().mode(0o755).create(&base).unwrap();
        fs::set_permissions(&base, Permissions::from_mode(0o755)).unwrap();
        let state = base.join("a/b");
        let made = prepare_state_dir(state.to_str().unwrap());
        for folder in [base.join("a"), state.clone()] {
            assert_eq!(folder.metadata().unwrap().mode() & 0o777, 0o711);
        }
        // The rest is about a folder of root's.
        if nix::unistd::geteuid().is_root() {
            made.unwrap();
            std::os::unix::fs::symlink(&state, base.join("link")).unwrap();
            let error = prepare_state_dir(base.join("link").to_str().unwrap())
                .unwrap_err()
                .to_string();
            assert!(error.contains("symbolic link"), "{error}");
            fs::set_permissions(base.join("a"), Permissions::from_mode(0o700)).unwrap();
            let error = prepare_state_dir(state.to_str().unwrap())
                .unwrap_err()
                .to_string();
            assert!(error.contains("above it"), "{error}");
        }
        fs::remove_dir_all(&base).unwrap();
    }

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

    #[test]
    fn a_port_of_the_kernels_choice_is_told() {
        let inherited = Inherited {
            listener: None,
            _others: Vec::new(),
        };
        let (_listener, address) = inherited.listener(&Address("127.0.0.1:0".into())).unwrap();
        assert!(!address.ends_with(":0"), "{address}");
    }
}
