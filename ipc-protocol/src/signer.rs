//! What the root half says to `prn-signer`, which has a key that the frontend signs with and never
//! has: nothing but who may ask it. It hears nothing of it, and never waits for it.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::channel;

/// The one message of the control socket (`prn_proto::signer`).
const OPEN: u8 = 1;

/// A socket that its holder has things signed by, through `control`. Where no signer is there, or
/// none takes it, its holder finds it closed, or without an answer.
///
/// # Errors
/// Those of socketpair(2).
pub fn open(control: &OwnedFd) -> nix::Result<OwnedFd> {
    let (ours, theirs) = channel::pair()?;
    let numbers = [theirs.as_raw_fd()];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let _unused = sendmsg::<()>(
        control.as_raw_fd(),
        &[IoSlice::new(&[OPEN])],
        &[ControlMessage::ScmRights(&numbers)],
        flags,
        None,
    );
    Ok(ours)
}
