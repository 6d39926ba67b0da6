//! `prn start`, and starting for `prn run`.

use std::time::Duration;

use prn_client::{Client, ClientError, Code, Limits, OutputPolicy, StartSpec, Started, mint_id};

use super::input::Input;
use super::{Failure, Remote};
use crate::command_line::split_words;
use crate::exit::{self, Exit};
use crate::{cli, fields, output};

/// How often a start is tried whose outcome is unknown.
const TRIES: u32 = 3;

/// Time between two tries: a frontend that is replaced takes less.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub async fn start(args: cli::Start) -> Result<Exit, Failure> {
    let input = Input::look(args.spec.no_stdin)?;
    let spec = spec(args.spec, OutputPolicy::DropOldest)?;
    let remote = Remote::new(args.connection)?;
    let first = remote.connect().await?;
    input.settle()?;
    let (_, started) = start_surely(&remote, first, &spec).await?;
    // Nobody else knows this id.
    let id = started.process.id;
    output::started(&started, args.output.output)
        .map_err(|source| Failure::StartedUnsaid { id, source })?;
    Ok(exit::OK)
}

/// What the command line asks for, under a new id if it names none.
pub fn spec(args: cli::Spec, policy: OutputPolicy) -> Result<StartSpec, Failure> {
    let argv = match args.line {
        Some(line) => split_words(&line).map_err(|why| Failure::Usage(why.to_owned()))?,
        None => args.argv,
    };
    if argv.first().is_none_or(String::is_empty) {
        return Err(Failure::Usage("the command is empty".to_owned()));
    }
    let limits = Limits {
        cpu_millis: args.cpu.map(|cpu| cpu.0),
        memory_bytes: args.memory.map(|size| size.0),
        io_read_bytes_per_second: args.io_read.map(|size| size.0),
        io_write_bytes_per_second: args.io_write.map(|size| size.0),
        pids: args.pids,
    };
    let id = args.id.map_or_else(mint_id, Ok)?;
    let mut spec = StartSpec::new(argv);
    spec.id = Some(id);
    spec.environment = args
        .env
        .into_iter()
        .map(|variable| (variable.name, variable.value))
        .collect();
    spec.working_directory = args.cwd.map(|directory| directory.0);
    spec.limits = limits;
    spec.best_effort_limits = args.best_effort_limits;
    spec.output_max = args.output_max.map(|size| size.0);
    spec.output_policy = args.output_policy.map_or(policy, OutputPolicy::from);
    spec.follow_timeout = args.reconnect.map(|time| time.0);
    if spec.follow_timeout.is_some() && spec.output_policy != OutputPolicy::Follow {
        let why = "--reconnect is of use with --output-policy follow alone";
        return Err(Failure::Usage(why.to_owned()));
    }
    spec.output_store = args.output_store.into();
    spec.timeout = args.timeout.map(|time| time.0);
    spec.stop_grace = args.grace.map(|time| time.0);
    spec.linger = args.linger;
    spec.profile = args.profile.into();
    Ok(spec)
}

/// Starts a process, again if it is unknown whether that worked, and warns of limits that are not
/// enforced.
///
/// Repeating is safe because the spec has an id: a server that has started it answers with the same
/// process. Only a server that was itself restarted in between would start it anew, and its
/// predecessor's processes are dead by then.
pub async fn start_surely(
    remote: &Remote,
    first: Client,
    spec: &StartSpec,
) -> Result<(Client, Started), Failure> {
    let mut client = Some(first);
    let mut unknown = false;
    let mut tries = 0;
    loop {
        tries += 1;
        let error = match start_once(remote, client.take(), spec).await {
            Ok((client, started)) => {
                warn(&started);
                return Ok((client, started));
            }
            Err(error) => error,
        };
        match error.refusal() {
            // The call was under way when a half of the server went away.
            Some(refusal) if refusal.code == Code::Unavailable => unknown |= error.is_transient(),
            // The server has answered, and knows.
            Some(_) => unknown = false,
            None => {
                unknown |= matches!(error, ClientError::Lost(_) | ClientError::NoAnswer { .. });
            }
        }
        if tries == TRIES || !error.is_transient() || (!unknown && error.refusal().is_none()) {
            return Err(match spec.id {
                Some(id) if unknown => Failure::StartUnknown { id, source: error },
                _ => error.into(),
            });
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

async fn start_once(
    remote: &Remote,
    client: Option<Client>,
    spec: &StartSpec,
) -> Result<(Client, Started), ClientError> {
    let client = match client {
        Some(client) => client,
        None => remote.connect().await?,
    };
    let started = client.start(spec).await?;
    Ok((client, started))
}

fn warn(started: &Started) {
    let not_enforced = &started.process.status.limits.not_enforced;
    if !not_enforced.is_empty() {
        output::notice(&format!(
            "warning: the server's host does NOT enforce {}",
            not_enforced
                .iter()
                .map(|name| fields::limit(name))
                .collect::<Vec<_>>()
                .join(", ")
        ));
    }
}
