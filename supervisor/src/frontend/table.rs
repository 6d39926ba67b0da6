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
            (
                Self::Ready,
                Request::Ask(..)
                | Request::Watch { .. }
                | Request::Taken { .. }
                | Request::Follow(..)
                | Request::Unfollow(..)
                | Request::InputTaken { .. }
                | Request::Alive,
            ) => Ok(Self::Ready),
            (Self::Greeted | Self::Ready, Request::Hello(_))
            | (Self::Silent | Self::Ready, Request::Ready)
            | (
                Self::Silent | Self::Greeted,
                Request::Ask(..)
                | Request::Watch { .. }
                | Request::Taken { .. }
                | Request::Follow(..)
                | Request::Unfollow(..)
                | Request::InputTaken { .. }
                | Request::Alive,
            ) => Err(PeerFault::OutOfPhase(self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prn_ipc_protocol::message::{Ask, For, RequestId, StopHow, WorkspaceSpec};
    use prn_ipc_protocol::types::ProcessId;

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
            | Request::Alive => Phase::Ready,
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
        ];
        for phase in [Phase::Silent, Phase::Greeted, Phase::Ready] {
            for request in &requests {
                let expected = match (phase_of(request) == phase, phase) {
                    (true, Phase::Silent) => Ok(Phase::Greeted),
                    (true, Phase::Greeted | Phase::Ready) => Ok(Phase::Ready),
                    (false, _) => Err(PeerFault::OutOfPhase(phase)),
                };
                assert_eq!(phase.after(request), expected, "{phase:?} {request:?}");
            }
        }
    }

    #[test]
    fn i12_another_build_is_told_apart_from_a_request_out_of_phase() {
        let other = Request::Hello("prn 0.0.0 ipc 0".into());
        assert_eq!(Phase::Silent.after(&other), Err(PeerFault::OtherBuild));
        for phase in [Phase::Greeted, Phase::Ready] {
            assert_eq!(phase.after(&other), Err(PeerFault::OutOfPhase(phase)));
        }
    }
}
