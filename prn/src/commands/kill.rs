//! `prn kill`.

use std::ffi::OsString;

use clap::Args;
use prn_client::{Client, LabelSelector, State, Target};

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::output;
use crate::typed::signal::{self, SignalNumber};
use crate::which::connection::{Connection, Remote};
use crate::which::hosts::{Host, Hosts, Servers};
use crate::which::reference::Reference;
use crate::which::search::Search;
use crate::which::targets::{self, Targets};

/// Send a signal to processes
///
/// It goes to the main process, or with --tree to every process of the tree. SIGKILL is sent where no
/// signal is named, as `docker kill` does; what the main process has started is ended then as well,
/// unless it was started with --linger. `prn stop` is what ends a process for certain, and lets it tidy
/// up first. -9 and -HUP are understood as kill(1) does. On several servers (--context 'web*') it goes to
/// each process of that name, or with these labels, and each line begins with the name of the context.
#[derive(Debug, Args)]
pub struct Kill {
    /// Which process: its id, the beginning of its id, or its name. Several get it each by itself
    #[arg(value_name = "ID", required_unless_present_any = ["selector", "list"], conflicts_with = "selector")]
    pub ids: Vec<Reference>,
    /// Those whose labels match: key=value, key!=value, key or !key, several with commas between; a comma of a value is \,
    #[arg(short = 'l', long)]
    pub selector: Option<LabelSelector>,
    /// The signal: a name (HUP, SIGHUP, RTMIN+1) or a number on the server's machine
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    pub signal: SignalNumber,
    /// Send it to every process of the tree
    #[arg(long)]
    pub tree: bool,
    /// List the names of all signals, and do nothing else, as -l does without labels
    #[arg(short = 'L', long, conflicts_with_all = ["ids", "selector"])]
    pub list: bool,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

/// The words of a command line with kill(1)'s `-9` and `-HUP` as flags of prn's.
pub fn with_flags(words: Vec<OsString>) -> Vec<OsString> {
    if words.get(1).is_none_or(|command| command != "kill") {
        return words;
    }
    // kill(1)'s own: without labels to select by, all signals are listed.
    if words.get(2).is_some_and(|flag| flag == "-l") && words.len() == 3 {
        return ["prn", "kill", "--list"].map(OsString::from).into();
    }
    let is_signal = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit())
            && !text.contains('=')
            && text != "L"
    };
    let mut is_flag = true;
    let each = words.into_iter().map(|word| {
        is_flag &= word != "--";
        let signal = word.to_str().and_then(|text| text.strip_prefix('-'));
        match signal.filter(|signal| is_flag && is_signal(signal)) {
            Some(signal) => format!("--signal={signal}").into(),
            None => word,
        }
    });
    each.collect()
}

pub async fn kill(args: Kill) -> Result<Exit, Failure> {
    if args.list {
        output::text(&signal::list())?;
        return Ok(exit::OK);
    }
    let SignalNumber(signal) = args.signal;
    let whom = if args.tree {
        Target::Tree
    } else {
        Target::Main
    };
    let remote = match Servers::of(&args.connection)? {
        Servers::One(remote) => remote,
        Servers::Several(hosts) => return everywhere(&args, &hosts, signal, whom).await,
    };
    let client = remote.connect().await?;
    let targets = Targets {
        ids: args.ids,
        selector: args.selector,
    };
    let found = targets.find(&client, Some(State::Running)).await?;
    let send = |target: targets::Target| {
        let client = client.clone();
        async move { Ok(client.signal_process(target.id, signal, whom).await?) }
    };
    found
        .each(send, |target, ()| output::told(&target.shown))
        .await
}

/// On several servers: who has got it is printed when all have answered.
async fn everywhere(
    args: &Kill,
    hosts: &Hosts,
    signal: i32,
    whom: Target,
) -> Result<Exit, Failure> {
    let search = Search::of(&args.ids, args.selector.as_ref(), Some(State::Running));
    let ask = async |host: &Host, _: &Remote, client: Client| {
        let send = |target: targets::Target| {
            let client = client.clone();
            async move {
                client.signal_process(target.id, signal, whom).await?;
                Ok(target.shown)
            }
        };
        search.each(host, &client, send).await
    };
    let answers = hosts.ask(ask).await.flat();
    for of in &answers.answers {
        output::told(&format!("{} {}", output::escaped(&of.host), of.value))?;
    }
    Ok(answers.exit.highest(search.finish(answers.is_whole)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_stand_behind_a_dash_as_with_kill_1() {
        let read = |words: &[&str]| {
            let words = words.iter().map(OsString::from).collect();
            let words = with_flags(words).into_iter();
            words
                .map(|word| word.into_string().unwrap())
                .collect::<Vec<_>>()
        };
        for (words, expected) in [
            (
                &["prn", "kill", "-9", "web"][..],
                &["prn", "kill", "--signal=9", "web"][..],
            ),
            (
                &["prn", "kill", "web", "-HUP"],
                &["prn", "kill", "web", "--signal=HUP"],
            ),
            (
                &["prn", "kill", "-s", "TERM", "-l", "a=b", "--tree"],
                &["prn", "kill", "-s", "TERM", "-l", "a=b", "--tree"],
            ),
            (&["prn", "kill", "--", "-9"], &["prn", "kill", "--", "-9"]),
            (&["prn", "stop", "-9"], &["prn", "stop", "-9"]),
            (&["prn", "kill", "-L"], &["prn", "kill", "-L"]),
            (&["prn", "kill", "-l"], &["prn", "kill", "--list"]),
            (&["prn", "kill", "-l", "a"], &["prn", "kill", "-l", "a"]),
        ] {
            assert_eq!(read(words), expected);
        }
    }
}
