//! `prn rotate`: another key and certificate, of the server or of a client, in steps that can be
//! repeated, and without a moment in which nobody is let in.
//!
//! Runs as the operator on the server's machine, and as the user on a client's. What is to come is
//! made beside what there is, handed out to the other side while all goes on as it was, and only
//! then takes its place.

mod client;
pub mod pair;
mod server;
mod step;

use clap::{Args, Subcommand};

use crate::exit::Exit;
use crate::failure::Failure;

/// Replace a key and its certificate, without a moment in which nobody is let in
///
/// Alone it makes the next ones beside those that there are, and says what the other side has to do
/// before --finish puts them in their places. Nothing changes before that. Each step says what
/// comes next, and one that was interrupted is done again by the same command.
#[derive(Debug, Args)]
pub struct Rotate {
    /// Whose.
    #[command(subcommand)]
    pub side: Side,
}

/// Whose key it is.
#[derive(Debug, Subcommand)]
pub enum Side {
    Server(server::RotateServer),
    Client(Box<client::RotateClient>),
}

/// Does what is asked.
pub async fn rotate(args: Rotate) -> Result<Exit, Failure> {
    match args.side {
        Side::Server(args) => server::rotate(&args),
        Side::Client(args) => client::rotate(*args).await,
    }
}
