//! Whatever requests come in whatever order, the ones that are let through before the first that is
//! not are Hello, then Ready, then any of the others: nothing is done for a frontend that has not
//! said that it is confined (I3).
//!
//! The input is a sequence of datagrams, each after its length in one byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prn_ipc_protocol::codec::decode;
use prn_ipc_protocol::message::Request;
use prn_supervisor::frontend::{PeerFault, Phase};

fuzz_target!(|input: &[u8]| {
    let mut phase = Phase::Silent;
    let mut rest = input;
    let mut through = Vec::new();
    while let Some((length, tail)) = rest.split_first() {
        let Some((datagram, tail)) = tail.split_at_checked(usize::from(*length)) else {
            return;
        };
        rest = tail;
        // What does not decode is a fault, and ends the frontend as a wrong phase does.
        let Ok(request) = decode::<Request>(datagram) else {
            return;
        };
        let allows: Vec<_> = [Phase::Silent, Phase::Greeted, Phase::Ready, Phase::Leaving]
            .into_iter()
            .filter(|phase| !matches!(phase.after(&request), Err(PeerFault::OutOfPhase(_))))
            .collect();
        // One that is replaced by a reload answers what was asked before, and then says that it leaves.
        let is_of_one = matches!(
            allows[..],
            [Phase::Silent] | [Phase::Greeted] | [Phase::Ready, Phase::Leaving] | [Phase::Leaving]
        );
        assert!(is_of_one, "{request:?} belongs to {allows:?}");
        let Ok(next) = phase.after(&request) else {
            break;
        };
        phase = next;
        through.push(request);
    }
    for (place, request) in through.iter().enumerate() {
        let right = match place {
            0 => matches!(request, Request::Hello(_)),
            1 => matches!(request, Request::Ready),
            _ => !matches!(request, Request::Hello(_) | Request::Ready),
        };
        assert!(right, "{request:?} was let through as number {place}");
    }
});
