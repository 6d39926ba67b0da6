//! Receipts: what became of a process, signed with a key that this program alone holds. Runs in the
//! supervisor.
//!
//! The key is made at the start, for this run, and is nowhere else. What it signs are the bytes that
//! docs/receipts.md describes, made here of what this program knows.

use prn_ipc_protocol::message::{ProcessInfo, Receipt};
use prn_ipc_protocol::netstring::Writer;
use prn_ipc_protocol::types::{Digest, Id};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};

/// First line of what is signed. Another form gets another number.
const HEADER: &str = "prn-receipt-1";

/// The key of this run.
#[derive(Debug)]
pub struct Key(Ed25519KeyPair);

impl Key {
    /// A new one. To be called before the system call filter is closed: getrandom(2).
    ///
    /// # Errors
    /// The kernel gives no random bytes.
    pub fn new() -> Result<Self, ring::error::Unspecified> {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed);
        pair.map(Self).map_err(|_| ring::error::Unspecified)
    }

    /// Its public half, in hexadecimal digits.
    pub fn public(&self) -> String {
        hex(self.0.public_key().as_ref())
    }

    /// The same as bytes.
    pub fn public_bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(self.0.public_key().as_ref()) {
            *to = *from;
        }
        bytes
    }

    /// The receipt of a process that has ended, started with this digest in this run.
    pub fn receipt(&self, epoch: Id, info: &ProcessInfo, digest: Digest) -> Receipt {
        let body = self.body(epoch, info, digest);
        Receipt {
            signature: self.0.sign(&body).as_ref().to_vec(),
            body,
        }
    }

    fn body(&self, epoch: Id, info: &ProcessInfo, digest: Digest) -> Vec<u8> {
        let mut writer = Writer::new(HEADER);
        writer.text("key", self.public());
        writer.text("epoch", epoch.to_string());
        writer.text("id", info.id.to_string());
        writer.text("digest", digest.to_string());
        let principal = info.started_by.as_ref().map(|name| name.as_str());
        writer.optional("asserted-principal", principal);
        writer.text("uid", info.uid.to_string());
        writer.text("started", info.started.0.to_string());
        let limits = info.limits.in_force.iter();
        writer.list("limits", limits.flat_map(|file| [&file.name, &file.text]));
        let exit = info.main_exit;
        writer.optional("cause", exit.map(|exit| format!("{:?}", exit.cause)));
        writer.optional("status", exit.map(|exit| format!("{:?}", exit.status)));
        let end = info.end.as_ref();
        writer.optional("ended", end.map(|end| end.at.0.to_string()));
        let usage = end.into_iter().flat_map(|end| &end.usage);
        writer.list("usage", usage.flat_map(|file| [&file.name, &file.text]));
        let output = end.map(|end| end.output).unwrap_or_default();
        writer.text("stdout-bytes", output.stdout.to_string());
        writer.text("stderr-bytes", output.stderr.to_string());
        writer.text("dropped-bytes", output.first.to_string());
        writer.finish()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
