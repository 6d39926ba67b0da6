//! `prn start`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;

use clap::Args;
use prn_client::{Client, OutputPolicy, ProcessId, StandardInput, StartSpec, Started};

use crate::commands::can_i::dry_run;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::input::leftover::Leftover;
use crate::interrupts::Interrupts;
use crate::lasting::surely::start_surely;
use crate::output::format::FormatFlag;
use crate::output::{self, OfHost};
use crate::typed::spec::{Spec, of_host, with_our_terminal};
use crate::which::connection::{Connection, Remote};
use crate::which::hosts::{Host, Hosts, Servers};

/// Start a process and print its id
///
/// The id names the process for its whole life and after; it is not a PID. `prn start "ping
/// google.com"` splits the string into words as a shell would, without running a shell; `prn
/// start -- ping google.com` takes the words as they are. For pipes, variables and the like name
/// a shell: `prn start -- sh -c 'ls | wc -l'`.
///
/// `prn start` never reads its standard input: where bytes wait there on a pipe or in a file,
/// nothing is started without -n. `prn attach` feeds what was started with --stdin or -t.
///
/// On several servers (--context 'web*') it prints a line for each process: the name of the context, and the
/// id.
#[derive(Debug, Args)]
pub struct Start {
    /// What to start.
    #[command(flatten)]
    pub spec: Spec,
    /// Give the process a pipe as its standard input, which stays open until `prn attach` ends it
    #[arg(long, conflicts_with_all = ["no_stdin", "tty"])]
    pub stdin: bool,
    /// Give the process a terminal, as large as this one, for `prn attach`
    #[arg(short, long, conflicts_with = "no_stdin")]
    pub tty: bool,
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

pub async fn start(args: Start) -> Result<Exit, Failure> {
    let is_fed_later = args.stdin || args.tty;
    let leftover = Leftover::look(args.spec.no_stdin || is_fed_later)?;
    let (own_id, is_dry) = (args.spec.id, args.spec.dry_run);
    let mut spec = args.spec.completed(OutputPolicy::DropOldest)?;
    if args.tty {
        with_our_terminal(&mut spec);
    } else if args.stdin {
        spec.stdin = StandardInput::Pipe;
    }
    let servers = Servers::of(&args.connection)?;
    if is_dry {
        return dry_run(&servers, &spec, &args.format).await;
    }
    let remote = match servers {
        Servers::One(remote) => remote,
        Servers::Several(hosts) => {
            leftover.settle()?;
            return everywhere(&hosts, &spec, own_id, &args.format).await;
        }
    };
    let first = remote.connect().await?;
    leftover.settle()?;
    let mut interrupts = Interrupts::take()?;
    let starting = interrupts.unless(start_surely(&remote, first, &spec));
    let (_, started) = match (starting.await, spec.id) {
        (Some(started), _) => started?,
        (None, Some(id)) => return Err(Failure::StartLeft(id)),
        (None, None) => return Ok(exit::UNAVAILABLE),
    };
    // Nobody else knows this id.
    let id = started.process.id;
    output::started(&started, &args.format)
        .map_err(|source| Failure::StartedUnsaid { id, source })?;
    Ok(exit::OK)
}

/// On each of several servers, each process under an id of its own unless one was named.
async fn everywhere(
    hosts: &Hosts,
    spec: &StartSpec,
    id: Option<ProcessId>,
    format: &FormatFlag,
) -> Result<Exit, Failure> {
    let mut interrupts = Interrupts::take()?;
    let untold = RefCell::new(Untold::default());
    let ask = async |host: &Host, remote: &Remote, client: Client| {
        let spec = of_host(spec, id)?;
        untold.borrow_mut().begin(&host.name, spec.id);
        let started = start_surely(remote, client, &spec).await;
        let mut untold = untold.borrow_mut();
        match started {
            Ok((_, started)) => {
                let of = OfHost {
                    host: host.name.clone(),
                    value: started,
                };
                untold.started(&of, |of| output::started_of_host(of, format));
                Ok(of.value)
            }
            Err(failure) => {
                untold.ids.remove(&host.name);
                Err(failure)
            }
        }
    };
    let Some(answers) = interrupts.unless(hosts.ask(ask)).await else {
        untold.take().tell();
        return Ok(exit::UNAVAILABLE);
    };
    let Untold { ids, mut unwritten } = untold.take();
    if let Err(error) = output::started_of_hosts(&answers.answers, format) {
        unwritten.get_or_insert(error);
    }
    match unwritten {
        None => Ok(answers.exit),
        Some(error) => {
            let rest = Untold {
                ids,
                unwritten: None,
            };
            rest.tell();
            Err(error.into())
        }
    }
}

/// Processes whose ids nobody else knows, by the names of their servers.
#[derive(Debug, Default)]
struct Untold {
    /// With whether they were started.
    ids: BTreeMap<String, (ProcessId, bool)>,
    /// Why not.
    unwritten: Option<io::Error>,
}

impl Untold {
    fn begin(&mut self, host: &str, id: Option<ProcessId>) {
        if let Some(id) = id {
            self.ids.insert(host.to_owned(), (id, false));
        }
    }

    /// One was started. `print` says whether its id is told by now.
    fn started(
        &mut self,
        of: &OfHost<Started>,
        print: impl FnOnce(&OfHost<Started>) -> io::Result<bool>,
    ) {
        self.ids
            .insert(of.host.clone(), (of.value.process.id, true));
        match print(of) {
            Ok(true) => drop(self.ids.remove(&of.host)),
            Ok(false) => {}
            Err(error) => drop(self.unwritten.get_or_insert(error)),
        }
    }

    fn lines(&self) -> Vec<String> {
        let line = |(host, (id, is_started)): (&String, &(ProcessId, bool))| match is_started {
            true => format!("{host}: process {id} was started"),
            false => format!("{host}: it is not known whether process {id} was started"),
        };
        self.ids.iter().map(line).collect()
    }

    fn tell(&self) {
        for line in self.lines() {
            output::notice(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prn_client::Process;
    use prn_proto::v1;

    fn started(host: &str, id: ProcessId) -> OfHost<Started> {
        let id = v1::ProcessIdentifier { id: id.to_string() };
        let process = Process::try_from(v1::Process {
            id: Some(id),
            status: Some(v1::ProcessStatus {
                state: v1::ProcessState::Running.into(),
                ..Default::default()
            }),
        });
        OfHost {
            host: host.to_owned(),
            value: Started {
                process: process.unwrap(),
                boot_epoch: String::new(),
                already_running: false,
            },
        }
    }

    #[test]
    fn what_nobody_was_told_of_is_told_at_the_end() {
        let id = |digit: &str| digit.repeat(32).parse::<ProcessId>().unwrap();
        let mut untold = Untold::default();
        for (host, digit) in [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")] {
            untold.begin(host, Some(id(digit)));
        }
        untold.started(&started("a", id("1")), |_| Ok(true));
        untold.started(&started("b", id("2")), |_| Ok(false));
        untold.started(&started("c", id("3")), |_| {
            Err(io::ErrorKind::StorageFull.into())
        });
        let expected = [
            format!("b: process {} was started", id("2")),
            format!("c: process {} was started", id("3")),
            format!("d: it is not known whether process {} was started", id("4")),
        ];
        assert_eq!(untold.lines(), expected);
        assert!(untold.unwritten.is_some());
    }
}
