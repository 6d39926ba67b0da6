//! `prn events`.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use prn_client::{Change, Process, ProcessId, State, WatchRequest};

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::lasting::watching::Watching;
use crate::output::format::{Format, FormatFlag};
use crate::output::{self, ChangeRecord};
use crate::which::connection::{Connection, Remote};
use crate::which::selection::Selection;

/// Tell what happens to processes, as it happens
///
/// A line for each change: started, paused, exited 3, ended: out of memory, removed. What is so in the
/// beginning is told with --existing. When the connection is lost, prn goes on where it was. As JSON
/// (-o jsonl) each change has the process as it is then, and a cursor for --after: what has changed
/// since is told first. When the server was restarted, the processes of before are told as lost.
#[derive(Debug, Args)]
pub struct Events {
    /// Which.
    #[command(flatten)]
    pub selection: Selection,
    /// Tell of processes of prn itself too
    #[arg(short, long)]
    pub all: bool,
    /// Tell first what has changed since this cursor
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
    let remote = Remote::new(args.connection)?;
    let client = remote.connect().await?;
    let watching = Watching::begin(&remote, &client, &request).await?;
    print(watching, &args.format.output, existing).await
}

/// Prints changes until there are no more.
pub async fn print(
    mut watching: Watching<'_>,
    format: &Format,
    existing: Existing,
) -> Result<Exit, Failure> {
    let mut telling = Telling {
        format,
        existing,
        knows_all: existing != Existing::Changed,
        is_synchronized: false,
        known: BTreeMap::new(),
        told: None,
    };
    let reader = output::Reader::of_stdout()?;
    loop {
        let change = tokio::select! {
            change = watching.next() => change?,
            error = reader.left() => return Err(error.into()),
        };
        let Some(change) = change else {
            return Ok(exit::OK);
        };
        telling.tell(change, &watching)?;
    }
}

/// What was told, to tell what has changed.
#[derive(Debug)]
struct Telling<'a> {
    format: &'a Format,
    existing: Existing,
    /// All that are selected are known: what is removed and is not known was never one of them.
    knows_all: bool,
    is_synchronized: bool,
    known: BTreeMap<ProcessId, Process>,
    /// Those that were told since a reset.
    told: Option<BTreeSet<ProcessId>>,
}

impl Telling<'_> {
    fn tell(&mut self, change: Change, at: &Watching<'_>) -> Result<(), Failure> {
        let mut record = ChangeRecord {
            cursor: at.cursor(),
            boot_epoch: at.boot_epoch(),
            ..ChangeRecord::default()
        };
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
            output::print_line(&output::change_line(&process, &record.events, is_new))?;
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
            output::print_line(&output::removed_line(id, known.as_ref(), what))?;
        }
        Ok(())
    }

    /// After a reset, what was not told again is no more.
    fn forget_untold(&mut self, at: &Watching<'_>) -> Result<(), Failure> {
        let Some(told) = self.told.take() else {
            return Ok(());
        };
        let known = self.known.keys().copied();
        let gone: Vec<_> = known.filter(|id| !told.contains(id)).collect();
        self.all_gone(&gone, at, |_| "removed")
    }

    /// Nothing that ran before a restart of the server runs after it.
    fn restarted(&mut self, at: &Watching<'_>) -> Result<(), Failure> {
        let known: Vec<_> = self.known.keys().copied().collect();
        self.all_gone(&known, at, |state| match state {
            State::Running => "lost with its server",
            State::Stopped => "forgotten with its server",
        })
    }

    fn all_gone(
        &mut self,
        ids: &[ProcessId],
        at: &Watching<'_>,
        what: fn(State) -> &'static str,
    ) -> Result<(), Failure> {
        for id in ids {
            let state = self.known.get(id).map(|process| process.status.state);
            let record = ChangeRecord {
                cursor: at.cursor(),
                boot_epoch: at.boot_epoch(),
                ..ChangeRecord::default()
            };
            self.gone(*id, what(state.unwrap_or(State::Stopped)), record)?;
        }
        Ok(())
    }

    /// Prints what is about the watch and about no process: to programs that read all of it, and of
    /// a restart to people.
    fn about_watch(&self, record: &ChangeRecord<'_>) -> Result<(), Failure> {
        match self.format {
            Format::Json | Format::JsonLines | Format::Yaml => {
                output::print_next(record, self.format)?;
            }
            Format::Table | Format::Wide | Format::Name | Format::Template(_)
                if record.restarted =>
            {
                output::notice("the server was restarted: its processes of before are lost");
            }
            Format::Table | Format::Wide | Format::Name | Format::Template(_) => {}
        }
        Ok(())
    }

    /// Prints a change of a process, if not for people.
    fn print_data(&self, record: &ChangeRecord<'_>) -> Result<bool, Failure> {
        if *self.format == Format::Name {
            let id = record.process.map(|process| process.id).or(record.removed);
            output::print_line(&id.map(|id| id.to_string()).unwrap_or_default())?;
            return Ok(true);
        }
        Ok(output::print_next(record, self.format)?)
    }
}
