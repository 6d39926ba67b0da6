//! What commands print in each format: for programs what docs/schemas says, for people tables that
//! nobody has to parse.

use std::process::{Command, Output, Stdio};

use prn_tests::proxy::Proxy;
use prn_tests::schemas::assert_valid;
use prn_tests::server::Server;
use prn_tests::wait_for;
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(json).collect()
}

fn error(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn ended(server: &Server, id: &str) {
    wait_for("its end", || server.status(id)["tree_empty"] == true);
}

#[test]
fn json_is_what_the_schemas_say() {
    let server = Server::start();
    let labels = ["--name", "web", "--label", "tier=front", "--memory", "64M"];
    let running = server.start_process(&labels, &["sleep", "1000"]);
    let failed = server.start_process(&["--timeout", "1h"], &["sh", "-c", "exit 3"]);
    ended(&server, &failed);
    for id in [&running, &failed] {
        assert_valid("process", &json(&server.ok(&["status", id, "-o", "json"])));
        assert_valid("process", &json(&server.ok(&["status", id, "-o", "jsonl"])));
    }
    let list = json(&server.ok(&["list", "-o", "json"]));
    assert_valid("list", &list);
    assert_eq!(list["processes"].as_array().unwrap().len(), 2);
    let each = lines(&server.ok(&["list", "-o", "jsonl"]));
    assert_eq!(each.len(), 2);
    each.iter()
        .for_each(|process| assert_valid("process", process));
    assert_eq!(each[0]["name"], "web");
    assert_eq!(each[0]["labels"]["tier"], "front");

    let started = server.ok(&["start", "-o", "json", "--", "true"]);
    assert_valid("start", &json(&started));
    let made = server.ok(&["workspace", "create", "w", "-o", "json"]);
    assert_valid("workspace", &json(&made));
    let all = json(&server.ok(&["workspace", "list", "-o", "json"]));
    assert_valid("workspace-list", &all);
    assert_eq!(all["workspaces"][0]["name"], "w");

    let stats = json(&server.ok(&["stats", "--no-stream", "-o", "json"]));
    assert_valid("stats-list", &stats);
    let inspected = json(&server.ok(&["inspect", &running, &failed]));
    assert_valid("inspect", &inspected);
    assert_eq!(inspected[0]["name"], "web");
    assert_valid("version", &json(&server.ok(&["version", "-o", "json"])));
    assert_valid("health", &json(&server.ok(&["health", "-o", "json"])));
    let events = server.ok(&["events", "--no-follow", "-o", "jsonl"]);
    let events = lines(&events);
    assert!(events.len() >= 3, "{events:?}");
    events.iter().for_each(|event| assert_valid("event", event));
    let written = server.start_process(&[], &["sh", "-c", "echo out; printf '\\377' >&2; exit 3"]);
    let read = json(&server.ok(&["logs", &written, "--max-bytes", "1K", "-o", "json"]));
    assert_valid("logs", &read);
    assert_eq!(read["output"].as_array().unwrap().len(), 2, "{read}");
    server.ok(&["stop", &running]);
    let pruned = server.ok(&["prune", "--yes", "-o", "json"]);
    assert_valid("prune", &json(&pruned));
}

#[test]
fn each_format_has_the_same_processes() {
    let server = Server::start();
    let names = ["one", "two"];
    let ids = names.map(|name| server.start_process(&["--name", name], &["sleep", "1000"]));
    let whole = format!("{}\n{}\n", ids[0], ids[1]);
    assert_eq!(server.ok(&["list", "-q"]), whole);
    assert_eq!(server.ok(&["ls", "-o", "name"]), whole);
    let template = "template={{id}} {{name}} {{exit.code}}|{{labels.x}}";
    let rendered = server.ok(&["ps", "-o", template]);
    let expected = format!("{} one |\n{} two |\n", ids[0], ids[1]);
    assert_eq!(rendered, expected);
    let one = server.ok(&["status", &ids[0], "-o", "template={{name}}: {{state}}"]);
    assert_eq!(one, "one: running\n");
    let yaml = server.ok(&["list", "-o", "yaml"]);
    assert!(yaml.starts_with("processes:\n- id: "), "{yaml}");
    assert_eq!(yaml.matches("\n  name: ").count(), 2, "{yaml}");
    let table = server.ok(&["list"]);
    assert!(
        table.contains("| one  |") && table.contains("NAME"),
        "{table}"
    );
    let wide = server.ok(&["list", "-o", "wide"]);
    assert!(
        wide.contains("s ago |") && wide.contains("USER ID"),
        "{wide}"
    );
    let columns = server.ok(&["list", "--columns", "name,uid"]);
    assert_eq!(columns.lines().nth(1).unwrap().matches('|').count(), 3);
    assert!(!columns.contains(&ids[0]), "{columns}");
}

#[test]
fn what_cannot_be_printed_is_told_with_what_can() {
    let server = Server::start();
    let id = server.start_process(&[], &["true"]);
    for (words, parts) in [
        (
            &["list", "-o", "xml"][..],
            &["'xml'", "jsonl", "template=…"][..],
        ),
        (
            &["list", "-o", "template={{.ID}}"],
            &["Jinja", "{{id}}", "character"],
        ),
        (&["list", "-o", "{{id}}"], &["template={{id}}"]),
        (&["list", "-o", "template={{id"], &["character"]),
        (
            &["list", "-o", "template={{exit_code}}"],
            &["exit_code", "limits", "exit"],
        ),
        (
            &["status", &id, "-o", "template={{exit.kind}}"],
            &["kind of exit", "cause"],
        ),
        (
            &["list", "--columns", "id,cpu"],
            &["--columns", "\"cpu\"", "memory-limit"],
        ),
        (
            &["list", "--sort", "-when"],
            &["--sort", "\"when\"", "started"],
        ),
        (
            &["list", "-o", "json", "--columns", "id"],
            &["--columns", "template="],
        ),
        (&["list", "-l", "a in (b)"], &["key=value"]),
        (&["list", "--running", "--failed"], &["--failed"]),
    ] {
        let output = server.run(words);
        let said = error(&output);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
        for part in parts {
            assert!(said.contains(part), "{words:?}: {said}");
        }
    }
}

#[test]
fn lists_select_sort_and_count() {
    let server = Server::start();
    let start = |name: &str, flags: &[&str], argv: &[&str]| {
        server.start_process(&[&["--name", name], flags].concat(), argv)
    };
    let good = start("a", &["--label", "kind=job"], &["true"]);
    let bad = start("b", &["--label", "kind=job"], &["false"]);
    server.ok(&["workspace", "create", "w"]);
    let alive = start("c", &["-w", "w"], &["sleep", "1000"]);
    ended(&server, &good);
    ended(&server, &bad);
    let list = |words: &[&str]| {
        let listed = server.ok(&[&["list", "-o", "template={{name}}"], words].concat());
        listed.lines().collect::<Vec<_>>().join(" ")
    };
    for (words, names) in [
        (&[][..], "a b c"),
        (&["-a"], "a b c"),
        (&["--all"], "a b c"),
        (&["--running"], "c"),
        (&["--finished"], "a b"),
        (&["--failed"], "b"),
        (&["--succeeded"], "a"),
        (&["--name", "a", "--name", "c"], "a c"),
        (&["--workspace", "w"], "c"),
        (&["-l", "kind=job"], "a b"),
        (&["-l", "kind!=job"], "c"),
        (&["-l", "kind", "--failed"], "b"),
        (&["-l", "!kind"], "c"),
        (&["-n", "2"], "b c"),
        (&["--last", "1"], "c"),
        (&["--sort", "-name"], "c b a"),
        (&["--sort", "state,-name"], "c a b"),
        (&["--sort", "-started"], "c b a"),
        (&["--since", "1h"], "a b c"),
        (&["--until", "1h"], ""),
    ] {
        assert_eq!(list(words), names, "{words:?}");
    }
    // As scripts have it.
    let script = r#""$PRN" list -q --failed | xargs "$PRN" logs"#;
    let prn = server.prn(&[]);
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).env("PRN", prn.get_program());
    for (name, value) in prn.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    assert!(shell.status().unwrap().success());
    server.ok(&["stop", &alive]);
}

#[test]
fn events_say_in_words_what_happens_and_go_on_at_a_cursor() {
    let server = Server::start();
    let before = server.start_process(&["--name", "before"], &["sleep", "1000"]);
    let mut follower = server
        .prn(&["events", "-o", "jsonl"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = std::io::BufReader::new(follower.stdout.take().unwrap());
    let mut next = || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut reader, &mut line).unwrap();
        json(&line)
    };
    let first = next();
    assert_eq!(
        first["synchronized"], true,
        "what was there before is no news: {first}"
    );
    let cursor = first["cursor"].as_str().unwrap().to_owned();
    let id = server.start_process(&["--name", "job"], &["sh", "-c", "read x; exit 3"]);
    ended(&server, &id);
    let mut words = Vec::new();
    while !words.iter().any(|word| word == "exited 3") {
        let event = next();
        assert_eq!(event["process"]["name"], "job");
        words.extend(
            event["events"]
                .as_array()
                .unwrap()
                .iter()
                .map(|word| word.as_str().unwrap().to_owned()),
        );
    }
    assert_eq!(words[0], "started");
    follower.kill().unwrap();
    follower.wait().unwrap();

    let since = server.ok(&["events", "--after", &cursor, "--no-follow"]);
    assert_eq!(since.lines().count(), 1, "{since}");
    assert!(
        since.contains(&format!("{id} job exited 3 (sh -c ")),
        "{since}"
    );
    let all = server.ok(&["watch", "--no-follow"]);
    assert_eq!(all.lines().count(), 2, "{all}");
    assert!(all.contains("before is running (sleep 1000)"), "{all}");
    server.ok(&["stop", &before]);
}

#[test]
fn events_that_go_on_say_nothing_of_what_was_never_selected() {
    let server = Server::start();
    let proxy = Proxy::start(&server.address, || None);
    let other = server.start_process(&[], &["true"]);
    let gone = server.start_process(&["--label", "app=a"], &["true"]);
    ended(&server, &other);
    ended(&server, &gone);
    let mut follower = server
        .prn(&["events", "-l", "app=a", "-o", "jsonl"])
        .env("PRN_ADDRESS", &proxy.address)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = std::io::BufReader::new(follower.stdout.take().unwrap());
    let mut next = || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut reader, &mut line).unwrap();
        json(&line)
    };
    assert_eq!(next()["synchronized"], true);
    proxy.interrupt();
    server.ok(&["rm", &other, &gone]);
    proxy.resume();
    let new = server.start_process(&["--label", "app=a"], &["sleep", "600"]);
    let mut told = Vec::new();
    while told.last() != Some(&new) {
        let event = next();
        let id = event["removed"]
            .as_str()
            .or(event["process"]["id"].as_str());
        told.extend(id.map(str::to_owned));
    }
    assert_eq!(told, [gone, new]);
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
fn events_go_on_over_a_restart_and_say_what_was_lost_with_it() {
    let mut server = Server::start();
    let lost = server.start_process(&["--name", "lost"], &["sleep", "1000"]);
    let mut follower = server
        .prn(&["events", "-o", "jsonl"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = std::io::BufReader::new(follower.stdout.take().unwrap());
    let mut next = || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut reader, &mut line).unwrap();
        let event = json(&line);
        assert_valid("event", &event);
        event
    };
    let first = next();
    assert_eq!(first["synchronized"], true, "{first}");
    server.kill_and_start_again();
    let restarted = next();
    assert_eq!(restarted["restarted"], true, "{restarted}");
    assert_ne!(restarted["boot_epoch"], first["boot_epoch"]);
    let removed = next();
    assert_eq!(removed["removed"], lost.as_str(), "{removed}");
    assert_eq!(removed["events"][0], "lost with its server", "{removed}");
    let new = server.start_process(&["--name", "new"], &["sleep", "1000"]);
    loop {
        let event = next();
        if event["process"]["id"] == new.as_str() {
            assert_eq!(event["events"][0], "started", "{event}");
            break;
        }
    }
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
fn stats_are_rates_and_end_with_what_is_named() {
    let server = Server::start();
    let busy = server.start_process(&["--name", "busy"], &["sh", "-c", "while :; do :; done"]);
    let idle = server.start_process(&["--name", "idle"], &["sleep", "1000"]);
    let all = json(&server.ok(&["stats", "--no-stream", "-o", "json"]));
    let [first, second] = [&all["stats"][0], &all["stats"][1]];
    assert_eq!([&first["name"], &second["name"]], ["busy", "idle"]);
    let cpu = |stats: &Value| stats["cpu_percent"].as_f64().unwrap();
    assert!(cpu(first) > 5.0 && cpu(second) < 5.0, "{all}");
    assert!(cpu(first) <= 110.0, "of one CPU: {all}");
    let table = server.ok(&["stats", "--no-stream"]);
    assert!(
        table.contains("| busy |") && table.contains("CPU %"),
        "{table}"
    );
    let wide = server.ok(&["stats", "idle", "--no-stream", "-o", "wide"]);
    assert!(wide.contains(&idle) && !wide.contains(&busy), "{wide}");

    let mut follower = server
        .prn(&[
            "stats",
            "busy",
            "idle",
            "--interval",
            "100ms",
            "-o",
            "jsonl",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    server.ok(&["stop", &busy, &idle]);
    wait_for("its end", || follower.try_wait().unwrap().is_some());
    let output = follower.wait_with_output().unwrap();
    assert!(output.status.success());
    let samples = lines(std::str::from_utf8(&output.stdout).unwrap());
    samples
        .iter()
        .for_each(|stats| assert_valid("stats", stats));
    let last: Vec<_> = samples.iter().rev().take(2).collect();
    assert!(
        last.iter().all(|stats| stats["running"] == false),
        "{last:?}"
    );
}

#[test]
fn stats_say_why_a_process_is_slow() {
    if !prn_tests::server::has_controllers() {
        return prn_tests::skipped("no cgroup controllers are to be had here");
    }
    let server = Server::start();
    let busy = ["--cpu", "0.2", "--name", "busy", "--memory", "64M"];
    let id = server.start_process(&busy, &["sh", "-c", "while :; do :; done"]);
    let stats = json(&server.ok(&["stats", &id, "--no-stream", "-o", "json"]));
    let stats = &stats["stats"][0];
    let cpu = stats["cpu_percent"].as_f64().unwrap();
    assert!((5.0..35.0).contains(&cpu), "{stats}");
    let throttled = stats["throttled_percent"].as_f64().unwrap();
    assert!(throttled > 10.0, "{stats}");
    assert_eq!(stats["memory_limit_bytes"], 64 << 20);
    let table = server.ok(&["stats", "--no-stream"]);
    let said = "busy: its CPU limit holds it back";
    assert!(table.contains(said), "{table}");
    server.ok(&["stop", &id]);
}

#[test]
fn a_reader_that_leaves_ends_what_has_no_end() {
    let server = Server::start();
    let id = server.start_process(&[], &["sleep", "1000"]);
    for words in [
        &["events", "-o", "jsonl"][..],
        &["list", "--watch"],
        &["stats", "--interval", "1h"],
    ] {
        let mut prn = server.prn(words).stdout(Stdio::piped()).spawn().unwrap();
        drop(prn.stdout.take());
        wait_for("its end", || prn.try_wait().unwrap().is_some());
        assert_eq!(prn.wait().unwrap().code(), Some(141), "{words:?}");
    }
    server.ok(&["stop", &id]);
}

#[test]
fn colours_are_for_terminals_and_for_whoever_asks() {
    let server = Server::start();
    let id = server.start_process(&[], &["sleep", "1000"]);
    let has_colors = |words: &[&str]| server.ok(words).contains("\u{1b}[");
    assert!(!has_colors(&["list"]));
    assert!(has_colors(&["list", "--color", "always"]));
    assert!(has_colors(&["status", &id, "--color=always"]));
    assert!(!has_colors(&["list", "--color", "never"]));
    let plain = server.ok(&["list"]);
    let painted = server.ok(&["list", "--color", "always"]);
    let bare = painted.replace("\u{1b}[32m", "").replace("\u{1b}[0m", "");
    assert_eq!(bare, plain);
    server.ok(&["stop", &id]);
}

#[test]
fn processes_of_prns_own_are_no_news() {
    let server = Server::start();
    server.ok(&["workspace", "create", "w"]);
    let file = server.folder().join("file");
    std::fs::write(&file, "x").unwrap();
    server.ok(&["cp", file.to_str().unwrap(), "w:"]);
    assert_eq!(server.ok(&["list", "-q"]), "");
    assert_eq!(server.ok(&["events", "--no-follow"]), "");
    assert_eq!(server.ok(&["list", "-qa"]).lines().count(), 1);
    let own = server.ok(&["list", "-q", "-l", "prn.io/internal"]);
    assert_eq!(own.lines().count(), 1);
}
