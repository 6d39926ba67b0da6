//! Servers by name, and several of them at once.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_tests::fleet::Fleet;
use prn_tests::pki::Identity;
use prn_tests::server::{Options, Server};
use prn_tests::{binary, wait_for};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The lines, sorted: those of several servers come in any order.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_server_is_added_from_a_line_without_a_secret_and_talked_to() {
    let fleet = Fleet::bare(1);
    let server = &fleet.servers[0];
    let certificate = server.identity.certificate.to_str().unwrap();
    let words = ["--address", &server.address, "--server-cert", certificate];
    let line = fleet.ok(&[&["context", "show", "--line"][..], &words].concat());
    assert!(
        line.starts_with("prn1:") && line.lines().count() == 1,
        "{line}"
    );

    let added = fleet.run(&["context", "add", "web1", line.trim()]);
    assert_eq!(stdout(&added), "web1\n");
    let said = stderr(&added);
    assert!(said.contains("web1 is the current one"), "{said}");
    assert!(
        said.contains("client.pem") && said.contains("--client-cert"),
        "{said}"
    );
    assert_eq!(fleet.ok(&["run", "--", "echo", "there"]), "there\n");
    assert_eq!(fleet.ok(&["context", "show", "--line", "web1"]), line);

    let again = fleet.run(&["context", "add", "web1", line.trim()]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("--force"), "{}", stderr(&again));
    let cut = fleet.run(&["context", "add", "web2", &line[..200]]);
    assert_eq!(cut.status.code(), Some(2));
    assert!(stderr(&cut).contains("cut or changed"), "{}", stderr(&cut));

    // The same from a file and from standard input.
    let file = fleet.folder.path().join("line");
    std::fs::write(&file, &line).unwrap();
    fleet.ok(&["context", "add", "file", file.to_str().unwrap()]);
    let mut command = fleet.prn(&["context", "add", "stdin", "-"]);
    let status = command.stdin(std::fs::File::open(&file).unwrap()).status();
    assert!(status.unwrap().success());
    assert_eq!(fleet.ok(&["context", "list", "-q"]), "file\nstdin\nweb1\n");
    assert_eq!(
        fleet
            .ok(&["list", "--context", "stdin", "-q"])
            .lines()
            .count(),
        1
    );

    let mode = std::fs::metadata(fleet.config())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(fleet.config()).unwrap();
    assert!(!text.contains("PRIVATE KEY"), "{text}");
}

#[test]
fn a_user_without_a_key_is_told_what_makes_one_and_what_the_server_needs() {
    let fleet = Fleet::bare(1);
    for name in ["client.key", "client.pem"] {
        std::fs::remove_file(fleet.folder.path().join(name)).unwrap();
    }
    let server = &fleet.servers[0];
    let certificate = server.identity.certificate.to_str().unwrap();
    let words = ["--address", &server.address, "--server-cert", certificate];
    let added = fleet.run(&[&["context", "add", "web1"][..], &words].concat());
    let said = stderr(&added);
    let folder = fleet.folder.path().to_str().unwrap();
    let keygen = format!("prn keygen --name client --out-dir {folder}");
    assert!(
        said.contains(&keygen) && said.contains("--client-cert"),
        "{said}"
    );
    let refused = fleet.run(&["list"]);
    assert_eq!(refused.status.code(), Some(2));
    let said = stderr(&refused);
    assert!(
        said.contains("--client-cert is missing") && said.contains(&keygen),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    // What it says helps: the server answers, and does not let the new key in yet.
    fleet.ok(&["keygen", "--name", "client", "--out-dir", folder]);
    let unknown = fleet.run(&["list"]);
    assert_eq!(unknown.status.code(), Some(4), "{}", stderr(&unknown));
}

#[test]
fn what_is_typed_wins_over_the_environment_and_that_over_the_current_context() {
    let fleet = Fleet::new(2);
    let nobody = "127.0.0.1:1";
    let code = |words: &[&str], set: &[(&str, &str)]| {
        let mut command = fleet.prn(words);
        let output = command.envs(set.iter().copied()).output().unwrap();
        output.status.code().unwrap()
    };
    let wrong = ("PRN_ADDRESS", nobody);
    assert_eq!(code(&["list"], &[]), 0, "the first is the current one");
    assert_eq!(code(&["list"], &[wrong]), 5);
    assert_eq!(code(&["list"], &[wrong, ("PRN_CONTEXT", "web2")]), 5);
    assert_eq!(code(&["list", "--context", "web2"], &[wrong]), 0);
    let flags = ["list", "--context", "web2", "--address", nobody];
    assert_eq!(code(&flags, &[]), 5);
    assert_eq!(
        code(&["list"], &[("PRN_ADDRESS", "")]),
        0,
        "it says nothing"
    );
    assert_eq!(code(&["list"], &[("PRN_ADDRESS", "nowhere")]), 2);
    assert_eq!(code(&["list", "--context", "web3"], &[]), 2);
    // The address of one server is not that of each.
    assert_eq!(code(&["list", "--context", "web*"], &[wrong]), 0);
    assert_eq!(code(&["list"], &[wrong, ("PRN_CONTEXT", "web*")]), 2);
    assert_eq!(
        code(&["list", "--context", "web*", "--address", nobody], &[]),
        2
    );

    let shown = |words: &[&str], set: &[(&str, &str)]| -> Value {
        let mut command = fleet.prn(&[&["context", "show", "-o", "json"], words].concat());
        let output = command.envs(set.iter().copied()).output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["settings"][0].clone()
    };
    let of_web2 = shown(&["web2"], &[wrong]);
    assert_eq!(of_web2["value"], fleet.servers[1].address.as_str());
    assert_eq!(of_web2["origin"], "context");
    assert_eq!(shown(&[], &[wrong])["origin"], "PRN_ADDRESS");
    assert_eq!(shown(&["--address", nobody], &[])["origin"], "--address");
}

#[test]
fn a_context_that_signs_says_so() {
    let fleet = Fleet::new(1);
    let certificate = fleet.servers[0].identity.certificate.display().to_string();
    let words = [
        "context",
        "add",
        "signs",
        "--address",
        "127.0.0.1:1",
        "--sign",
    ];
    fleet.ok(&[&words[..], &["--server-cert", &certificate]].concat());
    let sign = |name| {
        let shown = fleet.json(&["context", "show", name]);
        let settings = shown["settings"].as_array().unwrap().clone();
        settings.into_iter().find(|one| one["name"] == "sign")
    };
    let said = sign("signs").expect("it signs");
    assert_eq!(said["value"], "true", "{said}");
    assert_eq!(said["origin"], "context", "{said}");
    assert_eq!(sign("web1"), None);
}

#[test]
fn another_context_is_used_and_what_is_removed_is_gone() {
    let fleet = Fleet::new(2);
    assert_eq!(fleet.ok(&["context", "use", "web2"]), "web2\n");
    let listed = fleet.json(&["context", "list"]);
    assert_eq!(listed["contexts"][0]["current"], false);
    assert_eq!(listed["contexts"][1]["current"], true);
    let ends = listed["contexts"][1]["server_certificate_not_after"].as_str();
    assert!(ends.is_some_and(|ends| ends.ends_with('Z')), "{listed}");
    fleet.ok(&["start", "--", "sleep", "1000"]);
    assert_eq!(fleet.running(), [0, 1]);
    let removed = fleet.run(&["context", "remove", "web2"]);
    assert!(
        stderr(&removed).contains("prn context use"),
        "{}",
        stderr(&removed)
    );
    assert_eq!(fleet.ok(&["context", "ls", "-q"]), "web1\n");
    let gone = fleet.run(&["context", "use", "web2"]);
    assert_eq!(gone.status.code(), Some(2));
    assert!(stderr(&gone).contains("web1"), "{}", stderr(&gone));
}

#[test]
fn the_configuration_stays_the_users_own_and_others_cannot_have_written_it() {
    let fleet = Fleet::new(1);
    let text = std::fs::read_to_string(fleet.config()).unwrap();
    std::fs::write(fleet.config(), format!("# mine\n{text}# the end\n")).unwrap();
    fleet.add("web2", 0);
    fleet.ok(&["context", "rm", "web2"]);
    let kept = std::fs::read_to_string(fleet.config()).unwrap();
    assert!(
        kept.starts_with("# mine\n") && kept.ends_with("# the end\n"),
        "{kept}"
    );

    let mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(fleet.config(), permissions).unwrap();
    };
    for open in [0o620, 0o602] {
        mode(open);
        for words in [
            &["list"][..],
            &["context", "list"],
            &["context", "use", "web1"],
        ] {
            let refused = fleet.run(words);
            assert_eq!(refused.status.code(), Some(1), "{words:?}");
            let said = stderr(&refused);
            assert!(
                said.contains("chmod go-w") && said.lines().count() == 1,
                "{said}"
            );
        }
    }
    mode(0o644);
    fleet.ok(&["list"]);
    std::fs::write(fleet.config(), format!("\n\nadress = 'x'\n{text}")).unwrap();
    let refused = fleet.run(&["list"]);
    let said = stderr(&refused);
    assert!(said.contains("line 3") && said.contains("adress"), "{said}");
    assert_eq!(refused.status.code(), Some(1));
}

#[test]
fn a_check_says_who_answers_how_fast_and_until_when_certificates_are_valid() {
    let fleet = Fleet::new(1);
    let checked = fleet.json(&["context", "check"]);
    let one = &checked["contexts"][0];
    assert_eq!((&one["name"], &one["ok"]), (&"web1".into(), &true.into()));
    assert!(
        one["latency_usec"]
            .as_u64()
            .is_some_and(|micros| micros > 0)
    );
    assert!(one["version"].is_string(), "{checked}");
    assert!(one["client_certificate_not_after"].is_string());

    // Another server's certificate is none of it.
    let other = Server::start();
    let certificate = other.identity.certificate.to_str().unwrap();
    let address = &fleet.servers[0].address;
    let words = ["--address", address, "--server-cert", certificate];
    fleet.ok(&[&["context", "add", "other"][..], &words].concat());
    let checked = fleet.run(&["context", "check", "--all", "-o", "json"]);
    assert_eq!(checked.status.code(), Some(4), "{}", stderr(&checked));
    assert_eq!(stderr(&checked).matches("prn: other: ").count(), 1);
    let all: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(all["contexts"][0]["ok"], false);
    assert!(all["contexts"][0]["error"].is_string());
    assert_eq!(all["contexts"][1]["ok"], true);
    assert_eq!(
        fleet.run(&["context", "check", "web*"]).status.code(),
        Some(0)
    );
}

#[test]
fn a_list_of_several_servers_names_each_and_one_that_is_gone_hides_none() {
    let fleet = Fleet::new(2);
    let words = ["--address", "127.0.0.1:1"];
    let certificate = fleet.servers[0].identity.certificate.to_str().unwrap();
    let gone = [
        &["context", "add", "gone"][..],
        &words,
        &["--server-cert", certificate],
    ]
    .concat();
    fleet.ok(&gone);
    let started = fleet.run(&["start", "--context", "*", "--", "sleep", "1000"]);
    assert_eq!(started.status.code(), Some(5), "the highest of all");
    let said = stderr(&started);
    assert!(
        said.starts_with("prn: gone: ") && said.lines().count() == 1,
        "{said}"
    );
    assert_eq!(fleet.running(), [1, 1]);
    let started = stdout(&started);
    let mut pairs: Vec<_> = started
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    // Each is told as it comes.
    pairs.sort_unstable();
    assert_eq!(
        pairs.iter().map(|pair| pair.0).collect::<Vec<_>>(),
        ["web1", "web2"]
    );
    assert_ne!(pairs[0].1, pairs[1].1, "each has an id of its own");

    let listed = fleet.run(&["list", "--context", "web1,gone,web2", "-o", "json"]);
    assert_eq!(listed.status.code(), Some(5));
    let all: Value = serde_json::from_slice(&listed.stdout).unwrap();
    for (process, (host, id)) in all["processes"].as_array().unwrap().iter().zip(&pairs) {
        assert_eq!(
            (&process["host"], &process["id"]),
            (&(*host).into(), &(*id).into())
        );
    }
    let table = fleet.ok(&["list", "--context", "web*"]);
    assert!(
        table.contains("| HOST |") && table.contains(pairs[1].1),
        "{table}"
    );
    assert_eq!(
        fleet.ok(&["list", "--context", "web2", "-q"]).trim(),
        pairs[1].1
    );
    assert!(
        !fleet.ok(&["list", "--context", "web2"]).contains("HOST"),
        "it is one"
    );
    let one = fleet.ok(&["list", "--context", "web2*"]);
    assert!(one.contains("| HOST |"), "it was a pattern: {one}");

    // Which one has it?
    let found = fleet.json(&["status", "--context", "web*", pairs[1].1]);
    assert_eq!(found["processes"][0]["host"], "web2");
    assert_eq!(found["processes"].as_array().unwrap().len(), 1);
    let nowhere = [
        "status",
        "--context",
        "web*",
        "00000000000000000000000000000000",
    ];
    let nowhere = fleet.run(&nowhere);
    assert_eq!(
        (nowhere.status.code(), stderr(&nowhere).lines().count()),
        (Some(3), 1)
    );
    let unsure = [
        "status",
        "--context",
        "*",
        "00000000000000000000000000000000",
    ];
    assert_eq!(
        fleet.run(&unsure).status.code(),
        Some(5),
        "gone may know it"
    );
    let one = fleet.run(&["pause", "--context", "web*", pairs[0].1]);
    assert_eq!(one.status.code(), Some(2));
    assert!(stderr(&one).contains("web1, web2"), "{}", stderr(&one));
    for words in [&["stats", "--no-stream"][..], &["top"]] {
        let printed = fleet.ok(&[words, &["--context", "web*"]].concat());
        assert!(
            printed.contains("| web1 ") && printed.contains("| web2 "),
            "{printed}"
        );
    }
}

#[test]
fn a_process_on_several_servers_prints_lines_by_server_and_the_worst_is_the_exit_code() {
    let fleet = Fleet::new(2);
    let script = "printf 'one\\ntwo'; echo bad >&2; exit $(hostname >/dev/null; echo 3)";
    let output = fleet.run(&["run", "--context", "web*", "--", "sh", "-c", script]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let printed = stdout(&output);
    let expected = ["web1 | one", "web1 | two", "web2 | one", "web2 | two"];
    assert_eq!(sorted(&printed), expected);
    assert_eq!(sorted(&stderr(&output)), ["web1 | bad", "web2 | bad"]);

    let missing = fleet.run(&["run", "--context", "web*", "--", "no-such-program"]);
    assert_eq!(missing.status.code(), Some(127));
    assert_eq!(stderr(&missing).matches("no-such-program").count(), 2);
    for words in [&["-i"][..], &["-t"]] {
        let words = [&["run", "--context", "web*"], words, &["--", "cat"]].concat();
        assert_eq!(fleet.run(&words).status.code(), Some(125), "{words:?}");
    }
    let mut fed = fleet.prn(&["run", "--context", "web*", "--", "cat"]);
    let fed = fed
        .stdin(std::fs::File::open(fleet.config()).unwrap())
        .output()
        .unwrap();
    assert_eq!(fed.status.code(), Some(125));
    assert!(stderr(&fed).contains("-n leaves it"), "{}", stderr(&fed));
    assert_eq!(fleet.running(), [0, 0]);
}

#[test]
fn what_ends_one_of_several_ends_all() {
    let fleet = Fleet::new(2);
    let words = ["run", "--context", "web*", "--", "sleep", "1000"];
    let child = fleet.prn(&words).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("both to run", || fleet.running() == [1, 1]);
    kill(
        Pid::from_raw(child.id().try_into().unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143), "{}", stderr(&output));
    assert_eq!(fleet.running(), [0, 0]);

    let script = "while echo line; do sleep 0.05; done";
    let words = ["run", "--context", "web*", "--", "sh", "-c", script];
    let mut child = fleet.prn(&words).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut line).unwrap();
    assert!(line.ends_with(" | line\n"), "{line}");
    drop(reader);
    assert_eq!(child.wait().unwrap().code(), Some(141));
    wait_for("none to run", || fleet.running() == [0, 0]);
}

#[test]
fn a_server_that_does_not_answer_holds_up_no_other_one() {
    let fleet = Fleet::new(2);
    // Nobody accepts there: the kernel does, and then nothing comes.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let certificate = fleet.servers[0].identity.certificate.to_str().unwrap();
    let words = ["--address", &address, "--server-cert", certificate];
    fleet.ok(&[&["context", "add", "a-silent"][..], &words].concat());
    let began = Instant::now();
    let words = ["run", "--context", "*", "--", "echo", "here"];
    let mut command = fleet.prn(&words);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut lines = [String::new(), String::new()];
    for line in &mut lines {
        reader.read_line(line).unwrap();
    }
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
    lines.sort();
    assert_eq!(lines, ["web1 | here\n", "web2 | here\n"]);
    assert_eq!(child.wait().unwrap().code(), Some(125));
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(
        said.starts_with("prn: a-silent: ") && said.lines().count() == 1,
        "{said}"
    );
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn the_configuration_is_read_once_and_only_if_something_is_missing() {
    let fleet = Fleet::new(1);
    let trace = fleet.folder.path().join("trace");
    let opened = |complete: bool| {
        let mut command = Command::new("strace");
        command.args(["-f", "-e", "trace=openat,stat,newfstatat,statx", "-o"]);
        command.arg(&trace).arg(binary("prn")).arg("list");
        let server = &fleet.servers[0];
        if complete {
            command
                .env("PRN_ADDRESS", &server.address)
                .env("PRN_CLIENT_CERT", fleet.folder.path().join("client.pem"))
                .env("PRN_SERVER_CERT", &server.identity.certificate)
                .env("PRN_TLS_KEY_FILE", fleet.folder.path().join("client.key"));
        }
        let status = command.env("PRN_CONFIG", fleet.config()).output().unwrap();
        assert!(status.status.success(), "{}", stderr(&status));
        let calls = std::fs::read_to_string(&trace).unwrap();
        calls.matches("/config.toml").count()
    };
    assert_eq!(opened(true), 0);
    assert_eq!(opened(false), 1);
}

#[test]
fn a_certificate_that_ends_soon_is_said_so_once_a_day() {
    let fleet = Fleet::bare(1);
    // Of a long time, of which the last tenth is left.
    let at = |days| {
        let at = OffsetDateTime::now_utc() + time::Duration::days(days);
        at.replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap()
    };
    let days = ["--not-before", &at(-200), "--not-after", &at(13)];
    let folder = fleet.folder.path();
    std::fs::remove_file(folder.join("client.pem")).unwrap();
    std::fs::remove_file(folder.join("client.key")).unwrap();
    let soon = Identity::keygen(folder, "client", &days);
    let server = Server::with(Options {
        pins: vec![soon.certificate.clone()],
        ..Options::default()
    });
    let certificate = server.identity.certificate.to_str().unwrap();
    let words = ["--address", &server.address, "--server-cert", certificate];
    fleet.ok(&[&["context", "add", "web1"][..], &words].concat());
    let warned = || {
        let output = fleet.run(&["list", "-q"]);
        assert_eq!(
            (output.status.code(), stdout(&output).as_str()),
            (Some(0), "")
        );
        stderr(&output).matches("ends in 12 days").count()
    };
    assert_eq!((warned(), warned()), (1, 0));
    let noted = std::fs::read_dir(folder.join("state").join("prn")).unwrap();
    for file in noted {
        let file = std::fs::File::options()
            .append(true)
            .open(file.unwrap().path())
            .unwrap();
        let day = Duration::from_secs(24 * 60 * 60);
        file.set_modified(std::time::SystemTime::now() - day)
            .unwrap();
    }
    assert_eq!((warned(), warned()), (1, 0), "the next day");
    // Where nothing can be noted it is said each time.
    let mut command = fleet.prn(&["list"]);
    let output = command
        .env("XDG_STATE_HOME", "/proc/nowhere")
        .output()
        .unwrap();
    assert!(stderr(&output).contains("ends in 12 days"));
}

#[test]
fn a_server_takes_no_clients_address_for_its_own() {
    let start = |set: &[(&str, &str)], flags: &[&str]| {
        let mut command = Command::new(binary("prn"));
        command
            .args(["server", "start", "--server-cert", "/nowhere"])
            .args(flags);
        command.env_remove("PRN_ADDRESS").env_remove("PRN_LISTEN");
        let output = command.envs(set.iter().copied()).output().unwrap();
        (output.status.code().unwrap(), stderr(&output))
    };
    let warning = "PRN_LISTEN";
    let (code, said) = start(&[("PRN_ADDRESS", "not an address")], &[]);
    assert!(
        code == 1 && said.contains(warning),
        "it is not read: {said}"
    );
    let (code, said) = start(&[("PRN_LISTEN", "not an address")], &[]);
    assert!(code == 2 && said.contains("--address"), "{said}");
    for (set, flags) in [
        (
            &[("PRN_ADDRESS", "a:1"), ("PRN_LISTEN", "127.0.0.1:0")][..],
            &[][..],
        ),
        (&[("PRN_ADDRESS", "a:1")], &["--address", "127.0.0.1:0"]),
        (&[("PRN_ADDRESS", ""), ("PRN_LISTEN", "")], &[]),
    ] {
        let (code, said) = start(set, flags);
        assert!(code == 1 && !said.contains(warning), "{said}");
    }
}
