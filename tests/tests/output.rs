//! Output: every byte, in order, for everybody who asks, or an announcement of what is missing.

use std::collections::HashSet;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use prn_proto::v1::StartRequest;
use prn_tests::server::Server;
use prn_tests::{client, procfs, sha256, wait_for};
use tokio::runtime::Runtime;
use tonic::codec::CompressionEncoding;

fn runtime() -> Runtime {
    Runtime::new().unwrap()
}

async fn start(client: &mut client::Client, argv: &[&str]) -> String {
    let request = StartRequest {
        command: argv[0].into(),
        args: argv[1..].iter().map(|a| a.to_string()).collect(),
        ..StartRequest::default()
    };
    client.start(request).await.unwrap().into_inner().response.unwrap().id.unwrap().id
}

/// Runs `prn logs` and hashes what it prints.
fn logs_sha256(server: &Server, id: &str) -> std::thread::JoinHandle<(String, Option<i32>)> {
    use sha2::Digest;
    let mut child = server.prn(&["logs", id]).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::spawn(move || {
        let mut hash = sha2::Sha256::new();
        let mut stdout = child.stdout.take().unwrap();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match std::io::Read::read(&mut stdout, &mut buffer).unwrap() {
                0 => break,
                length => hash.update(&buffer[..length]),
            }
        }
        let hash = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        (hash, child.wait().unwrap().code())
    })
}

#[test]
fn o5_a_gigabyte_of_random_bytes_has_the_same_hash_for_early_late_and_many_subscribers() {
    let server = Server::with_arguments(&["--output-budget", "4G"]);
    // The writer hashes too, and says so on its other stream.
    let script = "while [ ! -e go ]; do sleep 0.05; done
        mkfifo f; sha256sum < f >&2 & head -c 1073741824 /dev/urandom | tee f; wait";
    let id = server.start_process(&["--output-max", "2G"], &["bash", "-c", script]);
    let early = logs_sha256(&server, &id);
    std::fs::write(server.state_dir().join(&id).join("go"), "").unwrap();
    let many: Vec<_> = (0..20).map(|_| logs_sha256(&server, &id)).collect();
    let (early, code) = early.join().unwrap();
    assert_eq!(code, Some(0));
    let all = server.prn(&["logs", &id]).stdout(Stdio::null()).output().unwrap();
    let written = String::from_utf8(all.stderr).unwrap();
    assert_eq!(written.split_whitespace().next(), Some(&*early));
    for other in many {
        assert_eq!(other.join().unwrap(), (early.clone(), Some(0)));
    }
    assert_eq!(logs_sha256(&server, &id).join().unwrap(), (early, Some(0)));
    let output = &server.status(&id)["output"];
    assert_eq!(output["stdout_bytes"], 1_073_741_824u64);
}

#[test]
fn ten_thousand_short_processes_each_deliver_their_byte_and_their_exit_code() {
    let server = Server::start();
    runtime().block_on(async {
        let client = client::connect(&server).await.unwrap();
        let next = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let workers: Vec<_> = (0..8)
            .map(|_| {
                let (mut client, next) = (client.clone(), Arc::clone(&next));
                tokio::spawn(async move {
                    loop {
                        let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if number >= 10_000 {
                            return;
                        }
                        let code = number % 256;
                        let id = start(&mut client, &["sh", "-c", &format!("printf x; exit {code}")]).await;
                        let all = client::collect(client.clone(), client::output_request(&id)).await.unwrap();
                        assert_eq!((&*all.stdout, &*all.stderr), (&b"x"[..], &b""[..]), "process {number}");
                        let cause = all.end.expect("an end frame").exit_cause.expect("a cause");
                        assert_eq!((cause.kind, cause.exit_code), (1, i32::try_from(code).unwrap()));
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
    });
}

#[test]
fn o8_a_subscriber_that_never_reads_delays_neither_the_process_nor_the_others() {
    let server = Server::start();
    runtime().block_on(async {
        let mut client = client::connect(&server).await.unwrap();
        let script = "while [ ! -e go ]; do sleep 0.05; done; head -c 50000000 /dev/zero | tr '\\0' 'y'; echo end >&2";
        let id = start(&mut client, &["sh", "-c", script]).await;
        let mut stalled = Vec::new();
        for _ in 0..10 {
            // Each on a connection of its own, and never polled again.
            let mut other = client::connect(&server).await.unwrap();
            stalled.push(other.get_output(client::output_request(&id)).await.unwrap());
        }
        std::fs::write(server.state_dir().join(&id).join("go"), "").unwrap();
        let all = client::collect(client.clone(), client::output_request(&id)).await.unwrap();
        assert_eq!(all.stdout.len(), 50_000_000);
        assert_eq!(all.stderr, b"end\n");
        assert!(all.gaps.is_empty() && all.end.is_some());
    });
}

#[test]
fn a_subscriber_that_joins_at_the_seam_of_replay_and_live_loses_and_repeats_nothing() {
    let server = Server::start();
    runtime().block_on(async {
        let mut client = client::connect(&server).await.unwrap();
        // Writes all the time, so that each of 1,000 subscribers joins while output arrives.
        let script =
            "i=0; while [ ! -e stop ]; do echo line $i; echo err $i >&2; i=$((i+1)); sleep 0.001; done; echo last $i";
        let id = start(&mut client, &["sh", "-c", script]).await;
        let mut followers = Vec::new();
        for round in 0..1000 {
            followers.push(tokio::spawn(client::collect(client.clone(), client::output_request(&id))));
            if round % 10 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        // All of them have been told something before the process ends.
        std::fs::write(server.state_dir().join(&id).join("stop"), "").unwrap();
        let mut seen = HashSet::new();
        for follower in followers {
            let all = follower.await.unwrap().unwrap();
            let end = all.end.expect("an end frame");
            assert_eq!(end.stdout_bytes, all.stdout.len() as u64);
            assert_eq!(end.stderr_bytes, all.stderr.len() as u64);
            assert!(all.gaps.is_empty());
            let text = String::from_utf8(all.stdout.clone()).unwrap();
            for (number, line) in text.lines().enumerate() {
                assert!(line == format!("line {number}") || line == format!("last {number}"), "{number}: {line:?}");
            }
            seen.insert((sha256(&all.stdout), sha256(&all.stderr)));
        }
        assert_eq!(seen.len(), 1, "subscribers saw different outputs");
    });
}

#[test]
fn o6_beyond_the_cap_a_gap_is_announced_and_the_rest_is_exact() {
    let server = Server::start();
    let script = "i=0; while [ $i -lt 100000 ]; do echo line $i; i=$((i+1)); done";
    let id = server.start_process(&["--output-max", "64K"], &["sh", "-c", script]);
    wait_for("its end", || server.status(&id)["tree_empty"] == true);
    let output = server.run(&["logs", &id]);
    let text = String::from_utf8(output.stdout).unwrap();
    let whole: String = (0..100_000).map(|i| format!("line {i}\n")).collect();
    assert!(text.len() >= 65_536 && whole.ends_with(&text), "{} bytes", text.len());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("dropped"), "{error}");
    assert_eq!(output.status.code(), Some(6), "the exit code tells of the gap");
    let first = server.status(&id)["output"]["first_offset"].as_u64().unwrap();
    assert_eq!(first, (whole.len() - text.len()) as u64);
}

#[test]
fn a_client_that_did_not_ask_for_control_frames_is_told_of_lost_bytes_all_the_same() {
    let server = Server::start();
    let id = server.start_process(&["--output-max", "64K"], &["sh", "-c", "head -c 2000000 /dev/zero | tr '\\0' x"]);
    wait_for("its end", || server.status(&id)["tree_empty"] == true);
    runtime().block_on(async {
        let mut client = client::connect(&server).await.unwrap();
        let request =
            prn_proto::v1::GetOutputRequest { process_identifier: client::identifier(&id), ..Default::default() };
        let mut stream = client.get_output(request).await.unwrap().into_inner();
        let mut bytes = 0;
        let status = loop {
            match stream.message().await {
                Ok(Some(frame)) => {
                    assert!(frame.gap.is_none() && frame.end.is_none() && frame.time.is_none() && frame.offset == 0);
                    bytes += frame.data.len();
                }
                Ok(None) => panic!("the stream ended as if nothing were missing"),
                Err(status) => break status,
            }
        };
        assert_eq!(status.code(), tonic::Code::DataLoss);
        assert!(bytes >= 65_536, "what is there is sent");
    });
}

#[test]
fn when_the_budget_is_used_up_finished_processes_lose_theirs_first_and_readers_are_told() {
    let server = Server::with_arguments(&["--output-budget", "8M"]);
    let fill = "head -c 3000000 /dev/zero | tr '\\0' x";
    let ids: Vec<String> = (0..4)
        .map(|_| {
            let id = server.start_process(&["--output-max", "4M"], &["sh", "-c", fill]);
            wait_for("its end", || server.status(&id)["tree_empty"] == true);
            id
        })
        .collect();
    let codes: Vec<_> = ids.iter().map(|id| server.run(&["logs", id]).status.code()).collect();
    assert_eq!(codes, [Some(6), Some(6), Some(0), Some(0)]);
}

#[test]
fn output_is_binary_and_both_streams_are_told_apart() {
    let server = Server::start();
    let id = server.start_process(&[], &["sh", "-c", "printf '\\000\\377\\n'; printf '\\001err' >&2"]);
    let output = server.run(&["logs", &id]);
    assert_eq!((&*output.stdout, &*output.stderr), (&b"\0\xff\n"[..], &b"\x01err"[..]));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn o9_all_packets_of_a_pipe_in_packet_mode_are_read_at_the_end() {
    let server = Server::start();
    // O_DIRECT on a pipe: each write is read by itself (pipe(7)).
    let script = "fcntl(STDOUT, 4, 040000) or die; syswrite(STDOUT, 'x' x 100) for 1..600";
    for _ in 0..5 {
        let id = server.start_process(&[], &["perl", "-e", script]);
        assert_eq!(server.ok(&["logs", &id]).len(), 60_000);
    }
}

#[test]
fn a_client_that_asks_for_compression_gets_it_and_the_same_bytes() {
    let server = Server::start();
    let id = server.start_process(&[], &["sh", "-c", "seq 100000; head -c 100000 /dev/urandom >&2"]);
    runtime().block_on(async {
        let client = client::connect(&server).await.unwrap();
        let plain = client::collect(client.clone(), client::output_request(&id)).await.unwrap();
        assert_eq!((plain.stdout.len(), plain.stderr.len()), (588_895, 100_000));
        for (encoding, name) in [(CompressionEncoding::Gzip, "gzip"), (CompressionEncoding::Zstd, "zstd")] {
            let mut asking = client.clone().accept_compressed(encoding);
            let response = asking.get_output(client::output_request(&id)).await.unwrap();
            assert_eq!(response.metadata().get("grpc-encoding").unwrap(), name);
            let compressed = client::collect(asking, client::output_request(&id)).await.unwrap();
            assert_eq!((compressed.stdout, compressed.stderr), (plain.stdout.clone(), plain.stderr.clone()));
            assert!(compressed.end.is_some());
        }
        // The same for a client whose requests are compressed.
        let mut sending = client.clone().send_compressed(CompressionEncoding::Gzip);
        assert!(sending.get_output(client::output_request(&id)).await.is_ok());
        let refused = client.send_compressed(CompressionEncoding::Zstd).get_output(client::output_request(&id)).await;
        assert_eq!(refused.unwrap_err().code(), tonic::Code::Unimplemented);
    });
}

#[test]
fn an_offset_begins_in_the_middle_and_one_beyond_the_end_is_refused() {
    let server = Server::start();
    let id = server.start_process(&[], &["printf", "0123456789"]);
    assert_eq!(server.ok(&["logs", &id]), "0123456789");
    assert_eq!(server.ok(&["logs", &id, "--offset", "4"]), "456789");
    assert_eq!(server.ok(&["logs", &id, "--offset", "10"]), "");
    let output = server.run(&["logs", &id, "--offset", "11"]);
    assert!(!output.status.success() && output.stdout.is_empty());
}

#[test]
fn o10_silent_processes_and_waiting_subscribers_wake_nobody() {
    let server = Server::start();
    let ids: Vec<String> = (0..20).map(|_| server.start_process(&[], &["sleep", "1000"])).collect();
    let mut followers: Vec<_> =
        ids.iter().map(|id| server.prn(&["logs", id]).stdout(Stdio::null()).spawn().unwrap()).collect();
    let halves = [server.supervisor(), server.frontend()];
    // Until all followers are connected and everything has come to rest.
    let mut before = [0; 2];
    wait_for("rest", || {
        std::thread::sleep(Duration::from_millis(500));
        let now = halves.map(procfs::context_switches);
        std::mem::replace(&mut before, now) == now
    });
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!(halves.map(procfs::context_switches), before, "a half woke up in 10 s of silence");
    for follower in &mut followers {
        follower.kill().unwrap();
        follower.wait().unwrap();
    }
}

#[test]
fn j9_a_process_may_open_its_own_streams_by_name() {
    let server = Server::start();
    let id =
        server.start_process(&[], &["sh", "-c", "echo a > /dev/stdout; echo b > /dev/stderr; echo c | tee /dev/fd/2"]);
    let output = server.run(&["logs", &id]);
    assert_eq!((&*output.stdout, &*output.stderr), (&b"a\nc\n"[..], &b"b\nc\n"[..]));
}
