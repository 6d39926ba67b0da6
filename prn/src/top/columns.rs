//! The columns of the table: as many as there is room for. Pure.

use std::time::SystemTime;

use ratatui::layout::Constraint;
use ratatui::style::{Color, Style};
use ratatui::text::Text;
use ratatui::widgets::Cell;

use super::rows::{Row, Sort};
use crate::output::{age_of, escaped, is_full, is_notable, show_state};

/// What a column's cells are made from.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// There are colours.
    pub has_colors: bool,
    /// Width of the screen.
    pub width: u16,
    /// What time it is.
    pub now: SystemTime,
}

/// A column.
#[derive(Debug)]
pub struct Column {
    /// What stands above it.
    pub header: &'static str,
    /// The key that sorts by it does so by this.
    pub sort: Option<Sort>,
    /// Its text ends at its right side.
    pub is_number: bool,
    /// The least width of a screen that it is shown on.
    from: u16,
    /// Its width on a screen of 80 columns, and on one of 120 and more.
    widths: (u16, u16),
    cell: fn(&Row<'_>, &Look, usize) -> (String, Tone),
}

/// What a cell's colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Plain,
    Good,
    Bad,
    Notable,
    Past,
}

/// From this width on there is room for more.
const WIDE: u16 = 120;

const HOST: Column = Column {
    header: "HOST",
    sort: None,
    is_number: false,
    from: 0,
    widths: (8, 16),
    cell: |row, _, _| (escaped(&row.host.name), Tone::Plain),
};

const COLUMNS: &[Column] = &[
    Column {
        header: "NAME/ID",
        sort: Some(Sort::Name),
        is_number: false,
        from: 0,
        widths: (12, 20),
        cell: |row, _, _| (escaped(&row.name()), Tone::Plain),
    },
    Column {
        header: "STATE",
        sort: None,
        is_number: false,
        from: 50,
        widths: (8, 18),
        cell: state,
    },
    Column {
        header: "CPU %",
        sort: Some(Sort::Cpu),
        is_number: true,
        from: 0,
        widths: (6, 6),
        cell: cpu,
    },
    Column {
        header: "",
        sort: None,
        is_number: false,
        from: 76,
        widths: (6, 20),
        cell: bars,
    },
    Column {
        header: "HELD %",
        sort: None,
        is_number: true,
        from: WIDE,
        widths: (6, 6),
        cell: held,
    },
    Column {
        header: "MEM/LIMIT",
        sort: Some(Sort::Memory),
        is_number: true,
        from: 0,
        widths: (11, 11),
        cell: memory,
    },
    Column {
        header: "IO/s",
        sort: Some(Sort::Io),
        is_number: true,
        from: 68,
        widths: (5, 6),
        cell: |row, _, _| (row.io().map_or_else(dash, brief), Tone::Plain),
    },
    Column {
        header: "TASKS",
        sort: None,
        is_number: true,
        from: 68,
        widths: (5, 5),
        cell: tasks,
    },
    Column {
        header: "AGE",
        sort: Some(Sort::Age),
        is_number: true,
        from: 58,
        widths: (5, 6),
        cell: age,
    },
    Column {
        header: "COMMAND",
        sort: None,
        is_number: false,
        from: 0,
        widths: (0, 0),
        cell: |row, _, _| (escaped(&row.process.status.command), Tone::Plain),
    },
];

/// Those that a screen of this width has room for.
pub fn columns(width: u16, has_hosts: bool) -> Vec<&'static Column> {
    let host = has_hosts.then_some(&HOST);
    let fitting = COLUMNS.iter().filter(|column| column.from <= width);
    host.into_iter().chain(fitting).collect()
}

impl Column {
    /// How wide it is. One of no width takes what is left.
    pub fn constraint(&self, width: u16) -> Constraint {
        match self.width(width) {
            0 => Constraint::Fill(1),
            columns => Constraint::Length(columns),
        }
    }

    fn width(&self, width: u16) -> u16 {
        let (narrow, wide) = self.widths;
        if width < WIDE { narrow } else { wide }
    }

    /// Its cell of a row.
    pub fn cell(&self, row: &Row<'_>, look: &Look) -> Cell<'static> {
        let width = usize::from(self.width(look.width));
        let (text, tone) = (self.cell)(row, look, width);
        let text = Text::styled(text, tone.style(look.has_colors));
        Cell::new(if self.is_number {
            text.right_aligned()
        } else {
            text
        })
    }
}

impl Tone {
    fn style(self, has_colors: bool) -> Style {
        let colored = |color| {
            if has_colors {
                Style::new().fg(color)
            } else {
                Style::new()
            }
        };
        match self {
            Self::Plain => Style::new(),
            Self::Past => Style::new().dim(),
            Self::Good => colored(Color::Green),
            Self::Bad => colored(Color::Red),
            Self::Notable => colored(Color::Yellow),
        }
    }
}

fn dash() -> String {
    "-".to_owned()
}

/// The state in a word, where there is no room for more.
fn state(row: &Row<'_>, _: &Look, width: usize) -> (String, Tone) {
    let status = &row.process.status;
    let tone = match (row.is_running(), status.paused) {
        (true, true) => Tone::Notable,
        (true, false) => Tone::Good,
        (false, _)
            if status
                .exit
                .as_ref()
                .is_some_and(|exit| exit.status == Some(0)) =>
        {
            Tone::Past
        }
        (false, _) => Tone::Bad,
    };
    let whole = show_state(status);
    let inner = whole
        .split_once('(')
        .and_then(|(_, end)| end.strip_suffix(')'));
    let text = inner.filter(|_| whole.len() > width).unwrap_or(&whole);
    (escaped(text), tone)
}

fn cpu(row: &Row<'_>, _: &Look, _: usize) -> (String, Tone) {
    let tone = match row.stats {
        Some(stats) if !stats.slow.is_empty() => Tone::Notable,
        Some(_) | None => Tone::Plain,
    };
    (
        row.cpu()
            .map_or_else(dash, |percent| format!("{percent:.1}")),
        tone,
    )
}

/// Full is what it may take, or one CPU, or what it took at most if that is more.
fn bars(row: &Row<'_>, _: &Look, width: usize) -> (String, Tone) {
    let Some(history) = row.history else {
        return (String::new(), Tone::Plain);
    };
    let limit = row.process.status.limits.values.cpu_millis;
    let limit = limit.map(|millis| f64::from(u32::try_from(millis).unwrap_or(u32::MAX)) / 10.0);
    let full = limit.unwrap_or_else(|| history.largest().max(100.0));
    (history.bars(width, full.max(1.0)), Tone::Good)
}

fn held(row: &Row<'_>, _: &Look, _: usize) -> (String, Tone) {
    let percent = row.stats.and_then(|stats| stats.throttled_percent);
    let tone = match percent {
        Some(percent) if is_notable(percent) => Tone::Bad,
        Some(_) | None => Tone::Plain,
    };
    (
        percent.map_or_else(dash, |percent| format!("{percent:.1}")),
        tone,
    )
}

fn memory(row: &Row<'_>, _: &Look, _: usize) -> (String, Tone) {
    let limit = row.process.status.limits.values.memory_bytes;
    let percent = row.stats.and_then(|stats| stats.memory_percent);
    let tone = if percent.is_some_and(is_full) {
        Tone::Bad
    } else {
        Tone::Plain
    };
    let used = row.memory().map_or_else(dash, brief);
    (format!("{used}/{}", limit.map_or_else(dash, brief)), tone)
}

fn tasks(row: &Row<'_>, _: &Look, _: usize) -> (String, Tone) {
    (
        row.tasks().map_or_else(dash, |tasks| tasks.to_string()),
        Tone::Plain,
    )
}

fn age(row: &Row<'_>, look: &Look, _: usize) -> (String, Tone) {
    let started = row.process.status.started_at;
    let age = started.map(|time| look.now.duration_since(time).unwrap_or_default());
    (age.map_or_else(dash, age_of), Tone::Plain)
}

/// A size in five letters at most.
pub fn brief(bytes: u64) -> String {
    let units = ["B", "K", "M", "G", "T", "P"];
    let (mut whole, mut rest, mut place) = (bytes, 0, 0);
    while whole >= 1024 && place + 1 < units.len() {
        (whole, rest, place) = (whole / 1024, whole % 1024, place + 1);
    }
    let unit = units.get(place).copied().unwrap_or_default();
    let tenth = rest * 10 / 1024;
    if whole < 10 && tenth > 0 {
        format!("{whole}.{tenth}{unit}")
    } else {
        format!("{whole}{unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, shown) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1K"),
            (1536, "1.5K"),
            (10 << 20, "10M"),
            ((1 << 30) - 1, "1023M"),
            (5 << 29, "2.5G"),
        ] {
            assert_eq!(brief(bytes), shown);
        }
        assert_eq!(brief(u64::MAX).len(), 6);
    }

    #[test]
    fn columns_are_left_out_where_there_is_no_room_and_the_command_has_some() {
        for width in [20, 40, 50, 58, 68, 76, 80, 100, 119, 120, 200] {
            let shown = columns(width, false);
            let taken: u16 = shown.iter().map(|column| column.width(width) + 1).sum();
            assert!(width < 40 || taken + 7 <= width, "{width}: {taken}");
        }
        assert_eq!(columns(120, true).len(), COLUMNS.len() + 1);
    }
}
