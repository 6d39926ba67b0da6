//! Which processes of several servers a command is about: those that are named, on whichever server has
//! them, or those that are selected on each.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashSet};

use futures_util::{StreamExt, stream};
use prn_client::{Client, LabelSelector, ProcessId, Selector, State};

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::output;
use crate::which::hosts::Host;
use crate::which::reference::{Reference, ReferenceError, resolve_there};
use crate::which::targets::{AT_A_TIME, Target, selected};

/// What is looked for, and what is known of it.
#[derive(Debug)]
pub struct Search<'a> {
    which: Which<'a>,
    /// Places among those that are named: of those that a server has.
    known: RefCell<BTreeSet<usize>>,
    /// Something was selected.
    has_any: Cell<bool>,
    exit: Cell<Exit>,
}

/// What is looked for.
#[derive(Debug)]
enum Which<'a> {
    Named(&'a [Reference]),
    Selected(Selector),
}

impl<'a> Search<'a> {
    /// For those that are named or, if none are, for those that have these labels, or any, and are in
    /// this state.
    pub fn of(ids: &'a [Reference], labels: Option<&LabelSelector>, state: Option<State>) -> Self {
        let which = if ids.is_empty() {
            let mut selector = Selector::default();
            let labels = labels.map(|LabelSelector(labels)| labels.clone());
            selector.labels = labels.unwrap_or_default();
            selector.state = state;
            Which::Selected(selector)
        } else {
            Which::Named(ids)
        };
        Self {
            which,
            known: RefCell::default(),
            has_any: Cell::new(false),
            exit: Cell::new(exit::OK),
        }
    }

    /// Those that one server has, each once. What stands for several there is said.
    pub async fn on(&self, host: &Host, client: &Client) -> Result<Vec<Target>, Failure> {
        let found = match &self.which {
            Which::Named(ids) => self.those(ids, host, client).await?,
            Which::Selected(selector) => {
                let ids = selected(client, selector.clone()).await?.into_iter();
                let each = ids.map(|id: ProcessId| Target {
                    shown: id.to_string(),
                    id,
                });
                each.collect()
            }
        };
        if !found.is_empty() {
            self.has_any.set(true);
        }
        Ok(found)
    }

    async fn those(
        &self,
        ids: &[Reference],
        host: &Host,
        client: &Client,
    ) -> Result<Vec<Target>, Failure> {
        let each = ids.iter().map(|id| resolve_there(client, id));
        let mut resolved = stream::iter(each)
            .buffered(AT_A_TIME)
            .zip(stream::iter(0..));
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        while let Some((result, place)) = resolved.next().await {
            match result {
                Ok(id) => {
                    self.known.borrow_mut().insert(place);
                    if let Some(shown) = ids.get(place).filter(|_| seen.insert(id)) {
                        let shown = shown.to_string();
                        found.push(Target { shown, id });
                    }
                }
                Err(ReferenceError::None(_)) => {}
                Err(error @ ReferenceError::Ambiguous { .. }) => {
                    self.known.borrow_mut().insert(place);
                    let failure = error.into();
                    output::notice(&host.line(&failure));
                    self.add(failure.exit());
                }
                Err(error @ ReferenceError::Client(_)) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    /// Does something with each that one server has, several at a time. What fails with one is said, and
    /// keeps no other one from it. What was done, in the order of the processes.
    pub async fn each<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        host: &Host,
        client: &Client,
        act: impl Fn(Target) -> F,
    ) -> Result<Vec<T>, Failure> {
        let targets = self.on(host, client).await?;
        let acts = targets.iter().cloned().map(act);
        let mut results = stream::iter(acts)
            .buffered(AT_A_TIME)
            .zip(stream::iter(&targets));
        let mut done = Vec::new();
        while let Some((result, target)) = results.next().await {
            match result {
                Ok(value) => done.push(value),
                Err(failure) => {
                    output::notice(&host.line_of(&target.shown, &failure));
                    self.add(failure.exit());
                }
            }
        }
        Ok(done)
    }

    /// Says what no server has. Only where each has answered: else it may be there.
    pub fn tell_missing(&self) {
        match &self.which {
            Which::Selected(_) if self.has_any.get() => {}
            Which::Selected(_) => output::notice("there is no such process"),
            Which::Named(ids) => {
                let known = self.known.borrow();
                let missing = ids.iter().enumerate();
                for (_, id) in missing.filter(|(place, _)| !known.contains(place)) {
                    let failure = Failure::from(ReferenceError::None(id.to_string()));
                    output::error(&failure, failure.hint().as_deref());
                    self.add(failure.exit());
                }
            }
        }
    }

    /// The end of it: what no server has, if each has answered. The highest exit code of what was said.
    pub fn finish(&self, is_whole: bool) -> Exit {
        if is_whole {
            self.tell_missing();
        }
        self.exit()
    }

    /// A server has one of them.
    pub fn has_any(&self) -> bool {
        self.has_any.get()
    }

    /// The highest exit code of what was said.
    pub fn exit(&self) -> Exit {
        self.exit.get()
    }

    fn add(&self, exit: Exit) {
        self.exit.set(self.exit.get().highest(exit));
    }
}
