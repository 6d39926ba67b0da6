//! `prn logs`.

use prn::client::OutputRequest;

use super::follow::{Follower, follow};
use super::{Failure, Remote};
use crate::cli;
use crate::exit::{self, Exit};

pub async fn logs(args: cli::Logs) -> Result<Exit, Failure> {
    let remote = Remote::new(args.connection)?;
    let client = remote.connect().await?;
    let request = OutputRequest { from: args.offset, no_follow: args.no_follow };
    let ending = follow(&mut Follower::new(&remote, client, args.id, request, false), None, false).await?;
    // Without an end frame only where none was asked to be waited for; anything else is an error above.
    Ok(if ending.gap { exit::OUTPUT_GAP } else { exit::OK })
}
