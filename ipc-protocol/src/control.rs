//! What `prn server reload` or `status` and the running supervisor say to each other, over a
//! socket that root alone can reach: one enum a direction.
//!
//! Linked by the supervisor and by `prn server …`. Who asks is root, and could end the supervisor
//! as well; what it sends is still decoded, measured and refused as that of any peer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::channel::Channel;
use crate::status;

/// What calls get to end in a frontend that another one replaces. Those who come meanwhile wait.
pub const LEAVE_TIME: Duration = Duration::from_millis(500);

/// How long that frontend has to end, all in all.
pub const LEAVE_WITHIN: Duration = Duration::from_millis(800);

/// How long the one that replaces it has to serve.
pub const COME_WITHIN: Duration = Duration::from_secs(10);

/// How long an answer to [`Order::Reload`] may take.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(20);

const _: () = assert!(
    LEAVE_TIME.as_millis() < LEAVE_WITHIN.as_millis()
        && LEAVE_WITHIN.as_millis() + COME_WITHIN.as_millis() < ANSWER_WITHIN.as_millis()
);

/// The socket's name in the state folder.
pub const NAME: &str = ".control";

/// Most bytes of each configuration, and of the key. They are read and decoded at once, while
/// nothing else of the supervisor's happens: about 10 ms for so much.
pub const BYTES_MAX: u64 = 4 * 1024 * 1024;

/// From root to the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// What is in force?
    Show,
    /// Put this in force, or nothing of it. [`crate::config::Supervisor`] and
    /// [`crate::config::Frontend`] come with it, and the TLS key if it is another one: memfds that
    /// nobody can change any more (fcntl(2), all four seals).
    Reload {
        /// Whether the key is another one.
        key: Key,
        /// What is new in it, for the log.
        changes: String,
    },
    /// How is it?
    Status,
}

/// The server's TLS key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Key {
    /// It stays.
    Kept,
    /// A memfd of it comes as well.
    Sent,
}

/// Back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To Show: both configurations come with it, as they were handed over, to read.
    Shown,
    /// To Reload: a frontend serves with it. This is the number of the configuration; that of the
    /// start was 1.
    InForce(u32),
    /// To any: no, and nothing has changed.
    Refused(Refused),
    /// To Status.
    Status(Box<status::Status>),
}

/// Why an order was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refused {
    /// The server is being stopped.
    Stopping,
    /// A memfd can be changed, is too long, or is no configuration of this build's.
    Unfit,
    /// No frontend served with it: what was in force before is again.
    NotServed,
    /// The supervisor has no descriptor left.
    Resources,
}

/// The supervisor's end.
pub type SupervisorEnd = Channel<Answer, Order>;

/// The other one.
pub type OperatorEnd = Channel<Order, Answer>;

impl Order {
    /// How many descriptors come with it.
    pub fn descriptors(&self) -> usize {
        match self {
            Self::Show | Self::Status => 0,
            Self::Reload { key: Key::Kept, .. } => 2,
            Self::Reload { key: Key::Sent, .. } => 3,
        }
    }
}

impl Answer {
    /// How many descriptors come with it.
    pub fn descriptors(&self) -> usize {
        match self {
            Self::Shown => 2,
            Self::InForce(_) | Self::Refused(_) | Self::Status(_) => 0,
        }
    }
}
