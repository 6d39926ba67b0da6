//! Contexts, on standard output.

use std::io;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::answers::table_text;
use super::column::{Column, table};
use super::data::print_data;
use super::descriptor::line;
use super::lists::print_list;
use super::moments::{local, rfc3339};
use super::paint::Tone;
use super::shown::{escaped, put};
use super::table::Cell;
use crate::output::format::{Format, FormatFlag};

/// Less is soon: a new certificate is to be made and brought to the other side.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// A context as `prn context list` has it.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KnownContext {
    /// Its name.
    pub name: String,
    /// It is used where none is named.
    pub current: bool,
    /// Where its server is.
    pub address: Option<String>,
    /// Until when the server's certificate is valid.
    #[serde(serialize_with = "rfc3339")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub server_certificate_not_after: Option<SystemTime>,
    /// Until when the user's own certificate is.
    #[serde(serialize_with = "rfc3339")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub client_certificate_not_after: Option<SystemTime>,
}

/// A server as `prn context check` has found it.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CheckedContext {
    /// The name of its context.
    pub name: String,
    /// Where it is.
    pub address: String,
    /// It has answered.
    pub ok: bool,
    /// Its version.
    pub version: Option<String>,
    /// How long a call took on a connection that was there.
    pub latency_usec: Option<u64>,
    /// Until when its certificate is valid.
    #[serde(serialize_with = "rfc3339")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub server_certificate_not_after: Option<SystemTime>,
    /// Until when the user's own certificate is.
    #[serde(serialize_with = "rfc3339")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub client_certificate_not_after: Option<SystemTime>,
    /// Why it has not answered.
    pub error: Option<String>,
}

/// A part of a connection as `prn context show` has it.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ShownSetting {
    /// Its name, as the flag's.
    pub name: &'static str,
    /// What it is; a key's or certificate's file.
    pub value: Option<String>,
    /// Where that comes from.
    pub origin: Option<String>,
    /// SHA-256 of a certificate.
    pub fingerprint: Option<String>,
    /// Until when a certificate is valid.
    #[serde(serialize_with = "rfc3339")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub not_after: Option<SystemTime>,
    /// Why it cannot be used.
    pub error: Option<String>,
}

/// A connection as `prn context show` has it.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ShownContext {
    /// The context's name, if there is one.
    pub context: Option<String>,
    /// The file that contexts are in.
    pub configuration: Option<String>,
    /// Its parts.
    pub settings: Vec<ShownSetting>,
}

/// Prints contexts.
pub fn contexts(all: &[KnownContext], format: &FormatFlag) -> io::Result<()> {
    let name = |context: &KnownContext| escaped(&context.name);
    print_list(
        "contexts",
        all,
        |all| shown(KNOWN, all, format),
        name,
        format,
    )
}

/// Prints what was found of servers.
pub fn checked_contexts(all: &[CheckedContext], format: &FormatFlag) -> io::Result<()> {
    let name = |context: &CheckedContext| escaped(&context.name);
    print_list(
        "contexts",
        all,
        |all| shown(CHECKED, all, format),
        name,
        format,
    )
}

fn shown<T>(columns: &'static [Column<T>], all: &[T], format: &FormatFlag) -> String {
    let columns: Vec<_> = columns.iter().collect();
    table_text(&table(&columns, all), format)
}

/// Prints where each part of a connection comes from.
pub fn shown_context(shown: &ShownContext, format: &FormatFlag) -> io::Result<()> {
    if print_data(shown, &format.output)? {
        return Ok(());
    }
    if format.output == Format::Name {
        return line(&escaped(shown.context.as_deref().unwrap_or_default()));
    }
    line(text(shown).trim_end())
}

fn text(shown: &ShownContext) -> String {
    let mut text = String::new();
    let mut put_row = |name: &str, value: &str| {
        put(&mut text, format_args!("{name:<14} {}\n", escaped(value)));
    };
    put_row("context", shown.context.as_deref().unwrap_or("none"));
    if let Some(configuration) = &shown.configuration {
        put_row("configuration", configuration);
    }
    for setting in &shown.settings {
        let value = setting.value.as_deref().unwrap_or("missing");
        let origin = setting.origin.iter();
        let origin = origin.map(|origin| format!(" ({origin})"));
        put_row(
            setting.name,
            &format!("{value}{}", origin.collect::<String>()),
        );
        if let Some(fingerprint) = &setting.fingerprint {
            put_row("", fingerprint);
        }
        if let Some(time) = setting.not_after {
            put_row("", &format!("valid until {}", local(time)));
        }
        if let Some(error) = &setting.error {
            put_row("", error);
        }
    }
    text
}

const KNOWN: &[Column<KnownContext>] = &[
    Column {
        name: "name",
        header: "NAME",
        cell: |context| escaped(&context.name).into(),
        order: |a, b| a.name.cmp(&b.name),
    },
    Column {
        name: "current",
        header: "CURRENT",
        cell: |context| match context.current {
            true => Cell::new("*".to_owned(), Tone::Good),
            false => String::new().into(),
        },
        order: |a, b| a.current.cmp(&b.current),
    },
    Column {
        name: "address",
        header: "ADDRESS",
        cell: |context| escaped(context.address.as_deref().unwrap_or_default()).into(),
        order: |a, b| a.address.cmp(&b.address),
    },
    Column {
        name: "server-certificate",
        header: "SERVER CERTIFICATE UNTIL",
        cell: |context| until(context.server_certificate_not_after),
        order: |a, b| (a.server_certificate_not_after).cmp(&b.server_certificate_not_after),
    },
    Column {
        name: "client-certificate",
        header: "YOUR CERTIFICATE UNTIL",
        cell: |context| until(context.client_certificate_not_after),
        order: |a, b| (a.client_certificate_not_after).cmp(&b.client_certificate_not_after),
    },
];

const CHECKED: &[Column<CheckedContext>] = &[
    Column {
        name: "name",
        header: "NAME",
        cell: |context| escaped(&context.name).into(),
        order: |a, b| a.name.cmp(&b.name),
    },
    Column {
        name: "state",
        header: "STATE",
        cell: |context| match context.ok {
            true => Cell::new("ok".to_owned(), Tone::Good),
            false => Cell::new("failed".to_owned(), Tone::Bad),
        },
        order: |a, b| a.ok.cmp(&b.ok),
    },
    Column {
        name: "address",
        header: "ADDRESS",
        cell: |context| escaped(&context.address).into(),
        order: |a, b| a.address.cmp(&b.address),
    },
    Column {
        name: "version",
        header: "VERSION",
        cell: |context| escaped(context.version.as_deref().unwrap_or_default()).into(),
        order: |a, b| a.version.cmp(&b.version),
    },
    Column {
        name: "latency",
        header: "LATENCY",
        cell: |context| {
            let span = context.latency_usec.map(show_micros);
            span.unwrap_or_default().into()
        },
        order: |a, b| a.latency_usec.cmp(&b.latency_usec),
    },
    Column {
        name: "server-certificate",
        header: "SERVER CERTIFICATE UNTIL",
        cell: |context| until(context.server_certificate_not_after),
        order: |a, b| (a.server_certificate_not_after).cmp(&b.server_certificate_not_after),
    },
    Column {
        name: "client-certificate",
        header: "YOUR CERTIFICATE UNTIL",
        cell: |context| until(context.client_certificate_not_after),
        order: |a, b| (a.client_certificate_not_after).cmp(&b.client_certificate_not_after),
    },
];

/// "0.4 ms".
fn show_micros(micros: u64) -> String {
    format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
}

/// The end of a certificate, in the colour of whether somebody should do something about it.
fn until(end: Option<SystemTime>) -> Cell {
    let Some(end) = end else {
        return String::new().into();
    };
    let left = end.duration_since(SystemTime::now());
    let tone = match left {
        Err(_) => Some(Tone::Bad),
        Ok(left) if left < SOON => Some(Tone::Notable),
        Ok(_) => None,
    };
    Cell::new(local(end), tone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_and_where_the_rest_comes_from_is_said() {
        let setting = |name, value: Option<&str>, origin: Option<&str>| ShownSetting {
            name,
            value: value.map(str::to_owned),
            origin: origin.map(str::to_owned),
            fingerprint: None,
            not_after: None,
            error: None,
        };
        let shown = text(&ShownContext {
            context: Some("web1".to_owned()),
            configuration: None,
            settings: vec![
                setting("address", Some("web1:1"), Some("context")),
                setting("tls-key", None, None),
            ],
        });
        let expected =
            "context        web1\naddress        web1:1 (context)\ntls-key        missing\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_latency_is_in_milliseconds() {
        assert_eq!(show_micros(1_250), "1.2 ms");
        assert_eq!(show_micros(80), "0.0 ms");
    }
}
