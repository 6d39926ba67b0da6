//! What binds a token to what it was given for.

use ring::digest::{Context, SHA256};

/// 16 hexadecimal digits that differ where one of these does.
pub fn digest(parts: &[&[u8]]) -> String {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let digest = context.finish();
    let bytes = digest.as_ref().iter().take(8);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}
