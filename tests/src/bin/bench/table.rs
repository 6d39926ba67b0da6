//! Figures of many rounds, and how they are printed: markdown, to be pasted.

use std::fmt::Write;

/// What a cell says that has no figure.
pub const NONE: &str = "–";

/// One figure of each round.
#[derive(Debug, Default, Clone)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds the next round's.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The median of the rounds.
    pub fn median(&self) -> Option<f64> {
        percentile(&mut self.0.clone(), 50)
    }

    /// The median, to be read.
    pub fn figure(&self) -> String {
        self.median().map_or_else(|| NONE.to_owned(), figure)
    }

    /// Smallest and largest, to be read: the noise of the machine.
    pub fn range(&self) -> String {
        let (min, max) = self
            .0
            .iter()
            .fold((f64::MAX, f64::MIN), |(min, max), value| {
                (min.min(*value), max.max(*value))
            });
        if self.0.is_empty() {
            NONE.to_owned()
        } else {
            format!("{}–{}", figure(min), figure(max))
        }
    }

    /// The rounds' own ratios. None for rounds that lack either.
    pub fn over(&self, other: &Self) -> Self {
        Self(
            self.0
                .iter()
                .zip(&other.0)
                .map(|(value, other)| value / other)
                .collect(),
        )
    }

    /// As `over`, for something computed from two others.
    pub fn with(&self, other: &Self, compute: impl Fn(f64, f64) -> f64) -> Self {
        Self(
            self.0
                .iter()
                .zip(&other.0)
                .map(|(value, other)| compute(*value, *other))
                .collect(),
        )
    }
}

/// Samples by name, in the order in which names first came.
#[derive(Debug, Default)]
pub struct Series(Vec<(String, Samples)>);

impl Series {
    /// Adds the next round's figure of `name`.
    pub fn add(&mut self, name: &str, value: f64) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, samples)) => samples.push(value),
            None => self.0.push((name.to_owned(), Samples(vec![value]))),
        }
    }

    /// Those of `name`; empty if there are none.
    pub fn of(&self, name: &str) -> Samples {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, samples)| samples.clone())
            .unwrap_or_default()
    }
}

/// A value below which so many of a hundred lie. Sorts.
pub fn percentile(values: &mut [f64], percent: usize) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values
        .get((values.len() * percent / 100).min(values.len().checked_sub(1)?))
        .copied()
}

/// With three digits at least.
pub fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A markdown table.
#[derive(Debug)]
pub struct Table(String);

impl Table {
    /// With a title above it and these columns, the first of which is text.
    pub fn new(title: &str, columns: &[&str]) -> Self {
        let mut table = Self(if title.is_empty() {
            String::new()
        } else {
            format!("### {title}\n\n")
        });
        table.row(columns);
        let alignments = columns
            .iter()
            .enumerate()
            .map(|(place, _)| if place == 0 { "---|" } else { "---:|" });
        let _ = writeln!(table.0, "|{}", alignments.collect::<String>());
        table
    }

    /// Adds a row.
    pub fn row<T: AsRef<str>>(&mut self, cells: &[T]) {
        let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
        let _ = writeln!(self.0, "| {} |", cells.join(" | "));
    }

    /// Prints it, and a line below it if that is not empty.
    #[expect(clippy::print_stdout, reason = "a program that measures prints")]
    pub fn print(&self, below: &str) {
        println!("{}", self.0);
        if !below.is_empty() {
            println!("{below}\n");
        }
    }
}

/// The lines of the table that docs/performance.md has: what prn does, and what that is compared with.
#[derive(Debug, Default)]
pub struct Summary(Vec<[String; 5]>);

impl Summary {
    /// Adds a line: what, prn's figures, what they are compared with, the unit, and which way round
    /// the ratio is.
    pub fn compare(
        &mut self,
        what: &str,
        (prn, unit): (&Samples, &str),
        (name, other): (&str, &Samples),
        ratio: &Samples,
    ) {
        self.0.push([
            what.to_owned(),
            format!("{} {unit}", prn.figure()),
            if other.median().is_some() {
                format!("{name}: {} {unit}", other.figure())
            } else {
                name.to_owned()
            },
            ratio.figure(),
            other.range(),
        ]);
    }

    /// Adds a line without anything beside it.
    pub fn alone(&mut self, what: &str, figures: &str) {
        self.0.push([
            what.to_owned(),
            figures.to_owned(),
            String::new(),
            String::new(),
            String::new(),
        ]);
    }

    /// Prints it, unless it is empty.
    pub fn print(&self) {
        let mut table = Table::new(
            "Summary",
            &[
                "what",
                "prn",
                "beside it, in the same run",
                "ratio",
                "its lowest–highest",
            ],
        );
        self.0.iter().for_each(|row| table.row(row));
        if !self.0.is_empty() {
            table.print("");
        }
    }
}
