//! The command line's words: what a person types who expects a shell or another tool, what prn says
//! then, and that following it works.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Output, Stdio};

use nix::pty::{Winsize, openpty};
use prn_tests::pki::Identity;
use prn_tests::server::{Options, Server};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What stands behind `prefix` on its line, up to a closing parenthesis at the line's end.
fn hint(text: &str, prefix: &str) -> String {
    let line = text
        .lines()
        .find_map(|line| line.split_once(prefix))
        .unwrap_or_else(|| panic!("no {prefix:?} in {text:?}"))
        .1;
    line.strip_suffix(')').unwrap_or(line).to_owned()
}

/// Does what a hint says, as somebody who pastes it into a shell.
fn paste(server: &Server, hint: &str) -> Output {
    let prn = server.prn(&[]);
    let folder = prn_tests::binary("prn").parent().unwrap().to_owned();
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let mut shell = Command::new("sh");
    shell.args(["-c", hint]).env("PATH", path);
    for (name, value) in prn.get_envs() {
        shell.env(name, value.unwrap());
    }
    shell.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn words_behind_the_string_are_answered_with_two_dashes_that_work() {
    let server = Server::start();
    for (words, expected) in [
        (&["run", "ls", "-la", "/"][..], "prn run -- ls -la /"),
        (
            &["run", "echo", "a  b", "$HOME"],
            "prn run -- echo 'a  b' '$HOME'",
        ),
        (&["start", "sleep", "0.1"], "prn start -- sleep 0.1"),
        (&["run", "ls", "--", "/"], "prn run -- ls /"),
        (&["run", "ls -l", "/"], "prn run -- ls -l /"),
        (
            &["run", "head", "-c", "2", "/dev/zero", "--grace", "1s"],
            "prn run --grace 1s -- head -c 2 /dev/zero",
        ),
    ] {
        let output = server.run(words);
        let usage = if words[0] == "run" { 125 } else { 2 };
        assert_eq!(output.status.code(), Some(usage), "{words:?}");
        let said = stderr(&output);
        let how = hint(&said, "two dashes: ");
        assert_eq!(how, expected);
        assert_eq!(said.matches("tip:").count(), 1, "{said}");
        let followed = paste(&server, &how);
        assert!(followed.status.success(), "{how}: {}", stderr(&followed));
        assert!(!followed.stdout.is_empty());
    }
    for flag in ["--help", "--version", "-h", "-V", "-n", "-t"] {
        let output = server.run(&["run", "ls", flag]);
        assert_eq!(output.status.code(), Some(125), "{flag}");
        assert!(output.stdout.is_empty(), "{flag}");
        let how = hint(&stderr(&output), "two dashes: ");
        assert_eq!(how, format!("prn run -- ls {flag}"));
    }
}

#[test]
fn no_tip_says_what_would_be_refused() {
    let server = Server::start();
    let id = server.start_process(&[], &["true"]);
    for words in [
        &["logs", "-f", &id][..],
        &["logs", &id, "--follow"],
        &["stop", "-9", &id],
        &["stop", &id, "-x"],
        &["status", &id, "-x"],
        &["list", "-x"],
        &["run", "-x", "ls"],
    ] {
        let said = stderr(&server.run(words));
        assert!(!said.contains("as a value"), "{words:?}: {said}");
    }
    let said = stderr(&server.run(&["stop", "-9", &id]));
    assert!(said.contains("--signal kill"), "{said}");
}

#[test]
fn a_string_for_a_shell_is_answered_with_one_that_works() {
    let server = Server::start();
    for (line, out) in [
        ("printf 'a\\nb\\n' | wc -l", "2\n"),
        ("echo hi > x; cat x", "hi\n"),
        ("echo \"$PATH\" >/dev/null && echo 'it'\\''s'", "it's\n"),
        ("echo /etc/pass??", "/etc/passwd\n"),
        ("cd / && pwd", "/\n"),
        ("A=1 env | grep ^A=", "A=1\n"),
    ] {
        let output = server.run(&["run", "--grace", "1s", line]);
        let said = stderr(&output);
        let how = said
            .lines()
            .find_map(|line| {
                line.find("prn run --grace 1s -- sh -c ")
                    .and_then(|at| line.get(at..))
            })
            .unwrap_or_else(|| panic!("{line}: {said}"));
        let followed = paste(&server, how.strip_suffix(')').unwrap());
        assert_eq!(String::from_utf8_lossy(&followed.stdout), out, "{how}");
        assert!(followed.stderr.is_empty(), "{}", stderr(&followed));
    }
    // The string itself is still taken by its words: nothing is refused that could be meant.
    let output = server.run(&["run", "echo a | b"]);
    assert_eq!(
        (output.status.code(), &*output.stdout),
        (Some(0), &b"a | b\n"[..])
    );
    for meant in [
        &["run", "echo 'a | b' \"c;d\" http://host/?a=1&b=2"][..],
        &["run", "--", "echo", "|", "$HOME", "*"],
    ] {
        let output = server.run(meant);
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn a_command_with_blanks_in_its_name_is_told_from_one_that_is_missing() {
    let server = Server::start();
    let output = server.run(&["run", "--", "ls -l /"]);
    assert_eq!(output.status.code(), Some(127));
    let how = hint(&stderr(&output), "as words: ");
    assert_eq!(how, "prn run -- ls -l /");
    assert!(paste(&server, &how).status.success());
    let output = server.run(&["run", "--", "no-such-program", "a b"]);
    assert!(stderr(&output).contains("PATH"), "{}", stderr(&output));
}

#[test]
fn the_state_says_how_a_process_ended() {
    let server = Server::start();
    let shown = |words: &[&str], flags: &[&str]| {
        let id = server.start_process(flags, words);
        prn_tests::wait_for("its end", || server.status(&id)["tree_empty"] == true);
        let row = |table: String| {
            let row = table
                .lines()
                .find(|line| line.contains(&id))
                .unwrap()
                .to_owned();
            row.split('|').nth(2).unwrap().trim().to_owned()
        };
        let status = row(server.ok(&["status", &id]));
        assert_eq!(row(server.ok(&["list"])), status);
        assert_eq!(
            server.status(&id)["state"],
            "stopped",
            "JSON stays as it is"
        );
        status
    };
    assert_eq!(shown(&["true"], &[]), "Stopped (exit 0)");
    assert_eq!(shown(&["sh", "-c", "exit 3"], &[]), "Stopped (exit 3)");
    let crash = shown(&["sh", "-c", "ulimit -c 0; kill -SEGV $$"], &[]);
    assert_eq!(crash, "Stopped (SIGSEGV)");
    assert_eq!(
        shown(&["sh", "-c", "kill -KILL $$"], &[]),
        "Stopped (SIGKILL)"
    );
    assert_eq!(
        shown(&["sleep", "1000"], &["--timeout", "10ms"]),
        "Stopped (timed out)"
    );
    let polite = [
        "sh",
        "-c",
        "trap 'exit 0' TERM; while :; do sleep 0.1; done",
    ];
    assert_eq!(shown(&polite, &["--timeout", "1s"]), "Stopped (timed out)");
    let limits = ["--output-max", "64K", "--output-policy", "kill"];
    assert_eq!(
        shown(&["cat", "/dev/zero"], &limits),
        "Stopped (output limit)"
    );

    let id = server.start_process(&[], &["sleep", "1000"]);
    for call in ["stop", "status"] {
        let table = server.ok(&[call, &id]);
        assert!(
            table.contains("| Stopped |"),
            "as the seed shows it: {table}"
        );
    }
}

/// What `prn` prints on a terminal of that many columns.
fn on_a_terminal(server: &Server, columns: u16, variable: Option<&str>, words: &[&str]) -> String {
    let columns_said = variable.map(|columns| ("COLUMNS", columns));
    let variables: Vec<_> = columns_said
        .into_iter()
        .chain([("NO_COLOR", "1")])
        .collect();
    on_a_terminal_with(server, columns, &variables, words)
}

fn on_a_terminal_with(
    server: &Server,
    columns: u16,
    variables: &[(&str, &str)],
    words: &[&str],
) -> String {
    let size = Winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let terminal = openpty(Some(&size), None).unwrap();
    let mut command = server.prn(words);
    command.env_remove("COLUMNS").env_remove("NO_COLOR");
    command.env("TERM", "xterm").stdout(terminal.slave);
    command.envs(variables.iter().copied());
    let mut child = command.spawn().unwrap();
    // The parent's end of it: without it, the read below ends with EIO when prn does.
    drop(command);
    let shown = read_to_hangup(terminal.master);
    assert!(child.wait().unwrap().success());
    String::from_utf8(shown).unwrap().replace("\r\n", "\n")
}

fn read_to_hangup(master: OwnedFd) -> Vec<u8> {
    let mut all = Vec::new();
    let mut master = File::from(master);
    let mut buffer = [0; 4096];
    // EIO: nobody has the other end open any more (pty(7)).
    while let Ok(length @ 1..) = master.read(&mut buffer) {
        all.extend_from_slice(&buffer[..length]);
    }
    all
}

#[test]
fn a_terminal_has_colours_unless_somebody_does_not_want_them() {
    let server = Server::start();
    server.start_process(&[], &["sleep", "1000"]);
    let has_colors = |variables: &[(&str, &str)], words: &[&str]| {
        on_a_terminal_with(&server, 80, variables, words).contains("\u{1b}[32mRunning")
    };
    assert!(has_colors(&[], &["list"]));
    assert!(has_colors(&[("NO_COLOR", "")], &["list"]));
    assert!(!has_colors(&[("NO_COLOR", "1")], &["list"]));
    assert!(!has_colors(&[("TERM", "dumb")], &["list"]));
    assert!(!has_colors(&[], &["list", "--color", "never"]));
    assert!(!has_colors(&[], &["list", "-o", "json"]));
    let always = ["list", "--color", "always"];
    assert!(has_colors(&[("NO_COLOR", "1")], &always));
}

#[test]
fn tables_keep_to_the_terminal_and_are_whole_in_a_pipe() {
    let server = Server::start();
    let ascii = "x".repeat(300);
    let wide = "漢字".repeat(60);
    let control = "\u{1b}[2J\n".repeat(20);
    for argument in [&ascii, &wide, &control] {
        server.start_process(&[], &["sh", "-c", "sleep 1000", argument]);
    }
    let crashed = server.start_process(&[], &["sh", "-c", "ulimit -c 0; kill -SEGV $$", &ascii]);
    prn_tests::wait_for("its end", || server.status(&crashed)["tree_empty"] == true);

    let width = |line: &str| -> usize {
        let columns = |c: char| if c.is_ascii() || c == '…' { 1 } else { 2 };
        line.chars().map(columns).sum()
    };
    for (columns, variable, most) in [
        (80, None, 80),
        (132, None, 132),
        (80, Some("100"), 100),
        (60, None, 60),
    ] {
        for words in [
            &["list"][..],
            &["status", &crashed],
            &["list", "-o", "wide"],
        ] {
            let shown = on_a_terminal(&server, columns, variable, words);
            let rows = if words[0] == "list" { 8 } else { 5 };
            assert_eq!(shown.lines().count(), rows, "{shown}");
            for line in shown.lines() {
                assert!(width(line) <= most, "{columns}: {line}");
            }
            assert!(shown.contains(&crashed) && shown.contains('…'), "{shown}");
            let cut = words.contains(&"wide");
            assert!(
                cut || shown.lines().all(|line| line.ends_with(['+', '|'])),
                "{shown}"
            );
        }
    }
    let piped = server.prn(&["list"]).env("COLUMNS", "80").output().unwrap();
    let piped = String::from_utf8(piped.stdout).unwrap();
    assert!(piped.contains(&ascii) && piped.contains(&wide), "{piped}");
    let json = on_a_terminal(&server, 80, None, &["status", &crashed, "-o", "json"]);
    assert!(json.contains(&ascii), "{json}");
}

/// Words that prn does not take, and what it names in what it says of them.
const BAD: &[(&[&str], &str)] = &[
    (&["--cwd", "relative"], "--cwd"),
    (&["--cwd", ""], "--cwd"),
    (
        &["--cwd", "/no/such/output_store"],
        "--cwd: the process cannot enter \"/no/such/output_store\"",
    ),
    (&["--cpu", "0"], "--cpu"),
    (&["--cpu", "x"], "--cpu"),
    (&["--cpu", "-1"], "--cpu"),
    (&["--memory", "0"], "--memory"),
    (&["--memory", "lots"], "--memory"),
    (&["--memory", "-1"], "--memory"),
    (&["--memory", "1K"], "--memory: must be"),
    (&["--io-read", "1"], "--io-read: must be"),
    (&["--io-write", "1"], "--io-write: must be"),
    (&["--pids", "0"], "--pids: must be"),
    (&["--pids", "-1"], "--pids"),
    (&["--output-max", "1K"], "--output-max: must be"),
    (
        &["--output-max", "900G"],
        "--output-max: must not exceed the server's ceiling of",
    ),
    (&["--output-policy", "x"], "--output-policy"),
    (&["--timeout", "0s"], "--timeout: must be"),
    (&["--timeout", "400d"], "--timeout: must be"),
    (&["--timeout", "soon"], "--timeout"),
    (&["--grace", "400d"], "--grace: must be"),
    (&["--env", "=x"], "--env"),
    (&["--env", "A=1", "--env", "A=2"], "--env: "),
    (&["--id", "1"], "--id"),
    (&["--no-such"], "--no-such"),
];

/// A process's name.
const ID: &str = "fcd2310e7b9a462a5d88c3a0ff4e2d9b";

#[test]
fn wrong_usage_has_one_exit_code_and_names_flags() {
    let server = Server::start();
    let check = |words: &[&str], named: &str| {
        let output = server.run(words);
        let said = stderr(&output);
        let usage = if words[0] == "run" { 125 } else { 2 };
        assert_eq!(output.status.code(), Some(usage), "{words:?}: {said}");
        assert!(output.stdout.is_empty(), "{words:?}");
        assert!(said.contains(named), "{words:?}: {said}");
        for field in [
            "_bytes",
            "_directory:",
            "stop_grace",
            "environment:",
            "args:",
            "tail_",
        ] {
            assert!(!said.contains(field), "{words:?}: {said}");
        }
    };
    for command in ["start", "run"] {
        for (flags, named) in BAD {
            check(&[&[command], *flags, &["--", "true"]].concat(), named);
        }
        for (words, named) in [
            (&[][..], "STRING"),
            (&[""], "the command is empty"),
            (&["  "], "the command is empty"),
            (&["--", ""], "the command is empty"),
            (&["echo 'x"], "unclosed quote"),
            (&["echo x\\"], "unclosed quote or ends in a backslash"),
        ] {
            check(&[&[command], words].concat(), named);
        }
        let long = "x".repeat(140_000);
        check(
            &[
                command,
                "--",
                "echo",
                &long[..100_000],
                &long[100_000..],
                &long[..40_000],
            ],
            "131072",
        );
    }
    let id = server.start_process(&[], &["true"]);
    server.ok(&["logs", &id]);
    for (words, named) in [
        (&["stop"][..], "ID"),
        (&["stop", &id, "--grace", "400d"], "--grace: must be"),
        (&["stop", &id, "--grace", "x"], "--grace"),
        (&["stop", &id, "--signal", "hup"], "--signal"),
        (&["list", "-o", "xml"], "--output"),
        (&["logs"], "ID"),
        (&["logs", &id, "--offset", "99"], "--offset: "),
        (
            &["logs", &id, "--since", "2999-01-01T00:00:00Z"],
            "--since: ",
        ),
        (
            &["logs", &id, "--since", "10m", "--until", "1h"],
            "--until: must be later than --since",
        ),
        (&["logs", &id, "--tail", "1", "--tail-bytes", "1"], "--tail"),
        (&["logs", &id, ID, "--offset", "1"], "--offset"),
        (&["no-such"], "no-such"),
    ] {
        check(words, named);
    }
    for command in ["list", "run"] {
        let words = if command == "run" {
            &["run", "true"][..]
        } else {
            &["list"]
        };
        let output = server
            .prn(words)
            .env_remove("PRN_TLS_KEY")
            .output()
            .unwrap();
        let usage = if command == "run" { 125 } else { 2 };
        assert_eq!(output.status.code(), Some(usage), "{}", stderr(&output));
        assert!(stderr(&output).contains("--tls-key"));
    }
}

/// A certificate of this period, its ends told from now.
fn valid(folder: &std::path::Path, name: &str, from: Duration, until: Duration) -> Identity {
    let at = |span: Duration| {
        let whole = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap();
        (whole + span).format(&Rfc3339).unwrap()
    };
    let period = ["--not-before", &at(from), "--not-after", &at(until)];
    Identity::keygen(folder, name, &period)
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_a_matter_of_clocks() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let early = valid(
        folder.path(),
        "early",
        Duration::minutes(2),
        Duration::days(100),
    );
    let late = valid(
        folder.path(),
        "late",
        Duration::days(-2),
        Duration::minutes(-2),
    );
    let year = OffsetDateTime::now_utc().year().to_string();
    for command in [&["list"][..], &["run", "true"]] {
        let code = if command[0] == "run" { 125 } else { 4 };
        let output = server.prn_as(&early, command).output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(
            said.contains("clock skew") && !said.contains("make a new one"),
            "{said}"
        );
        assert!(said.contains("this machine's clock says "), "{said}");
        assert!(said.matches(&year).count() >= 2, "both times: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        let output = server.prn_as(&late, command).output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(
            said.contains("make a new one") && !said.contains("skew"),
            "{said}"
        );
        assert!(said.contains("this machine's clock says "), "{said}");
    }
    // The other side's certificate as well.
    let output = server
        .prn(&["list"])
        .env("PRN_SERVER_CERT", &early.certificate)
        .output()
        .unwrap();
    assert!(
        stderr(&output).contains("clock skew"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_certificate_that_ends_soon_is_said_so_once_and_changes_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let start = Duration::minutes(-1);
    let soon = valid(
        folder.path(),
        "soon",
        Duration::days(-100),
        Duration::days(3) + Duration::hours(1),
    );
    let later = valid(folder.path(), "later", start, Duration::days(15));
    let early = valid(
        folder.path(),
        "early",
        Duration::hours(1),
        Duration::days(100),
    );
    let pins = [&soon, &later, &early].map(|pin| pin.certificate.clone());
    let server = Server::with(Options {
        pins: pins.into(),
        ..Options::default()
    });
    let path = soon.certificate.display();
    let warning = format!("prn: warning: the certificate {path} ends in 3 days, on ");
    let log = server.log();
    assert_eq!(log.matches(&warning).count(), 1, "{log}");
    assert!(
        !log.contains("later.pem") && log.contains("clock skew"),
        "{log}"
    );

    for (words, code) in [
        (&["list", "-o", "json"][..], 0),
        (&["run", "--", "sh", "-c", "exit 3"], 3),
        (&["status", ID], 3),
    ] {
        let quiet = server.prn_as(&later, words).output().unwrap();
        // It is said once a day: each has a day of its own.
        let state = folder.path().join(words[0]);
        let mut command = server.prn_as(&soon, words);
        let output = command.env("XDG_STATE_HOME", state).output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert_eq!(said.matches(&warning).count(), 1, "{said}");
        assert_eq!(said.lines().count(), stderr(&quiet).lines().count() + 1);
        assert_eq!(quiet.status.code(), Some(code));
    }
    let json = server
        .prn_as(&soon, &["list", "-o", "json"])
        .output()
        .unwrap();
    serde_json::from_slice::<serde_json::Value>(&json.stdout).unwrap();
}
