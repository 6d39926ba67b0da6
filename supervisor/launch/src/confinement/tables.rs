//! The tables as docs/security/process-calls.md has them. Made by the tests, since no program needs them.

use super::calls::{self, Call, Group, Special};
use super::files;
use super::namespaces::{self, What};
use landlock::ABI;

/// All tables.
pub fn markdown() -> String {
    let files = files::OPEN.iter().map(|open| {
        let paths: Vec<_> = open.paths.iter().map(|path| format!("`{path}`")).collect();
        let rights: Vec<_> = (open.rights)(ABI::V9)
            .iter()
            .map(|right| format!("{right:?}"))
            .collect();
        (
            paths.join(", "),
            format!("{}: {}", rights.join(", "), open.reason),
        )
    });
    let hidden = (
        "each that `hidden` in `[paths]` of the configuration names: tmpfs".to_owned(),
        "what the operator shows to no process: homes, the configuration".to_owned(),
    );
    let rows = namespaces::MOUNTS.iter().map(|row| {
        let what = match row.what {
            What::Temporary => "its temporary directory".to_owned(),
            What::Empty => "nothing".to_owned(),
            What::New(kind, flags, options, _) => format!("{kind} {options} ({flags:?})"),
        };
        let only = if row.is_strict {
            "; profile strict alone"
        } else {
            ""
        };
        let what = format!("`{}`: {what}{only}", row.targets.join("` or `"));
        (what.replace('|', "+"), row.reason.to_owned())
    });
    let mounts = std::iter::once(hidden).chain(rows);
    [
        table(
            "System calls of the supervisor and all that it starts",
            groups(calls::ALLOWED),
        ),
        table("of them, by argument", specials(calls::ALLOWED_PARTLY)),
        table(
            "the same, where no process gets namespaces",
            specials(calls::WITHOUT_NAMESPACES),
        ),
        table(
            "the same, where the file system of workspaces enforces quotas",
            specials(calls::WITH_QUOTAS),
        ),
        table(
            "Refused to all, known by name (EPERM)",
            groups(calls::REFUSED),
        ),
        table(
            "Refused to profile default (EPERM)",
            groups(calls::DEFAULT_REFUSED),
        ),
        table(
            "Refused to profile default where it has no namespaces of its own (EPERM)",
            groups(calls::SHARED_REFUSED),
        ),
        table(
            "Profile default, by argument",
            specials(calls::DEFAULT_PARTLY),
        ),
        table(
            "Refused to profile strict as well (EPERM)",
            groups(calls::STRICT_REFUSED),
        ),
        table(
            "Profile strict, by argument",
            specials(calls::STRICT_PARTLY),
        ),
        table(
            "Files of profiles default and strict, beside their own directories",
            files,
        ),
        table(
            "Mounted for profiles default and strict, in this order, after files of accounts in `/tmp`, bound over \
             `/etc/passwd` and `/etc/group`",
            mounts,
        ),
    ]
    .join("\n")
}

/// One table: what, and why.
fn table(title: &str, rows: impl Iterator<Item = (String, String)>) -> String {
    let rows: String = rows
        .map(|(what, why)| format!("| {why} | {what} |\n"))
        .collect();
    format!("{title}:\n\n| why | what |\n|---|---|\n{rows}")
}

fn groups(groups: &[Group]) -> impl Iterator<Item = (String, String)> {
    groups.iter().map(|group| {
        let names: Vec<_> = group.calls.iter().map(name).collect();
        (names.join(", "), group.reason.to_owned())
    })
}

fn specials(specials: &[Special]) -> impl Iterator<Item = (String, String)> {
    specials
        .iter()
        .map(|special| (name(&special.call), special.reason.to_owned()))
}

fn name((name, number): &Call) -> String {
    format!("{} {number}", name.strip_prefix("SYS_").unwrap_or(name))
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_document_has_these_tables() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/security/process-calls.md"
    );
    let document = std::fs::read_to_string(path).unwrap();
    let (before, rest) = document.split_once("<!-- calls: begin -->\n").unwrap();
    let (found, after) = rest.split_once("<!-- calls: end -->").unwrap();
    let made = markdown();
    assert!(
        made.lines().all(|line| line.matches('|').count() % 3 == 0),
        "{made}"
    );
    if found != made && std::env::var_os("PRN_WRITE_TABLES").is_some() {
        let document = format!("{before}<!-- calls: begin -->\n{made}<!-- calls: end -->{after}");
        return std::fs::write(path, document).unwrap();
    }
    assert_eq!(
        found, made,
        "docs/security/process-calls.md is out of date: run the tests with PRN_WRITE_TABLES=1 once"
    );
}
