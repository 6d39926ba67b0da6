//! Sending what has changed.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::path::Path;

use super::ask::{Question, ask};
use super::comparison::{Comparison, compare};
use super::digest;
use super::error::SyncError;
use super::flags::Plan;
use super::listing::{Listing, digests, listing};
use super::path::RelativePath;
use super::script::{DIGEST, LIST, PREPARE, Program};
use super::tree::Tree;
use super::walk::{Local, walk};
use crate::copy::{Far, Selection, Sum, blocking, up};
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::output::{self, Progress};

/// Most bytes that an answer has beside each path that was asked for: numbers, a digest, and the
/// target of a link, which is seldom so long.
const ANSWER_BESIDE_PATH: usize = 512;

/// And those of some longest targets.
const ANSWER_OF_TARGETS: usize = 1024 * 1024;

/// Bytes that the list of what was brought may have beside the paths that are here.
const LIST_BESIDE: usize = 16 * 1024 * 1024;

/// Said of a list that is longer.
const LEFT_OUT: &str = "sync: the list of what was brought before (.prn-sync in the workspace) \
    is too long: nothing is removed that is no longer here";

/// Of what cannot be sent, so many names are told.
const NAMES_TOLD: usize = 5;

/// A sync under way.
#[derive(Debug)]
struct Sending<'a, 'b> {
    sync: &'a Plan,
    source: &'a Path,
    far: &'a mut Far<'b>,
    interrupts: &'a mut Interrupts,
}

/// Makes the workspace have what the local directory has. Returns the directory that a command is
/// then to start in, if it is not the workspace's own.
///
/// # Errors
/// If anything of it could not be sent: then some of it may have been.
pub async fn send(
    sync: &Plan,
    far: &mut Far<'_>,
    interrupts: &mut Interrupts,
) -> Result<Option<String>, Failure> {
    let Some(source) = sync.source.as_deref() else {
        return Ok(None);
    };
    let mut sending = Sending {
        sync,
        source,
        far,
        interrupts,
    };
    sending.all().await
}

impl Sending<'_, '_> {
    async fn all(&mut self) -> Result<Option<String>, Failure> {
        let Local { tree, special } = self.look().await?;
        tell_special(&special);
        let mut remote = self.list(&tree).await?;
        if remote.is_list_left_out {
            output::notice(LEFT_OUT);
        }
        let directory = std::mem::take(&mut remote.directory);
        let mut comparison = compare(&tree, remote);
        let doubtful = std::mem::take(&mut comparison.doubtful);
        comparison.send.extend(self.changed(doubtful).await?);
        if !comparison.needs_no_preparation() {
            self.prepare(&tree, &comparison).await?;
        }
        let removed = comparison.remove.len();
        let sum = self.transfer(comparison.send).await?;
        if io::stderr().is_terminal() {
            output::notice(&summary(sum, removed));
        }
        Ok(self.sync.working_directory(&directory))
    }

    /// What is here.
    async fn look(&mut self) -> Result<Local, Failure> {
        let source = self.source.to_owned();
        let local = blocking(self.interrupts, move || walk(&source)).await?;
        Ok(local.map_err(SyncError::from)?)
    }

    /// What is there.
    async fn list(&mut self, tree: &Tree) -> Result<Listing, Failure> {
        let input = list(tree.keys());
        let of_list = input.len().saturating_add(LIST_BESIDE);
        // Each path of it is answered with two bytes more, and has four or more.
        let most = answer_of(tree.len(), &input).saturating_add(of_list.saturating_mul(2));
        let mut question = self.question(LIST, input, most);
        question.arguments.push(of_list.to_string());
        let answer = ask(self.far, question, self.interrupts).await?;
        Ok(listing(&answer, tree).map_err(SyncError::from)?)
    }

    /// Those of these files whose content differs.
    async fn changed(
        &mut self,
        files: BTreeSet<RelativePath>,
    ) -> Result<BTreeSet<RelativePath>, Failure> {
        if files.is_empty() {
            return Ok(files);
        }
        let input = list(&files);
        let most = answer_of(files.len(), &input);
        let question = self.question(DIGEST, input, most);
        let answer = ask(self.far, question, self.interrupts).await?;
        let there = digests(&answer).map_err(SyncError::from)?;
        let source = self.source.to_owned();
        let comparing = move || digest::changed(&source, files, &there);
        Ok(blocking(self.interrupts, comparing)
            .await?
            .map_err(SyncError::from)?)
    }

    /// Removes what is no longer here, and writes down what will have been brought. What is still to
    /// be removed stands in that list too: whatever of it is left is found by the next sync.
    async fn prepare(&mut self, tree: &Tree, comparison: &Comparison) -> Result<(), Failure> {
        let Comparison {
            remove, in_the_way, ..
        } = comparison;
        let brought = list(tree.keys().chain(remove));
        // What is in a directory comes before that.
        let (remove, in_the_way) = (list(remove.iter().rev()), list(in_the_way.iter().rev()));
        let lists = [brought, remove, in_the_way];
        let mut question = self.question(PREPARE, lists.concat(), 0);
        let lengths = lists.iter().map(|list| list.len().to_string());
        question.arguments.extend(lengths);
        ask(self.far, question, self.interrupts).await?;
        Ok(())
    }

    async fn transfer(&mut self, send: BTreeSet<RelativePath>) -> Result<Sum, Failure> {
        if send.is_empty() {
            return Ok(Sum::default());
        }
        let names = send.iter().map(|path| path.as_path().to_owned());
        let what = Selection::Listed {
            base: self.source.to_owned(),
            names: names.collect(),
        };
        let progress = Progress::new(false);
        let to = self.sync.far();
        up(self.far, what, &to, self.interrupts, &progress).await
    }

    fn question(&self, program: Program, input: Vec<u8>, most: usize) -> Question {
        Question {
            program,
            arguments: vec![self.sync.argument()],
            input,
            most,
        }
    }
}

/// Most bytes that an answer has of these paths.
fn answer_of(paths: usize, list: &[u8]) -> usize {
    let beside = paths.saturating_mul(ANSWER_BESIDE_PATH);
    let most = list.len().saturating_add(beside);
    most.saturating_add(ANSWER_OF_TARGETS)
}

/// Paths as the scripts take them.
fn list<'a>(paths: impl IntoIterator<Item = &'a RelativePath>) -> Vec<u8> {
    let mut list = Vec::new();
    for path in paths {
        list.extend(path.argument());
        list.push(0);
    }
    list
}

fn tell_special(special: &[std::path::PathBuf]) {
    if special.is_empty() {
        return;
    }
    let names = special.iter().take(NAMES_TOLD);
    let names: Vec<_> = names.map(|path| path.display().to_string()).collect();
    let more = if special.len() > NAMES_TOLD {
        ", …"
    } else {
        ""
    };
    output::notice(&format!(
        "sync: {} not sent, neither files, directories nor links: {}{more}",
        special.len(),
        names.join(", ")
    ));
}

fn summary(sum: Sum, removed: usize) -> String {
    let Sum { files, bytes } = sum;
    let plural = if files == 1 { "" } else { "s" };
    let size = prn_proto::units::show_size(bytes);
    format!("sync: {files} file{plural}, {size} sent, {removed} removed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_how_much() {
        let sum = Sum {
            files: 3,
            bytes: 12 * 1024,
        };
        assert_eq!(summary(sum, 1), "sync: 3 files, 12 KiB sent, 1 removed");
        let sum = Sum { files: 1, bytes: 5 };
        assert_eq!(summary(sum, 0), "sync: 1 file, 5 B sent, 0 removed");
    }
}
