//! Tables: one line a row, between borders of plain ASCII.
//!
//! Widths are those that a terminal shows, so what is to be safe for one must have been escaped
//! before. Where there is a width to keep to, no line is wider: a border that wraps makes the
//! whole table unreadable. Elsewhere each cell is whole, for programs.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::paint::{Palette, Tone};

/// Widest that a column becomes by itself. A cell that is wider sticks out instead of widening the
/// column: a command has up to 128 KiB, and each other row would be filled up to that with blanks.
const COLUMN_MAX: usize = 4096;

/// Narrowest that a column is cut to, its header's name if that is shorter.
const COLUMN_MIN: usize = 8;

/// What stands where something was cut off: one column wide.
const CUT: char = '…';

/// A table.
#[derive(Debug)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// What stands in a row below one header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    /// A text with a colour.
    pub fn new(text: String, tone: impl Into<Option<Tone>>) -> Self {
        let tone = tone.into();
        Self { text, tone }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::new(text, None)
    }
}

impl Table {
    /// Without rows.
    pub fn new(header: &[&'static str]) -> Self {
        Self {
            header: header.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row: one cell for each column.
    pub fn push(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    /// The same of texts without a colour.
    pub fn push_texts<const N: usize>(&mut self, row: [String; N]) {
        self.push(row.map(Cell::from).to_vec());
    }

    /// With one more column in front of all others: a cell for each row.
    pub fn led_by(mut self, header: &'static str, cells: impl IntoIterator<Item = String>) -> Self {
        self.header.insert(0, header);
        for (row, cell) in self.rows.iter_mut().zip(cells) {
            row.insert(0, cell.into());
        }
        self
    }

    /// The lines, no wider than `most`. What is too wide is cut in the last column first; the first
    /// column, which tells the rows apart, is cut only by the edge of a terminal that has no room
    /// for it at all.
    pub fn render(&self, most: Option<usize>, palette: Palette) -> String {
        let widths = self.widths(most);
        let rule = format!(
            "+{}+",
            widths
                .iter()
                .map(|width| "-".repeat(width + 2))
                .collect::<Vec<_>>()
                .join("+")
        );
        // Where not even the ids have room, the edge cuts lines, and would cut colours with them.
        let fits = most.is_none_or(|most| shown_width(&rule) <= most);
        let palette = if fits { palette } else { Palette::PLAIN };
        let header = self.header.iter().zip(&widths);
        let header = line(header.map(|(name, width)| centred(&cut(name, *width), *width)));
        let rows = self.rows.iter().map(|row| {
            let cells = row.iter().zip(&widths);
            line(cells.map(|(cell, width)| shown_cell(cell, *width, most.is_some(), palette)))
        });
        let lines: Vec<_> = [rule.clone(), header, rule.clone()]
            .into_iter()
            .chain(rows)
            .chain([rule])
            .map(|line| match most {
                Some(most) if !fits => cut(&line, most),
                Some(_) | None => line,
            })
            .collect();
        lines.join("\n")
    }

    /// Without colours.
    #[cfg(test)]
    pub fn plain(&self, most: Option<usize>) -> String {
        self.render(most, Palette::PLAIN)
    }

    fn widths(&self, most: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = self.header.iter().map(|name| name.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = shown_width(&cell.text).min(COLUMN_MAX).max(*width);
            }
        }
        if let Some(most) = most {
            // A border before each column and a blank on either side of its text, and the last
            // border.
            let all = widths.iter().map(|width| width + 3).sum::<usize>() + 1;
            let mut over = all.saturating_sub(most);
            for (width, name) in widths.iter_mut().zip(&self.header).skip(1).rev() {
                let least = name.len().min(COLUMN_MIN);
                let less = over.min(width.saturating_sub(least));
                *width -= less;
                over -= less;
            }
        }
        widths
    }
}

fn line(cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<_> = cells.map(|cell| format!(" {cell} |")).collect();
    format!("|{}", cells.concat())
}

/// A cell's text, filled up to its column's width; cut to that if `is_cut`.
fn shown_cell(cell: &Cell, width: usize, is_cut: bool, palette: Palette) -> String {
    let text = if is_cut {
        cut(&cell.text, width)
    } else {
        cell.text.clone()
    };
    let blanks = width.saturating_sub(shown_width(&text));
    format!("{}{}", palette.paint(&text, cell.tone), " ".repeat(blanks))
}

fn centred(text: &str, width: usize) -> String {
    format!("{text:^width$}")
}

/// Columns that a terminal shows a text in.
///
/// Counted by what is one character to a reader, as [`cut`] does, so that both agree.
fn shown_width(text: &str) -> usize {
    text.graphemes(true).map(UnicodeWidthStr::width).sum()
}

/// A text in `width` columns at most, with a mark at its end where something is missing.
pub fn cut(text: &str, width: usize) -> String {
    let mut shown = String::new();
    let mut used = 0;
    for grapheme in text.graphemes(true) {
        used += grapheme.width();
        if used > width {
            return with_mark(&shown, width);
        }
        shown.push_str(grapheme);
    }
    shown
}

/// `text`, which fits, as the beginning of something longer.
fn with_mark(text: &str, width: usize) -> String {
    let Some(room) = width.checked_sub(1) else {
        return String::new();
    };
    let mut shown = String::new();
    let mut used = 0;
    for grapheme in text.graphemes(true) {
        used += grapheme.width();
        if used > room {
            break;
        }
        shown.push_str(grapheme);
    }
    shown.push(CUT);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "fcd2310e7b9a462a5d88c3a0ff4e2d9b";

    fn table(rows: &[[&str; 3]]) -> Table {
        let mut table = Table::new(&["ID", "STATE", "COMMAND"]);
        for row in rows {
            table.push(row.map(|cell| cell.to_owned().into()).into());
        }
        table
    }

    #[test]
    fn a_header_is_no_wider_than_its_column() {
        let mut table = Table::new(&["NAME", "YOUR CERTIFICATE UNTIL"]);
        table.push_texts(["east".to_owned(), "2027-11-30T04:13:48Z".to_owned()]);
        let shown = table.plain(Some(24));
        let widths: Vec<_> = shown.lines().map(shown_width).collect();
        assert_eq!(widths, [24; 5], "{shown}");
        assert!(shown.contains("| YOUR CERTIFI… |"), "{shown}");
    }

    #[test]
    fn a_table_is_ascii_with_centred_headers() {
        let expected = "\
+----------------------------------+---------+-----------------+
|                ID                |  STATE  |     COMMAND     |
+----------------------------------+---------+-----------------+
| fcd2310e7b9a462a5d88c3a0ff4e2d9b | Running | ping google.com |
| a3e56c1fb29d8a5477c2f819ef34a65d | Running | top             |
+----------------------------------+---------+-----------------+";
        let table = table(&[
            [ID, "Running", "ping google.com"],
            ["a3e56c1fb29d8a5477c2f819ef34a65d", "Running", "top"],
        ]);
        assert_eq!(table.plain(None), expected);
        assert_eq!(table.plain(Some(80)), expected, "there is room");
    }

    #[test]
    fn colours_widen_no_column() {
        let mut table = Table::new(&["ID", "STATE"]);
        table.push(vec![
            "a".to_owned().into(),
            Cell::new("Running".into(), Tone::Good),
        ]);
        table.push(vec!["b".to_owned().into(), Cell::new("x".into(), None)]);
        let palette = Palette::new(crate::output::format::Color::Always);
        let plain = table.plain(Some(80));
        let painted = table.render(Some(80), palette);
        assert_ne!(plain, painted);
        let bare = painted.replace("\u{1b}[32m", "").replace("\u{1b}[0m", "");
        assert_eq!(bare, plain);
        assert_eq!(table.render(Some(5), palette), table.plain(Some(5)));
    }

    #[test]
    fn an_empty_table_has_its_header() {
        assert_eq!(table(&[]).plain(None).lines().count(), 4);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_whatever_is_in_it() {
        let long = "x".repeat(300);
        let wide = "漢字".repeat(80);
        let accents = "e\u{301}".repeat(200);
        let family = "👨\u{200d}👩\u{200d}👧".repeat(60);
        let table = table(&[
            [ID, "Running", &long],
            [ID, "Stopped (out of memory)", &wide],
            [ID, "Stopped (SIGSEGV, core dumped)", &accents],
            [ID, "Running", &family],
            [ID, "Running", "top"],
        ]);
        for most in 1..300 {
            let shown = table.plain(Some(most));
            assert_eq!(shown.lines().count(), 9, "one line a row");
            for line in shown.lines() {
                assert!(line.width() <= most, "{most}: {line}");
            }
            if most > 36 {
                assert_eq!(shown.matches(ID).count(), 5, "{most}: ids stay whole");
            }
            if most >= 57 {
                let ends: Vec<_> = shown.lines().map(shown_width).collect();
                assert_eq!(ends, [ends[0]; 9], "{most}: the right border is straight");
                assert!(shown.ends_with('+'), "{most}: and it is there");
            }
        }
        let whole = table.plain(None);
        for cell in [&long, &wide, &accents, &family] {
            assert!(whole.contains(cell.as_str()));
        }
    }

    #[test]
    fn a_cell_without_end_sticks_out_and_widens_no_other_row() {
        let endless = "x".repeat(100_000);
        let table = table(&[[ID, "Running", &endless], [ID, "Running", "top"]]);
        let lengths: Vec<_> = table.plain(None).lines().map(str::len).collect();
        assert!(lengths[3] > 100_000 && lengths[4] < 5000, "{lengths:?}");
        assert!(table.plain(Some(80)).lines().all(|line| line.width() <= 80));
    }

    #[test]
    fn a_text_is_cut_by_its_width_and_the_cut_is_marked() {
        assert_eq!(cut("sleep 1", 7), "sleep 1");
        assert_eq!(cut("sleep 10", 7), "sleep …");
        assert_eq!(cut("漢字漢字", 8), "漢字漢字");
        assert_eq!(cut("漢字漢字", 7), "漢字漢…");
        assert_eq!(cut("漢字漢字", 6), "漢字…", "half a character is none");
        assert_eq!(cut("e\u{301}e\u{301}e\u{301}", 2), "e\u{301}…");
        assert_eq!(cut("ab", 1), "…");
        assert_eq!(cut("ab", 0), "");
    }
}
