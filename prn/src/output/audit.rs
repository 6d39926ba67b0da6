//! Lines of an audit, on standard output. They were escaped when they were written, and are again
//! here: who wrote the file is not known.

use std::io;
use std::time::SystemTime;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::answers::table_text;
use super::lists::print_list;
use super::moments::local;
use super::shown::escaped;
use super::table::Table;
use crate::output::format::FormatFlag;

/// One line, as it is.
#[derive(Debug, Clone)]
pub struct AuditLine {
    /// When it was written.
    pub at: SystemTime,
    /// All of it.
    pub value: Value,
}

impl Serialize for AuditLine {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(to)
    }
}

impl AuditLine {
    fn text(&self, path: &str) -> &str {
        self.value
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// What it is about.
    pub fn id(&self) -> &str {
        self.text("/id")
    }

    /// Who is said to have asked.
    pub fn who(&self) -> &str {
        self.text("/asserted/principal")
    }

    /// Who has signed what was asked for.
    pub fn signer(&self) -> &str {
        self.text("/verified/signer")
    }

    /// Whether the answer was no.
    pub fn is_refused(&self) -> bool {
        self.text("/verified/outcome") == "refused" || self.text("/event") == "denied"
    }

    /// What the server knows, but the digest, which is of no use to eyes; and of what its network half
    /// says, all but who.
    fn facts(&self) -> String {
        let of = |path| self.value.pointer(path).and_then(Value::as_object);
        let facts = of("/verified").into_iter().flatten();
        let facts = facts.filter(|(key, _)| *key != "digest");
        let asserted = of("/asserted").into_iter().flatten();
        let asserted = asserted.filter(|(key, _)| *key != "principal");
        let mut shown: Vec<String> = asserted
            .chain(facts)
            .map(|(key, value)| {
                let text = value.as_str();
                format!(
                    "{key}={}",
                    text.map_or_else(|| value.to_string(), str::to_owned)
                )
            })
            .collect();
        if let Some(lost) = self.value.get("lost") {
            shown.push(format!("lost={lost}"));
        }
        shown.join(" ")
    }
}

/// Prints lines of an audit.
pub fn audit_lines(all: &[AuditLine], format: &FormatFlag) -> io::Result<()> {
    let shown = |all: &[AuditLine]| {
        let mut table = Table::new(&["TIME", "EVENT", "WHO", "ID", "VERIFIED"]);
        for line in all {
            table.push_texts([
                local(line.at),
                escaped(line.text("/event")),
                escaped(line.who()),
                escaped(line.id()),
                escaped(&line.facts()),
            ]);
        }
        table_text(&table, format)
    };
    print_list("lines", all, shown, |line| escaped(line.id()), format)
}
