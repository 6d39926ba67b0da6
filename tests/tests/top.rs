//! `prn top`, as a person at tmux has it: what is shown, what keys do, and what is left behind.

use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_tests::pki::Identity;
use prn_tests::proxy::Proxy;
use prn_tests::screen::Screen;
use prn_tests::server::{Options, Server, has_controllers};
use prn_tests::{deadline, wait_for};

/// Takes all of a CPU that it may have.
const BUSY: &[&str] = &["sh", "-c", "while :; do :; done"];
/// Says what it gets, and something that a terminal would act on.
const TALKS: &[&str] = &[
    "bash",
    "-c",
    r"trap 'echo got USR1' USR1; printf '\033]0;a title\007\033[31mred\033[0m ready\n'; while :; do sleep 0.1; done",
];

fn named(server: &Server, name: &str, flags: &[&str], argv: &[&str]) -> String {
    server.start_process(&[&["--name", name], flags].concat(), argv)
}

/// A screen of this size, with `prn top` on it.
fn top(server: &Server, columns: u16, rows: u16) -> Screen {
    let screen = Screen::open(server);
    resize(&screen, columns, rows);
    screen.line("$PRN top");
    screen.shows("NAME/ID");
    screen
}

fn resize(screen: &Screen, columns: u16, rows: u16) {
    let (columns, rows) = (columns.to_string(), rows.to_string());
    screen.ok(&["resize-window", "-x", &columns, "-y", &rows]);
}

/// Waits until this is shown no more.
fn hides(screen: &Screen, text: &str) {
    let until = Instant::now() + deadline();
    while screen.pane().contains(text) {
        assert!(Instant::now() < until, "{text:?}:\n{}", screen.pane());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The line that begins with this.
fn line(screen: &Screen, begin: &str) -> String {
    let pane = screen.pane();
    let line = pane.lines().find(|line| line.starts_with(begin));
    line.unwrap_or_else(|| panic!("{begin}:\n{pane}"))
        .to_owned()
}

#[test]
fn all_that_runs_is_on_a_screen_of_80_by_24_and_more_of_it_on_one_of_200_by_50() {
    let server = Server::start();
    let limits = ["--cpu", "0.2", "--memory", "64M", "--label", "tier=batch"];
    named(&server, "busy", &limits, BUSY);
    named(&server, "web", &["--memory", "32M"], &["sleep", "1000"]);
    let ended = named(&server, "ended", &[], &["false"]);
    server.run(&["logs", &ended]);
    let screen = top(&server, 80, 24);
    screen.shows("2 running, 1 finished");
    if has_controllers() {
        screen.shows("busy: its CPU limit holds it back");
        screen.shows("/64M");
        screen.shows("/32M");
    }
    // It was measured several times.
    wait_for("bars", || {
        let bars = |c: char| ('▁'..='█').contains(&c);
        line(&screen, "busy").chars().filter(|c| bars(*c)).count() >= 3
    });
    let narrow = screen.pane();
    println!("{narrow}");
    for text in [
        "STATE",
        "CPU %",
        "MEM/LIMIT",
        "IO/s",
        "TASKS",
        "AGE",
        "COMMAND",
        "q quit",
    ] {
        assert!(narrow.contains(text), "{text}:\n{narrow}");
    }
    assert!(
        !narrow.contains("HELD %") && !narrow.contains("\nended"),
        "{narrow}"
    );
    assert!(narrow.lines().all(|line| line.chars().count() <= 80));
    let (busy, web) = (line(&screen, "busy"), line(&screen, "web"));
    assert!(
        narrow.find(&busy) < narrow.find(&web),
        "who takes most comes first:\n{narrow}"
    );
    resize(&screen, 200, 50);
    screen.shows("HELD %");
    screen.keys(&["f"]);
    screen.shows("Stopped (exit 1)");
    let wide = screen.pane();
    println!("{wide}");
    assert!(wide.contains("while :; do :; done"), "{wide}");
    screen.keys(&["q"]);
}

#[test]
fn keys_sort_filter_and_show_what_has_ended() {
    let server = Server::start();
    named(&server, "alpha", &[], &["sleep", "1000"]);
    named(
        &server,
        "beta",
        &["--label", "tier=web"],
        &["sleep", "1000"],
    );
    let screen = top(&server, 80, 24);
    screen.shows("beta");
    let is_before = |first: &str, second: &str| {
        wait_for(&format!("{first} before {second}"), || {
            let pane = screen.pane();
            let find = |text: &str| pane.lines().position(|line| line.starts_with(text));
            find(first) < find(second)
        });
    };
    screen.keys(&["n"]);
    is_before("alpha", "beta");
    screen.keys(&["n"]);
    is_before("beta", "alpha");
    screen.keys(&["a"]);
    is_before("beta", "alpha");
    screen.keys(&["/"]);
    screen.ok(&["send-keys", "-l", "tier=WEB"]);
    hides(&screen, "alpha");
    screen.keys(&["Enter"]);
    screen.shows("filter: tier=WEB");
    screen.keys(&["Escape"]);
    screen.shows("alpha");
    screen.keys(&["?"]);
    screen.shows("any key: back");
    screen.keys(&["x"]);
    screen.shows("NAME/ID");
    screen.keys(&["q"]);
    screen.shows("local>");
}

#[test]
fn a_process_is_looked_at_signalled_paused_and_stopped_by_keys() {
    let server = Server::start();
    let other = named(&server, "other", &[], &["sleep", "1000"]);
    let talks = named(&server, "talks", &[], TALKS);
    let screen = top(&server, 80, 24);
    screen.keys(&["/"]);
    screen.ok(&["send-keys", "-l", "talks"]);
    hides(&screen, "other");
    screen.keys(&["Enter", "Enter"]);
    screen.shows("output of talks (following)");
    screen.shows("red ready");
    println!("{}", screen.pane());
    let title = screen.ok(&["display-message", "-p", "#{pane_title}"]);
    assert_ne!(title.trim(), "a title");
    screen.keys(&["k"]);
    screen.ok(&["send-keys", "-l", "nope"]);
    screen.keys(&["Enter"]);
    screen.shows("no signal is called that");
    screen.keys(&["C-u"]);
    screen.ok(&["send-keys", "-l", "usr1"]);
    screen.keys(&["Enter"]);
    screen.shows("SIGUSR1 was sent to talks");
    screen.shows("got USR1");
    screen.keys(&["p"]);
    screen.shows("talks is paused");
    wait_for("paused", || server.status(&talks)["paused"] == true);
    screen.keys(&["p"]);
    screen.shows("talks goes on");
    screen.keys(&["s"]);
    screen.shows("stop talks with all it has started? y/n");
    screen.keys(&["n"]);
    screen.shows("nothing was stopped");
    assert_eq!(server.status(&talks)["state"], "running");
    screen.keys(&["s", "y"]);
    screen.shows("talks was stopped");
    assert_eq!(server.status(&talks)["state"], "stopped");
    assert_eq!(server.status(&other)["state"], "running");
    screen.shows("(ended: stopped, ");
    screen.keys(&["Escape"]);
    hides(&screen, "output of talks");
    screen.keys(&["Escape"]);
    screen.shows("other");
    screen.keys(&["q"]);
}

#[test]
fn the_terminal_is_as_it_was_however_it_ends() {
    let server = Server::start();
    named(&server, "web", &[], &["sleep", "1000"]);
    let screen = Screen::open(&server);
    let modes = screen.modes();
    let begin = || {
        screen.line("clear; echo before; $PRN top");
        screen.shows("NAME/ID");
        screen.shows("web");
        assert_ne!(screen.modes(), modes);
    };
    let restored = |how: &str| {
        println!("{how}");
        screen.shows("before");
        screen.comes_back(&modes);
        let flags = "#{alternate_on} #{cursor_flag}";
        assert_eq!(screen.ok(&["display-message", "-p", flags]).trim(), "0 1");
        screen.line("code=$?; clear; echo back $code");
        screen.shows("back ");
    };
    begin();
    screen.keys(&["q"]);
    restored("q");
    begin();
    screen.keys(&["C-c"]);
    restored("Ctrl-C");
    for signal in [
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
    ] {
        begin();
        kill(Pid::from_raw(screen.prn()), signal).unwrap();
        restored(signal.as_str());
    }
    begin();
    for how in ["key", "signal"] {
        match how {
            "key" => screen.keys(&["C-z"]),
            _ => kill(Pid::from_raw(screen.prn()), Signal::SIGTSTP).unwrap(),
        }
        screen.shows("Stopped");
        screen.comes_back(&modes);
        screen.line("clear; echo here $((3 * 5))");
        screen.shows("here 15");
        screen.line("clear; echo before; fg");
        screen.shows("NAME/ID");
        screen.shows("web");
    }
    screen.keys(&["q"]);
    restored("after fg");
}

#[test]
fn a_lost_connection_is_said_and_it_goes_on_by_itself() {
    let server = Server::start();
    let proxy = Proxy::start(&server.address, || None);
    named(&server, "web", &[], &["sleep", "1000"]);
    let screen = Screen::with(&server, &[("PRN_ADDRESS", &proxy.address)]);
    screen.line("$PRN top");
    screen.shows("web");
    proxy.interrupt();
    screen.shows("connection lost, trying again");
    println!("{}", screen.pane());
    named(&server, "later", &[], &["sleep", "1000"]);
    proxy.resume();
    screen.shows("later");
    hides(&screen, "connection lost");
    screen.keys(&["q"]);
    screen.shows("local>");
}

#[test]
fn several_servers_are_on_one_screen_and_each_row_says_whose_it_is() {
    let folder = tempfile::tempdir().unwrap();
    // Where contexts look for them that name none.
    let client = Identity::keygen(folder.path(), "client", &[]);
    let server = || {
        Server::with(Options {
            pins: vec![client.certificate.clone()],
            ..Options::default()
        })
    };
    let servers = [server(), server()];
    let config = folder.path().join("config.toml");
    let screen = Screen::with(&servers[0], &[("PRN_CONFIG", config.to_str().unwrap())]);
    screen.line("unset PRN_ADDRESS PRN_CLIENT_CERT PRN_SERVER_CERT PRN_TLS_KEY");
    for (server, name) in servers.iter().zip(["web1", "web2"]) {
        let certificate = server.identity.certificate.display();
        let address = &server.address;
        screen.line(&format!(
            "clear; $PRN context add {name} --address {address} --server-cert {certificate}; echo code $?"
        ));
        screen.shows("code 0");
    }
    let app = named(&servers[1], "app", &[], &["sleep", "1000"]);
    named(&servers[0], "db", &[], &["sleep", "1000"]);
    screen.line("clear; $PRN top --context 'web*'");
    screen.shows("2 servers  2 running");
    screen.shows("web1     db");
    screen.shows("web2     app");
    println!("{}", screen.pane());
    screen.keys(&["/"]);
    screen.ok(&["send-keys", "-l", "web2"]);
    hides(&screen, "web1 ");
    screen.keys(&["Enter", "s", "y"]);
    screen.shows("app was stopped");
    assert_eq!(servers[1].status(&app)["state"], "stopped");
    screen.keys(&["Escape"]);
    screen.shows("web1     db");
    drop(servers);
    screen.shows("web1: connection lost, trying again");
    screen.keys(&["q"]);
    screen.shows("local>");
}

#[test]
fn a_server_that_is_not_there_is_said_where_the_command_was_typed() {
    let server = Server::start();
    let screen = Screen::with(&server, &[("PRN_ADDRESS", "127.0.0.1:1")]);
    screen.line("clear; $PRN top; echo code $?");
    screen.shows("code 5");
    assert!(
        screen.pane().contains("cannot connect"),
        "{}",
        screen.pane()
    );
}

#[test]
fn nothing_is_written_while_nothing_changes() {
    let server = Server::start();
    named(&server, "ended", &[], &["true"]);
    let screen = top(&server, 80, 24);
    screen.shows("no process runs");
    let file = server.folder().join("written");
    screen.ok(&["pipe-pane", "-o", &format!("cat >{}", file.display())]);
    let written = || std::fs::metadata(&file).map_or(0, |file| file.len());
    wait_for("more than two samples without a word", || {
        let before = written();
        std::thread::sleep(Duration::from_millis(2_500));
        written() == before
    });
    let before = written();
    screen.keys(&["f"]);
    wait_for("a key is answered", || written() > before);
    screen.shows("ended");
    screen.keys(&["q"]);
}

#[test]
fn where_there_is_no_terminal_it_prints_what_stats_prints() {
    let server = Server::start();
    named(&server, "web", &[], &["sleep", "1000"]);
    let once = server.ok(&["top"]);
    assert!(once.contains("CPU %") && once.contains("web"), "{once}");
    assert!(!once.contains('\u{1b}'), "{once:?}");
    assert_eq!(once.matches("CPU %").count(), 1);
    let json = server.ok(&["top", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["stats"][0]["name"], "web");
    let mut batch = server
        .prn(&["top", "-b", "-d", "200ms", "-o", "jsonl"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufReader::new(batch.stdout.take().unwrap());
    let lines = std::io::BufRead::lines(lines).take(3);
    assert_eq!(
        lines
            .filter(|line| line.as_ref().unwrap().contains("web"))
            .count(),
        3
    );
    batch.wait().unwrap();
}

#[test]
fn with_an_id_it_prints_the_tasks_of_a_process() {
    let server = Server::start();
    named(
        &server,
        "web",
        &[],
        &["sh", "-c", "sleep 1000 & sleep 1000 & wait"],
    );
    let mut shown = String::new();
    wait_for("both", || {
        shown = server.ok(&["top", "web"]);
        shown.matches("sleep").count() == 2 + shown.matches("(sleeping)").count()
    });
    assert!(shown.contains("TASK") && shown.contains("STATE"), "{shown}");
    assert!(
        shown.contains("S (sleeping)") && shown.contains("| sh "),
        "{shown}"
    );
    let json = server.ok(&["top", "web", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let tasks = json["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 3, "{json}");
    assert!(
        tasks
            .iter()
            .all(|task| task["state"].is_string() && task["id"].is_string())
    );
    let unknown = server.run(&["top", "nobody"]);
    assert_eq!(unknown.status.code(), Some(3));
}
