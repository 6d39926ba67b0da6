//! The choice of how results are printed.

use clap::{Args, ValueEnum};

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table.
    Table,
    /// A table with more in it.
    Wide,
    /// All that is known, as JSON.
    Json,
}

/// The choice of a format.
#[derive(Debug, Clone, Args)]
pub struct FormatFlag {
    /// How to print the result
    #[arg(
        short,
        long,
        value_enum,
        value_name = "FORMAT",
        default_value = "table"
    )]
    pub output: Format,
}
