//! The command line: the seed's examples as they are typed there, and the errors a person meets.

use std::process::Command;

use prn_tests::binary;
use prn_tests::server::{Options, Server};

fn is_id(text: &str) -> bool {
    text.len() == 32
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// The lines of a table with the given rows, as the seed draws it.
fn table(rows: &[(&str, &str, &str)]) -> String {
    let widths = [
        32,
        rows.iter().map(|r| r.1.len()).max().unwrap().max(5),
        rows.iter().map(|r| r.2.len()).max().unwrap().max(7),
    ];
    let rule = format!(
        "+{}+{}+{}+\n",
        "-".repeat(widths[0] + 2),
        "-".repeat(widths[1] + 2),
        "-".repeat(widths[2] + 2)
    );
    let centred = |text: &str, width: usize| format!(" {text:^width$} ");
    let header = format!(
        "|{}|{}|{}|\n",
        centred("ID", widths[0]),
        centred("STATE", widths[1]),
        centred("COMMAND", widths[2])
    );
    let rows: String = rows
        .iter()
        .map(|(id, state, command)| {
            format!(
                "| {id} | {state:<w1$} | {command:<w2$} |\n",
                w1 = widths[1],
                w2 = widths[2]
            )
        })
        .collect();
    format!("{rule}{header}{rule}{rows}{rule}")
}

#[test]
fn the_seeds_examples_have_the_seeds_shapes() {
    // In a network of its own, where unprivileged ping is allowed (net.ipv4.ping_group_range).
    let server = Server::with(Options {
        own_network: true,
        ..Options::default()
    });
    let certificates = [
        "--client-cert",
        server.client.certificate.to_str().unwrap(),
        "--server-cert",
        server.identity.certificate.to_str().unwrap(),
    ];
    let prn = |words: &[&str]| {
        let words: Vec<&str> = words.iter().chain(&certificates).copied().collect();
        let mut command = server.prn(&words);
        // Typed as in the seed: only the key and the address come from the environment.
        command
            .env_remove("PRN_CLIENT_CERT")
            .env_remove("PRN_SERVER_CERT");
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };

    let started = prn(&["start", "ping -i 0.2 127.0.0.1"]);
    let id = started.trim_end_matches('\n');
    assert!(is_id(id) && started == format!("{id}\n"), "{started:?}");

    assert_eq!(
        prn(&["status", id]),
        table(&[(id, "Running", "ping -i 0.2 127.0.0.1")])
    );

    let second = prn(&["start", "sleep 1000"]);
    let second = second.trim();
    assert_eq!(
        prn(&["list"]),
        table(&[
            (id, "Running", "ping -i 0.2 127.0.0.1"),
            (second, "Running", "sleep 1000")
        ])
    );

    prn_tests::wait_for("two answers", || {
        prn(&["logs", id, "--no-follow"])
            .matches("bytes from")
            .count()
            >= 2
    });
    let logs = prn(&["logs", id, "--no-follow"]);
    assert!(
        logs.starts_with("PING 127.0.0.1")
            && logs.contains("64 bytes from 127.0.0.1: icmp_seq=1 ttl="),
        "{logs}"
    );

    assert_eq!(
        prn(&["stop", id]),
        table(&[(id, "Stopped", "ping -i 0.2 127.0.0.1")])
    );
    assert_eq!(
        prn(&["stop", id]),
        table(&[(id, "Stopped", "ping -i 0.2 127.0.0.1")]),
        "stop is idempotent"
    );
}

#[test]
fn a_string_is_split_by_shell_words_and_argv_is_taken_as_it_is() {
    let server = Server::start();
    let run = |words: &[&str]| {
        let id = server.ok(&[&["start"], words].concat());
        server.ok(&["logs", id.trim()])
    };
    assert_eq!(run(&["printf '%s|' 'a b' \"c d\" e\\ f"]), "a b|c d|e f|");
    assert_eq!(
        run(&["--", "printf", "%s|", "a b", "$HOME", "*"]),
        "a b|$HOME|*|"
    );
    assert_eq!(
        run(&["--", "pwd"]).trim().rsplit('/').next().map(is_id),
        Some(true),
        "no shell, its own directory"
    );
    let output = server.run(&["start", "echo 'unbalanced"]);
    assert_eq!(output.status.code(), Some(2));
    // A single word after -- is a program's name, blanks and all.
    assert!(!server.run(&["start", "--", "echo hi"]).status.success());
    for bad in [
        &["start"][..],
        &["start", ""],
        &["start", "   "],
        &["start", "--", ""],
    ] {
        let output = server.run(bad);
        assert!(
            !output.status.success() && output.stdout.is_empty(),
            "{bad:?}"
        );
    }
}

#[test]
fn run_ends_as_its_process_ends() {
    let server = Server::start();
    let code = |words: &[&str]| server.run(&[&["run", "--"], words].concat()).status.code();
    assert_eq!(code(&["true"]), Some(0));
    assert_eq!(code(&["sh", "-c", "exit 42"]), Some(42));
    assert_eq!(code(&["sh", "-c", "kill -TERM $$"]), Some(143));
    assert_eq!(code(&["no-such-program"]), Some(127));
    assert_eq!(code(&["/etc/passwd"]), Some(126));
    let output = server.run(&["run", "--", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!(
        (&*output.stdout, &*output.stderr),
        (&b"out\n"[..], &b"err\n"[..])
    );
}

#[test]
fn run_never_exits_0_for_a_process_that_was_stopped() {
    let server = Server::start();
    let polite = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
    let output = server.run(&["run", "--timeout", "1s", "--", "sh", "-c", polite]);
    assert_eq!(
        output.status.code(),
        Some(124),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_run_whose_output_cannot_be_written_names_and_stops_its_process() {
    let server = Server::start();
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = server
        .prn(&["run", "--", "sh", "-c", "echo x; sleep 1000"])
        .stdout(full)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    let listed =
        serde_json::from_str::<serde_json::Value>(&server.ok(&["list", "-o", "json"])).unwrap();
    let process = &listed["processes"][0];
    let id = process["id"].as_str().unwrap();
    assert_eq!(
        (output.status.code(), &process["state"]),
        (Some(125), &serde_json::json!("stopped")),
        "{error}"
    );
    assert!(
        error.contains(&format!("`prn logs {id}`")) && error.lines().count() == 1,
        "{error}"
    );
}

#[test]
fn an_empty_address_variable_is_none() {
    let output = Command::new(binary("prn"))
        .args([
            "list",
            "--client-cert",
            "/nowhere",
            "--server-cert",
            "/nowhere",
            "--tls-key",
            "/nowhere",
        ])
        .env("PRN_ADDRESS", "")
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn an_interrupted_run_stops_its_process() {
    let server = Server::start();
    let child = server
        .prn(&[
            "run",
            "--",
            "sh",
            "-c",
            "trap 'echo stopping; exit 5' TERM; echo ready; while :; do sleep 0.1; done",
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    prn_tests::wait_for("it to run", || server.ok(&["list"]).contains("Running"));
    let id = serde_json::from_str::<serde_json::Value>(&server.ok(&["list", "-o", "json"]))
        .unwrap()["processes"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    prn_tests::wait_for("ready", || {
        server.ok(&["logs", &id, "--no-follow"]).contains("ready")
    });
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child.id().try_into().unwrap()),
        nix::sys::signal::Signal::SIGINT,
    )
    .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(output.stdout, b"ready\nstopping\n");
}

#[test]
fn run_never_exits_0_when_the_outcome_is_unknown() {
    let mut server = Server::start();
    let child = server.prn(&["run", "--", "sleep", "1000"]).spawn().unwrap();
    prn_tests::wait_for("it to run", || server.ok(&["list"]).contains("Running"));
    server.signal(nix::sys::signal::Signal::SIGKILL);
    server.wait();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(125));
}

#[test]
fn every_error_is_one_line_that_says_what_to_do() {
    let server = Server::start();
    let cases: &[(&[&str], i32)] = &[
        (&["status", "00000000000000000000000000000000"], 3),
        (&["logs", "00000000000000000000000000000000"], 3),
        (&["stop", "00000000000000000000000000000000"], 3),
        (&["status", "no-such-name"], 3),
        (&["start", "--memory", "1K", "--", "true"], 2),
        (&["start", "--cwd", "/nowhere", "--", "true"], 2),
    ];
    for (words, code) in cases {
        let output = server.run(words);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(*code), "{words:?}: {error}");
        assert!(
            error.starts_with("prn: ") && error.lines().count() == 1,
            "{words:?}: {error:?}"
        );
        assert!(output.stdout.is_empty());
    }
    for words in [
        &["status"][..],
        &["start", "--memory", "lots", "--", "true"],
        &["start", "--cwd", "relative", "--", "true"],
        &["no-such-command"],
    ] {
        let output = server.run(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
    }
    let nobody_there = Command::new(binary("prn"))
        .args(["list", "--address", "127.0.0.1:1"])
        .env("PRN_CLIENT_CERT", &server.client.certificate)
        .env("PRN_SERVER_CERT", &server.identity.certificate)
        .env("PRN_TLS_KEY", server.client.key_pem())
        .output()
        .unwrap();
    assert_eq!(nobody_there.status.code(), Some(5));
    assert!(
        String::from_utf8(nobody_there.stderr)
            .unwrap()
            .contains("127.0.0.1:1")
    );
}

#[test]
fn a_start_over_the_arguments_limit_names_it() {
    let server = Server::start();
    let long = "x".repeat(140_000);
    let output = server.run(&[
        "start",
        "--env",
        "A=1",
        "--",
        "echo",
        &long[..100_000],
        &long[..40_000],
    ]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && error.contains("131072"),
        "{error}"
    );
    let fits = "x".repeat(131_072 - 5 - 1);
    let id = server.start_process(&[], &["echo", &fits]);
    assert_eq!(server.ok(&["logs", &id]).len(), fits.len() + 1);
}

#[test]
fn json_has_the_whole_status() {
    let server = Server::start();
    let id = server.start_process(&["--env", "A=1"], &["sh", "-c", "echo hello; exit 3"]);
    server.run(&["logs", &id]);
    let status = server.status(&id);
    assert_eq!(status["id"], *id);
    assert_eq!(
        status["argv"],
        serde_json::json!(["sh", "-c", "echo hello; exit 3"])
    );
    assert_eq!(status["command"], "sh -c 'echo hello; exit 3'");
    assert_eq!(status["output"]["end_offset"], 6);
    for key in [
        "started_at",
        "main_exited_at",
        "ended_at",
        "usage",
        "limits",
        "working_directory",
        "uid",
    ] {
        assert!(!status[key].is_null(), "{key} is missing in {status}");
    }
}

#[test]
fn keygen_makes_a_private_key_and_replaces_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let made = prn_tests::pki::Identity::keygen(folder.path(), "host", &["--days", "7"]);
    assert_eq!(
        std::fs::metadata(&made.key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(made.key_pem().starts_with("-----BEGIN PRIVATE KEY-----"));
    let again = Command::new(binary("prn"))
        .args(["keygen", "--key"])
        .arg(&made.key)
        .arg("--cert")
        .arg(&made.certificate)
        .output()
        .unwrap();
    assert!(!again.status.success());
    assert!(String::from_utf8(again.stderr).unwrap().contains("--force"));
    let text = Command::new("openssl")
        .args(["x509", "-noout", "-text", "-in"])
        .arg(&made.certificate)
        .output()
        .unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("ED25519") && text.contains("CA:FALSE") && text.contains("Digital Signature"),
        "{text}"
    );
}

#[test]
fn server_check_says_what_the_host_offers() {
    let output = Command::new(binary("prn"))
        .args(["server", "check"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for word in ["cgroup", "cpu", "memory", "io", "pids", "kernel"] {
        assert!(
            text.to_lowercase().contains(word),
            "{word} is missing in: {text}"
        );
    }
    assert_eq!(
        output.status.success(),
        prn_tests::server::has_controllers(),
        "{text}"
    );
}
