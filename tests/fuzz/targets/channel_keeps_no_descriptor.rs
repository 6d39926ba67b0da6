//! A datagram with any bytes and any descriptors is a message with exactly the descriptors of its
//! kind, or a fault; it is never taken for silence or for the peer's end, and no descriptor that
//! came with it stays open (I1, I4, I6).
//!
//! The first byte chooses the receiving half (bit 0) and how many descriptors are sent (bits 1 to
//! 3); the rest is the datagram.
#![no_main]

use std::fmt::Debug;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};

use libfuzzer_sys::fuzz_target;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use prn_fuzz::next_descriptor;
use prn_ipc_protocol::channel::{Channel, Fault, FrontendEnd, Received, SupervisorEnd, pair};
use prn_ipc_protocol::codec::{decode, encode};
use prn_ipc_protocol::message::FromSupervisor;
use serde::Serialize;
use serde::de::DeserializeOwned;

fuzz_target!(|input: &[u8]| {
    let Some((head, datagram)) = input.split_first() else {
        return;
    };
    let descriptors = usize::from(head >> 1 & 7);
    let (peer, ours) = pair().expect("a pair of sockets");
    let free = next_descriptor(&peer);
    if head & 1 == 0 {
        let end = SupervisorEnd::without_descriptors(ours);
        if sent(&peer, datagram, descriptors) {
            check(end, datagram, descriptors, |_| 0);
        }
    } else {
        let end = FrontendEnd::new(ours);
        assert!(sent(&peer, datagram, descriptors));
        check(end, datagram, descriptors, FromSupervisor::descriptors);
    }
    // The end itself is closed by now, and had a smaller number than what it could have left open.
    let ours = nix::unistd::dup(&peer).expect("a descriptor");
    assert_eq!(next_descriptor(&peer), free, "a descriptor is left open");
    drop(ours);
});

/// False where the kernel refuses descriptors in the receiver's name (SO_PASSRIGHTS, Linux 6.16).
fn sent(peer: &OwnedFd, datagram: &[u8], descriptors: usize) -> bool {
    let numbers = vec![peer.as_raw_fd(); descriptors];
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control = if descriptors == 0 {
        &[]
    } else {
        rights.as_slice()
    };
    match sendmsg::<()>(
        peer.as_raw_fd(),
        &[IoSlice::new(datagram)],
        control,
        MsgFlags::empty(),
        None,
    ) {
        Ok(length) => length == datagram.len(),
        Err(error) => {
            assert!(error == Errno::EPERM && descriptors > 0, "sendmsg: {error}");
            false
        }
    }
}

fn check<Out, In>(
    mut end: Channel<Out, In>,
    datagram: &[u8],
    sent: usize,
    expected: impl Fn(&In) -> usize,
) where
    Out: Serialize,
    In: DeserializeOwned + Serialize + Debug,
{
    match end.receive(&expected) {
        Ok(Received::Message(message, descriptors)) => {
            assert_eq!(descriptors.len(), expected(&message));
            assert_eq!(descriptors.len(), sent);
            assert_eq!(encode(&message).as_deref(), Ok(datagram));
        }
        Err(fault) => {
            let message = decode::<In>(datagram);
            // Which of several faults is told first does not matter.
            let right = match &fault {
                Fault::Empty => datagram.is_empty(),
                Fault::Decode(error) => message.is_err_and(|found| found == *error),
                Fault::Descriptors(told) => {
                    *told == sent && message.is_ok_and(|message| expected(&message) != sent)
                }
                // An end without room for descriptors has its control data cut.
                Fault::TooLong => sent > 0,
                Fault::Socket(_) => false,
            };
            assert!(
                right,
                "{fault:?} for {} bytes and {sent} descriptors",
                datagram.len()
            );
        }
        other => panic!(
            "{other:?} for {} bytes and {sent} descriptors",
            datagram.len()
        ),
    }
}
