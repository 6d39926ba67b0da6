//! Names that a client makes up: of processes, and of those who write their input.

use prn_proto::id::ProcessId;
use ring::rand::{SecureRandom, SystemRandom};

use crate::error::ClientError;

/// A new name for a process.
///
/// # Errors
/// If the kernel has no random bytes.
pub fn mint_id() -> Result<ProcessId, ClientError> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| ClientError::Protocol("the kernel gives no random bytes for an id"))?;
    Ok(ProcessId::from_bytes(bytes))
}

/// A new name for a writer of input: 32 lower-case hexadecimal digits, 128 random bits.
///
/// # Errors
/// If the kernel has no random bytes.
pub fn mint_writer() -> Result<String, ClientError> {
    // The same form as that of a process's id.
    Ok(mint_id()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_minted_name_is_new() {
        assert_ne!(mint_id().unwrap(), mint_id().unwrap());
        assert_ne!(mint_writer().unwrap(), mint_writer().unwrap());
    }
}
