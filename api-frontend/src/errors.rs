//! Every error that a client can see: a gRPC code with google.rpc details. Pure, but that faults
//! of the server are logged.
//!
//! The code follows gRPC's conventions; `ErrorInfo.reason` ([`prn_proto::reason`]) is the stable
//! name that programs look at. A message repeats what the client itself sent and never holds errno
//! texts or paths of this host.
//!
//! - [`violations`]: faults of a request's fields.
//! - [`access`]: what the policy says no to.
//! - [`refusal`], [`exec`], [`path`], [`process`], [`profile`], [`workspace`]: what the supervisor says no to.
//! - [`signature`]: what it says no to of a start's signature.
//! - [`input`]: what ends a stream of input.
//! - [`full`]: there are as many of something as may be.
//! - [`call`]: what can end any call, and what ends a stream of output.

mod access;
mod build;
mod call;
mod exec;
mod full;
mod input;
mod path;
mod process;
mod profile;
mod refusal;
mod signature;
mod violations;
mod workspace;

pub use access::denied;
pub use build::removed_before;
pub use call::{
    by_transport, deadline_exceeded, draining, internal, no_service, not_taken, offset_beyond_end,
    output_lost, restarting, watch_behind,
};
pub use exec::Asked;
pub use full::{
    too_many_connections, too_many_inputs, too_many_inputs_of_connection, too_many_selected,
    too_many_subscribers, too_many_waits, too_many_watches,
};
pub use input::{
    input_ended, input_in_use, input_misplaced, input_silent, input_stalled, input_taken_over,
    unwritable,
};
pub use process::{
    main_process_ended, name_taken, process_ended, process_not_found, process_running,
};
pub use refusal::{failed, workspace_failed};
pub use workspace::workspace_not_found;
