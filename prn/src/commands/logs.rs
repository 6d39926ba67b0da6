//! `prn logs`.

use futures_util::future::join_all;
use prn_client::{Client, ClientError, OutputRequest, ProcessId, Source, Tail};
use prn_proto::units::SizeOrZero;

use super::follow::{Follower, pass_on};
use super::{Failure, Remote};
use crate::exit::{self, Exit};
use crate::output::{Chunk, Lines, Relay};
use crate::{cli, output};

/// Fewest digits of an id that stand before a line.
const LABEL_MIN: usize = 8;

pub async fn logs(args: cli::Logs) -> Result<Exit, Failure> {
    let ids = each_once(&args.ids);
    if ids.len() > 1 && args.offset.is_some() {
        return Err(Failure::Usage(
            "--offset is a place in the output of one process".to_owned(),
        ));
    }
    let tail = args
        .tail
        .map(Tail::Lines)
        .or(args.tail_bytes.map(|SizeOrZero(bytes)| Tail::Bytes(bytes)));
    let only = match (args.stdout, args.stderr) {
        (true, _) => Some(Source::Stdout),
        (false, true) => Some(Source::Stderr),
        (false, false) => None,
    };
    let request = OutputRequest {
        from: args.offset.unwrap_or(0),
        no_follow: args.no_follow,
        since: args.since.map(|since| since.0),
        until: args.until.map(|until| until.0),
        tail,
        only,
        follower: false,
    };
    let remote = Remote::new(args.connection)?;
    let client = remote.connect().await?;
    let relay = Relay::start(only.unwrap_or(Source::Stdout))?;
    match *ids {
        [id] => one(&remote, client, id, request, args.timestamps, relay).await,
        _ => several(&remote, &client, &ids, request, args.timestamps, relay).await,
    }
}

async fn one(
    remote: &Remote,
    client: Client,
    id: ProcessId,
    request: OutputRequest,
    timestamps: bool,
    mut relay: Relay,
) -> Result<Exit, Failure> {
    let lines = timestamps.then(|| Lines::new(None, true));
    let mut follower = Follower::new(remote, client, id, request);
    let ended = tokio::select! {
        biased;
        ended = pass_on(&mut follower, &relay, lines, None) => Some(ended),
        () = relay.failed() => None,
    };
    // What stopped the writing comes before what that made of the reading.
    relay.finish().await?;
    let Some(ended) = ended else {
        return Ok(exit::ERROR);
    };
    Ok(code(ended?.gap))
}

/// Several at once, each line with its process's label. What fails with one does not end the
/// others; the exit code is the highest of all.
async fn several(
    remote: &Remote,
    client: &Client,
    ids: &[ProcessId],
    request: OutputRequest,
    timestamps: bool,
    mut relay: Relay,
) -> Result<Exit, Failure> {
    let length = label_length(ids);
    let each = |id: ProcessId| {
        let (relay, client) = (&relay, client.clone());
        async move {
            let label: String = id.to_string().chars().take(length).collect();
            let lines = Lines::new(Some(label.clone()), timestamps);
            let mut follower = Follower::new(remote, client, id, request);
            match pass_on(&mut follower, relay, Some(lines), Some(&label)).await {
                Ok(ending) => code(ending.gap),
                Err(error) => tell(relay, &label, error).await,
            }
        }
    };
    let codes = tokio::select! {
        biased;
        codes = join_all(ids.iter().copied().map(each)) => codes,
        () = relay.failed() => Vec::new(),
    };
    relay.finish().await?;
    Ok(codes
        .into_iter()
        .max_by_key(|exit| exit.0)
        .unwrap_or(exit::ERROR))
}

/// Says what failed with one of several, among the lines of the others.
async fn tell(relay: &Relay, label: &str, error: ClientError) -> Exit {
    let failure = Failure::from(error);
    let line = format!(
        "{label}: {}",
        output::error_line(&failure, failure.hint().as_deref())
    );
    if let Some(room) = relay.room().await {
        room.send(Chunk::Notice(line));
    }
    failure.exit()
}

/// Without an end frame only where none was asked to be waited for; anything else is an error.
fn code(gap: bool) -> Exit {
    if gap { exit::OUTPUT_GAP } else { exit::OK }
}

fn each_once(ids: &[ProcessId]) -> Vec<ProcessId> {
    let mut once = Vec::with_capacity(ids.len());
    for id in ids {
        if !once.contains(id) {
            once.push(*id);
        }
    }
    once
}

/// How many digits tell the ids apart.
fn label_length(ids: &[ProcessId]) -> usize {
    let mut sorted: Vec<_> = ids.iter().map(ProcessId::to_string).collect();
    sorted.sort();
    let common = |pair: &[String]| match pair {
        [a, b] => a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count(),
        _ => 0,
    };
    sorted
        .windows(2)
        .map(|pair| common(pair) + 1)
        .fold(LABEL_MIN, usize::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(start: &str) -> ProcessId {
        format!("{start:0<32}").parse().unwrap()
    }

    #[test]
    fn labels_are_as_long_as_it_takes_to_tell_them_apart() {
        assert_eq!(label_length(&[id("a"), id("b")]), 8);
        assert_eq!(
            label_length(&[id("fcd2310e7b"), id("a"), id("fcd2310e7c")]),
            10
        );
        assert_eq!(
            label_length(&[id("0"), id("00000000000000000000000000000001")]),
            32
        );
        assert_eq!(each_once(&[id("b"), id("a"), id("b")]), [id("b"), id("a")]);
    }
}
