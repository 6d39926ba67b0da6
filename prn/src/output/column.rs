//! Tables of results by columns: which there are, which are shown, and by which they are sorted.

use std::cmp::Ordering;
use std::str::FromStr;

use super::table::{Cell, Table};

/// A column of a table of `T`.
#[derive(Debug)]
pub struct Column<T: 'static> {
    /// Its name, as flags take it.
    pub name: &'static str,
    /// What stands above it.
    pub header: &'static str,
    /// What stands in it.
    pub cell: fn(&T) -> Cell,
    /// Which of two comes first, from the least to the most.
    pub order: fn(&T, &T) -> Ordering,
}

/// Names of columns, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(Vec<String>);

impl FromStr for Names {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names: Vec<_> = text
            .split(',')
            .map(|name| name.trim().to_lowercase().replace([' ', '_'], "-"))
            .filter(|name| !name.is_empty())
            .collect();
        if names.is_empty() {
            return Err("no column is named".to_owned());
        }
        Ok(Self(names))
    }
}

impl Names {
    /// These columns.
    ///
    /// # Errors
    /// A sentence that names those that there are.
    pub fn columns<T>(&self, all: &'static [Column<T>]) -> Result<Vec<&'static Column<T>>, String> {
        self.0.iter().map(|name| find(name, all)).collect()
    }

    /// How to sort by these columns; by one with a minus before its name, from the most to the
    /// least.
    ///
    /// # Errors
    /// As [`Names::columns`].
    pub fn sort<T>(&self, items: &mut [T], all: &'static [Column<T>]) -> Result<(), String> {
        self.sort_by(items, |item| item, all)
    }

    /// The same of items that have a `T` in them.
    ///
    /// # Errors
    /// As [`Names::columns`].
    pub fn sort_by<T, I>(
        &self,
        items: &mut [I],
        of: impl Fn(&I) -> &T,
        all: &'static [Column<T>],
    ) -> Result<(), String> {
        let keys = self.0.iter().map(|name| match name.strip_prefix('-') {
            Some(name) => Ok((find(name, all)?, true)),
            None => Ok((find(name, all)?, false)),
        });
        let keys = keys.collect::<Result<Vec<_>, String>>()?;
        items.sort_by(|a, b| {
            let mut orders = keys.iter().map(|(column, is_reversed)| {
                let order = (column.order)(of(a), of(b));
                if *is_reversed { order.reverse() } else { order }
            });
            orders
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        });
        Ok(())
    }
}

fn find<T>(name: &str, all: &'static [Column<T>]) -> Result<&'static Column<T>, String> {
    all.iter()
        .find(|column| column.name == name)
        .ok_or_else(|| {
            let known: Vec<_> = all.iter().map(|column| column.name).collect();
            format!(
                "there is no column {name:?}; there are: {}",
                known.join(", ")
            )
        })
}

/// The columns of these names, which there are.
pub fn named<T>(all: &'static [Column<T>], names: &[&str]) -> Vec<&'static Column<T>> {
    let known = names.iter();
    known.filter_map(|name| find(name, all).ok()).collect()
}

/// A table of these columns.
pub fn table<T>(columns: &[&'static Column<T>], items: &[T]) -> Table {
    let header: Vec<_> = columns.iter().map(|column| column.header).collect();
    let mut table = Table::new(&header);
    for item in items {
        table.push(columns.iter().map(|column| (column.cell)(item)).collect());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[Column<(u32, &'static str)>] = &[
        Column {
            name: "number",
            header: "NUMBER",
            cell: |item| item.0.to_string().into(),
            order: |a, b| a.0.cmp(&b.0),
        },
        Column {
            name: "word",
            header: "WORD",
            cell: |item| item.1.to_owned().into(),
            order: |a, b| a.1.cmp(b.1),
        },
    ];

    #[test]
    fn items_are_sorted_by_one_column_and_then_the_next() {
        let sorted = |by: &str| {
            let mut items = vec![(2, "b"), (1, "b"), (3, "a")];
            by.parse::<Names>().unwrap().sort(&mut items, ALL).unwrap();
            items.iter().map(|item| item.0).collect::<Vec<_>>()
        };
        assert_eq!(sorted("number"), [1, 2, 3]);
        assert_eq!(sorted("-number"), [3, 2, 1]);
        assert_eq!(sorted("word,number"), [3, 1, 2]);
        assert_eq!(sorted("-WORD, -number"), [2, 1, 3]);
    }

    #[test]
    fn an_unknown_column_is_answered_with_the_known_ones() {
        let told = "id".parse::<Names>().unwrap().columns(ALL).unwrap_err();
        assert_eq!(told, "there is no column \"id\"; there are: number, word");
        assert!(",".parse::<Names>().is_err());
        let columns = "word".parse::<Names>().unwrap().columns(ALL).unwrap();
        assert!(
            table(&columns, &[(1, "x")])
                .plain(None)
                .contains("| x    |")
        );
    }
}
