//! Questions and answers: [`prn_proto::signer`] has their form.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::mpsc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::unistd::Pid;
use prn_ipc_protocol::channel::{Channel, Received};
use prn_proto::credentials::program::read_first;
use prn_proto::credentials::token::TokenUri;
use prn_proto::signer::{MESSAGE_MAX, OPEN, Role, SIGNED_MAX};
use zeroize::Zeroizing;

use crate::token::Token;

/// Most sockets at one time: a server has one or two frontends. One more takes the oldest's place.
const SOCKETS_MAX: usize = 16;

/// For how long one that nobody starts signing with any more may go on: handshakes are under way,
/// and its module may be stuck.
const LEAVING: Duration = Duration::from_secs(5);

/// Longest reason of a refusal.
const WHY_MAX: usize = 512;

/// Which key, and the PIN.
type Asked = (TokenUri, Zeroizing<Vec<u8>>);

/// What is asked for. `None`: who started it is gone.
pub fn asked(control: &OwnedFd) -> Result<Option<Asked>, String> {
    let mut buffer = Zeroizing::new(vec![0; MESSAGE_MAX]);
    let length = recv(control.as_raw_fd(), &mut buffer, MsgFlags::empty());
    let length = length.map_err(|error| format!("its control socket: {error}"))?;
    let message = buffer.get(..length).unwrap_or_default();
    if message.is_empty() {
        return Ok(None);
    }
    let form = || "its control socket: not a question".to_owned();
    let (uri, pin) = read_first(message).ok_or_else(form)?;
    let uri = TokenUri::parse(uri).map_err(|error| error.to_string())?;
    Ok(Some((uri, Zeroizing::new(pin.to_vec()))))
}

/// Tells who started it whether there is such a key.
pub fn answer(control: &OwnedFd, found: Result<(), String>) {
    let bytes = outcome(found.map(|()| Vec::new()));
    // Who asked may be gone.
    let _unused = send(control.as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL);
}

fn outcome(done: Result<Vec<u8>, String>) -> Vec<u8> {
    match done {
        Ok(bytes) => [&[0][..], &bytes].concat(),
        Err(why) => [
            &[1][..],
            why.as_bytes().get(..WHY_MAX).unwrap_or(why.as_bytes()),
        ]
        .concat(),
    }
}

/// Signs until nobody is there who could ask.
pub fn serve(control: OwnedFd, token: &Token, role: Role) -> Result<(), String> {
    let mut control = Some(Channel::<u8, u8>::new(control));
    let mut sockets: Vec<OwnedFd> = Vec::new();
    let mut buffer = vec![0; MESSAGE_MAX];
    while control.is_some() || !sockets.is_empty() {
        let all = sockets.iter().map(AsFd::as_fd);
        let mut set: Vec<_> = all
            .chain(control.as_ref().map(AsFd::as_fd))
            .map(|socket| PollFd::new(socket, PollFlags::POLLIN))
            .collect();
        match poll(&mut set, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(format!("poll: {error}")),
        }
        drop(set);
        sockets.retain(|socket| turn(socket, token, role, &mut buffer));
        if let Some(channel) = &mut control {
            match channel.receive(|_| 1) {
                Ok(Received::Message(OPEN, opened)) => {
                    sockets.extend(opened);
                    let excess = sockets.len().saturating_sub(SOCKETS_MAX);
                    sockets.drain(..excess);
                }
                Ok(Received::Message(..) | Received::Nothing) => {}
                Ok(Received::Closed) | Err(_) => control = None,
            }
        }
    }
    Ok(())
}

/// Ends this process soon after the one that started it has gone, or given up waiting for the key,
/// whatever its module does. Call it before there is a module, in which it may wait for ever.
pub fn end_with(control: &OwnedFd) -> Result<(), String> {
    let failed = |error| format!("cannot watch its control socket: {error}");
    let control = control.try_clone().map_err(failed)?;
    let (started, starts) = mpsc::channel();
    let watching = std::thread::Builder::new().spawn(move || {
        // Who waits for it has not given up.
        let _unused = started.send(());
        // That the other end is closed is said unasked (poll(2), POLLHUP).
        let mut set = [PollFd::new(control.as_fd(), PollFlags::empty())];
        while poll(&mut set, PollTimeout::NONE) == Err(Errno::EINTR) {}
        std::thread::sleep(LEAVING);
        // exit(3) would have the module clean up, which is stuck.
        let _itself = kill(Pid::this(), Signal::SIGKILL);
    });
    watching.map_err(failed)?;
    // To begin it takes a lock of the loader's, which a module that is stuck would hold.
    starts
        .recv()
        .map_err(|error| failed(io::Error::other(error)))
}

/// Answers one question, if there is one. Whether more can come.
fn turn(socket: &OwnedFd, token: &Token, role: Role, buffer: &mut [u8]) -> bool {
    let length = match recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
        Ok(length) => length,
        Err(Errno::EAGAIN | Errno::EINTR) => return true,
        Err(_) => return false,
    };
    let message = buffer.get(..length).unwrap_or_default();
    let Some((number, message)) = message.split_first_chunk::<8>() else {
        return false;
    };
    let signed = if message.len() <= SIGNED_MAX && role.signs(message) {
        token.sign(message).map_err(|error| error.to_string())
    } else {
        Err("that is no handshake of this side's".to_owned())
    };
    let bytes = [&number[..], &outcome(signed)].concat();
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    // One that takes no answers has asked too much at a time.
    send(socket.as_raw_fd(), &bytes, flags).is_ok()
}
