//! `prn-agent`: what a host of a fleet has beside its prn server. It announces the host, claims jobs
//! that fit, starts them on the server and says in etcd how they end.
//!
//! An ordinary client of both, unprivileged, with one certificate of its own: the server pins it, and
//! the authority of etcd has signed it. It trusts the server as any client does. Of what is in etcd it
//! believes no more than that somebody may want it started: the server's root half decides.
//!
//! [`run`] is the order of the start.

mod agent;
mod claiming;
mod daemon;
mod fatal;
mod held;
mod keeper;
mod options;
mod outcome;
mod queue;
mod repeated;
mod server;
mod shared;
mod tidying;

use std::process::ExitCode;
use std::rc::Rc;

use prn_service::log;

use crate::fatal::Fatal;
use crate::options::Options;
use crate::shared::Shared;

fn main() -> ExitCode {
    log::of("prn-agent");
    let code = match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            log::error(&fatal);
            ExitCode::FAILURE
        }
    };
    log::finish();
    code
}

fn run() -> Result<(), Fatal> {
    let options = Options::of_process()?;
    let fleet = options.fleet()?;
    let daemon = options.daemon()?;
    let host = options.host()?;
    let shared = Rc::new(Shared::new(fleet, daemon, host, &options));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, agent::serve(shared))
}
