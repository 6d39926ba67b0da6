//! Who this process is, and what it may not do, before it loads anything.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{
    Gid, Uid, chdir, dup2_stdin, getresuid, setgroups, setresgid, setresuid, setsid,
};
use prn_ipc_protocol::fds;
use prn_proto::signer::Role;

/// Limits of a server's signer: a token's module needs little, and a fault of it is to stay here.
const LIMITS: [(Resource, u64); 3] = [
    (Resource::RLIMIT_NOFILE, 256),
    (Resource::RLIMIT_NPROC, 64),
    (Resource::RLIMIT_DATA, 1 << 30),
];

/// Says why it does not start.
pub fn complain(error: &str) {
    // Nobody may be there to read it.
    let _unused = writeln!(std::io::stderr(), "prn-signer: {error}");
}

/// Gives up root, for good.
pub fn become_user(uid: &str, gid: &str, groups: &[String]) -> Result<(), String> {
    let id = |text: &str| {
        let id = text
            .parse::<u32>()
            .ok()
            .filter(|id| ![0, u32::MAX].contains(id));
        id.ok_or_else(|| format!("{text:?} is no id that it could have"))
    };
    let (uid, gid) = (Uid::from_raw(id(uid)?), Gid::from_raw(id(gid)?));
    let groups: Result<Vec<_>, _> = groups
        .iter()
        .map(|group| id(group).map(Gid::from_raw))
        .collect();
    let failed = |error| format!("cannot become user {uid}: {error}");
    setgroups(&groups?).map_err(failed)?;
    setresgid(gid, gid, gid).map_err(failed)?;
    setresuid(uid, uid, uid).map_err(failed)
}

/// Closes all that who started it has left open, but for the control socket (standard input) and
/// the other standard streams: what is executed next loads foreign code.
pub fn close_others() -> Result<(), String> {
    let failed = |error: io::Error| format!("cannot list its descriptors: {error}");
    let mut numbers = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // That of the list itself is gone.
        drop(fds::inherited(number));
    }
    Ok(())
}

/// Executes itself anew, as who it is by now, and ends: what was root's is in no memory of the
/// new process, and who started this one is not its parent.
pub fn again(role: &str) -> Result<(), String> {
    prctl::set_no_new_privs().map_err(|error| format!("no_new_privs: {error}"))?;
    let mut itself = Command::new("/proc/self/exe");
    // Whoever waits for the end of what the starter says must not wait for the end of this one.
    itself.stdout(Stdio::null()).stderr(Stdio::null());
    let spawned = itself.arg0("prn-signer").args(["serve", role]).spawn();
    spawned
        .map(drop)
        .map_err(|error| format!("cannot execute itself: {error}"))
}

/// Its control socket, which is standard input.
pub fn control() -> Result<OwnedFd, String> {
    let control = std::io::stdin().as_fd().try_clone_to_owned();
    control.map_err(|error| format!("its control socket: {error}"))
}

/// What keeps its memory and what it has loaded to itself.
pub fn confine(role: Role) -> Result<(), String> {
    let failed = |error: nix::Error| format!("cannot confine itself: {error}");
    let ids = getresuid().map_err(failed)?;
    if role == Role::Server
        && [ids.real, ids.effective, ids.saved]
            .iter()
            .any(|id| id.is_root())
    {
        return Err("a server's signer does not run as root".to_owned());
    }
    // Signals of the terminal are for who started it.
    let _is_leader_already = setsid();
    prctl::set_no_new_privs().map_err(failed)?;
    // Else it would be called by the link that it was executed through.
    prctl::set_name(c"prn-signer").map_err(failed)?;
    // No core, and no other process of this user looks into it.
    prctl::set_dumpable(false).map_err(failed)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(failed)?;
    if role == Role::Server {
        for (resource, most) in LIMITS {
            setrlimit(resource, most, most).map_err(failed)?;
        }
        chdir("/").map_err(failed)?;
    }
    // What a module starts has no use for its control socket.
    let null = File::open("/dev/null").map_err(|error| format!("/dev/null: {error}"))?;
    dup2_stdin(null).map_err(failed)
}
