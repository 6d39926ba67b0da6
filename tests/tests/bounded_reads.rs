//! Parts of an output, of a size that the reader chooses: one after the other, they are the whole
//! output, whatever the sizes, and whoever reads is told where to go on.

use std::process::Output;

use prn_proto::v1::{GetOutputRequest, GetOutputResponse, OutputTruncated};
use prn_tests::random::Random;
use prn_tests::server::Server;
use prn_tests::{client, wait_for};
use serde_json::Value;
use tokio::runtime::Runtime;

/// Both streams, by turns.
const WRITER: &str =
    "i=0; while [ $i -lt 3000 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done";

/// The same, slow enough to be read meanwhile, and as long as it is let.
const SLOW: &str =
    "i=0; while [ ! -e stop ]; do echo out $i; echo err $i >&2; i=$((i+1)); sleep 0.002; done";

fn finished(server: &Server, script: &str) -> String {
    let id = server.start_process(&[], &["sh", "-c", script]);
    wait_for("its end", || server.status(&id)["tree_empty"] == true);
    id
}

/// One read: standard output, standard error without its last line, and what that says.
fn part(output: Output) -> (Vec<u8>, Vec<u8>, Value) {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{error}");
    let line = output.stderr.strip_suffix(b"\n").expect("a last line");
    let begin = line.iter().rposition(|byte| *byte == b'{').unwrap();
    let bounds = serde_json::from_slice(&line[begin..]).expect(&error);
    (output.stdout, output.stderr[..begin].to_vec(), bounds)
}

fn next(bounds: &Value) -> u64 {
    bounds["next_offset"].as_u64().unwrap()
}

#[derive(Debug, Default, PartialEq)]
struct Whole {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// All of an output, part after part, of random sizes.
fn in_parts(server: &Server, id: &str, flags: &[&str], random: &mut Random, most: u64) -> Whole {
    let mut whole = Whole::default();
    let mut from = 0;
    loop {
        let size = 1 + random.below(most);
        let (max, at) = (size.to_string(), from.to_string());
        let read = ["logs", id, "--max-bytes", &max, "--from", &at];
        let (stdout, mut stderr, bounds) = part(server.run(&[&read[..], flags].concat()));
        let mut came = u64::try_from(stdout.len() + stderr.len()).unwrap();
        // A part that ends within a line: what says so has a line of its own.
        if came == size + 1 {
            assert_eq!(stderr.pop(), Some(b'\n'));
            came = size;
        }
        assert!(came <= size, "{came} of {size}");
        whole.stdout.extend(stdout);
        whole.stderr.extend(stderr);
        if flags.is_empty() {
            assert_eq!(next(&bounds), from + came, "both streams have one space");
        }
        if bounds["complete"] == true {
            assert_eq!(bounds["truncated"], false);
            return whole;
        }
        assert!(bounds["truncated"] == true && came == size, "{bounds}");
        from = next(&bounds);
    }
}

#[test]
fn parts_of_any_size_are_the_whole_output() {
    let mut random = Random::from_environment("PRN_SEED");
    let server = Server::start();
    let id = finished(&server, WRITER);
    let all = server.run(&["logs", &id]);
    let expected = Whole {
        stdout: all.stdout,
        stderr: all.stderr,
    };
    assert_eq!(
        expected.stdout.iter().filter(|b| **b == b'\n').count(),
        3000
    );
    assert!(in_parts(&server, &id, &[], &mut random, 9000) == expected);
    let stdout = in_parts(&server, &id, &["--stdout"], &mut random, 9000);
    assert!(stdout.stdout == expected.stdout && stdout.stderr.is_empty());
    let stderr = in_parts(&server, &id, &["--stderr"], &mut random, 9000);
    assert!(stderr.stderr == expected.stderr && stderr.stdout.is_empty());
}

#[test]
fn parts_of_what_is_still_written_are_the_whole_output_too() {
    let mut random = Random::from_environment("PRN_SEED");
    let server = Server::start();
    let id = server.start_process(&[], &["sh", "-c", SLOW]);
    let stop = server.state_dir().join(&id).join("stop");
    let ending = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(2));
        std::fs::write(stop, "").unwrap();
    });
    let whole = in_parts(&server, &id, &[], &mut random, 1500);
    ending.join().unwrap();
    let all = server.run(&["logs", &id]);
    assert!(whole.stdout == all.stdout && whole.stderr == all.stderr);
    assert!(all.stdout.len() > 1000, "{}", all.stdout.len());
}

#[test]
fn a_part_says_where_it_ends_and_whether_there_is_more() {
    let server = Server::start();
    let id = server.start_process(
        &[],
        &["sh", "-c", "printf 'ab\\303\\244\\377'; exec sleep 60"],
    );
    wait_for("its output", || {
        server.run(&["logs", &id, "--no-follow"]).stdout.len() == 5
    });
    let read = |flags: &[&str]| part(server.run(&[&["logs", &id], flags].concat()));
    let (out, _, bounds) = read(&["--max-bytes", "2"]);
    assert_eq!(out, b"ab");
    assert_eq!(
        bounds.to_string(),
        r#"{"complete":false,"next_offset":2,"truncated":true}"#
    );
    // It lives, and nobody waits for what may come.
    let (out, _, bounds) = read(&["--max-bytes", "1K", "--no-follow", "--from", "2"]);
    assert_eq!((out.len(), next(&bounds)), (3, 5));
    assert!(bounds["truncated"] == false && bounds["complete"] == false);
    let (out, _, bounds) = read(&["--max-bytes", "0", "--from", "3"]);
    assert!(out.is_empty() && next(&bounds) == 3 && bounds["truncated"] == true);
    let (out, _, bounds) = read(&["--max-bytes", "3", "--tail-bytes", "4"]);
    assert_eq!((&*out, next(&bounds)), (&b"b\xc3\xa4"[..], 4));
    let json = |flags: &[&str]| -> Value {
        let words = [&["logs", &id, "-o", "json"], flags].concat();
        serde_json::from_str(&server.ok(&words)).unwrap()
    };
    let first = json(&["--max-bytes", "3"]);
    assert_eq!(first["output"][0]["text"], "ab", "no half letter");
    assert_eq!(first["next_offset"], 2);
    let rest = json(&["--max-bytes", "9", "--from", "2", "--no-follow"]);
    assert_eq!(rest["output"][0]["base64"], "w6T/");
    assert_eq!(rest["complete"], false);
    server.ok(&["stop", &id, "--grace", "0"]);
    let ended = json(&["--max-bytes", "5"]);
    assert_eq!(
        ended["complete"], true,
        "as many bytes as there are: {ended}"
    );
    assert_eq!(ended["exit"]["cause"], "stopped-on-request");
}

#[test]
fn a_part_is_of_one_process_and_of_a_size() {
    let server = Server::start();
    let id = finished(&server, "echo x");
    let other = finished(&server, "echo y");
    for bad in [
        &["logs", &id, &other, "--max-bytes", "1"][..],
        &["logs", &id, "--max-bytes", "-1"],
        &["logs", &id, "-o", "json"],
    ] {
        let output = server.run(bad);
        assert_eq!(output.status.code(), Some(2), "{bad:?}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_truncated_stream_accounts_for_every_offset() {
    let server = Server::start();
    let id = finished(
        &server,
        "for i in 1 2 3; do echo $i; sleep 0.02; echo err $i >&2; sleep 0.02; done",
    );
    Runtime::new().unwrap().block_on(async {
        let client = client::connect(&server).await.unwrap();
        let frames = async |request: GetOutputRequest| {
            let mut stream = client
                .clone()
                .get_output(request)
                .await
                .unwrap()
                .into_inner();
            let mut frames = Vec::new();
            while let Some(frame) = stream.message().await.unwrap() {
                frames.push(frame);
            }
            frames
        };
        let base = || client::output_request(&id);
        let stderr = GetOutputRequest {
            only: 2,
            max_bytes: Some(7),
            ..base()
        };
        let all = frames(stderr).await;
        let covered: u64 = all.iter().map(|f| f.skipped + f.data.len() as u64).sum();
        let next = OutputTruncated {
            next_offset: 11,
            more: true,
        };
        assert_eq!((covered, all.last().unwrap().truncated), (11, Some(next)));
        // The last byte that was asked for is the last that there is of that stream.
        let stdout = GetOutputRequest {
            only: 1,
            max_bytes: Some(6),
            ..base()
        };
        let all = frames(stdout).await;
        assert!(all.last().unwrap().end.is_some(), "{all:?}");
        // Without control frames it just ends.
        let plain = GetOutputRequest {
            control_frames: false,
            max_bytes: Some(3),
            ..base()
        };
        let all = frames(plain).await;
        let bytes: Vec<u8> = all.iter().flat_map(|f| f.data.to_vec()).collect();
        assert_eq!(bytes, b"1\ne");
        let only_data =
            |frame: &GetOutputResponse| frame.truncated.is_none() && frame.end.is_none();
        assert!(all.iter().all(only_data));
    });
}
