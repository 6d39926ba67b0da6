//! Which processes a call is about.

use std::str::FromStr;

use prn_proto::id::ProcessId;
use prn_proto::v1::{self, label_match::Operator};

use crate::process::State;

/// Which processes: those that all of it is true of. The default is all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Selector {
    /// One of these, 1,000 at most. Empty: any.
    pub processes: Vec<ProcessId>,
    /// Its id begins with these hexadecimal digits, or this is its name.
    pub id_prefix_or_name: Option<String>,
    /// Its name is one of these, 1,000 at most. Empty: any, or none.
    pub names: Vec<String>,
    /// Its labels match all of these, 32 at most.
    pub labels: Vec<LabelMatch>,
    /// In this state.
    pub state: Option<State>,
    /// It ended like this.
    pub outcome: Option<Outcome>,
    /// It was started in this workspace.
    pub workspace: Option<String>,
    /// It was started by this principal.
    pub started_by: Option<String>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its main process exited with code 0 by itself.
    Succeeded,
    /// Its main process ended in any other way.
    Failed,
}

/// Something about one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelMatch {
    /// Its key.
    pub key: String,
    /// What about it.
    pub is: LabelIs,
}

/// What is asked of a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelIs {
    /// It is there, with this value.
    Equal(String),
    /// It is not there, or has another value than this.
    NotEqual(String),
    /// It is there.
    Set,
    /// It is not there.
    Unset,
}

/// Several of them as people write them, with commas between: `key=value`, `key!=value`, `key` and
/// `!key`. A comma that belongs to a value has a backslash before it, and so has a backslash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector(pub Vec<LabelMatch>);

/// A text is not a [`LabelSelector`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{part}\" selects nothing: {}", why(part))]
pub struct InvalidSelector {
    /// What is wrong of it.
    part: String,
}

fn why(part: &str) -> &'static str {
    let is_of_set = |word: &str| ["in", "notin"].contains(&word);
    let mut words = part.split([' ', '(']);
    if words.nth(1).is_some_and(is_of_set) {
        "there are no sets (in, notin): key=value selects one value, key!=value all others"
    } else {
        "key=value, key!=value, key and !key do, with commas between"
    }
}

/// The parts between commas. A character behind a backslash is one as any other.
fn parts(text: &str) -> Vec<String> {
    let mut part = String::new();
    let mut parts = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => part.extend(chars.next().or(Some(c))),
            ',' => parts.push(std::mem::take(&mut part)),
            c => part.push(c),
        }
    }
    parts.push(part);
    parts
}

impl FromStr for LabelSelector {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        let parts = parts(text);
        let parts = parts.iter().map(|part| part.trim().parse());
        parts.collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for LabelMatch {
    type Err = InvalidSelector;

    fn from_str(part: &str) -> Result<Self, InvalidSelector> {
        let value = |value: &str| value.trim().to_owned();
        let (key, is) = if let Some((key, other)) = part.split_once("!=") {
            (key, LabelIs::NotEqual(value(other)))
        } else if let Some((key, equal)) = part.split_once("==") {
            (key, LabelIs::Equal(value(equal)))
        } else if let Some((key, equal)) = part.split_once('=') {
            (key, LabelIs::Equal(value(equal)))
        } else if let Some(key) = part.strip_prefix('!') {
            (key, LabelIs::Unset)
        } else {
            (part, LabelIs::Set)
        };
        let key = key.trim();
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        if key.is_empty() || !key.bytes().all(is_part) {
            let part = part.to_owned();
            return Err(InvalidSelector { part });
        }
        let key = key.to_owned();
        Ok(Self { key, is })
    }
}

impl From<LabelMatch> for v1::LabelMatch {
    fn from(label: LabelMatch) -> Self {
        let (operator, value) = match label.is {
            LabelIs::Equal(value) => (Operator::Equal, value),
            LabelIs::NotEqual(value) => (Operator::NotEqual, value),
            LabelIs::Set => (Operator::Exists, String::new()),
            LabelIs::Unset => (Operator::NotExists, String::new()),
        };
        Self {
            key: label.key,
            operator: operator.into(),
            value,
        }
    }
}

impl From<Selector> for v1::ProcessSelector {
    fn from(selector: Selector) -> Self {
        let outcome = match selector.outcome {
            None => v1::process_selector::Outcome::Unspecified,
            Some(Outcome::Succeeded) => v1::process_selector::Outcome::Succeeded,
            Some(Outcome::Failed) => v1::process_selector::Outcome::Failed,
        };
        Self {
            processes: selector.processes.into_iter().map(Into::into).collect(),
            id_prefix_or_name: selector.id_prefix_or_name.unwrap_or_default(),
            names: selector.names,
            labels: selector.labels.into_iter().map(Into::into).collect(),
            state: State::to_wire(selector.state).into(),
            outcome: outcome.into(),
            workspace: selector.workspace.unwrap_or_default(),
            started_by: selector.started_by.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_selected_as_kubectl_selects_them() {
        let label = |key: &str, is| LabelMatch {
            key: key.to_owned(),
            is,
        };
        let equal = |value: &str| LabelIs::Equal(value.to_owned());
        let other = |value: &str| LabelIs::NotEqual(value.to_owned());
        let cases = [
            ("a=b", vec![label("a", equal("b"))]),
            ("a==b", vec![label("a", equal("b"))]),
            ("a=", vec![label("a", equal(""))]),
            ("a!=b", vec![label("a", other("b"))]),
            ("a=b!c", vec![label("a", equal("b!c"))]),
            (
                r"a=b\,c,d=e\\",
                vec![label("a", equal("b,c")), label("d", equal(r"e\"))],
            ),
            ("x/a.b-c_d", vec![label("x/a.b-c_d", LabelIs::Set)]),
            ("!a", vec![label("a", LabelIs::Unset)]),
            (
                "a = b, c != d ,e,!f",
                vec![
                    label("a", equal("b")),
                    label("c", other("d")),
                    label("e", LabelIs::Set),
                    label("f", LabelIs::Unset),
                ],
            ),
        ];
        for (text, labels) in cases {
            assert_eq!(text.parse(), Ok(LabelSelector(labels)), "{text}");
        }
        for bad in ["", ",", "a,", "=b", "!", "!=b", "a b", "!a=b", r"a,\,"] {
            let error = bad.parse::<LabelSelector>().unwrap_err().to_string();
            assert!(error.contains("key=value"), "{bad}: {error}");
        }
        for bad in ["a in (b)", "a in (b,c)", "a notin (b)", "c,a in(b)"] {
            let error = bad.parse::<LabelSelector>().unwrap_err().to_string();
            assert!(error.contains("no sets"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_selector_that_says_nothing_is_an_empty_message() {
        let empty = v1::ProcessSelector::from(Selector::default());
        assert_eq!(empty, v1::ProcessSelector::default());
    }
}
