//! Lists: which processes a request asks for, in which order, and how many of them an answer has
//! room for.
//!
//! The table is walked in steps, so that a list of ten thousand holds neither its lock nor a copy
//! of it, and others get their turn meanwhile.

use prn_ipc_protocol::message::ProcessInfo;
use prn_ipc_protocol::types::UnixMicros;
use prn_proto::v1;
use prost::Message;
use prost::encoding::message::encoded_len;
use ring::digest::{Context, SHA256};

use crate::convert::{self, InvalidField, Violations};
use crate::mirror::{Mirror, Order};

/// Most bytes of processes in an answer: what gRPC clients take by default is 4 MiB, and the rest
/// is for the other fields and for what a client's own wrapping takes.
pub const ANSWER_MAX: usize = 4 * 1024 * 1024 - 64 * 1024;

/// Most processes of a page.
const PAGE_MAX: usize = 1000;

/// Field number of [`v1::ListResponse::processes`].
const PROCESSES: u32 = 1;

/// What a request asks for.
#[derive(Debug)]
pub struct Query {
    selection: Selection,
    order: Order,
    page: Page,
    with_argv: bool,
    /// Of the request, for the token of the next page.
    digest: String,
}

/// Which processes.
#[derive(Debug, Default)]
struct Selection {
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
enum Page {
    /// All, or the newest that there is room for.
    Whole,
    /// So many at most, of those that come after this number in the list's order.
    Part { most: usize, after: Option<u64> },
}

impl Query {
    /// From a request that came at the time `now`, in the supervisor's run `epoch`.
    pub fn new(raw: &v1::ListRequest, now: UnixMicros, epoch: &str) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        let digest = digest(raw, epoch);
        let order = violations.check(order(raw.order));
        let selection = Selection::new(raw, now, &mut violations);
        let page = Page::new(raw, &digest, &mut violations);
        match (order, selection, page) {
            (Some(order), Some(selection), Some(page)) => Ok(Self {
                selection,
                order,
                page,
                with_argv: raw.with_argv,
                digest,
            }),
            _ => Err(violations),
        }
    }

    /// The answer, but for the boot epoch.
    pub async fn answer(&self, mirror: &Mirror) -> v1::ListResponse {
        match self.page {
            Page::Whole => self.whole(mirror).await,
            Page::Part { most, after } => self.part(mirror, most, after).await,
        }
    }

    /// Newest first whatever the order is: these are kept if not all have room.
    async fn whole(&self, mirror: &Mirror) -> v1::ListResponse {
        let mut room = Room::default();

        for process in mirror.walk(Order::NewestFirst, None) {
            tokio::task::coop::consume_budget().await;
            let info = process.info();
            if self.selection.has(&info) {
                room.put(|| convert::listed(&info, self.with_argv));
            }
        }
        if self.order == Order::OldestFirst {
            room.processes.reverse();
        }
        v1::ListResponse {
            processes: room.processes,
            left_out: room.left_out,
            ..v1::ListResponse::default()
        }
    }

    async fn part(&self, mirror: &Mirror, most: usize, after: Option<u64>) -> v1::ListResponse {
        let mut room = Room::default();

        let mut last = after;
        let mut is_cut = false;
        for process in mirror.walk(self.order, after) {
            tokio::task::coop::consume_budget().await;
            let info = process.info();
            if !self.selection.has(&info) {
                continue;
            }
            is_cut = room.processes.len() >= most
                || !room.put(|| convert::listed(&info, self.with_argv));
            if is_cut {
                break;
            }
            last = Some(info.number);
        }
        let token = |number| format!("{number:016x}{}", self.digest);
        v1::ListResponse {
            processes: room.processes,
            next_page_token: last.filter(|_| is_cut).map_or(String::new(), token),
            ..v1::ListResponse::default()
        }
    }
}

/// What an answer has taken so far.
#[derive(Default)]
struct Room {
    processes: Vec<v1::Process>,
    bytes: usize,
    left_out: u64,
}

impl Room {
    /// False: there is no room for it, and from then on for none. (A single process always has
    /// some: its arguments are bounded.)
    fn put(&mut self, process: impl FnOnce() -> v1::Process) -> bool {
        if self.left_out == 0 {
            let process = process();
            let bytes = self.bytes + encoded_len(PROCESSES, &process);
            if bytes <= ANSWER_MAX {
                self.processes.push(process);
                self.bytes = bytes;
                return true;
            }
        }
        self.left_out += 1;
        false
    }
}

impl Selection {
    fn new(raw: &v1::ListRequest, now: UnixMicros, violations: &mut Violations) -> Option<Self> {
        let running = match v1::ProcessState::try_from(raw.state) {
            Ok(v1::ProcessState::Unspecified) => Ok(None),
            Ok(v1::ProcessState::Running) => Ok(Some(true)),
            Ok(v1::ProcessState::Stopped) => Ok(Some(false)),
            Ok(v1::ProcessState::Sleeping | v1::ProcessState::Zombie) | Err(_) => {
                let why = "must be PROCESS_STATE_RUNNING, PROCESS_STATE_STOPPED or absent for both";
                Err(InvalidField::new("state", why))
            }
        };
        let running = violations.check(running);
        let mut span = |since, since_field: &str, before, before_field: &str| {
            let mut time = |at: &Option<v1::OutputTime>, field: &str| {
                let time = at.as_ref().map(|at| convert::instant(at, field, now));
                violations.check(time.transpose())
            };
            let (since, before) = (time(since, since_field), time(before, before_field));
            let span = Span {
                since: since?,
                before: before?,
            };
            violations.check(span.checked(since_field, before_field))
        };
        let started = span(
            &raw.started_since,
            "started_since",
            &raw.started_before,
            "started_before",
        );
        let ended = span(
            &raw.ended_since,
            "ended_since",
            &raw.ended_before,
            "ended_before",
        );
        Some(Self {
            running: running?,
            started: started?,
            ended: ended?,
        })
    }

    fn has(&self, info: &ProcessInfo) -> bool {
        let ended = info.end.as_ref().map(|end| end.at);
        self.running
            .is_none_or(|running| running == ended.is_none())
            && self.started.has(info.started)
            && ended.map_or(self.ended.is_open(), |at| self.ended.has(at))
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

fn order(raw: i32) -> Result<Order, InvalidField> {
    match v1::list_request::Order::try_from(raw) {
        Ok(v1::list_request::Order::Unspecified | v1::list_request::Order::OldestFirst) => {
            Ok(Order::OldestFirst)
        }
        Ok(v1::list_request::Order::NewestFirst) => Ok(Order::NewestFirst),
        Err(_) => Err(InvalidField::new(
            "order",
            "must be ORDER_OLDEST_FIRST or ORDER_NEWEST_FIRST",
        )),
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
    let mut context = Context::new(&SHA256);
    context.update(epoch.as_bytes());
    context.update(&common.encode_to_vec());
    let digest = context.finish();
    digest
        .as_ref()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::tests::{ended, info};
    use prn_ipc_protocol::message::{ExitCause, ExitStatus, OutputTotals};

    const NOW: UnixMicros = UnixMicros(2_000_000_000_000_000);
    const EPOCH: &str = "00000000000000000000000000000000";

    fn mirror(count: u64) -> Mirror {
        let mirror = Mirror::default();
        for number in 1..=count {
            let id = format!("{number:032x}");
            let info = info(&id, number);
            mirror.update(if number % 2 == 0 { stopped(info) } else { info });
        }
        mirror
    }

    fn stopped(info: ProcessInfo) -> ProcessInfo {
        let totals = OutputTotals {
            first: 0,
            end: 0,
            stdout: 0,
            stderr: 0,
        };
        ended(info, ExitStatus::Exited(0), ExitCause::Exited, totals)
    }

    async fn answer(mirror: &Mirror, raw: v1::ListRequest) -> (Vec<u64>, v1::ListResponse) {
        let answer = Query::new(&raw, NOW, EPOCH).unwrap().answer(mirror).await;
        let numbers = answer
            .processes
            .iter()
            .map(|process| u64::from_str_radix(&process.id.as_ref().unwrap().id, 16).unwrap())
            .collect();
        (numbers, answer)
    }

    async fn pages(mirror: &Mirror, raw: v1::ListRequest) -> Vec<Vec<u64>> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let raw = v1::ListRequest {
                page_token,
                ..raw.clone()
            };
            let (numbers, answer) = answer(mirror, raw).await;
            all.push(numbers);
            page_token = answer.next_page_token;
            if page_token.is_empty() {
                return all;
            }
        }
    }

    #[tokio::test]
    async fn a_list_without_a_page_has_all_oldest_first_and_no_argv() {
        let (numbers, answer) = answer(&mirror(2500), v1::ListRequest::default()).await;
        assert_eq!(numbers, (1..=2500).collect::<Vec<_>>());
        assert!(answer.next_page_token.is_empty() && answer.left_out == 0);
        let status = answer.processes[0].status.as_ref().unwrap();
        assert!(status.argv.is_empty() && !status.command.is_empty());
    }

    #[tokio::test]
    async fn pages_have_each_process_once_in_either_order() {
        let mirror = mirror(7);
        let sized = |page_size, order: v1::list_request::Order| v1::ListRequest {
            page_size,
            order: order.into(),
            ..Default::default()
        };
        let oldest = sized(3, v1::list_request::Order::OldestFirst);
        assert_eq!(
            pages(&mirror, oldest).await,
            [vec![1, 2, 3], vec![4, 5, 6], vec![7]]
        );
        let newest = sized(7, v1::list_request::Order::NewestFirst);
        assert_eq!(pages(&mirror, newest).await, [[7, 6, 5, 4, 3, 2, 1]]);
        let running = v1::ListRequest {
            state: v1::ProcessState::Running.into(),
            ..sized(2, v1::list_request::Order::NewestFirst)
        };
        assert_eq!(pages(&mirror, running).await, [[7, 5], [3, 1]]);
        let long = sized(i32::MAX, v1::list_request::Order::Unspecified);
        let lengths: Vec<usize> = pages(&self::mirror(2500), long)
            .await
            .iter()
            .map(Vec::len)
            .collect();
        assert_eq!(lengths, [1000, 1000, 500]);
    }

    #[tokio::test]
    async fn what_has_no_room_is_on_the_next_page_or_is_counted_and_the_newest_are_kept() {
        let mirror = Mirror::default();
        for number in 1..=50 {
            let mut info = info(&format!("{number:032x}"), number);
            let long = std::ffi::CString::new("x".repeat(120_000)).unwrap();
            info.spec.argv = vec![c"echo".into(), long].try_into().unwrap();
            mirror.update(info);
        }
        let (numbers, whole) = answer(&mirror, v1::ListRequest::default()).await;
        assert!(whole.encoded_len() <= 4 * 1024 * 1024);
        let first = 50 - u64::try_from(numbers.len()).unwrap() + 1;
        assert!(numbers.len() >= 30);
        assert_eq!(numbers, (first..=50).collect::<Vec<_>>());
        assert_eq!(whole.left_out, first - 1);
        let paged = v1::ListRequest {
            page_size: 50,
            ..Default::default()
        };
        assert_eq!(
            pages(&mirror, paged).await.concat(),
            (1..=50).collect::<Vec<_>>()
        );
    }

    #[tokio::test]
    async fn times_select() {
        let mirror = mirror(4);
        let started = info("11111111111111111111111111111111", 1).started;
        let at = |micros: u64| {
            Some(v1::OutputTime {
                at: Some(v1::output_time::At::Time(convert::timestamp(UnixMicros(
                    micros,
                )))),
            })
        };
        let cases = [
            (at(started.0), None, 4),
            (at(started.0 + 1), None, 0),
            (None, at(started.0), 0),
            (None, at(started.0 + 1), 4),
        ];
        for (started_since, started_before, count) in cases {
            let raw = v1::ListRequest {
                started_since,
                started_before,
                ..Default::default()
            };
            assert_eq!(answer(&mirror, raw).await.0.len(), count);
        }
        let raw = v1::ListRequest {
            ended_since: at(1),
            ..Default::default()
        };
        assert_eq!(answer(&mirror, raw).await.0, [2, 4], "those that ended");
    }

    #[test]
    fn each_bad_field_is_told_and_a_token_is_of_one_request_and_one_run() {
        let fields = |raw: &v1::ListRequest, epoch: &str| -> Vec<String> {
            Query::new(raw, NOW, epoch)
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
