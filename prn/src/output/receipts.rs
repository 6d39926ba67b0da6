//! What a receipt says, on standard output.

use std::io;

use serde_json::{Map, Value};

use super::data::print_data;
use super::descriptor::line;
use super::rows::Rows;
use super::shown::escaped;
use crate::output::format::FormatFlag;

/// A field of a receipt.
#[derive(Debug)]
pub struct ReceiptField {
    /// Its name.
    pub name: String,
    /// What it says, for people.
    pub words: String,
    /// The same for programs.
    pub value: Value,
}

/// Prints the fields of a receipt whose signature is good.
pub fn receipt(fields: &[ReceiptField], format: &FormatFlag) -> io::Result<()> {
    let all: Map<String, Value> = (fields.iter())
        .map(|field| (field.name.clone(), field.value.clone()))
        .collect();
    if print_data(&all, &format.output)? {
        return Ok(());
    }
    let mut rows = Rows::default();
    for field in fields {
        rows.add(&field.name, escaped(&field.words));
    }
    line(&rows.finish())
}
