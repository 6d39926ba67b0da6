//! Whatever stands in a half's configuration memfd is refused, or is the one form of a valid
//! configuration. The first byte chooses the half.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prn_fuzz::decodes_canonically;
use prn_ipc_protocol::config;

fuzz_target!(|input: &[u8]| {
    match input.split_first() {
        Some((half, bytes)) if half % 2 == 0 => decodes_canonically::<config::Supervisor>(bytes),
        Some((_, bytes)) => decodes_canonically::<config::Frontend>(bytes),
        None => {}
    }
});
