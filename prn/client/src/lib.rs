//! Client library for prn, a remote process runner: start a command on another Linux machine,
//! leave, come back from anywhere, read all of its output, know exactly how it ended, and stop all
//! of it.
//!
//! - [`Client`]: a connection, and the calls on it.
//! - [`InputWriter`]: a process's standard input, which goes on where it was when a connection is
//!   lost. [`OutputStream::resume`] is its counterpart for output.
//! - [`credentials`]: certificates and keys from files and the environment.
//!
//! The server is reached over TLS 1.3. Each side has one self-signed Ed25519 certificate, and pins
//! that of the other: no name and no authority is involved. `prn keygen` makes them.
//!
//! ```no_run
//! use prn_client::{Client, Event, OutputRequest, StartSpec};
//! use prn_client::credentials::{Credentials, KeySource};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let key = KeySource::File("client.key".into());
//! let credentials = Credentials::load("client.pem".as_ref(), &key, "server.pem".as_ref())?;
//! let client = Client::connect("127.0.0.1:50051", &credentials).await?;
//!
//! let started = client.start(&StartSpec::new(["uname", "-a"])).await?;
//! let mut output = client.output(started.process.id, OutputRequest::default()).await?;
//! while let Some(event) = output.next().await? {
//!     match event {
//!         Event::Data { data, .. } => println!("{} bytes", data.len()),
//!         Event::Gap { from, to } => println!("bytes {from}..{to} were dropped"),
//!         Event::End(end) => println!("{:?}", end.exit),
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod access;
mod channel;
mod choices;
mod client;
pub mod credentials;
mod digest;
mod error;
#[cfg(feature = "clap")]
mod flags;
mod frames;
mod identity;
mod input;
mod input_writer;
#[cfg(feature = "serde")]
mod json;
mod lifetime;
mod limits;
mod list;
mod metrics;
mod mint;
mod paths;
mod process;
mod receipt;
mod remove;
mod selector;
mod server;
mod several;
mod signal;
mod signing;
mod start;
mod subscription;
mod transport;
mod update;
mod usage;
mod wait;
mod watch;
mod wire;
mod workspace;

pub use access::{Access, AccessQuestion, Reach, Startable, Verb};
pub use channel::SecureChannel;
pub use choices::{DiskEnforcement, Layer, OutputPolicy, OutputStore, Profile, StopSignal};
pub use client::{CALL_TIMEOUT, CONNECT_TIMEOUT, Client};
pub use error::{Cause, ClientError, ExecFailure, ServerError};
pub use input::{
    INPUT_PIECE_MAX, InputAnswer, InputKind, InputOpening, InputPiece, StandardInput, TerminalSize,
};
pub use input_writer::{INPUT_KEPT, InputWriter};
pub use lifetime::{Lease, Retention};
pub use limits::{AppliedLimits, Limits};
pub use list::{ListRequest, Pages};
pub use metrics::{MetricFamily, MetricKind, MetricSample, Metrics};
pub use mint::{mint_id, mint_writer};
pub use paths::PathRule;
pub use prn_proto::Tail;
pub use prn_proto::defaults::{FOLLOW_TIMEOUT, STOP_GRACE};
pub use prn_proto::id::{InvalidProcessId, ProcessId};
pub use prn_proto::reason;
pub use prn_proto::units::{Binding, Label, Variable, When};
pub use process::{
    Exit, ExitKind, LeftBehind, OutputStatus, Process, ProcessStatus, SignedBy, StartSteps, State,
    StopStatus, StuckTask, Usage,
};
pub use receipt::Receipt;
pub use remove::RemovedProcesses;
pub use selector::{InvalidSelector, LabelIs, LabelMatch, LabelSelector, Outcome, Selector};
pub use server::{ServerInfo, SignedStarts};
pub use several::Processes;
pub use signal::Target;
pub use signing::SignedStart;
pub use start::{StartSpec, Started};
pub use subscription::{Event, OutputEnd, OutputRequest, OutputStream, Source, Truncated};
pub use tonic::Code;
pub use update::{NewLease, Update};
pub use usage::{Pressure, ProcessUsage, Usages};
pub use wait::{WaitCondition, WaitRequest, Waited};
pub use watch::{Change, Watch, WatchRequest};
pub use workspace::{Removed, StopProcesses, Workspace};
