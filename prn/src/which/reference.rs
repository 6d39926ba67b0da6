//! Which process is meant: its id, the beginning of it, or its name.

use std::fmt;
use std::str::FromStr;

use prn_client::{Client, ClientError, ListRequest, Process, ProcessId, Selector, State};

use crate::output;

/// Digits of an id that stand for it to people.
const SHORT: usize = 12;

/// From so many digits on a word is taken to be the beginning of an id: a process that has it as its
/// name must not get what is meant for another.
const LIKELY_ID: usize = 8;

/// Most processes that an ambiguous word is shown to stand for.
const SHOWN: usize = 5;

/// Most letters of a command that is shown among others.
const COMMAND_MAX: usize = 40;

/// A process as people name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// By its whole id.
    Id(ProcessId),
    /// By its name, or by the first digits of its id.
    Word(String),
}

/// A text names no process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no process can be called that: write an id, the beginning of one, or a name")]
pub struct InvalidReference;

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_word = text.len() < 64
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(is_part);
        is_word
            .then(|| Self::Word(text.to_owned()))
            .ok_or(InvalidReference)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Word(word) => f.write_str(word),
        }
    }
}

/// Why it is not known which process is meant.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// The server could not be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// None is.
    #[error("no process is called {0}, and no id begins with it")]
    None(String),
    /// Several may be.
    #[error("{word} stands for {count} processes: {candidates}")]
    Ambiguous {
        /// The word.
        word: String,
        /// How many.
        count: usize,
        /// Some of them, for people.
        candidates: String,
    },
}

/// Which process is meant. A whole id is not looked up.
pub async fn resolve(client: &Client, reference: &Reference) -> Result<ProcessId, ReferenceError> {
    match reference {
        Reference::Id(id) => Ok(*id),
        Reference::Word(_) => look_up(client, reference, None).await,
    }
}

/// The same of one of several servers: a whole id is looked up, too.
pub async fn resolve_there(
    client: &Client,
    reference: &Reference,
) -> Result<ProcessId, ReferenceError> {
    look_up(client, reference, None).await
}

/// Which process of a workspace is meant: what is not in it is not there. A whole id is looked up, too.
pub async fn resolve_within(
    client: &Client,
    reference: &Reference,
    workspace: &str,
) -> Result<ProcessId, ReferenceError> {
    look_up(client, reference, Some(workspace)).await
}

async fn look_up(
    client: &Client,
    reference: &Reference,
    workspace: Option<&str>,
) -> Result<ProcessId, ReferenceError> {
    let word = reference.to_string();
    let selector = selector(reference, workspace);
    let mut request = ListRequest::default();
    request.selector = Some(selector);
    request.newest_first = true;
    let mut pages = client.pages(request);
    let mut found = Vec::new();
    while let Some(page) = pages.next().await? {
        found.extend(page);
    }
    meant(&word, &found)
}

fn selector(reference: &Reference, workspace: Option<&str>) -> Selector {
    let mut selector = Selector::default();
    match reference {
        Reference::Id(id) => selector.processes = vec![*id],
        Reference::Word(word) => selector.id_prefix_or_name = Some(word.clone()),
    }
    selector.workspace = workspace.map(str::to_owned);
    selector
}

/// Of those that have it as their name or as the beginning of their id, the newest first: the living
/// one of that name, else the newest of that name, else the only one. A long beginning of an id is no
/// name while an id begins with it.
fn meant(word: &str, found: &[Process]) -> Result<ProcessId, ReferenceError> {
    let begins = |process: &&Process| process.id.to_string().starts_with(word);
    let is_named = |process: &&Process| process.status.name.as_deref() == Some(word);
    let is_either = word.len() >= LIKELY_ID
        && found.iter().any(|process| begins(&process))
        && found
            .iter()
            .any(|process| is_named(&process) && !begins(&process));
    if is_either {
        return Err(ambiguous(word, found));
    }
    let mut named = (found.iter()).filter(|process| process.status.name.as_deref() == Some(word));
    let living = (named.clone()).find(|process| process.status.state == State::Running);
    if let Some(process) = living.or_else(|| named.next()) {
        return Ok(process.id);
    }
    match found {
        [] => Err(ReferenceError::None(word.to_owned())),
        [one] => Ok(one.id),
        several => Err(ambiguous(word, several)),
    }
}

fn ambiguous(word: &str, found: &[Process]) -> ReferenceError {
    ReferenceError::Ambiguous {
        word: word.to_owned(),
        count: found.len(),
        candidates: candidates(found),
    }
}

fn candidates(found: &[Process]) -> String {
    let shown = found.iter().take(SHOWN).map(|process| {
        let status = &process.status;
        let name = status.name.as_ref().map(|name| format!("{name}, "));
        let command = cut(&status.command, COMMAND_MAX);
        format!(
            "{} ({}{}: {command})",
            short(process.id),
            name.unwrap_or_default(),
            output::show_state(status),
        )
    });
    let mut shown: Vec<_> = shown.collect();
    if found.len() > SHOWN {
        shown.push("…".to_owned());
    }
    shown.join(", ")
}

fn short(id: ProcessId) -> String {
    id.to_string().chars().take(SHORT).collect()
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let begin: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{begin}…")
}

#[cfg(test)]
mod tests {
    use super::*;
    use prn_proto::v1;

    fn process(id: &str, name: &str, state: v1::ProcessState) -> Process {
        let status = v1::ProcessStatus {
            command: "sleep 1".to_owned(),
            name: name.to_owned(),
            state: state.into(),
            ..Default::default()
        };
        Process::try_from(v1::Process {
            id: Some(v1::ProcessIdentifier {
                id: format!("{id:0<32}"),
            }),
            status: Some(status),
        })
        .unwrap()
    }

    #[test]
    fn a_word_is_a_whole_id_or_may_be_a_name() {
        let id = "fcd2310e7b9a462a5d88c3a0ff4e2d9b";
        assert_eq!(id.parse(), Ok(Reference::Id(id.parse().unwrap())));
        for word in ["fcd", "web", "web-1.a_b", "42", "7B", &"f".repeat(63)] {
            assert_eq!(word.parse(), Ok(Reference::Word(word.to_owned())));
        }
        for bad in ["", "-x", ".x", "a/b", "a b", "é", &"f".repeat(64)] {
            assert_eq!(bad.parse::<Reference>(), Err(InvalidReference), "{bad}");
        }
    }

    #[test]
    fn what_is_meant_within_a_workspace_is_looked_up_there() {
        let id: ProcessId = "fcd2310e7b9a462a5d88c3a0ff4e2d9b".parse().unwrap();
        let by_id = selector(&Reference::Id(id), Some("w1"));
        assert_eq!(by_id.processes, [id]);
        let by_word = selector(&Reference::Word("web".to_owned()), Some("w1"));
        assert_eq!(by_word.id_prefix_or_name.as_deref(), Some("web"));
        for selector in [by_id, by_word] {
            assert_eq!(selector.workspace.as_deref(), Some("w1"));
        }
    }

    #[test]
    fn a_living_name_comes_first_then_the_newest_of_the_name_then_the_only_beginning() {
        use v1::ProcessState::{Running, Stopped};
        let id = |process: &Process| process.id;
        let named = process("1", "abc", Running);
        let ended = process("2", "abc", Stopped);
        let older = process("3", "abc", Stopped);
        let begins = process("abc4", "", Running);
        let begins_too = process("abc5", "web", Stopped);
        for (found, expected) in [
            (
                vec![ended.clone(), named.clone(), begins.clone()],
                id(&named),
            ),
            (vec![begins.clone(), ended.clone(), older], id(&ended)),
            (vec![begins.clone()], id(&begins)),
        ] {
            assert_eq!(meant("abc", &found).unwrap(), expected);
        }
        assert!(matches!(meant("abc", &[]), Err(ReferenceError::None(_))));
        // Whoever calls a process like the beginning of another one's id gets nothing of it.
        let squatter = process("1", "abcdef01", Running);
        let meant_one = process("abcdef01", "", Running);
        let found = [squatter.clone(), meant_one];
        assert!(matches!(
            meant("abcdef01", &found),
            Err(ReferenceError::Ambiguous { count: 2, .. })
        ));
        assert_eq!(meant("abcdef01", &found[..1]).unwrap(), id(&squatter));
        let error = meant("abc", &[begins, begins_too]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "abc stands for 2 processes: abc400000000 (Running: sleep 1), abc500000000 (web, Stopped: sleep 1)"
        );
        let many: Vec<_> = (0..9)
            .map(|number| process(&format!("abc{number}"), "", Running))
            .collect();
        let said = meant("abc", &many).unwrap_err().to_string();
        assert_eq!(said.matches("sleep 1").count(), 5, "{said}");
        assert!(
            said.contains("9 processes") && said.ends_with('…'),
            "{said}"
        );
    }
}
