//! What a frontend may ask for when: the phase table. Runs in the supervisor; pure.

use prn_ipc_protocol::message::{PROTOCOL, Request};

use super::fault::PeerFault;
use super::phase::Phase;

impl Phase {
    /// The phase after a request, if it may be made in this one.
    ///
    /// # Errors
    /// `OutOfPhase`, or `OtherBuild` for a Hello that this supervisor does not know.
    pub fn after(self, request: &Request) -> Result<Self, PeerFault> {
        match (self, request) {
            (Self::Silent, Request::Hello(protocol)) if protocol == PROTOCOL => Ok(Self::Greeted),
            (Self::Silent, Request::Hello(_)) => Err(PeerFault::OtherBuild),
            (Self::Greeted, Request::Ready) => Ok(Self::Ready),
            (Self::Leaving, Request::Left) => Ok(Self::Left),
            (
                Self::Ready | Self::Leaving,
                Request::Ask(..)
                | Request::Watch { .. }
                | Request::Taken { .. }
                | Request::Follow(..)
                | Request::Unfollow(..)
                | Request::InputTaken { .. }
                | Request::Denied { .. }
                | Request::Alive,
            ) => Ok(self),
            (Self::Greeted | Self::Ready | Self::Leaving | Self::Left, Request::Hello(_))
            | (Self::Silent | Self::Ready | Self::Leaving | Self::Left, Request::Ready)
            | (Self::Silent | Self::Greeted | Self::Ready | Self::Left, Request::Left)
            | (
                Self::Silent | Self::Greeted | Self::Left,
                Request::Ask(..)
                | Request::Watch { .. }
                | Request::Taken { .. }
                | Request::Follow(..)
                | Request::Unfollow(..)
                | Request::InputTaken { .. }
                | Request::Denied { .. }
                | Request::Alive,
            ) => Err(PeerFault::OutOfPhase(self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prn_ipc_protocol::message::{Ask, For, RequestId, StopHow, Verb, WorkspaceSpec};
    use prn_ipc_protocol::types::ProcessId;

    const PHASES: [Phase; 5] = [
        Phase::Silent,
        Phase::Greeted,
        Phase::Ready,
        Phase::Leaving,
        Phase::Left,
    ];

    /// The one phase that a request belongs to. One that is new is missing here, and does not
    /// compile.
    fn phase_of(request: &Request) -> Phase {
        match request {
            Request::Hello(_) => Phase::Silent,
            Request::Ready => Phase::Greeted,
            Request::Ask(
                _,
                _,
                Ask::Start(_)
                | Ask::TryStart(_)
                | Ask::Stop(..)
                | Ask::Subscribe(_)
                | Ask::LendInput(_)
                | Ask::EndInput(_)
                | Ask::ResizeTerminal(..)
                | Ask::Signal(..)
                | Ask::Update(..)
                | Ask::Remove(_)
                | Ask::Forget(_)
                | Ask::Usage { .. }
                | Ask::Receipt(_)
                | Ask::CreateWorkspace(_)
                | Ask::RemoveWorkspace(..),
            )
            | Request::Watch { .. }
            | Request::Taken { .. }
            | Request::Follow(..)
            | Request::Unfollow(..)
            | Request::InputTaken { .. }
            | Request::Denied { .. }
            | Request::Alive => Phase::Ready,
            Request::Left => Phase::Leaving,
        }
    }

    #[test]
    fn i3_each_phase_allows_exactly_its_own_requests() {
        let id = ProcessId::from_bytes([0; 16]);
        let name = || "w".to_owned().try_into().unwrap();
        let who = || "a".to_owned().try_into().unwrap();
        let spec = WorkspaceSpec {
            name: name(),
            disk_max: None,
        };
        let requests = [
            Request::Ask(RequestId(1), who(), Ask::CreateWorkspace(spec)),
            Request::Ask(RequestId(1), who(), Ask::RemoveWorkspace(name(), None)),
            Request::Hello(PROTOCOL.into()),
            Request::Ready,
            Request::Ask(RequestId(1), who(), Ask::Stop(id, StopHow::Kill)),
            Request::Ask(RequestId(1), who(), Ask::Subscribe(id)),
            Request::Watch { id, seen: 0 },
            Request::Taken { id, offset: 0 },
            Request::Ask(RequestId(1), who(), Ask::LendInput(id)),
            Request::Ask(RequestId(1), who(), Ask::EndInput(id)),
            Request::Follow(id, For::Output),
            Request::Unfollow(id, For::Lease),
            Request::InputTaken { id, taken: 0 },
            Request::Denied {
                who: who(),
                verb: Verb::List,
                count: 1,
            },
            Request::Left,
        ];
        for phase in PHASES {
            for request in &requests {
                let expected = match (phase, phase_of(request)) {
                    (Phase::Silent, Phase::Silent) => Ok(Phase::Greeted),
                    (Phase::Greeted, Phase::Greeted) | (Phase::Ready, Phase::Ready) => {
                        Ok(Phase::Ready)
                    }
                    // What it has begun it may end.
                    (Phase::Leaving, Phase::Ready) => Ok(Phase::Leaving),
                    (Phase::Leaving, Phase::Leaving) => Ok(Phase::Left),
                    _ => Err(PeerFault::OutOfPhase(phase)),
                };
                assert_eq!(phase.after(request), expected, "{phase:?} {request:?}");
            }
        }
    }

    #[test]
    fn i12_another_build_is_told_apart_from_a_request_out_of_phase() {
        let other = Request::Hello("prn 0.0.0 ipc 0".into());
        assert_eq!(Phase::Silent.after(&other), Err(PeerFault::OtherBuild));
        for phase in &PHASES[1..] {
            assert_eq!(phase.after(&other), Err(PeerFault::OutOfPhase(*phase)));
        }
    }
}
