//! Lines of a name and a value.

use super::shown::put;

/// Lines of a name and a value; none for what is not known.
#[derive(Debug, Default)]
pub struct Rows {
    text: String,
}

impl Rows {
    /// Adds a line. The value is safe for a terminal.
    pub fn add(&mut self, name: &str, value: impl Into<Option<String>>) {
        if let Some(value) = value.into().filter(|value| !value.is_empty()) {
            put(&mut self.text, format_args!("{name:<18} {value}\n"));
        }
    }

    /// All lines, without the last line's end.
    pub fn finish(mut self) -> String {
        self.text.truncate(self.text.trim_end().len());
        self.text
    }
}
