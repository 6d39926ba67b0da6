//! What a receipt says, on standard output.

use std::io;

use super::descriptor::line;
use super::rows::Rows;
use super::shown::escaped;

/// Prints the fields of a receipt whose signature is good.
pub fn receipt(fields: &[(String, String)]) -> io::Result<()> {
    let mut rows = Rows::default();
    for (name, words) in fields {
        rows.add(name, escaped(words));
    }
    line(&rows.finish())
}
