//! The API's fields by the names that they have on the command line.
//!
//! A server says of a request what is wrong in the words of the API, which is what its clients
//! wrote. Somebody who typed a command wrote flags. Pure.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use clap::{Args, Command};
use prn_client::{ClientError, Limits, ServerError, StartSpec, reason};

use prn_proto::units::show_size;

/// Fields that a command of prn's sets, as the server names them, and where they come from: but for
/// those of a start, whose flags have the fields' names as their ids.
///
/// Only those with a dot or a low line are names wherever they stand: the others are words as well,
/// and are names in front of a colon.
const OTHERS: &[(&str, &str)] = &[
    ("command", "the command"),
    ("args", "the command's words"),
    ("id", "--id"),
    ("signature", "--sign"),
    ("limits", "limits"),
    ("paths", "--bind, --hide and --read-only"),
    ("stdin", "standard input"),
    ("terminal_size", "the terminal's size"),
    ("terminal_size.rows", "the terminal's lines"),
    ("terminal_size.columns", "the terminal's columns"),
    ("process_identifier.id", "the process's id"),
    ("signal", "--signal"),
    ("grace", "--grace"),
    ("from_offset", "--offset"),
    ("no_follow", "--no-follow"),
    ("since", "--since"),
    ("since.time", "--since"),
    ("since.ago", "--since"),
    ("until", "--until"),
    ("until.time", "--until"),
    ("until.ago", "--until"),
    ("tail_lines", "--tail"),
    ("tail_bytes", "--tail-bytes"),
    ("max_bytes", "--max-bytes"),
    ("only", "--stdout or --stderr"),
    ("started_since", "--since"),
    ("started_since.time", "--since"),
    ("started_since.ago", "--since"),
    ("started_before", "--until"),
    ("started_before.time", "--until"),
    ("started_before.ago", "--until"),
    ("page_size", "--limit"),
    ("state", "--running or --finished"),
    ("processes", "the ids"),
    ("retention", "--keep, --retain and --rm"),
    ("retention.keep", "--keep"),
    ("retention.max_age", "--retain"),
    ("retention.until_read", "--rm"),
    ("selector", "-l"),
    ("selector.labels", "-l"),
    ("selector.id_prefix_or_name", "the id or name"),
    ("update_mask", "what is to be changed"),
    ("set_labels", "--label"),
    ("unset_labels", "--label"),
    ("disk_max_bytes", "--disk"),
    ("stop_processes", "--force"),
];

/// Each field, with its flag.
static FLAGS: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let limits = flags_of(Limits::augment_args(Command::new("prn")));
    let start = flags_of(StartSpec::augment_args(Command::new("prn")));
    let mut all: BTreeMap<_, _> = OTHERS
        .iter()
        .map(|(field, flag)| ((*field).to_owned(), (*flag).to_owned()))
        .collect();
    for (field, flag) in start {
        let field = if limits.contains_key(&field) {
            format!("limits.{field}")
        } else {
            field
        };
        all.insert(field, flag);
    }
    // Of a process with its flag, and of a workspace without one.
    all.insert("name".to_owned(), "the name".to_owned());
    all
});

fn flags_of(command: Command) -> BTreeMap<String, String> {
    let flags = command.get_arguments();
    let named = flags.filter_map(|flag| {
        let field = flag.get_id().to_string();
        Some((field, format!("--{}", flag.get_long()?)))
    });
    named.collect()
}

/// A field's name on the command line.
fn flag(field: &str) -> Option<&'static str> {
    FLAGS.get(field).map(String::as_str)
}

/// A limit's name as people say it, of that which the server has for it.
pub fn limit(name: &str) -> &str {
    flag(&format!("limits.{name}")).map_or(name, |flag| flag.trim_start_matches('-'))
}

/// What is said of limits that were asked for and are not enforced, if there are any.
pub fn not_enforced<'a>(limits: impl IntoIterator<Item = &'a String>) -> Option<String> {
    let names: Vec<_> = limits.into_iter().map(|name| limit(name)).collect();
    (!names.is_empty()).then(|| {
        format!(
            "warning: the server's host does NOT enforce {}",
            names.join(", ")
        )
    })
}

/// The same error, in the words of the command line.
pub fn in_flags(error: ClientError) -> ClientError {
    if let ClientError::Refused(mut refusal) = error {
        refusal.message = message(&refusal);
        return ClientError::Refused(refusal);
    }
    if let ClientError::CutOff {
        offset,
        source: Some(source),
    } = error
    {
        return ClientError::CutOff {
            offset,
            source: Some(Box::new(in_flags(*source))),
        };
    }
    error
}

fn message(refusal: &ServerError) -> String {
    if let Some(message) = above_ceiling(refusal) {
        return message;
    }
    // What is said of a signature is of no flag: who feeds a process has typed none for it.
    if let Some(message) = refusal.message.strip_prefix("signature: ")
        && refusal.reason.starts_with("SIGNATURE_")
    {
        return text(message);
    }
    if refusal.violations.is_empty() {
        return text(&refusal.message);
    }
    let each =
        refusal
            .violations
            .iter()
            .map(|violation| match violation.field.strip_prefix("paths[") {
                // What is said of a rule says which it is.
                Some(_) => text(&violation.description),
                None => text(&format!("{}: {}", violation.field, violation.description)),
            });
    each.collect::<Vec<_>>().join("; ")
}

/// A ceiling in the unit of its flag.
fn above_ceiling(refusal: &ServerError) -> Option<String> {
    if refusal.reason != reason::LIMIT_ABOVE_CEILING {
        return None;
    }
    let limit = refusal.metadata.get(reason::metadata::LIMIT)?;
    let ceiling: u64 = refusal
        .metadata
        .get(reason::metadata::CEILING)?
        .parse()
        .ok()?;
    let flag = flag(&format!("limits.{limit}")).or_else(|| flag(limit))?;
    // Exact, to be typed, and as people read it.
    let bytes = format!("{ceiling} bytes ({})", show_size(ceiling));
    let ceiling = match flag {
        "--cpu" => format!("{}.{:03} CPUs", ceiling / 1000, ceiling % 1000),
        "--pids" => ceiling.to_string(),
        "--io-read" | "--io-write" => format!("{bytes} a second"),
        _ => bytes,
    };
    Some(format!(
        "{flag}: must not exceed the server's ceiling of {ceiling}"
    ))
}

/// A server's text with flags for the fields in it, but for what is quoted: that is of the client.
fn text(message: &str) -> String {
    // A span needs no clock on the command line either, and is written as one there.
    let message = message.replace("`ago`", "a span such as 10m");
    let (first, rest) = match message.split_once(": ") {
        Some((field, rest)) if flag(field).is_some() => (Some(field), rest),
        Some(_) | None => (None, message.as_str()),
    };
    let times = first.is_some_and(|field| field == "until" || field == "from_offset");
    let mut shown = match first.and_then(flag) {
        Some(flag) => format!("{flag}: "),
        None => String::new(),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let (mut quoted, mut escaped) = (false, false);
    let mut word = String::new();
    for c in rest.chars().map(Some).chain([None]) {
        match c {
            Some(c) if is_name(c) && !quoted => {
                word.push(c);
                continue;
            }
            Some('"') if !escaped => quoted = !quoted,
            Some(_) | None => {}
        }
        let is_field = word.contains(['_', '.']) || (times && word == "since");
        let name = flag(&word).filter(|_| is_field);
        shown.push_str(name.unwrap_or(&word));
        word.clear();
        escaped = c == Some('\\') && !escaped;
        shown.extend(c);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_become_flags_and_what_is_quoted_stays() {
        for (said, shown) in [
            (
                "working_directory: the process cannot enter \"/a/output_store: \\\" tail_bytes\"",
                "--cwd: the process cannot enter \"/a/output_store: \\\" tail_bytes\"",
            ),
            (
                "limits.memory_bytes: this host cannot enforce it; best_effort_limits starts without it",
                "--memory: this host cannot enforce it; --best-effort-limits starts without it",
            ),
            (
                "from_offset: must not stand together with since, tail_lines or tail_bytes; to go on, leave them out",
                "--offset: must not stand together with --since, --tail or --tail-bytes; to go on, leave them out",
            ),
            (
                "until: must be later than since",
                "--until: must be later than --since",
            ),
            (
                "since: must not be in the future by the server's clock; `ago` needs no clock of the client's",
                "--since: must not be in the future by the server's clock; a span such as 10m needs no clock of the client's",
            ),
            (
                "workspace w: 3 processes live in it; stop_processes stops them first",
                "workspace w: 3 processes live in it; --force stops them first",
            ),
            (
                "workspace: must not be empty",
                "--workspace: must not be empty",
            ),
            (
                "timeout: must be at least 1 ms",
                "--timeout: must be at least 1 ms",
            ),
            ("command not found: \"id\"", "command not found: \"id\""),
            ("no process has the id 12", "no process has the id 12"),
        ] {
            assert_eq!(text(said), shown);
        }
        assert_eq!(limit("memory_bytes"), "memory");
        assert_eq!(limit("io_read_bytes_per_second"), "io-read");
    }

    #[test]
    fn each_field_of_a_request_has_a_flag() {
        // From the messages' own descriptions: a field that is added is missed here.
        let proto = include_str!("../../../proto/v1/process_runner.proto");
        let fields = |message: &str| {
            let body = proto
                .split_once(&format!("\nmessage {message} {{\n"))
                .unwrap()
                .1;
            let body = body.split_once("\n}").unwrap().0;
            let names = body
                .lines()
                .map(str::trim)
                .filter(|line| !line.starts_with("//"))
                // Values of an enum.
                .filter(|line| {
                    line.split(' ').next().is_some_and(|word| {
                        word.contains(|c: char| !c.is_ascii_uppercase() && c != '_')
                    })
                })
                .filter_map(|line| line.split_once(" = ")?.0.rsplit(' ').next());
            names.map(str::to_owned).collect::<Vec<_>>()
        };
        // Of the client library's own making, or for no command.
        let others = [
            "control_frames",
            "process_identifier",
            "follower",
            "page_token",
            "ended_since",
            "ended_before",
            "order",
            "with_argv",
            "with_tasks",
            "condition",
            "any",
            "target",
            "paused",
        ];
        for message in [
            "StartRequest",
            "StopRequest",
            "GetOutputRequest",
            "ListRequest",
            "CreateWorkspaceRequest",
            "RemoveWorkspaceRequest",
            "WaitRequest",
            "SignalProcessRequest",
            "UpdateProcessRequest",
            "RemoveProcessRequest",
            "GetUsageRequest",
        ] {
            let names = fields(message);
            assert!(names.len() >= 2, "{message}: {names:?}");
            for name in names {
                if !others.contains(&name.as_str()) {
                    assert!(flag(&name).is_some(), "{message}.{name}");
                }
            }
        }
        for name in fields("Limits") {
            assert!(flag(&format!("limits.{name}")).is_some(), "{name}");
        }
    }
}
