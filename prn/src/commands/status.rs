//! `prn status`.

use super::{Failure, Remote};
use crate::exit::{self, Exit};
use crate::{cli, output};

pub async fn status(args: cli::Status) -> Result<Exit, Failure> {
    let process = Remote::new(args.connection)?
        .connect()
        .await?
        .status(args.id)
        .await?;
    output::process(&process, args.output.output)?;
    Ok(exit::OK)
}
