//! Lists: pages, filters, what an answer has room for, and what `prn list` makes of it.

use std::time::Duration;

use prn_proto::LEFT_OUT_METADATA;
use prn_proto::v1::label_match::Operator;
use prn_proto::v1::list_request::Order;
use prn_proto::v1::output_time::At;
use prn_proto::v1::process_selector::Outcome;
use prn_proto::v1::{
    LabelMatch, ListRequest, ListResponse, OutputTime, ProcessSelector, ProcessState, StartRequest,
    StopRequest,
};
use prn_tests::client::{self, Client, identifier};
use prn_tests::server::Server;
use prn_tests::wait_for;
use prost::Message;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// What gRPC clients take by default.
const ANSWER_MAX: usize = 4 * 1024 * 1024;

#[test]
fn x10_an_answer_is_never_larger_than_stock_clients_take_and_the_newest_are_in_it() {
    let server = Server::start();
    runtime().block_on(async {
        let mut client = client::connect(&server).await.unwrap();
        let mut ids = Vec::new();
        for _ in 0..40 {
            ids.push(started(&mut client, &"x".repeat(120_000)).await);
        }
        // As of a client of the original surface.
        let response = client.list(ListRequest::default()).await.unwrap();
        let told = response.metadata().get(LEFT_OUT_METADATA).cloned();
        let whole = response.into_inner();
        let kept = listed(&whole);
        assert!(whole.encoded_len() <= ANSWER_MAX && kept.len() >= 30);
        let left_out = ids.len() - kept.len();
        assert_eq!(kept, ids[left_out..], "the newest, oldest first");
        assert_eq!(told.unwrap().to_str().unwrap(), left_out.to_string());
        assert_eq!(whole.left_out, u64::try_from(left_out).unwrap());

        // Page by page all arrive, with and without their arguments.
        for with_argv in [false, true] {
            let request = ListRequest {
                page_size: 1000,
                with_argv,
                ..ListRequest::default()
            };
            let pages = pages(&mut client, request).await;
            assert!(pages.len() > 1);
            assert!(pages.iter().all(|page| page.encoded_len() <= ANSWER_MAX));
            assert_eq!(pages.iter().flat_map(listed).collect::<Vec<_>>(), ids);
            let has_argv = |page: &ListResponse| {
                let statuses = page.processes.iter().map(|p| p.status.as_ref().unwrap());
                statuses.clone().all(|status| status.argv.len() == 3)
                    || !statuses.into_iter().all(|status| status.argv.is_empty())
            };
            assert_eq!(pages.iter().all(has_argv), with_argv);
        }
    });
    let json: serde_json::Value =
        serde_json::from_str(&server.ok(&["list", "-o", "json"])).unwrap();
    let processes = json["processes"].as_array().unwrap();
    assert_eq!(processes.len(), 40);
    assert_eq!(processes[0]["argv"].as_array().unwrap().len(), 3);
    assert_eq!(server.ok(&["list"]).lines().count(), 40 + 4);
}

#[test]
fn x10_pages_filters_and_orders_select() {
    let server = Server::start();
    runtime().block_on(async {
        let mut client = client::connect(&server).await.unwrap();
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push(started(&mut client, "x").await);
        }
        for id in [&ids[1], &ids[3]] {
            let request = StopRequest {
                process_identifier: identifier(id),
                ..StopRequest::default()
            };
            client.stop(request).await.unwrap();
        }
        let of = |numbers: &[usize]| -> Vec<String> {
            numbers.iter().map(|number| ids[*number].clone()).collect()
        };
        let ago = |seconds| {
            let ago = Duration::from_secs(seconds).try_into().unwrap();
            Some(OutputTime {
                at: Some(At::Ago(ago)),
            })
        };
        let running = ListRequest {
            state: ProcessState::Running.into(),
            ..ListRequest::default()
        };
        let newest = ListRequest {
            page_size: 2,
            order: Order::NewestFirst.into(),
            ..ListRequest::default()
        };
        let cases = [
            (running.clone(), &[0, 2, 4][..]),
            (
                ListRequest {
                    state: ProcessState::Stopped.into(),
                    ..ListRequest::default()
                },
                &[1, 3],
            ),
            (
                ListRequest {
                    started_since: ago(3600),
                    ..ListRequest::default()
                },
                &[0, 1, 2, 3, 4],
            ),
            (
                ListRequest {
                    started_before: ago(3600),
                    ..ListRequest::default()
                },
                &[],
            ),
            (
                ListRequest {
                    ended_since: ago(3600),
                    ..ListRequest::default()
                },
                &[1, 3],
            ),
            (
                ListRequest {
                    ended_before: ago(3600),
                    ..ListRequest::default()
                },
                &[],
            ),
            (newest.clone(), &[4, 3, 2, 1, 0]),
            (
                ListRequest {
                    state: running.state,
                    ..newest
                },
                &[4, 2, 0],
            ),
        ];
        for (request, numbers) in cases {
            let shown = format!("{request:?}");
            let pages = pages(&mut client, request).await;
            let ids: Vec<String> = pages.iter().flat_map(listed).collect();
            assert_eq!(ids, of(numbers), "{shown}");
        }

        // All that is wrong with a request is told at once.
        let bad = ListRequest {
            page_size: -1,
            page_token: "x".to_owned(),
            state: ProcessState::Zombie.into(),
            ..ListRequest::default()
        };
        let error = client.list(bad).await.unwrap_err();
        assert_eq!(fields(&error), ["state", "page_size", "page_token"]);
        let error = client.start(StartRequest {
            command: String::new(),
            working_directory: "here".to_owned(),
            output_policy: 9,
            ..StartRequest::default()
        });
        let named = ["output_policy", "working_directory", "command"];
        assert_eq!(fields(&error.await.unwrap_err()), named);
    });
}

#[test]
fn a_list_selects_by_id_name_label_state_outcome_and_workspace() {
    let server = Server::start();
    server.ok(&["workspace", "create", "w"]);
    let web = server.start_process(
        &["--name", "web", "--label", "app=shop", "--label", "tier=1"],
        &["sleep", "1000"],
    );
    let failed = server.start_process(&["--label", "app=shop"], &["false"]);
    let well = server.start_process(&["--workspace", "w"], &["true"]);
    wait_for("two ends", || {
        server.ok(&["list", "--finished"]).lines().count() == 2 + 4
    });
    let label = |key: &str, operator: Operator, value: &str| LabelMatch {
        key: key.to_owned(),
        operator: operator.into(),
        value: value.to_owned(),
    };
    let labels = |labels: &[LabelMatch]| ProcessSelector {
        labels: labels.to_vec(),
        ..ProcessSelector::default()
    };
    let short = |text: &str| ProcessSelector {
        id_prefix_or_name: text.to_owned(),
        ..ProcessSelector::default()
    };
    let outcome = |outcome: Outcome| ProcessSelector {
        outcome: outcome.into(),
        ..ProcessSelector::default()
    };
    let app = || label("app", Operator::Equal, "shop");
    let cases = [
        (ProcessSelector::default(), vec![&web, &failed, &well]),
        (short("web"), vec![&web]),
        (short(&failed[..12]), vec![&failed]),
        (short(&well), vec![&well]),
        (labels(&[app()]), vec![&web, &failed]),
        (
            labels(&[app(), label("tier", Operator::Exists, "")]),
            vec![&web],
        ),
        (
            labels(&[app(), label("tier", Operator::NotEqual, "1")]),
            vec![&failed],
        ),
        (
            labels(&[label("app", Operator::NotExists, "")]),
            vec![&well],
        ),
        (outcome(Outcome::Failed), vec![&failed]),
        (outcome(Outcome::Succeeded), vec![&well]),
        (
            ProcessSelector {
                workspace: "w".to_owned(),
                ..ProcessSelector::default()
            },
            vec![&well],
        ),
        (
            ProcessSelector {
                processes: [&well, &web].map(|id| identifier(id).unwrap()).to_vec(),
                state: ProcessState::Running.into(),
                ..ProcessSelector::default()
            },
            vec![&web],
        ),
    ];
    runtime().block_on(async {
        let mut client = client::connect(&server).await.unwrap();
        for (selector, ids) in cases {
            let shown = format!("{selector:?}");
            let request = ListRequest {
                page_size: 1,
                selector: Some(selector),
                ..ListRequest::default()
            };
            let pages = pages(&mut client, request).await;
            let listed: Vec<String> = pages.iter().flat_map(listed).collect();
            assert_eq!(listed.iter().collect::<Vec<_>>(), ids, "{shown}");
        }
        // A page is of one selector.
        let mut request = ListRequest {
            page_size: 1,
            selector: Some(labels(&[app()])),
            ..ListRequest::default()
        };
        let first = client.list(request.clone()).await.unwrap().into_inner();
        request.page_token = first.next_page_token;
        request.selector = Some(labels(&[label("tier", Operator::Exists, "")]));
        let error = client.list(request).await.unwrap_err();
        assert_eq!(fields(&error), ["page_token"]);
        let bad = ListRequest {
            selector: Some(short("not a name")),
            ..ListRequest::default()
        };
        let error = client.list(bad).await.unwrap_err();
        assert_eq!(fields(&error), ["selector.id_prefix_or_name"]);
    });
}

#[test]
fn a_list_of_the_command_line_has_the_part_that_was_asked_for() {
    let server = Server::start();
    let ids = [(); 4].map(|()| server.start_process(&[], &["sleep", "1000"]));
    server.ok(&["stop", &ids[1]]);
    let shown = |flags: &[&str]| -> Vec<String> {
        let arguments = [&["list", "-o", "json"], flags].concat();
        let json: serde_json::Value = serde_json::from_str(&server.ok(&arguments)).unwrap();
        let processes = json["processes"].as_array().unwrap().iter();
        let shown: Vec<String> = processes
            .map(|process| process["id"].as_str().unwrap().to_owned())
            .collect();
        let table = server.ok(&[&["list"], flags].concat());
        let rows = table.lines().filter(|line| line.contains("sleep 1000"));
        assert_eq!(rows.count(), shown.len(), "{table}");
        shown
    };
    assert_eq!(shown(&[]), ids);
    assert_eq!(
        shown(&["--running"]),
        [&ids[0], &ids[2], &ids[3]].map(Clone::clone)
    );
    assert_eq!(shown(&["--finished"]), [ids[1].clone()]);
    assert_eq!(shown(&["--limit", "2"]), ids[2..], "oldest first");
    assert_eq!(
        shown(&["--running", "-n", "3"]),
        [&ids[0], &ids[2], &ids[3]].map(Clone::clone)
    );
    assert_eq!(shown(&["--since", "1h"]), ids);
    assert!(shown(&["--until", "1h"]).is_empty());
    let output = server.run(&["list", "--since", "5m", "--until", "1h"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && error.contains("must be later than"),
        "{error}"
    );
}

#[test]
fn x10_a_page_is_of_one_run_of_the_server() {
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let server = Server::start();
        for _ in 0..2 {
            server.start_process(&[], &["true"]);
        }
        let request = |page_token| ListRequest {
            page_size: 1,
            page_token,
            ..ListRequest::default()
        };
        runtime().block_on(async {
            let mut client = client::connect(&server).await.unwrap();
            for stale in &tokens {
                let error = client
                    .list(request(String::clone(stale)))
                    .await
                    .unwrap_err();
                assert_eq!(error.code(), Code::InvalidArgument);
                assert_eq!(fields(&error), ["page_token"]);
            }
            let first = client.list(request(String::new())).await.unwrap();
            tokens.push(first.into_inner().next_page_token);
        });
    }
}

#[test]
fn ten_pages_of_processes_are_listed_while_more_start() {
    let server = Server::start();
    let ids: Vec<String> = (0..30)
        .map(|_| server.start_process(&[], &["true"]))
        .collect();
    wait_for("their ends", || {
        server.ok(&["list", "--finished"]).lines().count() == ids.len() + 4
    });
    runtime().block_on(async {
        let mut client = client::connect(&server).await.unwrap();
        let mut request = ListRequest {
            page_size: 3,
            ..ListRequest::default()
        };
        let mut all = Vec::new();
        for page in 0..10 {
            let response = client.list(request.clone()).await.unwrap().into_inner();
            all.extend(listed(&response));
            request.page_token = response.next_page_token;
            if page == 5 {
                started(&mut client, "x").await;
            }
        }
        assert_eq!(all, ids);
        let last = client.list(request).await.unwrap().into_inner();
        assert!(last.processes.len() == 1 && last.next_page_token.is_empty());
    });
}

async fn started(client: &mut Client, argument: &str) -> String {
    let request = StartRequest {
        command: "sh".to_owned(),
        args: vec!["-c".to_owned(), format!("exec sleep 1000 # {argument}")],
        ..StartRequest::default()
    };
    let response = client.start(request).await.unwrap().into_inner();
    response.response.unwrap().id.unwrap().id
}

async fn pages(client: &mut Client, mut request: ListRequest) -> Vec<ListResponse> {
    let mut pages = Vec::new();
    loop {
        let page = client.list(request.clone()).await.unwrap().into_inner();
        request.page_token = page.next_page_token.clone();
        pages.push(page);
        if request.page_token.is_empty() {
            return pages;
        }
    }
}

fn listed(list: &ListResponse) -> Vec<String> {
    let processes = list.processes.iter();
    processes
        .map(|process| process.id.clone().unwrap().id)
        .collect()
}

fn fields(error: &Status) -> Vec<String> {
    let violations = error.get_details_bad_request().unwrap().field_violations;
    violations
        .into_iter()
        .map(|violation| violation.field)
        .collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}
