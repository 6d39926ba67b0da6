//! Commands that go on, and those that act, on several servers at once.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Output, Stdio};
use std::sync::mpsc::{self, Receiver};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
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
fn logs_of_a_process_stand_behind_the_name_of_the_server_that_has_it() {
    let fleet = Fleet::new(2);
    let script = "printf 'one\\ntwo'; echo bad >&2";
    let named = ["start", ALL, "--name", "job", "--label", "tier=a"];
    fleet.ok(&[&named[..], &["--", "sh", "-c", script]].concat());
    let solo = ["start", "--context", "web2", "--name", "solo", "--"];
    let solo = fleet.ok(&[&solo[..], &["echo", "alone"]].concat());

    let both = fleet.run(&["logs", ALL, "job"]);
    assert_eq!(both.status.code(), Some(0), "{}", stderr(&both));
    let expected = ["web1 | one", "web1 | two", "web2 | one", "web2 | two"];
    assert_eq!(sorted(&stdout(&both)), expected);
    assert_eq!(sorted(&stderr(&both)), ["web1 | bad", "web2 | bad"]);
    for which in ["solo", solo.trim(), &solo[..10]] {
        let one = fleet.run(&["logs", "--no-follow", ALL, which]);
        assert_eq!(one.status.code(), Some(0), "{}", stderr(&one));
        assert_eq!(stdout(&one), "web2 | alone\n");
    }
    let two = fleet.run(&["logs", ALL, "--stdout", "job", "solo"]);
    let printed = stdout(&two);
    let lines = sorted(&printed);
    assert_eq!((lines.len(), two.status.code()), (5, Some(0)), "{printed}");
    let label = format!("web2 {} | alone", &solo[..8]);
    assert!(lines.contains(&label.as_str()), "{printed}");
    let selected = fleet.ok(&["logs", ALL, "-l", "tier=a", "--stdout"]);
    assert_eq!(selected.lines().count(), 4, "{selected}");
    // Of one server as well, where the processes are told apart by their ids.
    let here = fleet.ok(&["logs", "--context=web2", "-l", "tier", "--stdout", "-n1"]);
    assert!(here.ends_with(" | two\n") && here.len() == 15, "{here}");

    for (words, code, says) in [
        (&["nowhere"][..], 3, "no process is called nowhere"),
        (&["solo", "nowhere"], 3, "no process is called nowhere"),
        (&["-l", "tier=b"], 0, "there is no such process"),
        (&["solo", "--offset=1"], 2, "name its server with --context"),
        (
            &["solo", "--max-bytes=1"],
            2,
            "name its server with --context",
        ),
    ] {
        let refused = fleet.run(&[&["logs", ALL], words].concat());
        assert_eq!(refused.status.code(), Some(code), "{words:?}");
        let said = stderr(&refused);
        assert!(said.contains(says) && said.lines().count() == 1, "{said}");
        let is_read = words.first() == Some(&"solo") && code == 3;
        assert_eq!(stdout(&refused).lines().count(), usize::from(is_read));
    }

    fleet.add_at("gone", 0, NOBODY);
    let partly = fleet.run(&["logs", ALL, "job", "nowhere", "--stdout"]);
    assert_eq!(partly.status.code(), Some(5), "the highest of all");
    assert_eq!(stdout(&partly).lines().count(), 4);
    let said = stderr(&partly);
    assert!(
        said.starts_with("prn: gone: ") && said.lines().count() == 1,
        "gone may have the other one: {said}"
    );
}

#[test]
fn logs_that_are_followed_on_several_servers_end_with_their_reader() {
    let fleet = Fleet::new(2);
    // Nobody answers there: the kernel accepts, and then nothing comes.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    fleet.add_at("a-silent", 0, &silent.local_addr().unwrap().to_string());
    let script = "while echo line; do sleep 0.05; done";
    let words = [
        "start",
        "--context=web*",
        "--name",
        "job",
        "--",
        "sh",
        "-c",
        script,
    ];
    fleet.ok(&words);
    let words = ["logs", ALL, "-f", "job"];
    let mut child = fleet.prn(&words).stdout(Stdio::piped()).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut seen = [false, false];
    while seen != [true, true] {
        let line = next(&mut reader);
        seen[0] |= line == "web1 | line\n";
        seen[1] |= line == "web2 | line\n";
    }
    drop(reader);
    assert_eq!(child.wait().unwrap().code(), Some(141));
    assert_eq!(fleet.running(), [1, 1], "they go on");

    let mut child = fleet.prn(&words).stdout(Stdio::piped()).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    next(&mut reader);
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), None, "as of one server");
}

fn next(reader: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line
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

    let red = [
        "start",
        "--context=web1,web2",
        "--name",
        "red",
        "--",
        "printf",
    ];
    fleet.ok(&[&red[..], &["\\033[31mred\\033[2J"]].concat());
    screen.line("clear; $PRN logs --context 'web1,web3' red");
    // What acts on a terminal would act on the lines of others.
    wait_for("both lines", || {
        let pane = screen.pane();
        pane.contains("web1 | red\n") && pane.contains("web3 | red\n")
    });

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
fn signals_and_stops_go_to_the_processes_of_a_name_on_all_servers() {
    let fleet = Fleet::new(2);
    let start = ["start", ALL, "--name", "job", "--label", "tier=a", "--"];
    let trap = "trap 'echo got' HUP; echo ready; while :; do sleep 0.1; done";
    fleet.ok(&[&start[..], &["sh", "-c", trap]].concat());
    let solo = ["start", "--context=web2", "--name", "solo", "--"];
    fleet.ok(&[&solo[..], &["sleep", "1000"]].concat());
    wait_for("both to be ready", || {
        let printed = fleet.ok(&["logs", "--no-follow", ALL, "job"]);
        sorted(&printed) == ["web1 | ready", "web2 | ready"]
    });
    let sent = fleet.ok(&["kill", ALL, "-HUP", "job"]);
    assert_eq!(sorted(&sent), ["web1 job", "web2 job"]);
    wait_for("both to get it", || {
        let printed = fleet.ok(&["logs", "--no-follow", ALL, "-n1", "job"]);
        sorted(&printed) == ["web1 | got", "web2 | got"]
    });
    assert_eq!(fleet.ok(&["kill", ALL, "solo"]), "web2 solo\n");
    wait_for("it to end", || fleet.running() == [1, 1]);

    let nowhere = fleet.run(&["stop", ALL, "nowhere"]);
    assert_eq!(nowhere.status.code(), Some(3), "{}", stderr(&nowhere));
    assert_eq!(stderr(&nowhere).lines().count(), 1);
    fleet.add_at("gone", 0, NOBODY);
    let stopped = fleet.run(&["stop", ALL, "-t0", "-l", "tier=a", "-o", "json"]);
    assert_eq!(stopped.status.code(), Some(5), "the highest of all");
    let all: Value = serde_json::from_slice(&stopped.stdout).unwrap();
    let all = all["processes"].as_array().unwrap();
    let hosts: Vec<_> = all.iter().map(|process| &process["host"]).collect();
    assert_eq!(hosts, ["web1", "web2"]);
    assert_eq!(fleet.running(), [0, 0]);
    let unasked = fleet.run(&["stop", "--context=web*", "--all"]);
    assert_eq!(unasked.status.code(), Some(2), "nobody can be asked");
    fleet.ok(&["start", "--context=web*", "--", "sleep", "1000"]);
    fleet.ok(&["stop", "--context=web*", "--all", "--yes", "-t0"]);
    assert_eq!(fleet.running(), [0, 0]);
}

#[test]
fn the_ends_of_processes_on_several_servers_are_waited_for() {
    let fleet = Fleet::new(2);
    let start = |context: &str, script: &str| {
        let words = [
            "start",
            "--name",
            "job",
            "--context",
            context,
            "--",
            "sh",
            "-c",
            script,
        ];
        fleet.ok(&words);
    };
    start("web1", "exit 0");
    start("web2", "while ! [ -e go ]; do sleep 0.05; done; exit 3");
    let late = fleet.run(&["wait", ALL, "--timeout", "1s", "job"]);
    assert_eq!(late.status.code(), Some(124));
    assert_eq!(stdout(&late), "web1 job 0\n");
    let said = stderr(&late);
    assert!(said.contains("not ended within 1s: web2 job"), "{said}");
    let any = fleet.run(&["wait", ALL, "--any", "job"]);
    assert_eq!(
        (any.status.code(), stdout(&any)),
        (Some(0), "web1 job 0\n".to_owned())
    );
    let mut going = Going::begin(&fleet, &["wait", ALL, "job"]);
    assert_eq!(going.printed(), "web1 job 0");
    fleet.servers[1].ok(&["stop", "-t0", "job"]);
    assert_eq!(going.printed(), "web2 job 137");
    assert_eq!(going.code(), Some(137));
    let nowhere = fleet.run(&["wait", ALL, "nowhere"]);
    assert_eq!(nowhere.status.code(), Some(125));
    assert_eq!(stderr(&nowhere).lines().count(), 1, "{}", stderr(&nowhere));
    fleet.add_at("gone", 0, NOBODY);
    let partly = fleet.run(&["wait", "--context=web1,gone", "job"]);
    assert_eq!(partly.status.code(), Some(125));
    assert_eq!(stdout(&partly), "web1 job 0\n");
    assert!(stderr(&partly).starts_with("prn: gone: "));
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
