//! What a frontend can do wrong. Each costs it its life: a fresh one takes its seat, and processes
//! do not notice. Runs in the supervisor.

use nix::errno::Errno;
use prn_ipc_protocol::channel;

use super::phase::Phase;

/// Why a frontend has to die. None of it is an error of the supervisor's, or of a client's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PeerFault {
    /// It hung up.
    #[error("it closed the channel")]
    Closed,
    /// What it sent is no request.
    #[error(transparent)]
    Datagram(#[from] channel::Fault),
    /// It was installed without the supervisor that it belongs to.
    #[error("it is another build than the supervisor: install both halves together")]
    OtherBuild,
    /// It asked for something too early, or once more.
    #[error("fault: a request that is not allowed in phase {0:?}")]
    OutOfPhase(Phase),
    /// A request's id was not above the one before it.
    #[error("fault: a request id was repeated")]
    RepeatedId,
    /// It does not count its own requests.
    #[error("fault: too many requests wait for an answer")]
    TooManyWaiting,
    /// It did not take what was sent to it before, descriptors above all (ETOOMANYREFS, unix(7)),
    /// or its channel cannot be watched any more.
    #[error(transparent)]
    Unreachable(#[from] Errno),
    /// Its time to start was over.
    #[error("it does not serve")]
    NeverReady,
    /// It has not answered a probe.
    #[error("it is stuck: it does not answer")]
    Stuck,
    /// It is a zombie that something of its own traces (ptrace(2)): without that one it can be
    /// reaped.
    #[error("it has ended, but is kept from being reaped")]
    KeptFromBeingReaped,
}
