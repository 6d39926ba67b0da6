//! Figures and tables, to be read.

use std::fmt::Write;

use crate::inputs::{MILLISECOND, SECOND};

/// "12,345".
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A quotient: three digits of it at most, or a whole number.
pub fn ratio(value: u64, of: u64) -> String {
    let tenths = (value * 10 + of / 2) / of.max(1);
    if tenths >= 1000 {
        return number(value / of.max(1));
    }
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// A time in the unit that it is read best in.
pub fn time(micros: u64) -> String {
    if micros >= SECOND {
        format!("{} s", ratio(micros, SECOND))
    } else {
        format!("{} ms", ratio(micros, MILLISECOND))
    }
}

/// Bytes in MB, or in GB.
pub fn bytes(value: u64) -> String {
    if value >= 1_000_000_000 {
        format!("{} GB", ratio(value, 1_000_000_000))
    } else {
        format!("{} MB", ratio(value, 1_000_000))
    }
}

/// A table with these columns.
#[derive(Debug)]
pub struct Table(String);

impl Table {
    /// Without rows. Figures stand at the right: those whose column's name begins with a space.
    pub fn new(columns: &[&str]) -> Self {
        let mut text = String::new();
        for column in columns {
            write!(text, "| {} ", column.trim_start()).expect("memory");
        }
        text.push_str("|\n");
        for column in columns {
            let is_figure = column.starts_with(' ');
            text.push_str(if is_figure { "|---:" } else { "|---" });
        }
        text.push_str("|\n");
        Self(text)
    }

    /// Adds a row.
    pub fn row<T: AsRef<str>>(&mut self, cells: &[T]) {
        for cell in cells {
            write!(self.0, "| {} ", cell.as_ref()).expect("memory");
        }
        self.0.push_str("|\n");
    }

    /// Markdown.
    pub fn text(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_without_counting_digits() {
        assert_eq!(number(0), "0");
        assert_eq!(number(1_234_567), "1,234,567");
        assert_eq!(ratio(7, 2), "3.5");
        assert_eq!(ratio(12_345, 10), "1,234");
        assert_eq!(time(1_500), "1.5 ms");
        assert_eq!(time(90 * SECOND), "90.0 s");
        assert_eq!(bytes(2_500_000), "2.5 MB");
    }
}
