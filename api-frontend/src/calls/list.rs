//! List: answered from the mirror, with as many processes as an answer has room for.
//!
//! The table is walked in steps, so that a list of ten thousand holds neither its lock nor a copy
//! of it, and others run meanwhile.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use prn_ipc_protocol::policy::Verb;
use prn_ipc_protocol::types::UnixMicros;
use prn_proto::{LEFT_OUT_METADATA, v1};
use prost::encoding::message::encoded_len;
use tonic::Status;

use crate::calls::server::Server;
use crate::clients::Client;
use crate::convert::list::{Page, Query};
use crate::convert::process;
use crate::errors;
use crate::mirror::{Mirror, Order};

/// Most bytes of processes in an answer: what gRPC clients take by default is 4 MiB, and the rest
/// is for the other fields and for what a client's own wrapping takes.
pub const ANSWER_MAX: usize = 4 * 1024 * 1024 - 64 * 1024;

/// Field number of [`v1::ListResponse::processes`].
const PROCESSES: u32 = 1;

/// Lists processes. The trailing metadata is for clients that know of no pages.
pub async fn list(
    server: &Server,
    client: &Client,
    request: &v1::ListRequest,
) -> Result<(v1::ListResponse, HeaderMap), Status> {
    client.access.check(Verb::List)?;
    let scope = client.access.scope();
    let query = Query::new(request, UnixMicros::now(), &server.epoch, scope)?;
    // Never closed. The wait ends with the call, at its deadline or with its client.
    let permit = client
        .lists
        .acquire()
        .await
        .map_err(|_| errors::internal())?;
    let mut list = answer(&query, &server.mirror).await;
    drop(permit);
    list.boot_epoch = server.boot_epoch();
    let mut trailers = HeaderMap::new();
    if list.left_out > 0 {
        let name = HeaderName::from_static(LEFT_OUT_METADATA);
        trailers.insert(name, HeaderValue::from(list.left_out));
    }
    Ok((list, trailers))
}

/// The answer, but for the boot epoch.
async fn answer(query: &Query, mirror: &Mirror) -> v1::ListResponse {
    match query.page {
        Page::Whole => whole(query, mirror).await,
        Page::Part { most, after } => part(query, mirror, most, after).await,
    }
}

/// Newest first whatever the order is: these are kept if not all have room.
async fn whole(query: &Query, mirror: &Mirror) -> v1::ListResponse {
    let mut room = Room::default();
    for process in mirror.candidates(&query.selection.selector, Order::NewestFirst, None) {
        tokio::task::coop::consume_budget().await;
        let info = process.info();
        if query.selection.has(&info) {
            room.put(|| process::listed(&info, query.with_argv));
        }
    }
    if query.order == Order::OldestFirst {
        room.processes.reverse();
    }
    v1::ListResponse {
        processes: room.processes,
        left_out: room.left_out,
        ..v1::ListResponse::default()
    }
}

async fn part(query: &Query, mirror: &Mirror, most: usize, after: Option<u64>) -> v1::ListResponse {
    let mut room = Room::default();
    let mut last = after;
    let mut is_cut = false;
    for process in mirror.candidates(&query.selection.selector, query.order, after) {
        tokio::task::coop::consume_budget().await;
        let info = process.info();
        if !query.selection.has(&info) {
            continue;
        }
        is_cut =
            room.processes.len() >= most || !room.put(|| process::listed(&info, query.with_argv));
        if is_cut {
            break;
        }
        last = Some(info.number);
    }
    let next = last.filter(|_| is_cut);
    v1::ListResponse {
        processes: room.processes,
        next_page_token: next.map_or(String::new(), |number| query.token(number)),
        ..v1::ListResponse::default()
    }
}

/// What an answer has taken so far.
#[derive(Debug, Default)]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::process::tests::{ended, info};
    use crate::convert::time::timestamp;
    use crate::scope::Scope;
    use prn_ipc_protocol::message::{ExitCause, ExitStatus, OutputTotals, ProcessInfo};
    use prost::Message;

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
        let answer =
            super::answer(&Query::new(&raw, NOW, EPOCH, &Scope::All).unwrap(), mirror).await;
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
                at: Some(v1::output_time::At::Time(timestamp(UnixMicros(micros)))),
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
}
