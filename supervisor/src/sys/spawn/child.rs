//! What a child does between clone3(2) and its program.
//!
//! Runs in the child, with the supervisor's identity until it takes its own. It makes only system
//! calls, with memory that its parent prepared: no allocation, no lock, no Rust runtime service.

use std::ffi::{CStr, CString};
use std::os::fd::{BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc::{self, c_int, c_uint};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{self, AccessFlags, Gid, Uid, UnlinkatFlags};
use prn_ipc_protocol::codec;
use prn_ipc_protocol::message::ChildStep;

use super::confine::{Ruleset, filter};
use super::namespaces;
use super::passing::Inbox;
use super::paths;
use super::plan::{Errand, Program, REPORT};
use super::prepared::{Prepared, TAKEN};
use crate::sys::terminal::resize;
use crate::sys::{call, errno_number};

/// The child, to its end.
pub(super) fn run(prepared: &Prepared<'_>) -> ! {
    if let Err(error) = prepared.inbox.open() {
        fail(prepared, Failure::descriptors(error), Teller::Inbox);
    }
    if let Program::Unlink(_, names) = prepared.child.program {
        unlink(prepared, names);
    }
    if prepared.inbox.is_shared {
        write(prepared.numbers.report, &[TAKEN]);
    }
    let failure = match before_program(prepared) {
        Ok(()) => execute(prepared),
        Err(failure) => failure,
    };
    fail(prepared, failure, Teller::Report)
}

/// Through what the parent learns of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Teller {
    /// The socket, before there is a report.
    Inbox,
    /// The report.
    Report,
}

/// Tells of a failure, and ends.
fn fail(prepared: &Prepared<'_>, failure: Failure, teller: Teller) -> ! {
    let mut report = [0; REPORT];
    let report = codec::encode_into(&(failure.step, errno_number(failure.error)), &mut report);
    match teller {
        Teller::Inbox => prepared.inbox.tell(report),
        Teller::Report => write(prepared.numbers.report, report),
    }
    // SAFETY: it ends this process, without running anything of the parent's.
    unsafe { libc::_exit(127) }
}

fn write(report: RawFd, bytes: &[u8]) {
    // SAFETY: a system call on memory and a descriptor of this process. write(2) of so few bytes to
    // a pipe is whole; if the parent is gone nobody needs it.
    unsafe { libc::write(report, bytes.as_ptr().cast(), bytes.len()) };
}

/// A child with a terminal, which it does one thing with that can take long.
pub(super) fn go_aside(inbox: Inbox, errand: Errand) -> ! {
    if let (Ok(()), Errand::Resize(size)) = (inbox.open(), errand) {
        // SAFETY: its inbox has just given this process the terminal, as its first descriptor, and
        // nothing closes it.
        let terminal = unsafe { BorrowedFd::borrow_raw(0) };
        let _unused = resize(terminal, size);
    }
    // SAFETY: it ends this process, which closes the terminal, without running anything of the
    // parent's.
    unsafe { libc::_exit(0) }
}

/// The child that removes directories. What a process once put into one can make that take long:
/// ext4 looks at all of its blocks, also those that are empty again. So it is not this program's
/// only thread that waits.
fn unlink(prepared: &Prepared<'_>, names: &[CString]) -> ! {
    // SAFETY: its inbox has just given this process the folder, and nothing closes it.
    let folder = prepared
        .numbers
        .file
        .map(|number| unsafe { BorrowedFd::borrow_raw(number) });
    for name in names {
        let _unused = folder
            .map(|folder| unistd::unlinkat(folder, name.as_c_str(), UnlinkatFlags::RemoveDir));
    }
    // SAFETY: it ends this process, without running anything of the parent's.
    unsafe { libc::_exit(0) }
}

/// What keeps the program from running.
#[derive(Debug, Clone, Copy)]
struct Failure {
    step: ChildStep,
    error: Errno,
}

impl Failure {
    fn descriptors(error: Errno) -> Self {
        Self {
            step: ChildStep::Descriptors,
            error,
        }
    }
}

/// A step before the program.
#[derive(Debug)]
struct Step {
    /// What it is called where it failed. Of [`ChildStep::Path`] the rule in hand is told, whatever
    /// number stands here.
    name: ChildStep,
    /// Only makes system calls.
    act: fn(&Prepared<'_>) -> nix::Result<()>,
}

const fn step(name: ChildStep, act: fn(&Prepared<'_>) -> nix::Result<()>) -> Step {
    Step { name, act }
}

/// All of them, in order. From the identity on each takes away what the steps before need.
const STEPS: &[Step] = &[
    step(ChildStep::Session, begin_session),
    step(ChildStep::Descriptors, keep_descriptors),
    step(ChildStep::Limits, raise_oom_score),
    step(ChildStep::Confinement, enter_state),
    step(ChildStep::Confinement, list_files),
    step(ChildStep::Namespaces, leave_the_host),
    step(ChildStep::Namespaces, keep_in_memory),
    step(ChildStep::Path(0), find_sources),
    step(ChildStep::Namespaces, arrange),
    step(ChildStep::Path(0), follow_rules),
    step(ChildStep::Identity, take_identity),
    // After setresuid, which clears it (prctl(2)).
    step(ChildStep::Privileges, die_with_parent),
    step(ChildStep::Privileges, gain_nothing),
    step(ChildStep::WorkingDirectory, enter_directory),
    step(ChildStep::Signals, unblock_signals),
    step(ChildStep::Confinement, confine_files),
    // What the child has beside the program's own may exceed it, and the ruleset needs one more.
    step(ChildStep::Limits, limit_open_files),
    step(ChildStep::Confinement, confine_calls),
];

fn before_program(prepared: &Prepared<'_>) -> Result<(), Failure> {
    for Step { name, act } in STEPS {
        act(prepared).map_err(|error| Failure {
            step: if matches!(name, ChildStep::Path(_)) {
                ChildStep::Path(prepared.rule.get())
            } else {
                *name
            },
            error,
        })?;
    }
    Ok(())
}

/// With a mask of its own for the modes of files, and a terminal if it has one.
fn begin_session(prepared: &Prepared<'_>) -> nix::Result<()> {
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    unistd::setsid()?;
    if !prepared.child.has_terminal {
        return Ok(());
    }
    // Its streams have come to their numbers. Nobody else's terminal is taken away.
    let (standard_input, steals) = (libc::STDIN_FILENO.into(), 0);
    let request = libc::TIOCSCTTY.try_into().map_err(|_| Errno::EINVAL)?;
    call(libc::SYS_ioctl, [standard_input, request, steals])
}

/// They came to their numbers; the others are no business of the program's.
fn keep_descriptors(prepared: &Prepared<'_>) -> nix::Result<()> {
    let kept = prepared.numbers.kept;
    // Close-on-exec and not closed: the report must survive until the program runs (compare
    // CVE-2024-21626).
    call(
        libc::SYS_close_range,
        [
            kept.into(),
            c_uint::MAX.into(),
            libc::CLOSE_RANGE_CLOEXEC.into(),
        ],
    )
}

/// OOM score adjustment 500: half of the machine's memory more than it uses counts against it
/// (proc_pid_oom_score_adj(5)), so that it has to die before the supervisor, which holds a quarter
/// by default. The supervisor's own is not lowered instead, since processes could take the lower
/// value back. A higher one stays: lowering it is refused (EACCES).
fn raise_oom_score(_: &Prepared<'_>) -> nix::Result<()> {
    let file = open(
        c"/proc/self/oom_score_adj",
        OFlag::O_WRONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    match unistd::write(&file, b"500") {
        Ok(_) | Err(Errno::EACCES) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Its own directories are found from there.
fn enter_state(prepared: &Prepared<'_>) -> nix::Result<()> {
    match prepared.child.places {
        Some(places) => unistd::chdir(places.state),
        None => Ok(()),
    }
}

/// Says what it may do with which files, while it may look at all of them. Files of a file system
/// are the same wherever it is mounted.
fn list_files(prepared: &Prepared<'_>) -> nix::Result<()> {
    let Some(landlock) = prepared.landlock() else {
        return Ok(());
    };
    let ruleset = Ruleset::create(&landlock.attributes)?;
    for rule in &landlock.rules {
        match ruleset.allow(&rule.path, rule.rights) {
            Err(Errno::ENOENT) => {}
            other => other?,
        }
    }
    if let Some(places) = prepared.child.places {
        ruleset.allow(places.own, landlock.own)?;
        ruleset.allow(places.temporary, landlock.own)?;
    }
    prepared.ruleset.set(Some(ruleset));
    Ok(())
}

/// While it is root: files and mounts of others are no business of its user.
fn leave_the_host(prepared: &Prepared<'_>) -> nix::Result<()> {
    prepared.namespaces().map_or(Ok(()), namespaces::enter)
}

/// Covers its own directories with file systems in memory, if it is to have them there.
fn keep_in_memory(prepared: &Prepared<'_>) -> nix::Result<()> {
    let Some(places) = prepared.child.places else {
        return Ok(());
    };
    let Some(options) = places.in_memory else {
        return Ok(());
    };
    // Admission has refused it: the directories would be where others of its user are.
    if prepared.namespaces().is_none() {
        return Err(Errno::ENOSYS);
    }
    for target in [places.own, places.temporary] {
        namespaces::keep_in_memory(target, options)?;
        if let (Some(ruleset), Some(landlock)) = (prepared.ruleset.get(), prepared.landlock()) {
            ruleset.allow(target, landlock.own)?;
        }
    }
    Ok(())
}

/// Finds what is to be bound, before mounts cover it.
fn find_sources(prepared: &Prepared<'_>) -> nix::Result<()> {
    let view = &prepared.child.view;
    if view.rules.is_empty() {
        return Ok(());
    }
    // Admission has refused it.
    if prepared.namespaces().is_none() {
        return Err(Errno::ENOSYS);
    }
    let sources = paths::sources(view, &prepared.rule)?;
    prepared.sources.replace(sources);
    Ok(())
}

/// Mounts what a process sees. A child without places, which is the frontend, has no mounts.
fn arrange(prepared: &Prepared<'_>) -> nix::Result<()> {
    let child = prepared.child;
    match (prepared.namespaces(), &child.places) {
        (Some(namespaces), Some(places)) => {
            namespaces::arrange(namespaces, places, child.ids, prepared.ruleset.get())
        }
        // It would see what the plan covers.
        (Some(namespaces), None) if !namespaces.mounts.is_empty() => Err(Errno::EINVAL),
        (Some(_) | None, None) | (None, Some(_)) => Ok(()),
    }
}

/// The last mounts, as the process's user.
fn follow_rules(prepared: &Prepared<'_>) -> nix::Result<()> {
    let (view, ids) = (&prepared.child.view, prepared.child.ids);
    if view.rules.is_empty() {
        return Ok(());
    }
    let sources = prepared.sources.borrow();
    paths::follow(view, &sources, ids, prepared.ruleset.get(), &prepared.rule)
}

/// Takes the ids of the plan, and makes sure that there is no way back.
fn take_identity(prepared: &Prepared<'_>) -> nix::Result<()> {
    let ids = prepared.child.ids;
    let (uid, gid) = (Uid::from_raw(ids.uid), Gid::from_raw(ids.gid));
    unistd::setgroups(ids.groups)?;
    unistd::setresgid(gid, gid, gid)?;
    unistd::setresuid(uid, uid, uid)?;
    // Until its program runs this is the supervisor's memory, which others of that user could read, or
    // have written to a core image (prctl(2), PR_SET_DUMPABLE).
    prctl::set_dumpable(false)?;
    let root = Uid::from_raw(0);
    if unistd::setresuid(root, root, root).is_ok() {
        Err(Errno::EPERM)
    } else {
        Ok(())
    }
}

/// The parent may have died before: then nobody would kill us.
fn die_with_parent(prepared: &Prepared<'_>) -> nix::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if unistd::getppid() == prepared.parent {
        Ok(())
    } else {
        Err(Errno::ESRCH)
    }
}

fn gain_nothing(_: &Prepared<'_>) -> nix::Result<()> {
    prctl::set_no_new_privs()
}

fn enter_directory(prepared: &Prepared<'_>) -> nix::Result<()> {
    unistd::chdir(prepared.child.directory)
}

/// The mask survives execve(2).
fn unblock_signals(_: &Prepared<'_>) -> nix::Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

fn confine_files(prepared: &Prepared<'_>) -> nix::Result<()> {
    match (prepared.landlock(), prepared.ruleset.get()) {
        (Some(_), Some(ruleset)) => ruleset.restrict(),
        // It was not made: nothing is to run.
        (Some(_), None) => Err(Errno::EBADF),
        (None, _) => Ok(()),
    }
}

fn limit_open_files(prepared: &Prepared<'_>) -> nix::Result<()> {
    let most = prepared.child.open_files;
    setrlimit(Resource::RLIMIT_NOFILE, most.soft, most.hard)
}

fn confine_calls(prepared: &Prepared<'_>) -> nix::Result<()> {
    let layers = prepared.child.layers;
    filter(layers.map_or(&[], |layers| &layers.filters))
}

/// Executes the program; returns only when that failed.
fn execute(prepared: &Prepared<'_>) -> Failure {
    if let Some(file) = prepared.numbers.file {
        return Failure {
            step: ChildStep::Exec,
            error: execute_at(prepared, file, c"", libc::AT_EMPTY_PATH),
        };
    }
    match prepared.child.program {
        Program::Paths(paths) => execute_first(prepared, paths),
        Program::File(_) | Program::Unlink(..) => Failure {
            step: ChildStep::Exec,
            error: Errno::EBADF,
        },
    }
}

/// Executes the first of the paths that can be.
fn execute_first(prepared: &Prepared<'_>, paths: &[CString]) -> Failure {
    let mut failure = Failure {
        step: ChildStep::Exec,
        error: Errno::ENOENT,
    };
    for path in paths {
        let error = execute_at(prepared, libc::AT_FDCWD, path, 0);
        // Not here: look further. What was found but may not be executed is the better answer in
        // the end.
        if error == Errno::EACCES {
            failure.error = error;
        } else if error != Errno::ENOENT && error != Errno::ENOTDIR {
            return Failure { error, ..failure };
        }
    }
    let is_there = |path: &CString| unistd::access(path.as_c_str(), AccessFlags::F_OK).is_ok();
    if failure.error == Errno::ENOENT && paths.iter().any(is_there) {
        // So it is what the program needs that is not.
        failure.step = ChildStep::Interpreter;
    }
    failure
}

fn execute_at(prepared: &Prepared<'_>, folder: RawFd, path: &CStr, flags: c_int) -> Errno {
    let (argv, environment) = (prepared.argv.as_ptr(), prepared.environment.as_ptr());
    // SAFETY: both arrays end with a null pointer and point to strings that live until the program
    // runs.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            folder,
            path.as_ptr(),
            argv,
            environment,
            flags,
        )
    };
    Errno::last()
}
