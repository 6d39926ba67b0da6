//! Standard input: what a user of ssh types works, byte for byte, and ends as it does there.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_tests::proxy::{Cut, Proxy};
use prn_tests::random::Random;
use prn_tests::server::{Options, Server};
use prn_tests::{deadline, sha256, wait_for};

/// `prn` with all streams piped.
fn piped(server: &Server, arguments: &[&str]) -> Child {
    let mut command = server.prn(arguments);
    spawned(&mut command)
}

fn spawned(command: &mut Command) -> Child {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What comes of `prn` with these bytes as its input, written by a thread of its own.
fn fed(server: &Server, arguments: &[&str], input: impl AsRef<[u8]> + Send + 'static) -> Output {
    let mut child = piped(server, arguments);
    let mut stdin = child.stdin.take().unwrap();
    // A process that does not read all is a closed pipe.
    let feeding = std::thread::spawn(move || drop(stdin.write_all(input.as_ref())));
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap();
    output
}

/// The output of one that ends well, and says nothing beside it.
fn output_of(output: &Output) -> &str {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {said}", output.status);
    assert_eq!(said, "");
    str::from_utf8(&output.stdout).unwrap()
}

/// `prn` in a shell's line, by this name.
fn shell(server: &Server, script: &str) -> Output {
    let prn = server.prn(&[]);
    let mut shell = Command::new("bash");
    shell
        .args(["-o", "pipefail", "-c", script])
        .env("PRN", prn.get_program())
        .stdin(Stdio::null());
    for (name, value) in prn.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.output().unwrap()
}

#[test]
fn the_same_command_under_the_same_id_goes_on_with_the_same_input() {
    let server = Server::start();
    let id = "5a6e0f3c1b2d4e8f9a7b6c5d4e3f2a1b";
    let script = "head -c 1000 >/dev/null; echo ready; sha256sum";
    let arguments = ["run", "--id", id, "--", "sh", "-c", script];
    let bytes: Vec<u8> = (0..600_000_u32).flat_map(u32::to_be_bytes).collect();
    let mut first = piped(&server, &arguments);
    let mut stdin = first.stdin.take().unwrap();
    let mut stdout = first.stdout.take().unwrap();
    stdin.write_all(&bytes[..1_000_001]).unwrap();
    stdout.read_exact(&mut [0; 6]).unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    let expected = format!("ready\n{}  -\n", sha256(&bytes[1000..]));
    let second = fed(&server, &arguments, bytes);
    assert_eq!(output_of(&second), expected);
}

#[test]
fn lines_of_a_pipe_a_file_and_a_here_document_arrive_as_with_ssh() {
    let server = Server::start();
    for (script, expected) in [
        ("echo data | $PRN run -- wc -c", "5\n"),
        (
            "$PRN run -- bash -s one two <<'E'\necho \"$2 $1\"; exit 0\nE\n",
            "two one\n",
        ),
        ("printf abc >f; $PRN run -- cat <f; rm f", "abc"),
        ("printf abc | $PRN run -- sh -c 'cat; echo; cat'", "abc\n"),
        ("$PRN run -- cat </dev/null", ""),
        ("$PRN run -- cat <&-", ""),
        ("printf abc | $PRN run -n -- cat", ""),
        ("printf abc | $PRN run --no-stdin -- cat", ""),
        // A process that does not look at it is none of its business.
        ("printf abc | $PRN run -- echo ok", "ok\n"),
        (
            "head -c 3 /dev/zero | $PRN run -- od -An -tx1",
            " 00 00 00\n",
        ),
        ("seq 100000 | $PRN run -- tail -n 1", "100000\n"),
        ("seq 100000 | $PRN run -- head -n 1 || [ $? = 141 ]", "1\n"),
        // As with ssh: without -n the first one takes the rest of the list.
        (
            "printf 'a\\nb\\nc\\n' | while read h; do $PRN run -n -- echo $h; done",
            "a\nb\nc\n",
        ),
        (
            "printf 'a\\nb\\nc\\n' | while read h; do $PRN run -- cat; done",
            "b\nc\n",
        ),
        // Two of them, one after the other.
        (
            "echo abc | $PRN run -- tr a-z A-Z | $PRN run -- rev",
            "CBA\n",
        ),
        ("(printf abc; exec >&-; sleep 1) | $PRN run -- wc -c", "3\n"),
    ] {
        let output = shell(&server, &format!("cd $(mktemp -d); {script}"));
        assert_eq!(output_of(&output), expected, "{script}");
    }
}

#[test]
fn a_tree_goes_through_tar_and_is_built_there() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("Makefile"),
        "all: greeting\n\t@cat greeting\ngreeting: word\n\t@tr a-z A-Z <word >greeting\n",
    )
    .unwrap();
    fs::write(folder.path().join("word"), "built there\n").unwrap();
    let script = format!(
        "cd {} && tar c . | $PRN run -- sh -c 'tar x && make'",
        folder.path().display()
    );
    assert_eq!(output_of(&shell(&server, &script)), "BUILT THERE\n");
    let back = format!(
        "mkdir {0}/back && tar -C {0} -c word | $PRN run -- sh -c 'tar x && tar c word' | tar -C {0}/back -x && cat {0}/back/word",
        folder.path().display()
    );
    assert_eq!(output_of(&shell(&server, &back)), "built there\n");
}

#[test]
fn every_byte_comes_back_equal_through_cat() {
    let server = Server::start();
    let mut random = Random::from_environment("PRN_INPUT_SEED");
    for length in [0, 1, 65_535, 65_536, 65_537, 1 << 20, (32 << 20) + 7] {
        let bytes = random.bytes(length);
        let expected = sha256(&bytes);
        let output = fed(&server, &["run", "--", "cat"], bytes);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(output.stdout.len(), length);
        assert_eq!(sha256(&output.stdout), expected);
    }
}

#[test]
fn a_process_that_ends_is_told_at_once_whatever_its_input_does() {
    let server = Server::start();
    let begun = Instant::now();
    let output = shell(
        &server,
        "yes | $PRN run -- sh -c 'sleep 1; exit 3'; echo ${PIPESTATUS[1]}",
    );
    assert_eq!(output_of(&output), "3\n");
    // One that never says anything, and never ends.
    let mut silent = piped(&server, &["run", "--", "sh", "-c", "exit 4"]);
    let status = wait_until(&mut silent);
    assert_eq!(status, Some(4));
    // One whose reader has closed it and goes on.
    let output = shell(
        &server,
        "yes | $PRN run -- sh -c 'exec <&-; sleep 1; echo on'; exit ${PIPESTATUS[1]}",
    );
    assert_eq!(output_of(&output), "on\n");
    assert!(begun.elapsed() < deadline(), "nobody waited for the input");
}

fn wait_until(child: &mut Child) -> Option<i32> {
    let mut status = None;
    wait_for("its end", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.and_then(|status| status.code())
}

#[test]
fn n4_a_process_that_never_reads_holds_up_nobody_else() {
    let server = Server::start();
    let mut stuck: Vec<_> = (0..8)
        .map(|_| {
            let mut child = piped(&server, &["run", "--", "sleep", "1000"]);
            let mut stdin = child.stdin.take().unwrap();
            std::thread::spawn(move || while stdin.write_all(&[b'x'; 65_536]).is_ok() {});
            child
        })
        .collect();
    for _ in 0..5 {
        let output = fed(&server, &["run", "--", "cat"], vec![b'y'; 1 << 20]);
        assert_eq!(output.stdout.len(), 1 << 20);
    }
    for child in &mut stuck {
        // Ctrl-C stops the process, though its input is stuck.
        kill(
            Pid::from_raw(child.id().try_into().unwrap()),
            Signal::SIGINT,
        )
        .unwrap();
        wait_until(child);
    }
}

#[test]
fn a_hundred_shells_at_a_time_each_answer_their_own_lines() {
    let server = Server::start();
    let mut shells: Vec<_> = (0..100)
        .map(|_| {
            let mut child = piped(&server, &["run", "-i", "--", "bash"]);
            let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            (child, stdin, io::BufReader::new(stdout))
        })
        .collect();
    for round in 0..3 {
        for (number, (_, stdin, _)) in shells.iter_mut().enumerate() {
            writeln!(stdin, "echo $(({number} + {round}))").unwrap();
        }
        for (number, (_, _, stdout)) in shells.iter_mut().enumerate() {
            let mut line = String::new();
            io::BufRead::read_line(stdout, &mut line).unwrap();
            assert_eq!(line, format!("{}\n", number + round));
        }
    }
    for (mut child, mut stdin, _) in shells {
        writeln!(stdin, "exit 7").unwrap();
        drop(stdin);
        assert_eq!(wait_until(&mut child), Some(7));
    }
}

/// `prn` by way of the proxy.
fn through(proxy: &Proxy, server: &Server, arguments: &[&str]) -> Child {
    let mut command = server.prn(arguments);
    spawned(command.env("PRN_ADDRESS", &proxy.address))
}

#[test]
fn n6_input_is_exact_over_a_hundred_cuts_of_the_connection() {
    const CUTS: u64 = 100;
    let mut random = Random::from_environment("PRN_CUTS_SEED");
    let server = Server::with_arguments(&["--output-budget", "2G"]);
    let bytes = random.bytes(256 << 20);
    let expected = sha256(&bytes);
    let mut made = 0;
    let proxy = Proxy::start(&server.address, move || {
        made += 1;
        let after = match made % 20 {
            7 => 1 + random.below(1500),
            14 => 1500 + random.below(60_000),
            _ => 80_000 + random.below(150_000),
        };
        (made <= CUTS).then_some(Cut {
            after,
            reset: random.below(2) == 0,
        })
    });
    let mut child = through(&proxy, &server, &["run", "--", "cat"]);
    let mut stdin = child.stdin.take().unwrap();
    let feeding = std::thread::spawn(move || stdin.write_all(&bytes));
    let mut stderr = child.stderr.take().unwrap();
    let said = std::thread::spawn(move || io::read_to_string(&mut stderr).unwrap());
    let mut output = Vec::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut output)
        .unwrap();
    let said = said.join().unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    feeding.join().unwrap().unwrap();
    assert!(proxy.cuts() >= CUTS, "{} cuts", proxy.cuts());
    assert_eq!(output.len(), 256 << 20);
    assert_eq!(sha256(&output), expected, "{said}");
}

#[test]
fn n2_a_frontend_killed_while_it_writes_is_told_and_is_no_end_of_input() {
    let server = Server::start();
    let mut child = piped(
        &server,
        &["run", "--", "sh", "-c", "cat >/dev/null; echo ended"],
    );
    let mut stdin = child.stdin.take().unwrap();
    let fed = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&fed);
    let feeding = std::thread::spawn(move || {
        while stdin.write_all(&[b'x'; 65_536]).is_ok() {
            count.fetch_add(65_536, Ordering::Relaxed);
        }
    });
    // More than pipes and prn itself hold: it is under way.
    wait_for("input that flows", || {
        fed.load(Ordering::Relaxed) > 16 << 20
    });
    kill(Pid::from_raw(server.frontend()), Signal::SIGKILL).unwrap();
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains("input"), "{said}");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "",
        "no end that is none"
    );
}

#[test]
fn n2_a_frontend_killed_between_two_pieces_of_input_costs_nothing() {
    let server = Server::start();
    let id = started(&server, &["cat"]);
    let mut first = piped(&server, &["attach", "--keep-open", &id]);
    first.stdin.take().unwrap().write_all(b"one\n").unwrap();
    wait_for("its line", || {
        server.ok(&["logs", "--no-follow", &id]) == "one\n"
    });
    kill(
        Pid::from_raw(first.id().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    wait_until(&mut first);
    kill(Pid::from_raw(server.frontend()), Signal::SIGKILL).unwrap();
    let output = fed(&server, &["attach", "--all", &id], "two\n");
    assert_eq!(output_of(&output), "one\ntwo\n");
}

fn started(server: &Server, argv: &[&str]) -> String {
    let arguments = [&["start", "--stdin", "--"], argv].concat();
    server.ok(&arguments).trim().to_owned()
}

#[test]
fn n5_an_input_is_fed_by_one_at_a_time() {
    let server = Server::start();
    let id = started(&server, &["cat"]);
    let mut first = piped(&server, &["attach", &id]);
    let mut stdin = first.stdin.take().unwrap();
    stdin.write_all(b"from the first\n").unwrap();
    wait_for("its line", || {
        server.ok(&["logs", "--no-follow", &id]) == "from the first\n"
    });
    let second = fed(&server, &["attach", &id], "from the second\n");
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(
        !second.status.success() && said.contains("another"),
        "{said}"
    );
    drop(stdin);
    let output = first.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(server.ok(&["logs", &id]), "from the first\n");
}

#[test]
fn input_that_cannot_be_read_stops_the_process_and_is_no_success() {
    let server = Server::start();
    let folder = File::open("/").unwrap();
    let output = server
        .prn(&["run", "--", "sh", "-c", "cat; sleep 1000"])
        .stdin(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && output.status.signal().is_none(),
        "{said}"
    );
    assert!(said.contains("input"), "{said}");
    let list = server.ok(&["list", "-o", "json"]);
    assert!(!list.contains("running"), "{list}");
}

#[test]
fn n4_the_server_holds_few_descriptors_for_inputs_and_gives_them_back() {
    let server = Server::with(Options::default());
    let count = || prn_tests::procfs::descriptors(server.supervisor()).len();
    let frontend = || prn_tests::procfs::descriptors(server.frontend()).len();
    let output = fed(&server, &["run", "--", "cat"], "x");
    assert_eq!(output.stdout, b"x");
    let (before, frontend_before) = (count(), frontend());
    for _ in 0..50 {
        let output = fed(&server, &["run", "--", "cat"], "x");
        assert_eq!(output.stdout, b"x");
    }
    // Of each finished process two are kept, of its output.
    wait_for("descriptors", || {
        count() <= before + 2 * 50 && frontend() <= frontend_before + 4
    });
}
