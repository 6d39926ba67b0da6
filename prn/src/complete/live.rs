//! What the server has, for whoever types its name.

use std::ffi::OsString;
use std::future::Future;

use clap::{Args, FromArgMatches};
use clap_complete::engine::CompletionCandidate;
use prn_client::{Client, ClientError, ListRequest, State};

use crate::output::escaped;
use crate::which::connection::{Connection, Remote};

/// The newest so many processes are offered: nobody looks for one among more.
const PROCESSES_MAX: u32 = 200;

/// Longest description of an offer, in characters.
const DESCRIPTION_MAX: usize = 60;

/// The server that a command line is for. It is asked when something of it is wanted, and is silent
/// where it cannot be asked.
#[derive(Debug)]
pub struct Live {
    /// Flags of the command line that say how to reach it.
    flags: Vec<OsString>,
}

impl Live {
    pub fn of(words: &[OsString]) -> Self {
        Self {
            flags: connection_flags(words),
        }
    }

    /// Those in this state, or all, the newest first: by name what has one, by id what has none or what
    /// begins like the word at the cursor.
    pub fn processes(&self, state: Option<State>, current: &str) -> Vec<CompletionCandidate> {
        let mut request = ListRequest::default();
        request.state = state;
        request.newest_first = true;
        request.page_size = Some(PROCESSES_MAX);
        let listed = self.ask(async |client| client.pages(request).next().await);
        let listed = listed.flatten().unwrap_or_default();
        let mut offers = Vec::new();
        for process in listed {
            let command: String = process
                .status
                .command
                .chars()
                .take(DESCRIPTION_MAX)
                .collect();
            let offer = |word| CompletionCandidate::new(word).help(Some(escaped(&command).into()));
            let is_named = process.status.name.is_some();
            offers.extend(process.status.name.clone().map(offer));
            if !is_named || !current.is_empty() {
                offers.push(offer(process.id.to_string()));
            }
        }
        offers
    }

    /// Names of all workspaces, with something behind each.
    pub fn workspaces(&self, behind: &str) -> Vec<CompletionCandidate> {
        let listed = self.ask(async |client| client.list_workspaces().await);
        let listed = listed.unwrap_or_default();
        let offer = |workspace: prn_client::Workspace| {
            CompletionCandidate::new(format!("{}{behind}", workspace.name))
                .help(Some("a workspace".into()))
        };
        listed.into_iter().map(offer).collect()
    }

    fn ask<T, F>(&self, call: impl FnOnce(Client) -> F) -> Option<T>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let remote = Remote::silent(self.connection()?).ok()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .ok()?;
        let answer = runtime.block_on(async { call(remote.connect().await?).await });
        // A name lookup that hangs must not keep the rest waiting.
        std::mem::forget(runtime);
        answer.ok()
    }

    fn connection(&self) -> Option<Connection> {
        let words = [OsString::from("prn")]
            .into_iter()
            .chain(self.flags.clone());
        let parser = Connection::augment_args(clap::Command::new("prn"));
        Connection::from_arg_matches(&parser.try_get_matches_from(words).ok()?).ok()
    }
}

/// The words that are flags of [`Connection`], with their values.
fn connection_flags(words: &[OsString]) -> Vec<OsString> {
    let parser = Connection::augment_args(clap::Command::new("prn"));
    let names: Vec<String> = parser
        .get_arguments()
        .filter_map(|arg| arg.get_long().map(|long| format!("--{long}")))
        .collect();
    let mut found = Vec::new();
    // The last word is unfinished.
    let words = words.split_last().map_or(words, |(_, before)| before);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if names.iter().any(|name| *name == text) {
            let value = words.next();
            found.extend(
                value
                    .map(|value| [word.clone(), value.clone()])
                    .into_iter()
                    .flatten(),
            );
        } else if text
            .split_once('=')
            .is_some_and(|(name, _)| names.iter().any(|known| known == name))
        {
            found.push(word.clone());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_the_one_that_the_line_names() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let line = "prn status --address h:1 -o wide --client-cert=c.pem x --server-cert";
        assert_eq!(
            connection_flags(&words(line)),
            words("--address h:1 --client-cert=c.pem")
        );
        assert!(connection_flags(&words("prn status ")).is_empty());
    }
}
