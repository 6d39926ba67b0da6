//! Whatever arrives as the supervisor's reply or event is refused, or is the one form of a valid
//! one (I1, I2).
#![no_main]

use libfuzzer_sys::fuzz_target;
use prn_fuzz::decodes_canonically;
use prn_ipc_protocol::message::FromSupervisor;

fuzz_target!(|bytes: &[u8]| decodes_canonically::<FromSupervisor>(bytes));
