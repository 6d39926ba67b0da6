//! What List asks for: which processes, in which order, and how many of them.

use prn_ipc_protocol::message::ProcessInfo;
use prn_ipc_protocol::types::UnixMicros;
use prn_proto::v1;
use prost::Message;

use crate::convert::fields::{InvalidField, Violations};
use crate::convert::time::maybe;
use crate::convert::{digest, enums, selector};
use crate::mirror::Order;
use crate::scope::Scope;
use crate::selector::Selector;

/// Most processes of a page.
const PAGE_MAX: usize = 1000;

/// What a request asks for.
#[derive(Debug)]
pub struct Query {
    /// Which processes.
    pub selection: Selection,
    /// In which order.
    pub order: Order,
    /// How many.
    pub page: Page,
    /// With their arguments.
    pub with_argv: bool,
    /// Of the request, for the token of the next page.
    digest: String,
}

/// Which processes.
#[derive(Debug, Default)]
pub struct Selection {
    /// Of these.
    pub selector: Selector,
    running: Option<bool>,
    started: Span,
    ended: Span,
}

/// From the first time to before the second.
#[derive(Debug, Default)]
struct Span {
    since: Option<UnixMicros>,
    before: Option<UnixMicros>,
}

/// How much of them.
#[derive(Debug, PartialEq, Eq)]
pub enum Page {
    /// All, or the newest that there is room for.
    Whole,
    /// So many at most, of those that come after this number in the list's order.
    Part { most: usize, after: Option<u64> },
}

impl Query {
    /// From a request that came at the time `now`, in the supervisor's run `epoch`, of somebody who
    /// gets to see this.
    pub fn new(
        raw: &v1::ListRequest,
        now: UnixMicros,
        epoch: &str,
        scope: &Scope,
    ) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        let digest = digest(raw, epoch);
        let order = violations.check(enums::asked_order(raw.order));
        let selection = Selection::new(raw, now, scope, &mut violations);
        let page = Page::new(raw, &digest, &mut violations);
        match (order, selection, page) {
            (Some(order), Some(selection), Some(page)) => Ok(Self {
                selection,
                order: order.unwrap_or(Order::OldestFirst),
                page,
                with_argv: raw.with_argv,
                digest,
            }),
            _ => Err(violations),
        }
    }
}

impl Selection {
    fn new(
        raw: &v1::ListRequest,
        now: UnixMicros,
        scope: &Scope,
        violations: &mut Violations,
    ) -> Option<Self> {
        let selector = match &raw.selector {
            Some(raw) => selector::selector(raw, scope, violations),
            None => Some(Selector::of(scope)),
        };
        let running = violations.check(selector::running(raw.state, "state"));
        type Time<'a> = Option<&'a v1::OutputTime>;
        let mut span = |since: Time<'_>, since_field, before: Time<'_>, before_field| {
            let since = violations.check(maybe(since, since_field, now));
            let before = violations.check(maybe(before, before_field, now));
            let span = Span {
                since: since?,
                before: before?,
            };
            violations.check(span.checked(since_field, before_field))
        };
        let started = span(
            raw.started_since.as_ref(),
            "started_since",
            raw.started_before.as_ref(),
            "started_before",
        );
        let ended = span(
            raw.ended_since.as_ref(),
            "ended_since",
            raw.ended_before.as_ref(),
            "ended_before",
        );
        Some(Self {
            selector: selector?,
            running: running?,
            started: started?,
            ended: ended?,
        })
    }

    /// Whether this process is one of them.
    pub fn has(&self, info: &ProcessInfo) -> bool {
        let ended = info.end.as_ref().map(|end| end.at);
        self.running
            .is_none_or(|running| running == ended.is_none())
            && self.started.has(info.started)
            && ended.map_or(self.ended.is_open(), |at| self.ended.has(at))
            && self.selector.has(info)
    }
}

impl Span {
    fn checked(self, since_field: &str, before_field: &str) -> Result<Self, InvalidField> {
        match (self.since, self.before) {
            (Some(since), Some(before)) if before <= since => Err(InvalidField::new(
                before_field,
                format!("must be later than {since_field}"),
            )),
            _ => Ok(self),
        }
    }

    fn has(&self, at: UnixMicros) -> bool {
        self.since.is_none_or(|since| at >= since) && self.before.is_none_or(|before| at < before)
    }

    fn is_open(&self) -> bool {
        self.since.is_none() && self.before.is_none()
    }
}

impl Page {
    fn new(raw: &v1::ListRequest, digest: &str, violations: &mut Violations) -> Option<Self> {
        let size = usize::try_from(raw.page_size)
            .map_err(|_| InvalidField::new("page_size", "must not be negative"));
        let size = violations.check(size);
        if raw.page_token.is_empty() {
            return Some(match size? {
                0 => Self::Whole,
                size => Self::Part {
                    most: size.min(PAGE_MAX),
                    after: None,
                },
            });
        }
        let after = raw
            .page_token
            .strip_suffix(digest)
            .and_then(|number| u64::from_str_radix(number, 16).ok());
        let after = violations.check(after.ok_or_else(|| {
            let why = "must be the next_page_token of an answer to this request, in this run of the server";
            InvalidField::new("page_token", why)
        }));
        let most = match size? {
            0 => PAGE_MAX,
            size => size.min(PAGE_MAX),
        };
        Some(Self::Part {
            most,
            after: Some(after?),
        })
    }
}

impl Query {
    /// For the request for the page after the process with this number.
    pub fn token(&self, number: u64) -> String {
        format!("{number:016x}{}", self.digest)
    }
}

/// Of all that the pages of one list have in common, numbers of processes included: those begin
/// anew with each run of the supervisor.
fn digest(raw: &v1::ListRequest, epoch: &str) -> String {
    let common = v1::ListRequest {
        page_size: 0,
        page_token: String::new(),
        ..raw.clone()
    };
    digest::digest(&[epoch.as_bytes(), &common.encode_to_vec()])
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMicros = UnixMicros(2_000_000_000_000_000);
    const EPOCH: &str = "00000000000000000000000000000000";

    #[test]
    fn each_bad_field_is_told_and_a_token_is_of_one_request_and_one_run() {
        let fields = |raw: &v1::ListRequest, epoch: &str| -> Vec<String> {
            Query::new(raw, NOW, epoch, &Scope::All)
                .err()
                .unwrap_or_default()
                .fields()
                .map(|invalid| invalid.field.clone())
                .collect()
        };
        let bad = v1::ListRequest {
            page_size: -1,
            page_token: "x".to_owned(),
            state: v1::ProcessState::Zombie.into(),
            order: 9,
            started_since: Some(v1::OutputTime { at: None }),
            ..Default::default()
        };
        assert_eq!(
            fields(&bad, EPOCH),
            ["order", "state", "started_since", "page_size", "page_token"]
        );
        let first = v1::ListRequest {
            page_size: 3,
            ..Default::default()
        };
        let next = v1::ListRequest {
            page_size: 5,
            page_token: format!("{:016x}{}", 3, digest(&first, EPOCH)),
            ..Default::default()
        };
        assert!(fields(&next, EPOCH).is_empty());
        assert_eq!(fields(&next, "another run"), ["page_token"]);
        let other = v1::ListRequest {
            with_argv: true,
            ..next
        };
        assert_eq!(fields(&other, EPOCH), ["page_token"]);
    }
}
