//! What the daemon watches beside processes, by its names in the event loop. Runs in the supervisor.

use crate::events::Token;

/// The signals that tell it to stop.
pub(crate) const SIGNALS: Token = Token(0);

/// The channel to the frontend.
pub(crate) const CHANNEL: Token = Token(1);

/// The frontend's end.
pub(crate) const FRONTEND: Token = Token(2);

/// The writer of the audit has ended.
pub(crate) const AUDIT: Token = Token(6);

/// What the frontend says of itself.
pub(crate) const LOG: Token = Token(3);

/// The socket that root orders a reload on.
pub(crate) const CONTROL: Token = Token(4);

/// Who came to it last.
pub(crate) const OPERATOR: Token = Token(5);
