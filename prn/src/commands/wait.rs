//! `prn wait`.

use std::io;
use std::time::{Duration, SystemTime};

use clap::Args;
use prn_client::{ClientError, Process, ProcessId, WaitCondition, WaitRequest};
use prn_proto::units::{Time, show_duration};
use tokio::time::Instant;

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::lasting::waiting::Waiting;
use crate::output;
use crate::which::connection::{Connection, Remote};
use crate::which::targets::{Target, Targets};

/// Wait until processes have ended, and exit as they did
///
/// For one process: its exit code is printed, and is that of prn, as of `prn run`. For several: a line
/// for each as it ends, the process as it was named and its code; prn exits with 0 if all did, else with
/// the code of the first that did not. A connection that is lost is made again.
#[derive(Debug, Args)]
pub struct Wait {
    /// Which processes. With -l: those that there are now, also those that have ended.
    #[command(flatten)]
    pub targets: Targets,
    /// Wait for the first of them alone, and exit as it did
    #[arg(long)]
    pub any: bool,
    /// Give up after this time, with the exit code 124; the processes go on
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Time>,
    /// Wait for the main process alone, not for what it has started and left
    #[arg(long)]
    pub main: bool,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

pub async fn wait(args: Wait) -> Result<Exit, Failure> {
    let end = args
        .timeout
        .map(|Time(timeout)| (timeout, Instant::now() + timeout));
    let remote = Remote::new(args.connection)?;
    let client = remote.connect().await?;
    let found = args.targets.find(&client, None).await?;
    if found.targets.is_empty() && args.targets.selector.is_some() {
        // It was said that there are none.
        return Ok(exit::RUN_FAILED);
    }
    let is_one = found.targets.len() == 1 && args.targets.ids.len() == 1;
    let mut left = Left {
        targets: found.targets.clone(),
        is_one,
        first: exit::OK,
    };
    if found.exit != exit::OK {
        left.first = exit::RUN_FAILED;
    }
    let mut waiting = Waiting::new(&remote, client);
    while !left.targets.is_empty() {
        let mut request = WaitRequest::default();
        request.processes = left.targets.iter().map(|target| target.id).collect();
        // Each is told of as it ends.
        request.any = true;
        if args.main {
            request.condition = WaitCondition::MainExited;
        }
        let waited = match end {
            None => waiting.wait(&request).await,
            Some((timeout, end)) => {
                match tokio::time::timeout_at(end, waiting.wait(&request)).await {
                    Ok(waited) => waited,
                    Err(_) => return Ok(left.timed_out(timeout)),
                }
            }
        };
        let mut waited = waited.map_err(|error| left.lost(error))?;
        if args.any {
            waited.processes.sort_by_key(end_of);
            waited.processes.truncate(1);
        }
        for process in &waited.processes {
            left.ended(process)?;
        }
        for id in &waited.removed {
            left.removed(*id)?;
        }
        if args.any && !(waited.processes.is_empty() && waited.removed.is_empty()) {
            break;
        }
    }
    Ok(left.first)
}

/// When there was no more to wait for.
fn end_of(process: &Process) -> Option<SystemTime> {
    let status = &process.status;
    status.ended_at.or(status.main_exited_at)
}

/// Those that are still waited for.
struct Left {
    targets: Vec<Target>,
    /// It is one alone, which needs no name.
    is_one: bool,
    /// The first code that was not 0.
    first: Exit,
}

impl Left {
    fn take(&mut self, id: ProcessId) -> Option<Target> {
        let at = self.targets.iter().position(|target| target.id == id)?;
        Some(self.targets.remove(at))
    }

    fn ended(&mut self, process: &Process) -> io::Result<()> {
        let Some(target) = self.take(process.id) else {
            return Ok(());
        };
        let status = &process.status;
        let code = Exit::of_process(status.exit.as_ref(), status.left_behind);
        match code {
            Some(code) => self.tell(&target, &code.0.to_string())?,
            None => self.tell(&target, "unknown")?,
        }
        self.note(code.unwrap_or(exit::RUN_FAILED));
        Ok(())
    }

    fn removed(&mut self, id: ProcessId) -> io::Result<()> {
        let Some(target) = self.take(id) else {
            return Ok(());
        };
        output::notice(&format!(
            "{} was removed while it was waited for: nobody knows how it ended",
            target.shown
        ));
        self.tell(&target, "unknown")?;
        self.note(exit::RUN_FAILED);
        Ok(())
    }

    fn tell(&self, target: &Target, code: &str) -> io::Result<()> {
        let line = if self.is_one {
            code.to_owned()
        } else {
            format!("{} {code}", target.shown)
        };
        output::told(&line).map(|_| ())
    }

    fn note(&mut self, code: Exit) {
        if self.first == exit::OK {
            self.first = code;
        }
    }

    fn timed_out(&self, timeout: Duration) -> Exit {
        let names: Vec<_> = self
            .targets
            .iter()
            .map(|target| target.shown.as_str())
            .collect();
        output::notice(&format!(
            "not ended within {}: {}",
            show_duration(timeout),
            output::some_of(&names)
        ));
        exit::RUN_TIMED_OUT
    }

    /// What a wait that failed is to be called.
    fn lost(&self, error: ClientError) -> Failure {
        match (&error, self.targets.first()) {
            (ClientError::ProcessLost, Some(target)) => Failure::Lost {
                which: target.shown.clone(),
                more: self.targets.len().saturating_sub(1),
            },
            _ => error.into(),
        }
    }
}
