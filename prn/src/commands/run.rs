//! `prn run`: start, follow, exit as the process did.

use std::io;

use prn::client::{ClientError, OutputRequest, StopSignal};

use super::follow::{Follower, Interrupts, follow};
use super::start::{spec, start_surely};
use super::{Failure, Remote};
use crate::exit::Exit;
use crate::{cli, output};

pub async fn run(args: cli::Run) -> Result<Exit, Failure> {
    let spec = spec(args.spec)?;
    let remote = Remote::new(args.connection)?;
    let first = remote.connect().await?;
    // From here on a process may exist, and a signal must not leave it behind.
    let mut interrupts = Interrupts::take()?;
    let mut interrupted = false;
    let started = {
        let mut starting = std::pin::pin!(start_surely(&remote, first, &spec));
        loop {
            tokio::select! {
                biased;
                count = interrupts.next() => match (count, spec.id) {
                    (1, _) | (_, None) => interrupted = true,
                    (_, Some(id)) => return Err(Failure::Left(id)),
                },
                started = &mut starting => break started?,
            }
        }
    };
    let (client, started) = started;
    let id = started.process.id;
    let mut follower = Follower::new(&remote, client.clone(), id, OutputRequest::default(), true);
    let ending = match follow(&mut follower, Some(&mut interrupts), interrupted).await {
        Ok(ending) => ending,
        Err(failure) if failure.is_silent() => {
            drop(follower);
            // As in a local pipeline: a program whose reader has gone is ended. SIGPIPE would have done it there.
            stop_quietly(&client, id, &mut interrupts).await?;
            return Err(Failure::Local(io::ErrorKind::BrokenPipe.into()));
        }
        Err(failure) => return Err(failure),
    };
    let exit = ending.end.and_then(|end| end.exit);
    if let Some(exit) = &exit
        && exit.kind != prn::client::ExitKind::Exited
    {
        output::notice(&format!("process {id}: {}", output::show_exit(exit)));
    }
    exit.and_then(|exit| exit.shell_status()).map(Exit).ok_or(Failure::ExitUnknown(id))
}

async fn stop_quietly(
    client: &prn::client::Client,
    id: prn::client::ProcessId,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    tokio::select! {
        biased;
        _ = interrupts.next() => Err(Failure::Left(id)),
        stopped = client.stop(id, StopSignal::Term, None) => match stopped {
            Ok(_) | Err(ClientError::Refused(_)) => Ok(()),
            Err(error) => Err(error.into()),
        },
    }
}
