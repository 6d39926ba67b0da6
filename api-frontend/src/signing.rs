//! Whether the process that signs handshakes does, where the key is in a token.
//!
//! While it does not, nobody gets in, so nobody new can ask why. Those who are there can, by
//! GetMetrics; and the log has a line at each change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prn_api_frontend::log;
use prn_proto::signer::Remote;

/// What signs, and what was said of it.
#[derive(Debug)]
pub struct Signing {
    remote: Arc<Remote>,
    /// The log says that it signs. Of one that was never asked it says nothing.
    is_said_to_sign: AtomicBool,
}

impl Signing {
    /// It has made a signature when the server was started.
    pub fn new(remote: Arc<Remote>) -> Self {
        Self {
            remote,
            is_said_to_sign: AtomicBool::new(true),
        }
    }

    /// How many signatures were not made.
    pub fn failures(&self) -> u64 {
        self.remote.failures()
    }

    /// Whether it signs ([`Remote::signs`]). If that has changed, the log gets a line.
    pub fn tell(&self) -> bool {
        let signs = self.remote.signs();
        match (self.is_said_to_sign.swap(signs, Ordering::Relaxed), signs) {
            (true, false) => log::error(
                "prn-signer does not sign: nobody new gets in, who is connected stays. Look at its token, then start another one with `prn server reload`",
                &[],
            ),
            (false, true) => log::info("prn-signer signs again: clients get in", &[]),
            (true, true) | (false, false) => {}
        }
        signs
    }
}
