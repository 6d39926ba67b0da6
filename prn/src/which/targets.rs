//! Which processes a command is about, and doing something with each of them.

use std::collections::HashSet;
use std::io;

use clap::Args;
use futures_util::{StreamExt, stream};
use prn_client::{Client, LabelSelector, ListRequest, Process, ProcessId, Selector, State};

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::lasting::skew;
use crate::output;
use crate::which::reference::{Reference, resolve};

/// Most calls that are under way at one time.
pub const AT_A_TIME: usize = 16;

/// Which processes a command is about.
#[derive(Debug, Clone, Args)]
pub struct Targets {
    /// Which process: its id, the beginning of its id, or its name. Several are done each by itself
    #[arg(
        value_name = "ID",
        required_unless_present = "selector",
        conflicts_with = "selector"
    )]
    pub ids: Vec<Reference>,
    /// Those whose labels match: key=value, key!=value, key or !key, several with commas between; a comma of a value is \,
    #[arg(short = 'l', long)]
    pub selector: Option<LabelSelector>,
}

/// A process that a command is about.
#[derive(Debug, Clone)]
pub struct Target {
    /// As it was named; the whole id of one that was selected.
    pub shown: String,
    /// Its id.
    pub id: ProcessId,
}

/// Those that there are.
#[derive(Debug)]
pub struct Found {
    /// Each once.
    pub targets: Vec<Target>,
    /// What became of those that there are not.
    pub exit: Exit,
    /// Only one was named: what fails with it is what fails.
    is_one: bool,
}

impl Targets {
    /// Those that there are. Of those that are selected, the ones in this state. Of several, those that
    /// there are not have been told of.
    pub async fn find(&self, client: &Client, state: Option<State>) -> Result<Found, Failure> {
        match &self.selector {
            Some(labels) => {
                let mut selector = Selector::default();
                selector.labels.clone_from(&labels.0);
                selector.state = state;
                Found::selected(client, selector).await
            }
            None => Found::named(client, &self.ids).await,
        }
    }
}

impl Found {
    /// Those that are named.
    pub async fn named(client: &Client, ids: &[Reference]) -> Result<Self, Failure> {
        let is_one = ids.len() == 1;
        let each = ids.iter().map(|reference| async move {
            (reference.to_string(), resolve(client, reference).await)
        });
        let mut resolved = stream::iter(each).buffered(AT_A_TIME);
        let mut found = Self {
            targets: Vec::new(),
            exit: exit::OK,
            is_one,
        };
        let mut seen = HashSet::new();
        while let Some((shown, result)) = resolved.next().await {
            match result {
                Ok(id) if seen.insert(id) => found.targets.push(Target { shown, id }),
                Ok(_) => {}
                Err(error) => {
                    let exit = found.failed(None, error.into())?;
                    found.exit = found.exit.highest(exit);
                }
            }
        }
        Ok(found)
    }

    /// Those that are selected, oldest first. That there are none is said, and no error.
    ///
    /// # Errors
    /// From a server that is too old to select: it would answer with all.
    pub async fn selected(client: &Client, selector: Selector) -> Result<Self, Failure> {
        Ok(Self::of(selected(client, selector).await?.into_iter()))
    }

    /// These.
    pub fn of(ids: impl Iterator<Item = ProcessId>) -> Self {
        let shown = |id: ProcessId| Target {
            shown: id.to_string(),
            id,
        };
        let mut seen = HashSet::new();
        let each_once = ids.filter(|id| seen.insert(*id));
        let targets: Vec<_> = each_once.map(shown).collect();
        if targets.is_empty() {
            output::notice("there is no such process");
        }
        Self {
            targets,
            exit: exit::OK,
            is_one: false,
        }
    }

    /// Does something with each, several at a time, and says of each in turn what came of it. What fails
    /// with one does not keep the others from it: the exit code is the highest of all. Nor does output that
    /// cannot be written, which comes last.
    pub async fn each<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        act: impl Fn(Target) -> F,
        mut done: impl FnMut(&Target, T) -> io::Result<Exit>,
    ) -> Result<Exit, Failure> {
        let each = self.targets.iter().cloned().map(act);
        let mut results = stream::iter(each).buffered(AT_A_TIME);
        let mut targets = self.targets.iter();
        let (mut highest, mut unwritten) = (self.exit, None);
        while let (Some(result), Some(target)) = (results.next().await, targets.next()) {
            let exit = match result {
                Ok(value) => done(target, value).unwrap_or_else(|error| {
                    unwritten.get_or_insert(error);
                    exit::OK
                }),
                Err(failure) => self.failed(Some(target), failure)?,
            };
            highest = highest.highest(exit);
        }
        match unwritten {
            Some(error) => Err(error.into()),
            None => Ok(highest),
        }
    }

    /// Says what failed with one of several.
    ///
    /// # Errors
    /// The same, if there is only one.
    pub fn failed(&self, target: Option<&Target>, failure: Failure) -> Result<Exit, Failure> {
        if self.is_one || failure.is_silent() {
            return Err(failure);
        }
        let line = output::error_line(&failure, failure.hint().as_deref());
        match target {
            Some(target) => output::notice(&format!("{}: {line}", target.shown)),
            None => output::notice(&line),
        }
        Ok(failure.exit())
    }
}

/// The ids of those that are selected, oldest first.
///
/// # Errors
/// As [`Found::selected`].
pub async fn selected(client: &Client, selector: Selector) -> Result<Vec<ProcessId>, Failure> {
    if skew::server(client).await?.is_none() {
        let why = "the server is older than this prn, and selects nothing: name each process";
        return Err(Failure::Usage(why.to_owned()));
    }
    let mut request = ListRequest::default();
    request.selector = Some(selector);
    let selected = all(client, request).await?;
    Ok(selected.iter().map(|process| process.id).collect())
}

/// All processes of all pages.
pub async fn all(client: &Client, request: ListRequest) -> Result<Vec<Process>, Failure> {
    let mut pages = client.pages(request);
    let mut all = Vec::new();
    while let Some(page) = pages.next().await? {
        all.extend(page);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn all_is_done_where_nobody_reads_what_came_of_it() {
        let ids: Vec<ProcessId> = (0..4 * AT_A_TIME)
            .map(|number| format!("{number:032x}").parse().unwrap())
            .collect();
        let (acts, says) = (Cell::new(0), Cell::new(0));
        let act = |_: Target| {
            acts.set(acts.get() + 1);
            async { Ok(()) }
        };
        let said = Found::of(ids.iter().copied())
            .each(act, |_, ()| {
                says.set(says.get() + 1);
                Err(io::ErrorKind::BrokenPipe.into())
            })
            .await;
        assert_eq!((acts.get(), says.get()), (ids.len(), ids.len()));
        assert_eq!(said.unwrap_err().exit(), exit::OUTPUT_CLOSED);
    }
}
