//! `prn list`.

use super::{Failure, Remote};
use crate::exit::{self, Exit};
use crate::{cli, output};

pub async fn list(args: cli::List) -> Result<Exit, Failure> {
    let processes = Remote::new(args.connection)?
        .connect()
        .await?
        .list()
        .await?;
    output::processes(&processes, args.output.output)?;
    Ok(exit::OK)
}
