//! `prn stop`.

use prn::client::State;

use super::{Failure, Remote};
use crate::exit::{self, Exit};
use crate::{cli, output};

pub async fn stop(args: cli::Stop) -> Result<Exit, Failure> {
    let client = Remote::new(args.connection)?.connect().await?;
    let process = client
        .stop(args.id, args.signal.into(), args.grace.map(|grace| grace.0))
        .await?;
    output::process(&process, args.output.output)?;
    match process.status.state {
        State::Stopped => Ok(exit::OK),
        State::Running => {
            let stuck: Vec<_> = process
                .status
                .stuck_tasks
                .iter()
                .map(|task| task.name.as_str())
                .collect();
            let which = if stuck.is_empty() {
                String::new()
            } else {
                format!(": {}", stuck.join(", "))
            };
            output::notice(&format!(
                "process {} could not be stopped yet{which}",
                args.id
            ));
            Ok(exit::ERROR)
        }
    }
}
