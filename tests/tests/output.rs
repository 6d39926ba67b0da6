//! Output: every byte, in order, for everybody who asks, or an announcement of what is missing.

use std::collections::HashSet;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use prn_proto::v1::StartRequest;
use prn_tests::server::{Options, Server};
use prn_tests::trace::Trace;
use prn_tests::{client, deadline, procfs, sha256, wait_for};
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
    client
        .start(request)
        .await
        .unwrap()
        .into_inner()
        .response
        .unwrap()
        .id
        .unwrap()
        .id
}

/// Runs `prn logs` and hashes what it prints.
fn logs_sha256(server: &Server, id: &str) -> std::thread::JoinHandle<(String, Option<i32>)> {
    use sha2::Digest;
    let mut child = server
        .prn(&["logs", id])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
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
        let hash = hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
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
    let all = server
        .prn(&["logs", &id])
        .stdout(Stdio::null())
        .output()
        .unwrap();
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
fn o5_a_hundred_subscribers_at_once_have_the_same_hash() {
    let server = Server::start();
    // A gigabyte for each of them would be minutes of encryption.
    let script = "while [ ! -e go ]; do sleep 0.05; done
        mkfifo f; sha256sum < f >&2 & head -c 8000000 /dev/urandom | tee f; wait";
    let id = server.start_process(&[], &["bash", "-c", script]);
    let many: Vec<_> = (0..100).map(|_| logs_sha256(&server, &id)).collect();
    std::fs::write(server.state_dir().join(&id).join("go"), "").unwrap();
    let all = server
        .prn(&["logs", &id])
        .stdout(Stdio::null())
        .output()
        .unwrap();
    let written = String::from_utf8(all.stderr).unwrap();
    let written = written.split_whitespace().next().unwrap().to_owned();
    for one in many {
        assert_eq!(one.join().unwrap(), (written.clone(), Some(0)));
    }
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
                        let id = start(
                            &mut client,
                            &["sh", "-c", &format!("printf x; exit {code}")],
                        )
                        .await;
                        let all = client::collect(client.clone(), client::output_request(&id))
                            .await
                            .unwrap();
                        assert_eq!(
                            (&*all.stdout, &*all.stderr),
                            (&b"x"[..], &b""[..]),
                            "process {number}"
                        );
                        let cause = all.end.expect("an end frame").exit_cause.expect("a cause");
                        assert_eq!(
                            (cause.kind, cause.exit_code),
                            (1, i32::try_from(code).unwrap())
                        );
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
fn a_thousand_processes_have_a_follower_each_within_the_memory_of_the_frontend() {
    const COUNT: usize = 1000;
    let server = Server::with(Options {
        uids: Some(COUNT as u32),
        ..Options::default()
    });
    let before = procfs::memory(server.frontend(), "VmHWM");
    runtime().block_on(async {
        let mut clients = Vec::new();
        for _ in 0..10 {
            clients.push(client::connect(&server).await.unwrap());
        }
        // All write at the same time, each something else: about 120 KiB.
        let go = server.folder().join("go");
        nix::unistd::mkfifo(&go, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
        let script = format!(": <{}; seq $0 $(($0 + 20000))", go.display());
        let mut followers = Vec::new();
        for number in 0..COUNT {
            let client = &mut clients[number % 10];
            let id = start(client, &["sh", "-c", &script, &(number * 1000).to_string()]).await;
            followers.push(tokio::spawn(client::collect(
                client.clone(),
                client::output_request(&id),
            )));
        }
        let _open = std::fs::File::options()
            .read(true)
            .write(true)
            .open(go)
            .unwrap();
        for (number, follower) in followers.into_iter().enumerate() {
            let all = follower.await.unwrap().unwrap();
            let wanted: String = (number * 1000..=number * 1000 + 20_000)
                .map(|line| format!("{line}\n"))
                .collect();
            // Not assert_eq: it would print both.
            assert!(
                all.stdout == wanted.as_bytes() && all.gaps.is_empty(),
                "process {number}"
            );
            assert_eq!(
                all.end
                    .expect("an end frame")
                    .exit_cause
                    .expect("a cause")
                    .exit_code,
                0
            );
        }
    });
    let grown = procfs::memory(server.frontend(), "VmHWM") - before;
    // The unit allows 512 MiB.
    assert!(grown < 128 << 20, "{grown} bytes");
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

/// How many descriptors of outputs a frontend has.
fn outputs(frontend: i32) -> usize {
    let is_output = |path: &std::path::PathBuf| path.to_string_lossy().contains("prn-output");
    procfs::descriptors(frontend)
        .iter()
        .filter(|(_, path)| is_output(path))
        .count()
}

#[test]
fn o8_slow_subscribers_cost_a_window_each_and_leave_no_descriptor_behind() {
    const SLOW: u64 = 10;
    let server = Server::start();
    let frontend = server.frontend();
    let script =
        "while [ ! -e go ]; do sleep 0.05; done; head -c 50000000 /dev/zero | tr '\\0' 'y'";
    let id = server.start_process(&[], &["sh", "-c", script]);
    let mut slow: Vec<_> = (0..SLOW)
        .map(|_| {
            server
                .prn(&["logs", &id])
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    wait_for("an open output", || outputs(frontend) > 0);
    let before = procfs::memory(frontend, "VmRSS");
    std::fs::write(server.state_dir().join(&id).join("go"), "").unwrap();
    // A byte now and then, as long as the process runs: it ends, however much of it they have not
    // read.
    let mut read = 0;
    while server.status(&id)["tree_empty"] != true {
        for child in &mut slow {
            let mut byte = [0];
            std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut byte).unwrap();
            assert_eq!(byte, *b"y");
        }
        read += 1;
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(server.ok(&["logs", &id]).len(), 50_000_000);
    let grown = procfs::memory(frontend, "VmHWM").saturating_sub(before);
    // A window is 1 MiB; as much again for what TLS has made of it, and the reader that was not
    // slow.
    assert!(
        grown < (SLOW + 1) * 2 * (1 << 20) + (8 << 20),
        "{grown} bytes for {SLOW} subscribers after {read} reads"
    );
    assert!(outputs(frontend) > 0);
    for child in &mut slow {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    wait_for("the output to be closed", || outputs(frontend) == 0);
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
    assert!(
        text.len() >= 65_536 && whole.ends_with(&text),
        "{} bytes",
        text.len()
    );
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("dropped"), "{error}");
    assert_eq!(
        output.status.code(),
        Some(6),
        "the exit code tells of the gap"
    );
    let first = server.status(&id)["output"]["first_offset"]
        .as_u64()
        .unwrap();
    assert_eq!(first, (whole.len() - text.len()) as u64);
}

#[test]
fn a_client_that_did_not_ask_for_control_frames_is_told_of_lost_bytes_all_the_same() {
    let server = Server::start();
    let id = server.start_process(
        &["--output-max", "64K"],
        &["sh", "-c", "head -c 2000000 /dev/zero | tr '\\0' x"],
    );
    wait_for("its end", || server.status(&id)["tree_empty"] == true);
    runtime().block_on(async {
        let mut client = client::connect(&server).await.unwrap();
        let request = prn_proto::v1::GetOutputRequest {
            process_identifier: client::identifier(&id),
            ..Default::default()
        };
        let mut stream = client.get_output(request).await.unwrap().into_inner();
        let mut bytes = 0;
        let status = loop {
            match stream.message().await {
                Ok(Some(frame)) => {
                    assert!(
                        frame.gap.is_none()
                            && frame.end.is_none()
                            && frame.time.is_none()
                            && frame.offset == 0
                    );
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
    let codes: Vec<_> = ids
        .iter()
        .map(|id| server.run(&["logs", id]).status.code())
        .collect();
    assert_eq!(codes, [Some(6), Some(6), Some(0), Some(0)]);
}

#[test]
fn output_is_binary_and_both_streams_are_told_apart() {
    let server = Server::start();
    let id = server.start_process(
        &[],
        &["sh", "-c", "printf '\\000\\377\\n'; printf '\\001err' >&2"],
    );
    let output = server.run(&["logs", &id]);
    assert_eq!(
        (&*output.stdout, &*output.stderr),
        (&b"\0\xff\n"[..], &b"\x01err"[..])
    );
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
    let id = server.start_process(
        &[],
        &["sh", "-c", "seq 100000; head -c 100000 /dev/urandom >&2"],
    );
    runtime().block_on(async {
        let client = client::connect(&server).await.unwrap();
        let plain = client::collect(client.clone(), client::output_request(&id))
            .await
            .unwrap();
        assert_eq!((plain.stdout.len(), plain.stderr.len()), (588_895, 100_000));
        for (encoding, name) in [
            (CompressionEncoding::Gzip, "gzip"),
            (CompressionEncoding::Zstd, "zstd"),
        ] {
            let mut asking = client.clone().accept_compressed(encoding);
            let response = asking
                .get_output(client::output_request(&id))
                .await
                .unwrap();
            assert_eq!(response.metadata().get("grpc-encoding").unwrap(), name);
            let compressed = client::collect(asking, client::output_request(&id))
                .await
                .unwrap();
            assert_eq!(
                (compressed.stdout, compressed.stderr),
                (plain.stdout.clone(), plain.stderr.clone())
            );
            assert!(compressed.end.is_some());
        }
        // The same for a client whose requests are compressed.
        let mut sending = client.clone().send_compressed(CompressionEncoding::Gzip);
        assert!(
            sending
                .get_output(client::output_request(&id))
                .await
                .is_ok()
        );
        let refused = client
            .send_compressed(CompressionEncoding::Zstd)
            .get_output(client::output_request(&id))
            .await;
        assert_eq!(refused.unwrap_err().code(), tonic::Code::Unimplemented);
    });
}

#[test]
fn o9_output_of_a_daemonised_grandchild_is_in_it_until_that_ends_too() {
    let server = Server::start();
    let script = "setsid sh -c 'while [ ! -e go ]; do sleep 0.02; done; echo late' & echo main";
    let id = server.start_process(&["--linger"], &["sh", "-c", script]);
    let follower = server
        .prn(&["logs", &id])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the end of its main process", || {
        !server.status(&id)["main_exited_at"].is_null()
    });
    assert_eq!(server.status(&id)["tree_empty"], false);
    std::fs::write(server.state_dir().join(&id).join("go"), "").unwrap();
    let output = follower.wait_with_output().unwrap();
    assert_eq!(
        (&*output.stdout, output.status.code()),
        (&b"main\nlate\n"[..], Some(0))
    );
}

#[test]
fn o9_whoever_else_holds_the_pipe_does_not_keep_the_output_open() {
    let server = Server::start();
    let id = server.start_process(
        &[],
        &[
            "sh",
            "-c",
            "echo begun; while [ ! -e go ]; do sleep 0.02; done; echo done",
        ],
    );
    let members = server
        .cgroup()
        .join("processes")
        .join(&id)
        .join("cgroup.procs");
    let mut held = None;
    wait_for("its pipe", || {
        let members = std::fs::read_to_string(&members).unwrap_or_default();
        held = members.lines().find_map(|pid| {
            // Not before it is the shell that has it.
            let is_shell = procfs::comm(pid.parse().ok()?) == "sh";
            is_shell.then(|| {
                std::fs::File::options()
                    .write(true)
                    .open(format!("/proc/{pid}/fd/1"))
                    .ok()
            })?
        });
        held.is_some()
    });
    let follower = server
        .prn(&["logs", &id])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::fs::write(server.state_dir().join(&id).join("go"), "").unwrap();
    let output = follower.wait_with_output().unwrap();
    assert_eq!(
        (&*output.stdout, output.status.code()),
        (&b"begun\ndone\n"[..], Some(0))
    );
    // What is held is that pipe, and nobody reads it any more.
    let error = std::io::Write::write(&mut held.unwrap(), b"stray").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

/// Of a stream that goes on without end, 32 bits at a time, big-endian.
const COUNTER: &str =
    "my $n = 0; sub more { my $b = pack('N*', $n .. $n + $_[0] - 1); $n += $_[0]; $b }";

/// Programs that write as few others do, each for so long as the condition holds.
fn odd_writers(condition: &str) -> [String; 3] {
    // vmsplice(2).
    let number = if cfg!(target_arch = "x86_64") {
        278
    } else {
        75
    };
    [
        format!(
            "use POSIX; {COUNTER} fcntl(STDOUT, F_SETFL, O_NONBLOCK | fcntl(STDOUT, F_GETFL, 0)) or die;
             while ({condition}) {{ for (my $b = more(5000); length $b;) {{
                 my $done = syswrite(STDOUT, $b);
                 if (!defined $done) {{ $!{{EAGAIN}} or die $!; select(undef, undef, undef, 0.001) }}
                 substr($b, 0, $done // 0) = '' }} }}"
        ),
        // vmsplice(2) gives pages away, not a copy of them: whatever is written there before they are
        // read arrives instead. So all strings are kept, and it ends without freeing them, because
        // free(3) writes its lists' pointers into what it frees.
        format!(
            "use POSIX; {COUNTER} my @kept; while ({condition}) {{ push @kept, more(1024);
             my $from = unpack('J', pack('p', $kept[-1]));
             for (my $at = 0; $at < 4096;) {{
                 my $iov = pack('JJ', $from + $at, 4096 - $at);
                 my $done = syscall({number}, 1, $iov, 1, 0); die $! if $done <= 0; $at += $done }} }} POSIX::_exit(0)"
        ),
        format!("{COUNTER} while ({condition}) {{ syswrite(STDOUT, $_) == 1 or die for split //, more(256) }}"),
    ]
}

#[test]
fn o11_however_a_process_writes_all_of_it_arrives() {
    let server = Server::start();
    for (script, count) in
        odd_writers("$n < 250_000")
            .into_iter()
            .zip([250_000_u32, 250_880, 250_112])
    {
        let id = server.start_process(&[], &["perl", "-e", &script]);
        let output = server.run(&["logs", &id]);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(
            server.status(&id)["exit"]["code"],
            0,
            "{script}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let expected: Vec<u8> = (0..count).flat_map(u32::to_be_bytes).collect();
        assert!(
            output.stdout == expected,
            "{script}: {} bytes",
            output.stdout.len()
        );
    }
}

#[test]
fn o11_processes_that_write_without_pause_leave_a_turn_to_others() {
    let server = Server::start();
    let [nonblocking, _, bytewise] = odd_writers("!-e 'stop'");
    let flood = "exec tr '\\0' y < /dev/zero";
    let floods: Vec<String> = [
        &["perl", "-e", &nonblocking][..],
        &["perl", "-e", &bytewise],
        &["sh", "-c", flood],
    ]
    .into_iter()
    .map(|argv| server.start_process(&["--output-max", "1M"], argv))
    .collect();
    let end = |id: &str| {
        let output = server.run(&["logs", id, "--no-follow", "--tail-bytes", "1"]);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout.len()
    };
    for id in &floods {
        wait_for("a flood", || end(id) == 1);
    }
    // Each line is asked for when the one before it has come.
    let script =
        "for i in 1 2 3 4 5; do while [ ! -e $i ]; do sleep 0.01; done; echo line $i; done";
    let id = server.start_process(&[], &["sh", "-c", script]);
    let mut follower = server
        .prn(&["logs", &id])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(follower.stdout.take().unwrap()));
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        lines
            .map(Result::unwrap)
            .try_for_each(|line| tell.send(line))
    });
    // Each read takes longer than it takes to fill a pipe again, so that none is ever found empty.
    let slowness = Trace::of(
        &server,
        &["-e", "trace=readv", "-e", "inject=readv:delay_exit=20000"],
    );
    for number in 1..=5 {
        std::fs::write(server.state_dir().join(&id).join(number.to_string()), "").unwrap();
        let line = told.recv_timeout(deadline());
        assert_eq!(
            line,
            Ok(format!("line {number}")),
            "the others leave it no turn"
        );
    }
    assert_eq!(follower.wait().unwrap().code(), Some(0));
    drop(slowness);
    for id in &floods {
        assert_eq!(server.status(id)["state"], "running");
        server.ok(&["stop", id]);
    }
}

#[test]
fn o11_a_process_that_writes_to_both_streams_without_pause_costs_the_supervisor_no_memory() {
    let server = Server::start();
    let supervisor = server.supervisor();
    let write =
        "for (1 .. 1_000_000) { syswrite(STDOUT, 'o') == 1 and syswrite(STDERR, 'e') == 1 or die }";
    let id = server.start_process(&["--output-max", "1M"], &["perl", "-e", write]);
    let before = procfs::memory(supervisor, "RssAnon");
    let mut most = before;
    wait_for("its end", || {
        most = most.max(procfs::memory(supervisor, "RssAnon"));
        server.status(&id)["state"] != "running"
    });
    let status = server.status(&id);
    assert_eq!(status["exit"]["code"], 0);
    assert_eq!(status["output"]["end_offset"], 2_000_000);
    assert!(most < before + (1 << 20), "{before} -> {most} bytes");
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
    let ids: Vec<String> = (0..20)
        .map(|_| server.start_process(&[], &["sleep", "1000"]))
        .collect();
    let mut followers: Vec<_> = ids
        .iter()
        .map(|id| {
            server
                .prn(&["logs", id])
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let halves = [server.supervisor(), server.frontend()];
    // Until all followers are connected and everything has come to rest.
    let mut before = [0; 2];
    wait_for("rest", || {
        std::thread::sleep(Duration::from_millis(500));
        let now = halves.map(procfs::context_switches);
        std::mem::replace(&mut before, now) == now
    });
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!(
        halves.map(procfs::context_switches),
        before,
        "a half woke up in 10 s of silence"
    );
    for follower in &mut followers {
        follower.kill().unwrap();
        follower.wait().unwrap();
    }
}

#[test]
fn j9_a_process_may_open_its_own_streams_by_name() {
    let server = Server::start();
    let id = server.start_process(
        &[],
        &[
            "sh",
            "-c",
            "echo a > /dev/stdout; echo b > /dev/stderr; echo c | tee /dev/fd/2",
        ],
    );
    let output = server.run(&["logs", &id]);
    assert_eq!(
        (&*output.stdout, &*output.stderr),
        (&b"a\nc\n"[..], &b"b\nc\n"[..])
    );
}
