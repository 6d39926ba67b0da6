//! Receipts: what became of a process, signed with a key that this program alone holds. Runs in the
//! supervisor.
//!
//! The key is made at the start, for this run, and is nowhere else. What it signs are the bytes
//! that docs/receipts.md describes, made here of what this program knows.

use prn_ipc_protocol::message::{ProcessInfo, Receipt};
use prn_ipc_protocol::netstring::Writer;
use prn_ipc_protocol::types::{Digest, Id};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::audit::words;

/// First line of what is signed. Another form gets another number.
const HEADER: &str = "prn-receipt-2";

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
        let user = info.spec.user.as_ref();
        writer.optional("user", user.map(|name| name.as_str()));
        writer.text("started", info.started.0.to_string());
        let limits = info.limits.in_force.iter();
        writer.list("limits", limits.flat_map(|file| [&file.name, &file.text]));
        let exit = info.main_exit;
        writer.optional("cause", exit.map(|exit| words::cause(exit.cause)));
        let status = exit.map(|exit| words::status(exit.status));
        let status = status.as_ref();
        let number = |number: u8| number.to_string();
        let yes_or_no = |is_so| if is_so { "yes" } else { "no" };
        writer.optional("status", status.map(|status| status.word));
        let code = status.and_then(|status| status.exit_code);
        writer.optional("exit-code", code.map(number));
        let signal = status.and_then(|status| status.signal);
        writer.optional("signal", signal.map(number));
        let core_dumped = status.and_then(|status| status.core_dumped);
        writer.optional("core-dumped", core_dumped.map(yes_or_no));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::tests::info;
    use prn_ipc_protocol::message::{End, ExitCause, ExitStatus, FileText, MainExit, OutputTotals};
    use prn_ipc_protocol::types::{ProcessId, UnixMicros};
    use ring::signature::{ED25519, UnparsedPublicKey};

    #[test]
    fn a_receipt_has_its_bytes_and_they_are_signed() {
        let key = Key(Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap());
        let file = |name: &str, text: &str| FileText {
            name: name.to_owned(),
            text: text.to_owned(),
        };
        let mut info = info(ProcessId::from_bytes([7; 16]));
        info.started_by = Some("anna".to_owned().try_into().unwrap());
        info.limits.in_force = vec![file("pids.max", "5\n")];
        let mut receipt = key.receipt(Id::from_bytes([1; 16]), &info, Digest([0xab; 32]));
        let never_ran = String::from_utf8(receipt.body).unwrap();
        let none = "cause -\nstatus -\nexit-code -\nsignal -\ncore-dumped -\nended -\nusage *0\n";
        assert!(never_ran.contains(none), "{never_ran}");
        info.main_exit = Some(MainExit {
            status: ExitStatus::Signalled {
                signal: 11,
                core_dumped: true,
            },
            cause: ExitCause::Signalled,
            at: UnixMicros(2),
        });
        info.end = Some(End {
            at: UnixMicros(3),
            usage: vec![file("pids.peak", "2\n")],
            output: OutputTotals {
                stdout: 4,
                stderr: 5,
                first: 6,
                ..OutputTotals::default()
            },
        });
        receipt = key.receipt(Id::from_bytes([1; 16]), &info, Digest([0xab; 32]));
        let expected = format!(
            "prn-receipt-2\nkey 64:{}\nepoch 32:{}\nid 32:{}\ndigest 64:{}\nasserted-principal 4:anna\n\
             uid 1:1\nuser -\nstarted 1:1\nlimits *2\n8:pids.max\n2:5\n\ncause 9:signalled\nstatus 9:signalled\n\
             exit-code -\nsignal 2:11\ncore-dumped 3:yes\nended 1:3\nusage *2\n9:pids.peak\n2:2\n\n\
             stdout-bytes 1:4\nstderr-bytes 1:5\ndropped-bytes 1:6\n",
            key.public(),
            "01".repeat(16),
            "07".repeat(16),
            "ab".repeat(32)
        );
        assert_eq!(String::from_utf8(receipt.body.clone()).unwrap(), expected);
        let public = UnparsedPublicKey::new(&ED25519, key.public_bytes());
        public.verify(&receipt.body, &receipt.signature).unwrap();
    }
}
