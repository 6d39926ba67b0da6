//! Commands that go on, on several servers at once.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Output, Stdio};
use std::sync::mpsc::{self, Receiver};

use prn_tests::fleet::Fleet;
use prn_tests::proxy::Proxy;
use prn_tests::screen::Screen;
use prn_tests::{deadline, wait_for};
use serde_json::Value;

/// Where nobody listens.
const NOBODY: &str = "127.0.0.1:1";

const ALL: &str = "--context=*";

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

/// A `prn` that goes on, and what it says line by line.
struct Going {
    child: Child,
    printed: Receiver<String>,
    said: Receiver<String>,
}

impl Going {
    fn begin(fleet: &Fleet, words: &[&str]) -> Self {
        let mut command = fleet.prn(words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let printed = lines(child.stdout.take().unwrap());
        let said = lines(child.stderr.take().unwrap());
        Self {
            child,
            printed,
            said,
        }
    }

    /// The next line of standard output.
    fn printed(&self) -> String {
        self.printed.recv_timeout(deadline()).unwrap()
    }

    /// The next line of standard error.
    fn said(&self) -> String {
        self.said.recv_timeout(deadline()).unwrap()
    }

    /// Waits for a line of standard output with all of these.
    fn prints(&self, parts: &[&str]) -> String {
        loop {
            let line = self.printed();
            if parts.iter().all(|part| line.contains(part)) {
                return line;
            }
        }
    }

    fn code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            if line.is_err() || sender.send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    lines
}

#[test]
fn changes_on_several_servers_are_told_as_they_happen_and_one_that_is_gone_holds_up_none() {
    let fleet = Fleet::new(2);
    let proxy = Proxy::start(&fleet.servers[1].address, || None);
    proxy.interrupt();
    fleet.add_at("late", 1, &proxy.address);
    let words = ["events", "--context=web1,late"];
    let mut going = Going::begin(&fleet, &words);
    let said = going.said();
    assert!(
        said.starts_with("prn: late: ") && said.ends_with("trying again"),
        "{said}"
    );
    // It is not known when web1 watches: what happens before is told or not.
    let start = |context: &str| {
        let words = ["start", "--context", context, "--", "true"];
        fleet.ok(&words).trim().to_owned()
    };
    let heard = std::cell::Cell::new(None);
    wait_for("a change on web1", || {
        start("web1");
        heard.set(going.printed.try_recv().ok());
        let line = heard.take().unwrap_or_default();
        line.starts_with("web1 ") && line.ends_with(" (true)")
    });
    proxy.resume();
    assert_eq!(going.said(), "prn: late: connected");
    let id = start("web2");
    going.prints(&["late ", &id, "started"]);
    let id = start("web1");
    going.prints(&["web1 ", &id, "started"]);

    // A lost connection is made again, and nothing is missed.
    proxy.interrupt();
    let id = start("web2");
    proxy.resume();
    going.prints(&["late ", &id, "exited 0"]);
    drop(std::mem::replace(&mut going.printed, mpsc::channel().1));
    start("web2");
    assert_eq!(going.code(), Some(141), "the reader has left");
}

#[test]
fn a_server_that_is_restarted_is_told_of_among_others() {
    let mut fleet = Fleet::new(2);
    let id = fleet.ok(&["start", "--context=web2", "--", "sleep", "1000"]);
    let words = ["events", "--existing", "-o", "jsonl", ALL];
    let going = Going::begin(&fleet, &words);
    let record = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    let first = record(&going.prints(&[id.trim()]));
    assert_eq!(first["host"], "web2");
    assert_eq!(first["process"]["id"], id.trim());
    let synchronized = [going.prints(&["\"synchronized\":true"]), String::new()];
    assert!(record(&synchronized[0])["host"].is_string());
    fleet.servers[1].kill_and_start_again();
    let restarted = record(&going.prints(&["\"restarted\":true"]));
    assert_eq!(restarted["host"], "web2");
    let lost = record(&going.prints(&["lost with its server"]));
    assert_eq!(
        (&lost["host"], &lost["removed"]),
        (&"web2".into(), &id.trim().into())
    );
}

#[test]
fn what_is_so_on_several_servers_is_told_once_and_ends() {
    let fleet = Fleet::new(2);
    fleet.ok(&["start", ALL, "--name", "job", "--", "true"]);
    let once = ["events", ALL, "--no-follow"];
    let told = fleet.ok(&once);
    assert_eq!(told.lines().count(), 2, "{told}");
    assert!(sorted(&told)[0].starts_with("web1 ") && sorted(&told)[1].starts_with("web2 "));
    let ids = fleet.ok(&[&once[..], &["-o", "name"]].concat());
    assert!(ids.lines().all(|line| line.len() == 37), "{ids}");
    let hosts = fleet.ok(&[&once[..], &["-o", "template={{host}}"]].concat());
    assert_eq!(sorted(&hosts), ["web1", "web2"]);

    let after = fleet.run(&["events", ALL, "--after", "x"]);
    assert_eq!(after.status.code(), Some(2));
    let said = stderr(&after);
    assert!(said.contains("a cursor is one server's"), "{said}");
    fleet.add_at("gone", 0, NOBODY);
    let partly = fleet.run(&once);
    assert_eq!(partly.status.code(), Some(5));
    assert_eq!(stdout(&partly).lines().count(), 2);
    assert_eq!(stderr(&partly).matches("prn: gone: ").count(), 1);
    // Where nobody is, it ends as with one server.
    for words in [&["events"][..], &["list", "--watch"], &["stats"]] {
        let nowhere = fleet.run(&[words, &["--context=gone*"]].concat());
        assert_eq!(nowhere.status.code(), Some(5), "{words:?}");
        assert_eq!(stderr(&nowhere).lines().count(), 1, "{}", stderr(&nowhere));
    }
}

#[test]
fn samples_of_several_servers_are_one_table_after_the_other() {
    let fleet = Fleet::new(2);
    fleet.ok(&["start", ALL, "--name", "busy", "--", "sleep", "1000"]);
    fleet.add_at("gone", 0, NOBODY);
    for words in [&["stats"][..], &["top", "--batch"]] {
        let words = [words, &[ALL, "--interval", "200ms"]].concat();
        let going = Going::begin(&fleet, &words);
        for _ in 0..3 {
            let rule = going.printed();
            assert!(rule.starts_with("+---"), "{rule}");
            assert!(going.printed().starts_with("| HOST |"));
            assert_eq!(going.printed(), rule);
            assert!(going.printed().starts_with("| web1 |"));
            assert!(going.printed().starts_with("| web2 |"));
            assert_eq!(going.printed(), rule);
        }
        assert!(going.said().starts_with("prn: gone: "));
    }
    let mut going = Going::begin(
        &fleet,
        &["stats", ALL, "-o", "jsonl", "--interval", "200ms"],
    );
    let mut counts = [0, 0];
    while counts.iter().any(|count| *count < 3) {
        let line: Value = serde_json::from_str(&going.printed()).unwrap();
        assert_eq!(line["name"], "busy");
        assert!(line["cpu_percent"].is_number(), "{line}");
        counts[usize::from(line["host"] == "web2")] += 1;
    }
    drop(std::mem::replace(&mut going.printed, mpsc::channel().1));
    assert_eq!(going.code(), Some(141));
    let named = fleet.run(&["stats", ALL, "busy"]);
    assert_eq!(named.status.code(), Some(2));
    let said = stderr(&named);
    assert!(said.contains("--name"), "{said}");
    let once = fleet.run(&["stats", ALL, "--no-stream", "--name", "busy", "-o", "name"]);
    assert_eq!(
        (once.status.code(), stdout(&once).lines().count()),
        (Some(5), 2)
    );
}

#[test]
fn a_list_of_several_servers_is_watched_through_a_pipe() {
    let fleet = Fleet::new(2);
    fleet.ok(&["start", ALL, "--name", "job", "--", "sleep", "1000"]);
    let going = Going::begin(&fleet, &["list", "--watch", ALL]);
    let both = [going.printed(), going.printed()];
    let mut hosts = both.each_ref().map(|line| &line[..5]);
    hosts.sort_unstable();
    assert_eq!(hosts, ["web1 ", "web2 "]);
    assert!(both[0].ends_with("is running (sleep 1000)"), "{both:?}");
    fleet.servers[1].ok(&["stop", "job"]);
    going.prints(&["web2 ", " job ", "stopped (sleep 1000)"]);
}

#[test]
fn on_a_terminal_there_is_one_table_of_all_servers_which_is_drawn_again() {
    let fleet = Fleet::new(2);
    let start = ["start", ALL, "--name", "job", "--", "sleep", "1000"];
    fleet.ok(&start);
    let proxy = Proxy::start(&fleet.servers[1].address, || None);
    fleet.add_at("web3", 1, &proxy.address);
    let screen = Screen::of(&fleet);
    screen.line("clear; $PRN list --watch --context 'web1,web3' --columns name,state,id");
    screen.shows("| web1 |");
    screen.shows("| web3 | job  | Running |");
    assert!(screen.pane().starts_with("+--"), "{}", screen.pane());
    fleet.servers[0].ok(&["stop", "job"]);
    screen.shows("| web1 | job  | Stopped |");
    proxy.interrupt();
    screen.shows("web3: ");
    screen.shows("| web3 | job  | Running |");
    proxy.resume();
    wait_for("web3", || !screen.pane().contains("web3: "));
    let widest = screen.pane().lines().map(str::len).max();
    assert!(widest <= Some(80), "{}", screen.pane());
    screen.keys(&["C-c"]);
    screen.shows("local>");

    screen.line("clear; $PRN stats --context 'web1,web3' --interval 200ms");
    screen.shows("| web3 |");
    screen.shows("HOST");
    proxy.interrupt();
    screen.shows("web3: ");
    wait_for("no row of web3", || !screen.pane().contains("| web3 |"));
    proxy.resume();
    screen.shows("| web3 |");
    screen.keys(&["C-c"]);
    screen.shows("local>");

    // It is not known when it watches: what happens before is not told.
    screen.line("clear; $PRN events --context web1,web3");
    wait_for("a change on each", || {
        fleet.ok(&["start", "--context=web1,web2", "--", "true"]);
        let pane = screen.pane();
        let is_told = |host: &str| {
            pane.lines()
                .any(|line| line.starts_with(host) && line.ends_with(" started (true)"))
        };
        is_told("web1 ") && is_told("web3 ")
    });
    screen.keys(&["C-c"]);
}

#[test]
fn what_is_for_one_server_says_so_and_does_nothing() {
    let fleet = Fleet::new(2);
    for words in [
        &["attach", "job"][..],
        &["cp", "/etc/hostname", "build:"],
        &["workspace", "create", "build"],
        &["workspace", "rm", "build"],
        &["inspect", "job"],
        &["update", "--label", "a=b", "job"],
        &["renew", "job"],
        &["pause", "job"],
        &["resume", "job"],
        &["rm", "job"],
        &["prune", "--yes"],
        &["top", "job"],
        &["batch"],
        &["mcp"],
    ] {
        let at = words.iter().position(|word| *word == "--");
        let (flags, rest) = words.split_at(at.unwrap_or(words.len()));
        let refused = fleet.run(&[flags, &["--context=web*"], rest].concat());
        let said = stderr(&refused);
        let code = refused.status.code().unwrap();
        assert!([2, 125].contains(&code), "{words:?}: {code} {said}");
        assert!(
            said.contains("one server") && said.contains("web1, web2"),
            "{words:?}: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{words:?}: {said}");
        assert_eq!(stdout(&refused), "", "{words:?}");
    }
    let words = [
        "run",
        "--context=web*",
        "-w",
        "build",
        "--sync",
        "/etc",
        "--",
        "true",
    ];
    let refused = fleet.run(&words);
    assert_eq!(refused.status.code(), Some(125));
    let said = stderr(&refused);
    assert!(said.contains("one server"), "{said}");
    assert_eq!(fleet.running(), [0, 0]);
}
