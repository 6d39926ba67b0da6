//! What is shown after what has come from servers and from the keyboard, without either.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use prn_client::{Change, Process, ProcessId, Source, Usages};
use prn_proto::v1;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Color;
use ratatui::widgets::TableState;

use super::columns::Look;
use super::draw::draw;
use super::key::Key;
use super::log::Piece;
use super::model::{Action, Model, Update};
use super::rows::{Sort, View};

const START: u64 = 1_700_000_000;

fn timestamp(seconds: u64) -> Option<prost_types::Timestamp> {
    let seconds = seconds.try_into().unwrap();
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn key(host: usize, number: u8) -> Key {
    let id = ProcessId::from_bytes([number; 16]);
    Key { host, id }
}

fn process(number: u8, name: &str, edit: impl FnOnce(&mut v1::ProcessStatus)) -> Process {
    let mut status = v1::ProcessStatus {
        state: v1::ProcessState::Running.into(),
        name: name.to_owned(),
        command: format!("run-{name}"),
        started_at: timestamp(START + u64::from(number)),
        limits: Some(v1::AppliedLimits {
            values: Some(v1::Limits {
                memory_bytes: Some(64 << 20),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    edit(&mut status);
    let id = Some(key(0, number).id.into());
    let status = Some(status);
    Process::try_from(v1::Process { id, status }).unwrap()
}

fn ended(number: u8, name: &str) -> Process {
    process(number, name, |status| {
        status.state = v1::ProcessState::Stopped.into();
        status.exit_cause = Some(v1::ExitCause {
            kind: v1::exit_cause::Kind::Exited.into(),
            exit_code: 3,
            ..Default::default()
        });
    })
}

/// At a second: microseconds of CPU time, bytes of memory, and periods in which it was held back, of
/// 100 in all, of each.
fn usages(second: u64, all: &[(u8, u64, u64, u64)]) -> Usages {
    let usage = |(number, cpu, memory, held): &(u8, u64, u64, u64)| v1::ProcessUsage {
        id: Some(key(0, *number).id.into()),
        usage: Some(v1::Usage {
            cpu_user_usec: *cpu,
            io_read_bytes: Some(second * 1024),
            io_write_bytes: Some(0),
            ..Default::default()
        }),
        memory_bytes: Some(*memory),
        pids: Some(3),
        cpu_periods: Some(second * 100),
        cpu_throttled_periods: Some(*held),
        ..Default::default()
    };
    Usages::try_from(v1::GetUsageResponse {
        usages: all.iter().map(usage).collect(),
        sampled_at: timestamp(START + 100 + second),
        ..Default::default()
    })
    .unwrap()
}

struct Shown {
    model: Model,
    table: TableState,
}

impl Shown {
    /// Of a server "far", with three processes, of which one has ended, measured twice.
    fn new() -> Self {
        let mut shown = Self::of(&["far"]);
        shown.connected(0);
        for process in [
            process(1, "web", |_| {}),
            process(2, "busy", |_| {}),
            ended(3, "done"),
        ] {
            shown.change(Change::Process(Box::new(process)));
        }
        shown.change(Change::Synchronized);
        let memory = 8 << 20;
        shown.usages(usages(0, &[(1, 0, memory, 0), (2, 0, memory / 2, 0)]));
        shown.usages(usages(
            1,
            &[(1, 1_000, memory, 0), (2, 900_000, memory / 2, 80)],
        ));
        shown
    }

    fn of(hosts: &[&str]) -> Self {
        let view = View {
            sort: Sort::Cpu,
            is_reversed: false,
            filter: String::new(),
            shows_finished: false,
        };
        let names = hosts.iter().map(|name| (*name).to_owned()).collect();
        Self {
            model: Model::new(names, view),
            table: TableState::default(),
        }
    }

    fn connected(&mut self, host: usize) {
        self.model.update(Update::Connected { host, name: None });
    }

    fn change(&mut self, change: Change) -> Option<Action> {
        self.model.update(Update::Change { host: 0, change })
    }

    fn usages(&mut self, usages: Usages) {
        self.model.update(Update::Usages { host: 0, usages });
    }

    fn data(&mut self, of: Key, data: &'static str) {
        let piece = Piece::Data {
            source: Source::Stdout,
            data: Bytes::from_static(data.as_bytes()),
        };
        self.model.update(Update::Log { key: of, piece });
    }

    fn key(&mut self, code: KeyCode) -> Option<Action> {
        self.model.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn keys(&mut self, keys: &str) -> Option<Action> {
        let mut last = None;
        for letter in keys.chars() {
            last = self.key(KeyCode::Char(letter));
        }
        last
    }

    fn buffer(&mut self, width: u16, height: u16, has_colors: bool) -> Buffer {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        let look = Look {
            has_colors,
            width,
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(START + 190),
        };
        draw(&self.model, &look, &mut self.table, &mut buffer);
        buffer
    }

    fn text(&mut self, width: u16, height: u16) -> Vec<String> {
        let buffer = self.buffer(width, height, true);
        let rows = buffer.content().chunks(usize::from(width));
        let text = |row: &[ratatui::buffer::Cell]| row.iter().map(|cell| cell.symbol()).collect();
        rows.map(text).collect::<Vec<String>>()
    }

    /// Names of the rows of the table, from the top.
    fn names(&mut self) -> Vec<String> {
        let lines = self.text(80, 24).into_iter().skip(3).take(18);
        let names = lines.map(|line| {
            line.split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned()
        });
        names.take_while(|name| !name.is_empty()).collect()
    }
}

#[test]
fn a_screen_of_80_by_24_has_all_that_is_worth_knowing() {
    let mut shown = Shown::new();
    shown.key(KeyCode::Up);
    let lines = shown.text(80, 24);
    let lines: Vec<_> = lines.iter().map(|line| line.trim_end()).collect();
    assert_eq!(lines[0], "prn top  far  2 running, 1 finished  by CPU");
    assert_eq!(lines[1], "CPU 90.1 %  memory 12M  I/O 2K/s  tasks 6");
    assert_eq!(
        lines[2],
        "NAME/ID      STATE     CPU %          MEM/LIMIT  IO/s TASKS   AGE COMMAND"
    );
    assert_eq!(
        lines[3],
        "busy         Running    90.0      ▇      4M/64M    1K     3  3m8s run-busy"
    );
    assert_eq!(
        lines[4],
        "web          Running     0.1             8M/64M    1K     3  3m9s run-web"
    );
    assert_eq!(lines[5], "");
    assert!(lines[22].starts_with("busy: its CPU limit holds it back 80 % of the time"));
    assert!(lines[23].starts_with("Enter output  s stop  k signal  p pause"));
    assert!(lines[23].contains("q quit"), "{}", lines[23]);
}

#[test]
fn a_wide_screen_has_more_and_a_tiny_one_is_no_fault() {
    let mut shown = Shown::new();
    let wide = shown.text(200, 50).join("\n");
    assert!(wide.contains("HELD %") && wide.contains(" 80.0 "), "{wide}");
    for (width, height) in [(1, 1), (5, 3), (20, 4), (39, 8), (64, 2), (300, 1)] {
        shown.text(width, height);
    }
    shown.key(KeyCode::Enter);
    for (width, height) in [(1, 1), (5, 3), (20, 4), (80, 5)] {
        shown.text(width, height);
    }
}

#[test]
fn keys_sort_and_again_the_other_way_round() {
    let mut shown = Shown::new();
    assert_eq!(shown.names(), ["busy", "web"]);
    for (keys, names) in [
        ("c", ["web", "busy"]),
        ("m", ["web", "busy"]),
        ("m", ["busy", "web"]),
        ("a", ["busy", "web"]),
        ("a", ["web", "busy"]),
        ("n", ["busy", "web"]),
        ("n", ["web", "busy"]),
        ("c", ["busy", "web"]),
    ] {
        shown.keys(keys);
        assert_eq!(shown.names(), names, "{keys}");
    }
}

#[test]
fn what_has_ended_is_shown_if_it_is_asked_for() {
    let mut shown = Shown::new();
    shown.keys("fn");
    assert_eq!(shown.names(), ["busy", "done", "web"]);
    let text = shown.text(80, 24).join("\n");
    assert!(text.contains("done         exit 3        -"), "{text}");
    assert!(shown.text(130, 24).join("\n").contains("Stopped (exit 3)"));
    shown.keys("f");
    assert_eq!(shown.names(), ["busy", "web"]);
}

#[test]
fn a_filter_is_applied_as_it_is_typed_and_its_letters_are_no_keys() {
    let mut shown = Shown::new();
    assert_eq!(shown.keys("/RUN-w"), None);
    assert_eq!(shown.names(), ["web"]);
    assert_eq!(shown.keys("qsk"), None);
    assert!(shown.names()[0].starts_with("nothing"));
    shown.key(KeyCode::Backspace);
    shown.key(KeyCode::Backspace);
    shown.key(KeyCode::Backspace);
    shown.key(KeyCode::Enter);
    assert_eq!(shown.names(), ["web"]);
    assert!(shown.text(80, 24)[0].contains("filter: RUN-w"));
    shown.key(KeyCode::Esc);
    assert_eq!(shown.names(), ["busy", "web"]);
}

#[test]
fn a_key_is_for_the_process_that_was_selected_wherever_its_row_is_by_then() {
    let mut shown = Shown::new();
    assert_eq!(
        shown.model.selected(),
        Some(key(0, 1)),
        "the first one that came"
    );
    shown.key(KeyCode::Up);
    assert_eq!(shown.model.selected(), Some(key(0, 2)));
    assert_eq!(shown.keys("s"), None);
    assert!(shown.text(80, 24)[23].contains("stop busy with all it has started? y/n"));
    shown.usages(usages(2, &[(1, 900_000, 0, 0), (2, 900_000, 0, 80)]));
    assert_eq!(shown.names(), ["web", "busy"]);
    assert_eq!(shown.keys("y"), Some(Action::Stop(key(0, 2))));
    assert_eq!(shown.keys("sn"), None);
    assert!(shown.text(80, 24)[23].contains("nothing was stopped"));
    // A row that is gone leaves the one in its place.
    shown.change(Change::Removed(key(0, 2).id));
    assert_eq!(shown.model.selected(), Some(key(0, 1)));
}

#[test]
fn a_signal_is_asked_for_by_name() {
    let mut shown = Shown::new();
    shown.keys("knope");
    assert_eq!(shown.key(KeyCode::Enter), None);
    assert!(shown.text(80, 24)[23].contains("no signal is called that"));
    shown
        .model
        .key(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL));
    shown.keys("usr1");
    assert_eq!(
        shown.key(KeyCode::Enter),
        Some(Action::Signal(key(0, 1), 10))
    );
    shown.keys("k");
    assert_eq!(
        shown.key(KeyCode::Enter),
        Some(Action::Signal(key(0, 1), 15))
    );
    shown.keys("k");
    assert_eq!(shown.key(KeyCode::Esc), None);
    assert_eq!(shown.keys("q"), Some(Action::Quit));
}

#[test]
fn pausing_is_turned_round_by_the_same_key() {
    let mut shown = Shown::new();
    assert_eq!(shown.keys("p"), Some(Action::SetPaused(key(0, 1), true)));
    let paused = process(1, "web", |status| status.paused = true);
    shown.change(Change::Process(Box::new(paused)));
    assert!(
        shown
            .text(80, 24)
            .join("\n")
            .contains("web          paused")
    );
    assert_eq!(shown.keys("p"), Some(Action::SetPaused(key(0, 1), false)));
}

#[test]
fn the_output_of_the_selected_process_is_shown_below_the_table() {
    let mut shown = Shown::new();
    let of = key(0, 1);
    assert_eq!(shown.key(KeyCode::Enter), Some(Action::Read(Some(of))));
    shown.data(of, "one\n\u{1b}[2Jtwo\n");
    shown.data(key(0, 2), "of another\n");
    let text = shown.text(80, 24);
    let title = text
        .iter()
        .position(|line| line.contains("output of web (following)"));
    let title = title.unwrap();
    assert_eq!(text[title + 1].trim_end(), "one");
    assert_eq!(text[title + 2].trim_end(), "two");
    assert!(!text.join("").contains("of another"));
    // The whole screen, a line up, sideways.
    shown.key(KeyCode::Enter);
    assert!(shown.text(80, 24)[2].contains("output of web"));
    shown.key(KeyCode::PageUp);
    assert!(shown.text(80, 24)[2].contains("1 lines above the end"));
    shown.key(KeyCode::End);
    shown.key(KeyCode::Right);
    assert_eq!(shown.text(80, 24)[3].trim_end(), "");
    // Another one is selected, and this one closed.
    assert_eq!(shown.key(KeyCode::Up), Some(Action::Read(Some(key(0, 2)))));
    assert_eq!(shown.key(KeyCode::Esc), Some(Action::Read(None)));
    assert!(shown.model.log.is_none());
}

#[test]
fn output_goes_on_being_shown_when_its_process_has_ended() {
    let mut shown = Shown::new();
    shown.key(KeyCode::Enter);
    assert_eq!(
        shown.change(Change::Process(Box::new(ended(1, "web")))),
        None
    );
    let piece = Piece::End("ended: code 3".to_owned());
    shown.model.update(Update::Log {
        key: key(0, 1),
        piece,
    });
    assert!(
        shown
            .text(80, 24)
            .join("\n")
            .contains("output of web (ended: code 3)")
    );
}

#[test]
fn a_lost_connection_is_said_and_nothing_old_is_passed_off_as_new() {
    let mut shown = Shown::new();
    let why = "no route".to_owned();
    shown.model.update(Update::Lost { host: 0, why });
    let text = shown.text(80, 24);
    assert!(text[1].starts_with("connection lost, trying again: no route"));
    assert!(text[3].contains(" -/64M"), "{}", text[3]);
    shown.connected(0);
    assert!(shown.text(80, 24)[1].starts_with("CPU "));
    shown.change(Change::Restarted);
    let text = shown.text(80, 24);
    assert!(text[0].contains("0 running, 0 finished"));
    assert!(text[23].contains("far was restarted"));
}

#[test]
fn several_servers_have_a_column() {
    let mut shown = Shown::of(&["web1", "web2"]);
    shown.connected(0);
    for host in [0, 1] {
        let change = Change::Process(Box::new(process(1, "app", |_| {})));
        shown.model.update(Update::Change { host, change });
    }
    let text = shown.text(80, 24);
    assert!(text[0].contains("2 servers  2 running"));
    assert!(text[1].starts_with("web2: connecting"));
    assert!(text[2].starts_with("HOST     NAME/ID"));
    assert!(text[3].starts_with("web1     app"));
    assert!(text[4].starts_with("web2     app"));
    shown.key(KeyCode::Down);
    assert_eq!(shown.keys("sy"), Some(Action::Stop(key(1, 1))));
}

#[test]
fn nothing_of_a_server_acts_on_the_terminal() {
    let mut shown = Shown::of(&["far\u{1b}[2J"]);
    shown.connected(0);
    let odd = process(1, "a", |status| {
        status.name = "\u{1b}]0;x\u{7}".to_owned();
        status.command = "\u{9b}2J\u{202e}\n".to_owned();
        status.labels.insert("k".to_owned(), "\u{1b}c".to_owned());
    });
    shown.change(Change::Process(Box::new(odd)));
    shown.model.tell("\u{1b}[2J".to_owned(), true);
    let text = shown.text(200, 24).join("");
    assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'));
    assert!(text.contains("\\u{1b}]0;x"), "{text}");
}

#[test]
fn colours_are_where_they_are_wanted_and_nothing_changes_by_itself() {
    let mut shown = Shown::new();
    let colors = |buffer: &Buffer| buffer.content().iter().any(|cell| cell.fg != Color::Reset);
    let first = shown.buffer(80, 24, true);
    assert!(colors(&first));
    assert!(!colors(&shown.buffer(80, 24, false)));
    assert!(first.diff(&shown.buffer(80, 24, true)).is_empty());
}
