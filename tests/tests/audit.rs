//! The audit: each decision is a line that nobody else could have written, none is altered or
//! missing without a trace, and whoever does not take lines holds nobody up.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, mkfifo};
use prn_ipc_protocol::message::{Ask, Refusal, Reply, Request, RequestId, StopHow, Verb};
use prn_ipc_protocol::types::{AccessName, ProcessId};
use prn_tests::hostile_frontend::{Answer, HostileFrontend, Mode, Order, call, encoded, replaced};
use prn_tests::pki::Identity;
use prn_tests::server::{Options, Server};
use prn_tests::{procfs, wait_for};
use serde_json::Value;
use tempfile::TempDir;

/// A folder in which the server makes the audit's.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir_in("/var/lib").unwrap())
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("log")
    }

    fn file(&self) -> PathBuf {
        self.folder().join("audit.jsonl")
    }

    fn options(&self) -> Options {
        let target = format!("file:{}", self.file().display());
        Options {
            arguments: vec!["--audit".to_owned(), target],
            ..Options::default()
        }
    }

    /// All lines, once one of them is so.
    fn until(&self, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut all = Vec::new();
        wait_for(what, || {
            all = lines(&fs::read(self.file()).unwrap_or_default());
            all.iter().any(&is_wanted)
        });
        all
    }
}

/// The whole lines of a file.
fn lines(bytes: &[u8]) -> Vec<Value> {
    let whole = bytes.split_inclusive(|byte| *byte == b'\n');
    let whole = whole.filter(|line| line.ends_with(b"\n"));
    whole
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

fn verify(server: &Server, files: &[&Path]) -> (bool, String) {
    let files = files.iter().map(|file| file.to_str().unwrap());
    let words: Vec<_> = ["audit", "verify"].into_iter().chain(files).collect();
    let output = server.run(&words);
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// All numbers from 1 on are there, or are said to be lost.
fn counted(all: &[Value]) -> (u64, u64) {
    let number = |line: &Value, key| line[key].as_u64().unwrap_or(0);
    let mut next = 1;
    for line in all {
        next += number(line, "lost");
        assert_eq!(number(line, "seq"), next, "{line}");
        next += 1;
    }
    let lost = all.iter().map(|line| number(line, "lost")).sum();
    (next - 1, lost)
}

fn unknown(number: u64) -> ProcessId {
    ProcessId::from_bytes(u128::from(number).to_be_bytes())
}

/// Asks for something that is refused, so often.
fn decide(hostile: &mut HostileFrontend, times: u64) {
    for number in 0..times {
        let (reply, _) = hostile.ask(Ask::Stop(unknown(number), StopHow::Kill));
        assert_eq!(reply, Reply::Refused(Refusal::UnknownProcess));
    }
}

fn writer(server: &Server) -> Option<i32> {
    let children = procfs::children(server.supervisor());
    let is_writer = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(b"prn-audit\0")
    };
    children.into_iter().find(is_writer)
}

#[test]
fn each_decision_is_a_line_with_what_was_said_and_what_is_known_apart() {
    let place = Place::new();
    let mut server = Server::with(place.options());
    let dry = server.ok(&["start", "--dry-run", "-o", "json", "--", "sleep", "1000"]);
    let dry: Value = serde_json::from_str(&dry).unwrap();
    let id = server.start_process(&[], &["sleep", "1000"]);
    server.ok(&["stop", &id]);
    server.run(&["start", "--", "/no/such/program"]);
    place.until("the failed start", |line| line["event"] == "start-failed");
    server.stop();
    let all = place.until("the end", |line| line["event"] == "over");
    assert_eq!(all[0]["event"], "run");
    let of = |event: &str| {
        let mut found = all.iter().filter(|line| line["event"] == event);
        found.find(|line| line["id"] == *id).unwrap()
    };
    let start = of("start");
    assert_eq!(start["asserted"]["principal"], "client");
    assert_eq!(start["verified"]["outcome"], "allowed");
    assert_eq!(start["verified"]["digest"], dry["start"]["digest"]);
    for filled_in in ["output_max_bytes", "stop_grace", "profile"] {
        assert!(!dry["start"][filled_in].is_null(), "{filled_in}: {dry}");
    }
    assert_eq!(start["verified"]["argv"][1], "1000");
    assert!(start["verified"]["uid"].as_u64().unwrap() >= u64::from(server.first_uid()));
    assert_eq!(of("stop")["verified"]["outcome"], "allowed");
    assert_eq!(of("end")["verified"]["cause"], "stopped-on-request");
    assert!(of("end").get("asserted").is_none());
    let (is_good, said) = verify(&server, &[&place.file()]);
    assert!(is_good && said.contains("lost: 0"), "{said}");
    let file = place.file();
    let file = file.to_str().unwrap();
    let shown = server.ok(&["audit", "show", "--id", &id[..8], "--who", "client", file]);
    assert!(
        shown.contains("start") && !shown.contains("over"),
        "{shown}"
    );
    let refused = server.ok(&["audit", "show", "--refused", file]);
    assert!(!refused.contains("allowed"), "{refused}");
    let none = server.ok(&["audit", "show", "--since", "2100-01-01", file]);
    assert!(!none.contains("client"), "{none}");
    let none = server.ok(&["audit", "show", "--since", "2100-01-01T00:00:00Z", file]);
    assert!(!none.contains("client"), "{none}");
    let json = server.ok(&["audit", "show", "-o", "json", file]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["lines"].as_array().unwrap().len(), all.len());
}

/// Each second tells of it once, however often it is said, and nothing of who is nobody's.
#[test]
fn refusals_that_a_frontend_says_without_end_are_counted() {
    let place = Place::new();
    let mut hostile = HostileFrontend::with(place.options());
    let anybody = hostile.principal.clone();
    let nobody: AccessName = "root@nobody.ever".to_owned().try_into().unwrap();
    for _ in 0..2_000 {
        for who in [&anybody, &nobody] {
            hostile.send(&encoded(&Request::Denied {
                who: who.clone(),
                verb: Verb::Start,
                count: 1,
            }));
        }
    }
    // It was all taken by now.
    decide(&mut hostile, 1);
    assert_eq!(hostile.server.stop(), Some(0));
    let all = lines(&fs::read(place.file()).unwrap());
    let told: Vec<_> = all
        .iter()
        .filter(|line| line["event"] == "denied")
        .collect();
    let counts = told.iter().map(|line| {
        assert_eq!(line["asserted"]["principal"], anybody.as_str(), "{line}");
        line["asserted"]["count"].as_u64().unwrap()
    });
    assert_eq!(counts.sum::<u64>(), 2_000, "{told:?}");
    assert!(told.len() < 200, "{}", told.len());
}

#[test]
fn neither_standard_error_nor_words_nor_names_forge_a_line() {
    let place = Place::new();
    let mut hostile = HostileFrontend::with(place.options());
    let forged = "{\"seq\":2,\"at\":1,\"epoch\":\"x\",\"event\":\"forged\",\"prev\":\"\"}\n";
    let write = call(libc::SYS_write, &[2, 0, forged.len().try_into().unwrap()]);
    let written = hostile.call(write.bytes(1, forged.as_bytes()));
    assert_eq!(written, i64::try_from(forged.len()).unwrap());
    let word = format!("x\"]}},\r\n{forged}\x1b[2J\u{202e}");
    let id = hostile.start_process(&["/bin/true", &word]);
    // A name of a principal with a quote does not decode: it costs the frontend its life.
    hostile.fault("not a valid message", Mode::Ready, |hostile| {
        let request = Request::Ask(
            RequestId(hostile.next_request()),
            "clie".to_owned().try_into().unwrap(),
            Ask::Remove(unknown(1)),
        );
        hostile.throw(&replaced(&encoded(&request), b"clie", b"c\"\n}"));
    });
    hostile.principal = "root".to_owned().try_into().unwrap();
    let (reply, _) = hostile.ask(Ask::Remove(id));
    assert!(
        matches!(reply, Reply::Refused(Refusal::Denied(_))),
        "{reply:?}"
    );
    let all = place.until("the refusal", |line| line["event"] == "remove");
    assert!(all.iter().all(|line| line["event"] != "forged"));
    let start = all.iter().find(|line| line["event"] == "start").unwrap();
    assert_eq!(start["verified"]["argv"][1], word.as_str());
    assert!(all.iter().any(|line| line["event"] == "frontend-killed"));
    let removed = all.iter().find(|line| line["event"] == "remove").unwrap();
    assert_eq!(removed["asserted"]["principal"], "root", "as it was said");
    assert_eq!(removed["verified"]["outcome"], "refused");
    let (is_good, said) = verify(&hostile.server, &[&place.file()]);
    assert!(is_good, "{said}");
    let raw = fs::read(place.file()).unwrap();
    assert!(
        raw.iter()
            .all(|byte| *byte == b'\n' || (b' '..=b'~').contains(byte))
    );
}

#[test]
fn what_the_frontend_refuses_by_the_policy_is_counted_in_a_line_a_second() {
    const TRIES: u64 = 60;
    let place = Place::new();
    let client = Identity::keygen(place.0.path(), "dora", &[]);
    let config = place.0.path().join("prn.toml");
    let dora = "[[client]]\nname = 'dora'\ncert = 'dora.pem'\nrole = 'viewer'\n";
    fs::write(&config, dora).unwrap();
    let mut options = place.options();
    options.arguments.push("--config".to_owned());
    options.arguments.push(config.display().to_string());
    options.lists_clients = true;
    let server = Server::with(options);
    let prn = |words: &[&str]| server.prn_as(&client, words).output().unwrap();
    let began = Instant::now();
    for _ in 0..TRIES {
        let output = prn(&["start", "--", "true"]);
        assert_eq!(output.status.code(), Some(4), "{output:?}");
    }
    assert_eq!(prn(&["workspace", "create", "w"]).status.code(), Some(4));
    // A question is no attempt, and what is allowed is none either.
    assert_eq!(prn(&["can-i", "stop"]).status.code(), Some(1));
    let asked = prn(&["can-i", "start", "--", "true"]);
    assert_eq!(asked.status.code(), Some(1), "{asked:?}");
    let asked = prn(&["start", "--dry-run", "--", "true"]);
    assert_eq!(asked.status.code(), Some(1), "{asked:?}");
    assert!(prn(&["list"]).status.success());
    let denied = |line: &&Value| line["event"] == "denied";
    let mut all = Vec::new();
    wait_for("all tries", || {
        all = lines(&fs::read(place.file()).unwrap_or_default());
        let counts = all.iter().filter(denied);
        let counts = counts.map(|line| line["asserted"]["count"].as_u64().unwrap());
        counts.sum::<u64>() == TRIES + 1
    });
    let told: Vec<_> = all.iter().filter(denied).collect();
    let seconds = began.elapsed().as_secs();
    let most = usize::try_from(seconds).unwrap() + 3;
    assert!(told.len() <= most, "{} lines in {seconds} s", told.len());
    for line in &told {
        assert_eq!(line["asserted"]["principal"], "dora");
        assert_eq!(
            line["verified"],
            serde_json::json!({}),
            "the root half knows nothing of it"
        );
    }
    let of = |verb: &str| {
        let of_verb = told.iter().filter(|line| line["asserted"]["verb"] == verb);
        let counts = of_verb.map(|line| line["asserted"]["count"].as_u64().unwrap());
        counts.sum::<u64>()
    };
    assert_eq!((of("start"), of("workspace"), of("stop")), (TRIES, 1, 0));
    let (is_good, said) = verify(&server, &[&place.file()]);
    assert!(is_good, "{said}");
    let file = place.file();
    let shown = server.ok(&[
        "audit",
        "show",
        "--refused",
        "--who",
        "dora",
        file.to_str().unwrap(),
    ]);
    assert!(
        shown.contains("denied") && shown.contains("verb=start"),
        "{shown}"
    );
}

#[test]
fn a_frontend_that_its_filter_has_killed_stands_in_it() {
    let place = Place::new();
    let server = Server::with(place.options());
    kill(Pid::from_raw(server.frontend()), Signal::SIGSYS).unwrap();
    let ended = |line: &Value| {
        line["event"] == "frontend-ended" && line["verified"]["signal"] == libc::SIGSYS
    };
    place.until("the frontend's end", ended);
}

#[test]
fn a_line_that_is_altered_dropped_or_swapped_is_named() {
    let place = Place::new();
    let mut hostile = HostileFrontend::with(place.options());
    decide(&mut hostile, 5);
    let last = |line: &Value| line["seq"] == 6;
    place.until("all lines", last);
    let text = fs::read_to_string(place.file()).unwrap();
    let good: Vec<&str> = text.lines().collect();
    let copy = place.0.path().join("copy");
    let verdict = |lines: &[&str]| {
        fs::write(&copy, lines.join("\n") + "\n").unwrap();
        verify(&hostile.server, &[&copy])
    };
    assert!(verdict(&good).0);
    let file = place.file();
    let said = hostile
        .server
        .ok(&["audit", "verify", file.to_str().unwrap()]);
    assert!(said.contains("6 lines, of 1 run"), "{said}");
    let altered = good[2].replace("refused", "allowed");
    let mut lines = good.clone();
    lines[2] = &altered;
    let (is_good, said) = verdict(&lines);
    assert!(
        !is_good && said.contains("copy:4: the line before it was altered"),
        "{said}"
    );
    let mut lines = good.clone();
    lines.remove(3);
    let (is_good, said) = verdict(&lines);
    assert!(
        !is_good && said.contains("copy:4: line 4 of its run is missing"),
        "{said}"
    );
    let mut lines = good.clone();
    lines.swap(2, 3);
    let (is_good, said) = verdict(&lines);
    assert!(
        !is_good && said.contains("copy:3: line 3 of its run is missing"),
        "{said}"
    );
    let (is_good, said) = verdict(&[good.clone(), good.clone()].concat());
    assert!(
        !is_good && said.contains("copy:7: it begins a run that there were lines of before"),
        "{said}"
    );
    let (is_good, said) = verdict(&good[2..]);
    assert!(!is_good && said.contains("with line 3 of it"), "{said}");
    let path = copy.to_str().unwrap();
    let said = hostile
        .server
        .ok(&["audit", "verify", "--from-middle", path]);
    assert!(said.contains("4 lines, of 1 run"), "{said}");
    let older = place.0.path().join("older");
    fs::write(&older, good[..2].join("\n") + "\n").unwrap();
    assert!(verify(&hostile.server, &[&older, &copy]).0);
    let (is_good, said) = verify(&hostile.server, &[&copy, &older]);
    assert!(
        !is_good && said.contains("in the wrong order: give "),
        "{said}"
    );
    // Lines that no audit has are counted, and what there is is shown.
    fs::write(&copy, format!("no line\n{{}}\n{}\n", good[0])).unwrap();
    let shown = hostile.server.run(&["audit", "show", path]);
    assert_eq!(shown.status.code(), Some(1));
    let said = String::from_utf8(shown.stderr).unwrap();
    assert!(said.contains("of no audit: 2"), "{said}");
}

#[test]
fn a_writer_that_is_killed_and_a_file_that_is_renamed_cost_no_line() {
    let place = Place::new();
    let mut hostile = HostileFrontend::with(place.options());
    let mut files = Vec::new();
    for round in 0..3 {
        decide(&mut hostile, 500);
        let old = place.folder().join(format!("audit.jsonl.{round}"));
        wait_for("a file", || place.file().exists());
        fs::rename(place.file(), &old).unwrap();
        files.push(old);
        decide(&mut hostile, 500);
        let pid = writer(&hostile.server).unwrap();
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        decide(&mut hostile, 500);
        wait_for("another writer", || {
            writer(&hostile.server).is_some_and(|other| other != pid)
        });
    }
    place.until("the last line", |line| line["seq"] == 4501);
    files.push(place.file());
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let (is_good, said) = verify(&hostile.server, &files);
    assert!(is_good, "{said}");
    assert!(
        said.contains("4501 lines, of 1 run") && said.contains("lost: 0"),
        "{said}"
    );
}

#[test]
fn a_writer_that_hangs_is_not_in_the_way_of_the_next_server() {
    let place = Place::new();
    let mut server = Server::with(place.options());
    place.until("the first line", |line| line["event"] == "run");
    let pid = writer(&server).unwrap();
    procfs::hold(pid);
    server.kill_and_start_again();
    assert!(!procfs::alive(pid));
    let runs = |line: &Value| line["event"] == "start";
    server.start_process(&[], &["sleep", "1000"]);
    let all = place.until("a start", runs);
    let runs = all.iter().filter(|line| line["event"] == "run");
    assert_eq!(runs.count(), 2);
    let (is_good, said) = verify(&server, &[&place.file()]);
    assert!(is_good && said.contains("of 2 runs"), "{said}");
    assert!(
        said.contains(":1: a run ends here without `over`"),
        "{said}"
    );
}

#[test]
fn what_a_full_disk_does_not_take_is_counted_and_nothing_stands_still() {
    let place = Place::new();
    let disk = Disk::full_at(&place, "64k");
    let mut hostile = HostileFrontend::with(place.options());
    // More than the disk and the pipe hold together.
    decide(&mut hostile, 8000);
    let old = fs::read(place.file()).unwrap();
    fs::remove_file(place.file()).unwrap();
    disk.grow();
    // It is tried again by itself; then there is room for a line that says how many were lost.
    wait_for("room for a line", || {
        decide(&mut hostile, 1);
        let new = fs::read(place.file()).unwrap_or_default();
        lines(&[old.as_slice(), &new].concat())
            .iter()
            .any(|line| line["lost"].is_u64())
    });
    let all = lines(&[old, fs::read(place.file()).unwrap()].concat());
    let (made, lost) = counted(&all);
    assert!(lost > 0 && made > 8000, "{made} {lost}");
    drop(hostile);
}

/// A disk of the audit's own, unmounted when dropped: before the place that it is in.
struct Disk(PathBuf);

impl Disk {
    fn full_at(place: &Place, size: &str) -> Self {
        let folder = place.folder();
        fs::create_dir(&folder).unwrap();
        let options = format!("size={size},mode=0750,uid=1999999998");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&folder)
            .status();
        assert!(mount.unwrap().success());
        Self(folder)
    }

    fn grow(&self) {
        let grown = Command::new("mount")
            .args(["-o", "remount,size=64m"])
            .arg(&self.0)
            .status();
        assert!(grown.unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_line_that_a_full_disk_has_cut_off_breaks_no_audit_and_both_are_in_the_log() {
    let place = Place::new();
    let disk = Disk::full_at(&place, "32k");
    let mut server = Server::with(place.options());
    let is_half = || fs::read(place.file()).is_ok_and(|bytes| !bytes.ends_with(b"\n"));
    for number in 0..400 {
        if number >= 20 && is_half() {
            break;
        }
        server.run(&["stop", &format!("{number:032x}")]);
        server.run(&["start", "--", "/no/such/program", &"x".repeat(900)]);
    }
    wait_for("a line that is cut off", is_half);
    wait_for("a line of the log", || {
        server
            .log()
            .contains("the audit is not written: No space left")
    });
    server.stop();
    let log = server.log();
    assert!(
        log.contains("the audit's last lines were not written: "),
        "{log}"
    );
    let (is_good, said) = verify(&server, &[&place.file()]);
    assert!(is_good && said.contains("a line is cut off here"), "{said}");
    let half = fs::read(place.file()).unwrap();
    disk.grow();
    // An audit that is only ever longer: its writer ends the line, and does not take it away.
    let ended = place.0.path().join("ended");
    let mut next = Server::with(place.options());
    next.stop();
    place.until("the next run", |line| line["event"] == "over");
    let all = fs::read(place.file()).unwrap();
    let (is_good, said) = verify(&next, &[&place.file()]);
    assert!(is_good && said.contains("of 2 runs"), "{said}");
    let whole = half.iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    assert_eq!(all[..whole], half[..whole]);
    fs::write(&ended, [&half[..], b"\n", &all[whole..]].concat()).unwrap();
    let (is_good, said) = verify(&next, &[&ended]);
    assert!(is_good && said.contains("lost: 1"), "{said}");
    // And one whose file was renamed in the middle of a line.
    let (older, newer) = (place.0.path().join("older"), place.0.path().join("newer"));
    fs::write(&older, &all[..whole + 20]).unwrap();
    fs::write(&newer, &all[whole + 20..]).unwrap();
    let (is_good, said) = verify(&next, &[&older, &newer]);
    assert!(is_good && said.contains("lost: 0"), "{said}");
}

#[test]
fn a_reader_that_stalls_holds_nobody_up_and_ten_thousand_decisions_are_all_accounted_for() {
    let place = Place::new();
    let fifo = place.0.path().join("fifo");
    mkfifo(
        &fifo,
        nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR,
    )
    .unwrap();
    let mut reader = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&fifo)
        .unwrap();
    let passing = format!("exec 9>'{}'; exec \"$@\"", fifo.display());
    let mut hostile = HostileFrontend::with(Options {
        arguments: vec!["--audit".to_owned(), "fd:9".to_owned()],
        wrapper: ["sh", "-c", &passing, "sh"].map(str::to_owned).into(),
        ..Options::default()
    });
    decide(&mut hostile, 10_000);
    let mut bytes = Vec::new();
    let mut read = |bytes: &mut Vec<u8>| {
        let mut piece = [0; 65536];
        while let Ok(length @ 1..) = reader.read(&mut piece) {
            bytes.extend_from_slice(&piece[..length]);
        }
    };
    read(&mut bytes);
    decide(&mut hostile, 1);
    wait_for("the next line", || {
        read(&mut bytes);
        lines(&bytes).last().unwrap()["seq"] == 10_002
    });
    let all = lines(&bytes);
    let (made, lost) = counted(&all);
    assert_eq!(made, 10_002);
    assert_eq!(u64::try_from(all.len()).unwrap() + lost, made);
    assert!(lost > 0);
    assert!(hostile.is_alive());
    assert_eq!(hostile.order(&Order::Flooded), Answer::Count(0));
}

#[test]
fn two_servers_do_not_write_one_audit() {
    let place = Place::new();
    let mut first = Server::with(place.options());
    let refused = Server::try_with(place.options()).unwrap_err().log;
    assert!(
        refused.contains("another server writes its audit there"),
        "{refused}"
    );
    first.stop();
    let mut second = Server::with(place.options());
    second.stop();
    place.until("both runs", |line| line["event"] == "over");
    let (is_good, said) = verify(&second, &[&place.file()]);
    assert!(is_good && said.contains("of 2 runs"), "{said}");
}

#[test]
fn a_place_that_could_hold_the_server_up_or_is_open_to_others_is_refused() {
    let place = Place::new();
    fs::create_dir(place.folder()).unwrap();
    fs::set_permissions(place.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    let refused = |options| Server::try_with(options).unwrap_err().log;
    let log = refused(place.options());
    assert!(log.contains("a folder that its writer owns"), "{log}");
    let regular = place.0.path().join("regular");
    let passing = format!("exec 9>'{}'; exec \"$@\"", regular.display());
    let log = refused(Options {
        arguments: vec!["--audit".to_owned(), "fd:9".to_owned()],
        wrapper: ["sh", "-c", &passing, "sh"].map(str::to_owned).into(),
        ..Options::default()
    });
    assert!(
        log.contains("a regular file could block the server"),
        "{log}"
    );
    let log = refused(Options {
        arguments: vec!["--audit".to_owned(), "fd:77".to_owned()],
        ..Options::default()
    });
    assert!(log.contains("nothing was passed there"), "{log}");
}
