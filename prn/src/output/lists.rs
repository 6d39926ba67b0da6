//! Lists of anything, on standard output: the one place that knows what each format makes of one.

use std::io;

use serde::Serialize;

use super::data::List;
use super::descriptor::{line, print};
use crate::output::format::{Format, FormatFlag};

/// Prints a list, which programs get under this name: as the text that is `shown` to people, as names, one
/// a line, or as data.
pub fn print_list<T: Serialize>(
    name: &'static str,
    all: &[T],
    shown: impl FnOnce(&[T]) -> String,
    named: impl Fn(&T) -> String,
    format: &FormatFlag,
) -> io::Result<()> {
    match format.output {
        Format::Table | Format::Wide => line(&shown(all)),
        Format::Name => print_names(all, named),
        Format::Json | Format::JsonLines | Format::Yaml | Format::Template(_) => {
            print_data_list(name, all, format)
        }
    }
}

/// Prints names, one a line.
pub fn print_names<T>(all: &[T], named: impl Fn(&T) -> String) -> io::Result<()> {
    let names = all.iter().map(|one| named(one) + "\n");
    print(&names.collect::<String>())
}

/// Prints a list in a format for programs.
pub fn print_data_list<T: Serialize>(
    name: &'static str,
    all: &[T],
    format: &FormatFlag,
) -> io::Result<()> {
    let mut list = List::new(name, &format.output);
    list.add(all)?;
    list.end()
}
