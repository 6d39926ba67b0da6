//! `prn mcp`.

use std::rc::Rc;

use clap::Args;
use prn_client::Client;
use prn_proto::units::Time;
use rmcp::ServiceExt;
use rmcp::service::QuitReason;
use rmcp::transport::stdio;
use tokio::task::LocalSet;

use crate::calls::session::Session;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::interrupts::{Interrupt, Interrupts};
use crate::mcp::keeper::Keeper;
use crate::mcp::server::Server;
use crate::mcp::tools::Offer;
use crate::which::connection::{Connection, Remote};

/// Serve an agent on standard input and output (Model Context Protocol)
///
/// The agent's program starts `prn mcp` and gets tools to run commands on the server, to look at
/// processes, read their output in parts, wait for and stop them, and to read and write files in
/// workspaces. What it starts has the label started-by=prn-mcp and a lease, and ends with the agent.
/// docs/agents.md has the tools, and how to set agents up.
#[derive(Debug, Args)]
pub struct Mcp {
    /// Offer those tools alone that change nothing
    #[arg(long)]
    pub read_only: bool,
    /// Do all in this workspace: what is not in it does not exist
    #[arg(short = 'w', long, value_name = "NAME")]
    pub workspace: Option<String>,
    /// What was started ends so long after the agent has, where that could not be done at once
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub lease: Time,
    /// Let what was started go on when the agent has ended
    #[arg(long, conflicts_with = "lease")]
    pub keep_processes: bool,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

pub async fn mcp(args: Mcp) -> Result<Exit, Failure> {
    let remote = Remote::new(args.connection)?;
    let client = remote.connect().await?;
    if let Some(name) = &args.workspace {
        known(&client, name).await?;
    }
    let offer = Offer {
        read_only: args.read_only,
        confined: args.workspace.is_some(),
    };
    let session = Rc::new(Session::new(remote, client, args.workspace));
    let lease = (!args.keep_processes).then_some(args.lease.0);
    let keeper = Keeper::new(Rc::clone(&session), lease)?;
    let keeper = Rc::new(keeper);
    let server = Server::new(session, Rc::clone(&keeper), offer);
    LocalSet::new().run_until(serve(server, &keeper)).await
}

/// Until the agent has ended, or a signal has come.
async fn serve(server: Server, keeper: &Keeper) -> Result<Exit, Failure> {
    let mut interrupts = Interrupts::take()?;
    let served = async {
        let running = server
            .serve(stdio())
            .await
            .map_err(|error| broken(&error))?;
        match running.waiting().await {
            Ok(QuitReason::Closed | QuitReason::Cancelled) => Ok(()),
            Ok(other) => Err(broken(&format!("{other:?}"))),
            Err(error) => Err(broken(&error)),
        }
    };
    let served = tokio::select! {
        served = served => served,
        () = keeper.run() => Ok(()),
        _ = interrupts.next() => Ok(()),
    };
    let left = async { while interrupts.next().await != Interrupt::Leave {} };
    tokio::select! {
        () = keeper.stop_all() => {}
        () = left => {}
    }
    served.map(|()| exit::OK)
}

fn broken(error: &impl std::fmt::Display) -> Failure {
    Failure::Agent(error.to_string())
}

/// A workspace that is not there is said at once.
async fn known(client: &Client, name: &str) -> Result<(), Failure> {
    let workspaces = client.list_workspaces().await?;
    if workspaces.iter().any(|workspace| workspace.name == name) {
        return Ok(());
    }
    Err(Failure::NoWorkspace(name.to_owned()))
}
