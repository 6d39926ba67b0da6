//! `prn-strict`: puts on profile strict and executes the process's program in its own place.
//!
//! Runs as the process's user, in its cgroup, session and working directory, with its streams,
//! without privileges to gain (no_new_privs). It trusts the supervisor, which executed it, and
//! nothing that belongs to the process: the environment that a client chose comes in a file and
//! is the program's alone, because a loader obeys its own (LD_PRELOAD, ld.so(8)) before the first
//! line of this. It must never execute the program without all of the confinement: what fails is
//! reported, and it ends.
//!
//! [`confined`] is the order. Namespaces come before Landlock, which refuses every mount, and the
//! system call filter is the last, since it refuses what all others need.

use std::convert::Infallible;
use std::error::Error;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use caps::CapSet;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{FileStat, Mode, fstat, stat};
use nix::unistd::{AccessFlags, access, chdir, execve, getcwd, getegid, geteuid, write};
use prn_ipc_protocol::message::ChildStep;
use prn_ipc_protocol::{codec, config, fds, fds::tools};
use seccompiler::sock_filter;

/// Folders for temporary files: all of them are the process's private one.
const TEMPORARY_FOLDERS: [&str; 2] = ["/tmp", "/var/tmp"];
/// Shared memory and named semaphores (shm_overview(7)): a file system in memory, charged to the
/// process's group.
const SHARED_MEMORY: &str = "/dev/shm";
/// Sockets of the host's services. A network namespace does not hide those that have a path, and
/// one that resolves names or starts services for everybody would be a way out of it.
const SERVICES: &str = "/run";

type Failure = (ChildStep, Errno);

/// Ends only by failure, which it reports as the supervisor's child does: the step and errno.
pub fn main() -> ExitCode {
    let Ok(report) = fds::inherited(tools::REPORT) else {
        return ExitCode::from(127);
    };
    let Err((step, errno)) = confined();
    // So few bytes into an empty pipe are written whole. If nobody reads them, nobody needs them.
    let _unused = write(
        &report,
        codec::encode_into(&(step, number(errno)), &mut [0; 8]),
    );
    ExitCode::from(127)
}

/// Everything that is between the supervisor's child and the program.
fn confined() -> Result<Infallible, Failure> {
    let temporary = Directory::inherited(tools::TEMPORARY)?;
    let own = Directory::inherited(tools::OWN)?;
    let launch = Launch::inherited()?;
    let plan = plan()?;
    let start = getcwd().map_err(at(ChildStep::WorkingDirectory))?;
    let identity = (geteuid().as_raw(), getegid().as_raw());

    let confinement = at(ChildStep::Confinement);
    leave_the_host().map_err(&confinement)?;
    keep_identity(identity).map_err(&confinement)?;
    rearrange_files(&temporary, &own).map_err(&confinement)?;
    // By its path, which may lead elsewhere now: a descriptor, or the place where it stood, would
    // lead out.
    chdir(&start).map_err(at(ChildStep::WorkingDirectory))?;
    drop_capabilities().map_err(&confinement)?;
    restrict_files(&plan.files, [temporary.handle, own.handle]).map_err(&confinement)?;
    default_sigpipe();

    filter_calls(&plan.filter).map_err(&confinement)?;
    Err(launch.execute())
}

/// What the server's start has compiled: this program holds no table.
fn plan() -> Result<config::Strict, Failure> {
    let file = fds::inherited(tools::CONFINEMENT).map_err(at(ChildStep::Descriptors))?;
    config::read(file.as_fd()).map_err(|error| (ChildStep::Descriptors, errno_of(&error)))
}

/// New namespaces of all kinds but two: one for process ids would need a second process, and one
/// for control groups would hide nothing.
fn leave_the_host() -> nix::Result<()> {
    // Together: the others need a capability that the first one gives. The network has one device
    // then, its loopback, which stays down: sockets that could use it are refused.
    unshare(
        CloneFlags::CLONE_NEWUSER
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS,
    )
}

/// The user and the group stay what they are, and there are no others in the namespace
/// (user_namespaces(7)).
fn keep_identity((user, group): (u32, u32)) -> nix::Result<()> {
    // Without this an unprivileged process may not write its gid_map: dropping a group could give
    // access (CVE-2014-8989).
    put("/proc/self/setgroups", "deny")?;
    put("/proc/self/uid_map", &format!("{user} {user} 1"))?;
    put("/proc/self/gid_map", &format!("{group} {group} 1"))
}

fn put(path: &str, text: &str) -> nix::Result<()> {
    fs::write(path, text).map_err(|error| errno_of(&error))
}

/// A private temporary directory and shared memory, and no services, in a mount namespace that ends
/// with the process.
fn rearrange_files(temporary: &Directory, own: &Directory) -> nix::Result<()> {
    // Mounts made here stay here. Not private: a disk that the host unmounts must go from here as
    // well.
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_SLAVE,
        None::<&str>,
    )?;
    // What comes next may cover the paths that these were found by.
    let (temporary_here, own_here) = (temporary.here()?, own.here()?);
    let empty = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    cover(SERVICES, |target| {
        mount(
            Some("none"),
            target,
            Some("tmpfs"),
            empty | MsFlags::MS_NOEXEC,
            Some("mode=0755"),
        )
    })?;
    for folder in TEMPORARY_FOLDERS {
        cover(folder, |target| bind(&temporary_here, target))?;
    }
    cover(SHARED_MEMORY, |target| {
        mount(
            Some("none"),
            target,
            Some("tmpfs"),
            empty,
            Some("mode=0700"),
        )
    })?;
    temporary.uncover(&temporary_here)?;
    own.uncover(&own_here)
}

/// Mounts on a folder, if there is one.
fn cover(target: &str, mount: impl FnOnce(&Path) -> nix::Result<()>) -> nix::Result<()> {
    match mount(Path::new(target)) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(()),
        other => other,
    }
}

fn bind(source: &OwnedFd, target: &Path) -> nix::Result<()> {
    mount(
        Some(&by_descriptor(source.as_fd())),
        target,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
}

fn by_descriptor(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// A directory of the process's own.
#[derive(Debug)]
struct Directory {
    /// As the supervisor opened it, in the host's mount namespace.
    handle: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// The path is asked for before there are namespaces: after it, the handle's would be of
    /// another tree.
    fn inherited(number: i32) -> Result<Self, Failure> {
        let handle = fds::inherited(number).map_err(at(ChildStep::Descriptors))?;
        let path = fs::read_link(by_descriptor(handle.as_fd()))
            .map_err(|error| (ChildStep::Descriptors, errno_of(&error)))?;
        Ok(Self { handle, path })
    }

    /// It again, in this mount namespace: the kernel binds nothing from another one (mount(2),
    /// EINVAL).
    fn here(&self) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let here = open(&self.path, flags, Mode::empty())?;
        // The folders above are root's; still, nothing else than what was handed over is to be
        // opened to the process.
        if self.is(&fstat(&here)?)? {
            Ok(here)
        } else {
            Err(Errno::ESTALE)
        }
    }

    /// Makes its path lead to it where a folder above was covered: programs know it by that path
    /// (HOME, TMPDIR).
    fn uncover(&self, here: &OwnedFd) -> nix::Result<()> {
        match stat(&self.path) {
            Ok(found) if self.is(&found)? => return Ok(()),
            Ok(_) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(error),
        }
        fs::create_dir_all(&self.path).map_err(|error| errno_of(&error))?;
        bind(here, &self.path)
    }

    fn is(&self, other: &FileStat) -> nix::Result<bool> {
        let this = fstat(&self.handle)?;
        Ok((this.st_dev, this.st_ino) == (other.st_dev, other.st_ino))
    }
}

/// All sets: the new user namespace came with all of them. The bounding set first, which needs one
/// of the others.
fn drop_capabilities() -> nix::Result<()> {
    for set in [
        CapSet::Bounding,
        CapSet::Ambient,
        CapSet::Inheritable,
        CapSet::Effective,
        CapSet::Permitted,
    ] {
        caps::clear(None, set).map_err(|_| Errno::EPERM)?;
    }
    nix::sys::prctl::set_no_new_privs()
}

/// What profile default has, with the process's own folders instead of the host's, and no TCP port,
/// no signal and no socket of anybody else.
fn restrict_files(files: &[(String, u64)], own: [OwnedFd; 2]) -> nix::Result<()> {
    // The newest that is known here: the crate leaves out what this kernel does not have.
    const NEWEST: ABI = ABI::V9;
    let restrict = || -> Result<RulesetStatus, Box<dyn Error>> {
        let mut ruleset = Ruleset::default()
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(AccessNet::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?
            .create()?;
        for (path, rights) in files {
            let path = match PathFd::new(path) {
                // Since the server's start: there is nothing to allow.
                Err(error) if errno_of(&error) == Errno::ENOENT => continue,
                path => path?,
            };
            let rights = BitFlags::<AccessFs>::from_bits_truncate(*rights);
            ruleset = ruleset.add_rule(PathBeneath::new(path, rights))?;
        }
        // By handle: rules hold for a directory, wherever it is mounted.
        for directory in own {
            ruleset = ruleset.add_rule(PathBeneath::new(directory, AccessFs::from_all(NEWEST)))?;
        }
        if Path::new(SHARED_MEMORY).is_dir() {
            let memory = PathFd::new(SHARED_MEMORY)?;
            ruleset = ruleset.add_rule(PathBeneath::new(memory, AccessFs::from_all(NEWEST)))?;
        }
        Ok(ruleset.restrict_self()?.ruleset)
    };
    match restrict() {
        // The process could write to whatever others left open to everybody.
        Ok(RulesetStatus::NotEnforced) => Err(Errno::EOPNOTSUPP),
        Ok(RulesetStatus::PartiallyEnforced | RulesetStatus::FullyEnforced) => Ok(()),
        Err(error) => Err(errno_of(&*error)),
    }
}

/// Rust's runtime ignores SIGPIPE, and what is ignored stays so in the next program (execve(2)).
/// The standard library undoes it when it executes one. That it executes nothing here is the price
/// of doing without unsafe code: an empty path is ENOENT before anything else.
fn default_sigpipe() {
    let _fails: io::Error = Command::new("").exec();
}

/// What is to run, as the supervisor has written it down.
#[derive(Debug, PartialEq, Eq)]
struct Launch {
    /// Where the program may be.
    paths: Vec<CString>,
    environment: Vec<CString>,
    argv: Vec<CString>,
}

impl Launch {
    fn inherited() -> Result<Self, Failure> {
        let file = fds::inherited(tools::LAUNCH).map_err(at(ChildStep::Descriptors))?;
        let bytes = config::read_bytes(file.as_fd())
            .map_err(|error| (ChildStep::Descriptors, errno_of(&error)))?;
        Self::read(&bytes).ok_or((ChildStep::Exec, Errno::EINVAL))
    }

    /// From strings that end with a NUL byte each: how many paths, the paths, how many variables,
    /// the variables, the argument vector.
    fn read(bytes: &[u8]) -> Option<Self> {
        let strings = bytes.split_inclusive(|byte| *byte == 0);
        let strings = strings.map(|string| CString::from_vec_with_nul(string.to_vec()).ok());
        let mut strings = strings.collect::<Option<Vec<_>>>()?.into_iter();
        let paths = counted(&mut strings)?;
        let environment = counted(&mut strings)?;
        Some(Self {
            paths,
            environment,
            argv: strings.collect(),
        })
    }

    /// Executes the first path that exists and may be executed; returns only when there is none.
    fn execute(&self) -> Failure {
        let mut result = (ChildStep::Exec, Errno::ENOENT);
        for path in &self.paths {
            let Err(error) = execve(path, &self.argv, &self.environment);
            // Not here: look further. What was found but may not be executed is the better answer
            // in the end.
            if error == Errno::EACCES {
                result = (ChildStep::Exec, error);
            } else if error != Errno::ENOENT && error != Errno::ENOTDIR {
                return (ChildStep::Exec, error);
            }
        }
        let is_there = |path: &CString| access(path.as_c_str(), AccessFlags::F_OK).is_ok();
        if result.1 == Errno::ENOENT && self.paths.iter().any(is_there) {
            // So it is what the program needs that is not.
            result.0 = ChildStep::Interpreter;
        }
        result
    }
}

/// A count, and so many strings.
fn counted(strings: &mut impl Iterator<Item = CString>) -> Option<Vec<CString>> {
    let count: usize = strings.next()?.to_str().ok()?.parse().ok()?;
    let taken: Vec<_> = strings.take(count).collect();
    (taken.len() == count).then_some(taken)
}

fn filter_calls(filter: &config::Filter) -> nix::Result<()> {
    let program: Vec<_> = filter.iter().copied().map(instruction).collect();
    seccompiler::apply_filter(&program).map_err(|error| errno_of(&error))
}

/// From the form that a program has in a configuration.
fn instruction(number: u64) -> sock_filter {
    let [c0, c1, jt, jf, k0, k1, k2, k3] = number.to_ne_bytes();
    sock_filter {
        code: u16::from_ne_bytes([c0, c1]),
        jt,
        jf,
        k: u32::from_ne_bytes([k0, k1, k2, k3]),
    }
}

fn at(step: ChildStep) -> impl Fn(Errno) -> Failure {
    move |errno| (step, errno)
}

/// The error of the system call that is somewhere below an error of a crate's.
fn errno_of(error: &(dyn Error + 'static)) -> Errno {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let number = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error);
        if let Some(number) = number {
            return Errno::from_raw(number);
        }
        cause = error.source();
    }
    Errno::EINVAL
}

#[expect(
    clippy::as_conversions,
    reason = "Errno is a C enum; its value is the number"
)]
fn number(errno: Errno) -> i32 {
    errno as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_launch_is_read_whole_or_not_at_all() {
        let strings = |words: &[&str]| {
            let words = words.iter().map(|word| CString::new(*word).unwrap());
            words.collect()
        };
        let expected = Launch {
            paths: strings(&["/a", "/b"]),
            environment: strings(&["LD_PRELOAD=x"]),
            argv: strings(&["1", ""]),
        };
        let whole = b"2\0/a\0/b\x001\0LD_PRELOAD=x\x001\0\0";
        assert_eq!(Launch::read(whole), Some(expected));
        for cut in [
            &b""[..],
            b"2\0/a\0",
            b"1\0/a\x002\0X=1\0",
            b"x\0",
            b"0\0-1\0",
            b"0\x000\0a",
        ] {
            assert_eq!(Launch::read(cut), None, "{cut:?}");
        }
    }

    #[test]
    fn an_instruction_is_what_the_kernel_reads_at_its_place() {
        // BPF_JMP | BPF_JEQ | BPF_K, 7 forward if so, 1 if not (linux/filter.h).
        let [c0, c1] = 0x15u16.to_ne_bytes();
        let [k0, k1, k2, k3] = 0xc000_003eu32.to_ne_bytes();
        let found = instruction(u64::from_ne_bytes([c0, c1, 7, 1, k0, k1, k2, k3]));
        assert_eq!(
            (found.code, found.jt, found.jf, found.k),
            (0x15, 7, 1, 0xc000_003e)
        );
    }

    #[test]
    fn the_error_of_a_system_call_is_found_below_others() {
        let below = io::Error::from_raw_os_error(1);
        assert_eq!(errno_of(&seccompiler::Error::Seccomp(below)), Errno::EPERM);
        assert_eq!(errno_of(&seccompiler::Error::EmptyFilter), Errno::EINVAL);
    }
}
