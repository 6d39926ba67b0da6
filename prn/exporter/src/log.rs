//! Lines on standard error.

use std::error::Error;
use std::fmt::Arguments;
use std::io::{self, Write};

/// One line.
pub fn line(text: Arguments<'_>) {
    // Nobody can be told if standard error is closed. What a server has said is not to act on a
    // terminal.
    let text: String = text
        .to_string()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    drop(io::stderr().write_all(format!("prn-exporter: {text}\n").as_bytes()));
}

/// An error with its causes.
pub fn error(error: &dyn Error) {
    line(format_args!("{}", chain(error)));
}

/// An error with its causes, as one line has them.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let said = deeper.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = deeper.source();
    }
    text
}
