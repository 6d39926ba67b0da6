//! What Watch asks for, and where it goes on.

use std::sync::Arc;

use prn_proto::v1;
use prost::Message;

use crate::convert::digest::digest;
use crate::convert::fields::{InvalidField, Violations};
use crate::convert::selector;
use crate::scope::Scope;
use crate::selector::Selector;

/// What is watched.
#[derive(Debug)]
pub struct Watch {
    /// Which processes.
    pub selector: Selector,
    /// Where it goes on.
    pub from: From,
    /// Ends when all that is so was told.
    pub no_follow: bool,
    /// With their arguments.
    pub with_argv: bool,
    /// Its cursors.
    pub cursors: Cursors,
}

/// Where a watch goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// Nothing was told yet.
    Beginning,
    /// All was told up to this change, as this cursor says.
    Change(u64, String),
    /// This cursor is of another run of the server, or of other processes.
    Elsewhere(String),
}

/// The cursors of one selector, in one run of the server, of those who get to see the same.
#[derive(Debug, Clone)]
pub struct Cursors {
    epoch: Arc<str>,
    digest: String,
}

impl Cursors {
    fn new(selector: &v1::ProcessSelector, epoch: &Arc<str>, scope: &Scope) -> Self {
        Self {
            epoch: Arc::clone(epoch),
            digest: digest(&[&selector.encode_to_vec(), &scope.bytes()]),
        }
    }

    /// The one that says that all was told up to this change.
    pub fn at(&self, change: u64) -> String {
        format!("{}-{}-{change:x}", self.epoch, self.digest)
    }

    /// The run of the server.
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    fn read(&self, text: String) -> Result<From, InvalidField> {
        if text.is_empty() {
            return Ok(From::Beginning);
        }
        let read = || {
            let (epoch, rest) = text.split_once('-')?;
            let (digest, change) = rest.split_once('-')?;
            let change = u64::from_str_radix(change, 16).ok()?;
            Some((epoch == self.epoch() && digest == self.digest, change))
        };
        match read() {
            Some((true, change)) => Ok(From::Change(change, text)),
            Some((false, _)) => Ok(From::Elsewhere(text)),
            None => {
                let why = "must be a cursor that a watch has sent, or absent for all";
                Err(InvalidField::new("after", why))
            }
        }
    }
}

/// What a request watches, in the supervisor's run `epoch`, of what its client gets to see.
pub fn watch(raw: v1::WatchRequest, epoch: &Arc<str>, scope: &Scope) -> Result<Watch, Violations> {
    let mut violations = Violations::default();
    let selected = raw.selector.unwrap_or_default();
    let cursors = Cursors::new(&selected, epoch, scope);
    let selector = selector::selector(&selected, scope, &mut violations);
    let from = violations.check(cursors.read(raw.after));
    match (selector, from) {
        (Some(selector), Some(from)) => Ok(Watch {
            selector,
            from,
            no_follow: raw.no_follow,
            with_argv: raw.with_argv,
            cursors,
        }),
        _ => Err(violations),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(selector: v1::ProcessSelector, after: &str, epoch: &str) -> Result<From, Violations> {
        let raw = v1::WatchRequest {
            selector: Some(selector),
            after: after.to_owned(),
            ..Default::default()
        };
        watch(raw, &epoch.into(), &Scope::All).map(|watch| watch.from)
    }

    #[test]
    fn a_cursor_is_of_one_selector_and_one_run_and_of_others_it_is_no_error() {
        let all = v1::ProcessSelector::default;
        let web = || v1::ProcessSelector {
            names: vec!["web".to_owned()],
            ..all()
        };
        let cursor = Cursors::new(&web(), &"e0".into(), &Scope::All).at(0x1f);
        assert_eq!(
            from(web(), &cursor, "e0"),
            Ok(From::Change(0x1f, cursor.clone()))
        );
        assert_eq!(
            from(web(), &cursor, "e1"),
            Ok(From::Elsewhere(cursor.clone()))
        );
        assert_eq!(from(all(), &cursor, "e0"), Ok(From::Elsewhere(cursor)));
        assert_eq!(from(all(), "", "e0"), Ok(From::Beginning));
        for bad in ["x", "e0-x", "e0-x-", "e0-x-y", "e0-x-11111111111111111"] {
            let faults = from(all(), bad, "e0").unwrap_err();
            let fields: Vec<_> = faults.fields().map(|fault| fault.field.as_str()).collect();
            assert_eq!(fields, ["after"], "{bad}");
        }
    }
}
