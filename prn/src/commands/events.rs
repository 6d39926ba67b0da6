//! `prn events`.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use prn_client::{Change, Process, ProcessId, State, WatchRequest};

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::fleet::fault::FleetFault;
use crate::fleet::telling::{Extent, tell};
use crate::lasting::changes::Changes;
use crate::lasting::several::{Heard, Manner, Several, Tries};
use crate::lasting::watching::Watching;
use crate::output::format::{Format, FormatFlag};
use crate::output::{self, ChangeRecord, OfHost};
use crate::which::connection::Connection;
use crate::which::fleet::{FleetFlag, OpenFleet};
use crate::which::hosts::{Hosts, Servers};
use crate::which::selection::Selection;

/// Tell what happens to processes, as it happens
///
/// A line for each change: started, paused, exited 3, ended: out of memory, removed. What is so in the
/// beginning is told with --existing. When the connection is lost, prn goes on where it was. As JSON
/// (-o jsonl) each change has the process as it is then, and a cursor for --after: what has changed
/// since is told first. When the server was restarted, the processes of before are told as lost. Of
/// several servers (--context 'web*') each line begins with the name of its context, as JSON each
/// change has its host; one that is not there is said to be so, and tried again.
#[derive(Debug, Args)]
pub struct Events {
    /// Which.
    #[command(flatten)]
    pub selection: Selection,
    /// Tell of processes of prn itself too
    #[arg(short, long)]
    pub all: bool,
    /// Tell first what has changed since this cursor, which is one server's
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<String>,
    /// Tell first of all processes that there are
    #[arg(long, conflicts_with = "after")]
    pub existing: bool,
    /// End when that is told, instead of waiting for changes
    #[arg(long)]
    pub no_follow: bool,
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
    /// Of a fleet.
    #[command(flatten)]
    pub fleet: FleetFlag,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

/// Whether processes that were there in the beginning are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// They are.
    Shown,
    /// Those that have changed since a cursor: of others nothing is known.
    Changed,
    /// They are not.
    Hidden,
}

pub async fn events(args: Events) -> Result<Exit, Failure> {
    if let Some(open) = args.fleet.open(&args.connection)? {
        return of_fleet(&args, &open).await;
    }
    let existing = if args.after.is_some() {
        Existing::Changed
    } else if args.existing || args.no_follow {
        Existing::Shown
    } else {
        Existing::Hidden
    };
    let mut request = WatchRequest::default();
    request.selector = if args.all {
        args.selection.selector()
    } else {
        args.selection.of_users()
    };
    request.after = args.after;
    request.no_follow = args.no_follow;
    request.with_argv = args.format.output.is_whole();
    let format = &args.format.output;
    let remote = match Servers::of(&args.connection)? {
        Servers::One(remote) => remote,
        Servers::Several(_) if request.after.is_some() => {
            let why = "a cursor is one server's: name that with --context";
            return Err(Failure::Usage(why.to_owned()));
        }
        Servers::Several(hosts) => return print_all(&hosts, &request, format, existing).await,
    };
    let client = remote.connect().await?;
    let watching = Watching::begin(&remote, &client, &request).await?;
    print(watching, format, existing).await
}

/// What happens to the jobs and hosts of a fleet.
async fn of_fleet(args: &Events, open: &OpenFleet) -> Result<Exit, Failure> {
    if args.after.is_some() || args.selection.selector() != prn_client::Selector::default() {
        let why = "cursors and selections are of processes: all changes of a fleet are told";
        return Err(FleetFault::NotOfFleets(why).into());
    }
    let extent = Extent {
        existing: args.existing || args.no_follow,
        follow: !args.no_follow,
    };
    tell(open, extent, &args.format.output).await
}

/// Prints changes until there are no more.
pub async fn print(
    mut watching: Watching<'_>,
    format: &Format,
    existing: Existing,
) -> Result<Exit, Failure> {
    let mut telling = Telling::new(None, format, existing);
    let reader = output::Reader::of_stdout()?;
    loop {
        let change = tokio::select! {
            change = watching.next() => change?,
            error = reader.left() => return Err(error.into()),
        };
        let Some(change) = change else {
            return Ok(exit::OK);
        };
        let at = At {
            cursor: watching.cursor(),
            boot_epoch: watching.boot_epoch(),
        };
        telling.tell(change, at)?;
    }
}

/// Prints those of several servers as they come.
pub async fn print_all(
    hosts: &Hosts,
    request: &WatchRequest,
    format: &Format,
    existing: Existing,
) -> Result<Exit, Failure> {
    let each = hosts.all().iter();
    let mut tellings: Vec<_> = each
        .map(|host| Telling::new(Some(&host.name), format, existing))
        .collect();
    let reader = output::Reader::of_stdout()?;
    let tries = if request.no_follow {
        Tries::OnceThere
    } else {
        Tries::Always
    };
    let mut several = Several::new(hosts, Manner::Said, tries, || Changes::new(request));
    loop {
        let heard = tokio::select! {
            heard = several.next() => heard,
            error = reader.left() => return Err(error.into()),
        };
        match heard {
            Some(Heard::Piece { host, piece }) => {
                let at = At {
                    cursor: piece.cursor.as_deref(),
                    boot_epoch: piece.boot_epoch.as_deref(),
                };
                if let Some(telling) = tellings.get_mut(host) {
                    telling.tell(piece.change, at)?;
                }
            }
            Some(Heard::Link { .. }) => {}
            None => return Ok(several.exit()),
        }
    }
}

/// Where a watch is.
#[derive(Debug, Clone, Copy)]
struct At<'a> {
    cursor: Option<&'a str>,
    boot_epoch: Option<&'a str>,
}

impl<'a> At<'a> {
    /// A record of what has come to there, of which nothing else is known yet.
    fn record(self) -> ChangeRecord<'a> {
        ChangeRecord {
            cursor: self.cursor,
            boot_epoch: self.boot_epoch,
            ..ChangeRecord::default()
        }
    }
}

/// What was told, to tell what has changed.
#[derive(Debug)]
struct Telling<'a> {
    /// The server's name, if there are several.
    host: Option<&'a str>,
    format: &'a Format,
    existing: Existing,
    /// All that are selected are known: what is removed and is not known was never one of them.
    knows_all: bool,
    is_synchronized: bool,
    known: BTreeMap<ProcessId, Process>,
    /// Those that were told since a reset.
    told: Option<BTreeSet<ProcessId>>,
}

impl<'a> Telling<'a> {
    /// Of a watch that begins.
    fn new(host: Option<&'a str>, format: &'a Format, existing: Existing) -> Self {
        Self {
            host,
            format,
            existing,
            knows_all: existing != Existing::Changed,
            is_synchronized: false,
            known: BTreeMap::new(),
            told: None,
        }
    }

    fn tell(&mut self, change: Change, at: At<'_>) -> Result<(), Failure> {
        let mut record = at.record();
        match change {
            Change::Process(process) => self.process(*process, record),
            Change::Removed(id) => self.removed(id, record),
            Change::Reset => {
                self.told = Some(BTreeSet::new());
                self.is_synchronized = false;
                record.reset = true;
                self.about_watch(&record)
            }
            Change::Synchronized => {
                self.forget_untold(at)?;
                self.is_synchronized = true;
                self.existing = Existing::Shown;
                record.synchronized = true;
                self.about_watch(&record)
            }
            Change::Restarted => {
                record.restarted = true;
                self.about_watch(&record)?;
                self.restarted(at)
            }
        }
    }

    fn process(&mut self, process: Process, record: ChangeRecord<'_>) -> Result<(), Failure> {
        let before = self.known.get(&process.id);
        let is_new = before.is_none();
        let is_event = self.is_synchronized || before.is_some();
        let events = if is_event {
            output::change_words(before.map(|before| &before.status), &process.status)
        } else {
            vec![output::state_words(&process.status)]
        };
        let record = ChangeRecord {
            events,
            process: Some(&process),
            ..record
        };
        let is_silent = match before {
            Some(before) => record.events.is_empty() && *before == process,
            None => !self.is_synchronized && self.existing == Existing::Hidden,
        };
        if !is_silent && !self.print_data(&record)? {
            self.print_line(&output::change_line(&process, &record.events, is_new))?;
        }
        if let Some(told) = &mut self.told {
            told.insert(process.id);
        }
        self.known.insert(process.id, process);
        Ok(())
    }

    fn removed(&mut self, id: ProcessId, record: ChangeRecord<'_>) -> Result<(), Failure> {
        if self.knows_all && !self.known.contains_key(&id) {
            return Ok(());
        }
        self.gone(id, "removed", record)
    }

    fn gone(
        &mut self,
        id: ProcessId,
        what: &str,
        mut record: ChangeRecord<'_>,
    ) -> Result<(), Failure> {
        let known = self.known.remove(&id);
        record.events = vec![what.to_owned()];
        record.removed = Some(id);
        if !self.print_data(&record)? {
            self.print_line(&output::removed_line(id, known.as_ref(), what))?;
        }
        Ok(())
    }

    /// After a reset, what was not told again is no more.
    fn forget_untold(&mut self, at: At<'_>) -> Result<(), Failure> {
        let Some(told) = self.told.take() else {
            return Ok(());
        };
        let known = self.known.keys().copied();
        let gone: Vec<_> = known.filter(|id| !told.contains(id)).collect();
        self.all_gone(&gone, at, |_| "removed")
    }

    /// Nothing that ran before a restart of the server runs after it.
    fn restarted(&mut self, at: At<'_>) -> Result<(), Failure> {
        let known: Vec<_> = self.known.keys().copied().collect();
        self.all_gone(&known, at, |state| match state {
            State::Running => "lost with its server",
            State::Stopped => "forgotten with its server",
        })
    }

    fn all_gone(
        &mut self,
        ids: &[ProcessId],
        at: At<'_>,
        what: fn(State) -> &'static str,
    ) -> Result<(), Failure> {
        for id in ids {
            let state = self.known.get(id).map(|process| process.status.state);
            self.gone(*id, what(state.unwrap_or(State::Stopped)), at.record())?;
        }
        Ok(())
    }

    /// Prints what is about the watch and about no process: to programs that read all of it, and of
    /// a restart to people.
    fn about_watch(&self, record: &ChangeRecord<'_>) -> Result<(), Failure> {
        match self.format {
            Format::Json | Format::JsonLines | Format::Yaml => {
                self.print_next(record)?;
            }
            Format::Table | Format::Wide | Format::Name | Format::Template(_)
                if record.restarted =>
            {
                let host = self.host.map(|host| format!("{host}: "));
                output::notice(&format!(
                    "{}the server was restarted: its processes of before are lost",
                    host.unwrap_or_default()
                ));
            }
            Format::Table | Format::Wide | Format::Name | Format::Template(_) => {}
        }
        Ok(())
    }

    /// Prints a change of a process, if not for people.
    fn print_data(&self, record: &ChangeRecord<'_>) -> Result<bool, Failure> {
        if *self.format == Format::Name {
            let id = record.process.map(|process| process.id).or(record.removed);
            self.print_line(&id.map(|id| id.to_string()).unwrap_or_default())?;
            return Ok(true);
        }
        self.print_next(record)
    }

    /// Prints a line for people, behind the server's name if there are several.
    fn print_line(&self, line: &str) -> Result<(), Failure> {
        match self.host {
            Some(host) => output::print_line(&format!("{} {line}", output::escaped(host)))?,
            None => output::print_line(line)?,
        }
        Ok(())
    }

    /// Prints a record, with its server if there are several; `false` in a format for people.
    fn print_next(&self, record: &ChangeRecord<'_>) -> Result<bool, Failure> {
        let is_printed = match self.host {
            Some(host) => output::print_next(
                &OfHost {
                    host: host.to_owned(),
                    value: record,
                },
                self.format,
            )?,
            None => output::print_next(record, self.format)?,
        };
        Ok(is_printed)
    }
}
