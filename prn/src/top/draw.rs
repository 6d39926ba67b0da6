//! What is shown, as a picture of a terminal's screen. Pure.

use std::ops::Add;

use prn_client::Source;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{
    Cell, Clear, Paragraph, Row as TableRow, StatefulWidget, Table, TableState, Widget,
};

use super::columns::{Look, brief, columns};
use super::host::Link;
use super::key::Key;
use super::log::Log;
use super::model::{Mode, Model, Pane};
use super::rows::{Row, Sort, View};
use crate::output::{escaped, show_labels, show_state};

/// Rows of the table that a log leaves at least.
const TABLE_MIN: u16 = 4;

const HELP: &str = "\
Up Down         select a process                 c m i a n  sort by CPU, memory,
Enter           its output; again: on all of it             I/O, age or name;
                the screen                                  again: turned round
PageUp PageDown scroll the output, or the table  f          finished ones too
Home End        to its beginning, its end        /          filter, as you type
Left Right      the output sideways
Esc             close the output, end a filter   Ctrl-L     draw again
                                                 Ctrl-Z     leave for a while
s               stop it with all it has started  q Ctrl-C   quit
k               send its main process a signal
p               pause it, or let it go on

CPU % is of one CPU. The bars are full at the CPU limit, without one at one CPU.
HELD % is how much of the time the CPU limit held it back. Yellow: it is slow,
and the line below the table says why.";

/// Draws all of it.
pub fn draw(model: &Model, look: &Look, table: &mut TableState, buffer: &mut Buffer) {
    let [title, totals, body, about, footer] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(buffer.area);
    let rows = model.rows();
    title_line(model, look).render(title, buffer);
    second_line(model, &rows, look).render(totals, buffer);
    if model.mode == Mode::Help {
        Paragraph::new(HELP).render(body, buffer);
    } else {
        let (upper, lower) = panes(model, body);
        draw_table(model, &rows, look, table, (upper, buffer));
        if let Some(log) = &model.log {
            draw_log(model, log, look, lower, buffer);
        }
    }
    about_line(model, &rows, look).render(about, buffer);
    footer_line(model, look).render(footer, buffer);
}

fn panes(model: &Model, body: Rect) -> (Rect, Rect) {
    let table = match (&model.log, model.pane) {
        (None, _) => body.height,
        (Some(_), Pane::Whole) => 0,
        (Some(_), Pane::Half) => (body.height / 2).max(TABLE_MIN),
    };
    let areas = Layout::vertical([Constraint::Length(table), Constraint::Min(0)]).areas(body);
    let [upper, lower] = areas;
    (upper, lower)
}

fn bold() -> Style {
    Style::new().bold()
}

fn colored(color: Color, look: &Look) -> Style {
    if look.has_colors {
        Style::new().fg(color)
    } else {
        Style::new()
    }
}

/// What is looked at.
fn title_line(model: &Model, look: &Look) -> Line<'static> {
    let name = match model.hosts.as_slice() {
        [one] => escaped(&one.name),
        several => format!("{} servers", several.len()),
    };
    let processes = || model.hosts.iter().flat_map(|host| host.processes());
    let running = processes()
        .filter(|process| process.status.state == prn_client::State::Running)
        .count();
    let finished = processes().count() - running;
    let mut spans = vec![
        Span::styled("prn top", bold()),
        Span::raw(format!("  {name}  {running} running, {finished} finished")),
        Span::raw(format!("  by {}", sorted_by(&model.view))),
    ];
    if !model.view.filter.is_empty() {
        let filter = format!("  filter: {}", escaped(&model.view.filter));
        spans.push(Span::styled(filter, colored(Color::Yellow, look)));
    }
    Line::from(spans)
}

fn sorted_by(view: &View) -> String {
    let by = match view.sort {
        Sort::Cpu => "CPU",
        Sort::Memory => "memory",
        Sort::Io => "I/O",
        Sort::Age => "age",
        Sort::Name => "name",
    };
    let turned = if view.is_reversed {
        ", turned round"
    } else {
        ""
    };
    format!("{by}{turned}")
}

/// Which server is not there; else what all that are shown take.
fn second_line(model: &Model, rows: &[Row<'_>], look: &Look) -> Line<'static> {
    let is_one = model.hosts.len() == 1;
    let missing = model.hosts.iter().filter_map(|host| {
        let why = match &host.link {
            Link::Connected => return None,
            Link::Connecting => "connecting …".to_owned(),
            Link::Lost(why) => format!("connection lost, trying again: {}", escaped(why)),
        };
        Some(if is_one {
            why
        } else {
            format!("{}: {why}", escaped(&host.name))
        })
    });
    let missing: Vec<_> = missing.collect();
    if !missing.is_empty() {
        let style = colored(Color::Red, look).bold();
        return Line::styled(missing.join("; "), style);
    }
    let cpu: f64 = rows.iter().filter_map(Row::cpu).fold(0.0, Add::add);
    let size = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), brief);
    let tasks = sum(rows.iter().filter_map(Row::tasks)).unwrap_or_default();
    Line::raw(format!(
        "CPU {cpu:.1} %  memory {}  I/O {}/s  tasks {tasks}",
        size(sum(rows.iter().filter_map(Row::memory))),
        size(sum(rows.iter().filter_map(Row::io)))
    ))
}

/// `None`: nothing is known.
fn sum(known: impl Iterator<Item = u64>) -> Option<u64> {
    known.reduce(u64::saturating_add)
}

fn draw_table(
    model: &Model,
    rows: &[Row<'_>],
    look: &Look,
    state: &mut TableState,
    (area, buffer): (Rect, &mut Buffer),
) {
    if area.height == 0 {
        return;
    }
    let columns = columns(look.width, model.hosts.len() > 1);
    let header = columns.iter().map(|column| {
        let is_sorted = column.sort == Some(model.view.sort);
        let text = Text::styled(
            column.header,
            if is_sorted {
                bold().underlined()
            } else {
                bold()
            },
        );
        Cell::new(if column.is_number {
            text.right_aligned()
        } else {
            text
        })
    });
    let header = TableRow::new(header).style(Style::new().reversed());
    let lines = rows.iter().map(|row| {
        let line = TableRow::new(columns.iter().map(|column| column.cell(row, look)));
        if row.is_running() {
            line
        } else {
            line.style(Style::new().dim())
        }
    });
    let widths = columns.iter().map(|column| column.constraint(look.width));
    let widget = Table::new(lines, widths)
        .header(header)
        .column_spacing(1)
        .row_highlight_style(Style::new().reversed());
    state.select(place(rows, model.selected()));
    StatefulWidget::render(widget, area, buffer, state);
    if rows.is_empty() && area.height > 1 {
        let why = if model.view.filter.is_empty() {
            "no process runs; f shows those that have ended"
        } else {
            "nothing of this filter; Esc ends it"
        };
        let below = Rect::new(area.x, area.y + 1, area.width, 1);
        Line::styled(why, Style::new().dim()).render(below, buffer);
    }
}

fn place(rows: &[Row<'_>], key: Option<Key>) -> Option<usize> {
    rows.iter().position(|row| Some(row.key) == key)
}

fn draw_log(model: &Model, log: &Log, look: &Look, area: Rect, buffer: &mut Buffer) {
    let [title, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    Clear.render(area, buffer);
    let state = match (&log.ended, log.above_end) {
        (_, above) if above > 0 => format!("{above} lines above the end"),
        (Some(why), _) => escaped(why),
        (None, _) => "following".to_owned(),
    };
    let text = format!(" output of {} ({state})", escaped(&model.name(log.key)));
    let width = usize::from(title.width);
    Line::styled(format!("{text:<width$}"), bold().reversed()).render(title, buffer);
    let lines = log.shown(usize::from(body.height)).into_iter().map(|line| {
        let text: String = line.text.chars().skip(log.left).collect();
        let style = match line.source {
            Some(Source::Stdout) => Style::new(),
            Some(Source::Stderr) => colored(Color::Red, look),
            None => colored(Color::Yellow, look).bold(),
        };
        Line::styled(text, style)
    });
    let lines: Vec<_> = lines.collect();
    Paragraph::new(lines).render(body, buffer);
}

/// The selected process: why it is slow, else all of its command.
fn about_line(model: &Model, rows: &[Row<'_>], look: &Look) -> Line<'static> {
    let Some(row) = place(rows, model.selected()).and_then(|place| rows.get(place)) else {
        return Line::default();
    };
    let status = &row.process.status;
    let name = Span::styled(format!("{}: ", escaped(&row.name())), bold());
    let slow = row.stats.map(|stats| stats.slow.join("; "));
    if let Some(slow) = slow.filter(|slow| !slow.is_empty()) {
        let why = Span::styled(slow, colored(Color::Yellow, look));
        return Line::from(vec![name, why]);
    }
    let labels = if status.labels.is_empty() {
        String::new()
    } else {
        format!("  {}", escaped(&show_labels(&status.labels)))
    };
    let state = show_state(status);
    let command = escaped(&status.command);
    Line::from(vec![
        name,
        Span::raw(format!("{}{labels}  {command}", escaped(&state))),
    ])
}

/// What is asked, what was said last, or which keys there are.
fn footer_line(model: &Model, look: &Look) -> Line<'static> {
    let question = |text: String| Line::styled(text, bold().reversed());
    match &model.mode {
        Mode::Filter => question(format!(
            "filter: {}_  (Enter: keep, Esc: end)",
            escaped(&model.view.filter)
        )),
        Mode::Stop(key) => question(format!(
            "stop {} with all it has started? y/n",
            escaped(&model.name(*key))
        )),
        Mode::Signal {
            key,
            typed,
            is_wrong,
        } => {
            let name = escaped(&model.name(*key));
            let why = if *is_wrong {
                "no signal is called that: TERM, HUP, USR1, 9 …"
            } else {
                "Enter: send, TERM if nothing is typed; Esc: do not"
            };
            question(format!("signal to {name}: {}_  ({why})", escaped(typed)))
        }
        Mode::Help => Line::styled("any key: back", Style::new().dim()),
        Mode::Table => match &model.message {
            Some(message) if message.is_bad => {
                Line::styled(escaped(&message.text), colored(Color::Red, look).bold())
            }
            Some(message) => Line::styled(escaped(&message.text), bold()),
            None => keys_line(model, look),
        },
    }
}

/// Keys, the most needed ones first.
const TABLE_KEYS: &[(&str, &str)] = &[
    ("Enter", "output"),
    ("s", "stop"),
    ("k", "signal"),
    ("p", "pause"),
    ("/", "filter"),
    ("f", "ended"),
    ("?", "help"),
    ("q", "quit"),
    ("c m i a n", "sort"),
];

/// Those while output is shown.
const LOG_KEYS: &[(&str, &str)] = &[
    ("Enter", "size"),
    ("PgUp PgDn", "scroll"),
    ("Esc", "close"),
    ("s", "stop"),
    ("k", "signal"),
    ("?", "help"),
    ("q", "quit"),
    ("Left Right", "sideways"),
];

/// As many keys as there is room for.
fn keys_line(model: &Model, look: &Look) -> Line<'static> {
    let keys = match model.log {
        Some(_) => LOG_KEYS,
        None => TABLE_KEYS,
    };
    let mut line = Line::default();
    for (key, does) in keys {
        let does = format!(" {does}  ");
        if line.width() + key.len() + does.trim_end().len() > usize::from(look.width) {
            break;
        }
        line.push_span(Span::styled(*key, bold()));
        line.push_span(Span::raw(does));
    }
    line
}
